"""Pieces, holes, distances and edges of masks, against loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from refvps.annotate.checks.regions import (
    aligned_iou,
    areas_of,
    distances,
    extent,
    hole_areas,
    longest_edges,
    pieces,
    runs_of,
)

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 11))
MASKS = SIZES.flatmap(lambda size: arrays(np.bool_, size))


def flood(mask: np.ndarray, *, diagonal: bool) -> list[set[tuple[int, int]]]:
    """Connected pieces by walking from pixel to pixel."""
    left = set(zip(*map(np.ndarray.tolist, np.nonzero(mask)), strict=True))
    found = []
    while left:
        piece, border = set(), [left.pop()]
        while border:
            y, x = border.pop()
            piece.add((y, x))
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    near = (y + dy, x + dx)
                    if near in left and (diagonal or not (dy and dx)):
                        left.remove(near)
                        border.append(near)
        found.append(piece)
    return found


@given(MASKS, st.booleans())
def test_pieces(mask: np.ndarray, diagonal: bool) -> None:
    runs = runs_of(mask)
    piece = pieces(runs, mask.shape[1], diagonal=diagonal)
    wanted = flood(mask, diagonal=diagonal)
    assert sorted(areas_of(runs, piece).tolist()) == sorted(map(len, wanted))
    for first, start, label in zip(runs.row.tolist(), runs.start.tolist(), piece.tolist(), strict=True):
        (own,) = (each for each in wanted if (first, start) in each)
        assert areas_of(runs, piece)[label] == len(own)


def test_a_spiral_is_one_piece() -> None:
    """The number of rounds until the numbers settle grows with the turns."""
    mask = np.zeros((61, 61), np.bool_)
    top, left, bottom, right = 0, 0, 60, 60
    while top < bottom and left < right:
        mask[top, left : right + 1] = mask[top : bottom + 1, right] = True
        mask[bottom, left : right + 1] = mask[top + 2 : bottom + 1, left] = True
        mask[top + 2, left : left + 3] = True
        top, left, bottom, right = top + 2, left + 2, bottom - 2, right - 2
        mask[top, left - 1] = True
    for diagonal in (False, True):
        runs = runs_of(mask)
        assert len(set(pieces(runs, 61, diagonal=diagonal).tolist())) == len(flood(mask, diagonal=diagonal))


@given(MASKS)
def test_holes(mask: np.ndarray) -> None:
    height, width = mask.shape
    inner = [
        len(piece)
        for piece in flood(~mask, diagonal=False)
        if not any(y in (0, height - 1) or x in (0, width - 1) for y, x in piece)
    ]
    assert sorted(hole_areas(mask).tolist()) == sorted(inner)


@given(SIZES.flatmap(lambda size: st.tuples(arrays(np.bool_, size), arrays(np.bool_, size))))
def test_distances(masks: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = masks
    second = second & ~first
    if not second.any() or not first.any():
        return
    runs = runs_of(first)
    piece = pieces(runs, first.shape[1], diagonal=True)
    found = distances(runs, piece, runs_of(second))
    targets = np.argwhere(second)
    for own in flood(first, diagonal=True):
        y, x = next(iter(own))
        at = next(
            label
            for row, start, stop, label in zip(runs.row, runs.start, runs.stop, piece, strict=True)
            if row == y and start <= x < stop
        )
        nearest = min(np.hypot(*(targets - np.array(pixel)).T).min() for pixel in own)
        assert found[at] == pytest.approx(nearest)


def edge_by_hand(mask: np.ndarray) -> int:
    """Longest run of rows in which a pixel of the mask has background to its left, or to its right, in one column."""
    best = 0
    for step in (-1, 1):
        for x in range(mask.shape[1]):
            length = 0
            for y in range(mask.shape[0]):
                beside = x + step
                edge = 0 <= beside < mask.shape[1] and mask[y, x] and not mask[y, beside]
                length = length + 1 if edge else 0
                best = max(best, length)
    return best


@given(MASKS)
def test_edges(mask: np.ndarray) -> None:
    assert longest_edges(mask) == (edge_by_hand(mask), edge_by_hand(mask.T))
    assert longest_edges(mask, ~mask) == (0, 0)


def test_the_edge_of_a_cut_disk() -> None:
    y, x = np.mgrid[:100, :120]
    disk = (y - 50) ** 2 + (x - 60) ** 2 < 40**2
    assert max(longest_edges(disk)) < 20
    disk[:, 60:] = False
    assert longest_edges(disk)[0] == 79
    assert extent(disk) == (79, 39)


def test_likeness_after_alignment() -> None:
    first = np.zeros((40, 50), np.bool_)
    first[5:15, 5:20] = True
    moved = np.roll(first, (17, 23), (0, 1))
    assert aligned_iou(first, moved) == 1.0
    assert aligned_iou(moved, first) == 1.0
    other = moved.copy()
    other[22:27] = False
    assert aligned_iou(first, other) == pytest.approx(0.5, abs=0.11)
    cross = np.zeros((40, 50), np.bool_)
    cross[20, 5:45] = cross[5:35, 25] = True
    heavier = cross.copy()
    heavier[20:22, 40:45] = True  # moves the centre of mass, which no longer says where the cross is
    assert aligned_iou(cross, heavier) == pytest.approx(cross.sum() / heavier.sum())
    partly = np.zeros_like(first)
    partly[:4, :8] = True
    assert 0 < aligned_iou(first, partly) < 0.5
