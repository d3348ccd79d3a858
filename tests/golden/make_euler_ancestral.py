#!/usr/bin/env python3
"""Closed loops of Euler ancestral sampling, by diffusers, for tests/sampler/sampler.c.

    make_euler_ancestral.py OUTPUT.safetensors

Model: v = tanh(0.7 x + w t / 1000) of the scaled sample x, the one that it is given. Samples are kept
as they are scaled for the next step. in.longer: numbers of steps for which numpy.arange rounds up, so
that there is one step more than was asked for. Packages: diffusers 0.42.1, torch 2.15, safetensors.
"""
import sys

import torch
from diffusers import EulerAncestralDiscreteScheduler
from safetensors.torch import save_file

SHAPE = (1, 4, 3, 5, 7)
tensors = {"in.w": torch.linspace(-1.5, 1.5, 420).reshape(SHAPE)}

scheduler = EulerAncestralDiscreteScheduler(
    num_train_timesteps=1000, beta_start=0.0001, beta_end=0.02, beta_schedule="linear",
    prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
longer = []
for steps in range(1, 1001):
    scheduler.set_timesteps(steps)
    if len(scheduler.timesteps) != steps:
        longer.append(float(steps))
tensors["in.longer"] = torch.tensor(longer)

for steps, seed in ((1, 3), (5, 7), (10, 11), (50, 42)):
    scheduler.set_timesteps(steps)
    name = f"n{steps}_seed{seed}"
    tensors[f"{name}.sigmas"] = scheduler.sigmas[:steps].clone()
    tensors[f"{name}.timesteps"] = scheduler.timesteps[:steps].clone()
    generator = torch.Generator("cpu").manual_seed(seed)
    x = torch.randn(SHAPE, generator=generator) * scheduler.init_noise_sigma
    for k, t in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(x, t)
        if k in (0, 1, steps // 2, steps - 1):
            tensors[f"{name}.x{k}"] = scaled.clone()
        v = torch.tanh(0.7 * scaled + tensors["in.w"] * t / 1000)
        x = scheduler.step(v, t, x, generator=generator).prev_sample
    tensors[f"{name}.x{steps}"] = x.clone()
save_file(tensors, sys.argv[1])
