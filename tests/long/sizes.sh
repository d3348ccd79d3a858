#!/bin/sh
# Models of the published sizes, with zeros in place of their numbers: a prompt through all text encoders, two steps at
# 128x128 and the decoder, in no more memory than the plan says.
#       sizes.sh [NAME...]      wan-1.3b, open-sora-plan-1.3, hunyuan-13b; all of them by default
# A size for which the machine has no memory is left out. Exit 77: all are.
. "${STARDIT_SOURCE_DIR:?}/tests/apps/common.sh"
. "$source/tests/apps/layouts.sh"
. "$source/tests/long/layouts.sh"
[ $# -gt 0 ] || set -- wan-1.3b open-sora-plan-1.3 hunyuan-13b

# Beside what is planned: libraries, stacks, a worker's conversions, what malloc keeps.
room=600 # MB

# part FOLDER NAME CONFIG: a component from lines on stdin.
part() {
    mkdir -p "$tmp/$1" && "$tool" sparse "$tmp/$1/$2.safetensors" || exit 77
    [ -z "$3" ] || echo "$3" >"$tmp/$1/config.json"
}

wan() {
    transformer 30 1536 8960 BF16 2 | part wan dit
    vae | part wan vae
    text 24 | part wan text
    set -- --transformer "$tmp/wan/dit.safetensors" --vae "$tmp/wan/vae.safetensors" --text-encoder \
        "$tmp/wan/text.safetensors" --tokenizer "$demo/tokenizer" --token-ids 5,1 --negative-prompt ""
    run "$@"
}

opensora() {
    opensora_transformer | part opensora/transformer diffusion_pytorch_model '{"_class_name": "OpenSoraT2V_v1_3",
        "num_layers": 32, "num_attention_heads": 24, "attention_head_dim": 96, "in_channels": 8, "out_channels": 8,
        "patch_size": 2, "patch_size_t": 1, "caption_channels": 4096, "cross_attention_dim": 2304,
        "attention_bias": true, "activation_fn": "gelu-approximate", "norm_eps": 1e-06,
        "norm_elementwise_affine": false, "sparse1d": true, "sparse_n": 4}'
    opensora_decoder | part opensora/vae diffusion_pytorch_model '{"_class_name": "WFVAEModel", "latent_dim": 8,
        "base_channels": 128, "decoder_num_resblocks": 2, "decoder_energy_flow_hidden_size": 128,
        "connect_res_layer_num": 2, "norm_type": "layernorm", "t_interpolation": "trilinear",
        "scale": [0.18215, 0.18215, 0.18215, 0.18215, 0.18215, 0.18215, 0.18215, 0.18215],
        "shift": [0, 0, 0, 0, 0, 0, 0, 0]}'
    opensora_text | part opensora/text_encoder model '{"model_type": "mt5", "num_layers": 24, "d_model": 4096,
        "num_heads": 64, "d_kv": 64, "d_ff": 10240, "vocab_size": 250112, "feed_forward_proj": "gated-gelu"}'
    cp -R "$golden/opensora/model_index.json" "$golden/opensora/scheduler" "$demo/tokenizer" "$tmp/opensora"
    run --model "$tmp/opensora" --token-ids 5,1 --negative-prompt ""
}

hunyuan() {
    hunyuan_transformer | part hunyuan/transformer diffusion_pytorch_model '{"in_channels": 16, "out_channels": 16,
        "_class_name": "HunyuanVideoTransformer3DModel", "num_attention_heads": 24, "attention_head_dim": 128,
        "num_layers": 20, "num_single_layers": 40}'
    hunyuan_decoder | part hunyuan/vae diffusion_pytorch_model '{"_class_name": "AutoencoderKLHunyuanVideo",
        "in_channels": 3, "out_channels": 3, "latent_channels": 16, "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2, "act_fn": "silu", "norm_num_groups": 32, "scaling_factor": 0.476986,
        "spatial_compression_ratio": 8, "temporal_compression_ratio": 4, "mid_block_add_attention": true}'
    hunyuan_text | part hunyuan/text_encoder model '{"model_type": "llama", "hidden_size": 4096,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
        "vocab_size": 128320, "rms_norm_eps": 1e-05, "rope_theta": 500000.0}'
    hunyuan_text_2 | part hunyuan/text_encoder_2 model '{"model_type": "clip_text_model", "hidden_size": 768,
        "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "vocab_size": 49408,
        "max_position_embeddings": 77, "hidden_act": "quick_gelu"}'
    cp -R "$golden/hunyuan/model_index.json" "$golden/hunyuan/scheduler" "$tmp/hunyuan"
    # Those of the template are left out of the states.
    run --model "$tmp/hunyuan" --token-ids "$(awk 'BEGIN { for (i = 1; i < 103; i++) printf "%d,", i; print i }')" \
        --token-ids-2 1,2,3,49407 --max-sequence-length 16
}

# run OPTIONS...: a video of the model, within the memory of its plan.
run() {
    set -- "$generate" "$@" --height 128 --width 128 --num-frames 5 --num-inference-steps 2 --seed 1
    passes "$@" --dry-run || return
    # shellcheck disable=SC2046  # two numbers
    set -- $(sed -n 's/^  memory *\([0-9.]*\) GB on all devices, \([0-9.]*\) GB available here.*/\1 \2/p' "$tmp/out") \
        "$@"
    planned=$1 limit=$(awk "BEGIN { print int($1 * 1000 + $room) }")
    if awk "BEGIN { exit !($limit > $2 * 1000) }"; then
        echo "$name: left out; $planned GB are planned, $2 GB available"
        return
    fi
    shift 2
    ulimit -S -d $((limit * 1000000 / 1024)) || fail "no limit of memory can be set"
    passes "$@" --output "$tmp/v.y4m" --force --quiet --stats "$tmp/s.json"
    ulimit -S -d unlimited
    bytes=$(($(wc -c <"$tmp/v.y4m") - $(head -n 1 "$tmp/v.y4m" | wc -c)))
    [ $bytes -eq $((5 * (6 + 128 * 128 * 3 / 2))) ] || fail "$name: $bytes bytes of frames"
    rm -f "$tmp/v.y4m"
    peak=$("$tool" json "$tmp/s.json" device 0 peak_bytes)
    echo "$name: $planned GB planned, $(awk "BEGIN { printf \"%.2f\", $peak / 1e9 }") GB of StarPU's, all in $limit MB"
    ran=$((ran + 1))
}

ran=0
for name; do
    case $name in
        wan-1.3b) wan ;;
        open-sora-plan-1.3) opensora ;;
        hunyuan-13b) hunyuan ;;
        *) fail "$name: there are wan-1.3b, open-sora-plan-1.3 and hunyuan-13b" ;;
    esac
    rm -rf "$tmp/wan" "$tmp/opensora" "$tmp/hunyuan"
done
[ $ran -gt 0 ] || [ $failures -gt 0 ] || exit 77
finish
