"""What is not scored is not required, and nothing that is wrong with it stands in the way of a score."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broken_good import Good
from PIL import Image
from tiny import CLIPS, EXPRESSIONS, ArrayReaders, tiny_benchmark, tiny_masks
from trees import write_labels, write_ref_vps

from refvps import cli
from refvps.data.folder import load_folder
from refvps.data.local import load_local
from refvps.data.register import register
from refvps.data.truth import RleTruth, annotation
from refvps.errors import DataMissingError, InputError
from refvps.masks.mask import Mask
from refvps.predictions.export import export
from refvps.predictions.frames import FrameNames
from refvps.predictions.validate import validate
from refvps.predictions.write import ClipWriter
from refvps.run.evaluate import evaluate_submission
from refvps.types import Benchmark, Rules

BENCHMARK = tiny_benchmark(CLIPS[1:2], EXPRESSIONS[4:5])
"""Only ripple: frames 0, 4, 8 and 12 of 13 are annotated."""

MASKS = tiny_masks(BENCHMARK)
FREE, ANNOTATED = "00005", "00008"


def uneven(root: Path) -> Path:
    """Two expressions of one clip, the second without a mask on frame 1."""
    for expression, frames in (("a", (0, 1, 2)), ("b", (0, 2))):
        for frame in frames:
            image = np.zeros((20, 24), np.uint8)
            image[frame + 2 : frame + 9, 4 : 8 + len(frames)] = 1
            write_labels(root / f"v/{expression}/{frame}.png", image)
    return root


def codes(capsys: pytest.CaptureFixture[str], pred: Path, *more: str) -> tuple[int, int, str]:
    """Exit codes of evaluate and validate, and what both said."""
    out = pred.with_name(f"{pred.name}-out")
    shutil.rmtree(out, ignore_errors=True)
    scored = cli.run(["evaluate", "--pred", str(pred), "--out", str(out), "-j", "1", *more])
    checked = cli.run(["validate", "--pred", str(pred), "-j", "1", *more])
    text = capsys.readouterr()
    return scored, checked, text.out + text.err


def test_ground_truth_scores_100_against_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gt = uneven(tmp_path / "gt")
    assert codes(capsys, gt, "--gt", str(gt))[:2] == (0, 0)
    scores = evaluate_submission(load_folder(gt), gt, Rules(metrics=("J",))).scores
    assert [(row.expression, row.values["J"], row.missing) for row in scores.rows] == [("a", 1.0, 0), ("b", 1.0, 0)]


def test_a_frame_on_which_the_target_is_annotated_is_still_required(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gt = uneven(tmp_path / "gt")
    for name in ("a/1", "b/2"):
        pred = shutil.copytree(gt, tmp_path / name.replace("/", ""))
        (pred / "v" / f"{name}.png").unlink()
        scored, checked, text = codes(capsys, pred, "--gt", str(gt))
        assert (scored, checked) == (4, 4)
        assert f"at v/{name}\n" in text
    report = validate(pred, load_folder(gt))
    assert report.errors[0].where == ("v/b/2",)


def test_the_canonical_form_may_leave_out_what_no_expression_needs(tmp_path: Path) -> None:
    gt = uneven(tmp_path / "gt")
    (gt / "v/a/1.png").unlink()
    write_labels(gt / "v/c/1.png", np.eye(20, 24, dtype=np.uint8))
    benchmark = load_folder(gt)
    clip = benchmark.clips["v"]
    assert clip.annotated == ("0", "1", "2")
    writer = ClipWriter(tmp_path / "pred/v.jsonl", clip, ["a", "b", "c"])
    for expression in "abc":
        for index in range(3):
            writer.add(expression, index, Mask.from_array(np.zeros(clip.size, np.bool_)))
    lines = [json.loads(line) for line in writer.finish().read_bytes().splitlines()]
    lines[0]["frames"] = ["0", "2"]
    for line in lines[1:]:
        del line["counts"][1]
    (tmp_path / "pred/v.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (problem,) = validate(tmp_path / "pred", benchmark).errors
    assert (problem.code, problem.where) == ("missing-frame", ("v/c/1",))


def test_absent_is_known_without_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load_folder(uneven(tmp_path / "gt"))
    clip, truth = benchmark.clips["v"], benchmark.truth("v")
    shutil.rmtree(tmp_path / "gt/v/a")
    assert truth.absent == {("b", 1)}
    write = uneven(tmp_path / "gt")
    assert RleTruth(annotation(load_folder(write).truth("v"), clip, "ab")).absent == {("b", 1)}


def test_a_shift_is_seen_among_the_frames_of_an_expression() -> None:
    clip = CLIPS[1]
    names = FrameNames(clip, {"r0": frozenset(clip.annotated[:1])})
    found = [f"{4 * k + 1:05d}" for k in range(3)]
    assert "step of 4" not in names.join(found).shift
    assert names.join([f"x{name}" for name in clip.annotated[1:]], "r0").shift


def test_without_ground_truth_every_annotated_frame_is_required(tmp_path: Path) -> None:
    def hidden(clip: str) -> Any:
        raise DataMissingError("The masks of this test set are not published.", where=[clip])

    blind = Benchmark("blind", "1", "d", BENCHMARK.clips, BENCHMARK.expressions, hidden)
    export(tmp_path / "pred", BENCHMARK, ArrayReaders(MASKS), "tree")
    assert validate(tmp_path / "pred", blind).ok
    (tmp_path / f"pred/ripple/r0/{ANNOTATED}.png").unlink()
    assert validate(tmp_path / "pred", blind).codes == ("missing-frame",)


def _png(pred: Path, frame: str) -> None:
    (pred / f"ripple/r0/{frame}.png").write_bytes(b"garbage")


def _jpeg(pred: Path, frame: str) -> None:
    file = pred / f"ripple/r0/{frame}.png"
    Image.open(file).convert("L").save(file.with_suffix(".jpg"))
    file.unlink()


def _ids(pred: Path, frame: str) -> None:
    Image.new("RGB", CLIPS[1].size[::-1]).save(pred / f"anno_0/ripple/{frame}.png")


def _counts(value: Any) -> Callable[[Path, str], None]:
    def spoil(pred: Path, frame: str) -> None:
        lines = [json.loads(line) for line in (pred / "ripple.jsonl").read_bytes().splitlines()]
        lines[1]["counts"][int(frame)] = value
        (pred / "ripple.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    return spoil


def _entry(value: Any) -> Callable[[Path, str], None]:
    def spoil(pred: Path, frame: str) -> None:
        content = json.loads((pred / "predictions.json").read_bytes())
        content["ripple"]["r0"][int(frame)] = value
        (pred / "predictions.json").write_text(json.dumps(content))

    return spoil


def _array(pred: Path, frame: str) -> None:
    array = MASKS["ripple", "r0"].astype(np.uint8)
    array[int(frame), 3, 3] = 7
    np.savez_compressed(pred / "ripple.npz", r0=array)


SPOILT: dict[str, tuple[str, Callable[[Path, str], None], str]] = {
    "png": ("tree", _png, "format"),
    "jpeg": ("tree", _jpeg, "jpeg"),
    "ids": ("anno-ids", _ids, "rgb"),
    "rle": ("canonical", _counts("~~~~"), "rle"),
    "null": ("canonical", _counts(None), "rle"),
    "entry": ("json", _entry(3), "rle"),
    "entry-size": ("json", _entry({"size": [3, 4], "counts": "0"}), "size"),
    "entry-rle": ("json", _entry({"size": list(CLIPS[1].size), "counts": "~~"}), "rle"),
    "array": ("npz", _array, "non-binary"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_faults_count_only_where_they_are_scored(name: str, tmp_path: Path) -> None:
    layout, spoil, code = SPOILT[name]
    pred = tmp_path / "pred"
    if layout == "canonical":
        Good(BENCHMARK, MASKS).canonical(pred)
    else:
        export(pred, BENCHMARK, ArrayReaders(MASKS), layout)
    wanted = evaluate_submission(BENCHMARK, pred, method="m").scores
    spoil(pred, FREE)
    report = validate(pred, BENCHMARK)
    assert report.ok
    (note,) = report.notes
    assert note.code == ("surplus-file" if name == "jpeg" else code)
    assert "never scored" in note.what or name == "jpeg"
    assert evaluate_submission(BENCHMARK, pred, method="m").scores == wanted
    spoil(pred, ANNOTATED)
    assert validate(pred, BENCHMARK).codes == (code,)
    with pytest.raises(InputError, match=ANNOTATED if layout != "json" or "rle" in name else r"\[8\]"):
        evaluate_submission(BENCHMARK, pred, method="m")


def test_a_damaged_archive_is_one_verdict(tmp_path: Path) -> None:
    """An array that cannot be read on to its end is wrong only if an annotated frame lies behind the damage."""
    array = np.random.default_rng(0).random((13, *CLIPS[1].size)) < 0.5
    (tmp_path / "pred").mkdir()
    np.savez(tmp_path / "pred/ripple.npz", r0=array)
    whole = (tmp_path / "pred/ripple.npz").read_bytes()
    start, pixels = whole.index(array[0].tobytes()), array[0].size
    for frame in range(13):
        data = bytearray(whole)
        data[start + frame * pixels] = 9
        (tmp_path / "pred/ripple.npz").write_bytes(data)
        verdicts = [validate(tmp_path / "pred", BENCHMARK).ok]
        try:
            evaluate_submission(BENCHMARK, tmp_path / "pred", method="m")
            verdicts.append(True)
        except InputError:
            verdicts.append(False)
        assert verdicts[0] == verdicts[1], frame


def test_the_command_line_agrees_with_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register(write_ref_vps(tmp_path / "set", "rle", frames=False))
    bench = load_local()
    clip = next(clip for clip in bench.clips.values() if len(clip.annotated) < len(clip.frames))
    masks = {
        (e.clip, e.id): np.zeros((len(bench.clips[e.clip].frames), *bench.clips[e.clip].size), np.bool_)
        for e in bench.expressions
    }
    export(tmp_path / "pred", bench, ArrayReaders(masks), "tree")
    folder = tmp_path / "pred" / clip.id / bench.expressions_of(clip.id)[0].id
    free = next(name for name in clip.frames if name not in clip.annotated)
    (folder / f"{free}.png").write_bytes(b"garbage")
    scored, checked, text = codes(capsys, tmp_path / "pred")
    assert (scored, checked) == (0, 0)
    assert "never scored" in text
    (folder / f"{clip.annotated[1]}.png").write_bytes(b"garbage")
    assert codes(capsys, tmp_path / "pred")[:2] == (4, 4)
