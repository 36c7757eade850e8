"""Memory and time of a training step, and the hours a recipe takes with it (paper, Table D)."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch.nn.functional import mse_loss

from rem.backbones.base import Backbone
from rem.bench.inference import peak_gb, reset_peak
from rem.parameters import clamp_gradients, decay_groups, freeze
from rem.train.mixture import PUBLISHED
from rem.train.recipe import Recipe, read_recipe

DEVICES = 4
"""GPUs of the paper, over which the samples of a step are divided."""
PAPER_HOURS, PAPER_GB = 174.0, 61.8
"""The paper's Table D."""


def measure_training(backbone: Backbone, size: tuple[int, int], *, steps: int = 5) -> dict[str, Any]:
    """Both stages of the paper's recipe on ``backbone``, float32, one sample per step and device, no data loading.

    Hours are projected for the published number of samples, on :data:`DEVICES` such devices and on one. The
    denoiser is left trained a little.
    """
    stages = {name: _stage(backbone, read_recipe(name), size, steps) for name in ("stage1", "stage2")}
    seconds = sum(stage["samples"] * stage["seconds_per_sample"] for stage in stages.values())
    return {
        "stages": stages,
        "peak_gb": max((stage["peak_gb"] or 0.0) for stage in stages.values()),
        "device_hours": seconds / 3600,
        "hours": seconds / 3600 / DEVICES,
        "devices": DEVICES,
        "paper": {"hours": PAPER_HOURS, "peak_gb": PAPER_GB, "devices": "4 A100"},
    }


def samples_of(recipe: Recipe) -> float:
    """Samples a recipe uses in all, with data sets of their published sizes; raises KeyError for an unknown one."""
    sets = [*recipe.images, *recipe.pseudo]
    drawn = sum(min(recipe.per_set, PUBLISHED[name]) if recipe.per_set else PUBLISHED[name] for name in sets)
    return recipe.epochs * (drawn + sum(PUBLISHED[name] for name in recipe.videos))


def _stage(backbone: Backbone, recipe: Recipe, size: tuple[int, int], steps: int) -> dict[str, Any]:
    device, denoiser = backbone.device, backbone.denoiser
    trained = freeze(denoiser, recipe.trained)
    optimizer = torch.optim.AdamW(decay_groups(denoiser.named_parameters(), recipe.weight_decay), lr=recipe.lr)
    hooks = clamp_gradients(denoiser.parameters(), recipe.clamp) if recipe.clamp else []
    generator = torch.Generator().manual_seed(0)
    shape = (1, 3, recipe.frames, *size)
    pixels = (torch.rand(shape, generator=generator) * 2 - 1).to(device)
    masks = (torch.rand(shape, generator=generator) > 0.5).float().to(device)
    denoiser.train()
    spent = []
    reset_peak(device)
    for _ in range(steps + 1):
        begun = time.perf_counter()
        latents, target = backbone.encode(pixels), backbone.encode(masks)
        noise = torch.randn(latents.shape, generator=generator).to(device) if backbone.noise else None
        prediction = backbone.denoise(backbone.shift(latents, noise), backbone.embed(["the smoke"]))
        mse_loss(prediction, target).backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent.append(time.perf_counter() - begun)
    for hook in hooks:
        hook.remove()
    denoiser.requires_grad_(False).eval()
    return {
        "frames": recipe.frames,
        "trained": trained,
        "samples": samples_of(recipe),
        "seconds_per_sample": statistics.median(spent[1:]),  # the first one makes the optimiser's state
        "peak_gb": peak_gb(device),
    }
