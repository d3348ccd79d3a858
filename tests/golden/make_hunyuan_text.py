#!/usr/bin/env python3
"""Writes tests/golden/hunyuan_text: tiny text encoders for tests/golden/hunyuan's transformer and decoder, and
what diffusers' HunyuanVideoPipeline makes of prompts with them.

    pip install numpy torch diffusers transformers tokenizers accelerate safetensors
    python3 tests/golden/make_hunyuan_text.py

Made with diffusers 0.42.1 and transformers 5.24, in float32; the noise is torch's for seed 7, on a CPU. LLaMA's
tokenizer is trained on the template and the prompts, and has the form of the published one. Every piece of
the template is one token, as it is in LLaMA 3's vocabulary, so that it has the 95 tokens that are left out.
CLIP's is tests/golden/bpe's: to train one gives other ids each time.

    model_index.json, scheduler   of the whole checkpoint
    text_encoder, tokenizer       LLaMA, as wide as the transformer's text
    text_encoder_2, tokenizer_2   CLIP, as wide as its pooled text
    prompts.txt                   a short prompt, a prompt longer than both encoders read, a negative prompt,
                                  and an empty one
    io.safetensors
      p<P>_q<Q>_n<N>_c<C>_f<F>_h<H>_w<W>.latents   the last latent: prompt P, negative prompt Q, N steps, true
                                                   guidance C (1: none), F frames of HxW
      p<P>_q<Q>_n<N>_c<C>_f<F>_h<H>_w<W>.video     [3, F, H, W], pixels within 0..1; F16
      ids<P>, ids<P>_2                             tokens of prompt P in each encoder, without padding
"""

import json
import os
import shutil

import diffusers
import numpy as np
import torch
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from make_bpe import SPECIAL, make_llama
from make_hunyuan import component
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, LlamaConfig, LlamaModel
from transformers import PreTrainedTokenizerFast

PROMPTS = (
    "A cat's 12345 red kites, na\u00efve & FAST {over} a  lake",
    " ".join("%d boats of %s pass the %s harbour," % (i, a, b) for i in range(12)
             for a, b in (("wood", "old"), ("glass", "new"), ("stone", "green"))),
    "blurry, flat",
    "",
)
CASES = (  # prompt, negative prompt, steps, true guidance, frames, height, width, pixels
    (0, 2, 3, 1.0, 5, 32, 48, True),
    (1, 2, 2, 1.0, 5, 48, 32, True),
    (0, 2, 2, 2.5, 1, 32, 32, False),
    (1, 3, 2, 2.5, 1, 32, 48, False),
)
LLAMA = {
    "attention_bias": False,
    "hidden_act": "silu",
    "hidden_size": 24,
    "intermediate_size": 40,
    "max_position_embeddings": 512,
    "mlp_bias": False,
    "num_attention_heads": 3,
    "num_hidden_layers": 4,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
}
CLIP = {
    "hidden_act": "quick_gelu",
    "hidden_size": 12,
    "intermediate_size": 24,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "projection_dim": 12,
}


def fill(model, random):
    """Weights of O(1) scale, with norms and biases far from trivial."""
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            x = random.standard_normal(tuple(p.shape), dtype=np.float32)
            if "norm" in name and name.endswith("weight"):
                x = 1.0 + 0.3 * x
            elif name.endswith("bias"):
                x = 0.3 * x
            elif name.endswith(("q_proj.weight", "k_proj.weight")):
                x = x * 0.3
            elif "embed" not in name:
                x = x / np.sqrt(p.shape[-1])
            p.copy_(torch.from_numpy(np.asarray(x, dtype=np.float32)))
    return model.eval()


def save(folder, model, config, prefix=""):
    os.makedirs(folder, exist_ok=True)
    weights = {prefix + name.removeprefix(prefix): p.contiguous() for name, p in model.state_dict().items()}
    save_file(weights, os.path.join(folder, "model.safetensors"))
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2, sort_keys=True)
        file.write("\n")


def make_text(folder):
    random = np.random.Generator(np.random.PCG64(23))
    texts = list(PROMPTS)
    template = DEFAULT_PROMPT_TEMPLATE["template"].replace("{}", "")
    for special in SPECIAL:
        template = template.replace(special, "\0")
    texts += template.split("\0")
    llama_folder, clip_folder = (os.path.join(folder, name) for name in ("tokenizer", "tokenizer_2"))
    for path in (llama_folder, clip_folder):
        os.makedirs(path, exist_ok=True)
    make_llama(llama_folder, texts)
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(os.path.join(folder, "..", "bpe", "clip", "vocab", name), os.path.join(clip_folder, name))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=os.path.join(llama_folder, "tokenizer.json"), padding_side="right",
        bos_token=SPECIAL[0], pad_token=SPECIAL[1],
    )
    tokenizer_2 = CLIPTokenizer.from_pretrained(clip_folder)
    config = dict(LLAMA, model_type="llama", architectures=["LlamaModel"], vocab_size=len(tokenizer),
                  tie_word_embeddings=False)
    config_2 = dict(CLIP, model_type="clip_text_model", architectures=["CLIPTextModel"],
                    vocab_size=len(tokenizer_2), bos_token_id=tokenizer_2.bos_token_id, eos_token_id=2,
                    pad_token_id=1)
    model = fill(LlamaModel(LlamaConfig(**config)), random)
    model_2 = fill(CLIPTextModel(CLIPTextConfig(**config_2)), random)
    save(os.path.join(folder, "text_encoder"), model, config)
    save(os.path.join(folder, "text_encoder_2"), model_2, config_2, "text_model.")
    return {"text_encoder": model, "tokenizer": tokenizer, "text_encoder_2": model_2, "tokenizer_2": tokenizer_2}


def add_ids(io, text):
    form, crop = DEFAULT_PROMPT_TEMPLATE["template"], DEFAULT_PROMPT_TEMPLATE["crop_start"]
    before = text["tokenizer"](form.split("{}", maxsplit=1)[0])["input_ids"]
    print("the template begins with", len(before), "tokens")
    assert len(before) == crop
    for i, prompt in enumerate(PROMPTS):
        ids = text["tokenizer"](form.format(prompt), max_length=256 + crop, truncation=True)["input_ids"]
        ids_2 = text["tokenizer_2"](prompt, max_length=77, truncation=True)["input_ids"]
        io["ids%d" % i] = torch.tensor(ids, dtype=torch.int32)
        io["ids%d_2" % i] = torch.tensor(ids_2, dtype=torch.int32)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    folder = os.path.join(here, "hunyuan_text")
    os.makedirs(folder, exist_ok=True)
    torch.set_num_threads(1)
    text = make_text(folder)
    pipe = diffusers.HunyuanVideoPipeline(
        transformer=component(
            diffusers.HunyuanVideoTransformer3DModel, os.path.join(here, "hunyuan_dit")
        ),
        vae=component(diffusers.AutoencoderKLHunyuanVideo, os.path.join(here, "hunyuan_vae")),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
        **text,
    )
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler.save_pretrained(os.path.join(folder, "scheduler"))
    with open(os.path.join(folder, "prompts.txt"), "w", encoding="utf-8") as file:
        file.write("".join(prompt + "\n" for prompt in PROMPTS))
    io = {}
    add_ids(io, text)

    @torch.no_grad()
    def run(case, kind):
        p, q, n, c, frames, height, width, _ = case
        return pipe(
            prompt=PROMPTS[p],
            negative_prompt=PROMPTS[q],
            num_inference_steps=n,
            guidance_scale=6.0,
            true_cfg_scale=c,
            num_frames=frames,
            height=height,
            width=width,
            generator=torch.Generator("cpu").manual_seed(7),
            output_type=kind,
        ).frames

    for case in CASES:
        name = "p%d_q%d_n%d_c%g_f%d_h%d_w%d" % case[:7]
        io[name + ".latents"] = run(case, "latent")
        if case[7]:
            video = np.ascontiguousarray(run(case, "np")[0].transpose(3, 0, 1, 2))
            io[name + ".video"] = torch.from_numpy(video).half()
    save_file({k: v.contiguous() for k, v in io.items()}, os.path.join(folder, "io.safetensors"))
    with open(os.path.join(folder, "model_index.json"), "w", encoding="utf-8") as file:
        json.dump({"_class_name": "HunyuanVideoPipeline",
                   "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
                   "text_encoder": ["transformers", "LlamaModel"],
                   "text_encoder_2": ["transformers", "CLIPTextModel"],
                   "tokenizer": ["transformers", "LlamaTokenizerFast"],
                   "tokenizer_2": ["transformers", "CLIPTokenizer"],
                   "transformer": ["diffusers", "HunyuanVideoTransformer3DModel"],
                   "vae": ["diffusers", "AutoencoderKLHunyuanVideo"]}, file, indent=2)
        file.write("\n")
    for where, _, names in os.walk(folder):
        for name in names:
            os.chmod(os.path.join(where, name), 0o644)
    print("diffusers", diffusers.__version__, {k: tuple(v.shape) for k, v in io.items()})


if __name__ == "__main__":
    main()
