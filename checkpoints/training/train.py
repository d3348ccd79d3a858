#!/usr/bin/env python3
"""Trains the demo checkpoint from nothing and writes it as a diffusers folder.

    python3 checkpoints/training/train.py STATE [--stage all|vae|latents|dit|score|export]

Stages, each of which goes on from what STATE holds (saved every 10 minutes and at the end):
    vae      the causal 3D VAE, on windows of clips, then on whole ones; PSNR of held-out clips
    latents  clips through the encoder, once: what the transformer learns from
    decoder  the VAE's decoder alone goes on, on whole clips and the kept latents (optional)
    dit      text encoder and transformer together, flow matching
    score    what the scorer sees in truth, reconstructions and generated clips; a strip of pictures
    export   STATE/stardit-demo
Needs torch, numpy, sentencepiece, safetensors; pillow for the strip.
"""

import argparse
import os
import sys
import time

sys.dont_write_bytecode = True  # models/ is distributed as it is

import captions
import numpy as np
import sampler
import shapes
import torch
import torch.nn.functional as F
from export import export
from muon import Muon
from state import Stage, channels_last
from text import TextEncoder
from torch import nn
from transformer import Transformer
from vae import VAE, picture_loss, vae_loss

SEED = 20261121
VAE_STEPS = 5000
KL = 3e-5
CLIPS = 1536  # whose latents are kept
DECODER_STEPS = 2000
NAME_STEPS = 200
DIT_STEPS = 5500
BATCH = 32
DROP = 0.1  # captions left empty, for guidance
SHIFT = 3.0
SAMPLING_STEPS = 20
GUIDANCE = 3.0
HERE = os.path.dirname(os.path.abspath(__file__))
# Windows of clips as (until which part of the steps, ((frames, width, how many a side, how many),
# ...)). Small windows stand side by side, so that few pixels show many colours and edges. Never one
# window or clip alone: for a batch of 1 torch takes a convolution that is four times as slow.
WINDOWS = (
    (0.3, ((5, 16, 2, 4), (9, 16, 2, 2))),
    (0.9, ((9, 32, 1, 2), (17, 32, 1, 2), (5, 48, 1, 2))),
    (1.0, ((17, 64, 1, 2),)),
)


def clips_of(stage, step, count):
    """Clips of one training step. Held-out clips have a stage of their own: "test"."""
    number = ("vae", "latents", "dit", "test").index(stage)
    random = np.random.default_rng((SEED, number, step))
    return shapes.draw_clips(count, random), random


def windows(step, steps):
    kinds = next(kinds for until, kinds in WINDOWS if step < until * steps)
    frames, width, side, count = kinds[step % len(kinds)]
    clips, random = clips_of("vae", step, count * side * side)
    count = len(clips["x0"])
    first = random.integers(shapes.FRAMES - frames + 1, size=count)
    half = first + frames / 2
    corner = []
    for at, move in (("x0", "dx"), ("y0", "dy")):  # around the shape, three times in four
        near = clips[at] + clips[move] * half + random.uniform(-16, 16, size=count) - width / 2
        far = random.uniform(0, shapes.SIZE - width, size=count)
        corner.append(np.where(random.random(count) < 0.75, near, far))
    left, top = (c.round().clip(0, shapes.SIZE - width) for c in corner)
    x = torch.from_numpy(shapes.render(clips, frames, first, width, left, top)) * 2 - 1
    x = x.view(-1, side, side, 3, frames, width, width).permute(0, 3, 4, 1, 5, 2, 6)
    x = x.reshape(-1, 3, frames, side * width, side * width)
    return x.contiguous(memory_format=torch.channels_last_3d)


def whole_clips(clips):
    x = torch.from_numpy(shapes.render(clips)) * 2 - 1
    return x.contiguous(memory_format=torch.channels_last_3d)


@torch.no_grad()
def reconstruct(vae, clips):
    """Clips and what the VAE makes of them [count, 3, frames, rows, columns] in 0..1, and PSNR in dB,
    peak 1, of each."""
    truth, seen = shapes.render(clips), []
    for i in range(0, len(truth), 4):
        x = (torch.from_numpy(truth[i : i + 4]) * 2 - 1).contiguous(
            memory_format=torch.channels_last_3d
        )
        seen.append(vae.decode(vae.encode(x)[0]).clamp(-1, 1).add(1).div(2).numpy())
    seen = np.concatenate(seen)
    return truth, seen, -10 * np.log10(((truth - seen) ** 2).mean(axis=(1, 2, 3, 4)))


def psnr(vae, count):
    """Mean and least PSNR of held-out clips."""
    values = reconstruct(vae, clips_of("test", 0, count)[0])[2]
    return values.mean(), values.min()


def train_vae(folder, steps):
    torch.manual_seed(SEED)
    vae = channels_last(VAE())
    stage = Stage(folder, "vae", vae, steps, (0.03, 3e-3), 0.995)
    mean = 0.0
    while stage.step < steps:
        torch.manual_seed(SEED + stage.step)
        loss, error = vae_loss(vae, windows(stage.step, steps), KL)
        stage.update(loss)
        square = (error.detach() ** 2).mean().item() / 4
        mean = 0.97 * mean + 0.03 * square if mean else square
        if stage.step % 100 == 0:
            print(f"vae: step {stage.step} windows {-10 * np.log10(mean):.2f} dB {stage.spent():.0f} s", flush=True)
        if stage.step % 200 == 0 or stage.step == steps:
            stage.swap()
            average, worst = psnr(vae, 16)
            stage.swap()
            print(f"vae: step {stage.step} PSNR {average:.2f} dB, worst {worst:.2f} dB", flush=True)
            stage.save()
    stage.save()


# ---- latents -------------------------------------------------------------------------------------


def stored(module, slow, dtype=torch.bfloat16):
    """The weights as the checkpoint will hold them: the moving average, rounded to dtype."""
    for p, average in zip(module.parameters(), slow):
        p.data.copy_(average.to(dtype))
    return module.eval().requires_grad_(False)


def load_vae(folder):
    state = torch.load(os.path.join(folder, "vae.pt"), weights_only=True)
    vae = stored(channels_last(VAE()), state["slow"], torch.float32)
    path = os.path.join(folder, "decoder.pt")
    if os.path.exists(path):
        slow = torch.load(path, weights_only=True)["slow"]
        stored(nn.ModuleList([vae.decoder, vae.post_quant_conv]), slow, torch.float32)
    return vae


@torch.no_grad()
def make_latents(folder, count):
    """latents.pt: [count, z, T, h, w], normalised, their mean and std, and the clips' parameters."""
    path = os.path.join(folder, "latents.pt")
    if os.path.exists(path):
        return
    vae = load_vae(folder)
    average, worst = psnr(vae, 64)
    print(f"vae as stored: PSNR {average:.2f} dB on 64 held-out clips, worst {worst:.2f}", flush=True)
    clips, _ = clips_of("latents", 0, count)
    rows = []
    begun = time.time()
    for i in range(0, count, 8):
        rows.append(vae.encode(whole_clips(shapes.pick(clips, slice(i, i + 8))))[0].contiguous())
        if i % 512 == 0:
            print(f"latents: {i} of {count}, {time.time() - begun:.0f} s", flush=True)
    x = torch.cat(rows)
    mean, std = x.mean(dim=(0, 2, 3, 4)), x.std(dim=(0, 2, 3, 4))
    x = (x - mean.view(-1, 1, 1, 1)) / std.view(-1, 1, 1, 1)
    numbers = {k: torch.from_numpy(np.asarray(v)) for k, v in clips.items()}
    torch.save({"x": x, "mean": mean, "std": std, "clips": numbers}, path)
    print(f"latents: {tuple(x.shape)} {time.time() - begun:.0f} s, mean {mean}, std {std}", flush=True)


def train_decoder(folder, steps):
    """The encoder stays as it is, and with it the latents that the transformer learns.

    Squares count for more than before: L1 would leave an outline sharp but half a pixel off.
    """
    torch.manual_seed(SEED)
    data = load_latents(folder)
    vae = load_vae(folder)
    part = nn.ModuleList([vae.decoder, vae.post_quant_conv]).requires_grad_(True)
    stage = Stage(folder, "decoder", part, steps, (0.01, 1e-3), 0.995)
    mean = 0.0
    while stage.step < steps:
        random = np.random.default_rng((SEED, 8, stage.step))
        i = random.integers(len(data["x"]), size=2)
        z = data["x"][i] + 0.03 * torch.from_numpy(
            random.standard_normal(data["x"][i].shape, dtype=np.float32)
        )
        z = z * data["std"].view(-1, 1, 1, 1) + data["mean"].view(-1, 1, 1, 1)
        x = whole_clips(shapes.pick(data["clips"], i))
        loss, error = picture_loss(vae.decode(z), x, absolute=0.05, neighbours=0.02)
        stage.update(loss)
        square = (error.detach() ** 2).mean().item() / 4
        mean = 0.97 * mean + 0.03 * square if mean else square
        if stage.step % 100 == 0:
            dB = -10 * np.log10(mean)
            print(f"decoder: step {stage.step} {dB:.2f} dB {stage.spent():.0f} s", flush=True)
        if stage.step % 300 == 0 or stage.step == steps:
            stage.swap()
            average, worst = psnr(vae, 16)
            stage.swap()
            print(f"decoder: step {stage.step} PSNR {average:.2f} dB, worst {worst:.2f} dB", flush=True)
    stage.save()


# ---- text encoder and transformer ----------------------------------------------------------------

PARTS = {"colour": 6, "shape": 3, "direction": 5, "background": 7}  # the last of 5 and 7: not named


class Pair(nn.Module):
    """What learns together. The heads only help the text encoder to begin with, and stay here."""

    def __init__(self):
        super().__init__()
        self.encoder = TextEncoder()
        self.denoiser = Transformer()
        self.heads = nn.ModuleDict({k: nn.Linear(96, n) for k, n in PARTS.items()})
        with torch.no_grad():
            self.denoiser.proj_out.weight.zero_()
            self.denoiser.proj_out.bias.zero_()
            self.denoiser.condition_embedder.time_proj.weight.mul_(0.3)
            for block in self.denoiser.blocks:
                block.scale_shift_table[:, [2, 5]] += 0.5  # gates ajar

    def losses(self, x, noise, sigma, ids, lengths, parts):
        s = sigma.view(-1, 1, 1, 1, 1)
        states = self.encoder(ids, lengths)
        v = self.denoiser((1 - s) * x + s * noise, 1000 * sigma, states, lengths)
        flow = ((v - (noise - x)) ** 2).mean(dim=(1, 2, 3, 4))
        return flow, self.named(states, lengths, parts)

    def named(self, states, lengths, parts):
        """Each part is read where it is asked for: colour and shape at the shape's word, background
        at that word (at </s> where there is none), direction at </s>. From a mean of the states the
        two colours of a caption are told apart only after thousands of steps."""
        rows = torch.arange(len(states))
        places = {"colour": parts["word"], "shape": parts["word"], "background": parts["ground"]}
        return sum(
            F.cross_entropy(
                self.heads[k](states[rows, places.get(k, lengths - 1)]), parts[k], ignore_index=-1
            )
            for k in PARTS
        )


def place_of(ids, words, end):
    """Where the first of the words stands in each row of ids, or end."""
    found = np.isin(ids.numpy(), words)
    return np.where(found.any(axis=1), found.argmax(axis=1), end)


def captions_of(clips, tokenizer, random):
    """ids, lengths and what the captions name; one caption in ten is empty and names nothing."""
    texts = shapes.draw_captions(clips, random)
    empty = random.random(len(texts)) < DROP
    parts = {k: np.full(len(texts), -1) for k in PARTS}
    for row, text in enumerate(texts):
        if not empty[row]:
            for (k, n), value in zip(PARTS.items(), shapes.parse(text)):
                parts[k][row] = n - 1 if value is None else value
    ids, lengths = tokenizer(["" if e else t for e, t in zip(empty, texts)])
    end = (lengths - 1).numpy()
    parts["word"] = place_of(ids, tokenizer.ids(shapes.SHAPES), end)
    parts["ground"] = place_of(ids, tokenizer.ids(["background"]), end)
    return ids, lengths, {k: torch.from_numpy(v) for k, v in parts.items()}


def batch_of(step, data, tokenizer):
    random = np.random.default_rng((SEED, 9, step))
    i = random.integers(len(data["x"]), size=BATCH)
    ids, lengths, parts = captions_of(shapes.pick(data["clips"], i), tokenizer, random)
    # logit-normal, in even strata so that every step sees all noise levels, then shifted
    u = torch.from_numpy((random.permutation(BATCH) + random.random(BATCH)) / BATCH)
    u = torch.sigmoid(torch.special.ndtri(u.clamp(1e-4, 1 - 1e-4))).float()
    sigma = SHIFT * u / (1 + (SHIFT - 1) * u)
    noise = torch.from_numpy(random.standard_normal(data["x"][i].shape, dtype=np.float32))
    return data["x"][i], noise, sigma, ids, lengths, parts


def load_latents(folder):
    data = torch.load(os.path.join(folder, "latents.pt"), weights_only=True)
    data["clips"] = {k: v.numpy() for k, v in data["clips"].items()}
    return data


def teach_names(pair, tokenizer, steps):
    """Seconds well spent: the text encoder learns which colour is the shape's and which the
    background's before the transformer listens to it."""
    tables = [p for k, p in pair.encoder.named_parameters() if "relative" in k]
    known = {id(p) for p in tables}
    others = [p for p in pair.encoder.parameters() if id(p) not in known]
    others += list(pair.heads.parameters())
    groups = [{"params": others, "lr": 1e-3}, {"params": tables, "lr": 2e-2}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(steps):
        random = np.random.default_rng((SEED, 7, step))
        ids, lengths, parts = captions_of(shapes.draw_clips(48, random), tokenizer, random)
        loss = pair.named(pair.encoder(ids, lengths), lengths, parts)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0 or step + 1 == steps:
            print(f"names: step {step} loss {loss.item():.4f}", flush=True)


def train_dit(folder, steps):
    torch.manual_seed(SEED)
    data = load_latents(folder)
    tokenizer = captions.Tokenizer()
    vae = load_vae(folder)
    pair = Pair()
    if not os.path.exists(os.path.join(folder, "dit.pt")):
        teach_names(pair, tokenizer, NAME_STEPS)
    # Attention of T5 has no 1/sqrt(width): Muon's steps would saturate the encoder's within hundreds.
    stage = Stage(folder, "dit", pair, steps, (0.02, 2e-3), 0.995, ("encoder.", "heads."))
    mean = np.zeros(3)
    while stage.step < steps:
        x, noise, sigma, ids, lengths, parts = batch_of(stage.step, data, tokenizer)
        flow, named = pair.losses(x, noise, sigma, ids, lengths, parts)
        stage.update(flow.mean() + 0.1 * named)
        high = flow.detach()[sigma > 0.85].mean().item()
        now = np.array([flow.mean().item(), high, named.item()])
        mean = 0.97 * mean + 0.03 * now if mean.any() else now
        if stage.step % 100 == 0:
            print(
                f"dit: step {stage.step} loss {mean[0]:.4f}, noisy {mean[1]:.4f}, names {mean[2]:.4f}"
                f" {stage.spent():.0f} s",
                flush=True,
            )
        if stage.step % 500 == 0 or stage.step == steps:
            stage.save()
            stage.swap()
            texts = prompts()
            video = generate(pair, vae, data, tokenizer, texts, [1], GUIDANCE)
            seen = [shapes_scorer(clip) for clip in video]
            print(f"dit: step {stage.step} guidance {GUIDANCE} {shapes.score(seen, texts)}", flush=True)
            stage.swap()
    stage.save()


# ---- scores --------------------------------------------------------------------------------------

shapes_scorer = shapes.Scorer()


def prompts():
    with open(os.path.join(HERE, "prompts.txt"), encoding="utf-8") as f:
        return f.read().splitlines()


@torch.no_grad()
def generate(pair, vae, data, tokenizer, texts, seeds, guidance):
    """Clips [texts * seeds, 3, frames, rows, columns] in 0..1, all seeds of a text in a row."""
    ids, lengths = tokenizer(texts)
    states = pair.encoder(ids, lengths)
    empty_ids, empty_length = tokenizer([""])
    empty = F.pad(pair.encoder(empty_ids, empty_length), (0, 0, 0, states.shape[1] - 1))
    states = states.repeat_interleave(len(seeds), dim=0)
    lengths = lengths.repeat_interleave(len(seeds))
    noise = torch.from_numpy(
        np.concatenate(
            [
                np.random.default_rng((seed, i)).standard_normal(
                    (1, *data["x"].shape[1:]), dtype=np.float32
                )
                for i in range(len(texts))
                for seed in seeds
            ]
        )
    )
    video = []
    for i in range(0, len(noise), 24):
        part = slice(i, i + 24)
        velocity = sampler.guided(
            pair.denoiser, states[part], lengths[part], empty, empty_length, guidance
        )
        z = sampler.sample(velocity, noise[part], SAMPLING_STEPS, SHIFT)[-1]
        z = z * data["std"].view(-1, 1, 1, 1) + data["mean"].view(-1, 1, 1, 1)
        for j in range(0, len(z), 4):
            y = vae.decode(z[j : j + 4].contiguous(memory_format=torch.channels_last_3d))
            video.extend(y.clamp(-1, 1).add(1).div(2).numpy())
    return np.stack(video)


def load_pair(folder):
    state = torch.load(os.path.join(folder, "dit.pt"), weights_only=True)
    return stored(Pair(), state["slow"])


def strip(path, clips, columns=(0, 4, 8, 12, 16)):
    from PIL import Image

    rows = [np.concatenate([clip[:, t] for t in columns], axis=2) for clip in clips]
    picture = np.concatenate(rows, axis=1).transpose(1, 2, 0)
    Image.fromarray((picture * 255 + 0.5).astype(np.uint8)).save(path)


def scores(folder):
    tokenizer = captions.Tokenizer()
    data, vae, pair = load_latents(folder), load_vae(folder), load_pair(folder)
    texts = prompts()
    clips, _ = clips_of("test", 1, 300)
    named = [
        shapes.caption(*(clips[k][i] for k in ("colour", "shape", "direction", "background")))
        for i in range(300)
    ]
    truth, again, error = reconstruct(vae, clips)
    seen = [shapes_scorer(clip) for clip in truth]
    print("score: truth", shapes.score(seen, named), flush=True)
    print("score: captions shuffled", shapes.score(seen, named[1:] + named[:1]), flush=True)
    seen = [shapes_scorer(clip) for clip in again]
    print("score: reconstructions", shapes.score(seen, named), flush=True)
    print(f"score: reconstructions PSNR {np.mean(error):.2f} dB, worst {np.min(error):.2f}", flush=True)
    for guidance in (1.0, 2.0, 3.0, 5.0):
        video = generate(pair, vae, data, tokenizer, texts, (1, 2, 3), guidance)
        seen = [shapes_scorer(clip) for clip in video]
        print(
            f"score: generated, guidance {guidance}",
            shapes.score(seen, [t for t in texts for _ in range(3)]),
            f"mean IoU {np.mean([s['iou'] for s in seen]):.3f}",
            flush=True,
        )
        strip(os.path.join(folder, f"strip-{guidance:g}.png"), video[::3])


def write(folder):
    data, vae, pair = load_latents(folder), load_vae(folder), load_pair(folder)
    export(
        os.path.join(folder, "stardit-demo"),
        os.path.dirname(captions.SPIECE),
        vae,
        pair.encoder,
        pair.denoiser,
        [round(v, 4) for v in data["mean"].tolist()],
        [round(v, 4) for v in data["std"].tolist()],
        GUIDANCE,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="checkpoints of the training, to go on from")
    parser.add_argument("--stage", default="all")
    parser.add_argument("--vae-steps", type=int, default=VAE_STEPS)
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--decoder-steps", type=int, default=DECODER_STEPS)
    parser.add_argument("--dit-steps", type=int, default=DIT_STEPS)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    os.makedirs(arguments.folder, exist_ok=True)

    def wanted(stage):
        if arguments.stage not in ("all", stage):
            return False
        print(time.strftime("%H:%M:%S"), stage, flush=True)
        return True

    if wanted("vae"):
        train_vae(arguments.folder, arguments.vae_steps)
    if wanted("latents"):
        make_latents(arguments.folder, arguments.clips)
    if wanted("decoder"):
        train_decoder(arguments.folder, arguments.decoder_steps)
    if wanted("dit"):
        train_dit(arguments.folder, arguments.dit_steps)
    if wanted("export"):
        write(arguments.folder)
    if wanted("score"):
        scores(arguments.folder)


if __name__ == "__main__":
    main()
