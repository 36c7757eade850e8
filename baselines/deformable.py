"""Multi-scale deformable attention in plain PyTorch.

Zhu et al., "Deformable DETR" (ICLR 2021), equation 3: every query reads a few fractional places of every
level and adds them up with its own weights. The compiled operator of the published methods computes the
same and nothing else, but needs a compiler and a batch divisible by 64; this needs neither, runs on any device and
is differentiable in all three floating inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def ms_deform_attn(
    value: Tensor, spatial_shapes: Tensor, sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Weighted sum of bilinear samples of all levels, [N, Q, M * D].

    ``value`` [N, S, M, D] holds the levels one after the other, row by row, S = sum of h * w;
    ``spatial_shapes`` [L, 2] their (h, w); ``sampling_locations`` [N, Q, M, L, P, 2] are (x, y) in [0, 1] of a
    level's whole area, a pixel's centre being (i + 0.5) / width, and zeros lie outside; ``attention_weights``
    [N, Q, M, L, P]. N is the batch, M heads, D channels of a head, Q queries, P points. Raises ValueError when the
    shapes contradict each other.
    """
    batch, total, heads, depth = value.shape
    queries, levels, points = sampling_locations.shape[1], sampling_locations.shape[3], sampling_locations.shape[4]
    sides = [(int(height), int(width)) for height, width in torch.as_tensor(spatial_shapes).tolist()]
    if sampling_locations.shape != (batch, queries, heads, levels, points, 2) or len(sides) != levels:
        raise ValueError(f"sampling_locations {tuple(sampling_locations.shape)} do not fit {levels} levels of value")
    if attention_weights.shape != sampling_locations.shape[:-1]:
        raise ValueError(f"attention_weights {tuple(attention_weights.shape)} do not fit the sampling locations")
    if sum(height * width for height, width in sides) != total:
        raise ValueError(f"spatial_shapes {sides} do not add up to {total} places")

    maps = value.permute(0, 2, 3, 1).flatten(0, 1)  # [N * M, D, S]
    grid = (2 * sampling_locations - 1).transpose(1, 2).flatten(0, 1)  # [N * M, Q, L, P, 2] in [-1, 1]
    weights = attention_weights.transpose(1, 2).flatten(0, 1)  # [N * M, Q, L, P]
    result = maps.new_zeros(batch * heads, depth, queries)
    start = 0
    for level, (height, width) in enumerate(sides):
        stop = start + height * width
        picture = maps[..., start:stop].unflatten(-1, (height, width))
        sampled = functional.grid_sample(
            picture, grid[:, :, level], mode="bilinear", padding_mode="zeros", align_corners=False
        )  # [N * M, D, Q, P]
        result = result + (sampled * weights[:, None, :, level]).sum(-1)
        start = stop
    return result.unflatten(0, (batch, heads)).permute(0, 3, 1, 2).flatten(2)
