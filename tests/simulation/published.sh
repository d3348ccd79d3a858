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

# As many layers and tokens as PixArt's images of 2048x2048 have.
pixart="--model wan-1.3b --layers 28 --height 1024 --width 1024 --num-frames 13 --num-inference-steps 20 \
    --prompt-embeds --platform $platforms/l40x8"
# shellcheck disable=SC2086
{
    one=$(seconds denoising $pixart --devices 1)
    four=$(seconds denoising $pixart --devices 4 --strategy pipefusion --patches 4)
    eight=$(seconds denoising $pixart --devices 8 --strategy pipefusion --patches 8)
    two=$(seconds denoising $pixart --devices 8 --strategy pipefusion --patches 8 --warmup-steps 2)
}
near "PipeFusion, 2048px, 4 GPUs" "$one" "$four" 3.02 15
near "PipeFusion, 2048px, 8 GPUs" "$one" "$eight" 5.28 15
near "PipeFusion, 2048px, 8 GPUs, 2 warm-up steps" "$one" "$two" 4.17 15
finish
