#!/usr/bin/env python3
"""Writes tests/golden/hunyuan: what diffusers' HunyuanVideoPipeline makes of the golden transformer and
decoder (tests/golden/hunyuan_dit, tests/golden/hunyuan_vae) with text that is given as numbers.

    pip install numpy torch diffusers transformers accelerate safetensors
    python3 tests/golden/make_hunyuan.py

Made with diffusers 0.42.1. The noise is torch's for seed 7, on a CPU; all of it is computed in float32.

    model_index.json, scheduler   as save_pretrained writes them
    prompt.safetensors            prompt_embeds [rows, width], pooled_prompt_embeds [width]
    negative.safetensors          the same of a negative prompt, with fewer rows
    io.safetensors
      n<N>_g<G>_c<C>_f<F>_h<H>_w<W>.latents [1, C, T, h, w]    the last latent: N steps, guidance G, true
                                                              guidance C (1: none), F frames of HxW
      n<N>_g<G>_c<C>_f<F>_h<H>_w<W>.video [3, F, H, W]         pixels within 0..1; F16
"""

import json
import os

import diffusers
import numpy as np
import torch
from safetensors.torch import load_file, save_file

CASES = (  # steps, guidance, true guidance, frames, height, width, pixels
    (1, 6.0, 1.0, 1, 16, 16, False),
    (3, 1.0, 1.0, 5, 48, 32, False),
    (4, 6.0, 1.0, 9, 48, 80, True),
    (3, 6.0, 2.5, 9, 48, 80, False),
    (2, 6.0, 1.0, 21, 32, 48, True),  # decoded in tiles of time
)


def component(kind, folder):
    with open(os.path.join(folder, "config.json")) as file:
        model = kind.from_config(json.load(file))
    state = load_file(os.path.join(folder, "diffusion_pytorch_model.safetensors"))
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and all(
        key.startswith(("encoder.", "quant_conv.")) for key in missing.missing_keys
    )
    return model.float().eval()


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    folder = os.path.join(here, "hunyuan")
    os.makedirs(folder, exist_ok=True)
    torch.set_num_threads(1)
    pipe = diffusers.HunyuanVideoPipeline(
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=component(
            diffusers.HunyuanVideoTransformer3DModel, os.path.join(here, "hunyuan_dit")
        ),
        vae=component(
            diffusers.AutoencoderKLHunyuanVideo, os.path.join(here, "hunyuan_vae")
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
    )
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler.save_pretrained(os.path.join(folder, "scheduler"))
    random = torch.Generator("cpu").manual_seed(1)
    text = {}
    for prefix, file, rows in (("", "prompt", 9), ("negative_", "negative", 4)):
        text[prefix + "prompt_embeds"] = torch.randn(rows, 24, generator=random)
        text[prefix + "pooled_prompt_embeds"] = torch.randn(12, generator=random)
        save_file(
            {k: text[k] for k in text if k.startswith("negative_") == bool(prefix)},
            os.path.join(folder, file + ".safetensors"),
        )
        text[prefix + "prompt_attention_mask"] = torch.ones(rows)
    given = {k: v[None] for k, v in text.items()}
    io = {}

    @torch.no_grad()
    def run(case, kind):
        n, g, c, frames, height, width, _ = case
        return pipe(
            num_inference_steps=n,
            guidance_scale=g,
            true_cfg_scale=c,
            num_frames=frames,
            height=height,
            width=width,
            generator=torch.Generator("cpu").manual_seed(7),
            output_type=kind,
            **given,
        ).frames

    for case in CASES:
        name = "n%d_g%g_c%g_f%d_h%d_w%d" % case[:6]
        io[name + ".latents"] = run(case, "latent")
        if case[6]:
            video = np.ascontiguousarray(run(case, "np")[0].transpose(3, 0, 1, 2))
            io[name + ".video"] = torch.from_numpy(video).half()
    save_file({k: v.contiguous() for k, v in io.items()}, os.path.join(folder, "io.safetensors"))
    with open(os.path.join(folder, "model_index.json"), "w") as file:
        json.dump({"_class_name": "HunyuanVideoPipeline",
                   "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
                   "transformer": ["diffusers", "HunyuanVideoTransformer3DModel"],
                   "vae": ["diffusers", "AutoencoderKLHunyuanVideo"]}, file, indent=2)
        file.write("\n")
    for name in os.listdir(folder):
        if name.endswith(".safetensors"):
            os.chmod(os.path.join(folder, name), 0o644)
    print("diffusers", diffusers.__version__, {k: tuple(v.shape) for k, v in io.items()})


if __name__ == "__main__":
    main()
