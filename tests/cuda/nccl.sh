#!/bin/sh
# Exchanges through NCCL on one GPU: the same bits as with StarPU's own transfers.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
. "${STARDIT_SOURCE_DIR:-.}/tests/cuda/common.sh"

"$generate" --help >"$tmp/help"
grep -q -e '--transport' "$tmp/help" || {
    echo "skipped: this build has no --transport" >&2
    exit 77
}
for strategy in ulysses pipesp; do
    for dtype in float32 bfloat16; do
        video plain-$strategy-$dtype --devices cuda:0 --dtype $dtype --strategy $strategy
        video nccl-$strategy-$dtype --devices cuda:0 --dtype $dtype --strategy $strategy \
            --transport nccl
        same "$tmp/nccl-$strategy-$dtype.safetensors" "$tmp/plain-$strategy-$dtype.safetensors"
    done
done
finish
