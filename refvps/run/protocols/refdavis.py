"""Ref-DAVIS17 as papers score it: DAVIS' unsupervised protocol inside each annotator's run, four runs averaged.

Two annotators wrote two sentences for every object; sentence k of an object belongs to run k. In a run every
prediction is compared with every object of its video, and predictions are assigned to objects so that the mean of
J and F is highest (:mod:`refvps.run.protocols.matching`). A run scores the mean over the objects of all videos, the
benchmark the mean of the four runs; void (255) is left out, all frames count. TC is that of the assigned prediction.

Matching forgives a method that confuses two objects. The "fixed" columns hold each sentence's prediction against the
object it speaks of, and are what ``refvps evaluate --protocol refvps`` reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from refvps import stats
from refvps.errors import InputError, UsageError
from refvps.metrics.boundary import f_from_counts
from refvps.metrics.catalogue import Series
from refvps.metrics.region import mean
from refvps.metrics.temporal import temporal_consistency
from refvps.predictions.problems import Report
from refvps.predictions.submission import open_submission
from refvps.run import score
from refvps.run.count import Boundary, ClipCounts, ClipTask, Progress, run_tasks
from refvps.run.counts import AREAS, EDGES, KEYS, ClipEntry, Counts, ExpressionEntry, assemble
from refvps.run.counts_file import read_counts
from refvps.run.evaluate import RUN_FIELDS, method_of
from refvps.run.protocols import matching
from refvps.run.protocols.evaluate import ProtocolEvaluation
from refvps.run.signature import signature
from refvps.types import Benchmark, Clip, Method, Row, Rules, Scores

NAME = "ref-davis"
TOOL = "davis2017-evaluation, task unsupervised, in the four runs of Ref-DAVIS17"
SOURCE = (
    "eval_davis.py and scripts/dist_test_davis.sh of github.com/wjn922/ReferFormer (issue 30 says that the four are "
    "averaged); davis2017/evaluation.py: _evaluate_unsupervised"
)
METRICS = ("J&F", "J", "F", "TC")
COLUMNS = (*METRICS, "fixed J&F", "fixed J", "fixed F", "fixed TC")
BOUNDARY = Boundary(0.008, "drop")
DRAWS = Rules().draws
FIELDS = {
    "protocol": NAME,
    "layout": "expressions",
    "videos": "all",
    "obj": "listed",
    "void": "drop",
    "ends": "keep",
    "before": "count",
    "match": f"hungarian(J&F)<={matching.MAX_PROPOSALS}",
    "runs": "mean of annotators",
}

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """One object in one run: the prediction it was given, and the numbers of this and of its own sentence."""

    run: str
    clip: str
    object: str
    own: str
    given: str
    frames: int
    scores: Mapping[str, float]


def runs_of(clip: str, expressions: Sequence[ExpressionEntry], targets: Sequence[str]) -> dict[str, dict[str, str]]:
    """{run: {object: expression}} of one clip; InputError unless every run speaks of every object once."""
    found: dict[str, dict[str, str]] = {}
    twice = []
    for each in expressions:
        members = found.setdefault(each.annotator, {})
        twice += [f"{clip}: {each.annotator or 'a run without a name'} speaks of {each.target} twice"] * (
            each.target in members
        )
        members[each.target] = each.id
    wrong = twice + [
        f"{clip}: {run or 'a run without a name'} does not speak of {target}"
        for run, members in found.items()
        for target in targets
        if target not in members
    ]
    if wrong:
        raise InputError(
            "The expressions of a video do not form annotator runs.",
            where=wrong,
            fix="every annotator run needs one expression for each object; score with --protocol refvps otherwise",
        )
    return {run: {target: members[target] for target in targets} for run, members in found.items()}


def evaluate_refdavis(
    benchmark: Benchmark,
    path: Path,
    *,
    method: str | None = None,
    draws: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
) -> ProtocolEvaluation:
    """Score predictions for a benchmark whose expressions form annotator runs (``Expression.annotator``).

    Every mask must be there; an object that is not predicted is an empty mask.
    """
    matching.check_solver()
    submission = open_submission(path, benchmark)
    submission.problems.raise_for_errors()
    maker = method_of(submission, method)
    entries = _entries(benchmark)
    pairs = {clip: _pairs(clip, entries[clip]) for clip in benchmark.clips}
    tasks = [
        ClipTask(clip, pairs[key], benchmark.truth(key), submission.reader(key), BOUNDARY)
        for key, clip in benchmark.clips.items()
    ]
    results = run_tasks(tasks, jobs, progress)
    report = Report.merge([submission.problems, *(results[clip].problems for clip in benchmark.clips)])
    report.raise_for_errors()
    counts = replace(_table(benchmark, entries, pairs, results), method={"name": maker.name})
    inputs = {
        "predictions": str(path),
        "layout": submission.layout,
        "run": {key: value for key, value in (submission.run or {}).items() if key in RUN_FIELDS},
        "problems": report.to_dict()["problems"],
    }
    return scored(counts, maker, DRAWS if draws is None else draws, seed, report, inputs)


def _entries(benchmark: Benchmark) -> dict[str, list[ExpressionEntry]]:
    found: dict[str, list[ExpressionEntry]] = {clip: [] for clip in benchmark.clips}
    for e in benchmark.expressions:
        found[e.clip].append(ExpressionEntry(e.clip, e.id, e.text, e.target, e.concept, e.categories, e.annotator))
    return found


def _pairs(clip: str, expressions: Sequence[ExpressionEntry]) -> tuple[Pair, ...]:
    """Every prediction of a run with every object."""
    targets = list(dict.fromkeys(each.target for each in expressions))
    matching.check_proposals(len(targets), place=f"{clip}: {len(targets)} objects")
    runs = runs_of(clip, expressions, targets)
    return tuple((own, target) for members in runs.values() for own in members.values() for target in targets)


def _table(
    benchmark: Benchmark,
    entries: Mapping[str, list[ExpressionEntry]],
    pairs: Mapping[str, tuple[Pair, ...]],
    results: Mapping[str, ClipCounts],
) -> Counts:
    expressions = [each for clip in benchmark.clips for each in entries[clip]]
    targets = list(dict.fromkeys((each.clip, each.target) for each in expressions))
    row = {(each.clip, each.id): k for k, each in enumerate(expressions)}
    column = {key: k for k, key in enumerate(targets)}
    blocks = []
    for c, clip in enumerate(benchmark.clips):
        for (own, target), values in zip(pairs[clip], results[clip].values, strict=True):
            key = np.array([c, row[clip, own], column[clip, target]], dtype=np.int64)
            blocks.append(np.hstack([np.tile(key, (len(values), 1)), values]))
    table = np.concatenate(blocks)
    return assemble(
        Counts(
            benchmark={"name": benchmark.name, "version": benchmark.version, "digest": benchmark.digest},
            clips=tuple(_clip(clip, benchmark.clip_digests.get(clip.id, "")) for clip in benchmark.clips.values()),
            expressions=tuple(expressions),
            targets=tuple(targets),
            columns={name: np.ascontiguousarray(table[:, k]) for k, name in enumerate((*KEYS, *AREAS, *EDGES))},
            boundary=asdict(BOUNDARY),
            notes=tuple(benchmark.notes),
            protocol=FIELDS,
        )
    )


def _clip(clip: Clip, digest: str) -> ClipEntry:
    return ClipEntry(
        clip.id,
        clip.size,
        clip.fps,
        clip.annotation_fps,
        len(clip.frames),
        clip.annotated_indices(),
        clip.group,
        digest,
    )


def rescore_refdavis(
    path: Path, *, method: str | None = None, draws: int | None = None, seed: int = 0
) -> ProtocolEvaluation:
    """Score published counts of this protocol again."""
    counts = read_counts(path)
    if counts.protocol.get("protocol") != NAME:
        raise UsageError(
            "These counts were not made by this protocol.",
            where=[f"{path}: {counts.protocol.get('protocol', 'refvps')}, not {NAME}"],
            fix=f"evaluate the masks: refvps evaluate --protocol {NAME} -b ref-davis --pred preds/",
        )
    matching.check_solver()
    maker = Method(method or str(counts.method.get("name") or path.name.partition(".")[0]))
    counts = replace(counts, method={"name": maker.name})
    return scored(counts, maker, DRAWS if draws is None else draws, seed, Report(()), {"counts": str(path)})


def scored(
    counts: Counts, maker: Method, draws: int, seed: int, report: Report, inputs: Mapping[str, Any]
) -> ProtocolEvaluation:
    """The result that follows from counts of all pairs; InputError where the table is not one."""
    from refvps import __version__

    if dict(counts.protocol) != FIELDS or counts.boundary != asdict(BOUNDARY):
        raise InputError("These counts are not of this protocol.", where=[NAME], fix="evaluate the masks again")
    counts = replace(counts, protocol=FIELDS)  # a file sorts them
    counts.check_complete()
    if counts.missing:
        raise InputError("Frames are missing.", where=[counts.benchmark["name"]], fix="evaluate the masks again")
    rules = Rules(metrics=METRICS, average="frame>object", draws=draws, seed=seed)
    found = objects_of(counts)
    rows = tuple(_row(each, counts) for each in found)
    swapped = sum(each.given != each.own for each in found)
    notes = [
        f"Predictions that the matching gave to another object than their sentence speaks of: {swapped:,} of "
        f"{len(found):,}; the fixed columns do not forgive these."
    ]
    scores = Scores(
        signature=signature(counts, rules, __version__),
        benchmark=dict(counts.benchmark),
        method=maker,
        summary={name: score.estimate(rows, name, rules) for name in METRICS},
        diagnostics={},
        by_concept={},
        by_category={},
        rows=rows,
        counts_sha256=counts.sha256(),
        notes=(*counts.notes, *notes),
    )
    block = {"name": NAME, "tool": TOOL, "source": SOURCE, "rules": dict(FIELDS), "scale": 100, "digits": 1}
    return ProtocolEvaluation(scores, counts, rules, report, inputs, block | tables(found))


def objects_of(counts: Counts) -> list[Found]:
    """Every object of every run, in the order of clips, runs and objects."""
    pairs: dict[str, dict[Pair, Series]] = {clip.id: {} for clip in counts.clips}
    for e, t, series in counts.series("drop", boundary=True):
        entry = counts.expressions[e]
        pairs[entry.clip][entry.id, counts.targets[t][1]] = series
    found: list[Found] = []
    for clip, of_clip in pairs.items():
        entries = [each for each in counts.expressions if each.clip == clip]
        targets = list(dict.fromkeys(each.target for each in entries))
        for run, members in runs_of(clip, entries, targets).items():
            owns = list(members.values())
            if any((own, target) not in of_clip for own in owns for target in targets):
                raise InputError("Counts of some pairs are not there.", where=[f"{clip}: {run}"], fix="evaluate again")
            grid = [[of_clip[own, target] for target in targets] for own in owns]
            given = _matched(grid)
            for g, target in enumerate(targets):
                best, fixed = grid[given[g]][g], grid[g][g]
                scores = {**_numbers(best), **{f"fixed {name}": value for name, value in _numbers(fixed).items()}}
                found.append(Found(run, clip, target, owns[g], owns[given[g]], len(best.both), scores))
    return found


def _matched(grid: Sequence[Sequence[Series]]) -> list[int]:
    """The prediction given to each object."""
    j = np.array([[series.jaccard() for series in row] for row in grid])
    edges = np.array([[series.edges for series in row] for row in grid], dtype=np.int64)
    pairs = matching.AllPairs(j, f_from_counts(*np.moveaxis(edges, 2, 0)))
    return list(matching.matched(pairs).prediction)


def _numbers(series: Series) -> dict[str, float]:
    values = series.jaccard()
    j, f, steps = mean(values), mean(series.contour()), temporal_consistency(values)
    assert j is not None and f is not None  # a clip has an annotated frame
    return {"J&F": (j + f) / 2, "J": j, "F": f} | ({} if steps is None else {"TC": steps})


def _row(each: Found, counts: Counts) -> Row:
    groups = {clip.id: clip.group for clip in counts.clips}
    values = {name: None if name not in each.scores else each.scores[name] for name in METRICS}
    return Row(each.clip, each.own, each.object, "", groups[each.clip], each.frames, 0, values)


def mean_scores(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of every column over those that have it."""
    return {
        name: stats.exact_mean(values)
        for name in COLUMNS
        if (values := [scores[name] for scores in found if name in scores])
    }


def tables(found: Sequence[Found]) -> dict[str, Any]:
    """The tables of a result: the mean of the runs, every run, by video and by object, in percent."""
    runs = {run: [each for each in found if each.run == run] for run in dict.fromkeys(each.run for each in found)}
    by_run = {run: mean_scores([each.scores for each in members]) for run, members in runs.items()}
    clips = {clip: [each for each in found if each.clip == clip] for clip in dict.fromkeys(e.clip for e in found)}
    columns = [name for name in COLUMNS if all(name in scores for scores in by_run.values())]

    def shown(scores: Mapping[str, float]) -> dict[str, float]:
        return {name: 100 * scores[name] for name in columns if name in scores}

    return {
        "columns": columns,
        "scores": shown(mean_scores(list(by_run.values()))),
        "runs": [{"run": run, "objects": len(runs[run]), "scores": shown(scores)} for run, scores in by_run.items()],
        "sequences": [
            {
                "clip": clip,
                "objects": len({each.object for each in members}),
                "scores": shown(mean_scores([each.scores for each in members])),
            }
            for clip, members in clips.items()
        ],
        "objects": [
            {
                "clip": each.clip,
                "object": each.object,
                "prediction": each.given,
                "label": each.run,
                "frames": each.frames,
                "scores": shown(each.scores),
            }
            for each in found
        ],
    }
