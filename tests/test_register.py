"""Registering and loading a local Ref-VPS."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trees
from PIL import Image
from trees import SIZES, encode, read_image, read_lines, write_labels, write_lines, write_ref_vps

from refvps import data
from refvps.data import register
from refvps.data.local import load_local
from refvps.errors import DataMissingError, InputError, RefvpsError, UsageError
from refvps.home import home

ROOT = Path(__file__).resolve().parent.parent


def test_nothing_on_disk_lists_the_ways_out() -> None:
    with pytest.raises(DataMissingError) as caught:
        data.load()
    assert caught.value.exit_code == 3
    for step in (
        "refvps download ref-vps --from DIR|ZIP",
        "--repo ORG/NAME",
        "--pred preds/ --gt gt/",
        "--pred preds/ -b sample",
    ):
        assert step in caught.value.fix


@pytest.mark.parametrize("form", ["folder", "zip", "one folder too deep", "zip, too deep"])
def test_register_and_load(form: str, tmp_path: Path) -> None:
    root = write_ref_vps(tmp_path / "outer" / "set", {"wax-01": "png", "smoke.2": "rle", "wave_3": "png"})
    (root / ".DS_Store").write_bytes(b"x")
    (root / "README.md").write_text("whatever")
    source = root.parent if "deep" in form else root
    if "zip" in form:
        source = Path(shutil.make_archive(str(tmp_path / "set"), "zip", source))
    reports: list[tuple[int, int]] = []
    installed = register.register(source, progress=lambda done, total: reports.append((done, total)))
    assert installed == home() / "benchmarks" / "ref-vps" / "local"
    files = 7 + 1 + 7 + 3 * 7
    assert reports == [(files, files)]
    assert not list(installed.rglob("README.md"))
    shutil.rmtree(tmp_path / "outer")
    benchmark = data.load("ref-vps@local")
    assert (benchmark.name, benchmark.version) == ("ref-vps", "local")
    assert list(benchmark.clips) == list(SIZES)
    for number, clip in enumerate(benchmark.clips.values()):
        frames = benchmark.frames(clip.id)
        assert len(frames) == 7
        assert abs(int(frames[3].mean()) - 90) < 3
        for index in clip.annotated_indices():
            masks, ignore = benchmark.truth(clip.id).frame(index)
            image = trees.truth(number, index, clip.size)
            np.testing.assert_array_equal(masks["1"].array(), image == 1)  # type: ignore[union-attr]
            drawn = np.zeros(clip.size, bool) if ignore is None else ignore.array()
            np.testing.assert_array_equal(drawn, image == 255)


def test_what_the_data_set_says_about_itself_is_kept(tmp_path: Path) -> None:
    about = {"name": "ref-vps", "version": "1.0", "licence": "CC BY 4.0"}
    register.register(write_ref_vps(tmp_path, about=about, frames=False))
    benchmark = load_local()
    assert (benchmark.version, benchmark.licence) == ("1.0", "CC BY 4.0")
    with pytest.raises(DataMissingError, match="with a copy that has frames"):
        benchmark.frames("wax-01")


def test_versions_stand_side_by_side_and_never_change(tmp_path: Path) -> None:
    first = write_ref_vps(tmp_path / "a", about={"version": "1"}, frames=False)
    second = write_ref_vps(tmp_path / "b", about={"version": "2"}, frames=False)
    records = read_lines(second / "expressions.jsonl")
    records[0]["text"] = "another sentence"
    write_lines(second / "expressions.jsonl", records)
    register.register(first)
    register.register(second)
    with pytest.raises(UsageError, match="ref-vps@2"):
        load_local()
    assert load_local(version="1").digest != load_local(version="2").digest
    with pytest.raises(DataMissingError, match="1, 2"):
        load_local(version="3")
    before = {path: path.read_bytes() for path in home().rglob("*") if path.is_file()}
    assert register.register(first).name == "1"
    (second / "benchmark.json").write_text(json.dumps({"version": "1"}))
    with pytest.raises(UsageError, match="different digest, manifests, clips"):
        register.register(second)
    assert {path: path.read_bytes() for path in home().rglob("*") if path.is_file()} == before


def test_withdrawn_clips_are_neither_copied_nor_loaded(tmp_path: Path) -> None:
    root = write_ref_vps(tmp_path)
    gone = {"date": "2026-01-31", "reason": "uploader"}
    write_lines(root / "withdrawn.jsonl", [{"clip": "smoke.2"} | gone, {"clip": "never-there"} | gone])
    installed = register.register(root)
    assert not (installed / "frames" / "smoke.2").exists()
    assert not (installed / "masks" / "smoke.2").exists()
    benchmark = load_local()
    assert list(benchmark.clips) == ["wax-01", "wave_3"]
    assert {expression.clip for expression in benchmark.expressions} == {"wax-01", "wave_3"}
    shutil.rmtree(root / "masks" / "smoke.2")
    shutil.rmtree(root / "frames" / "smoke.2")
    assert register.register(root) == installed


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    root = write_ref_vps(tmp_path / "set", {"wax-01": "png", "smoke.2": "rle", "wave_3": "png"}, frames=False)
    installed = register.register(root)
    mask = installed / "bits" / "wax-01.bits"
    kept = mask.read_bytes()

    def read(frame: int) -> bytes:
        target = load_local().truth("wax-01").frame(frame)[0]["1"]
        assert target is not None
        target.bits()
        return target.counts()

    mask.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(InputError, match="not the one that was checked"):
        read(1)
    mask.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read(1)
    mask.write_bytes(kept)
    read(2)
    strings = installed / "masks" / "wax-01.jsonl"
    strings.write_bytes(strings.read_bytes().replace(b"wax-01", b"wax-02"))
    with pytest.raises(InputError, match="not the one that was checked"):
        read(2)
    track = installed / "masks" / "smoke.2.jsonl"
    track.write_bytes(track.read_bytes() + b"\n")
    with pytest.raises(InputError, match="not the one that was checked"):
        load_local().truth("smoke.2").frame(0)[0]["1"].counts()  # type: ignore[union-attr]
    for name, part in {"expressions.jsonl": b"the wax", "benchmark.json": b"wax"}.items():
        kept = (installed / name).read_bytes()
        for changed in (kept.replace(part, part[:-1] + b"g"), b"{}", b"[1]", kept[:-20], b""):
            (installed / name).write_bytes(changed)
            with pytest.raises(InputError):
                load_local()
        (installed / name).write_bytes(kept)
    load_local()


Edit = Callable[[Path], Any]


def _drop(place: str) -> Edit:
    return lambda root: (root / place).unlink()


def _image(place: str, values: tuple[int, ...], size: tuple[int, int] = (36, 52)) -> Edit:
    return lambda root: write_labels(root / place, trees.labels(1, size, values))


def _all_255(root: Path) -> None:
    for path in (root / "masks").rglob("*.png"):
        image = read_image(path)
        write_labels(path, np.where(image == 1, 255, 0).astype(np.uint8), "L")


def _edit(place: str, number: int, **fields: Any) -> Edit:
    def change(root: Path) -> None:
        records = read_lines(root / place)
        records[number] |= fields
        write_lines(root / place, records)

    return change


BROKEN: dict[str, tuple[Edit, str]] = {
    "no manifest": (_drop("clips.jsonl"), "no clips.jsonl"),
    "no expressions": (_drop("expressions.jsonl"), "no expressions.jsonl"),
    "missing mask": (_drop("masks/wax-01/00003.png"), "wax-01/00003: no mask"),
    "missing frame": (_drop("frames/wax-01/00003.jpg"), "wax-01/00003: no frame"),
    "mask of a frame that is not annotated": (_image("masks/smoke.2/00001.png", (1,)), "smoke.2/00001: a mask not in"),
    "unknown clip": (_image("masks/wax-9/00001.png", (1,)), "has no wax-9"),
    "wrong kind of file": (lambda root: (root / "masks/wax-01/x.txt").write_text("x"), "no meaning here"),
    "too deep": (_image("masks/wax-01/1/00001.png", (1,)), "no meaning here"),
    "two forms": (lambda root: (root / "masks/wax-01.jsonl").write_text("{}"), "both as RLE and as PNG"),
    "no masks": (lambda root: shutil.rmtree(root / "masks" / "wax-01"), "wax-01: no masks"),
    "several objects": (_image("masks/wax-01/00001.png", (1, 2)), "the value 2; only 0, 1 and 255"),
    "wrong size": (_image("masks/wax-01/00001.png", (1,), (36, 51)), "masks/wax-01/00001.png: it is 51x36"),
    "turned": (_image("masks/wax-01/00001.png", (1,), (52, 36)), "swapped"),
    "not a PNG": (lambda root: (root / "masks/wax-01/00001.png").write_bytes(b"no"), "masks/wax-01/00001.png: "),
    "only 255": (_all_255, "255 is Ignore"),
    "target of no mask": (_edit("expressions.jsonl", 0, target="2"), "wax-01/0: its target 2 has no mask"),
    "frames of another size": (
        lambda root: [Image.new("RGB", (52, 40)).save(p) for p in (root / "frames/wax-01").iterdir()],
        "frames/wax-01: 52x40, the list of clips has 52x36",
    ),
    "frames of two kinds": (
        lambda root: (root / "frames/wax-01/00000.jpg").rename(root / "frames/wax-01/00000.png"),
        "one kind of file",
    ),
    "another name": (lambda root: (root / "benchmark.json").write_text('{"name": "mine"}'), "its name is mine"),
    "bad version": (lambda root: (root / "benchmark.json").write_text('{"version": "../x"}'), "version"),
    "all withdrawn": (
        lambda root: write_lines(
            root / "withdrawn.jsonl", [{"clip": clip, "date": "2026-01-31", "reason": "licence"} for clip in SIZES]
        ),
        "Every clip of this data set is withdrawn",
    ),
    "bad withdrawal": (lambda root: write_lines(root / "withdrawn.jsonl", [{"clip": 3}]), "withdrawn.jsonl:1"),
    "a link": (lambda root: (root / "frames/wax-01/link.jpg").symlink_to("/etc/passwd"), "links"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_data_sets_are_refused_and_leave_nothing(name: str, tmp_path: Path) -> None:
    root = write_ref_vps(tmp_path)
    edit, message = BROKEN[name]
    edit(root)
    with pytest.raises(InputError) as caught:
        register.register(root)
    assert message in str(caught.value)
    assert caught.value.exit_code == 4
    assert caught.value.fix
    assert not [path for path in home().rglob("*") if path.is_file() and path.name != ".lock"]


def test_rle_targets_are_checked_against_the_expressions(tmp_path: Path) -> None:
    root = write_ref_vps(tmp_path, "rle", frames=False)
    path = root / "masks" / "wax-01.jsonl"
    records = read_lines(path)
    full = encode(np.ones((36, 52), bool))
    write_lines(path, [records[0], records[1] | {"target": "left"}, {"target": "right", "counts": [full] * 7}])
    _edit("expressions.jsonl", 0, target="right")(root)
    with pytest.raises(InputError, match="wax-01/1: its target 1 has no mask; targets with masks: left, right"):
        register.register(root)
    _edit("expressions.jsonl", 1, target="left")(root)
    register.register(root)
    masks, _ = load_local().truth("wax-01").frame(2)
    assert list(masks) == ["left", "right"]
    assert masks["right"].area() == 36 * 52  # type: ignore[union-attr]


def test_hostile_zips_are_refused(tmp_path: Path) -> None:
    root = write_ref_vps(tmp_path / "set", frames=False)
    archive = Path(shutil.make_archive(str(tmp_path / "set"), "zip", root))
    with zipfile.ZipFile(archive, "a") as zipped:
        zipped.writestr("masks/../../../escaped.png", b"x")
    with pytest.raises(InputError):
        register.register(archive)
    assert not list(tmp_path.rglob("escaped.png"))
    for content in (b"", b"PK\x03\x04", archive.read_bytes()[:-30]):
        (tmp_path / "cut.zip").write_bytes(content)
        with pytest.raises(InputError):
            register.register(tmp_path / "cut.zip")
    with pytest.raises(RefvpsError):
        register.register(tmp_path / "nowhere")


KILLED = """
import os, signal, sys
from refvps.data import register
left = int(sys.argv[2])
def dying(function):
    def run(*args, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    return run
register._put = dying(register._put)
register.write_atomic = dying(register.write_atomic)
os.rename = dying(os.rename)
register.register(sys.argv[1])
"""


@pytest.mark.parametrize("survived", [0, 5, 17, 39, 40, 41])
def test_a_killed_registration_leaves_nothing_behind(survived: int, tmp_path: Path) -> None:
    root = write_ref_vps(tmp_path)  # 2 manifests, 7 + 3 + 7 masks, 21 frames, the record, the move
    command = [sys.executable, "-c", KILLED, str(root), str(survived)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == -signal.SIGKILL
    assert list((home() / "benchmarks" / "ref-vps").glob(".staging-*")) or survived == 0
    assert not {row.name: row.available for row in data.names()}["ref-vps"]
    with pytest.raises(DataMissingError):
        load_local()
    installed = register.register(root)
    assert list(load_local().clips) == list(SIZES)
    assert sorted(path.name for path in installed.parent.iterdir()) == [".lock", "local"]


def test_jobs_do_not_change_what_is_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_ref_vps(tmp_path / "set")
    records = []
    for jobs in (1, 2):
        monkeypatch.setenv("REFVPS_HOME", str(tmp_path / f"home-{jobs}"))
        records.append((register.register(root, jobs=jobs) / "benchmark.json").read_bytes())
    assert records[0] == records[1]


def test_mutated_data_sets_never_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    outcomes = {"refused": 0, "loaded": 0}
    for number in range(40):
        monkeypatch.setenv("REFVPS_HOME", str(tmp_path / f"home-{number}"))
        root = write_ref_vps(tmp_path / str(number), {"wax-01": "png", "smoke.2": "rle", "wave_3": "png"})
        files = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix != ".jpg")
        path = files[rng.integers(len(files))]
        content = bytearray(path.read_bytes())
        for _ in range(rng.integers(1, 4)):
            place = int(rng.integers(len(content)))
            if rng.random() < 0.5:
                content[place] = rng.integers(256)
            else:
                del content[place : place + int(rng.integers(1, 40))]
        path.write_bytes(bytes(content))
        try:
            register.register(root)
            benchmark = load_local()
            for clip in benchmark.clips.values():
                for index in clip.annotated_indices():
                    benchmark.truth(clip.id).frame(index)
            outcomes["loaded"] += 1
        except InputError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 25
