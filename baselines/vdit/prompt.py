"""Text-guided image projection: what the frozen UNet is told about every frame.

The paper's equation 1 and the supplement's Table A. Four kinds of ``fusion``: ``image`` (VD-I) gives the image
tokens alone, ``text`` (VD-T) the caption alone, ``concat`` both one after the other through a perceptron, and
``attn`` (VD-IT) lets the caption's tokens read the image's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

FUSIONS = ("image", "text", "concat", "attn")

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ImageProjection(nn.Module):
    """Image tokens of CLIP's width to the prompt's: ``y = linear1(x)``, then ``linear2(y) + y``."""

    def __init__(self, vision: int, width: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(vision, width)
        self.linear2 = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, L, vision] to [N, L, width]."""
        projected = self.linear1(tokens)
        return self.linear2(projected) + projected


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.w_qs = nn.Linear(width, width, bias=False)
        self.w_ks = nn.Linear(width, width, bias=False)
        self.w_vs = nn.Linear(width, width, bias=False)
        self.fc = nn.Linear(width, width, bias=False)
        self.layer_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        query, key, value = (
            layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, tokens in ((self.w_qs, text), (self.w_ks, image), (self.w_vs, image))
        )
        read = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.layer_norm(self.fc(read.transpose(1, 2).flatten(2)) + text)


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, hidden)
        self.w_2 = nn.Linear(hidden, width)
        self.layer_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layer_norm(self.w_2(torch.relu(self.w_1(tokens))) + tokens)


class CrossAttentionBlock(nn.Module):
    """Text tokens read image tokens: attention without biases, then a perceptron of half the width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.cros_attn = _Attention(width, heads)
        self.pos_ffn = _FeedForward(width, width // 2)

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """[N, 77, width] and [N, L, width] to [N, 77, width]."""
        return self.pos_ffn(self.cros_attn(text, image))


class ConcatBlock(nn.Module):
    """Text and image tokens one after the other through a perceptron with residual.

    The supplement only says that it has as many parameters as the attention. With a hidden layer of 2.5 times the
    (even) width d it has exactly as many: 2d * 2.5d + 2.5d + 3d = 5 d^2 + 5.5 d for both.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = _FeedForward(width, 5 * width // 2)

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """[N, 77, width] and [N, L, width] to [N, 77 + L, width]."""
        return self.mlp(torch.cat([text, image], dim=1))


def clip_pixels(frames: Sequence[NDArray[np.uint8]], side: int) -> Tensor:
    """What CLIP sees of frames [H, W, 3]: float32 [T, 3, side, side].

    The short side is resized to ``side`` (bicubic, antialiased, on 8 bits), the centre is cropped, so of a wide
    frame the sides are never seen, and CLIP's mean and deviation are taken out.
    """
    seen = []
    for frame in frames:
        height, width = frame.shape[:2]
        short = min(height, width)
        size = (side * width // short, side * height // short)
        picture = Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)
        left, top = (size[0] - side) // 2, (size[1] - side) // 2
        seen.append(np.asarray(picture.crop((left, top, left + side, top + side))))
    values = torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2) / 255.0
    mean, deviation = (torch.tensor(each).view(1, 3, 1, 1) for each in (CLIP_MEAN, CLIP_STD))
    return (values - mean) / deviation
