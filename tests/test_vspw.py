"""VSPW by stuff class: REM's protocol on hand-computed cases, void both ways, stray labels, the real lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from foreign_vspw import FENCE, PERSON, SKY, WALL, WINDOW, copy, image, labels, write
from PIL import Image
from trees import write_labels

from refvps import cli
from refvps.data.importers.classes import load_table
from refvps.data.importers.vspw import load_vspw
from refvps.data.store import store
from refvps.errors import DataMissingError, InputError, UsageError
from refvps.run.evaluate import evaluate_submission
from refvps.types import Benchmark

SIZE = (10, 10)


def columns(*parts: tuple[int, int]) -> np.ndarray:
    """A 10x10 label image: (label, columns of it) from left to right."""
    return np.repeat(np.array([label for label, width in parts for _ in range(width)], np.uint8)[None], 10, axis=0)


def rem_tree(root: Path, masks: dict[tuple[str, str], list[np.ndarray]]) -> Path:
    """Predictions by (video, class), as REM's script writes them, with its pictures beside them."""
    for (video, name), found in masks.items():
        for index, mask in enumerate(found):
            path = root / video / name / "pred" / f"{15 * index + 1:08d}.png"
            write_labels(path, mask.astype(np.uint8))
            drawn = root / video / name / "pred_orig" / path.name
            drawn.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((7, 5, 4), np.uint8)).save(drawn)
    return root


@pytest.fixture
def worked(tmp_path: Path) -> tuple[Path, Path]:
    """Two videos, two classes, and predictions.

    sky in v1, 2 frames: truth columns 0-3, void (255) columns 4-5, the rest a person; prediction columns 0-5.
        void is background: 40/60; void is left out: 40/40. Then truth nothing, void (0) columns 0-1, prediction
        columns 0-1: background 0/20 = 0; left out: both empty, 1.
        J of the pair: 1/3, or 1.
    sky in v2, 1 frame: truth columns 0-4, prediction columns 0-9: 1/2.
    wall in v2: truth columns 5-9, prediction right: 1.
    By class: sky (1/3 + 1/2)/2 = 5/12, wall 1; mean 17/24. With void left out: sky 3/4, wall 1; mean 7/8.
    """
    root = write(
        tmp_path / "vspw",
        {
            "1_v": [columns((SKY, 4), (255, 2), (PERSON, 4)), columns((0, 2), (PERSON, 8))],
            "2_v": [columns((SKY, 5), (WALL, 5))],
        },
    )
    preds = rem_tree(
        tmp_path / "vspw_val",
        {
            ("1_v", "sky"): [columns((1, 6), (0, 4)), columns((1, 2), (0, 8))],
            ("2_v", "sky"): [columns((1, 10))],
            ("2_v", "wall"): [columns((0, 5), (1, 5))],
        },
    )
    return root, preds


def evaluated(tmp_path: Path, root: Path, preds: Path, *options: str) -> tuple[float, str]:
    """J and the signature, by the command line, of the stored benchmark."""
    store(load_vspw(root))
    args = ["evaluate", "-q", "-b", "vspw-stuff", "--pred", str(preds), "--out", str(tmp_path / "out"), "--force"]
    assert cli.run([*args, *options]) == 0
    result = json.loads((tmp_path / "out" / "vspw-stuff@val-raw" / "vspw_val.json").read_text())
    return result["summary"]["J"]["value"], result["signature"]


def test_j_is_averaged_over_frames_then_videos_then_classes_and_void_is_background(
    worked: tuple[Path, Path], tmp_path: Path
) -> None:
    value, signature = evaluated(tmp_path, *worked)
    assert value == pytest.approx(17 / 24, abs=1e-15)
    assert "refvps:J|avg:frame>clip>concept|ign:background|" in signature
    assert "|data:vspw-stuff@val-raw#" in signature


@pytest.mark.parametrize("options", [("--void", "ignore"), ("--ignore", "drop"), ("--void", "drop")])
def test_void_can_be_left_out_and_the_signature_says_so(
    worked: tuple[Path, Path], tmp_path: Path, options: tuple[str, ...]
) -> None:
    value, signature = evaluated(tmp_path, *worked, *options)
    assert value == pytest.approx(7 / 8, abs=1e-15)
    assert "|ign:drop|" in signature


def test_both_rules_follow_from_the_same_counts(worked: tuple[Path, Path], tmp_path: Path) -> None:
    root, preds = worked
    evaluated(tmp_path, root, preds)
    counts = str(tmp_path / "out/vspw-stuff@val-raw/vspw_val.counts.npz")
    rules = ["--metrics", "J", "--average", "frame>clip>concept"]
    for void, wanted in (("background", 17 / 24), ("ignore", 7 / 8)):
        args = ["evaluate", "-q", "--from-counts", counts, "--void", void, "--method", void, *rules]
        assert cli.run([*args, "--out", str(tmp_path / "again")]) == 0
        result = json.loads((tmp_path / "again/vspw-stuff@val-raw" / f"{void}.json").read_text())
        assert result["summary"]["J"]["value"] == pytest.approx(wanted, abs=1e-15)


def test_masks_are_read_as_class_plus_one(tmp_path: Path) -> None:
    benchmark = load_vspw(copy(tmp_path).root)
    fence = benchmark.truth("2_two").frame(0)[0]["handrail_or_fence"]
    assert np.array_equal(fence.array(), image((8, 6), {1: (slice(0, 4), slice(0, 3))}) == 1)  # type: ignore[union-attr]
    frames = [benchmark.truth("1_one").frame(index) for index in range(3)]
    assert [targets["wall"].area() for targets, _ in frames] == [32, 24, 0]  # type: ignore[union-attr]
    # 255 on the two upper rows; 0 on the two left columns where the window does not cover them; one pixel of 253
    assert [ignore.area() for _, ignore in frames] == [16, 8, 1]  # type: ignore[union-attr]
    assert all(set(targets) == {"wall"} for targets, _ in frames)  # a window is a thing
    assert benchmark.truth("2_two").frame(1)[1] is None


def test_what_was_counted_and_passed_over_is_said(tmp_path: Path) -> None:
    notes = "\n".join(load_vspw(copy(tmp_path).root).notes)
    assert "Counted: 4 videos, 3 stuff classes, 4 pairs. For val, REM's lists have 343, 66 and 1,684." in notes
    assert "1_one: the label 253 has no meaning and is void; frames with it: 1." in notes
    assert "Void pixels (labels 0, 255 and above 124): 25." in notes
    assert "Videos without a stuff class, which are left out: 1." in notes
    assert "Hidden files that were passed over: 2." in notes
    assert "Expressions: style raw" in notes


def test_rems_list_of_pairs_is_compared(tmp_path: Path) -> None:
    root = copy(tmp_path).root
    path = root / "val_vid2classes.json"
    lists = {"1_one": ["0", "8", "124", "252"], "2_two": ["7", "28"], "3_three": ["60"], "-four": ["28"]}
    path.write_text(json.dumps(lists))
    assert "val_vid2classes.json lists the same 4 pairs." in load_vspw(root).notes
    path.write_text(json.dumps(lists | {"-four": ["28", "0"], "2_two": ["28"]}))
    wanted = "1 of its pairs are not in the masks, 1 in the masks not in it (-four/0, 2_two/7)."
    assert f"val_vid2classes.json differs: {wanted}" in load_vspw(root).notes
    path.write_text("[]")
    with pytest.raises(InputError, match="REM's list of classes"):
        load_vspw(root)


def colour(path: Path) -> None:
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(path)


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "a mask in colour": (lambda r: colour(r / "data/1_one/mask/00000001.png"), "it stores RGB colours"),
    "a mask of 0 bytes": (lambda r: (r / "data/1_one/mask/00000001.png").write_bytes(b""), "the file is empty"),
    "a JPEG among the masks": (lambda r: (r / "data/1_one/mask/x.jpg").write_bytes(b""), "x.jpg: not a PNG"),
    "a name that is none": (lambda r: (r / "data/1_one/mask/a b.png").write_bytes(b""), "a frame name is not allowed"),
    "a video that is not there": (lambda r: (r / "val.txt").write_text("1_one\n5_five\n"), "5_five"),
    "a video twice": (lambda r: (r / "val.txt").write_text("1_one\n1_one\n"), "1_one: twice"),
    "a video outside": (lambda r: (r / "val.txt").write_text("../x\n"), "../x"),
    "an empty list": (lambda r: (r / "val.txt").write_text("\n"), "no video"),
    "a list that is no text": (lambda r: (r / "val.txt").write_bytes(b"\xff\xfe"), "val.txt"),
    "labels in another order": (
        lambda r: (r / "label_num_dic_final.json").write_text(json.dumps(labels() | {"wall": "2", "ceiling": "1"})),
        "ceiling is '1', not 2",
    ),
    "labels as a list": (lambda r: (r / "label_num_dic_final.json").write_text("[]"), "no object of names"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used_is_named(case: str, tmp_path: Path) -> None:
    root = copy(tmp_path).root
    change, reason = WRONG[case]
    change(root)
    with pytest.raises(InputError) as caught:
        load_vspw(root)
    assert any(reason in place for place in caught.value.where), str(caught.value)


def test_labels_may_be_numbers_and_spaces_and_line_ends_do_not_matter(tmp_path: Path) -> None:
    root = copy(tmp_path).root
    wanted = load_vspw(root).digest
    (root / "val.txt").write_bytes((root / "val.txt").read_bytes().replace(b"\n", b" \r\n") + b"\r\n")
    numbers = {name: int(number) for name, number in labels().items()}
    (root / "label_num_dic_final.json").write_text(json.dumps(numbers))
    assert load_vspw(root).digest == wanted


def test_only_frames_need_their_folder(tmp_path: Path) -> None:
    root = copy(tmp_path).root
    for path in (root / "data/2_two/origin").iterdir():
        path.unlink()
    (root / "data/2_two/origin").rmdir()
    benchmark = load_vspw(root)
    with pytest.raises(DataMissingError, match="not on this machine"):
        benchmark.frames("2_two")
    assert benchmark.clips["2_two"].fps == benchmark.clips["2_two"].annotation_fps == 15.0


def test_masks_that_were_exchanged_after_loading_are_refused(tmp_path: Path) -> None:
    root = copy(tmp_path).root
    benchmark = load_vspw(root)
    path = root / "data/2_two/mask/00000016.png"
    write_labels(path, image((8, 6), {}, WALL))
    with pytest.raises(InputError, match="not the one that was checked") as caught:
        benchmark.truth("2_two").frame(1)
    assert str(path) in caught.value.where[0]


def test_options_and_splits(tmp_path: Path) -> None:
    root = copy(tmp_path).root
    for options in ({"split": "test"}, {"style": "nice"}):
        with pytest.raises(UsageError):
            load_vspw(root, **options)
    (root / "train.txt").write_text("2_two\n")
    train = load_vspw(root, split="train", style="clean")
    assert train.version == "train-clean"
    assert [each.text for each in train.expressions] == ["the handrail or fence", "the sky"]
    assert {clip.split for clip in train.clips.values()} == {"train"}
    val = load_vspw(root, style="clean")
    raw = load_vspw(root)
    assert all(val.clip_digests[clip] != raw.clip_digests[clip] for clip in raw.clips)


def test_workers_find_the_same(tmp_path: Path) -> None:
    root = copy(tmp_path).root
    assert load_vspw(root, jobs=2).digest == load_vspw(root).digest


@pytest.fixture(scope="module")
def real(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """The real lists: one frame for each of the 343 videos, with exactly the labels that REM's list gives it."""
    root = tmp_path_factory.mktemp("vspw")
    lists = json.loads((fixtures / "vspw/val_vid2classes.json").read_text())
    for name in ("val.txt", "label_num_dic_final.json", "val_vid2classes.json"):
        (root / name).write_bytes((fixtures / "vspw" / name).read_bytes())
    for video, listed in lists.items():
        mask = np.array([[0 if key == "124" else int(key) + 1 for key in listed]], np.uint8)
        path = root / "data" / video / "mask" / "00000001.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(mask).save(path)
    return load_vspw(root)


def test_the_real_lists_have_343_videos_and_1684_pairs(real: Benchmark) -> None:
    assert (len(real.clips), len(real.expressions)) == (343, 1684)
    assert len({each.concept for each in real.expressions}) == 66
    assert all(key == clip.id and not clip.source_id for key, clip in real.clips.items())  # no id had to change
    notes = "\n".join(real.notes)
    assert "Counted: 343 videos, 66 stuff classes, 1,684 pairs." in notes
    assert "353_-5sqmCF8OFU: the label 253 has no meaning and is void; frames with it: 1." in notes
    assert "val_vid2classes.json lists the same 1,684 pairs." in notes
    videos = {each.clip for each in real.expressions if each.id == "sky"}
    assert len(videos) == 157  # metrics_and_formats.md, section 2
    assert sum(each.id == "blackboard" for each in real.expressions) == 2


def test_the_real_labels_are_those_of_the_table(fixtures: Path) -> None:
    assert json.loads((fixtures / "vspw/label_num_dic_final.json").read_text()) == labels()
    panoptic = json.loads((fixtures / "vspw/panoVIPSeg_categories.json").read_text())
    rows = load_table("vspw").rows
    assert {row["id"]: (row["name"], not row["isthing"]) for row in panoptic} == {
        key: (row.raw, row.stuff) for key, row in rows.items()
    }
    assert WALL - 1 == 0 and rows[WINDOW - 1].raw == "window" and rows[FENCE - 1].raw == "handrail_or_fence"


def test_a_missing_pair_is_an_error_and_not_left_out(worked: tuple[Path, Path]) -> None:
    """REM's evaluator takes the classes from the result folder, so a missing one raises the score."""
    root, preds = worked
    for path in (preds / "1_v/sky/pred").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="1_v/sky"):
        evaluate_submission(load_vspw(root), preds)
