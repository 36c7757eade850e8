"""Do two extractions show the same? Fingerprints side by side: same, shifted, or other pictures.

Every frame of the reference is looked for among the frames up to 12 ticks away. The cheapest path of constant
shifts (Viterbi, with a price on every change of shift) tells from where on frames are late or early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from refvps.extract.record import FrameRecord
from refvps.source.fingerprint import hamming

Verdict = Literal["same", "shifted", "different", "unverified"]

REACH = 12
"""Largest shift that is recognised, in ticks."""

NEAR = 4
"""Bits in which fingerprints of one picture may differ in the median: another decoder, another JPEG."""

FAR = 12
"""Bits beyond which a single picture is another one; two unrelated pictures differ in about 32."""

CHANGE = 12
"""Price of a change of shift, in bits: a gain of less is no proof of a shift."""

OUTSIDE = 8
"""Price of a frame that a shift puts outside the clip, in bits."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outcome of a comparison: a verdict and, unless it is plainly "same", a sentence with the clip's name."""

    verdict: Verdict
    sentence: str = ""


def compare(reference: FrameRecord, found: FrameRecord) -> Judgement:
    """Compare the frames of one clip with those of a reference, by what they show.

    One frame more or less at the very end (the rounding of the last frame's duration) is the same, and named.
    """
    clip, more = found.clip, len(found.names) - len(reference.names)
    if abs(more) > 1:
        return Judgement(
            "different", f"clip {clip}: {len(found.names):,} frames, the reference has {len(reference.names):,}"
        )
    shifts = _credible(reference, found, shifts_between(reference.fingerprints, found.fingerprints))
    distances = _distances(reference, found, shifts, range(len(shifts)))
    moved = [index for index, shift in enumerate(shifts) if shift and (index == 0 or shifts[index - 1] != shift)]
    median = float(np.median(distances)) if distances else 64.0
    if median > NEAR:
        return Judgement(
            "different", f"clip {clip}: other pictures (fingerprints differ in {median:g} bits in the median)"
        )
    if moved:
        return Judgement("shifted", f"clip {clip}: {'; '.join(_moves(reference, shifts, moved))}")
    far = [index for index, bits in enumerate(distances) if bits > FAR]
    if far:
        name = reference.names[far[0]]
        many = f" and {len(far) - 1:,} more" if len(far) > 1 else ""
        return Judgement("different", f"clip {clip}: frame {name}{many} shows another picture")
    if sentence := _other_times(reference, found):
        return Judgement("shifted", f"clip {clip}: {sentence}")
    if more:
        return Judgement("same", f"clip {clip}: one frame {'more' if more > 0 else 'less'} at the very end")
    return Judgement("same")


def shifts_between(reference: Sequence[int], found: Sequence[int]) -> list[int]:
    """For every frame of the reference, how many ticks later (+) or earlier (-) it stands in ``found``."""
    if not reference or not found:
        return [0] * len(reference)
    shifts = np.arange(-REACH, REACH + 1)
    there, other = np.array(reference, np.uint64), np.array(found, np.uint64)
    at = np.arange(len(there))[:, None] + shifts[None]
    inside = (at >= 0) & (at < len(other))
    bits = np.bitwise_count(there[:, None] ^ other[np.clip(at, 0, len(other) - 1)]).astype(np.int64)
    scale = 1 << 20  # bits come first; among equals the smaller shift wins
    costs = np.where(inside, bits, OUTSIDE) * scale + np.abs(shifts)[None]
    return [int(shifts[step]) for step in _cheapest(costs, CHANGE * scale)]


def _cheapest(costs: NDArray[np.int64], change: int) -> list[int]:
    """Columns of the cheapest path through the rows, where every change of column costs ``change``."""
    total = costs[0] + change * (np.arange(costs.shape[1]) != REACH)  # no shift to begin with
    came = np.zeros(costs.shape, np.int64)
    stay = np.arange(costs.shape[1])
    for row in range(1, len(costs)):
        best = int(total.argmin())
        jump = total[best] + change < total
        came[row] = np.where(jump, best, stay)
        total = np.where(jump, total[best] + change, total) + costs[row]
    path = [int(total.argmin())]
    for row in range(len(costs) - 1, 0, -1):
        path.append(int(came[row, path[-1]]))
    return path[::-1]


def _credible(reference: FrameRecord, found: FrameRecord, shifts: Sequence[int]) -> list[int]:
    """Shifts only where pictures agree under them, at least twice as well as without.

    A run of other pictures fits nowhere, but least badly somewhere; a still scene with noise fits everywhere.
    """
    kept: list[int] = []
    while len(kept) < len(shifts):
        begin = len(kept)
        shift = shifts[begin]
        length = next((k for k, other in enumerate(shifts[begin:]) if other != shift), len(shifts) - begin)
        run = range(begin, begin + length)
        bits, plain = (_distances(reference, found, each, run) for each in (shifts, [0] * len(shifts)))
        proven = length > abs(shift) and bits and 2 * sum(bits) <= sum(plain)
        kept += [shift if proven else 0] * length
    return kept


def _distances(reference: FrameRecord, found: FrameRecord, shifts: Sequence[int], at: range) -> list[int]:
    """Bits between frames and those they are aligned with, without frames aligned outside."""
    pairs = [(index, index + shifts[index]) for index in at]
    return [
        hamming(reference.fingerprints[here], found.fingerprints[there])
        for here, there in pairs
        if 0 <= there < len(found.fingerprints)
    ]


def _moves(reference: FrameRecord, shifts: Sequence[int], moved: Sequence[int]) -> list[str]:
    texts = []
    for index in moved[:3]:
        stop = next((later for later in range(index, len(shifts)) if shifts[later] != shifts[index]), len(shifts))
        until = "on" if stop == len(shifts) else f"to {reference.names[stop - 1]}"
        texts.append(f"frames look shifted by {shifts[index]:+d} from {reference.names[index]} {until}")
    return texts + ([f"{len(moved) - 3} more shifts"] if len(moved) > 3 else [])


def _other_times(reference: FrameRecord, found: FrameRecord) -> str:
    """A difference in the source frames themselves, where both were taken from the same file."""
    ours, theirs = found.request.get("source_sha256"), reference.request.get("source_sha256")
    if not ours or ours != theirs or found.time_base != reference.time_base:
        return ""
    for name, here, there in zip(reference.names, found.pts, reference.pts, strict=False):
        if here != there:
            return f"another source frame, of the same looks, from {name} on (pts {here}, in the reference {there})"
    return ""
