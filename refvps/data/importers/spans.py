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
    text = _Text(path)
    rest: dict[str, Any] = {}

    def elements(at: int) -> int:
        if text.character(at) != "[":
            raise ValueError(f"{key} is no list")
        at = text.blank(at + 1)
        while text.character(at) != "]":
            span, value = text.value(at)
            visit(span, value)
            at = text.blank(span.stop)
            if text.character(at) == ",":
                at = text.blank(at + 1)
                if text.character(at) == "]":
                    raise ValueError(f"{key} ends with a comma")
            elif text.character(at) != "]":
                raise ValueError(f"{key}: a comma or ] is missing at byte {at:,}")
        return at + 1

    def member(name: str, at: int) -> int:
        if name == key:
            return elements(at)
        span, rest[name] = text.value(at)
        return span.stop

    if key not in _members(text, member):
        raise InputError(
            "A file does not have the expected content.", where=[f"{path}: no {key}"], fix="get the file again"
        )
    return rest


def members(path: Path, visit: Callable[[str, Span, Any], None]) -> None:
    """Walk the members of the JSON object in a file, holding one at a time.

    ``visit`` gets every key, where its value is, and what it is. Raises InputError for other files.
    """
    text = _Text(path)

    def member(name: str, at: int) -> int:
        span, value = text.value(at)
        visit(name, span, value)
        return span.stop

    _members(text, member)


class _Text:
    """The characters of a JSON file, one a byte, so that positions are those in the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rough = read_bytes(path, MAX_JSON_BYTES).decode("latin-1")
        self._decoder = json.JSONDecoder()

    def character(self, at: int) -> str:
        """The character at a position, "" beyond the end."""
        return self.rough[at : at + 1]

    def blank(self, at: int) -> int:
        """The first position from ``at`` on that is no white space."""
        return int(WHITESPACE.match(self.rough, at).end())

    def value(self, at: int) -> tuple[Span, Any]:
        """The value that begins at ``at``; raises ValueError for none, InputError for one that is refused."""
        stop = self._decoder.raw_decode(self.rough, at)[1]  # its own texts are bytes, not characters: parsed below
        piece = self.rough[at:stop].encode("latin-1")
        return Span(str(self.path), at, stop, sha256(piece)), parse_json(piece, f"{self.path}: byte {at:,}")


def _members(text: _Text, member: Callable[[str, int], int]) -> set[str]:
    """Walk the members of an object; ``member`` gets a key and where its value begins, and says where it ends.

    Returns the keys. Raises InputError for a file that holds anything but one object with keys of their own.
    """
    seen: set[str] = set()
    try:
        at = text.blank(0)
        if text.character(at) != "{":
            raise ValueError("it is no JSON object")
        at = text.blank(at + 1)
        while text.character(at) != "}":
            if seen:
                if text.character(at) != ",":
                    raise ValueError(f"a comma or }} is missing at byte {at:,}")
                at = text.blank(at + 1)
            span, name = text.value(at)
            at = text.blank(span.stop)
            if not isinstance(name, str) or text.character(at) != ":":
                raise ValueError(f"a name and a colon are missing at byte {at:,}")
            if name in seen:
                raise ValueError(f"the key {name[:80]!r} stands twice")
            seen.add(name)
            at = text.blank(member(name, text.blank(at + 1)))
        if text.blank(at + 1) != len(text.rough):
            raise ValueError("something follows the end")
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        place = f"{text.path}: {reason}"
        raise InputError("A file is not valid JSON.", where=[place], fix="get the file again") from error
    return seen
