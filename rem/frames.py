"""Frames as the network sees them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from refvps.errors import InputError


def resized_frames(
    frames: Sequence[NDArray[np.uint8]], side: tuple[int, int], *, first: int = 0
) -> tuple[Tensor, tuple[int, int]]:
    """Frames, uint8 [3, T, h, w], resized to ``side`` = (h, w) by Pillow's antialiased bilinear filter.

    Also returns their own size (H, W). ``frames``: RGB uint8 [H, W, 3]; the aspect ratio is not kept, as in the
    official code. ``first`` is the index of the first frame in its clip, for messages. Raises InputError for no
    frames, for anything else than RGB, and for frames of several sizes.
    """
    if not len(frames):
        raise InputError("There are no frames to segment.", fix="give at least one frame")
    height, width = side
    resized = np.empty((len(frames), height, width, 3), np.uint8)
    size: tuple[int, int] | None = None
    for index in range(len(frames)):
        frame = np.asarray(frames[index])
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise InputError(
                "A frame is not an RGB picture of bytes.",
                where=[f"frame {first + index}: {frame.dtype} {list(frame.shape)}{_not_finite(frame)}"],
                fix="give uint8 arrays [height, width, 3]",
            )
        size = size or frame.shape[:2]
        if frame.shape[:2] != size:
            raise InputError(
                "The frames of a clip differ in size.",
                where=[f"frame {first + index}: {frame.shape[0]}x{frame.shape[1]}, frames before: {size[0]}x{size[1]}"],
            )
        resized[index] = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))
    assert size is not None
    return torch.from_numpy(resized).permute(3, 0, 1, 2), size


def normalised(frames: Tensor) -> Tensor:
    """Pixels in [-1, 1], float32, of bytes; on the device where they lie."""
    return (frames.to(torch.float32) / 255 - 0.5) / 0.5


def frame_pixels(frames: Sequence[NDArray[np.uint8]], side: tuple[int, int]) -> Tensor:
    """Pixels, float32 [3, T, h, w] in [-1, 1], of ``frames``, RGB uint8 [H, W, 3]; see :func:`resized_frames`."""
    return normalised(resized_frames(frames, side)[0])


def _not_finite(frame: NDArray[np.generic]) -> str:
    broken = np.issubdtype(frame.dtype, np.floating) and not np.isfinite(frame).all()
    return " with values that are not finite" if broken else ""
