"""``refvps predict -p rem-tiny``: the shipped weights behind refvps' protocol."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from refvps.errors import InputError
from refvps.types import Predictor

TRAINING_DATA = (
    "generated clips of moving coloured shapes with sentences (rem.tiny.objects, seeds 0 to 999); "
    "no process, no real video, no pretrained weights"
)


def shipped(place: Path | None = None) -> Path:
    """The folder of the shipped weights, in diffusers' layout; raises InputError when a file is not the one we made.

    ``place`` holds ``manifest.json`` and ``model``; by default it is the package's own.
    """
    place = place or Path(str(files("rem.tiny"))) / "weights"
    wanted: dict[str, str] = json.loads((place / "manifest.json").read_bytes())["files"]
    wrong = []
    for name, digest in wanted.items():
        path = place / "model" / name
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
        if found != digest:
            wrong.append(f"{path}: {found}, should be {digest}")
    if wrong:
        raise InputError(
            "The shipped weights of rem-tiny are damaged.", where=wrong[:3], fix="install the package again"
        )
    return place / "model"


def load(
    weights: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    noise: str = "seeded",
    batch: int = 1,
    autocast: str = "none",
) -> Predictor:
    """Load rem-tiny: frames at 32x32, chunks of 8 frames, one step.

    ``weights``: a folder made by ``python -m rem.tiny.recipe``; the shipped ones, checked by SHA-256, if None. The
    other options are those of :func:`rem.predictor.load`. It knows colours, shapes and places of generated objects,
    and is there for tests and demos, not for real video.
    """
    from rem import predictor
    from rem.tiny import model

    options: dict[str, Any] = {"size": model.SIDE, "chunk": model.FRAMES, "noise": noise, "batch": batch}
    loaded = predictor.load(
        weights or str(shipped()), device or "cpu", dtype, backbone="modelscope", autocast=autocast, **options
    )
    known = {} if weights else {"licence": "Apache-2.0", "training_data": TRAINING_DATA}
    loaded.method = replace(loaded.method, name="rem-tiny", **known)
    return loaded
