"""Lines of ``clips.jsonl`` and ``expressions.jsonl`` with all they say, read one at a time.

None of it but the clip and the expression proper enters a digest or moves a number, and nothing of it names a
person: an uploader is a keyed hash, an annotator a pseudonym.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import date, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from refvps.data.manifest import (
    CLIPS,
    FrameNames,
    clip_from,
    clip_record,
    expression_from,
    record_lines,
    records,
)
from refvps.errors import InputError, UsageError
from refvps.files import write_json_lines
from refvps.types import Clip, Expression

MAX_LINE_BYTES = 1 << 26
"""Longest line of a manifest that is read, in bytes."""

MIN_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Source:
    """Where the video of a clip is from; "" or 0 where it is not known.

    ``uploader_hash``: see :func:`uploader_hash`. ``retrieved_at``: a date, or date and time in UTC.
    ``redistribution``: "frames", "masks_only" or "link_only". ``file``, ``sha256`` and ``bytes`` are those of
    the video file.
    """

    platform: str = ""
    url: str = ""
    video_id: str = ""
    uploader_hash: str = ""
    retrieved_at: str = ""
    retrieved_with: str = ""
    licence: str = ""
    licence_evidence: str = ""
    redistribution: str = ""
    attribution: str = ""
    file: str = ""
    sha256: str = ""
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Edit:
    """How the frames of a clip follow from its video file.

    The clip is [``start``, ``end``) in seconds on the clock of the file, exact; None: from the first frame, to the
    last. ``crop`` is (x, y, width, height) in pixels of the picture as it is displayed, after rotation.
    ``rotation``: degrees clockwise from the stored picture to the displayed one; None: what the file says.
    """

    start: Fraction | None = None
    end: Fraction | None = None
    crop: tuple[int, int, int, int] | None = None
    rotation: int | None = None
    jpeg_quality: int | None = None
    tool: str = ""


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """A clip and what its manifest says beside it; ``withdrawn_in`` is "" for a clip that is there."""

    clip: Clip
    concept: str = ""
    categories: tuple[str, ...] = ()
    source: Source = Source()
    edit: Edit = Edit()
    scale: str = ""
    query: str = ""
    quality: tuple[str, ...] = ()
    added_in: str = ""
    changed_in: str = ""
    withdrawn_in: str = ""


@dataclass(frozen=True, slots=True)
class ExpressionRecord:
    """An expression, which of its annotator's for the clip it is (from 1; 0: not known), and since when."""

    expression: Expression
    slot: int = 0
    added_in: str = ""
    changed_in: str = ""


def read_clips(path: Path, *, checked: bool = False) -> Iterator[ClipRecord]:
    """The records of a ``clips.jsonl``, one at a time, in constant memory but for the ids.

    A line that breaks the format, or whose id was used before (ignoring case), is never yielded; after the last
    line InputError names them all. ``checked`` skips the schema for a file that passed it before.
    """
    names = FrameNames()
    seen: set[str] = set()
    wrong: list[str] = []
    for place, record in _lines(path, None if checked else "clips"):
        try:
            found = clip_record_from(record, names)
        except (InputError, KeyError, TypeError, ValueError) as error:
            wrong.append(f"{place}: {_reason(error)}")
            continue
        key = found.clip.id.lower()
        if key in seen:
            wrong.append(f"{place}: the id {found.clip.id} is taken (upper and lower case count as one)")
            continue
        seen.add(key)
        yield found
    if wrong:
        raise InputError("The list of clips cannot be used.", where=wrong, fix="correct these records")


def read_expressions(path: Path, *, checked: bool = False) -> Iterator[ExpressionRecord]:
    """The records of an ``expressions.jsonl``, one at a time; concept and categories only where they have their own.

    Whether their clips exist is not looked at (:func:`refvps.data.manifest.parse_manifest` does). Raises as
    :func:`read_clips`.
    """
    wrong: list[str] = []
    for place, record in _lines(path, None if checked else "expressions"):
        try:
            expression = expression_from(record, "", ())
        except (InputError, KeyError, TypeError, ValueError) as error:
            wrong.append(f"{place}: {_reason(error)}")
            continue
        since = record.get("added_in", ""), record.get("changed_in", "")
        yield ExpressionRecord(expression, int(record.get("slot", 0)), *since)
    if wrong:
        raise InputError("The list of expressions cannot be used.", where=wrong, fix="correct these records")


def check_provenance(data: bytes, name: str = CLIPS) -> None:
    """Raise InputError naming every clip of a checked ``clips.jsonl`` with an impossible source or edit."""
    if b'"source"' not in data and b'"edit"' not in data:
        return
    wrong: list[str] = []
    for place, record in records(data, name, None):
        try:
            _source(record.get("source", {}))
            _edit(record.get("edit", {}))
        except (InputError, ValueError) as error:
            wrong.append(f"{place}: {_reason(error)}")
    if wrong:
        raise InputError("The list of clips cannot be used.", where=wrong, fix="correct these records")


def write_clips(path: Path, records: Iterable[ClipRecord], *, compact: bool = False) -> None:
    """Write a ``clips.jsonl``; ``compact`` abbreviates lists of frames that are numbered in steps."""
    write_json_lines(path, (record_of(record, compact=compact) for record in records))


def clip_record_from(record: Mapping[str, Any], names: FrameNames) -> ClipRecord:
    """From a parsed line that follows the schema; raises InputError for what no clip can be."""
    clip = clip_from(record, names)
    return ClipRecord(
        clip=clip,
        concept=record.get("concept", ""),
        categories=tuple(record.get("categories", ())),
        source=_source(record.get("source", {})),
        edit=_edit(record.get("edit", {})),
        scale=record.get("scale", ""),
        query=record.get("query", ""),
        quality=tuple(record.get("quality", ())),
        added_in=record.get("added_in", ""),
        changed_in=record.get("changed_in", ""),
        withdrawn_in=record.get("withdrawn_in", ""),
    )


def record_of(record: ClipRecord, *, compact: bool = False) -> dict[str, Any]:
    """The line of ``clips.jsonl``; fields that say nothing are left out."""
    line = clip_record(record.clip) | {"frame_count": len(record.clip.frames)}
    if compact:
        line |= {key: abbreviated(line[key]) for key in ("frames", "annotated")}
    for name in ("concept", "scale", "query", "added_in", "changed_in", "withdrawn_in"):
        if value := getattr(record, name):
            line[name] = value
    for name in ("categories", "quality"):
        if value := getattr(record, name):
            line[name] = list(value)
    source = {field.name: value for field in fields(Source) if (value := getattr(record.source, field.name))}
    edit: dict[str, Any] = {}
    for field in fields(Edit):
        value = getattr(record.edit, field.name)
        if value not in (None, ""):
            edit[field.name] = str(value) if isinstance(value, Fraction) else value
    if record.edit.crop is not None:
        edit["crop"] = list(record.edit.crop)
    return line | ({"source": source} if source else {}) | ({"edit": edit} if edit else {})


def abbreviated(names: list[str]) -> list[str] | dict[str, int]:
    """A list of frame names as a numbered row, where it is one."""
    first, digits = names[0], len(names[0])
    if not first.isascii() or not first.isdigit() or digits > 12 or int(first) > 10**9:
        return names
    step = int(names[1]) - int(first) if len(names) > 1 and names[1].isascii() and names[1].isdigit() else 1
    if not 0 < step <= 10**6:
        return names
    row = {"count": len(names), "digits": digits} | ({"first": int(first)} if int(first) else {})
    row |= {"step": step} if step != 1 else {}
    return row if FrameNames().read(row) == tuple(names) else names


def uploader_hash(key: bytes, handle: str) -> str:
    """The hex HMAC-SHA256 of an uploader's handle: one person can be told from another, and found by none.

    ``key``: at least 16 random bytes that are never published; without one the hash of a public handle could be
    guessed. The handle counts without a leading "@", blanks around it and upper case.
    """
    if len(key) < MIN_KEY_BYTES:
        raise UsageError(
            "The key of the uploader hash is too short.",
            where=[f"{len(key)} bytes"],
            fix=f"make {2 * MIN_KEY_BYTES} random bytes once (secrets.token_bytes(32)) and keep them private",
        )
    name = unicodedata.normalize("NFKC", handle).strip().removeprefix("@").strip().casefold()
    if not name:
        raise UsageError("An uploader has no handle.", where=[repr(handle)[:80]], fix="leave the field out")
    return hmac.new(key, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def seconds(value: float | str) -> Fraction:
    """Seconds as an exact number: 12.5, "12.5" and "25/2" are one; a float means the decimal it is written as."""
    text = str(value)
    top, _, bottom = text.partition("/")
    if bottom:
        return Fraction(int(top), int(bottom))
    whole, _, decimals = text.partition(".")
    if whole.isdecimal() and decimals.isdecimal():  # a third of the time that Fraction takes to read a text
        return Fraction(int(whole + decimals), 10 ** len(decimals))
    return Fraction(text)


def _edit(record: Mapping[str, Any]) -> Edit:
    if not record:
        return Edit()
    start, end = (seconds(record[key]) if key in record else None for key in ("start", "end"))
    if end is not None and end <= (start or 0):
        raise InputError(f"the cut ends at {end} s, which is not after its start")
    if record.get("rotation", 0) % 90:
        raise InputError(f"a rotation by {record['rotation']} degrees; only 0, 90, 180 and 270 are possible")
    crop = tuple(map(int, record["crop"])) if "crop" in record else None
    if crop is not None and 0 in crop[2:]:
        raise InputError("a crop without a pixel")
    return Edit(
        start=start,
        end=end,
        crop=crop,  # type: ignore[arg-type]
        rotation=int(record["rotation"]) if "rotation" in record else None,
        jpeg_quality=int(record["jpeg_quality"]) if "jpeg_quality" in record else None,
        tool=record.get("tool", ""),
    )


def _source(record: Mapping[str, Any]) -> Source:
    if moment := record.get("retrieved_at", ""):
        (datetime.fromisoformat if "T" in moment else date.fromisoformat)(moment)  # raises ValueError
    return Source(**{**record, "bytes": int(record.get("bytes", 0))})


def _lines(path: Path, schema: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from record_lines(_pieces(path), str(path), schema)


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with closing(open(path, "rb")) as stream:
            while line := stream.readline(MAX_LINE_BYTES + 1):
                if len(line) > MAX_LINE_BYTES:
                    raise InputError(
                        "A line of a manifest is too long.", where=[str(path)], fix="write one record per line"
                    )
                yield line
    except OSError as error:
        raise InputError(
            "A file cannot be read.", where=[f"{path}: {error.strerror or error}"], fix="check the path"
        ) from error


def _reason(error: Exception) -> str:
    return " ".join([error.what, *error.where[:1]]) if isinstance(error, InputError) else str(error)[:200]
