"""Shots: where one picture ends and another begins, at a cut or a dissolve; what only looks like it.

The detector is a difference of small pictures against its surroundings, after the idea of PySceneDetect's
AdaptiveDetector; a flash (lightning, an explosion, a photo) is told from a cut by the return of the old picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from refvps.curate.survey import Survey
from refvps.curate.thresholds import Thresholds

Kind = Literal["cut", "dissolve?", "flash?"]

_QUIET = 0.05
"""Frames that change less repeat the one before, as after a conversion of rates; they are no surroundings."""

_EDGE = 0.05
"""Share of a dissolve's change that its first and last frames may hold and not count."""


_LATE = 1.5
"""A frame this many times as lively as those beyond it still belongs to the dissolve,"""

_SLOW = 0.25
"""if it changes by this share of the dissolve's frames."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """Frames [``frame``, ``stop``) belong to no shot: none at a cut, the blend at a dissolve.

    A flash is [``frame``, ``stop``) too, and divides nothing. ``change``: mean difference, in grey levels.
    """

    kind: Kind
    frame: int
    stop: int
    seconds: Fraction
    change: float


@dataclass(frozen=True, slots=True)
class Shot:
    """Frames [``first``, ``stop``), on screen in [``start``, ``end``) seconds."""

    first: int
    stop: int
    start: Fraction
    end: Fraction

    @property
    def seconds(self) -> Fraction:
        """How long it lasts."""
        return self.end - self.start


def boundaries(found: Survey, thresholds: Thresholds, cuts: Iterable[int] | None = None) -> tuple[Boundary, ...]:
    """Cuts, dissolves and flashes in the order of time; ``cuts``: frames at which another engine sees cuts."""
    hard = _cuts(found, thresholds) if cuts is None else sorted(set(cuts))
    result: list[Boundary] = []
    until = 0
    for frame in hard:
        if frame <= until or not 0 < frame < len(found):
            continue
        back = int(found.back[frame])
        until = max(back, frame)
        kind: Kind = "flash?" if back > frame else "cut"
        result.append(Boundary(kind, frame, until, found.at(frame), round(float(found.change[frame]), 2)))
    blends = _dissolves(found, thresholds, [each for each in result if each.change > thresholds.cut_level])
    result = [each for each in result if not any(one.frame <= each.frame <= one.stop for one in blends)] + blends
    return tuple(sorted(result, key=lambda each: each.frame))


def shots(found: Survey, borders: Sequence[Boundary]) -> tuple[Shot, ...]:
    """What lies between cuts and dissolves."""
    divided = [each for each in borders if each.kind != "flash?"]
    firsts = [0, *(each.stop for each in divided)]
    stops = [*(each.frame for each in divided), len(found)]
    return tuple(
        Shot(first, stop, found.at(first), found.at(stop))
        for first, stop in zip(firsts, stops, strict=True)
        if stop > first
    )


def _cuts(found: Survey, thresholds: Thresholds) -> list[int]:
    times = found.times
    result = []
    for frame in np.flatnonzero(found.change > thresholds.cut_level).tolist():
        around = times[frame] + np.array([-1, 1]) * thresholds.cut_window
        low, high = (int(each) for each in np.searchsorted(times[:-1], around))
        near = np.delete(found.change[max(1, low) : high + 1], frame - max(1, low))
        near = near[near > _QUIET]
        usual = float(np.median(near)) if near.size else 0.0
        if found.change[frame] > thresholds.cut_ratio * usual:
            result.append(frame)
    return result


def _dissolves(found: Survey, thresholds: Thresholds, known: Sequence[Boundary]) -> list[Boundary]:
    """Runs of frames at which the last half second or second was a blend of two pictures."""
    hit = np.zeros(len(found), np.bool_)
    for frame in np.flatnonzero(found.blend <= thresholds.dissolve_rest).tolist():
        since = int(found.blend_since[frame])
        hit[frame] = not any(each.frame <= frame and max(each.stop, each.frame) > since for each in known)
    usual = float(np.median(found.change[1:])) if len(found) > 1 else 0.0
    result: list[Boundary] = []
    for first, last in _runs(hit):
        begin = int(found.blend_since[first]) + 1
        excess = np.cumsum(np.maximum(found.change[begin : last + 1] - usual, 0))
        if not excess.size or excess[-1] <= 0:
            continue
        inner = np.searchsorted(excess, [_EDGE * excess[-1], (1 - _EDGE) * excess[-1]])
        frame, stop = begin + int(inner[0]), min(begin + int(inner[1]) + 1, len(found))
        frame, stop = _widened(found, frame, stop)
        if result and frame < result[-1].stop:  # the same blend, seen again
            frame = result.pop().frame
        top = round(float(np.nanmax(found.blend_change[first : last + 1])), 2)
        result.append(Boundary("dissolve?", frame, stop, found.at(frame), top))
    return result


def _widened(found: Survey, frame: int, stop: int) -> tuple[int, int]:
    """A dissolve with frames at either end that still change more than those of the second beyond."""
    times = found.times
    least = _SLOW * float(found.change[frame:stop].mean())
    after = found.change[stop : int(np.searchsorted(times[:-1], times[min(stop, len(found) - 1)] + 1))]
    while stop < len(found) - 1 and after.size and found.change[stop] > max(least, _LATE * float(np.median(after))):
        stop, after = stop + 1, after[1:]
    before = found.change[max(1, int(np.searchsorted(times[:-1], times[frame] - 1))) : frame]
    while frame > 1 and before.size and found.change[frame - 1] > max(least, _LATE * float(np.median(before))):
        frame, before = frame - 1, before[:-1]
    return frame, stop


def _runs(marked: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    """(first, last) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    return [(int(first), int(stop) - 1) for first, stop in zip(edges[::2], edges[1::2], strict=True)]
