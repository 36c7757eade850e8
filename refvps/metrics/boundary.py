"""Contour accuracy F: the plain specification on dense arrays.

Origin: Perazzi et al., CVPR 2016; equals davis2017-evaluation's ``f_measure`` bit for bit, also with
Ignore. The scorer uses :mod:`refvps.masks.boundary`, which yields the same four integers faster; the
tests compare the two.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refvps.metrics.region import Floats, checked_masks

Bools = NDArray[np.bool_]


def tolerance(size: tuple[int, int], bound_th: float = 0.008) -> int:
    """Tolerance in pixels: ceil(bound_th * diagonal); a ``bound_th`` of 1 or more is in pixels already.

    >>> tolerance((480, 854)), tolerance((576, 1024))
    (8, 10)
    """
    if bound_th >= 1:
        return int(bound_th)
    return int(np.ceil(bound_th * np.linalg.norm(size)))


def boundary(mask: Bools) -> Bools:
    """Boundary pixels of a bool mask [H, W]: those that differ from the right, lower or lower-right one.

    In the last row only the right neighbour counts, in the last column only the lower one, and the
    corner is never boundary: DAVIS's ``seg2bmap`` at equal size. A mask that fills the frame has none.
    """
    edge = np.zeros_like(mask)
    edge[:-1, :-1] = (
        (mask[:-1, :-1] ^ mask[:-1, 1:]) | (mask[:-1, :-1] ^ mask[1:, :-1]) | (mask[:-1, :-1] ^ mask[1:, 1:])
    )
    edge[-1, :-1] = mask[-1, :-1] ^ mask[-1, 1:]
    edge[:-1, -1] = mask[:-1, -1] ^ mask[1:, -1]
    return edge


def dilate(mask: Bools, radius: int) -> Bools:
    """All pixels within Euclidean distance ``radius`` (a disk) of a pixel of ``mask`` [H, W]."""
    height, width = mask.shape
    grown = np.zeros_like(mask)
    for dy in range(-min(radius, height - 1), min(radius, height - 1) + 1):
        reach = min(math.isqrt(radius * radius - dy * dy), width - 1)
        rows = slice(max(dy, 0), height + min(dy, 0))
        source = mask[max(-dy, 0) : height + min(-dy, 0)]
        for dx in range(-reach, reach + 1):
            grown[rows, max(dx, 0) : width + min(dx, 0)] |= source[:, max(-dx, 0) : width + min(-dx, 0)]
    return grown


def boundary_counts(
    prediction: ArrayLike, target: ArrayLike, ignore: ArrayLike | None = None, bound_th: float = 0.008
) -> tuple[int, int, int, int]:
    """Four integers behind F for one frame: boundary pixels of the prediction, of the target, those of
    the prediction near the target's, those of the target near the prediction's.

    bool arrays [H, W]; Ignore is removed from both masks first, so that a cut along it is a boundary of
    both where both reach it. "Near" is within :func:`tolerance` pixels. Raises ValueError for anything but
    bool arrays of one shape.
    """
    prediction, target, *rest = checked_masks(prediction, target, ignore)
    if prediction.ndim != 2 or not prediction.size:
        raise ValueError(f"masks must be [H, W], not {prediction.shape}")
    for ignored in rest:
        prediction, target = prediction & ~ignored, target & ~ignored
    radius = tolerance((prediction.shape[0], prediction.shape[1]), bound_th)
    of_prediction, of_target = boundary(prediction), boundary(target)
    return (
        int(np.count_nonzero(of_prediction)),
        int(np.count_nonzero(of_target)),
        int(np.count_nonzero(of_prediction & dilate(of_target, radius))),
        int(np.count_nonzero(of_target & dilate(of_prediction, radius))),
    )


def f_from_counts(
    prediction: ArrayLike, target: ArrayLike, matched_prediction: ArrayLike, matched_target: ArrayLike
) -> Floats:
    """F from the four integers of :func:`boundary_counts`; any shape, float64 in [0, 1], higher is better.

    precision = matched_prediction / prediction, recall = matched_target / target,
    F = 2 * precision * recall / (precision + recall). No boundary on either side gives 1, on one side
    0, and 0 when precision and recall are both 0 (DAVIS). Note: a full-frame mask has no boundary, so
    against an empty target it has F = 1 although J = 0; one more reason to keep F away from water and sky.

    >>> float(f_from_counts(4, 8, 4, 4))
    0.6666666666666666
    >>> float(f_from_counts(0, 0, 0, 0)), float(f_from_counts(5, 0, 0, 0))
    (1.0, 0.0)
    """
    n_p, n_g, m_p, m_g = np.broadcast_arrays(
        *(np.asarray(x, dtype=np.int64) for x in (prediction, target, matched_prediction, matched_target))
    )
    both = (n_p > 0) & (n_g > 0)
    precision, found = np.zeros(n_p.shape), np.zeros(n_p.shape)
    np.divide(m_p, n_p, out=precision, where=both)
    np.divide(m_g, n_g, out=found, where=both)
    total = precision + found
    values = np.zeros(n_p.shape)
    np.divide(2 * precision * found, total, out=values, where=total > 0)
    values[(n_p == 0) & (n_g == 0)] = 1.0
    return values


def boundary_f(
    prediction: ArrayLike, target: ArrayLike, ignore: ArrayLike | None = None, bound_th: float = 0.008
) -> float | Floats:
    """Contour accuracy F of one frame [H, W] (a float) or of a clip [T, H, W] (float64 [T]), bool, in [0, 1].

    See :func:`f_from_counts` for the definition. Raises ValueError as :func:`boundary_counts`.
    """
    masks = checked_masks(prediction, target, ignore)
    frames = [tuple(masks)] if masks[0].ndim != 3 else list(zip(*masks, strict=True))
    rows = [boundary_counts(p, g, i[0] if i else None, bound_th) for p, g, *i in frames]
    values = f_from_counts(*np.array(rows, dtype=np.int64).reshape(-1, 4).T)
    return values if masks[0].ndim == 3 else float(values[0])
