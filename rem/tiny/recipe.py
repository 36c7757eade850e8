"""The recipe of rem-tiny: an autoencoder, then REM's two stages by :func:`rem.train.loop.train`.

    python -m rem.tiny.recipe --out DIR --seed 0

Stage 1 trains the spatial weights on single frames, stage 2 all weights on clips of 8 frames (paper, section C),
on generated clips of objects only.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from refvps.errors import UsageError
from rem.backbones.base import Backbone
from rem.tiny import captions, codec, model, objects, words
from rem.train.loop import Progress, train
from rem.train.recipe import Recipe

CLIPS = 1_000_000
"""Nominal length of the data set; every clip is drawn when it is asked for, so none is seen twice."""

STAGE1 = Recipe(
    name="rem-tiny, stage 1", trained="spatial", frames=1, size=(model.SIDE, model.SIDE),
    lr=2e-3, schedule="cosine", warmup=100, weight_decay=0.01, steps=2000, batch=16, micro_batch=16, save_every=250,
)  # fmt: skip
STAGE2 = Recipe(
    name="rem-tiny, stage 2", trained="all", frames=model.FRAMES, size=(model.SIDE, model.SIDE),
    lr=5e-4, schedule="cosine", warmup=20, weight_decay=0.01, steps=120, batch=4, micro_batch=4, save_every=50,
)  # fmt: skip


class Clips:
    """Training clips of one seed, as the training loop reads them."""

    def __init__(self, seed: int, frames: int, *, number: int = CLIPS) -> None:
        if seed not in range(codec.SEED):
            raise UsageError("This is no seed for training.", where=[str(seed)], fix="use one from 0 to 899")
        self.seed, self.frames, self.number = seed, frames, number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        scene = objects.scene(self.seed, index, frames=self.frames, side=model.SIDE)
        masks: NDArray[np.bool_] = scene.masks[0]
        return {"frames": scene.frames, "masks": masks, "text": scene.texts[0]}


def train_base(folder: Path) -> None:
    """Train what is frozen later, the autoencoder and the text encoder, and write it to ``folder`` with the tokenizer.

    Weights are rounded to half precision; every seed of the segmenter starts from the same files.
    """
    tokenizer = words.write_tokenizer(folder / "tokenizer")
    model.save(folder, {"vae": codec.train(), "text_encoder": captions.train(tokenizer)})


def untrained(base: Path, seed: int) -> Backbone:
    """A backbone with the frozen parts of ``base`` and a fresh denoiser of ``seed``."""
    from diffusers import AutoencoderKL
    from transformers import CLIPTextModel, CLIPTokenizer

    from rem.backbones.loading import load_module
    from rem.backbones.modelscope import ModelScope

    return ModelScope(
        load_module(AutoencoderKL, base, "vae"),
        model.unet(seed=seed),
        load_module(CLIPTextModel, base, "text_encoder"),
        CLIPTokenizer.from_pretrained(base, subfolder="tokenizer"),
        model.scheduler(),
    )


def train_both(
    base: Path, out: Path, seed: int, *, steps: tuple[int, int] | None = None, progress: Progress | None = None
) -> Path:
    """Train a segmenter on the frozen parts in ``base``, in two stages; the folder of the whole model, ``out/model``.

    A run that was stopped goes on where it was. The written weights are rounded to half precision.
    """
    backbone = untrained(base, seed)
    for number, (recipe, length) in enumerate(zip((STAGE1, STAGE2), steps or (0, 0), strict=True), 1):
        staged = replace(recipe, seed=seed, steps=length or recipe.steps)
        train(staged, backbone, Clips(seed, staged.frames), out / f"stage{number}", resume=True, progress=progress)
    folder = out / "model"
    shutil.copytree(base, folder, dirs_exist_ok=True)
    model.save(folder, {"unet": backbone.denoiser})
    return folder


def ship(trained: Path, place: Path) -> None:
    """Copy a model that was trained to ``place/model``, with the SHA-256 of each file in ``place/manifest.json``."""
    folder = place / "model"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(trained, folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    (place / "manifest.json").write_text(json.dumps({"files": digests}, indent=1) + "\n")


def main() -> None:
    """Command line of the recipe."""
    import click

    @click.command()
    @click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for checkpoints and the model.")
    @click.option("--seed", default=0, show_default=True, help="Seed of weights, clips and order.")
    @click.option("--base", type=click.Path(path_type=Path), help="Folder with the frozen parts; made if not there.")
    @click.option("--ship", "place", type=click.Path(path_type=Path), help="Copy the model there, with a manifest.")
    @click.option("--steps", nargs=2, type=int, help="Steps of the two stages, instead of the recipe's.")
    def run(out: Path, seed: int, base: Path | None, place: Path | None, steps: tuple[int, int] | None) -> None:
        """Train rem-tiny from scratch on generated clips."""
        torch.set_num_threads(1)
        frozen = base or out / "base"
        if not (frozen / "model_index.json").is_file():
            train_base(frozen)

        def shown(done: int, total: int, numbers: Mapping[str, float]) -> None:
            if done % 100 == 0 or done == total:
                click.echo(f"{done}/{total}  loss {numbers['loss']:.4f}")

        trained = train_both(frozen, out, seed, steps=steps, progress=shown)
        if place:
            ship(trained, place)
        click.echo(f"written: {place or trained}")

    run()


if __name__ == "__main__":
    main()
