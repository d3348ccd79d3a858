"""Muon: momentum whose matrices are made orthogonal before the step; AdamW for all other tensors.

Of two steps in every direction of a weight matrix neither is larger than the other, so rare details
(edges, words) are learnt along with the common ones. Here that saves more than half of the steps.
"""

import torch


def orthogonal(g, rounds=5):
    """The nearest matrix with equal singular values, roughly, by a quintic Newton-Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = g if g.shape[0] <= g.shape[1] else g.T
    x = wide / (wide.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide is g else x.T


class Muon(torch.optim.Optimizer):
    """Matrices and convolutions; rate is the size of a step where the weights' own is about 1."""

    def __init__(self, parameters, lr=0.02, momentum=0.95, weight_decay=0.01):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                m = state["momentum"]
                m.lerp_(p.grad, 1 - group["momentum"])
                g = p.grad.lerp(m, group["momentum"]).flatten(1)
                step = orthogonal(g) * max(1.0, g.shape[0] / g.shape[1]) ** 0.5
                p.mul_(1 - group["lr"] * group["decay"])
                p.add_(step.view(p.shape), alpha=-group["lr"])
