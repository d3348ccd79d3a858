#!/bin/sh
# HunyuanVideo from given text to a video, whole: the golden transformer and decoder as one checkpoint. The same
# bytes for every number of devices, strategy and placement; a run that goes on elsewhere; what a step moves
# between devices; true guidance; checkpoints and options that are refused.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

# model FOLDER: the checkpoint as links.
model() {
    mkdir "$1" && here=$(cd "$golden" && pwd) || exit 99
    ln -s "$here/hunyuan/model_index.json" "$here/hunyuan/scheduler" "$1/"
    ln -s "$here/hunyuan_dit" "$1/transformer"
    ln -s "$here/hunyuan_vae" "$1/vae"
}
model "$tmp/model"
text="--prompt-embeds $golden/hunyuan/prompt.safetensors"
negative="--negative-prompt-embeds $golden/hunyuan/negative.safetensors"
size="--height 48 --width 80 --num-frames 9 --num-inference-steps 3"

# video NAME OPTIONS...
video() {
    name=$1
    shift
    # shellcheck disable=SC2086
    passes "$generate" --model "$tmp/model" $text $size --workers-per-device 1 --quiet --force \
        --output "$tmp/$name.safetensors" --stats "$tmp/$name.json" "$@"
}

# exact OPTIONS...: the bytes of one device.
exact() {
    video v "$@" && same "$tmp/v.safetensors" "$tmp/first.safetensors" || fail "other bytes: $*"
}

video first --devices 1 --strategy single
[ "$("$tool" json "$tmp/first.json" prompt_tokens)" -eq 9 ] || fail "not 9 tokens of text"
[ "$("$tool" json "$tmp/first.json" plan forwards_per_step)" -eq 1 ] || fail "not one forward a step"
for devices in 3 8; do
    for strategy in ulysses pipesp; do
        exact --devices $devices --strategy $strategy
        d=0
        while [ $d -lt $devices ]; do
            [ "$("$tool" json "$tmp/v.json" device $d tiles)" -gt 0 ] || fail "device $d is idle"
            d=$((d + 1))
        done
    done
done
exact --devices 3 --strategy single --scheduler scatter
exact --devices 3 --strategy pipesp --transport nccl
for aco in off static dynamic; do
    exact --dit-devices 0-1 --vae-devices 2 --strategy pipesp --aco $aco
done
exact --devices 1 --workers-per-device 2
for strategy in ring usp; do
    video $strategy --devices 4 --strategy $strategy
    video v --devices 4 --strategy $strategy --scheduler lws
    same "$tmp/v.safetensors" "$tmp/$strategy.safetensors"
done
video mp4 --devices 3 --output "$tmp/v.mp4" --stats "$tmp/mp4.json"
[ -s "$tmp/v.mp4" ] || fail "no mp4"

# Guidance is an input, and so is the text.
video v --devices 1 --guidance-scale 5
cmp -s "$tmp/v.safetensors" "$tmp/first.safetensors" && fail "guidance changes nothing"

# True guidance: two forwards, whose texts differ in length.
# shellcheck disable=SC2086
set -- $negative --true-cfg-scale 2.5
video true --devices 1 --strategy single "$@"
[ "$("$tool" json "$tmp/true.json" plan forwards_per_step)" -eq 2 ] || fail "not two forwards a step"
cmp -s "$tmp/true.safetensors" "$tmp/first.safetensors" && fail "true guidance changes nothing"
for way in "3 pipesp 2" "3 ulysses 1" "8 ulysses 2"; do
    rest=${way#* }
    video v "$@" --devices "${way%% *}" --strategy "${rest% *}" --streams "${rest#* }"
    same "$tmp/v.safetensors" "$tmp/true.safetensors"
done

# A run that was stopped goes on, on other devices. One that was faster than this script is run again.
video whole --devices 1 --num-inference-steps 40 "$@"
for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
    # shellcheck disable=SC2086
    "$generate" --model "$tmp/model" $text $size --num-inference-steps 40 --checkpoint-every 1 --quiet \
        --output "$tmp/r.safetensors" --devices 1 "$@" >"$tmp/r.out" 2>&1 &
    pid=$!
    await test -s "$tmp/r.state.safetensors"
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ -e "$tmp/r.safetensors" ] || break
    rm -f "$tmp/r.safetensors"
done
passes "$generate" --resume "$tmp/r.state.safetensors" --devices 3 --strategy pipesp --quiet \
    --output "$tmp/r.safetensors"
same "$tmp/r.safetensors" "$tmp/whole.safetensors"

# What the plan says is exchanged is what StarPU moves.
for way in "3 ulysses" "3 pipesp" "8 ulysses" "3 ring" "5 pipesp"; do
    # shellcheck disable=SC2086
    set -- $way
    for steps in 2 4; do
        video s$steps --devices "$1" --strategy "$2" --num-inference-steps $steps
    done
    moved=$(($("$tool" json "$tmp/s4.json" moved between_devices_bytes) - \
        $("$tool" json "$tmp/s2.json" moved between_devices_bytes)))
    formula=$("$tool" json "$tmp/s4.json" plan exchanged_bytes_per_step)
    [ "$moved" -gt 0 ] && [ $moved -eq $((2 * ${formula%.*})) ] ||
        fail "$2 on $1 devices: 2 steps move $moved bytes, the plan says $formula a step"
done

# ---- what is refused -------------------------------------------------------------------------

# shellcheck disable=SC2086
set -- "$generate" --model "$tmp/model" $text $size --output "$tmp/no.y4m"
refuses 2 "$@" --true-cfg-scale 2
says "goes with --negative-prompt"
# shellcheck disable=SC2086
refuses 2 "$@" $negative
says "true-cfg-scale above 1"
refuses 2 "$generate" --model "$demo" --token-ids 5,1 --true-cfg-scale 2 --output "$tmp/no.y4m"
says "two forwards already"
refuses 2 "$@" --sampler unipc
says "schedule linear is one of euler"

bad=$tmp/bad
# damaged WORDS: expects the refusal of the transformer as the commands before left it.
damaged() {
    # shellcheck disable=SC2086
    refuses 1 "$generate" --model "$bad" $text $size --quiet --output "$tmp/no.y4m"
    says "$1"
    rm -rf "$bad"
    copy
}
copy() {
    model "$bad" && rm "$bad/transformer" && cp -r "$golden/hunyuan_dit" "$bad/transformer" &&
        chmod -R u+w "$bad/transformer"
}
# configured FROM TO WORDS: with that change of config.json.
configured() {
    sed "s/$1/$2/" "$golden/hunyuan_dit/config.json" >"$bad/transformer/config.json"
    damaged "$3"
}
copy
configured '"image_condition_type": null' '"image_condition_type": "token_replace"' \
    "image_condition_type is token_replace; of HunyuanVideo, the text-to-video model is run"
configured '"in_channels": 4' '"in_channels": 33' "in_channels is 33 and out_channels 4"
configured '"rms_norm"' '"layer_norm"' "qk_norm"
configured HunyuanVideoTransformer3DModel HunyuanVideo15Transformer3DModel \
    "HunyuanVideo15Transformer3DModel; this version runs .*HunyuanVideoTransformer3DModel"
configured '"num_layers": 2' '"num_layers": 3' "transformer_blocks.2"
configured '"num_single_layers": 2' '"num_single_layers": 1' "single_transformer_blocks.1"
configured '"num_refiner_layers": 2' '"num_refiner_layers": 3' "refiner_blocks.2"
configured '"mlp_ratio": 4.0' '"mlp_ratio": 3.0' "ff"
configured '"pooled_projection_dim": 12' '"pooled_projection_dim": 13' "text_embedder.linear_1"
configured '"text_embed_dim": 24' '"text_embed_dim": 25' "context_embedder"
configured '"guidance_embeds": true' '"guidance_embeds": false' "guidance_embedder"
configured '"num_attention_heads": 3' '"num_attention_heads": 4' "shape"
configured '  4,' '  2,' "rope_axes_dim"
configured '"mlp_ratio": 4.0' '"mlp_ratio": "4"' "mlp_ratio"
# The flag as a string, as some programs write it.
sed 's/"guidance_embeds": true/"guidance_embeds": "true"/' "$golden/hunyuan_dit/config.json" \
    >"$bad/transformer/config.json"
# shellcheck disable=SC2086
passes "$generate" --model "$bad" $text $size --workers-per-device 1 --quiet --force \
    --output "$tmp/v.safetensors"
same "$tmp/v.safetensors" "$tmp/first.safetensors"
rm -rf "$bad" && copy
weights=diffusion_pytorch_model.safetensors
cp "$golden/wan_dit/$weights" "$bad/transformer/$weights"
damaged "x_embedder.proj.weight"
head -c -1 "$golden/hunyuan_dit/$weights" >"$bad/transformer/$weights"
damaged "transformer/$weights"
rm "$bad/transformer/$weights"
printf '{"weight_map": {"x_embedder.proj.weight": "diffusion_pytorch_model-00001-of-00002.safetensors"}}' \
    >"$bad/transformer/$weights.index.json"
damaged "diffusion_pytorch_model-00001-of-00002.safetensors"
mv "$bad/transformer/$weights" "$bad/transformer/part.safetensors"
printf '{"weight_map": {"x_embedder.proj.weight": "part.safetensors", "proj_out.weight": "part2.safetensors"}}' \
    >"$bad/transformer/$weights.index.json"
damaged "transformer/part2.safetensors"
# transposed NAME ROWS COLUMNS: a matrix of that shape as if it were stored by columns.
transposed() {
    LC_ALL=C sed "s/\(\"$1\":{\"dtype\":\"F32\",\"shape\":\[\)$2,$3]/\1$3,$2]/" \
        "$golden/hunyuan_dit/$weights" >"$bad/transformer/$weights"
    damaged "tensor '$1' has shape \[$3, $2\], the model needs \[$2, $3\]"
}
transposed single_transformer_blocks.1.proj_mlp.weight 192 48
transposed transformer_blocks.0.ff_context.net.2.weight 48 192
transposed context_embedder.proj_in.weight 48 24
"$tool" poison "$golden/hunyuan_dit/$weights" "$bad/transformer/$weights" \
    single_transformer_blocks.1.norm.linear.weight nan
damaged "single_transformer_blocks.1.norm.linear.weight holds NaN"
finish
