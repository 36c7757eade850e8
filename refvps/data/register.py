"""Registration: a data set in the form of Ref-VPS is checked completely and copied under the home folder.

A source is a folder or a .zip (also one folder too deep) with ``clips.jsonl``, ``expressions.jsonl``, masks and,
if it may share them, frames: ``masks/<clip>/<frame>.png`` (0 background, 1 target, 255 Ignore) or
``masks/<clip>.jsonl`` (RLE), ``frames/<clip>/<frame>.jpg`` or ``.png``; optionally ``benchmark.json`` (name,
version, licence), ``candidates.jsonl`` (what the clips were chosen from) and ``withdrawn.jsonl``, clips that are no
longer part of it: of these nothing is copied, and their ids are refused for ever.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from refvps.archive import FileSet, open_files, shown
from refvps.data.index import Progress, parallel, scan
from refvps.data.manifest import (
    CLIPS,
    EXPRESSIONS,
    MAX_MANIFEST_BYTES,
    parse_manifest,
    violation,
)
from refvps.data.masktracks import empty_counts, make_annotation, parse_masks
from refvps.data.records.clip import check_provenance
from refvps.data.records.lists import CANDIDATES, WITHDRAWN, Withdrawal, parse_candidates, parse_withdrawn
from refvps.data.records.withdrawal import check_listed, enter, gone_among, marked, refuse_reuse, stripped
from refvps.data.store import (
    FRAME_KINDS,
    RECORD,
    Kept,
    check_frames,
    frame_files,
    keep_masks,
    make_record,
    rules_from,
    rules_record,
    settle,
    staged,
)
from refvps.data.truth import MAX_MASK_BYTES, MAX_TRACK_BYTES
from refvps.errors import InputError
from refvps.files import canonical_json, parse_json, read_bytes, sha256, write_atomic
from refvps.home import home
from refvps.masks import png
from refvps.types import Annotation, Clip, Expression, check_id

MAX_FRAME_BYTES = 1 << 28
TARGET, IGNORE = 1, 255
"""Labels in PNG masks."""


@dataclass(slots=True)
class Plan:
    """Files of one clip in the source: a mask file or masks by frame; frames by frame, and their ending."""

    rle: str = ""
    masks: dict[str, str] = field(default_factory=dict)
    frames: dict[str, str] = field(default_factory=dict)
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker needs to check the masks of one clip below ``folder``/masks."""

    folder: Path
    clip: Clip
    expressions: tuple[Expression, ...]
    rle: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """What checking a clip yields: what was kept of it, labels seen in its PNGs, and what is wrong."""

    kept: Kept = field(default_factory=Kept)
    labels: frozenset[int] = frozenset()
    wrong: tuple[str, ...] = ()


def register(
    source: Path | str,
    name: str = "ref-vps",
    *,
    version: str = "local",
    origin: str = "",
    jobs: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Check a data set and install a copy under ``<home>/benchmarks/<name>/<version>``; returns that folder.

    The version is that of ``benchmark.json``, else ``version``. ``origin`` says where the files came from. The copy
    appears whole or not at all, whenever the process dies. Registering the same files again changes nothing, with
    frames where there were none adds them; others under the same version are a UsageError. Raises InputError naming
    all that is wrong. ``progress`` counts files.
    """
    check_id(name, "benchmark")
    source = Path(source)
    files = open_files(source)
    prefix = _prefix(files, source)
    about = _about(files, prefix, name, version)
    wanted = [CLIPS, EXPRESSIONS, *(part for part in (CANDIDATES, WITHDRAWN) if prefix + part in files.names)]
    manifests = {part: files.read(prefix + part, MAX_MANIFEST_BYTES) for part in wanted}
    clips, expressions, withdrawals = _checked_lists(manifests)
    gone = gone_among(clips, withdrawals)
    manifests = {part: data if part == WITHDRAWN else stripped(part, data, gone) for part, data in manifests.items()}
    clips = {key: clip for key, clip in clips.items() if key not in gone}
    if not clips:
        raise InputError("Every clip of this data set is withdrawn.", where=[shown(source)], fix="use a newer version")
    plans = _plans(files, prefix, clips, {each.clip.lower() for each in withdrawals})
    base = home() / "benchmarks" / name
    refuse_reuse(base, clips)
    with staged(base) as staging:
        hashes = {part: _put(staging / part, data) for part, data in manifests.items()}
        report = _counter(progress, plans)
        _copy_masks(files, staging, plans, report)
        spoken: dict[str, list[Expression]] = {key: [] for key in clips}
        for expression in expressions:
            spoken.get(expression.clip, []).append(expression)
        tasks = [Task(staging, clip, tuple(spoken[key]), bool(plans[key].rle)) for key, clip in clips.items()]
        checked = dict(zip(clips, parallel(check_clip, tasks, jobs=jobs, chunk=1), strict=True))
        _refuse(checked, plans)
        copied = _copy_frames(files, staging, clips, plans, report)
        kept = {
            key: replace(result.kept, frames=plans[key].kind, frame_hashes=copied.get(key, ()))
            for key, result in checked.items()
        }
        record = make_record(about, hashes, kept, origin or source.name)
        write_atomic(staging / RECORD, canonical_json(record))
        installed = settle(staging, base / about["version"], record)
        enter(base, withdrawals)
        return installed


def _checked_lists(
    manifests: Mapping[str, bytes],
) -> tuple[dict[str, Clip], tuple[Expression, ...], tuple[Withdrawal, ...]]:
    """Clips, expressions and withdrawals of the files by name, each checked, and against each other."""
    clips, expressions = parse_manifest(manifests[CLIPS], manifests[EXPRESSIONS])
    check_provenance(manifests[CLIPS])
    withdrawals = parse_withdrawn(manifests.get(WITHDRAWN, b""))
    check_listed(marked(manifests[CLIPS]), withdrawals)
    parse_candidates(manifests.get(CANDIDATES, b""))
    return clips, expressions, withdrawals


def check_clip(task: Task) -> Checked:
    """Decode every mask of a clip; collects what is wrong instead of raising."""
    clip = task.clip
    try:
        if task.rle:
            path = task.folder / "masks" / f"{clip.id}.jsonl"
            data = read_bytes(path, MAX_TRACK_BYTES)
            annotation = parse_masks(data, f"masks/{clip.id}.jsonl", clip)
            labels = frozenset[int]()
        else:
            annotation, labels = _png_annotation(task)
    except InputError as error:
        return Checked(wrong=tuple(f"{place}: {error.what}" for place in error.where))
    absent = {e.target for e in task.expressions} - annotation.targets.keys()
    wrong = tuple(
        f"{clip.id}/{e.id}: its target {e.target} has no mask; targets with masks: {', '.join(annotation.targets)}"
        for e in task.expressions
        if e.target in absent
    )
    kept = keep_masks(task.folder, clip, task.expressions, annotation)
    shutil.rmtree(task.folder / "masks" / clip.id, ignore_errors=True)  # the PNGs say nothing more
    return Checked(kept, labels, wrong)


def _png_annotation(task: Task) -> tuple[Annotation, frozenset[int]]:
    clip = task.clip
    nothing = empty_counts(clip.size)
    target: list[bytes | None] = [None] * len(clip.frames)
    ignore: list[bytes | None] = [None] * len(clip.frames)
    seen: set[int] = set()
    wrong: list[str] = []
    for index, frame in zip(clip.annotated_indices(), clip.annotated, strict=True):
        data = read_bytes(task.folder / "masks" / clip.id / f"{frame}.png", MAX_MASK_BYTES)
        try:
            masks = scan(data, clip.size).masks
        except png.PngError as error:
            wrong.append(f"masks/{clip.id}/{frame}.png: {error}")
            continue
        if strange := sorted(masks.keys() - {TARGET, IGNORE}):
            wrong.append(f"masks/{clip.id}/{frame}.png: the value {strange[0]}; only 0, 1 and 255 have a meaning")
        seen |= masks.keys()
        target[index], ignore[index] = masks.get(TARGET, nothing), masks.get(IGNORE, nothing)
    if wrong:
        raise InputError("A mask cannot be used", where=wrong)
    return make_annotation(clip, {"1": target}, ignore), frozenset(seen)


def _refuse(checked: Mapping[str, Checked], plans: Mapping[str, Plan]) -> None:
    if wrong := [place for result in checked.values() for place in result.wrong]:
        raise InputError("Masks of this data set cannot be used.", where=wrong, fix="write them again")
    labels = set().union(*(result.labels for result in checked.values()))
    if labels == {IGNORE} and all(not plan.rle for plan in plans.values()):
        raise InputError(
            "No mask of this data set has a target: every pixel is 0 or 255, and 255 is Ignore.",
            where=[f"masks/{key}" for key in checked],
            fix="write the target as 1",
        )


def _prefix(files: FileSet, source: Path) -> str:
    """The folder of the manifests in the source: "", or "name/" when all is one folder too deep."""
    found = sorted(name[: -len(CLIPS)] for name in files.names if f"/{name}".endswith(f"/{CLIPS}"))
    usable = [prefix for prefix in found if prefix.count("/") <= 1]
    usable = [""] if "" in usable else usable
    if len(usable) != 1 or usable[0] + EXPRESSIONS not in files.names:
        several = len(usable) > 1
        raise InputError(
            "There are several data sets in here." if several else "This is not a data set in the form of Ref-VPS.",
            where=map(shown, usable) if several else [f"{shown(source)}: no {CLIPS if not usable else EXPRESSIONS}"],
            fix=f"give a folder or .zip of {CLIPS}, {EXPRESSIONS} and masks/, as annotations/ref-vps/README.md says",
        )
    return usable[0]


def _about(files: FileSet, prefix: str, name: str, version: str) -> dict[str, Any]:
    """Name, version, licence and description of the data set, and its rules and notes if it has any."""
    about: dict[str, Any] = {"name": name, "version": version, "licence": "", "description": ""}
    if prefix + RECORD not in files.names:
        return about
    given = parse_json(files.read(prefix + RECORD, MAX_MANIFEST_BYTES), RECORD)
    reason = violation(given, "benchmark")
    if not reason and given.get("name", name) != name:
        reason = f"its name is {given['name']}, not {name}"
    if reason:
        raise InputError(f"The {RECORD} of this data set cannot be used.", where=[f"{RECORD}: {reason}"], fix="edit it")
    about = {key: given.get(key, value) for key, value in about.items()}
    if "rules" in given:
        about["rules"] = rules_record(rules_from(given["rules"], RECORD))
    return about | ({"notes": given["notes"]} if given.get("notes") else {})


def _plans(files: FileSet, prefix: str, clips: Mapping[str, Clip], gone: set[str]) -> dict[str, Plan]:
    """Join the files to the manifest by name; raises InputError naming what is missing, doubled or surplus."""
    plans = {key: Plan() for key in clips}
    wrong: list[str] = []
    for name in files.names:
        top, *rest = name.removeprefix(prefix).split("/")
        if not name.startswith(prefix) or top not in ("masks", "frames") or not rest:
            continue
        stem, _, kind = rest[-1].rpartition(".")
        kind = kind.lower()
        clip = stem if len(rest) == 1 else rest[0]
        place = shown(name.removeprefix(prefix))
        if clip.lower() in gone or (top == "frames" and len(rest) == 1 and rest[0].endswith(".frames.json")):
            continue  # the latter: what refvps extract wrote down about the frames
        if (top, len(rest), kind) not in _MEANINGS:
            wrong.append(f"{place}: such a file has no meaning here")
        elif clip not in plans:
            wrong.append(f"{place}: the list of clips has no {shown(clip)}")
        elif len(rest) == 1:
            plans[clip].rle = name
        elif top == "masks":
            plans[clip].masks[stem] = name
        elif stem in plans[clip].frames or plans[clip].kind not in ("", kind):
            wrong.append(f"{place}: frames of one clip need one kind of file, one for each frame")
        else:
            plans[clip].frames[stem] = name
            plans[clip].kind = kind
    for key, plan in plans.items():
        wrong += _incomplete(clips[key], plan)
    if wrong:
        raise InputError(
            "The files of this data set do not match its list of clips.",
            where=wrong,
            fix="every annotated frame needs its mask, and every clip all of its frames or none; nothing else",
        )
    return plans


_MEANINGS = {("masks", 1, "jsonl"), ("masks", 2, "png")} | {("frames", 2, kind) for kind in FRAME_KINDS}


def _incomplete(clip: Clip, plan: Plan) -> list[str]:
    """What is missing or surplus among the files of one clip."""
    wrong: list[str] = []
    if bool(plan.rle) == bool(plan.masks):
        wrong.append(f"{clip.id}: masks both as RLE and as PNG" if plan.rle else f"{clip.id}: no masks")
    for kind, found, wanted in (("mask", plan.masks, clip.annotated), ("frame", plan.frames, clip.frames)):
        if found:
            wrong += [f"{clip.id}/{name}: no {kind}" for name in wanted if name not in found]
            wrong += [f"{clip.id}/{shown(name)}: a {kind} not in the list" for name in sorted({*found} - {*wanted})]
    return wrong


def _counter(progress: Progress | None, plans: Mapping[str, Plan]) -> Callable[[], None]:
    total = sum(bool(plan.rle) + len(plan.masks) + len(plan.frames) for plan in plans.values())
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None and (done % 64 == 0 or done == total):
            progress(done, total)

    return step


def _copy_masks(files: FileSet, staging: Path, plans: Mapping[str, Plan], step: Callable[[], None]) -> None:
    for key, plan in plans.items():
        if plan.rle:
            _put(staging / "masks" / f"{key}.jsonl", files.read(plan.rle, MAX_TRACK_BYTES))
            step()
        for frame, name in plan.masks.items():
            _put(staging / "masks" / key / f"{frame}.png", files.read(name, MAX_MASK_BYTES))
            step()


def _copy_frames(
    files: FileSet, staging: Path, clips: Mapping[str, Clip], plans: Mapping[str, Plan], step: Callable[[], None]
) -> dict[str, tuple[tuple[str, str], ...]]:
    """Copy frames and check their headers; returns the hashes of every file, by clip."""
    copied: dict[str, tuple[tuple[str, str], ...]] = {}
    for key, plan in plans.items():
        hashes: dict[str, str] = {}
        for frame, name in plan.frames.items():
            part = f"frames/{key}/{frame}.{plan.kind}"
            hashes[part] = _put(staging / part, files.read(name, MAX_FRAME_BYTES))
            step()
        if plan.frames:
            check_frames(frame_files(staging, clips[key], plan.kind), clips[key])
        copied[key] = tuple(hashes.items())
    return copied


def _put(path: Path, data: bytes) -> str:
    """Write a file that becomes visible only when its whole folder is moved in place; returns its hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return sha256(data)
