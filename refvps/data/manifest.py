"""The manifests ``clips.jsonl`` and ``expressions.jsonl``: read, checked, written.

Their fields are the JSON Schemas in ``refvps/data/schemas``. Readers report every record that is wrong, not
the first one, and assume a hostile author; ``checked=True`` skips what was proven before for the same bytes.
Where a clip is from and how it was cut is in the same lines, but no part of :class:`~refvps.types.Clip`:
:mod:`refvps.data.records` reads it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from refvps.data.validator import Check, compiled
from refvps.errors import InputError
from refvps.files import parse_json, read_bytes, write_json_lines
from refvps.types import ID, Clip, Expression

CLIPS = "clips.jsonl"
EXPRESSIONS = "expressions.jsonl"
MAX_MANIFEST_BYTES = 1 << 28
"""Largest manifest that is read, in bytes."""

MAX_FRAME_NAMES = 1 << 25
"""Most frame names in one manifest; names of clips with the same list are counted once."""

Manifest = tuple[dict[str, Clip], tuple[Expression, ...]]
"""Clips by id and the expressions, both in file order."""


def read_manifest(folder: Path, *, checked: bool = False) -> Manifest:
    """Read ``clips.jsonl`` and ``expressions.jsonl`` of a folder; see :func:`parse_manifest`."""
    paths = folder / CLIPS, folder / EXPRESSIONS
    clips, expressions = (read_bytes(path, MAX_MANIFEST_BYTES) for path in paths)
    return parse_manifest(clips, expressions, (str(paths[0]), str(paths[1])), checked=checked)


def parse_manifest(
    clips: bytes, expressions: bytes, names: tuple[str, str] = (CLIPS, EXPRESSIONS), *, checked: bool = False
) -> Manifest:
    """Parse both manifests and check that they belong together.

    Raises InputError with every place: a record against its schema; an id used twice, ignoring case (clip ids in
    the file, expression ids within a clip); an expression of an unknown clip; a clip without expressions.
    """
    found: dict[str, Clip] = {}
    frame_names = FrameNames(MAX_FRAME_NAMES)
    concepts: dict[str, tuple[str, tuple[str, ...]]] = {}
    wrong: list[str] = []
    seen: dict[str, str] = {}
    for place, record in records(clips, names[0], None if checked else "clips"):
        try:
            clip = clip_from(record, frame_names)
        except (InputError, KeyError, TypeError, ValueError) as error:
            wrong.append(f"{place}: {_reason(error)}")
            continue
        if other := seen.get(clip.id.lower()):
            wrong.append(f"{place}: the id {clip.id} is taken by {other} (upper and lower case count as one)")
            continue
        seen[clip.id.lower()] = clip.id
        found[clip.id] = clip
        concepts[clip.id] = record.get("concept", ""), tuple(record.get("categories", ()))
    if wrong:
        raise InputError("The list of clips cannot be used.", where=wrong, fix="correct these records")
    listed: list[Expression] = []
    used: set[tuple[str, str]] = set()
    for place, record in records(expressions, names[1], None if checked else "expressions"):
        try:
            if record["clip"] not in found:
                wrong.append(f"{place}: no clip {record['clip']!r} in {names[0]}")
                continue
            expression = expression_from(record, *concepts[record["clip"]])
        except (InputError, KeyError, TypeError, ValueError) as error:
            wrong.append(f"{place}: {_reason(error)}")
            continue
        key = expression.clip, expression.id.lower()
        if key in used:
            wrong.append(f"{place}: the clip {expression.clip} has an expression {expression.id} already")
        used.add(key)
        listed.append(expression)
    without = found.keys() - {expression.clip for expression in listed}
    if not wrong:
        wrong += [f"{names[1]}: the clip {clip} has no expression" for clip in found if clip in without]
    if not wrong and not found:
        wrong.append(f"{names[0]}: no clip")
    if wrong:
        raise InputError("The list of expressions cannot be used.", where=wrong, fix="correct these records")
    return found, tuple(listed)


def write_manifest(folder: Path, clips: Iterable[Clip], expressions: Iterable[Expression]) -> None:
    """Write both manifests, canonically, in the order given; concepts are written per expression."""
    write_json_lines(folder / CLIPS, (clip_record(clip) for clip in clips))
    write_json_lines(folder / EXPRESSIONS, (expression_record(expression) for expression in expressions))


def clip_record(clip: Clip) -> dict[str, Any]:
    """The clip as a record of ``clips.jsonl``, without the optional concept; rates are always floats."""
    record: dict[str, Any] = {
        "id": clip.id,
        "size": [int(side) for side in clip.size],
        "fps": float(clip.fps),
        "frames": list(clip.frames),
        "annotated": list(clip.annotated),
        "annotation_fps": float(clip.annotation_fps),
        "group": clip.group,
        "split": clip.split,
    }
    return record | ({"source_id": clip.source_id} if clip.source_id else {})


def expression_record(expression: Expression) -> dict[str, Any]:
    """The expression as a record of ``expressions.jsonl``."""
    record: dict[str, Any] = {
        "clip": expression.clip,
        "id": expression.id,
        "text": expression.text,
        "target": expression.target,
        "concept": expression.concept,
        "categories": list(expression.categories),
        "annotator": expression.annotator,
    }
    return record | ({"source_id": expression.source_id} if expression.source_id else {})


def records(data: bytes, name: str, schema: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, record) for every line of an untrusted JSON-lines file, checked against a shipped schema.

    Raises InputError at the end, naming all lines that violate the schema; at once for what is not JSON.
    """
    return record_lines(io.BytesIO(data), name, schema)


def record_lines(lines: Iterable[bytes], name: str, schema: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same from lines, which may end in a line feed; holds one line at a time."""
    wrong: list[str] = []
    for number, line in enumerate(lines, start=1):
        place = f"{name}:{number}"
        record = parse_json(line, place)
        if not isinstance(record, dict):
            wrong.append(f"{place}: not a JSON object")
        elif schema is not None and not _check(schema, "")(record) and (reason := violation(record, schema)):
            wrong.append(f"{place}: {reason}")
        else:
            yield place, record
    if wrong:
        raise InputError(
            "A manifest does not follow its format.", where=wrong, fix="correct these lines; see refvps/data/schemas"
        )


def violation(record: Any, schema: str, part: str = "") -> str:
    """The first way in which ``record`` violates a shipped schema (or ``$defs/part`` of it), or ""."""
    if not _check(schema, part)(record):
        from jsonschema.exceptions import relevance

        error = max(_validator(schema, part).iter_errors(record), key=relevance, default=None)
        if error is not None:
            field = ".".join(str(step) for step in error.absolute_path)
            message = error.message if len(error.message) <= 160 else f"{error.message[:80]} ... {error.message[-60:]}"
            return f"{field}: {message}" if field else message
    return "a text holds half a character (a lone surrogate)" if _has_surrogate(record) else ""


@cache
def schema_of(name: str, part: str = "") -> dict[str, Any]:
    """A shipped schema by name, or one of its ``$defs``."""
    path = Path(__file__).parent / "schemas" / f"{name}.json"
    document: dict[str, Any] = parse_json(path.read_bytes(), path.name)
    return {"$defs": document["$defs"], "$ref": f"#/$defs/{part}"} if part else document


@cache
def _check(schema: str, part: str) -> Check:
    return compiled(schema_of(schema, part))


@cache
def _validator(schema: str, part: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema_of(schema, part))


def _has_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, Mapping):
        return any(_has_surrogate(key) or _has_surrogate(item) for key, item in value.items())
    return isinstance(value, list) and any(_has_surrogate(item) for item in value)


class FrameNames:
    """Lists of frame names as tuples, one tuple for all clips with the same list: it is checked and held once.

    A list is [name, ...], or {"count", "digits", "first", "step"} for names that are numbers filled with zeros;
    both forms of one list give the same tuple. ``most``: how many names are made in all.
    """

    def __init__(self, most: int | None = None) -> None:
        self._known: dict[Any, tuple[str, ...]] = {}
        self._left = most

    def read(self, value: Any) -> tuple[str, ...]:
        """The names; raises InputError for one that cannot be a file name, or two that differ only in case."""
        if isinstance(value, dict):
            first, step, digits = int(value.get("first", 0)), int(value.get("step", 1)), int(value["digits"])
            key: Any = first, step, int(value["count"]), digits
            if found := self._known.get(key):
                return found
            self._spend(key[2])
            names = tuple(f"{number:0{digits}d}" for number in range(first, first + step * key[2], step))
        else:
            key = names = tuple(value)
            if found := self._known.get(key):
                return found
            self._spend(len(names))
            if bad := bad_frame_names(names):
                raise InputError(bad)
        if self._left is None and len(self._known) >= 256:
            self._known.clear()
        self._known[key] = found = self._known.setdefault(names, names)
        return found

    def _spend(self, count: int) -> None:
        if self._left is not None:
            self._left -= count
            if self._left < 0:
                raise InputError(f"the manifest names more than {MAX_FRAME_NAMES:,} frames")


def clip_from(record: Mapping[str, Any], frame_names: FrameNames) -> Clip:
    """The clip in a record of ``clips.jsonl`` that follows the schema; raises InputError for one that cannot be."""
    height, width = record["size"]
    frames, annotated = frame_names.read(record["frames"]), frame_names.read(record["annotated"])
    if record.get("frame_count", len(frames)) != len(frames):
        raise InputError(f"frame_count is {record['frame_count']}, but the list has {len(frames)} frames")
    return Clip(
        id=record["id"],
        size=(int(height), int(width)),
        fps=float(record["fps"]) + 0.0,
        frames=frames,
        annotated=annotated,
        annotation_fps=float(record["annotation_fps"]) + 0.0,
        group=record["group"],
        split=record["split"],
        source_id=record.get("source_id", ""),
    )


def expression_from(record: Mapping[str, Any], concept: str, categories: tuple[str, ...]) -> Expression:
    """The expression in a record of ``expressions.jsonl``; concept and categories of its clip, where it has none."""
    return Expression(
        id=record["id"],
        clip=record["clip"],
        text=record["text"],
        target=record["target"],
        concept=record.get("concept", concept),
        categories=tuple(record.get("categories", categories)),
        annotator=record.get("annotator", ""),
        source_id=record.get("source_id", ""),
    )


def bad_frame_name(clip: Clip) -> str:
    """What is wrong with the names of the frames of a clip, or ""."""
    return bad_frame_names(clip.frames)


def bad_frame_names(names: Iterable[str]) -> str:
    """What is wrong with names of frames, or ""."""
    names = tuple(names)
    for name in names:
        if not ID.fullmatch(name):
            return f"a frame name is not allowed: {name[:80]!r} (letters, digits, '.', '_', '-')"
    if len({name.lower() for name in names}) != len(set(names)):
        return "two frame names differ only in upper and lower case"
    return ""


def _reason(error: Exception) -> str:
    if isinstance(error, InputError):
        return " ".join([error.what, *error.where[:1]])
    return f"{type(error).__name__}: {error}"[:200]
