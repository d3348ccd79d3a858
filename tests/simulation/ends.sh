#!/bin/sh
# A simulation that cannot go on, or that is ended, exits with 1, prints no result and says why in one line: a
# scheduler that forgets a task while text is encoded, while denoising, while decoding, in one group and in two,
# in whole runs and in one step; and a scheduler that aborts.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
module=$build/tests/simulation/.libs/forgetful.so
if [ ! -x "$simulate" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi

run="$simulate --model $demo --height 32 --width 32 --num-frames 5 --prompts 2 --num-inference-steps 2"
two="--devices 3 --dit-devices 0-1 --vae-devices 2"
# forgets NAME OPTION...: the lost task's name.
forgets() {
    name=$1
    shift
    refuses 1 env STARPU_SCHED_LIB="$module" STARPU_SCHED=forgetful STARDIT_FORGET="$name" "$@"
    says "deadlock: nothing can go on under the scheduler forgetful; [0-9]* tasks* waits*, the oldest: $name (request [0-9]*, layer"
}

# The module as it should be changes nothing else.
# shellcheck disable=SC2086
passes env STARPU_SCHED_LIB="$module" STARPU_SCHED=forgetful $run
# shellcheck disable=SC2086
{
    forgets text_gate $run
    forgets to_out $run --devices 1
    forgets to_out $run --devices 3 --strategy pipesp
    forgets vae_conv $run --devices 2
    forgets attention $run $two --strategy pipesp
    forgets vae_conv $run $two --aco dynamic
    forgets to_out "$simulate" --devices 2 --num-frames 5 --layers 2
    refuses 1 env STARPU_SCHED_LIB="$module" STARPU_SCHED=forgetful STARDIT_ABORT=vae_conv $run
    says "the simulation was ended by signal 6"
    refuses 1 env TMPDIR="$tmp/none" $run
}
finish
