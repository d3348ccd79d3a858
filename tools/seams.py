#!/usr/bin/env python3
"""Do blocks of frames fit? Mean difference of neighbouring frames' luma, of 255, where a block begins and elsewhere:

    stardit-generate --strategy dualparal --output long.y4m ...
    tools/seams.py long.y4m --first 61 --every 32

--every: --block-frames. --first: the first frame that is the second block's own, --block-frames and --overlap-frames
less 3, for the first frame of a latent stands for one and the others for four. By default 32 and 32: 61.
"""
import argparse
import sys


def lumas(path):
    """The luma plane of each frame of a y4m file in 4:2:0."""
    with open(path, "rb") as file:
        words = file.readline().split()
        if words[:1] != [b"YUV4MPEG2"]:
            sys.exit(f"{path}: no y4m file")
        width, height = (int(next(w for w in words if w[:1] == letter)[1:]) for letter in (b"W", b"H"))
        chroma = 2 * ((width + 1) // 2) * ((height + 1) // 2)
        while file.readline().startswith(b"FRAME"):
            yield file.read(width * height)
            file.read(chroma)


def main():
    parser = argparse.ArgumentParser(description="Mean difference of neighbouring frames where blocks begin.")
    parser.add_argument("video")
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--every", type=int, required=True)
    options = parser.parse_args()
    borders, others, before = [], [], None
    for number, luma in enumerate(lumas(options.video)):
        if before:
            mean = sum(abs(a - b) for a, b in zip(luma, before)) / len(luma)
            begins = number >= options.first and (number - options.first) % options.every == 0
            (borders if begins else others).append(mean)
        before = luma
    for name, means in (("where a block begins", borders), ("elsewhere", others)):
        if means:
            print(f"{name}: {sum(means) / len(means):.2f} ({len(means)})")


if __name__ == "__main__":
    main()
