"""Films with known cuts, flashes, dissolves, bars, frozen pictures and cards; integer arithmetic only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import films
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Scene = Callable[[int], Picture]

HEIGHT, WIDTH = 180, 320
RATE = 24


def clouds(seed: int, height: int, width: int) -> Picture:
    """A picture of large and small soft blobs, another one for every seed."""
    large, little = blobs(seed, height, width, 40), blobs(seed + 1000, height, width, 9)
    return ((large.astype(np.int32) + little) // 2).astype(np.uint8)


def blobs(seed: int, height: int, width: int, cell: int) -> Picture:
    """Random corners, interpolated."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(20, 236, (height // cell + 2, width // cell + 2, 3))
    y, x = np.mgrid[:height, :width]
    row, column, down, right = y // cell, x // cell, (y % cell)[..., None], (x % cell)[..., None]
    top = corners[row, column] * (cell - right) + corners[row, column + 1] * right
    low = corners[row + 1, column] * (cell - right) + corners[row + 1, column + 1] * right
    return ((top * (cell - down) + low * down) // cell**2).astype(np.uint8)


def drifting(seed: int, height: int = HEIGHT, width: int = WIDTH, speed: int = 2) -> Scene:
    """A camera moving over blobs, with a square that moves the other way."""
    wide = clouds(seed, height, width + 800)

    def picture(index: int) -> Picture:
        image = wide[:, index * speed : index * speed + width].copy()
        size = max(8, height // 6)
        left = (width - size - index * 3) % max(1, width - size)
        image[height // 2 : height // 2 + size, left : left + size] = (240, 240, 30)
        return image

    return picture


def flicker(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Scene:
    """A tripod before a scene at rest in which only a small flame moves, wherever it goes."""
    still = clouds(seed, height, width)

    def picture(index: int) -> Picture:
        image = still.copy()
        y, x = np.mgrid[:height, :width]
        for spark in range(6):
            top, left = height // 2 - (index * 7 + spark * 13) % 40, width // 2 - 20 + (index * 11 + spark * 17) % 40
            image[(y - top) ** 2 + (x - left) ** 2 < 60] = (250, 200 - spark * 20, 40)
        return image

    return picture


def plain(picture: Picture) -> Scene:
    """One picture, for ever."""
    return lambda index: picture


def black(height: int = HEIGHT, width: int = WIDTH) -> Picture:
    return np.zeros((height, width, 3), np.uint8)


def card(height: int = HEIGHT, width: int = WIDTH, ground: tuple[int, int, int] = (0, 0, 0)) -> Picture:
    """A logo of bars on a plain ground."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = ground
    for bar in range(5):
        left = width // 2 - 40 + bar * 18
        image[height // 2 - 10 - 3 * bar : height // 2 + 10, left : left + 10] = (255, 60 + 30 * bar, 90)
    return image


def padded(scene: Scene, frame: Picture, box: tuple[int, int, int, int]) -> Scene:
    """A scene of ``box``'s size (x, y, width, height) within a picture at rest."""
    x, y, width, height = box

    def picture(index: int) -> Picture:
        image = frame.copy()
        image[y : y + height, x : x + width] = scene(index)
        return image

    return picture


def join(parts: Sequence[tuple[Scene, int]]) -> tuple[Scene, int]:
    """Scenes one after the other, each from its own first frame for so many frames; and how many in all."""
    table = [(scene, index) for scene, count in parts for index in range(count)]
    return lambda index: table[index][0](table[index][1]), len(table)


def flashing(scene: Scene, at: int, frames: int, strength: int = 160) -> Scene:
    """Everything brighter for a few frames."""

    def picture(index: int) -> Picture:
        image = scene(index)
        if at <= index < at + frames:
            image = np.minimum(image.astype(np.int32) + strength, 255).astype(np.uint8)
        return image

    return picture


def dissolving(one: Scene, other: Scene, at: int, frames: int) -> Scene:
    """From one scene to another within frames [at, at + frames)."""

    def picture(index: int) -> Picture:
        share = min(max(index - at + 1, 0), frames + 1)
        if share in (0, frames + 1):
            return other(index) if share else one(index)
        both = one(index).astype(np.int32) * (frames + 1 - share) + other(index).astype(np.int32) * share
        return (both // (frames + 1)).astype(np.uint8)

    return picture


def film(path: Path, scene: Scene, count: int, *, rate: int = RATE, codec: str = "h264", **options: object) -> Path:
    """Write the first ``count`` frames."""
    return films.write(path, films.times(rate, count), rate=rate, codec=codec, shape=scene, **options)  # type: ignore[arg-type]
