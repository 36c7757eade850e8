"""The record of extracted frames: which source frame each one is, and what it looks like.

``<clip>.frames.json`` beside the folder of the frames is one line of canonical JSON, so that the records of a
data set concatenated make its ``fingerprints.jsonl``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from refvps.errors import InputError
from refvps.extract.cut import RECORD_SUFFIX
from refvps.files import MAX_JSON_BYTES, canonical_json, parse_json, read_bytes, sha256_file
from refvps.source.fingerprint import from_hex, to_hex
from refvps.types import ID

SCHEMA = "refvps.frames/1"
FINGERPRINTS = "fingerprints.jsonl"
"""Name of the records of a whole data set, one a line, beside its manifest."""

MAX_FRAMES = 1_000_000

_RATIO = re.compile(r"(-?[0-9]{1,40})(?:/([0-9]{1,40}))?")


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """The frames of one clip, in order; all lists are of one length.

    ``pts`` are time stamps of the source in units of ``time_base`` (seconds), ``t0`` the time of tick 0.
    ``fingerprints`` are those of the pictures before encoding (:mod:`refvps.source.fingerprint`), ``sha256`` and
    ``bytes`` those of the files. ``duplicates`` names frames whose file equals the one before although another
    source frame is shown. ``request`` is :meth:`refvps.extract.cut.Cut.request`; ``source``, ``tools`` and
    ``notes`` are for people. Only ``clip``, ``names`` and ``fingerprints`` are needed to compare.
    """

    clip: str
    names: tuple[str, ...]
    fingerprints: tuple[int, ...]
    size: tuple[int, int] = (0, 0)
    t0: Fraction | None = None
    time_base: Fraction | None = None
    pts: tuple[int, ...] = ()
    sha256: tuple[str, ...] = ()
    bytes: tuple[int, ...] = ()
    duplicates: tuple[str, ...] = ()
    request: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """The ending of the frame files."""
        return str(self.request.get("format", ""))


def record_path(out: Path, clip: str) -> Path:
    """Where the record of a clip is, in the folder that holds the folder of its frames."""
    return out / f"{clip}{RECORD_SUFFIX}"


def to_line(record: FrameRecord) -> bytes:
    """The record as one line of canonical JSON."""
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "clip": record.clip,
        "frames": list(record.names),
        "dhash64": [to_hex(value) for value in record.fingerprints],
        "size": list(record.size),
        "pts": list(record.pts),
        "sha256": list(record.sha256),
        "bytes": list(record.bytes),
        "duplicates": list(record.duplicates),
        "request": dict(record.request),
        "source": dict(record.source),
        "tools": dict(record.tools),
        "notes": list(record.notes),
    }
    for key, value in (("t0", record.t0), ("time_base", record.time_base)):
        if value is not None:
            content[key] = str(value)
    return canonical_json(content) + b"\n"


def from_json(content: Any, place: str) -> FrameRecord:
    """A record from untrusted JSON; InputError, naming ``place``, for what is not one."""
    try:
        return _from_json(content)
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            "This is not a record of extracted frames.",
            where=[f"{place}: {type(error).__name__}: {error}"[:300]],
            fix="let refvps extract --force write it again",
        ) from error


def _from_json(content: Any) -> FrameRecord:
    if content["schema"] != SCHEMA:
        raise ValueError(f"its schema is {content['schema']!r}, not {SCHEMA}")
    clip, names = content["clip"], tuple(content["frames"])
    bad = [name for name in (clip, *names) if not (isinstance(name, str) and ID.fullmatch(name))]
    if bad or not names or len(names) > MAX_FRAMES or len({name.lower() for name in names}) != len(names):
        raise ValueError(f"impossible names: {bad[:1] or len(names)}")
    height, width = (int(side) for side in content.get("size", (0, 0)))
    record = FrameRecord(
        clip=clip,
        names=names,
        fingerprints=tuple(from_hex(text) for text in content["dhash64"]),
        size=(height, width),
        t0=_ratio(content["t0"]) if "t0" in content else None,
        time_base=_ratio(content["time_base"]) if "time_base" in content else None,
        pts=tuple(int(value) for value in content.get("pts", ())),
        sha256=tuple(str(value) for value in content.get("sha256", ())),
        bytes=tuple(int(value) for value in content.get("bytes", ())),
        duplicates=tuple(str(value) for value in content.get("duplicates", ())),
        request=dict(content.get("request", {})),
        source=dict(content.get("source", {})),
        tools={str(key): str(value) for key, value in content.get("tools", {}).items()},
        notes=tuple(str(note) for note in content.get("notes", ())),
    )
    if len(record.fingerprints) != len(names):
        raise ValueError(f"{len(names)} frames and {len(record.fingerprints)} fingerprints")
    if any(values and len(values) != len(names) for values in (record.pts, record.sha256, record.bytes)):
        raise ValueError("its lists differ in length")
    return record


def _ratio(text: str) -> Fraction:
    """An exact number as it is written; Fraction itself would compute 1e99999999 digit by digit."""
    found = _RATIO.fullmatch(text)
    if found is None:
        raise ValueError(f"not an exact number: {text[:40]!r}")
    return Fraction(int(found[1]), int(found[2] or 1))


def read_record(path: Path) -> FrameRecord:
    """Read one ``<clip>.frames.json``; the clip must be that of the file's name."""
    record = from_json(parse_json(read_bytes(path, MAX_JSON_BYTES), str(path)), str(path))
    if path.name != f"{record.clip}{RECORD_SUFFIX}":
        raise InputError(
            "A record of frames is that of another clip.", where=[f"{path}: {record.clip}"], fix="extract again"
        )
    return record


def read_records(path: Path) -> dict[str, FrameRecord]:
    """The records of a folder (``*.frames.json``) or of a JSON-lines file, by clip id."""
    if path.is_dir():
        entries = sorted(entry for entry in path.iterdir() if entry.name.endswith(RECORD_SUFFIX) and entry.is_file())
        return {record.clip: record for record in map(read_record, entries)}
    found: dict[str, FrameRecord] = {}
    for number, line in enumerate(read_bytes(path, MAX_JSON_BYTES).splitlines(), start=1):
        place = f"{path}:{number}"
        record = from_json(parse_json(line, place), place)
        if record.clip in found:
            raise InputError("A clip has two records of frames.", where=[f"{place}: {record.clip}"], fix="keep one")
        found[record.clip] = record
    return found


def is_whole(out: Path, record: FrameRecord) -> bool:
    """Whether exactly the recorded frames are there, by names and lengths; contents are not read."""
    folder = out / record.clip
    if folder.is_symlink() or not folder.is_dir() or not record.bytes:
        return False
    wanted = {f"{name}.{record.suffix}": size for name, size in zip(record.names, record.bytes, strict=True)}
    there = {entry.name: entry.stat().st_size for entry in folder.iterdir() if not entry.name.startswith(".")}
    return there == wanted


def changed_files(out: Path, record: FrameRecord) -> list[str]:
    """Paths of frames that are not there, not recorded, or without the recorded content."""
    folder = out / record.clip
    digests = {f"{name}.{record.suffix}": digest for name, digest in zip(record.names, record.sha256, strict=True)}
    there = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}
    changed = {name for name, digest in digests.items() if name in there and sha256_file(folder / name) != digest}
    return [str(folder / name) for name in sorted(changed | (there ^ set(digests)))]
