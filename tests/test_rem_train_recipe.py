"""Recipes, the order of samples and the choice of frames: all from the seed, every field checked."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refvps.errors import InputError, UsageError
from rem.train import Recipe, changed, read_recipe, recipe_of, shipped
from rem.train.sampling import Order, frame_indices, seed_of


def test_the_package_and_its_recipes_need_no_torch() -> None:
    code = "import sys; from rem.train import *; [read_recipe(n) for n in shipped()]; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_shipped_recipe_has_its_file_name_and_all_rows_of_table_4_are_there() -> None:
    for name in shipped():
        assert read_recipe(name).name == name
    rows = {(r.backbone, r.decoder) for r in map(read_recipe, shipped()) if r.name.startswith("ablation/")}
    assert rows == {
        *(("stable-diffusion", "vae"), ("videocrafter", "vae")),
        *(("modelscope", "vae"), ("modelscope", "cnn"), ("modelscope", "mlp")),
    }
    assert len([name for name in shipped() if name.startswith("ablation/")]) == 6


DIFFERENCES: dict[str, dict[str, tuple[Any, Any]]] = {
    "stage1": {
        "trained": ("spatial", "spatial-released"),
        "lr": (1e-6, 1e-5),
        "epochs": (1.0, 40.0),
        "weight_decay": (0.01, 1e-5),
        "no_decay": ("nothing", "released"),
        "clamp": (0.0, 0.1),
    },
    "stage2": {
        "trained": ("all", "all-released"),
        "pseudo": (("refcoco", "refcoco+", "refcocog"), ()),
        "per_set": (4000, 0),
        "weight_decay": (0.01, 1e-5),
        "no_decay": ("nothing", "released"),
        "clamp": (0.0, 0.1),
    },
    "wan": {
        "published": (False, True),
        "lr": (1e-6, 1e-5),
        "drops": ((), ((3500, 1e-6),)),
        "batch": (8, 6),
        "weight_decay": (0.01, 1e-5),
        "no_decay": ("nothing", "released"),
    },
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_paper_and_released_code_differ_in_these_fields_and_no_others(name: str) -> None:
    paper, released = read_recipe(name), read_recipe(f"{name}-released")
    found = {
        field: (getattr(paper, field), getattr(released, field))
        for field in Recipe.__slots__
        if getattr(paper, field) != getattr(released, field) and field != "name"
    }
    assert found == DIFFERENCES[name]
    assert paper.batch == released.batch or name == "wan"


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt field": ({"epoch": 3}, "epoch is no field; did you mean 'epochs'"),
    "no rate": ({"lr": None}, "lr = None: it must be a number"),
    "a text for a number": ({"lr": "fast"}, "it must be a number"),
    "true for a number": ({"batch": True}, "it must be int"),
    "NaN": ({"lr": float("nan")}, "it must be a number"),
    "a size of three": ({"size": [8, 8, 8]}, "it must have 2 parts"),
    "a misspelt word": ({"trained": "spacial"}, "did you mean 'spatial'"),
    "an unknown set": ({"images": ["refclef"]}, "one of refcoco, refcoco+, refcocog"),
    "a set twice": ({"pseudo": ["refcoco", "refcoco"]}, "stands twice"),
    "both lengths": ({"epochs": 1, "steps": 1}, "exactly one"),
    "no length": ({"epochs": 0}, "exactly one"),
    "a batch that does not divide": ({"batch": 4, "micro_batch": 3}, "not a multiple of micro_batch"),
    "a negative rate": ({"lr": -1.0}, "lr"),
    "an average that never moves": ({"ema": 1.0}, "ema"),
    "drops in disorder": ({"drops": [[9, 1e-6], [3, 1e-7]]}, "steps must grow"),
    "alternation of one kind": ({"mix": "alternate", "images": ["refcoco"]}, "needs images and videos"),
    "mixed lengths": ({"images": ["refcoco"], "videos": ["ref-ytvos"]}, "mix = 'alternate'"),
    "clamping scaled gradients": ({"precision": "fp16", "clamp": 0.1}, "bf16"),
    "validation on nothing": ({"validate_every": 5}, "it needs a benchmark"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_recipe_says_what_is_wrong(case: str) -> None:
    table, message = BAD[case]
    with pytest.raises(UsageError) as caught:
        recipe_of({"name": "r", "lr": 1e-3, "epochs": 1, **table}, "here.toml")
    assert message in str(caught.value)


def test_files_names_and_changes(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('name = "r"\nlr = 1e-3\nsteps = 5\nsize = [64, 32]\n')
    found = read_recipe(path, {"size": "[16, 16]", "lr": "1e-4", "coco": "/data/coco", "trained": "spatial"})
    assert (found.size, found.lr, found.coco, found.trained) == ((16, 16), 1e-4, "/data/coco", "spatial")
    with pytest.raises(UsageError, match="did you mean 'stage1'"):
        read_recipe("stag1")
    with pytest.raises(UsageError, match="did you mean 'steps'"):
        read_recipe(path, {"stepps": "3"})
    path.write_text("name = \n")
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(path)
    with pytest.raises(UsageError, match="missing"):
        recipe_of({"name": "r"}, "here")


def test_a_run_may_move_its_folders_but_not_change_its_numbers() -> None:
    recipe = read_recipe("stage2")
    assert changed(recipe, coco="/elsewhere", workers=9).identity() == recipe.identity()
    assert changed(recipe, seed=1).identity() != recipe.identity()


def test_the_rate_warms_up_drops_and_falls() -> None:
    flat = Recipe(name="r", lr=1.0, steps=100, warmup=4, drops=((10, 0.5), (20, 0.1)))
    assert [flat.rate(step, 100) for step in (0, 1, 3, 4, 9, 10, 19, 20, 99)] == [
        0.25,
        0.5,
        1,
        1,
        1,
        0.5,
        0.5,
        0.1,
        0.1,
    ]
    wave = Recipe(name="r", lr=2.0, steps=100, schedule="cosine")
    assert wave.rate(0, 100) == 2.0
    assert wave.rate(50, 100) == pytest.approx(1.0)
    assert wave.rate(99, 100) < 0.001
    wan = read_recipe("wan-released")
    assert [wan.rate(step, 80_000) for step in (0, 3499, 3500)] == [1e-5, 1e-5, 1e-6]


GOLDEN = {
    (3, 8): [0, 0, 0, 1, 1, 1, 2, 2],
    (5, 8): [0, 0, 1, 1, 2, 2, 3, 4],
    (4, 8): [0, 0, 1, 1, 2, 2, 3, 3],
    (7, 17): [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6],
}


@pytest.mark.parametrize(("length", "frames"), GOLDEN)
def test_short_videos_repeat_frames_as_the_released_sampler_does(length: int, frames: int) -> None:
    assert frame_indices(length, frames, random.Random(0)) == GOLDEN[length, frames]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 1000))
def test_frames_are_in_order_and_as_even_as_can_be(length: int, frames: int, seed: int) -> None:
    found = frame_indices(length, frames, random.Random(seed))
    counts = Counter(found)
    assert found == sorted(found)
    assert len(found) == frames
    assert set(found) <= set(range(length))
    assert max(counts.values()) == -(-frames // length)
    assert found == frame_indices(length, frames, random.Random(seed))
    if frames >= length:
        assert set(found) == set(range(length))


def test_long_videos_are_sampled_all_over_with_an_irregular_stride() -> None:
    seen = Counter(k for seed in range(2000) for k in frame_indices(20, 8, random.Random(seed)))
    assert set(seen) == set(range(20))
    assert min(seen.values()) > 700  # 800 expected of each
    strides = {tuple(b - a for a, b in itertools.pairwise(frame_indices(20, 8, random.Random(s)))) for s in range(50)}
    assert len(strides) > 40


def test_an_epoch_uses_every_sample_once_and_each_epoch_is_another() -> None:
    order = Order([range(12)], 4, seed=3)
    assert order.epoch_steps == 3
    epochs = [[index for step in range(3 * e, 3 * e + 3) for index, _ in order.samples(step)] for e in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    again = Order([range(12)], 4, seed=3)
    assert [again.samples(step) for step in (8, 1, 5)] == [order.samples(step) for step in (8, 1, 5)]
    seeds = [seed for step in range(9) for _, seed in order.samples(step)]
    assert len(set(seeds)) == 36  # a sample is drawn anew in every epoch
    with pytest.raises(UsageError, match="fewer samples than a batch"):
        Order([range(3)], 4, seed=0)


def test_steps_take_pictures_and_videos_in_turn() -> None:
    order = Order([range(6), range(6, 10)], 2, seed=0)
    kinds = [{index < 6 for index, _ in order.samples(step)} for step in range(8)]
    assert kinds == [{True}, {False}] * 4
    assert order.epoch_steps == 6


def test_seeds_are_the_same_on_every_machine() -> None:
    assert seed_of(0, "order", 1) == 4489457307835839548
    assert seed_of(1, "a") != seed_of(1, "b")
