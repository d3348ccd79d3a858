#!/bin/sh
# A run without progress ends: when a task is lost (by a scheduler that forgets it), the program says after
# STARDIT_STALL_SECONDS which tasks wait, the lost one first, and exits with 1. While encoding text, denoising,
# decoding, with one group and with two.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

# forgets NAME ROLE OPTION...: the lost task's name, and what the line must say of it.
forgets() {
    name=$1
    about=$2
    shift 2
    # On a busy machine another task may last as long and be named: the same with more patience.
    for patience in 3 15 75; do
        STARPU_SCHED_LIB="$build/tests/apps/.libs/forgetful.so" STARPU_SCHED=forgetful \
            STARDIT_FORGET=$name STARDIT_STALL_SECONDS=$patience "$generate" --model "$demo" \
            --prompt "a red ball" --num-inference-steps 2 --quiet --output "$tmp/never.y4m" "$@" \
            >"$tmp/out" 2>"$tmp/err" </dev/null &
        pid=$!
        ended
        ! grep -q "the oldest: $name ($about" "$tmp/err" || break
    done
    [ $code -eq 1 ] || fail "$name forgotten, $*: exit $code: $(cat "$tmp/err")"
    grep -q "no task has ended for $patience s; [0-9]* wait, the oldest: $name ($about" "$tmp/err" ||
        fail "$name forgotten, $*: $(cat "$tmp/err")"
    [ ! -e "$tmp/never.y4m" ] || fail "$name forgotten, $*: a video was written"
    echo "$*: $(cut -c -230 "$tmp/err" | head -1)"
}

forgets text_gate "request 0, layer 0" --devices 1
forgets to_out "request 0, layer 0" --devices 1
forgets to_out "request 0, layer 0" --devices 3 --strategy pipesp
forgets vae_conv "request 0" --devices 2
forgets attention "request 0, layer 0" --dit-devices 0-1 --vae-devices 2 --strategy pipesp
forgets vae_conv "request 0" --dit-devices 0-1 --vae-devices 2 --strategy pipesp

# StarPU aborts where CUDA fails: the line says in which task, on which worker, and the signal stays what it was.
STARPU_SCHED_LIB="$build/tests/apps/.libs/forgetful.so" STARPU_SCHED=forgetful STARDIT_ABORT=vae_conv \
    "$generate" --model "$demo" --prompt "a red ball" --num-inference-steps 2 --quiet \
    --output "$tmp/never.y4m" >"$tmp/out" 2>"$tmp/err" </dev/null
[ $? -eq 134 ] || fail "not aborted: $(cat "$tmp/err")"
grep -q '^stardit-generate: aborted in task vae_conv on worker CPU [0-9]*\. Videos .* --resume goes on from$' \
    "$tmp/err" || fail "aborted: $(cat "$tmp/err")"
finish
