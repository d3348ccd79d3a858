#!/usr/bin/env python3
"""Writes tests/golden/wfvae: a tiny decoder of Open-Sora-Plan's WFVAE with random weights, and what a
plain implementation gives, the whole clip at once, in double precision: an odd number of channels,
one block in a branch, one and two latent frames, rows and columns of one latent.

    pip install torch safetensors
    python3 tests/golden/make_wfvae.py

The implementation is checked first against the original code's results, tests/golden/wfvae13 and
wfvae15 (random weights; to the config.json of wfvae15, scale and shift have been added).
"""
import json
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

here = os.path.dirname(os.path.abspath(__file__))


class Decoder:
    """The decoder from a dictionary of tensors; videos are [C, T, H, W]."""

    def __init__(self, config, tensors):
        self.c, self.t = config, {k: v.double() for k, v in tensors.items()}

    def conv3d(self, name, x):
        w, b = self.t[name + ".weight"], self.t[name + ".bias"]
        past, across = w.shape[2] - 1, w.shape[3] // 2
        x = torch.cat([x[:, :1]] * past + [x], 1)
        return F.conv3d(x[None], w, b, padding=(0, across, across))[0]

    def conv2d(self, name, x):
        y = F.conv2d(x.transpose(0, 1), self.t[name + ".weight"], self.t[name + ".bias"], padding=1)
        return y.transpose(0, 1)

    def norm(self, name, x):
        w, b = self.t[name + ".norm.weight"], self.t[name + ".norm.bias"]
        return F.layer_norm(x.movedim(0, -1), w.shape, w, b, 1e-6).movedim(-1, 0)

    def block(self, name, x):
        y = self.conv3d(name + ".conv1.conv", F.silu(self.norm(name + ".norm1", x)))
        y = self.conv3d(name + ".conv2.conv", F.silu(self.norm(name + ".norm2", y)))
        shortcut = name + ".nin_shortcut.conv"
        return y + (self.conv3d(shortcut, x) if shortcut + ".weight" in self.t else x)

    def attention(self, name, x):
        y = self.norm(name + ".norm", x)
        q, k, v = (self.conv3d(f"{name}.{n}.conv", y).movedim(0, -1).flatten(1, 2) for n in "qkv")
        o = F.scaled_dot_product_attention(q, k, v)
        o = o.unflatten(1, x.shape[2:]).movedim(-1, 0)
        return x + self.conv3d(name + ".proj_out.conv", o)

    def up3d(self, name, x):
        def larger(x, scale):
            return F.interpolate(x[None], scale_factor=scale, mode="trilinear")[0]

        first, rest = x[:, :1], x[:, 1:]
        y = larger(first, (1, 2, 2))
        if rest.shape[1]:
            y = torch.cat([y, larger(larger(rest, (2, 1, 1)), (1, 2, 2))], 1)
        return self.conv3d(name + ".conv.conv", y)

    def up2d(self, name, x):
        y = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return self.conv2d(name + ".conv", y)

    @staticmethod
    def haar(x, signs, axes, factor):
        """x [bands * 3, T, H, W]; signs[k]: of band k at each place, the last axis fastest."""
        bands = x.unflatten(0, (len(signs), 3))
        size = [2 if a in axes else 1 for a in range(3)]
        y = torch.zeros(3, *(n * s for n, s in zip(x.shape[1:], size)), dtype=x.dtype)
        places = [(a, b, c) for a in range(size[0]) for b in range(2) for c in range(2)]
        for i, (a, b, c) in enumerate(places):
            y[:, a::size[0], b::2, c::2] = factor * sum(
                (1 if sign[i] == "+" else -1) * band for sign, band in zip(signs, bands))
        return y

    def haar3d(self, x):
        signs = ["++++++++", "+-+-+-+-", "++--++--", "+--++--+",
                 "++++----", "+-+--+-+", "++----++", "+--+-++-"]
        return self.haar(x, signs, (0, 1, 2), 0.3536)[:, 1:]

    def haar2d(self, x):
        return self.haar(x, ["++++", "++--", "+-+-", "+--+"], (1, 2), 0.5)

    def connect(self, name, x):
        n = self.c["connect_res_layer_num"]
        for i in range(n):
            x = self.block(f"{name}.{i}", x)
        return self.conv2d(f"{name}.{n}", x)

    def add_low(self, x, low):
        return torch.cat([x[:3] + low, x[3:]], 0)

    def decode(self, z):
        energy, n = self.c["decoder_energy_flow_hidden_size"], self.c["decoder_num_resblocks"]
        eightfold = self.c.get("l1_upsample_block") == "Spatial2xTime2x3DUpsample"
        x = self.conv3d("decoder.conv_in.conv", z.double())
        x = self.block("decoder.mid.0", x)
        x = self.attention("decoder.mid.1", x)
        x = self.block("decoder.mid.2", x)
        low = self.haar3d(self.connect("decoder.connect_l2", x[-energy:]))
        x = x[:-energy]
        for i in range(n):
            x = self.block(f"decoder.up2.{i}", x)
        x = self.up3d(f"decoder.up2.{n}", x)
        x = self.block(f"decoder.up2.{n + 1}", x)
        bands = self.add_low(self.connect("decoder.connect_l1", x[-energy:]), low)
        low = self.haar3d(bands) if eightfold else self.haar2d(bands)
        x = x[:-energy]
        for i in range(n):
            x = self.block(f"decoder.up1.{i}", x)
        x = (self.up3d if eightfold else self.up2d)(f"decoder.up1.{n}", x)
        x = self.block(f"decoder.up1.{n + 1}", x)
        for i in range(2):
            x = self.block(f"decoder.layer.{i}", x)
        x = self.conv2d("decoder.conv_out", F.silu(self.norm("decoder.norm_out", x)))
        return self.haar3d(self.add_low(x, low))


CONFIG = {
    "_class_name": "WFVAEModel",
    "latent_dim": 3,
    "base_channels": 2,
    "encoder_num_resblocks": 1,
    "encoder_energy_flow_hidden_size": 2,
    "decoder_num_resblocks": 1,
    "decoder_energy_flow_hidden_size": 3,
    "norm_type": "layernorm",
    "t_interpolation": "trilinear",
    "connect_res_layer_num": 1,
    "scale": [0.5, 2.0, 1.5],
    "shift": [0.25, -0.5, 0.0],
}


def shapes(c):
    """Names and shapes of the decoder's tensors."""
    list, wide, energy = {}, 4 * c["base_channels"], c["decoder_energy_flow_hidden_size"]
    n = c["decoder_num_resblocks"]

    def conv(name, out, into, *kernel):
        list[name + ".weight"], list[name + ".bias"] = [out, into, *kernel], [out]

    def norm(name, channels):
        list[name + ".norm.weight"] = list[name + ".norm.bias"] = [channels]

    def block(name, into, out):
        norm(name + ".norm1", into)
        conv(name + ".conv1.conv", out, into, 3, 3, 3)
        norm(name + ".norm2", out)
        conv(name + ".conv2.conv", out, out, 3, 3, 3)
        if into != out:
            conv(name + ".nin_shortcut.conv", out, into, 1, 1, 1)

    conv("decoder.conv_in.conv", wide, c["latent_dim"], 3, 3, 3)
    block("decoder.mid.0", wide, wide)
    norm("decoder.mid.1.norm", wide)
    for name in ("q", "k", "v", "proj_out"):
        conv(f"decoder.mid.1.{name}.conv", wide, wide, 1, 1, 1)
    block("decoder.mid.2", wide, wide + energy)
    for i in range(n):
        block(f"decoder.up2.{i}", wide, wide)
        block(f"decoder.up1.{i}", wide if i == 0 else wide // 2, wide // 2)
    conv(f"decoder.up2.{n}.conv.conv", wide, wide, 3, 3, 3)
    block(f"decoder.up2.{n + 1}", wide, wide + energy)
    conv(f"decoder.up1.{n}.conv", wide // 2, wide // 2, 3, 3)
    block(f"decoder.up1.{n + 1}", wide // 2, wide // 2)
    block("decoder.layer.0", wide // 2, wide // 4)
    block("decoder.layer.1", wide // 4, wide // 4)
    for name, bands in (("connect_l1", 12), ("connect_l2", 24)):
        for i in range(c["connect_res_layer_num"]):
            block(f"decoder.{name}.{i}", energy, energy)
        conv(f"decoder.{name}.{c['connect_res_layer_num']}", bands, energy, 3, 3)
    norm("decoder.norm_out", wide // 4)
    conv("decoder.conv_out", 24, wide // 4, 3, 3)
    return list


def check(folder):
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    io = load_file(os.path.join(folder, "io.safetensors"))
    tensors = load_file(os.path.join(folder, "diffusion_pytorch_model.safetensors"))
    error = (Decoder(config, tensors).decode(io["in.z"][0]) - io["out.y"][0]).abs().max()
    print(f"{os.path.basename(folder)}: differs from the original code by {error:.1e} at most")
    assert error < 1e-5


def main():
    torch.set_num_threads(1)
    for name in ("wfvae13", "wfvae15"):
        check(os.path.join(here, name))
    folder = os.path.join(here, "wfvae")
    os.makedirs(folder, exist_ok=True)
    random = torch.Generator().manual_seed(13)
    tensors = {}
    for name, shape in sorted(shapes(CONFIG).items()):
        x = torch.randn(shape, generator=random)
        if name.endswith(".norm.weight"):
            x = 1 + 0.3 * x
        elif name.endswith(".weight"):
            x = x / x[0].numel() ** 0.5
        tensors[name] = x
    save_file(tensors, os.path.join(folder, "diffusion_pytorch_model.safetensors"))
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(CONFIG, file, indent=1)
    for name, size in (("io", (3, 2, 3)), ("io-one", (1, 1, 3)), ("io-two", (2, 5, 1))):
        z = torch.randn((1, CONFIG["latent_dim"], *size), generator=random)
        y = Decoder(CONFIG, tensors).decode(z[0]).float()[None].contiguous()
        save_file({"in.z": z, "out.y": y}, os.path.join(folder, name + ".safetensors"))
        print(f"wfvae/{name}: {list(y.shape)}, up to {y.abs().max():.1f}")


if __name__ == "__main__":
    main()
