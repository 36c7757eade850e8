"""The best mask of a clip that never moves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from baselines.oracles.truth import Masks, TargetTruth

Numbers = NDArray[np.float64]

FLIPS = 512
"""Up to so many groups of pixels the mask is also improved group by group."""


def static_mask(truth: TargetTruth) -> Masks:
    """One mask [H, W] for all annotated frames whose mean J is the highest that was found.

    Pixels that are target and Ignore on the same frames are one group: no order among them can matter. The
    groups are sorted by how much they promise; every prefix of the order is a candidate, scored exactly.
    The promise is first the share of the target that a group holds, then the derivative of the mean J at the
    best mask so far, until nothing improves; at last single groups are flipped while that helps, where they
    are few. Each step keeps the better mask, so the result is at least as good as any mask that collects the
    pixels which are target most often. Finding the best mask is a sum-of-ratios problem without a known fast
    exact solution: this is a lower bound of it, equal to it on nearly all small cases (tested by brute force).
    """
    if not len(truth):
        return np.zeros(truth.size, bool)
    groups, sizes, target, valid = _groups(truth)
    areas = sizes @ target
    with np.errstate(divide="ignore", invalid="ignore"):
        order = np.where(areas > 0, target / areas, 0.0).sum(axis=1) - 1e-9 * (valid - target).mean(axis=1)
    chosen, best = np.zeros(len(sizes), bool), -1.0
    while True:
        candidate, value = _best_prefix(np.argsort(-order, kind="stable"), sizes, target, valid)
        if value <= best + 1e-12:
            break
        chosen, best = candidate, value
        both, union = _areas(chosen, sizes, target, valid)
        union = np.maximum(union, 1)
        order = (target / union - (valid - target) * both / union**2).sum(axis=1)
    if len(sizes) <= FLIPS:
        chosen = _flipped(chosen, best, sizes, target, valid)
    return chosen[groups].reshape(truth.size)


def _groups(truth: TargetTruth) -> tuple[NDArray[np.intp], Numbers, Numbers, Numbers]:
    """Group of every pixel [H*W], pixels per group [S], and target and valid [S, T] as 0 and 1."""
    planes = [truth.target(k).ravel() & truth.valid(k).ravel() for k in range(len(truth))]
    planes += [truth.valid(k).ravel() for k in range(len(truth))]
    packed = np.packbits(np.stack(planes, axis=1), axis=1)
    keys = np.ascontiguousarray(packed).view(f"V{packed.shape[1]}").ravel()
    _, first, groups, sizes = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    bits = np.unpackbits(packed[first], axis=1, count=2 * len(truth)).astype(np.float64)
    return groups.ravel(), sizes.astype(np.float64), bits[:, : len(truth)], bits[:, len(truth) :]


def _areas(chosen: NDArray[np.bool_], sizes: Numbers, target: Numbers, valid: Numbers) -> tuple[Numbers, Numbers]:
    """|P and G| and |P or G| of every frame."""
    weight = sizes * chosen
    both = weight @ target
    return both, weight @ valid + sizes @ target - both


def _mean_j(both: Numbers, union: Numbers) -> Numbers:
    """Mean over the last axis of J; an empty union scores 1."""
    scores: Numbers = np.where(union > 0, both / np.maximum(union, 1), 1.0).mean(axis=-1)
    return scores


def _best_prefix(
    order: NDArray[np.intp], sizes: Numbers, target: Numbers, valid: Numbers
) -> tuple[NDArray[np.bool_], float]:
    """The best of the masks made of the first n groups in ``order``, n from 0."""
    all_target = sizes @ target
    both, area = np.zeros(target.shape[1]), np.zeros(target.shape[1])
    best, count = float(_mean_j(both, all_target)), 0
    for start in range(0, len(order), 4096):  # bounds the memory
        part = order[start : start + 4096]
        inside = both + np.cumsum(target[part] * sizes[part, None], axis=0)
        covered = area + np.cumsum(valid[part] * sizes[part, None], axis=0)
        values = _mean_j(inside, covered + all_target - inside)
        top = int(values.argmax())
        if values[top] > best:
            best, count = float(values[top]), start + top + 1
        both, area = inside[-1], covered[-1]
    chosen = np.zeros(len(order), bool)
    chosen[order[:count]] = True
    return chosen, best


def _flipped(
    chosen: NDArray[np.bool_], best: float, sizes: Numbers, target: Numbers, valid: Numbers
) -> NDArray[np.bool_]:
    """``chosen`` after flipping single groups, always the one that helps most, while one does."""
    while True:
        both, union = _areas(chosen, sizes, target, valid)
        step = np.where(chosen, -1.0, 1.0)[:, None] * sizes[:, None]
        inside = both + step * target
        values = _mean_j(inside, union + step * (valid - target))
        top = int(values.argmax())
        if values[top] <= best + 1e-12:
            return chosen
        chosen, best = chosen.copy(), float(values[top])
        chosen[top] = ~chosen[top]
