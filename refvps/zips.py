"""The directory of a zip file, read by ourselves, and the rules for names that come from outside.

The standard library's reader is not used: it needs a second for 57,808 entries, cuts names at a NUL
and keeps the last of two entries of one name. Layout: PKWARE APPNOTE 6.3.10, sections 4.3.7 to 4.5.3.
"""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

from refvps.errors import InputError

MAX_ENTRIES = 2_000_000
MAX_DEPTH = 16
MAX_DIRECTORY_BYTES = 1 << 28
MAX_TOTAL_BYTES = 1 << 38
MAX_PACKING = 1_100
"""Deflate cannot pack better than 1,032 to 1; a zip that claims more than this lies or overlaps."""

_JUNK = re.compile(r"\.|(?:__MACOSX|Thumbs\.db|[Dd]esktop\.ini)\Z")
_JUNK_PATH = re.compile(r"(?:^|/)(?:\.|(?:__MACOSX|Thumbs\.db|[Dd]esktop\.ini)(?:/|$))", re.MULTILINE)
_UNSHOWN = re.compile(r"[^\x20-\x7e\u00a1-\u07ff\u0900-\u1fff\u3040-\ud7ff]")
_UNSAFE = re.compile(r"[\x00-\x09\x0b-\x1f\\]|^[A-Za-z]:|^/|(?:^|/)\.{0,2}/|(?:^|/)\.{1,2}$", re.MULTILINE)
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ITEM = struct.Struct("<4s4x2H4x3L4H2x2L")
_FULL = 0xFFFFFFFF
_PLAIN_KINDS = (0, stat.S_IFREG >> 12, stat.S_IFDIR >> 12)  # of the Unix mode, in the top four bits


class Entry(NamedTuple):
    """Where one file lies in a zip: offset of its local header, sizes in bytes, CRC-32, method (0 or 8)."""

    offset: int
    packed: int
    size: int
    crc: int
    method: int


def shown(name: object, longest: int = 160) -> str:
    """An outside name as printable text: control characters escaped, long ones shortened."""
    text = _UNSHOWN.sub(lambda found: ascii(found[0])[1:-1], str(name)[: 4 * longest])
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def is_junk(part: str) -> bool:
    """True for what operating systems leave behind: dot files, ``__MACOSX``, ``Thumbs.db``."""
    return _JUNK.match(part) is not None


def refuse(what: str, where: Iterable[str], fix: str) -> None:
    """Raise InputError if ``where`` names any place."""
    places = [shown(place) for place in where]
    if places:
        raise InputError(what, where=sorted(places), fix=fix)


def refuse_doubled(names: list[str], what: str) -> None:
    """Raise InputError if two names are the same, upper and lower case aside."""
    folded = [name.casefold() for name in names]
    if len(set(folded)) == len(names):
        return
    seen: dict[str, str] = {}
    doubled = []
    for name, key in zip(names, folded, strict=True):
        first = seen.setdefault(key, name)
        if first is not name:
            doubled.append(name if first == name else f"{name} and {first}")
    refuse(f"{what} holds two files of one name, upper and lower case aside.", doubled, "keep one of each")


def decoded(name: bytes, flags: int) -> str:
    """A name as text: UTF-8 where the entry says so, else code page 437; '' when it is not valid."""
    try:
        return name.decode("ascii" if name.isascii() else "utf-8" if flags & 0x800 else "cp437")
    except UnicodeDecodeError:
        return ""


def read_directory(span: Callable[[int, int], bytes], total: int, label: str) -> tuple[dict[str, Entry], int]:
    """Entries by name and the number of junk files left out.

    ``span(offset, count)`` reads the zip of ``total`` bytes. Raises InputError for a damaged zip and
    for every entry that is not a plainly named, plainly packed file.
    """
    count, offset, length, base = _locate(span, total, label)
    if count > MAX_ENTRIES or length > MAX_DIRECTORY_BYTES:
        raise InputError("A zip has too many entries.", where=[f"{label}: {count:,}"], fix=_FIX_ZIP)
    directory = span(offset, length)
    found: list[tuple[str, Entry]] = []
    links, encrypted = [], []
    item = _ITEM.unpack_from
    at = 0
    for _ in range(count):
        if at + 46 > len(directory):
            raise _damaged(label, "its directory ends early")
        signature, flags, method, crc, packed, size, n, x, c, disk, outside, place = item(directory, at)
        name = decoded(directory[at + 46 : at + 46 + n], flags)
        if signature != b"PK\x01\x02" or not name:
            raise _damaged(label, "its directory is damaged")
        if packed == _FULL or size == _FULL or place == _FULL:
            extra = directory[at + 46 + n : at + 46 + n + x]
            size, packed, place = _large(extra, [size, packed, place], label)
        if disk not in (0, 0xFFFF):
            raise _damaged(label, "it is one part of several")
        if outside >> 28 not in _PLAIN_KINDS:
            links.append(name)
        if flags & 0x2041:
            encrypted.append(name)
        found.append((name, Entry(base + place, packed, size, crc, method)))
        at += 46 + n + x + c
    if at != length:
        raise _damaged(label, "its directory does not have the size it claims")
    unsafe = _matching(_UNSAFE, [name for name, _ in found])
    refuse(
        "A zip holds names that lead out of a folder (absolute, '..', '\\', a drive or control characters).",
        unsafe,
        _FIX_ZIP,
    )
    deep = [name for name, _ in found if name.count("/") > MAX_DEPTH]
    refuse("A zip holds folders that are too deep.", deep, _FIX_ZIP)
    refuse("A zip holds links or devices.", links, "zip the files themselves (zip -r follows links, without -y)")
    refuse("A zip is encrypted.", encrypted, "make it without a password")
    return _checked([each for each in found if each[0][-1] != "/"], offset, label)


_FIX_ZIP = "make the zip again (zip -r preds.zip . inside the predictions folder), or give the folder"


def _damaged(label: str, reason: str) -> InputError:
    return InputError("A zip cannot be read.", where=[f"{label}: {reason}"], fix=_FIX_ZIP)


def _locate(span: Callable[[int, int], bytes], total: int, label: str) -> tuple[int, int, int, int]:
    """Number of entries, offset and size of the directory, and what precedes the zip proper."""
    start = max(0, total - 22 - 0xFFFF)
    tail = span(start, total - start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(tail):
        raise _damaged(label, "it has no end record: not a zip, or cut off")
    _, disk, first, here, count, size, offset, _ = _END.unpack_from(tail, at)
    stop = start + at
    if 0xFFFF in (disk, first, here, count) or _FULL in (size, offset):
        locator = span(stop - 20, 20) if stop >= 20 else b""
        if locator[:4] == b"PK\x06\x07":
            where = struct.unpack_from("<Q", locator, 8)[0]
            stop -= 20 + _END64.size
            record = span(stop, _END64.size) if 0 <= where <= stop else b""
            if record[:4] != b"PK\x06\x06":
                raise _damaged(label, "its end record is damaged")
            _, _, _, _, disk, first, here, count, size, offset = _END64.unpack(record)
    base = stop - size - offset
    if disk or first or here != count:
        raise _damaged(label, "it is one part of several")
    if base < 0 or 46 * count > size:
        raise _damaged(label, "its directory does not fit into it: cut off, or damaged")
    return count, base + offset, size, base


def _large(extra: bytes, values: list[int], label: str) -> list[int]:
    """Replace what does not fit into 32 bits by the ZIP64 field of an entry."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            values = [next(numbers, -1) if value == _FULL else value for value in values]
            if -1 not in values:
                return values
        at += 4 + length
    raise _damaged(label, "a ZIP64 field is missing")


def _checked(plain: list[tuple[str, Entry]], stop: int, label: str) -> tuple[dict[str, Entry], int]:
    """The entries without junk, none of them doubled, overlapping, or of an impossible size."""
    refuse_doubled([name for name, _ in plain], "A zip")
    methods, wrong, lying = [], [], []
    unpacked, after = 0, stop
    for name, entry in sorted(plain, key=_place, reverse=True):
        offset, packed, size, _, method = entry
        unpacked += size
        if method not in (0, 8):
            methods.append(f"{name}: method {method}")
        elif size > MAX_PACKING * max(packed, 1) or (method == 0 and size != packed):
            wrong.append(f"{name}: {packed:,} to {size:,} bytes")
        if offset + 30 + len(name) + packed > after:
            lying.append(name)
        after = min(after, offset)
    refuse("A zip is packed with a method other than stored and deflate.", methods, _FIX_ZIP)
    refuse("A zip holds entries that overlap or lie outside it.", lying, _FIX_ZIP)
    refuse("A zip claims sizes that cannot be.", wrong, _FIX_ZIP)
    if unpacked > MAX_TOTAL_BYTES:
        raise InputError("A zip unpacks to too much.", where=[f"{label}: {unpacked:,} bytes"], fix=_FIX_ZIP)
    kept = dict(plain)
    for name in _matching(_JUNK_PATH, [name for name, _ in plain]):
        del kept[name]
    return kept, len(plain) - len(kept)


def _place(item: tuple[str, Entry]) -> int:
    return item[1].offset


def _matching(pattern: re.Pattern[str], names: list[str]) -> list[str]:
    """The names in which the pattern occurs; all are searched at once first, as there are seldom any."""
    text = "\n".join(names)
    if text.count("\n") == len(names) - 1 and not pattern.search(text):
        return []
    return [name for name in names if "\n" in name or pattern.search(name)]
