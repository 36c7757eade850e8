"""Ground truth as oracles read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.types import Benchmark, Clip

Masks = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TargetTruth:
    """Ground truth of one target on the annotated frames of its clip; masks bool [H, W], decoded when asked for."""

    size: tuple[int, int]
    targets: Sequence[Any]
    ignores: Sequence[Any]

    def __len__(self) -> int:
        return len(self.targets)

    def target(self, index: int) -> Masks:
        """Pixels of the target on the annotated frame ``index``."""
        return np.asarray(self.targets[index].array(), bool)

    def valid(self, index: int) -> Masks:
        """Pixels that are not Ignore there."""
        ignore = self.ignores[index]
        return np.ones(self.size, bool) if ignore is None else ~np.asarray(ignore.array(), bool)


def target_truth(benchmark: Benchmark, clip: Clip, target: str) -> tuple[TargetTruth, list[int]]:
    """Ground truth of a target, and the position in the clip of every frame on which it is annotated."""
    truth = benchmark.truth(clip.id)
    targets, ignores, positions = [], [], []
    for position in clip.annotated_indices():
        found, ignore = truth.frame(position)
        if found[target] is not None:
            targets.append(found[target])
            ignores.append(ignore)
            positions.append(position)
    return TargetTruth(clip.size, targets, ignores), positions
