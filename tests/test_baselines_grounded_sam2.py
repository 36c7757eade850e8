"""Boxes from a detector, masks from SAM 2: the best of K frames, both ways, the union, or nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tinyvision
import torch
from tinyvision import Frames, answers

from baselines import grounded_sam2, sam2
from refvps.errors import DataMissingError, InputError, UsageError


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("grounded")
    kinds = {"sam2": tinyvision.sam2, "grounding-dino": tinyvision.grounding_dino, "owlv2": tinyvision.owlv2}
    return {name: str(build(root / name)) for name, build in kinds.items()}


def loaded(folders: dict[str, str], detector: str = "grounding-dino", **options: Any) -> Any:
    return grounded_sam2.load(
        folders["sam2"], device="cpu", detector=detector, detector_weights=folders[detector], **options
    )


@pytest.fixture(scope="module")
def predictor(folders: dict[str, str]) -> Any:
    return loaded(folders)


# --- the frames looked at -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "wanted", "frames"),
    [(1, 8, [0]), (3, 8, [0, 1, 2]), (8, 8, [*range(8)]), (100, 4, [12, 37, 62, 87]), (10, 1, [5])],
)
def test_keyframes_are_the_middles_of_equal_parts(total: int, wanted: int, frames: list[int]) -> None:
    assert grounded_sam2.spread(total, wanted) == frames


# --- the boxes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(37, 53), (64, 36)])
def test_groundingdinos_boxes_equal_the_stock_processors(
    folders: dict[str, str], predictor: Any, size: tuple[int, int]
) -> None:
    from transformers import (
        BertTokenizer,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessorPil,
        GroundingDinoProcessor,
    )

    folder, frame = folders["grounding-dino"], Frames(1, size)[0]
    processor = GroundingDinoProcessor(
        GroundingDinoImageProcessorPil.from_pretrained(folder), BertTokenizer.from_pretrained(folder)
    )
    model = GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    inputs = processor(images=[frame], text=[["A disc that moves"]], return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    (expected,) = processor.post_process_grounded_object_detection(outputs, inputs.input_ids, 0.25, target_sizes=[size])
    found = predictor.detector.find(frame, predictor.detector.read("A disc that moves", Counter()))
    count = int((found.scores > 0.25).sum())
    order = expected["scores"].argsort(descending=True)
    limits = torch.tensor([size[1], size[0]] * 2)
    assert count == len(order) > 0
    np.testing.assert_array_equal(found.scores[:count], expected["scores"][order].numpy())
    clipped = torch.minimum(expected["boxes"][order].clamp(min=0), limits).numpy()
    np.testing.assert_allclose(found.corners[:count], clipped, atol=1e-4)


@pytest.mark.parametrize("size", [(37, 53), (64, 36)])
def test_owlv2s_boxes_equal_the_stock_processors(folders: dict[str, str], size: tuple[int, int]) -> None:
    pytest.importorskip("scipy")
    from transformers import CLIPTokenizer, Owlv2ForObjectDetection, Owlv2ImageProcessorPil, Owlv2Processor

    folder, frame = folders["owlv2"], Frames(1, size)[0]
    processor = Owlv2Processor(Owlv2ImageProcessorPil.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder))
    model = Owlv2ForObjectDetection.from_pretrained(folder).eval()
    inputs = processor(images=[frame], text=[["a disc"]], return_tensors="pt", max_length=16)
    with torch.inference_mode():
        outputs = model(**inputs)
    (expected,) = processor.post_process_grounded_object_detection(outputs, 0.1, target_sizes=[size])
    limits = torch.tensor([size[1], size[0]] * 2)
    clipped = torch.minimum(expected["boxes"].clamp(min=0), limits)
    inside = (clipped[:, 2:] > clipped[:, :2]).all(dim=1)  # its padding is no part of the frame
    order = expected["scores"][inside].argsort(descending=True, stable=True)
    detector = loaded(folders, "owlv2").detector
    found = detector.find(frame, detector.read("a disc", Counter()))
    count = int((found.scores > 0.1).sum())
    assert count == len(order) > 1
    np.testing.assert_allclose(found.scores[:count], expected["scores"][inside][order].numpy(), atol=1e-4)
    np.testing.assert_allclose(found.corners[:count], clipped[inside][order].numpy(), atol=0.05)


def test_a_text_is_lower_case_and_ends_in_one_stop(predictor: Any) -> None:
    detector = predictor.detector
    ids = [detector.read(text, Counter())["input_ids"].tolist() for text in ("The DISC", " the disc. ", "the disc")]
    assert ids[0] == ids[1] == ids[2]
    assert ids[0][0][-2:] == [1012, 102]
    assert detector.read("", Counter())["input_ids"].tolist() == [[101, 1012, 102]]


def test_a_long_text_is_cut_before_the_stop(predictor: Any) -> None:
    notes: Counter[str] = Counter()
    (ids,) = predictor.detector.read("smoke " * 400, notes)["input_ids"].tolist()
    assert len(ids) == 63  # 12 words of 5 letters, the stop, two marks; the limit is 64
    assert ids[-2:] == [1012, 102]
    assert notes == Counter({"texts cut": 1})
    answers(predictor, Frames(2), ["smoke " * 400])


# --- which frame, which boxes -------------------------------------------------------------------------


class Scripted:
    """A detector whose boxes are written down, by the x of the disc it sees."""

    limit = 9

    def __init__(self, scores: dict[int, list[float]]) -> None:
        self.scores = scores

    def read(self, text: str, notes: Counter[str]) -> str:
        return text

    def find(self, frame: np.ndarray, tokens: str) -> grounded_sam2.Boxes:
        where = np.flatnonzero((frame == (255, 40, 220)).all(axis=2).any(axis=0))
        index = round((where.max() - 14) / 5)
        scores = np.array(self.scores.get(index, []), np.float32)
        corners = np.array([[k, index, k + 10, index + 12] for k in range(len(scores))], np.float32).reshape(-1, 4)
        return grounded_sam2.Boxes(corners, scores)


def scripted(predictor: Any, scores: dict[int, list[float]], **options: Any) -> Any:
    about = {"detector": "grounding-dino"}
    chosen = {"threshold": 0.3, "keyframes": 8, **options}
    return grounded_sam2.GroundedSam2(Scripted(scores), predictor.tracker, about=about, **chosen)


def test_the_best_frame_is_prompted_with_all_its_boxes(predictor: Any) -> None:
    chosen = scripted(predictor, {0: [0.5, 0.4], 3: [0.9, 0.35, 0.3, 0.1], 5: [0.9]}).prompts(Frames(6), "x")
    assert [(each.frame, each.object, each.box) for each in chosen] == [
        (3, 1, (0.0, 3.0, 10.0, 15.0)), (3, 2, (1.0, 3.0, 11.0, 15.0)),
    ]  # fmt: skip


def test_only_keyframes_are_looked_at(predictor: Any) -> None:
    few = scripted(predictor, {2: [0.5], 3: [0.9]}, keyframes=2)  # of six: 1 and 4
    assert few.prompts(Frames(6), "x") == []
    assert scripted(predictor, {1: [0.5], 3: [0.9]}, keyframes=2).prompts(Frames(6), "x")[0].frame == 1


def test_more_boxes_than_can_be_tracked_are_counted(predictor: Any) -> None:
    many = scripted(predictor, {1: [0.9] * 20})
    assert len(many.prompts(Frames(3), "x")) == grounded_sam2.MAX_BOXES == 16
    assert many.notes["boxes left out"] == 4


def test_the_answer_is_the_union_over_the_video(predictor: Any) -> None:
    chosen = scripted(predictor, {2: [0.9, 0.8]})
    found = answers(chosen, Frames(4), ["x"])[0]
    expected = np.zeros_like(found)
    for frame, masks in predictor.tracker.open(Frames(4)).segment(chosen.prompts(Frames(4), "x")):
        for mask in masks.values():
            expected[frame] |= mask
    assert np.array_equal(found, expected)
    assert found.any()


def test_it_abstains_when_nothing_exceeds_the_threshold(folders: dict[str, str]) -> None:
    shy = loaded(folders, threshold=0.999)
    assert not answers(shy, Frames(3), ["the disc", "a bird"]).any()
    assert shy.notes["texts"] == shy.notes["texts without a box"] == 2
    none = scripted(shy, {1: [0.3]})  # not above
    assert not answers(none, Frames(3), ["x"]).any()
    none.detector.scores[1] = [0.31]
    assert answers(none, Frames(3), ["x"]).any()
    assert dict(none.notes) == {"texts": 2, "texts without a box": 1, "boxes left out": 0}


# --- as a predictor -----------------------------------------------------------------------------------


def test_texts_frames_and_sizes(predictor: Any) -> None:
    tinyvision.check_independence(predictor)


def test_nothing_is_kept(predictor: Any) -> None:
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    tinyvision.check_release(predictor, Sam2VideoInferenceSession, sam2.Video)


@pytest.mark.parametrize("detector", ["grounding-dino", "owlv2"])
def test_it_runs_and_is_scored(folders: dict[str, str], detector: str, tmp_path: Path) -> None:
    _, method = tinyvision.check_sample(loaded(folders, detector), tmp_path, frames=2)
    assert method["name"] == "grounded-sam2"
    assert method["options"]["detector"] == detector
    assert method["options"]["threshold"] == {"grounding-dino": 0.25, "owlv2": 0.1}[detector]
    assert len(method["options"]["detector_sha256"]) == 64
    assert "ground truth was made with SAM 2" in method["training_data"]


def test_what_cannot_be_loaded(folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataMissingError, match="hf download IDEA-Research/grounding-dino-tiny"):
        grounded_sam2.load(folders["sam2"])
    with pytest.raises(DataMissingError, match="hf download google/owlv2-base-patch16-ensemble"):
        grounded_sam2.load(folders["sam2"], detector="owlv2")
    with pytest.raises(UsageError, match="use grounding-dino or owlv2"):
        grounded_sam2.load(folders["sam2"], detector="yolo")
    with pytest.raises(UsageError, match="keyframes"):
        loaded(folders, keyframes=0)
    with pytest.raises(InputError, match="it is a 'grounding-dino', not a 'sam2_video'"):
        grounded_sam2.load(folders["grounding-dino"], detector_weights=folders["grounding-dino"], device="cpu")
