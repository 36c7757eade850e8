"""Noise prediction: VD-IT replaces Gaussian noise by noise computed from the latents themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from refvps.errors import UsageError

STEPS = (1, 5, 10, 50, 100)
"""The steps of the supplement's Table B; step 1 is the method's own."""


def timestep_of(step: int) -> int:
    """The scheduler's timestep of a step of Table B: ``step - 1``.

    The released code adds noise at timestep 0 and the supplement calls its best row "Step 1", so steps count from
    1 and timesteps from 0. That the other rows follow the same rule is our reading; the paper does not say.
    Raises :class:`~refvps.errors.UsageError` outside 1 to 1000.
    """
    if not 1 <= step <= 1000:
        raise UsageError(
            "The noise step is out of range.", where=[str(step)], fix="use 1 to 1000; Table B has 1 to 100"
        )
    return step - 1


def signal_shares(scheduler: Any) -> Tensor:
    """Cumulative products of alpha, float32 [steps], of a diffusers scheduler of any kind."""
    return scheduler.alphas_cumprod.detach().float().cpu()


def noise_layers() -> tuple[nn.Conv2d, nn.Sequential]:
    """The 180 trained numbers: a 3x3 convolution over 4 channels, then a perceptron 4-4-4 at every place."""
    perceptron = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False), nn.Sigmoid())
    return nn.Conv2d(4, 4, kernel_size=3, padding=1), perceptron


def predict_noise(latents: Tensor, convolution: nn.Module, perceptron: nn.Module) -> Tensor:
    """Noise [B, 4, T, h, w] for ``latents`` of that shape, standardised over each clip as a whole.

    The released code standardises over its whole batch, which holds one clip; so the result depends on the length
    of the clip but not on what else is in the batch.
    """
    frames = convolution(latents.transpose(1, 2).flatten(0, 1))
    noise = perceptron(frames.movedim(1, -1)).movedim(-1, 1)
    noise = noise.unflatten(0, (latents.shape[0], latents.shape[2])).transpose(1, 2)
    places = tuple(range(1, noise.dim()))
    return (noise - noise.mean(places, keepdim=True)) / (noise.std(places, keepdim=True) + 1e-5)


def add_noise(latents: Tensor, noise: Tensor, shares: Tensor, timestep: int) -> Tensor:
    """Forward diffusion to ``timestep`` in float32: sqrt(a) * latents + sqrt(1 - a) * noise."""
    share = shares[timestep].to(latents.device)
    return torch.sqrt(share) * latents.float() + torch.sqrt(1 - share) * noise.float()
