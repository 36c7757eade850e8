"""Run a predictor over a benchmark: one file per clip, written whole or not at all, resumable.

The folder belongs to one run key (method, options, seed, benchmark); the run files in it say which, and
another run is refused. A clip is done when its file is there and whole. However often a run was
interrupted, everything but ``timings`` and ``environments`` in its run file ends in the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from refvps.errors import InputError, RefvpsError, UsageError
from refvps.files import MAX_JSON_BYTES, canonical_json, parse_json, read_bytes, remove_leftovers, sha256
from refvps.masks import rle
from refvps.predictions.write import RUN_SCHEMA, ClipWriter, run_path
from refvps.run.chunks import checked_masks
from refvps.run.predict.claim import (
    LOCKS,
    RUN_LOCK,
    add_timing,
    checked_method,
    claim,
    holding,
    run_fields,
    run_key,
    tidy,
)  # fmt: skip
from refvps.run.predict.failures import Failures
from refvps.run.predict.meter import Meter, environment
from refvps.run.predict.shares import choose, costs, shard_count, shards
from refvps.run.predict.text_control import Texts, controlled_method, controlled_texts, texts_of
from refvps.types import Benchmark, Predictor

Progress = Callable[[int, int], None]
"""Called with (masks done, masks in all)."""


class Live(Protocol):
    """What is told of every clip whose file is whole; see :class:`refvps.run.predict.live.LiveScore`."""

    def add(self, clip: str, path: Path) -> None:
        """The file of ``clip`` is at ``path``."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a call of :func:`predict` did. ``done`` and ``kept`` are clip ids; ``seconds`` is wall time."""

    key: str
    method: str
    done: tuple[str, ...]
    kept: tuple[str, ...]
    seconds: float


def predict(
    benchmark: Benchmark,
    predictor: Predictor,
    out: Path,
    *,
    seed: int = 0,
    shard: tuple[int, int] | None = None,
    clips: Iterable[str] | None = None,
    text_control: str | None = None,
    progress: Progress | None = None,
    live: Live | None = None,
    force: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Run:
    """Predict every expression of every clip of a benchmark into ``out/<clip>.jsonl``, the longest clip first.

    Clips whose file is whole are kept, so the same call goes on where a killed one stopped and ends in
    the same bytes. ``shard`` (i, n) does the i-th of n balanced parts, i from 1; ``clips`` restricts the
    work to some clips. ``text_control`` asks other sentences (see :mod:`refvps.run.predict.text_control`).
    ``force`` starts over: it discards another run's files and predicts again what is there. ``live`` is told
    of every whole clip. ``about`` (command, device) is noted in the run file and moves nothing.

    A clip that fails does not lose the others: all are tried, and one InputError at the end (DataMissingError
    where only data was lacking) names predictor, clips, texts and frames; but when the first three clips
    fail in the same way, the run stops there. Raises UsageError for a folder that belongs to another run or
    holds foreign files.
    """
    began = time.monotonic()
    chosen = choose(benchmark, clips)
    method, texts = checked_method(predictor), texts_of(benchmark)
    if text_control is not None:
        method, texts = controlled_method(method, text_control), controlled_texts(benchmark, text_control, seed)
    record: dict[str, Any] = {"schema": RUN_SCHEMA, **run_fields(method, seed)}
    record["benchmark"] = {"name": benchmark.name, "version": benchmark.version, "digest": benchmark.digest}
    record["key"] = run_key(record)
    if shard is not None:
        chosen = shards(benchmark, shard_count(shard), chosen)[shard[0] - 1]
        record["shard"] = {"index": shard[0], "of": shard[1], "clips": sorted(chosen)}
    name = run_path(out, shard).name
    sizes = costs(benchmark)
    job = _Job(
        benchmark, predictor, texts, out, seed, force, name, record, about or {}, sizes,
        sum(map(sizes.__getitem__, chosen)), progress, live,
    )  # fmt: skip
    try:
        claim(out, name, record, lambda _: (f"{clip}.jsonl" for clip in benchmark.clips), force=force)
        job.report(0)
        left, held = chosen, job.clips(chosen)
        while held and len(held) < len(left):  # go on as long as that helps: others may have finished theirs
            left, held = held, job.clips(held)
    finally:
        tidy(out / LOCKS / RUN_LOCK)
    if job.failures.errors:
        raise job.failures.summary(len(chosen), 0)
    if held:
        raise UsageError(
            "Other processes are still writing some clips; all others are done.",
            where=held,
            fix="wait for them, then run the same command again to be sure",
        )
    return Run(record["key"], method.name, tuple(sorted(job.done)), tuple(sorted(job.kept)), time.monotonic() - began)


@dataclass(slots=True)
class _Job:
    """One call of :func:`predict` under way."""

    benchmark: Benchmark
    predictor: Predictor
    texts: Texts
    out: Path
    seed: int
    force: bool
    name: str
    record: Mapping[str, Any]
    about: Mapping[str, Any]
    costs: Mapping[str, int]
    total: int
    progress: Progress | None
    live: Live | None
    finished: int = 0
    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)

    def report(self, masks: int) -> None:
        """Tell how far the whole call is, ``masks`` into the present clip."""
        if self.progress is not None:
            self.progress(self.finished + masks, self.total)

    def clips(self, clip_ids: Sequence[str]) -> list[str]:
        """Do or keep clips, one after the other; those that another process holds. Raises when there is no hope."""
        held = []
        for position, clip_id in enumerate(clip_ids, start=1):
            if not self.clip(clip_id):
                held.append(clip_id)
            if not self.done and self.failures.hopeless and position < len(clip_ids):
                raise self.failures.summary(len(clip_ids), len(clip_ids) - position)
        return held

    def clip(self, clip_id: str) -> bool:
        """Do, keep or fail one clip; False when another process holds it."""
        lock = self.out / LOCKS / f"{clip_id}.lock"
        with ExitStack() as stack:
            try:
                stack.enter_context(holding(lock))
            except UsageError:
                return False
            stack.callback(tidy, lock)
            path = self.out / f"{clip_id}.jsonl"
            remove_leftovers(path)
            if not self.force and is_whole(path, self.benchmark, clip_id):
                self.kept.append(clip_id)
            else:
                meter = Meter()
                meter.start()
                try:
                    self._predict(path, clip_id)
                except RefvpsError as error:
                    self.failures.add(clip_id, error)
                    return True
                add_timing(self.out, self.name, self.record, clip_id, meter.stop(), environment(self.about))
                self.done.append(clip_id)
            if self.live is not None:
                self.live.add(clip_id, path)
        self.finished += self.costs[clip_id]
        self.report(0)
        return True

    def _predict(self, path: Path, clip_id: str) -> None:
        clip = self.benchmark.clips[clip_id]
        expressions = self.benchmark.expressions_of(clip.id)
        frames = self.benchmark.frames(clip.id)
        if len(frames) != len(clip.frames):
            raise InputError(
                "A clip has another number of frames than its manifest says.",
                where=[f"{clip.id}: {len(frames)} on disk, {len(clip.frames)} in the manifest"],
                fix="get the frames again",
            )
        ids = [expression.id for expression in expressions]
        writer = ClipWriter(path, clip, ids, self.benchmark.name, self.benchmark.digest)
        masks = checked_masks(
            self.predictor,
            frames,
            self.texts[clip.id],
            size=clip.size,
            fps=clip.fps,
            seed=clip_seed(clip.id, self.seed),
            place=f"clip {clip.id}",
        )
        for count, (text, index, mask) in enumerate(masks, start=1):
            writer.add(expressions[text].id, index, mask)
            self.report(count)
        writer.finish()


def clip_seed(clip_id: str, seed: int) -> int:
    """The predictor's seed for one clip: the first 32 bits of the SHA-256 of clip id and run seed."""
    return int(sha256(canonical_json([clip_id, seed]))[:8], 16)


def is_whole(path: Path, benchmark: Benchmark, clip_id: str) -> bool:
    """Whether ``path`` holds every mask of a clip; False when absent or damaged.

    Raises UsageError for a file that is not a prediction of this clip of this benchmark.
    """
    if not path.exists():
        return False
    clip = benchmark.clips[clip_id]
    lines = read_bytes(path, MAX_JSON_BYTES).split(b"\n")
    try:
        header = parse_json(lines[0], str(path))
        ours = (header["clip"], header["digest"]) == (clip_id, benchmark.digest)
    except (InputError, TypeError, KeyError):
        ours = False
    if not ours:
        raise UsageError(
            "A file in the output folder is not a prediction of this benchmark.",
            where=[str(path)],
            fix="move it away, name another folder with --out, or overwrite it with --force",
        )
    try:
        records = [parse_json(line, str(path)) for line in lines[1:-1]]
        masks = {record["expression"]: [counts.encode("ascii") for counts in record["counts"]] for record in records}
        for counts in masks.values():
            rle.check(counts, clip.size)
    except (InputError, TypeError, KeyError, AttributeError, ValueError):
        return False
    expected = {expression.id: len(clip.frames) for expression in benchmark.expressions_of(clip_id)}
    return (
        lines[-1] == b""
        and (header.get("size"), header.get("frames")) == (list(clip.size), list(clip.frames))
        and {expression: len(counts) for expression, counts in masks.items()} == expected
        and len(records) == len(masks)
    )
