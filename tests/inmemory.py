"""Truth and predictions held in memory, so that tests drive the real counting without files."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from refvps.masks.mask import Mask
from refvps.predictions.problems import Report
from refvps.run.count import Boundary, ClipTask, count_clip
from refvps.types import Clip


def as_mask(array, form):
    mask = Mask.from_array(np.ascontiguousarray(array))
    return Mask.from_rle(mask.counts(), mask.size) if form == "rle" else mask


@dataclass(frozen=True)
class ArrayTruth:
    """``targets``: {id: bool [T, H, W] or None per frame}; ``ignore``: bool [T, H, W] or None."""

    targets: dict
    ignore: object = None
    form: str = "bits"

    def frame(self, index):
        targets = {
            name: None if track[index] is None else as_mask(track[index], self.form)
            for name, track in self.targets.items()
        }
        return targets, None if self.ignore is None else as_mask(self.ignore[index], self.form)


@dataclass(frozen=True)
class ArrayReader:
    """``masks``: {expression: bool [T, H, W], or None per missing frame}."""

    masks: dict
    form: str = "bits"
    problems: Report = field(default_factory=Report)

    def frame(self, index):
        return {
            name: None if track[index] is None else as_mask(track[index], self.form)
            for name, track in self.masks.items()
        }


def clip_of(frames, size, fps=24.0, name="clip"):
    names = tuple(f"{k:05d}" for k in range(frames))
    return Clip(name, tuple(size), fps, names, names, fps, name)


def count_arrays(predictions, target, ignore=None, *, forms=("bits", "bits"), boundary=True):
    """Counts [pairs, T, columns] of {expression: bool [T, H, W]} against one target, by the real counting."""
    if ignore is not None:
        target = target & ~ignore
    task = ClipTask(
        clip_of(len(target), target.shape[1:]),
        tuple((name, "1") for name in predictions),
        ArrayTruth({"1": target}, ignore, forms[1]),
        ArrayReader(predictions, forms[0]),
        Boundary(0.008, "drop") if boundary else None,
    )
    return count_clip(task).values
