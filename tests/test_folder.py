"""Two-folder mode: ground truth in PNG files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trees
from PIL import Image
from trees import SIZE, flat, labels, nested, read_image, write_labels

from refvps.data import index
from refvps.data.folder import load_folder
from refvps.data.truth import annotation
from refvps.errors import InputError, UsageError
from refvps.types import Benchmark


def masks_of(benchmark: Benchmark, clip: str, position: int) -> tuple[dict[str, Any], Any]:
    masks, ignore = benchmark.truth(clip).frame(position)
    found = {key: None if mask is None else mask.array() for key, mask in masks.items()}
    return found, np.zeros(benchmark.clips[clip].size, bool) if ignore is None else ignore.array()


@pytest.mark.parametrize("mode", ["P", "L"])
def test_one_object_is_the_expression_1(mode: str, tmp_path: Path) -> None:
    benchmark = load_folder(flat(tmp_path, mode=mode))
    assert benchmark.name == "folder"
    assert benchmark.version == benchmark.digest[:12]
    assert [(e.clip, e.id, e.target, e.text) for e in benchmark.expressions] == [
        ("a", "1", "1", ""),
        ("b", "1", "1", ""),
    ]
    clip = benchmark.clips["a"]
    assert clip.frames == clip.annotated == ("00000", "00001", "00002")
    assert (clip.size, clip.fps, clip.annotation_fps, clip.group) == (SIZE, 0.0, 0.0, "a")
    for frame in range(3):
        found, ignore = masks_of(benchmark, "a", frame)
        image = labels(frame, SIZE, (1, 255))
        np.testing.assert_array_equal(found["1"], image == 1)
        np.testing.assert_array_equal(ignore, image == 255)
    assert not benchmark.notes


def test_any_single_label_counts_as_the_object(tmp_path: Path) -> None:
    first = load_folder(flat(tmp_path / "x", (1, 255)))
    second = load_folder(flat(tmp_path / "y", (38, 255)))
    third = load_folder(flat(tmp_path / "z", (1, 7)), ignore_value=7)
    assert first.digest == second.digest == third.digest
    assert masks_of(third, "b", 1)[1].sum() == masks_of(first, "b", 1)[1].sum() > 0


def test_several_ids_are_several_expressions(tmp_path: Path) -> None:
    flat(tmp_path, (1, 10, 2, 255), ("a",))
    flat(tmp_path, (2,), ("b",))
    benchmark = load_folder(tmp_path)
    assert [(e.clip, e.id, e.target) for e in benchmark.expressions] == [
        ("a", "1", "1"), ("a", "2", "2"), ("a", "10", "10"), ("b", "2", "2"),
    ]  # fmt: skip
    found, ignore = masks_of(benchmark, "a", 2)
    image = labels(2, SIZE, (1, 10, 2, 255))
    for label in (1, 2, 10):
        np.testing.assert_array_equal(found[str(label)], image == label)
    np.testing.assert_array_equal(ignore, image == 255)
    unignored = load_folder(tmp_path, ignore_value=None)
    assert [e.id for e in unignored.expressions] == ["1", "2", "10", "255", "2"]


def test_a_video_without_objects_among_others_is_left_out(tmp_path: Path) -> None:
    flat(tmp_path, (1, 2), ("a",))
    write_labels(tmp_path / "b" / "0.png", np.zeros(SIZE, np.uint8))
    benchmark = load_folder(tmp_path)
    assert list(benchmark.clips) == ["a"]
    assert benchmark.notes == ("Videos without an object, which are not part of the benchmark: 1.",)
    binary = load_folder(flat(tmp_path / "binary", (1,), ("a",)))
    write_labels(tmp_path / "binary" / "b" / "0.png", np.zeros(SIZE, np.uint8))
    with_empty = load_folder(tmp_path / "binary")
    assert list(binary.clips) == ["a"]
    assert list(with_empty.clips) == ["a", "b"]
    assert not masks_of(with_empty, "b", 0)[0]["1"].any()


def test_nested_expressions_are_binary(tmp_path: Path) -> None:
    nested(tmp_path, expressions=("10", "9", "the left one"))
    benchmark = load_folder(tmp_path)
    names = [e.id for e in benchmark.expressions_of("a")]
    assert names[:2] == ["9", "10"]
    assert names[2].startswith("the_left_one-")
    assert [e.source_id for e in benchmark.expressions_of("a")] == ["", "", "the left one"]
    found, ignore = masks_of(benchmark, "a", 1)
    np.testing.assert_array_equal(found["9"], labels(11, SIZE, (1,)) == 1)
    assert not ignore.any()


def test_nested_expressions_share_their_ignore(tmp_path: Path) -> None:
    nested(tmp_path)
    for expression in "01":
        path = tmp_path / "a" / expression / "1.png"
        image = read_image(path)
        image[20:22, 5:9] = 255
        write_labels(path, image)
    found, ignore = masks_of(load_folder(tmp_path), "a", 1)
    assert ignore.sum() == 8
    assert not (ignore & (found["0"] | found["1"])).any()
    image[20, 5] = 0
    write_labels(path, image)
    with pytest.raises(InputError, match="do not agree on its Ignore") as caught:
        load_folder(tmp_path)
    assert caught.value.where == ("a: frame 1",)


def test_nested_expressions_may_be_annotated_on_different_frames(tmp_path: Path) -> None:
    nested(tmp_path)
    (tmp_path / "a" / "1" / "0.png").unlink()
    benchmark = load_folder(tmp_path)
    assert benchmark.clips["a"].annotated == ("0", "1", "2")
    found, _ = masks_of(benchmark, "a", 0)
    assert found["1"] is None
    assert found["0"] is not None
    assert "annotated on different frames: 1." in benchmark.notes[0]


# 255


def test_255_alone_stops_and_asks(tmp_path: Path) -> None:
    flat(tmp_path, (255,), mode="L")
    for _ in range(2):  # also when the answer comes from the index
        with pytest.raises(UsageError, match="--ignore-value none") as caught:
            load_folder(tmp_path)
        assert caught.value.exit_code == 2
    as_object = load_folder(tmp_path, ignore_value=None)
    assert masks_of(as_object, "a", 0)[0]["1"].any()
    as_ignore = load_folder(tmp_path, ignore_value=255)
    found, ignore = masks_of(as_ignore, "a", 0)
    assert not found["1"].any()
    assert ignore.any()
    assert as_ignore.notes == ("Videos with masks that hold no label but 255, which is Ignore: 2.",)
    assert as_object.digest != as_ignore.digest


def test_255_alone_in_one_video_is_no_reason_to_stop(tmp_path: Path) -> None:
    flat(tmp_path, (255,), ("a",))
    flat(tmp_path, (1,), ("b",))
    benchmark = load_folder(tmp_path)
    assert not masks_of(benchmark, "a", 0)[0]["1"].any()
    assert "no label but 255" in benchmark.notes[0]


def test_1_bit_masks_are_objects(tmp_path: Path) -> None:
    benchmark = load_folder(flat(tmp_path, (1,), mode="1"))
    np.testing.assert_array_equal(masks_of(benchmark, "b", 0)[0]["1"], labels(10, SIZE, (1,)) == 1)


@pytest.mark.parametrize("value", [0, 256, -1, "none", 1.5])
def test_bad_options_are_usage_errors(value: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Ignore value"):
        load_folder(flat(tmp_path), ignore_value=value)
    with pytest.raises(UsageError, match="frame rate"):
        load_folder(tmp_path, fps=float("nan"))


# Names


def test_natural_order_and_foreign_names(tmp_path: Path) -> None:
    for name in ("frame 10", "frame 9", "Frame 1"):
        write_labels(tmp_path / "my video (1)" / f"{name}.PNG", labels(1, SIZE, (1,)))
        write_labels(tmp_path / "Ünï" / f"{name}.png", labels(1, SIZE, (1,)))
        write_labels(tmp_path / "plain" / f"{name}.png", labels(1, SIZE, (1,)))
    benchmark = load_folder(tmp_path, fps=6)
    assert [clip.source_id for clip in benchmark.clips.values()] == ["my video (1)", "", "Ünï"]
    assert "plain" in benchmark.clips
    assert all(clip.frames == ("Frame 1", "frame 9", "frame 10") for clip in benchmark.clips.values())
    assert {(clip.fps, clip.annotation_fps) for clip in benchmark.clips.values()} == {(6.0, 6.0)}


def test_annotations_in_between_is_tolerated(tmp_path: Path) -> None:
    inner = load_folder(flat(tmp_path / "Annotations"))
    (tmp_path / "JPEGImages" / "a").mkdir(parents=True)
    (tmp_path / "JPEGImages" / "a" / "00000.jpg").write_bytes(b"x")
    outer = load_folder(tmp_path)
    assert outer.digest == inner.digest
    assert outer.notes == ("The ground truth was read from the folder Annotations inside it.",)


def test_junk_is_passed_over_with_a_note(tmp_path: Path) -> None:
    clean = load_folder(flat(tmp_path))
    for place in (".DS_Store", "a/.DS_Store", "a/._00000.png", "b/Thumbs.db"):
        (tmp_path / place).write_bytes(b"junk")
    benchmark = load_folder(tmp_path)
    assert benchmark.digest == clean.digest
    assert benchmark.notes == ("Entries of file managers, such as .DS_Store, that were not read: 4.",)


def ramp() -> trees.Labels:
    return np.tile(np.arange(111, dtype=np.uint8), (4, 1))


Edit = Callable[[Path], Any]

BROKEN: dict[str, tuple[Edit, str]] = {
    "loose files": (lambda r: write_labels(r / "0.png", labels(1)), "a folder of its own"),
    "mix in a video": (lambda r: write_labels(r / "a" / "x" / "0.png", labels(1)), "both files and folders"),
    "mix of videos": (lambda r: write_labels(r / "c" / "x" / "0.png", labels(1)), "holds folders of frames"),
    "too deep": (lambda r: write_labels(r / "c" / "x" / "y" / "0.png", labels(1)), "this deep"),
    "empty video": (lambda r: (r / "c").mkdir(), "c: no PNG file"),
    "text file": (lambda r: (r / "a" / "notes.txt").write_text("x"), "not a PNG file"),
    "jpeg file": (lambda r: Image.new("L", (52, 36)).save(r / "a" / "9.jpg"), "not a PNG file"),
    "jpeg in disguise": (lambda r: Image.new("L", (52, 36)).save(r / "a" / "9.png", "JPEG"), "a JPEG file"),
    "RGB": (lambda r: Image.new("RGB", (52, 36)).save(r / "a" / "9.png"), "9.png: "),
    "RGBA": (lambda r: Image.new("RGBA", (52, 36)).save(r / "a" / "9.png"), "9.png: "),
    "16 bit": (lambda r: Image.new("I;16", (52, 36)).save(r / "a" / "9.png"), "9.png: "),
    "cut off": (lambda r: (r / "a/00001.png").write_bytes((r / "a/00001.png").read_bytes()[:-40]), "00001.png: "),
    "empty file": (lambda r: (r / "a" / "00001.png").write_bytes(b""), "empty"),
    "another size": (lambda r: write_labels(r / "a" / "9.png", labels(1, (36, 51))), "51x36, 00000.png has 52x36"),
    "a frame twice": (lambda r: write_labels(r / "a" / "00000.PNG", labels(1)), "a second file for the frame 00000"),
    "a name with a newline": (lambda r: write_labels(r / "a" / "x\ny.png", labels(1)), "not plain text"),
    "a pipe": (lambda r: os.mkfifo(r / "a" / "9.png"), "a pipe"),
    "a broken link": (lambda r: (r / "a" / "9.png").symlink_to(r / "nowhere.png"), "a broken link"),
    "soft": (lambda r: write_labels(r / "c" / "9.png", ramp()), "c: 110 labels; these are soft masks"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_fits_no_layout_is_refused(name: str, tmp_path: Path) -> None:
    flat(tmp_path)
    load_folder(tmp_path)
    edit, message = BROKEN[name]
    edit(tmp_path)
    for _ in range(2):  # a refusal is not remembered as an answer
        with pytest.raises(InputError) as caught:
            load_folder(tmp_path)
        assert message in str(caught.value)
        assert caught.value.fix


def test_several_labels_in_one_expression_are_refused(tmp_path: Path) -> None:
    nested(tmp_path)
    write_labels(tmp_path / "b" / "1" / "2.png", labels(3, SIZE, (2,)))
    with pytest.raises(InputError, match="b/1: labels 1, 2 in one expression"):
        load_folder(tmp_path)


def test_all_bad_files_are_named(tmp_path: Path) -> None:
    flat(tmp_path)
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"no")
    with pytest.raises(InputError) as caught:
        load_folder(tmp_path)
    assert len(caught.value.where) == 6
    assert "and 3 more" in str(caught.value)


def test_no_ground_truth(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no ground truth"):
        load_folder(tmp_path)
    with pytest.raises(UsageError, match="no such"):
        load_folder(tmp_path / "nowhere")


# Real data


def test_real_dense_masks(fixtures: Path, tmp_path: Path) -> None:
    source = fixtures / "pumavos" / "chair" / "Annotations"
    shutil.copytree(source, tmp_path / "chair")
    with pytest.raises(InputError, match="a folder of its own"):
        load_folder(source)
    benchmark = load_folder(tmp_path)
    clip = benchmark.clips["chair"]
    assert (clip.size, len(clip.frames), clip.frames[0]) == ((480, 720), 60, "frame_000000")
    assert clip.frames == tuple(sorted(clip.frames))
    for position in (0, 31, 59):
        image = read_image(source / f"{clip.frames[position]}.png")
        np.testing.assert_array_equal(masks_of(benchmark, "chair", position)[0]["1"], image == 1)


def test_real_sparse_masks_with_a_late_object(fixtures: Path, tmp_path: Path) -> None:
    source = fixtures / "pumavos" / "caps" / "Annotations"
    shutil.copytree(source, tmp_path / "caps")
    benchmark = load_folder(tmp_path)
    assert benchmark.clips["caps"].size == (853, 480)
    assert [name[-2:] for name in benchmark.clips["caps"].annotated] == ["00", "14", "33", "43", "66"]
    assert [e.id for e in benchmark.expressions] == ["1", "2"]
    found, _ = masks_of(benchmark, "caps", 0)
    assert found["1"].any()
    assert not found["2"].any()


def test_a_real_off_by_one_is_refused(fixtures: Path) -> None:
    with pytest.raises(InputError, match=r"00005\.png: 853x480, 00000\.png has 854x480"):
        load_folder(fixtures / "cutie" / "masks")


@pytest.mark.parametrize("values", [(1,), (1, 255), (1, 2, 3), (1, 2, 254, 255)])
def test_scanning_and_reading_agree(values: tuple[int, ...], tmp_path: Path) -> None:
    benchmark = load_folder(flat(tmp_path, values), ignore_value=None if values == (1,) else 255)
    for clip in benchmark.clips.values():
        wanted = [e.target for e in benchmark.expressions_of(clip.id)]
        found = annotation(benchmark.truth(clip.id), clip, wanted)
        for position, name in enumerate(clip.frames):
            scanned = index.scan((tmp_path / clip.id / f"{name}.png").read_bytes()).masks
            assert {found.targets[key].counts[position] for key in wanted} == {
                counts for label, counts in scanned.items() if label != 255
            }
            image = read_image(tmp_path / clip.id / f"{name}.png")
            assert scanned == {label: trees.encode(image == label).encode() for label in values}
