#!/usr/bin/env python3
"""Writes tests/golden/llama: a tiny LlamaModel and what the transformers library makes of it.

    pip install numpy torch transformers safetensors
    python3 tests/golden/make_llama.py

Three query heads share one of k and v, and weights are seeded and of O(1) scale, with norms far from
1, so that a wrong head, rotation or mask shows at once. For each `in.ids<suffix>` [1, M] (I64) there is
`out.y<suffix>`: hidden_states[-3], in front of the last two layers and without the final norm, from row
`in.first<suffix>` on where that is given; and `tap.layers.0<suffix>`, the states after the first layer.
`_long` has more tokens than a block of keys, `_one` has one.
"""

import json
import os

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaModel

CONFIG = {
    "architectures": ["LlamaModel"],
    "attention_bias": False,
    "hidden_act": "silu",
    "hidden_size": 48,
    "intermediate_size": 80,
    "max_position_embeddings": 512,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 6,
    "num_hidden_layers": 5,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "vocab_size": 70,
}


def main():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "llama")
    os.makedirs(folder, exist_ok=True)
    random = np.random.Generator(np.random.PCG64(11))
    torch.set_num_threads(1)
    model = LlamaModel(LlamaConfig(**CONFIG)).eval()
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            x = random.standard_normal(tuple(p.shape), dtype=np.float32)
            if name.endswith("norm.weight"):
                x = 1.0 + 0.3 * x
            elif name.endswith(("q_proj.weight", "k_proj.weight")):
                x = x * 0.2  # scores of a few units: neither uniform nor one-hot attention
            elif not name.startswith("embed_tokens"):
                x = x / np.sqrt(p.shape[-1])
            p.copy_(torch.from_numpy(np.asarray(x, dtype=np.float32)))

    io = {}
    for suffix, length, first in (("", 21, 0), ("_long", 300, 0), ("_cut", 30, 13), ("_one", 1, 0)):
        ids = torch.from_numpy(random.integers(0, CONFIG["vocab_size"], (1, length)))
        with torch.no_grad():
            states = model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
        io["in.ids" + suffix] = ids
        if first:
            io["in.first" + suffix] = torch.tensor([first])
        io["out.y" + suffix] = states[-3][:, first:].contiguous()
        io["tap.layers.0" + suffix] = states[1].contiguous()
    weights = {name: p.contiguous() for name, p in model.state_dict().items()}
    save_file(weights, os.path.join(folder, "model.safetensors"))
    save_file(io, os.path.join(folder, "io.safetensors"))
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(CONFIG, file, indent=2, sort_keys=True)
        file.write("\n")
    for name in sorted(io):
        print(name, tuple(io[name].shape), float(io[name].abs().max()))


if __name__ == "__main__":
    main()
