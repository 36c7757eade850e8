"""``refvps evaluate --protocol``: pair the files, count every video, score the counts by the tool's rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from refvps.archive import shown
from refvps.data.digest import benchmark_digest
from refvps.data.ids import map_ids
from refvps.errors import InputError, UsageError
from refvps.files import read_bytes
from refvps.predictions.problems import Report
from refvps.run import score
from refvps.run.count import Boundary
from refvps.run.counts import AREAS, EDGES, KEYS, ClipEntry, Counts, ExpressionEntry, assemble
from refvps.run.counts_file import read_counts
from refvps.run.protocols import matching, objects
from refvps.run.protocols.layout import Pairing, pair
from refvps.run.protocols.rules import Layout, Protocol, declared
from refvps.run.protocols.sequence import VideoCounts, VideoTask, count_video
from refvps.run.signature import signature
from refvps.types import ID, Method, Rules, Scores
from refvps.workers import workers

METRICS = ("J&F", "J", "F")
"""What a result by a protocol holds as its summary; the tool's own table is in its ``protocol``."""

MAX_LIST_BYTES = 1 << 24

Progress = Callable[[int, int], None]
"""Called with (videos done, videos in all)."""


@dataclass(frozen=True)
class ProtocolEvaluation:
    """As :class:`refvps.run.evaluate.Evaluation`, with ``protocol``: the tool's rules and its tables."""

    scores: Scores
    counts: Counts
    rules: Rules
    report: Report
    inputs: Mapping[str, Any]
    protocol: Mapping[str, Any]


def read_sequences(path: Path) -> tuple[str, ...]:
    """The names in a list such as ``ImageSets/2017/val.txt``: one a line, blank lines and blanks around are dropped."""
    try:
        lines = read_bytes(path, MAX_LIST_BYTES).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            "A list of sequences is not text.", where=[f"{path}: {error}"], fix="one name a line"
        ) from error
    names = tuple(name for line in lines if (name := line.strip()))
    if not names:
        raise InputError("A list of sequences is empty.", where=[str(path)], fix="one name a line")
    return names


def evaluate_protocol(
    protocol: Protocol,
    gt: Path,
    pred: Path,
    *,
    sequences: Sequence[str] | None = None,
    shared: bool = False,
    fps: float = 0.0,
    method: str | None = None,
    draws: int = 10_000,
    seed: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
) -> ProtocolEvaluation:
    """Score ``pred`` against ``gt`` as the tool of ``protocol`` does (see :func:`refvps.run.protocols.rules.choose`).

    ``sequences``: only these videos, in this order; ``shared``: only videos with predictions, which the result
    says. ``fps``: annotation rate for the signature. The order of files on disk and ``jobs`` change nothing.
    Raises InputError naming everything that is wrong, DataMissingError where scipy is needed and absent.
    """
    if protocol.matching == "hungarian":
        matching.check_solver()
    maker = _method(pred, method)
    paired = pair(gt, pred, protocol, sequences=sequences, shared=shared)
    paired.report.raise_for_errors()
    if not paired.videos:
        raise InputError("No video has predictions.", where=[shown(pred)], fix="check --pred and --gt")
    counted = _count(paired, protocol, fps, jobs, progress)
    if wrong := [place for one in counted for place in one.wrong]:
        raise InputError(
            "Ground-truth masks cannot be used.",
            where=wrong,
            fix="write them as 8-bit PNG with one number per pixel (grey or palette), all of a video at one size",
        )
    report = Report.merge([paired.report, *(one.report for one in counted)])
    report.raise_for_errors()
    _refuse_unseen(counted, paired, protocol)
    counts = replace(_table(counted, paired, protocol), method={"name": maker.name})
    rules = _rules(protocol, draws, seed)
    inputs = {
        "predictions": shown(pred, 4000),
        "ground_truth": shown(gt, 4000),
        "layout": paired.layout,
        "problems": report.to_dict()["problems"],
    }
    return _scored(counts, rules, maker, report, inputs)


def rescore(
    path: Path, *, name: str | None = None, method: str | None = None, draws: int = 10_000, seed: int = 0
) -> ProtocolEvaluation:
    """Score published counts of a protocol again; ``name``: the protocol they must be of."""
    counts = read_counts(path)
    protocol = declared(counts.protocol)[0] if counts.protocol else None
    if protocol is None or name not in (None, protocol.name):
        raise UsageError(
            "These counts were not made by this protocol.",
            where=[f"{path}: {protocol.name if protocol else 'refvps'}, not {name}"],
            fix="evaluate the masks with --protocol, --gt and --pred",
        )
    if protocol.matching == "hungarian":
        matching.check_solver()
    maker = Method(method or str(counts.method.get("name") or path.name.partition(".")[0]))
    counts = replace(counts, method={"name": maker.name})
    return _scored(counts, _rules(protocol, draws, seed), maker, Report(()), {"counts": shown(path, 4000)})


def _refuse_unseen(counted: Sequence[VideoCounts], paired: Pairing, protocol: Protocol) -> None:
    """Raise InputError for object folders that show nothing, at which the tool stops as well."""
    places = [place for one in counted for place in one.remarks.get("unseen", ())]
    if paired.layout == "objects" and places:
        raise InputError(
            f"{protocol.tool} stops at an object without a pixel on its scored frames.",
            where=places,
            fix="remove the folders of these objects, or score with --protocol refvps",
        )


def _method(pred: Path, name: str | None) -> Method:
    chosen = name or pred.resolve().name.removesuffix(".zip")
    if not ID.fullmatch(chosen):
        raise UsageError(
            "The method needs a name that can be a file name.",
            where=[repr(chosen)],
            fix="pass --method NAME (letters, digits, '.', '_' and '-')",
        )
    return Method(chosen)


def _rules(protocol: Protocol, draws: int, seed: int) -> Rules:
    return Rules(
        metrics=METRICS,
        average="frame>object",
        ignore=protocol.ignore,
        missing="error",
        bound_th=protocol.bound_th,
        draws=draws,
        seed=seed,
    )


def _count(paired: Pairing, protocol: Protocol, fps: float, jobs: int, progress: Progress | None) -> list[VideoCounts]:
    """Every video counted, in order, on ``jobs`` processes."""
    ids = map_ids(video.name for video in paired.videos)
    tasks = [
        VideoTask(
            ids[video.name],
            video,
            paired.truth.only(name for track in video.tracks for name in track.truth),
            paired.predictions.only(name for track in video.tracks for name in track.predictions),
            protocol,
            paired.layout,
            fps,
        )
        for video in paired.videos
    ]
    report = progress or (lambda done, total: None)
    report(0, len(tasks))
    results: list[VideoCounts] = []
    masks = sum(len(track.truth) for video in paired.videos for track in video.tracks)
    if jobs <= 1 or len(tasks) < 2 or masks < _IN_PROCESS:
        for task in tasks:
            results.append(count_video(task))
            report(len(results), len(tasks))
        return results
    with workers(min(jobs, len(tasks)), lambda: f"{len(results)} of {len(tasks)} videos were counted") as pool:
        for result in pool.map(count_video, tasks):
            results.append(result)
            report(len(results), len(tasks))
    return results


_IN_PROCESS = 250  # masks below which starting worker processes costs more than it saves


def _table(counted: Sequence[VideoCounts], paired: Pairing, protocol: Protocol) -> Counts:
    names = (*KEYS, *AREAS, *EDGES)
    expressions: list[ExpressionEntry] = []
    targets: list[tuple[str, str]] = []
    blocks: list[np.ndarray[Any, np.dtype[np.int64]]] = []
    for c, one in enumerate(counted):
        if not one.pairs:
            continue
        row = {name: len(expressions) + k for k, name in enumerate(one.predictions)}
        column = {name: len(targets) + k for k, name in enumerate(one.objects)}
        expressions += [ExpressionEntry(one.clip.id, name, "", name, "", (), "") for name in one.predictions]
        targets += [(one.clip.id, name) for name in one.objects]
        for (prediction, target), values in zip(one.pairs, one.values, strict=True):
            key = np.array([c, row[prediction], column[target]], dtype=np.int64)
            blocks.append(np.hstack([np.tile(key, (len(values), 1)), values]))
    if not blocks:
        raise InputError(
            f"There is no object that {protocol.tool} would score.",
            where=[one.clip.id for one in counted],
            fix=_NO_OBJECT[protocol.objects],
        )
    table = np.concatenate(blocks)
    digests = {one.clip.id: one.digest for one in counted}
    digest = benchmark_digest(digests)
    how = f"{len(paired.videos)} of {paired.found}" if len(paired.videos) < paired.found else "all"
    return assemble(
        Counts(
            benchmark={"name": "folder", "version": digest[:12], "digest": digest},
            clips=tuple(
                ClipEntry(
                    one.clip.id,
                    one.clip.size,
                    one.clip.fps,
                    one.clip.annotation_fps,
                    len(one.clip.frames),
                    one.clip.annotated_indices(),
                    one.clip.group,
                    one.digest,
                )
                for one in counted
            ),
            expressions=tuple(expressions),
            targets=tuple(targets),
            columns={name: np.ascontiguousarray(table[:, k]) for k, name in enumerate(names)},
            boundary=asdict(Boundary(protocol.bound_th, protocol.ignore)),
            protocol=protocol.fields(paired.layout, how),
            notes=tuple(_remarks(counted, paired, protocol)),
        )
    )


_NO_OBJECT = {
    "first-frame": "the first frame of a sequence must show objects 1, 2, ...; 255 is void (for 0/255 masks use "
    "--protocol vos-benchmark)",
    "seen": "some frame between the first and the last must show an object",
}


def _remarks(counted: Sequence[VideoCounts], paired: Pairing, protocol: Protocol) -> list[str]:
    """Notes of a result: where these rules surprise people who know others."""
    places: dict[str, list[str]] = {}
    for one in counted:
        for kind, found in one.remarks.items():
            places.setdefault(kind, []).extend(found)
    first = protocol.objects == "first-frame"
    texts = {
        "late": "objects that the first frame does not show are not scored by " + protocol.tool
        if first
        else "objects that no scored frame shows are not scored by " + protocol.tool,
        "unseen": "objects without a pixel on scored frames, which score 1 where nothing is predicted",
        "void": {
            "drop": "label 255 is void: its pixels are left out of both masks",
            "background": f"label 255 is void, but {protocol.tool} scores it as background",
            "object": f"{protocol.tool} takes label 255 for an object",
        }[protocol.void],
        "unknown": "ids that only the predictions use; they score nothing themselves",
    }
    said = [_listed(texts[kind], places[kind]) for kind in texts if places.get(kind)]
    nothing = [one.clip.id for one in counted if not one.objects]
    if nothing:
        said.append(_listed("videos without an object to score, which count for nothing", nothing))
    if len(paired.videos) < paired.found:
        said.append(f"incomplete: only {len(paired.videos)} of {paired.found} videos have predictions and are scored")
    return said


def _listed(text: str, places: Sequence[str]) -> str:
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    return f"{text}: {', '.join(places[:3])}{more}"


def _check_pairs(counts: Counts, protocol: Protocol, layout: Layout) -> None:
    """Raise InputError unless the table holds every pair that the protocol compares, whole, and no other."""
    counts.check_complete()
    if not len(counts) or counts.missing:
        raise InputError("There is nothing to score, or frames are missing.", where=[counts.benchmark["name"]])
    here = {(int(e), int(t)) for e, t in zip(counts.columns["expression"], counts.columns["target"], strict=True)}
    by_clip: dict[str, tuple[list[int], list[int]]] = {clip.id: ([], []) for clip in counts.clips}
    for k, entry in enumerate(counts.expressions):
        by_clip[entry.clip][0].append(k)
    for k, (clip, _) in enumerate(counts.targets):
        by_clip[clip][1].append(k)
    wanted: set[tuple[int, int]] = set()
    for predictions, targets in by_clip.values():
        if protocol.matching == "hungarian":
            wanted |= {(p, t) for p in predictions for t in targets}
        else:
            wanted |= set(zip(predictions, targets, strict=False))
    named = protocol.matching == "hungarian" or all(counts.expressions[e].id == counts.targets[t][1] for e, t in wanted)
    names = [*(e.id for e in counts.expressions), *(name for _, name in counts.targets)]
    if here != wanted or not named or (layout == "ids" and not all(re.fullmatch("[0-9]{1,3}", n) for n in names)):
        raise InputError(
            "These counts do not hold what their protocol compares.",
            where=[f"{protocol.name}: {len(here)} pairs, {len(wanted)} are needed"],
            fix="take them from their author again, or evaluate the masks again",
        )
    edges = counts.boundary
    if edges is None or edges["bound_th"] != protocol.bound_th or edges["ignore"] != protocol.ignore:
        raise InputError("These counts hold no F of their protocol.", where=[protocol.name], fix="evaluate again")


def _scored(
    counts: Counts, rules: Rules, maker: Method, report: Report, inputs: Mapping[str, Any]
) -> ProtocolEvaluation:
    from refvps import __version__

    protocol, layout = declared(counts.protocol)
    counts = replace(counts, protocol=protocol.fields(layout, counts.protocol["videos"]))  # a file sorts them
    _check_pairs(counts, protocol, layout)
    found = objects.series(counts, protocol, layout)
    rows = objects.rows(found)
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
        incomplete=counts.protocol["videos"] != "all",
        notes=(*counts.notes, *objects.notes(found, protocol)),
    )
    block = {
        "name": protocol.name,
        "tool": protocol.tool,
        "source": protocol.source,
        "rules": dict(counts.protocol),
        "scale": protocol.scale,
        "digits": protocol.digits,
        "columns": list(protocol.scores),
        **objects.tables(found, protocol),
    }
    return ProtocolEvaluation(scores, counts, rules, report, inputs, block)
