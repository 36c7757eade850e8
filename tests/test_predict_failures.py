"""Clips that fail, sentences that are not the clip's own, and what the run file says."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import Noisy, benchmark_of, content

import refvps
from refvps import cli, sanity
from refvps.errors import DataMissingError, InputError, UsageError
from refvps.run.predict import meter, predict
from refvps.run.predict.live import LiveScore
from refvps.run.predict.text_control import controlled_texts, donors
from refvps.types import Benchmark, MaskChunk, Method

# --- failures -------------------------------------------------------------------------------------------


class Fragile(Noisy):
    """Fails on clips of certain lengths."""

    def __init__(self, failing: dict[int, BaseException]) -> None:
        super().__init__()
        self.failing, self.tried = failing, []

    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        self.tried.append(len(frames))
        if len(frames) in self.failing:
            raise self.failing[len(frames)]
        yield from super().predict(frames, texts, fps=fps, seed=seed)


def test_a_failing_clip_does_not_lose_the_others_and_is_tried_again(tmp_path: Path) -> None:
    bench = benchmark_of([9, 8, 7, 6, 5])
    predict(bench, Noisy(), tmp_path / "whole")
    out = tmp_path / "out"
    fragile = Fragile({8: MemoryError("no room"), 5: RuntimeError("odd")})
    with pytest.raises(InputError) as caught:
        predict(bench, fragile, out)
    assert fragile.tried == [9, 8, 7, 6, 5]  # the longest first
    assert caught.value.exit_code == 4
    assert caught.value.what == "2 of 5 clips could not be predicted; all others are done."
    assert [where.split(":")[0] for where in caught.value.where] == ["clip-1", "clip-4"]
    assert "MemoryError: no room" in caught.value.where[0]
    assert sorted(path.name for path in out.glob("*.jsonl")) == ["clip-0.jsonl", "clip-2.jsonl", "clip-3.jsonl"]
    again = Fragile({})
    run = predict(bench, again, out)
    assert (again.tried, run.done, len(run.kept)) == ([8, 5], ("clip-1", "clip-4"), 3)
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.parametrize(
    ("errors", "tried"),
    [
        ([RuntimeError("CUDA: tried to allocate 3 GB")] * 6, 3),
        ([RuntimeError(f"tried to allocate {k} GB") for k in range(6)], 3),  # numbers do not make another error
        ([RuntimeError("a"), RuntimeError("b"), *[RuntimeError("a")] * 4], 6),
        ([None, *[RuntimeError("a")] * 5], 6),  # it works at all: the others may, too
    ],
)
def test_three_failures_alike_at_the_start_stop_the_run(
    errors: list[BaseException | None], tried: int, tmp_path: Path
) -> None:
    lengths = [9, 8, 7, 6, 5, 4]
    fragile = Fragile({length: error for length, error in zip(lengths, errors, strict=True) if error})
    with pytest.raises(InputError, match="not tried" if tried == 3 else "could not be predicted"):
        predict(benchmark_of(lengths), fragile, tmp_path)
    assert len(fragile.tried) == tried


def test_an_interruption_stops_at_once(tmp_path: Path) -> None:
    fragile = Fragile({9: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        predict(benchmark_of([9, 8]), fragile, tmp_path)
    assert fragile.tried == [9]


@pytest.mark.parametrize("error", [SystemExit(0), UsageError("Too long.", where=["a", "its last words"])])
def test_a_clip_is_lost_alone_whatever_its_predictor_raises(error: BaseException, tmp_path: Path) -> None:
    """One that calls sys.exit(0) would end a run as if it were done."""
    fragile = Fragile({9: error})
    with pytest.raises(InputError, match=r"1 of 3 clips could not be predicted; all others are done") as caught:
        predict(benchmark_of([9, 8, 7]), fragile, tmp_path)
    assert fragile.tried == [9, 8, 7]
    assert caught.value.where[0].startswith("clip-0: ")
    assert caught.value.where[1:] == (() if isinstance(error, SystemExit) else ("its last words",))


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Method(""), "called ''"),
        (Method("../up"), "called '../up'"),
        (Method("my net"), "called 'my net'"),
        (Method(5), "called 5"),  # type: ignore[arg-type]
        (Method("a" * 101), "1 to 100"),
        (Method("a", options=[1]), "options of its method are a list"),  # type: ignore[arg-type]
        ("a", "a str, not a"),
    ],
)
def test_a_method_without_a_usable_name_is_refused(method: Any, words: str, tmp_path: Path) -> None:
    """evaluate would call it by its folder, and the name of a text control would be lost."""
    nameless = Noisy()
    nameless.method = method
    with pytest.raises(UsageError, match=words):
        predict(benchmark_of([2, 2]), nameless, tmp_path / "out", text_control="object")
    assert not (tmp_path / "out").exists()


def test_a_clip_without_frames_is_lacking_data(tmp_path: Path) -> None:
    bench = benchmark_of([4, 3, 2])

    def frames(clip: str) -> Any:
        if clip != "clip-2":
            raise DataMissingError("No frames.", where=[clip], fix="refvps download toy")
        return bench.frames(clip)

    with pytest.raises(DataMissingError, match="refvps download toy; the same command again"):
        predict(replace(bench, frames=frames), Noisy(), tmp_path)
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["clip-2.jsonl"]


def test_what_a_failed_clip_held_is_let_go(tmp_path: Path) -> None:
    class Big(np.ndarray):
        pass

    held: list[weakref.ref[Any]] = []

    class Hungry(Noisy):
        def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
            tensor = np.zeros(1000).view(Big)
            if held:
                gc.collect()
                assert held[-1]() is None, "the stack of the clip before is still alive"
            held.append(weakref.ref(tensor))
            raise MemoryError(f"clip {len(held)}" + "abc"[len(held) - 1])
            yield

    with pytest.raises(InputError) as caught:
        predict(benchmark_of([4, 3, 2]), Hungry(), tmp_path)
    assert [where.rsplit(":", 1)[1] for where in caught.value.where] == [" clip 1a", " clip 2b", " clip 3c"]


# --- other sentences -----------------------------------------------------------------------------------------


def grouped(groups: Sequence[int], texts: int = 2) -> Benchmark:
    bench = benchmark_of([3] * len(groups), texts=texts)
    clips = {
        clip.id: replace(clip, group=f"g{group}") for clip, group in zip(bench.clips.values(), groups, strict=True)
    }
    return replace(bench, clips=clips)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=30), st.integers(0, 3))
def test_a_shuffle_is_a_derangement_across_videos_wherever_one_exists(groups: list[int], seed: int) -> None:
    bench = grouped(groups)
    found = donors(bench, seed)
    assert sorted(found) == sorted(found.values()) == sorted(bench.clips)
    assert all(clip != donor for clip, donor in found.items())
    within = sum(bench.clips[clip].group == bench.clips[donor].group for clip, donor in found.items())
    assert within == max(0, 2 * max(map(groups.count, groups)) - len(groups))  # no fewer is possible
    turned = replace(bench, clips=dict(reversed(bench.clips.items())))
    assert donors(turned, seed) == found


def test_what_is_asked_under_each_control() -> None:
    bench = grouped(range(6), texts=3)
    own = controlled_texts(bench, "shuffled", 0)
    assert sorted(own.values()) == sorted(tuple(e.text for e in bench.expressions_of(clip)) for clip in bench.clips)
    assert own != controlled_texts(bench, "shuffled", 1)
    assert set(controlled_texts(bench, "empty", 0).values()) == {("", "", "")}
    assert set(controlled_texts(bench, "object", 0).values()) == {("the object",) * 3}
    fewer = replace(bench, expressions=bench.expressions[2:])  # the first clip has one sentence, the others three
    texts = controlled_texts(fewer, "shuffled", 0)
    assert {clip: len(asked) for clip, asked in texts.items()} == {clip: 1 if clip == "clip-0" else 3 for clip in texts}
    (hears_it,) = [clip for clip, donor in donors(fewer, 0).items() if donor == "clip-0"]
    assert texts[hears_it] == ("thing 2 of clip 0",) * 3
    with pytest.raises(UsageError, match="single clip"):
        controlled_texts(grouped([0]), "shuffled", 0)
    with pytest.raises(UsageError, match="one of shuffled, empty, object"):
        controlled_texts(bench, "none", 0)


class Reader:
    """Notes what it is asked."""

    method = Method("reader", options={"a": 1})

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        self.asked.append(tuple(texts))
        yield from sanity.full().predict(frames, texts, fps=fps, seed=seed)


def test_a_controlled_run_asks_other_sentences_and_is_never_the_real_one(tmp_path: Path) -> None:
    bench = grouped(range(4))
    real, control = Reader(), Reader()
    predict(bench, real, tmp_path / "real")
    run = predict(bench, control, tmp_path / "shuffled", text_control="shuffled", seed=2)
    expected = controlled_texts(bench, "shuffled", 2)
    assert control.asked == [expected[clip] for clip in sorted(bench.clips)]
    assert set(control.asked) == set(real.asked)
    assert all(mine != his for mine, his in zip(control.asked, real.asked, strict=True))
    record = json.loads((tmp_path / "shuffled" / "run.json").read_text())
    assert run.method == record["method"]["name"] == "reader.shuffled-text"
    assert record["method"]["options"] == {"a": 1, "text_control": "shuffled"}
    with pytest.raises(UsageError, match=r"method\.name is 'reader' there, 'reader.empty-text' now"):
        predict(bench, Reader(), tmp_path / "real", text_control="empty")
    parts = tmp_path / "parts"
    for index in (1, 2):  # a shard shuffles as the whole does
        predict(bench, Reader(), parts, text_control="shuffled", seed=2, shard=(index, 2))
    masks = {name: data for name, data in content(parts).items() if name.endswith("jsonl")}
    assert masks == {name: data for name, data in content(tmp_path / "shuffled").items() if name.endswith("jsonl")}


# --- the run file, the live score, the smoke run --------------------------------------------------------------


def test_the_run_file_says_what_each_clip_cost_and_where(tmp_path: Path) -> None:
    bench = benchmark_of([4, 3])
    predict(bench, Noisy(), tmp_path, clips=["clip-0"], about={"command": ["a"], "device": None})
    predict(bench, Noisy(), tmp_path, about={"command": ["b"], "dtype": "bf16"})
    predict(bench, Noisy(), tmp_path, about={"command": ["c"]})  # nothing left to do, nothing to note
    record = json.loads((tmp_path / "run.json").read_text())
    first, second = record["environments"]
    assert (first["command"], second["command"], second["dtype"]) == (["a"], ["b"], "bf16")
    assert "device" not in first and first["versions"]["numpy"] == np.__version__
    assert [record["timings"][clip]["environment"] for clip in ("clip-0", "clip-1")] == [0, 1]
    for row in record["timings"].values():
        assert 0 <= row["seconds"] < 60 and 10 < row["peak_memory_mb"] < 1e5


def test_the_peak_of_one_clip_is_not_that_of_another() -> None:
    found = meter.Meter()
    try:
        meter._CLEAR.write_text("5")
    except OSError:
        pytest.skip("the system does not set the mark back")
    found.start()
    block = np.ones(80 << 20, np.uint8)
    large = found.stop()["peak_memory_mb"]
    del block
    found.start()
    small = found.stop()["peak_memory_mb"]
    assert large - small > 60


def test_the_live_score_is_that_of_evaluate_and_changes_no_mask(tmp_path: Path) -> None:
    bench = refvps.load("sample")
    clips = sorted(bench.clips)[:3]
    part = replace(
        bench,
        clips={clip: bench.clips[clip] for clip in clips},
        expressions=tuple(e for e in bench.expressions if e.clip in clips),
    )
    live = LiveScore(part)
    assert live.mean is None
    predict(part, sanity.motion(), tmp_path / "live", live=live)
    predict(part, sanity.motion(), tmp_path / "plain")
    assert content(tmp_path / "live") == content(tmp_path / "plain")
    expected = refvps.evaluate(part, tmp_path / "plain", rules=replace(part.rules, draws=0))
    assert live.mean == pytest.approx(expected.summary["J"].value, abs=1e-15)
    again = LiveScore(part)
    predict(part, sanity.motion(), tmp_path / "live", live=again)  # kept clips count as well
    assert again.mean == live.mean

    def hidden(clip: str) -> Any:
        raise DataMissingError("The ground truth is hidden.", where=[clip])

    blind = LiveScore(replace(part, truth=hidden))
    predict(part, sanity.motion(), tmp_path / "live", live=blind)
    assert (blind.mean, blind.off) == (None, "The ground truth is hidden.")


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["predict", "-p", "empty", "--sample", "--out", "smoke", "--text-control", "object"]) == 0
    said = capsys.readouterr()
    assert "empty.object-text on sample@1" in said.out and "J " in said.err
    record = json.loads(Path("smoke/run.json").read_text())
    assert record["environments"][0]["command"][0] == "refvps"
    for words, fix in [
        (["--sample", "-b", "ref-vps"], "drop -b"),
        (["--sample", "--clip", "candle-wax"], "drop -b"),
        (["--frames", ".", "--text", "x", "--text-control", "empty"], "--text-control"),
        (["--sample", "--dtype", "bf16"], "accepts none"),
        (["--sample", "--dtype", "bf16", "-o", "dtype=fp16"], "given twice"),
    ]:
        assert cli.run(["predict", "-p", "full", "--out", "other", *words]) == 2
        assert fix in capsys.readouterr().err
    assert cli.run(["predict", "-p", "full", "--sample", "--no-live", "--json", "--out", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["live_J"] is None


def test_what_a_predictor_prints_stays_out_of_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("chatty.py").write_text(
        "from refvps.sanity import full\n\n\ndef load():\n    print('loading')\n    inner = full()\n"
        "    class Chatty:\n        method = inner.method\n"
        "        def predict(self, frames, texts, *, fps, seed):\n            print('predicting')\n"
        "            return inner.predict(frames, texts, fps=fps, seed=seed)\n    return Chatty()\n"
    )
    commands = [
        ["predict", "-p", "chatty.py:load", "-b", "sample", "--clip", "candle-wax", "--out", "masks", "--json"],
        ["bench", "-p", "chatty.py:load", "--frames", "2", "--size", "8x8", "--runs", "1", "--json"],
    ]
    for command in commands:
        assert cli.run(command) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)
        assert "loading" in err and "predicting" in err
