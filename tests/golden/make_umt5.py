#!/usr/bin/env python3
"""Writes tests/golden/umt5 and tests/golden/mt5: tiny UMT5 and mT5 encoders and what the transformers
library makes of them.

    pip install numpy torch "transformers<5" safetensors
    python3 tests/golden/make_umt5.py [umt5|mt5]

Weights are seeded and of O(1) scale, norms and the relative position tables (of each layer, of mT5
one for all) are far from trivial, so that a wrong bucket or table or a forgotten norm shows at once. For each
`in.ids<suffix>` [1, M] (I64) there is `out.y<suffix>` [1, M, d_model] (F32), the final normed states,
and `tap.encoder.block.0<suffix>`, the states after the first block. `_long` reaches every bucket.
"""

import json
import os
import sys

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import MT5Config, MT5EncoderModel, UMT5Config, UMT5EncoderModel

CONFIG = {
    "d_ff": 64,
    "d_kv": 8,
    "d_model": 32,
    "dense_act_fn": "gelu_new",
    "dropout_rate": 0.0,
    "feed_forward_proj": "gated-gelu",
    "is_gated_act": True,
    "layer_norm_epsilon": 1e-06,
    "num_heads": 4,
    "num_layers": 2,
    "pad_token_id": 0,
    "relative_attention_max_distance": 128,
    "relative_attention_num_buckets": 32,
    "tie_word_embeddings": False,
    "vocab_size": 64,
}


MODELS = {
    "umt5": (UMT5Config, UMT5EncoderModel, 2, 7),
    "mt5": (MT5Config, MT5EncoderModel, 3, 8),
}


def make(model_type):
    config_class, model_class, layers, seed = MODELS[model_type]
    config = dict(CONFIG, architectures=[model_class.__name__], model_type=model_type,
                  num_layers=layers)
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), model_type)
    os.makedirs(folder, exist_ok=True)
    random = np.random.Generator(np.random.PCG64(seed))
    torch.set_num_threads(1)
    model = model_class(config_class(**config)).eval()
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            x = random.standard_normal(tuple(p.shape), dtype=np.float32)
            if name.endswith("layer_norm.weight"):
                x = 1.0 + 0.3 * x
            elif name.endswith((".q.weight", ".k.weight")):
                x = x * 0.1  # scores of a few units: neither uniform nor one-hot attention
            elif not name.endswith(("relative_attention_bias.weight", "shared.weight")):
                x = x / np.sqrt(p.shape[-1])
            p.copy_(torch.from_numpy(np.asarray(x, dtype=np.float32)))

    io = {}
    for suffix, length in (("", 21), ("_long", 120)):
        ids = random.integers(2, CONFIG["vocab_size"], size=(1, length))
        ids[0, -1] = 1
        ids = torch.from_numpy(ids)
        with torch.no_grad():
            out = model(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        io["in.ids" + suffix] = ids
        io["tap.encoder.block.0" + suffix] = out.hidden_states[1].contiguous()
        io["out.y" + suffix] = out.last_hidden_state.contiguous()

    tensors = {
        name: t.contiguous()
        for name, t in model.state_dict().items()
        if name != "encoder.embed_tokens.weight"  # the same storage as shared.weight
    }
    save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    save_file(io, os.path.join(folder, "io.safetensors"))
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2, sort_keys=True)
        f.write("\n")
    for name in sorted(io):
        print(name, tuple(io[name].shape), f"{io[name].float().abs().max():.3f}")


if __name__ == "__main__":
    for name in sys.argv[1:] or MODELS:
        make(name)
