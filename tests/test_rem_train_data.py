"""Training data from the real layouts in miniature, pseudo-videos, and the draw of the fixed subset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import foreign_ytvos
import numpy as np
import pytest
import test_refcoco as published
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco
from trees import encode, write_labels

from refvps.errors import DataMissingError, InputError
from rem.train import Recipe, changed, read_recipe
from rem.train import augment as augmenter
from rem.train.augment import altered, pseudo_video
from rem.train.mixture import PUBLISHED, Items, collated, drawn, joined, mixture, shipped_draw
from rem.train.refcoco import RefCoco
from rem.train.refytb import RefYtb

META = {"003234408d": {"1": "penguin", "2": "dog", "3": "dog"}, "0043f083b5": {"2": "bus"}}


@pytest.fixture
def ytvos(tmp_path: Path) -> Path:
    """Ref-YouTube-VOS in miniature: two videos of three and two frames, five expressions."""
    root = tmp_path / "ytvos"
    foreign_ytvos.copy(root)
    meta = {v: {"objects": {k: {"category": name} for k, name in objects.items()}} for v, objects in META.items()}
    (root / "train/meta.json").write_text(foreign_ytvos.meta(meta))
    return root


def rewrite(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content["videos"])
    path.write_text(json.dumps(content))


def test_an_expression_becomes_frames_masks_and_its_text_in_lower_case(ytvos: Path) -> None:
    lists = ytvos / "meta_expressions/train/meta_expressions.json"
    rewrite(lists, lambda v: v["003234408d"]["expressions"]["1"].update(exp=" The  DOG s\thead "))
    data = RefYtb(ytvos, 8)
    assert len(data) == 5
    sample = data.draw(1, seed=0)
    assert sample["text"] == "the dog s head"
    frames, masks = sample["frames"], sample["masks"]
    assert frames.shape == (8, 9, 16, 3)
    assert frames.dtype == np.uint8
    assert masks.dtype == np.bool_
    expected = [0, 0, 0, 1, 1, 1, 2, 2]  # three frames, eight wanted
    for t, index in enumerate(expected):
        assert abs(int(frames[t].mean()) - 40 * index) <= 2
        wanted = np.zeros((9, 16), np.bool_)
        wanted[6:8, index : index + 3] = True
        assert np.array_equal(masks[t], wanted)
    two = RefYtb(ytvos, 2)
    picks = {tuple(round(f.mean() / 40) for f in two.draw(0, seed)["frames"]) for seed in range(30)}
    assert picks == {(0, 1), (0, 2), (1, 2)}
    assert np.array_equal(two.draw(0, 5)["frames"], two.draw(0, 5)["frames"])


def test_the_wrong_folder_is_told_from_the_right_one(ytvos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match="meta_expressions"):
        RefYtb(tmp_path, 8)
    with pytest.raises(DataMissingError, match=r"train/JPEGImages"):
        RefYtb(ytvos / "train", 8)


def lose_object(root: Path) -> None:
    rewrite(root / "train/meta.json", lambda v: v["003234408d"]["objects"].pop("3"))


def lose_video(root: Path) -> None:
    rewrite(root / "train/meta.json", lambda v: v.pop("0043f083b5"))


def lose_text(root: Path) -> None:
    path = root / "meta_expressions/train/meta_expressions.json"
    rewrite(path, lambda v: v["003234408d"]["expressions"]["0"].update(exp="  "))


def climb(root: Path) -> None:
    path = root / "meta_expressions/train/meta_expressions.json"
    rewrite(path, lambda v: v["003234408d"].update(frames=["../../../x"]))


BROKEN: dict[str, tuple[Any, str]] = {
    "a mask is missing": (
        lambda root: (root / "train/Annotations/003234408d/00005.png").unlink(),
        r"003234408d: Annotations lacks 1 of 3 frames, the first 00005.png",
    ),
    "a frame is missing": (
        lambda root: (root / "train/JPEGImages/0043f083b5/00000.jpg").unlink(),
        r"0043f083b5: JPEGImages lacks 1 of 2 frames",
    ),
    "an object is not in the list": (lose_object, r"003234408d: expression 1: meta.json has no object 3"),
    "a video is not in the list": (lose_video, r"0043f083b5: expression 0: meta.json has no object 2"),
    "a text is blank": (lose_text, r"expression 0 has no text"),
    "a frame outside": (climb, r"no safe file name"),
    "no videos": (lambda root: (root / "train/meta.json").write_text("[]"), r"no videos"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_copy_is_refused_before_training_begins(case: str, ytvos: Path) -> None:
    damage, message = BROKEN[case]
    damage(ytvos)
    with pytest.raises(InputError, match=message):
        RefYtb(ytvos, 8)


def test_an_object_that_is_in_no_mask_is_found_when_it_is_drawn(ytvos: Path) -> None:
    folder = ytvos / "train/Annotations/003234408d"
    write_labels(folder / "00000.png", np.zeros((9, 16), np.uint8))
    data = RefYtb(ytvos, 1)
    empty = [not data.draw(1, seed)["masks"].any() for seed in range(20)]
    assert any(empty)  # absent in the drawn frame, but elsewhere: a proper sample
    assert not all(empty)
    for name in ("00005", "00010"):
        write_labels(folder / f"{name}.png", np.ones((9, 16), np.uint8))
    with pytest.raises(InputError, match="object 3, 'the dog s head'"):
        data.draw(1, 0)


def test_damaged_pictures_are_named(ytvos: Path) -> None:
    path = ytvos / "train/Annotations/0043f083b5/00000.png"
    data = RefYtb(ytvos, 2)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError, match=r"0043f083b5/00000\.png"):
        data.draw(2, 0)
    Image.new("RGB", (9, 16)).save(path)
    with pytest.raises(InputError, match="mode RGB has no labels"):
        data.draw(2, 0)
    write_labels(path, np.full((4, 4), 2, np.uint8))
    with pytest.raises(InputError, match="4x4, its frame 9x16"):
        data.draw(2, 0)


def train2014(root: Path) -> Path:
    """The two pictures of the published lists of :mod:`test_refcoco`."""
    for number in (7, 9):
        path = root / "train2014" / f"COCO_train2014_{number:012d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(number)
        Image.fromarray(random.integers(0, 255, (published.H, published.W, 3)).astype(np.uint8)).save(path)
    return root


def converted(root: Path, name: str = "refcoco", number: int = 6) -> Path:
    """ReferFormer's ``instances_<name>_train.json``: one "image" a sentence, its objects polygons or RLE."""
    images, annotations = [], []
    for k in reversed(range(number)):  # numbers decide the order, not places
        picture = f"COCO_train2014_{(7, 9)[k % 2]:012d}.jpg"
        about = {"id": k, "original_id": (7, 9)[k % 2], "dataset_name": name, "caption": f"The {name} thing {k}"}
        images.append({**about, "file_name": picture, "height": published.H, "width": published.W})
        rle = {"size": [published.H, published.W], "counts": encode(published.crowd())}
        shape: Any = rle if k == 1 else [published.SQUARE]
        annotations.append({"id": 50 + k, "image_id": k, "category_id": 1, "iscrowd": 0, "segmentation": shape})
    path = root / name / f"instances_{name}_train.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))
    return path


def test_published_lists_give_one_sample_a_sentence(tmp_path: Path) -> None:
    root = published.write(train2014(tmp_path))
    data = RefCoco(root, root, "refcoco", 1)
    assert [data.draw(k, 0)["text"] for k in range(len(data))] == ["left dog", "the dog on the left", "both parts"]
    sample = data.draw(0, 0)
    assert sample["frames"].shape == (1, published.H, published.W, 3)
    wanted = np.zeros((published.H, published.W), np.bool_)
    wanted[5:25, 10:30] = True
    assert np.array_equal(sample["masks"][0], wanted)


def test_converted_lists_are_read_in_the_order_of_numbers(tmp_path: Path) -> None:
    converted(train2014(tmp_path))
    data = RefCoco(tmp_path, tmp_path, "refcoco", 4)
    assert len(data) == 6
    sample = data.draw(1, 3)
    assert sample["text"] == "The refcoco thing 1"
    assert sample["frames"].shape == (4, published.H, published.W, 3)
    whole = coco.decode({"size": [published.H, published.W], "counts": encode(published.crowd()).encode()}).astype(bool)
    assert sum(np.array_equal(mask, whole) for mask in sample["masks"]) == 1
    with Image.open(tmp_path / "train2014" / "COCO_train2014_000000000009.jpg") as picture:
        original = np.asarray(picture)
    assert sum(np.array_equal(frame, original) for frame in sample["frames"]) == 1


def test_broken_lists_of_refcoco(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match=r"train2014: not there(.|\n)*instances_refcoco_train.json: not there"):
        RefCoco(tmp_path, tmp_path, "refcoco", 1)
    path = converted(train2014(tmp_path))
    content = json.loads(path.read_text())
    content["annotations"].append({**content["annotations"][0], "id": 99})
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="sentence 5 has two objects, the second 99"):
        RefCoco(tmp_path, tmp_path, "refcoco", 1)
    content["annotations"] = content["annotations"][1:-1]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="sentence 5 has no object"):
        RefCoco(tmp_path, tmp_path, "refcoco", 1)
    content["images"] = content["images"][1:]
    del content["images"][0]["caption"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="sentence 4 has no caption"):
        RefCoco(tmp_path, tmp_path, "refcoco", 1)
    converted(tmp_path)
    data = RefCoco(tmp_path, tmp_path, "refcoco", 1)
    Image.new("RGB", (8, 8)).save(tmp_path / "train2014" / "COCO_train2014_000000000007.jpg")
    with pytest.raises(InputError, match="8x8, in the list 60x40"):
        data.draw(0, 0)


def disc(side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A white disc on black, and its mask."""
    y, x = np.mgrid[:side, :side]
    mask = (y - 30) ** 2 + (x - 34) ** 2 < 14**2
    return np.repeat(mask[..., None].astype(np.uint8) * 255, 3, 2), mask


@given(st.integers(0, 10_000))
def test_a_mask_moves_exactly_as_its_picture_does(seed: int) -> None:
    image, mask = disc()
    seen, moved = altered(image, mask, np.random.default_rng(seed))
    assert moved.dtype == np.bool_
    assert seen.shape == image.shape
    bright = seen.mean(2) > 127
    assert (bright & moved).sum() / (bright | moved).sum() > 0.85  # blur and edges; a mask left behind: below 0.6
    again, same = altered(image, mask, np.random.default_rng(seed))
    assert np.array_equal(again, seen)
    assert np.array_equal(same, moved)


def test_a_mask_left_behind_would_be_noticed() -> None:
    image, mask = disc()
    overlap = []
    for seed in range(40):
        bright = altered(image, mask, np.random.default_rng(seed))[0].mean(2) > 127
        overlap.append((bright & mask).sum() / (bright | mask).sum())
    assert np.mean(overlap) < 0.75


def test_a_pseudo_video_holds_the_picture_once_at_any_place() -> None:
    image, mask = disc()
    places = []
    for seed in range(60):
        frames, masks = pseudo_video(image, mask, 4, seed)
        (place,) = [t for t in range(4) if np.array_equal(frames[t], image) and np.array_equal(masks[t], mask)]
        places.append(place)
        assert len({frame.tobytes() for frame in frames}) == 4
    assert set(places) == {0, 1, 2, 3}


def test_light_and_colour_change_within_their_ranges() -> None:
    grey = np.full((4, 4, 3), 100, np.uint8)
    assert np.all(augmenter.brighter(grey, 40) == 140)
    assert np.all(augmenter.brighter(np.full_like(grey, 240), 40) == 255)
    assert np.all(augmenter.brighter(np.full_like(grey, 10), -40) == 0)
    red = np.zeros((2, 2, 3), np.uint8)
    red[...] = (200, 20, 20)
    hue = cv2.cvtColor(augmenter.recoloured(red, 5), cv2.COLOR_RGB2HSV)[0, 0]
    plain = cv2.cvtColor(red, cv2.COLOR_RGB2HSV)[0, 0]
    assert int(hue[0]) == 2
    assert int(hue[1]) - int(plain[1]) == pytest.approx(5, abs=1)  # there and back through RGB
    line = np.zeros((21, 21, 3), np.uint8)
    line[10, 10] = 255
    across = augmenter.blurred(line, 9, 0.0)
    assert (across[10, :, 0] > 0).sum() == 9
    assert (across[:, 10, 0] > 0).sum() == 1


def test_changes_come_as_often_as_they_should(monkeypatch: pytest.MonkeyPatch) -> None:
    image, mask = disc(32)
    counts = {"brighter": 0, "recoloured": 0, "blurred": 0}
    for name in counts:
        plain = getattr(augmenter, name)

        def counted(*args: Any, name: str = name, plain: Any = plain) -> Any:
            counts[name] += 1
            return plain(*args)

        monkeypatch.setattr(augmenter, name, counted)
    generator = np.random.default_rng(0)
    for _ in range(1000):
        altered(image, mask, generator)
    assert counts["brighter"] == pytest.approx(750, abs=60)  # alone 1/4, with the other 1/2
    assert counts["recoloured"] == pytest.approx(750, abs=60)
    assert counts["blurred"] == pytest.approx(250, abs=60)


def test_the_shipped_subset_is_what_its_rule_draws() -> None:
    for name in ("refcoco", "refcoco+", "refcocog"):
        length, listed = shipped_draw(name)
        assert length == PUBLISHED[name]
        assert listed == drawn(name, PUBLISHED[name], 4000)
        assert len(set(listed)) == 4000
        assert min(listed) >= 1
        assert max(listed) < PUBLISHED[name]
    length, joint = shipped_draw("joint")
    assert length == 12_000 + PUBLISHED["ref-ytvos"]
    assert joint == drawn("joint", length, 12_000)
    assert sum(PUBLISHED.values()) - PUBLISHED["ref-ytvos"] == 321_327  # "320k image-text samples" (paper, 5)
    with pytest.raises(InputError, match="sample 0 is never drawn"):
        drawn("refcoco", 10, 10)
    assert drawn("refcoco", 10, 9) == list(range(1, 10))


def everything(tmp_path: Path, ytvos: Path) -> Recipe:
    for name in ("refcoco", "refcoco+", "refcocog"):
        converted(train2014(tmp_path), name)
    places = {"coco": str(tmp_path), "refcoco": str(tmp_path), "ytvos": str(ytvos)}
    return changed(read_recipe("stage2"), **places, published=False, per_set=3, frames=2, size=(16, 16))


def test_stage_2_joins_draws_of_refcoco_and_all_of_ref_ytb(tmp_path: Path, ytvos: Path) -> None:
    recipe = everything(tmp_path, ytvos)
    data = mixture(recipe)
    assert len(data) == 3 * 3 + 5
    assert list(data.parts) == [range(14)]
    texts = [data.draw(k, 0)["text"] for k in range(14)]
    wanted = [f"The {n} thing {k}" for n in ("refcoco", "refcoco+", "refcocog") for k in drawn(n, 6, 3)]
    assert texts[:9] == wanted
    assert texts[9] == "a penguin on the left"
    fewer = mixture(changed(recipe, total=7))
    assert [fewer.draw(k, 0)["text"] for k in range(7)] == [texts[k] for k in drawn("joint", 14, 7)]
    both = mixture(changed(recipe, pseudo=(), per_set=0, images=("refcoco",), mix="alternate"))
    assert list(both.parts) == [range(6), range(6, 11)]
    assert len(both.draw(0, 0)["frames"]) == 1
    assert len(both.draw(6, 0)["frames"]) == 2


def test_published_draws_refuse_other_data(tmp_path: Path, ytvos: Path) -> None:
    recipe = changed(everything(tmp_path, ytvos), published=True)
    with pytest.raises(InputError, match="refcoco: 6 samples, published are 120,624"):
        mixture(recipe)
    wrong = [list(range(4000)), list(range(4000)), list(range(4000)), list(range(12_912))]
    with pytest.raises(InputError, match="joint: 24,912 samples"):
        joined(changed(recipe, total=12_000), [], wrong)
    with pytest.raises(DataMissingError, match="stage2: ytvos is empty"):
        mixture(changed(recipe, ytvos=""))


def test_samples_are_resized_as_pillow_does() -> None:
    random = np.random.default_rng(0)
    frames = random.integers(0, 255, (2, 21, 33, 3)).astype(np.uint8)
    masks = random.random((2, 21, 33)) < 0.5
    item = Items([{"frames": frames, "masks": masks, "text": "x"}], (16, 8))[0, 1]
    assert item["frames"].shape == item["masks"].shape == (3, 2, 16, 8)
    for t in range(2):
        small = np.asarray(Image.fromarray(frames[t]).resize((8, 16), Image.Resampling.BILINEAR))
        assert np.allclose(item["frames"][:, t].permute(1, 2, 0).numpy(), (small / 255.0 - 0.5) / 0.5, atol=1e-6)
        near = np.asarray(Image.fromarray(masks[t].astype(np.uint8)).resize((8, 16), Image.Resampling.NEAREST))
        assert all(np.array_equal(item["masks"][c, t].numpy(), near) for c in range(3))


BAD_ITEMS: dict[str, tuple[dict[str, Any], str]] = {
    "masks of numbers": ({"masks": np.zeros((2, 8, 8), np.uint8)}, "not bool"),
    "one mask": ({"masks": np.zeros((1, 8, 8), np.bool_)}, "2 frames and 1 masks"),
    "frames of another size": ({"frames": torch.zeros(3, 2, 8, 8)}, r"not \[3, T, 16, 16\]"),
    "NaN": ({"frames": torch.full((3, 2, 16, 16), float("nan"))}, "not finite"),
    "no text": ({"text": 3}, "the text is a int"),
}


@pytest.mark.parametrize("case", BAD_ITEMS)
def test_a_sample_that_cannot_be_used_is_named(case: str) -> None:
    change, message = BAD_ITEMS[case]
    good = {"frames": torch.zeros(3, 2, 16, 16), "masks": np.zeros((2, 8, 8), np.bool_), "text": "x"}
    items = Items([good, {**good, **change}], (16, 16))
    assert items[0, 0]["text"] == "x"
    with pytest.raises(InputError, match=f"sample 1: .*{message}"):
        items[1, 0]


def test_clips_of_two_lengths_make_no_batch() -> None:
    short = {"frames": torch.zeros(3, 1, 8, 8), "masks": torch.zeros(3, 1, 8, 8), "text": "", "seed": 0}
    with pytest.raises(InputError, match=r"\[1, 2\] frames"):
        collated([short, {**short, "frames": torch.zeros(3, 2, 8, 8)}])
