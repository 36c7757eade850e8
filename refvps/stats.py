"""Intervals and tests that respect clusters: clips cut from one source video are not independent.

All randomness is integers from ``numpy.random.Generator(PCG64(seed))``, whose stream does not depend on the
platform; bounds are rounded to 6 decimals, so the last bits of a matrix product cannot show.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from refvps.types import Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CHUNK = 1 << 22  # random integers held at once


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Units with values, the group (source video) each came from, and the class it is averaged in.

    ``values``: float64 [N]; ``groups`` and ``classes``: int64 [N], dense from 0. The estimate is the
    mean over classes of the mean over the units of a class; with one class, a plain mean.
    """

    values: Floats
    groups: Ints
    classes: Ints

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return int(self.groups.max()) + 1 if len(self.groups) else 0


def sample(values: Sequence[float], groups: Sequence[str], classes: Sequence[str] | None = None) -> Sample:
    """A :class:`Sample` from names; groups and classes are numbered in sorted order of their names."""
    names = {name: k for k, name in enumerate(sorted(set(groups)))}
    kinds = {name: k for k, name in enumerate(sorted(set(classes or ())))}
    return Sample(
        np.asarray(values, dtype=np.float64).reshape(-1),
        np.array([names[g] for g in groups], dtype=np.int64),
        np.array([kinds[c] for c in classes] if classes is not None else [0] * len(groups), dtype=np.int64),
    )


def exact_mean(values: Sequence[float]) -> float:
    """Mean by an exactly rounded sum; the values must not be empty."""
    return math.fsum(values) / len(values)


def mean(data: Sample) -> float | None:
    """Mean over classes of the mean over units, by exactly rounded sums; None for no units."""
    if not len(data.values):
        return None
    means = []
    for kind in range(int(data.classes.max()) + 1):
        means.append(exact_mean(data.values[data.classes == kind].tolist()))
    return exact_mean(means)


def _by_group(data: Sample) -> tuple[Floats, Floats]:
    """Sums and counts, each [groups, classes]."""
    shape = (data.n_groups, int(data.classes.max()) + 1)
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (data.groups, data.classes), data.values)
    np.add.at(counts, (data.groups, data.classes), 1.0)
    return sums, counts


def _weights(n: int, draws: int, seed: int) -> Iterator[Floats]:
    """How often each of ``n`` groups is drawn, float64 [<= draws, n], chunk by chunk."""
    if draws * n <= _CHUNK:
        yield _all_weights(n, draws, seed)
        return
    rng = np.random.Generator(np.random.PCG64(seed))
    size = max(1, _CHUNK // n)
    for start in range(0, draws, size):
        yield _drawn(rng, min(size, draws - start), n)


@lru_cache(maxsize=2)
def _all_weights(n: int, draws: int, seed: int) -> Floats:
    """All draws at once; every metric of a result is resampled with the same ones."""
    return _drawn(np.random.Generator(np.random.PCG64(seed)), draws, n)


def _drawn(rng: np.random.Generator, draws: int, n: int) -> Floats:
    drawn = rng.integers(0, n, size=(draws, n), dtype=np.int64)
    drawn += np.arange(draws, dtype=np.int64)[:, None] * n
    return np.bincount(drawn.reshape(-1), minlength=draws * n).reshape(draws, n).astype(np.float64)


def resample(data: Sample, draws: int = 10_000, seed: int = 0) -> Floats:
    """Bootstrap means, float64 [draws]: groups are drawn with replacement, the mean is over the units drawn.

    A class none of whose groups is drawn is left out of that draw. Two samples with the same number of
    groups and the same seed see the same draws, so differences and ranks are paired.
    """
    sums, counts = _by_group(data)
    means = []
    for weights in _weights(data.n_groups, draws, seed):
        drawn = weights @ counts
        present = drawn > 0
        averages = np.divide(weights @ sums, drawn, out=np.zeros_like(drawn), where=present)
        means.append(averages.sum(axis=1) / present.sum(axis=1))
    return np.concatenate(means)


def estimate(data: Sample, *, draws: int = 10_000, seed: int = 0, confidence: float = 0.95) -> Estimate:
    """Mean with a percentile bootstrap interval over groups; bounds are None for fewer than two groups."""
    n, groups = len(data.values), data.n_groups
    if groups < 2 or draws < 1:
        return Estimate(mean(data), None, None, n, groups)
    tail = (1 - confidence) / 2
    low, high = np.quantile(resample(data, draws, seed), [tail, 1 - tail])
    return Estimate(mean(data), round(float(low), 6), round(float(high), 6), n, groups)


def sign_flip(differences: Sample, *, flips: int = 10_000, seed: int = 0) -> float | None:
    """Two-sided p-value of "no difference": all differences of a group change sign together.

    ``differences.values`` are paired differences per unit. p = (b + 1) / (m + 1), where b of m random
    flips give a mean at least as far from 0 as the observed one (ties within 1e-12 count). None for no
    units or no flips; with very few groups p cannot be small: n groups allow 2^n outcomes.
    """
    if not len(differences.values) or flips < 1:
        return None
    sums, counts = _by_group(differences)
    contributions = (sums / counts.sum(axis=0)).sum(axis=1)
    observed = abs(math.fsum(contributions.tolist()))
    rng = np.random.Generator(np.random.PCG64(seed))
    extreme, size = 0, max(1, _CHUNK // len(contributions))
    for start in range(0, flips, size):
        signs = rng.integers(0, 2, size=(min(size, flips - start), len(contributions)), dtype=np.int8)
        flipped = (signs * 2.0 - 1.0) @ contributions
        extreme += int(np.count_nonzero(np.abs(flipped) >= observed - 1e-12))
    return (extreme + 1) / (flips + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction for several comparisons; same order as given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def rank_ranges(
    samples: Sequence[Sample], *, higher_is_better: bool, draws: int = 10_000, seed: int = 0, confidence: float = 0.95
) -> list[tuple[int, int]]:
    """Ranks (1 is best) each sample takes in the middle ``confidence`` of the shared bootstrap draws.

    The samples must hold the same units; ties share the better rank.
    """
    means = np.stack([resample(data, draws, seed) for data in samples])
    if higher_is_better:
        means = -means
    ranks = 1 + (means[None, :, :] < means[:, None, :] - 1e-12).sum(axis=1)
    tail = (1 - confidence) / 2
    low = np.quantile(ranks, tail, axis=1, method="lower")
    high = np.quantile(ranks, 1 - tail, axis=1, method="higher")
    return [(int(a), int(b)) for a, b in zip(low, high, strict=True)]
