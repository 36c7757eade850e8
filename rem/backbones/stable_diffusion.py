"""Stable Diffusion 2.1, frame by frame: the image model of the ablation (paper, Table 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rem.backbones.modelscope import ModelScope


class StableDiffusion(ModelScope):
    """ModelScope's autoencoder, text and noise with an image UNet, which sees each frame alone."""

    name = "stable-diffusion"

    @staticmethod
    def denoiser_kind() -> type[nn.Module]:
        """The stock class of the denoiser."""
        from diffusers import UNet2DConditionModel

        return UNet2DConditionModel

    def denoise(self, latents: Tensor, text: Tensor) -> Tensor:
        """See :meth:`Backbone.denoise`; the text of a clip is repeated for each of its frames."""
        dtype = next(self.denoiser.parameters()).dtype
        batch, _, frames = latents.shape[:3]
        flat = latents.transpose(1, 2).flatten(0, 1).to(dtype)
        timestep = torch.zeros((), dtype=torch.int64, device=latents.device)
        repeated = text.to(dtype).repeat_interleave(frames, dim=0)
        predicted: Tensor = self.denoiser(flat, timestep, encoder_hidden_states=repeated).sample
        return predicted.float().unflatten(0, (batch, frames)).transpose(1, 2)
