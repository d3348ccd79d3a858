"""The text encoder: names and arithmetic of UMT5EncoderModel (transformers), for padded batches."""

import math

import torch
import torch.nn.functional as F
from torch import nn

CONFIG = {
    "architectures": ["UMT5EncoderModel"],
    "classifier_dropout": 0.0,
    "d_ff": 192,
    "d_kv": 24,
    "d_model": 96,
    "decoder_start_token_id": 0,
    "dense_act_fn": "gelu_new",
    "dropout_rate": 0.1,
    "eos_token_id": 1,
    "feed_forward_proj": "gated-gelu",
    "initializer_factor": 1.0,
    "is_encoder_decoder": True,
    "is_gated_act": True,
    "layer_norm_epsilon": 1e-06,
    "model_type": "umt5",
    "num_decoder_layers": 2,
    "num_heads": 4,
    "num_layers": 2,
    "output_past": True,
    "pad_token_id": 0,
    "relative_attention_max_distance": 128,
    "relative_attention_num_buckets": 32,
    "scalable_attention": True,
    "tie_word_embeddings": False,
    "tokenizer_class": "T5Tokenizer",
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": 916,
}


class Norm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


def buckets(length, count, farthest):
    """Bucket of every (query, key) pair: half of them for keys behind the query; near ones exact."""
    offset = torch.arange(length)[None, :] - torch.arange(length)[:, None]
    half = count // 2
    exact = half // 2
    far = offset.abs()
    wide = torch.log(far.clamp(min=1).float() / exact) / math.log(farthest / exact)
    wide = (exact + (wide * (half - exact)).long()).clamp(max=half - 1)
    return (offset > 0).long() * half + torch.where(far < exact, far, wide)


class SelfAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        inner = c["num_heads"] * c["d_kv"]
        self.heads, self.width = c["num_heads"], c["d_kv"]
        self.table = c["relative_attention_num_buckets"], c["relative_attention_max_distance"]
        self.q = nn.Linear(c["d_model"], inner, bias=False)
        self.k = nn.Linear(c["d_model"], inner, bias=False)
        self.v = nn.Linear(c["d_model"], inner, bias=False)
        self.o = nn.Linear(inner, c["d_model"], bias=False)
        self.relative_attention_bias = nn.Embedding(self.table[0], self.heads)

    def forward(self, x, mask):
        b, length, _ = x.shape
        q, k, v = (
            layer(x).view(b, length, self.heads, self.width).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        bias = self.relative_attention_bias(buckets(length, *self.table)).permute(2, 0, 1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias + mask, scale=1.0)
        return self.o(y.transpose(1, 2).reshape(b, length, -1))


class Dense(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.wi_0 = nn.Linear(c["d_model"], c["d_ff"], bias=False)
        self.wi_1 = nn.Linear(c["d_model"], c["d_ff"], bias=False)
        self.wo = nn.Linear(c["d_ff"], c["d_model"], bias=False)

    def forward(self, x):
        return self.wo(F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))


class Half(nn.Module):
    """Norm and one of the two parts of a layer, around a shortcut."""

    def __init__(self, c, name, part):
        super().__init__()
        setattr(self, name, part)
        self.name = name
        self.layer_norm = Norm(c["d_model"], c["layer_norm_epsilon"])

    def forward(self, x, *mask):
        return x + getattr(self, self.name)(self.layer_norm(x), *mask)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        halves = Half(c, "SelfAttention", SelfAttention(c)), Half(c, "DenseReluDense", Dense(c))
        self.layer = nn.ModuleList(halves)

    def forward(self, x, mask):
        return self.layer[1](self.layer[0](x, mask))


class Stack(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.block = nn.ModuleList(Block(c) for _ in range(c["num_layers"]))
        self.final_layer_norm = Norm(c["d_model"], c["layer_norm_epsilon"])


@torch.no_grad()
def look_back(model):
    """Two heads of the first layer start by looking one and two words back: "circle" and "background"
    see their colours from the first step on, instead of after thousands."""
    table = model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
    for head in (0, 1):
        table[head + 1, head] += 5.0


class TextEncoder(nn.Module):
    def __init__(self, config=CONFIG):
        super().__init__()
        self.shared = nn.Embedding(config["vocab_size"], config["d_model"])
        self.encoder = Stack(config)
        d, inner = config["d_model"], config["num_heads"] * config["d_kv"]
        for name, weight in self.named_parameters():
            if name.endswith(".q.weight"):  # no 1/sqrt(d_kv) in T5: the queries carry it
                nn.init.normal_(weight, std=(d * config["d_kv"]) ** -0.5)
            elif name.endswith((".k.weight", ".v.weight", "wi_0.weight", "wi_1.weight")):
                nn.init.normal_(weight, std=d**-0.5)
            elif name.endswith((".o.weight", ".wo.weight")):
                nn.init.normal_(weight, std=inner**-0.5)
            elif "relative" in name:
                nn.init.normal_(weight, std=0.1)
        look_back(self)

    def forward(self, ids, lengths):
        """ids [batch, length], 0 = padding, and [batch] lengths -> states, zero beyond the length."""
        inside = torch.arange(ids.shape[1]) < lengths[:, None]
        mask = torch.zeros(inside.shape).masked_fill(~inside, -1e9)[:, None, None]
        x = self.shared(ids)
        for block in self.encoder.block:
            x = block(x, mask)
        return self.encoder.final_layer_norm(x) * inside[..., None]
