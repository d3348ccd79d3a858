"""Writes a diffusers folder of the trained parts: weights as bf16, the VAE's as float32, as Wan's are.

The tokenizer is not trained here but by tokenizer.py, and goes along as it is.
"""

import json
import os
import shutil

import text
import torch
import transformer
import vae
from safetensors.torch import save_file

SCHEDULER = {
    "_class_name": "UniPCMultistepScheduler",
    "_diffusers_version": "0.33.0",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "disable_corrector": [],
    "dynamic_thresholding_ratio": 0.995,
    "final_sigmas_type": "zero",
    "flow_shift": 3.0,
    "lower_order_final": True,
    "num_train_timesteps": 1000,
    "predict_x0": True,
    "prediction_type": "flow_prediction",
    "rescale_betas_zero_snr": False,
    "sample_max_value": 1.0,
    "solver_order": 2,
    "solver_p": None,
    "solver_type": "bh2",
    "steps_offset": 0,
    "thresholding": False,
    "timestep_spacing": "linspace",
    "trained_betas": None,
    "use_beta_sigmas": False,
    "use_exponential_sigmas": False,
    "use_flow_sigmas": True,
    "use_karras_sigmas": False,
}

MODEL_INDEX = {
    "_class_name": "WanPipeline",
    "_diffusers_version": "0.33.0",
    "scheduler": ["diffusers", "UniPCMultistepScheduler"],
    "text_encoder": ["transformers", "UMT5EncoderModel"],
    "tokenizer": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "WanTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLWan"],
}

DEFAULTS = {
    "height": 64,
    "width": 64,
    "num_frames": 17,
    "num_inference_steps": 20,
    "guidance_scale": 5.0,
    "flow_shift": 3.0,
    "fps": 8,
    "max_sequence_length": 512,
    "negative_prompt": "",
}


def write_json(value, *path):
    path = os.path.join(*path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=2, ensure_ascii=False)
        f.write("\n")


def write_weights(module, dtype, *path):
    tensors = {k: v.detach().to(dtype).contiguous() for k, v in module.state_dict().items()}
    save_file(tensors, os.path.join(*path), metadata={"format": "pt"})
    os.chmod(os.path.join(*path), 0o644)
    count = sum(t.numel() for t in tensors.values())
    print(f"{path[-2]}: {len(tensors)} tensors, {count} parameters", flush=True)


def export(root, tokenizer, coder, encoder, denoiser, mean, std, guidance):
    """tokenizer: folder to copy; mean, std: lists; guidance: what stardit.json says."""
    write_json(transformer.CONFIG, root, "transformer", "config.json")
    write_json(
        dict(vae.CONFIG, latents_mean=mean, latents_std=std), root, "vae", "config.json"
    )
    write_json(text.CONFIG, root, "text_encoder", "config.json")
    write_json(SCHEDULER, root, "scheduler", "scheduler_config.json")
    write_json(MODEL_INDEX, root, "model_index.json")
    write_json(dict(DEFAULTS, guidance_scale=guidance), root, "stardit.json")
    weights = "diffusion_pytorch_model.safetensors"
    write_weights(denoiser, torch.bfloat16, root, "transformer", weights)
    write_weights(coder, torch.float32, root, "vae", weights)
    write_weights(encoder, torch.bfloat16, root, "text_encoder", "model.safetensors")
    target = os.path.join(root, "tokenizer")
    if os.path.abspath(tokenizer) != os.path.abspath(target):
        shutil.copytree(tokenizer, target, dirs_exist_ok=True)
