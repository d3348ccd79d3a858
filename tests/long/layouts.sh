# The tensors of the published HunyuanVideo and Open-Sora-Plan 1.3 models, in diffusers' and transformers' layout, as
# lines "NAME DTYPE BYTES D0 D1..." for `tool sparse`; sourced. (tests/apps/layouts.sh has Wan 2.1's.)

# expand DTYPE BYTES: of lines "NAME.weight D0 D1...", and "NAME D0 D1..." for a weight and its bias of D0; in a
# name, {A-B} is each number from A to B, and {x,y} is x and y.
expand() {
    awk -v type="$1 $2" '
        function row(name, shape,   size) {
            if (name ~ /\.weight$|_table$/) {
                print name, type, shape
                return
            }
            split(shape, size, " ")
            print name ".weight", type, shape
            print name ".bias", type, size[1]
        }
        # Its first outer braces: word by word, at commas that are in no braces within.
        function expand(name, shape,   at, i, c, depth, word, bounds) {
            at = index(name, "{")
            if (!at) {
                row(name, shape)
                return
            }
            for (i = at + 1; ; i++) {
                c = substr(name, i, 1)
                if (!depth && (c == "," || c == "}")) {
                    word[++word[0]] = substr(name, at + 1, i - at - 1)
                    at = i
                    if (c == "}")
                        break
                }
                depth += (c == "{") - (c == "}")
            }
            word["before"] = substr(name, 1, index(name, "{") - 1)
            word["after"] = substr(name, i + 1)
            if (word[1] ~ /^[0-9]+-[0-9]+$/) {
                split(word[1], bounds, "-")
                for (i = bounds[1] + 0; i <= bounds[2]; i++)
                    expand(word["before"] i word["after"], shape)
                return
            }
            for (i = 1; i <= word[0]; i++)
                expand(word["before"] word[i] word["after"], shape)
        }
        NF { name = $1; $1 = ""; sub(/^ /, ""); expand(name, $0) }'
}

hunyuan_transformer() {
    expand BF16 2 <<'END'
x_embedder.proj 3072 16 1 2 2
{time_text_embed.timestep,time_text_embed.guidance,context_embedder.time_text_embed.timestep}_embedder.linear_1 3072 256
{time_text_embed.timestep,time_text_embed.guidance,context_embedder.time_text_embed.timestep}_embedder.linear_2 3072 3072
time_text_embed.text_embedder.linear_1 3072 768
context_embedder.time_text_embed.text_embedder.linear_1 3072 4096
{,context_embedder.}time_text_embed.text_embedder.linear_2 3072 3072
context_embedder.proj_in 3072 4096
context_embedder.token_refiner.refiner_blocks.{0-1}.norm{1,2} 3072
context_embedder.token_refiner.refiner_blocks.{0-1}.attn.to_{q,k,v,out.0} 3072 3072
context_embedder.token_refiner.refiner_blocks.{0-1}.norm_out.linear 6144 3072
context_embedder.token_refiner.refiner_blocks.{0-1}.ff.net.0.proj 12288 3072
context_embedder.token_refiner.refiner_blocks.{0-1}.ff.net.2 3072 12288
transformer_blocks.{0-19}.norm1{,_context}.linear 18432 3072
transformer_blocks.{0-19}.attn.{to_q,to_k,to_v,to_out.0,add_q_proj,add_k_proj,add_v_proj,to_add_out} 3072 3072
transformer_blocks.{0-19}.attn.norm_{q,k,added_q,added_k}.weight 128
transformer_blocks.{0-19}.ff{,_context}.net.0.proj 12288 3072
transformer_blocks.{0-19}.ff{,_context}.net.2 3072 12288
single_transformer_blocks.{0-39}.norm.linear 9216 3072
single_transformer_blocks.{0-39}.attn.to_{q,k,v} 3072 3072
single_transformer_blocks.{0-39}.attn.norm_{q,k}.weight 128
single_transformer_blocks.{0-39}.proj_mlp 12288 3072
single_transformer_blocks.{0-39}.proj_out 3072 15360
norm_out.linear 6144 3072
proj_out 64 3072
END
}

hunyuan_decoder() {
    expand F32 4 <<'END'
post_quant_conv 16 16 1 1 1
decoder.conv_in.conv 512 16 3 3 3
decoder.mid_block.attentions.0.group_norm 512
decoder.mid_block.attentions.0.to_{q,k,v,out.0} 512 512
decoder.{mid_block.resnets.{0-1},up_blocks.{0-1}.resnets.{0-2}}.norm{1,2} 512
decoder.{mid_block.resnets.{0-1},up_blocks.{0-1}.resnets.{0-2}}.conv{1,2}.conv 512 512 3 3 3
decoder.up_blocks.{0-1}.upsamplers.0.conv.conv 512 512 3 3 3
decoder.up_blocks.2.resnets.0.norm1 512
decoder.up_blocks.2.resnets.0.conv1.conv 256 512 3 3 3
decoder.up_blocks.2.resnets.0.conv_shortcut.conv 256 512 1 1 1
decoder.up_blocks.2.resnets.{0.norm2,1.norm1,1.norm2,2.norm1,2.norm2} 256
decoder.up_blocks.2.{resnets.{0.conv2,1.conv1,1.conv2,2.conv1,2.conv2},upsamplers.0.conv}.conv 256 256 3 3 3
decoder.up_blocks.3.resnets.0.norm1 256
decoder.up_blocks.3.resnets.0.conv1.conv 128 256 3 3 3
decoder.up_blocks.3.resnets.0.conv_shortcut.conv 128 256 1 1 1
decoder.up_blocks.3.resnets.{0.norm2,1.norm1,1.norm2,2.norm1,2.norm2} 128
decoder.up_blocks.3.resnets.{0.conv2,1.conv1,1.conv2,2.conv1,2.conv2}.conv 128 128 3 3 3
decoder.conv_norm_out 128
decoder.conv_out.conv 3 128 3 3 3
END
}

# LLaMA 3 without its head.
hunyuan_text() {
    expand F16 2 <<'END'
embed_tokens.weight 128320 4096
layers.{0-31}.self_attn.{q,o}_proj.weight 4096 4096
layers.{0-31}.self_attn.{k,v}_proj.weight 1024 4096
layers.{0-31}.mlp.{gate,up}_proj.weight 14336 4096
layers.{0-31}.mlp.down_proj.weight 4096 14336
layers.{0-31}.{input,post_attention}_layernorm.weight 4096
norm.weight 4096
END
}

# CLIP-L without its projection.
hunyuan_text_2() {
    expand F16 2 <<'END'
text_model.embeddings.token_embedding.weight 49408 768
text_model.embeddings.position_embedding.weight 77 768
text_model.encoder.layers.{0-11}.self_attn.{q,k,v,out}_proj 768 768
text_model.encoder.layers.{0-11}.layer_norm{1,2} 768
text_model.encoder.layers.{0-11}.mlp.fc1 3072 768
text_model.encoder.layers.{0-11}.mlp.fc2 768 3072
text_model.final_layer_norm 768
END
}

opensora_transformer() {
    expand BF16 2 <<'END'
pos_embed.proj 2304 8 2 2
adaln_single.emb.timestep_embedder.linear_1 2304 256
adaln_single.emb.timestep_embedder.linear_2 2304 2304
adaln_single.linear 13824 2304
caption_projection.linear_1 2304 4096
caption_projection.linear_2 2304 2304
transformer_blocks.{0-31}.scale_shift_table 6 2304
transformer_blocks.{0-31}.attn{1,2}.to_{q,k,v,out.0} 2304 2304
transformer_blocks.{0-31}.ff.net.0.proj 9216 2304
transformer_blocks.{0-31}.ff.net.2 2304 9216
scale_shift_table 2 2304
proj_out 32 2304
END
}

# A wavelet decoder with two residual blocks in each branch.
opensora_decoder() {
    expand F32 4 <<'END'
decoder.conv_in.conv 512 8 3 3 3
decoder.{mid.0.{norm1,norm2},mid.1.norm,mid.2.norm1,up2.{0-1}.{norm1,norm2},up2.3.norm1,up1.0.norm1}.norm 512
decoder.{mid.0.{conv1,conv2},up2.{0-1}.{conv1,conv2},up2.2.conv}.conv 512 512 3 3 3
decoder.mid.1.{q,k,v,proj_out}.conv 512 512 1 1 1
decoder.{mid.2,up2.3}.conv1.conv 640 512 3 3 3
decoder.{mid.2,up2.3}.conv2.conv 640 640 3 3 3
decoder.{mid.2,up2.3}.nin_shortcut.conv 640 512 1 1 1
decoder.{mid.2,up2.3}.norm2.norm 640
decoder.up1.0.conv1.conv 256 512 3 3 3
decoder.up1.0.nin_shortcut.conv 256 512 1 1 1
decoder.{up1.0.norm2,up1.{1,3}.{norm1,norm2},layer.0.norm1}.norm 256
decoder.{up1.0.conv2,up1.{1,3}.{conv1,conv2}}.conv 256 256 3 3 3
decoder.up1.2.conv 256 256 3 3
decoder.layer.0.conv1.conv 128 256 3 3 3
decoder.layer.0.nin_shortcut.conv 128 256 1 1 1
decoder.{layer.0.norm2,{layer.1,connect_l{1,2}.{0-1}}.{norm1,norm2},norm_out}.norm 128
decoder.{layer.0.conv2,{layer.1,connect_l{1,2}.{0-1}}.{conv1,conv2}}.conv 128 128 3 3 3
decoder.connect_l1.2 12 128 3 3
decoder.{connect_l2.2,conv_out} 24 128 3 3
END
}

# mT5-XXL, without its decoder. Positions are the first layer's.
opensora_text() {
    expand F16 2 <<'END'
shared.weight 250112 4096
encoder.block.{0-23}.layer.0.SelfAttention.{q,k,v,o}.weight 4096 4096
encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight 32 64
encoder.block.{0-23}.layer.{0-1}.layer_norm.weight 4096
encoder.block.{0-23}.layer.1.DenseReluDense.wi_{0-1}.weight 10240 4096
encoder.block.{0-23}.layer.1.DenseReluDense.wo.weight 4096 10240
encoder.final_layer_norm.weight 4096
END
}
