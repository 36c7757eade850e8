"""How much moves: frozen pictures, mostly stationary videos (rule 1), events that are over too soon (rule 2)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from refvps.curate.shots import Shot
from refvps.curate.survey import Survey
from refvps.curate.thresholds import Thresholds

FPS = 24


@dataclass(frozen=True, slots=True)
class Motion:
    """How one part of a video moves.

    ``frozen``: runs of one picture. ``still``: share of the part after whose seconds hardly a cell is different,
    None when it lasts no second. ``moved``: share of cells that differ after a second, in the median. ``events``:
    frames, at 24 per second, of the longest movement; 0 when nothing moves.
    """

    part: Shot
    frozen: tuple[Shot, ...]
    still: float | None
    moved: float | None
    events: int
    stationary: bool
    fast: bool


def motion(found: Survey, part: Shot, thresholds: Thresholds) -> Motion:
    """Measure frames [first, stop) of a part; what was before it does not count."""
    inside = np.zeros(len(found), np.bool_)
    inside[part.first : part.stop] = True
    lasting = found.lasting
    measured = inside & (found.since >= part.first) & ~np.isnan(found.second_moving)
    still = moved = None
    if measured.any() and lasting[measured].sum() > 0:
        quiet = found.second_moving[measured] < thresholds.still_share
        still = round(float(lasting[measured][quiet].sum() / lasting[measured].sum()), 4)
        moved = round(float(np.median(found.second_moving[measured])), 4)
    moving = inside & (found.moving >= thresholds.moving_share)
    moving[part.first] = False
    events = _longest(moving, found.times, thresholds.fast_gap)
    return Motion(
        part=part,
        frozen=tuple(run for run in frozen_runs(found, thresholds) if part.first <= run.first < part.stop),
        still=still,
        moved=moved,
        events=events,
        stationary=still is not None and still >= thresholds.still_video and not 0 < events < thresholds.fast_frames,
        fast=0 < events < thresholds.fast_frames,
    )


def frozen_runs(found: Survey, thresholds: Thresholds) -> tuple[Shot, ...]:
    """Where one picture stands still for long, over the whole video."""
    starts = np.flatnonzero(found.anchor == np.arange(len(found)))
    stops = [*starts[1:], len(found)]
    runs = (
        Shot(int(first), int(stop), found.at(int(first)), found.at(int(stop)))
        for first, stop in zip(starts, stops, strict=True)
    )
    return tuple(run for run in runs if run.stop - run.first > 1 and run.seconds >= Fraction(thresholds.frozen_seconds))


def _longest(moving: NDArray[np.bool_], times: NDArray[np.float64], gap: float) -> int:
    """Frames at 24 per second of the longest run of movement, over pauses up to ``gap`` seconds."""
    best = 0.0
    begin = end = None
    for frame in np.flatnonzero(moving):
        if begin is None or end is None or times[frame] - end > gap:
            begin = times[frame]
        end = times[frame + 1]
        best = max(best, end - begin)
    return max(1, round(best * FPS)) if best > 0 else 0
