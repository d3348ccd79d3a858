#!/bin/sh
# How runs end that nobody ends by Ctrl-C: a hang-up, limits of CPU time and file size, the end of whoever reads
# the progress, a full disk, SIGKILL. The latent is kept wherever it can be, and no folder stays behind.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

export TMPDIR="$tmp/tmp"
mkdir "$TMPDIR" "$tmp/v"
size="--height 96 --width 96 --num-frames 17 --num-inference-steps 1000 --progress plain"

# begin NAME COMMAND...: starts it before a run and waits for the second step; $pid.
begin() {
    name=$1
    shift
    : >"$tmp/$name.err"
    # shellcheck disable=SC2086
    "$@" "$generate" --model "$demo" --token-ids 5,6,1 $size --output "$tmp/v/$name.y4m" \
        2>"$tmp/$name.err" </dev/null &
    pid=$!
    await grep -q '^denoise \([2-9]\|[0-9][0-9]\)' "$tmp/$name.err"
}

# kept NAME CODE: the run has ended like that, with a latent that decodes and no video.
kept() {
    [ "$code" -eq "$2" ] || fail "$1: exit $code: $(cat "$tmp/$1.err")"
    latent=$(sed -n 's/.*the latent after step [0-9]* of 1000 is in \([^ ]*\) .*/\1/p' "$tmp/$1.err")
    [ -s "$latent" ] || fail "$1: no latent: $(cat "$tmp/$1.err")"
    [ ! -e "$tmp/v/$1.y4m" ] || fail "$1: a video was written"
    passes "$generate" --model "$demo" --num-inference-steps 0 --quiet --latents "$latent" \
        --output "$tmp/v/decoded.y4m" --force
}

empty() {
    left=$(ls "$TMPDIR")
    [ -z "$left" ] || fail "$1: left behind: $left"
}

# Whoever runs the tests may ignore hang-ups (nohup), and programs would inherit it.
heard=env
env --default-signal=HUP true 2>/dev/null && heard="env --default-signal=HUP"

for signal in HUP XCPU XFSZ USR1 USR2 TERM QUIT ALRM VTALRM PROF IO PWR 16 34 64; do # 16: SIGSTKFLT
    begin $signal $heard
    kill -$signal $pid
    wait $pid
    code=$?
    kept $signal 1
    [ "${latent%/*}" = "$tmp/v" ] || fail "$signal: the latent is in $latent"
    empty $signal
done

# A limit of CPU time, whose hard one kills.
begin cpu sh -c 'ulimit -t 4 && exec "$@"' sh
ended
kept cpu 1
grep -q "stopped: its CPU time is used up (ulimit -t)" "$tmp/cpu.err" || fail "ulimit -t: $(cat "$tmp/cpu.err")"

# An abort ends it, whoever raised the signal, and says no more than is true: somebody else, and StarPU's watchdog in
# one of its threads, which sees nothing end for a millisecond.
begin abort env
kill -ABRT $pid
wait $pid
code=$?
[ $code -eq 134 ] && grep -q ": ended by SIGABRT. Videos" "$tmp/abort.err" || fail "ABRT: exit $code: $(cat "$tmp/abort.err")"
: >"$tmp/watchdog.err"
STARPU_WATCHDOG_TIMEOUT=1000 STARPU_WATCHDOG_CRASH=1 "$generate" --model "$demo" --token-ids 5,6,1 --height 512 \
    --width 512 --num-frames 17 --num-inference-steps 1000 --progress none --output "$tmp/v/watchdog.y4m" \
    2>"$tmp/watchdog.err" </dev/null &
pid=$!
ended
[ $code -eq 134 ] && [ "$(grep -c 'aborted in another thread. Videos' "$tmp/watchdog.err")" -eq 1 ] ||
    fail "watchdog: exit $code: $(cat "$tmp/watchdog.err")"
rm -rf "$TMPDIR"/stardit-*

# As systemd and closing terminals end programs: two signals at once are one. It stands still while both are sent.
for second in HUP INT QUIT; do
    begin twice $heard
    kill -STOP $pid
    kill -TERM $pid
    kill -$second $pid
    kill -CONT $pid
    wait $pid
    code=$?
    kept twice 1
done

# Under nohup a hang-up is nothing.
begin nohup nohup
kill -HUP $pid
lines=$(wc -l <"$tmp/nohup.err")
goes_on() { [ "$(wc -l <"$tmp/nohup.err")" -gt $((lines + 1)) ]; }
await goes_on || fail "nohup: ended: $(cat "$tmp/nohup.err")"
kill -TERM $pid
wait $pid
code=$?
kept nohup 1

# Nobody reads the progress any more: the video comes all the same.
small="--height 32 --width 32 --num-frames 5 --num-inference-steps 20 --token-ids 5,6,1"
# shellcheck disable=SC2086
{
    "$generate" --model "$demo" $small --progress bar --output "$tmp/v/pipe.y4m" 2>&1 >/dev/null
    echo $? >"$tmp/pipe.code"
} | head -c 1 >/dev/null
[ "$(cat "$tmp/pipe.code")" -eq 0 ] && [ -s "$tmp/v/pipe.y4m" ] || fail "closed pipe: exit $(cat "$tmp/pipe.code")"

# Files that may not grow to a video's size: an error, and the latent (it is smaller).
(
    ulimit -f 400
    # shellcheck disable=SC2086
    "$generate" --model "$demo" $small --height 256 --width 256 --num-inference-steps 2 --progress none \
        --output "$tmp/v/limit.safetensors" 2>"$tmp/limit.err"
)
code=$?
[ $code -eq 1 ] || fail "ulimit -f: exit $code: $(cat "$tmp/limit.err")"
grep -q "File too large" "$tmp/limit.err" || fail "ulimit -f: $(cat "$tmp/limit.err")"
grep -q "latent after step 2 of 2 is in $tmp/v/limit.latent.safetensors" "$tmp/limit.err" ||
    fail "ulimit -f: $(cat "$tmp/limit.err")"

# A full disk under the output: the latent goes to TMPDIR.
mkdir "$tmp/full"
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=64k none "$tmp/full" 2>/dev/null; then
    trap 'umount "$tmp/full"; rm -rf "$tmp"' EXIT
    head -c 60000 /dev/zero >"$tmp/full/stuff"
    # shellcheck disable=SC2086
    "$generate" --model "$demo" $small --height 96 --width 96 --progress none \
        --output "$tmp/full/v.y4m" 2>"$tmp/full.err" && fail "full disk: exit 0"
    grep -q "latent after step 20 of 20 is in $TMPDIR/v.latent.safetensors" "$tmp/full.err" ||
        fail "full disk: $(cat "$tmp/full.err")"
    rm -f "$TMPDIR/v.latent.safetensors"
else
    echo "no tmpfs can be mounted here: full disks are not tried"
fi
empty "all of these"

# Limits on which StarPU, or a thread, would abort: one line instead.
limited="$generate --model $demo $small --quiet --output $tmp/v/limited.y4m"
# shellcheck disable=SC2086
# 240: the loader of libraries needs some before the program can say a word, and the environment lies there too.
refuses 1 sh -c "ulimit -s 240 && exec $limited"
says "stacks of 240 KB are too small"
# root has no such limit; without its rights, files of root's may still be read.
if setpriv --reuid=65534 --inh-caps=+dac_read_search --ambient-caps=+dac_read_search prlimit --nproc=9 true 2>/dev/null; then
    chmod 777 "$TMPDIR" "$tmp/v"
    for threads in 1 2 3; do
        # A sanitizer that looks for leaks would want a thread, too.
        # shellcheck disable=SC2086
        ASAN_OPTIONS="${ASAN_OPTIONS-}:detect_leaks=0" \
            setpriv --reuid=65534 --inh-caps=+dac_read_search --ambient-caps=+dac_read_search \
            prlimit --nproc=$threads $limited 2>"$tmp/err" </dev/null && fail "ulimit -u $threads: exit 0"
        [ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -q "threads are needed for [0-9]* workers, and [0-9]* could be started" "$tmp/err" ||
            fail "ulimit -u $threads: $(cat "$tmp/err")"
    done
    head -1 "$tmp/err"
else
    echo "setpriv or prlimit cannot be used here: ulimit -u is not tried"
fi

# Killed: its folder goes with the next start, those of living runs and other people's files stay.
begin killed env
kill -KILL $pid
wait $pid
[ "$(ls "$TMPDIR" | wc -l)" -eq 1 ] || fail "killed: $(ls "$TMPDIR")"
touch -d '1 minute ago' "$TMPDIR"/stardit-*
mkdir "$TMPDIR/stardit-mine" "$TMPDIR/stardit-1-folder"
begin alive env
touch -d '1 minute ago' "$TMPDIR"/stardit-[0-9]*
# shellcheck disable=SC2086
passes "$generate" --model "$demo" $small --quiet --output "$tmp/v/next.y4m"
[ "$(ls -d "$TMPDIR"/stardit-[0-9]*-?????? | wc -l)" -eq 1 ] || fail "sweeping: $(ls "$TMPDIR")"
[ -d "$TMPDIR/stardit-mine" ] || fail "a folder of somebody else was removed"
kill -0 $pid || fail "the living run: $(cat "$tmp/alive.err")"
kill -TERM $pid
wait $pid
code=$?
kept alive 1

# What a killed run was writing goes too, once it is old.
touch -d '5 minutes ago' "$tmp/v/.stardit-999999999-0.part" "$tmp/v/.stardit-$$-0.part"
mkdir "$tmp/v/.stardit-999999998-1.part"
touch "$tmp/v/.stardit-999999998-1.part/00000.png"
touch -d '5 minutes ago' "$tmp/v/.stardit-999999998-1.part"
# shellcheck disable=SC2086
passes "$generate" --model "$demo" $small --quiet --output "$tmp/v/last.y4m"
[ "$(ls -A "$tmp/v" | grep '^\.')" = ".stardit-$$-0.part" ] || fail "parts: $(ls -A "$tmp/v")"
finish
