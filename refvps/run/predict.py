"""Run a predictor over a benchmark: one file per clip, written whole or not at all, resumable.

The folder belongs to one run key (method, options, seed, benchmark); the run files in it say which, and
another run is refused. A clip is done when its file is there and whole. However often a run was
interrupted, everything but ``timings`` in its run file ends in the same bytes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.errors import InputError, UsageError
from refvps.files import (
    MAX_JSON_BYTES,
    canonical_json,
    parse_json,
    read_bytes,
    remove_leftovers,
    sha256,
    write_atomic,
)
from refvps.masks import rle
from refvps.masks.mask import Mask
from refvps.masks.png import write_binary
from refvps.predictions.write import RUN_SCHEMA, ClipWriter, run_path
from refvps.run.chunks import checked_masks
from refvps.run.claim import LOCKS, RUN_LOCK, add_timing, claim, holding, run_fields, run_key, tidy
from refvps.types import Benchmark, Predictor

Progress = Callable[[int, int], None]
"""Called with (masks done, masks in all)."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a call of :func:`predict` did. ``done`` and ``kept`` are clip ids; ``seconds`` is wall time."""

    key: str
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
    progress: Progress | None = None,
    force: bool = False,
) -> Run:
    """Predict every expression of every clip of a benchmark into ``out/<clip>.jsonl``.

    Clips whose file is whole are kept, so the same call goes on where a killed one stopped and ends in
    the same bytes. ``shard`` (i, n) does the i-th of n balanced parts, i from 1; ``clips`` restricts the
    work to some clips. ``force`` starts over: it discards another run's files and predicts again what is
    there. Raises UsageError for a folder that belongs to another run or holds foreign files, and
    InputError for masks that cannot be used, naming predictor, clip, text and frames.
    """
    began = time.monotonic()
    chosen = choose(benchmark, clips)
    record: dict[str, Any] = {"schema": RUN_SCHEMA, **run_fields(predictor, seed)}
    record["benchmark"] = {"name": benchmark.name, "version": benchmark.version, "digest": benchmark.digest}
    record["key"] = run_key(record)
    if shard is not None:
        chosen = shards(benchmark, _shard_count(shard), chosen)[shard[0] - 1]
        record["shard"] = {"index": shard[0], "of": shard[1], "clips": sorted(chosen)}
    name = run_path(out, shard).name
    sizes = costs(benchmark)
    job = _Job(
        benchmark, predictor, out, seed, force, name, record, sizes, sum(map(sizes.__getitem__, chosen)), progress
    )
    try:
        claim(out, name, record, lambda _: (f"{clip}.jsonl" for clip in benchmark.clips), force=force)
        job.report(0)
        left, held = chosen, [clip for clip in chosen if not job.clip(clip)]
        while held and len(held) < len(left):  # go on as long as that helps: others may have finished theirs
            left, held = held, [clip for clip in held if not job.clip(clip)]
    finally:
        tidy(out / LOCKS / RUN_LOCK)
    if held:
        raise UsageError(
            "Other processes are still writing some clips; all others are done.",
            where=held,
            fix="wait for them, then run the same command again to be sure",
        )
    return Run(record["key"], tuple(sorted(job.done)), tuple(sorted(job.kept)), time.monotonic() - began)


@dataclass(slots=True)
class _Job:
    """One call of :func:`predict` under way."""

    benchmark: Benchmark
    predictor: Predictor
    out: Path
    seed: int
    force: bool
    name: str
    record: Mapping[str, Any]
    costs: Mapping[str, int]
    total: int
    progress: Progress | None
    finished: int = 0
    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def report(self, masks: int) -> None:
        """Tell how far the whole call is, ``masks`` into the present clip."""
        if self.progress is not None:
            self.progress(self.finished + masks, self.total)

    def clip(self, clip_id: str) -> bool:
        """Do or keep one clip; False when another process holds it."""
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
                start = time.monotonic()
                _predict_clip(self.benchmark, self.predictor, path, self.seed, clip_id, self.report)
                add_timing(self.out, self.name, self.record, clip_id, time.monotonic() - start)
                self.done.append(clip_id)
        self.finished += self.costs[clip_id]
        self.report(0)
        return True


def _predict_clip(
    benchmark: Benchmark, predictor: Predictor, path: Path, seed: int, clip_id: str, progress: Callable[[int], None]
) -> None:
    clip = benchmark.clips[clip_id]
    expressions = benchmark.expressions_of(clip.id)
    frames = benchmark.frames(clip.id)
    if len(frames) != len(clip.frames):
        raise InputError(
            "A clip has another number of frames than its manifest says.",
            where=[f"{clip.id}: {len(frames)} on disk, {len(clip.frames)} in the manifest"],
            fix="get the frames again",
        )
    writer = ClipWriter(path, clip, [each.id for each in expressions], benchmark.name, benchmark.digest)
    masks = checked_masks(
        predictor,
        frames,
        [expression.text for expression in expressions],
        size=clip.size,
        fps=clip.fps,
        seed=clip_seed(clip.id, seed),
        place=f"clip {clip.id}",
    )
    for count, (text, index, mask) in enumerate(masks, start=1):
        writer.add(expressions[text].id, index, mask)
        progress(count)
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


# --- which clips -----------------------------------------------------------------------------------


def choose(benchmark: Benchmark, clips: Iterable[str] | None) -> list[str]:
    """The clips to work on, most masks first; UsageError for a clip that is not in the benchmark."""
    wanted = set(benchmark.clips) if clips is None else set(clips)
    if unknown := sorted(wanted - set(benchmark.clips)):
        raise UsageError(
            "There is no such clip in the benchmark.", where=[f"{benchmark.name}: {clip}" for clip in unknown]
        )
    sizes = costs(benchmark)
    return sorted((clip for clip in wanted if sizes[clip]), key=lambda clip: (-sizes[clip], clip))


def costs(benchmark: Benchmark) -> dict[str, int]:
    """Masks of every clip: frames times expressions."""
    texts = Counter(expression.clip for expression in benchmark.expressions)
    return {clip.id: len(clip.frames) * texts[clip.id] for clip in benchmark.clips.values()}


def shards(benchmark: Benchmark, count: int, clips: Iterable[str] | None = None) -> list[list[str]]:
    """Divide clips into ``count`` lists of about the same number of masks; the same on every machine.

    Longest first, each to the list with the least work so far. A list may be empty.
    """
    loads = [(0, index) for index in range(count)]
    parts: list[list[str]] = [[] for _ in range(count)]
    sizes = costs(benchmark)
    for clip in choose(benchmark, clips):
        load, index = min(loads)
        parts[index].append(clip)
        loads[index] = (load + sizes[clip], index)
    return parts


def _shard_count(shard: tuple[int, int]) -> int:
    index, count = shard
    if not 1 <= index <= count:
        raise UsageError("There is no such shard.", where=[f"{index}/{count}"], fix="shards are 1/n, 2/n, ... n/n")
    return count


# --- one video, no benchmark -----------------------------------------------------------------------

Overlay = Callable[[NDArray[np.uint8], Sequence[NDArray[np.bool_]]], None]
"""Called once per frame, in order, with the RGB frame [H, W, 3] and one bool mask [H, W] per text."""


def predict_frames(
    predictor: Predictor,
    frames: Sequence[NDArray[np.uint8]],
    texts: Sequence[str],
    *,
    fps: float,
    seed: int,
    out: Path,
    names: Sequence[str],
    overlay: Overlay | None = None,
    progress: Progress | None = None,
    force: bool = False,
) -> tuple[Path, ...]:
    """Predict texts for one sequence of frames into 1-bit PNGs; returns their paths by text and frame.

    ``out/<name>.png`` for one text, ``out/<k>/<name>.png`` for several, k counting the texts from 0.
    Masks are written as they come. ``overlay`` is called for every frame once all masks are known, since
    a predictor may answer in any order; they wait as RLE. Errors as for :func:`predict`.
    """
    _check_request(frames, texts, names)
    size = (int(frames[0].shape[0]), int(frames[0].shape[1]))
    record: dict[str, Any] = {"schema": RUN_SCHEMA, **run_fields(predictor, seed)}
    record["input"] = {"texts": list(texts), "frames": list(names), "size": list(size), "fps": fps}
    record["key"] = run_key(record)
    paths = [out / name for name in _frame_files(record)]
    known = {path.name for path in paths}
    masks: list[Mask | None] = [None] * len(paths)
    report = progress or (lambda done, total: None)
    lock = out / LOCKS / "frames.lock"
    with ExitStack() as stack:
        stack.callback(tidy, out / LOCKS / RUN_LOCK)
        claim(out, "run.json", record, _frame_files, force=force)
        stack.enter_context(holding(lock))
        stack.callback(tidy, lock)
        for leftover in [leftover for folder in {path.parent for path in paths} for leftover in folder.glob(".*.tmp")]:
            if leftover.name[1:].rsplit(".", 2)[0] in known:
                leftover.unlink(missing_ok=True)
        report(0, len(paths))
        stream = checked_masks(predictor, frames, texts, size=size, fps=fps, seed=seed, place="these frames")
        for count, (text, index, mask) in enumerate(stream, start=1):
            position = text * len(names) + index
            write_atomic(paths[position], write_binary(mask.bits(), size))
            masks[position] = Mask.from_rle(mask.counts(), size)
            report(count, len(paths))
    if overlay is not None:
        for index, frame in enumerate(frames):
            overlay(frame, [mask.array() for mask in masks[index :: len(names)] if mask is not None])
    return tuple(paths)


def _frame_files(record: Mapping[str, Any]) -> list[str]:
    """Relative paths of the masks of a run over frames, text after text."""
    given = record.get("input")
    if not isinstance(given, dict) or not all(isinstance(given.get(key), list) for key in ("texts", "frames")):
        return []
    texts, names = given["texts"], given["frames"]
    folders = [""] if len(texts) == 1 else [f"{k}/" for k in range(len(texts))]
    return [f"{folder}{name}.png" for folder in folders for name in names]


def _check_request(frames: Sequence[Any], texts: Sequence[str], names: Sequence[str]) -> None:
    if not len(frames):
        raise InputError("There are no frames here.", fix="name a folder of images or a video")
    if not texts or not all(text.strip() for text in texts):
        raise UsageError("A predictor needs a text.", fix='say what to find: --text "the dog"')
    bad = [name for name in names if not name or name in (".", "..") or set(name) & set("/\\\0")]
    if bad or len(names) != len(frames) or len({name.casefold() for name in names}) != len(names):
        raise UsageError("Frames need one name each that can be a file name.", where=[repr(name) for name in bad])
