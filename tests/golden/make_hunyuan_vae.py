#!/usr/bin/env python3
"""Writes tests/golden/hunyuan_vae2: a tiny AutoencoderKLHunyuanVideo and what diffusers decodes with it.

    pip install numpy torch diffusers safetensors
    python3 tests/golden/make_hunyuan_vae.py

It differs from tests/golden/hunyuan_vae in what a configuration may say: one block enlarges in time
only, two layers a block, other groups, no attention. Norms are far from trivial. `out.whole` is of
`in.z`, without tiles in time; the others of `in.zl`, as diffusers decodes by itself, and with
enable_tiling().
"""

import json
import os

import numpy as np
import torch
from diffusers import AutoencoderKLHunyuanVideo
from safetensors.torch import save_file

CONFIG = {
    "_class_name": "AutoencoderKLHunyuanVideo",
    "act_fn": "silu",
    "block_out_channels": [4, 8, 12, 8],
    "down_block_types": ["HunyuanVideoDownBlock3D"] * 4,
    "in_channels": 3,
    "latent_channels": 8,
    "layers_per_block": 2,
    "mid_block_add_attention": False,
    "norm_num_groups": 4,
    "out_channels": 3,
    "scaling_factor": 0.476986,
    "spatial_compression_ratio": 4,
    "temporal_compression_ratio": 4,
    "up_block_types": ["HunyuanVideoUpBlock3D"] * 4,
}


def main():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hunyuan_vae2")
    os.makedirs(folder, exist_ok=True)
    random = np.random.Generator(np.random.PCG64(11))
    torch.set_num_threads(1)
    keywords = {key: value for key, value in CONFIG.items() if key != "_class_name"}
    model = AutoencoderKLHunyuanVideo(**keywords).eval()
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            x = random.standard_normal(tuple(p.shape), dtype=np.float32)
            if "norm" in name and name.endswith("weight"):
                x = 1.0 + 0.3 * x
            elif p.ndim > 1:
                x = x / np.sqrt(np.prod(p.shape[1:]))
            else:
                x = 0.3 * x
            p.copy_(torch.from_numpy(np.asarray(x, dtype=np.float32)))
        z = torch.from_numpy(random.standard_normal((1, 8, 5, 3, 4), dtype=np.float32))
        zl = torch.from_numpy(random.standard_normal((1, 8, 8, 7, 5), dtype=np.float32))
        io = {"in.z": z, "in.zl": zl}
        model.use_framewise_decoding = False
        io["out.whole"] = model.decode(z).sample
        model.use_framewise_decoding = True
        io["out.framewise"] = model.decode(zl).sample
        model.enable_tiling(
            tile_sample_min_height=16,
            tile_sample_min_width=16,
            tile_sample_stride_height=12,
            tile_sample_stride_width=8,
        )
        io["out.tiled_16_12x8"] = model.decode(zl).sample
    io = {name: tensor.contiguous() for name, tensor in io.items()}
    tensors = {
        name: tensor.contiguous()
        for name, tensor in model.state_dict().items()
        if name.startswith(("decoder.", "post_quant_conv."))
    }
    metadata = {"format": "pt"}
    save_file(tensors, os.path.join(folder, "diffusion_pytorch_model.safetensors"), metadata)
    save_file(io, os.path.join(folder, "io.safetensors"))
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(CONFIG, f, indent=2)
        f.write("\n")
    for name in sorted(io):
        print(name, tuple(io[name].shape), f"{io[name].abs().max():.3f}")


if __name__ == "__main__":
    main()
