"""The index of decoded ground truth: every file decoded once, and never a stale answer."""

from __future__ import annotations

import os
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from trees import SIZE, flat, labels, nested, read_image, write_labels

from refvps.data import folder
from refvps.data.folder import load_folder
from refvps.errors import InputError
from refvps.home import home
from refvps.types import Benchmark


def entries() -> list[Path]:
    return sorted((home() / "index").glob("*.json"))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    scanned: list[Path] = []
    real = folder.scan_files

    def scan_files(paths: Any, **options: Any) -> Any:
        scanned.extend(paths)
        return real(paths, **options)

    monkeypatch.setattr(folder, "scan_files", scan_files)
    return scanned


def same(first: Benchmark, second: Benchmark) -> bool:
    fields = ("name", "version", "digest", "clips", "expressions", "clip_digests", "notes")
    return all(getattr(first, name) == getattr(second, name) for name in fields)


@pytest.mark.parametrize("make", [flat, nested])
def test_files_are_decoded_once(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "gt")
    scanned = counted(monkeypatch)
    first = load_folder(root)
    assert len(scanned) == len(first.clips) * len(next(iter(first.clips.values())).frames) * (
        2 if make is nested else 1
    )
    scanned.clear()
    assert same(load_folder(root), first)
    shutil.copytree(root, tmp_path / "copy")
    assert same(load_folder(tmp_path / "copy"), first)
    assert not scanned
    load_folder(root, fps=3)
    assert scanned


def test_every_change_of_content_is_seen(tmp_path: Path) -> None:
    root = flat(tmp_path / "gt")
    digests = {load_folder(root).digest}
    path = root / "a" / "00001.png"
    status = path.stat()
    image = read_image(path)
    image[3, 3] ^= 1
    write_labels(path, image)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    digests.add(load_folder(root).digest)
    path.rename(root / "a" / "00009.png")
    digests.add(load_folder(root).digest)
    (root / "b").rename(root / "c")
    digests.add(load_folder(root).digest)
    assert len(digests) == 4


def test_another_png_of_the_same_pixels_has_the_same_digest(tmp_path: Path) -> None:
    first = load_folder(flat(tmp_path / "x", mode="P"))
    second = load_folder(flat(tmp_path / "y", mode="L"))
    assert first.digest == second.digest
    assert len(entries()) == 2


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b"null", b"\xff", b"1e999", "cut", "swap", "edit"])
def test_a_damaged_entry_is_ignored_and_rewritten(damage: bytes | str, tmp_path: Path) -> None:
    root = flat(tmp_path / "gt")
    first = load_folder(root)
    (entry,) = entries()
    good = entry.read_bytes()
    changed = {"cut": good[:-9], "swap": good.replace(b'"a"', b'"b"'), "edit": good.replace(b"36", b"37")}
    entry.write_bytes(damage if isinstance(damage, bytes) else changed[damage])
    assert entry.read_bytes() != good
    assert same(load_folder(root), first)
    assert entry.read_bytes() == good


def test_a_home_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("REFVPS_HOME", str(tmp_path / "file" / "home"))
    assert load_folder(flat(tmp_path / "gt")).digest


def test_a_file_changed_after_loading_is_noticed(tmp_path: Path) -> None:
    benchmark = load_folder(flat(tmp_path))
    write_labels(tmp_path / "a" / "00001.png", labels(99, SIZE))
    benchmark.truth("a").frame(0)
    with pytest.raises(InputError, match="not the one that was checked"):
        benchmark.truth("a").frame(1)


def test_neither_jobs_nor_listing_order_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = flat(tmp_path, (1, 2, 255), tuple(f"v{k}" for k in range(50)))
    reports: list[tuple[int, int]] = []
    first = load_folder(root, jobs=2, progress=lambda done, total: reports.append((done, total)))
    assert reports[0] == (0, 150)
    assert reports[-1] == (150, 150)
    for entry in entries():
        entry.unlink()
    real = os.scandir

    class Shuffled:
        def __init__(self, path: Any) -> None:
            with real(path) as found:
                self.entries = list(found)
            random.Random(3).shuffle(self.entries)

        def __enter__(self) -> Any:
            return iter(self.entries)

        def __exit__(self, *args: object) -> None:
            return

    monkeypatch.setattr(os, "scandir", Shuffled)
    assert same(load_folder(root, jobs=1), first)
    assert pickle.loads(pickle.dumps(first.truth("v3"))) == first.truth("v3")
