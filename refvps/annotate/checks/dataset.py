"""Every check over a whole data set: a folder in the form of Ref-VPS, or a benchmark that is on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from refvps.annotate.checks.lists import check_lists, stray
from refvps.annotate.checks.masks import check_masks
from refvps.annotate.checks.table import Result, results, wanted
from refvps.annotate.provenance import read_provenance
from refvps.annotate.sources.folders import IGNORE
from refvps.data.census.statistics import candidates, clip_records, expression_records, manifest_folder
from refvps.data.index import parallel, scan
from refvps.data.manifest import CLIPS, EXPRESSIONS
from refvps.data.masktracks import check_disjoint, empty_counts, make_annotation, mask_lines, parse_masks
from refvps.data.records.clip import ClipRecord, ExpressionRecord, read_clips, read_expressions
from refvps.data.records.lists import WITHDRAWN, read_withdrawn
from refvps.data.truth import MAX_MASK_BYTES, MAX_TRACK_BYTES, annotation
from refvps.errors import DataMissingError, InputError, UsageError
from refvps.files import canonical_json, parse_json, read_bytes, sha256
from refvps.frames import ImageFrames, image_files
from refvps.masks import png
from refvps.types import Annotation, Benchmark, Clip, Truth

Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all)."""

Found = dict[str, list[str]]

_TARGET = 1


@dataclass(frozen=True, slots=True)
class Checked:
    """What was looked at, and what was found. ``pictures``: clips whose frames could be looked at."""

    clips: int
    expressions: int
    pictures: int
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """True without an error."""
        return not any(result.blocks for result in self.results)


def check_folder(
    folder: Path, *, select: Sequence[str] = (), jobs: int = 1, progress: Progress | None = None
) -> Checked:
    """Check a folder with ``clips.jsonl``, ``expressions.jsonl``, ``masks/`` and, if it has some, ``frames/``.

    ``select``: ids of checks, or their first letters; all by default. Raises UsageError where there is no list of
    clips, InputError for lists that cannot be read at all.
    """
    if not (folder / CLIPS).is_file():
        raise UsageError(
            f"There is no {CLIPS} here.",
            where=[str(folder)],
            fix="give the folder of a data set in the form of Ref-VPS",
        )
    clips = tuple(read_clips(folder / CLIPS))
    expressions = _expressions(folder / EXPRESSIONS)
    known = {record.clip.id for record in clips}
    found: list[Found] = [
        check_lists(
            clips,
            [each for each in expressions if each.expression.clip in known],
            candidates=candidates(folder),
            withdrawals=read_withdrawn(folder / WITHDRAWN) if (folder / WITHDRAWN).is_file() else (),
        )
    ]
    if strange := [
        f"{e.expression.clip}/{e.expression.id}: no such clip" for e in expressions if e.expression.clip not in known
    ]:
        found.append({"L1": strange})
    found.append(stray(_mask_names(folder / "masks"), known))
    hashes = {each.clip: each.masks_sha256 for each in read_provenance(folder)}
    pictured = 0
    if wanted("M", select) or any(name[0] in "FGMP" for name in select):
        targets: dict[str, set[str]] = {key: set() for key in known}
        for each in expressions:
            targets.get(each.expression.clip, set()).add(each.expression.target)
        tasks = [_Task(folder, r.clip, frozenset(targets[r.clip.id]), hashes.get(r.clip.id, "")) for r in clips]
        found += parallel(_look, tasks, jobs=jobs, chunk=1, progress=progress)
        pictured = sum((folder / "frames" / record.clip.id).is_dir() for record in clips)
    return Checked(len(clips), len(expressions), pictured, results(found, select))


def _expressions(path: Path) -> tuple[ExpressionRecord, ...]:
    return tuple(read_expressions(path)) if path.is_file() else ()


def _mask_names(folder: Path) -> list[str]:
    """Clips that have a file or a folder of masks."""
    if not folder.is_dir():
        return []
    found = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    return [each.name.removesuffix(".jsonl") if each.is_file() else each.name for each in found]


@dataclass(frozen=True, slots=True)
class _Task:
    folder: Path
    clip: Clip
    targets: frozenset[str]
    sha256: str


def _look(task: _Task) -> Found:
    """Everything that the masks and frames of one clip show."""
    clip, found = task.clip, Found()
    pictures = _pictures(task.folder / "frames" / clip.id, clip, found)
    path = task.folder / "masks" / f"{clip.id}.jsonl"
    try:
        if path.is_file():
            data = read_bytes(path, MAX_TRACK_BYTES)
            read = parse_masks(data, f"masks/{path.name}", clip)
            if not _is_canonical(data, clip, read):
                found["F5"] = [f"masks/{path.name}"]
            if task.sha256 and sha256(data) != task.sha256:
                found["P3"] = [f"masks/{path.name}"]
        elif path.with_suffix("").is_dir():
            read = _from_pictures(path.with_suffix(""), clip)
        else:
            return found | {"F4": [f"{clip.id}: no masks/{path.name}"]}
    except InputError as error:
        key = (
            "G1"
            if error.what.startswith("Pixels are both")
            else "F4"
            if error.what.startswith("Frames without")
            else "F3"
        )
        return found | {key: [place if clip.id in place else f"{clip.id}: {place}" for place in error.where]}
    if absent := sorted(task.targets - read.targets.keys()):
        found["F4"] = [f"{clip.id}: no mask of target {target}" for target in absent]
    return _joined(found, check_masks(clip, read, pictures))


def _is_canonical(data: bytes, clip: Clip, read: Annotation) -> bool:
    """Whether a mask file says what would be written again, in whatever order and spacing."""
    lines = [parse_json(line, clip.id) for line in data.splitlines()]
    kept = [line for line in lines if read.ignore is not None or "ignore" not in line]
    return sorted(map(canonical_json, kept)) == sorted(mask_lines(clip, read).splitlines())


def _joined(first: Found, second: Found) -> Found:
    return {key: [*first.get(key, []), *second.get(key, [])] for key in {**first, **second}}


def _pictures(folder: Path, clip: Clip, found: Found) -> ImageFrames | None:
    """The frames of a clip, if they are there and are those of the list."""
    if not folder.is_dir():
        return None
    try:
        files = {file.stem: file for file in image_files(folder)}
        pictures = ImageFrames(tuple(files.values()), clip.fps, str(folder))
    except InputError as error:
        found["F1"] = [f"{clip.id}: {place}" for place in error.where]
        return None
    wrong = [f"{clip.id}/{name}: no picture" for name in clip.frames if name not in files]
    wrong += [f"{clip.id}/{name}: not in the list" for name in files if name not in set(clip.frames)]
    if pictures.size != clip.size:
        wrong.append(f"{clip.id}: {pictures.size[1]}x{pictures.size[0]}, in the list {clip.size[1]}x{clip.size[0]}")
    if wrong:
        found["F1"] = wrong
        return None
    return ImageFrames([files[name] for name in clip.frames], clip.fps, str(folder))


def _from_pictures(folder: Path, clip: Clip) -> Annotation:
    """Masks as PNG: 0, 1 target, 255 Ignore."""
    nothing = empty_counts(clip.size)
    target: list[bytes | None] = [None] * len(clip.frames)
    ignore: list[bytes | None] = [None] * len(clip.frames)
    missing = [f"{clip.id}/{frame}" for frame in clip.annotated if not (folder / f"{frame}.png").is_file()]
    if missing:
        raise InputError("Frames without a mask.", where=missing, fix="add them")
    wrong: list[str] = []
    for index, frame in zip(clip.annotated_indices(), clip.annotated, strict=True):
        try:
            masks = scan(read_bytes(folder / f"{frame}.png", MAX_MASK_BYTES), clip.size).masks
        except png.PngError as error:
            wrong.append(f"{clip.id}/{frame}: {error}")
            continue
        if strange := sorted(masks.keys() - {_TARGET, IGNORE}):
            wrong.append(f"{clip.id}/{frame}: the value {strange[0]}; only 0, 1 and 255 have a meaning")
        target[index], ignore[index] = masks.get(_TARGET, nothing), masks.get(IGNORE, nothing)
    if wrong:
        raise InputError("A mask cannot be used.", where=wrong)
    return make_annotation(clip, {"1": target}, ignore)


def check_benchmark(
    benchmark: Benchmark, *, select: Sequence[str] = (), jobs: int = 1, progress: Progress | None = None
) -> Checked:
    """Check a benchmark that can be loaded; lists as far as they are on this machine."""
    folder = manifest_folder(benchmark)
    clips = tuple(each for each in clip_records(folder) if each.clip.id in benchmark.clips)
    expressions = tuple(each for each in expression_records(folder) if each.expression.clip in benchmark.clips)
    if folder is None:
        clips = tuple(ClipRecord(clip) for clip in benchmark.clips.values())
        expressions = tuple(ExpressionRecord(each) for each in benchmark.expressions)
    found: list[Found] = [check_lists(clips, expressions, candidates=candidates(folder))]
    tasks = [_Loaded(clip, benchmark.truth(key), _frames_of(benchmark, key)) for key, clip in benchmark.clips.items()]
    if wanted("M", select) or any(name[0] in "FGM" for name in select):
        found += parallel(_look_loaded, tasks, jobs=jobs, chunk=1, progress=progress)
    pictured = sum(task.pictures is not None for task in tasks)
    return Checked(len(benchmark.clips), len(benchmark.expressions), pictured, results(found, select))


@dataclass(frozen=True, slots=True)
class _Loaded:
    clip: Clip
    truth: Truth
    pictures: ImageFrames | None


def _frames_of(benchmark: Benchmark, clip: str) -> ImageFrames | None:
    """Frames that are files, which workers can open; others are passed over."""
    try:
        frames = benchmark.frames(clip)
    except DataMissingError:
        return None
    return frames if isinstance(frames, ImageFrames) and len(frames) == len(benchmark.clips[clip].frames) else None


def _look_loaded(task: _Loaded) -> Found:
    try:
        read = annotation(task.truth, task.clip)
        check_disjoint(task.clip, read)
    except DataMissingError:
        return {"F4": [f"{task.clip.id}: its masks are not public"]}
    except InputError as error:
        key = "G1" if error.what.startswith("Pixels are both") else "F3"
        return {key: [place if task.clip.id in place else f"{task.clip.id}: {place}" for place in error.where]}
    return check_masks(task.clip, read, task.pictures)
