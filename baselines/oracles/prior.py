"""The average mask of the other videos: how far a place alone gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from baselines.oracles.truth import Masks, TargetTruth, target_truth
from refvps.errors import UsageError
from refvps.types import Benchmark, Clip

GRID = 64
"""Side of the grid on which the mean mask is made, whatever the size of a clip."""
SAMPLES = 16
"""Frames of a target that the mean mask is made from, evenly spaced."""


def mean_masks(benchmark: Benchmark) -> Callable[[Clip], Masks]:
    """Where targets are in the other videos: from a clip to one mask [H, W], the honest chance level of a place.

    Every target is sampled on up to 16 evenly spaced frames and a grid of 64 x 64 points; every clip weighs the
    same. For a clip, the mean is taken over the clips of all other groups (source videos) and cut at the one
    of its own levels that gives the highest J on those clips; ties go to the larger mask. Nothing of its own
    video is used. Raises UsageError where all clips come from one video.
    """
    targets: dict[str, NDArray[np.bool_]] = {}
    valids: dict[str, NDArray[np.bool_]] = {}
    for clip in benchmark.clips.values():
        names = dict.fromkeys(expression.target for expression in benchmark.expressions_of(clip.id))
        rows = [row for name in names for row in _sampled(target_truth(benchmark, clip, name)[0])]
        if rows:
            targets[clip.id], valids[clip.id] = (np.stack([row[k] for row in rows]) for k in (0, 1))
    groups = {clip: benchmark.clips[clip].group for clip in targets}
    if len(set(groups.values())) < 2:
        raise UsageError(
            "A mean mask needs other videos.", where=[f"{benchmark.name}: one source video"], fix="use another oracle"
        )
    made: dict[str, NDArray[np.bool_]] = {}

    def mask(clip: Clip) -> Masks:
        if clip.group not in made:
            others = [each for each, group in sorted(groups.items()) if group != clip.group]
            made[clip.group] = _cut([targets[each] for each in others], [valids[each] for each in others])
        height, width = clip.size
        rows, columns = np.arange(height) * GRID // height, np.arange(width) * GRID // width
        return made[clip.group].reshape(GRID, GRID)[rows[:, None], columns]

    return mask


def _sampled(truth: TargetTruth) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Target (without Ignore) and valid on the grid, [GRID * GRID] each, of a few frames."""
    count = min(SAMPLES, len(truth))
    rows, columns = ((2 * np.arange(GRID) + 1) * side // (2 * GRID) for side in truth.size)
    for k in range(count):
        index = (2 * k + 1) * len(truth) // (2 * count)
        target, valid = (each[rows[:, None], columns].ravel() for each in (truth.target(index), truth.valid(index)))
        yield target & valid, valid


def _cut(targets: list[NDArray[np.bool_]], valids: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """The mean of clips [frames, cells] at the level that gives the highest mean J over them."""
    mean = np.mean([each.mean(axis=0) for each in targets], axis=0)
    levels = np.unique(mean)
    if len(levels) > 64:
        levels = np.unique(np.quantile(mean, np.linspace(0, 1, 65)))
    masks = (mean[:, None] >= levels).astype(np.float32)  # [cells, levels]; counts up to 4096 are exact
    values = np.zeros(len(levels))
    for target, valid in zip(targets, valids, strict=True):
        both = (target.astype(np.float32) @ masks).astype(np.float64)
        union = (valid.astype(np.float32) @ masks) + target.sum(axis=1, keepdims=True) - both
        values += np.where(union > 0, both / np.maximum(union, 1), 1.0).mean(axis=0) / len(targets)
    best = int(np.flatnonzero(values >= values.max() - 1e-12)[0])
    chosen: NDArray[np.bool_] = mean >= levels[best]
    return chosen
