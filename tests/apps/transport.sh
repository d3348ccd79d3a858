#!/bin/sh
# --transport nccl on stand-in devices: the same graph, order and waiting as with NCCL, the copies by the
# last rank to arrive. Same bits under every policy, every byte accounted for, and no rank waits for ever.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

STARDIT_STALL_SECONDS=60
export STARDIT_STALL_SECONDS

video() {
    name=$1
    shift
    passes "$generate" --model "$demo" --prompt "a red circle" --num-inference-steps 2 \
        --workers-per-device 1 --progress none --output "$tmp/$name.safetensors" \
        --stats "$tmp/$name.json" "$@"
}

field() {
    sed -n "s/.*\"$2\": \([0-9]*\).*/\1/p" "$tmp/$1.json"
}

video single --devices 1
for n in 1 2 3 5 8; do
    for strategy in ulysses pipesp; do
        video nccl-$n --devices $n --strategy $strategy --transport nccl --force
        same "$tmp/nccl-$n.safetensors" "$tmp/single.safetensors"
        [ $n -gt 1 ] || continue
        video plain-$n --devices $n --strategy $strategy --force
        rounds=$(field nccl-$n collective_bytes)
        [ "$rounds" -gt 0 ] &&
            [ $(($(field nccl-$n between_devices_bytes) + rounds)) -eq \
                "$(field plain-$n between_devices_bytes)" ] ||
            fail "$n devices, $strategy: StarPU's $(field nccl-$n between_devices_bytes) and the" \
                "rounds' $rounds bytes are not the $(field plain-$n between_devices_bytes) of before"
    done
done
for policy in static example scatter lws dmda ws random; do
    video $policy --devices 3 --strategy pipesp --transport nccl --scheduler $policy
    same "$tmp/$policy.safetensors" "$tmp/single.safetensors"
done
video groups --dit-devices 0-2 --vae-devices 3 --strategy pipesp --transport nccl
same "$tmp/groups.safetensors" "$tmp/single.safetensors"
video chunks --devices 3 --strategy pipesp --chunk-heads 2 --transport nccl --streams 1
same "$tmp/chunks.safetensors" "$tmp/single.safetensors"

refuses 2 "$generate" --model "$demo" --prompt x --output "$tmp/no.mp4" --devices 2 --strategy ring \
    --transport nccl
says "transport nccl does not go with strategy ring"
refuses 2 "$generate" --model "$demo" --prompt x --output "$tmp/no.mp4" --dit-devices 0-1 \
    --vae-devices 2 --aco static --transport nccl
says "transport nccl does not go with aco static"

# Ctrl-C in the middle of a round: the ranks that are there are let go.
"$generate" --model "$demo" --prompt "a red circle" --num-inference-steps 500 --devices 4 \
    --workers-per-device 1 --strategy pipesp --transport nccl --progress plain \
    --output "$tmp/stopped.safetensors" 2>"$tmp/err" &
pid=$!
await grep -q '^denoise \([2-9]\|[0-9][0-9]\)' "$tmp/err"
kill -INT $pid
wait $pid
code=$?
[ $code -eq 1 ] && [ -s "$tmp/stopped.latent.safetensors" ] || fail "stopped: exit $code: $(cat "$tmp/err")"
finish
