"""A benchmark small enough to be written out in tests: three clips, odd sizes, every kind of target.

melt: 37x53, 12 frames, all annotated, one target with four expressions.
ripple: portrait 61x35, 13 frames of which every fourth is annotated, one expression.
flash: 29x43, 6 frames, two targets with one expression each, which never overlap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refvps.masks.mask import Mask
from refvps.types import Benchmark, Clip, Expression

Masks = dict[tuple[str, str], NDArray[np.bool_]]


def _clip(name: str, size: tuple[int, int], count: int, step: int) -> Clip:
    frames = tuple(f"{index:05d}" for index in range(count))
    return Clip(name, size, 24.0, frames, frames[::step], 24.0 / step, name, "test", f"video_{name}")


CLIPS = (_clip("melt", (37, 53), 12, 1), _clip("ripple", (61, 35), 13, 4), _clip("flash", (29, 43), 6, 1))

EXPRESSIONS = (
    *(
        Expression(f"a{number}", "melt", f"the wax, version {number}", "1", "wax melting", source_id=str(number))
        for number in range(4)
    ),
    Expression("r0", "ripple", "the ripples", "1", "ripples", source_id="0"),
    Expression("left", "flash", "the left flash", "1", "lightning", source_id="0"),
    Expression("right", "flash", "the right flash", "2", "lightning", source_id="1"),
)


def _blobs(clip: Clip, target: str, seed: int) -> NDArray[np.bool_]:
    """A drifting disc with ragged edges, kept to the target's half of the frame; empty at the start."""
    height, width = clip.size
    key = [seed, *clip.id.encode(), *target.encode()]
    random = np.random.default_rng(key)
    y, x = np.mgrid[:height, :width]
    masks = np.zeros((len(clip.frames), height, width), np.bool_)
    halves = {"1": x < width // 2, "2": x >= width // 2}
    for index in range(len(clip.frames)):
        centre = random.uniform(0.2, 0.8, 2) * clip.size
        radius = min(clip.size) * random.uniform(0.2, 0.45)
        disc = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        masks[index] = disc & (random.random(clip.size) < 0.9)
        if clip.id == "flash":
            masks[index] &= halves[target]
    masks[0] = False
    return masks


@dataclass(frozen=True)
class TinyTruth:
    """Truth of one clip; every target and an Ignore strip at the bottom that no target touches."""

    clip: Clip
    targets: tuple[str, ...]

    def frame(self, index: int) -> tuple[Mapping[str, Mask | None], Mask | None]:
        if self.clip.frames[index] not in self.clip.annotated:
            return dict.fromkeys(self.targets), None
        ignore = np.zeros(self.clip.size, np.bool_)
        ignore[-3:] = True
        masks = {target: _blobs(self.clip, target, 0)[index] & ~ignore for target in self.targets}
        return {target: Mask.from_array(mask) for target, mask in masks.items()}, Mask.from_array(ignore)


@dataclass(frozen=True)
class TinyTruths:
    """``benchmark.truth``; picklable."""

    clips: tuple[Clip, ...]
    expressions: tuple[Expression, ...]

    def __call__(self, clip: str) -> TinyTruth:
        targets = dict.fromkeys(each.target for each in self.expressions if each.clip == clip)
        return TinyTruth(next(each for each in self.clips if each.id == clip), tuple(targets))


def tiny_benchmark(clips: tuple[Clip, ...] = CLIPS, expressions: tuple[Expression, ...] = EXPRESSIONS) -> Benchmark:
    """The benchmark described above, or one of other clips and expressions made the same way."""
    known = {clip.id: clip for clip in clips}
    digests = {
        clip.id: hashlib.sha256(repr((clip, [e for e in expressions if e.clip == clip.id])).encode()).hexdigest()
        for clip in clips
    }
    return Benchmark(
        name="tiny",
        version="1",
        digest=hashlib.sha256("".join(digests.values()).encode()).hexdigest(),
        clips=known,
        expressions=expressions,
        truth=TinyTruths(clips, expressions),
        clip_digests=digests,
    )


def tiny_masks(benchmark: Benchmark, seed: int = 1) -> Masks:
    """Predictions by (clip, expression), bool [T, H, W]: every expression differs, some masks are empty."""
    masks: Masks = {}
    for number, each in enumerate(benchmark.expressions):
        clip = benchmark.clips[each.clip]
        masks[each.clip, each.id] = _blobs(clip, each.target, seed + 10 * number)
    return masks


class ArrayReader:
    """Masks of one clip from arrays, read like a submission's."""

    def __init__(self, masks: Masks, clip: str) -> None:
        self.arrays = {expression: array for (each, expression), array in masks.items() if each == clip}

    def frame(self, index: int) -> Mapping[str, Mask | None]:
        return {expression: Mask.from_array(array[index]) for expression, array in self.arrays.items()}


@dataclass(frozen=True)
class ArrayReaders:
    """``readers`` for :func:`refvps.predictions.export.export`."""

    masks: Masks

    def __call__(self, clip: str) -> ArrayReader:
        return ArrayReader(self.masks, clip)
