#!/usr/bin/env python3
"""Writes tests/golden/opensora: a tiny Open-Sora-Plan 1.3 checkpoint with random weights.

    pip install numpy safetensors
    python3 tests/golden/make_opensora.py

Transformer, text encoder and scheduler in the layout that tools/convert-open-sora-plan.py writes. The
decoder is tests/golden/wfvae's and the tokenizer the demo checkpoint's: tests/apps/opensora.sh puts
them in their places.
"""

import json
import os

import numpy as np
from safetensors.numpy import save_file

HEADS, HEAD_DIM, LAYERS, CHANNELS = 3, 12, 5, 3
TEXT = {"d_model": 24, "num_heads": 3, "d_kv": 8, "d_ff": 48, "num_layers": 2}
WIDTH = HEADS * HEAD_DIM


def transformer_shapes():
    d = WIDTH
    shapes = {"scale_shift_table": (2, d), "pos_embed.proj.weight": (d, CHANNELS, 2, 2),
              "pos_embed.proj.bias": (d,)}

    def linear(name, out, inner):
        shapes[name + ".weight"] = (out, inner)
        shapes[name + ".bias"] = (out,)

    linear("adaln_single.emb.timestep_embedder.linear_1", d, 256)
    linear("adaln_single.emb.timestep_embedder.linear_2", d, d)
    linear("adaln_single.linear", 6 * d, d)
    linear("caption_projection.linear_1", d, TEXT["d_model"])
    linear("caption_projection.linear_2", d, d)
    for i in range(LAYERS):
        block = f"transformer_blocks.{i}."
        shapes[block + "scale_shift_table"] = (6, d)
        for attention in ("attn1.", "attn2."):
            for name in ("to_q", "to_k", "to_v", "to_out.0"):
                linear(block + attention + name, d, d)
        linear(block + "ff.net.0.proj", 4 * d, d)
        linear(block + "ff.net.2", d, 4 * d)
    linear("proj_out", 4 * CHANNELS, d)
    return shapes


def text_shapes(vocabulary):
    d, inner = TEXT["d_model"], TEXT["num_heads"] * TEXT["d_kv"]
    shapes = {"shared.weight": (vocabulary, d), "encoder.final_layer_norm.weight": (d,)}
    for i in range(TEXT["num_layers"]):
        attention, dense = f"encoder.block.{i}.layer.0.", f"encoder.block.{i}.layer.1."
        for name in "qkv":
            shapes[f"{attention}SelfAttention.{name}.weight"] = (inner, d)
        shapes[attention + "SelfAttention.o.weight"] = (d, inner)
        shapes[attention + "layer_norm.weight"] = (d,)
        shapes[dense + "DenseReluDense.wi_0.weight"] = (TEXT["d_ff"], d)
        shapes[dense + "DenseReluDense.wi_1.weight"] = (TEXT["d_ff"], d)
        shapes[dense + "DenseReluDense.wo.weight"] = (d, TEXT["d_ff"])
        shapes[dense + "layer_norm.weight"] = (d,)
    shapes["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (
        32, TEXT["num_heads"])
    return shapes


def fill(shapes, seed):
    random = np.random.Generator(np.random.PCG64(seed))
    tensors = {}
    for name, shape in sorted(shapes.items()):
        x = random.standard_normal(shape, dtype=np.float32)
        if name.endswith("layer_norm.weight"):
            x = 1 + 0.2 * x
        elif name.endswith("bias") or "table" in name:
            x = 0.2 * x
        elif name != "shared.weight":
            x = x / np.sqrt(np.prod(shape[1:]))
        tensors[name] = np.ascontiguousarray(x, dtype=np.float32)
    return tensors


def write(folder, name, tensors, config):
    os.makedirs(folder, exist_ok=True)
    save_file(tensors, os.path.join(folder, name))
    put(os.path.join(folder, "config.json"), config)


def put(path, values):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(values, f, indent=1)
        f.write("\n")


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    folder = os.path.join(here, "opensora")
    demo = os.path.join(here, "../../checkpoints/stardit-demo/text_encoder/config.json")
    with open(demo, encoding="utf-8") as f:
        vocabulary = json.load(f)["vocab_size"]
    write(os.path.join(folder, "transformer"), "diffusion_pytorch_model.safetensors",
          fill(transformer_shapes(), 13),
          {"_class_name": "OpenSoraT2V_v1_3", "num_layers": LAYERS, "num_attention_heads": HEADS,
           "attention_head_dim": HEAD_DIM, "in_channels": CHANNELS, "out_channels": CHANNELS,
           "patch_size": 2, "patch_size_t": 1, "caption_channels": TEXT["d_model"],
           "cross_attention_dim": WIDTH, "attention_bias": True,
           "activation_fn": "gelu-approximate", "norm_elementwise_affine": False,
           "norm_eps": 1e-06, "sparse1d": True, "sparse_n": 4})
    write(os.path.join(folder, "text_encoder"), "model.safetensors",
          fill(text_shapes(vocabulary), 14),
          dict(TEXT, model_type="mt5", vocab_size=vocabulary, feed_forward_proj="gated-gelu"))
    put(os.path.join(folder, "scheduler/scheduler_config.json"),
        {"_class_name": "EulerAncestralDiscreteScheduler", "num_train_timesteps": 1000,
         "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
         "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
         "timestep_spacing": "trailing"})
    put(os.path.join(folder, "model_index.json"),
        {"_class_name": "OpenSoraPlanPipeline",
         "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"],
         "text_encoder": ["transformers", "MT5EncoderModel"],
         "tokenizer": ["transformers", "T5TokenizerFast"],
         "transformer": ["opensora", "OpenSoraT2V_v1_3"],
         "vae": ["opensora", "WFVAEModel"]})


if __name__ == "__main__":
    main()
