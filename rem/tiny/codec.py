"""The autoencoder of rem-tiny: trained once on pictures and masks of training clips, frozen ever after."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rem.tiny import model, objects

SEED = 900
"""Seed of the autoencoder's pictures, one of objects.TRAINING_SEEDS, used for nothing else."""


def pictures(number: int, *, side: int = model.SIDE, seed: int = SEED) -> tuple[Tensor, Tensor]:
    """Single frames [N, 3, side, side] in [-1, 1] and masks [N, 3, side, side] in {0, 1}."""
    scenes = [objects.scene(seed, k, frames=1, side=side) for k in range(number)]
    frames = torch.from_numpy(np.stack([scene.frames[0] for scene in scenes])).permute(0, 3, 1, 2)
    masks = torch.from_numpy(np.stack([scene.masks[0, 0] for scene in scenes]))
    return frames.float() / 127.5 - 1, masks[:, None].float().expand(-1, 3, -1, -1)


def train(*, steps: int = 1500, batch: int = 12, number: int = 3000, seed: int = 0) -> Any:
    """An autoencoder that restores pictures and masks; its latents are scaled to a standard deviation of 1.

    Half of each batch are masks in {0, 1}, which is how the segmenter will show them (not in [-1, 1]).
    """
    frames, masks = pictures(number)
    vae = model.autoencoder(seed=seed).train()
    optimiser = torch.optim.AdamW(vae.parameters(), lr=2e-3, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randint(number, (batch,), generator=generator)
        shown = torch.cat([frames[chosen[: batch // 2]], masks[chosen[batch // 2 :]]])
        posterior = vae.encode(shown).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator)
        restored = vae.decode(posterior.mean + posterior.std * noise).sample
        loss = functional.mse_loss(restored, shown) + 0.1 * functional.l1_loss(restored, shown)
        loss = loss + 1e-5 * posterior.kl().mean() / posterior.mean[0].numel() * 16
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    vae = vae.eval().requires_grad_(False)
    with torch.no_grad():
        spread = torch.cat([vae.encode(part).latent_dist.mode() for part in frames[:256].split(32)]).std()
    vae.register_to_config(scaling_factor=round(1 / float(spread), 4))
    return vae


@torch.no_grad()
def ceiling(vae: Any, *, number: int = 200, seed: int = SEED + 1) -> float:
    """Mean IoU of masks with their own decoded latents: no prediction can be expected to do better."""
    _, masks = pictures(number, seed=seed)
    restored = torch.cat([vae.decode(vae.encode(part).latent_dist.mode()).sample for part in masks.split(32)])
    found, true = restored.mean(1) > 0.5, masks[:, 0] > 0.5
    return float(((found & true).sum((1, 2)) / (found | true).sum((1, 2)).clamp(min=1)).mean())
