"""What every generated clip is painted with: named colours, smooth noise, backdrops, layers.

Pixels are float32 in [0, 1], [T, H, W, 3]; a layer is its opacity [T, H, W] and its colours [T, H, W, 3].
Random numbers come from a numpy generator made of integers, never from a global state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

PALETTE: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.12, 0.12),
    "green": (0.15, 0.65, 0.20),
    "blue": (0.15, 0.25, 0.88),
    "yellow": (0.95, 0.87, 0.15),
    "orange": (0.97, 0.52, 0.08),
    "purple": (0.52, 0.18, 0.70),
    "white": (0.95, 0.95, 0.95),
    "black": (0.06, 0.06, 0.06),
}
"""Colour words and their centres, sRGB in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Layer:
    """Something painted over what lies below: ``opacity`` [T, H, W] in [0, 1], ``colours`` [T, H, W, 3], and
    ``extent`` [T, H, W], the pixels that belong to it."""

    opacity: Floats
    colours: Floats
    extent: Bools


@dataclass(frozen=True, eq=False)
class Scene:
    """A generated clip: ``frames`` uint8 [T, H, W, 3], one mask track, sentence and kind of sentence per target.

    ``masks`` is bool [N, T, H, W]: the visible part of each target.
    """

    frames: NDArray[np.uint8]
    masks: Bools
    texts: tuple[str, ...]
    kinds: tuple[str, ...]


def colour(rng: np.random.Generator, name: str) -> Floats:
    """A shade of the named colour, [3]."""
    return np.clip(np.float32(PALETTE[name]) + rng.uniform(-0.05, 0.05, 3), 0, 1).astype(np.float32)


def smooth_noise(rng: np.random.Generator, side: int, cells: int) -> Floats:
    """Noise [side, side] in [-1, 1], interpolated between ``cells`` + 1 random values per axis."""
    grid = rng.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32)
    place = np.linspace(0, cells, side, dtype=np.float32)
    low = np.minimum(place.astype(np.int64), cells - 1)
    part = place - low
    part = part * part * (3 - 2 * part)
    rows = grid[low] * (1 - part)[:, None] + grid[low + 1] * part[:, None]
    noise: Floats = rows[:, low] * (1 - part) + rows[:, low + 1] * part
    return noise


def backdrop(rng: np.random.Generator, side: int, avoid: Floats) -> Floats:
    """A still background [side, side, 3]: two muted tones, a gradient or a horizon, a texture.

    ``avoid`` [N, 3] are the colours of what will be painted; the tones keep a distance to them if they can.
    """
    tones = max((_tones(rng) for _ in range(6)), key=lambda pair: _distance(pair, avoid))
    y, x = (np.mgrid[:side, :side] / side).astype(np.float32)
    if rng.random() < 0.4:
        level = rng.uniform(0.3, 0.8) + 0.04 * smooth_noise(rng, side, 4)[:1]
        mix = np.clip((y - level) * side, 0, 1)
    else:
        angle = rng.uniform(0, 2 * np.pi)
        mix = np.clip(0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle), 0, 1)
    picture = tones[0] * (1 - mix[..., None]) + tones[1] * mix[..., None]
    rough = rng.uniform(0, 0.12) * smooth_noise(rng, side, int(rng.choice([3, 6, 12, 24])))
    fine = rng.normal(0, rng.uniform(0, 0.03), (side, side))
    return np.clip(picture + (rough + fine)[..., None], 0, 1).astype(np.float32)


def _tones(rng: np.random.Generator) -> Floats:
    base = rng.uniform(0.05, 0.9, (2, 1))
    if rng.random() < 0.5:
        base[1] = np.clip(base[0] + rng.uniform(-0.2, 0.2), 0, 1)
    return np.clip(base + rng.uniform(-0.12, 0.12, (2, 3)), 0, 1).astype(np.float32)


def _distance(tones: Floats, avoid: Floats) -> float:
    return float(np.linalg.norm(tones[:, None] - avoid[None], axis=-1).min())


def compose(background: Floats, layers: list[Layer], light: Floats) -> tuple[NDArray[np.uint8], Bools]:
    """Frames uint8 [T, H, W, 3] and the visible extents bool [N, T, H, W] of ``layers``, the last one on top.

    ``background`` is [H, W, 3]; ``light`` [T] multiplies the brightness of each frame. A layer hides what is
    below where its opacity is at least one half.
    """
    picture = np.repeat(background[None], len(light), axis=0)
    masks = np.zeros((len(layers), *picture.shape[:3]), bool)
    for number, layer in enumerate(layers):
        picture = picture + layer.opacity[..., None] * (layer.colours - picture)
        masks[:number] &= ~(layer.opacity >= 0.5)
        masks[number] = layer.extent
    frames = np.clip(picture * light[:, None, None, None] * 255 + 0.5, 0, 255).astype(np.uint8)
    return frames, masks
