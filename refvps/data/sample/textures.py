"""Integer textures: value noise over space and time, and clouds of soft puffs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np

from refvps.data.sample.integers import FULL, ONE, Plane, mix, mixed, smooth

Size = tuple[int, int]
"""(height, width) in pixels."""


@cache
def grid(size: Size) -> tuple[Plane, Plane]:
    """(x, y) of the pixel centres in units, each int64 [H, W]; shared, so never written to."""
    height, width = size
    x = np.broadcast_to(np.arange(width, dtype=np.int64) * ONE + ONE // 2, size)
    y = np.broadcast_to((np.arange(height, dtype=np.int64) * ONE + ONE // 2)[:, None], size)
    x, y = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    return x, y


def _lattice(seed: int, time: int, rows: Plane, columns: Plane) -> Plane:
    """Random values 0..4095 at lattice points, blended between whole steps of ``time`` / 256."""
    step, rest = divmod(time, FULL)
    weight = rest * rest * (3 * FULL - 2 * rest) >> 16
    before = (mixed(mix(seed, step), rows[:, None], columns[None, :]) >> np.uint64(52)).astype(np.int64)
    if not weight:
        return before
    after = (mixed(mix(seed, step + 1), rows[:, None], columns[None, :]) >> np.uint64(52)).astype(np.int64)
    return before + ((after - before) * weight >> 8)


def noise(size: Size, seed: int, cell: tuple[int, int], *, dx: int = 0, dy: int = 0, time: int = 0) -> Plane:
    """Value noise 0..255, int64 [H, W]; ``cell`` is (height, width) of a lattice cell in units."""
    height, width = size
    rows = np.arange(height, dtype=np.int64) * ONE + ONE // 2 + dy
    columns = np.arange(width, dtype=np.int64) * ONE + ONE // 2 + dx
    row, column = rows // cell[0], columns // cell[1]
    down = smooth((rows - row * cell[0]) * FULL // cell[0])[:, None]
    right = smooth((columns - column * cell[1]) * FULL // cell[1])[None, :]
    points = _lattice(
        seed,
        time,
        np.arange(row[0], row[-1] + 2, dtype=np.int64),
        np.arange(column[0], column[-1] + 2, dtype=np.int64),
    )
    row, column = row - row[0], column - column[0]
    lines = points[row] + ((points[row + 1] - points[row]) * down >> 8)
    left = lines[:, column]
    values: Plane = (left + ((lines[:, column + 1] - left) * right >> 8)) >> 4
    return values


def clouds(
    size: Size, seed: int, cell: tuple[int, int], octaves: int, *, dx: int = 0, dy: int = 0, time: int = 0
) -> Plane:
    """Fractal noise 0..255: ``octaves`` of :func:`noise`, each half as large and half as strong."""
    total = np.zeros(size, dtype=np.int64)
    for octave in range(octaves):
        fine = (max(ONE, cell[0] >> octave), max(ONE, cell[1] >> octave))
        total += noise(size, mix(seed, octave), fine, dx=dx, dy=dy, time=time << octave) << (octaves - 1 - octave)
    return total // ((1 << octaves) - 1)


def noise_at(seed: int, cell: int, x: Plane, y: Plane, time: int = 0) -> Plane:
    """Value noise 0..255 at the given coordinates (units), which may be bent at will."""
    row, column = y // cell, x // cell
    down, right = smooth((y - row * cell) * FULL // cell), smooth((x - column * cell) * FULL // cell)
    top, left = int(row.min()), int(column.min())
    points = _lattice(
        seed,
        time,
        np.arange(top, int(row.max()) + 2, dtype=np.int64),
        np.arange(left, int(column.max()) + 2, dtype=np.int64),
    )
    stride = points.shape[1]
    flat, index = points.ravel(), (row - top) * stride + (column - left)
    upper = flat[index] + ((flat[index + 1] - flat[index]) * right >> 8)
    index = index + stride
    lower = flat[index] + ((flat[index + 1] - flat[index]) * right >> 8)
    values: Plane = (upper + ((lower - upper) * down >> 8)) >> 4
    return values


Puff = tuple[int, int, int, int]
"""(x, y, radius, strength): the first three in units, strength 0..256."""


def puffs(size: Size, items: Iterable[Puff]) -> Plane:
    """The sum of soft round puffs, int64 [H, W]; one puff reaches its strength in the middle."""
    height, width = size
    total = np.zeros(size, dtype=np.int64)
    xs, ys = grid(size)
    for x, y, radius, strength in items:
        left, right = max(0, (x - radius) // ONE), min(width, (x + radius) // ONE + 1)
        top, bottom = max(0, (y - radius) // ONE), min(height, (y + radius) // ONE + 1)
        if left >= right or top >= bottom or strength <= 0:
            continue
        across, down = xs[:1, left:right] - x, ys[top:bottom, :1] - y
        fall = np.maximum(FULL - (across * across + down * down) * FULL // (radius * radius), 0)
        total[top:bottom, left:right] += strength * fall * fall >> 16
    return total
