#!/usr/bin/env python3
"""Writes tests/golden/pipelines: what whole pipelines of diffusers make of the demo checkpoint with every
scheduler, shift, number of steps and guidance that stardit takes.

    pip install numpy torch diffusers transformers accelerate safetensors sentencepiece ftfy
    python3 tests/golden/make_pipelines.py

Made with diffusers 0.42.1. The noise is torch's for seed 7, on a CPU; all of it is computed in float32.

    <class>-shift<S>/scheduler_config.json   what the scheduler's save_pretrained writes
    io.safetensors
      <class>-shift<S>_n<N>_g<G>.latents [1, C, T, h, w]   the last latent
      <class>-shift<S>_n<N>_g<G>.timesteps [N]             as the transformer sees them
      <class>-shift<S>.video [3, frames, height, width]    pixels within 0..1 of n 4, g 5; F16
"""

import os

import diffusers
import numpy as np
import torch
from safetensors.torch import save_file

PROMPT = "a red circle moving right over a blue background"
NEGATIVE = "blurred"
SIZE = {"height": 32, "width": 48, "num_frames": 5}
SHIFTS = (0.5, 1.0, 3.0, 5.0, 12.0)
STEPS = (1, 2, 3, 4, 7, 20)
GUIDANCES = (0.0, 1.0, 1.001, 5.0)


def schedulers():
    for shift in SHIFTS:
        yield f"unipc-shift{shift:g}", diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
        )
        yield f"euler-shift{shift:g}", diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    folder = os.path.join(here, "pipelines")
    os.makedirs(folder, exist_ok=True)
    torch.set_num_threads(1)
    pipe = diffusers.WanPipeline.from_pretrained(
        os.path.join(here, "..", "..", "checkpoints", "stardit-demo"), torch_dtype=torch.float32
    )
    pipe.set_progress_bar_config(disable=True)
    io = {}

    def run(n, g, kind):
        return pipe(
            prompt=PROMPT,
            negative_prompt=NEGATIVE,
            num_inference_steps=n,
            guidance_scale=g,
            generator=torch.Generator("cpu").manual_seed(7),
            output_type=kind,
            **SIZE,
        ).frames

    for name, scheduler in schedulers():
        scheduler.save_pretrained(os.path.join(folder, name))
        pipe.scheduler = scheduler
        for n in STEPS:
            # Guidance matters to the solver alone by the velocity: all of it at one number of steps.
            for g in GUIDANCES if n == 3 else (5.0,):
                case = f"{name}_n{n}_g{g:g}"
                io[case + ".latents"] = run(n, g, "latent")
                io[case + ".timesteps"] = scheduler.timesteps.float()
        video = np.ascontiguousarray(run(4, 5.0, "np")[0].transpose(3, 0, 1, 2))
        io[name + ".video"] = torch.from_numpy(video).half()
    path = os.path.join(folder, "io.safetensors")
    save_file({k: v.contiguous() for k, v in io.items()}, path)
    os.chmod(path, 0o644)
    print("diffusers", diffusers.__version__, len(io), "tensors")


if __name__ == "__main__":
    main()
