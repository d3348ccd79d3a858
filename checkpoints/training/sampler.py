"""From captions to clips with the trained parts: UniPC of second order (bh2) for flows, guidance."""

import math

import numpy as np
import torch

TIMESTEPS = 1000


def schedule(steps, shift):
    """Noise levels, 0 last, in float32, and the whole timesteps that the transformer is told."""
    even = 1 + (1 / TIMESTEPS - 1) * np.arange(steps) / steps
    sigmas = shift * even / (1 + (shift - 1) * even)
    sigmas[0] = min(sigmas[0], 1 - 1e-6)
    times = (sigmas * TIMESTEPS).astype(np.int64)
    return np.append(sigmas, 0.0).astype(np.float32), times


def predict(x, source, target, m0, m1, before, mt=None):
    """The solver's move from noise level source to target.

    m0: clean estimate at source; m1: at the level before it, or None (first order); mt: at the
    target, if known (the corrector), else None (the predictor).
    """

    def level(s):
        return math.log(1 - s) - math.log(s) if s > 0 else math.inf

    if target == 0:
        return m0
    h = level(target) - level(source)
    a = math.expm1(-h)
    change = 0.0
    if m1 is not None:
        r = (level(before) - level(source)) / h
        older = (m1 - m0) / r
    if mt is None:
        if m1 is not None:
            change = 0.5 * older
    elif m1 is None:
        change = 0.5 * (mt - m0)
    else:
        phi1 = a / -h - 1
        phi2 = phi1 / -h - 0.5
        b1, b2 = phi1 / a, 2 * phi2 / a
        rho = (b1 - b2) / (1 - r)
        change = rho * older + (b1 - rho) * (mt - m0)
    return target / source * x - (1 - target) * a * (m0 + change)


@torch.no_grad()
def sample(velocity, noise, steps=20, shift=3.0):
    """velocity(x, timestep) -> v; noise = latents of level 1. Returns the latents after every step."""
    sigmas, times = schedule(steps, shift)
    sigmas = [float(s) for s in sigmas]
    x, last, clean, order, trail = noise, None, [], 0, []
    for i in range(steps):
        estimate = x - sigmas[i] * velocity(x, int(times[i]))
        if i > 0:  # correct the move that led here, of the order it was made with
            m1 = clean[-2] if order == 2 else None
            before = sigmas[i - 2] if order == 2 else None
            x = predict(last, sigmas[i - 1], sigmas[i], clean[-1], m1, before, estimate)
        clean.append(estimate)
        order = min(2, steps - i, i + 1)
        m1 = clean[-2] if order == 2 else None
        before = sigmas[i - 1] if order == 2 else None
        last = x
        x = predict(x, sigmas[i], sigmas[i + 1], estimate, m1, before)
        trail.append(x)
    return trail


def guided(transformer, states, lengths, empty, empty_length, scale):
    """The velocity for a batch of captions; scale 1 = without guidance."""

    def velocity(x, time):
        t = torch.full((len(x),), float(time))
        v = transformer(x, t, states, lengths)
        if scale == 1.0:
            return v
        none = empty.expand(len(x), -1, -1)
        u = transformer(x, t, none, empty_length.expand(len(x)))
        return u + scale * (v - u)

    return velocity
