"""Running predictors over a benchmark: files, resuming, refusing, sharding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import Noisy, benchmark_of, content

from refvps import sanity
from refvps.errors import UsageError
from refvps.files import locked
from refvps.masks import rle
from refvps.predictions.submission import open_submission
from refvps.run.predict import clip_seed, predict, shards
from refvps.types import Benchmark, Method

# --- a plain run --------------------------------------------------------------------------------------


def test_files_say_what_the_predictor_said(tmp_path: Path) -> None:
    bench = benchmark_of([7, 4])
    seen: list[tuple[int, int]] = []
    run = predict(bench, Noisy(), tmp_path / "out", seed=5, progress=lambda done, total: seen.append((done, total)))
    assert sorted(content(tmp_path / "out")) == ["clip-0.jsonl", "clip-1.jsonl", "run.json"]
    assert (run.done, run.kept) == (("clip-0", "clip-1"), ())
    assert seen[0] == (0, 22)
    assert seen[-1] == (22, 22)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    for clip in bench.clips.values():
        expressions = bench.expressions_of(clip.id)
        lines = [json.loads(line) for line in (tmp_path / "out" / f"{clip.id}.jsonl").read_text().splitlines()]
        assert [line["expression"] for line in lines[1:]] == [each.id for each in expressions]
        expected = np.zeros((len(expressions), len(clip.frames), *clip.size), bool)
        texts = [each.text for each in expressions]
        for chunk in Noisy().predict(bench.frames(clip.id), texts, fps=24.0, seed=clip_seed(clip.id, 5)):
            expected[chunk.text, chunk.start : chunk.start + len(chunk.masks)] = chunk.masks
        assert 0.1 < expected.mean() < 0.9
        for k, line in enumerate(lines[1:]):
            found = [rle.decode(counts.encode(), clip.size) for counts in line["counts"]]
            assert np.array_equal(found, expected[k])


def test_the_run_file(tmp_path: Path) -> None:
    bench = benchmark_of([3])
    predict(bench, Noisy(), tmp_path, seed=5)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["schema"] == "refvps.run/1"
    assert record["method"]["name"] == "noisy"
    assert record["method"]["options"] == {"level": 100}
    assert record["benchmark"] == {"name": "toy", "version": "1", "digest": "d"}
    assert record["seed"] == 5
    assert list(record["timings"]) == ["clip-0"]
    assert len(record["key"]) == 64


def test_our_own_output_is_a_valid_submission(tmp_path: Path) -> None:
    bench = benchmark_of([5, 3])
    predict(bench, sanity.motion(), tmp_path)
    submission = open_submission(tmp_path, bench)
    assert [problem.code for problem in submission.problems.problems] == []
    assert submission.name == "motion"
    reader = submission.reader("clip-1")
    assert all(mask is not None for index in range(3) for mask in reader.frame(index).values())
    assert not reader.problems.problems


def test_the_seed_of_a_clip() -> None:
    seeds = {clip_seed(clip, seed) for clip in ("a", "b", "a1") for seed in (0, 1, 10)}
    assert len(seeds) == 9
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert clip_seed("a", 0) == 0x92A72AE8  # the first four bytes of sha256 of ["a",0]


def test_another_seed_gives_other_masks_and_the_same_seed_the_same(tmp_path: Path) -> None:
    bench = benchmark_of([4])
    for name, seed in {"one": 0, "two": 0, "other": 1}.items():
        predict(bench, Noisy(), tmp_path / name, seed=seed)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert content(tmp_path / "one")["clip-0.jsonl"] != content(tmp_path / "other")["clip-0.jsonl"]


# --- going on, refusing, starting over -------------------------------------------------------------------


def test_finished_clips_are_kept_and_the_rest_is_done(tmp_path: Path) -> None:
    bench = benchmark_of([6, 5, 4])
    predict(bench, Noisy(), tmp_path / "whole")
    out = tmp_path / "out"
    first = predict(bench, Noisy(), out, clips=["clip-1"])
    assert first.done == ("clip-1",)
    stamp = (out / "clip-1.jsonl").stat().st_mtime_ns
    seen: list[int] = []
    second = predict(bench, Noisy(), out, progress=lambda done, total: seen.append(done))
    assert (second.done, second.kept) == (("clip-0", "clip-2"), ("clip-1",))
    assert seen[-1] == 30
    assert (out / "clip-1.jsonl").stat().st_mtime_ns == stamp
    third = predict(bench, Noisy(), out)
    assert (third.done, third.kept) == ((), ("clip-0", "clip-1", "clip-2"))
    assert content(out) == content(tmp_path / "whole")
    timings = json.loads((out / "run.json").read_text())["timings"]
    assert sorted(timings) == ["clip-0", "clip-1", "clip-2"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Linux has a place where no folder can be made")
def test_a_folder_that_cannot_be_made_is_an_error_and_no_endless_wait() -> None:
    with pytest.raises(FileNotFoundError):
        predict(benchmark_of([2]), Noisy(), Path("/proc/no-such-folder"))


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-40], lambda data: data.replace(b'"e1"', b'"e9"'), lambda data: data[:-1]]
)
def test_a_damaged_file_is_made_again(damage: Any, tmp_path: Path) -> None:
    bench = benchmark_of([5, 4])
    predict(bench, Noisy(), tmp_path)
    good = content(tmp_path)
    path = tmp_path / "clip-1.jsonl"
    path.write_bytes(damage(path.read_bytes()))
    assert content(tmp_path) != good
    assert predict(bench, Noisy(), tmp_path).done == ("clip-1",)
    assert content(tmp_path) == good


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"predictor": Noisy(level=90)}, r"method\.options\.level is 100 there, 90 now"),
        ({"predictor": sanity.full()}, r"method\.name is 'noisy' there, 'full' now"),
        ({"seed": 1}, r"seed is 0 there, 1 now"),
        ({"benchmark": benchmark_of([5], digest="e")}, r"benchmark\.digest is 'd' there, 'e' now"),
    ],
)
def test_the_folder_of_another_run_is_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    bench = benchmark_of([5])
    predict(bench, Noisy(), tmp_path)
    before = content(tmp_path)
    arguments = {"benchmark": bench, "predictor": Noisy(), "seed": 0, **change}
    with pytest.raises(UsageError, match=words) as caught:
        predict(out=tmp_path, **arguments)
    assert caught.value.exit_code == 2
    assert content(tmp_path) == before
    predict(out=tmp_path, force=True, **arguments)
    predict(out=tmp_path / "fresh", **arguments)
    fresh = content(tmp_path / "fresh")
    assert {name: data for name, data in content(tmp_path).items() if not name.startswith("fresh")} == fresh


def test_force_predicts_again_and_touches_nothing_else(tmp_path: Path) -> None:
    bench = benchmark_of([5, 3])
    predict(bench, Noisy(), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    assert predict(bench, Noisy(), tmp_path, force=True).done == ("clip-0", "clip-1")
    predict(bench, Noisy(level=7), tmp_path, clips=["clip-0"], force=True)
    assert sorted(content(tmp_path)) == ["clip-0.jsonl", "notes.txt", "run.json"]  # no mixture of two runs
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_foreign_files_are_not_overwritten(tmp_path: Path) -> None:
    bench = benchmark_of([5])
    full = tmp_path / "full"
    full.mkdir()
    (full / "clip-0.jsonl").write_text("somebody's work")
    with pytest.raises(UsageError, match=r"not empty[\s\S]*clip-0\.jsonl[\s\S]*--force"):
        predict(bench, Noisy(), full)
    assert content(full) == {"clip-0.jsonl": b"somebody's work"}
    (full / "run.json").write_text('{"schema": "other"}')
    with pytest.raises(UsageError, match="not written by refvps"):
        predict(bench, Noisy(), full)

    ours = tmp_path / "ours"
    predict(bench, Noisy(), ours, clips=[])
    (ours / "clip-0.jsonl").write_text("somebody's work")
    with pytest.raises(UsageError, match="not a prediction of this benchmark"):
        predict(bench, Noisy(), ours)
    assert (ours / "clip-0.jsonl").read_text() == "somebody's work"
    predict(bench, Noisy(), ours, force=True)
    predict(bench, Noisy(), tmp_path / "plain")
    assert content(ours) == content(tmp_path / "plain")

    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="not a folder"):
        predict(bench, Noisy(), tmp_path / "file")


@pytest.mark.parametrize(
    "junk", ["[]", '{"schema":"refvps.run/1","key":[],"method":3}', '{"schema":"refvps.run/1","timings":7}', "{"]
)
def test_a_strange_run_file_is_refused_not_crashed_on(junk: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(junk)
    with pytest.raises(UsageError, match="not written by refvps"):
        predict(benchmark_of([2]), Noisy(), tmp_path)
    predict(benchmark_of([2]), Noisy(), tmp_path, force=True)
    assert sorted(content(tmp_path)) == ["clip-0.jsonl", "run.json"]


def test_options_that_cannot_be_stored(tmp_path: Path) -> None:
    predictor = Noisy()
    predictor.method = Method(name="noisy", options={"level": object()})
    with pytest.raises(UsageError, match="plain JSON"):
        predict(benchmark_of([2]), predictor, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_process_on_the_same_clip(tmp_path: Path) -> None:
    bench = benchmark_of([4, 3, 2])
    with locked(tmp_path / ".locks" / "clip-1.lock"), pytest.raises(UsageError, match="clip-1") as caught:
        predict(bench, Noisy(), tmp_path)
    assert caught.value.where == ("clip-1",)
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["clip-0.jsonl", "clip-2.jsonl"]
    (tmp_path / ".clip-1.jsonl.00ff.tmp").write_bytes(b"of a killed process")
    assert predict(bench, Noisy(), tmp_path).done == ("clip-1",)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "clip-0.jsonl",
        "clip-1.jsonl",
        "clip-2.jsonl",
        "run.json",
    ]


# --- shards ------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40), st.integers(1, 9))
def test_shards_are_balanced_lists_of_every_clip_once(lengths: list[int], count: int) -> None:
    bench = benchmark_of(lengths)
    parts = shards(bench, count)
    assert len(parts) == count
    assert sorted(clip for part in parts for clip in part) == sorted(bench.clips)
    loads = [sum(2 * len(bench.clips[clip].frames) for clip in part) for part in parts]
    assert max(loads) - min(loads) <= 2 * max(lengths)
    best = max(2 * sum(lengths) / count, 2 * max(lengths))
    assert max(loads) <= best * 4 / 3 + 1  # the bound of longest-first scheduling


def test_shards_do_not_depend_on_the_order_of_the_manifest() -> None:
    bench = benchmark_of([5, 9, 9, 2, 7])
    turned = Benchmark(**{**vars(bench), "clips": dict(reversed(bench.clips.items()))})
    assert shards(bench, 3) == shards(turned, 3)


def test_shards_together_are_the_whole_run(tmp_path: Path) -> None:
    bench = benchmark_of([6, 2, 5, 3])
    predict(bench, Noisy(), tmp_path / "whole")
    for index in (1, 2, 3):
        predict(bench, Noisy(), tmp_path / "out", shard=(index, 3))
    whole, out = content(tmp_path / "whole"), content(tmp_path / "out")
    records = [json.loads(out.pop(f"run.{index}-of-3.json")) for index in (1, 2, 3)]
    del whole["run.json"]
    assert out == whole
    assert sorted(clip for record in records for clip in record["shard"]["clips"]) == sorted(bench.clips)
    submission = open_submission(tmp_path / "out", bench)
    assert [problem.code for problem in submission.problems.problems] == []
    assert predict(bench, Noisy(), tmp_path / "out").kept == tuple(bench.clips)
    with pytest.raises(UsageError, match="another run"):
        predict(bench, Noisy(level=3), tmp_path / "out", shard=(2, 2))


@pytest.mark.parametrize("shard", [(0, 2), (3, 2), (1, 0)])
def test_impossible_shards(shard: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such shard"):
        predict(benchmark_of([2]), Noisy(), tmp_path / "out", shard=shard)
    with pytest.raises(UsageError, match="clip-7"):
        predict(benchmark_of([2]), Noisy(), tmp_path / "out", clips=["clip-7"])
    assert not (tmp_path / "out").exists()
