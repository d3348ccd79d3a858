# The tensors of the published Wan 2.1 models, with the names of their own repository and ComfyUI's, as lines
# "NAME DTYPE BYTES D0 D1..." for `tool sparse`; sourced. BYTES are those of an element.

# transformer LAYERS WIDTH FFN DTYPE BYTES
transformer() {
    awk -v n="$1" -v d="$2" -v f="$3" -v type="$4 $5" '
        function tensor(name, shape) { print name, type, shape }
        function linear(name, out, inside) {
            tensor(name ".weight", out " " inside)
            tensor(name ".bias", out)
        }
        function attention(name,   i, part) {
            split("q k v o", part, " ")
            for (i = 1; i <= 4; i++)
                linear(name part[i], d, d)
            tensor(name "norm_q.weight", d)
            tensor(name "norm_k.weight", d)
        }
        BEGIN {
            tensor("patch_embedding.weight", d " 16 1 2 2")
            tensor("patch_embedding.bias", d)
            linear("text_embedding.0", d, 4096)
            linear("text_embedding.2", d, d)
            linear("time_embedding.0", d, 256)
            linear("time_embedding.2", d, d)
            linear("time_projection.1", 6 * d, d)
            for (b = 0; b < n; b++) {
                block = "blocks." b "."
                tensor(block "modulation", "1 6 " d)
                attention(block "self_attn.")
                attention(block "cross_attn.")
                tensor(block "norm3.weight", d)
                tensor(block "norm3.bias", d)
                linear(block "ffn.0", f, d)
                linear(block "ffn.2", d, f)
            }
            tensor("head.modulation", "1 2 " d)
            linear("head.head", 64, d)
        }'
}

# The decoder, and of the encoder some tensors that nobody reads.
vae() {
    awk '
        function tensor(name, shape) { print name, "BF16 2", shape }
        function conv(name, out, shape) {
            tensor(name ".weight", out " " shape)
            tensor(name ".bias", out)
        }
        function residual(name, from, to) {
            tensor(name ".residual.0.gamma", from " 1 1 1")
            conv(name ".residual.2", to, from " 3 3 3")
            tensor(name ".residual.3.gamma", to " 1 1 1")
            conv(name ".residual.6", to, to " 3 3 3")
            if (from != to)
                conv(name ".shortcut", to, from " 1 1 1")
        }
        BEGIN {
            conv("encoder.conv1", 96, "3 3 3 3")
            residual("encoder.downsamples.0", 96, 96)
            conv("conv1", 32, "32 1 1 1")
            conv("conv2", 16, "16 1 1 1")
            conv("decoder.conv1", 384, "16 3 3 3")
            residual("decoder.middle.0", 384, 384)
            tensor("decoder.middle.1.norm.gamma", "384 1 1")
            conv("decoder.middle.1.to_qkv", 1152, "384 1 1")
            conv("decoder.middle.1.proj", 384, "384 1 1")
            residual("decoder.middle.2", 384, 384)
            split("384 192 192 96", from, " ")
            split("384 384 192 96", to, " ")
            for (block = n = 0; block < 4; block++) {
                for (r = 0; r < 3; r++)
                    residual("decoder.upsamples." n++, r ? to[block + 1] : from[block + 1], to[block + 1])
                if (block == 3)
                    break
                conv("decoder.upsamples." n ".resample.1", to[block + 1] / 2, to[block + 1] " 3 3")
                if (block < 2)
                    conv("decoder.upsamples." n ".time_conv", 2 * to[block + 1], to[block + 1] " 3 1 1")
                n++
            }
            tensor("decoder.head.0.gamma", "96 1 1 1")
            conv("decoder.head.2", 3, "96 3 3 3")
        }'
}

# text LAYERS: the text encoder, as transformers and ComfyUI name it.
text() {
    awk -v n="$1" '
        function tensor(name, shape) { print name ".weight F16 2", shape }
        BEGIN {
            tensor("shared", "256384 4096")
            for (b = 0; b < n; b++) {
                attention = "encoder.block." b ".layer.0."
                split("q k v o", part, " ")
                for (i = 1; i <= 4; i++)
                    tensor(attention "SelfAttention." part[i], "4096 4096")
                tensor(attention "SelfAttention.relative_attention_bias", "32 64")
                tensor(attention "layer_norm", "4096")
                dense = "encoder.block." b ".layer.1."
                tensor(dense "DenseReluDense.wi_0", "10240 4096")
                tensor(dense "DenseReluDense.wi_1", "10240 4096")
                tensor(dense "DenseReluDense.wo", "4096 10240")
                tensor(dense "layer_norm", "4096")
            }
            tensor("encoder.final_layer_norm", "4096")
        }'
}
