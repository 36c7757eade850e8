"""Predictions stored as PNG files: one binary mask per file, or one id mask per frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refvps.archive import FileSet, shown
from refvps.errors import InputError
from refvps.masks import png
from refvps.masks.mask import Mask
from refvps.predictions.problems import Findings
from refvps.types import Clip

_CODES = {
    "size": "size",
    "too-large": "size",
    "rgb": "rgb",
    "rgba": "rgba",
    "grey-alpha": "rgba",
    "16-bit": "16-bit",
    "soft": "soft",
    "non-binary": "non-binary",
    "grey-ids": "grey-ids",
    "truncated": "truncated",
    "corrupt": "corrupt",
    "not-png": "format",
}


def size_fault(found: tuple[int, int], wanted: tuple[int, int]) -> str:
    """Both sizes, given as (height, width), in words a person can act on, as WIDTHxHEIGHT."""
    text = f"{found[1]}x{found[0]} but the clip is {wanted[1]}x{wanted[0]}"
    high, wide = found[0] - wanted[0], found[1] - wanted[1]
    if found == wanted[::-1] and wanted[0] != wanted[1]:
        return f"{text} (transposed)"
    if abs(high) <= 1 and abs(wide) <= 1:
        sides = [side for side, off in (("width", wide), ("height", high)) if off]
        return f"{text} ({' and '.join(sides)} off by one)"
    for one, other, word in ((found, wanted, "larger"), (wanted, found, "smaller")):
        times = one[0] // other[0] if other[0] else 0
        if times > 1 and one == (times * other[0], times * other[1]):
            return f"{text} ({times} times {word})"
    return text


def byte_limit(size: tuple[int, int]) -> int:
    """Most bytes a picture of a mask may have: 16-bit RGBA without compression."""
    return 8 * size[0] * size[1] + (1 << 20)


def _blame(data: bytes, name: str, size: tuple[int, int], error: png.PngError, findings: Findings) -> None:
    code, reason = _CODES.get(error.kind, "corrupt"), str(error)
    if error.kind == "not-png":
        if data[:2] == b"\xff\xd8":
            code, reason = "jpeg", "JPEG data in a file named .png"
        elif not data:
            code, reason = "truncated", "the file is empty (0 bytes)"
    elif error.kind == "size":
        head = png.header(data)
        reason = size_fault((head.height, head.width), size)
    findings.add(code, f"{shown(name)}: {reason}")


def _data(files: FileSet, name: str, size: tuple[int, int], findings: Findings) -> bytes | None:
    try:
        return files.read(name, byte_limit(size))
    except InputError as error:
        findings.add("unreadable", error.where[0] if error.where else shown(name))
        return None


def read_binary(files: FileSet, name: str, size: tuple[int, int], findings: Findings) -> Mask | None:
    """One binary PNG; None, with the reason in ``findings``, if it is not one of decision 12's kinds."""
    data = _data(files, name, size, findings)
    if data is None:
        return None
    try:
        return Mask.from_bits(png.read_binary(data, size), size)
    except png.PngError as error:
        _blame(data, name, size, error, findings)
        return None


def read_labels(files: FileSet, name: str, size: tuple[int, int], findings: Findings) -> NDArray[np.uint8] | None:
    """The labels of an 8-bit or 1-bit PNG, uint8 [H, W]; None, with the reason in ``findings``, for any other."""
    data = _data(files, name, size, findings)
    if data is None:
        return None
    try:
        return png.read_labels(data, size)
    except png.PngError as error:
        _blame(data, name, size, error, findings)
        return None


@dataclass(frozen=True, slots=True)
class Pictures:
    """One binary PNG per expression and frame: file by frame index, by expression id.

    An empty file name marks a file already reported when the submission was opened.
    """

    files: Mapping[str, Mapping[int, str]]

    def names(self) -> set[str]:
        """The files this needs."""
        return {name for files in self.files.values() for name in files.values() if name}

    def open(self, files: FileSet, clip: Clip, findings: Findings) -> PictureSource:
        """Ready to read."""
        return PictureSource(self, files, clip, findings)


class PictureSource:
    """Reads :class:`Pictures` one file at a time."""

    def __init__(self, entry: Pictures, archive: FileSet, clip: Clip, findings: Findings) -> None:
        self.files, self.archive, self.size, self.findings = entry.files, archive, clip.size, findings

    def frame(self, index: int) -> dict[str, Mask | None]:
        """Masks of frame ``index`` by expression id."""
        masks: dict[str, Mask | None] = {}
        for expression, files in self.files.items():
            name = files.get(index)
            masks[expression] = read_binary(self.archive, name, self.size, self.findings) if name else None
        return masks


@dataclass(frozen=True, slots=True)
class IdRun:
    """One file per frame that answers several expressions: pixel value to expression id.

    ``binary``: the one expression that binary files answer; with ``values`` only grey ones are binary, those
    with a palette hold ids.
    """

    files: Mapping[int, str]
    values: Mapping[int, str]
    binary: str = ""


@dataclass(frozen=True, slots=True)
class IdPictures:
    """Id masks: one run, or several (``anno_0`` to ``anno_3``)."""

    runs: tuple[IdRun, ...]

    def names(self) -> set[str]:
        """The files this needs."""
        return {name for run in self.runs for name in run.files.values() if name}

    def open(self, files: FileSet, clip: Clip, findings: Findings) -> IdSource:
        """Ready to read."""
        return IdSource(self, files, clip, findings)


class IdSource:
    """Reads :class:`IdPictures`; every file is decoded once for all its expressions."""

    def __init__(self, entry: IdPictures, archive: FileSet, clip: Clip, findings: Findings) -> None:
        self.runs, self.archive, self.size, self.findings = entry.runs, archive, clip.size, findings

    def frame(self, index: int) -> dict[str, Mask | None]:
        """Masks of frame ``index`` by expression id."""
        masks: dict[str, Mask | None] = {}
        for run in self.runs:
            name = run.files.get(index)
            if run.binary and not run.values:
                masks[run.binary] = read_binary(self.archive, name, self.size, self.findings) if name else None
            else:
                masks |= self._split(run, name)
        return masks

    def _split(self, run: IdRun, name: str | None) -> dict[str, Mask | None]:
        nothing: dict[str, Mask | None] = dict.fromkeys(run.values.values())
        data = _data(self.archive, name, self.size, self.findings) if name else None
        if data is None:
            return nothing
        assert name
        try:
            if run.binary and png.header(data).colour != png.PALETTE:
                return {run.binary: Mask.from_bits(png.read_binary(data, self.size), self.size)}
            ids = png.read_ids(data, self.size)
        except png.PngError as error:
            _blame(data, name, self.size, error, self.findings)
            return nothing
        if png.header(data).colour == png.GREY and 255 in (labels := png.read_labels(data, self.size)):
            ids = labels  # a plain foreground mask: nobody can tell whose
        masks = {expression: Mask.from_array(ids == value) for value, expression in run.values.items()}
        if sum(mask.area() for mask in masks.values()) != np.count_nonzero(ids):
            strange = sorted(set(np.unique(ids).tolist()) - {0, *run.values})
            known = ", ".join(str(value) for value in run.values)
            self.findings.add("unknown-id", f"{shown(name)}: {', '.join(map(str, strange))} (targets: {known})")
            return nothing
        return dict(masks)
