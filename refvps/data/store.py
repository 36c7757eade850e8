"""The registered form of a benchmark, one folder per version below the home folder, and how it is written.

``clips.jsonl``, ``expressions.jsonl``, ``masks/<clip>.jsonl`` (RLE), ``bits/<clip>.bits`` (the same, ready to be
counted), optionally ``frames/<clip>/``, and ``benchmark.json`` with the hash of everything and the rules it is
scored by. :func:`store` writes any benchmark that some loader returned; :mod:`refvps.data.register` copies files
that have the form of Ref-VPS. A folder appears whole or not at all, whenever the process dies.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from refvps.data.digest import benchmark_digest, clip_digest
from refvps.data.index import Progress, parallel
from refvps.data.manifest import (
    bad_frame_name,
    clip_record,
    expression_record,
    violation,
    write_manifest,
)
from refvps.data.masktracks import check_disjoint, write_masks
from refvps.data.packed import write_packed
from refvps.data.records.lists import WITHDRAWN, Withdrawal, withdrawn_lines
from refvps.data.records.withdrawal import enter, refuse_reuse
from refvps.data.truth import HiddenTruth, annotation
from refvps.errors import CheckError, InputError, UsageError
from refvps.files import canonical_json, locked, read_json, sha256, sha256_file, write_atomic
from refvps.frames import ImageFrames
from refvps.home import home
from refvps.types import Annotation, Benchmark, Clip, Expression, Rules, Truth, check_id

RECORD = "benchmark.json"
SCHEMA = "refvps.benchmark/1"
FRAME_KINDS = ("jpg", "jpeg", "png")
"""Endings of frame files, compared without case."""

NOT_STORED = ("sample", "folder")
"""Names that mean something else to ``refvps.load``."""

Keep = Literal["none", "copy", "link"]
"""What becomes of frames: left out, copied, or hard-linked where the file system can (else copied)."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What ``benchmark.json`` knows of one clip: its digest, hashes of both forms of its masks, targets with masks,
    (target, frame index) without one, the ending of its frames ("" without frames) and their hashes by name."""

    digest: str = ""
    rle: str = ""
    bits: str = ""
    targets: tuple[str, ...] = ()
    absent: tuple[tuple[str, int], ...] = ()
    frames: str = ""
    frame_hashes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker needs to write one clip below ``folder``."""

    folder: Path
    clip: Clip
    expressions: tuple[Expression, ...]
    truth: Truth
    frames: Sequence[NDArray[np.uint8]] | None
    link: bool


def store(
    benchmark: Benchmark,
    *,
    name: str | None = None,
    version: str | None = None,
    frames: Keep = "none",
    origin: str = "",
    withdrawals: Sequence[Withdrawal] = (),
    jobs: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Write a benchmark under ``<home>/benchmarks/<name>/<version>``; returns that folder.

    ``name`` and ``version`` default to the benchmark's. Afterwards ``refvps.load(name)`` has the same digest, rules,
    licence and notes. ``frames``: without them the stored benchmark can be scored and not predicted; storing it
    again with frames adds them. ``origin`` says where it came from; ``withdrawals`` are clips that it no longer has.
    Storing the same content again changes nothing; other content under the same version is a UsageError. Raises
    InputError for a benchmark that breaks its own invariants, CheckError when what was written does not have the
    digest it was loaded with. ``progress`` counts clips; with ``jobs`` > 1 every truth must pickle.
    """
    name, version = name or benchmark.name, version or benchmark.version or "local"
    check_id(name, "benchmark")
    check_id(version, "version")
    if name in NOT_STORED:
        raise UsageError(
            "This name is taken by a benchmark that is never stored.", where=[name], fix="name it otherwise"
        )
    _check_manifest(benchmark)
    base = home() / "benchmarks" / name
    refuse_reuse(base, benchmark.clips)
    with staged(base) as staging:
        if withdrawals:
            write_atomic(staging / WITHDRAWN, withdrawn_lines(withdrawals))
        write_manifest(staging, benchmark.clips.values(), benchmark.expressions)
        grouped: dict[str, list[Expression]] = {key: [] for key in benchmark.clips}
        for expression in benchmark.expressions:
            grouped[expression.clip].append(expression)
        tasks = [
            Task(
                staging,
                clip,
                tuple(grouped[key]),
                benchmark.truth(key),
                None if frames == "none" else benchmark.frames(key),
                frames == "link",
            )
            for key, clip in benchmark.clips.items()
        ]
        kept = dict(zip(benchmark.clips, parallel(_write, tasks, jobs=jobs, chunk=1, progress=progress), strict=True))
        _compare(benchmark, kept)
        about: dict[str, Any] = {"name": name, "version": version, "licence": benchmark.licence, "description": ""}
        about |= {"rules": rules_record(benchmark.rules), "notes": list(benchmark.notes)}
        manifests = {path.name: sha256_file(path) for path in sorted(staging.glob("*.jsonl"))}
        record = make_record(about, manifests, kept, origin or benchmark.name)
        write_atomic(staging / RECORD, canonical_json(record))
        folder = settle(staging, base / version, record, free=("manifests",))
        enter(base, withdrawals)
        return folder


@contextmanager
def staged(base: Path) -> Iterator[Path]:
    """A new folder below ``base``, under its lock; it is gone afterwards unless it was moved away."""
    with locked(base / ".lock"):
        for leftover in base.glob(".staging-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        staging = base / f".staging-{secrets.token_hex(6)}"
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def settle(staging: Path, final: Path, record: Mapping[str, Any], free: Sequence[str] = ()) -> Path:
    """Move a finished folder in place, unless the same is there already; ``free``: fields that may differ.

    Where the same is there without frames, only the frames are moved.
    """
    if final.exists():
        there = read_json(final / RECORD)
        there = there if isinstance(there, dict) else {}
        old, new = there, record
        if not (_has_frames(old) and _has_frames(new)):
            old, new = _without_frames(old), _without_frames(new)
        differs = [key for key, value in new.items() if key not in ("source", *free) and old.get(key) != value]
        if not differs and _has_frames(record) and not _has_frames(there):
            shutil.rmtree(final / "frames", ignore_errors=True)
            os.rename(staging / "frames", final / "frames")
            clips = {key: {**clip, "frames": record["clips"][key]["frames"]} for key, clip in there["clips"].items()}
            frames = {"frames_sha256": record["frames_sha256"], "clips": clips}
            write_atomic(final / RECORD, canonical_json(there | frames))
        if differs:
            raise UsageError(
                "Another data set is registered under this name and version.",
                where=[f"{final}: different {', '.join(differs)}"],
                fix="delete that folder, or give the new one another version in its benchmark.json",
            )
        return final
    os.rename(staging, final)
    return final


def _has_frames(record: Mapping[str, Any]) -> bool:
    clips = record.get("clips")
    return isinstance(clips, Mapping) and any(clip.get("frames") for clip in clips.values())


def _without_frames(record: Mapping[str, Any]) -> dict[str, Any]:
    clips = {key: {**clip, "frames": ""} for key, clip in (record.get("clips") or {}).items()}
    return {**record, "clips": clips, "frames_sha256": ""}


def make_record(
    about: Mapping[str, Any], manifests: Mapping[str, str], kept: Mapping[str, Kept], source: str
) -> dict[str, Any]:
    """The content of ``benchmark.json``; ``manifests``: SHA-256 by file name."""
    hashes = sorted([part, digest] for clip in kept.values() for part, digest in clip.frame_hashes)
    return {
        "schema": SCHEMA,
        **about,
        "digest": benchmark_digest({key: clip.digest for key, clip in kept.items()}),
        "source": source,
        "manifests": dict(manifests),
        "frames_sha256": sha256(canonical_json(hashes)),
        "clips": {
            key: {
                "digest": clip.digest,
                "rle_sha256": clip.rle,
                "bits_sha256": clip.bits,
                "targets": list(clip.targets),
                "absent": [list(pair) for pair in clip.absent],
                "frames": clip.frames,
            }
            for key, clip in kept.items()
        },
    }


def keep_masks(folder: Path, clip: Clip, expressions: Sequence[Expression], found: Annotation) -> Kept:
    """Write both forms of a clip's masks below ``folder``."""
    track, packed = folder / "masks" / f"{clip.id}.jsonl", folder / "bits" / f"{clip.id}.bits"
    write_masks(track, clip, found)
    write_packed(packed, clip, found)
    absent = [
        (target, index)
        for target, masks in sorted(found.targets.items())
        for index in clip.annotated_indices()
        if masks.counts[index] is None
    ]
    return Kept(
        digest=clip_digest(clip, expressions, found),
        rle=sha256_file(track),
        bits=sha256_file(packed),
        targets=tuple(sorted(found.targets)),
        absent=tuple(absent),
    )


def frame_files(folder: Path, clip: Clip, kind: str) -> list[Path]:
    """Paths of the installed frames of a clip."""
    return [folder / "frames" / clip.id / f"{frame}.{kind}" for frame in clip.frames]


def check_frames(paths: Sequence[Path], clip: Clip) -> ImageFrames:
    """The frames of a clip, lazily; raises InputError unless the headers give the size of the clip."""
    frames = ImageFrames(paths, clip.fps, f"frames/{clip.id}")
    if frames.size != clip.size:
        (height, width), (right_height, right_width) = frames.size, clip.size
        raise InputError(
            "The frames of a clip do not have its size.",
            where=[f"frames/{clip.id}: {width}x{height}, the list of clips has {right_width}x{right_height}"],
            fix="extract the frames again at the size of the clip",
        )
    return frames


def rules_record(rules: Rules) -> dict[str, Any]:
    """Rules as JSON."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(rules).items()}


def rules_from(record: Any, place: str) -> Rules:
    """Rules from JSON, the defaults for fields that are absent; raises InputError for any that mean nothing here."""
    hints = get_type_hints(Rules)
    wrong = [f"{place}: {key}" for key, value in record.items() if key not in hints or not _fits(value, hints[key])]
    if wrong:
        raise InputError(
            "The rules of a benchmark cannot be used.", where=wrong, fix="use the version of refvps that wrote them"
        )
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    return Rules(**fields)


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, list) and all(_fits(item, get_args(hint)[0]) for item in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint


def _write(task: Task) -> Kept:
    """Write one clip: its masks, checked, and its frames."""
    clip = task.clip
    if isinstance(task.truth, HiddenTruth):  # questions only: somebody else has the answers
        kept = Kept(digest=clip_digest(clip, task.expressions, Annotation(clip.id, {})))
        return kept if task.frames is None else _keep_frames(task, kept)
    found = annotation(task.truth, clip)
    lacking = {expression.target for expression in task.expressions} - found.targets.keys()
    tracks = found.targets.values()
    bare = [clip.frames[k] for k in clip.annotated_indices() if all(track.counts[k] is None for track in tracks)]
    wrong = [f"{clip.id}: no mask of the target {target}" for target in sorted(lacking)]
    wrong += [f"{clip.id}/{frame}: annotated, but no target has a mask" for frame in bare]
    if wrong:
        raise InputError("The masks of a benchmark do not match its lists.", where=wrong, fix="correct its loader")
    check_disjoint(clip, found)
    kept = keep_masks(task.folder, clip, task.expressions, found)
    return kept if task.frames is None else _keep_frames(task, kept)


def _keep_frames(task: Task, kept: Kept) -> Kept:
    """Put the frames of a clip beside its masks: files as they are, anything else as PNG."""
    clip, frames = task.clip, task.frames
    assert frames is not None
    if len(frames) != len(clip.frames):
        places = [f"{clip.id}: {len(frames)} frames, {len(clip.frames)} in the list of clips"]
        raise InputError("The frames of a clip do not match its list.", where=places, fix="correct its loader")
    files = frames.files if isinstance(frames, ImageFrames) else ()
    kinds = {file.suffix[1:].lower() for file in files}
    kind = kinds.pop() if len(kinds) == 1 and kinds <= set(FRAME_KINDS) else "png"
    paths = frame_files(task.folder, clip, kind)
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for index, path in enumerate(paths):
        if not files or files[index].suffix[1:].lower() != kind:
            write_png(path, frames[index])
        elif not task.link or not _linked(files[index], path):
            shutil.copyfile(files[index], path)
    check_frames(paths, clip)
    hashes = tuple((f"frames/{clip.id}/{path.name}", sha256_file(path)) for path in paths)
    return Kept(kept.digest, kept.rle, kept.bits, kept.targets, kept.absent, kind, hashes)


def _linked(file: Path, path: Path) -> bool:
    try:
        os.link(file, path)
    except OSError:  # another disk, or a file system without hard links
        return False
    return True


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture, uint8 RGB [H, W, 3], without loss."""
    from PIL import Image

    Image.fromarray(np.ascontiguousarray(pixels)).save(path, format="PNG")


def _check_manifest(benchmark: Benchmark) -> None:
    """Raise InputError for records that our own files could not hold; an empty text is allowed."""
    wrong: list[str] = []
    for key, clip in benchmark.clips.items():
        reason = violation(clip_record(clip), "clips") or bad_frame_name(clip)
        reason = reason or ("" if key == clip.id else f"listed as {key}")
        wrong += [f"clip {clip.id}: {reason}"] if reason else []
    seen: set[tuple[str, str]] = set()
    for each in benchmark.expressions:
        record = expression_record(each)
        reason = violation(record if each.text else record | {"text": "none"}, "expressions")
        if each.clip not in benchmark.clips:
            reason = "no such clip"
        elif (each.clip, each.id.lower()) in seen:
            reason = "a second expression of this id"
        seen.add((each.clip, each.id.lower()))
        wrong += [f"expression {each.clip}/{each.id}: {reason}"] if reason else []
    silent = benchmark.clips.keys() - {each.clip for each in benchmark.expressions}
    wrong += [f"clip {key}: no expression" for key in benchmark.clips if key in silent]
    if len({key.lower() for key in benchmark.clips}) != len(benchmark.clips) or not benchmark.clips:
        wrong.append("clip ids are not unique ignoring case, or there are none")
    if wrong:
        raise InputError("This benchmark cannot be stored.", where=wrong, fix="correct its loader")


def _compare(benchmark: Benchmark, kept: Mapping[str, Kept]) -> None:
    """Raise CheckError when a clip does not have the digest it was loaded with."""
    differ = [key for key, clip in kept.items() if benchmark.clip_digests.get(key, clip.digest) != clip.digest]
    total = benchmark_digest({key: clip.digest for key, clip in kept.items()})
    if differ or benchmark.digest not in ("", total):
        raise CheckError(
            "What was written is not what was loaded: the digests differ.",
            where=differ or [f"{benchmark.digest} before, {total} after"],
            fix="load the benchmark again; its files may have changed meanwhile",
        )
