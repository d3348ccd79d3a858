#!/usr/bin/env python3
"""arrivals.py NAME: a trace of requests for stardit-simulate --arrivals, on standard output.

inflight-burst, foreground-burst and tridentserve are those that GF-DiT's benchmarks draw; poisson RATE SECONDS SEED
draws as many a minute for so long, with the classes of tridentserve's first phase. genserve is drawn as GENSERVE's
paper (arXiv 2604.04335) says of its own: 50 videos of Wan 2.2 5B and 50 images of Stable Diffusion 3.5, 24 a minute;
genserve RATE SEED draws another.
"""

import math
import random
import sys

CLASSES = {"S": (25, 39.9, 1.5), "M": (50, 504.0, 2), "L": (100, 1001.6, 6)}  # steps, seconds, deadline
# seed, then phases: from, to, requests a minute, shares of S, M, L
TRACES = {
    "inflight-burst": (0, [(0, 300, .6, (0, 0, 1)), (600, 780, 4, (1, 0, 0))]),
    "foreground-burst": (1, [(0, 180, .5, (0, .4, .6)), (180, 360, 3, (.85, .1, .05)), (360, 900, .8, (.3, .3, .4)),
                             (900, 1080, 3, (.85, .1, .05)), (1080, 1800, .5, (.4, .3, .3))]),
    "tridentserve": (1, [(0, 600, .8, (.5, .35, .15)), (600, 1500, 1.4, (.35, .4, .25)), (1500, 2400, 2.4, (.5, .3, .2)),
                         (2400, 3000, 1.2, (.2, .35, .45)), (3000, 3600, .6, (.55, .35, .1))]),
}


def draw(seed, phases):
    """Exponential gaps; the gap that leaves a phase is used up, its class is not drawn."""
    numbers, arrivals = random.Random(seed), []
    for begin, end, rate, shares in phases:
        at = begin
        while True:
            at += -math.log(numbers.random() or 1e-12) / (rate / 60)
            if at >= end:
                break
            x, sum_ = numbers.random() * sum(shares), 0.0
            for name, share in zip(CLASSES, shares):
                sum_ += share
                if sum_ >= x:
                    break
            arrivals.append((at, name))
    return sorted(arrivals)


# Of the paper: how much faster a step is on 2, 4 and 8 devices, and the times on one, of videos of 256p, 480p and 720p
# (table 2: denoising; text and decode) times VIDEO, which makes their mean the 43 s that its text says of the runs;
# of images those that its deadlines of 2 to 8 s say.
VIDEO, GENSERVE = 1.776, {
    "V256": (50, 4.41, .37, (1.6, 1.7, .9)), "V480": (50, 16.03, 1.04, (2.0, 3.5, 3.4)), "V720": (50, 50.0, 2.5, (2.0, 3.9, 7.0)),
    "I720": (28, 1.33, 0, ()), "I1024": (28, 2.6, 0, ()), "I1440": (28, 5.33, 0, ())}


def draw_genserve(rate, seed):
    """In turns drawn at random, with sizes that are alike frequent."""
    numbers = random.Random(seed)
    kinds = ["V"] * 50 + ["I"] * 50
    for i in range(len(kinds) - 1, 0, -1):
        j = int(numbers.random() * (i + 1))
        kinds[i], kinds[j] = kinds[j], kinds[i]
    at = 0.0
    for kind in kinds:
        at += -math.log(1 - numbers.random()) * 60 / rate
        yield at, [name for name in GENSERVE if name[0] == kind][int(numbers.random() * 3)]


def print_genserve(rate, seed):
    print(f"# {' '.join(sys.argv[1:])}, as tools/arrivals.py draws it")
    for name, (steps, seconds, rest, faster) in GENSERVE.items():
        if name[0] == "V":
            seconds *= VIDEO
        print(f"class {name} {steps} {seconds:g} 1.5", *([0, rest] if faster else []), *faster)
    for at, name in draw_genserve(rate, seed):
        print(f"{at:.3f} {name}")


if sys.argv[1:2] == ["genserve"] and len(sys.argv) in (2, 4):
    print_genserve(*([float(sys.argv[2]), int(sys.argv[3])] if len(sys.argv) == 4 else [24, 69]))
    sys.exit(0)
if len(sys.argv) == 5 and sys.argv[1] == "poisson":
    rate, seconds, seed = float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    trace = draw(seed, [(0, seconds, rate, (.5, .35, .15))])
elif len(sys.argv) == 2 and sys.argv[1] in TRACES:
    trace = draw(*TRACES[sys.argv[1]])
else:
    sys.exit(f"usage: {sys.argv[0]} {'|'.join(TRACES)}|genserve, poisson RATE SECONDS SEED or genserve RATE SEED")
print(f"# {' '.join(sys.argv[1:])}, as tools/arrivals.py draws it")
for name, (steps, seconds, factor) in CLASSES.items():
    print(f"class {name} {steps} {seconds} {factor}")
for at, name in trace:
    print(f"{at:.6f} {name}")
