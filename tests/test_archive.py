"""Folders and zips: what is listed and read, and what is refused."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import struct
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refvps import archive
from refvps.archive import FileSet, open_files, shown
from refvps.errors import InputError
from refvps.zips import MAX_ENTRIES

CONTENT = {
    "a/00000.png": b"first",
    "a/00001.png": b"",
    "b/c/d.json": b"x" * 100_000,
    "e.txt": os.urandom(5_000),
}


def folder(path: Path) -> Path:
    for name, content in CONTENT.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def zipped(path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in CONTENT.items():
            file.writestr(name, content)
    return path


def streamed(path: Path) -> Path:
    """A zip written to a pipe: sizes follow the data, local headers hold zeros."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as file:  # type: ignore[arg-type]
        for name, content in CONTENT.items():
            file.writestr(name, content)
    path.write_bytes(pipe.data)
    return path


def large(path: Path) -> Path:
    """A zip with ZIP64 fields in local headers, a comment, and bytes before it (self-extracting)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in CONTENT.items():
            with file.open(name, "w", force_zip64=True) as entry:
                entry.write(content)
        file.comment = b"a comment of some length"
    path.write_bytes(b"#!/bin/sh\n" * 10 + path.read_bytes())
    return path


def zip64_directory(path: Path) -> Path:
    """A zip whose end record refers to a ZIP64 end record."""
    zipped(path)
    data = path.read_bytes()
    at = data.rindex(b"PK\x05\x06")
    count, size, offset = struct.unpack_from("<HLL", data, at + 10)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(data[:at] + record + locator + end)
    return path


def infozip(path: Path) -> Path:
    if shutil.which("zip") is None:
        pytest.skip("no zip command")
    source = folder(path.parent / "source")
    subprocess.run(["zip", "-q", "-r", str(path), "."], cwd=source, check=True)
    return path


@pytest.mark.parametrize(
    "make",
    [
        folder,
        zipped,
        lambda path: zipped(path, zipfile.ZIP_STORED),
        streamed,
        large,
        zip64_directory,
        infozip,
    ],
)
def test_every_source_lists_and_reads_the_same(make: object, tmp_path: Path) -> None:
    files = open_files(make(tmp_path / ("source" if make is folder else "files.zip")))  # type: ignore[operator]
    assert files.names == tuple(sorted(CONTENT))
    again = pickle.loads(pickle.dumps(files))
    for name, content in CONTENT.items():
        assert files.read(name, len(content)) == content
        assert again.only([name]).read(name, 1 << 20) == content
        with files.stream(name) as stream:
            pieces = []
            while piece := stream.read(700):
                pieces.append(piece)
            assert b"".join(pieces) == content
            assert stream.size == len(content)
        if content:
            with pytest.raises(InputError, match="over"):
                files.read(name, len(content) - 1)


def test_the_standard_library_agrees(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip")
    with zipfile.ZipFile(path) as file:
        assert sorted(file.namelist()) == list(open_files(path).names)


def test_junk_is_counted_and_left_out(tmp_path: Path) -> None:
    for name in (".DS_Store", "a/Thumbs.db", "__MACOSX/._a", "a/desktop.ini", ".git/config", "a/.x.jsonl.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"junk")
    folder(tmp_path)
    found = open_files(tmp_path)
    assert found.names == tuple(sorted(CONTENT))
    assert found.junk == 6
    path = tmp_path.parent / f"{tmp_path.name}.zip"
    with zipfile.ZipFile(path, "w") as file:
        for each in sorted(tmp_path.rglob("*")):
            file.write(each, each.relative_to(tmp_path).as_posix())
    assert open_files(path).names == found.names
    assert open_files(path).junk == 6


def test_a_zip_that_changed_is_not_read(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip")
    files = open_files(path)
    files.read("e.txt", 1 << 20)
    time.sleep(0.01)
    other = zipped(tmp_path / "y.zip", zipfile.ZIP_STORED)
    os.replace(other, path)
    again = open_files(path)
    assert again.read("e.txt", 1 << 20) == CONTENT["e.txt"]
    with pytest.raises(InputError, match="changed"):
        files.read("e.txt", 1 << 20)


def test_many_zips_do_not_exhaust_descriptors(tmp_path: Path) -> None:
    found = [open_files(zipped(tmp_path / f"{index}.zip")) for index in range(30)]
    for _ in range(2):
        for files in found:
            assert files.read("a/00000.png", 10) == b"first"
    assert len(archive._handles) <= 8


def test_a_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("a.json", "w") as entry:
        for _ in range(80):
            entry.write(bytes(1 << 20))
    with pytest.raises(InputError, match="times its packed size"):
        open_files(path).read("a.json", 1 << 30)


def test_a_size_that_deflate_cannot_reach_is_refused_at_once(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip")
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02", 0, data.index(b"b/c/d.json", data.index(b"PK\x01\x02")))
    struct.pack_into("<L", data, at + 24, 1 << 31)
    path.write_bytes(data)
    with pytest.raises(InputError, match="sizes that cannot be"):
        open_files(path)


def test_absurd_counts_are_refused_before_they_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    count = MAX_ENTRIES + 1
    size = 46 * count
    with open(path, "wb") as stream:
        stream.truncate(size)
        stream.seek(size)
        stream.write(struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, 0))
        stream.write(struct.pack("<4sLQL", b"PK\x06\x07", 0, size, 1))
        stream.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))
    with pytest.raises(InputError, match="too many entries"):
        open_files(path)


def test_names_that_leave_the_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    files = open_files(folder(tmp_path / "inside"))
    for name in ("../secret", "a/../../secret"):
        with pytest.raises(InputError, match="leads out"):
            files.read(name, 100)
    with pytest.raises(InputError, match="no such file"):
        open_files(zipped(tmp_path / "x.zip")).read("../secret", 100)


def test_a_link_that_appears_later_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    root = folder(tmp_path / "inside")
    files = open_files(root)
    (root / "e.txt").unlink()
    (root / "e.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=r"e\.txt"):
        files.read("e.txt", 100)


def test_names_are_printable() -> None:
    assert shown("a\x1b[31m\n\udcff\u202eb") == "a\\x1b[31m\\n\\udcff\\u202eb"
    assert shown("caf\u00e9") == "caf\u00e9"
    assert len(shown("x" * 10_000)) == 160
    shown("\ud800").encode()


def test_odd_file_names_do_not_stop_the_listing(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff\n.png", "wb") as stream:
        stream.write(b"x")
    files = open_files(tmp_path)
    assert files.read(files.names[0], 10) == b"x"
    assert shown(files.names[0]) == "\\udcff\\n.png"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return zipped(tmp_path_factory.mktemp("sound") / "x.zip").read_bytes()


@settings(max_examples=300)
@given(data=st.data())
def test_damaged_zips_are_read_right_or_refused(sound: bytes, data: st.DataObject) -> None:
    changed = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    start = data.draw(st.sampled_from([0, 0, 0, 5]))
    stop = data.draw(st.sampled_from([0, 0, 0, 7]))
    content = bytes(changed[start : len(changed) - stop])
    try:
        files = archive._list_zip(Path("memory"), content, (), "memory")
    except InputError:
        return
    for name in files.names:
        for read in (lambda name: files.read(name, 1 << 20), lambda name: whole(files, name)):
            try:
                found = read(name)
            except InputError:
                continue
            assert found in CONTENT.values()


def whole(files: FileSet, name: str) -> bytes:
    with files.stream(name) as stream:
        return stream.read(stream.size)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_streams_check_what_they_read(method: int, tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", method)
    data = path.read_bytes()
    at = data.index(CONTENT["e.txt"][100:110])  # random bytes are stored as they are either way
    path.write_bytes(data[:at] + b"0123456789" + data[at + 10 :])
    with pytest.raises(InputError, match="checksum"):
        whole(open_files(path), "e.txt")
    assert whole(open_files(path), "b/c/d.json") == CONTENT["b/c/d.json"]
