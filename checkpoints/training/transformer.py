"""The diffusion transformer: names and arithmetic of WanTransformer3DModel (Wan 2.1, diffusers).

The pipeline pads a prompt's states to 512 rows of zeros, and these rows are attended. Equal rows
give equal keys and values, so one such row, with log(how many) added to its score, stands for all:
512 keys become the words and one.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

TEXT_ROWS = 512

CONFIG = {
    "_class_name": "WanTransformer3DModel",
    "_diffusers_version": "0.33.0",
    "added_kv_proj_dim": None,
    "attention_head_dim": 16,
    "cross_attn_norm": True,
    "eps": 1e-06,
    "ffn_dim": 384,
    "freq_dim": 256,
    "image_dim": None,
    "in_channels": 8,
    "num_attention_heads": 8,
    "num_layers": 4,
    "out_channels": 8,
    "patch_size": [1, 2, 2],
    "pos_embed_seq_len": None,
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 1024,
    "text_dim": 96,
}


class RootMeanSquare(nn.Module):
    """Over all heads at once."""

    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotation(grid, width):
    """cos and sin [tokens, width / 2] for tokens of a (time, rows, columns) grid, time slowest."""
    space = 2 * (width // 6)
    parts = []
    for axis, size in enumerate((width - 2 * space, space, space)):
        rate = 1.0 / 10000.0 ** (torch.arange(0, size, 2, dtype=torch.float64) / size)
        angle = torch.arange(grid[axis], dtype=torch.float64)[:, None] * rate
        shape = [1, 1, 1, len(rate)]
        shape[axis] = grid[axis]
        parts.append(angle.view(shape).expand(*grid, len(rate)))
    angle = torch.cat(parts, dim=-1).flatten(0, 2)
    return torch.cos(angle).float(), torch.sin(angle).float()


def rotate(x, cos, sin):
    """x [batch, tokens, heads, width]: neighbours (2i, 2i + 1) are a pair."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)


class Attention(nn.Module):
    def __init__(self, width, heads, eps):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.norm_q = RootMeanSquare(width, eps)
        self.norm_k = RootMeanSquare(width, eps)

    def forward(self, x, y, turn=None, bias=None):
        q, k, v = (
            t.unflatten(-1, (self.heads, -1))
            for t in (self.norm_q(self.to_q(x)), self.norm_k(self.to_k(y)), self.to_v(y))
        )
        if turn is not None:
            q, k = rotate(q, *turn), rotate(k, *turn)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.to_out[0](z.transpose(1, 2).flatten(2))


class Two(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, c_in, c_hidden, c_out, activation):
        super().__init__()
        self.linear_1 = nn.Linear(c_in, c_hidden)
        self.linear_2 = nn.Linear(c_hidden, c_out)
        self.activation = activation

    def forward(self, x):
        return self.linear_2(self.activation(self.linear_1(x)))


def gelu(x):
    return F.gelu(x, approximate="tanh")


class Projection(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.proj = nn.Linear(c_in, c_out)


class FeedForward(nn.Module):
    """net.0.proj and net.2: the names that diffusers gives the two layers."""

    def __init__(self, width, hidden):
        super().__init__()
        self.net = nn.ModuleList(
            [Projection(width, hidden), nn.Identity(), nn.Linear(hidden, width)]
        )

    def forward(self, x):
        return self.net[2](gelu(self.net[0].proj(x)))


class Block(nn.Module):
    def __init__(self, width, heads, hidden, eps):
        super().__init__()
        self.attn1 = Attention(width, heads, eps)
        self.attn2 = Attention(width, heads, eps)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.ffn = FeedForward(width, hidden)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, width) / width**0.5)
        self.eps = eps

    def plain(self, x, shift, scale):
        return F.layer_norm(x, x.shape[-1:], eps=self.eps) * (1 + scale) + shift

    def forward(self, x, text, time, turn, bias):
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.scale_shift_table + time).chunk(6, 1)
        y = self.plain(x, shift1, scale1)
        x = x + gate1 * self.attn1(y, y, turn)
        x = x + self.attn2(self.norm2(x), text, bias=bias)
        return x + gate2 * self.ffn(self.plain(x, shift2, scale2))


class Condition(nn.Module):
    def __init__(self, c, width):
        super().__init__()
        self.time_embedder = Two(c["freq_dim"], width, width, F.silu)
        self.time_proj = nn.Linear(width, 6 * width)
        self.text_embedder = Two(c["text_dim"], width, width, gelu)


class Transformer(nn.Module):
    def __init__(self, config=CONFIG):
        super().__init__()
        c = config
        self.config = c
        width = c["num_attention_heads"] * c["attention_head_dim"]
        patch = c["patch_size"]
        self.patch_embedding = nn.Conv3d(c["in_channels"], width, patch, stride=patch)
        self.condition_embedder = Condition(c, width)
        self.blocks = nn.ModuleList(
            Block(width, c["num_attention_heads"], c["ffn_dim"], c["eps"])
            for _ in range(c["num_layers"])
        )
        self.proj_out = nn.Linear(width, c["out_channels"] * math.prod(patch))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, width) / width**0.5)

    def forward(self, x, time, states, lengths):
        """x [batch, C, T, h, w]; time [batch] in 0..1000; states [batch, length, text_dim], zero
        from lengths [batch] on -> velocity, like x."""
        b, channels, frames, rows, columns = x.shape
        grid = (frames, rows // 2, columns // 2)
        turn = rotation(grid, self.config["attention_head_dim"])

        # one more row of zeros stands for all the padding
        states = F.pad(states, (0, 0, 0, 1))
        words = torch.arange(states.shape[1])
        bias = torch.zeros(b, len(words)).masked_fill(words >= lengths[:, None], -1e9)
        bias[:, -1] = torch.log((TEXT_ROWS - lengths).float())
        bias = bias[:, None, None]

        # pixels of a patch: channel slowest, as the convolution has them
        x = x.view(b, channels, frames, rows // 2, 2, columns // 2, 2)
        x = x.permute(0, 2, 3, 5, 1, 4, 6).reshape(b, math.prod(grid), -1)
        x = F.linear(x, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)

        half = self.config["freq_dim"] // 2
        rate = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32) / half)
        angle = time.float()[:, None] * rate
        parts = self.condition_embedder
        e = parts.time_embedder(torch.cat([torch.cos(angle), torch.sin(angle)], dim=-1))
        six = parts.time_proj(F.silu(e)).unflatten(1, (6, -1))
        text = parts.text_embedder(states)

        for block in self.blocks:
            x = block(x, text, six, turn, bias)

        shift, scale = (self.scale_shift_table + e[:, None]).chunk(2, dim=1)
        x = F.layer_norm(x, x.shape[-1:], eps=self.config["eps"]) * (1 + scale) + shift
        x = self.proj_out(x)  # pixels of a patch: channel fastest
        x = x.view(b, *grid, 2, 2, channels).permute(0, 6, 1, 2, 4, 3, 5)
        return x.reshape(b, channels, frames, rows, columns)
