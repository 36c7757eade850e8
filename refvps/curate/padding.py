"""Padding around the picture: black or coloured bars, still pictures as frames, blurred copies of the middle.

Pixels of padding do not vary over time while the scene does, and the scene begins at one straight line. A line at
which nothing but the subject begins to move is no padding: on a tripod, most of the scene is at rest as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from refvps.curate.survey import Box, cells
from refvps.curate.thresholds import Thresholds
from refvps.source.video import Picture

Luma = NDArray[np.float32]

SAMPLES = 32
"""Frames of a part that are looked at, spread evenly."""

_NEAR = 0.008
"""Compression blurs the line where padding ends by about this share of the side."""


@dataclass(frozen=True, slots=True)
class Padding:
    """The box inside the padding, as displayed; (0, 0, W, H) when there is none.

    ``kind``: "still" is proposed as a crop; "blurred" bands copy the middle and are only flagged. ``sides``: of
    left, top, right, bottom those that are padded.
    """

    kind: Literal["none", "still", "blurred"]
    box: Box
    sides: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Rest:
    """Sums over sampled pictures: mean luma, its standard deviation over time, float32 [H, W]; mean detail of rows
    and of columns; and the pictures as cells.
    """

    mean: Luma
    std: Luma
    rows: Luma
    columns: Luma
    small: tuple[NDArray[np.int16], ...]


def at_rest(pictures: Iterable[Picture]) -> Rest | None:
    """Accumulate pictures of one size; None for fewer than two."""
    total: Luma | None = None
    square: Luma = np.zeros((0, 0), np.float32)
    rows: Luma = np.zeros(0, np.float32)
    columns: Luma = np.zeros(0, np.float32)
    small = []
    for picture in pictures:
        luma = (picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)).astype(np.float32)
        if total is None:
            total, square = np.zeros_like(luma), np.zeros_like(luma)
            rows, columns = np.zeros(luma.shape[0], np.float32), np.zeros(luma.shape[1], np.float32)
        total += luma
        square += luma * luma
        if luma.shape[1] > 1:
            rows += np.abs(np.diff(luma, axis=1)).mean(1)
        if luma.shape[0] > 1:
            columns += np.abs(np.diff(luma, axis=0)).mean(0)
        small.append(cells(picture))
    count = len(small)
    if total is None or count < 2:
        return None
    mean = total / count
    std = np.sqrt(np.maximum(square / count - mean * mean, 0)).astype(np.float32)
    rows, columns = (rows / count).astype(np.float32), (columns / count).astype(np.float32)
    return Rest(mean.astype(np.float32), std, rows, columns, tuple(small))


def padding(rest: Rest, thresholds: Thresholds) -> Padding:
    """The padding of one part."""
    height, width = rest.mean.shape
    whole = (0, 0, width, height)
    moving = rest.std > thresholds.padding_std
    top, bottom, left, right = 0, height, 0, width
    if moving.any():
        for _ in range(2):  # the second time only along what the first left
            top, bottom = _lines(moving[:, left:right], rest.mean[:, left:right], thresholds)
            left, right = _lines(moving[top:bottom].T, rest.mean[top:bottom].T, thresholds)
        right, bottom = right - (right - left) % 2, bottom - (bottom - top) % 2
        box = (left, top, right - left, bottom - top)
        if box[2] > 1 and box[3] > 1 and _sides(box, width, height, least=2):
            return Padding("still", box, _sides(box, width, height, least=2))
    for axis, profile in ((0, rest.rows), (1, rest.columns)):
        low, high = _soft(profile, thresholds)
        if high > low and _copies(rest, low, high, axis, thresholds):
            box = (0, low, width, high - low) if axis == 0 else (low, 0, high - low, height)
            return Padding("blurred", box, _sides(box, width, height, least=2))
    return Padding("none", whole, ())


def _lines(moving: NDArray[np.bool_], mean: Luma, thresholds: Thresholds) -> tuple[int, int]:
    """[first, stop) rows of the scene."""
    first = _first(moving, mean, thresholds)
    last = _first(moving[::-1], mean[::-1], thresholds)
    size = moving.shape[0]
    return (first, size - last) if first + last < size - 1 else (0, size)


def _first(moving: NDArray[np.bool_], mean: Luma, thresholds: Thresholds) -> int:
    """How many rows from the top are padding."""
    size = moving.shape[0]
    share = moving.mean(1)
    usual = float(np.quantile(share, 0.9))
    if usual <= 0:
        return 0
    quiet = int(np.argmax(share >= thresholds.padding_quiet * usual))
    near = max(2, round(_NEAR * size))
    if quiet + near < max(2, thresholds.padding_least * size):
        return 0
    steps = np.zeros(size)
    steps[1:] = (np.abs(np.diff(mean, axis=0)) >= thresholds.padding_step).mean(1)
    low, high = max(1, quiet - near), min(size, quiet + near + 1)
    line = low + int(np.argmax(steps[low:high]))
    if steps[line] >= thresholds.padding_jump:
        found = line
    elif share[quiet:high].max() >= thresholds.padding_jump:
        found = quiet
    else:
        return 0
    return found if found >= max(2, thresholds.padding_least * size) else 0


def _sides(box: Box, width: int, height: int, *, least: int) -> tuple[str, ...]:
    x, y, wide, high = box
    cut = {"left": x, "top": y, "right": width - x - wide, "bottom": height - y - high}
    return tuple(name for name, pixels in cut.items() if pixels >= least)


def _soft(profile: Luma, thresholds: Thresholds) -> tuple[int, int]:
    """[low, high) of the sharp middle between two soft bands; (0, 0) when there are none."""
    size = len(profile)
    middle = float(np.median(profile[size // 3 : size - size // 3])) if size >= 3 else 0.0
    if middle <= 0:
        return 0, 0
    sharp = profile >= thresholds.blurred_detail * middle
    low, high = int(np.argmax(sharp)), size - int(np.argmax(sharp[::-1]))
    least = thresholds.blurred_least * size
    return (low, high) if low >= least and size - high >= least and high > low else (0, 0)


def _copies(rest: Rest, low: int, high: int, axis: int, thresholds: Thresholds) -> bool:
    """Whether the bands around [low, high) correlate with the middle enlarged to cover the picture."""
    from PIL import Image

    scores = []
    for small in rest.small:
        grey = small.mean(2).astype(np.float32)
        grey = grey if axis == 0 else grey.T
        size, across = grey.shape
        first = round(low * size / rest.mean.shape[axis])
        stop = round(high * size / rest.mean.shape[axis])
        if stop - first < 2 or first < 1 or stop >= size:
            return False
        keep = max(2, round(across * (stop - first) / size))
        side = (across - keep) // 2
        middle = np.ascontiguousarray(grey[first:stop, side : side + keep])
        filled = np.asarray(Image.fromarray(middle).resize((across, size), Image.Resampling.BILINEAR))
        bands = np.r_[0:first, stop:size]
        one, other = grey[bands].ravel(), filled[bands].ravel()
        if one.std() > 1 and other.std() > 1:
            scores.append(float(np.corrcoef(one, other)[0, 1]))
    return bool(scores) and float(np.median(scores)) >= thresholds.blurred_match
