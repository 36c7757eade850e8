"""One suite over every importer, on a small copy of its data set in the real layout (tests/importers.py)."""

from __future__ import annotations

import os
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import foreign_davis16
import foreign_mevis
import numpy as np
import pytest
from importers import GENERATORS, Copy, make

import refvps
from refvps.data.digest import benchmark_digest, clip_digest
from refvps.data.importers import IMPORTERS
from refvps.data.importers.install import Request, install
from refvps.data.store import store
from refvps.data.truth import annotation
from refvps.errors import DataMissingError, InputError, RefvpsError, UsageError
from refvps.masks.mask import Mask
from refvps.predictions.export import export
from refvps.run.evaluate import evaluate_submission
from refvps.types import ID, Benchmark, Truth

NAMES = sorted(IMPORTERS)


def loader(name: str) -> Callable[..., Benchmark]:
    module, _, attribute = IMPORTERS[name].loader.partition(":")
    found: Callable[..., Benchmark] = getattr(import_module(module), attribute)
    return found


def load(name: str, copy: Copy, **options: Any) -> Benchmark:
    return loader(name)(copy.root, **{**copy.options, **options})


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def copy(name: str, tmp_path: Path) -> Copy:
    return make(name, tmp_path / "copy")


def test_every_importer_has_a_generator_and_the_other_way_round() -> None:
    assert set(GENERATORS) == set(IMPORTERS)


def test_the_row_says_what_a_user_must_know(name: str) -> None:
    row = IMPORTERS[name]
    assert row.name == name
    assert row.summary
    assert len(row.licence.split()) > 5
    assert row.instructions
    assert row.layout
    wanted = import_module("inspect").signature(loader(name)).parameters
    assert set(row.options) == {key for key in wanted if key not in ("root", "jobs", "progress")}
    for option in row.options:
        with pytest.raises(UsageError):
            loader(name)(Path("nowhere"), **{option: "no such value"})


def test_counts_first_and_last_record(name: str, copy: Copy) -> None:
    reports: list[tuple[int, int]] = []
    benchmark = load(name, copy, progress=lambda done, total: reports.append((done, total)))
    assert benchmark.name == name
    assert ID.fullmatch(benchmark.version)
    assert benchmark.licence
    assert (len(benchmark.clips), len(benchmark.expressions)) == (copy.clips, copy.expressions)
    first, last = benchmark.expressions[0], benchmark.expressions[-1]
    assert (first.clip, first.id, first.text) == copy.first
    assert (last.clip, last.id, last.text) == copy.last
    assert {key: clip.size for key, clip in benchmark.clips.items()} == dict(copy.sizes)
    assert {key: clip.source_id for key, clip in benchmark.clips.items()} == dict(copy.source_ids)
    assert sum(len(clip.annotated) for clip in benchmark.clips.values()) == copy.annotated
    assert all(key == clip.id and clip.group for key, clip in benchmark.clips.items())
    assert {each.clip for each in benchmark.expressions} == set(benchmark.clips)
    assert reports
    assert reports[-1][0] == reports[-1][1] > 0


def test_masks_have_the_size_of_the_clip_and_are_apart_from_ignore(name: str, copy: Copy) -> None:
    benchmark = load(name, copy)
    for clip in benchmark.clips.values():
        truth = benchmark.truth(clip.id)
        wanted = {each.target for each in benchmark.expressions_of(clip.id)}
        annotated = set(clip.annotated_indices())
        for index in range(len(clip.frames)):
            targets, ignore = truth.frame(index)
            assert wanted <= set(targets)
            assert index in annotated or (ignore is None and not any(targets.values()))
            assert index not in annotated or any(mask is not None for mask in targets.values())
            for mask in (*targets.values(), ignore):
                assert mask is None or mask.array().shape == clip.size == mask.size
            if ignore is not None:
                assert not any((mask.array() & ignore.array()).any() for mask in targets.values() if mask)


def recomputed(benchmark: Benchmark) -> str:
    return benchmark_digest(
        {
            key: clip_digest(clip, benchmark.expressions_of(key), annotation(benchmark.truth(key), clip))
            for key, clip in benchmark.clips.items()
        }
    )


def test_the_digest_is_that_of_the_content(name: str, copy: Copy) -> None:
    benchmark = load(name, copy)
    assert benchmark.digest == recomputed(benchmark) == benchmark_digest(benchmark.clip_digests)
    assert set(benchmark.clip_digests) == set(benchmark.clips)


@dataclass
class Shuffled:
    """``os.scandir`` in an order of its own."""

    entries: list[Any]

    def __enter__(self) -> Shuffled:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.entries)

    def close(self) -> None:
        return None


def test_nothing_depends_on_the_order_of_listings_or_on_when_files_were_made(
    name: str, copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(name, copy)
    assert load(name, copy).digest == first.digest
    moved = tmp_path / "moved"
    files = sorted(path for path in copy.root.rglob("*") if path.is_file())
    random.Random(1).shuffle(files)
    for path in files:
        (moved / path.relative_to(copy.root)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, moved / path.relative_to(copy.root))
    listdir, scandir, calls = os.listdir, os.scandir, []

    def shuffled(path: Any = ".") -> list[str]:
        found = listdir(path)
        calls.append(path)
        random.Random(len(calls)).shuffle(found)
        return found

    def scanned(path: Any = ".") -> Shuffled:
        with scandir(path) as entries:
            found = list(entries)
        calls.append(path)
        random.Random(len(calls)).shuffle(found)
        return Shuffled(found)

    monkeypatch.setattr(os, "listdir", shuffled)
    monkeypatch.setattr(os, "scandir", scanned)
    again = loader(name)(moved, **copy.options)
    assert (again.digest, again.clips, again.expressions) == (first.digest, first.clips, first.expressions)
    assert (again.version, again.notes, again.rules) == (first.version, first.notes, first.rules)


def test_truth_can_be_sent_to_a_worker(name: str, copy: Copy) -> None:
    benchmark = load(name, copy)
    for clip in benchmark.clips.values():
        truth = benchmark.truth(clip.id)
        packed = pickle.dumps(truth)
        truth.frame(clip.annotated_indices()[0])
        assert len(pickle.dumps(truth)) <= len(packed) + 100  # what was read stays here
        sent: Truth = pickle.loads(packed)
        assert annotation(sent, clip) == annotation(truth, clip)
        assert getattr(sent, "absent", frozenset()) == getattr(truth, "absent", frozenset())


@dataclass(frozen=True)
class Moved:
    """Predictions made from the truth: ``shift`` pixels to the right; empty where a target is not annotated."""

    benchmark: Benchmark
    shift: int

    def __call__(self, clip: str) -> Any:
        @dataclass(frozen=True)
        class Reader:
            outer: Moved

            def frame(self, index: int) -> dict[str, Mask]:
                bench = self.outer.benchmark
                targets, _ = bench.truth(clip).frame(index)
                found = {}
                for each in bench.expressions_of(clip):
                    mask = targets[each.target]
                    array = np.zeros(bench.clips[clip].size, bool) if mask is None else mask.array()
                    found[each.id] = Mask.from_array(np.roll(array, self.outer.shift, axis=1))
                return found

        return Reader(self)


def test_stored_it_is_the_same_benchmark_with_the_same_scores(name: str, copy: Copy, tmp_path: Path) -> None:
    before = load(name, copy)
    store(before)
    after = refvps.load(name)
    assert (after.digest, after.version, after.rules) == (before.digest, before.version, before.rules)
    assert dict(after.clips) == dict(before.clips)
    assert after.expressions == before.expressions
    assert (after.notes, after.licence) == (before.notes, before.licence)
    for shift in (0, 2):
        preds = tmp_path / f"moved{shift}"
        export(preds, before, Moved(before, shift), "tree")
        scores = [evaluate_submission(each, preds, method="moved").scores for each in (before, after)]
        assert scores[0].summary == scores[1].summary
        assert (scores[0].rows, scores[0].counts_sha256) == (scores[1].rows, scores[1].counts_sha256)
        assert scores[0].signature == scores[1].signature
        value = scores[0].summary["J"].value
        assert value is not None
        assert (value == 1.0) == (shift == 0)


def fails(name: str, copy: Copy) -> RefvpsError:
    """The error of loading the copy and reading all of its masks."""

    def load_and_read() -> None:
        benchmark = load(name, copy)
        for clip in benchmark.clips.values():
            annotation(benchmark.truth(clip.id), clip)

    with pytest.raises(RefvpsError) as caught:
        load_and_read()
    assert caught.value.exit_code in (3, 4)
    assert caught.value.fix
    return caught.value


def test_every_missing_file_is_named(name: str, copy: Copy, tmp_path: Path) -> None:
    assert copy.needed
    assert all((copy.root / file).is_file() for file in copy.needed)
    for file in copy.needed:
        away = tmp_path / "away"
        os.rename(copy.root / file, away)
        error = fails(name, copy)
        assert any(file in place for place in error.where), (file, str(error))
        os.rename(away, copy.root / file)
    load(name, copy)


def test_every_damaged_file_is_named(name: str, copy: Copy) -> None:
    assert copy.damaged
    for file, content in copy.damaged.items():
        good = (copy.root / file).read_bytes()
        assert content != good
        (copy.root / file).write_bytes(content)
        error = fails(name, copy)
        assert isinstance(error, InputError)
        assert any(file in place for place in error.where), (file, str(error))
        (copy.root / file).write_bytes(good)
    load(name, copy)


def test_a_file_that_changes_after_loading_is_not_scored(name: str, copy: Copy) -> None:
    benchmark = load(name, copy)
    masks = [annotation(benchmark.truth(clip.id), clip) for clip in benchmark.clips.values()]
    refused = 0
    for file, content in copy.damaged.items():
        good = (copy.root / file).read_bytes()
        (copy.root / file).write_bytes(content)
        fresh = [pickle.loads(pickle.dumps(benchmark.truth(clip))) for clip in benchmark.clips]
        try:
            found = [annotation(t, clip) for t, clip in zip(fresh, benchmark.clips.values(), strict=True)]
        except InputError as error:
            refused += any(file in place for place in error.where)
        else:
            assert found == masks  # it is no file that masks are read from
        (copy.root / file).write_bytes(good)
    assert refused


def test_nothing_there_is_an_error(name: str, copy: Copy, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no folder")
    for place in ("empty", "file", "nowhere"):
        with pytest.raises(RefvpsError) as caught:
            loader(name)(tmp_path / place, **copy.options)
        assert caught.value.exit_code in (3, 4)
        assert caught.value.where
        assert caught.value.fix


def test_frames_are_joined_by_name_or_said_to_be_missing(name: str, copy: Copy) -> None:
    benchmark = load(name, copy)
    assert set(copy.pictures) <= set(benchmark.clips)
    for key, clip in benchmark.clips.items():
        if key not in copy.pictures:
            with pytest.raises(DataMissingError):
                benchmark.frames(key)
            continue
        frames = benchmark.frames(key)
        assert len(frames) == len(clip.frames) == len(copy.pictures[key])
        for frame, file, found in zip(clip.frames, copy.pictures[key], frames, strict=True):
            assert Path(file).stem == frame
            assert found.shape == (*clip.size, 3)
        assert pickle.loads(pickle.dumps(frames))[0].shape == (*clip.size, 3)
        last = copy.root / copy.pictures[key][-1]
        data = last.read_bytes()
        for broken in (None, b""):
            last.unlink() if broken is None else last.write_bytes(broken)
            with pytest.raises(RefvpsError) as caught:
                benchmark.frames(key)
            assert caught.value.exit_code == (3 if broken is None else 4)
            assert any(copy.pictures[key][-1] in place for place in caught.value.where)
        last.write_bytes(data)


def test_a_split_of_mevis_is_never_taken_for_another(tmp_path: Path) -> None:
    """A folder with train alone is descended into, or given itself; it is not valid_u."""
    foreign_mevis.copy(tmp_path / "MeViS")
    (tmp_path / "MeViS" / "valid_u").rename(tmp_path / "MeViS" / "train")
    for source in (tmp_path / "MeViS", tmp_path / "MeViS" / "train"):
        with pytest.raises(UsageError, match="split train of MeViS, not valid_u"):
            install(source, Request("mevis", {}))
        assert install(source, Request("mevis", {"split": "train"})).name == "train"


def test_what_a_mac_leaves_beside_a_folder_is_not_looked_at(tmp_path: Path) -> None:
    foreign_davis16.copy(tmp_path / "set" / "DAVIS")
    (tmp_path / "set" / "__MACOSX").mkdir()
    (tmp_path / "set" / ".DS_Store").write_bytes(b"x")
    assert install(tmp_path / "set", Request("davis16", {})).name == "val"
