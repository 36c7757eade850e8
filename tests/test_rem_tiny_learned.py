"""rem-tiny has learned: its figures hold, its language is worth something, and its recipe trains."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")

import torch

from rem.parameters import select
from rem.tiny import model, predictor, recipe, report
from rem.train.loop import train

REPORT = json.loads((Path(report.__file__).parent / "weights" / "report.json").read_bytes())


@pytest.fixture(scope="module")
def tiny():
    torch.set_num_threads(1)
    return predictor.load()


def test_the_method_says_what_it_is(tiny) -> None:
    method = tiny.method
    assert (method.name, method.licence) == ("rem-tiny", "Apache-2.0")
    assert len(method.weights_sha256) == 64 and "no process" in method.training_data


@pytest.mark.parametrize("kind", ["objects", "processes"])
def test_sentences_matter_and_the_reported_figures_hold(tiny, kind: str) -> None:
    """Over 30 clips: J is that of the report, and taking the sentences away lowers it beyond chance."""
    benchmark = report.generated(kind, 30)
    ours = report.scored(benchmark, report.predicted(tiny, benchmark), "rem-tiny")
    blind = report.scored(benchmark, report.predicted(tiny, benchmark, report.shuffled(benchmark)), "shuffled")
    gained = report.gain(ours, blind)
    assert gained.n == gained.groups == 30
    assert gained.low is not None and gained.low > 0
    reported = REPORT["benchmarks"][kind]["seeds"][0]
    for row in ours.rows:  # another machine rounds differently, but no mask changes much
        assert row.values["J"] == pytest.approx(reported["rows"][f"{row.clip}/{row.expression}"], abs=0.05)
    assert reported["J"]["low"] <= ours.summary["J"].value <= reported["J"]["high"]


def test_every_seed_of_the_report_gains_by_language() -> None:
    assert REPORT["clips"] >= 30
    for kind in ("objects", "processes"):
        seeds = REPORT["benchmarks"][kind]["seeds"]
        assert len(seeds) == 3
        for seed in seeds:
            assert seed["shuffled"]["gain"]["low"] > 0
    assert REPORT["benchmarks"]["sample"]["floors"].keys() >= {"full", "motion"}


def test_the_page_shows_the_report() -> None:
    page = (Path(report.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert report.table(REPORT) in page


def test_shuffling_gives_every_text_to_another_clip() -> None:
    benchmark = report.generated("processes", 6, side=32, frames=2)
    given = report.shuffled(benchmark)
    assert sorted(given.values()) == sorted(each.text for each in benchmark.expressions)
    assert given == report.shuffled(benchmark) != report.shuffled(benchmark, seed=1)
    own = {clip: {each.text for each in benchmark.expressions_of(clip)} for clip in benchmark.clips}
    by_clip = {key: text for key, text in given.items() if text not in own[key[0]]}
    assert len(by_clip) >= len(given) - 2  # two clips may by chance have the same sentence


def test_the_gain_of_nothing_is_nothing() -> None:
    benchmark = report.generated("objects", 4, side=32, frames=2)
    full = report.floor("full", benchmark)
    assert report.gain(full, full).value == 0
    empty = report.floor("empty", benchmark)
    found = report.gain(full, empty)
    areas = [benchmark.truth(clip).frame(t)[0]["1"].array().mean() for clip in benchmark.clips for t in range(2)]
    blank = np.mean([area == 0 for area in areas])
    assert found.value == pytest.approx(np.mean(areas) - blank, abs=1e-6)


def test_stage_one_overfits_a_few_clips_and_leaves_the_temporal_weights(tmp_path: Path) -> None:
    backbone = recipe.untrained(predictor.shipped(), 0)
    before = {name: value.clone() for name, value in backbone.denoiser.state_dict().items()}
    few = recipe.Clips(0, 1, number=8)
    short = replace(recipe.STAGE1, steps=60, warmup=5, batch=8, micro_batch=8)
    result = train(short, backbone, few, tmp_path)
    assert np.mean(result.losses[-5:]) < 0.35 * result.losses[0]
    spatial = set(select(backbone.denoiser, "spatial"))
    for name, value in backbone.denoiser.state_dict().items():
        moved = not torch.equal(value, before[name])
        if name not in spatial:
            assert not moved, name
        elif name.endswith("conv_out.weight"):
            assert moved


@pytest.mark.slow
def test_the_recipe_makes_it_again(tmp_path: Path) -> None:
    """Trained again from the shipped recipe, J of generated objects and processes lies in the report's interval."""
    torch.set_num_threads(1)
    folder = recipe.train_both(predictor.shipped(), tmp_path, 0)
    again = predictor.load(str(folder))
    for kind in ("objects", "processes"):
        benchmark = report.generated(kind, REPORT["clips"])
        value = report.scored(benchmark, report.predicted(again, benchmark), "again").summary["J"].value
        reported = REPORT["benchmarks"][kind]["seeds"][0]["J"]
        assert reported["low"] <= value <= reported["high"]
    assert model.SIDE == 32
