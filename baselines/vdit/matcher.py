"""Which of the queries answers for the target: the one of least cost (supplement, equation 2).

A clip has one target, so the Hungarian assignment is a minimum.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.vdit.losses import ALPHA, GAMMA, WEIGHTS, Targets, dice_coefficient, focal, generalised_iou, half
from baselines.vdit.model import Outputs
from refvps.errors import UsageError

MATCHING_MASKS = ("final", "low")
"""The supplement matches on the final masks; the released code on those at half resolution."""


@torch.no_grad()
def costs(
    outputs: Outputs, layer: int, targets: Targets, masks: str, refine: Callable[[Outputs, Tensor], Tensor]
) -> Tensor:
    """Cost [B, Q] of each query for the target of its clip, in one decoder layer.

    The score's cost is averaged over the frames in which the target is visible (0 if there is none), the boxes' over
    all frames, the masks' over all pixels of the clip. ``masks`` is one of :data:`MATCHING_MASKS`; "final" refines
    every query with ``refine``. Raises :class:`~refvps.errors.UsageError` for any other.
    """
    if masks not in MATCHING_MASKS:
        raise UsageError("There are no such masks to match.", where=[masks], fix="use 'final' or 'low'")
    share = outputs.logits[layer].sigmoid()
    right = ALPHA * (1 - share) ** GAMMA * -(share + 1e-8).log()
    wrong = (1 - ALPHA) * share**GAMMA * -(1 - share + 1e-8).log()
    seen = targets.visible[..., None].float()
    score = ((right - wrong) * seen).sum(1) / seen.sum(1).clamp(min=1)

    boxes, truth = outputs.boxes[layer], targets.boxes[:, :, None]
    apart = (boxes - truth).abs().sum(-1).mean(1)
    overlap = generalised_iou(boxes, truth.expand_as(boxes)).mean(1)

    if masks == "low":
        logits, picture = outputs.low[layer], half(targets.masks)
    else:
        queries = outputs.patches.shape[3]
        logits = torch.stack([refine(outputs, outputs.patches[layer][:, :, q]) for q in range(queries)], dim=2)
        picture = targets.masks
    flat = logits.transpose(1, 2).flatten(2)  # [B, Q, T * h * w]
    pixels = picture.flatten(1)[:, None].expand_as(flat)
    return (
        WEIGHTS["class"] * score
        + WEIGHTS["l1"] * apart
        - WEIGHTS["giou"] * overlap
        + WEIGHTS["focal"] * focal(flat, pixels).mean(-1)
        - WEIGHTS["dice"] * dice_coefficient(flat, pixels)
    )


def match(
    outputs: Outputs, layer: int, targets: Targets, masks: str, refine: Callable[[Outputs, Tensor], Tensor]
) -> Tensor:
    """The query [B] of least :func:`costs`; the first of several."""
    return costs(outputs, layer, targets, masks, refine).argmin(1)
