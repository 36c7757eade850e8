"""YouTube-VIS and SA-Co style JSON: videos, masklets with a category, and, in SA-Co, noun phrases.

``{"videos": [{"id", "file_names", "height", "width"}], "categories": [{"id", "name"}], "annotations": [{"id",
"video_id", "category_id", "segmentations": [RLE or null]}]}``. With SA-Co's ``video_np_pairs`` every pair of a video
and a noun phrase is an expression, also one without a masklet: then an empty prediction is right. Without, every
category of a video is asked for as "the <name>". The target is the union of the masklets of the category in the video.
A category called ``__ignore__`` is Ignore. Frames, where they are wanted, lie below ``JPEGImages`` beside the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refvps.archive import shown
from refvps.data.digest import benchmark_digest, clip_digest
from refvps.data.ids import map_ids
from refvps.data.importers.referring.tracks import Track, UnionTruth, checked_track
from refvps.data.importers.spans import Span, walk
from refvps.data.index import Progress
from refvps.data.truth import annotation
from refvps.errors import DataMissingError, InputError
from refvps.frames import ImageFrames
from refvps.masks import rle
from refvps.types import ID, MAX_SIDE, Benchmark, Clip, Expression, Rules

IGNORE = "__ignore__"
USUAL = "instances.json"
RULES = Rules(metrics=("J", "F", "J&F"), average="frame>expression")
LICENCE = "the terms of whoever published this file"


@dataclass(slots=True)
class Video:
    """One video of the file, with what asks about it."""

    name: str
    files: list[str]
    size: tuple[int, int]
    tracks: dict[int, list[Track]] = field(default_factory=dict)
    asked: list[tuple[int, str, int | None]] = field(default_factory=list)
    """(Category, noun phrase, number of masklets that the file promises, if it does)."""


def load_ytvis(root: Path, *, jobs: int = 1, progress: Progress | None = None) -> Benchmark:
    """Load one JSON file, or the only one in a folder.

    The frame rate of such files is not known. ``progress`` counts videos. Raises InputError naming what is missing
    or cannot be used.
    """
    path = _file(Path(root))
    tracks: list[tuple[Any, Any, Track]] = []
    wrong: list[str] = []
    seen: set[int] = set()

    def visit(span: Span, record: Any) -> None:
        try:
            number, video, category = (_whole(record, key) for key in ("id", "video_id", "category_id"))
            if number in seen:
                raise ValueError(f"the id {number} is there twice")
            seen.add(number)
            tracks.append((video, category, checked_track(record, str(number), span)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            wrong.append(f"{path}: annotation at byte {span.start:,}: {reason}"[:300])

    rest = walk(path, "annotations", visit)
    if not wrong:
        try:
            videos, names = _videos(rest), _names(rest)
            _join(videos, names, tracks, rest.get("video_np_pairs"), wrong, str(path))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            wrong.append(f"{path}: {reason}"[:300])
    if wrong:
        raise InputError("A file of masklets cannot be used.", where=wrong, fix="get it again")
    return _benchmark(path, videos, names, progress)


def _file(root: Path) -> Path:
    if root.is_file():
        return root
    found = sorted(root.glob("*.json")) if root.is_dir() else []
    if len(found) != 1:
        what = "There are several JSON files here." if found else "There is no JSON file here."
        raise InputError(what, where=map(str, found or [root / USUAL]), fix="name the file itself")
    return found[0]


def _videos(rest: Mapping[str, Any]) -> dict[int, Video]:
    found: dict[int, Video] = {}
    for record in rest["videos"]:
        number = _whole(record, "id")
        height, width = _whole(record, "height"), _whole(record, "width")
        files = record["file_names"]
        if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
            raise ValueError(f"video {number} has an impossible size")
        if not isinstance(files, list) or not files or not all(isinstance(name, str) for name in files):
            raise ValueError(f"video {number} lists no files")
        stems = [Path(name).stem for name in files]
        if any(not ID.fullmatch(stem) for stem in stems) or len({stem.lower() for stem in stems}) != len(stems):
            raise ValueError(f"video {number}: frames need names of their own (letters, digits, '.', '_', '-')")
        if any(Path(name).is_absolute() or ".." in Path(name).parts for name in files):
            raise ValueError(f"video {number}: a file outside its folder")
        if number in found:
            raise ValueError(f"video {number} is there twice")
        name = record.get("video_name") or (Path(files[0]).parent.name or str(number))
        if not isinstance(name, str) or not name.isprintable():
            raise ValueError(f"video {number} has no name")
        found[number] = Video(name, files, (height, width))
    if not found:
        raise ValueError("no videos")
    if len({video.name for video in found.values()}) != len(found):
        for number, video in found.items():
            video.name = str(number)
    return found


def _names(rest: Mapping[str, Any]) -> dict[int, str]:
    names: dict[int, str] = {}
    for record in rest["categories"]:
        number, name = _whole(record, "id"), record["name"]
        if not isinstance(name, str) or not 0 < len(name) <= 500 or not name.isprintable() or number in names:
            raise ValueError(f"category {number} has no name of its own")
        names[number] = name
    return names


def _join(
    videos: Mapping[int, Video],
    names: Mapping[int, str],
    tracks: list[tuple[Any, Any, Track]],
    pairs: Any,
    wrong: list[str],
    path: str,
) -> None:
    """Give every masklet to its video, and every video its questions; adds what does not fit to ``wrong``."""
    for number, category, track in tracks:
        video = videos.get(number)
        place = f"{path}: annotation {track.number}"
        if video is None or category not in names:
            wrong.append(f"{place}: no video {number}" if video is None else f"{place}: no category {category}")
        elif track.frames != len(video.files):
            wrong.append(f"{place}: {track.frames} entries for {len(video.files)} frames")
        elif track.size not in (None, video.size):
            wrong.append(f"{place}: its size is not that of the video")
        else:
            video.tracks.setdefault(category, []).append(track)
    for record in pairs if pairs is not None else ():
        number, category = _whole(record, "video_id"), _whole(record, "category_id")
        phrase, promised = record["noun_phrase"], record.get("num_masklets")
        if number not in videos or not isinstance(phrase, str) or not phrase.strip() or not phrase.isprintable():
            raise ValueError(f"a pair of video {number} has no video or no noun phrase")
        videos[number].asked.append((category, phrase, promised if type(promised) is int else None))
    for video in videos.values():
        if pairs is None:
            asked = sorted(category for category in video.tracks if names[category] != IGNORE)
            video.asked = [(category, f"the {names[category]}", None) for category in asked]
        if len({category for category, _, _ in video.asked}) != len(video.asked):
            wrong.append(f"{path}: {shown(video.name, 60)}: two noun phrases share a category")
        for category, phrase, promised in video.asked:
            count = len(video.tracks.get(category, ()))
            if promised is not None and promised != count:
                wrong.append(
                    f"{path}: {shown(video.name, 60)}: {phrase!r} promises {promised} masklets, {count} are there"
                )


def _benchmark(
    path: Path, videos: Mapping[int, Video], names: Mapping[int, str], progress: Progress | None
) -> Benchmark:
    clips: dict[str, Clip] = {}
    expressions: list[Expression] = []
    truths: dict[str, UnionTruth] = {}
    digests: dict[str, str] = {}
    files: dict[str, list[Path]] = {}
    negatives = silent = stolen = 0
    ids = map_ids(video.name for video in videos.values())
    for done, video in enumerate(videos.values(), start=1):
        silent += not video.asked
        if video.asked:
            key = ids[video.name]
            frames = tuple(Path(name).stem for name in video.files)
            source = "" if key == video.name else video.name
            clip = Clip(key, video.size, 0.0, frames, frames, 0.0, group=key, source_id=source)
            asked = [
                Expression(id=str(category), clip=key, text=text, target=str(category), concept=names.get(category, ""))
                for category, text, _ in video.asked
            ]
            truth = _truth(video, names)
            stolen += sum(_overlap(truth, index) for index in range(len(frames))) if truth.ignored else 0
            clips[key], truths[key] = clip, truth.unread()
            files[key] = [path.parent / "JPEGImages" / name for name in video.files]
            digests[key] = clip_digest(clip, asked, annotation(truth, clip))
            expressions += asked
            negatives += sum(not video.tracks.get(category) for category, _, _ in video.asked)
        if progress is not None:
            progress(done, len(videos))
    if not clips:
        raise InputError("No video of this file is asked about.", where=[str(path)], fix="use another file")
    notes = [f"Counted: {len(clips):,} videos, {len(expressions):,} expressions."]
    notes += (
        [f"Expressions without a masklet, for which an empty prediction is right: {negatives:,}."] if negatives else []
    )
    notes += [f"Videos without an expression, which are left out: {silent:,}."] if silent else []
    notes += [f"Target pixels that are Ignore as well, and count as Ignore: {stolen:,}."] if stolen else []

    def frames_of(clip: str) -> ImageFrames:
        missing = [str(file) for file in files[clip] if not file.is_file()]
        if missing:
            raise DataMissingError("Frames of ytvis are not on this machine.", where=missing, fix="put them there")
        found = ImageFrames(files[clip], 0.0, clip)
        if found.size != clips[clip].size:
            raise InputError(
                "Frames and masks of a video differ in size.", where=[str(files[clip][0])], fix="get them again"
            )
        return found

    digest = benchmark_digest(digests)
    return Benchmark(
        name="ytvis",
        version=digest[:12],
        digest=digest,
        clips=clips,
        expressions=tuple(expressions),
        truth=truths.__getitem__,
        frames=frames_of,
        clip_digests=digests,
        rules=RULES,
        licence=LICENCE,
        notes=tuple(notes),
    )


def _truth(video: Video, names: Mapping[int, str]) -> UnionTruth:
    targets = tuple(
        (str(category), tuple(track.number for track in video.tracks.get(category, ())))
        for category, _, _ in video.asked
    )
    ignored = tuple(t.number for c, tracks in video.tracks.items() if names[c] == IGNORE for t in tracks)
    used = {number for _, numbers in targets for number in numbers} | set(ignored)
    spans = tuple((t.number, t.span) for tracks in video.tracks.values() for t in tracks if t.number in used)
    return UnionTruth(spans, targets, ignored, video.size)


def _overlap(truth: UnionTruth, index: int) -> int:
    """Pixels of targets that Ignore takes."""
    drawn, region = truth.drawn(index)
    _, inter = rle.intersections(list(drawn.values()), [region], truth.size)
    return int(inter.sum())


def _whole(record: Any, key: str) -> int:
    value = record[key]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"{key} is no number: {value!r}"[:200])
    return value
