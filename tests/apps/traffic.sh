#!/bin/sh
# What a step moves between devices is exactly what the strategy's formula says: measured by StarPU as the
# difference between 12 and 8 steps, so that weights and latents, which move once, fall out.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

# traffic OPTIONS...
traffic() {
    for steps in 8 12; do
        passes "$generate" --model "$demo" --token-ids 17,5,1 --height 48 --width 80 --num-frames 9 \
            --num-inference-steps $steps --quiet --force --output "$tmp/v.safetensors" \
            --stats "$tmp/s$steps.json" "$@" || return
    done
    few=$("$tool" json "$tmp/s8.json" moved between_devices_bytes)
    many=$("$tool" json "$tmp/s12.json" moved between_devices_bytes)
    formula=$("$tool" json "$tmp/s8.json" plan exchanged_bytes_per_step)
    formula=${formula%.*}
    [ $((many - few)) -eq $((4 * formula)) ] ||
        fail "$*: 4 steps move $((many - few)) bytes, the formula says $((4 * formula))"
    [ "$formula" -gt 0 ] || fail "$*: nothing is exchanged"
    echo "$*: $formula bytes a step"
}

# Of blocks, whose first steps read what comes from the host: the steps after them. A block's last latent is read by the
# host and by the next block, which may have it from either; so what comes from and goes to the host counts too.
blocks() {
    for steps in 8 12; do
        passes "$generate" --model "$demo" --token-ids 17,5,1 --height 48 --width 80 --strategy dualparal \
            --num-inference-steps $steps --quiet --force --output "$tmp/v.safetensors" \
            --stats "$tmp/s$steps.json" "$@" || return
        eval "moved$steps=\$(($("$tool" json "$tmp/s$steps.json" moved between_devices_bytes) + $("$tool" json "$tmp/s$steps.json" moved host_bytes)))"
        eval "formula$steps=$("$tool" json "$tmp/s$steps.json" plan exchanged_bytes)"
    done
    # shellcheck disable=SC2154
    formula=$(awk -v a="$formula8" -v b="$formula12" 'BEGIN { printf "%.0f", b - a }')
    # shellcheck disable=SC2154
    [ $((moved12 - moved8)) -eq "$formula" ] && [ "$formula" -gt 0 ] ||
        fail "dualparal $*: 4 steps of all blocks move $((moved12 - moved8)) bytes, the formula says $formula"
    echo "dualparal $*: $formula bytes in 4 steps of all blocks"
}
blocks --devices 2 --num-frames 33 --block-frames 8
blocks --devices 3 --num-frames 69 --block-frames 12 --overlap-frames 4

for devices in 2 3 5 7 8; do
    traffic --strategy ulysses --devices $devices
    traffic --strategy pipesp --devices $devices
    traffic --strategy ring --devices $devices
done
traffic --strategy usp --devices 4 --ulysses-degree 2
traffic --strategy usp --devices 6 --ulysses-degree 3
traffic --strategy pipesp --devices 3 --chunk-heads 3
traffic --strategy pipefusion --devices 2
traffic --strategy pipefusion --devices 3 --patches 6 --warmup-steps 2
traffic --strategy pipefusion --devices 4 --ulysses-degree 2
traffic --strategy pipefusion --devices 3 --ulysses-degree 3 --patches 2
traffic --strategy ulysses --dit-parallel-size 2 --vae-parallel-size 1
traffic --strategy ulysses --dit-parallel-size 2 --vae-parallel-size 1 --aco static
traffic --strategy pipesp --dit-parallel-size 3 --vae-parallel-size 2 --aco static
traffic --strategy pipesp --dit-parallel-size 7 --vae-parallel-size 1 --aco static
finish
