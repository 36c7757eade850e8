"""From counts to the numbers a tool prints: pure arithmetic on integers, no masks.

The tools average with ``numpy.mean``, whose sum is rounded step by step in a fixed order; so do the functions here,
in the order of each tool, and their numbers equal the tools' to the last bit. Everything else in a result (rows,
summary, intervals) is averaged by exactly rounded sums, as everywhere in refvps; the two may differ by some 1e-16.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refvps.metrics.boundary import f_from_counts
from refvps.metrics.catalogue import Series
from refvps.metrics.region import Floats, mean
from refvps.run.counts import Counts
from refvps.run.protocols.matching import AllPairs, hungarian
from refvps.run.protocols.rules import Layout, Protocol
from refvps.types import Row

UINT8_FRAMES = 255
"""Longest sequence, in scored frames, for which the uint8 borders of davis2017-evaluation are right."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectSeries:
    """One object with the prediction it is held against: J and F, float64 [T], on the frames that count.

    ``frames``: how many were scored; fewer count where frames before the first sight are omitted. ``label``: what
    the tool calls the object.
    """

    clip: str
    object: str
    prediction: str
    label: str
    frames: int
    j: Floats
    f: Floats


def series(counts: Counts, protocol: Protocol, layout: Layout) -> list[ObjectSeries]:
    """All objects in the order in which the tool averages them."""
    pairs: dict[str, dict[tuple[str, str], Series]] = {clip.id: {} for clip in counts.clips}
    for expression, target, found in counts.series(protocol.ignore, boundary=True):
        entry = counts.expressions[expression]
        pairs[entry.clip][entry.id, counts.targets[target][1]] = found
    objects: list[ObjectSeries] = []
    for clip, of_clip in pairs.items():
        if protocol.matching == "hungarian":
            objects += _matched(clip, of_clip)
            continue
        names = [target for _, target in of_clip]
        if protocol.objects == "seen" and layout == "ids":
            names = [str(k) for k in set_order(_labels_by_frame(of_clip))]
        for name in names:
            found = of_clip[name, name]
            first = first_sight(found) if protocol.before_first_sight == "omit" else 0
            label = f"{clip}_{name}" if protocol.objects == "first-frame" else name
            objects.append(_series(clip, name, name, label, found, first))
    return objects


def _series(clip: str, name: str, prediction: str, label: str, found: Series, first: int = 0) -> ObjectSeries:
    j, f = found.jaccard(), found.contour()
    return ObjectSeries(clip, name, prediction, label, len(j), j[first:], f[first:])


def _matched(clip: str, pairs: Mapping[tuple[str, str], Series]) -> list[ObjectSeries]:
    """The assignment of DAVIS: by ascending prediction, named by position, as davis2017-evaluation does."""
    predictions, objects = (sorted({key[k] for key in pairs}, key=int) for k in (0, 1))
    if not objects:
        return []
    grid = [[pairs[p, g] for g in objects] for p in predictions]
    j = np.array([[found.jaccard() for found in row] for row in grid])
    edges = np.array([[found.edges for found in row] for row in grid], dtype=np.int64)
    chosen = zip(*hungarian(AllPairs(j, f_from_counts(*np.moveaxis(edges, 2, 0)))), strict=True)
    return [_series(clip, objects[g], predictions[p], f"{clip}_{k}", grid[p][g]) for k, (p, g) in enumerate(chosen, 1)]


def first_sight(found: Series) -> int:
    """Index of the first frame on which the object is in the ground truth or in the prediction."""
    return int(np.argmax((found.target > 0) | (found.prediction > 0)))


def _labels_by_frame(pairs: Mapping[tuple[str, str], Series]) -> Iterable[list[int]]:
    """Labels in the ground truth, ascending, frame by frame."""
    names = sorted({target for _, target in pairs}, key=int)
    seen = np.array([pairs[name, name].target > 0 for name in names])
    return ([int(names[k]) for k in np.flatnonzero(seen[:, t])] for t in range(seen.shape[1] if names else 0))


def set_order(frames: Iterable[Sequence[int]]) -> list[int]:
    """Labels in the order in which CPython iterates over a set of ints that was grown frame by frame.

    vos-benchmark keeps its objects in such a set and averages in its order, which moves the last bit of the mean.
    """
    seen: set[int] = set()
    for labels in frames:
        seen.update(set(labels))
    return list(seen)


def statistics(values: Floats) -> tuple[float, float, float]:
    """Mean, recall (share above 0.5, strictly) and decay of values [T], as ``db_statistics`` of davis2017-evaluation.

    Decay: mean of the first quarter minus mean of the last, with borders round(linspace(1, T, 5) + 1e-10) - 1,
    quarters sharing their ends. The borders are int64: the tool's uint8 wraps beyond 255 frames.
    """
    borders = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(np.int64)
    quarters = [values[borders[k] : borders[k + 1] + 1] for k in (0, 3)]
    decay = float(np.mean(quarters[0]) - np.mean(quarters[1]))
    return float(np.mean(values)), float(np.mean(values > 0.5)), decay


def object_scores(found: ObjectSeries, protocol: Protocol) -> dict[str, float]:
    """The numbers of one object under the tool's names and in its unit."""
    (j, j_recall, j_decay), (f, f_recall, f_decay) = statistics(found.j), statistics(found.f)
    if "J-Mean" in protocol.scores:
        values = (j, j_recall, j_decay, f, f_recall, f_decay)
        return {"J&F-Mean": (j + f) / 2.0, **dict(zip(protocol.scores[1:], values, strict=True))}
    j, f = j * protocol.scale, f * protocol.scale
    return {"J&F": (j + f) / 2, "J": j, "F": f}


def mean_scores(objects: Sequence[Mapping[str, float]], protocol: Protocol) -> dict[str, float]:
    """The mean over objects, and J&F as the mean of its J and F: what the tool prints last."""
    first, *others = protocol.scores
    means = {name: float(np.mean([one[name] for one in objects])) for name in others}
    j, f = ("J-Mean", "F-Mean") if "J-Mean" in means else ("J", "F")
    return {first: (means[j] + means[f]) / 2.0, **means}


def tables(objects: Sequence[ObjectSeries], protocol: Protocol) -> dict[str, Any]:
    """The tool's tables: of everything, by sequence and by object."""
    rows = [object_scores(found, protocol) for found in objects]
    by_clip: dict[str, list[dict[str, float]]] = {}
    for found, row in zip(objects, rows, strict=True):
        by_clip.setdefault(found.clip, []).append(row)
    return {
        "scores": mean_scores(rows, protocol),
        "sequences": [
            {"clip": clip, "objects": len(members), "scores": mean_scores(members, protocol)}
            for clip, members in by_clip.items()
        ],
        "objects": [
            {
                "clip": found.clip,
                "object": found.object,
                "prediction": found.prediction,
                "label": found.label,
                "frames": len(found.j),
                "scores": row,
            }
            for found, row in zip(objects, rows, strict=True)
        ],
    }


def rows(objects: Sequence[ObjectSeries]) -> tuple[Row, ...]:
    """The objects as rows of a result: J&F, J and F as fractions, by exactly rounded sums."""
    found = []
    for one in objects:
        j, f = mean(one.j), mean(one.f)
        assert j is not None and f is not None  # an object has a frame, or its video was refused
        values = {"J&F": (j + f) / 2, "J": j, "F": f}
        found.append(Row(one.clip, one.object, one.object, "", one.clip, one.frames, 0, values))
    order = {clip: k for k, clip in enumerate(dict.fromkeys(one.clip for one in objects))}
    return tuple(sorted(found, key=lambda row: (order[row.clip], len(row.target), row.target)))


def notes(objects: Sequence[ObjectSeries], protocol: Protocol) -> list[str]:
    """What the frames that counted say about a comparison with the tool, or with other protocols."""
    said = []
    omitted = [one for one in objects if len(one.j) < one.frames]
    if omitted:
        frames = sum(one.frames - len(one.j) for one in omitted)
        said.append(
            f"{frames} frames before an object was first seen or predicted are left out ({len(omitted)} objects), as "
            f"{protocol.tool} does; refvps and DAVIS count an empty pair as 1"
        )
    if protocol.unlike and any(len(one.j) > UINT8_FRAMES for one in objects):
        said.append(protocol.unlike)
    return said
