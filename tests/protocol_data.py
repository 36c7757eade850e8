"""Small videos with several objects for the tests of protocols, from integer arithmetic only; no refvps here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (40, 56)


class Numbers:
    """A linear congruential generator: the same numbers on every machine, for ever."""

    def __init__(self, seed: int) -> None:
        self.state = 2 * seed + 1

    def below(self, limit: int) -> int:
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (self.state >> 33) % limit

    def between(self, low: int, high: int) -> int:
        return low + self.below(high - low + 1)


def disc(size, y, x, radius):
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def save(path: Path, image, mode="P") -> Path:
    """A label image as a palette (P), grey (L) or 1-bit PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "1":
        Image.fromarray(image > 0).save(path)
        return path
    picture = Image.fromarray(image.astype(np.uint8))
    if mode == "P":
        picture.putpalette([v for k in range(256) for v in (k * 37 % 256, k * 91 % 256, 0)])
    picture.save(path)
    return path


def write(root: Path, videos, mode="P") -> Path:
    """``videos``: {name: [label image per frame]} as ``root/<video>/<frame>.png``."""
    for video, frames in videos.items():
        for t, image in enumerate(frames):
            save(root / video / f"{t:05d}.png", image, mode)
    return root


def write_folders(root: Path, videos, value=255, mode="L") -> Path:
    """``videos``: {name: {object: [bool image per frame]}} as ``root/<video>/<object>/<frame>.png``."""
    for video, objects in videos.items():
        for name, frames in objects.items():
            for t, image in enumerate(frames):
                save(root / video / name / f"{t:05d}.png", image.astype(np.uint8) * value, mode)
    return root


def drawn(seed, objects, frames=7, size=SIZE, void=False):
    """Label images of one video and of a prediction of it.

    ``objects``: {id in the ground truth: (id in the prediction or 0, first frame, last frame)}; id 0 in the ground
    truth is something that only the prediction shows. Later ids are drawn over earlier ones.
    """
    numbers = Numbers(seed)
    truth = [np.zeros(size, np.uint8) for _ in range(frames)]
    guess = [np.zeros(size, np.uint8) for _ in range(frames)]
    for k, (label, (answer, first, last)) in enumerate(objects):
        y, x = numbers.between(6, size[0] - 7), numbers.between(6, size[1] - 7)
        radius = numbers.between(4, 9)
        for t in range(frames):
            y, x = y + numbers.between(-2, 2), x + numbers.between(-2, 2)
            dy, dx, dr = numbers.between(-2, 2), numbers.between(-2, 2), numbers.between(-1, 1)
            if label and first <= t <= last:
                truth[t][disc(size, y, x, radius)] = label
            if answer and first - k % 2 <= t <= last + k % 3:
                guess[t][disc(size, y + dy, x + dx, radius + dr)] = answer
    if void:
        for t, image in enumerate(truth):
            image[14 + t % 5 : 20 + t % 5, 8:44] = 255
    return truth, guess


ALWAYS = (0, 99)
SHAPES = {
    "plain": {
        "judo": (1, [(1, (1, *ALWAYS)), (2, (2, *ALWAYS))], {}),
        "bike": (2, [(1, (1, *ALWAYS)), (2, (2, *ALWAYS)), (3, (3, 0, 4))], {}),
        "camel": (3, [(1, (1, *ALWAYS))], {"frames": 9}),
    },
    "void": {
        "judo": (4, [(1, (1, *ALWAYS)), (2, (2, *ALWAYS))], {"void": True}),
        "bike": (5, [(1, (1, *ALWAYS)), (2, (2, 0, 3))], {"void": True, "frames": 6}),
    },
    "gaps": {  # 2 is never there, 5 appears after the first frame, 3 goes and the prediction of 1 is missing
        "judo": (6, [(1, (0, *ALWAYS)), (3, (3, 0, 3)), (5, (2, 3, 99))], {}),
        "bike": (7, [(2, (2, *ALWAYS)), (4, (0, 2, 5))], {"void": True}),
    },
    "swap": {  # predictions in another order, one too many, one too few
        "judo": (8, [(1, (2, *ALWAYS)), (2, (1, *ALWAYS))], {}),
        "bike": (9, [(1, (3, *ALWAYS)), (2, (4, *ALWAYS)), (0, (1, 0, 3)), (0, (2, *ALWAYS))], {}),
        "camel": (10, [(1, (0, *ALWAYS)), (2, (1, *ALWAYS)), (3, (2, *ALWAYS))], {}),
    },
    "long": {"judo": (11, [(1, (1, 0, 180)), (2, (2, 0, 296))], {"frames": 300, "size": (14, 18)})},
}
"""Data sets by name: {video: (seed, objects, options of drawn)}."""


def data_set(name):
    """{video: ground truth}, {video: prediction} of one of ``SHAPES``."""
    truth, guess = {}, {}
    for video, (seed, objects, options) in SHAPES[name].items():
        truth[video], guess[video] = drawn(seed, objects, **options)
    return truth, guess
