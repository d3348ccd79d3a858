#!/bin/sh
# --use-cfg-parallel: the branches of guidance on devices of their own give the bytes of one device, with any
# strategy, policy, workers and speeds; what moves is what the plan says; what cannot be is refused in a line.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
simulate=$build/stardit-simulate
apart=--use-cfg-parallel
size="--token-ids 17,5,33,208,1 --height 96 --width 96 --num-frames 9 --num-inference-steps 3 --guidance-scale 3"

# run NAME OPTIONS...
run() {
    name=$1
    shift
    # shellcheck disable=SC2086
    passes "$generate" --model "$demo" $size --quiet --force --output "$tmp/$name.safetensors" \
        --stats "$tmp/$name.json" "$@"
}
value() {
    name=$1
    shift
    "$tool" json "$tmp/$name.json" "$@"
}

# gives NAME OPTIONS...: the bytes of NAME, with work on every device that denoises.
gives() {
    name=$1
    shift
    run there $apart "$@"
    same "$tmp/there.safetensors" "$tmp/$name.safetensors"
    for d in $(seq 0 $(($(value there device) - 1))); do
        [ "$(value there device "$d" tasks)" -gt 0 ] || fail "$*: device $d has no task"
    done
}

# counts NAME OPTIONS...: beside the run NAME, that of the options moves as many bytes between devices more as the
# plan says; what weights and the first latent take falls out of the difference.
counts() {
    base=$1
    shift
    run more $apart "$@"
    measured=$(($(value more moved between_devices_bytes) - $(value "$base" moved between_devices_bytes)))
    formula=$(echo "$(value more plan exchanged_bytes) $(value "$base" plan exchanged_bytes)" | awk '{ print $1 - $2 }')
    echo "$*: moves $measured bytes more than $base, planned $formula"
    [ "$measured" -eq "$formula" ] && [ "$formula" -gt 0 ] || fail "$*: not as planned"
}

run first --strategy single --devices 1
gives first --devices 2 --strategy single
counts there --devices 2 --strategy single --num-inference-steps 5
gives first --devices 2 --strategy ulysses --workers-per-device 2
gives first --devices 3 --strategy ulysses
counts there --devices 3 --strategy ulysses --num-inference-steps 5
gives first --devices 4 --strategy pipesp
counts there --devices 4 --strategy pipesp --num-inference-steps 5
gives first --devices 4 --strategy pipesp --workers-per-device 2 --chunk-heads 2
gives first --devices 8 --strategy ulysses
gives first --devices 4 --strategy ulysses --device-speed 1,3,2,1
gives first --dit-parallel-size 3 --vae-parallel-size 1 --strategy pipesp
for policy in lws eager dmda pipedit; do
    gives first --devices 3 --strategy pipesp --scheduler $policy
done
# Rings have bits of their own, that of one group of as many devices, or a golden tolerance.
run ring $apart --devices 4 --strategy ring
run usp $apart --devices 8 --strategy usp --ulysses-degree 2
"$eval" --metrics "$tmp/first.safetensors" "$tmp/ring.safetensors" >"$tmp/metrics" 2>&1 || fail "$(cat "$tmp/metrics")"

# Steps that are not all alike, and several requests.
few="--num-inference-steps 8"
# shellcheck disable=SC2086
{
    run gated $few --cfg-gate 0-3
    gives gated $few --cfg-gate 0-3 --devices 3
    counts there $few --cfg-gate 0-5 --devices 3
    run cached $few --step-cache 4,6
    gives cached $few --step-cache 4,6 --devices 4 --strategy pipesp
    counts there $few --step-cache 4 --devices 4 --strategy pipesp
}

# ---- plans ----------------------------------------------------------------------------------------

# shellcheck disable=SC2086
passes "$generate" --model "$demo" $size --dry-run --devices 3 $apart
grep -q "^  branches       apart: the prompt's on the first 2 devices that denoise, the negative one's on the last 1" \
    "$tmp/out" || fail "$(cat "$tmp/out")"
grep -q "^    together .*predicted" "$tmp/out" || fail "no word of both together"
# shellcheck disable=SC2086
passes "$generate" --model "$demo" $size --dry-run --devices 4 --plan auto
grep -q "streams 2 apart" "$tmp/out" || grep -q ", .* apart" "$tmp/out" || fail "--plan auto: $(cat "$tmp/out")"
for idle in "--guidance-scale 1" "--cfg-gate 0-1"; do
    # shellcheck disable=SC2086
    passes "$generate" --model "$demo" $size --dry-run --devices 4 --plan auto $idle
    ! grep -q " apart" "$tmp/out" || fail "$idle: a group would be idle: $(grep ' apart' "$tmp/out")"
done

# ---- refusals -------------------------------------------------------------------------------------

refused() {
    what=$1
    shift
    # shellcheck disable=SC2086
    refuses 2 "$generate" --model "$demo" $size --quiet --output "$tmp/x.y4m" --force $apart "$@"
    says "$what"
}
refused "each of two branches needs a device"
refused "one forward a step" --devices 2 --guidance-scale 1
refused "does not go with --aco static" --dit-parallel-size 2 --vae-parallel-size 1 --aco static
refused "does not go with --transport nccl" --devices 2 --transport nccl
refused "streams 1 does not go with it" --devices 2 --streams 1

# ---- simulated time -------------------------------------------------------------------------------

if [ -x "$simulate" ]; then
    for options in "" $apart; do
        # shellcheck disable=SC2086
        passes "$simulate" --model wan-1.3b --layers 4 --platform "$source/platforms/h100x8" --prompts 1 \
            --num-inference-steps 4 --fast-forward --prompt-embeds --strategy ulysses $options
        grep -E "^(Plan|Total|Step)" "$tmp/out"
    done
    grep -q "on devices of their own" "$tmp/out" || fail "$(cat "$tmp/out")"
    refuses 2 "$simulate" --model wan-1.3b --devices 2 $apart
fi
finish
