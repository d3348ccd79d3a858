#!/usr/bin/env python3
"""Writes tests/golden/clip: a tiny CLIPTextModel and what the transformers library makes of it.

    pip install numpy torch transformers safetensors
    python3 tests/golden/make_clip.py

Weights are seeded and of O(1) scale, with biases, norms and positions far from trivial, so that a
forgotten one shows at once. For each `in.ids<suffix>` [1, M] (I64) there is `out.y<suffix>` [1, 1, width],
pooler_output: the row of the first end of text, behind which there are more; `tap.layers.0<suffix>` is
the states after the first layer. The end of text is also the largest id, which is what configurations
with eos_token_id 2 look for. gelu.safetensors holds what becomes of the same ids with hidden_act gelu, as
CLIP models larger than L have it. Weights have the names of published files, which begin with text_model.
"""

import json
import os

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

CONFIG = {
    "architectures": ["CLIPTextModel"],
    "bos_token_id": 70,
    "eos_token_id": 71,
    "hidden_act": "quick_gelu",
    "hidden_size": 48,
    "intermediate_size": 96,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 40,
    "model_type": "clip_text_model",
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "pad_token_id": 1,
    "projection_dim": 32,
    "vocab_size": 72,
}


def main():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clip")
    os.makedirs(folder, exist_ok=True)
    random = np.random.Generator(np.random.PCG64(13))
    torch.set_num_threads(1)
    model = CLIPTextModel(CLIPTextConfig(**CONFIG)).eval()
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            x = random.standard_normal(tuple(p.shape), dtype=np.float32)
            if "norm" in name and name.endswith("weight"):
                x = 1.0 + 0.3 * x
            elif name.endswith("bias"):
                x = 0.3 * x
            elif name.endswith(("q_proj.weight", "k_proj.weight")):
                x = x * 0.25  # scores of a few units: neither uniform nor one-hot attention
            elif "embedding" not in name:
                x = x / np.sqrt(p.shape[-1])
            p.copy_(torch.from_numpy(np.asarray(x, dtype=np.float32)))

    exact = CLIPTextModel(CLIPTextConfig(**{**CONFIG, "hidden_act": "gelu"})).eval()
    exact.load_state_dict(model.state_dict())
    io, gelu = {}, {}
    for suffix, length, end in (("", 21, 20), ("_padded", 40, 11), ("_empty", 2, 1)):
        ids = random.integers(0, 70, (1, length))
        ids[0, 0] = 70
        ids[0, end:] = 71
        ids = torch.from_numpy(ids)
        with torch.no_grad():
            out = model(input_ids=ids, output_hidden_states=True)
            gelu["out.y" + suffix] = exact(input_ids=ids).pooler_output[:, None].contiguous()
        io["in.ids" + suffix] = gelu["in.ids" + suffix] = ids
        io["out.y" + suffix] = out.pooler_output[:, None].contiguous()
        io["tap.layers.0" + suffix] = out.hidden_states[1].contiguous()
    weights = {
        name if name.startswith("text_model.") else "text_model." + name: p.contiguous()
        for name, p in model.state_dict().items()
    }
    save_file(weights, os.path.join(folder, "model.safetensors"))
    save_file(io, os.path.join(folder, "io.safetensors"))
    save_file(gelu, os.path.join(folder, "gelu.safetensors"))
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(CONFIG, file, indent=2, sort_keys=True)
        file.write("\n")
    for name in sorted(io):
        print(name, tuple(io[name].shape), float(io[name].abs().max()))


if __name__ == "__main__":
    main()
