"""Grounded SAM 2: a detector finds boxes for the text on some frames, SAM 2 tracks what is in them.

The object-centric recipe most people would try. A process may begin in the middle of a clip, so K frames spread
over it are searched, the one with the best box is prompted, and masks are propagated both ways. Every box above
the threshold is an object; their union is the answer, which is empty when there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from baselines import images, pretrained, sam2
from refvps.errors import InputError, UsageError
from refvps.types import MaskChunk

MAX_BOXES = 16
"""Boxes of the best frame that are tracked, best first; each costs time and memory on every frame."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes on one frame: [N, 4] (left, top, right, bottom) in pixels, and scores [N], best first."""

    corners: NDArray[np.float32]
    scores: NDArray[np.float32]


class Detector(Protocol):
    """What proposes boxes for a text."""

    limit: int

    def read(self, text: str, notes: Counter[str]) -> Any:
        """The tokens of a text, cut to ``limit``."""

    def find(self, frame: NDArray[np.uint8], tokens: Any) -> Boxes:
        """All boxes of one frame uint8 [H, W, 3], clipped to it, whatever their score."""


def load(
    weights: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    detector: str = "grounding-dino",
    detector_weights: str | None = None,
    detector_revision: str | None = None,
    threshold: float | None = None,
    keyframes: int = 8,
) -> GroundedSam2:
    """The predictor ``grounded-sam2``. ``weights``: SAM 2's; ``detector_weights``: those of ``detector``.

    ``detector``: grounding-dino or owlv2. A box counts when its score exceeds ``threshold`` (None: the detector's
    usual 0.25 or 0.1) on one of ``keyframes`` frames. Raises DataMissingError (with the steps) when weights are
    not here, InputError when they do not fit.
    """
    if detector not in DETECTORS:
        raise UsageError("There is no such detector.", where=[repr(detector)], fix=f"use {' or '.join(DETECTORS)}")
    kind = DETECTORS[detector]
    found = pretrained.find(detector_weights, kind.published, detector_revision)
    tracker = sam2.load(weights, device, dtype, revision)
    return GroundedSam2(
        kind(found, tracker.device, tracker.precision),
        tracker,
        pretrained.fraction("threshold", kind.threshold if threshold is None else threshold),
        pretrained.count("keyframes", keyframes),
        {"detector": detector, "detector_weights": found.origin, "detector_sha256": found.sha256},
    )


class GroundedSam2:
    """A detector and SAM 2 as a predictor. ``notes`` counts texts, those without any box, and those cut."""

    def __init__(
        self, detector: Detector, tracker: sam2.Sam2, threshold: float, keyframes: int, about: dict[str, str]
    ) -> None:
        self.detector, self.tracker, self.device = detector, tracker, tracker.device
        self.threshold, self.keyframes = threshold, keyframes
        self.notes: Counter[str] = Counter()
        chosen = {"threshold": threshold, "keyframes": keyframes, "max_boxes": MAX_BOXES, "tokens": detector.limit}
        trained = {
            "grounding-dino": "Objects365, GoldG, Cap4M",
            "owlv2": "WebLI boxes (self-trained), LVIS, Objects365",
        }
        self.method = replace(
            tracker.method,
            name="grounded-sam2",
            options={**tracker.method.options, **about, **chosen},
            training_data=f"{trained[about['detector']]}; {tracker.method.training_data}",
        )

    def predict(
        self, frames: Sequence[NDArray[np.uint8]], texts: Sequence[str], *, fps: float, seed: int
    ) -> Iterator[MaskChunk]:
        """One frame per chunk, from the prompted frame outwards; all frames empty where no box was found."""
        video = self.tracker.open(frames)
        for index, text in enumerate(texts if len(frames) else ()):
            self.notes["texts"] += 1
            prompts = self.prompts(frames, text)
            if not prompts:
                self.notes["texts without a box"] += 1
                yield MaskChunk(index, 0, np.broadcast_to(np.False_, (len(frames), *video.size)))
                continue
            for frame, masks in video.segment(prompts):
                yield MaskChunk(index, frame, np.any(list(masks.values()), axis=0)[None])

    def prompts(self, frames: Sequence[NDArray[np.uint8]], text: str) -> list[sam2.Prompt]:
        """The boxes above the threshold on the frame with the best one (the first of equals); none: no prompts."""
        tokens = self.detector.read(text, self.notes)
        best, at = Boxes(np.zeros((0, 4), np.float32), np.full(1, self.threshold, np.float32)), -1
        for frame in spread(len(frames), self.keyframes):
            boxes = self.detector.find(frames[frame], tokens)
            if len(boxes.scores) and boxes.scores[0] > best.scores[0]:
                best, at = boxes, frame
        kept = best.corners[best.scores[: len(best.corners)] > self.threshold]
        self.notes["boxes left out"] += max(0, len(kept) - MAX_BOXES)
        return [sam2.Prompt(at, number, box=tuple(box)) for number, box in enumerate(kept[:MAX_BOXES].tolist(), 1)]


def spread(total: int, wanted: int) -> list[int]:
    """At most ``wanted`` of ``total`` frames, the middles of equal parts."""
    wanted = min(total, wanted)
    return [(2 * part + 1) * total // (2 * wanted) for part in range(wanted)]


def _ranked(scores: torch.Tensor, centred: torch.Tensor, size: tuple[int, int], frame: tuple[int, int]) -> Boxes:
    """Boxes from (x, y, w, h) as fractions of ``size``, clipped to ``frame``, both (height, width); best first."""
    centre, half = centred[:, :2].float(), centred[:, 2:].float() / 2
    corners = torch.cat([centre - half, centre + half], dim=1) * torch.tensor([size[1], size[0]] * 2)
    limits = torch.tensor([frame[1], frame[0]] * 2, dtype=torch.float32)
    corners = torch.minimum(corners.clamp(min=0), limits)
    inside = ((corners[:, 2:] - corners[:, :2]) > 0).all(dim=1)  # OWLv2 also finds boxes in its padding
    order = torch.argsort(scores[inside].float(), descending=True, stable=True)
    return Boxes(corners[inside][order].numpy(), scores[inside].float()[order].numpy())


class GroundingDino:
    """GroundingDINO (Liu et al., ECCV 2024). A box's score is that of its best word."""

    published = pretrained.Checkpoint("IDEA-Research/grounding-dino-tiny", "Apache-2.0", "0.7 GB")
    threshold = 0.25

    def __init__(self, weights: pretrained.Weights, device: torch.device, precision: torch.autocast) -> None:
        from transformers import BertTokenizer, GroundingDinoForObjectDetection

        self.device, self.precision = device, precision
        self.model = pretrained.load_model(GroundingDinoForObjectDetection, weights, device, "grounding-dino")
        self.tokenizer = pretrained.load_tokenizer(BertTokenizer, weights.folder)
        self.limit = self.model.config.max_text_len
        self.preparation = pretrained.preparation(weights)
        if not {"shortest_edge", "longest_edge"} <= self.preparation.size.keys():
            raise InputError("GroundingDINO needs a shortest and a longest edge.", where=[str(weights.folder)])

    def read(self, text: str, notes: Counter[str]) -> Any:
        """See :class:`Detector`. Lower case and a full stop at the end, as the model was trained."""
        # without the stop the words of the last phrase cannot see each other
        phrase = pretrained.shortened(text.lower().strip().rstrip(". "), self.tokenizer, self.limit, notes, end=".")
        return self.tokenizer([phrase], truncation=True, max_length=self.limit, return_tensors="pt").to(self.device)

    @torch.inference_mode()
    def find(self, frame: NDArray[np.uint8], tokens: Any) -> Boxes:
        """See :class:`Detector`."""
        prepared = self.preparation
        size = images.within_edges(frame.shape[:2], prepared.size["shortest_edge"], prepared.size["longest_edge"])
        pixels = images.pixels([frame], size, prepared.mean, prepared.std).to(self.device)
        with self.precision:
            found = self.model(
                pixel_values=pixels, pixel_mask=torch.ones_like(pixels[:, 0], dtype=torch.long), **tokens
            )
        scores = found.logits[0].sigmoid().amax(dim=-1).cpu()
        return _ranked(scores, found.pred_boxes[0].cpu(), frame.shape[:2], frame.shape[:2])


class Owlv2:
    """OWLv2 (Minderer et al., NeurIPS 2023)."""

    published = pretrained.Checkpoint("google/owlv2-base-patch16-ensemble", "Apache-2.0", "0.6 GB")
    threshold = 0.1

    def __init__(self, weights: pretrained.Weights, device: torch.device, precision: torch.autocast) -> None:
        from transformers import CLIPTokenizer, Owlv2ForObjectDetection

        self.device, self.precision = device, precision
        self.model = pretrained.load_model(Owlv2ForObjectDetection, weights, device, "owlv2")
        self.tokenizer = pretrained.load_tokenizer(CLIPTokenizer, weights.folder)
        self.limit = self.model.config.text_config.max_position_embeddings
        self.preparation = pretrained.preparation(weights)

    def read(self, text: str, notes: Counter[str]) -> Any:
        """See :class:`Detector`."""
        text = pretrained.shortened(text, self.tokenizer, self.limit, notes)
        return self.tokenizer(
            [text], padding="max_length", truncation=True, max_length=self.limit, return_tensors="pt"
        ).to(self.device)

    @torch.inference_mode()
    def find(self, frame: NDArray[np.uint8], tokens: Any) -> Boxes:
        """See :class:`Detector`. The model's boxes are fractions of the padded square, so of the longer side."""
        side = self.model.config.vision_config.image_size
        pixels = images.padded_square(frame, side, self.preparation.mean, self.preparation.std).to(self.device)
        with self.precision:
            found = self.model(pixel_values=pixels, **tokens)
        scores = found.logits[0].amax(dim=-1).sigmoid().cpu()
        return _ranked(scores, found.pred_boxes[0].cpu(), (max(frame.shape[:2]),) * 2, frame.shape[:2])


DETECTORS: dict[str, Any] = {"grounding-dino": GroundingDino, "owlv2": Owlv2}
"""The detectors by name."""
