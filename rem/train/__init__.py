"""Training of REM in two stages (paper, section C).

``run`` is what ``rem train`` calls: it loads what a recipe names and trains. Importing this package imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rem.train.recipe import Recipe, changed, read_recipe, recipe_of, shipped

if TYPE_CHECKING:
    from rem.backbones.base import Backbone
    from rem.train.loop import TrainResult

__all__ = ["Recipe", "changed", "read_recipe", "recipe_of", "run", "shipped"]


def run(
    recipe: Recipe,
    *,
    out: Path | str,
    backbone: Backbone | None = None,
    dataset: Any = None,
    resume: bool = False,
    progress: Callable[[int, int, Mapping[str, float]], None] | None = None,
) -> TrainResult:
    """Train by a recipe and write checkpoints and logs below ``out``; see :func:`rem.train.loop.train`.

    ``backbone`` and ``dataset`` replace what the recipe's ``base`` and data folders name. Under ``accelerate launch``
    every process calls this with the same arguments. Raises DataMissingError for models or data that are not here,
    UsageError for a recipe that does not fit, InputError for files that cannot be used.
    """
    import torch

    from rem.backbones import load_backbone
    from rem.checkpoints import load_strict, read_state
    from rem.heads import build_head
    from rem.train.loop import train
    from rem.train.mixture import mixture
    from rem.train.sampling import seed_of
    from rem.train.snapshots import latest_snapshot
    from rem.train.validation import benchmark_scores

    data = mixture(recipe) if dataset is None else dataset
    latest_snapshot(Path(out), recipe.identity(), len(data), resume=resume)  # refuses before gigabytes are read
    validate = benchmark_scores(recipe, recipe.benchmark) if recipe.validate_every else None
    if backbone is None:
        _check_base(recipe)
        backbone = load_backbone(recipe.backbone, recipe.base, dtype=torch.float32)
    if recipe.start:
        load_strict(backbone.denoiser, read_state(recipe.start), recipe.start)
    head = None
    if recipe.decoder != "vae":
        head = build_head(recipe.decoder, backbone.denoiser, seed=seed_of(recipe.seed, "head"))
    return train(recipe, backbone, data, Path(out), decoder=head, resume=resume, validate=validate, progress=progress)


def _check_base(recipe: Recipe) -> None:
    from refvps.errors import DataMissingError

    if not recipe.base:
        raise DataMissingError(
            "A recipe does not say where its pretrained model is.",
            where=[f"{recipe.name}: base is empty"],
            fix="give a folder in diffusers' layout or a repository, for example rem train --base DIR",
        )
