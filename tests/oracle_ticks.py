"""The 24 fps rule by brute force, from the words of decisions 27; imports nothing from refvps."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def shown(times: Sequence[Fraction], fps: Fraction, *, t0: Fraction | None = None, end: Fraction) -> list[int]:
    """For every tick, which of the frames that appear at ``times`` is seen; looks at all of them every time."""
    origin = times[0] if t0 is None else t0
    seen: list[int] = []
    while Fraction(2 * len(seen) + 1, 2) <= (end - origin) * fps:
        middle = origin + Fraction(2 * len(seen) + 1, 2) / fps
        candidates = [index for index, time in enumerate(times) if time < middle]
        seen.append(max(candidates, default=0))
    return seen
