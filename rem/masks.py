"""From masks to pixels for the autoencoder, and from decoded pixels back to masks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

FRAMES_AT_ONCE = 8
"""Frames resized together; bounds the memory, changes no value."""


def masks_from_pixels(pixels: Tensor, size: tuple[int, int], *, dtype: torch.dtype | None = None) -> Tensor:
    """Masks, bool [B, T, H, W], of decoded ``pixels`` [B, 3, T, h, w]; ``size`` is (H, W), the size of the frames.

    The order is the official one: resize bilinearly (corners not aligned, no antialiasing), average the three
    channels, keep what is greater than 0.5 - exactly 0.5 is background. ``dtype`` is the type of this arithmetic:
    float32 by default; the official Wan code does it in bfloat16, where 0.501 rounds to 0.5.
    """
    batch, channels, frames = pixels.shape[:3]
    flat = pixels.transpose(1, 2).reshape(batch * frames, channels, *pixels.shape[3:])
    masks = []
    for few in flat.split(FRAMES_AT_ONCE):
        resized = interpolate(few.to(dtype or torch.float32), size=size, mode="bilinear", align_corners=False)
        masks.append(resized.mean(dim=1) > 0.5)
    return torch.cat(masks).reshape(batch, frames, *size)


def mask_pixels(masks: Tensor, side: tuple[int, int]) -> Tensor:
    """Pixels, float32 {0, 1} [B, 3, T, h, w], of ``masks``, bool or uint8 {0, 1} [B, T, H, W]; ``side`` is (h, w).

    A mask is shown to the autoencoder as black and white in {0, 1}, not in [-1, 1] as frames are. The nearest
    neighbour is Pillow's: the pixel under the centre.
    """
    resized = interpolate(masks.to(torch.float32), size=side, mode="nearest-exact")
    return resized[:, None].repeat(1, 3, 1, 1, 1)
