"""Run a predictor over one sequence of frames that belongs to no benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.errors import InputError, UsageError
from refvps.files import write_atomic
from refvps.masks.mask import Mask
from refvps.masks.png import write_binary
from refvps.predictions.write import RUN_SCHEMA
from refvps.run.chunks import checked_masks
from refvps.run.predict.claim import LOCKS, RUN_LOCK, checked_method, claim, holding, run_fields, run_key, tidy
from refvps.run.predict.meter import environment
from refvps.types import Predictor

Progress = Callable[[int, int], None]
"""Called with (masks done, masks in all)."""

Overlay = Callable[[NDArray[np.uint8], Sequence[NDArray[np.bool_]]], None]
"""Called once per frame, in order, with the RGB frame [H, W, 3] and one bool mask [H, W] per text."""


def predict_frames(
    predictor: Predictor,
    frames: Sequence[NDArray[np.uint8]],
    texts: Sequence[str],
    *,
    fps: float,
    seed: int,
    out: Path,
    names: Sequence[str],
    overlay: Overlay | None = None,
    progress: Progress | None = None,
    force: bool = False,
    about: Mapping[str, Any] | None = None,
) -> tuple[Path, ...]:
    """Predict texts for one sequence of frames into 1-bit PNGs; returns their paths by text and frame.

    ``out/<name>.png`` for one text, ``out/<k>/<name>.png`` for several, k counting the texts from 0.
    Masks are written as they come. ``overlay`` is called for every frame once all masks are known, since
    a predictor may answer in any order; they wait as RLE. ``about`` and errors as for
    :func:`~refvps.run.predict.predict`, but that a failure ends the run.
    """
    _check_request(frames, texts, names)
    size = (int(frames[0].shape[0]), int(frames[0].shape[1]))
    record: dict[str, Any] = {"schema": RUN_SCHEMA, **run_fields(checked_method(predictor), seed)}
    record["input"] = {"texts": list(texts), "frames": list(names), "size": list(size), "fps": fps}
    record["key"] = run_key(record)
    paths = [out / name for name in _frame_files(record)]
    known = {path.name for path in paths}
    masks: list[Mask | None] = [None] * len(paths)
    report = progress or (lambda done, total: None)
    lock = out / LOCKS / "frames.lock"
    with ExitStack() as stack:
        stack.callback(tidy, out / LOCKS / RUN_LOCK)
        claim(out, "run.json", record, _frame_files, force=force, environment=environment(about or {}))
        stack.enter_context(holding(lock))
        stack.callback(tidy, lock)
        for leftover in [leftover for folder in {path.parent for path in paths} for leftover in folder.glob(".*.tmp")]:
            if leftover.name[1:].rsplit(".", 2)[0] in known:
                leftover.unlink(missing_ok=True)
        report(0, len(paths))
        stream = checked_masks(predictor, frames, texts, size=size, fps=fps, seed=seed, place="these frames")
        for count, (text, index, mask) in enumerate(stream, start=1):
            position = text * len(names) + index
            write_atomic(paths[position], write_binary(mask.bits(), size))
            masks[position] = Mask.from_rle(mask.counts(), size)
            report(count, len(paths))
    if overlay is not None:
        for index, frame in enumerate(frames):
            overlay(frame, [mask.array() for mask in masks[index :: len(names)] if mask is not None])
    return tuple(paths)


def _frame_files(record: Mapping[str, Any]) -> list[str]:
    """Relative paths of the masks of a run over frames, text after text."""
    given = record.get("input")
    if not isinstance(given, dict) or not all(isinstance(given.get(key), list) for key in ("texts", "frames")):
        return []
    texts, names = given["texts"], given["frames"]
    folders = [""] if len(texts) == 1 else [f"{k}/" for k in range(len(texts))]
    return [f"{folder}{name}.png" for folder in folders for name in names]


def _check_request(frames: Sequence[Any], texts: Sequence[str], names: Sequence[str]) -> None:
    if not len(frames):
        raise InputError("There are no frames here.", fix="name a folder of images or a video")
    if not texts or not all(text.strip() for text in texts):
        raise UsageError("A predictor needs a text.", fix='say what to find: --text "the dog"')
    bad = [name for name in names if not name or name in (".", "..") or set(name) & set("/\\\0")]
    if bad or len(names) != len(frames) or len({name.casefold() for name in names}) != len(names):
        raise UsageError("Frames need one name each that can be a file name.", where=[repr(name) for name in bad])
