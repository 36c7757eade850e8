"""A big JSON file piece by piece: an object with one long list is walked without ever holding what the list holds.

Only byte positions are kept. Whoever needs an element reads its bytes again, so a truth in a worker needs a path and
two numbers, and memory stays at the size of the file while it is walked and at nothing afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from json.decoder import WHITESPACE  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any

from refvps.errors import InputError
from refvps.files import MAX_JSON_BYTES, parse_json, read_bytes, sha256


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``start`` to ``stop`` of a file, which must have this SHA-256."""

    path: str
    start: int
    stop: int
    sha256: str

    def read(self) -> Any:
        """The JSON value there; raises InputError when it is not the one that was walked over, or not JSON."""
        try:
            with open(self.path, "rb") as stream:
                stream.seek(self.start)
                data = stream.read(self.stop - self.start)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError("A file cannot be read.", where=[f"{self.path}: {reason}"], fix="check it") from error
        if sha256(data) != self.sha256:
            raise InputError(
                "A ground-truth file is not the one that was checked.",
                where=[f"{self.path}: bytes {self.start:,} to {self.stop:,}"],
                fix="restore it, or import the benchmark again",
            )
        return parse_json(data, f"{self.path}: bytes {self.start:,} to {self.stop:,}")


def walk(path: Path, key: str, visit: Callable[[Span, Any], None]) -> dict[str, Any]:
    """Walk the JSON object in a file; returns its members but ``key``, whose value must be a list.

    ``visit`` gets every element of that list: where it is, and what it is. Raises InputError for other files.
    """
    rough = read_bytes(path, MAX_JSON_BYTES).decode("latin-1")  # a byte a character: positions are those in the file
    decoder = json.JSONDecoder()
    rest: dict[str, Any] = {}
    seen: set[str] = set()

    def blank(at: int) -> int:
        return int(WHITESPACE.match(rough, at).end())

    def bytes_of(at: int, stop: int) -> bytes:
        return rough[at:stop].encode("latin-1")

    def end(at: int) -> int:
        return decoder.raw_decode(rough, at)[1]  # the value itself is wrong: its texts are bytes, not characters

    def elements(at: int) -> int:
        if rough[at : at + 1] != "[":
            raise ValueError(f"{key} is no list")
        at = blank(at + 1)
        while rough[at : at + 1] != "]":
            stop = end(at)
            piece = bytes_of(at, stop)
            visit(Span(str(path), at, stop, sha256(piece)), parse_json(piece, f"{path}: byte {at:,}"))
            at = blank(stop)
            if rough[at : at + 1] == ",":
                at = blank(at + 1)
                if rough[at : at + 1] == "]":
                    raise ValueError(f"{key} ends with a comma")
            elif rough[at : at + 1] != "]":
                raise ValueError(f"{key}: a comma or ] is missing at byte {at:,}")
        return at + 1

    try:
        at = blank(0)
        if rough[at : at + 1] != "{":
            raise ValueError("it is no JSON object")
        at, first = blank(at + 1), True
        while rough[at : at + 1] != "}":
            if not first:
                if rough[at : at + 1] != ",":
                    raise ValueError(f"a comma or }} is missing at byte {at:,}")
                at = blank(at + 1)
            stop = end(at)
            name, at = parse_json(bytes_of(at, stop), str(path)), blank(stop)
            if not isinstance(name, str) or rough[at : at + 1] != ":":
                raise ValueError(f"a name and a colon are missing at byte {at:,}")
            if name in seen:
                raise ValueError(f"the key {name[:80]!r} stands twice")
            seen.add(name)
            at, first = blank(at + 1), False
            if name == key:
                at = elements(at)
            else:
                stop = end(at)
                rest[name] = parse_json(bytes_of(at, stop), str(path))
                at = stop
            at = blank(at)
        if blank(at + 1) != len(rough):
            raise ValueError("something follows the end")
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise InputError("A file is not valid JSON.", where=[f"{path}: {reason}"], fix="get the file again") from error
    if key not in seen:
        raise InputError(
            "A file does not have the expected content.", where=[f"{path}: no {key}"], fix="get the file again"
        )
    return rest


def members(path: Path, visit: Callable[[str, Span, Any], None]) -> None:
    """Walk the members of the JSON object in a file, holding one at a time.

    ``visit`` gets every key, where its value is, and what it is. Raises InputError for other files.
    """
    rough = read_bytes(path, MAX_JSON_BYTES).decode("latin-1")
    decoder = json.JSONDecoder()
    seen: set[str] = set()

    def blank(at: int) -> int:
        return int(WHITESPACE.match(rough, at).end())

    try:
        at = blank(0)
        if rough[at : at + 1] != "{":
            raise ValueError("it is no JSON object")
        at = blank(at + 1)
        while rough[at : at + 1] != "}":
            if seen:
                if rough[at : at + 1] != ",":
                    raise ValueError(f"a comma or }} is missing at byte {at:,}")
                at = blank(at + 1)
            _, stop = decoder.raw_decode(rough, at)
            name, at = parse_json(rough[at:stop].encode("latin-1"), str(path)), blank(stop)
            if not isinstance(name, str) or rough[at : at + 1] != ":" or name in seen:
                raise ValueError(f"a name of its own and a colon are missing at byte {at:,}")
            seen.add(name)
            at = blank(at + 1)
            _, stop = decoder.raw_decode(rough, at)
            piece = rough[at:stop].encode("latin-1")
            visit(name, Span(str(path), at, stop, sha256(piece)), parse_json(piece, f"{path}: byte {at:,}"))
            at = blank(stop)
        if blank(at + 1) != len(rough):
            raise ValueError("something follows the end")
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise InputError("A file is not valid JSON.", where=[f"{path}: {reason}"], fix="get the file again") from error
