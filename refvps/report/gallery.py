"""What a contact sheet shows: a submission against a benchmark, a few frames of every clip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from refvps.errors import DataMissingError, UsageError
from refvps.masks.mask import Mask
from refvps.metrics import jaccard_from_counts, region_counts
from refvps.metrics.region import IgnoreRule
from refvps.predictions.submission import Submission
from refvps.report.sheet import Cell, SheetRow, spread
from refvps.types import Benchmark, Clip, Expression


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
    found: list[SheetRow] = []
    rule = benchmark.rules.ignore
    for name, chosen in chosen_expressions(benchmark, clips, expression).items():
        clip = benchmark.clips[name]
        images = pictures(benchmark, clip)
        truth, reader = benchmark.truth(name), submission.reader(name)
        positions = clip.annotated_indices()
        shown = [positions[k] for k in spread(len(positions), columns)]
        for one in chosen:
            cells = []
            for index in shown:
                targets, ignore = truth.frame(index)
                cells.append(
                    _cell(images[index], targets[one.target], ignore, reader.frame(index)[one.id], index, rule)
                )
            reader.problems.raise_for_errors()
            found.append(SheetRow(f"{name}/{one.id}", one.text, cells))
    return found


def chosen_expressions(
    benchmark: Benchmark, clips: Iterable[str] = (), expression: str | None = None
) -> dict[str, tuple[Expression, ...]]:
    """Expressions by clip: of all clips or of those named, the one of this id, "all", or (None) the first of each.

    UsageError with the nearest id for a clip or expression that there is not.
    """
    wanted = list(dict.fromkeys(clips)) or list(benchmark.clips)
    if unknown := [clip for clip in wanted if clip not in benchmark.clips]:
        fix = _guess(unknown[0], benchmark.clips)
        raise UsageError("There is no such clip.", where=unknown, fix=fix)
    found: dict[str, tuple[Expression, ...]] = {}
    for name in wanted:
        every = benchmark.expressions_of(name)
        found[name] = tuple(e for e in every if expression in (None, "all", e.id))
        if not found[name]:
            fix = _guess(expression or "", [e.id for e in every])
            raise UsageError("The clip has no such expression.", where=[f"{name}/{expression}"], fix=fix)
        if expression is None:
            found[name] = found[name][:1]
    return found


def _guess(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = get_close_matches(name[:128], known, n=1, cutoff=0.5)
    return (f"did you mean {near[0]}? " if near else "") + "one of " + ", ".join(known[:8])


def frames_of(benchmark: Benchmark, clip: Clip) -> Sequence[NDArray[np.uint8]] | None:
    """The frames of a clip, None where they are not on this machine."""
    try:
        return benchmark.frames(clip.id)
    except DataMissingError:
        return None


def grey(clip: Clip) -> Sequence[NDArray[np.uint8]]:
    """A grey frame for each frame of a clip."""
    return [np.full((*clip.size, 3), 96, dtype=np.uint8)] * len(clip.frames)


def pictures(benchmark: Benchmark, clip: Clip) -> Sequence[NDArray[np.uint8]]:
    """The frames of a clip, all grey where they are not on this machine."""
    found = frames_of(benchmark, clip)
    return grey(clip) if found is None else found


def _cell(
    frame: NDArray[np.uint8],
    target: Mask | None,
    ignore: Mask | None,
    prediction: Mask | None,
    index: int,
    rule: IgnoreRule,
) -> Cell:
    g, i, p = (None if mask is None else mask.array() for mask in (target, ignore, prediction))
    caption = f"frame {index}"
    if g is not None and p is not None:
        caption += f" · J {100 * float(jaccard_from_counts(*region_counts(p, g, i), rule)):.1f}"
    elif g is not None:
        caption += " · missing"
    return Cell(frame, g, i, p, caption)
