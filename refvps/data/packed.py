"""Ground truth as packed bits, ready to be counted: one derived file per clip of a registered data set.

A file is one line of JSON (schema, clip, size, planes: [target or null for Ignore, frame index, bytes, area]) and then
the planes, each the words of :mod:`refvps.masks.bits` compressed with zlib. An empty mask has no plane. It is
made from the RLE at registration and read about three times as fast as the PNG it may come from.
"""

from __future__ import annotations

import json
import zlib as _standard
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from refvps.data.masktracks import empty_counts
from refvps.data.truth import MAX_TRACK_BYTES, FileTruth, Frame, read_unchanged
from refvps.files import canonical_json, write_atomic
from refvps.masks import bits, rle
from refvps.masks.bits import Bits
from refvps.masks.mask import Mask
from refvps.types import Annotation, Clip, MaskTrack

try:
    from zlib_ng import zlib_ng as _fast  # type: ignore[import-not-found,import-untyped,unused-ignore]

    _zlib: Any = _fast
except ImportError:  # the same results, more slowly
    _zlib = _standard

SCHEMA = "refvps.bits/1"


def write_packed(path: Path, clip: Clip, annotation: Annotation) -> None:
    """Write the packed form of a clip's ground truth, atomically."""
    tracks: list[tuple[str | None, MaskTrack]] = [*sorted(annotation.targets.items())]
    if annotation.ignore is not None:
        tracks.append((None, annotation.ignore))
    planes: list[list[str | int | None]] = []
    blobs: list[bytes] = []
    for index in clip.annotated_indices():
        for key, track in tracks:
            counts = track.counts[index]
            words = None if counts is None else rle.to_bits(counts, clip.size)
            if words is not None and words.any():
                blobs.append(_zlib.compress(words.tobytes(), 6))
                planes.append([key, index, len(blobs[-1]), bits.area(words)])
    head = canonical_json({"schema": SCHEMA, "clip": clip.id, "size": list(clip.size), "planes": planes})
    write_atomic(path, b"".join([head, b"\n", *blobs]))


class PackedFile:
    """The packed form of one clip, read and checked against its SHA-256 on first use; pickles as a path."""

    def __init__(self, path: str, size: tuple[int, int], digest: str) -> None:
        self.path, self.size, self.digest = path, size, digest

    def __reduce__(self) -> tuple[type[PackedFile], tuple[str, tuple[int, int], str]]:
        return PackedFile, (self.path, self.size, self.digest)

    @cached_property
    def _planes(self) -> dict[tuple[str | None, int], tuple[memoryview, int]]:
        data = read_unchanged(self.path, self.digest, MAX_TRACK_BYTES)
        start = data.index(b"\n") + 1
        planes, view = {}, memoryview(data)
        for key, index, length, area in json.loads(data[:start])["planes"]:
            planes[key, index] = view[start : start + length], area
            start += length
        return planes

    def bits(self, target: str | None, index: int) -> Bits:
        """The mask of a target, or of Ignore (None), on frame ``index``; read-only."""
        plane = self._planes.get((target, index))
        if plane is None:
            return bits.empty(self.size)
        count = 8 * bits.words(self.size)
        return np.frombuffer(_zlib.decompress(plane[0], 15, count + 64), dtype=np.uint64)

    def area(self, target: str | None, index: int) -> int:
        """Pixels of that mask."""
        plane = self._planes.get((target, index))
        return 0 if plane is None else plane[1]


@dataclass(frozen=True, slots=True)
class TwoFormTruth:
    """The same ground truth as packed bits and as RLE: a mask is read in the form asked for, and only then.

    Predictions in either form are so counted without converting anything. ``absent`` lists (target, frame
    index) of annotated frames on which a target is not annotated.
    """

    packed: PackedFile
    rle: FileTruth
    targets: tuple[str, ...]
    absent: frozenset[tuple[str, int]] = frozenset()

    def frame(self, index: int) -> Frame:
        """See :meth:`refvps.types.Truth.frame`; the Ignore mask may be empty."""
        clip = self.rle.clip
        if clip.frames[index] not in clip.annotated:
            return dict.fromkeys(self.targets), None
        found: dict[str, Mask | None] = {
            target: None if (target, index) in self.absent else self._mask(target, index) for target in self.targets
        }
        return found, self._mask(None, index)

    def _mask(self, target: str | None, index: int) -> Mask:
        def from_rle() -> bytes:
            annotation = self.rle.annotation()
            track = annotation.ignore if target is None else annotation.targets[target]
            return (None if track is None else track.counts[index]) or empty_counts(self.rle.clip.size)

        def from_bits() -> Bits:
            return self.packed.bits(target, index)

        return Mask.lazy(self.rle.clip.size, self.packed.area(target, index), from_bits, from_rle)
