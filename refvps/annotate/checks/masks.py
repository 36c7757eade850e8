"""Checks of the masks of one clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from refvps.annotate.checks import table as t
from refvps.annotate.checks.regions import (
    aligned_iou,
    areas_of,
    distances,
    extent,
    hole_areas,
    longest_edges,
    pieces,
    runs_of,
)
from refvps.masks import rle
from refvps.types import Annotation, Clip, MaskTrack

Frames = Sequence[NDArray[np.uint8]]
Array = NDArray[np.bool_]

LONGEST_GAP = 0.5
"""Seconds between annotated frames beyond which masks are not compared with the one before."""


@dataclass(slots=True)
class Measured:
    """What is measured of one target: index of the frame, pixels, pieces, and IoU with the mask before, aligned."""

    index: int
    area: int
    count: int
    likeness: float | None


def check_masks(clip: Clip, annotation: Annotation, frames: Frames | None = None) -> dict[str, list[str]]:
    """Places by check (:data:`refvps.annotate.checks.table.CHECKS`) for the masks of one clip.

    ``frames``: the pictures, lazily; a few are decoded to tell a stuck tracker from a still picture.
    """
    found: dict[str, list[str]] = {}
    for target, track in annotation.targets.items():
        _check_target(clip, target, track, annotation.ignore, frames, found)
    if annotation.ignore is not None:
        _check_ignore(clip, annotation, annotation.ignore, found)
    return found


def _add(found: dict[str, list[str]], key: str, place: str) -> None:
    found.setdefault(key, []).append(place)


def _check_target(
    clip: Clip,
    target: str,
    track: MaskTrack,
    ignore: MaskTrack | None,
    frames: Frames | None,
    found: dict[str, list[str]],
) -> None:
    measured: list[Measured] = []
    before: tuple[int, Array] | None = None
    step = _step(clip)
    for index in clip.annotated_indices():
        counts = track.counts[index]
        if counts is None:
            continue
        mask = rle.decode(counts, clip.size)
        near = before is not None and index - before[0] == step and bool(before[1].any()) and bool(mask.any())
        likeness = aligned_iou(before[1], mask) if near and before is not None else None
        ignored = None if ignore is None else ignore.counts[index]
        place = f"{clip.id}/{clip.frames[index]}: target {target}"
        count = _check_shape(mask, None if ignored is None else rle.decode(ignored, clip.size), place, found)
        measured.append(Measured(index, int(np.count_nonzero(mask)), count, likeness))
        before = index, mask
    _check_series(clip, target, measured, found)
    if frames is not None:
        _check_stuck(clip, target, track, frames, found)


def _step(clip: Clip) -> int:
    """Frames from one annotated frame to the next, where masks that far apart can be compared; else 0."""
    gaps = [later - earlier for earlier, later in pairwise(clip.annotated_indices())]
    step = min(gaps, default=0)
    return 0 if clip.fps and step > LONGEST_GAP * clip.fps else step


def _check_shape(mask: Array, ignored: Array | None, place: str, found: dict[str, list[str]]) -> int:
    """What one mask shows by itself; returns the number of its pieces."""
    area = int(np.count_nonzero(mask))
    if not area:
        return 0
    if not t.MIN_AREA <= area / mask.size <= t.MAX_AREA:
        _add(found, "M2", f"{place}, {area / mask.size:.3%}")
    runs = runs_of(mask)
    areas = areas_of(runs, pieces(runs, mask.shape[1], diagonal=True))
    if small := int(np.count_nonzero(areas < t.SPECK)):
        _add(found, "M8", f"{place}, {small} specks, the smallest of {int(areas.min())} px")
    holes = hole_areas(mask)
    if small := int(np.count_nonzero(holes <= t.HOLE)):
        _add(found, "M9", f"{place}, {small} holes")
    height, width = extent(mask)
    vertical, horizontal = longest_edges(mask, ignored)
    for length, side, name in ((vertical, height, "column"), (horizontal, width, "row")):
        if length >= max(t.LINE, t.LINE_SHARE * side):
            _add(found, "M15", f"{place}, {length} px along a {name}")
            break
    return len(areas)


def _check_series(clip: Clip, target: str, measured: Sequence[Measured], found: dict[str, list[str]]) -> None:
    """What the masks of one target show over time."""
    name = f"{clip.id}: target {target}"
    visible = [each for each in measured if each.area]
    if measured and not visible:
        _add(found, "M1", name)
    elif measured and (len(visible) < t.MIN_VISIBLE or len(visible) < t.MIN_VISIBLE_SHARE * len(measured)):
        _add(found, "M1.few", f"{name}, {len(visible)} of {len(measured)} frames")

    def place(each: Measured) -> str:
        return f"{clip.id}/{clip.frames[each.index]}: target {target}"

    likeness = [each.likeness for each in visible if each.likeness is not None]
    if likeness:
        median, deviation = _robust(likeness)
        for each in visible:
            value = each.likeness
            if value is not None and value < min(t.IOU_BELOW, median - t.IOU_MADS * deviation):
                _add(found, "M4", f"{place(each)}, IoU {value:.2f}, median {median:.2f}")
    stretches = _stretches(measured, _step(clip))
    jumps = {
        later.index: math.log2(later.area / earlier.area)
        for stretch in stretches
        for earlier, later in pairwise(stretch)
        if earlier.area and later.area
    }
    if jumps:
        median, deviation = _robust(list(jumps.values()))
        for each in measured:
            jump = jumps.get(each.index, 0.0)
            if abs(jump) > t.JUMP_OCTAVES and abs(jump - median) > t.JUMP_Z * deviation:
                _add(found, "M5", f"{place(each)}, {2**jump:.2f} times the area before")
    half = t.SPIKE_WINDOW // 2
    for stretch in stretches:
        for at in range(half, len(stretch) - half):
            around = [each.area for each in stretch[at - half : at + half + 1]]
            ratio = stretch[at].area / float(np.median(around)) if all(around) else 1.0
            if abs(math.log2(ratio)) > t.SPIKE_OCTAVES:
                _add(found, "M6", f"{place(stretch[at])}, {ratio:.2f} times the median around")
        for first, last in _flickers([bool(each.area) for each in stretch]):
            state = "visible" if stretch[first].area else "gone"
            _add(found, "M7", f"{place(stretch[first])}, {state} for {last - first} frames")
    counts = [each.count for each in visible]
    if counts:
        usual = float(np.median(counts))
        for each in visible:
            if each.count > t.COUNT_TIMES * usual:
                _add(found, "M8.many", f"{place(each)}, {each.count} pieces, median {usual:g}")


def _stretches(measured: Sequence[Measured], step: int) -> list[list[Measured]]:
    """Runs of frames that are one step apart."""
    stretches: list[list[Measured]] = []
    for each in measured:
        if stretches and step and each.index - stretches[-1][-1].index == step:
            stretches[-1].append(each)
        else:
            stretches.append([each])
    return stretches


def _flickers(visible: Sequence[bool]) -> list[tuple[int, int]]:
    """[first, last) of short runs that have another state on both sides."""
    borders = [0, *(at for at in range(1, len(visible)) if visible[at] != visible[at - 1]), len(visible)]
    return [(first, last) for first, last in pairwise(borders[1:-1]) if last - first <= t.FLICKER]


def _robust(values: Sequence[float]) -> tuple[float, float]:
    """Median, and the standard deviation that the median absolute deviation stands for."""
    median = float(np.median(values))
    return median, 1.4826 * float(np.median(np.abs(np.asarray(values) - median)))


def _check_stuck(clip: Clip, target: str, track: MaskTrack, frames: Frames, found: dict[str, list[str]]) -> None:
    """One mask for several frames, while the picture goes on; an empty mask is no sign of it."""
    known = [(index, counts) for index in clip.annotated_indices() if (counts := track.counts[index]) is not None]
    borders = [0, *(at for at in range(1, len(known)) if known[at][1] != known[at - 1][1]), len(known)]
    for first, last in pairwise(borders):
        if last - first >= t.STUCK and rle.area(known[first][1], clip.size):
            indices = [index for index, _ in known[first:last]]
            grey = [frames[index].mean(axis=2, dtype=np.float32) for index in indices[: t.STUCK]]
            moved = [float(np.abs(later - earlier).mean()) for earlier, later in pairwise(grey)]
            if min(moved) > t.STUCK_DIFFERENCE:
                place = f"{clip.id}/{clip.frames[indices[0]]}: target {target}"
                _add(found, "M14", f"{place}, the same mask on {last - first} frames")


def _check_ignore(clip: Clip, annotation: Annotation, ignore: MaskTrack, found: dict[str, list[str]]) -> None:
    diagonal = math.hypot(*clip.size)
    shares: list[float] = []
    there: list[bool] = []
    for index in clip.annotated_indices():
        counts = ignore.counts[index]
        if counts is None:
            continue
        region = rle.decode(counts, clip.size)
        drawn = [c for track in annotation.targets.values() if (c := track.counts[index]) is not None]
        target = rle.decode(rle.union(drawn, clip.size), clip.size) if drawn else np.zeros(clip.size, np.bool_)
        place = f"{clip.id}/{clip.frames[index]}"
        ignored, area = int(np.count_nonzero(region)), int(np.count_nonzero(target))
        there.append(ignored > 0)
        if both := int(np.count_nonzero(region & target)):
            _add(found, "G1", f"{place}: {both} px")
        if area:
            shares.append(ignored / (ignored + area))
        if not ignored:
            continue
        if ignored / region.size > t.IGNORE_FRAME:
            _add(found, "G5", f"{place}: {ignored / region.size:.0%}")
        if not area:
            _add(found, "G3", place)
            continue
        if shares[-1] > t.IGNORE_SHARE:
            _add(found, "G2", f"{place}: {shares[-1]:.2f} of target and Ignore")
        runs = runs_of(region)
        far = distances(runs, pieces(runs, clip.size[1], diagonal=True), runs_of(target))
        if (furthest := float(far.max())) > t.IGNORE_FAR * diagonal:
            _add(found, "G4", f"{place}: {furthest:.0f} px away")
    if shares and (mean := float(np.mean(shares))) > t.IGNORE_MEAN:
        _add(found, "G2.mean", f"{clip.id}: {mean:.2f}")
    toggles = sum(later != earlier for earlier, later in pairwise(there))
    rate = clip.annotation_fps or clip.fps
    if rate and len(there) > 1 and toggles * rate / len(there) >= t.IGNORE_TOGGLES:
        _add(found, "G6", f"{clip.id}: {toggles} times in {len(there)} frames")
