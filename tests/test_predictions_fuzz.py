"""Mutated submissions: read as the same masks, or refused with a reason; nothing else, and no other exception."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broken_good import Good
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tiny import CLIPS, EXPRESSIONS, tiny_benchmark, tiny_masks

from refvps.errors import InputError
from refvps.predictions.problems import Report
from refvps.predictions.submission import open_submission

EXPRESSIONS_USED = tuple(each for each in EXPRESSIONS if each.id not in ("a2", "a3"))
BENCHMARK = tiny_benchmark(
    tuple(
        replace(clip, frames=clip.frames[:count], annotated=clip.frames[:count:step])
        for clip, count, step in zip(CLIPS, (4, 5, 3), (1, 4, 1), strict=True)
    ),
    EXPRESSIONS_USED,
)
MASKS = tiny_masks(BENCHMARK)
GOOD = Good(BENCHMARK, MASKS)

Files = dict[str, bytes]

HOSTILE: list[Any] = [
    -1,
    2**70,
    1.5,
    float("inf"),
    True,
    "",
    "x",
    "00001",
    "\x00",
    "\xff",
    "\ud800",
    [],
    [None],
    [[]],
    {},
    {"counts": 1},
    {"size": [3, 4], "counts": "0"},
    "Z" * 3000,
]


@cache
def sound(layout: str) -> Files:
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "preds"
        GOOD.canonical(out) if layout == "canonical" else GOOD.export(out, layout)
        return {
            each.relative_to(out).as_posix(): each.read_bytes() for each in sorted(out.rglob("*")) if each.is_file()
        }


@cache
def sound_zip(layout: str) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "preds.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for each, content in sound(layout).items():
                file.writestr(zipfile.ZipInfo(each), content)
        return path.read_bytes()


def flipped(draw: Callable[[st.SearchStrategy[Any]], Any], data: bytes) -> bytes:
    if not data:
        return data
    at = draw(st.integers(0, len(data) - 1))
    return data[:at] + bytes([data[at] ^ draw(st.integers(1, 255))]) + data[at + 1 :]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(min(3, len(value))):
            yield from places(value[index], (*path, index))


def replaced(draw: Callable[[st.SearchStrategy[Any]], Any], data: bytes) -> bytes:
    """JSON with one value replaced by something hostile, or one key by another."""
    lines = data.split(b"\n")
    at = draw(st.integers(0, max(0, len(lines) - 2)))
    value = json.loads(lines[at])
    path = draw(st.sampled_from(list(places(value))))
    new = draw(st.sampled_from(HOSTILE))
    if not path:
        value = new
    else:
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        if isinstance(holder, dict) and isinstance(new, str) and draw(st.booleans()):
            holder[new] = holder.pop(path[-1])
        else:
            holder[path[-1]] = new
    lines[at] = json.dumps(value).encode()
    return b"\n".join(lines)


def mutate(draw: Callable[[st.SearchStrategy[Any]], Any], files: Files) -> tuple[Files, bool]:
    """Changed files, and whether a byte of text was changed, which no checksum protects."""
    files = dict(files)
    unprotected = False
    for _ in range(draw(st.integers(1, 3))):
        if not files:
            break
        name = draw(st.sampled_from(sorted(files)))
        text = name.endswith((".json", ".jsonl"))
        kind = draw(st.sampled_from(["flip", "cut", "delete", "rename", "copy", "value"]))
        if kind == "flip":
            files[name] = flipped(draw, files[name])
            unprotected |= text
        elif kind == "cut":
            files[name] = files[name][: draw(st.integers(0, max(0, len(files[name]) - 1)))]
        elif kind == "delete":
            del files[name]
        elif kind == "value" and text:
            try:
                files[name] = replaced(draw, files[name])
            except (ValueError, KeyError):
                continue
        else:
            stem, dot, suffix = name.rpartition(".")
            others = (f"x/{name}", f"x/y/{name}", f"Annotations/{name}", f"anno_1/{name}", f"{name}.json")
            ends = (f"_{dot}{suffix}", ".jpg", ".npy", ".npz", ".jsonl", f"/{stem}.png")
            other = draw(st.sampled_from([*others, *(f"{stem}{end}" for end in ends)]))
            files[other] = files[name]
            if kind == "rename":
                del files[name]
    return files, unprotected


def judge(path: Path, unprotected: bool) -> None:
    try:
        submission = open_submission(path, BENCHMARK)
        reports, same = [submission.problems], True
        for clip in BENCHMARK.clips.values():
            reader = submission.reader(clip.id)
            for index in clip.annotated_indices():
                for expression, mask in reader.frame(index).items():
                    found = None if mask is None else mask.array()
                    assert found is None or found.shape == clip.size
                    same &= found is not None and np.array_equal(found, MASKS[clip.id, expression][index])
            reports.append(reader.problems)
    except InputError:
        event("refused")
        return
    report = Report.merge(reports)
    event("error" if not report.ok else "note" if report.problems else "clean")
    assert same or not report.ok or unprotected, report.text()
    str(report.text()).encode()
    json.dumps(report.to_dict())


@pytest.mark.parametrize("layout", ["tree", "anno-ids", "canonical", "json", "npz"])
def test_mutated_folders(layout: str) -> None:
    @settings(max_examples=120)
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        files, unprotected = mutate(data.draw, sound(layout))
        with tempfile.TemporaryDirectory() as name:
            root = Path(name) / "preds"
            root.mkdir()
            for each, content in files.items():
                path = root / each
                if any(parent.is_file() for parent in path.parents) or path.is_dir():
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            judge(root, unprotected)

    run()


@pytest.mark.parametrize("layout", ["tree", "canonical", "npz"])
def test_mutated_zips(layout: str, tmp_path: Path) -> None:
    @settings(max_examples=120)
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        content = sound_zip(layout)
        for _ in range(data.draw(st.integers(1, 3))):
            if data.draw(st.booleans()):  # in the directory at the end, where little of it is content
                start = max(0, len(content) - 2000)
                content = content[:start] + flipped(data.draw, content[start:])
            else:
                content = flipped(data.draw, content)
        path = tmp_path / "preds.zip"
        path.write_bytes(content)
        judge(path, unprotected=False)

    run()
    shutil.rmtree(tmp_path)


@settings(max_examples=300)
@given(data=st.binary(max_size=300), name=st.sampled_from(["a0.npy", "00000.png", "a0.npz"]))
def test_random_bytes_in_place_of_a_file(data: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "melt"
        clip.mkdir()
        prefix = (
            b"\x93NUMPY\x01\x00" if name == "a0.npy" else b"\x89PNG\r\n\x1a\n" if name == "00000.png" else b"PK\x03\x04"
        )
        target = clip / name
        if name == "00000.png":
            target = clip / "a0" / name
            target.parent.mkdir()
        target.write_bytes(prefix + data)
        judge(Path(folder), unprotected=False)
