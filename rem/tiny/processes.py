"""Test clips: two dynamic processes at once, and a sentence for each. Never used in training.

Nothing here has a fixed outline: every extent is a threshold of a field that evolves (a density, a front, a
height), drawn by code that the training clips do not use. The names of the processes are words that no
training sentence contains; what a sentence shares with training are words for colours and places.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rem.tiny import canvas
from rem.tiny.canvas import Floats, Layer, Scene

SEEDS = range(5000, 6000)
"""Seeds of process clips, apart from those of objects."""

PHRASES: dict[str, tuple[str, ...]] = {
    "smoke": ("{} smoke rising and thinning out", "a {} plume drifting up"),
    "spill": ("{} liquid spreading over the table", "the puddle of {} paint that grows"),
    "wave": ("the {} wave rolling in", "{} water rising and falling"),
    "flame": ("the {} flame flickering", "{} fire that burns"),
    "melt": ("{} wax melting and running down", "the {} drips"),
    "glow": ("the {} light that pulses", "a {} glow getting brighter and darker"),
    "sparks": ("{} sparks flying apart", "a shower of {} particles"),
    "frost": ("{} crystals growing", "{} frost creeping over the glass"),
}
"""Kinds of processes and what is said of them; {} is the colour."""


def scene(seed: int, number: int, *, frames: int = 8, side: int = 64) -> Scene:
    """Clip ``number`` of ``seed``: two processes of different colours, a sentence and a mask for each.

    The result depends on the arguments alone; kinds are names of PHRASES.
    """
    rng = np.random.default_rng([seed, number, 77])
    times = np.linspace(0, 1, frames, dtype=np.float32)
    x = (np.arange(side, dtype=np.float32) + 0.5) / side
    grid = np.meshgrid(x, x, indexing="ij")
    while True:
        kinds = [str(kind) for kind in rng.choice(list(PHRASES), 2, replace=False)]
        names = [str(name) for name in rng.choice(list(canvas.PALETTE), 2, replace=False)]
        columns = rng.permutation([0.28, 0.72]) + rng.uniform(-0.08, 0.08, 2)
        avoid = np.stack([canvas.PALETTE[name] for name in names]).astype(np.float32)
        still = canvas.backdrop(rng, side, avoid)
        layers = [
            FIELDS[kind](rng, grid, times, float(column), canvas.colour(rng, name))
            for kind, name, column in zip(kinds, names, columns, strict=True)
        ]
        painted, masks = canvas.compose(still, layers, np.ones(frames, np.float32))
        if (masks.mean(axis=(1, 2, 3)) >= 0.01).all():
            texts = tuple(str(rng.choice(PHRASES[k])).format(n) for k, n in zip(kinds, names, strict=True))
            return Scene(painted, masks, texts, tuple(kinds))


Grid = list[Floats]
Field = Callable[[np.random.Generator, Grid, Floats, float, Floats], Layer]


def _layer(opacity: Floats, tone: Floats, shade: Floats | float = 1.0, threshold: float = 0.35) -> Layer:
    opacity = np.clip(opacity, 0, 1).astype(np.float32)
    colours = np.clip(tone * (np.ones_like(opacity) * shade)[..., None], 0, 1).astype(np.float32)
    return Layer(opacity, colours, opacity >= threshold)


def _smoke(rng: np.random.Generator, grid: Grid, times: Floats, column: float, tone: Floats) -> Layer:
    """Puffs that leave a source, rise, widen and thin out; their summed density is the opacity."""
    y, x = grid
    source, drift = rng.uniform(0.65, 0.9), rng.uniform(-0.25, 0.25)
    density = np.zeros((len(times), *y.shape), np.float32)
    for birth in np.linspace(-0.5, 0.8, 14):
        age = np.maximum(times - birth, 0)[:, None, None]
        wide = 0.04 + 0.12 * age
        dy = y - (source - 0.6 * age)
        dx = x - (column + drift * age + 0.05 * np.sin(7 * age + rng.uniform(0, 6)))
        density += (age > 0) * np.exp(-(dy**2 + dx**2) / (2 * wide**2)) * np.exp(-1.2 * age)
    return _layer(0.9 * (1 - np.exp(-1.6 * density)), tone, 1 + 0.08 * canvas.smooth_noise(rng, len(y), 10))


def _spill(rng: np.random.Generator, grid: Grid, times: Floats, column: float, tone: Floats) -> Layer:
    """A front that advances at a speed set by rough ground."""
    y, x = grid
    row = rng.uniform(0.35, 0.75)
    rough = 0.5 * canvas.smooth_noise(rng, len(y), 5) + 0.3 * canvas.smooth_noise(rng, len(y), 10)
    arrival = np.hypot((y - row) * 1.5, x - column) * (1 + 0.7 * rough)
    front = 0.06 + rng.uniform(0.18, 0.32) * np.sqrt(times)[:, None, None]
    return _layer(np.clip((front - arrival) * 30 + 0.5, 0, 1) * 0.92, tone, 1 + 0.15 * rough)


def _wave(rng: np.random.Generator, grid: Grid, times: Floats, column: float, tone: Floats) -> Layer:
    """A surface that travels and heaves; the water below it, in one half of the picture."""
    y, x = grid
    t = times[:, None, None]
    level = rng.uniform(0.55, 0.7) + 0.1 * np.sin(2 * np.pi * (t + rng.uniform()))
    crest = 0.05 * np.sin(2 * np.pi * (3 * x - 1.5 * t)) + 0.02 * np.sin(2 * np.pi * (7 * x + 2 * t))
    inside = np.clip((0.24 - abs(x - column)) * 40, 0, 1)
    depth = y - level - crest
    return _layer(np.clip(depth * 40 + 0.5, 0, 1) * inside * 0.95, tone, 1 - 0.4 * np.clip(depth, 0, 1))


def _flame(rng: np.random.Generator, grid: Grid, times: Floats, column: float, tone: Floats) -> Layer:
    """A tapering tongue whose height and edges jump from frame to frame."""
    y, x = grid
    base = rng.uniform(0.7, 0.9)
    height = (rng.uniform(0.3, 0.5) * rng.uniform(0.65, 1.25, len(times)))[:, None, None]
    up = np.clip((base - y) / height, 0, 1)
    sway = up**2 * rng.uniform(-0.12, 0.12, len(times))[:, None, None]
    licks = 0.03 * np.sin(14 * up - 18 * times[:, None, None] + rng.uniform(0, 6))
    wide = 0.13 * (1 - up) ** 0.7 * np.sqrt(np.clip(up * 5, 0, 1)) + licks * up * (1 - up)
    edge = np.clip((wide - abs(x - column - sway)) * 40 + 0.2, 0, 1) * (y < base) * (up < 1)
    return _layer(edge * 0.95, tone, 1.25 - 0.5 * up)


def _melt(rng: np.random.Generator, grid: Grid, times: Floats, column: float, tone: Floats) -> Layer:
    """A pool at the top whose lower edge runs down in trickles of different speed."""
    y, x = grid
    top = rng.uniform(0.15, 0.3)
    length = np.full((len(times), *x.shape), 0.07, np.float32)
    for _ in range(4):
        place, wide = column + rng.uniform(-0.17, 0.17), rng.uniform(0.02, 0.045)
        run = rng.uniform(0.2, 0.55) * np.clip(times * rng.uniform(0.8, 2) - rng.uniform(0, 0.2), 0, 1)
        length = np.maximum(length, run[:, None, None] * np.exp(-(((x - place) / wide) ** 4)))
    inside = np.clip((0.21 - abs(x - column)) * 40, 0, 1)
    edge = np.clip((top + length - y) * 40 + 0.5, 0, 1) * np.clip((y - top) * 40 + 0.5, 0, 1)
    return _layer(edge * inside, tone, 1 - 0.2 * np.sin(40 * x))


def _glow(rng: np.random.Generator, grid: Grid, times: Floats, column: float, tone: Floats) -> Layer:
    """A soft patch whose strength pulses."""
    y, x = grid
    row, wide = rng.uniform(0.3, 0.7), rng.uniform(0.1, 0.17)
    strength = 0.6 + 0.35 * np.sin(2 * np.pi * (rng.uniform(1, 2) * times + rng.uniform()))
    spread = np.exp(-(((y - row) / wide) ** 2 + ((x - column) / (1.4 * wide)) ** 2))
    return _layer(strength[:, None, None] * np.clip(1.5 * spread, 0, 1), tone, 1.0, 0.3)


def _sparks(rng: np.random.Generator, grid: Grid, times: Floats, column: float, tone: Floats) -> Layer:
    """Dots thrown out of one place that fall again."""
    y, x = grid
    row = rng.uniform(0.4, 0.7)
    total = np.zeros((len(times), *y.shape), np.float32)
    for _ in range(16):
        angle, speed, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.6), rng.uniform(0.02, 0.035)
        dx = x - column - (speed * 0.6 * np.cos(angle) * times)[:, None, None]
        dy = y - row - (speed * np.sin(angle) * times + 0.35 * times**2 - 0.1 * times)[:, None, None]
        total = np.maximum(total, np.clip((size - np.hypot(dx, dy)) * 60 + 0.5, 0, 1))
    return _layer(total, tone)


def _frost(rng: np.random.Generator, grid: Grid, times: Floats, column: float, tone: Floats) -> Layer:
    """Needles that grow out of a seed and branch by interference."""
    y, x = grid
    row, arms = rng.uniform(0.35, 0.65), int(rng.integers(5, 8))
    r, theta = np.hypot(y - row, x - column), np.arctan2(y - row, x - column)
    needle = abs(np.cos(arms * theta / 2 + rng.uniform(0, 6))) ** 3 + 0.35 * np.cos(60 * r) * np.clip(8 * r, 0, 1)
    reach = (0.08 + rng.uniform(0.2, 0.3) * times)[:, None, None] * (0.45 + 0.55 * needle)
    return _layer(np.clip((reach - r) * 40 + 0.5, 0, 1) * 0.9, tone, 1 + 0.15 * needle)


FIELDS: dict[str, Field] = {
    "smoke": _smoke,
    "spill": _spill,
    "wave": _wave,
    "flame": _flame,
    "melt": _melt,
    "glow": _glow,
    "sparks": _sparks,
    "frost": _frost,
}
"""The painter of each kind of process."""
