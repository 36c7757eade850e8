"""Every number that a proposal depends on, by name; a record of proposals repeats them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from refvps.errors import UsageError


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Differences are in grey levels (0 to 255) of a picture of 64 cells on its longer side, shares in 0 to 1.

    The rules of the paper (4.1) that they serve: 1 not static, 2 not too fast, 3 no shot changes.
    """

    cut_level: float = 15.0
    """A cut changes the mean cell by more than this,"""
    cut_ratio: float = 3.0
    """and by more than this times the median of the frames around it,"""
    cut_window: float = 0.5
    """which are those this many seconds before and after."""
    flash_seconds: float = 0.5
    """Not a cut but a flash: within this time the picture is back,"""
    flash_return: float = 0.4
    """closer to the one before than this share of the change."""
    dissolve_level: float = 25.0
    """A dissolve changes the mean cell by more than this within half a second or one,"""
    dissolve_rest: float = 0.12
    """and all but this share of the change is a blend of the first and the last picture."""
    clip_seconds: float = 1.0
    """Shorter shots are not proposed as clips."""
    cell_level: float = 8.0
    """A cell moves when it changes by more than this."""
    still_share: float = 0.01
    """A second is still when fewer cells than this are different after it;"""
    still_video: float = 0.8
    """a clip is mostly stationary when this share of it is still."""
    frozen_level: float = 3.0
    """A picture is frozen while no cell leaves the first one by more than this,"""
    frozen_seconds: float = 1.0
    """for at least this long."""
    moving_share: float = 0.005
    """A frame moves when at least this share of cells does;"""
    fast_frames: int = 12
    """an event is too fast when its longest movement lasts fewer frames than this at 24 per second,"""
    fast_gap: float = 0.15
    """not counting pauses up to this many seconds."""
    padding_std: float = 3.0
    """A pixel is at rest when its luma varies by at most this (standard deviation over time)."""
    padding_quiet: float = 0.05
    """A line belongs to the padding while fewer of its pixels move than this,"""
    padding_jump: float = 0.5
    """and the padding ends where this share moves or steps at one straight line."""
    padding_step: float = 6.0
    """A step is a difference of mean luma of at least this."""
    padding_least: float = 0.01
    """Padding is at least this share of the side."""
    blurred_detail: float = 0.4
    """Blurred bands have less than this share of the detail of the middle,"""
    blurred_least: float = 0.08
    """are at least this share of the side wide, both of them,"""
    blurred_match: float = 0.6
    """and correlate with the enlarged middle by at least this."""
    card_seconds: float = 4.0
    """A title or end card is looked for this close to either end:"""
    card_still: float = 0.6
    """a part that is still for this share of its time,"""
    card_dark: float = 0.6
    """or whose cells are dark (below 32) by this share, while those of the rest are half as often."""
    black_level: float = 16.0
    """A frame is black when its mean is below this and its contrast below half of it."""
    duplicate_bits: int = 6
    """Two pictures are one when at most this many bits of their dHash64 differ;"""
    duplicate_seconds: float = 1.5
    """two videos are near-duplicates when they agree for this long without a break, or for most of the shorter."""

    def override(self, assignments: Iterable[str]) -> Thresholds:
        """These with ``NAME=NUMBER`` changed; UsageError for an unknown name or no finite number >= 0."""
        names = {field.name: field.type for field in fields(self)}
        changed: dict[str, float | int] = {}
        for text in assignments:
            name, _, value = text.partition("=")
            if name not in names:
                raise UsageError("There is no such threshold.", where=[text[:80]], fix=f"one of {', '.join(names)}")
            try:
                number = int(value) if names[name] == "int" else float(value)
            except ValueError:
                number = -1
            if number < 0 or not math.isfinite(number):
                raise UsageError("A threshold is a number that is not negative.", where=[text[:80]])
            changed[name] = number
        return replace(self, **changed)  # type: ignore[arg-type]


DEFAULTS = Thresholds()
