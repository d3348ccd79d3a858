#!/bin/sh
# HunyuanVideo from prompt to video: tiny encoders (tests/golden/make_hunyuan_text.py) and the golden transformer
# and decoder as one checkpoint. The same bytes for every number of devices, strategy and placement; prompts of
# one run, also in two groups of devices; encoders and tokenizers that are given; what is refused.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
"$info" | grep -q "BPE (PCRE2) yes" || exit 77

here=$(cd "$golden" && pwd) || exit 99
# model FOLDER: the checkpoint as links.
model() {
    mkdir "$1" && ln -s "$here/hunyuan_text"/[mst]* "$1/" && ln -s "$here/hunyuan_dit" "$1/transformer" &&
        ln -s "$here/hunyuan_vae" "$1/vae" || exit 99
}
model "$tmp/model"
prompts=$golden/hunyuan_text/prompts.txt
prompt=$(head -n 1 "$prompts")
long=$(sed -n 2p "$prompts")
size="--height 32 --width 48 --num-frames 5 --num-inference-steps 2"

# run NAME OPTIONS...
run() {
    name=$1
    shift
    # shellcheck disable=SC2086
    passes "$generate" --model "$tmp/model" $size --workers-per-device 1 --quiet --force \
        --output "$tmp/$name.safetensors" --stats "$tmp/$name.json" "$@"
}

counted=0
# exact OPTIONS...: the bytes of one device.
exact() {
    run v --prompt "$prompt" "$@" && same "$tmp/v.safetensors" "$tmp/first.safetensors" &&
        counted=$((counted + 1))
}

run first --prompt "$prompt" --devices 1 --strategy single
[ "$("$tool" json "$tmp/first.json" prompt_tokens)" -eq 19 ] || fail "not 19 tokens of text"
for devices in 3 8; do
    exact --devices $devices --strategy ulysses
    exact --devices $devices --strategy pipesp
done
exact --devices 1 --workers-per-device 2
exact --devices 3 --strategy pipesp --scheduler scatter
exact --dit-devices 0-1 --vae-devices 2 --strategy ulysses
exact --dit-devices 0-1 --vae-devices 2 --strategy pipesp --aco dynamic
[ $counted -eq 8 ] || fail "$counted videos counted"
sha256sum "$tmp/first.safetensors"
for devices in 1 8; do
    run mp4 --prompt "$prompt" --devices $devices --output "$tmp/$devices.mp4"
done
same "$tmp/1.mp4" "$tmp/8.mp4"

# Each prompt of a run has the video that it has alone: a short one, one longer than both encoders read.
run long --prompt "$long" --devices 1
[ "$("$tool" json "$tmp/long.json" prompt_tokens)" -eq 256 ] || fail "not 256 tokens of text"
cmp -s "$tmp/long.safetensors" "$tmp/first.safetensors" && fail "the prompt changes nothing"
head -n 2 "$prompts" >"$tmp/two.txt"
for devices in "--devices 3" "--dit-devices 0-1 --vae-devices 2 --aco static"; do
    # shellcheck disable=SC2086
    run many --prompt-file "$tmp/two.txt" $devices --output "$tmp/many-%d.safetensors"
    same "$tmp/many-1.safetensors" "$tmp/first.safetensors"
    same "$tmp/many-2.safetensors" "$tmp/long.safetensors"
    rm -f "$tmp"/many-*
done

# True guidance: the negative prompt is in the template too, and may be empty.
for negative in "blurry, flat" ""; do
    run true --prompt "$prompt" --negative-prompt "$negative" --true-cfg-scale 2.5 --devices 1
    cmp -s "$tmp/true.safetensors" "$tmp/first.safetensors" && fail "true guidance changes nothing"
    run v --prompt "$prompt" --negative-prompt "$negative" --true-cfg-scale 2.5 --devices 3 \
        --strategy pipesp
    same "$tmp/v.safetensors" "$tmp/true.safetensors"
done

# Encoders and tokenizers of another folder.
mkdir "$tmp/given" && mv "$tmp/model/text_encoder" "$tmp/model/text_encoder_2" "$tmp/model/tokenizer" \
    "$tmp/model/tokenizer_2" "$tmp/given" || exit 99
exact --text-encoder "$tmp/given/text_encoder" --text-encoder-2 "$tmp/given/text_encoder_2" \
    --tokenizer "$tmp/given/tokenizer" --tokenizer-2 "$tmp/given/tokenizer_2"

# ---- what is refused -------------------------------------------------------------------------

# without PART CODE WORDS
without() {
    ln -s "$tmp/given"/* "$tmp/model/" && rm "$tmp/model/$1" || exit 99
    # shellcheck disable=SC2086
    refuses "$2" "$generate" --model "$tmp/model" $size --prompt "$prompt" --quiet --output "$tmp/no.y4m"
    says "$3"
    rm -f "$tmp/model"/text_encoder* "$tmp/model"/tokenizer*
}
without text_encoder 1 "no text_encoder folder"
without text_encoder_2 1 "no text_encoder_2 folder"
without tokenizer 1 "tokenizer"
without tokenizer_2 1 "tokenizer_2"
# shellcheck disable=SC2086
set -- "$generate" --model "$tmp/model" $size --prompt "$prompt" --quiet --output "$tmp/no.y4m"
refuses 1 "$@" --text-encoder "$tmp/given/text_encoder_2" --text-encoder-2 "$tmp/given/text_encoder"
says "clip_text_model"
refuses 1 "$@" --text-encoder "$golden/llama" --text-encoder-2 "$tmp/given/text_encoder_2"
says "text states of width 24, the text encoder writes 48"
refuses 1 "$@" --text-encoder "$tmp/given/text_encoder" --text-encoder-2 "$golden/clip"
says "text states of width 12, the second text encoder writes 48"
# Tokens that the encoder does not have.
refuses 2 "$@" --text-encoder "$tmp/given/text_encoder" --text-encoder-2 "$tmp/given/text_encoder_2" \
    --tokenizer "$golden/bpe/llama" --tokenizer-2 "$tmp/given/tokenizer_2"
says "text_encoder has ids 0 to"
finish
