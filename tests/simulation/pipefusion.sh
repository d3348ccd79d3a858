#!/bin/sh
# Strategy pipefusion's period: with M patches of 2 branches and N stages a step takes as long as max(2M, N + 1)
# of its items, an item being a patch of a branch in a stage. That is what the dependencies leave: a stage has 2M
# items to do, and a patch comes back when it has passed N stages with its other branch behind it.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
if [ ! -x "$simulate" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi

# denoising DEVICES PATCHES STEPS: seconds.
denoising() {
    passes "$simulate" --model wan-14b --layers 8 --height 256 --width 512 --num-frames 61 --prompts 1 \
        --prompt-embeds --platform "$source/platforms/h100x8" --strategy pipefusion --devices "$1" \
        --patches "$2" --num-inference-steps "$3" --stats "$tmp/stats.json" &&
        "$tool" json "$tmp/stats.json" videos 0 denoise_seconds
}

for patches in 2 4 8; do
    few=$(denoising 1 $patches 9) many=$(denoising 1 $patches 13)
    alone=$(awk -v a="$few" -v b="$many" 'BEGIN { printf "%.9g", (b - a) / 4 }') # a step on one device
    for stages in 2 4 8; do
        few=$(denoising $stages $patches 9) many=$(denoising $stages $patches 13)
        awk -v a="$few" -v b="$many" -v alone="$alone" -v m=$patches -v n=$stages 'BEGIN {
            item = alone / (2 * m * n)
            rule = 2 * m > n + 1 ? 2 * m : n + 1
            period = (b - a) / 4 / item
            off = 100 * (period / rule - 1)
            printf "%d patches, %d stages: a step takes %.2f items, by the rule %d: %+.1f %%\n", m, n, period, rule, off
            exit !(off > -1 && off <= 5)
        }' || fail "$patches patches, $stages stages: not the rule's period"
    done
done
finish
