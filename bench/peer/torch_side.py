"""torch_side.py CASE MODELS DEMO: one process of PyTorch; prints seconds of each repeat as JSON. All in float32."""

import json
import os
import sys
import time

import torch

case, models, demo = sys.argv[1:]
torch.set_num_threads(len(os.sched_getaffinity(0)))
SIZES = {"256": (1, 32, 32), "1024": (1, 64, 64), "4096": (4, 64, 64)}


def repeats(call, count):
    seconds = []
    for _ in range(count):
        start = time.time()
        call()
        seconds.append(time.time() - start)
    return seconds


with torch.inference_mode():
    if case.startswith("dit") or case.startswith("half"):
        from diffusers import WanTransformer3DModel

        size = SIZES[case.lstrip("dithalf")]
        folder = "half" if case.startswith("half") else "dit"
        model = WanTransformer3DModel.from_pretrained(
            f"{models}/{folder}/transformer", torch_dtype=torch.float32).eval()
        x, text = torch.randn(1, 16, *size), torch.randn(1, 512, 4096)
        forward = lambda: model(x, torch.tensor([500]), text, return_dict=False)
        seconds = repeats(forward, 3)[1:]  # the first warms up
    elif case.startswith("vae"):
        from diffusers import AutoencoderKLWan

        frames = (int(case[3:]) + 3) // 4
        model = AutoencoderKLWan.from_pretrained(f"{models}/wide/vae").eval()
        z = torch.randn(1, 16, frames, 30, 52)
        seconds = repeats(lambda: model.decode(z, return_dict=False), 1)
    elif case.startswith("umt5"):
        from transformers import UMT5EncoderModel

        model = UMT5EncoderModel.from_pretrained(
            f"{models}/wide/text_encoder", dtype=torch.float32).eval()
        ids = torch.randint(2, 916, (1, int(case[5:])))
        seconds = repeats(lambda: model(ids), 3)[1:]
    elif case == "demo":
        from diffusers import WanPipeline

        pipeline = WanPipeline.from_pretrained(demo, torch_dtype=torch.float32)
        pipeline.set_progress_bar_config(disable=True)
        seconds = repeats(lambda: pipeline(
            prompt="a red circle", negative_prompt="", height=64, width=64, num_frames=17,
            num_inference_steps=20, guidance_scale=3.0, max_sequence_length=512,
            generator=torch.Generator().manual_seed(0), output_type="np"), 3)[1:]
    else:
        sys.exit(f"no case is called {case}")
print(json.dumps(seconds))
