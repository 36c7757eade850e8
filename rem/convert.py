"""Official checkpoints into folders that diffusers reads: safetensors, strict, at once or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refvps.errors import InputError, UsageError
from rem.checkpoints import Checkpoint, load_strict, read_checkpoint, sha256_of
from rem.parameters import DENOISERS, outline

SHARD = "2GB"
"""Largest safetensors file; one of them is in memory at a time."""
SUBFOLDERS = {"modelscope": "unet", "wan-14b": "transformer", "wan-1.3b": "transformer"}
"""Where diffusers' pipelines keep the denoiser."""
NOTE = "rem.json"
MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True)
class Conversion:
    """What a conversion did; ``note`` is the content of ``rem.json``."""

    folder: Path
    note: Mapping[str, Any]


def convert(
    checkpoint: Path, out: Path, *, backbone: str | None = None, config: Path | None = None, base: Path | None = None
) -> Conversion:
    """Write the denoiser of ``checkpoint`` as ``out/unet`` or ``out/transformer``, and what is known of it.

    ``backbone`` is a key of :data:`rem.parameters.DENOISERS`, found from the checkpoint by default. ``config`` is a
    denoiser's config.json that replaces the backbone's; ``base`` a folder of the base model in diffusers' layout,
    whose other components are copied so that ``out`` is a whole model. Tensors keep their dtype. ``out`` must not
    exist; it appears complete or not at all. Raises :class:`~refvps.errors.InputError` or
    :class:`~refvps.errors.UsageError`.
    """
    if out.exists() or out.is_symlink():
        raise UsageError("The output exists already; nothing was overwritten.", where=[str(out)], fix="name another")
    found = read_checkpoint(checkpoint)
    kind = backbone or _backbone_of(found)
    if kind not in DENOISERS:
        raise UsageError(f"There is no backbone {kind!r}.", fix=f"choose from {', '.join(DENOISERS)}")
    subfolder = SUBFOLDERS[kind]
    settings = _settings(config, base, subfolder)
    denoiser = outline(kind, settings)
    load_strict(denoiser, found.state, str(checkpoint))
    note = _note(checkpoint, found, kind)
    out.parent.mkdir(parents=True, exist_ok=True)
    making = out.with_name(f".{out.name}.{secrets.token_hex(6)}.tmp")
    try:
        making.mkdir()
        if base is not None:
            _copy_components(base, making, subfolder)
        denoiser.save_pretrained(making / subfolder, max_shard_size=SHARD)  # type: ignore[operator]
        (making / NOTE).write_text(json.dumps(note, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.rename(making, out)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    return Conversion(out, note)


def _backbone_of(found: Checkpoint) -> str:
    """The backbone by the layout, or by a key that only one family has; Wan's size by its width."""
    patch = found.state.get("patch_embedding.weight")
    if patch is not None:
        return "wan-1.3b" if patch.shape[0] < 5120 else "wan-14b"
    return "modelscope"


def _settings(config: Path | None, base: Path | None, subfolder: str) -> dict[str, Any] | None:
    """The denoiser's configuration that was given, else the base model's, else None."""
    place = config
    if place is None and base is not None:
        place = base / subfolder / "config.json"
    if place is None:
        return None
    try:
        if place.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError("it is too large")
        settings = json.loads(place.read_bytes())
        if not isinstance(settings, dict):
            raise ValueError("it is no table")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            "A denoiser's configuration cannot be read.",
            where=[f"{place}: {str(error)[:200]}"],
            fix="give the config.json of the denoiser, or the folder of the base model",
        ) from error
    return settings


def _copy_components(base: Path, out: Path, subfolder: str) -> None:
    """Copy the index and every component but the denoiser."""
    index = base / "model_index.json"
    try:
        names = json.loads(index.read_bytes()) if index.stat().st_size <= MAX_CONFIG_BYTES else None
        parts = [name for name, kind in names.items() if isinstance(kind, list) and kind[0] and name != subfolder]
    except (OSError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise InputError(
            "The base model has no usable model_index.json.",
            where=[f"{index}: {str(error)[:200]}"],
            fix="give a model folder in diffusers' layout",
        ) from error
    absent = [name for name in parts if Path(name).name != name or not (base / name).is_dir()]
    if absent:
        raise InputError("The base model lacks components.", where=absent, fix="download the whole folder")
    shutil.copy2(index, out / index.name)
    for name in parts:
        shutil.copytree(base / name, out / name)


def _note(checkpoint: Path, found: Checkpoint, kind: str) -> dict[str, Any]:
    tensors = list(found.state.values())
    return {
        "schema": "rem.conversion/1",
        "source": checkpoint.name,
        "source_sha256": sha256_of(checkpoint),
        "layout": found.layout,
        "backbone": kind,
        "tensors": len(tensors),
        "parameters": sum(tensor.numel() for tensor in tensors),
        "dtypes": {str(dtype).removeprefix("torch."): n for dtype, n in Counter(t.dtype for t in tensors).items()},
        "dropped": found.dropped,
        **{key: found.about.get(key) for key in ("epoch", "iteration", "res", "args")},
    }
