#!/bin/sh
# Checkpoints that are damaged or not what they should be: one line with the file's name, exit 1, no
# video. (tests/checkpoint goes through the files' formats one by one.)
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

bad=$tmp/bad

# damaged NAME WORDS: expects the refusal of the folder as the commands before left it.
damaged() {
    refuses 1 "$generate" --model "$bad" --token-ids 5,1 --output "$tmp/v.y4m" \
        --num-inference-steps 2 --quiet
    says "$1"
    [ -e "$tmp/v.y4m" ] && fail "a video was written"
    rm -rf "$bad"
    copy
}

copy() {
    cp -r "$demo" "$bad" && chmod -R u+w "$bad"
}

copy
rm "$bad/model_index.json"
damaged "model_index.json"
sed 's/WanPipeline/FluxPipeline/' "$demo/model_index.json" >"$bad/model_index.json"
damaged "FluxPipeline"
printf '{' >"$bad/model_index.json"
damaged "model_index.json"
rm -r "$bad/transformer"
damaged "transformer"
rm "$bad/vae/diffusion_pytorch_model.safetensors"
damaged "vae"
head -c 1000 "$demo/vae/diffusion_pytorch_model.safetensors" \
    >"$bad/vae/diffusion_pytorch_model.safetensors"
damaged "vae/diffusion_pytorch_model.safetensors"
head -c -1 "$demo/transformer/diffusion_pytorch_model.safetensors" \
    >"$bad/transformer/diffusion_pytorch_model.safetensors"
damaged "transformer/diffusion_pytorch_model.safetensors"
printf x >>"$bad/text_encoder/model.safetensors"
damaged "text_encoder/model.safetensors"
sed 's/"num_layers": 4/"num_layers": 5/' "$demo/transformer/config.json" \
    >"$bad/transformer/config.json"
damaged "blocks.4"
sed 's/"num_layers": 4/"num_layers": 3/' "$demo/transformer/config.json" \
    >"$bad/transformer/config.json"
damaged "blocks.3"
sed 's/"image_dim": null/"image_dim": 1280/' "$demo/transformer/config.json" \
    >"$bad/transformer/config.json"
damaged "image_dim"
sed 's/"ffn_dim": 384/"ffn_dim": -1/' "$demo/transformer/config.json" >"$bad/transformer/config.json"
damaged "ffn_dim"
sed 's/"text_dim": 96/"text_dim": 97/' "$demo/transformer/config.json" \
    >"$bad/transformer/config.json"
damaged "text_embedder"
sed 's/"base_dim": 16/"base_dim": 17/' "$demo/vae/config.json" >"$bad/vae/config.json"
damaged "vae"
sed 's/"height": 64/"height": "64"/' "$demo/stardit.json" >"$bad/stardit.json"
damaged "stardit.json"
rm "$bad/transformer/diffusion_pytorch_model.safetensors"
: >"$bad/transformer/diffusion_pytorch_model.bin"
damaged "diffusion_pytorch_model.bin"
head -c 100 "$demo/tokenizer/spiece.model" >"$bad/tokenizer/spiece.model"
if "$info" | grep -q "SentencePiece) yes"; then
    refuses 1 "$generate" --model "$bad" --prompt x --output "$tmp/v.y4m" --quiet
    says "spiece.model"
    # Before anything else: without a machine, and not after the first of several prompts.
    refuses 1 "$generate" --model "$bad" --prompt x --dry-run
    says "spiece.model"
    refuses 1 "$generate" --model "$bad" --token-ids 1 --output "$tmp/v.y4m" --quiet
    says "spiece.model" # the negative prompt is text
    rm -r "$bad/tokenizer"
    refuses 1 "$generate" --model "$bad" --prompt x --prompt y --dry-run
    says "tokenizer"
    [ -e "$tmp/v.y4m" ] && fail "a video was written"
fi

# Not folders in diffusers layout at all.
for file in model.gguf model.pth model.safetensors; do
    : >"$tmp/$file"
    refuses 1 "$generate" --model "$tmp/$file" --prompt x --output "$tmp/v.y4m"
    says "$file"
done
HF_HOME=$tmp refuses 1 "$generate" --model org/name --prompt x --output "$tmp/v.y4m"
says "download"
finish
