#!/bin/sh
# Which steps a request takes: noise levels of one's own, given in any of their forms. Whatever it is, one request
# has the same bytes on every number of devices and workers and under every policy, also where it was stopped and
# went on; the settings that change nothing give the bytes of the default.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

size="--height 48 --width 80 --num-frames 9"

# run NAME OPTIONS...: the video NAME.safetensors, with its statistics.
run() {
    name=$1
    shift
    # shellcheck disable=SC2086
    passes "$generate" --model "$demo" --token-ids 17,5,1 $size --quiet --force \
        --output "$tmp/$name.safetensors" --stats "$tmp/$name.json" "$@"
}

# everywhere NAME OPTIONS...: the same bytes wherever it runs.
everywhere() {
    what=$1
    shift
    run "$what" "$@"
    for devices in 2 3 4 8; do
        run there --devices $devices --strategy ulysses "$@"
        same "$tmp/there.safetensors" "$tmp/$what.safetensors"
        [ "$("$tool" json "$tmp/there.json" moved between_devices_bytes)" -gt 0 ] ||
            fail "$what: nothing moves between $devices devices"
    done
    for policy in lws eager dmda; do
        run there --devices 3 --strategy pipesp --workers-per-device 2 --scheduler $policy "$@"
        same "$tmp/there.safetensors" "$tmp/$what.safetensors"
    done
    run there --devices 3 --device-speed 1,3,2 --streams 1 "$@"
    same "$tmp/there.safetensors" "$tmp/$what.safetensors"
}

few="--flow-shift 5 --guidance-scale 1"
# shellcheck disable=SC2086
{
    everywhere sigmas --sigmas 1000,750,500,250 --sampler euler $few
    run levels --sigmas 1,0.75,0.5,0.25 --sampler euler $few
    run shifted --sigmas 1,0.9375,0.83333333333333333,0.625 --sampler euler --flow-shift 1 --guidance-scale 1
    everywhere renoise --sigmas 1000,750,500,250 --sampler renoise $few
}
same "$tmp/levels.safetensors" "$tmp/sigmas.safetensors"
same "$tmp/shifted.safetensors" "$tmp/sigmas.safetensors"
cmp -s "$tmp/renoise.safetensors" "$tmp/sigmas.safetensors" && fail "renoise adds no noise"
[ "$("$tool" json "$tmp/sigmas.json" num_inference_steps)" -eq 4 ] || fail "not 4 steps"
# What its own code lays out, given as a list, is the default.
run default --num-inference-steps 4 --sampler euler --sampler-schedule linear --flow-shift 3
run again --sigmas 1,0.75,0.5,0.25 --sampler euler --flow-shift 3
same "$tmp/again.safetensors" "$tmp/default.safetensors"
finish
