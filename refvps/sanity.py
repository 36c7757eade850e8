"""Predictors that understand nothing, for demos and as the floor every method must beat.

``empty`` never answers, ``full`` marks every pixel, ``centre`` a box in the middle, ``random-box`` a box
anywhere, ``motion`` whatever differs from the still background. All ignore the text, use integers only,
and so give the same masks on every machine. Written against the public protocol: this module imports
:mod:`refvps.types` and numpy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from refvps.types import MaskChunk, Method, Predictor

Pixels = NDArray[np.uint8]
Masks = NDArray[np.bool_]

CHUNK_BYTES = 16 << 20
"""Masks yielded at once, in bytes; bounds the memory whatever the length of the clip."""


def _method(name: str, **options: int) -> Method:
    return Method(name=name, version="1", options=options, licence="Apache-2.0", training_data="none")


class _Constant:
    """One mask for every frame and text, from the size of the first frame alone; nothing else is decoded."""

    def __init__(self, method: Method, mask: Callable[[int, int], Masks]) -> None:
        self.method = method
        self.mask = mask

    def predict(self, frames: Sequence[Pixels], texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        """One chunk per text, a view that repeats one mask; ``fps`` and ``seed`` are not used."""
        if len(frames):
            mask = self.mask(*frames[0].shape[:2])
            masks = np.broadcast_to(mask, (len(frames), *mask.shape))
            for text in range(len(texts)):
                yield MaskChunk(text, 0, masks)


def empty() -> Predictor:
    """No pixel, ever. Scores exactly the share of frames whose target is empty."""
    return _Constant(_method("empty"), lambda height, width: np.zeros((height, width), bool))


def full() -> Predictor:
    """Every pixel, always."""
    return _Constant(_method("full"), lambda height, width: np.ones((height, width), bool))


def centre() -> Predictor:
    """A box of half of each side, exactly centred (up to 2 pixels longer where 4 does not divide the side)."""
    return _Constant(_method("centre"), _box)


def _box(height: int, width: int) -> Masks:
    mask = np.zeros((height, width), bool)
    mask[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    return mask


def random_box() -> Predictor:
    """One box for the whole clip, drawn from the seed: any height and width, then any place where it fits."""
    return _RandomBox()


class _RandomBox:
    method = _method("random-box")

    def predict(self, frames: Sequence[Pixels], texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        """One chunk per text, a view that repeats one mask; four numbers come from the SHA-256 of ``seed``."""
        digest = hashlib.sha256(str(seed).encode()).digest()
        drawn = [int.from_bytes(digest[k : k + 8], "big") for k in (0, 8, 16, 24)]
        constant = _Constant(self.method, lambda height, width: _drawn_box(height, width, drawn))
        return constant.predict(frames, texts, fps=fps, seed=seed)


def _drawn_box(height: int, width: int, drawn: Sequence[int]) -> Masks:
    rows, columns = 1 + drawn[0] % height, 1 + drawn[1] % width
    top, left = drawn[2] % (height - rows + 1), drawn[3] % (width - columns + 1)
    mask = np.zeros((height, width), bool)
    mask[top : top + rows, left : left + columns] = True
    return mask


def motion(*, threshold: int = 60, samples: int = 15) -> Predictor:
    """Pixels that differ from the temporal median by more than ``threshold``.

    The difference is summed over the three channels (0 to 765). The median is taken over ``samples``
    frames spread evenly over the clip; a majority vote in windows of 5x5 pixels removes specks and
    closes pinholes. A clip of one frame has no motion: its masks are empty.
    """
    _check("threshold", threshold, 0, 765)
    _check("samples", samples, 1, 255)
    return _Motion(threshold, samples)


class _Motion:
    def __init__(self, threshold: int, samples: int) -> None:
        self.method = _method("motion", threshold=threshold, samples=samples)
        self.threshold = threshold
        self.samples = samples

    def predict(self, frames: Sequence[Pixels], texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        """Two passes over the frames: a few for the background, then all, a chunk at a time for every text."""
        if not len(frames):
            return
        still = _median(frames, self.samples)
        step = max(1, CHUNK_BYTES // (still.shape[0] * still.shape[1]))
        for start in range(0, len(frames), step):
            masks = np.stack(
                [_majority(_difference(frame, still) > self.threshold) for frame in frames[start : start + step]]
            )
            for text in range(len(texts)):
                yield MaskChunk(text, start, masks)


def _check(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, not {value!r}")


def _median(frames: Sequence[Pixels], samples: int) -> Pixels:
    """Temporal median (the lower of the two middle values for an even number), uint8 [H, W, 3]."""
    count = min(samples, len(frames))
    chosen = [frames[(2 * index + 1) * len(frames) // (2 * count)] for index in range(count)]
    still = np.empty_like(chosen[0])
    for top in range(0, still.shape[0], 64):  # in bands, so that the sort stays small
        band = np.stack([frame[top : top + 64] for frame in chosen])
        band.sort(axis=0)
        still[top : top + 64] = band[(count - 1) // 2]
    return still


def _difference(frame: Pixels, still: Pixels) -> NDArray[np.uint16]:
    """Absolute difference summed over the channels, uint16 [H, W]."""
    apart = np.maximum(frame, still) - np.minimum(frame, still)
    total: NDArray[np.uint16] = apart[..., 0].astype(np.uint16) + apart[..., 1] + apart[..., 2]
    return total


def _majority(mask: Masks) -> Masks:
    """True where more than half of the 5x5 window is True; outside of the image counts as False."""
    padded = np.pad(mask.view(np.uint8), 2)
    rows = padded[:-4] + padded[1:-3] + padded[2:-2] + padded[3:-1] + padded[4:]
    votes = rows[:, :-4] + rows[:, 1:-3] + rows[:, 2:-2] + rows[:, 3:-1] + rows[:, 4:]
    majority: Masks = votes > 12
    return majority
