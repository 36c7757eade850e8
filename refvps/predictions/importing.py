"""Predictions of any layout, written in the canonical form: the mirror of :mod:`refvps.predictions.export`.

All of them or none: methods exit with 0 after a crash, so a mask that is missing is an error here.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from refvps.archive import open_files, shown
from refvps.errors import InputError, UsageError
from refvps.files import MAX_JSON_BYTES, canonical_json, read_bytes, sha256, write_atomic
from refvps.masks import bits
from refvps.masks.mask import Mask
from refvps.predictions.foreign.davis4 import Davis4, Davis4Reader, is_davis4, open_davis4, read_groups
from refvps.predictions.foreign.results_json import (
    MIN_SCORE,
    QUESTIONS,
    RESULTS,
    Results,
    ResultsReader,
    open_results,
)
from refvps.predictions.foreign.windows import Joined, join_windows
from refvps.predictions.layouts import absent_frames
from refvps.predictions.problems import Report
from refvps.predictions.submission import ClipReader, Submission, open_submission
from refvps.predictions.write import RUN_SCHEMA, ClipWriter, run_path
from refvps.types import Benchmark, Clip, Method, check_id
from refvps.workers import workers

Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all)."""

LAYOUTS: dict[str, str] = {
    "auto": "whatever it is",
    "tree": "<clip>/<expression>/<frame>.png",
    "annotations": "Annotations/<clip>/<expression>/<frame>.png, for Ref-YouTube-VOS' server",
    "ytvos": "valid/<clip>/<expression>/<frame>.png, as ReferFormer's inference_ytvos.py writes it",
    "davis4": "anno_k/<clip>__g000/<index>.png and other forms of what methods for Ref-DAVIS make of --layout davis4",
    "ids": "<clip>/<frame>.png, target ids",
    "anno": "anno_k/<clip>/<target>/<frame>.png",
    "anno-ids": "anno_k/<clip>/<frame>.png, target ids",
    "rem-burst": "<clip>/pred/<expression>/<frame>.png",
    "rem-vspw": "<clip>/<expression>/pred/<frame>.png",
    "ytvis": "results.json of YouTube-VIS or SA-Co, with the questions it answers",
    "json": "one .json of RLE, {clip: {expression: [...]}}",
    "npz": "<clip>.npz",
    "arrays": "<clip>/<expression>.npy",
    "canonical": "<clip>.jsonl",
}
"""Layouts that can be read, by the name of ``--layout``."""

_TREES = ("tree", "annotations", "ytvos")


@dataclass(frozen=True, slots=True)
class Imported:
    """What was written where; ``layout``: the one it came from."""

    folder: Path
    layout: str
    clips: int
    expressions: int
    masks: int
    notes: tuple[str, ...]


def import_predictions(
    path: Path,
    benchmark: Benchmark,
    out: Path,
    layout: str = "auto",
    *,
    method: str | Method = "",
    details: Mapping[str, Any] | None = None,
    groups: Path | None = None,
    questions: Path | None = None,
    min_score: float | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Imported:
    """Write the predictions at ``path`` to ``out``, a new folder: ``<clip>.jsonl`` for every clip, and ``run.json``.

    ``layout``: one of :data:`LAYOUTS`, what the predictions must be. ``method``: who made them; by default what their
    ``run.json`` says. ``details``: more for ``run.json``, as JSON. Windows ``<clip>__w000`` of a ``ytvos`` export are
    joined. ``groups``: the ``groups.json`` of ``davis4``. ``questions``: the ``instances.json`` that a
    ``results.json`` answers; ``min_score``: below it, its masklets are left out. A frame that is not annotated is kept
    where every expression of the clip has a mask on it. Raises UsageError when ``out`` exists, InputError naming all
    that is missing or cannot be used; then nothing is written.
    """
    if layout not in LAYOUTS:
        raise UsageError("There is no such layout.", where=[shown(layout)], fix=f"one of {', '.join(LAYOUTS)}")
    if groups is not None and layout not in ("davis4", "auto"):
        raise UsageError("Groups belong to davis4.", where=[f"--layout {layout}"], fix="drop --groups")
    if layout != "ytvis" and (questions is not None or min_score is not None):
        raise UsageError("Questions and scores belong to ytvis.", where=[f"--layout {layout}"], fix="--layout ytvis")
    if name := method.name if isinstance(method, Method) else method:
        check_id(name, "method")
    if out.exists():
        raise UsageError("The output exists.", where=[str(out)], fix="choose another --out, or remove it")
    given = (
        _open_results(path, benchmark, questions, MIN_SCORE if min_score is None else min_score)
        if layout == "ytvis"
        else _open(path, benchmark, layout, groups)
    )
    found = _refined(given)
    given.problems.raise_for_errors(whole=True)
    record = _run_record(given, benchmark, found, Path(path).name, method, details)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.with_name(f".{out.name}.{secrets.token_hex(6)}.tmp")
    try:
        staging.mkdir()
        tasks = [_task(staging, benchmark, clip, given.reader(key)) for key, clip in benchmark.clips.items()]
        done = _written(tasks, jobs, progress)
        report = Report.merge([given.problems, *(each.problems for each in done)])
        report.raise_for_errors(whole=True)
        write_atomic(run_path(staging), canonical_json(record) + b"\n")
        if out.exists():
            raise UsageError("The output appeared meanwhile.", where=[str(out)], fix="choose another --out")
        os.replace(staging, out)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    notes = [note.line() for note in report.notes] + (list(given.notes) if isinstance(given, Results) else [])
    if isinstance(given, Submission) and isinstance(given.files, Joined):
        notes.append(f"{given.files.windows:,} windows were joined")
    if dropped := sum(each.dropped for each in done):
        notes.append(f"{dropped:,} frames that are not annotated have no mask of every expression and were left out")
    if filled := sum(each.filled for each in done):
        notes.append(f"{filled:,} masks are empty because their target is not annotated on the frame")
    masks = sum(each.masks for each in done)
    return Imported(out, found, len(tasks), len(benchmark.expressions), masks, tuple(notes))


def _open_results(path: Path, benchmark: Benchmark, questions: Path | None, min_score: float) -> Results:
    """A ``results.json``, alone or in a folder or zip; the questions may lie beside it."""
    if path.is_file() and path.suffix.lower() == ".json":
        data, name, beside = read_bytes(path, MAX_JSON_BYTES), str(path), path.with_name(QUESTIONS)
    else:
        files = open_files(path)
        found = [each for each in files.names if each == RESULTS or each.endswith(f"/{RESULTS}")]
        if len(found) != 1:
            raise _other_layout(path, "ytvis", f"{len(found)} files called {RESULTS}")
        data, name, beside = files.read(found[0], MAX_JSON_BYTES), f"{path}/{found[0]}", path / QUESTIONS
    place = questions or beside
    if not place.is_file():
        raise UsageError(
            "Whoever reads a results.json must know what was asked.",
            where=[str(place)],
            fix=f"give it: --questions {QUESTIONS}, as refvps export benchmark --layout ytvis writes it",
        )
    return open_results(data, name, benchmark, place, min_score)


def _open(path: Path, benchmark: Benchmark, layout: str, groups: Path | None) -> Submission | Davis4:
    known = None
    if groups is not None:
        known = read_groups(read_bytes(groups, MAX_JSON_BYTES), str(groups), benchmark)
    if layout == "davis4":
        files = open_files(path)
        if not is_davis4(files.names):
            raise _other_layout(path, layout, "no anno_k/<clip>__g000/ in it")
        return open_davis4(files, benchmark, known)
    submission = open_submission(join_windows(open_files(path), benchmark.clips), benchmark)
    found = _refined(submission)
    if layout == "auto" and found == "none" and is_davis4(submission.files.names):
        return open_davis4(submission.files, benchmark, known)
    if layout not in ("auto", found) and not (layout == "tree" and found in _TREES):
        submission.problems.raise_for_errors(whole=True)
        raise _other_layout(path, layout, f"it is {found}")
    return submission


def _other_layout(path: Path, layout: str, reason: str) -> InputError:
    return InputError(
        f"The predictions are not in the layout {layout}: {LAYOUTS[layout]}.",
        where=[f"{shown(path)}: {reason}"],
        fix="check the folder, or let --layout auto find out",
    )


def _refined(given: Submission | Davis4 | Results) -> str:
    """The layout by the name that ``--layout`` has for it."""
    if isinstance(given, Results):
        return "ytvis"
    if isinstance(given, Davis4):
        return "davis4"
    if given.layout != "tree":
        return given.layout
    start = f"{given.prefix}/Annotations/".lstrip("/")
    if given.prefix == "Annotations" or any(name.startswith(start) for name in given.files.names):
        return "annotations"
    home = given.prefix or given.files.root.name
    return "ytvos" if home in ("valid", "test") else "tree"


def _run_record(
    given: Submission | Davis4 | Results,
    benchmark: Benchmark,
    layout: str,
    source: str,
    method: str | Method,
    details: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """``run.json``: the method as it is declared, and where the masks came from."""
    record: dict[str, Any] = {"schema": RUN_SCHEMA, "imported": {"layout": layout, "from": source}}
    record["benchmark"] = {"name": benchmark.name, "version": benchmark.version, "digest": benchmark.digest}
    declared = given.run.get("method") if isinstance(given, Submission) and given.run else None
    if isinstance(method, Method):
        record["method"] = asdict(method)
    elif method:
        same = isinstance(declared, dict) and declared.get("name") == method
        record["method"] = declared if same else {"name": method}
    elif isinstance(declared, dict):
        record["method"] = declared
    if details:
        record["ran"] = dict(details)
    record["key"] = sha256(canonical_json(record))
    return record


@dataclass(frozen=True, slots=True)
class _Task:
    """One clip: where it goes, who reads it, and frames on which an expression needs no mask."""

    path: Path
    clip: Clip
    expressions: tuple[str, ...]
    absent: Mapping[str, frozenset[str]]
    benchmark: str
    digest: str
    reader: ClipReader | Davis4Reader | ResultsReader


@dataclass(frozen=True, slots=True)
class _Done:
    problems: Report
    masks: int = 0
    dropped: int = 0
    filled: int = 0


def _task(folder: Path, benchmark: Benchmark, clip: Clip, reader: ClipReader | Davis4Reader | ResultsReader) -> _Task:
    asked = benchmark.expressions_of(clip.id)
    return _Task(
        folder / f"{clip.id}.jsonl",
        clip,
        tuple(each.id for each in asked),
        absent_frames(clip, asked, benchmark.truth),
        benchmark.name,
        benchmark.digest,
        reader,
    )


def _written(tasks: list[_Task], jobs: int, progress: Progress | None) -> list[_Done]:
    done: list[_Done] = []

    def take(result: _Done) -> None:
        done.append(result)
        if progress is not None:
            progress(len(done), len(tasks))

    if jobs <= 1 or len(tasks) < 3:
        for task in tasks:
            take(_write(task))
        return done
    with workers(min(jobs, len(tasks)), lambda: f"{len(done):,} of {len(tasks):,} clips were read") as pool:
        for result in pool.map(_write, tasks):
            take(result)
    return done


def _write(task: _Task) -> _Done:
    """Read one clip and write it; what cannot be used is returned as problems, and nothing is written then."""
    clip = task.clip
    tracks: dict[str, dict[int, Mask]] = {each: {} for each in task.expressions}
    for index in range(len(clip.frames)):
        for expression, mask in task.reader.frame(index).items():
            if mask is not None:
                tracks[expression][index] = Mask.from_rle(mask.counts(), mask.size)
    problems = task.reader.problems
    if problems.errors or not task.expressions:
        return _Done(problems)
    annotated = set(clip.annotated_indices())
    nothing = Mask.from_bits(bits.empty(clip.size), clip.size)
    missing: list[str] = []
    filled = 0
    for expression, track in tracks.items():
        absent = task.absent.get(expression, frozenset())
        for index in sorted(annotated - track.keys()):
            if clip.frames[index] in absent:
                track[index] = nothing
                filled += 1
            else:
                missing.append(f"{clip.id}/{expression}/{clip.frames[index]}")
    if missing:
        raise InputError("Annotated frames without a mask.", where=missing, fix="predict these frames")
    kept = sorted(annotated.union(set.intersection(*(set(track) for track in tracks.values()))))
    chosen = tuple(clip.frames[index] for index in kept)
    writer = ClipWriter(task.path, replace(clip, frames=chosen), task.expressions, task.benchmark, task.digest)
    for expression, track in tracks.items():
        for place, index in enumerate(kept):
            writer.add(expression, place, track[index])
    writer.finish()
    return _Done(problems, len(kept) * len(tracks), len(clip.frames) - len(kept), filled)
