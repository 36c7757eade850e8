"""The masks of one clip, from any of the four layouts, as COCO RLE by frame of the foreign names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from refvps.archive import shown
from refvps.data.importers.tree import Video
from refvps.data.index import Labels, Progress, scan_files
from refvps.data.masktracks import empty_counts
from refvps.errors import InputError, UsageError
from refvps.masks import rle
from refvps.types import MAX_SIDE

IGNORE = 255
Track = dict[str, bytes]
"""COCO RLE by foreign frame name."""


@dataclass(slots=True)
class Drawn:
    """What is drawn in one clip: ``objects`` by label, mask number or expression; ``ignore`` where anything is."""

    size: tuple[int, int]
    frames: tuple[str, ...]
    objects: dict[str, Track] = field(default_factory=dict)
    ignore: Track = field(default_factory=dict)


def scanned(videos: Iterable[Video], jobs: int, progress: Progress | None) -> dict[str, Labels]:
    """Decode every mask file; raises InputError naming all that cannot be used."""
    paths = [path for video in videos for path in video.files]
    found: dict[str, Labels] = {}
    wrong: list[str] = []
    for path, labels in scan_files(paths, jobs=jobs, progress=progress):
        if isinstance(labels, str):
            wrong.append(f"{shown(path)}: {labels}")
        else:
            found[path] = labels
    if wrong:
        raise InputError("Masks cannot be used.", where=wrong, fix="write them as 8-bit PNG with one number per pixel")
    return found


def ignore_label(videos: Sequence[Video], labels: Mapping[str, Labels], beside: bool, choice: str) -> int | None:
    """255, or None where 255 is the object; raises UsageError where the user must say.

    ``beside``: there is a folder of Ignore. ``choice``: "auto", "255" or "none".
    """
    if choice not in ("auto", "255", "none"):
        raise UsageError("This is no value of Ignore.", where=[shown(choice)], fix="--option ignore-value=255, or none")
    present = {label for video in videos for path in video.files for label in labels[path].masks}
    if choice != "auto":
        return IGNORE if choice == "255" else None
    if IGNORE not in present:
        return None
    if beside and present != {IGNORE}:
        raise UsageError(
            "Ignore is marked twice: as 255 and in a folder of its own.",
            where=[f"labels {', '.join(map(str, sorted(present)))}"],
            fix="--option ignore-value=255 to drop both, none if 255 is an object",
        )
    if present == {IGNORE} and not beside:
        raise UsageError(
            "255 is the only label of these masks: it may mark the object, or Ignore.",
            where=[shown(videos[0].files[0])],
            fix="--option ignore-value=none if 255 is the object, ignore-value=255 if it is Ignore",
        )
    return None if beside else IGNORE


def from_labels(video: Video, labels: Mapping[str, Labels], ignore: int | None) -> Drawn:
    """A clip of label files: objects by label."""
    (files,) = video.parts.values()
    drawn = Drawn(_size(video, labels), tuple(files))
    nothing = empty_counts(drawn.size)
    values = {label for path in files.values() for label in labels[path].masks}
    for label in sorted(values - {ignore}):
        drawn.objects[str(label)] = {frame: labels[path].masks.get(label, nothing) for frame, path in files.items()}
    if ignore in values:
        drawn.ignore = {
            frame: labels[path].masks[ignore] for frame, path in files.items() if ignore in labels[path].masks
        }
    return drawn


def from_folders(video: Video, labels: Mapping[str, Labels], ignore: int | None) -> Drawn:
    """A clip of one folder per expression: objects by expression; raises InputError where files contradict."""
    drawn = Drawn(_size(video, labels), video.frames)
    nothing = empty_counts(drawn.size)
    wrong: list[str] = []
    for part, files in video.parts.items():
        values = sorted({label for path in files.values() for label in labels[path].masks} - {ignore})
        if len(values) > 1:
            wrong.append(
                f"{shown(video.name)}/{shown(part)}: labels {', '.join(map(str, values[:5]))} in one expression"
            )
            continue
        if lacking := [frame for frame in video.frames if frame not in files]:
            wrong.append(f"{shown(video.name)}/{shown(part)}: no mask of frame {shown(lacking[0])}, others have one")
            continue
        drawn.objects[part] = {
            f: labels[p].masks.get(values[0], nothing) if values else nothing for f, p in files.items()
        }
        for frame, path in files.items():
            void = labels[path].masks.get(ignore, nothing) if ignore else nothing
            if drawn.ignore.setdefault(frame, void) != void:
                wrong.append(f"{shown(video.name)}/{shown(part)}: frame {shown(frame)}: another Ignore than elsewhere")
    if wrong:
        raise InputError("The masks of one clip do not fit together.", where=wrong, fix="write them again")
    return drawn


def add_ignore(drawn: Drawn, video: Video, labels: Mapping[str, Labels]) -> None:
    """Add the Ignore of a folder of its own: every pixel that is not 0; raises InputError where files contradict."""
    wrong: list[str] = []
    found: Track = {}
    for part, files in video.parts.items():
        for frame, path in files.items():
            place = (
                f"{shown(video.name)}/{shown(part)}/{shown(frame)}" if part else f"{shown(video.name)}/{shown(frame)}"
            )
            if labels[path].size != drawn.size:
                wrong.append(f"Ignore of {place}: not the size of the masks")
            elif frame not in drawn.frames:
                wrong.append(f"Ignore of {place}: a frame without a mask")
            else:
                pieces = [*labels[path].masks.values()]
                region = rle.union(pieces, drawn.size) if pieces else empty_counts(drawn.size)
                if found.setdefault(frame, region) != region:
                    wrong.append(f"Ignore of {place}: another than elsewhere")
    if wrong:
        raise InputError("Masks and Ignore of one clip do not fit together.", where=wrong, fix="write them again")
    both = {frame: [each for each in (drawn.ignore.get(frame), region) if each] for frame, region in found.items()}
    drawn.ignore |= {frame: rle.union(regions, drawn.size) for frame, regions in both.items()}


def empty_frames(tracks: Iterable[Any], count: int) -> set[int]:
    """Positions of the frames on which no track of a clip has an RLE, not even of Ignore."""
    lists = [track for track in tracks if isinstance(track, list) and len(track) == count]
    return {k for k in range(count) if all(track[k] is None for track in lists)}


def without(track: Any, positions: Collection[int], count: int) -> Any:
    """A track of ``count`` frames without some of them; anything else as it is."""
    if not isinstance(track, list) or len(track) != count:
        return track
    return [each for k, each in enumerate(track) if k not in positions]


def from_rle(frames: Sequence[str], objects: Mapping[str, Any], ignored: Sequence[Any], place: str) -> Drawn:
    """A clip of COCO RLE: ``objects`` by mask number; ``ignored``: tracks whose union is Ignore.

    A track has one RLE per frame, or null for an empty mask. Raises InputError for anything else.
    """
    wrong: list[str] = []
    tracks = {f"mask {key}": track for key, track in objects.items()}
    tracks |= {f"Ignore {k}": track for k, track in enumerate(ignored)}
    size = next(
        (each["size"] for track in tracks.values() if isinstance(track, list) for each in track if _is_rle(each)), None
    )
    if size is None or not all(0 < side <= MAX_SIDE for side in size):
        raise InputError(
            "Masks cannot be used.", where=[f"{shown(place)}: no mask with a size"], fix="write them again"
        )
    drawn = Drawn((size[0], size[1]), tuple(frames))
    parsed: dict[str, list[bytes]] = {}
    for key, track in tracks.items():
        if not isinstance(track, list) or len(track) != len(frames):
            count = len(track) if isinstance(track, list) else "no"
            wrong.append(f"{shown(place)}, {shown(key)}: {count} masks for {len(frames)} frames")
        elif odd := [
            k for k, each in enumerate(track) if each is not None and not (_is_rle(each) and each["size"] == size)
        ]:
            wrong.append(
                f"{shown(place)}, {shown(key)}, frame {frames[odd[0]]}: no compressed RLE of {size[1]}x{size[0]}"
            )
        else:
            strings = [
                empty_counts(drawn.size) if each is None else each["counts"].encode("latin-1", "replace")
                for each in track
            ]
            try:
                rle.check(strings, drawn.size)
            except rle.RleError as error:
                wrong.append(f"{shown(place)}, {shown(key)}, frame {frames[error.index]}: {error.reason}")
                continue
            parsed[key] = [rle.from_bits(rle.to_bits(each, drawn.size), drawn.size) for each in strings]
    if wrong:
        raise InputError("Masks cannot be used.", where=wrong, fix="write them again")
    drawn.objects = {key: dict(zip(frames, parsed[f"mask {key}"], strict=True)) for key in objects}
    voids = [parsed[f"Ignore {k}"] for k in range(len(ignored))]
    if voids:
        drawn.ignore = {f: rle.union(list(each), drawn.size) for f, *each in zip(frames, *voids, strict=True)}
    return drawn


def _is_rle(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("counts"), str):
        return False
    size = value.get("size")
    return isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size)


def _size(video: Video, labels: Mapping[str, Labels]) -> tuple[int, int]:
    first, *others = video.files
    size = labels[first].size
    wrong = [path for path in others if labels[path].size != size]
    if wrong:
        places = [
            f"{shown(path)}: {labels[path].size[1]}x{labels[path].size[0]}, not {size[1]}x{size[0]}" for path in wrong
        ]
        raise InputError("The masks of one clip differ in size.", where=places, fix="write them at one size")
    return size
