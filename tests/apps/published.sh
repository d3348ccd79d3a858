#!/bin/sh
# Files as ComfyUI's users have them: the names, types and shapes of the published Wan 2.1 models, with holes in
# place of numbers. Their sizes come from the shapes alone, and a plan is that of the published size.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
. "$source/tests/apps/layouts.sh"
cd "$tmp" || exit 99

transformer 30 1536 8960 BF16 2 | "$tool" sparse wan2.1_t2v_1.3B_bf16.safetensors &&
    transformer 40 5120 13824 F16 2 | "$tool" sparse wan2.1_t2v_14B_fp16.safetensors &&
    transformer 30 1536 8960 F8_E4M3 1 | "$tool" sparse wan2.1_t2v_1.3B_fp8_e4m3fn.safetensors &&
    vae | "$tool" sparse wan_2.1_vae.safetensors &&
    { text 24 && echo "spiece_model U8 1 4548313"; } | "$tool" sparse umt5_xxl_fp16.safetensors || exit 77

# tells FILE WORDS...
tells() {
    file=$1
    shift
    passes "$info" "$file"
    for words; do
        grep -q -e "$words" "$tmp/out" || fail "$file: no '$words' in: $(cat "$tmp/out")"
    done
}
tells wan2.1_t2v_1.3B_bf16.safetensors "safetensors, 825 tensors" "names of the original repository" \
    " 1418996800 parameters " "30 layers, 12 heads x 128, width 1536, 16 latent channels"
tells wan2.1_t2v_14B_fp16.safetensors "40 layers, 40 heads x 128, width 5120"
tells wan_2.1_vae.safetensors "the vae of Wan 2.1" "16 latent channels, 8 pixels a latent each way, 4 frames"
tells umt5_xxl_fp16.safetensors "names of transformers" "24 layers, 64 heads, width 4096, vocabulary 256384"
tells wan2.1_t2v_1.3B_fp8_e4m3fn.safetensors " 825 tensors  F8_E4M3" "Not run: .*8 bits"
cat "$tmp/out"

# Peak memory of each phase, from configurations alone, also of what this machine has no room for: all weights that
# are kept through the steps as they are stored, two layers of a text encoder.
# phases MODEL TEXT MOST DENOISE MOST OPTIONS...: tenths of a GB
phases() {
    model=$1 text=$2 most_text=$3 denoise=$4 most_denoise=$5
    shift 5
    passes "$generate" --model "$model" --height 128 --width 128 --num-frames 1 --dry-run "$@"
    line=$(grep "^ *text .* [GM]B, denoise .* GB, decode .* [GM]B$" "$tmp/out") || fail "$model: no phases in: $(cat "$tmp/out")"
    echo "$line" | awk -v a="$text" -v b="$most_text" -v c="$denoise" -v d="$most_denoise" '
        { t = ($3 == "MB," ? 0.01 : 10) * $2; n = 10 * $5; exit !(t >= a && t <= b && n >= c && n <= d) }' || fail "$model:$line"
    echo "$model:$line"
}
phases wan-1.3b 15 18 56 62 --token-ids 1
phases wan-14b 15 18 571 595 --token-ids 1
phases open-sora-plan-1.3 8 9 61 63 --token-ids 1
phases hunyuan-13b 17 20 188 191 --token-ids "$(seq -s , 96)" --token-ids-2 1

# Sizes that are published, without a checkpoint.
# size MODEL PARAMETERS WORDS: of the transformer.
size() {
    passes "$info" --model "$1"
    grep -q "^transformer  *$2 parameters" "$tmp/out" && grep -q "^Transformer: *$3" "$tmp/out" ||
        fail "$1: $(cat "$tmp/out")"
}
size wan-1.3b 1418996800 "Wan 2.1, 30 layers, 12 heads x 128"
size wan-14b 14288491584 "Wan 2.1, 40 layers, 40 heads x 128"
size open-sora-plan-1.3 2771981600 "Open-Sora-Plan 1.3, 32 layers, 24 heads x 96"
size hunyuan-13b 12821012544 "HunyuanVideo, 60 layers, 24 heads x 128"

# The larger one takes long to plan.
for size in 1.3b:1.3B_bf16; do
    passes "$generate" --model "wan-${size%:*}" --token-ids 1 --dry-run
    grep -v "^Plan for\|seconds\|time\|GB\| s \| h\|min" "$tmp/out" >"$tmp/wanted"
    passes "$generate" --transformer "wan2.1_t2v_${size#*:}.safetensors" --vae wan_2.1_vae.safetensors \
        --text-encoder umt5_xxl_fp16.safetensors --tokenizer "$demo/tokenizer" --token-ids 1 --negative-prompt "" \
        --dry-run
    grep -v "^Plan for\|seconds\|time\|GB\| s \| h\|min" "$tmp/out" >"$tmp/plan"
    [ -s "$tmp/plan" ] || fail "no plan"
    diff "$tmp/wanted" "$tmp/plan" || fail "wan-${size%:*}: the plan of the files differs"
done

# Conditioned on an image: 36 channels in, 16 out. A single layer that is missing; a wider one.
transformer 30 1536 8960 BF16 2 | sed 's/^patch_embedding.weight BF16 2 1536 16/patch_embedding.weight BF16 2 1536 36/' |
    "$tool" sparse wan2.1_i2v.safetensors
refuses 1 "$generate" --transformer wan2.1_i2v.safetensors --vae wan_2.1_vae.safetensors --token-ids 1 --dry-run
says "takes 36 channels and gives 16.*only text-to-video"
transformer 29 1536 8960 BF16 2 | "$tool" sparse wan2.1_cut.safetensors
refuses 1 "$generate" --transformer wan2.1_cut.safetensors --vae wan_2.1_vae.safetensors --token-ids 1 --dry-run
says "tensor 'blocks.29.modulation' is missing (27 of 825 are)"
refuses 1 "$generate" --transformer wan2.1_t2v_1.3B_fp8_e4m3fn.safetensors --vae wan_2.1_vae.safetensors \
    --token-ids 1 --dry-run
says "quantised to 8 bits"
finish
