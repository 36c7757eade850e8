"""Generated clips for VD-IT: coloured squares drift over a plain ground, the text, one word, names one by its side."""

from __future__ import annotations

from typing import Any

import numpy as np

COLOURS = {"red": (230, 30, 40), "green": (30, 200, 60), "blue": (40, 60, 235), "yellow": (235, 220, 40)}
TRAIN, TEST = 1_000_000, 2_000_000
"""First seeds of two families of clips; every clip has a seed, and thus a generator, of its own."""


def scene(seed: int, *, frames: int = 2, side: int = 64, square: int = 22) -> dict[str, Any]:
    """One clip: frames uint8 [T, side, side, 3], masks bool [T, side, side], text; "other" names the other side."""
    draw = np.random.default_rng(seed)
    names = [str(name) for name in draw.choice(list(COLOURS), 2, replace=False)]
    pixels = np.full((frames, side, side, 3), draw.integers(90, 140), np.uint8)
    masks = np.zeros((2, frames, side, side), bool)
    left = int(draw.integers(0, 2))  # one square in each half, so that neither hides the other
    for number, name in enumerate(names):
        half = side // 2
        x = half * ((left + number) % 2) + float(draw.integers(0, half - square - 2))
        y, step = float(draw.integers(4, side - square - 4)), float(draw.integers(-3, 4))
        for t in range(frames):
            top = round(y + step * t)
            place = (slice(max(0, top), top + square), slice(round(x), round(x) + square))
            pixels[(t, *place)] = COLOURS[name]
            masks[(number, t, *place)] = True
    texts = ["left", "right"] if left == 0 else ["right", "left"]
    return {"frames": pixels, "masks": masks[0], "text": texts[0], "other": texts[1]}
