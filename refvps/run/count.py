"""From masks to counts: one clip per task, one frame at a time, every target decoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from refvps.masks import boundary, rle
from refvps.masks.mask import Mask
from refvps.metrics import METRICS
from refvps.predictions.problems import Report
from refvps.predictions.submission import Submission
from refvps.run.counts import (
    AREAS,
    EDGES,
    KEYS,
    MISSING,
    NOT_ANNOTATED,
    SCORED,
    ClipEntry,
    Counts,
    ExpressionEntry,
    assemble,
)
from refvps.types import Benchmark, Clip, Expression, Rules, Truth
from refvps.workers import workers

Progress = Callable[[int, int], None]
"""Called with (masks done, masks in all)."""

_IN_PROCESS = 500  # masks below which starting worker processes costs more than it saves


class Reader(Protocol):
    """Predictions of one clip, read frame by frame."""

    def frame(self, index: int) -> Mapping[str, Mask | None]:
        """Masks by expression id for frame ``index`` of the clip; None where there is none."""

    @property
    def problems(self) -> Report:
        """Everything wrong with the masks read so far."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """How the four boundary integers are counted: tolerance and Ignore rule."""

    bound_th: float
    ignore: str


@dataclass(frozen=True)
class ClipTask:
    """One clip to count; picklable. ``pairs`` lists (expression id, target id) to compare."""

    clip: Clip
    pairs: tuple[tuple[str, str], ...]
    truth: Truth
    reader: Reader
    boundary: Boundary | None = None

    @property
    def masks(self) -> int:
        """Number of rows the task yields."""
        return len(self.clip.annotated) * len(self.pairs)


@dataclass(frozen=True, eq=False)
class ClipCounts:
    """Integers of one clip, int64 [pairs, annotated frames, columns], and what was wrong with its masks."""

    clip: str
    values: NDArray[np.int64]
    problems: Report


Areas = list[tuple[int, int, int, int, int]]


class _Areas:
    """|P∩G|, |P|, |G|, |P∩I|, |I| of one frame's predictions against one target, in either mask form."""

    def __init__(self) -> None:
        self._both = np.zeros((2, 0), dtype=np.uint64)
        self._ones = np.zeros((2, 0), dtype=np.uint8)

    def __call__(self, predictions: Sequence[Mask], target: Mask, ignore: Mask | None) -> Areas:
        if all(mask.has_rle for mask in predictions):
            truths = [target.counts()] + ([] if ignore is None else [ignore.counts()])
            g, i = target.area(), 0 if ignore is None else ignore.area()
            against = truths if i else truths[:1]
            areas = [mask.area() for mask in predictions]
            _, inter = rle.intersections([mask.counts() for mask in predictions], against, target.size, areas)
            on_ignore = inter[:, 1] if len(against) == 2 else np.zeros(len(predictions), dtype=np.int64)
            shared = np.stack([inter[:, 0], on_ignore], axis=1).tolist()
            return [(both, p, g, pi, i) for p, (both, pi) in zip(areas, shared, strict=True)]
        truth = target.bits()[None] if ignore is None else np.stack([target.bits(), ignore.bits()])
        g, i = target.area(), 0 if ignore is None else ignore.area()
        truth = truth if i else truth[:1]
        if self._both.shape[1] != truth.shape[1]:  # reused: fresh pages cost more than the counting
            self._both = np.empty((2, truth.shape[1]), dtype=np.uint64)
            self._ones = np.empty((2, truth.shape[1]), dtype=np.uint8)
        both, ones = self._both[: len(truth)], self._ones[: len(truth)]
        rows: Areas = []
        for mask in predictions:
            bits = mask.bits()
            np.bitwise_and(truth, bits, out=both)
            np.bitwise_count(both, out=ones)
            inter = ones.sum(axis=1, dtype=np.uint32)
            rows.append((int(inter[0]), mask.area(), g, int(inter[1]) if len(truth) == 2 else 0, i))
        return rows


def _boundary_truth(target: Mask, ignore: Mask | None, how: Boundary) -> boundary.BoundaryTruth:
    if ignore is None or how.ignore == "background":
        return boundary.BoundaryTruth(target.bits(), None, target.size, how.bound_th)
    if how.ignore == "target":
        return boundary.BoundaryTruth(target.bits() | ignore.bits(), None, target.size, how.bound_th)
    return boundary.BoundaryTruth(target.bits(), ignore.bits(), target.size, how.bound_th)


def count_clip(task: ClipTask) -> ClipCounts:
    """Count every pair of one clip on its annotated frames; bad masks end up in ``problems``."""
    columns = ("frame", "state", *AREAS, *(EDGES if task.boundary else ()))
    values = np.zeros((len(task.pairs), len(task.clip.annotated), len(columns)), dtype=np.int64)
    areas = _Areas()
    by_target: dict[str, list[int]] = {}
    for k, (_, target) in enumerate(task.pairs):
        by_target.setdefault(target, []).append(k)
    for t, index in enumerate(task.clip.annotated_indices()):
        targets, ignore = task.truth.frame(index)
        predictions = task.reader.frame(index)
        values[:, t, 0] = index
        for name, members in by_target.items():
            truth = targets[name]
            if truth is None:
                values[members, t, 1] = NOT_ANNOTATED
                continue
            given = [(k, mask) for k in members if (mask := predictions[task.pairs[k][0]]) is not None]
            if len(given) < len(members):
                values[members, t, 1] = MISSING
                values[members, t, 4] = truth.area()
                values[members, t, 6] = 0 if ignore is None else ignore.area()
            if not given:
                continue
            for (k, _), row in zip(given, areas([mask for _, mask in given], truth, ignore), strict=True):
                values[k, t, 1] = SCORED
                values[k, t, 2:7] = row
            if task.boundary is not None:
                edge = _boundary_truth(truth, ignore, task.boundary)
                for k, mask in given:
                    values[k, t, 7:] = boundary.counts(mask.bits(), edge)
    return ClipCounts(task.clip.id, values, task.reader.problems)


def run_tasks(tasks: Iterable[ClipTask], jobs: int = 1, progress: Progress | None = None) -> dict[str, ClipCounts]:
    """Count clips, largest first, on ``jobs`` processes; the result does not depend on ``jobs``."""
    todo = sorted(tasks, key=lambda task: (-task.masks * task.clip.size[0] * task.clip.size[1], task.clip.id))
    total, done, results = sum(task.masks for task in todo), 0, {}
    report = progress or (lambda done, total: None)
    report(0, total)
    if jobs <= 1 or len(todo) < 2 or total < _IN_PROCESS:
        for task in todo:
            results[task.clip.id] = count_clip(task)
            done += task.masks
            report(done, total)
        return results
    with workers(
        min(jobs, len(todo)), lambda: f"{done:,} of {total:,} masks were counted; nothing was written"
    ) as pool:
        sizes = {pool.submit(count_clip, task): task.masks for task in todo}
        for future in as_completed(sizes):
            result = future.result()
            results[result.clip] = result
            done += sizes[future]
            report(done, total)
    return results


def pairs_of(expressions: Iterable[Expression]) -> tuple[tuple[str, str], ...]:
    """What Ref-VPS compares: every expression with the target it points at."""
    return tuple((expression.id, expression.target) for expression in expressions)


def boundary_of(rules: Rules) -> Boundary | None:
    """The boundary measure the rules ask for, or None when no metric needs it."""
    wanted = any(METRICS[name].needs_boundary for name in rules.metrics)
    return Boundary(rules.bound_th, rules.ignore) if wanted else None


def table(benchmark: Benchmark, results: Mapping[str, ClipCounts], boundary: Boundary | None, **extra: Any) -> Counts:
    """Counts of clips put together under the benchmark's names; clips without a result have no rows."""
    clip_index = {clip: k for k, clip in enumerate(benchmark.clips)}
    expressions = tuple(sorted(benchmark.expressions, key=lambda e: clip_index[e.clip]))
    targets = tuple(dict.fromkeys((e.clip, e.target) for e in expressions))
    target_index = {key: k for k, key in enumerate(targets)}
    names = (*KEYS, *AREAS, *(EDGES if boundary else ()))
    blocks: list[NDArray[np.int64]] = []
    position: dict[str, int] = {}
    for k, expression in enumerate(expressions):
        order = position[expression.clip] = position.get(expression.clip, -1) + 1
        if expression.clip in results:
            values = results[expression.clip].values[order]
            key = [clip_index[expression.clip], k, target_index[expression.clip, expression.target]]
            blocks.append(np.hstack([np.tile(np.array(key, dtype=np.int64), (len(values), 1)), values]))
    rows = np.concatenate(blocks) if blocks else np.zeros((0, len(names)), dtype=np.int64)
    return assemble(
        Counts(
            benchmark={"name": benchmark.name, "version": benchmark.version, "digest": benchmark.digest},
            clips=tuple(
                ClipEntry(
                    c.id,
                    c.size,
                    c.fps,
                    c.annotation_fps,
                    len(c.frames),
                    c.annotated_indices(),
                    c.group,
                    benchmark.clip_digests.get(c.id, ""),
                )
                for c in benchmark.clips.values()
            ),
            expressions=tuple(
                ExpressionEntry(e.clip, e.id, e.text, e.target, e.concept, e.categories, e.annotator)
                for e in expressions
            ),
            targets=targets,
            columns={name: np.ascontiguousarray(rows[:, k]) for k, name in enumerate(names)},
            boundary=asdict(boundary) if boundary else None,
            notes=tuple(benchmark.notes),
            **extra,
        )
    )


def count(
    benchmark: Benchmark,
    submission: Submission,
    rules: Rules,
    *,
    jobs: int = 1,
    clips: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> tuple[Counts, Report]:
    """Count a submission against a benchmark; the benchmark is walked, never the predictions.

    ``clips`` restricts the work to a shard. The report holds what was wrong with single masks; the counts
    are only meaningful when it has no errors.
    """
    how = boundary_of(rules)
    wanted = benchmark.clips if clips is None else {clip: benchmark.clips[clip] for clip in clips}
    by_clip: dict[str, list[Expression]] = {clip: [] for clip in wanted}
    for expression in benchmark.expressions:
        if expression.clip in by_clip:
            by_clip[expression.clip].append(expression)
    tasks = [
        ClipTask(clip, pairs_of(by_clip[clip.id]), benchmark.truth(clip.id), submission.reader(clip.id), how)
        for clip in wanted.values()
    ]
    results = run_tasks(tasks, jobs, progress)
    report = Report.merge([results[clip].problems for clip in wanted])
    return table(benchmark, results, how), report
