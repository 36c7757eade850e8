"""Checkpoints on disk: a folder per step, complete or not there at all, without pickles.

``denoiser.safetensors`` has the stock layout, so every loader of the denoiser reads it; beside it lie the head, the
average, the adapters and the optimiser's state where there are any, and ``state.json``.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from refvps.errors import InputError, UsageError
from refvps.files import read_json
from rem.checkpoints import snapshots

SCHEMA = "rem.train.checkpoint/1"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A complete checkpoint: its folder, the steps done, and ``state.json``."""

    path: Path
    step: int
    about: Mapping[str, Any]


def write_snapshot(
    out: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], about: Mapping[str, Any], keep: int
) -> Path:
    """Write ``out/checkpoints/step-<step>``, a safetensors file per group of tensors; then drop all but ``keep``.

    Everything is written and flushed under another name first: a kill at any moment leaves the older checkpoint.
    """
    from safetensors.torch import save_file

    folder = out / "checkpoints"
    final, temporary = folder / f"step-{step:08d}", folder / f".step-{step:08d}.tmp"
    for unfinished in folder.glob(".step-*.tmp"):  # of a run that was killed
        shutil.rmtree(unfinished, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, group in tensors.items():
        plain = {key: value.detach().cpu().contiguous() for key, value in group.items()}
        save_file(plain, temporary / f"{name}.safetensors")
    state = {"schema": SCHEMA, "step": step, **about}
    (temporary / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    for path in [*temporary.iterdir(), temporary]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    if final.exists():  # a resumed run that saves the step it started from
        shutil.rmtree(final)
    os.replace(temporary, final)
    for old in snapshots(out)[:-keep]:
        shutil.rmtree(old)
    return final


def latest_snapshot(out: Path, identity: str, samples: int, *, resume: bool) -> Snapshot | None:
    """The newest checkpoint below ``out``, None without one.

    Raises UsageError when there is one and ``resume`` is False, or when it belongs to another recipe (``identity``)
    or to another number of samples.
    """
    found = snapshots(out)
    if not found:
        return None
    if not resume:
        raise UsageError(
            "There is a training run here already.", where=[str(found[-1])], fix="--resume it, or give another --out"
        )
    path = found[-1] / "state.json"
    about = read_json(path)
    step = about.get("step") if isinstance(about, dict) else None
    if not isinstance(about, dict) or about.get("schema") != SCHEMA or type(step) is not int or step < 0:
        raise InputError("A checkpoint cannot be used.", where=[f"{path}: no {SCHEMA}"], fix="delete this folder")
    wrong = []
    if about.get("identity") != identity:
        wrong.append(f"{path}: made by another recipe ({about.get('recipe', {}).get('name')!r})")
    if about.get("samples") != samples:
        wrong.append(f"{path}: made with {about.get('samples')!r} samples, here are {samples:,}")
    if wrong:
        raise UsageError(
            "A run cannot go on with another recipe or other data.",
            where=wrong,
            fix="give the recipe and data of the run, or another --out",
        )
    return Snapshot(found[-1], step, about)


def read_group(snapshot: Snapshot, name: str) -> dict[str, Tensor]:
    """Tensors of one file of a checkpoint; raises InputError when it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = snapshot.path / f"{name}.safetensors"
    try:
        return load_file(path)
    except (OSError, SafetensorError, struct.error, ValueError) as error:
        raise InputError(
            "A checkpoint cannot be read.",
            where=[f"{path}: {error}"[:300]],
            fix="delete this checkpoint and resume from an older one, or start again",
        ) from error
