"""SAM 3: video and semantic modes, equal to transformers' own, within 32 tokens, without torchvision or a hub."""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tinyvision
import torch
from tinyvision import Frames, answers

from baselines import images, sam3
from refvps.errors import DataMissingError, InputError, UsageError

TEXT = "a disc"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tinyvision.sam3(tmp_path_factory.mktemp("sam3")))


@pytest.fixture(scope="module")
def forward(folder: str) -> Any:
    return sam3.load(folder, device="cpu", directions="forward")


@pytest.fixture(scope="module")
def both(folder: str) -> Any:
    return sam3.load(folder, device="cpu")


@pytest.fixture(scope="module")
def semantic(folder: str) -> Any:
    return sam3.load(folder, device="cpu", mode="semantic")


# --- video --------------------------------------------------------------------------------------------


def stock(predictor: Any, frames: list[np.ndarray], text: str, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The union over the masks of transformers' own post-processing, bool [T, H, W], fed by hand."""
    from transformers.models.sam3_video import modeling_sam3_video
    from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

    # without torchvision, of which it uses one function that matters not here, only its file can be had
    path = Path(modeling_sam3_video.__file__).with_name("processing_sam3_video.py")
    spec = importlib.util.spec_from_file_location("transformers.models.sam3_video.processing_by_file", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    module.masks_to_boxes = lambda masks: None  # type: ignore[attr-defined]
    processor = object.__new__(module.Sam3VideoProcessor)
    processor.tokenizer = predictor.tokenizer
    side, (height, width) = predictor.side, frames[0].shape[:2]
    session = Sam3VideoInferenceSession(
        video=images.pixels(frames, (side, side), *images.HALF), video_height=height, video_width=width,
        dtype=torch.float32,
    )  # fmt: skip
    processor.add_text_prompt(session, text)
    found = np.zeros((len(frames), height, width), bool)
    for out in predictor.model.propagate_in_video_iterator(session):
        # theirs drops what an object that is new on this frame shares with none, for want of a tracker's score
        out.obj_id_to_tracker_score = dict.fromkeys(out.obj_id_to_mask, 0.5)
        found[out.frame_idx] = processor.postprocess_outputs(session, out)["masks"].any(dim=0).numpy()
    return found


@pytest.mark.parametrize("count", [3, 18])
def test_video_equals_transformers_own(forward: Any, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """18 frames are more than the 15 for which outputs are held back."""
    expected = stock(forward, list(Frames(count)), TEXT, monkeypatch)
    found = answers(forward, Frames(count), [TEXT])[0]
    assert np.array_equal(found, expected)
    assert 0.01 < found.mean() < 0.95


def test_both_directions_are_the_union_with_the_reversed_video(forward: Any, both: Any) -> None:
    ahead = answers(forward, Frames(4), [TEXT])
    back = answers(forward, list(Frames(4))[::-1], [TEXT])[:, ::-1]
    found = answers(both, Frames(4), [TEXT])
    assert np.array_equal(found, ahead | back)
    assert not np.array_equal(ahead, back)
    assert np.array_equal(answers(both, list(Frames(4))[::-1], [TEXT])[:, ::-1], found)


def test_texts_frames_and_sizes_in_video_mode(both: Any) -> None:
    tinyvision.check_independence(both)


# --- semantic -----------------------------------------------------------------------------------------


def test_semantic_equals_the_model_and_post_processing(folder: str, semantic: Any) -> None:
    from transformers import CLIPTokenizer, Sam3Model

    frames = list(Frames(3))
    tokens = CLIPTokenizer.from_pretrained(folder)([TEXT] * 3, padding="max_length", max_length=32, return_tensors="pt")
    pixels = images.pixels(frames, (semantic.side,) * 2, *images.HALF)
    with torch.inference_mode():
        maps = Sam3Model.from_pretrained(folder).eval()(pixel_values=pixels, **tokens).semantic_seg
    assert maps.shape[:2] == (3, 1)
    chances = torch.nn.functional.interpolate(maps.sigmoid(), (37, 53), mode="bilinear")[:, 0]
    found = answers(semantic, Frames(3), [TEXT])[0]
    sure = (chances - 0.5).abs() > 1e-5  # batches of three and of one differ in the last bits
    assert sure.float().mean() > 0.99
    assert np.array_equal(found[sure.numpy()], (chances > 0.5)[sure].numpy())
    assert 0 < found.mean() < 1


def test_either_mode_reads_the_same_detector(semantic: Any, both: Any) -> None:
    ours, theirs = semantic.model.state_dict(), both.model.detector_model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_texts_frames_and_sizes_in_semantic_mode(semantic: Any) -> None:
    tinyvision.check_independence(semantic)


# --- 32 tokens ----------------------------------------------------------------------------------------


def test_a_long_sentence_loses_whole_words(semantic: Any, caplog: pytest.LogCaptureFixture) -> None:
    sentence = " ".join(["smoke rising"] * 10)
    with caplog.at_level(logging.WARNING, "baselines"):
        tokens = semantic._tokens(sentence)
    assert tokens["input_ids"].shape == (1, 32)
    assert "only the first 5 of 20 words fit into 32 tokens" in caplog.text  # 5 and 6 letters in turn
    assert torch.equal(tokens["input_ids"], semantic._tokens("smoke rising smoke rising smoke")["input_ids"])
    assert semantic.notes["texts cut"] >= 1
    assert semantic.method.options["tokens"] == 32
    assert semantic._tokens("w" * 99)["input_ids"].shape == (1, 32)


def test_exactly_what_fits_is_kept(semantic: Any) -> None:
    before = semantic.notes["texts cut"]
    semantic._tokens("a" * 15 + " " + "b" * 15)
    assert semantic.notes["texts cut"] == before
    semantic._tokens("a" * 15 + " " + "b" * 16)
    assert semantic.notes["texts cut"] == before + 1


# --- the operations that would come from the hub -------------------------------------------------------


def test_nms_keeps_the_best_of_each_heap() -> None:
    ious = torch.tensor([[1, 0.6, 0.0, 0.2], [0.6, 1, 0.6, 0.0], [0.0, 0.6, 1, 0.5], [0.2, 0.0, 0.5, 1]])
    kept = sam3.kept_by_nms(ious, torch.tensor([0.5, 0.9, 0.3, 0.4]), 0.5)
    assert kept.tolist() == [1, 3]  # 0 and 2 fall to 1; 3 stays
    assert sam3.kept_by_nms(ious, torch.tensor([0.9, 0.8, 0.7, 0.6]), 0.5).tolist() == [0, 2, 3]  # 0.5 is not over 0.5


def test_components_equal_scipys() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    masks = torch.from_numpy((np.random.default_rng(0).random((3, 1, 23, 31)) < 0.4).astype(np.uint8))
    labels, sizes = sam3.components(masks)
    assert labels.dtype == sizes.dtype == torch.int32
    for mask, label, size in zip(masks[:, 0].numpy(), labels[:, 0].numpy(), sizes[:, 0].numpy(), strict=True):
        expected, count = ndimage.label(mask, np.ones((3, 3)))
        areas = np.bincount(expected.ravel(), minlength=count + 1)
        areas[0] = 0
        assert np.array_equal(size, areas[expected])
        assert len(np.unique(label)) == count + 1


def test_holes_are_filled_and_specks_removed(both: Any) -> None:
    """Without the hub's kernel transformers would skip both with a warning."""
    from transformers.models.sam3_video.modeling_sam3_video import fill_holes_in_mask_scores, nms_masks

    scores = torch.full((1, 1, 30, 30), -1.0)
    scores[..., 5:20, 5:20] = 1
    scores[..., 10, 10] = -1  # a hole
    scores[..., 27, 27] = 1  # a speck
    clean = fill_holes_in_mask_scores(scores, 16) > 0
    assert clean[..., 10, 10].all()
    assert not clean[..., 27, 27].any()
    assert clean.sum() == 15 * 15
    twice = torch.cat([scores[0], scores[0]])
    assert nms_masks(torch.tensor([0.8, 0.9]), twice, 0.5, 0.1).tolist() == [False, True]


# --- as a predictor -----------------------------------------------------------------------------------


def test_nothing_is_kept(both: Any) -> None:
    from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

    tinyvision.check_release(both, Sam3VideoInferenceSession)


@pytest.mark.parametrize("mode", ["video", "semantic"])
def test_it_runs_and_is_scored(folder: str, mode: str, tmp_path: Path) -> None:
    predictor = sam3.load(folder, device="cpu", mode=mode)
    scores, method = tinyvision.check_sample(predictor, tmp_path, frames=2)
    assert method["name"] == {"video": "sam3", "semantic": "sam3-semantic"}[mode]
    assert method["licence"] == "SAM License"
    assert "ground truth was made with SAM 2" in method["training_data"]
    assert predictor.notes["texts"] == len(scores.rows)


def test_empty_answers_are_counted(semantic: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = semantic.notes["texts without a mask"]
    monkeypatch.setattr(semantic, "chosen", {"threshold": 0.99999})
    assert not answers(semantic, Frames(1), ["x"]).any()
    assert semantic.notes["texts without a mask"] == before + 1


def test_autocast_leaves_the_weights_alone(folder: str) -> None:
    half = sam3.load(folder, device="cpu", dtype="bf16", mode="semantic")
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.float32}
    assert answers(half, Frames(1), ["x"]).shape == (1, 1, 37, 53)
    assert not torch.is_autocast_enabled("cpu")


def test_gated_weights_come_with_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataMissingError, match="gated") as caught:
        sam3.load()
    assert caught.value.exit_code == 3
    for step in ("https://huggingface.co/facebook/sam3", "hf auth login", "hf download facebook/sam3", "SAM License"):
        assert step in caught.value.fix


def test_what_cannot_be_loaded(folder: str, tmp_path: Path) -> None:
    for options, words in (
        ({"mode": "image"}, "use video or semantic"), ({"directions": "backward"}, "use both or forward"),
        ({"mode": "semantic", "threshold": 2}, "threshold must be"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            sam3.load(folder, **options)
    with pytest.raises(InputError, match="it is a 'clipseg', not a 'sam3_video'"):
        sam3.load(str(tinyvision.clipseg(tmp_path)), device="cpu")


def test_suppressed_and_withdrawn_objects_are_no_part_of_the_answer(both: Any) -> None:
    session = SimpleNamespace(hotstart_removed_obj_ids={3}, video_height=4, video_width=4)
    corner = {name: torch.full((1, 2, 2), -1.0) for name in (1, 2, 3)}
    for name, mask in corner.items():
        mask[0, (name - 1) // 2, (name - 1) % 2] = 1
    output = SimpleNamespace(obj_id_to_mask=corner, suppressed_obj_ids={2})
    found = both._union(session, output)
    assert found[0, 0]
    assert not found[0, 3]
    assert not found[3, 0]
