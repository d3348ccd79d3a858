"""What the training stages share: a folder that a stopped run goes on from."""

import math
import os
import signal
import time

import torch
from muon import Muon

SAVE_EVERY = 600  # seconds


def channels_last(module):
    """Weights of convolutions in the order that is twice as fast on CPUs; names and values stay."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv3d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last_3d)
        elif isinstance(layer, torch.nn.Conv2d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    return module


class Stage:
    """Model, its moving average, optimizer and step of one stage, saved under folder/name.pt.

    Every step draws from generators seeded by (seed, step) alone, so that a run that was stopped
    and went on has drawn the same data as one that was not.
    """

    def __init__(self, folder, name, model, steps, rates, average, adam=(), warmup=30, floor=0.01):
        """rates: of Muon, for matrices and convolutions, and of AdamW, for all else and for
        parameters whose names begin with one of adam."""
        self.path = os.path.join(folder, name + ".pt")
        self.name, self.model, self.steps = name, model, steps
        self.rates, self.average, self.warmup, self.floor = rates, average, warmup, floor
        matrices, others = [], []
        for label, p in model.named_parameters():
            wide = p.dim() > 1 and p.shape[0] > 1 and p[0].numel() > 1
            plain = p.numel() < 48 or "table" in label or label.startswith(adam)
            (matrices if wide and not plain else others).append(p)
        self.optimizers = [
            Muon(matrices, lr=rates[0]),
            torch.optim.AdamW(others, lr=rates[1], betas=(0.9, 0.99), weight_decay=0.0),
        ]
        self.slow = [p.detach().clone() for p in model.parameters()]
        self.step, self.seconds = 0, 0.0
        self.begun = self.saved = time.time()
        self.stopped = False
        signal.signal(signal.SIGTERM, self.stop)
        if os.path.exists(self.path):
            self.load()

    def stop(self, *_):
        """SIGTERM: save after the step that is under way, then end."""
        self.stopped = True

    def load(self):
        state = torch.load(self.path, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        self.slow = state["slow"]
        self.step, self.seconds = state["step"], state["seconds"]
        print(f"{self.name}: goes on after step {self.step}, {self.seconds:.0f} s", flush=True)

    def save(self):
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "slow": self.slow,
            "step": self.step,
            "seconds": self.spent(),
        }
        torch.save(state, self.path + ".part")
        os.replace(self.path + ".part", self.path)
        self.saved = time.time()

    def spent(self):
        return self.seconds + time.time() - self.begun

    def update(self, loss):
        """One step: warm-up, cosine; then the moving average."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(self.step / self.steps, 1.0)))
        factor = min(1.0, (self.step + 1) / self.warmup)
        factor *= self.floor + (1 - self.floor) * cosine
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer, rate in zip(self.optimizers, self.rates):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.step()
        weight = 1 - min(self.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.slow, [p.detach() for p in self.model.parameters()], weight)
        self.step += 1
        if self.stopped or time.time() - self.saved > SAVE_EVERY:
            self.save()
        if self.stopped:
            raise SystemExit(f"{self.name}: stopped after step {self.step}")

    def swap(self):
        """Exchanges the weights and their moving average; call it twice."""
        for parameter, slow in zip(self.model.parameters(), self.slow):
            held = parameter.detach().clone()
            parameter.data.copy_(slow)
            slow.copy_(held)
