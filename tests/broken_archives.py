"""Broken arrays, zips and folders (see :mod:`broken_submissions`)."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from broken_good import Build, Cases, Good

CASES = Cases()
broken, make = CASES.broken, CASES.make

# Arrays


def npy(array: np.ndarray[Any, Any], *, pickled: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=pickled)
    return stream.getvalue()


def _array(change: Callable[[np.ndarray[Any, Any]], bytes]) -> Build:
    """One .npy per expression of the broken clip, everything else as PNGs; one array is changed."""

    def build(good: Good, out: Path) -> Path:
        tree = good.export(out / "preds")
        (tree / good.clip.id).rename(out / "elsewhere")
        (tree / good.clip.id).mkdir()
        for each in good.benchmark.expressions_of(good.clip.id):
            array = good.masks[good.clip.id, each.id]
            data = change(array) if each.id == good.expression else npy(array)
            (tree / good.clip.id / f"{each.id}.npy").write_bytes(data)
        return tree

    return build


def _with_nan(array: np.ndarray[Any, Any]) -> bytes:
    soft = array.astype(np.float32)
    soft[-1, -1, -1] = np.nan
    return npy(soft)


def _claims(array: np.ndarray[Any, Any], shape: str) -> bytes:
    text = f"{{'descr': '|b1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + array.tobytes()


for _name, _code, _phrase, _change in (
    ("npy-float", "soft", "float32", lambda array: npy(array.astype(np.float32))),
    ("npy-nan", "nan", "NaN", _with_nan),
    ("npy-pickled", "array", "pickled", lambda array: npy(np.array([{}, None]), pickled=True)),
    ("npy-pickled-masks", "array", "pickled", lambda array: npy(array.astype(object), pickled=True)),
    ("npy-int64", "array", "not bool or uint8", lambda array: npy(array.astype(np.int64))),
    ("npy-255", "non-binary", "255", lambda array: npy(array.astype(np.uint8) * 255)),
    ("npy-frames", "array", "it holds", lambda array: npy(array[2:])),
    ("npy-transposed", "size", "transposed", lambda array: npy(np.ascontiguousarray(array.transpose(0, 2, 1)))),
    ("npy-channel", "array", "its shape is", lambda array: npy(array[:, None])),
    ("npy-fortran", "array", "Fortran", lambda array: npy(np.asfortranarray(array))),
    ("npy-cut", "truncated", "bytes instead of", lambda array: npy(array)[:-5]),
    ("npy-longer", "corrupt", "bytes instead of", lambda array: npy(array) + b"1"),
    ("npy-empty", "truncated", "only 0 bytes", lambda array: b""),
    ("npy-huge-shape", "size", "but the clip is", lambda array: _claims(array, "(999999999, 999999999, 99999999)")),
    ("npy-absurd-shape", "corrupt", "absurd", lambda array: _claims(array, "(" + "9" * 50 + ", 1, 1)")),
    ("npy-code", "array", "plain array", lambda array: _claims(array, "__import__('os').abort()")),
    ("npy-text", "format", "not an .npy", lambda array: b"hello world"),
):
    make(_name, _code, _phrase, _array(_change))


@broken("missing-expression", "did you mean")
def npz_misspelt_member(good: Good, out: Path) -> Path:
    folder = good.export(out / "preds", "npz")
    file = folder / f"{good.clip.id}.npz"
    with np.load(file, allow_pickle=False) as arrays:
        renamed = {f"{name}_" if name == good.expression else name: arrays[name] for name in arrays.files}
    np.savez_compressed(file, **renamed)
    return folder


@broken("corrupt", "cut off")
def npz_cut(good: Good, out: Path) -> Path:
    folder = good.export(out / "preds", "npz")
    file = folder / f"{good.clip.id}.npz"
    file.write_bytes(file.read_bytes()[:-30])
    return folder


# Zips


def _zip(change: Callable[[Good, zipfile.ZipFile], None]) -> Build:
    """A good zip to which something is added."""

    def build(good: Good, out: Path) -> Path:
        file = good.export(out / "preds.zip")
        with zipfile.ZipFile(file, "a") as archive:
            change(good, archive)
        return file

    return build


def _named(name: str) -> Build:
    def change(good: Good, archive: zipfile.ZipFile) -> None:
        entry = zipfile.ZipInfo("x" * len(name))
        archive.writestr(entry, b"evil")

    def build(good: Good, out: Path) -> Path:
        file = _zip(change)(good, out)
        data = file.read_bytes()
        assert data.count(b"x" * len(name)) == 2
        file.write_bytes(data.replace(b"x" * len(name), name.encode("cp437")))
        return file

    return build


make("zip-parent", "", "lead out of a folder", _named("../../evil.png"))
make("zip-parent-inside", "", "lead out of a folder", _named("a/../../evil.png"))
make("zip-absolute", "", "lead out of a folder", _named("/etc/evil.png"))
make("zip-backslash", "", "lead out of a folder", _named("..\\..\\evil.png"))
make("zip-drive", "", "lead out of a folder", _named("C:evil/evil.png"))
make("zip-nul", "", "lead out of a folder", _named("evil.png\0.txt"))
make("zip-newline", "", "lead out of a folder", _named("evil\nname.png"))


def _added(name: Callable[[Good], str], mode: int = stat.S_IFREG | 0o644, content: bytes = b"x") -> Build:
    def change(good: Good, archive: zipfile.ZipFile) -> None:
        entry = zipfile.ZipInfo(name(good))
        entry.create_system = 3
        entry.external_attr = mode << 16
        archive.writestr(entry, content)

    return _zip(change)


make("zip-link", "", "links or devices", _added(lambda good: "link", stat.S_IFLNK | 0o777, b"/etc/passwd"))
make("zip-pipe", "", "links or devices", _added(lambda good: "pipe", stat.S_IFIFO | 0o644))
make("zip-too-deep", "", "too deep", _added(lambda good: "a/" * 20_000 + "b.png"))
make("zip-name-case", "", "one name", _added(lambda good: good.file.upper()))


@broken("", "one name")
def zip_name_twice(good: Good, out: Path) -> Path:
    file = _added(lambda good: "x" * len(good.file))(good, out)
    file.write_bytes(file.read_bytes().replace(b"x" * len(good.file), good.file.encode()))
    return file


def _patched(find: bytes, offset: int, value: bytes, name: Callable[[Good], str]) -> Build:
    """Overwrite a field of the directory entry or local header of one file."""

    def build(good: Good, out: Path) -> Path:
        file = good.export(out / "preds.zip")
        data = bytearray(file.read_bytes())
        size = 46 if find == b"PK\x01\x02" else 30
        wanted = name(good).encode()
        at = -1
        while True:
            at = data.index(find, at + 1)
            if data[at + size : at + size + len(wanted)] == wanted:
                break
        data[at + offset : at + offset + len(value)] = value
        file.write_bytes(data)
        return file

    return build


def _broken_file(good: Good) -> str:
    return good.file


make("zip-encrypted", "", "encrypted", _patched(b"PK\x01\x02", 8, b"\x01\x00", _broken_file))
make("zip-method", "", "stored and deflate", _patched(b"PK\x01\x02", 10, b"\x0c\x00", _broken_file))
make("zip-crc", "unreadable", "checksum", _patched(b"PK\x01\x02", 16, b"\0\0\0\0", _broken_file))
make("zip-size-lies", "", "sizes that cannot be", _patched(b"PK\x01\x02", 24, b"\xff\xff\xff\x7f", _broken_file))
make("zip-overlap", "", "overlap", _patched(b"PK\x01\x02", 42, b"\0\0\0\0", _broken_file))
make("zip-outside", "", "overlap", _patched(b"PK\x01\x02", 42, b"\xff\xff\xff\x7f", _broken_file))
make("zip-local-name", "unreadable", "disagrees", _patched(b"PK\x03\x04", 30, b"zzzz", _broken_file))
make("zip-local-signature", "unreadable", "local header", _patched(b"PK\x03\x04", 0, b"PK\x03\x05", _broken_file))


@broken("unreadable", "over")
def zip_bomb(good: Good, out: Path) -> Path:
    tree = good.export(out / "tree")
    file = out / "preds.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in sorted(tree.rglob("*.png")):
            name = each.relative_to(tree).as_posix()
            content = bytes(1 << 24) if name == good.file else each.read_bytes()
            archive.writestr(name, content)
    return file


@broken("unreadable", "size and checksum")
def zip_unpacks_to_more(good: Good, out: Path) -> Path:
    """A file that inflates to more than its entry says."""
    tree = good.export(out / "tree")
    file = out / "preds.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in sorted(tree.rglob("*.png")):
            name = each.relative_to(tree).as_posix()
            content = bytes(200_000) if name == good.file else each.read_bytes()
            archive.writestr(name, content)
    data = file.read_bytes()
    assert data.count(struct.pack("<I", 200_000)) == 2
    file.write_bytes(data.replace(struct.pack("<I", 200_000), struct.pack("<I", 150_000)))
    return file


@broken("", "not a zip, or cut off")
def zip_cut(good: Good, out: Path) -> Path:
    file = good.export(out / "preds.zip")
    file.write_bytes(file.read_bytes()[:-200])
    return file


@broken("", "cannot be read")
def zip_start_lost(good: Good, out: Path) -> Path:
    file = good.export(out / "preds.zip")
    file.write_bytes(file.read_bytes()[5000:])
    return file


@broken("", "not a zip")
def zip_of_text(good: Good, out: Path) -> Path:
    (out / "preds.zip").write_text("hello")
    return out / "preds.zip"


@broken("", "neither a folder nor a .zip")
def tar_file(good: Good, out: Path) -> Path:
    (out / "preds.tar.gz").write_bytes(b"\x1f\x8b")
    return out / "preds.tar.gz"


@broken("", "cannot be opened")
def no_such_path(good: Good, out: Path) -> Path:
    return out / "nothing"


# Folders


@broken("", "holds links")
def folder_link(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds")
    (tree / good.file).rename(out / "mask.png")
    (tree / good.file).symlink_to(out / "mask.png")
    return tree


@broken("", "holds links")
def folder_link_to_folder(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds")
    (tree / good.clip.id).rename(out / "elsewhere")
    (tree / good.clip.id).symlink_to(out / "elsewhere")
    return tree


@broken("", "not a file")
def folder_pipe(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds")
    os.mkfifo(tree / "pipe.png")
    return tree


@broken("", "one name")
def folder_name_case(good: Good, out: Path) -> Path:
    tree = good.export(out / "preds")
    (tree / good.file).with_suffix(".PNG").write_bytes((tree / good.file).read_bytes())
    return tree


@broken("", "too deep")
def folder_too_deep(good: Good, out: Path) -> Path:
    good.export(out / "preds")
    (out / "preds" / "/".join("abcdefghijklmnopqrst")).mkdir(parents=True)
    return out / "preds"
