"""Boundary counts on packed bits against a slow dense oracle built on cv2.dilate."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from refvps.masks import bits
from refvps.masks.boundary import BoundaryTruth, counts
from refvps.metrics.boundary import boundary_counts

Mask = NDArray[np.bool_]
Four = tuple[int, int, int, int]
KINDS = ("empty", "full", "salt", "noise", "pepper", "disk", "ragged", "border", "corner", "stripe")


# --- the oracle: DAVIS as written, on dense arrays


def boundary_map(mask: Mask) -> NDArray[np.uint8]:
    """seg2bmap at equal size: right, lower and diagonal neighbours, with their special last row and column."""
    east, south, diagonal = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    east[:, :-1] = mask[:, 1:]
    south[:-1] = mask[1:]
    diagonal[:-1, :-1] = mask[1:, 1:]
    edge = (mask ^ east) | (mask ^ south) | (mask ^ diagonal)
    edge[-1] = mask[-1] ^ east[-1]
    edge[:, -1] = mask[:, -1] ^ south[:, -1]
    edge[-1, -1] = False
    return edge.astype(np.uint8)


def disk(radius: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)


def oracle(pred: Mask, target: Mask, ignore: Mask | None, bound_th: float) -> Four:
    if ignore is not None:
        pred, target = pred & ~ignore, target & ~ignore
    radius = int(bound_th) if bound_th >= 1 else int(np.ceil(bound_th * np.linalg.norm(pred.shape)))
    of_pred, of_target = boundary_map(pred), boundary_map(target)
    near_pred, near_target = cv2.dilate(of_pred, disk(radius)), cv2.dilate(of_target, disk(radius))
    return (
        int(of_pred.sum()),
        int(of_target.sum()),
        int((of_pred & near_target).sum()),
        int((of_target & near_pred).sum()),
    )


def packed(pred: Mask, target: Mask, ignore: Mask | None, bound_th: float) -> Four:
    truth = BoundaryTruth(bits.pack(target), None if ignore is None else bits.pack(ignore), target.shape, bound_th)
    return counts(bits.pack(pred), truth)


# --- masks


def draw_mask(size: tuple[int, int], kind: str, seed: int) -> Mask:
    rng = np.random.default_rng(seed)
    height, width = size
    y, x = np.ogrid[:height, :width]
    if kind in ("empty", "full"):
        return np.full(size, kind == "full")
    if kind == "disk":
        radius = rng.random() * max(size) / 2
        return np.asarray((y - rng.random() * height) ** 2 + (x - rng.random() * width) ** 2 <= radius**2)
    if kind == "ragged":
        field = cv2.GaussianBlur(rng.standard_normal(size), (0, 0), rng.choice([0.7, 2, 6]))
        return np.asarray(field.reshape(size) > np.quantile(field, rng.random()))
    if kind == "border":  # touches the last row and column
        return np.asarray((y >= height - 1 - rng.integers(0, 3)) | (x >= width - 1 - rng.integers(0, 3)))
    if kind == "corner":
        mask = np.zeros(size, np.bool_)
        mask[rng.choice([0, -1]), rng.choice([0, -1])] = True
        return mask
    if kind == "stripe":
        return np.broadcast_to((x + seed) % max(2, width // 3) == 0, size).copy()
    return rng.random(size) < {"salt": 0.004, "noise": 0.5, "pepper": 0.99}[kind]


sides = st.integers(1, 12) | st.integers(3, 180) | st.sampled_from([63, 64, 65, 127, 128, 129, 192])
sizes = st.tuples(sides, sides) | st.tuples(st.just(1), sides) | st.tuples(sides, st.just(1))
kinds = st.sampled_from(KINDS)
tolerances = st.sampled_from([0.008, 0.008, 0.008, 0.0, 1e-9, 0.02, 0.05, 0.3, 0.7, 1, 2, 5, 10])


@settings(max_examples=600)
@given(sizes, kinds, kinds, st.none() | kinds, tolerances, st.integers(0, 2**32 - 4))
@example((43, 135), "salt", "ragged", None, 0.1, 1)
@example((21, 130), "ragged", "corner", None, 70, 2)
def test_equals_the_oracle(
    size: tuple[int, int], pred: str, target: str, ignore: str | None, bound_th: float, seed: int
) -> None:
    p, t = draw_mask(size, pred, seed), draw_mask(size, target, seed + 1)
    v = None if ignore is None else draw_mask(size, ignore, seed + 2)
    assert packed(p, t, v, bound_th) == oracle(p, t, v, bound_th)


@settings(max_examples=80)
@given(sizes, kinds, kinds, st.none() | kinds, st.sampled_from([0.008, 0.05, 3]), st.integers(0, 2**32 - 4))
def test_equals_the_specification(
    size: tuple[int, int], pred: str, target: str, ignore: str | None, bound_th: float, seed: int
) -> None:
    p, t = draw_mask(size, pred, seed), draw_mask(size, target, seed + 1)
    v = None if ignore is None else draw_mask(size, ignore, seed + 2)
    assert packed(p, t, v, bound_th) == boundary_counts(p, t, v, bound_th)


@settings(max_examples=40)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 400)),
    kinds,
    kinds,
    st.sampled_from([31, 63, 64, 65, 100, 127, 128, 130, 200]),
    st.integers(0, 2**32 - 4),
)
def test_tolerances_wider_than_a_word(size: tuple[int, int], pred: str, target: str, radius: int, seed: int) -> None:
    p, t = draw_mask(size, pred, seed), draw_mask(size, target, seed + 1)
    assert packed(p, t, None, radius) == oracle(p, t, None, radius)


@pytest.mark.parametrize("size", [(576, 1024), (480, 854), (853, 480), (720, 1280)])
def test_real_sizes(size: tuple[int, int]) -> None:
    names = ("ragged", "disk", "border", "salt")
    ignore = draw_mask(size, "disk", 9)
    for k, pred in enumerate(names):
        for target in names:
            p, t = draw_mask(size, pred, k), draw_mask(size, target, k + 1)
            assert packed(p, t, ignore, 0.008) == oracle(p, t, ignore, 0.008)


# --- single facts


def rectangle(size: tuple[int, int], rows: slice, columns: slice) -> Mask:
    mask = np.zeros(size, np.bool_)
    mask[rows, columns] = True
    return mask


def test_a_square_counted_by_hand() -> None:
    """A square of side 4 has 4 * 4 boundary pixels: its last row and column, and the row and column before it."""
    square = rectangle((20, 20), slice(5, 9), slice(5, 9))
    assert packed(square, square, None, 1) == (16, 16, 16, 16)
    moved = np.roll(square, 6, axis=1)
    assert packed(moved, square, None, 1) == (16, 16, 0, 0)
    assert packed(moved, square, None, 2) == (16, 16, 5, 5)  # the columns that face each other
    assert packed(moved, square, None, 3) == (16, 16, 7, 7)  # and the ends of the next ones


def test_masks_without_a_boundary() -> None:
    size = (30, 70)
    full, empty = np.ones(size, np.bool_), np.zeros(size, np.bool_)
    square = rectangle(size, slice(3, 9), slice(3, 9))
    for nothing in (full, empty):
        assert packed(nothing, nothing, None, 0.1) == (0, 0, 0, 0)
        assert packed(square, nothing, None, 0.1) == (24, 0, 0, 0)
        assert packed(nothing, square, None, 0.1) == (0, 24, 0, 0)


def test_the_cut_along_ignore_is_a_boundary_of_both() -> None:
    size = (40, 90)
    ignore = rectangle(size, slice(10, 20), slice(30, 50))
    full = np.ones(size, np.bool_)
    around = 2 * (10 + 20)
    assert packed(full, full, ignore, 0.008) == (around,) * 4
    assert packed(ignore, full, ignore, 0.008) == (0, around, 0, 0)
    assert packed(ignore, ignore, ignore, 0.008) == (0, 0, 0, 0)


@pytest.mark.parametrize(("size", "radius"), [((480, 854), 8), ((576, 1024), 10), ((1280, 720), 12), ((3, 4), 1)])
def test_the_tolerance_is_a_share_of_the_diagonal(size: tuple[int, int], radius: int) -> None:
    assert BoundaryTruth(bits.empty(size), None, size).radius == radius
    assert BoundaryTruth(bits.empty(size), None, size, 2.9).radius == min(2, math.ceil(math.hypot(*size)))


def test_the_tolerance_ends_exactly_at_the_disk() -> None:
    size = (60, 200)
    target = rectangle(size, slice(30, 31), slice(100, 101))
    for dy, dx in ((0, 10), (6, 8), (8, 6), (10, 0), (7, 8), (0, 11), (8, 7), (11, 0), (-6, -8), (-7, -8)):
        pred = np.roll(target, (dy, dx), (0, 1))
        assert packed(pred, target, None, 10) == oracle(pred, target, None, 10)
    assert packed(np.roll(target, (0, 12), (0, 1)), target, None, 10)[2:] == (0, 0)
    assert packed(np.roll(target, (0, 11), (0, 1)), target, None, 10)[2:] == (2, 2)


def test_one_truth_serves_many_predictions_in_any_order_and_thread() -> None:
    size = (90, 150)
    ignore = draw_mask(size, "disk", 3)
    targets = [draw_mask(size, "ragged", k) for k in range(3)]
    preds = [draw_mask(size, kind, 7) for kind in KINDS]
    truths = [BoundaryTruth(bits.pack(target), bits.pack(ignore), size) for target in targets]
    inputs = [bits.pack(pred) for pred in preds]
    before = [array.copy() for array in inputs]
    expected = [[oracle(pred, target, ignore, 0.008) for pred in preds] for target in targets]
    wrong: list[Sequence[int]] = []

    def run(turn: int) -> None:
        for k in range(60):
            t, p = (k * 7 + turn) % 3, (k * 3 + turn) % len(preds)
            if counts(inputs[p], truths[t]) != expected[t][p]:
                wrong.append((t, p))

    threads = [threading.Thread(target=run, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    for array, copy in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, copy)
