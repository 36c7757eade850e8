"""CLIPSeg, frame by frame: static language grounding without boxes, tracking or any model of time.

Lueddecke and Ecker, Image Segmentation Using Text and Image Prompts, CVPR 2022, through transformers. The
threshold is the whole baseline: it is fixed at 0.5 a priori, and never to be tuned on the benchmark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines import images, pretrained
from refvps.errors import InputError
from refvps.types import MaskChunk, Method

PUBLISHED = pretrained.Checkpoint("CIDAS/clipseg-rd64-refined", "Apache-2.0", "0.6 GB")


def load(
    weights: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    threshold: float = 0.5,
    batch: int = 8,
) -> ClipSeg:
    """The predictor ``clipseg``. ``weights``: a folder or repository; a pixel is in where p > ``threshold``.

    ``batch`` frames go through the model at once; ``dtype`` is fp32 or, under autocast, bf16 or fp16.
    Raises DataMissingError (with the steps) when the weights are not here, InputError when they do not fit.
    """
    return ClipSeg(
        pretrained.find(weights, PUBLISHED, revision),
        pretrained.place(device),
        dtype,
        pretrained.fraction("threshold", threshold),
        pretrained.count("batch", batch),
    )


class ClipSeg:
    """A CLIPSeg checkpoint as a predictor; ``notes`` counts the texts that had to be cut."""

    def __init__(
        self, weights: pretrained.Weights, device: torch.device, dtype: str | None, threshold: float, batch: int
    ) -> None:
        from transformers import CLIPSegForImageSegmentation, CLIPTokenizer

        self.device, self.threshold, self.batch = device, threshold, batch
        self.precision = pretrained.precision(device, dtype)
        self.model = pretrained.load_model(CLIPSegForImageSegmentation, weights, device, "clipseg")
        self.tokenizer = pretrained.load_tokenizer(CLIPTokenizer, weights.folder)
        self.limit = self.model.config.text_config.max_position_embeddings
        self.preparation = pretrained.preparation(weights)
        if not {"height", "width"} <= self.preparation.size.keys():
            raise InputError("CLIPSeg needs a height and a width.", where=[str(weights.folder)])
        self.side = (self.preparation.size["height"], self.preparation.size["width"])
        self.notes: Counter[str] = Counter()
        self.method = Method(
            name="clipseg",
            version="1",
            weights_sha256=weights.sha256,
            options={
                "weights": weights.origin, "threshold": threshold, "batch": batch, "dtype": dtype or "fp32",
                "size": list(self.side), "tokens": self.limit,
            },
            licence=PUBLISHED.licence,
            url=f"https://huggingface.co/{PUBLISHED.repo}",
            training_data="PhraseCut+ (CLIP: 400 M image-text pairs)",
        )  # fmt: skip

    def predict(
        self, frames: Sequence[NDArray[np.uint8]], texts: Sequence[str], *, fps: float, seed: int
    ) -> Iterator[MaskChunk]:
        """One chunk per batch of frames and text; frames are encoded once for all texts. No random numbers."""
        conditions = [self.condition(text) for text in texts] if len(frames) else []
        for start in range(0, len(frames) if conditions else 0, self.batch):
            shown = list(frames[start : start + self.batch])
            activations = self._activations(
                images.pixels(shown, self.side, self.preparation.mean, self.preparation.std)
            )
            for text, condition in enumerate(conditions):
                chances = images.enlarged(self._logits(activations, condition).sigmoid(), shown[0].shape[:2])
                yield MaskChunk(text, start, (chances > self.threshold).cpu().numpy())

    @torch.inference_mode()
    def condition(self, text: str) -> Tensor:
        """The embedding [1, D] of a text, which the decoder is conditioned on."""
        text = pretrained.shortened(text, self.tokenizer, self.limit, self.notes)
        tokens = self.tokenizer([text], truncation=True, max_length=self.limit, return_tensors="pt").to(self.device)
        with self.precision:
            return self.model.get_conditional_embeddings(
                batch_size=1, input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            )

    @torch.inference_mode()
    def _activations(self, pixels: Tensor) -> list[Tensor]:
        """What the decoder reads of the image encoder: a [B, N, D] per layer of ``config.extract_layers``."""
        with self.precision:
            found = self.model.clip.get_image_features(
                pixels.to(self.device), interpolate_pos_encoding=True, output_hidden_states=True
            )
        return [found.hidden_states[layer + 1] for layer in self.model.extract_layers]

    @torch.inference_mode()
    def _logits(self, activations: list[Tensor], condition: Tensor) -> Tensor:
        """Logits [B, h, w] of one text."""
        with self.precision:
            logits = self.model.decoder(activations, condition.expand(len(activations[0]), -1)).logits
        return logits.reshape(len(activations[0]), *logits.shape[-2:]).float()
