"""Which source frame is shown at which tick of a regular clock, in exact rational arithmetic.

The rule: a frame shown from time t goes to tick floor((t - t0) fps + 1/2); of several frames the last one wins,
and a tick without one repeats the frame before (before the first frame: the first). So tick n shows the last
frame with t - t0 < (n + 1/2) / fps, and a frame exactly half way between two ticks belongs to the later one.
The number of ticks is floor((end - t0) fps + 1/2). This is ffmpeg's ``setpts=PTS-STARTPTS,fps=24:round=near``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from math import floor
from typing import TypeVar

Item = TypeVar("Item")

HALF = Fraction(1, 2)


def tick(seconds: Fraction, t0: Fraction, fps: Fraction) -> int:
    """The tick at which a frame that appears at ``seconds`` is first shown; negative before ``t0``."""
    return floor((seconds - t0) * fps + HALF)


def tick_count(t0: Fraction, end: Fraction, fps: Fraction) -> int:
    """How many ticks lie in [t0, end)."""
    return max(0, floor((end - t0) * fps + HALF))


def spans(
    frames: Iterable[tuple[Item, Fraction, Fraction]],
    *,
    fps: Fraction,
    t0: Fraction | None = None,
    end: Fraction | None = None,
) -> Iterator[tuple[Item, range]]:
    """(frame, ticks at which it is shown) for every frame that is shown, as soon as that is known.

    ``frames`` are (anything, time, duration) in order of display, in seconds; the ranges follow each other from
    0 without a gap. ``t0`` is the time of the first frame unless given. ``end`` is the end of the last frame
    unless given: a duration of 0 is replaced by the time since the frame before, else by one tick; at least one
    tick is shown then. Raises ValueError when a frame goes back in time.
    """
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        return
    shown, at, duration = first
    origin = at if t0 is None else t0
    limit = None if end is None else tick_count(origin, end, fps)
    gap = Fraction(0)
    done = 0  # every tick below has been given out
    for item, seconds, lasts in rest:
        if seconds < at:
            raise ValueError(f"a frame at {seconds} follows one at {at}")
        begin = tick(seconds, origin, fps)
        begin = begin if limit is None else min(begin, limit)
        if begin > done:
            yield shown, range(done, begin)
            done = begin
        gap = seconds - at or gap
        shown, at, duration = item, seconds, lasts
    if limit is None:
        limit = max(1, tick_count(origin, at + (duration or gap or 1 / fps), fps))
    if limit > done:
        yield shown, range(done, limit)


def choose(
    pts: Sequence[int], time_base: Fraction, *, fps: Fraction, t0: Fraction | None = None, end: Fraction | None = None
) -> list[int]:
    """Index of the shown frame for every tick; see :func:`spans`. ``pts`` are in units of ``time_base``."""
    times = ((index, stamp * time_base, Fraction(0)) for index, stamp in enumerate(pts))
    return [index for index, ticks in spans(times, fps=fps, t0=t0, end=end) for _ in ticks]
