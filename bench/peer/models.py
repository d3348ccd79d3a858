"""models.py FOLDER DEMO: checkpoints of Wan 2.1's widths with random weights, in diffusers' layout.

wide: a transformer of 4 layers 1536 wide, the VAE, a UMT5 encoder of 2 layers. dit, half: the same with a tiny VAE,
so that a run is denoising only; half has the transformer in bfloat16.
"""

import os
import shutil
import sys

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import save_file
from transformers import UMT5Config, UMT5EncoderModel

folder, demo = sys.argv[1:]
torch.manual_seed(0)
wide = os.path.join(folder, "wide")
os.makedirs(wide, exist_ok=True)
transformer = WanTransformer3DModel(
    num_attention_heads=12, attention_head_dim=128, ffn_dim=8960, num_layers=4, in_channels=16,
    out_channels=16, text_dim=4096, freq_dim=256)
transformer.save_pretrained(wide + "/transformer")
transformer.to(torch.bfloat16).save_pretrained(folder + "/half/transformer")
AutoencoderKLWan().save_pretrained(wide + "/vae")
UMT5EncoderModel(UMT5Config(
    vocab_size=916, d_model=4096, d_kv=64, d_ff=10240, num_layers=2, num_heads=64,
    feed_forward_proj="gated-gelu", relative_attention_num_buckets=32,
    relative_attention_max_distance=128, dropout_rate=0.0, pad_token_id=0,
    eos_token_id=1)).save_pretrained(wide + "/text_encoder")
for name in ("tokenizer", "scheduler"):
    shutil.copytree(f"{demo}/{name}", f"{wide}/{name}", dirs_exist_ok=True)
shutil.copy(f"{demo}/model_index.json", wide)
for name in ("dit", "half"):
    os.makedirs(f"{folder}/{name}", exist_ok=True)
    for part in ("transformer", "text_encoder", "tokenizer", "scheduler", "model_index.json"):
        if not os.path.lexists(f"{folder}/{name}/{part}"):
            os.symlink(f"../wide/{part}", f"{folder}/{name}/{part}")
    AutoencoderKLWan(base_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1).save_pretrained(
        f"{folder}/{name}/vae")
save_file({"prompt_embeds": torch.randn(512, 4096)}, f"{folder}/embeds.safetensors")
for frames in (1, 2, 5):
    save_file({"latent": torch.randn(1, 16, frames, 30, 52)}, f"{folder}/latent{frames}.safetensors")
open(f"{folder}/done", "w").close()
