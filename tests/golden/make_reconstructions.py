#!/usr/bin/env python3
"""Writes tests/golden/reconstructions: clips that the demo's VAE was not trained with, as its latents.

    pip install numpy torch diffusers safetensors
    python3 tests/golden/make_reconstructions.py

    latents.safetensors: latents [64, C, T, h, w] F16, normalised; means, no noise
    captions.txt: what each clip shows, one a line
Encoder and decoder are diffusers'. Prints the PSNR of what the decoder makes of them.
"""

import os
import sys

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "..", "..", "checkpoints")
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(MODELS, "training"))
import shapes  # noqa: E402

CLIPS = 64


@torch.no_grad()
def main():
    vae = AutoencoderKLWan.from_pretrained(
        os.path.join(MODELS, "stardit-demo", "vae"), torch_dtype=torch.float32
    )
    mean = torch.tensor(vae.config.latents_mean).view(-1, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std).view(-1, 1, 1, 1)
    clips = shapes.draw_clips(CLIPS, np.random.default_rng((20261121, 11)))
    latents, ratios = [], []
    for truth in shapes.render(clips):
        x = torch.from_numpy(truth)[None] * 2 - 1
        z = ((vae.encode(x).latent_dist.mean[0] - mean) / std).half()
        y = vae.decode((z.float() * std + mean)[None]).sample[0].clamp(-1, 1) / 2 + 0.5
        ratios.append(-10 * np.log10(((y.numpy() - truth) ** 2).mean()))
        latents.append(z)
    folder = os.path.join(HERE, "reconstructions")
    os.makedirs(folder, exist_ok=True)
    save_file({"latents": torch.stack(latents)}, os.path.join(folder, "latents.safetensors"))
    os.chmod(os.path.join(folder, "latents.safetensors"), 0o644)
    with open(os.path.join(folder, "captions.txt"), "w", encoding="utf-8") as f:
        for i in range(CLIPS):
            parts = (clips[k][i] for k in ("colour", "shape", "direction", "background"))
            f.write(shapes.caption(*parts) + "\n")
    print(f"PSNR {np.mean(ratios):.2f} dB, worst {np.min(ratios):.2f} dB, {CLIPS} clips")


if __name__ == "__main__":
    main()
