"""SAM 2 over a video: equal to transformers' own way, replayable, with prompts where one wants them."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tinyvision
import torch
from tinyvision import Frames

from baselines import images, sam2
from refvps.errors import DataMissingError, InputError


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return sam2.load(str(tinyvision.sam2(tmp_path_factory.mktemp("sam2"))), device="cpu")


def masks_of(found: Any) -> dict[int, dict[int, np.ndarray]]:
    return {frame: dict(masks) for frame, masks in found}


def same(one: dict[int, dict[int, np.ndarray]], two: dict[int, dict[int, np.ndarray]]) -> bool:
    return one.keys() == two.keys() and all(
        one[frame].keys() == two[frame].keys()
        and all(np.array_equal(one[frame][name], two[frame][name]) for name in one[frame])
        for frame in one
    )


BOXES = [sam2.Prompt(2, 1, box=(10.0, 8.0, 26.0, 30.0)), sam2.Prompt(2, 2, box=(30.0, 5.0, 50.0, 20.0))]


def stock(model: Any, frames: list[np.ndarray], prompts: list[sam2.Prompt]) -> dict[int, dict[int, np.ndarray]]:
    """The public classes of transformers, fed by hand: whole video in memory, own cache, their iterator."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession
    from transformers.models.sam2_video.processing_sam2_video import Sam2VideoProcessor

    side, (height, width) = model.config.image_size, frames[0].shape[:2]
    video = images.pixels(frames, (side, side), *images.IMAGENET)
    session = Sam2VideoInferenceSession(video=video, video_height=height, video_width=width, dtype=torch.float32)
    processor = object.__new__(Sam2VideoProcessor)  # its constructor wants processors that want torchvision
    processor.target_size, processor.point_pad_value = side, -10
    first = prompts[0].frame
    processor.add_inputs_to_inference_session(
        session, first, [each.object for each in prompts], input_boxes=[[list(each.box) for each in prompts]]
    )
    model(session, frame_idx=first)
    found: dict[int, dict[int, np.ndarray]] = {}
    for reverse in (False, True):
        for out in model.propagate_in_video_iterator(session, start_frame_idx=first, reverse=reverse):
            large = torch.nn.functional.interpolate(out.pred_masks, (height, width), mode="bilinear")[:, 0]
            found[out.frame_idx] = dict(zip(out.object_ids, (large > 0).numpy(), strict=True))
    return found


def test_it_equals_transformers_own_iterator_bit_for_bit(segmenter: Any) -> None:
    expected = stock(segmenter.model, list(Frames(5)), BOXES)
    found = masks_of(segmenter.open(Frames(5)).segment(BOXES))
    assert same(found, expected)
    assert len({masks[1].tobytes() for masks in found.values()}) > 2  # the tracker does something
    assert not np.array_equal(found[0][1], found[0][2])


def test_the_preview_comes_first_and_every_frame_once(segmenter: Any) -> None:
    assert [frame for frame, _ in segmenter.open(Frames(5)).segment(BOXES)] == [2, 3, 4, 1, 0]
    assert [frame for frame, _ in segmenter.open(Frames(1)).segment([sam2.Prompt(0, box=(0, 0, 9, 9))])] == [0]


@pytest.mark.parametrize("limit", [0, 200_000, 1 << 30])
def test_kept_features_change_nothing(segmenter: Any, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = masks_of(segmenter.open(Frames(4)).segment(BOXES[:1]))
    monkeypatch.setattr(sam2, "FEATURE_BYTES", limit)
    video = segmenter.open(Frames(4))
    masks_of(video.segment(BOXES[1:]))
    assert same(masks_of(video.segment(BOXES[:1])), fresh)


def test_frames_are_encoded_once_for_all_prompts(segmenter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, calls = segmenter.model.get_image_features, []
    monkeypatch.setattr(segmenter.model, "get_image_features", lambda *a, **k: calls.append(1) or encode(*a, **k))
    video = segmenter.open(Frames(4))
    for _ in range(3):
        masks_of(video.segment(BOXES))
    assert len(calls) == 4


def test_a_later_correction_survives_the_propagation(segmenter: Any) -> None:
    """A session corrected in place keeps its old masks there; a replay does not."""
    video = segmenter.open(Frames(5))
    before = masks_of(video.segment(BOXES[:1]))
    mask = np.zeros((37, 53), bool)
    mask[8:24, 28:48] = True
    after = masks_of(video.segment([*BOXES[:1], sam2.Prompt(4, 1, mask=mask)]))
    overlap = (after[4][1] & mask).sum() / (after[4][1] | mask).sum()
    assert overlap > 0.8
    assert (before[4][1] & mask).sum() / (before[4][1] | mask).sum() < 0.5
    assert np.array_equal(after[2][1], before[2][1])  # the first prompt's own frame is left as it was


def test_points_and_boxes_and_their_order(segmenter: Any) -> None:
    video = segmenter.open(Frames(4))
    clicked = sam2.Prompt(1, 1, points=((20.0, 18.0, 1), (45.0, 30.0, 0)))
    boxed = sam2.Prompt(3, 2, box=(5.0, 5.0, 30.0, 30.0), points=((10.0, 10.0, 1),))
    found = masks_of(video.segment([boxed, clicked]))
    assert same(found, masks_of(video.segment([clicked, boxed])))
    assert set(found[0]) == {1, 2}
    moved = masks_of(video.segment([sam2.Prompt(1, 1, points=((40.0, 8.0, 1), (45.0, 30.0, 0))), boxed]))
    assert not np.array_equal(found[1][1], moved[1][1])


def test_nothing_outlives_a_video(segmenter: Any) -> None:
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    frames = Frames(3)
    gone = weakref.ref(frames)
    found = segmenter.open(frames).segment(BOXES[:1])
    next(found)
    found.close()
    del frames, found
    gc.collect()
    assert gone() is None
    assert not [each for each in gc.get_objects() if type(each) in (Sam2VideoInferenceSession, sam2.Video)]


def test_impossible_prompts_are_named(segmenter: Any) -> None:
    video = segmenter.open(Frames(3))
    small = np.zeros((3, 3), bool)
    for prompts, words in (
        ([], "no prompts"),
        ([sam2.Prompt(3, box=(0, 0, 1, 1))], "the video has 3 frames"),
        ([sam2.Prompt(0)], "give a mask, or a box"),
        ([sam2.Prompt(0, box=(0, 0, 1, 1), mask=np.zeros((37, 53), bool))], "give a mask, or a box"),
        ([sam2.Prompt(0, mask=small)], "the mask has shape"),
        ([sam2.Prompt(0, box=(0, 0, 54, 1))], "not inside 53 x 37"),
        ([sam2.Prompt(0, box=(5, 0, 2, float("nan")))], "not inside 53 x 37"),
        ([sam2.Prompt(0, points=((1, 1, 2),))], "a point is not inside"),
        ([sam2.Prompt(0, box=(0, 0, 1, 1))] * 2, "marked twice"),
    ):
        with pytest.raises(InputError, match=words):
            next(video.segment(prompts))


def test_the_record_says_whose_annotator_this_is(segmenter: Any) -> None:
    assert "ground truth was made with SAM 2" in segmenter.method.training_data
    assert len(segmenter.method.weights_sha256) == 64
    assert segmenter.method.licence == "Apache-2.0"


def test_absent_weights_come_with_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataMissingError, match=r"hf download facebook/sam2.1-hiera-small"):
        sam2.load()
