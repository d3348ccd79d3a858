# What the tests of the programs share; sourced. Gives a folder $tmp of its own, the programs' names, and
# checks that count failures: a test ends with `finish`.

build=${STARDIT_BUILD_DIR:-.}
source=${STARDIT_SOURCE_DIR:-.}
generate=$build/stardit-generate
eval=$build/stardit-eval
info=$build/stardit-info
bench=$build/stardit-bench
tool=$build/tests/apps/tool
demo=$source/checkpoints/stardit-demo
golden=$source/tests/golden
failures=0 count_refused=0 count_passed=0
unset STARPU_SCHED STARPU_SCHED_LIB

tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

fail() {
    echo "FAIL: $*" >&2
    failures=$((failures + 1))
}

# refuses CODE COMMAND...: the command ends with that code, nothing on stdout, one line on stderr.
refuses() {
    wanted=$1
    shift
    count_refused=$((count_refused + 1))
    "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    code=$?
    lines=$(wc -l <"$tmp/err")
    if [ $code -ne "$wanted" ] || [ "$lines" -ne 1 ] || [ -s "$tmp/out" ]; then
        fail "exit $code (wanted $wanted), $lines lines on stderr: $*"
        head -5 "$tmp/err" >&2
    fi
    # What nobody who runs a program has.
    ! grep -qE 'device -1|\(null\)|0x[0-9a-f]{6}' "$tmp/err" || fail "numbers of ours: $(cat "$tmp/err")"
}

# says WORDS: the last refusal's line has them.
says() {
    grep -q -e "$1" "$tmp/err" || fail "not '$1' but: $(cat "$tmp/err")"
}

# passes COMMAND...: exit 0.
passes() {
    count_passed=$((count_passed + 1))
    "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    code=$?
    if [ $code -ne 0 ]; then
        fail "exit $code: $*"
        head -5 "$tmp/out" "$tmp/err" >&2
    fi
    return $code
}

# look: the CPU time that process $pid has $look_used, in clock ticks. False when it has ended.
look() {
    { read -r look_line <"/proc/$pid/stat"; } 2>/dev/null || return 1
    # shellcheck disable=SC2086  # fields
    set -- ${look_line##*) }
    look_used=$((${12} + ${13}))
    [ "$1" != Z ]
}

# await COMMAND...: until it succeeds. False when process $pid has ended before, or has used no CPU
# time in 20000 looks, which is a hang: on a busy machine the clock says nothing.
await() {
    look_idle=0 look_before=-1
    until "$@"; do
        look || { "$@"; return; }
        [ "$look_used" -eq "$look_before" ] && look_idle=$((look_idle + 1)) || look_idle=0
        look_before=$look_used
        if [ $look_idle -ge 20000 ]; then
            fail "process $pid hangs"
            kill -KILL "$pid"
            return 1
        fi
        sleep 0.02
    done
}

# ended: waits for process $pid; $code.
ended() {
    await false
    wait "$pid" 2>/dev/null
    code=$?
}

# same FILE FILE: equal bytes.
same() {
    cmp -s "$1" "$2" || fail "$1 and $2 differ"
}

finish() {
    [ $((count_refused + count_passed)) -eq 0 ] ||
        echo "$count_passed commands had to pass, $count_refused to be refused in one line"
    [ $failures -eq 0 ] || echo "$failures failed" >&2
    [ $failures -eq 0 ]
    exit $?
}
