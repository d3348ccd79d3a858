#!/bin/sh
# stardit-eval against the golden cases on 1, 3 and 8 devices, a wrong weight, and inputs that do not fit.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

# compares COMPONENT FOLDER TENSORS OPTIONS...: all tensors are within their limits.
compares() {
    component=$1 folder=$2 count=$3
    shift 3
    [ "$component" = scheduler ] || set -- --model "$folder" "$@" # which has no weights
    passes "$eval" --component "$component" --input "$folder/io.safetensors" --compare "$@"
    [ "$(grep -c ' ok$' "$tmp/out")" -eq "$count" ] ||
        fail "$component $*: not $count lines of ok: $(cat "$tmp/out")"
}

for devices in 1 3 8; do
    compares transformer "$golden/wan_dit" 1 --devices $devices --stats "$tmp/s$devices.json"
    compares transformer "$golden/hunyuan_dit" 2 --devices $devices --stats "$tmp/j$devices.json"
    compares transformer "$golden/osp13_dit" 1 --devices $devices --stats "$tmp/p$devices.json"
    compares vae "$golden/wan_vae" 2 --devices $devices
    compares vae "$golden/hunyuan_vae" 3 --devices $devices --stats "$tmp/h$devices.json"
    compares vae "$golden/hunyuan_vae2" 3 --devices $devices
    compares vae "$golden/wfvae13" 1 --devices $devices --stats "$tmp/w$devices.json"
    compares vae "$golden/wfvae15" 1 --devices $devices
    for input in io io-one io-two; do
        passes "$eval" --component vae --model "$golden/wfvae" --devices $devices --compare \
            --input "$golden/wfvae/$input.safetensors"
    done
    compares text_encoder "$golden/umt5" 2 --devices $devices
    compares text_encoder "$golden/llama" 4 --devices $devices
    compares text_encoder "$golden/mt5" 2 --devices $devices
    compares text_encoder "$golden/clip" 3 --devices $devices
done
compares scheduler "$golden/schedulers" 70

# Every device had a tile, and bytes went from device to device.
for stats in "$tmp/s" "$tmp/j"; do
    for devices in 3 8; do
        d=0
        while [ $d -lt $devices ]; do
            [ "$("$tool" json "$stats$devices.json" device $d tiles)" -gt 0 ] || fail "device $d is idle"
            d=$((d + 1))
        done
        [ "$("$tool" json "$stats$devices.json" moved between_devices_bytes)" -gt 0 ] ||
            fail "nothing was exchanged"
    done
    [ "$("$tool" json "$tmp/s$devices.json" moved between_devices_bytes)" -gt 0 ] ||
        fail "nothing was exchanged"
    [ "$("$tool" json "$tmp/p$devices.json" moved between_devices_bytes)" -gt 0 ] ||
        fail "nothing was exchanged by osp13_dit"
done

# The results as a file are the same bytes on any devices, and compare with themselves exactly.
for family in hunyuan_dit wan_dit; do
    for devices in 1 3 8; do
        passes "$eval" --component transformer --model "$golden/$family" --devices $devices --force \
            --input "$golden/$family/io.safetensors" --output "$tmp/y$devices.safetensors"
    done
    same "$tmp/y1.safetensors" "$tmp/y3.safetensors"
    same "$tmp/y1.safetensors" "$tmp/y8.safetensors"
done
for strategy in single pipesp usp; do
    compares transformer "$golden/hunyuan_dit" 2 --devices 4 --strategy $strategy
done
compares transformer "$golden/hunyuan_dit" 2 --devices 4 --strategy ring
for workers in 1 3 2,1,1,1,1,1,1,1; do
    devices=1
    [ $workers = 1 ] || devices=8
    [ $workers = 3 ] && devices=2
    passes "$eval" --component vae --model "$golden/hunyuan_vae" --devices $devices --force \
        --workers-per-device $workers --input "$golden/hunyuan_vae/io.safetensors" \
        --output "$tmp/h$workers.safetensors"
    same "$tmp/h1.safetensors" "$tmp/h$workers.safetensors"
done
# A lone latent frame, and one that leaves no frame but a dropped one to the last tile in time.
for latents in 1 7; do
    "$tool" tensor "$tmp/z.safetensors" in.z 1 4 $latents 5 3
    for devices in 1 3; do
        passes "$eval" --component vae --model "$golden/hunyuan_vae" --devices $devices --force \
            --input "$tmp/z.safetensors" --output "$tmp/z$devices.safetensors"
    done
    same "$tmp/z1.safetensors" "$tmp/z3.safetensors"
done
# The same where tokens attend in groups, under every strategy: equal bits, and the golden limit for rings.
for case in "single 1" "single 3" "ulysses 3" "ulysses 8" "pipesp 3" "pipesp 8"; do
    compares transformer "$golden/osp13_dit" 1 --strategy "${case% *}" --devices "${case#* }" \
        --output "$tmp/g.safetensors" --force
    [ -f "$tmp/g1.safetensors" ] || cp "$tmp/g.safetensors" "$tmp/g1.safetensors"
    same "$tmp/g.safetensors" "$tmp/g1.safetensors"
done
compares transformer "$golden/osp13_dit" 1 --strategy ring --devices 3
compares transformer "$golden/osp13_dit" 1 --strategy ring --devices 8
compares transformer "$golden/osp13_dit" 1 --strategy usp --devices 4 --ulysses-degree 2
for case in wfvae13/io wfvae15/io wfvae/io wfvae/io-one wfvae/io-two; do
    for devices in 1 3 8; do
        passes "$eval" --component vae --model "$golden/${case%/*}" --devices $devices \
            --input "$golden/$case.safetensors" --output "$tmp/v$devices.safetensors"
    done
    passes "$eval" --component vae --model "$golden/${case%/*}" --devices 2 --force \
        --workers-per-device 3,2 --input "$golden/$case.safetensors" --output "$tmp/v2.safetensors"
    for devices in 2 3 8; do
        same "$tmp/v1.safetensors" "$tmp/v$devices.safetensors"
    done
    rm "$tmp"/v?.safetensors
done
refuses 2 "$eval" --component transformer --model "$golden/wan_dit" \
    --input "$golden/wan_dit/io.safetensors" --output "$tmp/y1.safetensors"

# Text encoders: the bits of one worker on any number of them, which share out a matrix's columns.
for model in umt5 llama clip; do
    for workers in 1 2 5; do
        passes "$eval" --component text_encoder --model "$golden/$model" --workers-per-device $workers \
            --input "$golden/$model/io.safetensors" --output "$tmp/$model$workers.safetensors"
        same "$tmp/$model$workers.safetensors" "$tmp/${model}1.safetensors"
    done
done

# LLaMA under the names of the language model. The last two layers and the norm are not read.
mkdir "$tmp/llama"
cp "$golden/llama/config.json" "$golden/llama/io.safetensors" "$tmp/llama"
{
    "$tool" names "$golden/llama/model.safetensors" | sed 's/.*/& model.&/'
    echo "embed_tokens.weight lm_head.weight"
} | "$tool" rename "$tmp/llama/model.safetensors" "$golden/llama/model.safetensors" || exit 99
compares text_encoder "$tmp/llama" 4
for name in layers.3.mlp.up_proj.weight layers.4.self_attn.q_proj.weight norm.weight; do
    "$tool" poison "$golden/llama/model.safetensors" "$tmp/llama/model.safetensors" $name nan
    compares text_encoder "$tmp/llama" 4
done

# CLIP under bare names, and with the end of text as older configurations say it.
mkdir "$tmp/clip"
cp "$golden/clip/io.safetensors" "$tmp/clip"
sed 's/"eos_token_id": 71/"eos_token_id": 2/' "$golden/clip/config.json" >"$tmp/clip/config.json"
"$tool" names "$golden/clip/model.safetensors" | sed 's/^text_model\.\(.*\)/& \1/' |
    "$tool" rename "$tmp/clip/model.safetensors" "$golden/clip/model.safetensors" || exit 99
compares text_encoder "$tmp/clip" 3
# As larger CLIP models have it, gelu itself; with the other one, results are others.
sed 's/"quick_gelu"/"gelu"/' "$golden/clip/config.json" >"$tmp/clip/config.json"
for devices in 1 3; do
    passes "$eval" --component text_encoder --model "$tmp/clip" --input "$golden/clip/gelu.safetensors" --compare \
        --devices $devices
done
"$eval" --component text_encoder --model "$golden/clip" --input "$golden/clip/gelu.safetensors" --compare \
    >"$tmp/out" 2>&1 && fail "gelu and its approximation give one result"
sed 's/"eos_token_id": 71/"eos_token_id": 69/' "$golden/clip/config.json" >"$tmp/clip/config.json"
refuses 2 "$eval" --component text_encoder --model "$tmp/clip" --input "$tmp/clip/io.safetensors" \
    --compare
says "without an end of text (id 69)"

# A checkpoint's component.
passes "$eval" --component text_encoder --model "$demo" --input "$golden/demo/io-new.safetensors" \
    --output "$tmp/text.safetensors"

# One wrong number in one weight of each component.
for case in \
    "transformer wan_dit diffusion_pytorch_model blocks.1.attn1.to_k.weight" \
    "transformer hunyuan_dit diffusion_pytorch_model transformer_blocks.1.attn.add_k_proj.weight" \
    "transformer hunyuan_dit diffusion_pytorch_model context_embedder.token_refiner.refiner_blocks.1.attn.to_v.weight" \
    "transformer osp13_dit diffusion_pytorch_model transformer_blocks.3.attn1.to_q.weight" \
    "vae wan_vae diffusion_pytorch_model decoder.conv_in.weight" \
    "vae hunyuan_vae diffusion_pytorch_model decoder.up_blocks.2.resnets.1.norm2.weight" \
    "vae wfvae13 diffusion_pytorch_model decoder.connect_l2.0.conv1.conv.weight" \
    "text_encoder umt5 model encoder.block.0.layer.0.SelfAttention.v.weight" \
    "text_encoder mt5 model encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight" \
    "text_encoder llama model layers.2.self_attn.k_proj.weight" \
    "text_encoder clip model text_model.embeddings.position_embedding.weight"; do
    # shellcheck disable=SC2086
    set -- $case
    cp -r "$golden/$2" "$tmp/wrong"
    chmod -R u+w "$tmp/wrong"
    "$tool" change "$golden/$2/$3.safetensors" "$tmp/wrong/$3.safetensors" "$4" ||
        fail "cannot change $4"
    "$eval" --component "$1" --model "$tmp/wrong" --input "$tmp/wrong/io.safetensors" --compare \
        >"$tmp/out" 2>"$tmp/err"
    code=$?
    [ $code -eq 1 ] && grep -q ' FAIL$' "$tmp/out" || fail "$1 with a wrong weight: exit $code"
    passes "$eval" --component "$1" --model "$tmp/wrong" --input "$tmp/wrong/io.safetensors" \
        --compare --atol 10
    rm -rf "$tmp/wrong"
done

# Numbers that are none: in the reference, wherever, they agree with nothing; in the input they are named; a
# result of them is not written.
io=$golden/wan_dit/io.safetensors
e="$eval --component transformer --model $golden/wan_dit"
for place in 0 7 1259; do
    for value in nan inf; do
        "$tool" poison "$io" "$tmp/nan.safetensors" out.y $value $place || fail "no reference"
        $e --input "$tmp/nan.safetensors" --compare >"$tmp/out" 2>&1 && fail "$value at $place: $(cat "$tmp/out")"
        grep -q "FAIL$" "$tmp/out" || fail "$value at $place: $(cat "$tmp/out")"
    done
    "$tool" poison "$io" "$tmp/nan.safetensors" in.x nan $place
    refuses 2 $e --input "$tmp/nan.safetensors" --output "$tmp/nan.y.safetensors"
    says "nan.safetensors: tensor in.x holds NaN (number $place of"
done
cp -r "$golden/wan_dit" "$tmp/large"
chmod -R u+w "$tmp/large"
"$tool" poison "$golden/wan_dit/diffusion_pytorch_model.safetensors" \
    "$tmp/large/diffusion_pytorch_model.safetensors" proj_out.weight 3e38
refuses 1 "$eval" --component transformer --model "$tmp/large" --input "$io" --output "$tmp/nan.y.safetensors"
says "the result: tensor out.y holds"
[ ! -e "$tmp/nan.y.safetensors" ] || fail "a result that is no number was written"

# T5 of version 1.1 is computed as mT5 is; without a gate it is refused.
cp -r "$golden/mt5" "$tmp/t5"
chmod -R u+w "$tmp/t5"
sed 's/"mt5"/"t5"/' "$golden/mt5/config.json" >"$tmp/t5/config.json"
compares text_encoder "$tmp/t5" 2
sed 's/"mt5"/"t5"/; /feed_forward_proj/d' "$golden/mt5/config.json" >"$tmp/t5/config.json"
refuses 1 "$eval" --component text_encoder --model "$tmp/t5" --input "$golden/mt5/io.safetensors" --compare
says "feed_forward_proj is missing"
sed 's/"mt5"/"umt5"/' "$golden/mt5/config.json" >"$tmp/t5/config.json"
refuses 1 "$eval" --component text_encoder --model "$tmp/t5" --input "$golden/mt5/io.safetensors" --compare
says "encoder.block.1.layer.0.SelfAttention.relative_attention_bias"

# Inputs that do not fit.
e="$eval --compare --component"
joint=$golden/hunyuan_dit/io.safetensors
"$tool" poison "$joint" "$tmp/mask.safetensors" in.mask 0 2
refuses 1 $e transformer --model "$golden/hunyuan_dit" --input "$tmp/mask.safetensors"
says "in.mask must be \[1, 11\], of 1 for the first rows"
refuses 1 $e transformer --model "$golden/hunyuan_dit" --input "$golden/wan_dit/io.safetensors"
says "no tensor in.pool"
"$tool" tensor "$tmp/x.safetensors" in.x 1 4 3 10 14
refuses 1 $e transformer --model "$golden/wan_dit" --input "$tmp/x.safetensors"
says "no tensor in.txt"
"$tool" tensor "$tmp/x.safetensors" in.x 4 3 10 14
refuses 1 $e transformer --model "$golden/wan_dit" --input "$tmp/x.safetensors"
says "it must be \[1, channels, frames, height, width\]"
"$tool" tensor "$tmp/z.safetensors" in.z 1 3 4 5 7
refuses 1 $e vae --model "$golden/wan_vae" --input "$tmp/z.safetensors"
says "takes \[1, 4, frames"
"$tool" tensor "$tmp/z.safetensors" in.z 1 4 4 5 7
refuses 1 $e vae --model "$golden/wan_vae" --input "$tmp/z.safetensors"
says "no tensor out"
"$tool" tensor "$tmp/ids.safetensors" in.ids 1 9
refuses 1 $e text_encoder --model "$golden/umt5" --input "$tmp/ids.safetensors"
says "must be I64 or I32"
refuses 1 $e transformer --model "$golden/wan_vae" --input "$golden/wan_dit/io.safetensors"
refuses 1 $e transformer --model "$tmp" --input "$golden/wan_dit/io.safetensors"
refuses 1 $e scheduler --input "$tmp/none.safetensors"
finish
