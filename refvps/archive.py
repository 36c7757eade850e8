"""A folder or a .zip of files through one read-only interface; nothing is ever extracted.

What comes from outside is not trusted: names that could leave the folder, links, encrypted or
doubled entries and archives that unpack to absurd sizes are refused with InputError. The sizes a zip
declares are limits, not facts: no read returns, or even inflates, more than was declared and asked.
"""

from __future__ import annotations

import os
import stat
import struct
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from refvps.errors import InputError
from refvps.zips import MAX_DEPTH, MAX_ENTRIES, Entry, decoded, is_junk, read_directory, refuse, refuse_doubled, shown

__all__ = ["FileSet", "Stream", "open_files", "shown"]

zlib: Any
try:
    from zlib_ng import zlib_ng as zlib
except ImportError:
    import zlib

MAX_RATIO = 200
FREE_BYTES = 1 << 26
"""An entry may unpack to this much at any ratio; beyond it, to MAX_RATIO times its packed size."""

_CHUNK = 1 << 18
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True)
class FileSet:
    """The files of a folder or zip. ``names``: sorted posix names relative to ``root``.

    ``junk`` counts what operating systems leave behind (dot files, ``__MACOSX``, ``Thumbs.db``),
    which is left out. Picklable; every process opens a zip for itself, once.
    """

    root: Path
    kind: Literal["folder", "zip"]
    names: tuple[str, ...]
    junk: int = 0
    entries: Mapping[str, Entry] = field(default_factory=dict, repr=False)
    stamp: tuple[int, ...] = ()
    data: bytes | None = field(default=None, repr=False)

    def only(self, names: Iterable[str]) -> FileSet:
        """The same source with fewer names: what one clip needs, cheap to send to a worker."""
        chosen = tuple(sorted(names))
        entries = {name: self.entries[name] for name in chosen} if self.kind == "zip" else {}
        return replace(self, names=chosen, entries=entries)

    def read(self, name: str, limit: int) -> bytes:
        """The content of one file of at most ``limit`` bytes; raises InputError, naming the reason."""
        if self.kind == "folder":
            return _read_plain(self.root, name, limit)
        entry = self._entry(name)
        if entry.size > limit:
            raise _fault(name, f"it is over {limit:,} bytes")
        if entry.size > FREE_BYTES and entry.size > MAX_RATIO * entry.packed:
            raise _fault(name, f"it unpacks {entry.size // max(1, entry.packed):,} times its packed size")
        packed = self._packed(name, entry)
        if entry.method == 0:
            content = packed
        else:
            inflate = zlib.decompressobj(-15)
            try:
                content = inflate.decompress(packed, entry.size + 1)
            except zlib.error as error:
                raise _fault(name, f"its packed data is damaged ({error})") from error
        if len(content) != entry.size or zlib.crc32(content) != entry.crc:
            raise _fault(name, "its content does not match its size and checksum in the zip")
        return content

    def stream(self, name: str) -> Stream:
        """One file read from its start in pieces, for content whose true size the caller knows."""
        if self.kind == "folder":
            return _PlainStream(self.root, name)
        return _ZipStream(self, name)

    def nested(self, name: str, limit: int) -> FileSet:
        """The zip-like file ``name`` (an .npz) as a FileSet of its own, without extracting it."""
        if self.kind == "folder":
            path = self.root / name
            _check_plain(name)
            return _open_zip(path, shown(name))
        return _list_zip(self.root, self.read(name, limit), (), shown(name))

    def _entry(self, name: str) -> Entry:
        try:
            return self.entries[name]
        except KeyError:
            raise _fault(name, "there is no such file in the zip") from None

    def _span(self, offset: int, count: int) -> bytes:
        if self.data is not None:
            return self.data[offset : offset + count]
        return _read_at(_handle(self.root, self.stamp), offset, count)

    def _start(self, name: str, entry: Entry, head: bytes) -> int:
        """Offset of the packed data, from the local header, which must agree with the directory."""
        if len(head) < 30 or head[:4] != b"PK\x03\x04":
            raise _fault(name, "its local header is damaged")
        flags, method = struct.unpack_from("<HH", head, 6)
        length, extra = struct.unpack_from("<HH", head, 26)
        text = head[30 : 30 + length]
        if method != entry.method or len(text) != length or decoded(text, flags) != name:
            raise _fault(name, "its local header disagrees with the zip's directory")
        return int(30 + length + extra)

    def _packed(self, name: str, entry: Entry) -> bytes:
        head = self._span(entry.offset, 30 + 4 * len(name) + 64 + entry.packed)
        start = self._start(name, entry, head)
        packed = head[start : start + entry.packed]
        if len(packed) < entry.packed:  # an unusually long extra field
            packed = self._span(entry.offset + start, entry.packed)
        if len(packed) < entry.packed:
            raise _fault(name, "the zip ends before it does")
        return packed


class Stream:
    """Sequential reading of a file of ``size`` bytes: ``read(n)`` returns n bytes, fewer only at the end."""

    size: int

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes; raises InputError when the file is damaged."""
        raise NotImplementedError

    def close(self) -> None:
        """Release what is open."""

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class _PlainStream(Stream):
    def __init__(self, root: Path, name: str) -> None:
        self.name, self.handle = name, -1
        self.handle = _open_plain(root, name)
        self.size = os.fstat(self.handle).st_size

    def read(self, count: int) -> bytes:
        try:
            return _read_handle(self.handle, count)
        except OSError as error:
            raise _fault(self.name, error.strerror or str(error)) from error

    def close(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def __del__(self) -> None:
        self.close()


class _ZipStream(Stream):
    """Inflates on demand; checks size and CRC when the end is reached."""

    def __init__(self, files: FileSet, name: str) -> None:
        self.files, self.name = files, name
        self.entry = entry = files._entry(name)
        self.size = entry.size
        start = files._start(name, entry, files._span(entry.offset, 30 + 4 * len(name) + 64))
        self.next, self.stop = entry.offset + start, entry.offset + start + entry.packed
        self.inflate = zlib.decompressobj(-15) if entry.method else None
        self.done = self.crc = 0

    def read(self, count: int) -> bytes:
        count = min(count, self.entry.size - self.done)
        pieces: list[bytes] = []
        missing = count
        while missing > 0:
            piece = self._piece(missing)
            if not piece:
                raise _fault(self.name, "its packed data ends early")
            pieces.append(piece)
            missing -= len(piece)
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.done += count
        self.crc = zlib.crc32(content, self.crc)
        if self.done == self.entry.size and self.crc != self.entry.crc:
            raise _fault(self.name, "its content does not match its checksum in the zip")
        return content

    def _piece(self, count: int) -> bytes:
        if self.inflate is None:
            return self._more(count)
        while True:
            packed = self.inflate.unconsumed_tail or self._more(_CHUNK)
            try:
                content = self.inflate.decompress(packed, count)
            except zlib.error as error:
                raise _fault(self.name, f"its packed data is damaged ({error})") from error
            if content or self.inflate.eof or not packed:
                return bytes(content)

    def _more(self, count: int) -> bytes:
        data = self.files._span(self.next, min(count, self.stop - self.next))
        self.next += len(data)
        return data


def open_files(path: Path) -> FileSet:
    """List a folder, a .zip, or a single prediction file (.jsonl, .json, .npz, .npy).

    Raises InputError for anything else, for links, unsafe or doubled names (also when they differ
    only in case), encrypted entries and absurd counts or sizes.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError("Predictions cannot be opened.", where=[f"{shown(path)}: {reason}"], fix=_FIX_PATH) from error
    if stat.S_ISDIR(mode):
        return _list_folder(path)
    if not stat.S_ISREG(mode):
        raise InputError("Predictions are neither a folder nor a file.", where=[shown(path)], fix=_FIX_PATH)
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".json", ".npz", ".npy"):
        return FileSet(path.parent, "folder", (path.name,))
    if suffix == ".zip" or _magic(path) == b"PK":
        return _open_zip(path, shown(path))
    raise InputError("Predictions are neither a folder nor a .zip.", where=[shown(path)], fix=_FIX_PATH)


_FIX_PATH = "give a folder, a .zip or one .json file; unpack other archives first"


def _magic(path: Path) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(2)
    except OSError:
        return b""


def _fault(name: str, reason: str) -> InputError:
    return InputError("A file cannot be read.", where=[f"{shown(name)}: {reason}"], fix="write or copy it again")


# Folders


def _list_folder(root: Path) -> FileSet:
    names: list[str] = []
    links: list[str] = []
    odd: list[str] = []
    junk = 0
    pending = [("", 0)]
    while pending:
        folder, depth = pending.pop()
        try:
            with os.scandir(f"{root}/{folder}" if folder else root) as listing:
                for item in listing:
                    name = folder + item.name
                    if is_junk(item.name):
                        junk += 1
                    elif item.is_symlink():
                        links.append(name)
                    elif item.is_file(follow_symlinks=False):
                        names.append(name)
                    elif item.is_dir(follow_symlinks=False):
                        pending.append((f"{name}/", depth + 1))
                    else:
                        odd.append(name)
        except OSError as error:
            raise _fault(folder or str(root), error.strerror or str(error)) from error
        if depth > MAX_DEPTH or len(names) + len(pending) > MAX_ENTRIES:
            raise InputError("A folder is too deep or holds too many files.", where=[shown(root)], fix=_FIX_PATH)
    refuse("A folder holds links, which are not followed.", links, "put the files themselves there (cp -rL)")
    refuse("A folder holds something that is not a file (a pipe, socket or device).", odd, "remove it")
    names.sort()
    refuse_doubled(names, "A folder")
    return FileSet(root, "folder", tuple(names), junk)


def _check_plain(name: str) -> None:
    if ".." in name and ".." in name.split("/"):
        raise _fault(name, "it leads out of the folder")


def _open_plain(root: Path, name: str) -> int:
    _check_plain(name)
    try:
        return os.open(f"{root}/{name}", _FLAGS)
    except (OSError, ValueError) as error:
        raise _fault(name, getattr(error, "strerror", None) or str(error)) from error


def _read_plain(root: Path, name: str, limit: int) -> bytes:
    handle = _open_plain(root, name)
    try:
        status = os.fstat(handle)
        if status.st_size > limit or not stat.S_ISREG(status.st_mode):
            raise _fault(name, f"it is over {limit:,} bytes")
        return _read_handle(handle, status.st_size)
    except OSError as error:
        raise _fault(name, error.strerror or str(error)) from error
    finally:
        os.close(handle)


def _read_handle(handle: int, count: int) -> bytes:
    content = os.read(handle, count)
    while len(content) < count:
        more = os.read(handle, count - len(content))
        if not more:
            break
        content += more
    return content


# Zip files

_handles: dict[str, tuple[tuple[int, ...], int]] = {}
_lock = threading.Lock()


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_size, status.st_mtime_ns, status.st_ino)


def _handle(path: Path, stamp: tuple[int, ...]) -> int:
    """The process's one open descriptor of a zip that is still the file that was listed."""
    key = str(path)
    found = _handles.get(key)
    if found is not None and found[0] == stamp:
        return found[1]
    with _lock:
        while len(_handles) >= 8 or key in _handles:
            os.close(_handles.pop(key if key in _handles else next(iter(_handles)))[1])
        try:
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise _fault(key, error.strerror or str(error)) from error
        now = _stamp(os.fstat(handle))
        if now != stamp:
            os.close(handle)
            raise _fault(key, "it changed while it was being read")
        _handles[key] = (stamp, handle)
        return handle


def _read_at(handle: int, offset: int, count: int) -> bytes:
    try:
        if hasattr(os, "pread"):
            return os.pread(handle, count, offset)
        with _lock:
            os.lseek(handle, offset, os.SEEK_SET)
            return _read_handle(handle, count)
    except OSError as error:
        raise _fault("the zip", error.strerror or str(error)) from error


def _open_zip(path: Path, label: str) -> FileSet:
    try:
        stamp = _stamp(path.stat())
    except OSError as error:
        raise _fault(label, error.strerror or str(error)) from error
    return _list_zip(path, None, stamp, label)


def _list_zip(root: Path, data: bytes | None, stamp: tuple[int, ...], label: str) -> FileSet:
    archive = FileSet(root, "zip", (), 0, {}, stamp, data)
    total = len(data) if data is not None else stamp[0]
    entries, junk = read_directory(archive._span, total, label)
    return replace(archive, names=tuple(sorted(entries)), junk=junk, entries=entries)
