"""The causal 3D VAE: names and arithmetic of AutoencoderKLWan (Wan 2.1), whole sequences at once.

The published VAE works frame by frame with a cache; over a whole sequence that is the same as what
stands here: convolutions see two zero frames of the past, and frame 0 goes round the convolutions
that halve or double time. Parameter names are those of diffusers, so a state dict is a checkpoint.
"""

import torch
import torch.nn.functional as F
from torch import nn

CONFIG = {
    "_class_name": "AutoencoderKLWan",
    "_diffusers_version": "0.33.0",
    "attn_scales": [],
    "base_dim": 16,
    "dim_mult": [1, 2, 2, 2],
    "dropout": 0.0,
    "latents_mean": [0.0] * 8,
    "latents_std": [1.0] * 8,
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
    "z_dim": 8,
}


class CausalConv(nn.Conv3d):
    """x [batch, channels, time, rows, columns]: zeros around space, zeros before time."""

    def __init__(self, c_in, c_out, kernel, stride=1, past=True):
        time, space = kernel
        super().__init__(c_in, c_out, (time, space, space), stride=(stride, 1, 1))
        self.past = time - 1 if past else 0
        self.around = space // 2

    def forward(self, x):
        if self.past:
            x = F.pad(x, (0, 0, 0, 0, self.past, 0))
        return F.conv3d(
            x, self.weight, self.bias, self.stride, (0, self.around, self.around)
        )


class Norm(nn.Module):
    """Every pixel's channel vector on a sphere of radius sqrt(channels), times gamma."""

    def __init__(self, channels, rank=4):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones((channels,) + (1,) * (rank - 1)))
        self.scale = channels**0.5

    def forward(self, x):
        return F.normalize(x, dim=1) * (self.scale * self.gamma)


class Residual(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.norm1 = Norm(c_in)
        self.conv1 = CausalConv(c_in, c_out, (3, 3))
        self.norm2 = Norm(c_out)
        self.conv2 = CausalConv(c_out, c_out, (3, 3))
        nn.init.zeros_(self.conv2.weight)  # every block starts as its shortcut
        nn.init.zeros_(self.conv2.bias)
        self.conv_shortcut = CausalConv(c_in, c_out, (1, 1)) if c_in != c_out else nn.Identity()

    def forward(self, x):
        y = self.conv1(F.silu(self.norm1(x)))
        return self.conv2(F.silu(self.norm2(y))) + self.conv_shortcut(x)


def frames(layer, x):
    """A layer for pictures over the frames of a clip."""
    b, c, t, h, w = x.shape
    y = layer(x.transpose(1, 2).reshape(b * t, c, h, w))
    return y.reshape(b, t, *y.shape[1:]).transpose(1, 2)


class Attention(nn.Module):
    """Within each frame, one head."""

    def __init__(self, channels):
        super().__init__()
        self.norm = Norm(channels, 3)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def picture(self, x):
        q, k, v = self.to_qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(x.shape))

    def forward(self, x):
        return x + frames(self.picture, x)


class Middle(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.resnets = nn.ModuleList([Residual(channels, channels), Residual(channels, channels)])
        self.attentions = nn.ModuleList([Attention(channels)])

    def forward(self, x):
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Down(nn.Module):
    def __init__(self, channels, time):
        super().__init__()
        conv = nn.Conv2d(channels, channels, 3, stride=2)
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv)
        if time:
            self.time_conv = CausalConv(channels, channels, (3, 1), stride=2, past=False)

    def forward(self, x):
        x = frames(self.resample, x)
        if hasattr(self, "time_conv"):
            x = torch.cat([x[:, :, :1], self.time_conv(x)], dim=2)
        return x


class Up(nn.Module):
    def __init__(self, channels, time):
        super().__init__()
        conv = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.resample = nn.Sequential(nn.Upsample(scale_factor=2.0, mode="nearest-exact"), conv)
        if time:
            self.time_conv = CausalConv(channels, 2 * channels, (3, 1))

    def forward(self, x):
        if hasattr(self, "time_conv"):
            b, c, t, h, w = x.shape
            y = self.time_conv(x[:, :, 1:])  # frame 0 is neither changed nor seen
            y = y.reshape(b, 2, c, t - 1, h, w).permute(0, 2, 3, 1, 4, 5)
            x = torch.cat([x[:, :, :1], y.reshape(b, c, 2 * (t - 1), h, w)], dim=2)
        return frames(self.resample, x)


class UpBlock(nn.Module):
    def __init__(self, c_in, c_out, blocks, up, time):
        super().__init__()
        self.resnets = nn.ModuleList(
            [Residual(c_in if i == 0 else c_out, c_out) for i in range(blocks)]
        )
        if up:
            self.upsamplers = nn.ModuleList([Up(c_out, time)])

    def forward(self, x):
        for layer in self.resnets:
            x = layer(x)
        return self.upsamplers[0](x) if hasattr(self, "upsamplers") else x


class Head(nn.Module):
    """What encoder and decoder end with; a mixin of three names."""

    def head(self, x):
        return self.conv_out(F.silu(self.norm_out(x)))


class Encoder(Head):
    def __init__(self, config):
        super().__init__()
        base, mult, z = config["base_dim"], config["dim_mult"], config["z_dim"]
        dims = [base * m for m in [1] + mult]
        self.conv_in = CausalConv(3, dims[0], (3, 3))
        blocks = []
        for i, (c_in, c_out) in enumerate(zip(dims[:-1], dims[1:])):
            for j in range(config["num_res_blocks"]):
                blocks.append(Residual(c_in if j == 0 else c_out, c_out))
            if i + 1 < len(mult):
                blocks.append(Down(c_out, config["temperal_downsample"][i]))
        self.down_blocks = nn.ModuleList(blocks)
        self.mid_block = Middle(dims[-1])
        self.norm_out = Norm(dims[-1])
        self.conv_out = CausalConv(dims[-1], 2 * z, (3, 3))

    def forward(self, x):
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.head(self.mid_block(x))


class Decoder(Head):
    def __init__(self, config):
        super().__init__()
        base, mult, z = config["base_dim"], config["dim_mult"], config["z_dim"]
        dims = [base * m for m in [mult[-1]] + mult[::-1]]
        time = config["temperal_downsample"][::-1]
        self.conv_in = CausalConv(z, dims[0], (3, 3))
        self.mid_block = Middle(dims[0])
        self.up_blocks = nn.ModuleList()
        for i, (c_in, c_out) in enumerate(zip(dims[:-1], dims[1:])):
            up = i + 1 < len(mult)
            self.up_blocks.append(
                UpBlock(
                    c_in // 2 if i else c_in,
                    c_out,
                    config["num_res_blocks"] + 1,
                    up,
                    up and time[i],
                )
            )
        self.norm_out = Norm(dims[-1])
        self.conv_out = CausalConv(dims[-1], 3, (3, 3))

    def forward(self, x):
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        return self.head(x)


@torch.no_grad()
def start_linear(vae):
    """Start as a plain autoencoder of colours: the way around the blocks passes its channels on.

    With random weights a colour would have to come through a dozen of unnormalised layers, and
    thousands of steps pass before it does. Halving averages, doubling copies, every channel goes to
    itself where there is one, biases are 0, and the noise of the latents is small.
    """

    def identity(weight, taps):
        n, c = weight.shape[:2]
        weight.mul_(0.1)
        for i in range(max(n, c)):
            weight[i % n, i % c] += taps * (1.0 if n >= c else n / c)

    def at(*index, shape=(3, 3)):
        taps = torch.zeros(shape)
        taps[index] = 1.0
        return taps

    for layer in vae.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            layer.bias.zero_()
        if isinstance(layer, Residual) and isinstance(layer.conv_shortcut, nn.Conv3d):
            identity(layer.conv_shortcut.weight, torch.ones(1, 1, 1))
        elif isinstance(layer, Down):
            taps = torch.zeros(3, 3)
            taps[:2, :2] = 0.25
            identity(layer.resample[1].weight, taps)
            if hasattr(layer, "time_conv"):
                identity(layer.time_conv.weight, torch.tensor([0.0, 0.5, 0.5]).view(3, 1, 1))
        elif isinstance(layer, Up):
            identity(layer.resample[1].weight, at(1, 1))
            if hasattr(layer, "time_conv"):
                identity(layer.time_conv.weight, at(2, 0, 0, shape=(3, 1, 1)))
        elif isinstance(layer, Attention):
            layer.proj.weight.zero_()
    z = len(vae.post_quant_conv.bias)
    vae.quant_conv.weight[z:] *= 0.1
    vae.quant_conv.bias[z:] = -6.0


class VAE(nn.Module):
    """Clips [batch, 3, 4k+1, rows, columns] in -1..1 to latents [batch, z, k+1, rows/8, columns/8]."""

    def __init__(self, config=CONFIG):
        super().__init__()
        z = config["z_dim"]
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = CausalConv(2 * z, 2 * z, (1, 1))
        self.post_quant_conv = CausalConv(z, z, (1, 1))
        start_linear(self)

    def encode(self, x):
        """Mean and logarithm of the variance."""
        mean, log_var = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return mean, log_var.clamp(-30.0, 20.0)

    def decode(self, z):
        return self.decoder(self.post_quant_conv(z))


def picture_loss(y, x, absolute=0.5, neighbours=0.1):
    """Squares, half of L1, 0.1 of the L1 of differences between neighbours; and the error.

    Squares tell colours apart early; L1 alone stays at medians of them for hundreds of steps.
    """
    error = y - x
    edges = sum((error.diff(dim=d).abs().mean() for d in (2, 3, 4)), torch.zeros(()))
    return 2 * (error**2).mean() + absolute * error.abs().mean() + neighbours * edges, error


def vae_loss(vae, x, kl_weight):
    mean, log_var = vae.encode(x)
    y = vae.decode(mean + torch.exp(0.5 * log_var) * torch.randn_like(mean))
    loss, error = picture_loss(y, x)
    kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).mean()
    return loss + kl_weight * kl, error
