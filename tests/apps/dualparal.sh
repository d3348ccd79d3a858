#!/bin/sh
# Strategy dualparal, a long video as blocks of frames at different steps (DualParal), on the demo
# checkpoint: the same bytes wherever it runs; one block has those of one device that knows none.
# tests/graph/dualparal.c has a plain loop beside it, tests/graph/blocks.c the order of blocks.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

# run NAME OPTIONS...: the video NAME.safetensors.
run() {
    name=$1
    shift
    passes "$generate" --model "$demo" --token-ids 17,5,1 --height 48 --width 80 \
        --num-inference-steps 8 --quiet --force --output "$tmp/$name.safetensors" "$@"
}

# everywhere NAME WAYS OPTIONS...
everywhere() {
    what=$1 ways=$2
    shift 2
    run "$what" --devices 1 --strategy dualparal "$@"
    echo "$ways" >"$tmp/ways"
    while read -r way; do
        # shellcheck disable=SC2086
        run there --strategy dualparal $way "$@"
        same "$tmp/there.safetensors" "$tmp/$what.safetensors" || fail "$what: other bytes with $way"
    done <"$tmp/ways"
}

everywhere long "--devices 4 --scheduler lws
--devices 3 --device-speed 1,3,2 --scheduler scatter
--dit-devices 0-2 --vae-devices 3" --num-frames 37 --block-frames 12 --overlap-frames 8
# Frames that are written as blocks leave the queue are those of the whole latent's decode.
for way in "--devices 2 --workers-per-device 2" "--dit-devices 0 --vae-devices 1-2"; do
    # shellcheck disable=SC2086
    passes "$generate" --model "$demo" --token-ids 17,5,1 --height 48 --width 80 --num-inference-steps 8 \
        --quiet --force --strategy dualparal --num-frames 29 --block-frames 8 --overlap-frames 4 $way \
        --output "$tmp/streamed.y4m" --contact-sheet "$tmp/streamed.png" --save-latent "$tmp/l.safetensors"
    passes "$generate" --model "$demo" --num-inference-steps 0 --latents "$tmp/l.safetensors" --height 48 \
        --width 80 --num-frames 29 --quiet --force --output "$tmp/whole.y4m" --contact-sheet "$tmp/whole.png"
    same "$tmp/streamed.y4m" "$tmp/whole.y4m"
    same "$tmp/streamed.png" "$tmp/whole.png"
done
# Memory does not grow with the length: 192 frames more are 35 MB as pixels, of which there may be a block's (a
# block adds 8), and of their latent what the blocks in the queue have. What is left is the allocator's.
for frames in 65 257; do
    "$tool" peak "$generate" --model "$demo" --token-ids 17,5,1 --height 96 --width 160 --num-inference-steps 8 \
        --quiet --force --strategy dualparal --num-frames $frames --block-frames 8 --overlap-frames 4 \
        --workers-per-device 1 --output "$tmp/long.y4m" --stats "$tmp/$frames.json" >"$tmp/peak$frames" 2>"$tmp/err" ||
        fail "$frames frames: $(cat "$tmp/err")"
    wc -c <"$tmp/long.y4m" >"$tmp/size$frames"
done
[ $((($(cat "$tmp/size257") - $(cat "$tmp/size65")) % 192)) -eq 0 ] || fail "not 192 frames more"
more=$(($(cat "$tmp/peak257") - $(cat "$tmp/peak65"))) whole=$((192 * 96 * 160 * 3 * 4))
held=$(($("$tool" json "$tmp/257.json" device 0 peak_bytes) - $("$tool" json "$tmp/65.json" device 0 peak_bytes)))
echo "192 frames more take $more bytes more of $(cat "$tmp/peak65"), $held of the device's; as pixels $whole"
if grep -q '^STARDIT_LDFLAGS = .*-fsanitize' "$build/Makefile"; then
    echo "a sanitizer keeps what was freed: of the process's memory nothing is said"
else
    [ $more -lt $((whole / 4)) ] || fail "memory grows with the length"
fi
[ $held -lt $((whole / 20)) ] || fail "memory of the device grows with the length"
# 13 frames are 4 of the latent: a block.
run single --devices 1 --strategy single --num-frames 13
run one --devices 3 --strategy dualparal --num-frames 13
same "$tmp/one.safetensors" "$tmp/single.safetensors"

"$generate" --model "$demo" --token-ids 1 --dry-run --strategy dualparal --devices 2 --num-frames 1025 >"$tmp/out"
grep -q "^  blocks         32 of 8 frames of the latent, 8 shared with each neighbour; 51 iterations of up to 20 blocks" \
    "$tmp/out" || fail "$(cat "$tmp/out")"
while IFS='|' read -r message options; do
    # shellcheck disable=SC2086
    refuses 2 "$generate" --model "$demo" --token-ids 1 --output "$tmp/v.y4m" $options && says "$message"
done <<'END'
the model has 4 layers, one a device at least|--strategy dualparal --devices 5
longer than a block, which adds 8 (--block-frames); 8 and less work|--strategy dualparal --block-frames 8 --overlap-frames 12
multiples of 4 work, as|--strategy dualparal --block-frames 10
8 steps or more work|--strategy dualparal --num-inference-steps 7 --num-frames 101
--overlap-frames 8x: a number|--strategy dualparal --overlap-frames 8x
goes with a strategy that has blocks|--block-frames 8
goes with a strategy that has blocks|--overlap-frames 8 --strategy ulysses
no state to go on from|--strategy dualparal --checkpoint-every 2
a step cache does not go with|--strategy dualparal --step-cache 5
guidance in some steps does not go with|--strategy dualparal --cfg-gate 0-4
a sampler that adds noise|--strategy dualparal --sampler renoise --guidance-scale 1
do not go with strategy dualparal|--strategy dualparal --devices 2 --use-cfg-parallel
do not go with strategy dualparal|--strategy dualparal --devices 2 --streams 1
do not go with strategy dualparal|--strategy dualparal --devices 2 --transport nccl
strategy dualparal reads no keys of steps before|--strategy dualparal --warmup-steps 2
END

# How well blocks fit is printed: of two equal frames and one that is 10 brighter, a block beginning at the third.
{ printf 'YUV4MPEG2 W2 H2 F8:1 Ip A1:1 C420jpeg\n'
    for level in 20 20 30; do printf 'FRAME\n'; for _ in 1 2 3 4 5 6; do printf "\\$(printf %o $level)"; done; done; } >"$tmp/steps.y4m"
if command -v python3 >/dev/null; then
    python3 "$source/tools/seams.py" "$tmp/steps.y4m" --first 2 --every 1 >"$tmp/out"
    echo "$(tr '\n' ' ' <"$tmp/out")"
    [ "$(tr '\n' ' ' <"$tmp/out")" = "where a block begins: 10.00 (1) elsewhere: 0.00 (1) " ] || fail "steps of 10 once"
fi
finish
