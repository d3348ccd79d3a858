"""The world of the demo checkpoint: one flat shape that moves over a flat background.

Grammar, renderer and scorer, in numpy alone. checkpoints/README.md states the same rules in words; what
is written there is what counts, and this file follows it. Nothing is read from elsewhere: clips are
drawn by program from a seeded generator, so the data set is this file.

    python3 shapes.py      draws 300 clips and scores them: truth must score 100 %
"""

import re

import numpy as np

SIZE = 64  # pixels in a row and in a column
FRAMES = 17
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (40, 70, 220),
    "yellow": (240, 210, 40),
    "white": (245, 245, 245),
    "black": (15, 15, 15),
}
SHAPES = ("circle", "square", "triangle")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}

RADIUS = (12.0, 16.0)  # half the width of a shape
MARGIN = 1.0  # pixels between a shape and the border, at least
START = 5.0  # how far from its own side a shape may start
TRAVEL = 20.0  # pixels from the first to the last frame, at least
OUTLINE = 2.0  # pixels over which an outline fades
SQUARE = 0.9  # half a side of a square, in radii
OMIT = 0.3  # how often a caption leaves the background out, and how often the motion

PALETTE = np.array(list(COLOURS.values()), dtype=np.float32)
COLOUR_NAMES = tuple(COLOURS)
DIRECTION_NAMES = tuple(DIRECTIONS)
LEAST_MOTION = 8  # pixels between first and last position that count as motion


# ---- captions ------------------------------------------------------------------------------------


def caption(colour, shape, direction=None, background=None):
    """Indices into COLOUR_NAMES, SHAPES, DIRECTION_NAMES, COLOUR_NAMES; None leaves a part out."""
    text = f"a {COLOUR_NAMES[colour]} {SHAPES[shape]}"
    if direction is not None:
        text += f" moving {DIRECTION_NAMES[direction]}"
    if background is not None:
        text += f" over a {COLOUR_NAMES[background]} background"
    return text


PATTERN = re.compile(
    rf"a ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
    rf"(?: moving ({'|'.join(DIRECTIONS)}))?(?: over a ({'|'.join(COLOURS)}) background)?"
)


def parse(text):
    """The inverse of caption: (colour, shape, direction or None, background or None)."""
    found = PATTERN.fullmatch(text.strip())
    if not found:
        raise ValueError(f"not a caption: {text!r}")
    colour, shape, direction, background = found.groups()
    return (
        COLOUR_NAMES.index(colour),
        SHAPES.index(shape),
        DIRECTION_NAMES.index(direction) if direction else None,
        COLOUR_NAMES.index(background) if background else None,
    )


# ---- clips ---------------------------------------------------------------------------------------


def draw_clips(count, random):
    """Parameters of clips: {name: array [count]}; x0, y0 = centre in frame 0, dx, dy per frame."""
    colour = random.integers(len(COLOURS), size=count)
    other = random.integers(len(COLOURS) - 1, size=count)
    radius = random.uniform(*RADIUS, size=count)
    direction = random.integers(len(DIRECTIONS), size=count)
    near = radius + MARGIN
    span = SIZE - 2 * near  # what the centre can travel
    start = random.uniform(0, START, size=count)
    travel = random.uniform(TRAVEL, span - start)
    across = near + random.uniform(size=count) * span
    unit = np.array(list(DIRECTIONS.values()))[direction]  # [count, 2]
    forwards = unit.sum(axis=1)
    begin = np.where(forwards > 0, near + start, SIZE - near - start)
    along_x = unit[:, 0] != 0
    return {
        "colour": colour,
        "shape": random.integers(len(SHAPES), size=count),
        "direction": direction,
        "background": other + (other >= colour),
        "radius": radius,
        "x0": np.where(along_x, begin, across),
        "y0": np.where(along_x, across, begin),
        "dx": unit[:, 0] * travel / (FRAMES - 1),
        "dy": unit[:, 1] * travel / (FRAMES - 1),
    }


def pick(clips, index):
    return {name: value[index] for name, value in clips.items()}


def draw_captions(clips, random):
    """One caption per clip, with background and motion left out at random."""
    count = len(clips["colour"])
    no_motion = random.random(count) < OMIT
    no_background = random.random(count) < OMIT
    return [
        caption(
            clips["colour"][i],
            clips["shape"][i],
            None if no_motion[i] else clips["direction"][i],
            None if no_background[i] else clips["background"][i],
        )
        for i in range(count)
    ]


def distances(x, y, radius):
    """Signed distances (negative inside) of points, relative to the centre, from the three shapes."""
    circle = np.sqrt(x * x + y * y) - radius
    square = np.maximum(np.abs(x), np.abs(y)) - SQUARE * radius
    # apex (0, -r), base from (-r, r) to (r, r): the slanted sides have the normals (+-2, -1)/sqrt(5)
    triangle = np.maximum((2 * np.abs(x) - y - radius) / np.float32(np.sqrt(5)), y - radius)
    return circle, square, triangle


def render(clips, frames=FRAMES, first=None, width=SIZE, left=None, top=None):
    """Pixels [count, 3, frames, width, width] within 0..1.

    first, left, top [count] choose a window: frames from first, columns from left, rows from top.
    Coverage of a pixel = clamp(0.5 - distance of its centre from the outline / OUTLINE, 0, 1).
    """
    count = len(clips["colour"])
    zero = np.zeros(count)
    grid = np.arange(width) + 0.5
    t = np.arange(frames) + (zero if first is None else first)[:, None]  # [count, frames]
    x = grid + (zero if left is None else left)[:, None]  # [count, width]
    y = grid + (zero if top is None else top)[:, None]
    cx = clips["x0"][:, None] + clips["dx"][:, None] * t
    cy = clips["y0"][:, None] + clips["dy"][:, None] * t
    px = (x[:, None] - cx[:, :, None])[:, :, None, :].astype(np.float32)
    py = (y[:, None] - cy[:, :, None])[:, :, :, None].astype(np.float32)
    cover = np.empty((count, frames, width, width), dtype=np.float32)
    for s in range(len(SHAPES)):
        i = np.flatnonzero(clips["shape"] == s)
        if len(i):
            radius = clips["radius"][i].astype(np.float32)[:, None, None, None]
            cover[i] = distances(px[i], py[i], radius)[s]
    cover = np.clip(0.5 - cover / OUTLINE, 0, 1)[:, None]
    front = PALETTE[clips["colour"]][:, :, None, None, None] / 255
    back = PALETTE[clips["background"]][:, :, None, None, None] / 255
    return back + (front - back) * cover


# ---- the scorer ----------------------------------------------------------------------------------


class Scorer:
    """Says what a clip shows, by laying templates over it.

    In the first, the middle and the last frame every pixel becomes the nearest of the six colours.
    A colour's mask is compared with the three shapes of radius 12..16 at every whole position by
    IoU; the (colour, shape) with the largest sum over the three frames of the best IoU is what the
    clip shows. Its positions in the first and in the last frame give the direction.
    """

    def __init__(self):
        middle = SIZE // 2
        grid = np.arange(SIZE) + 0.5 - middle
        self.radii = np.arange(int(RADIUS[0]), int(RADIUS[1]) + 1)
        masks = [distances(grid[None, :], grid[:, None], float(r)) for r in self.radii]
        masks = np.array(masks).transpose(1, 0, 2, 3) < 0  # [shape, radius, row, column]
        self.area = masks.sum(axis=(2, 3)).astype(np.float32)
        moved = np.roll(masks, (-middle, -middle), axis=(2, 3)).astype(np.float32)
        self.spectrum = np.conj(np.fft.rfft2(moved))
        at = np.arange(SIZE)
        inside = (at >= self.radii[:, None]) & (at <= SIZE - self.radii[:, None])
        self.inside = inside[:, :, None] & inside[:, None, :]  # [radius, row, column]

    def frame(self, pixels):
        """pixels [3, SIZE, SIZE] in 0..1 -> best IoU [colour, shape], position [colour, shape, 2]."""
        difference = pixels[None] * 255 - PALETTE[:, :, None, None]
        nearest = (difference**2).sum(axis=1).argmin(axis=0)
        masks = (nearest[None] == np.arange(len(PALETTE))[:, None, None]).astype(np.float32)
        product = np.fft.rfft2(masks)[:, None, None] * self.spectrum[None]
        both = np.fft.irfft2(product, s=(SIZE, SIZE))  # [colour, shape, radius, row, column]
        union = masks.sum(axis=(1, 2))[:, None, None] + self.area[None]
        iou = both / (union[..., None, None] - both)
        iou = np.where(self.inside, iou, 0).reshape(len(PALETTE), len(SHAPES), -1)
        best = iou.argmax(axis=-1)
        _, row, column = np.unravel_index(best, (len(self.radii), SIZE, SIZE))
        return iou.max(axis=-1), np.stack([column, row], axis=-1), masks.sum(axis=(1, 2))

    def __call__(self, video):
        """video [3, frames, SIZE, SIZE] in 0..1 -> dict of indices; direction None = no motion."""
        at = (0, video.shape[1] // 2, video.shape[1] - 1)
        iou, position, area = zip(*(self.frame(video[:, t]) for t in at))
        total = sum(iou)
        colour, shape = np.unravel_index(total.argmax(), total.shape)
        move = position[-1][colour, shape] - position[0][colour, shape]
        axis = int(abs(move[1]) > abs(move[0]))
        direction = None
        if abs(move[axis]) >= LEAST_MOTION:
            unit = [0, 0]
            unit[axis] = int(np.sign(move[axis]))
            direction = list(DIRECTIONS.values()).index(tuple(unit))
        area = sum(area)
        area[colour] = -1
        return {
            "colour": int(colour),
            "shape": int(shape),
            "direction": direction,
            "background": int(area.argmax()),
            "iou": float(total[colour, shape] / len(at)),
        }


def score(seen, texts):
    """How many of what was seen are what the texts say: {part: (right, asked)}."""
    right = {}
    for found, text in zip(seen, texts):
        for part, want in zip(("colour", "shape", "direction", "background"), parse(text)):
            if want is not None:
                good, asked = right.get(part, (0, 0))
                right[part] = (good + (found[part] == want), asked + 1)
    return right


def main():
    random = np.random.default_rng(1)
    clips = draw_clips(300, random)
    texts = [
        caption(*(clips[k][i] for k in ("colour", "shape", "direction", "background")))
        for i in range(300)
    ]
    assert all(caption(*parse(text)) == text for text in texts)
    scorer = Scorer()
    seen = [scorer(video) for video in render(clips)]
    print("truth", score(seen, texts), "mean IoU", np.mean([s["iou"] for s in seen]))
    print("captions shuffled", score(seen, texts[1:] + texts[:1]))


if __name__ == "__main__":
    main()
