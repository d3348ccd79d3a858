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

# HunyuanVideo's decoder.
# undecoded WORDS: expects the refusal of $bad.
undecoded() {
    refuses 1 "$eval" --component vae --model "$bad" --input "$golden/hunyuan_vae2/io.safetensors" --compare
    says "$1"
    rm -rf "$bad"
    cp -r "$golden/hunyuan_vae2" "$bad" && chmod -R u+w "$bad"
}
# config EXPRESSION WORDS: expects the refusal of the configuration as sed changes it.
config() {
    sed "$1" "$golden/hunyuan_vae2/config.json" >"$bad/config.json"
    undecoded "$2"
}
weights=diffusion_pytorch_model.safetensors
rm -rf "$bad"
cp -r "$golden/hunyuan_vae2" "$bad" && chmod -R u+w "$bad"
cp "$golden/wan_vae/$weights" "$bad"
undecoded "tensor 'decoder.conv_in.conv.weight' is missing .*'decoder.conv_in.bias'"
sed 's/\("decoder.conv_out.conv.weight":{"dtype":"F32","shape":\)\[3,4,/\1[4,3,/' \
    "$golden/hunyuan_vae2/$weights" >"$bad/$weights"
undecoded "decoder.conv_out.conv.weight. has shape .4, 3, 3, 3, 3., the model needs .3, 4, 3, 3, 3"
rm "$bad/$weights"
undecoded "$weights"
rm "$bad/$weights"
shard=diffusion_pytorch_model-00001-of-00002.safetensors
echo "{\"weight_map\": {\"post_quant_conv.weight\": \"$shard\"}}" >"$bad/$weights.index.json"
undecoded "$shard"
config 's/"layers_per_block": 2/"layers_per_block": 3/' "decoder.up_blocks.0.resnets.3"
config 's/"layers_per_block": 2/"layers_per_block": 1/' "decoder.up_blocks.0.resnets.2"
config 's/"mid_block_add_attention": false/"mid_block_add_attention": true/' "decoder.mid_block.attentions.0"
config 's/"latent_channels": 8/"latent_channels": 4/' "post_quant_conv.weight"
config 's/"norm_num_groups": 4/"norm_num_groups": 3/' "config.json: block_out_channels has 8, which is no multiple of norm_num_groups, 3"
config 's/"temporal_compression_ratio": 4/"temporal_compression_ratio": 8/' "config.json: temporal_compression_ratio"
config 's/"spatial_compression_ratio": 4/"spatial_compression_ratio": 6/' "config.json: spatial_compression_ratio 6"
config 's/"spatial_compression_ratio": 4/"spatial_compression_ratio": 16/' "decoder.up_blocks.3.upsamplers.0"
config 's/"act_fn": "silu"/"act_fn": "relu"/' "config.json: act_fn"
config 's/"scaling_factor": 0.476986/"scaling_factor": 0/' "config.json: scaling_factor 0"
config '0,/UpBlock3D/s/UpBlock3D/UpBlock2D/' "config.json: up_block_types has HunyuanVideoUpBlock2D"
config 's/AutoencoderKLHunyuanVideo"/AutoencoderKLHunyuanVideo15"/' "_class_name is AutoencoderKLHunyuanVideo15"

# Text encoders. unread WORDS: expects the refusal of $bad, a copy of the golden folder $encoder.
unread() {
    refuses 1 "$eval" --component text_encoder --model "$bad" --input "$golden/$encoder/io.safetensors" \
        --compare
    says "$1"
    encoder "$encoder"
}
encoder() {
    encoder=$1
    rm -rf "$bad"
    cp -r "$golden/$encoder" "$bad" && chmod -R u+w "$bad"
}
# sized KEY NUMBER WORDS: with that number in config.json.
sized() {
    sed "s/\"$1\": [0-9]*/\"$1\": $2/" "$golden/$encoder/config.json" >"$bad/config.json"
    unread "$3"
}
# transposed NAME ROWS COLUMNS: a matrix of that shape as if it were stored by columns.
transposed() {
    LC_ALL=C sed "s/\(\"$1\":{\"dtype\":\"F32\",\"shape\":\[\)$2,$3\]/\1$3,$2]/" \
        "$golden/$encoder/$weights" >"$bad/$weights"
    unread "tensor '$1' has shape \[$3, $2\], the model needs \[$2, $3\]"
}
# lost NAME: the second of two shards, which holds the tensor, is not there.
lost() {
    mv "$bad/$weights" "$bad/model-00001-of-00002.safetensors"
    echo "{\"weight_map\": {\"$1\": \"model-00002-of-00002.safetensors\"}}" >"$bad/$weights.index.json"
    unread "model-00002-of-00002.safetensors"
}
# spoiled NAME TENSOR: it holds NaN, and so would that tensor of the result.
spoiled() {
    "$tool" poison "$golden/$encoder/$weights" "$bad/$weights" "$1" nan
    refuses 1 "$eval" --component text_encoder --model "$bad" --input "$golden/$encoder/io.safetensors" \
        --output "$tmp/states.safetensors"
    says "the result: tensor $2 holds NaN"
    [ -e "$tmp/states.safetensors" ] && fail "states were written"
    encoder "$encoder"
}
weights=model.safetensors
encoder llama
cp "$golden/umt5/$weights" "$bad"
unread "'embed_tokens.weight' is missing"
lost layers.4.mlp.up_proj.weight
transposed layers.1.mlp.down_proj.weight 48 80
sized num_attention_heads 5 "config.json: num_attention_heads is 5 and num_key_value_heads 2; a group"
sized num_attention_heads 4 "layers.0.self_attn.k_proj.weight' has shape .16, 48., the model needs .24, 48."
sized num_attention_heads 10 "layers.0.self_attn.q_proj.weight' has shape .48, 48., the model needs .40, 48."
sized num_attention_heads 16 "config.json: head_dim is 3; halves are rotated"
sized num_key_value_heads 4 "config.json: num_attention_heads is 6 and num_key_value_heads 4"
sized num_key_value_heads 3 "layers.0.self_attn.k_proj.weight"
sized num_key_value_heads 6 "layers.0.self_attn.k_proj.weight"
sized num_hidden_layers 2 "config.json: num_hidden_layers is 2;.* 3 or more"
sized num_hidden_layers 4 "layers.4"
sized num_hidden_layers 6 "layers.5"
sized intermediate_size 81 "mlp"
sized vocab_size 71 "embed_tokens.weight"
sed 's/"silu"/"gelu"/' "$golden/llama/config.json" >"$bad/config.json"
unread "config.json: hidden_act"
sed 's/"rope_scaling": null/"rope_scaling": {"rope_type": "llama3"}/' "$golden/llama/config.json" >"$bad/config.json"
unread "config.json: rope_scaling"
spoiled layers.2.self_attn.o_proj.weight out.y
encoder clip
cp "$golden/llama/$weights" "$bad"
unread "'text_model.embeddings.token_embedding.weight' is missing"
lost text_model.encoder.layers.2.mlp.fc1.weight
transposed text_model.encoder.layers.1.mlp.fc1.weight 96 48
sized num_attention_heads 5 "config.json: hidden_size is 48 and num_attention_heads 5"
sized num_attention_heads 0 "config.json: .*num_attention_heads"
sized eos_token_id 72 "config.json: eos_token_id is 72 and vocab_size 72"
sized max_position_embeddings 41 "position_embedding.weight"
sized num_hidden_layers 2 "text_model.encoder.layers.2"
sized num_hidden_layers 4 "text_model.encoder.layers.3"
sized intermediate_size 97 "mlp.fc1"
sed 's/"quick_gelu"/"gelu_new"/' "$golden/clip/config.json" >"$bad/config.json"
unread "config.json: hidden_act is gelu_new; quick_gelu and gelu are supported"
spoiled text_model.encoder.layers.1.self_attn.v_proj.bias out.y

# HunyuanVideo's prompts, which take two byte-level BPE tokenizers.
# unspoken WORDS: expects the refusal of a prompt, before anything else.
unspoken() {
    refuses 1 "$generate" --model "$bad" --prompt x --dry-run
    says "$1"
    hunyuan
}
hunyuan() {
    rm -rf "$bad"
    cp -r "$golden/hunyuan_text" "$bad" && chmod -R u+w "$bad"
    cp -r "$golden/hunyuan_dit" "$bad/transformer"
    cp -r "$golden/hunyuan_vae" "$bad/vae"
}
hunyuan
if "$info" | grep -q "BPE (PCRE2) yes"; then
    passes "$generate" --model "$bad" --prompt x --dry-run
    head -c 100 "$golden/hunyuan_text/tokenizer/tokenizer.json" >"$bad/tokenizer/tokenizer.json"
    unspoken "tokenizer/tokenizer.json"
    rm "$bad/tokenizer_2/merges.txt"
    unspoken "merges.txt"
    rm -r "$bad/tokenizer_2"
    unspoken "tokenizer_2"
else
    unspoken "built without PCRE2 .* give --token-ids or --prompt-embeds"
fi

# Not folders in diffusers layout at all.
for file in model.gguf model.pth model.safetensors; do
    : >"$tmp/$file"
    refuses 1 "$generate" --model "$tmp/$file" --prompt x --output "$tmp/v.y4m"
    says "$file"
done
HF_HOME=$tmp refuses 1 "$generate" --model org/name --prompt x --output "$tmp/v.y4m"
says "download"

# A decoder of WFVAE: broken WORDS expects the refusal of the folder as the commands before left it.
broken() {
    refuses 1 "$eval" --component vae --model "$bad" --input "$golden/wfvae/io.safetensors" --compare
    says "$1"
    wfvae
}

wfvae() {
    rm -rf "$bad"
    cp -r "$golden/wfvae" "$bad" && chmod -R u+w "$bad"
}

config=$golden/wfvae/config.json weights=diffusion_pytorch_model.safetensors
wfvae
sed 's/layernorm/groupnorm/' "$config" >"$bad/config.json"
broken "bad/config.json: norm_type.*groupnorm"
sed 's/trilinear/nearest/' "$config" >"$bad/config.json"
broken "t_interpolation.*nearest"
sed 's/"_class_name"/"l1_upsample_block": "Spatial2xTime2x3DUpsample", "_class_name"/' "$config" >"$bad/config.json"
broken "Spatial2xTime2x3DUpsample with l1_upsample_wavelet InverseHaarWaveletTransform2D"
sed 's/"latent_dim": 3/"latent_dim": 4/' "$config" >"$bad/config.json"
broken "scale has 3 entries and shift 3; latent_dim 4"
sed 's/0.5/0/' "$config" >"$bad/config.json"
broken "scale.0. is 0"
sed 's/"shift"/"shifts"/' "$config" >"$bad/config.json"
broken "config.json: key .shift. is missing"
sed 's/"base_channels": 2/"base_channels": 0/' "$config" >"$bad/config.json"
broken "base_channels"
sed 's/"base_channels": 2/"base_channels": 3/' "$config" >"$bad/config.json"
broken "decoder.conv_in.conv.weight"
sed 's/"connect_res_layer_num": 1/"connect_res_layer_num": 2/' "$config" >"$bad/config.json"
broken "decoder.connect_l2"
sed 's/"decoder_num_resblocks": 1/"decoder_num_resblocks": 2/' "$config" >"$bad/config.json"
broken "decoder.up2"
rm "$bad/$weights"
broken "bad"
head -c 1000 "$golden/wfvae/$weights" >"$bad/$weights"
broken "$weights"
cp "$golden/wan_vae/$weights" "$bad/$weights"
broken "decoder.conv_in.conv"
"$tool" names "$golden/wfvae/$weights" | sed 's/.*/& &/; s/mid.1.q.conv.weight$/mid.1.p.conv.weight/' |
    "$tool" rename "$bad/$weights" "$golden/wfvae/$weights"
broken "decoder.mid.1.q.conv.weight"
LC_ALL=C sed 's/\(mid.2.nin_shortcut.conv.weight":{"dtype":"F32","shape":\[\)11,8,/\18,11,/' \
    "$golden/wfvae/$weights" >"$bad/$weights"
broken "decoder.mid.2.nin_shortcut.conv.weight. has shape .8, 11, 1, 1, 1., the model needs .11, 8, 1, 1, 1."
"$tool" poison "$golden/wfvae/$weights" "$bad/$weights" decoder.up2.2.conv2.conv.weight nan 5
broken "the result is NaN or infinite"
"$tool" rename "$tmp/tiled.safetensors" "$golden/wfvae/io.safetensors" <<'LIST'
in.z in.z
out.y out.tiled_16_16x16
LIST
refuses 2 "$eval" --component vae --model "$bad" --input "$tmp/tiled.safetensors" --compare
says "WFVAEModel decodes no spatial tiles"
finish
