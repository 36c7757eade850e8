"""Predictions in every layout read as the same masks, joined by name and by nothing else."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from broken_good import Good
from PIL import Image
from tiny import CLIPS, EXPRESSIONS, ArrayReaders, Masks, tiny_benchmark, tiny_masks

from refvps.errors import InputError
from refvps.masks.mask import Mask
from refvps.predictions.export import LAYOUTS, export
from refvps.predictions.frames import FrameNames, near
from refvps.predictions.problems import MAX_PLACES, MISSING_CODES, Findings, Report
from refvps.predictions.submission import Submission, open_submission
from refvps.predictions.validate import validate
from refvps.types import Benchmark, Clip, Expression

BENCHMARK = tiny_benchmark()
MASKS = tiny_masks(BENCHMARK)
SINGLE = tiny_benchmark(CLIPS[1:], tuple(each for each in EXPRESSIONS if each.clip != "melt"))
"""Every target has one expression, so that id masks can hold the predictions."""


def masks_of(submission: Submission, benchmark: Benchmark) -> Masks:
    """Everything a submission holds; fails on any problem."""
    found: Masks = {}
    for clip in benchmark.clips.values():
        reader = submission.reader(clip.id)
        rows = [reader.frame(index) for index in range(len(clip.frames))]
        for expression in benchmark.expressions_of(clip.id):
            masks = [row[expression.id] for row in rows]
            found[clip.id, expression.id] = np.stack([mask.array() for mask in masks if mask is not None])
        assert reader.problems == Report(), reader.problems.text()
    return found


def assert_same(found: Masks, wanted: Masks) -> None:
    for key, masks in found.items():
        assert np.array_equal(masks, wanted[key]), key


def write(out: Path, layout: str, benchmark: Benchmark = BENCHMARK, masks: Masks = MASKS) -> Path:
    if layout == "canonical":
        return Good(benchmark, masks).canonical(out)
    export(out, benchmark, ArrayReaders(masks), layout)
    return out


FORMS = {"annotations": "tree", "canonical": "canonical"} | {name: name for name in LAYOUTS if name != "annotations"}
del FORMS["rem-burst"]  # holds annotated frames only: tests/test_rem_trees.py


@pytest.mark.parametrize("layout", FORMS)
def test_every_layout_reads_the_same(layout: str, tmp_path: Path) -> None:
    benchmark = SINGLE if layout == "ids" else BENCHMARK
    folder = write(tmp_path / "preds", layout, benchmark)
    packed = tmp_path / "packed.zip"
    deep = tmp_path / "deep.zip"
    for path, top in ((packed, ""), (deep, "my predictions/")):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for each in sorted(folder.rglob("*.*"), reverse=True):
                if each.is_file():
                    file.write(each, top + each.relative_to(folder).as_posix())
    nested = tmp_path / "nested"
    nested.mkdir()
    shutil.copytree(folder, nested / "inner")
    for path in (folder, packed, deep, nested):
        submission = open_submission(path, benchmark)
        assert submission.layout == FORMS[layout]
        assert submission.problems.errors == ()
        assert [note.code for note in submission.problems.notes] == (["nesting"] if path in (deep, nested) else [])
        assert_same(masks_of(submission, benchmark), MASKS)
        assert validate(path, benchmark).ok


def test_one_json_file_can_be_given_itself(tmp_path: Path) -> None:
    folder = write(tmp_path / "preds", "json")
    assert_same(masks_of(open_submission(folder / "predictions.json", BENCHMARK), BENCHMARK), MASKS)


def test_rle_json_keyed_by_clip_and_expression_with_null_for_empty(tmp_path: Path) -> None:
    folder = write(tmp_path / "preds", "json")
    content = json.loads((folder / "predictions.json").read_bytes())
    flat = {}
    for clip, lists in content.items():
        for expression, entries in lists.items():
            empty = [not MASKS[clip, expression][index].any() for index in range(len(entries))]
            assert any(empty)
            flat[f"{clip}/{expression}"] = [None if no else each for no, each in zip(empty, entries, strict=True)]
    (folder / "predictions.json").write_text(json.dumps(flat))
    assert_same(masks_of(open_submission(folder, BENCHMARK), BENCHMARK), MASKS)


@pytest.mark.parametrize("layout", ["json", "npz"])
def test_lists_of_annotated_frames_only(layout: str, tmp_path: Path) -> None:
    """The first axis may count the annotated frames; every other frame is then not predicted."""
    folder = write(tmp_path / "preds", layout)
    clip = BENCHMARK.clips["ripple"]
    annotated = clip.annotated_indices()
    if layout == "json":
        content = json.loads((folder / "predictions.json").read_bytes())
        content["ripple"]["r0"] = [content["ripple"]["r0"][index] for index in annotated]
        (folder / "predictions.json").write_text(json.dumps(content))
    else:
        np.savez(folder / "ripple.npz", r0=MASKS["ripple", "r0"][list(annotated)].astype(np.uint8))
    reader = open_submission(folder, BENCHMARK).reader("ripple")
    for index in reversed(range(len(clip.frames))):
        mask = reader.frame(index)["r0"]
        assert (mask is not None) == (index in annotated)
        assert mask is None or np.array_equal(mask.array(), MASKS["ripple", "r0"][index])
    assert reader.problems == Report()


def test_frames_that_are_not_annotated_may_be_missing(tmp_path: Path) -> None:
    folder = write(tmp_path / "preds", "tree")
    clip = BENCHMARK.clips["ripple"]
    for name in set(clip.frames) - set(clip.annotated):
        (folder / f"ripple/r0/{name}.png").unlink()
    assert validate(folder, BENCHMARK) == Report()
    (folder / f"ripple/r0/{clip.annotated[1]}.png").unlink()
    (problem,) = validate(folder, BENCHMARK).errors
    assert (problem.code, problem.where) == ("missing-frame", (f"ripple/r0/{clip.annotated[1]}",))


@pytest.mark.parametrize("mode", ["1", "L1", "L255", "P", "P-black"])
def test_binary_kinds_of_png_mean_the_same(mode: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "preds", "tree")
    for file in folder.rglob("*.png"):
        mask = np.array(Image.open(file)) > 0
        picture = Image.fromarray(mask.astype(np.uint8) * (255 if mode == "L255" else 3 if mode == "P" else 1))
        if mode == "1":
            picture = Image.fromarray(mask)
        elif mode[0] == "P":
            picture.putpalette([0] * 768 if mode == "P-black" else list(range(256)) * 3)
        picture.save(file)
    assert_same(masks_of(open_submission(folder, BENCHMARK), BENCHMARK), MASKS)


def test_a_clip_with_one_expression_may_come_as_binary_frames(tmp_path: Path) -> None:
    """In any colour of a palette, as no clip here has ids; and beside clips in another layout."""
    benchmark = tiny_benchmark(CLIPS[:2], tuple(each for each in EXPRESSIONS if each.clip != "flash"))
    folder = write(tmp_path / "preds", "tree", benchmark)
    (folder / "ripple/r0").rename(tmp_path / "r0")
    for number, file in enumerate(sorted((tmp_path / "r0").iterdir())):
        ids = Image.fromarray((np.array(Image.open(file)) > 0).astype(np.uint8) * (number + 1))
        ids.putpalette([0] * 768)
        ids.save(folder / "ripple" / file.name)
    submission = open_submission(folder, benchmark)
    assert submission.layout == "mixed"
    assert_same(masks_of(submission, benchmark), MASKS)
    assert open_submission(folder, BENCHMARK).reader("ripple").frame(5)["r0"] is None  # there, 6 would be an id


@pytest.mark.parametrize("layout", ["tree", "canonical", "anno-ids"])
def test_video_frames_beside_the_masks_are_surplus(layout: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "preds", layout)
    for clip in CLIPS:
        (folder / clip.id).mkdir(exist_ok=True)
        for name in clip.frames:
            Image.new("RGB", clip.size[::-1]).save(folder / clip.id / f"{name}.jpg")
    submission = open_submission(folder, BENCHMARK)
    assert {problem.code for problem in submission.problems.problems} == {"surplus-file"}
    assert_same(masks_of(submission, BENCHMARK), MASKS)


def test_a_plain_foreground_mask_is_not_taken_for_the_first_of_two_targets(tmp_path: Path) -> None:
    folder = write(tmp_path / "preds", "ids", SINGLE)
    file = folder / "flash/00003.png"
    both = MASKS["flash", "left"][3] | MASKS["flash", "right"][3]
    Image.fromarray(both.astype(np.uint8) * 255).save(file)
    report = validate(folder, SINGLE)
    assert report.codes == ("unknown-id",)
    assert "255" in report.text()


def test_runs_answer_the_expressions_of_a_target_in_manifest_order(tmp_path: Path) -> None:
    """anno_k holds the k-th expression of each target; one run more than there are is surplus."""
    folder = write(tmp_path / "preds", "anno")
    file = folder / "anno_2/melt/1/00004.png"
    assert np.array_equal(np.array(Image.open(file)), MASKS["melt", "a2"][4])
    shutil.copytree(folder / "anno_0/flash", folder / "anno_3/flash")
    report = validate(folder, BENCHMARK)
    assert report.ok
    assert [(note.code, note.total) for note in report.notes] == [("surplus-expression", 2)]


@pytest.mark.parametrize("layout", ["tree", "anno", "npz", "json", "canonical"])
def test_names_of_the_original_data_set_are_understood(layout: str, tmp_path: Path) -> None:
    foreign = {clip.id: f"video_{clip.id}" for clip in CLIPS}
    clips = tuple(replace(clip, id=foreign[clip.id], source_id="") for clip in CLIPS)
    expressions = tuple(replace(e, id=e.source_id, clip=foreign[e.clip], source_id="") for e in EXPRESSIONS)
    other = replace(tiny_benchmark(clips, expressions), digest=BENCHMARK.digest)
    source = {(e.clip, e.id): e.source_id for e in EXPRESSIONS}
    masks = {(foreign[clip], source[clip, e]): array for (clip, e), array in MASKS.items()}
    folder = write(tmp_path / "preds", layout, other, masks)
    assert_same(masks_of(open_submission(folder, BENCHMARK), BENCHMARK), MASKS)
    assert validate(folder, BENCHMARK) == Report()


def test_both_names_of_a_clip_are_a_duplicate(tmp_path: Path) -> None:
    folder = write(tmp_path / "preds", "tree")
    shutil.copytree(folder / "melt", folder / "video_melt")
    shutil.copytree(folder / "ripple/r0", folder / "ripple/0")
    report = validate(folder, BENCHMARK)
    assert report.codes == ("duplicate",)
    assert report.errors[0].total == 2


def test_a_name_with_two_meanings_goes_with_the_majority(tmp_path: Path) -> None:
    """Ids "1", "2" that were "0", "1" in the data set: folders 0 and 1 are read as the latter."""
    expressions = tuple(
        Expression(str(number + 1), "melt", f"sentence {number}", "1", source_id=str(number)) for number in range(2)
    )
    benchmark = tiny_benchmark(CLIPS[:1], expressions)
    first, second = MASKS["melt", "a0"], MASKS["melt", "a1"]
    for layout in ("tree", "npz", "json"):
        written = tiny_benchmark(CLIPS[:1], tuple(replace(e, id=e.source_id) for e in expressions))
        folder = write(tmp_path / layout, layout, written, {("melt", "0"): first, ("melt", "1"): second})
        assert_same(
            masks_of(open_submission(folder, benchmark), benchmark), {("melt", "1"): first, ("melt", "2"): second}
        )
        folder = write(tmp_path / f"{layout}-ids", layout, benchmark, {("melt", "1"): first, ("melt", "2"): second})
        assert_same(
            masks_of(open_submission(folder, benchmark), benchmark), {("melt", "1"): first, ("melt", "2"): second}
        )


def test_a_clip_named_in_two_levels_is_found(tmp_path: Path) -> None:
    """BURST names sequences by data set and name."""
    clip = replace(CLIPS[0], source_id="HACS/video 1")
    benchmark = tiny_benchmark((clip, *CLIPS[1:]))
    folder = write(tmp_path / "preds", "tree")
    (folder / "HACS").mkdir()
    (folder / "melt").rename(folder / "HACS/video 1")
    assert_same(masks_of(open_submission(folder, benchmark), benchmark), MASKS)
    assert open_submission(folder, benchmark).prefix == ""


def test_folders_named_like_clips_and_expressions_do_not_confuse(tmp_path: Path) -> None:
    """Clips "1" and "2" with expressions "1" and "2", one folder too deep in a folder called "1"."""
    clips = tuple(replace(CLIPS[0], id=name, source_id="", group=name) for name in "12")
    expressions = tuple(Expression(e, c, "text", "1") for c in "12" for e in "12")
    benchmark = tiny_benchmark(clips, expressions)
    masks = tiny_masks(benchmark)
    write(tmp_path / "preds/1", "tree", benchmark, masks)
    for path, prefix in ((tmp_path / "preds/1", ""), (tmp_path / "preds", "1")):
        submission = open_submission(path, benchmark)
        assert submission.prefix == prefix
        assert_same(masks_of(submission, benchmark), masks)


def test_the_order_of_a_listing_plays_no_part(tmp_path: Path) -> None:
    folder = write(tmp_path / "preds", "tree")
    (folder / "melt/a1/00003.png").unlink()
    (folder / "flash/left/00001.png").write_bytes(b"broken")
    (folder / "ripple/r0/00004.png").write_bytes(b"broken")
    names = [each.relative_to(folder).as_posix() for each in folder.rglob("*.png")]
    reports = []
    for seed in range(3):
        order = list(np.random.default_rng(seed).permutation(sorted(names)))
        path = tmp_path / f"{seed}.zip"
        with zipfile.ZipFile(path, "w") as file:
            for name in order:
                file.write(folder / name, name)
        reports.append(validate(path, BENCHMARK))
    assert reports[0] == reports[1] == reports[2] == validate(folder, BENCHMARK)
    broken = next(problem for problem in reports[0].errors if problem.code == "truncated" or problem.code == "format")
    assert broken.where[0].startswith("ripple")  # benchmark order, not alphabetical


def test_readers_are_small_and_travel(tmp_path: Path) -> None:
    folder = write(tmp_path / "preds.zip", "tree")
    submission = open_submission(folder, BENCHMARK)
    reader = submission.reader("flash")
    reader.frame(0)
    data = pickle.dumps(reader)
    assert len(data) < 5_000
    again = pickle.loads(data)
    for index in range(6):
        for name, mask in again.frame(index).items():
            assert mask is not None
            assert np.array_equal(mask.array(), MASKS["flash", name][index])


def test_a_reader_does_not_remember_the_bits_of_a_clip(tmp_path: Path) -> None:
    Good(BENCHMARK, MASKS).canonical(tmp_path)
    reader = open_submission(tmp_path, BENCHMARK).reader("melt")
    first = reader.frame(3)["a0"]
    assert first is not None
    first.bits()
    again = reader.frame(3)["a0"]
    assert again is not None
    assert again is not first
    assert again.has_rle
    assert again._bits is None


def test_a_missing_clip_reads_as_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path / "preds", "tree")
    shutil.rmtree(folder / "flash")
    submission = open_submission(folder, BENCHMARK)
    assert submission.reader("flash").frame(2) == {"left": None, "right": None}
    with pytest.raises(InputError, match="flash"):
        submission.problems.raise_for_errors()


@pytest.mark.parametrize("layout", ["tree", "canonical", "npz"])
def test_missing_zero_makes_notes_of_what_is_missing_and_of_nothing_else(layout: str, tmp_path: Path) -> None:
    partial = {key: array for key, array in MASKS.items() if key != ("melt", "a1")}
    fewer = tiny_benchmark(CLIPS, tuple(e for e in EXPRESSIONS if e.id != "a1"))
    folder = write(tmp_path / "preds", layout, replace(fewer, digest=BENCHMARK.digest), partial)
    report = validate(folder, BENCHMARK, "zero")
    assert report.ok
    assert [(note.code, note.where) for note in report.notes] == [("missing-expression", ("melt/a1",))]
    assert not validate(folder, BENCHMARK).ok
    bad = write(tmp_path / "bad", "tree")
    (bad / "melt/a1/00002.png").write_bytes(b"")
    assert validate(bad, BENCHMARK, "zero").codes == ("truncated",)


def shift_of(found: list[str], clip: Clip) -> str:
    return FrameNames(clip).join(found).shift


@pytest.mark.parametrize(
    ("found", "phrase"),
    [
        ([f"{k + 1:05d}" for k in range(12)], "from 1 instead of 0: 00001..00012 for 00000..00011"),
        ([str(k) for k in range(12)], "without padding: 0..11 for"),
        ([f"{k:06d}" for k in range(12)], "padded otherwise"),
        ([f"frame_{k:06d}" for k in range(12)], "named frame_000000 instead of 00000"),
        ([f"frame_{k + 1:06d}" for k in range(12)], "from 1 instead of 0"),
        ([f"{5 * k:05d}" for k in range(12)], "step of 5 instead of 1"),
        ([f"{4 * k + 1:05d}" for k in range(12)], "step of 4 instead of 1"),
        ([f"{'xyz'[k % 3]}{k}q" for k in range(12)], "other names"),
        ([f"{k + 1:05d}" for k in range(11)], ""),  # fewer frames: which are they?
        ([f"{k:05d}" for k in range(11)], ""),  # one is missing, nothing is surplus
        ([f"{k:05d}" for k in range(14)], ""),  # nothing is missing
        ([f"{k:05d}" for k in range(11)] + ["extra"], ""),  # one misnamed frame is not a shift
        (["9" * 400 + str(k) for k in range(12)], "other names"),
    ],
)
def test_shifts_in_numbering_are_named(found: list[str], phrase: str) -> None:
    shift = shift_of(found, CLIPS[0])
    assert phrase in shift
    assert bool(shift) == bool(phrase)


def test_a_shift_is_never_applied(tmp_path: Path) -> None:
    folder = write(tmp_path / "preds", "tree")
    old = (folder / "ripple/r0").rename(tmp_path / "old")
    (folder / "ripple/r0").mkdir()
    for index, file in enumerate(sorted(old.iterdir())):
        file.rename(folder / f"ripple/r0/{index + 1:05d}.png")
    submission = open_submission(folder, BENCHMARK)
    assert submission.problems.codes == ("numbering",)
    assert "from 1 instead of 0" in submission.problems.errors[0].fix
    reader = submission.reader("ripple")
    assert reader.frame(0)["r0"] is None
    second = reader.frame(1)["r0"]
    assert second is not None
    assert np.array_equal(second.array(), MASKS["ripple", "r0"][0])


@pytest.mark.parametrize(
    ("name", "guess"), [("Melt", "melt"), ("mel_t", "melt"), ("ripples", "ripple"), ("zebra", ""), ("007", "7")]
)
def test_near_misses_are_told(name: str, guess: str) -> None:
    assert near(name, ["melt", "ripple", "flash", "7"]) == guess


def test_reports_group_merge_and_count() -> None:
    first, second = Findings(), Findings()
    first.extend("missing-frame", [f"a/{k}" for k in range(MAX_PLACES)], 2 * MAX_PLACES)
    first.add("surplus-file", "x\x1b[2J")
    second.add("missing-frame", "b/0")
    second.add("size", "b/1: 3x4")
    report = Report.merge([first.report(), second.report()])
    assert [(each.code, each.severity, each.total) for each in report.problems] == [
        ("missing-frame", "error", 2 * MAX_PLACES + 1),
        ("size", "error", 1),
        ("surplus-file", "note", 1),
    ]
    assert len(report.problems[0].where) == MAX_PLACES
    assert report.problems[2].where == ("x\\x1b[2J",)
    demoted = Report.merge([first.report().demote(MISSING_CODES), second.report()])
    assert demoted.codes == ("size",)
    assert demoted.notes[0].total == 2 * MAX_PLACES + 1
    assert json.loads(json.dumps(report.to_dict()))["errors"] == 2 * MAX_PLACES + 2
    with pytest.raises(InputError) as caught:
        report.raise_for_errors()
    text = str(caught.value)
    assert caught.value.exit_code == 4
    assert "a/0\n" in text
    assert "a/2\n" in text
    assert "a/3\n" not in text
    assert f"and {2 * MAX_PLACES - 2:,} more" in text
    assert "b/1: 3x4" in text
    assert text.count("Fix: ") == 2
    assert "surplus-file" in text  # a misspelt name is both missing and surplus
    assert pickle.loads(pickle.dumps(caught.value)).what == caught.value.what
    demoted.demote(["size"]).raise_for_errors()


def test_masks_keep_the_cheap_form(tmp_path: Path) -> None:
    def one(layout: str) -> Mask:
        mask = open_submission(write(tmp_path / layout, layout), BENCHMARK).reader("melt").frame(3)["a0"]
        assert mask is not None
        return mask

    assert one("canonical").has_rle
    assert one("json").has_rle
    assert not one("tree").has_rle
