#!/bin/sh
# What the demo checkpoint is shipped for: its videos show what their captions say. 24 captions outside the
# training's x 3 seeds with the checkpoint's own guidance, and the decoder alone on clips it has never seen.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

# counts PART: "RIGHT ASKED" of what the last run printed.
counts() {
    sed -n "s/.*$1 \([0-9]*\) of \([0-9]*\).*/\1 \2/p" "$tmp/out"
}

# at_least PART SHARE: of 1000.
at_least() {
    # shellcheck disable=SC2046
    set -- "$1" "$2" $(counts "$1")
    [ "${4:-0}" -gt 0 ] && [ $((1000 * $3)) -ge $(($2 * $4)) ] ||
        fail "$1: ${3:-none} of ${4:-none} right, wanted $2 in 1000"
}

passes "$bench" quality --model "$demo" --prompt-file "$source/checkpoints/training/prompts.txt" --seeds 3
echo "guidance: $(cat "$tmp/out")"
for part in colour shape direction; do
    at_least $part 902 # 65 of 72
done

# A step cache leaves what is seen within 3 points of whole videos: 1 of 48.
passes "$bench" quality --model "$demo" --prompt-file "$source/checkpoints/training/prompts.txt" --seeds 2 \
    --step-cache 6,8,10,12,14,16
echo "step cache: $(cat "$tmp/out")"
for part in colour shape direction; do
    # shellcheck disable=SC2046
    set -- $(counts $part) # whole, then cached
    [ $# -eq 4 ] && [ $((${1:-0} - ${3:-0})) -le 1 ] && [ $((${3:-0} - ${1:-0})) -le 1 ] || fail "$part: $*"
done
psnr=$(sed -n 's/^PSNR beside the whole: mean \([0-9]*\).*/\1/p' "$tmp/out")
[ "${psnr:-0}" -ge 30 ] || fail "a PSNR of ${psnr:-nothing}"

passes "$bench" quality --model "$demo" --prompt-file "$golden/reconstructions/captions.txt" \
    --latents "$golden/reconstructions/latents.safetensors"
echo "reconstructions: $(cat "$tmp/out")"
for part in colour shape direction background; do
    at_least $part 970
done

passes "$bench" quality --model "$demo" --prompt-file "$source/checkpoints/training/prompts.txt" --seeds 1 \
    --guidance-scale 1
echo "without guidance: $(cat "$tmp/out")" # told, not judged

refuses 2 "$bench" quality --model "$demo" --prompt-file "$source/checkpoints/training/prompts.txt" \
    --latents "$golden/reconstructions/latents.safetensors"
says "a latent for each line of the prompt file"
refuses 2 "$bench" quality --model "$demo" --prompt-file "$golden/reconstructions/captions.txt" --seeds 2 \
    --latents "$golden/reconstructions/latents.safetensors"
says "only decodes"
finish
