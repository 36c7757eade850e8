"""ModelScope text-to-video 1.7B: the model of the paper (stock UNet3DConditionModel)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from refvps.errors import InputError
from rem.backbones.base import Backbone
from rem.backbones.loading import load_module, load_scheduler, load_tokenizer

ENCODE_FRAMES = 16
"""Frames the autoencoder encodes together; memory only."""

log = logging.getLogger("rem")


class ModelScope(Backbone):
    """Per-frame autoencoder, a 3D UNet, CLIP text of 77 tokens; noise of standard deviation 0.029 at t = 0.

    The pads of a prompt are attended to and must be ``!`` (id 0), as in the base model; another tokenizer raises
    InputError.
    """

    name = "modelscope"
    chunk_frames = 72

    def __init__(
        self, vae: nn.Module, denoiser: nn.Module, text_encoder: nn.Module, tokenizer: Any, scheduler: Any
    ) -> None:
        self.vae = vae
        self.denoiser = denoiser
        self.text_encoder = text_encoder
        self.tokenizer = tokenizer
        self.scheduler = scheduler
        if tokenizer.pad_token_id != 0:
            raise InputError(
                "The tokenizer fills prompts with another token than the model was trained with.",
                where=[f"pad token {tokenizer.pad_token!r}, id {tokenizer.pad_token_id}; should be '!', id 0"],
                fix="keep special_tokens_map.json of the base model beside its vocabulary",
            )

    @classmethod
    def load(cls, folder: Path, *, dtype: torch.dtype | None = None) -> Self:
        """From a folder in diffusers' layout; the text encoder is float32 whatever ``dtype`` is."""
        from diffusers import AutoencoderKL, DDIMScheduler
        from transformers import CLIPTextModel, CLIPTokenizer

        vae = load_module(AutoencoderKL, folder, "vae", dtype=dtype)
        text_encoder: Any = load_module(CLIPTextModel, folder, "text_encoder")
        tokenizer = load_tokenizer(CLIPTokenizer, folder)
        if len(tokenizer) != text_encoder.config.vocab_size:
            raise InputError(
                "The tokenizer does not belong to the text encoder.",
                where=[f"{folder / 'tokenizer'}: {len(tokenizer):,} tokens, not {text_encoder.config.vocab_size:,}"],
                fix="keep the whole tokenizer folder of the base model",
            )
        denoiser = load_module(cls.denoiser_kind(), folder, "unet", dtype=dtype)
        return cls(vae, denoiser, text_encoder, tokenizer, load_scheduler(DDIMScheduler, folder))

    @staticmethod
    def denoiser_kind() -> type[nn.Module]:
        """The stock class of the denoiser."""
        from diffusers import UNet3DConditionModel

        return UNet3DConditionModel

    @property
    def latent_channels(self) -> int:
        """4 for the released model."""
        return int(self.vae.config.latent_channels)

    def latent_frames(self, frames: int) -> int:
        """As many as there are frames; raises ValueError for none."""
        if frames < 1:
            raise ValueError("no frames")
        return frames

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """See :meth:`Backbone.encode`; times ``scaling_factor``, frame by frame."""
        flat = pixels.transpose(1, 2).flatten(0, 1).to(self.dtype)
        latents = torch.cat([self.vae.encode(few).latent_dist.mode().float() for few in flat.split(ENCODE_FRAMES)])
        latents = latents * self.vae.config.scaling_factor
        return latents.unflatten(0, (pixels.shape[0], -1)).transpose(1, 2)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """All 77 states [B, 77, D] of CLIP's last layer, float32; no attention mask hides the pads.

        A longer text is cut at 77 tokens, as in the official code, and the log says so.
        """
        length = self.tokenizer.model_max_length
        for text in texts:
            if (tokens := len(self.tokenizer(text, verbose=False).input_ids)) > length:
                log.warning("%d tokens, of which the text encoder reads the first %d: %.60s...", tokens, length, text)
        ids = self.tokenizer(
            list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids
        states: Tensor = self.text_encoder(ids.to(next(self.text_encoder.parameters()).device))[0]
        return states

    def shift(self, latents: Tensor, noise: Tensor | None) -> Tensor:
        """``sqrt(a) z + sqrt(1 - a) noise`` with a = alphas_cumprod[0] = 0.99915, at t = 0 (paper, equation 4).

        Computed in float32: a rounds to 1 in bfloat16. ``noise`` None gives the latents as they are.
        """
        latents = latents.float()
        if noise is None:
            return latents
        signal = self.scheduler.alphas_cumprod[0].to(latents)
        return signal**0.5 * latents + (1 - signal) ** 0.5 * noise.to(latents)

    def denoise(self, latents: Tensor, text: Tensor) -> Tensor:
        """See :meth:`Backbone.denoise`; float32."""
        dtype = next(self.denoiser.parameters()).dtype
        timestep = torch.zeros((), dtype=torch.int64, device=latents.device)
        predicted: Tensor = self.denoiser(latents.to(dtype), timestep, encoder_hidden_states=text.to(dtype)).sample
        return predicted.float()

    def decode(self, latents: Tensor, frames: int, *, batch: int = 16) -> Tensor:
        """See :meth:`Backbone.decode`; ``frames`` must be the latents' own number, so no batch is ever empty."""
        if latents.shape[2] != frames:
            raise ValueError(f"{latents.shape[2]} latents for {frames} frames")
        flat = (latents.float() / self.vae.config.scaling_factor).transpose(1, 2).flatten(0, 1).to(self.dtype)
        pixels = torch.cat([self.vae.decode(few).sample for few in flat.split(batch)])
        return pixels.unflatten(0, (latents.shape[0], -1)).transpose(1, 2)
