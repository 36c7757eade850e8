"""Oracles and floors: exact values on cases made by hand, brute force on tiny ones, identities on the sample."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import refvps
from baselines.oracles import write_oracle
from baselines.oracles.prior import mean_masks
from baselines.oracles.still import static_mask
from baselines.oracles.truth import TargetTruth
from refvps import sanity
from refvps.errors import UsageError
from refvps.masks.mask import Mask
from refvps.run.predict import predict
from refvps.types import Benchmark, Clip, Expression

SIZE = (12, 20)


@dataclass(frozen=True)
class Given:
    """Ground truth from arrays: targets by frame (None: not annotated), Ignore by frame."""

    targets: list[np.ndarray | None]
    ignores: list[np.ndarray | None]

    def frame(self, index: int) -> tuple[dict[str, Mask | None], Mask | None]:
        target, ignore = self.targets[index], self.ignores[index]
        return (
            {"1": None if target is None else Mask.from_array(target)},
            None if ignore is None else Mask.from_array(ignore),
        )


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def made(*clips: tuple[list[np.ndarray | None], list[np.ndarray | None] | None], groups: str = "") -> Benchmark:
    """A benchmark of one target per clip, its first frame not annotated at all."""
    entries, truths = {}, {}
    for number, (targets, ignores) in enumerate(clips):
        names = tuple(f"{k:03d}" for k in range(len(targets) + 1))
        group = groups[number] if groups else f"g{number}"
        entries[f"c{number}"] = Clip(f"c{number}", SIZE, 24.0, names, names[1:], 24.0, group)
        truths[f"c{number}"] = Given([None, *targets], [None, *(ignores or [None] * len(targets))])
    expressions = tuple(Expression("e", clip, "it") for clip in entries)
    frames: Any = lambda clip: [np.zeros((*SIZE, 3), np.uint8)] * len(entries[clip].frames)  # noqa: E731
    return Benchmark("made", "1", "d", entries, expressions, truth=truths.__getitem__, frames=frames)


def score(benchmark: Benchmark, out: Path) -> float:
    rules = replace(benchmark.rules, metrics=("J",), draws=0)
    value = refvps.evaluate(benchmark, out, rules=rules).summary["J"].value
    assert value is not None
    return value


@pytest.fixture
def oracle(tmp_path: Path) -> Callable[..., float]:
    """J of an oracle."""

    def run(name: str, benchmark: Benchmark, **options: Any) -> float:
        out = tmp_path / f"{name}{len(list(tmp_path.iterdir()))}"
        write_oracle(name, benchmark, out, **options)
        return score(benchmark, out)

    return run


NOTHING = box(0, 0, 0, 0)
MOVING = [box(2, 4 * k, 8, 4 * k + 4) for k in range(4)]
"""A box of 24 pixels at four places that do not touch."""


def test_the_truth_scores_one_and_late_truth_what_it_overlaps(oracle: Callable[..., float]) -> None:
    ignore = box(0, 10, 12, 20)
    rough = [mask & ~ignore for mask in MOVING[:3]]
    assert oracle("gt", made((MOVING, None), ([*rough, NOTHING], [ignore] * 4))) == 1.0
    bench = made((MOVING, None))
    assert oracle("shift", bench, shift=0) == 1.0
    assert oracle("shift", bench, shift=1) == 1 / 4  # its first frame is still right
    assert oracle("shift", bench, shift=3) == 1 / 4
    assert oracle("shift", bench, shift=-2) == 1 / 4
    growing = made(([box(0, 0, 12, 2 + 2 * k) for k in range(5)], None))
    assert oracle("shift", growing, shift=1) == pytest.approx((1 + 2 / 4 + 4 / 6 + 6 / 8 + 8 / 10) / 5)


def test_the_first_mask_that_is_not_empty_stays(oracle: Callable[..., float]) -> None:
    late = made(([NOTHING, box(0, 0, 4, 4), box(0, 0, 4, 8), box(0, 0, 8, 8)], None))
    assert oracle("copy-first", late) == pytest.approx((0 + 1 + 1 / 2 + 1 / 4) / 4)
    assert oracle("copy-first", made(([NOTHING] * 3, None))) == 1.0


def test_boxes_fill_what_is_no_box(oracle: Callable[..., float]) -> None:
    rectangles = made(([NOTHING, box(1, 1, 5, 9), box(0, 0, 12, 20)], None))
    assert oracle("box", rectangles) == 1.0
    corner = box(0, 0, 6, 6) & ~box(0, 0, 3, 3)  # 27 of 36 pixels
    assert oracle("box", made(([corner], None))) == pytest.approx(27 / 36)
    assert oracle("box", made(([corner], [box(0, 0, 3, 3)]))) == 1.0  # what the box adds is Ignore


def test_still_masks_of_cases_with_known_answers(oracle: Callable[..., float]) -> None:
    assert oracle("static", made((MOVING, None))) == 1 / 4  # all four together: 24 of 96 every time, too
    assert oracle("static", made(([box(0, 0, 6, 6)] * 5, None))) == 1.0
    grows = made(([box(0, 0, 2, 2), box(0, 0, 4, 4)], None))  # 4 inside 16 pixels
    assert oracle("static", grows) == pytest.approx((1 + 4 / 16) / 2)
    often_empty = made(([NOTHING, NOTHING, box(0, 0, 4, 4)], None))
    assert oracle("static", often_empty) == pytest.approx(2 / 3)  # an empty mask is right twice


def brute_force(targets: np.ndarray, valids: np.ndarray) -> float:
    """The highest mean J of all masks; targets and valids bool [T, pixels]."""
    best = 0.0
    for pixels in itertools.product((False, True), repeat=targets.shape[1]):
        mask = np.array(pixels)
        best = max(best, mean_j(mask, targets, valids))
    return best


def mean_j(mask: np.ndarray, targets: np.ndarray, valids: np.ndarray) -> float:
    values = []
    for target, valid in zip(targets, valids, strict=True):
        union = ((mask | target) & valid).sum()
        values.append((mask & target & valid).sum() / union if union else 1.0)
    return float(np.mean(values))


def test_the_still_mask_is_the_best_of_all_on_tiny_clips() -> None:
    rng = np.random.default_rng(4)
    exact, worst = 0, 1.0
    for case in range(60):
        frames, shape = int(rng.integers(2, 6)), (2, 4)
        targets = rng.random((frames, *shape)) < rng.uniform(0.1, 0.8)
        valids = rng.random((frames, *shape)) < (0.8 if case % 2 else 1.0)
        targets &= valids
        truth = TargetTruth(
            shape, [Mask.from_array(each) for each in targets], [Mask.from_array(~each) for each in valids]
        )
        flat = targets.reshape(frames, -1), valids.reshape(frames, -1)
        found = mean_j(static_mask(truth).ravel(), *flat)
        best = brute_force(*flat)
        assert found <= best + 1e-12
        frequency = flat[0].sum(axis=0)
        for level in range(1, frames + 1):  # never worse than any mask of what is target often
            assert found >= mean_j(frequency >= level, *flat) - 1e-12
        exact += found >= best - 1e-12
        worst = min(worst, found / best)
    assert exact >= 54
    assert worst > 0.93


def test_a_mean_mask_is_made_of_the_other_videos_alone(oracle: Callable[..., float]) -> None:
    left, right = box(0, 0, 12, 5), box(0, 10, 12, 20)
    bench = made(([left] * 3, None), ([left] * 2, None), ([right] * 3, None), groups="abc")
    prior = mean_masks(bench)
    clips = bench.clips
    assert np.array_equal(prior(clips["c2"]), left)  # its own side is unknown to it
    assert oracle("mean-mask", made(([left], None), ([left], None))) == 1.0
    assert oracle("mean-mask", made(([left], None), ([right], None))) == 0.0
    one_video = made(([left], None), ([left], None), ([right], None), groups="aab")
    assert np.array_equal(mean_masks(one_video)(one_video.clips["c0"]), right)
    with pytest.raises(UsageError, match="other videos"):
        mean_masks(made(([left], None), ([left], None), groups="aa"))
    # two of three say left; then left alone scores (1 + 1 + 0) / 3, both sides (1/3 + 1/3 + 2/3) / 3
    four = made(([left], None), ([left], None), ([right], None), ([NOTHING], None), groups="abcd")
    assert np.array_equal(mean_masks(four)(four.clips["c3"]), left)


def test_identities_on_the_sample(tmp_path: Path) -> None:
    whole = refvps.load("sample")
    clips = sorted(whole.clips)[:4]
    bench = replace(
        whole,
        clips={clip: whole.clips[clip] for clip in clips},
        expressions=tuple(e for e in whole.expressions if e.clip in clips),
    )
    assert any(
        frame is not None
        for clip in clips
        for _, frame in [bench.truth(clip).frame(k) for k in bench.clips[clip].annotated_indices()]
    ), "no Ignore here: the test would say nothing of it"
    values = {}
    for name in ("gt", "copy-first", "static", "box", "mean-mask"):
        write_oracle(name, bench, tmp_path / name)
        values[name] = score(bench, tmp_path / name)
    assert values["gt"] == 1.0
    assert values["static"] >= max(values["copy-first"], values["mean-mask"]) - 1e-12
    for name, predictor in {"empty": sanity.empty(), "full": sanity.full(), "centre": sanity.centre()}.items():
        predict(bench, predictor, tmp_path / name)
        values[name] = score(bench, tmp_path / name)
    assert values["static"] >= max(values["empty"], values["full"], values["centre"]) - 1e-12
    expected: dict[str, list[float]] = {"empty": [], "full": [], "centre": []}
    for clip in clips:
        rows: dict[str, list[list[float]]] = {name: [] for name in expected}
        for expression in bench.expressions_of(clip):
            height, width = bench.clips[clip].size
            middle = np.zeros((height, width), bool)
            middle[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
            each: dict[str, list[float]] = {name: [] for name in expected}
            for position in bench.clips[clip].annotated_indices():
                targets, ignore = bench.truth(clip).frame(position)
                target = targets[expression.target].array()
                valid = np.ones_like(target) if ignore is None else ~ignore.array()
                each["empty"].append(float(not target.any()))  # the share of empty frames
                each["full"].append(target.sum() / valid.sum())  # the area, where there is a target
                each["centre"].append((target & middle).sum() / ((target | middle) & valid).sum())
            for name in expected:
                rows[name].append(each[name])
        for name in expected:
            expected[name].append(float(np.mean([np.mean(row) for row in rows[name]])))
    for name in expected:
        assert values[name] == pytest.approx(np.mean(expected[name]), abs=1e-12), name


def test_a_result_of_an_oracle_cannot_pass_for_a_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from baselines.cli import cli as command
    from refvps.cli import run, run_command

    out = tmp_path / "preds"
    assert run_command(command, "baselines", ["oracle", "copy-first", "-b", "sample", "--out", str(out)]) == 0
    assert run(["evaluate", "--pred", str(out), "-b", "sample", "-q", "--out", str(tmp_path / "r")]) == 0
    result = json.loads((tmp_path / "r/sample@1/oracle-copy-first.json").read_text())
    assert result["inputs"]["run"]["method"]["options"]["oracle"] is True
    named = ["evaluate", "--pred", str(out), "-b", "sample", "-q", "--out", str(tmp_path / "r"), "--method", "mine"]
    assert run(named) == 0
    assert "the run calls itself oracle-copy-first (oracle: True)" in capsys.readouterr().out
    again = ["oracle", "box", "-b", "sample", "--out", str(out)]
    assert run_command(command, "baselines", again) == 2
    assert "something else" in capsys.readouterr().err
    with pytest.raises(UsageError, match="one of gt"):
        write_oracle("best", refvps.load("sample"), tmp_path / "x")


def test_an_interrupted_oracle_is_never_taken_for_the_run_it_replaces(tmp_path: Path) -> None:
    masks: list[np.ndarray | None] = [box(2, 2, 6, 8)] * 2
    bench = made((masks, None), (masks, None))
    predict(bench, sanity.full(), tmp_path, shard=(1, 2))
    predict(bench, sanity.full(), tmp_path)
    with pytest.raises(UsageError, match="something else"):
        write_oracle("gt", bench, tmp_path)

    def truth(clip: str) -> Any:
        if clip == "c1":
            raise KeyboardInterrupt
        return bench.truth(clip)

    with pytest.raises(KeyboardInterrupt):
        write_oracle("gt", replace(bench, truth=truth), tmp_path, force=True)
    assert json.loads((tmp_path / "run.json").read_text())["method"]["name"] == "oracle-gt"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c0.jsonl", "run.json"]
    write_oracle("gt", bench, tmp_path)
    assert refvps.evaluate(bench, tmp_path).summary["J"].value == 1
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(UsageError, match="something else"):
        write_oracle("gt", bench, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="not a folder"):
        write_oracle("gt", bench, tmp_path / "file", force=True)
