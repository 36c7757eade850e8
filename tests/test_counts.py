"""The table of integers: files, merges, selections, hostile content."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import random_counts

from refvps.errors import InputError, UsageError
from refvps.run.counts import Counts, assemble, merge, select
from refvps.run.counts_file import read_counts, write_counts
from refvps.run.score import score
from refvps.types import Rules

RULES = Rules(draws=200)


def part(counts: Counts, keep) -> Counts:
    return replace(counts, columns={name: column[keep] for name, column in counts.columns.items()})


@pytest.mark.parametrize("boundary", [False, True])
def test_round_trip(tmp_path, boundary):
    counts = random_counts(boundary=boundary, missing=0.1)
    data = write_counts(counts, tmp_path / "m.counts.npz")
    again = read_counts(tmp_path / "m.counts.npz")
    assert again == counts
    assert again.names() == counts.names()
    assert write_counts(again, tmp_path / "n.counts.npz") == data
    loaded = np.load(tmp_path / "m.counts.npz", allow_pickle=False)
    assert np.array_equal(loaded["both"], counts.columns["both"])


def test_merging_shards_in_any_order_is_the_whole():
    counts = random_counts(clips=7)
    rng = np.random.default_rng(5)
    shard = rng.integers(0, 3, size=7)[counts.columns["clip"]]
    parts = [part(counts, shard == k) for k in (2, 0, 1)]
    assert merge(parts) == counts
    assert score(merge(parts), RULES).summary == score(counts, RULES).summary
    with pytest.raises(InputError, match="twice"):
        merge([*parts, parts[0]])
    with pytest.raises(InputError, match="belong together"):
        merge([parts[0], random_counts(seed=1, clips=5)])


def test_row_order_does_not_matter():
    counts = random_counts()
    shuffled = part(counts, np.random.default_rng(0).permutation(len(counts)))
    assert assemble(shuffled) == counts


def test_a_withdrawn_clip_leaves_no_trace():
    whole, without = random_counts(clips=6), random_counts(clips=5)
    left = select(whole, [f"c{k}" for k in range(5)])
    assert len(left) == len(without)
    assert left.clips == without.clips
    for name in left.columns:
        keep = whole.columns["clip"] < 5
        if name not in ("clip", "expression", "target"):
            assert np.array_equal(left.columns[name], whole.columns[name][keep])
    assert left.benchmark["digest"] != whole.benchmark["digest"]
    assert select(whole, [c.id for c in whole.clips]).columns["both"].sum() == whole.columns["both"].sum()


def test_any_changed_integer_changes_the_hash():
    counts = random_counts()
    for name in counts.columns:
        column = counts.columns[name].copy()
        column[3] += 1
        assert replace(counts, columns={**counts.columns, name: column}) != counts


def test_boundary_counts_are_bound_to_their_rule():
    counts = random_counts(boundary=True)
    f = Rules(metrics=("J", "F", "J&F"), draws=0)
    assert score(counts, f).summary["F"].value is not None
    with pytest.raises(UsageError, match="F cannot be scored"):
        score(counts, replace(f, ignore="background"))
    with pytest.raises(UsageError, match="tolerance"):
        score(counts, replace(f, bound_th=0.01))
    with pytest.raises(UsageError, match="F cannot be scored"):
        score(random_counts(), f)
    assert score(counts, replace(f, metrics=("J",), ignore="background")).summary["J"].value is not None


def rewritten(tmp_path, change):
    """A counts file with one array replaced."""
    counts = random_counts(boundary=True)
    write_counts(counts, tmp_path / "good.counts.npz")
    arrays = dict(np.load(tmp_path / "good.counts.npz"))
    change(arrays)
    path = tmp_path / "bad.counts.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.asarray(array), allow_pickle=True)
            archive.writestr(f"{name}.npy", stream.getvalue())
    return path


def setting(name, row, value):
    def change(arrays):
        arrays[name][row] = value

    return change


def naming(change):
    """Change the JSON of names."""

    def apply(arrays):
        names = json.loads(arrays["names"].tobytes())
        change(names)
        arrays["names"] = np.frombuffer(json.dumps(names).encode(), np.uint8)

    return apply


def at(*path, value):
    """Set one place in the names."""

    def change(names):
        inner = names
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value

    return naming(change)


NAMES = {
    "benchmark leaves the folder": at("benchmark", "name", value="../../escaped/x"),
    "version leaves the folder": at("benchmark", "version", value="1/../../../x"),
    "benchmark forges a signature": at("benchmark", "name", value="sample|ci:99%"),
    "digest is none": at("benchmark", "digest", value="x"),
    "no digest": naming(lambda names: names["benchmark"].pop("digest")),
    "benchmark is a list": at("benchmark", value=[1]),
    "method is a list": at("method", value=["x"]),
    "boundary is a text": at("boundary", value="yes"),
    "boundary of another kind": at("boundary", value={"x": 1}),
    "clip id leaves the folder": at("clips", 0, 0, value="../x"),
    "size is absurd": at("clips", 0, 1, value=[1e308, 3]),
    "rate is infinite": at("clips", 0, 2, value=float("inf")),
    "rate is no number": at("clips", 0, 2, value="NaN"),
    "annotated frames out of order": at("clips", 0, 5, value=[3, 2, 1]),
    "annotated frames beyond the clip": at("clips", 0, 5, value=[0, 99]),
    "text is half a character": at("expressions", 0, 2, value="\ud800"),
    "expression twice": naming(lambda names: names["expressions"].__setitem__(1, names["expressions"][0])),
    "notes are numbers": at("notes", value=[1]),
    "another schema": at("schema", value="refvps.counts/9"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_impossible_names_are_refused(tmp_path, kind):
    with pytest.raises(InputError, match="cannot be used"):
        read_counts(rewritten(tmp_path, NAMES[kind]))


@given(st.data())
@settings(max_examples=150)
def test_damaged_files_never_crash(data):
    """Bytes flipped anywhere: the same table or an InputError, never anything else."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.counts.npz"
        good = random_counts(clips=2, frames=3)
        content = bytearray(write_counts(good, path))
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(bytes(content))
        try:
            assert read_counts(path) == good
        except InputError:
            pass


def test_a_bomb_is_refused_before_it_fills_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("refvps.run.counts_file._MAX_BYTES", 1 << 20)
    path = tmp_path / "bomb.counts.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("both.npy", bytes(1 << 22))
    with pytest.raises(InputError, match="unpacks to more"):
        read_counts(path)


def test_a_header_that_lies_is_refused(tmp_path):
    path = tmp_path / "x.counts.npz"
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<i8", "fortran_order": False, "shape": (10**13,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("both.npy", stream.getvalue())
    with pytest.raises(InputError, match="says it is"):
        read_counts(path)


def test_a_part_is_never_scored_as_the_whole():
    counts = random_counts(clips=4)
    for keep in (counts.columns["clip"] != 2, counts.columns["frame"] < 5, counts.columns["frame"] != 4):
        with pytest.raises(InputError, match="only a part"):
            score(part(counts, keep), RULES)
    with pytest.raises(InputError, match="nothing to score"):
        score(part(counts, counts.columns["clip"] > 9), RULES)


HOSTILE = {
    "negative": setting("both", 0, -1),
    "more in common than there is": setting("both", 0, 10**6),
    "larger than the frame": setting("prediction", 0, 10**6),
    "unknown clip": setting("clip", 0, 99),
    "unknown expression": setting("expression", 0, 99),
    "expression of another clip": setting("clip", 0, 3),
    "frame beyond the clip": setting("frame", 0, 999),
    "unknown state": setting("state", 0, 7),
    "matched beyond the boundary": setting("edge_prediction_matched", 0, 10**5),
    "duplicate row": setting("frame", 1, 0),
    "floats": lambda arrays: arrays.update(both=arrays["both"].astype(float)),
    "objects": lambda arrays: arrays.update(both=arrays["both"].astype(object)),
    "short column": lambda arrays: arrays.update(both=arrays["both"][:-1]),
    "no column": lambda arrays: arrays.pop("both"),
    "extra column": lambda arrays: arrays.update(more=arrays["both"]),
    "no names": lambda arrays: arrays.pop("names"),
    "bad names": lambda arrays: arrays.update(names=np.frombuffer(b'{"schema": 3}', np.uint8)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_impossible_counts_are_refused(tmp_path, kind):
    with pytest.raises(InputError, match="(cannot be used|twice|not valid JSON)"):
        read_counts(rewritten(tmp_path, HOSTILE[kind]))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"not a zip", b"\x93NUMPY"])
def test_rubbish_is_refused(tmp_path, data):
    path = tmp_path / "x.counts.npz"
    path.write_bytes(data)
    with pytest.raises(InputError):
        read_counts(path)
    with pytest.raises(InputError, match="no counts file"):
        read_counts(tmp_path / "absent.counts.npz")
