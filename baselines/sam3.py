"""SAM 3, the strongest off-the-shelf segmenter of concepts named in text. Opt-in: its weights are gated.

Carion et al., SAM 3: Segment Anything with Concepts, 2025, through transformers. Two modes: ``video`` detects
instances of the phrase on every frame and tracks them; ``semantic`` takes, frame by frame, the dense map that
belongs to no instance, which suits smoke, water and light. The text tower reads 32 tokens and was trained on
short noun phrases: longer sentences lose their last words. Empty answers are common on processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines import images, pretrained, sam2
from refvps.errors import UsageError
from refvps.types import MaskChunk, Method

PUBLISHED = pretrained.Checkpoint("facebook/sam3", "SAM License", "3.4 GB", gated=True)


def load(
    weights: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    mode: str = "video",
    directions: str = "both",
    threshold: float = 0.5,
) -> Sam3:
    """The predictor ``sam3``. ``weights``: a folder or repository of a Sam3VideoModel, for either mode.

    ``directions`` of the video mode: ``forward``, or ``both``, the union with a run over the reversed video: what
    is recognised late is followed back to where it begins. ``threshold`` belongs to the semantic mode.
    Raises DataMissingError (with the steps) when the weights are not here, InputError when they do not fit.
    """
    for name, value, known in (
        ("mode", mode, ("video", "semantic")),
        ("directions", directions, ("both", "forward")),
    ):
        if value not in known:
            raise UsageError(f"There is no such {name}.", where=[repr(value)], fix=f"use {' or '.join(known)}")
    chosen = (
        {"directions": directions} if mode == "video" else {"threshold": pretrained.fraction("threshold", threshold)}
    )
    return Sam3(pretrained.find(weights, PUBLISHED, revision), pretrained.place(device), dtype, mode, chosen)


class Sam3:
    """A SAM 3 checkpoint as a predictor. ``notes`` counts texts, those without any mask, and those cut."""

    def __init__(
        self, weights: pretrained.Weights, device: torch.device, dtype: str | None, mode: str, chosen: dict[str, Any]
    ) -> None:
        from transformers import CLIPTokenizer, Sam3Model, Sam3VideoModel
        from transformers.models.sam3_video import modeling_sam3_video

        # transformers fetches these two operations from the hub at the first use, or else leaves them out
        modeling_sam3_video.cv_utils_kernel = SimpleNamespace(generic_nms=kept_by_nms, cc_2d=components)
        self.device, self.mode, self.chosen = device, mode, chosen
        self.precision = pretrained.precision(device, dtype)
        kind = Sam3VideoModel if mode == "video" else Sam3Model
        self.model = pretrained.load_model(kind, weights, device, "sam3_video")
        self.tokenizer = pretrained.load_tokenizer(CLIPTokenizer, weights.folder)
        detector = self.model.config.detector_config if mode == "video" else self.model.config
        self.side, self.limit = detector.image_size, detector.text_config.max_position_embeddings
        self.notes: Counter[str] = Counter()
        self.method = Method(
            name="sam3" if mode == "video" else "sam3-semantic",
            version="1",
            weights_sha256=weights.sha256,
            options={
                "weights": weights.origin, "dtype": dtype or "fp32", "mode": mode, "tokens": self.limit, **chosen
            },
            licence=PUBLISHED.licence,
            url=f"https://huggingface.co/{PUBLISHED.repo}",
            training_data=f"SA-Co; of the SAM family, {sam2.NOT_NEUTRAL}",
        )  # fmt: skip

    def predict(
        self, frames: Sequence[NDArray[np.uint8]], texts: Sequence[str], *, fps: float, seed: int
    ) -> Iterator[MaskChunk]:
        """One frame per chunk. No random numbers."""
        answers = self._video if self.mode == "video" else self._semantic
        for index, text in enumerate(texts if len(frames) else ()):
            self.notes["texts"] += 1
            seen = False
            for frame, mask in answers(frames, self._tokens(text)):
                seen |= bool(mask.any())
                yield MaskChunk(index, frame, mask[None])
            self.notes["texts without a mask"] += not seen

    def _tokens(self, text: str) -> Any:
        short = pretrained.shortened(text, self.tokenizer, self.limit, self.notes)
        return self.tokenizer(
            [short], padding="max_length", truncation=True, max_length=self.limit, return_tensors="pt"
        ).to(self.device)

    def _video(self, frames: Sequence[NDArray[np.uint8]], tokens: Any) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Frame index and the union of the objects found and tracked, bool [H, W], in one or both directions."""
        back: dict[int, NDArray[np.uint8]] = {}
        if self.chosen["directions"] == "both" and len(frames) > 1:
            for frame, mask in self._tracked(_Backward(frames), tokens):
                back[len(frames) - 1 - frame] = np.packbits(mask, axis=1)
        for frame, mask in self._tracked(frames, tokens):
            if frame in back:
                mask = mask | np.unpackbits(back.pop(frame), axis=1, count=mask.shape[1]).astype(bool)
            yield frame, mask

    def _tracked(self, frames: Any, tokens: Any) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """One pass. Frames come out late, and objects may be withdrawn until they do."""
        from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

        height, width = frames[0].shape[:2]
        session = Sam3VideoInferenceSession(
            video_height=height,
            video_width=width,
            inference_device=self.device,
            inference_state_device=self.device,
            dtype=torch.float32,  # its default is a string, on which it fails
        )
        session.processed_frames = sam2.Prepared(frames, self.side, images.HALF)
        session.add_prompt("")  # its words are only a key
        session.prompt_input_ids[0] = tokens["input_ids"]
        session.prompt_attention_masks[0] = tokens["attention_mask"]
        found = self.model.propagate_in_video_iterator(session)
        while (output := self._next(found)) is not None:
            yield output.frame_idx, self._union(session, output)

    def _next(self, found: Iterator[Any]) -> Any:
        with self.precision:  # not held open while the caller works
            return next(found, None)

    @torch.inference_mode()
    def _union(self, session: Any, output: Any) -> NDArray[np.bool_]:
        """The union of the objects of one frame that are neither suppressed nor withdrawn, bool [H, W]."""
        hidden = set(output.suppressed_obj_ids or ()) | session.hotstart_removed_obj_ids
        shown = [mask for name, mask in sorted(output.obj_id_to_mask.items()) if name not in hidden]
        size = (session.video_height, session.video_width)
        if not shown:
            return np.zeros(size, np.bool_)
        return (images.enlarged(torch.cat(shown), size) > 0).any(dim=0).cpu().numpy()

    def _semantic(self, frames: Sequence[NDArray[np.uint8]], tokens: Any) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        for index in range(len(frames)):
            frame = frames[index]
            chances = images.enlarged(self._chances(frame, tokens), frame.shape[:2])[0]
            yield index, (chances > self.chosen["threshold"]).cpu().numpy()

    @torch.inference_mode()
    def _chances(self, frame: NDArray[np.uint8], tokens: Any) -> Tensor:
        """Probabilities [1, h, w] of the semantic head."""
        pixels = images.pixels([frame], (self.side, self.side), *images.HALF).to(self.device)
        with self.precision:
            found = self.model(
                pixel_values=pixels, input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            )
        return found.semantic_seg[:, 0].float().sigmoid()


class _Backward:
    """Frames from the last to the first, decoded when asked for."""

    def __init__(self, frames: Sequence[NDArray[np.uint8]]) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self._frames[len(self._frames) - 1 - index]


def kept_by_nms(ious: Tensor, scores: Tensor, threshold: float, use_iou_matrix: bool = True) -> Tensor:
    """Indices of the detections that no better one overlaps by more than ``threshold``; ``ious`` is [N, N].

    The signature is that of the hub kernel it stands in for.
    """
    left = torch.argsort(scores, descending=True, stable=True).tolist()
    overlaps = (ious > threshold).cpu().numpy()
    kept: list[int] = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [other for other in left if not overlaps[best, other]]
    return torch.tensor(kept, dtype=torch.long, device=ious.device)


def components(masks: Tensor, get_counts: bool = True) -> tuple[Tensor, Tensor]:
    """Connected components (8 neighbours) of uint8 masks [N, 1, H, W]: labels, and each pixel's component size.

    Both int32, 0 in the background. The signature is that of the hub kernel it stands in for.
    """
    labels = np.zeros(masks.shape, np.int32)
    sizes = np.zeros(masks.shape, np.int32)
    for number, mask in enumerate(masks[:, 0].cpu().numpy()):
        _, labels[number, 0], about, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        areas = about[:, cv2.CC_STAT_AREA].copy()
        areas[0] = 0
        sizes[number, 0] = areas[labels[number, 0]]
    return torch.from_numpy(labels).to(masks.device), torch.from_numpy(sizes).to(masks.device)
