"""REM's result trees, for BURST and VSPW: read, also from a zip, and written; foreign names stay in their folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import foreign_burst
import foreign_vspw
import numpy as np
import pytest
from PIL import Image
from tiny import ArrayReaders, Masks, tiny_benchmark, tiny_masks

from refvps.data.importers.burst import load_burst
from refvps.data.importers.vspw import load_vspw
from refvps.errors import UsageError
from refvps.predictions.export import export
from refvps.predictions.submission import open_submission
from refvps.types import Benchmark, Clip, Expression


def masks_for(benchmark: Benchmark) -> Masks:
    """Random masks for every frame, with empty ones."""
    random = np.random.default_rng(5)
    found: Masks = {}
    for each in benchmark.expressions:
        clip = benchmark.clips[each.clip]
        found[each.clip, each.id] = random.random((len(clip.frames), *clip.size)) < 0.3
        found[each.clip, each.id][0] = False
    return found


def check(path: Path, benchmark: Benchmark, masks: Masks, layout: str) -> None:
    submission = open_submission(path, benchmark)
    assert submission.layout == layout
    assert submission.problems.errors == ()
    for clip in benchmark.clips.values():
        reader = submission.reader(clip.id)
        for index in clip.annotated_indices():
            for expression, mask in reader.frame(index).items():
                assert mask is not None
                assert np.array_equal(mask.array(), masks[clip.id, expression][index])
        assert reader.problems.problems == ()


CASES = {
    "rem-burst": (
        foreign_burst.copy,
        load_burst,
        "AVA/side(left)/pred/382_dog/frame0002.png",
        "YFCC100M/airplane-1/pred/211_car_(automobile)",
        3 * 2 + 2 * 1 + 2 * 2,  # annotated frames times classes
    ),
    "rem-vspw": (
        foreign_vspw.copy,
        load_vspw,
        "-four/sky/pred/00000016.png",
        "2_two/handrail_or_fence/pred",
        3 * 1 + 2 * 2 + 2 * 1,
    ),
}


@pytest.mark.parametrize("layout", CASES)
def test_a_tree_is_written_and_read_by_the_names_of_the_data_set(layout: str, tmp_path: Path) -> None:
    copy, load, file, folder, count = CASES[layout]
    benchmark = load(copy(tmp_path / "copy").root)
    masks = masks_for(benchmark)
    out = tmp_path / "preds"
    assert export(out, benchmark, ArrayReaders(masks), layout) == count
    assert (out / file).is_file()
    assert (out / folder).is_dir()
    with Image.open(out / file) as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[3:6] == [128, 0, 0]
        assert set(np.unique(np.array(picture)).tolist()) <= {0, 1}
    check(out, benchmark, masks, layout)
    shutil.make_archive(str(tmp_path / "packed"), "zip", out)
    check(tmp_path / "packed.zip", benchmark, masks, layout)
    (tmp_path / "deep").mkdir()
    shutil.move(out, tmp_path / "deep" / "burst_valtest")
    check(tmp_path / "deep", benchmark, masks, layout)


@pytest.mark.parametrize("layout", ["rem-burst", "rem-vspw"])
def test_the_trees_hold_any_benchmark(layout: str, tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    masks = tiny_masks(benchmark)
    export(tmp_path / "preds", benchmark, ArrayReaders(masks), layout)
    check(tmp_path / "preds", benchmark, masks, layout)


def test_pictures_that_rem_draws_beside_the_masks_are_no_masks(tmp_path: Path) -> None:
    benchmark = load_vspw(foreign_vspw.copy(tmp_path / "copy").root)
    masks = masks_for(benchmark)
    out = tmp_path / "preds"
    export(out, benchmark, ArrayReaders(masks), "rem-vspw")
    for folder in list(out.glob("*/*/pred")):
        drawn = folder.with_name("pred_orig")
        drawn.mkdir()
        for path in folder.iterdir():
            Image.fromarray(np.zeros((30, 40, 4), np.uint8)).save(drawn / path.name)
    check(out, benchmark, masks, "rem-vspw")
    (note,) = open_submission(out, benchmark).problems.notes
    assert (note.code, note.total) == ("surplus-file", 9)


def test_gaps_and_strangers_in_a_tree_are_named(tmp_path: Path) -> None:
    benchmark = load_burst(foreign_burst.copy(tmp_path / "copy").root)
    out = tmp_path / "preds"
    export(out, benchmark, ArrayReaders(masks_for(benchmark)), "rem-burst")
    (out / "LaSOT/airplane-1/pred/4_airplane/frame0004.png").unlink()
    (out / "AVA/side(left)/pred/554_hat").rename(out / "AVA/side(left)/pred/554_hut")
    problems = {each.code: each.where for each in open_submission(out, benchmark).problems.problems}
    assert problems["missing-frame"] == ("LaSOT_airplane-1/4/frame0004",)
    assert problems["missing-expression"] == ("AVA_side_left_-834b24b5/554",)
    assert "554_hut" in problems["surplus-expression"][0]
    shutil.copytree(out / "YFCC100M/airplane-1/pred/211_car_(automobile)", out / "YFCC100M_airplane-1/211")
    problems = {each.code: each.where for each in open_submission(out, benchmark).problems.problems}
    assert "YFCC100M_airplane-1" in problems["duplicate"][0]  # the same clip in two forms


def odd(clip_source: str, source: str) -> tuple[Benchmark, Masks]:
    clip = Clip("c", (4, 5), 1.0, ("f",), ("f",), 1.0, "c", source_id=clip_source)
    expression = Expression("e", "c", "the thing", source_id=source)
    benchmark = replace(tiny_benchmark((clip,), (expression,)), name="odd")
    return benchmark, {("c", "e"): np.eye(4, 5, dtype=bool)[None]}


@pytest.mark.parametrize("layout", ["rem-burst", "rem-vspw"])
def test_names_with_slashes_and_blanks_go_there_and_back(layout: str, tmp_path: Path) -> None:
    benchmark, masks = odd("a b/(c)/d", "7_e/f (g)")
    export(tmp_path / "preds", benchmark, ArrayReaders(masks), layout)
    check(tmp_path / "preds", benchmark, masks, layout)


@pytest.mark.parametrize("layout", ["rem-burst", "rem-vspw"])
@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "a/..", ".", "a\\b", "a\0b"])
def test_names_that_lead_elsewhere_are_never_written(layout: str, name: str, tmp_path: Path) -> None:
    for clip, expression in ((name, "e"), ("c", name)):
        benchmark, masks = odd(clip, expression)
        with pytest.raises(UsageError, match="no safe path"):
            export(tmp_path / "out" / "preds", benchmark, ArrayReaders(masks), layout)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
