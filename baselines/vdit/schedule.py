"""Training recipes: the supplement's schedules, and the released code's rule for learning rates beside them."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from baselines.vdit.matcher import MATCHING_MASKS
from baselines.vdit.noise import timestep_of
from refvps.errors import InputError, UsageError

RECIPES = Path(__file__).parent / "recipes"
VAE = ("mode", "sample")


@dataclass(frozen=True)
class Recipe:
    """One training run.

    ``drops`` are epochs, counted from 0, from which on both rates are a tenth of what they were: with a drop at
    6, epochs 0 to 5 have the full rate. ``text_rate`` is RoBERTa's; 0 freezes it. With ``rate_for_gpus`` above 0
    the learning rate is ``rate * gpus / rate_for_gpus``, as in the released code. ``frames`` of a clip are seen at a
    time; the short side is drawn from ``sides`` unless they are empty, the long one is at most ``longest``;
    ``reversed_share`` of the clips run backwards and ``flipped_share`` are mirrored.
    """

    name: str
    epochs: int
    rate: float
    drops: tuple[int, ...] = ()
    text_rate: float = 0.0
    rate_for_gpus: int = 0
    gpus: int = 1
    frames: int = 5
    batch: int = 1
    weight_decay: float = 5e-4
    clip_norm: float = 0.1
    matching_masks: str = "final"
    noise_step: int = 1
    vae: str = "mode"
    sides: tuple[int, ...] = (288, 320, 352, 392, 416, 448, 480, 512)
    longest: int = 640
    reversed_share: float = 0.3
    flipped_share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [
            f"{name} = {getattr(self, name)!r}"
            for name in ("epochs", "rate", "frames", "batch", "longest", "clip_norm", "gpus")
            if not getattr(self, name) > 0
        ]
        choices = (("matching_masks", MATCHING_MASKS), ("vae", VAE))
        problems += [f"{name} = {getattr(self, name)!r}" for name, words in choices if getattr(self, name) not in words]
        if list(self.drops) != sorted(set(self.drops)) or any(not 0 < drop < self.epochs for drop in self.drops):
            problems.append(f"drops = {list(self.drops)} in {self.epochs} epochs")
        if problems:
            raise UsageError("A recipe cannot be used.", where=problems, fix="see the recipes beside schedule.py")
        timestep_of(self.noise_step)

    def rates(self, epoch: int) -> tuple[float, float]:
        """Learning rates (all but the text encoder, text encoder) in an epoch, from 0."""
        share = 0.1 ** sum(epoch >= drop for drop in self.drops)
        if self.rate_for_gpus:
            share *= self.gpus / self.rate_for_gpus
        return self.rate * share, self.text_rate * share


def recipe_names() -> list[str]:
    """Names of the recipes that come along."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def read_recipe(name: str | Path, **changes: Any) -> Recipe:
    """A recipe by name, or of a TOML file, with some fields changed.

    Raises UsageError for an unknown name or field and InputError for a file that is not TOML.
    """
    path = RECIPES / f"{name}.toml" if str(name) in recipe_names() else Path(name)
    if not path.is_file():
        raise UsageError("There is no such recipe.", where=[str(name)], fix=f"use one of {', '.join(recipe_names())}")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError("A recipe is not valid TOML.", where=[f"{path}: {error}"], fix="correct the line") from error
    values |= changes
    known = {each.name: each.type for each in fields(Recipe)}
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise UsageError(
                "A recipe has a field that does not exist.",
                where=[f"{path}: {key}"],
                fix=f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}",
            )
    try:
        return Recipe(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except TypeError as error:
        raise UsageError("A recipe is incomplete or of wrong types.", where=[f"{path}: {error}"]) from error
