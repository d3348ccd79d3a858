#!/bin/sh
# NaN and infinity in weights, latents and embeddings, or arising in a step: one line that names the tensor or
# the step, exit 1 (2 for an input), no video; a latent that was denoised before is kept and decodes.
. "${STARDIT_SOURCE_DIR:-.}/tests/apps/common.sh"

size="--height 32 --width 32 --num-frames 5 --num-inference-steps 3 --quiet"

# poisoned NAME COMPONENT FILE TENSOR nan|inf: a checkpoint of links, but for one file.
poisoned() {
    mkdir "$tmp/$1" "$tmp/$1/$2"
    for part in "$demo"/*; do
        [ "${part##*/}" = "$2" ] || ln -s "$part" "$tmp/$1/${part##*/}"
    done
    for part in "$demo/$2"/*; do
        [ "${part##*/}" = "$3" ] || ln -s "$part" "$tmp/$1/$2/${part##*/}"
    done
    "$tool" poison "$demo/$2/$3" "$tmp/$1/$2/$3" "$4" "$5" || fail "poison $*"
}

number=0
while read -r component file tensor value words; do
    number=$((number + 1))
    poisoned "m$number" "$component" "$file" "$tensor" "$value"
    for more in "" "--devices 3 --guidance-scale 1" "--enable-tiling --scheduler lws"; do
        # shellcheck disable=SC2086
        refuses 1 "$generate" --model "$tmp/m$number" --token-ids 5,6,7,1 $size $more \
            --output "$tmp/v.y4m"
        says "$component: tensor $tensor holds $words"
        [ ! -e "$tmp/v.y4m" ] || fail "$tensor: a video was written"
        rm -f "$tmp"/v.*
    done
done <<END
transformer diffusion_pytorch_model.safetensors blocks.1.attn1.to_q.weight nan NaN
transformer diffusion_pytorch_model.safetensors blocks.0.ffn.net.2.bias inf infinity
transformer diffusion_pytorch_model.safetensors blocks.0.attn2.norm_q.weight nan NaN
transformer diffusion_pytorch_model.safetensors scale_shift_table inf infinity
text_encoder model.safetensors encoder.block.1.layer.0.SelfAttention.o.weight nan NaN
text_encoder model.safetensors encoder.final_layer_norm.weight inf infinity
END

# The VAE's: what was denoised is kept, and another VAE decodes it.
poisoned vae vae diffusion_pytorch_model.safetensors decoder.mid_block.resnets.0.conv2.bias nan
poisoned vae2 vae diffusion_pytorch_model.safetensors decoder.up_blocks.0.resnets.0.conv1.weight inf
for model in vae vae2; do
    for more in "" "--tile-size 16 --tile-stride 16" "--dit-devices 0 --vae-devices 1"; do
        # shellcheck disable=SC2086
        "$generate" --model "$tmp/$model" --token-ids 5,6,7,1 $size $more --output "$tmp/v.y4m" \
            2>"$tmp/err" && fail "$model: exit 0"
        grep -q "vae: tensor decoder.* holds" "$tmp/err" || fail "$model: $(cat "$tmp/err")"
        grep -q "the latent after step 3 of 3 is in $tmp/v.latent" "$tmp/err" ||
            fail "$model: no latent: $(cat "$tmp/err")"
        [ ! -e "$tmp/v.y4m" ] || fail "$model: a video was written"
        passes "$generate" --model "$demo" --num-inference-steps 0 --quiet \
            --latents "$tmp/v.latent.safetensors" --output "$tmp/w.y4m"
        rm -f "$tmp"/v.* "$tmp"/w.*
    done
done

# Inputs.
"$tool" tensor "$tmp/l.safetensors" latent 1 8 2 4 4
"$tool" tensor "$tmp/e.safetensors" prompt_embeds 1 6 96
for value in nan inf; do
    "$tool" poison "$tmp/l.safetensors" "$tmp/bad.safetensors" latent $value
    for steps in "0" "2 --token-ids 1"; do
        # shellcheck disable=SC2086
        refuses 2 "$generate" --model "$demo" $size --num-inference-steps $steps \
            --latents "$tmp/bad.safetensors" --output "$tmp/v.y4m"
        says "bad.safetensors: tensor latent holds"
    done
    "$tool" poison "$tmp/e.safetensors" "$tmp/bad.safetensors" prompt_embeds $value
    # shellcheck disable=SC2086
    refuses 2 "$generate" --model "$demo" $size --prompt-embeds "$tmp/bad.safetensors" \
        --guidance-scale 1 --output "$tmp/v.y4m"
    says "bad.safetensors: tensor prompt_embeds holds"
    # shellcheck disable=SC2086
    refuses 2 "$generate" --model "$demo" $size --prompt-embeds "$tmp/e.safetensors" \
        --negative-prompt-embeds "$tmp/bad.safetensors" --dry-run
    says "negative-prompt-embeds .*bad.safetensors: tensor prompt_embeds holds"
done

# In the other types that files have.
for type in F16 BF16 F64; do
    "$tool" store "$tmp/l.safetensors" "$tmp/l.$type" $type
    "$tool" store "$tmp/e.safetensors" "$tmp/e.$type" $type
    # shellcheck disable=SC2086
    passes "$generate" --model "$demo" $size --prompt-embeds "$tmp/e.$type" --guidance-scale 1 \
        --latents "$tmp/l.$type" --output "$tmp/$type.y4m"
    for value in nan inf -inf; do
        for kind in "l latent --token-ids 1 --latents" \
            "e prompt_embeds --guidance-scale 1 --prompt-embeds"; do
            # shellcheck disable=SC2086
            set -- $kind
            file=$1 name=$2
            shift 2
            "$tool" poison "$tmp/$file.$type" "$tmp/bad" $name $value
            # shellcheck disable=SC2086
            refuses 2 "$generate" --model "$demo" $size "$@" "$tmp/bad" --output "$tmp/v.y4m"
            says "bad: tensor $name holds"
        done
    done
done
number=100
for type in F16 BF16; do
    while read -r component file tensor value words; do
        number=$((number + 1))
        poisoned "m$number" "$component" "$file" "$tensor" "$value"
        "$tool" store "$demo/$component/$file" "$tmp/stored" $type &&
            rm "$tmp/m$number/$component/$file" &&
            "$tool" poison "$tmp/stored" "$tmp/m$number/$component/$file" "$tensor" "$value" || fail "$type"
        # shellcheck disable=SC2086
        "$generate" --model "$tmp/m$number" --token-ids 5,6,7,1 $size --output "$tmp/v.y4m" 2>"$tmp/err" &&
            fail "$type $tensor: exit 0"
        says "$component: tensor $tensor holds $words"
        [ ! -e "$tmp/v.y4m" ] || fail "$tensor: a video was written"
        rm -f "$tmp"/v.*
    done <<END
transformer diffusion_pytorch_model.safetensors blocks.0.attn2.to_k.weight inf infinity
transformer diffusion_pytorch_model.safetensors condition_embedder.time_proj.bias nan NaN
text_encoder model.safetensors encoder.block.0.layer.1.DenseReluDense.wo.weight -inf -infinity
vae diffusion_pytorch_model.safetensors decoder.conv_out.weight nan NaN
vae diffusion_pytorch_model.safetensors post_quant_conv.bias inf infinity
END
done

# Finite inputs that overflow: the step is named, and no tensor.
"$tool" fill "$tmp/huge.safetensors" latent 3e38 1 8 2 4 4
# shellcheck disable=SC2086
refuses 1 "$generate" --model "$demo" $size --token-ids 1 --latents "$tmp/huge.safetensors" \
    --output "$tmp/v.y4m"
says "step 1 made numbers that are NaN or infinite"
says "all weights are finite"
finish
