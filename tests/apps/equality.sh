#!/bin/sh
# No mapping decision changes the result: the video's bytes are the same for every strategy, number of
# devices, number of workers and StarPU policy. A run counts only where --stats shows that every device
# of the strategy had a tile and that bytes went between devices.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

counted=0
ids=$(seq -s , 2 71),1 # tokens enough for two tiles of text

# run STRATEGY DEVICES WORKERS POLICY
run() {
    passes "$generate" --model "$demo" --token-ids "$ids" --height 48 --width 80 \
        --num-frames 9 --num-inference-steps 3 --quiet --force --output "$tmp/v.safetensors" \
        --stats "$tmp/s.json" --strategy "$1" --devices "$2" --workers-per-device "$3" \
        --scheduler "$4" || return
    if [ ! -f "$tmp/first.safetensors" ]; then
        mv "$tmp/v.safetensors" "$tmp/first.safetensors"
        return
    fi
    cmp -s "$tmp/v.safetensors" "$tmp/first.safetensors" ||
        fail "other bytes with $1 on $2 devices of $3 workers, policy $4"
    d=0
    while [ $d -lt "$2" ] && [ "$1" != single ]; do
        [ "$("$tool" json "$tmp/s.json" device $d tiles)" -gt 0 ] ||
            fail "$1 on $2 devices: device $d has no tile"
        d=$((d + 1))
    done
    moved=$("$tool" json "$tmp/s.json" moved between_devices_bytes)
    [ "$2" -eq 1 ] || [ "$moved" -gt 0 ] || fail "$1 on $2 devices: nothing was exchanged"
    [ "$("$tool" json "$tmp/s.json" scheduler)" = "$4" ] || fail "the policy is not $4"
    counted=$((counted + 1))
}

run single 1 1 pipedit
for devices in 1 2 3 5 7 8; do
    run ulysses $devices 1 pipedit
done
run ulysses 1 2 pipedit
run ulysses 2 2 pipedit
run ulysses 3 2 lws
run single 3 1 pipedit
for policy in lws dmda eager ws; do
    run ulysses 3 1 $policy
    run ulysses 8 1 $policy
    run ulysses 1 2 $policy
done
[ $counted -eq 22 ] || fail "$counted runs counted"
finish
