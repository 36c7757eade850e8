"""Frames as the published image processors prepare them, without torchvision.

Every function takes uint8 RGB frames [H, W, 3] and follows the processor of transformers it names: equal bit
for bit where that one uses Pillow, to a stated tolerance where it needs torchvision or scipy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation per channel, of values in [0, 1]."""

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Mean and standard deviation that map [0, 1] to [-1, 1]."""

Channels = Sequence[float]


def pixels(frames: Iterable[NDArray[np.uint8]], size: tuple[int, int], mean: Channels, std: Channels) -> Tensor:
    """Frames resized to ``size`` (height, width), whatever their shape, and normalised: float32 [T, 3, h, w].

    Pillow's bilinear filter (antialiased), then ((value / 255) - mean) / std, as ViTImageProcessorPil does it;
    the torchvision processors of SAM 2 and SAM 3 differ by at most one of 255 levels, from rounding.
    """
    return torch.from_numpy(np.stack([_normalised(_resized(frame, size), mean, std) for frame in frames]))


def _resized(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if frame.shape[:2] == size:
        return frame
    height, width = size
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))


def _normalised(frame: NDArray[np.uint8], mean: Channels, std: Channels) -> NDArray[np.float32]:
    """[3, h, w] by one table per channel: 256 values are all there are."""
    values = (np.arange(256) * (1 / 255)).astype(np.float32)
    tables = ((values[None] - np.float32(mean)[:, None]) / np.float32(std)[:, None]).astype(np.float32)
    return np.stack([table[frame[..., channel]] for channel, table in enumerate(tables)])


def within_edges(size: tuple[int, int], shortest: int, longest: int) -> tuple[int, int]:
    """The (height, width) to which DETR's family resizes a frame: the shorter side ``shortest``, the aspect kept.

    Where the longer side would exceed ``longest``, it becomes ``longest`` instead.
    """
    height, width = size
    low, high = min(size), max(size)
    short = float(shortest)
    if high / low * shortest > longest:
        short = longest * low / high
    if low == round(short):
        return size
    long = int(short * high / low)
    return (round(short), long) if height <= width else (long, round(short))


def padded_square(frame: NDArray[np.uint8], side: int, mean: Channels, std: Channels) -> Tensor:
    """One frame padded with black at the right and bottom to a square, then resized: float32 [1, 3, side, side].

    OWLv2's way: a Gaussian against aliasing and linear interpolation, both mirrored at the border, as
    Owlv2ImageProcessorPil gets them from scipy (to 1e-5).
    """
    height, width = frame.shape[:2]
    square = np.zeros((max(height, width),) * 2 + (3,))
    square[:height, :width] = frame * (1 / 255)
    weights = _linear(len(square), side) @ _gaussian(len(square), side)
    small = np.einsum("yh,hwc,xw->cyx", weights, square, weights, optimize=True).clip(square.min(), square.max())
    scaled = (small - np.asarray(mean)[:, None, None]) / np.asarray(std)[:, None, None]
    return torch.from_numpy(scaled.astype(np.float32))[None]


def _mirrored(index: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Positions beyond the ends reflected about the centres of the border samples."""
    if count == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * (count - 1))
    return np.minimum(index, 2 * (count - 1) - index)


def _gaussian(count: int, wanted: int) -> NDArray[np.float64]:
    """The filter before shrinking ``count`` samples to ``wanted``, as a matrix; sigma = (ratio - 1) / 2, cut at 4."""
    sigma = max(0.0, (count / wanted - 1) / 2)
    if sigma < 1e-15:
        return np.eye(count)
    reach = int(4 * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    matrix = np.zeros((count, count))
    rows = np.broadcast_to(np.arange(count)[:, None], (count, len(offsets)))
    np.add.at(matrix, (rows, _mirrored(rows + offsets, count)), kernel / kernel.sum())
    return matrix


def _linear(count: int, wanted: int) -> NDArray[np.float64]:
    """Linear interpolation at the centres of ``wanted`` cells over ``count`` samples, as a matrix."""
    at = (np.arange(wanted) + 0.5) * (count / wanted) - 0.5
    left = np.floor(at).astype(np.int64)
    matrix = np.zeros((wanted, count))
    rows = np.arange(wanted)
    np.add.at(matrix, (rows, _mirrored(left, count)), 1 - (at - left))
    np.add.at(matrix, (rows, _mirrored(left + 1, count)), at - left)
    return matrix


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [N, h, w] of logits or probabilities resized to ``size`` (height, width), bilinear: float32 [N, H, W]."""
    return functional.interpolate(maps[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]
