#!/bin/sh
# The golden cases on a GPU: float32 within the limits of CPUs, bfloat16 within a relative L2 of 2e-2.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
. "${STARDIT_SOURCE_DIR:-.}/tests/cuda/common.sh"

for dtype in float32 bfloat16; do
    golden transformer wan_dit 1 $dtype
    golden vae wan_vae 2 $dtype
    golden vae hunyuan_vae 3 $dtype
    golden vae wfvae13 1 $dtype
    golden text_encoder umt5 2 $dtype
done
finish
