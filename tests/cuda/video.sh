#!/bin/sh
# A video from a GPU is the CPUs' video: in both types, with each strategy, and with the transformer and
# the decoder in two groups that share the GPU. The same work twice gives the same bits.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
. "${STARDIT_SOURCE_DIR:-.}/tests/cuda/common.sh"

# Relative L2 of the video's pixels. A forward in bfloat16 is within 2e-2 (golden.sh), and guidance 5 takes 5 of one
# forward and -4 of the other: sqrt(25 + 16) times that.
float32=1e-3 bfloat16=0.13

video cpu --devices 1
for dtype in float32 bfloat16; do
    eval "limit=\$$dtype"
    video gpu-$dtype --devices cuda:0 --dtype $dtype
    like gpu-$dtype cpu $limit
    video again-$dtype --devices cuda:0 --dtype $dtype
    same "$tmp/again-$dtype.safetensors" "$tmp/gpu-$dtype.safetensors"
    for strategy in ulysses pipesp; do
        video $strategy-$dtype --devices cuda:0 --dtype $dtype --strategy $strategy
        like $strategy-$dtype cpu $limit
    done
    video dedivae-$dtype --dit-devices cuda:0 --vae-devices cuda:0 --dtype $dtype
    like dedivae-$dtype cpu $limit
done
finish
