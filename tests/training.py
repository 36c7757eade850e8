"""A model that learns in seconds, and clips to learn: for tests of the training loop."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from tinymodels import MODELSCOPE_SCHEDULE, clip_text, clip_tokenizer, unet3d
from torch import Tensor, nn
from torch.nn import functional

SIDE = 16


class _Mode:
    def __init__(self, latents: Tensor) -> None:
        self.latents = latents

    def mode(self) -> Tensor:
        return self.latents


class PoolVae(nn.Module):
    """AutoencoderKL's surface without weights: means of 2 x 2 pixels and their grey; back by bilinear resizing."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(scaling_factor=1.0, latent_channels=4)
        self.place = nn.Parameter(torch.zeros(()))

    def encode(self, pixels: Tensor) -> Any:
        pooled = functional.avg_pool2d(pixels, 2)
        return SimpleNamespace(latent_dist=_Mode(torch.cat([pooled, pooled.mean(1, keepdim=True)], 1)))

    def decode(self, latents: Tensor) -> Any:
        pixels = functional.interpolate(latents[:, :3], scale_factor=2, mode="bilinear", align_corners=False)
        return SimpleNamespace(sample=pixels)


def tiny_backbone(folder: Path, *, seed: int = 0, dropout: bool = True) -> Any:
    """A ModelScope backbone with :class:`PoolVae`; the network has 16 and 32 channels."""
    from diffusers import DDIMScheduler

    from rem.backbones.modelscope import ModelScope

    made = ModelScope(
        PoolVae(),
        unet3d(channels=(16, 32), seed=seed),
        clip_text(seed=7),
        clip_tokenizer(folder / "tokenizer"),
        DDIMScheduler(**MODELSCOPE_SCHEDULE),
    )
    for module in made.denoiser.modules() if not dropout else ():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return made


def moving_squares(number: int = 4, *, frames: int = 2, side: int = SIDE) -> list[dict[str, Any]]:
    """Clips of a bright square that moves over noise; as dictionaries, as the loop reads them."""
    made = []
    for index in range(number):
        random = np.random.default_rng(index)
        pictures = random.integers(0, 60, (frames, side, side, 3)).astype(np.uint8)
        masks = np.zeros((frames, side, side), np.bool_)
        for t in range(frames):
            masks[t, 2 + t : 10 + t, 2 * index % 8 : 2 * index % 8 + 8] = True
            pictures[t][masks[t]] = (255, 50 * (index % 4), 0)
        made.append({"frames": pictures, "masks": masks, "text": f"square {index}"})
    return made
