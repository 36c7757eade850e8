"""Masks and Ignore of one clip from a foreign tool, made into an annotation; nothing is written here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from refvps.annotate.checks.masks import check_masks
from refvps.annotate.checks.table import Result, results
from refvps.annotate.grid import FrameMap, Placed, place
from refvps.annotate.sources.drawn import Drawn, Size
from refvps.annotate.sources.folders import Progress
from refvps.annotate.sources.read import read_ignore, read_source
from refvps.archive import shown
from refvps.data.ids import map_ids
from refvps.data.masktracks import check_disjoint, empty_counts, make_annotation
from refvps.data.records.clip import ClipRecord
from refvps.errors import InputError, UsageError
from refvps.frames import ImageFrames, image_files
from refvps.masks import rle
from refvps.types import Annotation, Clip

UNION = "1"
"""The target that the union of objects becomes."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to import. Only ``source``, ``layout`` and ``clip`` are needed where ``out`` lists the clip already.

    ``objects``: those of the source that are the target, all by default; ``separate``: each is a target of its own.
    ``manifest``: a ``clips.jsonl`` with the clip, by default that of ``out``; ``frames``: folder of the pictures.
    ``size``: (height, width). ``fps``: of the video, for a clip that is not listed yet. ``overlap``: whether Ignore
    wins where it meets the target, or that is refused. ``accept``: ids of checks whose errors a person accepts.
    """

    source: Path
    layout: str
    clip: str
    out: Path
    ignore: Path | None = None
    frames: Path | None = None
    size: Size | None = None
    manifest: Path | None = None
    fps: float | None = None
    objects: tuple[str, ...] = ()
    separate: bool = False
    frame_map: FrameMap = field(default_factory=FrameMap)
    ignore_value: int | str | None = "auto"
    overlap: Literal["ignore", "refuse"] = "ignore"
    by: str = ""
    tool: str = ""
    accept: tuple[str, ...] = ()
    force: bool = False


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """One object of the source: masks, how many are empty, frames without one, pixels in all."""

    name: str
    masks: int
    empty: int
    absent: int
    pixels: int
    chosen: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an import made of a clip: the table that people see, and what the checks found."""

    clip: Clip
    annotation: Annotation
    objects: tuple[ObjectRow, ...]
    targets: Mapping[str, tuple[str, ...]]
    counts: Mapping[str, int]
    results: tuple[Result, ...]
    source: Mapping[str, Any]
    ignore: Mapping[str, Any] = field(default_factory=dict)
    frame_map: str = ""
    notes: tuple[str, ...] = ()
    path: Path | None = None


def read_clip(request: Request, record: ClipRecord | None, progress: Progress | None = None) -> Outcome:
    """Read a source and make an annotation of it, with what the checks find; writes nothing.

    Raises InputError for masks that cannot be used, do not fit the clip, or are missing on an annotated frame.
    """
    pictures = _pictures(request)
    size = _size(request, record, pictures)
    drawn = read_source(
        request.source, request.layout, request.clip, size=size, ignore_value=request.ignore_value, progress=progress
    )
    clip, placed = _clip(request, record, pictures, drawn)
    missing = [f"{clip.id}/{frame}" for frame in clip.annotated if frame not in placed.positions]
    if missing:
        raise InputError(
            "Annotated frames have no mask.",
            where=missing,
            fix="add them (an empty mask where nothing is seen), list fewer frames, or see --frame-map",
        )
    targets = _targets(request, drawn)
    tracks, partly = _tracks(clip, drawn, placed, targets)
    region, layer = _ignore(request, clip, drawn, placed)
    tracks, overlap = _without_ignore(clip, tracks, region, request.overlap)
    annotation = make_annotation(clip, tracks, region)
    found = check_masks(clip, annotation, pictures)
    if record is not None and pictures is not None and pictures.names != clip.frames:
        found["F1"] = _frame_faults(clip, pictures)
    rows = _rows(drawn, placed, {name for objects in targets.values() for name in objects})
    empty = sum(
        all(track[index] == empty_counts(clip.size) for track in tracks.values()) for index in clip.annotated_indices()
    )
    ignored = 0
    if annotation.ignore is not None:
        ignored = sum(counts not in (None, empty_counts(clip.size)) for counts in annotation.ignore.counts)
    counts = {
        "frames": len(clip.frames),
        "annotated": len(clip.annotated),
        "objects": len(drawn.objects),
        "empty": empty,
        "with_ignore": ignored,
        "dropped": len(placed.dropped),
        "overlap_pixels": overlap,
    }
    notes = [*drawn.notes, *layer.notes] if layer else list(drawn.notes)
    if overlap:
        notes.append(f"{overlap:,} pixels were both target and Ignore, and are Ignore now")
    if partly:
        notes.append(f"on {partly:,} frames part of the target has no mask, which was taken for empty")
    if placed.dropped:
        notes.append(
            f"{len(placed.dropped):,} frames of the source are not annotated frames of the clip and were dropped"
        )
    return Outcome(
        clip,
        annotation,
        rows,
        targets,
        counts,
        results([found], accept=request.accept),
        {"name": _name(request.source), "files": drawn.files, "sha256": drawn.sha256},
        {} if layer is None or request.ignore is None else _layer(request.ignore, layer),
        placed.how,
        tuple(notes),
    )


def _name(path: Path) -> str:
    return shown(path.resolve().name, 200)


def _layer(path: Path, layer: Drawn) -> dict[str, Any]:
    return {"name": _name(path), "files": layer.files, "sha256": layer.sha256}


def _pictures(request: Request) -> ImageFrames | None:
    """The pictures of the clip: the folder that is given, or the one of the clip inside it."""
    if request.frames is None:
        return None
    folder = request.frames
    if not folder.is_dir():
        raise UsageError("There is no such folder of frames.", where=[str(folder)], fix="check --frames")
    inside = folder / request.clip
    files = image_files(inside if inside.is_dir() else folder)
    return ImageFrames(files, request.fps or 0.0, str(folder))


def _size(request: Request, record: ClipRecord | None, pictures: ImageFrames | None) -> Size | None:
    """The one size that manifest, pictures and ``--size`` agree on."""
    said = {
        "the manifest": record.clip.size if record is not None else None,
        "--frames": pictures.size if pictures is not None else None,
        "--size": request.size,
    }
    known = {who: size for who, size in said.items() if size is not None}
    if len(set(known.values())) > 1:
        places = [f"{who}: {size[1]}x{size[0]}" for who, size in known.items()]
        raise InputError("It is not clear which size the clip has.", where=places, fix="correct one of them")
    return next(iter(known.values()), None)


def _clip(
    request: Request, record: ClipRecord | None, pictures: ImageFrames | None, drawn: Drawn
) -> tuple[Clip, Placed]:
    """The clip, as it is listed or as pictures and source say, and where its masks are in the source."""
    if record is not None:
        clip = record.clip
        placed = place(drawn, clip.frames, clip.annotated, request.frame_map)
        kept = {frame: at for frame, at in placed.positions.items() if frame in set(clip.annotated)}
        left = [drawn.names[at] for frame, at in placed.positions.items() if frame not in kept]
        return clip, Placed(kept, (*placed.dropped, *left), placed.how)
    frames = pictures.names if pictures is not None else drawn.frames or drawn.names
    if drawn.listed and pictures is None and not drawn.frames:
        frames = tuple(f"{index:05d}" for index in range(len(drawn.names)))
    placed = place(drawn, frames, None, request.frame_map)
    annotated = tuple(frame for frame in frames if frame in placed.positions)
    fps = request.fps or drawn.fps
    at = [frames.index(annotated[0]), frames.index(annotated[-1])]
    steps = len(annotated) - 1
    even = steps > 0 and annotated == frames[at[0] : at[1] + 1 : max(1, (at[1] - at[0]) // steps)]
    rate = fps * steps / (at[1] - at[0]) if even else fps if annotated == frames else 0.0
    return Clip(request.clip, drawn.size, fps, frames, annotated, rate, request.clip), placed


def _frame_faults(clip: Clip, pictures: ImageFrames) -> list[str]:
    """How the pictures differ from the list of frames."""
    there, wanted = set(pictures.names), set(clip.frames)
    found = [f"{clip.id}/{name}: no picture" for name in clip.frames if name not in there]
    found += [f"{clip.id}/{name}: not in the list" for name in pictures.names if name not in wanted]
    return found or [f"{clip.id}: another order than in the list"]


def _targets(request: Request, drawn: Drawn) -> dict[str, tuple[str, ...]]:
    """Objects of the source by target."""
    plain = {_plain(name): name for name in drawn.objects}
    chosen = [name if name in drawn.objects else plain.get(_plain(name), name) for name in request.objects]
    strange = [name for name in chosen if name not in drawn.objects]
    if strange or not drawn.objects:
        raise InputError(
            "The source does not have these objects." if strange else "The source has no object.",
            where=[shown(name) for name in strange] or [shown(request.source)],
            fix=f"its objects: {', '.join(shown(name, 40) for name in drawn.objects) or 'none'}",
        )
    names = tuple(dict.fromkeys(chosen)) or tuple(drawn.objects)
    if not request.separate:
        return {UNION: names}
    ids = map_ids(names)
    return {ids[name]: (name,) for name in names}


def _plain(name: str) -> str:
    """A number without the zeros before it, so that ``--target 1`` finds the folder 001."""
    return str(int(name)) if name.isascii() and name.isdigit() else name


Tracks = dict[str, list[bytes | None]]


def _tracks(clip: Clip, drawn: Drawn, placed: Placed, targets: Mapping[str, tuple[str, ...]]) -> tuple[Tracks, int]:
    """RLE by target and frame, and on how many frames the source says nothing about part of a target.

    Raises InputError where it says nothing at all about one.
    """
    tracks: Tracks = {target: [None] * len(clip.frames) for target in targets}
    partly = 0
    lacking: list[str] = []
    for index, frame in zip(clip.annotated_indices(), clip.annotated, strict=True):
        at = placed.positions[frame]
        for target, names in targets.items():
            pieces = [counts for name in names if (counts := drawn.objects[name][at]) is not None]
            partly += 0 < len(pieces) < len(names)
            if pieces:
                tracks[target][index] = rle.union(pieces, clip.size)
            else:
                lacking.append(f"{clip.id}/{frame}: {', '.join(shown(name, 40) for name in names)}")
    if lacking:
        raise InputError(
            "A target has no mask on frames where others have one.",
            where=lacking,
            fix="write an empty mask where nothing is seen",
        )
    return tracks, partly


def _ignore(
    request: Request, clip: Clip, drawn: Drawn, placed: Placed
) -> tuple[list[bytes | None] | None, Drawn | None]:
    """Ignore by frame of the clip, of the source and of the layer together; and the layer."""
    regions: dict[int, list[bytes]] = {index: [] for index in clip.annotated_indices()}
    if drawn.ignore is not None:
        for index, frame in zip(clip.annotated_indices(), clip.annotated, strict=True):
            if (counts := drawn.ignore[placed.positions[frame]]) is not None:
                regions[index].append(counts)
    layer = None
    if request.ignore is not None:
        layer = read_ignore(request.ignore, clip.id, clip.size)
        assert layer.ignore is not None
        by_frame = place(layer, clip.frames, clip.annotated, _map_of_layer(request, drawn, layer))
        for index, frame in zip(clip.annotated_indices(), clip.annotated, strict=True):
            at = by_frame.positions.get(frame)
            counts = None if at is None else layer.ignore[at]
            if counts is not None:
                regions[index].append(counts)
    if not any(regions.values()):
        return None, layer
    track: list[bytes | None] = [None] * len(clip.frames)
    for index, pieces in regions.items():
        track[index] = rle.union(pieces, clip.size) if pieces else empty_counts(clip.size)
    return track, layer


def _map_of_layer(request: Request, drawn: Drawn, layer: Drawn) -> FrameMap:
    """Ignore is laid out like the masks; where these are a list and it is files, names are numbers of frames."""
    if layer.listed and drawn.listed and request.frame_map.kind == "auto":
        return FrameMap("step", step=drawn.step)
    return request.frame_map if layer.listed == drawn.listed else FrameMap()


def _without_ignore(clip: Clip, tracks: Tracks, region: list[bytes | None] | None, overlap: str) -> tuple[Tracks, int]:
    """The targets without Ignore, which wins, and the pixels that it took; InputError under "refuse"."""
    if region is None:
        return tracks, 0
    if overlap == "refuse":
        check_disjoint(clip, make_annotation(clip, tracks, region))
        return tracks, 0
    pixels = 0
    cleared: Tracks = {}
    for target, track in tracks.items():
        cleared[target] = list(track)
        for index, (counts, ignored) in enumerate(zip(track, region, strict=True)):
            if counts is None or ignored is None:
                continue
            shared = int(rle.intersections([counts], [ignored], clip.size)[1][0, 0])
            if shared:
                left = rle.to_bits(counts, clip.size) & ~rle.to_bits(ignored, clip.size)
                cleared[target][index] = rle.from_bits(left, clip.size)
                pixels += shared
    return cleared, pixels


def _rows(drawn: Drawn, placed: Placed, chosen: set[str]) -> tuple[ObjectRow, ...]:
    """The table of objects, over the annotated frames of the clip."""
    rows = []
    for name, track in drawn.objects.items():
        masks = [track[at] for at in placed.positions.values()]
        areas = [rle.area(counts, drawn.size) for counts in masks if counts is not None]
        rows.append(ObjectRow(name, len(areas), areas.count(0), len(masks) - len(areas), sum(areas), name in chosen))
    return tuple(rows)
