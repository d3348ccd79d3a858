#!/usr/bin/env python3
"""Writes tests/golden/demo: what diffusers makes of the demo checkpoint, from prompt to pixels.

    pip install numpy torch diffusers "transformers<5" accelerate safetensors sentencepiece ftfy
    python3 tests/golden/make_demo_reference.py

The UniPC schedule of flow models changed with diffusers 0.37, so run the script once with an older version
(made with 0.36.0: io-old.safetensors) and once with a newer one (made with 0.37.1: io-new.safetensors and
caption.safetensors). case.json says what was run: "io" is a prompt that is hard to read, at a size that the
checkpoint was not trained for; "caption" is what it was trained for.

    in.latents [1, C, T, h, w]            starting noise
    in.ids, in.ids_negative [1, M] I64    tokens of the prompt and of the negative prompt, </s> included
    out.text, out.text_negative [1, M, d] the text encoder's states for them
    out.timesteps [n]                     as the transformer sees them
    out.velocity_<i> [1, C, T, h, w]      guided velocity of step i, from 1 (io only)
    out.latents_<i> [1, C, T, h, w]       latents after step i
    out.video [3, frames, height, width]  pixels within 0..1 (caption: F16)

All of it computed in float32, whatever the weights are stored as.
"""

import html
import json
import os

import diffusers
import numpy as np
import torch
from safetensors.torch import save_file

CASES = {
    "io": {
        "checkpoint": "checkpoints/stardit-demo",
        "prompt": "A red ball rolls slowly over the green grass, \u98db\u9ce5, &amp; a cat sleeps.",
        "negative_prompt": "low quality, blurred",
        "height": 48,
        "width": 80,
        "num_frames": 9,
        "num_inference_steps": 4,
        "guidance_scale": 5.0,
        "flow_shift": 3.0,
        "max_sequence_length": 512,
    },
    "caption": {
        "checkpoint": "checkpoints/stardit-demo",
        "prompt": "a red circle moving right over a blue background",
        "negative_prompt": "",
        "height": 64,
        "width": 64,
        "num_frames": 17,
        "num_inference_steps": 20,
        "guidance_scale": 3.0,
        "flow_shift": 3.0,
        "max_sequence_length": 512,
    },
}


def run(pipe, case):
    noise = np.random.Generator(np.random.PCG64(3)).standard_normal(
        (1, 8, (case["num_frames"] - 1) // 4 + 1, case["height"] // 8, case["width"] // 8),
        dtype=np.float32,
    )
    io = {"in.latents": torch.from_numpy(noise)}

    # The pipeline cleans the prompt itself; here the same by hand, for the ids and the states.
    for suffix, name in (("", "prompt"), ("_negative", "negative_prompt")):
        ids = pipe.tokenizer(html.unescape(case[name]), return_tensors="pt").input_ids
        with torch.no_grad():
            states = pipe.text_encoder(ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        io["in.ids" + suffix] = ids
        io["out.text" + suffix] = states

    step_of = pipe.scheduler.step

    def step(velocity, *args, **kwargs):
        io[f"out.velocity_{1 + sum(k.startswith('out.velocity_') for k in io)}"] = velocity.clone()
        return step_of(velocity, *args, **kwargs)

    pipe.scheduler.step = step

    def after(_, i, timestep, tensors):
        io[f"out.latents_{i + 1}"] = tensors["latents"].clone()
        return tensors

    options = {k: v for k, v in case.items() if k not in ("checkpoint", "flow_shift")}
    video = pipe(
        latents=io["in.latents"].clone(),
        output_type="np",
        callback_on_step_end=after,
        **options,
    ).frames[0]
    pipe.scheduler.step = step_of
    io["out.timesteps"] = pipe.scheduler.timesteps.float()
    io["out.video"] = torch.from_numpy(np.ascontiguousarray(video.transpose(3, 0, 1, 2)))

    # What stardit does with a prompt must be what the pipeline did.
    embeds, _ = pipe.encode_prompt(
        case["prompt"], do_classifier_free_guidance=False, max_sequence_length=512
    )
    rows = io["out.text"].shape[1]
    assert (embeds[:, :rows] - io["out.text"]).abs().max() < 1e-5
    assert embeds[:, rows:].abs().max() == 0
    return io


def write(io, path):
    save_file({k: v.contiguous() for k, v in io.items()}, path)
    os.chmod(path, 0o644)
    print("diffusers", diffusers.__version__, os.path.basename(path))


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    folder = os.path.join(here, "demo")
    os.makedirs(folder, exist_ok=True)
    torch.set_num_threads(1)
    old = tuple(map(int, diffusers.__version__.split(".")[:2])) < (0, 37)
    pipe = diffusers.WanPipeline.from_pretrained(
        os.path.join(here, "..", "..", CASES["io"]["checkpoint"]), torch_dtype=torch.float32
    )
    pipe.set_progress_bar_config(disable=True)

    io = run(pipe, CASES["io"])
    write(io, os.path.join(folder, "io-old.safetensors" if old else "io-new.safetensors"))
    if not old:
        io = run(pipe, CASES["caption"])
        io = {k: v for k, v in io.items() if not k.startswith("out.velocity_")}
        io["out.video"] = io["out.video"].half()
        write(io, os.path.join(folder, "caption.safetensors"))
    with open(os.path.join(folder, "case.json"), "w", encoding="utf-8") as f:
        json.dump(CASES, f, indent=2)
        f.write("\n")


if __name__ == "__main__":
    main()
