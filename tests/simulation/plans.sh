#!/bin/sh
# cuDNN's plans that a run asks for ahead are those that its tasks need, none too few and none too many, for each
# family, tiles and two groups of GPUs.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
plans=$build/tests/simulation/plans
if [ ! -x "$plans" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi
unset STARPU_SCHED STARPU_SCHED_LIB

cases=0
while read -r want size height width frames tile strategy devices groups; do
    set -- "$size" "$height" "$width" "$frames" "$tile" "$strategy" "$devices" "$groups"
    passes "$plans" "$@" || { cat "$tmp/out"; continue; }
    line=$(tail -n 1 "$tmp/out") cases=$((cases + 1))
    echo "$*: $line"
    [ "${line%% *}" = "$want" ] || fail "$*: $want convolutions were expected"
done <<'END'
19 wan-1.3b 480 832 17 0 single 1 1
19 wan-14b 720 1280 17 0 pipesp 7 1
19 wan-1.3b 480 832 17 0 ulysses 3 2
76 wan-1.3b 480 832 17 256 pipesp 3 2
19 hunyuan-13b 480 832 17 0 ulysses 5 1
32 open-sora-plan-1.3 352 640 29 0 ulysses 2 1
END
[ $cases -eq 6 ] || fail "$cases cases"
finish
