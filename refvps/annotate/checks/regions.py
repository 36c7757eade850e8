"""Pieces, holes and straight edges of a mask, from the runs of its rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.bool_]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of pixels in rows, top to bottom: ``row``, first column ``start``, column behind the last ``stop``."""

    row: Numbers
    start: Numbers
    stop: Numbers


def runs_of(mask: Array) -> Runs:
    """The runs of a mask [H, W]."""
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    change = np.diff(padded, axis=1)
    row, start = np.nonzero(change == 1)
    return Runs(row, start, np.nonzero(change == -1)[1])


def pieces(runs: Runs, width: int, *, diagonal: bool) -> Numbers:
    """The number of the connected piece, 0, 1, ..., of each run; ``diagonal``: touching at a corner connects."""
    count = len(runs.row)
    label = np.arange(count)
    if not count:
        return label
    reach, row_length = int(diagonal), width + 3
    below = (runs.row + 1) * row_length
    first = np.searchsorted(runs.row * row_length + runs.stop, below + runs.start - reach, "right")
    last = np.searchsorted(runs.row * row_length + runs.start, below + runs.stop + reach, "left")
    many = np.maximum(last - first, 0)
    upper = np.repeat(label, many)
    lower = np.repeat(first - np.cumsum(many) + many, many) + np.arange(len(upper))
    while True:
        least = np.minimum(label[upper], label[lower])
        before = label.copy()
        np.minimum.at(label, before[upper], least)
        np.minimum.at(label, before[lower], least)
        np.minimum.at(label, upper, least)
        np.minimum.at(label, lower, least)
        label = label[label]
        if np.array_equal(label, before):
            return np.unique(label, return_inverse=True)[1].reshape(-1)


def areas_of(runs: Runs, piece: Numbers) -> Numbers:
    """Pixels of each piece."""
    return np.bincount(piece, weights=runs.stop - runs.start).astype(np.int64)


def hole_areas(mask: Array) -> Numbers:
    """Pixels of each hole: connected background (by edges) that does not touch the border of the frame."""
    height, width = mask.shape
    runs = runs_of(~mask)
    piece = pieces(runs, width, diagonal=False)
    outside = (runs.row == 0) | (runs.row == height - 1) | (runs.start == 0) | (runs.stop == width)
    inner = ~np.isin(piece, piece[outside])
    sizes = np.zeros(int(piece.max(initial=-1)) + 1, np.int64)
    np.add.at(sizes, piece[inner], (runs.stop - runs.start)[inner])
    return sizes[sizes > 0]


def distances(runs: Runs, piece: Numbers, to: Runs) -> NDArray[np.float64]:
    """Distance in pixels from each piece to the nearest pixel of ``to``, which has one."""
    found = np.full(int(piece.max(initial=-1)) + 1, np.inf)
    for chunk in np.array_split(np.arange(len(runs.row)), max(1, len(runs.row) * len(to.row) // 1_000_000)):
        down = np.abs(runs.row[chunk, None] - to.row[None])
        left = to.start[None] - runs.stop[chunk, None] + 1
        right = runs.start[chunk, None] - to.stop[None] + 1
        across = np.maximum(0, np.maximum(left, right))
        nearest = np.sqrt((down.astype(np.float64) ** 2 + across**2).min(axis=1))
        np.minimum.at(found, piece[chunk], nearest)
    return found


def longest_edges(mask: Array, excused: Array | None = None) -> tuple[int, int]:
    """Longest straight edge of a mask along a column and along a row, in pixels; not on the border of the frame.

    ``excused``: pixels beside which an edge is no surprise, such as Ignore.
    """
    vertical = 0
    for inside, outside, other in ((mask[:, 1:], mask[:, :-1], 0), (mask[:, :-1], mask[:, 1:], 1)):
        edge = inside & ~outside
        if excused is not None:
            edge &= ~(excused[:, :-1] if other == 0 else excused[:, 1:])
        vertical = max(vertical, _longest_run(edge.T))
    horizontal = 0
    for inside, outside, other in ((mask[1:], mask[:-1], 0), (mask[:-1], mask[1:], 1)):
        edge = inside & ~outside
        if excused is not None:
            edge &= ~(excused[:-1] if other == 0 else excused[1:])
        horizontal = max(horizontal, _longest_run(edge))
    return vertical, horizontal


def _longest_run(values: Array) -> int:
    runs = runs_of(values)
    return int((runs.stop - runs.start).max(initial=0))


def aligned_iou(first: Array, second: Array) -> float:
    """IoU of two masks, both with pixels: as they are, or moved until their centres of mass meet, the better one.

    Moving alone would be unfair to thin shapes that turn in place.
    """
    (ay, ax), (by, bx) = _centre(first), _centre(second)
    return max(_moved_iou(first, second, 0, 0), _moved_iou(first, second, round(by - ay), round(bx - ax)))


def _moved_iou(first: Array, second: Array, dy: int, dx: int) -> float:
    height, width = first.shape
    here = (slice(max(0, -dy), min(height, height - dy)), slice(max(0, -dx), min(width, width - dx)))
    there = (slice(max(0, dy), min(height, height + dy)), slice(max(0, dx), min(width, width + dx)))
    shared = int(np.count_nonzero(first[here] & second[there]))
    union = int(np.count_nonzero(first[here])) + int(np.count_nonzero(second)) - shared
    return shared / union


def _centre(mask: Array) -> tuple[float, float]:
    rows, columns = mask.sum(axis=1), mask.sum(axis=0)
    total = rows.sum()
    return float(rows @ np.arange(len(rows)) / total), float(columns @ np.arange(len(columns)) / total)


def extent(mask: Array) -> tuple[int, int]:
    """Height and width of the box around a mask that has a pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)
