#!/bin/sh
# Checkpoints in single files: the demo's tensors under the names of the original repository and of ComfyUI give the
# same video, with and without a folder beside them; and files that cannot be run are refused by name.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"
dit=$demo/transformer/diffusion_pytorch_model.safetensors
vae=$demo/vae/diffusion_pytorch_model.safetensors
text=$demo/text_encoder/model.safetensors
mkdir "$tmp/files" || exit 99
"$info" | grep -q "SentencePiece) yes" || { echo "built without SentencePiece"; exit 77; }
one="--height 32 --width 48 --num-frames 5 --num-inference-steps 2 --seed 3 --quiet --force"

# What the original repository calls the tensors, from diffusers' names.
dit_names='s/^condition_embedder.time_embedder.linear_1/time_embedding.0/
s/^condition_embedder.time_embedder.linear_2/time_embedding.2/
s/^condition_embedder.text_embedder.linear_1/text_embedding.0/
s/^condition_embedder.text_embedder.linear_2/text_embedding.2/
s/^condition_embedder.time_proj/time_projection.1/
s/^scale_shift_table/head.modulation/
s/^proj_out/head.head/
s/scale_shift_table/modulation/
s/attn1/self_attn/
s/attn2/cross_attn/
s/to_\([qkv]\)/\1/
s/to_out.0/o/
s/norm2/norm3/
s/ffn.net.0.proj/ffn.0/
s/ffn.net.2/ffn.2/'
# A block of the demo has two residual blocks, and all but the last one an upsampler.
vae_names='s/^quant_conv/conv1/
s/^post_quant_conv/conv2/
s/mid_block.resnets.0/middle.0/
s/mid_block.attentions.0/middle.1/
s/mid_block.resnets.1/middle.2/
s/up_blocks.0.resnets.0/upsamples.0/
s/up_blocks.0.resnets.1/upsamples.1/
s/up_blocks.0.upsamplers.0/upsamples.2/
s/up_blocks.1.resnets.0/upsamples.3/
s/up_blocks.1.resnets.1/upsamples.4/
s/up_blocks.1.upsamplers.0/upsamples.5/
s/up_blocks.2.resnets.0/upsamples.6/
s/up_blocks.2.resnets.1/upsamples.7/
s/up_blocks.2.upsamplers.0/upsamples.8/
s/up_blocks.3.resnets.0/upsamples.9/
s/up_blocks.3.resnets.1/upsamples.10/
s/conv1\./residual.2./
s/^residual.2/conv1/
s/norm1/residual.0/
s/norm2/residual.3/
s/conv2\./residual.6./
s/^residual.6/conv2/
s/conv_shortcut/shortcut/
s/conv_in/conv1/
s/norm_out/head.0/
s/conv_out/head.2/'
text_names='s/^shared/token_embedding/
s/^encoder.final_layer_norm/norm/
s/^encoder.block/blocks/
s/layer.0.SelfAttention.relative_attention_bias/pos_embedding.embedding/
s/layer.0.SelfAttention/attn/
s/layer.0.layer_norm/norm1/
s/layer.1.layer_norm/norm2/
s/layer.1.DenseReluDense.wi_0/ffn.gate.0/
s/layer.1.DenseReluDense.wi_1/ffn.fc1/
s/layer.1.DenseReluDense.wo/ffn.fc2/'

# map FILE SED PREFIX: lines "OLD NEW".
map() {
    "$tool" names "$1" | while read -r name; do
        echo "$name $3$(echo "$name" | sed "$2")"
    done
}
map "$dit" "$dit_names" "" >"$tmp/dit.map"
map "$vae" "$vae_names" "" >"$tmp/vae.map"
map "$text" "$text_names" "" >"$tmp/text.map"
grep -q 'blocks.3.cross_attn.norm_k.weight$' "$tmp/dit.map" || fail "the transformer's names"
grep -q 'decoder.upsamples.8.resample.1.weight$' "$tmp/vae.map" || fail "the decoder's names"
grep -q 'blocks.1.ffn.gate.0.weight$' "$tmp/text.map" || fail "the text encoder's names"
"$tool" rename "$tmp/dit.safetensors" "$dit" <"$tmp/dit.map" || exit 99
"$tool" rename "$tmp/vae.safetensors" "$vae" <"$tmp/vae.map" || exit 99
"$tool" rename "$tmp/text.safetensors" "$text" <"$tmp/text.map" || exit 99

# video NAME OPTIONS...: the demo's prompt.
video() {
    name=$1
    shift
    passes "$generate" --prompt "a red circle" --output "$tmp/$name.y4m" $one "$@"
}
video folder --model "$demo"

# ---- the same bits ---------------------------------------------------------------------------

video dit --model "$demo" --transformer "$tmp/dit.safetensors"
same "$tmp/folder.y4m" "$tmp/dit.y4m"
video all --model "$demo" --transformer "$tmp/dit.safetensors" --vae "$tmp/vae.safetensors" \
    --text-encoder "$tmp/text.safetensors" --tokenizer "$demo/tokenizer/spiece.model"
same "$tmp/folder.y4m" "$tmp/all.y4m"
passes "$generate" --model "$demo" --transformer "$tmp/dit.safetensors" --prompt x --dry-run
grep -q "^Plan for" "$tmp/out" || fail "no plan"

# What a file holds counts, not its name: the Hugging Face cache keeps files under names without an ending.
for part in dit vae text; do cp "$tmp/$part.safetensors" "$tmp/$part-0123" || exit 99; done
video blobs --model "$demo" --transformer "$tmp/dit-0123" --vae "$tmp/vae-0123" --text-encoder "$tmp/text-0123" \
    --tokenizer "$demo/tokenizer/spiece.model"
same "$tmp/folder.y4m" "$tmp/blobs.y4m"
cp "$tmp/dit.safetensors" "$tmp/dit.bin"
video misnamed --model "$demo" --transformer "$tmp/dit.bin"
same "$tmp/folder.y4m" "$tmp/misnamed.y4m"

# Files with diffusers' names, and without a model: its own configurations lie beside them.
video own --transformer "$dit" --vae "$demo/vae" --text-encoder "$text" --tokenizer "$demo/tokenizer" \
    --fps 8 --guidance-scale 3
same "$tmp/folder.y4m" "$tmp/own.y4m"

# ComfyUI's text encoder: the names of transformers, the tokenizer as a tensor.
{
    map "$text" "" ""
    echo "+spiece_model $demo/tokenizer/spiece.model"
} | "$tool" rename "$tmp/comfy.safetensors" "$text" || exit 99
video comfy --transformer "$dit" --vae "$demo/vae" --text-encoder "$tmp/comfy.safetensors" \
    --fps 8 --guidance-scale 3
same "$tmp/folder.y4m" "$tmp/comfy.y4m"
map "$text" "s/^shared/encoder.embed_tokens/" "" | "$tool" rename "$tmp/tied.safetensors" "$text"
video tied --model "$demo" --text-encoder "$tmp/tied.safetensors"
same "$tmp/folder.y4m" "$tmp/tied.y4m"

# One file with everything, as ComfyUI's checkpoints are. The demo's sizes are not the published ones, so that a
# folder describes it.
{
    map "$dit" "$dit_names" model.diffusion_model.
    map "$vae" "$vae_names" vae.
    map "$text" "" text_encoders.umt5xxl.transformer.
    echo "+text_encoders.spiece_model $demo/tokenizer/spiece.model"
} | "$tool" rename "$tmp/one.safetensors" "$dit" "$vae" "$text" || exit 99
video one --model "$demo" --transformer "$tmp/one.safetensors" --vae "$tmp/one.safetensors" \
    --text-encoder "$tmp/one.safetensors"
same "$tmp/folder.y4m" "$tmp/one.y4m"

# The folder of the original repository, converted: its own config.json, files of its own names.
mkdir -p "$tmp/original/google" || exit 99
cp "$tmp/dit.safetensors" "$tmp/original/diffusion_pytorch_model.safetensors"
cp "$tmp/text.safetensors" "$tmp/original/models_t5_umt5-xxl-enc-bf16.safetensors"
cp -R "$demo/tokenizer" "$tmp/original/google/umt5-xxl"
cat >"$tmp/original/config.json" <<'END'
{"_class_name": "WanModel", "_diffusers_version": "0.30.0", "dim": 128, "eps": 1e-06, "ffn_dim": 384,
 "freq_dim": 256, "in_dim": 8, "model_type": "t2v", "num_heads": 8, "num_layers": 4, "out_dim": 8,
 "text_len": 512, "text_dim": 96}
END
: >"$tmp/original/Wan2.1_VAE.pth"
refuses 1 "$generate" --model "$tmp/original" --prompt x --dry-run
says "Wan2.1_VAE.pth is a PyTorch pickle.*torch.load('Wan2.1_VAE.pth'.*'Wan2.1_VAE.safetensors'"
video repository --model "$tmp/original" --vae "$demo/vae" --fps 8 --guidance-scale 3
same "$tmp/folder.y4m" "$tmp/repository.y4m"
sed -i 's/"t2v"/"i2v"/' "$tmp/original/config.json"
refuses 1 "$generate" --model "$tmp/original" --vae "$demo/vae" --prompt x --dry-run
says 'model_type = "i2v" is not supported'

# A state names the files that it goes on with.
passes "$generate" --model "$demo" --transformer "$tmp/dit.safetensors" --token-ids 5,1 $one \
    --guidance-scale 1 --checkpoint-every 1 --output "$tmp/v.y4m" --save-latent "$tmp/latent.safetensors"

# ---- what a file is --------------------------------------------------------------------------

# tells FILE WORDS...
tells() {
    file=$1
    shift
    passes "$info" "$file"
    for words; do
        grep -q -e "$words" "$tmp/out" || fail "$file: no '$words' in: $(cat "$tmp/out")"
    done
}
cp "$demo/transformer/config.json" "$tmp/files" && cp "$tmp/dit.safetensors" "$tmp/files/w.safetensors"
tells "$tmp/files/w.safetensors" "^Format: .*safetensors, 123 tensors" "the transformer of Wan 2.1" \
    "names of the original repository" "4 layers, 8 heads x 16, width 128" "--transformer $tmp/files/w"
tells "$dit" "names of diffusers" "4 layers"
tells "$text" "the text_encoder of Wan 2.1, with names of transformers" "2 layers, 4 heads, width 96, vocabulary 916"
tells "$tmp/one.safetensors" "prefix model.diffusion_model." "prefix vae." "prefix text_encoders.umt5xxl"
tells "$tmp/latent.safetensors" "a latent" "--latents"
cp "$tmp/dit.safetensors" "$tmp/files/dit-0123"
tells "$tmp/files/dit-0123" "^Format: .*safetensors, 123 tensors" "the transformer of Wan 2.1" "--transformer $tmp/files/dit-0123" \
    "4 layers, 8 heads x 16, width 128"
# A header of 640 bytes begins as a pickle does.
(printf '\200\002\0\0\0\0\0\0%-640s' '{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' && head -c 8 /dev/zero) \
    >"$tmp/640.safetensors"
tells "$tmp/640.safetensors" "^Format: .*safetensors, 1 tensor$" "no component that this version knows"
tells "$demo" "^Checkpoint: " "^transformer .*parameters"
printf 'GGUF\003\0\0\0\002\0\0\0\0\0\0\0\001\0\0\0\0\0\0\0\024\0\0\0\0\0\0\0general.architecture\010\0\0\0\003\0\0\0\0\0\0\0wan' \
    >"$tmp/wan-Q4.gguf"
tells "$tmp/wan-Q4.gguf" "GGUF version 3, architecture wan, 2 tensors" "Not run: .*BF16"
printf '\200\002}q.' >"$tmp/old.ckpt"
tells "$tmp/old.ckpt" "PyTorch pickle" "torch.load('old.ckpt'"
echo hello >"$tmp/note.txt"
refuses 1 "$info" "$tmp/note.txt"
says "note.txt is neither safetensors nor GGUF"
printf 'GGUF\003\0\0\0\002' >"$tmp/cut.gguf"
refuses 1 "$info" "$tmp/cut.gguf"
says "cut.gguf: GGUF, and its head is cut"

# ---- refusals --------------------------------------------------------------------------------

# refused WORDS OPTIONS...: with the demo's folder.
refused() {
    words=$1
    shift
    refuses 1 "$generate" --model "$demo" --prompt x --dry-run "$@"
    says "$words"
}
sed '/ blocks.2.self_attn.k.weight$/d' "$tmp/dit.map" | "$tool" rename "$tmp/bad.safetensors" "$dit"
refused "bad.safetensors: tensor 'blocks.2.self_attn.k.weight' is missing (1 of 123 are)" \
    --transformer "$tmp/bad.safetensors"
{
    cat "$tmp/dit.map"
    echo "proj_out.bias blocks.0.self_attn.extra"
} | "$tool" rename "$tmp/bad.safetensors" "$dit"
refused "tensor 'blocks.0.self_attn.extra' is unknown to the model" --transformer "$tmp/bad.safetensors"
sed 's/ blocks.1.cross_attn.q.weight$/ blocks.1.attn2.to_q.weight/' "$tmp/dit.map" |
    "$tool" rename "$tmp/bad.safetensors" "$dit"
refused "mixes two layouts: 'blocks.1.attn2.to_q.weight' .*diffusers.*'blocks.1.cross_attn.q.weight'" \
    --transformer "$tmp/bad.safetensors"
sed 's/ blocks.0.ffn.0.weight$/& F8_E4M3/' "$tmp/dit.map" | "$tool" rename "$tmp/fp8.safetensors" "$dit"
refused "fp8.safetensors holds weights quantised to 8 bits (tensor 'blocks.0.ffn.0.weight' is F8_E4M3).*BF16" \
    --transformer "$tmp/fp8.safetensors"
tells "$tmp/fp8.safetensors" "Not run: "
refused "vae.safetensors holds the vae of Wan 2.1, no transformer" --transformer "$tmp/vae.safetensors"
refused "wan-Q4.gguf is GGUF" --transformer "$tmp/wan-Q4.gguf"
refused "old.ckpt is a PyTorch pickle" --vae "$tmp/old.ckpt"
refused "note.txt is not safetensors" --text-encoder "$tmp/note.txt"
refused "nothing.safetensors" --vae "$tmp/nothing.safetensors"
cp "$tmp/dit.safetensors" "$tmp/part-00001-of-00002.safetensors"
refused "one of several shards" --transformer "$tmp/part-00001-of-00002.safetensors"
head -c 3000 "$tmp/vae.safetensors" >"$tmp/cut.safetensors"
refused "cut.safetensors: truncated" --vae "$tmp/cut.safetensors"
refuses 1 "$info" "$tmp/cut.safetensors"

# Without a folder: nothing says how wide the demo's heads are, or what its latents mean.
refuses 2 "$generate" --transformer "$tmp/dit.safetensors" --prompt x --dry-run
says "--model is needed"
refuses 2 "$generate" --model "$tmp/dit.safetensors" --prompt x --dry-run
says "has no vae; --vae"
refuses 1 "$generate" --transformer "$dit" --vae "$tmp/vae.safetensors" --prompt x --dry-run
says "latents of 8 channels, the published decoder 16"
refuses 1 "$generate" --transformer "$tmp/text.safetensors" --vae "$demo/vae" --prompt x --dry-run
says "holds the text_encoder of Wan 2.1, no transformer"
refuses 2 "$generate" --model wan-1.3b --transformer "$dit" --prompt x --dry-run
says "is a size"
for option in revision variant; do
    refuses 2 "$generate" --model wan-1.3b --$option nope --prompt x --dry-run
    says "--$option: goes with --model of a checkpoint, .* wan-1.3b is a size"
done
refuses 1 "$generate" --transformer "$dit" --vae "$demo/vae" --text-encoder "$text" --prompt x --dry-run
says "--tokenizer"
finish
