"""The table of integers: files, merges, selections, hostile content."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from tables import random_counts

from refvps.errors import InputError, UsageError
from refvps.run.counts import Counts, assemble, merge, read_counts, select, write_counts
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
