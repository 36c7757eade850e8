"""Two-folder mode: any ground truth in PNG files is a benchmark called ``folder``.

Layouts, directly in the folder or below its ``Annotations``; a mix is an error:

``gt/<video>/<frame>.png``
    Labels: 0 background, the others objects. With several objects in the whole set, every label of a video is an
    expression and a target of that name ("1", "2", ...), paired with the same label of id-PNG predictions; with
    one, the set is binary and every video has the expression "1".
``gt/<video>/<expression>/<frame>.png``
    One binary mask per file. Where expressions of a frame carry Ignore pixels, they must agree on them.

Label 255 is Ignore, unless it is the only label of the whole set: nobody can know then, and the user is asked.
Videos, expressions and frames are in natural order ("frame 9" before "frame 10"); the frames that have a file
are the clip. Every video is its own group. Names that are no valid ids are mapped, the original is ``source_id``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from refvps.archive import shown
from refvps.data.digest import benchmark_digest, clip_digest
from refvps.data.ids import map_ids
from refvps.data.importers.tree import Video, find_videos
from refvps.data.index import Labels, Progress, hash_file, key_of, recall, remember, scan_files
from refvps.data.masktracks import empty_counts, make_annotation
from refvps.data.truth import JoinedTruth, PngTruth
from refvps.errors import InputError, UsageError
from refvps.types import Annotation, Benchmark, Clip, Expression, Truth

MAX_OBJECTS = 100
"""Most labels of one video; more come from soft or resized masks."""


@dataclass(frozen=True, slots=True)
class Content:
    """What decoding a video yields: size (height, width), labels by expression folder, the clip's digest."""

    size: tuple[int, int]
    labels: Mapping[str, tuple[int, ...]]
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """What, besides the files, the benchmark follows from. ``single``: the whole set is binary."""

    ignore: int | None
    fps: float
    single: bool = False


@dataclass(frozen=True, slots=True)
class Object:
    """Where a target is drawn: a label in the files of a part; ``label`` None: whatever is not Ignore."""

    target: str
    part: str
    label: int | None
    source_id: str = ""


def load_folder(
    gt: Path | str,
    *,
    ignore_value: int | Literal["auto"] | None = "auto",
    fps: float | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Benchmark:
    """Load a ground-truth folder; see the module's text for what it may look like.

    ``ignore_value``: the label of Ignore, None for no Ignore, "auto" for 255. ``fps``: rate of the annotated
    frames in Hz, when known. The first load decodes every file, on ``jobs`` processes; later ones only hash
    them. The version of the benchmark is the beginning of its digest. Raises UsageError where the user must
    decide, InputError for files that cannot be used.
    """
    options = _options(ignore_value, fps)
    videos, notes = find_videos(Path(gt))
    ids = map_ids(video.name for video in videos)
    paths = [path for video in videos for path in video.files]
    hashes = {path: hash_file(path) for path in paths}
    key = key_of(
        kind="folder",
        ignore=options.ignore,
        fps=options.fps,
        files=[
            [video.name, part, frame, hashes[path]]
            for video in videos
            for part, frames in video.parts.items()
            for frame, path in frames.items()
        ],
    )
    contents = _recalled(recall(key), videos)
    if contents is None:
        contents = _contents(videos, ids, _scanned(paths, jobs, progress), options)
        remember(key, {name: [list(c.size), dict(c.labels), c.digest] for name, c in contents.items()})
    labels = _labels(contents)
    if ignore_value == "auto" and labels == {255}:
        raise UsageError(
            "255 is the only label in this ground truth: it may mark the object, or Ignore.",
            where=[shown(gt)],
            fix="give --ignore-value none if 255 is the object, --ignore-value 255 if it is Ignore",
        )
    return _benchmark(videos, ids, hashes, contents, options, notes)


def _options(ignore_value: int | Literal["auto"] | None, fps: float | None) -> Options:
    rate = 0.0 if fps is None else float(fps) + 0.0
    if not (math.isfinite(rate) and rate >= 0):
        raise UsageError("The frame rate is not a number of frames per second.", where=[f"fps {fps!r}"])
    if ignore_value is None or ignore_value == "auto":
        return Options(255 if ignore_value else None, rate)
    if not isinstance(ignore_value, int) or not 0 < ignore_value < 256:
        raise UsageError("The Ignore value must be 1 to 255, or none.", where=[f"--ignore-value {ignore_value!r}"])
    return Options(int(ignore_value), rate)


def _recalled(value: Any, videos: Sequence[Video]) -> dict[str, Content] | None:
    """What the index remembers of the videos; None when that is nothing or does not have the right form."""
    try:
        contents = {}
        for video in videos:
            (height, width), labels, digest = value[video.name]
            parts = {part: tuple(int(label) for label in labels[part]) for part in video.parts}
            contents[video.name] = Content((int(height), int(width)), parts, str(digest))
        return contents
    except (KeyError, TypeError, ValueError):
        return None


def _scanned(paths: Sequence[str], jobs: int, progress: Progress | None) -> dict[str, Labels]:
    """Decode every file; raises InputError naming all that cannot be used."""
    found: dict[str, Labels] = {}
    wrong: list[str] = []
    for path, labels in scan_files(paths, jobs=jobs, progress=progress):
        if isinstance(labels, str):
            wrong.append(f"{shown(path)}: {labels}")
        else:
            found[path] = labels
    if wrong:
        raise InputError(
            "Ground-truth masks cannot be used.",
            where=wrong,
            fix="write them as 8-bit PNG with one number per pixel (grey or palette), or 1-bit PNG",
        )
    return found


def _contents(
    videos: Sequence[Video], ids: Mapping[str, str], scanned: Mapping[str, Labels], options: Options
) -> dict[str, Content]:
    """Sizes, labels and digests from decoded files; raises InputError where files of a video contradict."""
    wrong: list[str] = []
    contents: dict[str, Content] = {}
    for video in videos:
        first, *others = video.files
        height, width = size = scanned[first].size
        name = shown(os.path.basename(first))
        for path in others:
            if (found := scanned[path].size) != size:
                wrong.append(f"{shown(path)}: {found[1]}x{found[0]}, {name} has {width}x{height}")
        labels = {
            part: tuple(sorted({label for path in frames.values() for label in scanned[path].masks}))
            for part, frames in video.parts.items()
        }
        for part, present in labels.items():
            drawn = [str(label) for label in present if label != options.ignore]
            if part and len(drawn) > 1:
                wrong.append(f"{shown(video.name)}/{shown(part)}: labels {', '.join(drawn[:5])} in one expression")
            elif len(drawn) > MAX_OBJECTS:
                wrong.append(f"{shown(video.name)}: {len(drawn)} labels; these are soft masks, not objects")
        contents[video.name] = Content(size, labels)
    if wrong:
        raise InputError(
            "Ground-truth masks of one video do not fit together.",
            where=wrong,
            fix="a video needs masks of one size with a small number per object; an expression has one object",
        )
    options = _settled(options, contents)
    for video in videos:
        content = contents[video.name]
        objects = _objects(content, options)
        clip, expressions = _clip(video, ids[video.name], content.size, objects, options)
        annotation = _annotation(clip, video, objects, scanned, options, wrong)
        digest = clip_digest(clip, expressions, annotation)
        contents[video.name] = Content(content.size, content.labels, digest)
    if wrong:
        raise InputError(
            "Expressions of one frame do not agree on its Ignore region.",
            where=wrong,
            fix="mark the same pixels with the Ignore value in all of them",
        )
    return contents


def _labels(contents: Mapping[str, Content]) -> set[int]:
    return {label for content in contents.values() for part in content.labels.values() for label in part}


def _settled(options: Options, contents: Mapping[str, Content]) -> Options:
    return Options(options.ignore, options.fps, len(_labels(contents) - {options.ignore}) <= 1)


def _objects(content: Content, options: Options) -> list[Object]:
    """The targets of a video, in order."""
    if "" not in content.labels:
        named = map_ids(content.labels)
        return [Object(named[part], part, None, "" if part == named[part] else part) for part in content.labels]
    if options.single:
        return [Object("1", "", None)]
    return [Object(str(label), "", label) for label in content.labels[""] if label != options.ignore]


def _clip(
    video: Video, clip_id: str, size: tuple[int, int], objects: Sequence[Object], options: Options
) -> tuple[Clip, list[Expression]]:
    source = "" if video.name == clip_id else video.name
    frames = video.frames
    clip = Clip(clip_id, size, options.fps, frames, frames, options.fps, group=clip_id, source_id=source)
    return clip, [Expression(o.target, clip_id, "", target=o.target, source_id=o.source_id) for o in objects]


def _annotation(
    clip: Clip,
    video: Video,
    objects: Sequence[Object],
    scanned: Mapping[str, Labels],
    options: Options,
    wrong: list[str],
) -> Annotation:
    """Targets and Ignore of a clip as RLE; adds frames whose parts disagree about Ignore to ``wrong``."""
    nothing = empty_counts(clip.size)
    targets: dict[str, list[bytes | None]] = {thing.target: [] for thing in objects}
    ignored: list[bytes | None] = []
    for frame in clip.frames:
        masks = {part: scanned[frames[frame]].masks for part, frames in video.parts.items() if frame in frames}
        for thing in objects:
            track = targets[thing.target]
            if thing.part not in masks:
                track.append(None)
            elif thing.label is None:
                drawn = [counts for label, counts in masks[thing.part].items() if label != options.ignore]
                track.append(drawn[0] if drawn else nothing)
            else:
                track.append(masks[thing.part].get(thing.label, nothing))
        regions = {found.get(options.ignore, nothing) if options.ignore else nothing for found in masks.values()}
        if len(regions) > 1:
            wrong.append(f"{shown(video.name)}: frame {shown(frame)}")
        ignored.append(regions.pop())
    return make_annotation(clip, targets, ignored)


def _benchmark(
    videos: Sequence[Video],
    ids: Mapping[str, str],
    hashes: Mapping[str, str],
    contents: Mapping[str, Content],
    options: Options,
    notes: list[str],
) -> Benchmark:
    options = _settled(options, contents)
    clips: dict[str, Clip] = {}
    expressions: list[Expression] = []
    truths: dict[str, Truth] = {}
    digests: dict[str, str] = {}
    counted = {"nothing": 0, "ignore": 0, "uneven": 0}
    for video in videos:
        content = contents[video.name]
        objects = _objects(content, options)
        counted["ignore"] += any(part == (options.ignore,) for part in content.labels.values())
        counted["uneven"] += len({tuple(frames) for frames in video.parts.values()}) > 1
        if not objects:
            counted["nothing"] += 1
            continue
        clip, listed = _clip(video, ids[video.name], content.size, objects, options)
        clips[clip.id] = clip
        expressions += listed
        truths[clip.id] = _truth(clip, video, objects, hashes, options)
        digests[clip.id] = content.digest
    meanings = {
        "nothing": "Videos without an object, which are not part of the benchmark",
        "ignore": f"Videos with masks that hold no label but {options.ignore}, which is Ignore",
        "uneven": "Videos whose expressions are annotated on different frames",
    }
    notes = notes + [f"{meaning}: {counted[kind]}." for kind, meaning in meanings.items() if counted[kind]]
    digest = benchmark_digest(digests)
    return Benchmark(
        name="folder",
        version=digest[:12],
        digest=digest,
        clips=clips,
        expressions=tuple(expressions),
        truth=truths.__getitem__,
        clip_digests=digests,
        notes=tuple(notes),
    )


def _truth(clip: Clip, video: Video, objects: Sequence[Object], hashes: Mapping[str, str], options: Options) -> Truth:
    parts = {}
    for part, frames in video.parts.items():
        paths = [frames.get(frame) for frame in clip.frames]
        drawn = tuple((thing.label or 0, thing.target) for thing in objects if thing.part == part)
        parts[part] = PngTruth(
            paths=tuple(paths),
            hashes=tuple(None if path is None else hashes[path] for path in paths),
            size=clip.size,
            targets=drawn,
            ignore=options.ignore,
            single=all(label == 0 for label, _ in drawn),
        )
    if "" in parts:
        return parts[""]
    return JoinedTruth(tuple((thing.target, parts[thing.part]) for thing in objects))
