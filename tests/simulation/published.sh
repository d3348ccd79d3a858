#!/bin/sh
# Published speed-ups of steps that are not all alike, beside what the same work takes in simulated time:
# MagCache of Wan 2.1 14B at 720p, and PipeFusion of PixArt (20 steps, 28 layers) on 4 and 8 GPUs.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
if [ ! -x "$simulate" ]; then
    echo "built without StarPU over SimGrid (configure --with-starpu-simgrid)"
    exit 77
fi
platforms=$source/platforms

# seconds FIELD OPTIONS...: of a whole run, the number behind FIELD.
seconds() {
    field=$1
    shift
    passes "$simulate" --prompts 1 --fast-forward "$@" || return
    sed -n "s/.*$field *\([0-9.]*\) s.*/\1/p" "$tmp/out" | head -1
}

# near NAME WHOLE LESS PUBLISHED PERCENT
near() {
    awk -v name="$1" -v a="$2" -v b="$3" -v want="$4" -v most="$5" 'BEGIN {
        got = b > 0 ? a / b : 0
        off = 100 * (got / want - 1)
        printf "%-44s %.2fx, published %.2fx: %+.1f %%\n", name, got, want, off
        exit !(off <= most && off >= -most)
    }' || fail "$1: more than $5 % away"
}

wan="--model wan-14b --platform $platforms/a100x8 --devices 1 --height 720 --width 1280 --num-frames 81"
# shellcheck disable=SC2086
near "MagCache, Wan 2.1 14B, 720p" "$(seconds Total: $wan)" "$(seconds Total: $wan --step-cache magcache)" 2.772 1

# pixart SIZE FRAMES FOUR EIGHT [TWO]: as many layers and tokens as PixArt's images of SIZE pixels square have, and
# what is published. One constant is fitted, to the two figures of 1024 pixels: PyTorch launches a kernel in 15 us.
pixart() {
    image="--model wan-1.3b --layers 28 --height 1024 --width 1024 --num-frames $2 --num-inference-steps 20 \
        --prompt-embeds --launch-us 15"
    # shellcheck disable=SC2086
    {
        a100="$image --platform $platforms/a100-pcie-x4"
        near "PipeFusion, $1px, 4 A100" "$(seconds denoising $a100 --devices 1)" \
            "$(seconds denoising $a100 --strategy pipefusion --patches 4)" "$3" 15
        l20="$image --platform $platforms/l20x8"
        alone=$(seconds denoising $l20 --devices 1)
        l20="$l20 --strategy pipefusion --patches 8"
        near "PipeFusion, $1px, 8 L20" "$alone" "$(seconds denoising $l20)" "$4" 15
        [ $# -lt 5 ] || near "PipeFusion, $1px, 8 L20, 2 warm-up steps" "$alone" \
            "$(seconds denoising $l20 --warmup-steps 2)" "$5" 15
    }
}
pixart 1024 1 2.41 3.93
pixart 2048 13 3.02 5.28 4.17
pixart 4096 61 3.05 5.52 4.31
finish
