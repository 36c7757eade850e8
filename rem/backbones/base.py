"""What a text-to-video diffusion model must offer to become a segmenter.

A backbone bundles stock modules (autoencoder, denoiser, text encoder, tokenizer) with the three choices
that differ between families: how latents are scaled, which timestep is the smallest, and whether noise is
added. Everything above it - pipeline, training, bench - sees only this interface.

Axis order is [B, C, T, H, W] everywhere: batch, channels, time, height, width. T counts frames and F counts
latent frames (F = T for per-frame autoencoders, (T - 1) / 4 + 1 for Wan's).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Backbone(ABC):
    """One family of models behind one interface (paper, section 3: "the backbone can be easily replaced").

    ``vae``, ``denoiser``, ``text_encoder`` are modules, ``tokenizer`` and ``scheduler`` the objects of
    transformers and diffusers. Only ``denoiser`` is ever trained.
    """

    name: ClassVar[str]
    """Row name: modelscope, wan, stable-diffusion, videocrafter."""
    side_multiple: ClassVar[int] = 8
    """Height and width of the network's input must be multiples of this."""
    chunk_frames: ClassVar[int] = 72
    """Frames of a chunk of the official inference."""
    frame_stride: ClassVar[int] = 1
    """Frames of a latent after the first; chunk lengths are multiples of it plus one."""
    noise: ClassVar[bool] = True
    """Whether the official inference adds noise (Wan feeds clean latents)."""

    vae: nn.Module
    denoiser: nn.Module
    text_encoder: nn.Module
    tokenizer: Any
    scheduler: Any

    @property
    def device(self) -> torch.device:
        """Device of the denoiser."""
        return next(self.denoiser.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the autoencoder, in which frames are encoded and masks decoded."""
        return next(self.vae.parameters()).dtype

    @property
    @abstractmethod
    def latent_channels(self) -> int:
        """Channels C of a latent."""

    @abstractmethod
    def latent_frames(self, frames: int) -> int:
        """Latent frames F of ``frames`` frames; raises ValueError for a length the autoencoder would truncate."""

    @abstractmethod
    def encode(self, pixels: Tensor) -> Tensor:
        """Latents [B, C, F, h, w], float32, of ``pixels`` [B, 3, T, H, W]: the mode, scaled; no gradient.

        Frames are in [-1, 1], masks in {0, 1} (not [-1, 1]).
        """

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Prompt embeddings [B, L, D] of ``texts``, no gradient."""

    @abstractmethod
    def shift(self, latents: Tensor, noise: Tensor | None) -> Tensor:
        """Latents moved to the smallest timestep, in float32; ``noise`` None gives what the noise-free policy feeds."""

    @abstractmethod
    def denoise(self, latents: Tensor, text: Tensor) -> Tensor:
        """The predicted mask latent [B, C, F, h, w]: one pass of the denoiser at the smallest timestep."""

    @abstractmethod
    def decode(self, latents: Tensor, frames: int, *, batch: int = 16) -> Tensor:
        """Pixels [B, 3, T, H, W] of latents, ``frames`` = T, at most ``batch`` frames at a time where possible.

        Differentiable only in ``latents``; the weights are frozen.
        """
