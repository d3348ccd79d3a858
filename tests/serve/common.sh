# What the tests of stardit-serve share; sourced. A server of the demo checkpoint in a folder of its own,
# calls by curl, and the videos that stardit-generate makes of the same requests.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
serve=$build/stardit-serve
[ -x "$serve" ] || { echo "built without stardit-serve (libmicrohttpd and SQLite)"; exit 77; }
command -v curl >/dev/null || { echo "no curl"; exit 77; }
unset http_proxy https_proxy HTTP_PROXY ALL_PROXY all_proxy
state=$tmp/state
json="Content-Type: application/json"

# start OPTIONS...: a server; $pid, $url. Its messages are in $tmp/log. $blocks: no file of it may have more
# than so many of 512 bytes.
start() {
    : >"$tmp/log"
    (
        ulimit -f "${blocks:-unlimited}"
        # shellcheck disable=SC2086  # variables
        exec ${under:+env $under} "$serve" --model "$demo" --state "$state" --listen 127.0.0.1:0 "$@" 2>"$tmp/log" </dev/null >/dev/null
    ) &
    pid=$!
    await grep -q 'listens at' "$tmp/log" || { cat "$tmp/log" >&2; fail "no server: $*"; finish; }
    url=$(sed -n 's/.*listens at //p' "$tmp/log")
}

# stop: ends the server, which leaves with 0 and says so.
stop() {
    kill -TERM "$pid"
    ended
    [ "$code" -eq 0 ] || fail "SIGTERM: exit $code: $(tail -3 "$tmp/log")"
    grep -q 'ended; jobs' "$tmp/log" || fail "ended without a word: $(tail -3 "$tmp/log")"
}

# call HTTP PATH CURL-OPTIONS...: the answer in $tmp/answer, its headers in $tmp/headers.
call() {
    call_wanted=$1 call_path=$2
    shift 2
    count_passed=$((count_passed + 1))
    call_code=$(curl -s --max-time 120 -D "$tmp/headers" -o "$tmp/answer" -w '%{http_code}' "$@" "$url$call_path")
    [ "$call_code" = "$call_wanted" ] ||
        fail "$call_path: $call_code, not $call_wanted: $(head -c 600 "$tmp/answer")"
}

# of NAME...: what the answer says there.
of() {
    "$tool" json "$tmp/answer" "$@"
}

# is VALUE NAME...: the answer says so.
is() {
    is_wanted=$1
    shift
    is_there=$(of "$@" 2>&1)
    [ "$is_there" = "$is_wanted" ] || fail "$call_path: $* is '$is_there', not '$is_wanted'"
}

# make FORM...: a job; $id.
make() {
    set -- -H "$json" -d "$1"
    call 200 /v1/videos "$@"
    id=$(of id)
}

# reached ID STATUS [STEP]: the job has this status, and has done that many steps.
reached() {
    call 200 "/v1/videos/$1"
    [ "$(of status)" = "$2" ] && [ "$(of step)" -ge "${3:-0}" ] && return 0
    case $(of status) in completed | failed) [ "$2" = "$(of status)" ] || {
        fail "$1 has $(of status): $(head -c 700 "$tmp/answer")"
        return 0
    } ;; esac
    return 1
}

# video ID FILE: once it is completed.
video() {
    await reached "$1" completed
    call 200 "/v1/videos/$1/content"
    cp "$tmp/answer" "$2"
}

# alone FILE OPTIONS...: the video that stardit-generate makes.
alone() {
    alone_file=$1
    shift
    passes "$generate" --model "$demo" --quiet --force --output "$alone_file" --height 64 --width 64 \
        --num-frames 5 "$@"
}
