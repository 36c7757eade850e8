"""Near-duplicates: the same pictures in several videos, also shifted, trimmed, scaled, padded, re-encoded, mirrored.

Videos are compared as rows of fingerprints on one clock. Not found: copies at another speed, turned, or cut out of
the middle of a picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refvps.curate.probe import Progress
from refvps.curate.review import review
from refvps.curate.survey import Survey, survey
from refvps.curate.thresholds import DEFAULTS, Thresholds
from refvps.errors import UsageError
from refvps.files import sha256_file
from refvps.source.ticks import choose

RATES = (12, 4, 1)
"""Ticks a second on which videos are compared: the highest at which the longest has at most :data:`MOST`."""

MOST = 8192

_FLAT = 6.0
"""Contrast below which a picture says nothing: black, a plain card."""

_GAP = 2
"""Ticks that may differ within one agreement."""


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprints:
    """One video: its hash, size within still padding, seconds, and uint64 [N] dHash64 of frames (and mirrored)
    with the times at which they appear; ``flat`` [N]: nothing to be seen.
    """

    path: Path
    sha256: str
    size: tuple[int, int]
    seconds: Fraction
    pts: tuple[int, ...]
    time_base: Fraction
    prints: NDArray[np.uint64]
    mirrored: NDArray[np.uint64]
    flat: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two videos show the same from ``one_start`` and ``other_start`` on, seconds after their first frames.

    ``bits``: median of differing bits. ``identical``: the files are the same bytes.
    """

    one: Path
    other: Path
    one_start: Fraction
    other_start: Fraction
    seconds: Fraction
    bits: float
    mirrored: bool
    identical: bool


def fingerprints(
    path: Path, *, thresholds: Thresholds = DEFAULTS, crops: bool = True, progress: Progress | None = None
) -> Fingerprints:
    """Fingerprint every frame of a video; with ``crops`` still padding around it does not count.

    Raises as :func:`~refvps.source.video.open_video` does.
    """
    seen = review(path, thresholds=thresholds, prints=True, crops=crops, progress=progress)
    found, size = seen.survey, seen.survey.video.size
    boxes = {pad.box if pad.kind == "still" else None for pad in seen.paddings}
    box = boxes.pop() if len(boxes) == 1 else None
    if box is not None:
        found, size = survey(found.video, thresholds, crop=box, prints=True, progress=progress), (box[3], box[2])
    return _from_survey(path, found, size)


def _from_survey(path: Path, found: Survey, size: tuple[int, int]) -> Fingerprints:
    return Fingerprints(
        path=path,
        sha256=sha256_file(path),
        size=size,
        seconds=found.end - found.at(0),
        pts=tuple(int(each) for each in found.pts),
        time_base=found.video.time_base,
        prints=np.array(found.prints, np.uint64),
        mirrored=np.array(found.mirrored, np.uint64),
        flat=found.contrast < _FLAT,
    )


def near_duplicates(
    videos: Sequence[Fingerprints], *, thresholds: Thresholds = DEFAULTS, progress: Progress | None = None
) -> tuple[Agreement, ...]:
    """Every pair that agrees, ordered by path. Raises UsageError for videos of hours, which have no common clock."""
    ordered = sorted(videos, key=lambda each: str(each.path))
    longest = max((each.seconds for each in ordered), default=Fraction(0))
    rate = next((rate for rate in RATES if longest * rate <= MOST), None)
    if rate is None:
        raise UsageError("A video is too long to be compared.", where=[f"{float(longest):,.0f} s"], fix="cut it first")
    rows = {each.path: _row(each, rate) for each in ordered}
    pairs = list(combinations(ordered, 2))
    found = []
    for done, (one, other) in enumerate(pairs, 1):
        plain = _agreement(one, other, rows, rate, thresholds, mirrored=False)
        turned = _agreement(one, other, rows, rate, thresholds, mirrored=True)
        better = max(
            (each for each in (plain, turned) if each is not None), key=lambda each: each.seconds, default=None
        )
        if better is not None:
            found.append(better)
        if progress is not None:
            progress(done, len(pairs))
    return tuple(found)


def clusters(videos: Sequence[Fingerprints], agreements: Sequence[Agreement]) -> tuple[tuple[Path, ...], ...]:
    """Videos that hang together by agreements; of each the one to keep first: largest picture, longest, first name."""
    leader = {each.path: each.path for each in videos}

    def find(path: Path) -> Path:
        while leader[path] != path:
            path = leader[path]
        return path

    for each in agreements:
        leader[find(each.other)] = find(each.one)
    known = {each.path: each for each in videos}
    groups: dict[Path, list[Path]] = {}
    for path in sorted(leader, key=str):
        groups.setdefault(find(path), []).append(path)

    def best(path: Path) -> tuple[int, Fraction, str]:
        height, width = known[path].size
        return -height * width, -known[path].seconds, str(path)

    found = (tuple(sorted(group, key=best)) for group in groups.values() if len(group) > 1)
    return tuple(sorted(found, key=lambda group: min(str(path) for path in group)))


def _row(video: Fingerprints, rate: int) -> NDArray[np.int64]:
    """Index of the frame on screen at every tick."""
    return np.array(choose(video.pts, video.time_base, fps=Fraction(rate)), np.int64)


def _agreement(
    one: Fingerprints,
    other: Fingerprints,
    rows: Mapping[Path, NDArray[np.int64]],
    rate: int,
    thresholds: Thresholds,
    *,
    mirrored: bool,
) -> Agreement | None:
    here, there = rows[one.path], rows[other.path]
    prints = other.mirrored if mirrored else other.prints
    bits = _distances(one.prints[here], prints[there])
    bits[one.flat[here]] = 64
    bits[:, other.flat[there]] = 64
    match = bits <= thresholds.duplicate_bits
    near = match.copy()  # a tick earlier or later: frames of two clocks do not fall together
    near[:, 1:] |= match[:, :-1]
    near[:, :-1] |= match[:, 1:]
    length, offset, start = _longest_diagonal(near)
    seconds = Fraction(length, rate)
    shorter = Fraction(min(len(here), len(there)), rate)
    if length < 2 or seconds < min(Fraction(thresholds.duplicate_seconds), shorter * Fraction(4, 5)):
        return None
    at = np.arange(start, start + length)
    agreed = bits[at, at + offset]
    agreed = agreed[agreed <= thresholds.duplicate_bits]
    return Agreement(
        one=one.path,
        other=other.path,
        one_start=Fraction(start, rate),
        other_start=Fraction(start + offset, rate),
        seconds=seconds,
        bits=float(np.median(agreed)) if agreed.size else float(thresholds.duplicate_bits),
        mirrored=mirrored,
        identical=not mirrored and one.sha256 == other.sha256,
    )


def _distances(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Differing bits, uint8 [N, M]."""
    result = np.empty((len(one), len(other)), np.uint8)
    for row in range(0, len(one), 256):
        result[row : row + 256] = np.bitwise_count(one[row : row + 256, None] ^ other[None])
    return result


def _longest_diagonal(near: NDArray[np.bool_]) -> tuple[int, int, int]:
    """(length, offset, first row) of the longest run of True along a diagonal, over gaps; the nearest to 0 wins."""
    height, width = near.shape
    best = (0, 0, 0)
    for offset in sorted(range(1 - height, width), key=lambda each: (abs(each), each)):
        low = max(0, -offset)
        count = min(height, width - offset) - low
        if count <= best[0]:
            continue
        hits = np.flatnonzero(np.diagonal(near, offset))
        if hits.size <= best[0] // (1 + _GAP):
            continue
        breaks = np.flatnonzero(np.diff(hits) > 1 + _GAP)
        firsts = hits[np.concatenate([[0], breaks + 1])]
        lasts = hits[np.concatenate([breaks, [hits.size - 1]])]
        run = int(np.argmax(lasts - firsts))
        length = int(lasts[run] - firsts[run]) + 1
        if length > best[0]:
            best = (length, offset, int(firsts[run]) + low)
    return best
