#!/bin/sh
# No mapping decision changes the result, over all that PipeDiT adds: pipesp, groups, aco, policies; and for
# rings, whose sums are merged in another order: the same bytes under every policy, and the golden result
# within its limit. A run counts only where every DiT device had a tile and bytes were exchanged.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

counted=0

# video NAME OPTIONS...
video() {
    name=$1
    shift
    passes "$generate" --model "$demo" --token-ids 17,5,33,208,1 --height 48 --width 80 \
        --num-frames 9 --num-inference-steps 2 --quiet --force --output "$tmp/$name.safetensors" \
        --stats "$tmp/s.json" "$@"
}

# run DIT OPTIONS...: the bytes of one device.
run() {
    dit=$1
    shift
    video v "$@" || return
    cmp -s "$tmp/v.safetensors" "$tmp/first.safetensors" || fail "other bytes with $*"
    d=0
    while [ $d -lt "$dit" ]; do
        [ "$("$tool" json "$tmp/s.json" device $d tiles)" -gt 0 ] || fail "$*: no tile on device $d"
        d=$((d + 1))
    done
    moved=$("$tool" json "$tmp/s.json" moved between_devices_bytes)
    [ "$dit" -eq 1 ] || [ "$moved" -gt 0 ] || fail "$*: nothing was exchanged"
    counted=$((counted + 1))
}

video first --strategy single --devices 1
for devices in 1 2 3 5 7 8; do
    run $devices --strategy pipesp --devices $devices
    run $devices --strategy pipesp --devices $devices --chunk-heads 2
done
for policy in static example scatter lws dmda ws random; do
    run 3 --strategy pipesp --devices 3 --scheduler $policy
    run 2 --strategy ulysses --dit-parallel-size 2 --vae-parallel-size 1 --aco dynamic \
        --scheduler $policy
done
for aco in off static dynamic; do
    run 1 --strategy single --dit-parallel-size 1 --vae-parallel-size 2 --aco $aco
    run 3 --strategy pipesp --dit-parallel-size 3 --vae-parallel-size 1 --aco $aco
    run 5 --strategy ulysses --dit-parallel-size 5 --vae-parallel-size 3 --aco $aco
    run 7 --strategy pipesp --dit-parallel-size 7 --vae-parallel-size 1 --aco $aco \
        --text-encoder-group vae
done
[ $counted -eq 38 ] || fail "$counted runs counted"

for model in wan_dit osp13_dit; do
    golden=$STARDIT_SOURCE_DIR/tests/golden/$model
    for ring in "ring --devices 3" "ring --devices 8" "usp --devices 4 --ulysses-degree 2"; do
        rm -f "$tmp/ring"
        for policy in pipedit static example scatter lws; do
            passes "$eval" --model "$golden" --component transformer \
                --input "$golden/io.safetensors" --compare --strategy $ring --scheduler $policy \
                --output "$tmp/r.safetensors" --force
            [ -f "$tmp/ring" ] || cp "$tmp/r.safetensors" "$tmp/ring"
            same "$tmp/r.safetensors" "$tmp/ring"
        done
    done
done
finish
