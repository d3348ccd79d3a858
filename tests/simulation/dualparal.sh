#!/bin/sh
# Strategy dualparal's bubbles: the part of the devices' time in which they have nothing to do while blocks are
# denoised, by the time that an item takes (a block's forward on one device), beside what the order of blocks
# leaves where all items take as long and travel in no time. Published: DualParal, arXiv 2505.21070.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
if [ ! -x "$simulate" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi

# seconds DEVICES BLOCKS STEPS: of denoising blocks that add 8 frames of the latent and share 8. On slow GPUs, so
# that loading weights and launching kernels take no part of it.
seconds() {
    passes "$simulate" --model wan-1.3b --layers "$1" --forwards 1 --num-inference-steps "$3" --height 256 \
        --width 448 --num-frames $((4 * (8 * $2 + 8 - 1) + 1)) --prompts 1 --prompt-embeds \
        --platform "$source/platforms/h100x8" --gpu-gflops 10000 --strategy dualparal --devices "$1" \
        --stats "$tmp/stats.json" && "$tool" json "$tmp/stats.json" videos 0 denoise_seconds
}

# bubbles DEVICES BLOCKS PAPER: in 50 steps.
bubbles() {
    awk -v n="$1" -v b="$2" -v paper="$3" -v t=50 -v all="$(seconds "$1" "$2" 50)" \
        -v less="$(seconds "$1" "$2" 40)" 'BEGIN {
        # In the middle each iteration passes all blocks through every device.
        item = (all - less) / (10 * b)
        # In an iteration of few blocks the newest one comes back after as many items as there are devices; in the
        # end the last one passes them.
        for (k = 0; k < t + b - 1; k++) {
            newest = k < b ? k : b - 1
            oldest = k < t ? 0 : k - t + 1
            alive = newest - oldest + 1
            slots += alive > n ? alive : n
        }
        slots += n - 1
        rule = 1 - t * b / slots
        idle = item > 0 ? 1 - t * b * item / all : 1
        printf "%d devices, %d blocks: idle for %.3f of the time, by the rule %.3f, by the published formula %.3f\n",
            n, b, idle, rule, paper
        exit !(idle > rule - 0.005 && idle < rule + 0.005)
    }' || fail "$1 devices, $2 blocks: not the bubbles of its order"
}
bubbles 4 5 0.042
bubbles 8 16 0.064
finish
