"""Training of VD-IT in one process: clips drawn, resized and mirrored, the seven losses, AdamW, resume by epoch."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from baselines.vdit.checkpoint import write_head
from baselines.vdit.losses import make_targets, total_loss
from baselines.vdit.matcher import match
from baselines.vdit.model import Frozen, VdIt, look_at
from baselines.vdit.schedule import Recipe
from refvps.errors import InputError, UsageError

SCHEMA = "baselines.vdit.training/1"
STATE = "training.pt"
HEAD = "head.safetensors"


@dataclass(frozen=True)
class Sample:
    """One clip with one sentence: ``frames`` uint8 [T, H, W, 3], ``masks`` bool [T, H, W], ``text``."""

    frames: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    text: str


@dataclass(frozen=True)
class TrainResult:
    """``losses``: mean loss of each epoch; ``head``: the trained part as the predictor loads it."""

    losses: tuple[float, ...]
    head: Path


def train(
    recipe: Recipe,
    model: VdIt,
    frozen: Frozen,
    dataset: Sequence[Any],
    out: Path,
    *,
    resume: bool = False,
    after_epoch: Callable[[int, float], None] | None = None,
) -> TrainResult:
    """Train ``model`` in place and write ``out/head.safetensors``.

    ``dataset`` items are mappings with frames uint8 [T, H, W, 3], masks bool [T, H, W] and text, read when needed. A
    state is written after every epoch; ``resume`` goes on from it, and the result is then the same as in one
    run. ``after_epoch`` gets the epoch and its mean loss. Raises UsageError when ``out`` holds another
    recipe's state, or any without ``resume``, InputError for an unusable item.
    """
    if model.timestep != recipe.noise_step - 1:
        raise UsageError(
            "Model and recipe differ in the noise step.",
            where=[f"model {model.timestep + 1}, recipe {recipe.noise_step}"],
            fix="build the model with the recipe's noise_step",
        )
    if len(dataset) < recipe.batch:
        raise UsageError("There are fewer samples than a batch has.", where=[f"{len(dataset)} and {recipe.batch}"])
    device = model.query_tensors.device
    optimizer = make_optimizer(recipe, model)
    losses = _resume(recipe, model, optimizer, out, resume)
    for epoch in range(len(losses), recipe.epochs):
        for group, rate in zip(optimizer.param_groups, recipe.rates(epoch), strict=False):
            group["lr"] = rate
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(_seed(recipe.seed, epoch, 0))  # dropout
            losses.append(_epoch(recipe, model, frozen, optimizer, dataset, epoch))
        _save(recipe, model, optimizer, out, losses)
        if after_epoch is not None:
            after_epoch(epoch, losses[-1])
    model.eval()
    write_head(model, out / HEAD)
    return TrainResult(tuple(losses), out / HEAD)


def make_optimizer(recipe: Recipe, model: VdIt) -> torch.optim.AdamW:
    """AdamW over all but RoBERTa, and over RoBERTa as a group of its own unless its rate is 0, which freezes it."""
    texts = [name for name, _ in model.named_parameters() if name.startswith("roberta.")]
    model.requires_grad_(True)
    if model.roberta is not None:
        model.roberta.requires_grad_(recipe.text_rate > 0)
    parameters = dict(model.named_parameters())
    rate, text_rate = recipe.rates(0)
    groups = [{"params": [each for name, each in parameters.items() if name not in texts], "lr": rate}]
    if recipe.text_rate > 0:
        groups.append({"params": [parameters[name] for name in texts], "lr": text_rate})
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def _epoch(
    recipe: Recipe, model: VdIt, frozen: Frozen, optimizer: torch.optim.Optimizer, dataset: Sequence[Any], epoch: int
) -> float:
    """One pass over the data in an order of its own; the last incomplete batch is dropped. The mean loss."""
    model.train()
    if model.roberta is not None and recipe.text_rate == 0:
        model.roberta.eval()
    order = np.random.default_rng(_seed(recipe.seed, epoch, 1)).permutation(len(dataset))
    total, steps = 0.0, len(dataset) // recipe.batch
    for step in range(steps):
        chosen = [int(k) for k in order[step * recipe.batch : (step + 1) * recipe.batch]]
        samples = [
            draw_sample(recipe, dataset[k], np.random.default_rng(_seed(recipe.seed, epoch, 2 + k))) for k in chosen
        ]
        generator = None
        if recipe.vae == "sample":
            generator = torch.Generator().manual_seed(_seed(recipe.seed, epoch, -1 - step))
        loss = _loss(recipe, model, frozen, samples, generator)
        if not torch.isfinite(loss):
            raise InputError(
                "The loss is not finite.", where=[f"epoch {epoch}, samples {chosen}"], fix="lower the rate"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], recipe.clip_norm)
        optimizer.step()
        total += float(loss.detach())
    return total / steps


def _loss(
    recipe: Recipe, model: VdIt, frozen: Frozen, samples: Sequence[Sample], generator: torch.Generator | None
) -> torch.Tensor:
    clip = look_at(frozen, [each.frames for each in samples], device=model.query_tensors.device, generator=generator)
    masks = torch.zeros(len(samples), recipe.frames, *clip.padding.shape[1:], dtype=torch.bool)
    for number, each in enumerate(samples):
        masks[number, :, : each.masks.shape[1], : each.masks.shape[2]] = torch.from_numpy(each.masks)
    targets = make_targets(masks.to(clip.padding.device), clip.padding)
    outputs = model(frozen, clip, [each.text for each in samples])
    matching = partial(match, masks=recipe.matching_masks, refine=model.refine)
    return total_loss(outputs, targets, matching, model.refine)[0]


def draw_sample(recipe: Recipe, item: Any, generator: np.random.Generator) -> Sample:
    """Frames of an item, perhaps backwards, perhaps mirrored, at a size drawn from the recipe's.

    A mirrored sentence has "left" and "right" swapped. Raises InputError for an item of wrong types or shapes.
    """
    frames, masks, text = np.asarray(item["frames"]), np.asarray(item["masks"]), item["text"]
    if frames.dtype != np.uint8 or masks.dtype != np.bool_ or frames.shape[:3] != masks.shape or not len(masks):
        raise InputError(
            "A sample cannot be used.",
            where=[f"frames {frames.dtype} {frames.shape}, masks {masks.dtype} {masks.shape}: {text!r:.60}"],
            fix="give frames uint8 [T, H, W, 3] and masks bool [T, H, W]",
        )
    chosen = frame_choice(len(frames), recipe.frames, generator)
    if generator.random() < recipe.reversed_share:
        chosen = chosen[::-1]
    frames, masks = frames[chosen], masks[chosen]
    if generator.random() < recipe.flipped_share:
        frames, masks = frames[:, :, ::-1], masks[:, :, ::-1]
        text = re.sub(r"\b(left|right)\b", lambda word: "right" if word[0] == "left" else "left", text)
    if recipe.sides:
        size = fit(frames.shape[1:3], int(generator.choice(recipe.sides)), recipe.longest)
        frames, masks = resize_frames(frames, size), resize_masks(masks, size)
    return Sample(np.ascontiguousarray(frames), np.ascontiguousarray(masks), " ".join(text.lower().split()))


def frame_choice(length: int, count: int, generator: np.random.Generator) -> list[int]:
    """``count`` of ``length`` frames in order: up to three close together, the rest from anywhere else.

    Neighbours are one to three frames away on each side; a video that is too short gives frames more than once.
    """
    centre = int(generator.integers(length))
    before, after = (int(each) for each in generator.integers(1, 4, size=2))
    near = [centre, max(0, centre - before), min(length - 1, centre + after)][:count]
    others = [k for k in range(length) if k not in near]
    rest = count - len(near)
    if len(others) >= rest:
        far = generator.choice(others, rest, replace=False) if rest else []
    else:
        far = [*others, *generator.integers(length, size=rest - len(others))]
    return sorted([*near, *(int(k) for k in far)])


def fit(size: tuple[int, int], short: int, longest: int) -> tuple[int, int]:
    """Height and width with the short side ``short``, or less where the long one would pass ``longest``."""
    low, high = min(size), max(size)
    scale = min(short / low, longest / high)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resize_frames(frames: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Frames [T, H, W, 3] at ``size`` (height, width): bilinear, antialiased, on 8 bits."""
    pictures = [Image.fromarray(frame).resize(size[::-1], Image.Resampling.BILINEAR) for frame in frames]
    return np.stack([np.asarray(picture) for picture in pictures])


def resize_masks(masks: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Masks [T, H, W] at ``size`` (height, width), nearest."""
    pictures = [Image.fromarray(mask.astype(np.uint8)).resize(size[::-1], Image.Resampling.NEAREST) for mask in masks]
    return np.stack([np.asarray(picture) > 0 for picture in pictures])


def _seed(*parts: int) -> int:
    """A seed below 2**63 from whole numbers."""
    words = np.random.SeedSequence([part % (1 << 32) for part in parts]).generate_state(2, np.uint32)
    return int(words[0]) << 31 | int(words[1]) >> 1


def _save(recipe: Recipe, model: VdIt, optimizer: torch.optim.Optimizer, out: Path, losses: list[float]) -> None:
    """Write the state after an epoch so that ``out`` holds either the old one or the whole new one."""
    out.mkdir(parents=True, exist_ok=True)
    temporary = out / f".{STATE}.{secrets.token_hex(6)}.tmp"
    state = {
        "schema": SCHEMA, "recipe": asdict(recipe), "config": asdict(model.config), "losses": losses,
        "model": model.state_dict(), "optimizer": optimizer.state_dict(),
    }  # fmt: skip
    try:
        torch.save(state, temporary)
        os.replace(temporary, out / STATE)
    finally:
        temporary.unlink(missing_ok=True)


def _resume(recipe: Recipe, model: VdIt, optimizer: torch.optim.Optimizer, out: Path, resume: bool) -> list[float]:
    """Load the state in ``out`` if there is one; the losses of the epochs done."""
    path = out / STATE
    if not path.exists():
        return []
    if not resume:
        raise UsageError("This folder holds a run.", where=[str(path)], fix="resume it, or give another folder")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        known = (state["schema"], state["recipe"], state["config"])
    except Exception as error:  # a damaged file fails in many ways
        raise InputError(
            "A training state cannot be read.", where=[f"{path}: {error}"[:300]], fix="start again"
        ) from error
    if known != (SCHEMA, asdict(recipe), asdict(model.config)):
        raise UsageError(
            "A run cannot go on with another recipe or model.",
            where=[f"{path}: made by {state['recipe'].get('name')!r}"],
            fix="give the recipe of the run, or another folder",
        )
    model.load_state_dict(state["model"], strict=True)
    optimizer.load_state_dict(state["optimizer"])
    return list(state["losses"])
