"""Files: atomic writes, hashes, canonical JSON, JSON lines, locks."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from refvps.errors import InputError, UsageError

MAX_JSON_BYTES = 1 << 30
"""Largest JSON document that is parsed at all."""

MAX_DIGITS = 40
"""Longest whole number in JSON, in digits: seeds have up to 128 bits, nothing else has as many."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` so that ``path`` is either the old file or the whole new one, even after kill -9."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(path: Path) -> None:
    """Delete temporary files of killed writers of ``path``; call only under its lock."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        leftover.unlink(missing_ok=True)


def sha256(data: bytes) -> str:
    """Hex SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one JSON text of ``value``: sorted keys, no blanks, UTF-8, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def parse_json(data: bytes, name: str) -> Any:
    """Parse JSON from an untrusted file.

    Refuses NaN and Infinity (also numbers that overflow), duplicate keys, absurd nesting, integers of more
    than 40 digits, lone surrogates and anything that is not UTF-8; raises :class:`~refvps.errors.InputError`
    naming ``name``.
    """

    def finite(token: str) -> float:
        number = float(token)
        if math.isinf(number):
            raise ValueError(f"{token[:40]} is too large a number")
        return number

    def whole(token: str) -> int:
        if len(token) > MAX_DIGITS:
            raise ValueError(f"a whole number of {len(token):,} digits")
        return int(token)

    def no_constant(token: str) -> Any:
        raise ValueError(f"{token} is not a JSON number")

    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    raise ValueError(f"the key {key!r} stands twice")
                seen.add(key)
        return found

    if len(data) > MAX_JSON_BYTES:
        raise InputError("A JSON file is too large.", where=[f"{name}: {len(data):,} bytes"], fix="split it by clip")
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_float=finite,
            parse_int=whole,
            parse_constant=no_constant,
            object_pairs_hook=no_duplicates,
        )
        if b"\\ud" in data or b"\\uD" in data:
            _no_surrogates(value)
        return value
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise InputError("A file is not valid JSON.", where=[f"{name}: {reason}"], fix="write it again") from error


def _no_surrogates(value: Any) -> None:
    """Raise ValueError for half a character, which no file can hold and no terminal print."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"half a character (a lone surrogate): {error.object[error.start]!r}") from error


def read_json(path: Path) -> Any:
    """Read one untrusted JSON file; see :func:`parse_json`."""
    return parse_json(read_bytes(path, MAX_JSON_BYTES), str(path))


def read_bytes(path: Path, limit: int) -> bytes:
    """Read a file of at most ``limit`` bytes; raises InputError when it is larger or unreadable."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise InputError(
            "A file cannot be read.",
            where=[f"{path}: {error.strerror or error}"],
            fix="check the path and its permissions",
        ) from error
    if len(data) > limit:
        raise InputError("A file is too large.", where=[f"{path}: over {limit:,} bytes"], fix="check what it is")
    return data


def write_json_lines(path: Path, records: Iterable[Any]) -> None:
    """Write records as canonical JSON lines, atomically."""
    write_atomic(path, b"".join(canonical_json(record) + b"\n" for record in records))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock file; it is released by the OS even when the holder is killed.

    Raises :class:`~refvps.errors.UsageError` at once when another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            _lock(handle)
        except OSError as error:
            raise UsageError(
                "Another process is writing here.",
                where=[str(path)],
                fix="wait for it, or give each process its own --shard or --out",
            ) from error
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
