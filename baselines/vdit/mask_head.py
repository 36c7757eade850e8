"""The mask head of VD-IT: a small network made for every query, and its refinement to full resolution.

A query's vector becomes the weights of two 1x1 convolutions. Their 16 output channels at 1/8 of the resolution are a
patch of 4x4 pixels each: unfolded they are the mask at 1/2 ("low"), refined with the maps at 1/8 and 1/4 the mask at
full resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

PATCH = 4
CHANNELS = PATCH * PATCH
STRIDE = 8
"""Pixels of the input between two places of the map at 1/8."""


def parameter_count(width: int) -> int:
    """Numbers a query must give for its network: both kernels, then both biases; 4,416 for a width of 256."""
    return (width + 2) * CHANNELS + CHANNELS * CHANNELS + 2 * CHANNELS


def mask_features(memory: Sequence[Tensor]) -> Tensor:
    """Sum [N, D, h, w] of the encoder's maps, all resized (bicubic) to the first, at 1/8."""
    total = memory[0]
    for each in memory[1:]:
        total = total + functional.interpolate(each, memory[0].shape[-2:], mode="bicubic", align_corners=False)
    return total


def dynamic_patches(features: Tensor, weights: Tensor, centres: Tensor) -> Tensor:
    """Apply each query's network to its frame: patches [N, Q, 16, h, w].

    ``features`` [N, D, h, w]; ``weights`` [N, Q, :func:`parameter_count`]; ``centres`` [N, Q, 2], the queries'
    reference points (x, y) in pixels of the input. Two channels are added to the features: where the reference
    point lies as seen from each place, in pixels.
    """
    count, width, height, breadth = features.shape
    queries = weights.shape[1]
    y, x = torch.meshgrid(
        torch.arange(height, device=features.device) * STRIDE + STRIDE // 2,
        torch.arange(breadth, device=features.device) * STRIDE + STRIDE // 2,
        indexing="ij",
    )
    apart = centres[..., None, None] - torch.stack([x, y]).to(features.dtype)
    first, second, bias, end = weights.split([(width + 2) * CHANNELS, CHANNELS * CHANNELS, CHANNELS, CHANNELS], dim=-1)
    first = first.unflatten(-1, (CHANNELS, width + 2))
    # the kernel of the features once for all queries of a frame, instead of a copy of the features for each
    hidden = torch.einsum("nqkd,ndp->nqkp", first[..., :width], features.flatten(2))
    hidden = hidden + torch.einsum("nqkd,nqdp->nqkp", first[..., width:], apart.flatten(3))
    hidden = torch.relu(hidden + bias[..., None])
    patches = second.unflatten(-1, (CHANNELS, CHANNELS)) @ hidden + end[..., None]
    return patches.view(count, queries, CHANNELS, height, breadth)


def unfold_patches(patches: Tensor) -> Tensor:
    """[..., 16, h, w] to [..., 4h, 4w]: each group of 16 channels becomes 4x4 pixels."""
    return functional.pixel_shuffle(patches, PATCH).squeeze(-3)


class MaskRefinement(nn.Module):
    """Two residual steps over the patches, with the maps at 1/8 and at 1/4; official attribute names."""

    def __init__(self, eighth: int, quarter: int) -> None:
        super().__init__()
        self.conv1_1div8 = nn.Conv2d(eighth + CHANNELS, CHANNELS, 3, padding=1)
        self.conv2_1div8 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.conv1_1div4 = nn.Conv2d(quarter + CHANNELS, CHANNELS, 3, padding=1)
        self.conv2_1div4 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)

    def forward(self, patches: Tensor, eighth: Tensor, quarter: Tensor) -> Tensor:
        """Logits [N, 8h, 8w] of ``patches`` [N, 16, h, w], ``eighth`` [N, D8, h, w] and ``quarter`` [N, D4, 2h, 2w]."""
        for convolutions, seen in (
            ((self.conv1_1div8, self.conv2_1div8), eighth),
            ((self.conv1_1div4, self.conv2_1div4), quarter),
        ):
            if patches.shape[-2:] != seen.shape[-2:]:
                patches = functional.interpolate(patches, seen.shape[-2:], mode="bilinear", align_corners=False)
            hidden = torch.relu(convolutions[0](torch.relu(torch.cat([patches, seen], dim=1))))
            patches = patches + convolutions[1](hidden)
        return unfold_patches(patches)
