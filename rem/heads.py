"""Mask heads for the ablation of the decoder (paper, Table 4): what REM is when the frozen VAE decoder is replaced.

The paper says only that a CNN decoder "adopted from" VPD and an MLP "adopted from" SegFormer are trained jointly with
the denoiser. Left open by it and decided here:

- where they attach: the outputs of the denoiser's up blocks, from coarse to fine; its last norm and convolution are
  not used. VPD reads the same place in Stable Diffusion; its cross-attention maps are not used.
- the loss: binary cross-entropy per pixel at the size of the network's input, the two-class form of the loss of
  both papers; a mask is where the logit is above 0.
- widths: 128 channels in both; GroupNorm in place of BatchNorm, because a batch has few clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from refvps.errors import UsageError
from rem.backbones.base import Backbone

WIDTH = 128

UNUSED = ("conv_norm_out.", "conv_out.")
"""Prefixes of weights of the denoiser that a head does not use."""


class CnnHead(nn.Module):
    """In the manner of VPD: scales are added from coarse to fine, then transposed convolutions lead to pixels.

    ``channels``: of the feature maps, coarse to fine; ``doublings``: how often the finest is doubled.
    """

    def __init__(self, channels: Sequence[int], *, width: int = WIDTH, doublings: int = 3) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(each, width, 1) for each in channels)
        self.smooth = nn.ModuleList(_convolution(width) for _ in channels)
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(width, width, 2, stride=2), nn.GroupNorm(8, width), nn.GELU())
            for _ in range(doublings)
        )
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Logits [N, 1, *size] of feature maps [N, C_i, h_i, w_i], coarse to fine."""
        total = None
        for feature, lateral, smooth in zip(features, self.lateral, self.smooth, strict=True):
            part = lateral(feature)
            if total is not None:
                part = part + functional.interpolate(total, size=part.shape[-2:], mode="nearest")
            total = smooth(part)
        for layer in self.up:
            total = layer(total)
        return _resized(self.last(total), size)


class MlpHead(nn.Module):
    """In the manner of SegFormer: a linear map per scale, all brought to the finest, joined and mapped by two more."""

    def __init__(self, channels: Sequence[int], *, width: int = WIDTH) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Conv2d(each, width, 1) for each in channels)
        self.join = nn.Sequential(nn.Conv2d(width * len(channels), width, 1, bias=False), nn.GroupNorm(8, width))
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Logits [N, 1, *size] of feature maps [N, C_i, h_i, w_i], coarse to fine."""
        finest = (features[-1].shape[-2], features[-1].shape[-1])
        parts = [_resized(layer(feature), finest) for layer, feature in zip(self.maps, features, strict=True)]
        return _resized(self.last(functional.relu(self.join(torch.cat(parts, 1)))), size)


def build_head(kind: str, denoiser: nn.Module, *, seed: int) -> nn.Module:
    """A head ("cnn" or "mlp") for the up blocks of ``denoiser``, initialised from ``seed``.

    Raises UsageError for a denoiser that is no U-Net.
    """
    channels = [block.resnets[-1].out_channels for block in _blocks(denoiser)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CnnHead(channels) if kind == "cnn" else MlpHead(channels)


@contextmanager
def tapped(denoiser: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what the up blocks put out, [B * T, C_i, h_i, w_i], during a forward pass."""
    found: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda _, __, output: found.append(output)) for block in _blocks(denoiser)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def predicted_logits(
    backbone: Backbone, head: nn.Module, latents: Tensor, text: Tensor, size: tuple[int, int]
) -> Tensor:
    """Logits [B, T, *size] that a head reads from one pass over ``latents`` [B, C, T, h, w]; a mask is above 0."""
    with tapped(backbone.denoiser) as features:
        backbone.denoise(latents, text)
    batch, frames = latents.shape[0], latents.shape[2]
    return head(features, size).reshape(batch, frames, *size)


def _blocks(denoiser: nn.Module) -> Sequence[nn.Module]:
    blocks = getattr(denoiser, "up_blocks", None)
    if not blocks:
        raise UsageError(
            "A mask head needs a U-Net.", where=[type(denoiser).__name__], fix="use decoder = 'vae' with this backbone"
        )
    return list(blocks)


def _convolution(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.GELU())


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return functional.interpolate(image, size=size, mode="bilinear", align_corners=False)
