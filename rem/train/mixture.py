"""Several data sets as one, the draw of a fixed subset, and what a sample becomes for the loop."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from refvps.errors import DataMissingError, InputError
from rem.frames import frame_pixels
from rem.masks import mask_pixels
from rem.train.recipe import Recipe
from rem.train.sampling import Key, seed_of

SUBSET_SEED = 42
"""Seed of the draws; the one the released code uses."""

PUBLISHED = {"refcoco": 120_624, "refcoco+": 120_191, "refcocog": 80_512, "ref-ytvos": 12_913}
"""Training samples (one per sentence) as published: RefCOCO and RefCOCO+ by UNC, RefCOCOg by UMD, Ref-YouTube-VOS."""


class Samples(Protocol):
    """A data set: its length, and a sample whose random choices follow from a seed."""

    def __len__(self) -> int: ...

    def draw(self, index: int, seed: int) -> Mapping[str, Any]:
        """Sample ``index``: frames uint8 [T, H, W, 3], masks bool [T, H, W], text."""


class Mixture:
    """Data sets one after the other. ``parts``: ranges of samples that steps take in turn."""

    def __init__(self, sets: Sequence[Samples], parts: Sequence[range], chosen: Sequence[Sequence[int]]) -> None:
        self.sets, self.parts = tuple(sets), tuple(parts)
        self._places = [(which, index) for which, indices in enumerate(chosen) for index in indices]

    def __len__(self) -> int:
        return len(self._places)

    def draw(self, index: int, seed: int) -> Mapping[str, Any]:
        """Sample ``index`` of all of them."""
        which, place = self._places[index]
        return self.sets[which].draw(place, seed)


def drawn(name: str, length: int, number: int) -> list[int]:
    """A fixed choice of ``number`` of the samples 1 to ``length`` - 1, in order.

    The rule: those whose SHA-256 of ``"<seed>/<name>/<index>"`` is smallest, with the seed 42. Sample 0 is never
    chosen, as in the released code, whose own choice came from the state of a generator and cannot be repeated.
    """
    if number >= length:
        raise InputError(
            "A data set has too few samples for the draw.",
            where=[f"{name}: {length:,} samples, {number:,} asked for, and sample 0 is never drawn"],
            fix="ask for fewer (per_set or total in the recipe)",
        )

    def rank(index: int) -> bytes:
        return hashlib.sha256(f"{SUBSET_SEED}/{name}/{index}".encode()).digest()

    return sorted(heapq.nsmallest(number, range(1, length), key=rank))


def shipped_draw(name: str) -> tuple[int, list[int]]:
    """A draw that comes with the package, of a set of RefCOCO or ``joint``: the published length, and the samples."""
    record = json.loads((files("rem") / "configs" / "subset-12k.json").read_text(encoding="utf-8"))["draws"][name]
    return int(record["samples"]), list(record["indices"])


def mixture(recipe: Recipe) -> Mixture:
    """The data of a recipe, from the folders it names; raises DataMissingError with the layout for what is missing."""
    from rem.train.refcoco import RefCoco
    from rem.train.refytb import RefYtb

    lacking = [name for name in ("refcoco", "coco") if (recipe.images or recipe.pseudo) and not getattr(recipe, name)]
    lacking += ["ytvos"] if recipe.videos and not recipe.ytvos else []
    if lacking:
        raise DataMissingError(
            "A recipe does not say where its data is.",
            where=[f"{recipe.name}: {name} is empty" for name in lacking],
            fix="give the folders, for example rem train --coco DIR --ytvos DIR",
        )
    sets: list[Samples] = []
    chosen: list[list[int]] = []
    for kind, listed in (("images", recipe.images), ("pseudo", recipe.pseudo), ("videos", recipe.videos)):
        for name in listed:
            if kind == "videos":
                made: Samples = RefYtb(Path(recipe.ytvos), recipe.frames)
            else:
                frames = 1 if kind == "images" else recipe.frames
                made = RefCoco(Path(recipe.refcoco), Path(recipe.coco), name, frames)
            sets.append(made)
            chosen.append(_of_set(recipe, name, len(made)))
    return joined(recipe, sets, chosen)


def joined(recipe: Recipe, sets: Sequence[Samples], chosen: Sequence[Sequence[int]]) -> Mixture:
    """The chosen samples of several data sets as the recipe mixes them."""
    picked = [list(each) for each in chosen]
    if recipe.total:
        flat = [(which, index) for which, indices in enumerate(picked) for index in indices]
        wanted = drawn("joint", len(flat), recipe.total)
        if recipe.published and (len(flat), wanted) != shipped_draw("joint"):
            raise _not_published([f"joint: {len(flat):,} samples"])
        picked = [[] for _ in sets]
        for at in wanted:
            picked[flat[at][0]].append(flat[at][1])
    count = sum(map(len, picked))
    parts = [range(count)]
    if recipe.mix == "alternate":
        images = sum(len(each) for each in picked[: len(recipe.images)])
        parts = [range(images), range(images, count)]
    return Mixture(sets, parts, picked)


def _of_set(recipe: Recipe, name: str, length: int) -> list[int]:
    """The samples of one data set that the recipe uses."""
    if recipe.published and length != PUBLISHED[name]:
        raise _not_published([f"{name}: {length:,} samples, published are {PUBLISHED[name]:,}"])
    if not recipe.per_set or name == "ref-ytvos":
        return list(range(length))
    found = drawn(name, length, recipe.per_set)
    if recipe.published and (length, found) != shipped_draw(name):
        raise _not_published([f"{name}: the draw of {recipe.per_set:,} is not the shipped list"])
    return found


def _not_published(where: list[str]) -> InputError:
    return InputError(
        "The data is not the published one that this recipe's fixed subset belongs to.",
        where=where,
        fix="get the published lists, or set published = false to draw from this data by the same rule",
    )


class Items:
    """Samples of a data set as tensors at the size of the network; what worker processes run."""

    def __init__(self, dataset: Any, size: tuple[int, int]) -> None:
        self.dataset, self.size = dataset, size

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """``frames`` float32 [3, T, h, w] in [-1, 1], ``masks`` float32 {0, 1} [3, T, h, w], ``text``, ``seed``."""
        index, seed = key
        draw = getattr(self.dataset, "draw", None)
        sample = draw(index, seed) if draw else self.dataset[index]
        frames, masks, text = sample["frames"], torch.as_tensor(sample["masks"]), sample["text"]
        pixels = self._pixels(frames)
        problem = ""
        if masks.ndim != 3 or masks.dtype != torch.bool:
            problem = f"masks are {masks.dtype} {list(masks.shape)}, not bool [T, H, W]"
        elif pixels.ndim != 4 or pixels.shape[0] != 3 or tuple(pixels.shape[2:]) != tuple(self.size):
            problem = f"frames are {list(pixels.shape)}, not [3, T, {self.size[0]}, {self.size[1]}]"
        elif len(masks) != pixels.shape[1] or not len(masks):
            problem = f"{pixels.shape[1]} frames and {len(masks)} masks"
        elif not isinstance(text, str):
            problem = f"the text is a {type(text).__name__}"
        elif not bool(torch.isfinite(pixels).all()):
            problem = "frames have values that are not finite"
        if problem:
            raise InputError("A training sample cannot be used.", where=[f"sample {index}: {problem}"])
        return {
            "frames": pixels, "masks": mask_pixels(masks[None], self.size)[0], "text": text,
            "seed": seed_of(seed, "noise"),
        }  # fmt: skip

    def _pixels(self, frames: Any) -> Tensor:
        if isinstance(frames, Tensor) and frames.is_floating_point():
            return frames.float()
        array = np.asarray(frames)
        if array.dtype.kind == "f":
            return torch.as_tensor(array, dtype=torch.float32)
        return frame_pixels(array, self.size)


def collated(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Items of one length as a batch: tensors [B, ...], lists of texts and seeds."""
    lengths = {item["frames"].shape[1] for item in items}
    if len(lengths) > 1:
        raise InputError("Clips of one batch differ in length.", where=[f"{sorted(lengths)} frames"])
    return {
        "frames": torch.stack([item["frames"] for item in items]),
        "masks": torch.stack([item["masks"] for item in items]),
        "text": [item["text"] for item in items],
        "seed": [item["seed"] for item in items],
    }
