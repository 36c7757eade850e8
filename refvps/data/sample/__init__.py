"""The embedded benchmark: fourteen short clips of dynamic processes, painted by this package.

Pixels and masks come from integer arithmetic and a counter hash alone, so that they are the same on
every platform. Any frame can be asked for, in any order. The written annotation is
``annotations/sample``; ``python -m refvps.data.sample OUT`` writes it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from refvps.data.sample.clips import CLIPS, Scene, pixels, render
from refvps.errors import UsageError

__all__ = ["Frames", "build", "clip_ids", "frames", "labels", "pixel_digest"]


def clip_ids() -> tuple[str, ...]:
    """The ids of the clips, in the order of the benchmark."""
    return tuple(CLIPS)


def _scene(clip: str) -> Scene:
    if clip not in CLIPS:
        raise UsageError("The sample has no such clip.", where=[repr(clip)], fix="use one of " + ", ".join(CLIPS))
    return CLIPS[clip]


class Frames(Sequence[NDArray[np.uint8]]):
    """Frames of one clip, painted on access; a slice is lazy as well. Picklable."""

    __slots__ = ("_clip", "_indices")

    def __init__(self, clip: str, indices: range) -> None:
        self._clip = clip
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...

    @overload
    def __getitem__(self, index: slice) -> Frames: ...

    def __getitem__(self, index: int | slice) -> NDArray[np.uint8] | Frames:
        if isinstance(index, slice):
            return Frames(self._clip, self._indices[index])
        return render(self._clip, self._indices[index])[0].copy()


def frames(clip: str) -> Frames:
    """The frames of one clip: a lazy sequence of uint8 RGB [H, W, 3].

    Raises :class:`~refvps.errors.UsageError` for an unknown clip.
    """
    return Frames(clip, range(_scene(clip).length))


def labels(clip: str, index: int) -> NDArray[np.uint8]:
    """Ground truth of frame ``index``: uint8 [H, W] with 0 background, 1 target, 255 Ignore."""
    return render(clip, range(_scene(clip).length)[index])[1].copy()


def pixel_digest() -> str:
    """SHA-256 over the RGB bytes of all frames of all clips, in order (some seconds)."""
    digest = hashlib.sha256()
    for clip in CLIPS:
        for data in pixels(clip):
            digest.update(data)
    return digest.hexdigest()


def build(out: Path) -> None:
    """Write the annotation (clips, expressions, masks, pixel digest) into the folder ``out``."""
    from refvps.data.sample.records import write

    write(out)
