"""Which frames the network sees together.

Frames of a chunk influence one another (attention over time, normalisation over all frames), so the plan is part of
the protocol and moves numbers; it is no memory knob.
"""

from __future__ import annotations

from dataclasses import dataclass

from refvps.errors import UsageError

WAN_LADDERS = {
    73: (73, 61, 49, 37, 25, 17, 9),
    65: (65, 49, 37, 25, 17, 9),
    105: (105, 73, 61, 49, 37, 25, 17, 9),
}
"""Chunk lengths of the official Wan code, longest first: Ref-DAVIS and Ref-YTB, BURST, VSPW."""

SHORT_CLIPS = (5, 1)
"""Where the official lists end: 5 stands in one of them; below, frames go one by one (the official code fails)."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames ``start`` to ``stop`` - 1, seen together; the last ``keep`` of them are the answer for these frames."""

    start: int
    stop: int
    keep: int

    @property
    def first_kept(self) -> int:
        """Index of the first frame whose prediction is kept."""
        return self.stop - self.keep


def plan_chunks(length: int, size: int, *, stride: int = 1) -> tuple[Chunk, ...]:
    """The official plan for ``length`` frames in chunks of ``size``.

    ``stride`` 1 (autoencoders of single frames): one chunk after the other, the last one shorter. ``stride`` 4 (Wan):
    chunks have 4k + 1 frames; a clip shorter than ``size`` takes the next length of the ladder that fits; where
    r < size frames remain, the last ``size`` frames run again and the last r predictions are kept.
    """
    if length < 1 or size < 1:
        raise UsageError("Chunks need at least one frame.", where=[f"{length} frames in chunks of {size}"])
    if stride == 1:
        starts = range(0, length, size)
        return tuple(Chunk(start, min(start + size, length), min(size, length - start)) for start in starts)
    size = next(step for step in ladder(size, stride) if step <= length)
    whole = [Chunk(start, start + size, size) for start in range(0, length - size + 1, size)]
    rest = length % size
    return (*whole, Chunk(length - size, length, rest)) if rest else tuple(whole)


def ladder(size: int, stride: int) -> tuple[int, ...]:
    """Chunk lengths from ``size`` down to 1 that a clip can fall back to; raises UsageError for an impossible one."""
    if stride == 1:
        return tuple(range(size, 0, -1))
    if (size - 1) % stride:
        below = size - (size - 1) % stride
        raise UsageError(
            f"The autoencoder takes {stride}k + 1 frames and would drop the others.",
            where=[f"a chunk of {size} frames"],
            fix=f"chunk={below} or chunk={below + stride}",
        )
    steps = WAN_LADDERS.get(size, (size, *(step for step in WAN_LADDERS[73] if step < size)))
    return (*steps, *(step for step in SHORT_CLIPS if step < steps[-1]))
