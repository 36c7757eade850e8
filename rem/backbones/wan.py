"""Wan 2.1 text-to-video, 1.3B and 14B (stock WanTransformer3DModel): 4k + 1 frames, clean latents."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from rem.backbones.base import Backbone
from rem.backbones.loading import load_module, load_tokenizer

PROMPT_TOKENS = 512
"""Tokens the text encoder reads."""

CONTEXT_TOKENS = 77
"""Rows of the text the network attends to: REM's number; Wan's own pipeline has 512."""

log = logging.getLogger("rem")


class Wan(Backbone):
    """Causal video autoencoder, a transformer over space and time, UMT5 text; no noise and so no scheduler.

    The configuration in the folder tells 1.3B and 14B apart.
    """

    name = "wan"
    side_multiple = 16
    chunk_frames = 73
    frame_stride: ClassVar[int] = 4
    noise = False

    def __init__(
        self, vae: nn.Module, denoiser: nn.Module, text_encoder: nn.Module, tokenizer: Any, scheduler: Any = None
    ) -> None:
        self.vae = vae
        self.denoiser = denoiser
        self.text_encoder = text_encoder
        self.tokenizer = tokenizer
        self.scheduler = scheduler

    @classmethod
    def load(cls, folder: Path, *, dtype: torch.dtype | None = None) -> Self:
        """From a folder in diffusers' layout (``Wan2.1-T2V-14B-Diffusers``); the official type is bfloat16."""
        from diffusers import AutoencoderKLWan, WanTransformer3DModel
        from transformers import AutoTokenizer, UMT5EncoderModel

        return cls(
            load_module(AutoencoderKLWan, folder, "vae", dtype=dtype),
            load_module(WanTransformer3DModel, folder, "transformer", dtype=dtype),
            load_module(UMT5EncoderModel, folder, "text_encoder", dtype=dtype),
            load_tokenizer(AutoTokenizer, folder),
        )

    @property
    def latent_channels(self) -> int:
        """16 for the released models."""
        return int(self.vae.config.z_dim)

    def latent_frames(self, frames: int) -> int:
        """(T - 1) / 4 + 1; raises ValueError for other lengths, whose last frames would vanish silently."""
        if frames < 1 or (frames - 1) % self.frame_stride:
            raise ValueError(f"{frames} frames are not {self.frame_stride}k + 1")
        return (frames - 1) // self.frame_stride + 1

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """See :meth:`Backbone.encode`; normalised per channel by the autoencoder's mean and deviation."""
        self.latent_frames(pixels.shape[2])
        latents = torch.cat(
            [self.vae.encode(clip).latent_dist.mode().float() for clip in pixels.to(self.dtype).split(1)]
        )
        mean, deviation = self._statistics(latents)
        return (latents - mean) / deviation

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Embeddings [B, 77, D] with zeros after the last token, each text encoded by itself.

        The encoder reads up to 512 tokens under a mask. Of a text with more than 77, on which the official code
        fails, the first 77 states are kept, each of which has seen the whole text; the log says so.
        """
        rows = []
        device = next(self.text_encoder.parameters()).device
        for text in texts:
            tokens = self.tokenizer(
                text, padding="max_length", max_length=PROMPT_TOKENS, truncation=True, return_attention_mask=True,
                return_tensors="pt",
            ).to(device)  # fmt: skip
            length = int(tokens.attention_mask.sum())
            if length > CONTEXT_TOKENS:
                log.warning("%d tokens, of which the network sees the first %d: %.60s...", length, CONTEXT_TOKENS, text)
            states = self.text_encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
            row = states.new_zeros(CONTEXT_TOKENS, states.shape[-1])
            kept = min(length, CONTEXT_TOKENS)
            row[:kept] = states[0, :kept]
            rows.append(row)
        return torch.stack(rows)

    def shift(self, latents: Tensor, noise: Tensor | None) -> Tensor:
        """The latents as they are, float32: the official code computes noisy ones and feeds the clean ones.

        Raises ValueError if noise is given.
        """
        if noise is not None:
            raise ValueError("Wan's latents stay clean")
        return latents.float()

    def denoise(self, latents: Tensor, text: Tensor) -> Tensor:
        """See :meth:`Backbone.denoise`; float32. The timestep is 0.0, exact in every type."""
        dtype = self._compute_dtype()
        timestep = torch.zeros(len(latents), dtype=dtype, device=latents.device)
        predicted: Tensor = self.denoiser(latents.to(dtype), timestep, encoder_hidden_states=text.to(dtype)).sample
        return predicted.float()

    def decode(self, latents: Tensor, frames: int, *, batch: int = 16) -> Tensor:
        """See :meth:`Backbone.decode`; the autoencoder decodes one latent frame after the other by itself.

        Pixels are clamped to [-1, 1]. ``batch`` has no effect: one clip at a time is decoded.
        """
        if latents.shape[2] != self.latent_frames(frames):
            raise ValueError(f"{latents.shape[2]} latents for {frames} frames")
        mean, deviation = self._statistics(latents)
        scaled = (latents.float() * deviation + mean).to(self.dtype)
        return torch.cat([self.vae.decode(clip).sample for clip in scaled.split(1)])

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        mean, deviation = (
            torch.tensor(values, dtype=torch.float32, device=latents.device)[:, None, None, None]
            for values in (self.vae.config.latents_mean, self.vae.config.latents_std)
        )
        return mean, deviation

    def _compute_dtype(self) -> torch.dtype:
        """The type of the weights that are not kept in float32."""
        weights = dict(self.denoiser.named_parameters())
        return next(weight.dtype for name, weight in weights.items() if name.endswith("proj_out.weight"))
