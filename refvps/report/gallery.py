"""What a contact sheet shows: a submission against a benchmark, a few frames of every clip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from refvps.errors import DataMissingError, UsageError
from refvps.masks.mask import Mask
from refvps.metrics import jaccard_from_counts, region_counts
from refvps.predictions.submission import Submission
from refvps.report.sheet import Cell, SheetRow, spread
from refvps.types import Benchmark, Clip


def rows(
    benchmark: Benchmark,
    submission: Submission,
    clips: Iterable[str] = (),
    *,
    expression: str | None = None,
    columns: int = 6,
) -> list[SheetRow]:
    """One row per clip and expression: frames with target, Ignore, prediction, and J of the frame.

    ``clips`` empty means all. ``expression`` is an id, "all", or None for the first of each clip. Frames
    that are not on this machine are drawn grey. Broken or missing masks raise InputError as in scoring.
    """
    wanted = list(clips) or list(benchmark.clips)
    if unknown := [clip for clip in wanted if clip not in benchmark.clips]:
        raise UsageError("There is no such clip.", where=unknown, fix="one of " + ", ".join(list(benchmark.clips)[:8]))
    found = []
    for name in wanted:
        every = benchmark.expressions_of(name)
        chosen = every if expression == "all" else [e for e in every if expression in (None, e.id)]
        if not chosen:
            raise UsageError(
                "The clip has no such expression.",
                where=[f"{name}/{expression}"],
                fix="one of " + ", ".join(e.id for e in every),
            )
        clip = benchmark.clips[name]
        pictures = _pictures(benchmark, clip)
        truth, reader = benchmark.truth(name), submission.reader(name)
        positions = clip.annotated_indices()
        shown = [positions[k] for k in spread(len(positions), columns)]
        for one in chosen if expression == "all" else chosen[:1]:
            cells = []
            for index in shown:
                targets, ignore = truth.frame(index)
                cells.append(_cell(pictures[index], targets[one.target], ignore, reader.frame(index)[one.id], index))
            reader.problems.raise_for_errors()
            found.append(SheetRow(f"{name}/{one.id}", one.text, cells))
    return found


def _pictures(benchmark: Benchmark, clip: Clip) -> Sequence[NDArray[np.uint8]]:
    try:
        return benchmark.frames(clip.id)
    except DataMissingError:
        return [np.full((*clip.size, 3), 96, dtype=np.uint8)] * len(clip.frames)


def _cell(
    frame: NDArray[np.uint8], target: Mask | None, ignore: Mask | None, prediction: Mask | None, index: int
) -> Cell:
    g, i, p = (None if mask is None else mask.array() for mask in (target, ignore, prediction))
    caption = f"frame {index}"
    if g is not None and p is not None:
        caption += f" · J {100 * float(jaccard_from_counts(*region_counts(p, g, i))):.1f}"
    elif g is not None:
        caption += " · missing"
    return Cell(frame, g, i, p, caption)
