#!/usr/bin/env python3
"""Wan 2.1 in PyTorch, with its own attention, as what stardit is measured beside.

  pytorch_block.py check GOLDEN           both models against the golden cases, on CPUs too
  pytorch_block.py time CASE [REPEATS]    seconds on the GPU, as one line of JSON

CASE is one of `stardit-bench runtime --case`: block-11k and block-40k (a forward through one block of the
14B model at 10920 and 39600 tokens), step (the 1.3B model with guidance, 480x832x81: two forwards) and
vae (the decoder, 480x832x81). Random weights and inputs in bfloat16; what a step is conditioned on is
computed in float32, as stardit does. A decode ends with the video in the host's memory.
"""
import json
import math
import os
import struct
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

BLOCK = dict(heads=40, head_dim=128, ffn=13824, layers=1)
MODEL = dict(heads=12, head_dim=128, ffn=8960, layers=30)
TRANSFORMER = dict(channels=16, text_dim=4096, freq_dim=256, eps=1e-6)
VAE = dict(base=96, z=16, multiplier=[1, 2, 4, 4], res=2, time=[True, True, False])
TEXT_ROWS = 512
# model, forwards, latent frames, height, width
CASES = {
    "block-11k": (BLOCK, 1, 7, 60, 104),
    "block-40k": (BLOCK, 1, 11, 90, 160),
    "step": (MODEL, 2, 21, 60, 104),
    "vae": (VAE, 1, 21, 60, 104),
}


# ---- transformer ---------------------------------------------------------------------------------


def rope_table(frames, height, width, head_dim, device):
    """cos and sin [tokens, head_dim / 2] of the three axes' angles."""
    part = head_dim // 6
    angles = []
    for axis, (size, pairs) in enumerate(
        [(frames, head_dim // 2 - 2 * part), (height, part), (width, part)]
    ):
        power = torch.arange(pairs, dtype=torch.float64) / pairs
        angle = torch.arange(size, dtype=torch.float64)[:, None] * 10000.0 ** -power
        shape = [1, 1, 1, pairs]
        shape[axis] = size
        angles.append(angle.view(shape).expand(frames, height, width, pairs))
    angle = torch.cat(angles, -1).reshape(frames * height * width, head_dim // 2)
    return angle.cos().float().to(device), angle.sin().float().to(device)


def rotate(x, table):
    """x [1, heads, tokens, head_dim]: interleaved pairs turned by the token's angles."""
    cos, sin = table
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).to(x.dtype)


class Rms(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.empty(width)), eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    def __init__(self, width, heads, eps):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.norm_q, self.norm_k = Rms(width, eps), Rms(width, eps)

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x, keys, table):
        q, k = self.split(self.norm_q(self.to_q(x))), self.split(self.norm_k(self.to_k(keys)))
        if table is not None:
            q, k = rotate(q, table), rotate(k, table)
        y = F.scaled_dot_product_attention(q, k, self.split(self.to_v(keys)))
        return self.to_out[0](y.transpose(1, 2).flatten(-2))


class Projected(nn.Module):
    def __init__(self, width, ffn):
        super().__init__()
        self.proj = nn.Linear(width, ffn)

    def forward(self, x):
        return F.gelu(self.proj(x), approximate="tanh")


class Feed(nn.Module):
    def __init__(self, width, ffn):
        super().__init__()
        self.net = nn.ModuleList([Projected(width, ffn), nn.Identity(), nn.Linear(ffn, width)])

    def forward(self, x):
        return self.net[2](self.net[0](x))


class Block(nn.Module):
    def __init__(self, width, heads, ffn, eps):
        super().__init__()
        self.eps = eps
        self.scale_shift_table = nn.Parameter(torch.empty(1, 6, width))
        self.attn1, self.attn2 = Attention(width, heads, eps), Attention(width, heads, eps)
        self.norm2 = nn.LayerNorm(width, eps)
        self.ffn = Feed(width, ffn)

    def modulated(self, x, scale, shift):
        y = F.layer_norm(x.float(), (x.shape[-1],), eps=self.eps)
        return (y * (1 + scale) + shift).to(x.dtype)

    def forward(self, x, text, modulation, table):
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            self.scale_shift_table.float() + modulation
        ).unbind(1)
        y = self.modulated(x, scale1, shift1)
        x = (x.float() + self.attn1(y, y, table).float() * gate1).to(x.dtype)
        x = x + self.attn2(self.norm2(x), text, None)
        y = self.ffn(self.modulated(x, scale2, shift2))
        return (x.float() + y.float() * gate2).to(x.dtype)


class Embedder(nn.Module):
    def __init__(self, into, width):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(into, width), nn.Linear(width, width)


class Condition(nn.Module):
    def __init__(self, width, freq, text):
        super().__init__()
        self.time_embedder, self.time_proj = Embedder(freq, width), nn.Linear(width, 6 * width)
        self.text_embedder = Embedder(text, width)


class Transformer(nn.Module):
    def __init__(self, heads, head_dim, ffn, layers, channels, text_dim, freq_dim, eps):
        super().__init__()
        width = heads * head_dim
        self.head_dim, self.freq, self.eps, self.channels = head_dim, freq_dim, eps, channels
        self.patch_embedding = nn.Conv3d(channels, width, (1, 2, 2), (1, 2, 2))
        self.condition_embedder = Condition(width, freq_dim, text_dim)
        self.blocks = nn.ModuleList([Block(width, heads, ffn, eps) for _ in range(layers)])
        self.scale_shift_table = nn.Parameter(torch.empty(1, 2, width))
        self.proj_out = nn.Linear(width, 4 * channels)

    def forward(self, x, t, text):
        c, dtype = self.condition_embedder, self.patch_embedding.weight.dtype
        half = self.freq // 2
        angle = t.float()[:, None] * torch.exp(
            -math.log(10000) / half * torch.arange(half, dtype=torch.float32, device=x.device)
        )
        wave = torch.cat([angle.cos(), angle.sin()], -1)
        embedded = c.time_embedder.linear_2(F.silu(c.time_embedder.linear_1(wave)))
        modulation = c.time_proj(F.silu(embedded)).unflatten(1, (6, -1))
        text = c.text_embedder.linear_2(
            F.gelu(c.text_embedder.linear_1(text.to(dtype)), approximate="tanh")
        )
        x = self.patch_embedding(x.to(dtype))
        grid = x.shape[2:]
        table = rope_table(*grid, self.head_dim, x.device)
        x = x.flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x, text, modulation, table)
        shift, scale = (self.scale_shift_table.float() + embedded[:, None]).unbind(1)
        y = F.layer_norm(x.float(), (x.shape[-1],), eps=self.eps) * (1 + scale) + shift
        y = self.proj_out(y.to(dtype)).float().view(1, *grid, 2, 2, self.channels)
        y = y.permute(0, 6, 1, 2, 4, 3, 5)
        return y.reshape(1, self.channels, grid[0], 2 * grid[1], 2 * grid[2])

    def half(self):
        """bfloat16 but for what a step is conditioned on."""
        self.to(torch.bfloat16)
        self.condition_embedder.time_embedder.float()
        self.condition_embedder.time_proj.float()
        return self


# ---- decoder -------------------------------------------------------------------------------------


class Causal(nn.Conv3d):
    """A convolution that keeps the last two frames it has seen; chunks of frames go through in turn."""

    def __init__(self, into, out, kernel):
        super().__init__(into, out, kernel)
        self.past = None

    def forward(self, x):
        kt, ks = self.kernel_size[0], self.kernel_size[1]
        if kt > 1:
            past = self.past
            if past is None:
                past = x.new_zeros(*x.shape[:2], kt - 1, *x.shape[3:])
            x = torch.cat([past, x], 2)
            self.past = x[:, :, 1 - kt :]
        return F.conv3d(x, self.weight, self.bias, padding=(0, ks // 2, ks // 2))


class ChannelNorm(nn.Module):
    def __init__(self, channels, ones=3):
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(channels, *[1] * ones))

    def forward(self, x):
        gamma = self.gamma.flatten().view(-1, *[1] * (x.dim() - 2)).to(x.dtype)
        return F.normalize(x, dim=1) * x.shape[1] ** 0.5 * gamma


class Res(nn.Module):
    def __init__(self, into, out):
        super().__init__()
        self.norm1, self.conv1 = ChannelNorm(into), Causal(into, out, 3)
        self.norm2, self.conv2 = ChannelNorm(out), Causal(out, out, 3)
        self.conv_shortcut = Causal(into, out, 1) if into != out else None

    def forward(self, x):
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        return y + (self.conv_shortcut(x) if self.conv_shortcut is not None else x)


class PixelAttention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = ChannelNorm(channels, 2)
        self.to_qkv, self.proj = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        b, c, t, h, w = x.shape
        y = self.norm(x.transpose(1, 2).reshape(b * t, c, h, w))
        q, k, v = self.to_qkv(y).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, -1)
        y = F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2).view(b * t, c, h, w)
        return x + self.proj(y).view(b, t, c, h, w).transpose(1, 2)


class Up(nn.Module):
    def __init__(self, channels, in_time):
        super().__init__()
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(channels, channels // 2, 3, padding=1))
        self.time_conv = Causal(channels, 2 * channels, (3, 1, 1)) if in_time else None
        self.first = True

    def forward(self, x):
        b, c, t, h, w = x.shape
        if self.time_conv is not None and not self.first:
            x = self.time_conv(x).view(b, 2, c, t, h, w).permute(0, 2, 3, 1, 4, 5)
            x = x.reshape(b, c, 2 * t, h, w)
        self.first = False
        x = x.transpose(1, 2).flatten(0, 1)
        x = self.resample[1](F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return x.unflatten(0, (b, -1)).transpose(1, 2)


class Stage(nn.Module):
    def __init__(self, into, out, res, up):
        super().__init__()
        self.resnets = nn.ModuleList([Res(into if i == 0 else out, out) for i in range(res + 1)])
        self.upsamplers = nn.ModuleList([] if up is None else [Up(out, up)])

    def forward(self, x):
        for layer in [*self.resnets, *self.upsamplers]:
            x = layer(x)
        return x


class Decoder(nn.Module):
    def __init__(self, base, z, multiplier, res, time):
        super().__init__()
        dims = [base * m for m in reversed(multiplier)]
        self.conv_in = Causal(z, dims[0], 3)
        self.mid_block = nn.Module()
        self.mid_block.resnets = nn.ModuleList([Res(dims[0], dims[0]) for _ in range(2)])
        self.mid_block.attentions = nn.ModuleList([PixelAttention(dims[0])])
        into = [dims[0]] + [d // 2 for d in dims[:-1]]
        ups = list(time) + [None]
        self.up_blocks = nn.ModuleList(
            [Stage(i, o, res, up) for i, o, up in zip(into, dims, ups)]
        )
        self.norm_out, self.conv_out = ChannelNorm(dims[-1]), Causal(dims[-1], 3, 3)

    def forward(self, x):
        x = self.mid_block.resnets[0](self.conv_in(x))
        x = self.mid_block.resnets[1](self.mid_block.attentions[0](x))
        for stage in self.up_blocks:
            x = stage(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Vae(nn.Module):
    def __init__(self, base, z, multiplier, res, time):
        super().__init__()
        self.post_quant_conv = Causal(z, z, 1)
        self.decoder = Decoder(base, z, multiplier, res, time)

    def forward(self, z):
        for layer in self.modules():
            if isinstance(layer, Causal):
                layer.past = None
            if isinstance(layer, Up):
                layer.first = True
        z = self.post_quant_conv(z)
        return torch.cat([self.decoder(z[:, :, t : t + 1]) for t in range(z.shape[2])], 2).clamp(-1, 1)


# ---- checkpoints ---------------------------------------------------------------------------------


def read_safetensors(path):
    types = {"F32": torch.float32, "I64": torch.int64, "I32": torch.int32}
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(size)), bytearray(file.read())
    tensors = {}
    for name, t in header.items():
        if name != "__metadata__":
            start, end = t["data_offsets"]
            tensors[name] = torch.frombuffer(data[start:end], dtype=types[t["dtype"]]).view(t["shape"])
    return tensors


def fill(model):
    """Random weights whose products stay of order one."""
    generator = torch.Generator(next(model.parameters()).device).manual_seed(1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() > 1 and not name.endswith(("gamma", "table")):
                p.normal_(0, p[0].numel() ** -0.5, generator=generator)
            elif name.endswith("bias"):
                p.zero_()
            elif name.endswith("table"):
                p.normal_(0, 0.1, generator=generator)
            else:
                p.fill_(1)
    return model


# ---- commands ------------------------------------------------------------------------------------


def check(golden):
    """Exit status 1 where a model differs from the golden case by more than 5e-5."""
    worst = {}
    with torch.no_grad():
        folder = os.path.join(golden, "wan_dit")
        c = json.load(open(os.path.join(folder, "config.json")))
        model = Transformer(
            c["num_attention_heads"], c["attention_head_dim"], c["ffn_dim"], c["num_layers"],
            c["in_channels"], c["text_dim"], c["freq_dim"], c["eps"],
        )
        model.load_state_dict(
            read_safetensors(os.path.join(folder, "diffusion_pytorch_model.safetensors"))
        )
        io = read_safetensors(os.path.join(folder, "io.safetensors"))
        y = model(io["in.x"], io["in.t"].flatten()[:1], io["in.txt"])
        worst["transformer"] = (y - io["out.y"]).abs().max().item()

        folder = os.path.join(golden, "wan_vae")
        c = json.load(open(os.path.join(folder, "config.json")))
        vae = Vae(c["base_dim"], c["z_dim"], c["dim_mult"], c["num_res_blocks"],
                  c["temperal_downsample"][::-1])
        weights = read_safetensors(os.path.join(folder, "diffusion_pytorch_model.safetensors"))
        vae.load_state_dict({k: v for k, v in weights.items() if k.startswith(("dec", "post"))})
        io = read_safetensors(os.path.join(folder, "io.safetensors"))
        worst["vae"] = (vae(io["in.z"]) - io["out.whole"]).abs().max().item()
    for name, error in worst.items():
        print(f"{name}: max_abs {error:.3g} {'ok' if error <= 5e-5 else 'FAIL'}")
    return 0 if max(worst.values()) <= 5e-5 else 1


def measure(case, repeats):
    if not torch.cuda.is_available():
        print("pytorch_block.py: PyTorch sees no GPU", file=sys.stderr)
        return 77
    sizes, forwards, frames, height, width = CASES[case]
    decodes = sizes is VAE
    torch.backends.cudnn.benchmark = not decodes  # plans for 40 convolutions take minutes
    with torch.no_grad(), torch.device("cuda"):
        if decodes:
            model = fill(Vae(**VAE)).to(torch.bfloat16)
            inputs = (torch.randn(1, VAE["z"], frames, height, width, dtype=torch.bfloat16),)
        else:
            model = fill(Transformer(**sizes, **TRANSFORMER)).half()
            inputs = (
                torch.randn(1, TRANSFORMER["channels"], frames, height, width),
                torch.tensor([500.0]),
                torch.randn(1, TEXT_ROWS, TRANSFORMER["text_dim"], dtype=torch.bfloat16),
            )
        seconds = []
        for _ in range(repeats + 1):
            torch.cuda.synchronize()
            start = time.perf_counter()
            y = [model(*inputs) for _ in range(forwards)]
            if decodes:
                y[0].float().cpu()
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    print(json.dumps({
        "case": case, "seconds": sum(seconds[1:]) / repeats, "first_seconds": seconds[0],
        "torch": torch.__version__, "peak_bytes": torch.cuda.max_memory_allocated(),
    }))
    return 0


def main(argv):
    if len(argv) == 3 and argv[1] == "check":
        return check(argv[2])
    if len(argv) in (3, 4) and argv[1] == "time" and argv[2] in CASES:
        return measure(argv[2], int(argv[3]) if len(argv) == 4 else 3)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))
