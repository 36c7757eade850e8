"""Ground truth of one clip, read frame by frame in a worker; every class here pickles to a few paths or strings.

All of them implement :class:`refvps.types.Truth`. An Ignore region without a pixel is reported as None, so
that the same masks give the same answer from PNG and from RLE.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from refvps.data.masktracks import empty_counts, make_annotation, parse_masks
from refvps.errors import DataMissingError, InputError
from refvps.files import sha256
from refvps.masks import bits, png
from refvps.masks.mask import Mask
from refvps.types import Annotation, Clip, MaskTrack, Truth

MAX_MASK_BYTES = 1 << 26
"""Largest PNG mask file that is read, in bytes."""

MAX_TRACK_BYTES = 1 << 30
"""Largest mask file (RLE) that is read, in bytes."""

Frame = tuple[dict[str, Mask | None], Mask | None]


@dataclass(frozen=True, slots=True)
class RleTruth:
    """Ground truth held in memory as COCO RLE; the strings must have passed :func:`refvps.masks.rle.check`."""

    annotation: Annotation

    @property
    def absent(self) -> frozenset[tuple[str, int]]:
        """(Target, frame index) where a target is not annotated."""
        tracks = self.annotation.targets.items()
        return frozenset((key, k) for key, track in tracks for k, counts in enumerate(track.counts) if counts is None)

    def frame(self, index: int) -> Frame:
        """See :meth:`refvps.types.Truth.frame`."""
        found = {key: _mask(track, index) for key, track in self.annotation.targets.items()}
        ignore = None if self.annotation.ignore is None else _mask(self.annotation.ignore, index)
        return found, ignore if ignore is not None and ignore.area() else None


@dataclass(frozen=True, slots=True)
class PngTruth:
    """Ground truth as one label PNG per annotated frame.

    ``paths`` and ``hashes`` (hex SHA-256 of the file) have one entry per frame of the clip, None where it is not
    annotated; ``targets`` maps a label in the file to a target; with ``single`` every label that is neither 0
    nor ``ignore`` is the one target. A file that no longer has its hash is an InputError.
    """

    paths: tuple[str | None, ...]
    hashes: tuple[str | None, ...]
    size: tuple[int, int]
    targets: tuple[tuple[int, str], ...]
    ignore: int | None
    single: bool

    def frame(self, index: int) -> Frame:
        """See :meth:`refvps.types.Truth.frame`."""
        path = self.paths[index]
        if path is None:
            return {target: None for _, target in self.targets}, None
        data = read_unchanged(path, self.hashes[index])
        try:
            if self.single:
                target, ignored, _ = png.read_target_ignore(data, self.size, self.ignore)
                found: dict[str, Mask | None] = {self.targets[0][1]: Mask.from_bits(target, self.size)}
            else:
                labels = png.read_labels(data, self.size)
                found = {name: Mask.from_array(labels == label) for label, name in self.targets}
                ignored = bits.empty(self.size) if self.ignore is None else bits.pack(labels == self.ignore)
        except png.PngError as error:
            raise InputError("A ground truth mask cannot be used.", where=[f"{path}: {error}"]) from error
        return found, Mask.from_bits(ignored, self.size) if np.any(ignored) else None


@dataclass(frozen=True, slots=True)
class JoinedTruth:
    """Several truths of one clip side by side, one target each, with one Ignore region between them."""

    parts: tuple[tuple[str, PngTruth], ...]

    @property
    def absent(self) -> frozenset[tuple[str, int]]:
        """(Target, frame index) where a target is not annotated."""
        return frozenset((key, k) for key, part in self.parts for k, path in enumerate(part.paths) if path is None)

    def frame(self, index: int) -> Frame:
        """See :meth:`refvps.types.Truth.frame`."""
        found: dict[str, Mask | None] = {}
        ignore: Mask | None = None
        for target, part in self.parts:
            masks, ignored = part.frame(index)
            (found[target],) = masks.values()
            ignore = ignore or ignored
        return found, ignore


@dataclass(frozen=True, slots=True)
class HiddenTruth:
    """Ground truth that is not public; ``name`` is the benchmark. Whoever asks for it gets a DataMissingError."""

    name: str

    def frame(self, index: int) -> Frame:
        """Raise DataMissingError; see :meth:`refvps.types.Truth.frame`."""
        raise DataMissingError(
            f"The ground truth of {self.name} is not public.",
            fix="write what the server takes: refvps export predictions --layout annotations",
        )


class FileTruth:
    """Ground truth in a mask file of our own, parsed by whoever asks first; pickles as path and hash."""

    def __init__(self, path: str, clip: Clip, digest: str) -> None:
        self.path = path
        self.clip = clip
        self.digest = digest
        self._annotation: Annotation | None = None

    def __reduce__(self) -> tuple[type[FileTruth], tuple[str, Clip, str]]:
        return FileTruth, (self.path, self.clip, self.digest)

    def annotation(self) -> Annotation:
        """The whole file; InputError when it is no longer the one that was checked."""
        if self._annotation is None:
            data = read_unchanged(self.path, self.digest, MAX_TRACK_BYTES)
            self._annotation = parse_masks(data, self.path, self.clip, checked=True)
        return self._annotation

    def frame(self, index: int) -> Frame:
        """See :meth:`refvps.types.Truth.frame`."""
        return RleTruth(self.annotation()).frame(index)


def read_mask(path: str, limit: int = MAX_MASK_BYTES) -> bytes:
    """The content of a mask file; raises InputError when it cannot be read or has more than ``limit`` bytes."""
    try:
        with open(path, "rb", buffering=0) as stream:  # a third of the time of a buffered read of unknown length
            count = os.fstat(stream.fileno()).st_size
            data = stream.read(count) if count <= limit else None
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError("A mask cannot be read.", where=[f"{path}: {reason}"], fix="check the file") from error
    if data is None or len(data) != count:
        reason = f"over {limit:,} bytes" if data is None else "it changed while it was read"
        raise InputError("A mask cannot be read.", where=[f"{path}: {reason}"], fix="check the file")
    return data


def read_unchanged(path: str, digest: str | None, limit: int = MAX_MASK_BYTES) -> bytes:
    """A mask file that must still have the SHA-256 ``digest`` (hex)."""
    data = read_mask(path, limit)
    if digest is not None and sha256(data) != digest:
        raise InputError(
            "A ground-truth file is not the one that was checked.",
            where=[path],
            fix="restore it, or load (register) the benchmark again",
        )
    return data


def annotation(truth: Truth, clip: Clip, targets: Iterable[str] | None = None) -> Annotation:
    """Convert the ground truth of a clip to RLE; ``targets`` are the targets wanted, all by default.

    Raises KeyError for a target that the truth does not have.
    """
    wanted = None if targets is None else tuple(dict.fromkeys(targets))
    tracks: dict[str, list[bytes | None]] = {target: [None] * len(clip.frames) for target in wanted or ()}
    ignored: list[bytes | None] = [None] * len(clip.frames)
    nothing = empty_counts(clip.size)
    for index in clip.annotated_indices():
        masks, ignore = truth.frame(index)
        for target in masks if wanted is None else wanted:
            mask, track = masks[target], tracks.setdefault(target, [None] * len(clip.frames))
            track[index] = None if mask is None else mask.counts()
        ignored[index] = nothing if ignore is None else ignore.counts()
    return make_annotation(clip, tracks, ignored)


def _mask(track: MaskTrack, index: int) -> Mask | None:
    counts = track.counts[index]
    return None if counts is None else Mask.from_rle(counts, track.size)
