"""Stands in for the compiled operator of Deformable DETR, on which ReferFormer, MUTR, SgMg, VD-IT and UNINEXT rely.

Put the folder of this file on PYTHONPATH: ``import MultiScaleDeformableAttention`` finds it, and nothing needs to be
compiled. It needs PyTorch alone and runs on any device, from Python 3.7 on. Frames are the batch; the compiled operator
stops unless their number is a multiple of ``im2col_step`` or smaller, this one takes any number and uses the step as
the number of frames worked on at once, which bounds the memory and changes no value.

Zhu et al., Deformable DETR (ICLR 2021), equation 3.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def ms_deform_attn_forward(
    value, value_spatial_shapes, value_level_start_index, sampling_locations, attention_weights, im2col_step
):
    """Weighted sums of bilinear samples of all levels, [N, Q, M * D], in the type of ``value``.

    ``value`` [N, S, M, D]: the levels one after the other, row by row. ``value_spatial_shapes`` int [L, 2]: height and
    width of each, ``value_level_start_index`` int [L]: where it starts among S. ``sampling_locations``
    [N, Q, M, L, P, 2]: (x, y), where 0 and 1 are the outer edges of a level; zeros lie outside.
    ``attention_weights`` [N, Q, M, L, P].
    """
    step = max(1, int(im2col_step))
    parts = []
    for first in range(0, value.shape[0], step):
        own = slice(first, first + step)
        given = value[own], sampling_locations[own], attention_weights[own]
        parts.append(_forward(given[0], value_spatial_shapes, value_level_start_index, given[1], given[2]))
    return torch.cat(parts)


def ms_deform_attn_backward(
    value,
    value_spatial_shapes,
    value_level_start_index,
    sampling_locations,
    attention_weights,
    grad_output,
    im2col_step,
):
    """Gradients [of value, of sampling_locations, of attention_weights] for ``grad_output`` [N, Q, M * D]."""
    with torch.enable_grad():
        leaves = [each.detach().requires_grad_() for each in (value, sampling_locations, attention_weights)]
        result = ms_deform_attn_forward(
            leaves[0], value_spatial_shapes, value_level_start_index, leaves[1], leaves[2], im2col_step
        )
        return list(torch.autograd.grad(result, leaves, grad_output.to(result.dtype)))


def _forward(value, shapes, starts, locations, weights):
    count, _, heads, depth = value.shape
    queries = locations.shape[1]
    kind = torch.promote_types(value.dtype, locations.dtype)  # under autocast they differ
    maps = value.to(kind).permute(0, 2, 3, 1)  # [N, M, D, S]
    grid = 2 * locations.to(kind) - 1
    total = torch.zeros((count, heads, depth, queries), dtype=kind, device=value.device)
    for level, ((height, width), start) in enumerate(zip(shapes.tolist(), starts.tolist())):  # noqa: B905 (3.7)
        picture = maps[..., start : start + height * width].reshape(count * heads, depth, height, width)
        places = grid[:, :, :, level].transpose(1, 2).flatten(0, 1)  # [N * M, Q, P, 2]
        found = functional.grid_sample(picture, places, mode="bilinear", padding_mode="zeros", align_corners=False)
        shares = weights[:, :, :, level].to(kind).transpose(1, 2).flatten(0, 1)  # [N * M, Q, P]
        total = total + (found * shares[:, None]).sum(-1).reshape(total.shape)
    return total.permute(0, 3, 1, 2).flatten(2).to(value.dtype)
