"""Predictions stored as numpy arrays [frames, height, width] of bool or uint8 (0 and 1), never pickled.

``<clip>.npz`` holds one array per expression id, ``<clip>/<expression>.npy`` (or .npz) one array. The
first axis counts the frames of the clip or its annotated frames. The header is checked before any data
is read, and data is read one frame at a time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.archive import FileSet, Stream, shown
from refvps.errors import InputError
from refvps.masks.mask import Mask
from refvps.predictions.frames import report_strangers
from refvps.predictions.layouts import chosen_names
from refvps.predictions.pictures import size_fault
from refvps.predictions.problems import Findings
from refvps.types import Clip

MAX_HEADER_BYTES = 4096
MAX_ARCHIVE_BYTES = 1 << 30

_DESCR = re.compile(r"'descr'\s*:\s*'([^'\\]{1,40})'")
_ORDER = re.compile(r"'fortran_order'\s*:\s*(True|False)")
_SHAPE = re.compile(r"'shape'\s*:\s*\(([0-9, ]*)\)")
_MASKS = frozenset({"|b1", "b1", "?", "|u1", "u1", "<u1", ">u1", "B"})
_FLOATS = re.compile(r"[<>=|]?f[248]")


class _BadArrayError(Exception):
    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclass(frozen=True, slots=True)
class _Header:
    descr: str
    shape: tuple[int, ...]
    fortran: bool
    length: int


def _header(stream: Stream) -> _Header:
    """The header of an .npy file (numpy.lib.format, versions 1 to 3), read without evaluating it."""
    start = stream.read(8)
    if len(start) < 8:
        raise _BadArrayError("truncated", f"only {len(start)} bytes")
    if start[:6] != b"\x93NUMPY" or start[6] not in (1, 2, 3):
        raise _BadArrayError("format", "not an .npy file")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(stream.read(width), "little")
    if length > MAX_HEADER_BYTES:
        raise _BadArrayError("corrupt", f"its header claims {length:,} bytes")
    text = stream.read(length).decode("latin-1")
    descr, order, shape = _DESCR.search(text), _ORDER.search(text), _SHAPE.search(text)
    if len(text) < length:
        raise _BadArrayError("truncated", "the header is cut off")
    if descr is None or order is None or shape is None:
        raise _BadArrayError("array", "its header is not that of a plain array")
    sides = [side.strip() for side in shape[1].split(",") if side.strip()]
    if len(sides) > 8 or any(len(side) > 15 or " " in side for side in sides):
        raise _BadArrayError("corrupt", "its shape is absurd")
    return _Header(descr[1], tuple(int(side) for side in sides), order[1] == "True", 8 + width + length)


class _Track:
    """One array read frame by frame, forwards; going back opens it again."""

    def __init__(self, files: FileSet, name: str, label: str, clip: Clip) -> None:
        self.files, self.name, self.label, self.size = files, name, label, clip.size
        self.stream: Stream | None = files.stream(name)
        self.next = 0
        header = _header(self.stream)
        self._check(header, clip)
        self.count, self.skip = header.shape[0], header.length
        whole = self.count == len(clip.frames)
        indices = range(len(clip.frames)) if whole else clip.annotated_indices()
        self.position = {index: position for position, index in enumerate(indices)}

    def _check(self, header: _Header, clip: Clip) -> None:
        height, width = clip.size
        if "O" in header.descr:
            raise _BadArrayError("array", "it holds pickled objects, which are never read")
        shape = "x".join(map(str, header.shape)) or "a single number"
        if len(header.shape) != 3:
            raise _BadArrayError("array", f"its shape is {shape}, not frames x {height} x {width}")
        if header.shape[1:] != clip.size:
            raise _BadArrayError("size", size_fault((header.shape[1], header.shape[2]), clip.size))
        if header.shape[0] not in (len(clip.frames), len(clip.annotated)):
            wanted = f"the clip has {len(clip.frames):,} ({len(clip.annotated):,} annotated)"
            raise _BadArrayError("array", f"it holds {header.shape[0]:,} frames; {wanted}")
        if _FLOATS.fullmatch(header.descr):
            raise self._soft(header)
        if header.descr not in _MASKS:
            raise _BadArrayError("array", f"its type is {shown(header.descr, 20)}, not bool or uint8")
        if header.fortran:
            raise _BadArrayError("array", "it is in Fortran order; save numpy.ascontiguousarray of it")
        assert self.stream is not None
        wanted_bytes = header.length + header.shape[0] * height * width
        if self.stream.size != wanted_bytes:
            code = "truncated" if self.stream.size < wanted_bytes else "corrupt"
            raise _BadArrayError(code, f"it has {self.stream.size:,} bytes instead of {wanted_bytes:,}")

    def _soft(self, header: _Header) -> _BadArrayError:
        """A soft mask, with or without NaN; looked at in pieces, its size known to be that of the clip."""
        assert self.stream is not None
        kind = np.dtype(header.descr)
        left = math.prod(header.shape) * kind.itemsize
        while left > 0:
            data = self.stream.read(min(left, 1 << 20))
            whole = len(data) // kind.itemsize * kind.itemsize
            if np.isnan(np.frombuffer(data[:whole], kind)).any():
                return _BadArrayError("nan", f"{kind.name} with NaN")
            if not data:
                break
            left -= len(data)
        return _BadArrayError("soft", f"{kind.name} instead of bool or uint8")

    def frame(self, index: int) -> Mask | None:
        """The mask of frame ``index`` of the clip; None for a frame that was not predicted."""
        position = self.position.get(index)
        if position is None:
            return None
        values = self._values(position)
        if values.max(initial=0) > 1:
            raise _BadArrayError("non-binary", f"it holds {int(values.max())}; only 0 and 1 are allowed")
        return Mask.from_array(values.view(np.bool_))

    def _values(self, position: int) -> NDArray[np.uint8]:
        if self.stream is None or position < self.next:
            self.close()
            self.stream = self.files.stream(self.name)
            self.stream.read(self.skip)
            self.next = 0
        pixels = self.size[0] * self.size[1]
        data = b""
        while self.next <= position:
            data = self.stream.read(pixels)
            self.next += 1
        if len(data) != pixels:
            raise _BadArrayError("truncated", "it ends early")
        if self.next == self.count:
            self.close()
        return np.frombuffer(data, np.uint8).reshape(self.size)

    def close(self) -> None:
        """Let go of the file."""
        if self.stream is not None:
            self.stream.close()
            self.stream = None


class ArraySource:
    """Masks from arrays."""

    def __init__(self, expressions: Mapping[str, _Track | None], clip: Clip, findings: Findings) -> None:
        self.tracks, self.clip, self.findings = dict(expressions), clip, findings

    def frame(self, index: int) -> dict[str, Mask | None]:
        """Masks of frame ``index`` by expression id."""
        return {expression: self._mask(expression, track, index) for expression, track in self.tracks.items()}

    def _mask(self, expression: str, track: _Track | None, index: int) -> Mask | None:
        if track is None:
            return None
        try:
            return track.frame(index)
        except _BadArrayError as error:
            self.findings.add(error.code, f"{track.label}, frame {self.clip.frames[index]}: {error.reason}")
            if error.code == "non-binary":
                return None
        except InputError as error:
            self.findings.add("corrupt", error.where[0] if error.where else track.label)
        track.close()
        self.tracks[expression] = None
        return None


def _track(files: FileSet, name: str, label: str, clip: Clip, findings: Findings) -> _Track | None:
    try:
        return _Track(files, name, label, clip)
    except _BadArrayError as error:
        findings.add(error.code, f"{label}: {error.reason}")
    except InputError as error:
        findings.add("unreadable", error.where[0] if error.where else label)
    return None


def _members(files: FileSet, name: str, findings: Findings) -> FileSet | None:
    try:
        return files.nested(name, MAX_ARCHIVE_BYTES)
    except InputError as error:
        findings.add("corrupt", error.where[0] if error.where else shown(name))
        return None


@dataclass(frozen=True, slots=True)
class ArrayFiles:
    """One .npy or .npz per expression."""

    expressions: tuple[str, ...]
    files: Mapping[str, str]

    def names(self) -> set[str]:
        """The files this needs."""
        return set(self.files.values())

    def open(self, files: FileSet, clip: Clip, findings: Findings) -> ArraySource:
        """Check every header."""
        tracks: dict[str, _Track | None] = dict.fromkeys(self.expressions)
        for expression, name in self.files.items():
            if not name.lower().endswith(".npz"):
                tracks[expression] = _track(files, name, shown(name), clip, findings)
                continue
            members = _members(files, name, findings)
            if members is not None and len(members.names) == 1:
                tracks[expression] = _track(members, members.names[0], shown(name), clip, findings)
            elif members is not None:
                findings.add("array", f"{shown(name)}: it holds {len(members.names)} arrays instead of one")
        return ArraySource(tracks, clip, findings)


@dataclass(frozen=True, slots=True)
class ArrayArchive:
    """One .npz per clip. ``named``: (id, source id) of every expression; either may stand in it."""

    file: str
    named: tuple[tuple[str, str], ...]

    def names(self) -> set[str]:
        """The file this needs."""
        return {self.file}

    def open(self, files: FileSet, clip: Clip, findings: Findings) -> ArraySource:
        """List the arrays and check every header."""
        expressions = [each for each, _ in self.named]
        tracks: dict[str, Any] = dict.fromkeys(expressions)
        members = _members(files, self.file, findings)
        if members is None:
            return ArraySource(tracks, clip, findings)
        by_name = chosen_names({member.removesuffix(".npy") for member in members.names}, self.named)
        seen: set[str] = set()
        strangers: list[str] = []
        for member in members.names:
            name = member.removesuffix(".npy")
            label = f"{shown(self.file)}: {shown(name, 60)}"
            expression = by_name.get(name)
            if expression is None:
                strangers.append(name)
            elif expression in seen:
                findings.add("duplicate", f"{label} again")
                tracks[expression] = None
            else:
                seen.add(expression)
                tracks[expression] = _track(members, member, label, clip, findings)
        missing = [each for each in expressions if each not in seen]
        report_strangers(strangers, missing, self.file, findings)
        findings.extend("missing-expression", [f"{clip.id}/{each}" for each in missing])
        return ArraySource(tracks, clip, findings)
