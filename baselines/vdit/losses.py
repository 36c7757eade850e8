"""The losses of VD-IT (supplement, equation 1), and boxes of masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from baselines.vdit.model import Outputs
from refvps.errors import InputError

WEIGHTS = {"class": 2.0, "l1": 5.0, "giou": 2.0, "focal": 2.0, "dice": 5.0, "focal_low": 2.0, "dice_low": 5.0}
"""Lambdas of equation 1: both masks 2 (focal) and 5 (dice), boxes 5 (L1) and 2 (GIoU), score 2."""

ALPHA, GAMMA = 0.25, 2.0


@dataclass(frozen=True)
class Targets:
    """The truth of a batch, one target a clip.

    ``masks`` float {0, 1} [B, T, H, W] at the (padded) input's size, ``boxes`` [B, T, 4] as (x, y, w, h) shares of the
    image, zeros where nothing is visible, ``visible`` bool [B, T].
    """

    masks: Tensor
    boxes: Tensor
    visible: Tensor


def make_targets(masks: Tensor, padding: Tensor) -> Targets:
    """Targets of bool ``masks`` [B, T, H, W] and ``padding`` bool [B, H, W]; raises InputError for other sizes."""
    if masks.shape[-2:] != padding.shape[-2:]:
        raise InputError(
            "Masks and input differ in size.",
            where=[f"{tuple(masks.shape[-2:])} and {tuple(padding.shape[-2:])}"],
            fix="pad the masks as the frames are",
        )
    inside = ~padding
    size = torch.stack([inside[:, 0].sum(1), inside[:, :, 0].sum(1)], dim=-1).float()
    return Targets(masks.float(), mask_boxes(masks) / torch.cat([size, size], dim=-1)[:, None], masks.any(-1).any(-1))


def mask_boxes(masks: Tensor) -> Tensor:
    """Tight boxes (centre x, centre y, width, height) in pixels, float32 [..., 4], of bool ``masks`` [..., H, W]."""
    found = []
    for line in (masks.any(-2), masks.any(-1)):
        places = torch.arange(line.shape[-1], device=masks.device).expand_as(line)
        first = places.masked_fill(~line, line.shape[-1]).amin(-1)
        end = places.masked_fill(~line, -1).amax(-1) + 1
        found.append((first.float(), end.float()))
    (left, right), (top, bottom) = found
    boxes = torch.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], dim=-1)
    return boxes.masked_fill(~masks.any(-1).any(-1)[..., None], 0.0)


def corners(boxes: Tensor) -> Tensor:
    """(centre x, centre y, width, height) to (left, top, right, bottom), [..., 4]."""
    return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], dim=-1)


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """GIoU [...] of boxes (centre x, centre y, width, height) [..., 4], in [-1, 1].

    Rezatofighi et al., CVPR 2019: IoU less the share of the smallest enclosing box that belongs to neither.
    """
    a, b = corners(first), corners(second)
    area = first[..., 2:].prod(-1), second[..., 2:].prod(-1)
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    around = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    union = area[0] + area[1] - shared
    tiny = torch.finfo(union.dtype).tiny
    return shared / union.clamp(min=tiny) - (around - union) / around.clamp(min=tiny)


def focal(logits: Tensor, truth: Tensor) -> Tensor:
    """Focal loss of each element (Lin et al., ICCV 2017), alpha 0.25, gamma 2."""
    share = logits.sigmoid()
    right = share * truth + (1 - share) * (1 - truth)
    weight = ALPHA * truth + (1 - ALPHA) * (1 - truth)
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return weight * (1 - right) ** GAMMA * entropy


def dice_coefficient(logits: Tensor, truth: Tensor) -> Tensor:
    """Smoothed dice coefficient over the last axis: (2 |PG| + 1) / (|P| + |G| + 1)."""
    share = logits.sigmoid()
    return (2 * (share * truth).sum(-1) + 1) / (share.sum(-1) + truth.sum(-1) + 1)


def half(masks: Tensor) -> Tensor:
    """Every second pixel of ``masks`` [..., H, W], from the second on: the truth of the masks at half resolution."""
    return masks[..., 1::2, 1::2]


def layer_losses(
    outputs: Outputs, layer: int, chosen: Tensor, refined: Tensor, targets: Targets, count: float
) -> dict[str, Tensor]:
    """The seven unweighted losses of one decoder layer, each a scalar summed over clips and divided by ``count``.

    ``chosen`` [B] is the query matched to the target, ``refined`` [B, T, H, W] its full-resolution logits and
    ``count`` the number of frames in which a target is visible (at least 1). The score's focal loss is the
    sum over all queries and frames, boxes are compared in every frame (an invisible target's box is zero), masks'
    focal loss is a mean over a clip's pixels; so it is in ReferFormer, which all methods of the line follow.
    """
    clips = torch.arange(len(chosen), device=chosen.device)
    logits = outputs.logits[layer]
    truth = torch.zeros_like(logits)
    truth[clips, :, chosen] = targets.visible.float()
    boxes = outputs.boxes[layer][clips, :, chosen]
    low, full = outputs.low[layer][clips, :, chosen].flatten(1), refined.flatten(1)
    low_truth, full_truth = half(targets.masks).flatten(1), targets.masks.flatten(1)
    losses = {
        "class": focal(logits, truth).sum(),
        "l1": (boxes - targets.boxes).abs().sum(),
        "giou": (1 - generalised_iou(boxes, targets.boxes)).sum(),
        "focal": focal(full, full_truth).mean(1).sum(),
        "dice": (1 - dice_coefficient(full, full_truth)).sum(),
        "focal_low": focal(low, low_truth).mean(1).sum(),
        "dice_low": (1 - dice_coefficient(low, low_truth)).sum(),
    }
    return {name: loss / count for name, loss in losses.items()}


def total_loss(
    outputs: Outputs,
    targets: Targets,
    match: Callable[[Outputs, int, Targets], Tensor],
    refine: Callable[[Outputs, Tensor], Tensor],
) -> tuple[Tensor, dict[str, float]]:
    """Equation 1 summed over the decoder layers, each matched on its own, and its parts unweighted, summed likewise.

    ``match`` gives the query [B] of a layer (:func:`baselines.vdit.matcher.match` with its choice of masks bound),
    ``refine`` the model's refinement.
    """
    count = max(1.0, float(targets.visible.sum()))
    clips = torch.arange(len(targets.masks), device=targets.masks.device)
    total, parts = outputs.logits.new_zeros(()), dict.fromkeys(WEIGHTS, 0.0)
    for layer in range(len(outputs.logits)):
        chosen = match(outputs, layer, targets)
        refined = refine(outputs, outputs.patches[layer][clips, :, chosen])
        for name, loss in layer_losses(outputs, layer, chosen, refined, targets, count).items():
            total = total + WEIGHTS[name] * loss
            parts[name] += float(loss.detach())
    return total, parts
