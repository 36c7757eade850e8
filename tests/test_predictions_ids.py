"""Id masks pair per id: a value is never taken for a target it does not name, and a run never for another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import CLIPS, ArrayReaders, tiny_benchmark, tiny_masks
from trees import write_labels

from refvps import cli
from refvps.data.folder import load_folder
from refvps.predictions.export import export
from refvps.predictions.submission import open_submission
from refvps.predictions.validate import validate
from refvps.types import Expression

SHAPE = (20, 24)
BENCHMARK = tiny_benchmark()
MASKS = tiny_masks(BENCHMARK)


def block(value: int) -> np.ndarray:
    image = np.zeros(SHAPE, np.uint8)
    image[3:9, 4:11] = value
    return image


@pytest.fixture
def gt(tmp_path: Path) -> Path:
    """Two objects in v1, only the second of them in v2."""
    both = block(1)
    both[12:15, 2:9] = 2
    write_labels(tmp_path / "gt/v1/0.png", both)
    write_labels(tmp_path / "gt/v2/0.png", block(2))
    return tmp_path / "gt"


@pytest.mark.parametrize("anno", ["", "anno_0/"])
def test_the_id_of_another_object_does_not_answer_for_the_only_one(anno: str, gt: Path, tmp_path: Path) -> None:
    benchmark = load_folder(gt)
    pred = tmp_path / "pred"
    shutil.copytree(gt, pred / anno)
    reader = open_submission(pred, benchmark).reader("v2")
    mask = reader.frame(0)["2"]
    assert mask is not None
    assert np.array_equal(mask.array(), block(2) == 2)
    write_labels(pred / anno / "v2/0.png", block(1))
    report = validate(pred, benchmark)
    assert report.codes == ("unknown-id",)
    assert report.errors[0].where == (f"{anno}v2/0.png: 1 (targets: 2)",)
    assert open_submission(pred, benchmark).reader("v2").frame(0)["2"] is None


@pytest.mark.parametrize(("mode", "value"), [("1", 1), ("L", 255), ("L", 1)])
def test_a_binary_picture_answers_for_the_only_object(mode: str, value: int, gt: Path, tmp_path: Path) -> None:
    benchmark = load_folder(gt)
    pred = shutil.copytree(gt, tmp_path / "pred")
    write_labels(pred / "v2/0.png", block(value), mode)
    assert validate(pred, benchmark).problems == ()
    mask = open_submission(pred, benchmark).reader("v2").frame(0)["2"]
    assert mask is not None
    assert np.array_equal(mask.array(), block(1) == 1)


@pytest.mark.parametrize("target", ["1", "wax", "300"])
def test_any_index_is_the_object_where_nothing_has_an_id(target: str, tmp_path: Path) -> None:
    benchmark = tiny_benchmark(CLIPS[:1], (Expression("e", "melt", "the wax", target),))
    masks = tiny_masks(benchmark)["melt", "e"]
    for name, mask in zip(CLIPS[0].frames, masks, strict=True):
        write_labels(tmp_path / f"melt/{name}.png", mask.astype(np.uint8) * 38)
    reader = open_submission(tmp_path, benchmark).reader("melt")
    for index, wanted in enumerate(masks):
        mask = reader.frame(index)["e"]
        assert mask is not None
        assert np.array_equal(mask.array(), wanted)
    other = tiny_benchmark(CLIPS[:1], (Expression("e", "melt", "the wax", "2"),))
    assert validate(tmp_path, other).codes == ("unknown-id",)


def test_evaluate_refuses_the_wrong_id(gt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pred = shutil.copytree(gt, tmp_path / "pred")
    args = ["evaluate", "--pred", str(pred), "--gt", str(gt), "--out", str(tmp_path / "out"), "-j", "1"]
    assert cli.run(args) == 0
    write_labels(pred / "v2/0.png", block(1))
    assert cli.run([*args[:-3], str(tmp_path / "other"), "-j", "1"]) == 4
    assert "v2/0.png: 1 (targets: 2)" in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["anno", "anno-ids"])
@pytest.mark.parametrize("name", ["anno_00", "anno_000", "anno_007", "anno_1000", "anno_\u0660"])
def test_a_run_with_a_second_name_is_no_second_answer(name: str, layout: str, tmp_path: Path) -> None:
    pred = tmp_path / "pred"
    export(pred, BENCHMARK, ArrayReaders(MASKS), layout)
    shutil.copytree(pred / "anno_0", pred / name)
    for file in (pred / name).rglob("*.png"):
        with Image.open(file) as old:
            size = old.size
        Image.new("1", size).save(file)
    report = validate(pred, BENCHMARK)
    assert report.codes == ("layout",)
    assert report.errors[0].where == (name,)
    assert "anno_0, anno_1" in report.errors[0].fix
    mask = open_submission(pred, BENCHMARK).reader("melt").frame(4)["a0"]
    assert mask is not None
    assert np.array_equal(mask.array(), MASKS["melt", "a0"][4])


@pytest.mark.parametrize("layout", ["anno", "anno-ids"])
def test_runs_that_all_have_a_leading_zero(layout: str, tmp_path: Path) -> None:
    pred = tmp_path / "pred"
    export(pred, BENCHMARK, ArrayReaders(MASKS), layout)
    for run in range(4):
        (pred / f"anno_{run}").rename(pred / f"anno_0{run}")
    (problem,) = validate(pred, BENCHMARK).errors
    assert (problem.code, problem.where) == ("layout", tuple(f"anno_0{run}" for run in range(4)))
    assert json.dumps(problem.fix)
