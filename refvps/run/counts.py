"""The integers between masks and scores: one row per (clip, expression, target, frame).

They are exact, so shards, resumed runs and merges are concatenation and CI compares with ``==``; and they
are sufficient: every score, filter, average, interval and plot is computed from them, without masks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.errors import InputError, UsageError
from refvps.files import canonical_json, sha256
from refvps.metrics.catalogue import Series
from refvps.metrics.region import IgnoreRule

SCHEMA = "refvps.counts/1"
SCORED, MISSING, NOT_ANNOTATED = 0, 1, 2
"""States of a row. NOT_ANNOTATED: other targets of the clip are annotated on this frame, this one is not."""

KEYS = ("clip", "expression", "target", "frame", "state")
AREAS = ("both", "prediction", "target_area", "prediction_ignore", "ignore")
EDGES = ("edge_prediction", "edge_target", "edge_prediction_matched", "edge_target_matched")

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClipEntry:
    """What scoring needs to know of a clip: size (height, width), rates, frames, annotated ones, group, digest.

    ``annotated`` holds the positions of the annotated frames, so that a table can say what it lacks.
    """

    id: str
    size: tuple[int, int]
    fps: float
    annotation_fps: float
    frames: int
    annotated: tuple[int, ...]
    group: str
    digest: str


@dataclass(frozen=True, slots=True)
class ExpressionEntry:
    """What scoring needs to know of an expression; ``clip`` is an id, ``target`` the target it points at."""

    clip: str
    id: str
    text: str
    target: str
    concept: str
    categories: tuple[str, ...]
    annotator: str


@dataclass(frozen=True, eq=False)
class Counts:
    """A table of exact integers with the names it refers to.

    ``columns`` holds int64 arrays of one length [N]. ``clip``, ``expression`` and ``target`` index into
    ``clips``, ``expressions`` and ``targets``; ``frame`` is the position in the clip's frames; ``both`` is
    |P∩G|, ``prediction`` |P|, ``target_area`` |G|, ``prediction_ignore`` |P∩I|, ``ignore`` |I|, all in
    pixels. The four ``edge_*`` columns exist only when F was counted, under ``boundary`` = {"bound_th",
    "ignore"}: they cannot be re-scored under another tolerance or Ignore rule. ``protocol`` holds the fields of
    another tool's rules (see :mod:`refvps.run.protocols`); such counts are never scored by these.
    """

    benchmark: Mapping[str, str]
    clips: tuple[ClipEntry, ...]
    expressions: tuple[ExpressionEntry, ...]
    targets: tuple[tuple[str, str], ...]
    columns: Mapping[str, Ints]
    boundary: Mapping[str, Any] | None = None
    method: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    protocol: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["clip"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counts) and self.sha256() == other.sha256()

    __hash__ = None  # type: ignore[assignment]

    @property
    def missing(self) -> int:
        """Number of rows without a prediction."""
        return int(np.count_nonzero(self.columns["state"] == MISSING))

    def names(self) -> dict[str, Any]:
        """Everything but the integers, as plain JSON."""
        return {
            "schema": SCHEMA,
            "benchmark": dict(self.benchmark),
            "boundary": None if self.boundary is None else dict(self.boundary),
            "clips": [
                [
                    c.id,
                    list(c.size),
                    float(c.fps),
                    float(c.annotation_fps),
                    c.frames,
                    list(c.annotated),
                    c.group,
                    c.digest,
                ]
                for c in self.clips
            ],
            "expressions": [
                [e.clip, e.id, e.text, e.target, e.concept, list(e.categories), e.annotator] for e in self.expressions
            ],
            "targets": [list(t) for t in self.targets],
            "columns": list(self.columns),
            "notes": list(self.notes),
            **({"protocol": dict(self.protocol)} if self.protocol else {}),
        }

    def check_complete(self) -> None:
        """Raise InputError unless every expression has one row per annotated frame of its clip.

        A part of a table (a shard) can be merged with the others, but never scored as if it were the whole.
        """
        by_id = {clip.id: np.array(clip.annotated, dtype=np.int64) for clip in self.clips}
        expression, target, frame = (self.columns[name] for name in ("expression", "target", "frame"))
        pair = expression * max(1, len(self.targets)) + target
        starts = np.flatnonzero(np.r_[True, pair[1:] != pair[:-1]]) if len(pair) else np.zeros(0, np.int64)
        seen: set[int] = set()
        partial: list[int] = []
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(pair)], strict=True):
            which = int(expression[start])
            seen.add(which)
            if not np.array_equal(frame[start:stop], by_id[self.expressions[which].clip]):
                partial.append(which)
        lacking = sorted({*partial, *(set(range(len(self.expressions))) - seen)})
        if lacking:
            raise InputError(
                "These counts are only a part of the benchmark.",
                where=[f"{self.expressions[k].clip}/{self.expressions[k].id}: frames are not there" for k in lacking],
                fix="merge all parts, or evaluate the predictions again",
            )

    def sha256(self) -> str:
        """Hash over the names and the columns as little-endian int64: equal exactly when the tables are."""
        parts = [canonical_json(self.names())]
        parts += [np.ascontiguousarray(column, dtype="<i8").tobytes() for column in self.columns.values()]
        return sha256(b"\0".join(parts))

    def series(self, rule: IgnoreRule = "drop", *, boundary: bool = False) -> Iterator[tuple[int, int, Series]]:
        """(expression index, target index, counts over time) for every pair, in table order.

        Raises UsageError when F is asked under another Ignore rule than it was counted with.
        """
        edges = EDGES if boundary else ()
        if boundary and (self.boundary is None or self.boundary["ignore"] != rule):
            raise UsageError(
                "F cannot be scored from these counts.",
                where=[
                    "boundary counts: " + ("none" if self.boundary is None else f"ignore={self.boundary['ignore']}")
                ],
                fix="evaluate the masks again with F among --metrics, under the rule you want",
            )
        kept = np.flatnonzero(self.columns["state"] != NOT_ANNOTATED)
        column = {name: self.columns[name][kept] for name in (*KEYS, *AREAS, *edges)}
        pair = column["expression"] * max(1, len(self.targets)) + column["target"]
        starts = np.flatnonzero(np.r_[True, pair[1:] != pair[:-1]]) if len(pair) else np.zeros(0, np.int64)
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(pair)], strict=True):
            run = slice(start, stop)
            yield (
                int(column["expression"][start]),
                int(column["target"][start]),
                Series(
                    column["both"][run],
                    column["prediction"][run],
                    column["target_area"][run],
                    column["prediction_ignore"][run],
                    column["ignore"][run],
                    missing=column["state"][run] == MISSING,
                    edges=np.stack([column[name][run] for name in edges]) if boundary else None,
                    rule=rule,
                ),
            )


def assemble(counts: Counts) -> Counts:
    """The canonical order of rows: expression, target, frame. Raises InputError on a duplicate row."""
    columns = counts.columns
    order = np.lexsort((columns["frame"], columns["target"], columns["expression"]))
    columns = {name: np.ascontiguousarray(column[order]) for name, column in columns.items()}
    key = np.stack([columns["expression"], columns["target"], columns["frame"]])
    double = np.flatnonzero((key[:, 1:] == key[:, :-1]).all(axis=0))
    if len(double):
        raise InputError(
            "Counts hold the same frame twice.",
            where=[
                f"{counts.expressions[e].clip}/{counts.expressions[e].id} frame {f}"
                for e, f in zip(columns["expression"][double], columns["frame"][double], strict=True)
            ],
            fix="merge each shard once",
        )
    return replace(counts, columns=columns)


def merge(parts: Sequence[Counts]) -> Counts:
    """One table from shards of the same benchmark and rules, in any order; the union of their rows.

    The shards must list the same clips, expressions and targets (each shard lists all, and holds rows for
    its own). Raises InputError when they disagree or overlap.
    """
    first = parts[0]
    for part in parts[1:]:
        if part.names() != first.names():
            raise InputError(
                "These counts do not belong together.",
                where=[f"{p.benchmark}, boundary {p.boundary}" for p in parts],
                fix="merge shards of one benchmark version, counted with the same metrics and rules",
            )
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in first.columns}
    return assemble(replace(first, columns=columns))


def select(counts: Counts, keep: Iterable[str]) -> Counts:
    """The same counts with only the clips in ``keep``, as if the benchmark had never had the others.

    The benchmark digest is recomputed from the digests of the clips that stay.
    """
    from refvps.data.digest import benchmark_digest  # the one definition of a benchmark's digest

    wanted = set(keep)
    clips = [k for k, clip in enumerate(counts.clips) if clip.id in wanted]
    expressions = [k for k, e in enumerate(counts.expressions) if e.clip in wanted]
    targets = [k for k, t in enumerate(counts.targets) if t[0] in wanted]
    rows = np.isin(counts.columns["clip"], clips)
    columns = {name: column[rows] for name, column in counts.columns.items()}
    for name, kept in (("clip", clips), ("expression", expressions), ("target", targets)):
        position = np.zeros(max(kept, default=0) + 1, dtype=np.int64)
        position[kept] = np.arange(len(kept))
        columns[name] = position[columns[name]]
    entries = tuple(counts.clips[k] for k in clips)
    return replace(
        counts,
        benchmark={**counts.benchmark, "digest": benchmark_digest({clip.id: clip.digest for clip in entries})},
        clips=entries,
        expressions=tuple(counts.expressions[k] for k in expressions),
        targets=tuple(counts.targets[k] for k in targets),
        columns=columns,
    )
