"""One sequence of BURST's ``all_classes.json``: checked, its tracks united by class, read again by whoever scores it.

A sequence lists the files of all its frames and of those that are annotated (one a second in val and test); for each
of these, ``segmentations`` maps a track to ``{"rle": str}``, the RLE having the size of the sequence. A track that is
not there has no pixel in that frame, and so has one whose entry is null. The target of a class is the union of its
tracks, also where they overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from refvps.archive import shown
from refvps.data.digest import clip_digest
from refvps.data.importers.classes import annotator, sentence
from refvps.data.importers.spans import Span
from refvps.data.masktracks import empty_counts, make_annotation
from refvps.data.truth import Frame
from refvps.errors import InputError
from refvps.masks import rle
from refvps.masks.mask import Mask
from refvps.types import ID, MAX_SIDE, Clip, Expression

ANNOTATION_FPS = 1.0
"""Rate of the annotated frames of val and test (BURST's README)."""

MAX_FRAMES = 1_000_000
MAX_FPS = 1000.0


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker needs to check one sequence. ``names``: (name in the file, name in the sentence) by category."""

    span: Span
    place: str
    clip: str
    source: str
    split: str
    style: str
    names: Mapping[int, tuple[str, str]]


@dataclass(slots=True)
class Tally:
    """What is counted while sequences are checked."""

    sequences: int = 0
    pairs: int = 0
    frames: int = 0
    masks: int = 0
    null: int = 0
    silent: int = 0
    stray: int = 0
    partial: int = 0

    def add(self, other: Tally) -> None:
        """Add the counts of another."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class Checked:
    """A sequence as a clip; ``tracks`` by target. ``wrong``: what is wrong with it, and then nothing else counts."""

    clip: Clip | None = None
    expressions: tuple[Expression, ...] = ()
    tracks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    digest: str = ""
    tally: Tally = field(default_factory=Tally)
    wrong: tuple[str, ...] = ()


class TrackTruth:
    """Ground truth of one sequence; pickles as a place in a file, read once by whoever asks first."""

    def __init__(self, span: Span, clip: Clip, tracks: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
        self.span, self.tracks, self.size = span, tracks, clip.size
        self.annotated = clip.annotated_indices()
        self._masks: dict[int, dict[str, bytes]] | None = None

    def __getstate__(self) -> tuple[Any, ...]:
        return self.span, self.tracks, self.size, self.annotated

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.span, self.tracks, self.size, self.annotated = state
        self._masks = None

    def frame(self, index: int) -> Frame:
        """See :meth:`refvps.types.Truth.frame`."""
        if self._masks is None:
            united = unions(self.span.read()["segmentations"], self.tracks, self.size)
            self._masks = dict(zip(self.annotated, united, strict=True))
        masks = self._masks.get(index)
        if masks is None:
            return {target: None for target, _ in self.tracks}, None
        return {target: Mask.from_rle(counts, self.size) for target, counts in masks.items()}, None


def unions(
    segmentations: Sequence[Mapping[str, Any]], tracks: Iterable[tuple[str, tuple[str, ...]]], size: tuple[int, int]
) -> list[dict[str, bytes]]:
    """RLE by target, for every annotated frame; the RLE strings of the file must have been checked."""
    nothing = empty_counts(size)
    found = []
    for entries in segmentations:
        masks = {}
        for target, members in tracks:
            parts = [text for track in members if (text := _rle(entries.get(track))) is not None]
            masks[target] = rle.union(parts, size) if parts else nothing
        found.append(masks)
    return found


def check_sequence(task: Task) -> Checked:
    """Check one sequence completely; collects what is wrong instead of raising."""
    wrong: list[str] = []
    try:
        return _checked(task, task.span.read(), wrong)
    except InputError as error:
        places = error.where or (task.source,)
        return Checked(wrong=(*(f"{task.place}: {text}" for text in wrong), *(f"{p}: {error.what}" for p in places)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        return Checked(wrong=(f"{task.place}: {reason[:200]}",))


def _checked(task: Task, record: Mapping[str, Any], wrong: list[str]) -> Checked:
    size = _side(record, "height"), _side(record, "width")
    listed = frame_files(record, "annotated_image_paths")
    every = frame_files(record, "all_image_paths") if record.get("all_image_paths") else listed
    if not listed:
        raise ValueError("no annotated frame")
    if lost := [name for name in listed if name not in every]:
        raise ValueError(f"the annotated frame {shown(lost[0])} is not among all frames")
    segmentations = record["segmentations"]
    if not isinstance(segmentations, list) or len(segmentations) != len(listed):
        raise ValueError(f"segmentations are not a list of one entry for each of the {len(listed)} annotated frames")
    whole = set(every) == set(listed)
    clip = Clip(
        id=task.clip,
        size=size,
        fps=ANNOTATION_FPS if whole else _rate(record.get("fps")),
        frames=tuple(every),
        annotated=tuple(listed),
        annotation_fps=ANNOTATION_FPS,
        group=task.clip,
        split=task.split,
        source_id=task.source,
    )
    members: dict[int, list[str]] = {}
    for track, category in track_categories(record).items():
        members.setdefault(category, []).append(track)
    tally = Tally(sequences=1, frames=len(listed), pairs=len(members))
    _check_masks(clip, segmentations, {track for tracks in members.values() for track in tracks}, tally)
    if unknown := sorted(members.keys() - task.names.keys()):
        raise ValueError(f"the category {unknown[0]} is not in the list of categories")
    expressions = tuple(
        Expression(
            id=str(category),
            clip=clip.id,
            text=sentence(task.names[category][1]),
            target=str(category),
            concept=task.names[category][0],
            annotator=annotator(task.style),
            source_id=f"{category}_{task.names[category][0]}",
        )
        for category in sorted(members)
    )
    tracks = tuple((str(category), tuple(sorted(members[category]))) for category in sorted(members))
    united = unions(segmentations, tracks, size)
    nothing = empty_counts(size)
    tally.silent = sum(all(masks[target] == nothing for masks in united) for target, _ in tracks)
    tally.partial = len(members.keys() & set(_numbers(record, "not_exhaustive_category_ids")))
    place = dict(zip(clip.annotated_indices(), united, strict=True))
    targets = {
        target: [place[index][target] if index in place else None for index in range(len(clip.frames))]
        for target, _ in tracks
    }
    digest = clip_digest(clip, expressions, make_annotation(clip, targets, None))
    return Checked(clip, expressions, tracks, digest, tally)


def frame_files(record: Mapping[str, Any], key: str) -> dict[str, str]:
    """File by frame name (the file without its ending), in the order of the list; raises ValueError."""
    files = record[key]
    if not isinstance(files, list) or len(files) > MAX_FRAMES or not all(isinstance(file, str) for file in files):
        raise ValueError(f"{key} is not a list of file names")
    found: dict[str, str] = {}
    for file in files:
        stem = file.rpartition(".")[0] or file
        if not ID.fullmatch(stem):
            raise ValueError(f"{key}: a file name is not allowed: {file[:80]!r} (letters, digits, '.', '_', '-')")
        found[stem] = file
    if len({stem.lower() for stem in found}) != len(files):
        raise ValueError(f"{key}: two frames have one name")
    return found


def track_categories(record: Mapping[str, Any]) -> dict[str, int]:
    """Category by track; raises ValueError."""
    found = record["track_category_ids"]
    if not isinstance(found, dict) or not all(type(category) is int for category in found.values()):
        raise ValueError("track_category_ids does not map tracks to numbers of categories")
    return found


def sequence_name(record: Any) -> tuple[str, str]:
    """(Data set, sequence), which name a folder each; raises ValueError."""
    if not isinstance(record, dict):
        raise ValueError("a sequence is no JSON object")
    found = []
    for key in ("dataset", "seq_name"):
        name = record.get(key)
        if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable():
            raise ValueError(f"{key} is no name: {name!r}"[:200])
        if "/" in name or "\\" in name or name.strip(". ") != name:
            raise ValueError(f"{key} is no name of a folder: {name!r}"[:200])
        found.append(name)
    return found[0], found[1]


def _check_masks(clip: Clip, segmentations: Sequence[Any], classed: set[str], tally: Tally) -> None:
    places: list[tuple[int, str]] = []
    strings: list[bytes] = []
    for number, entries in enumerate(segmentations):
        if not isinstance(entries, dict):
            raise ValueError(f"segmentations {number} is not an object of tracks")
        for track, entry in entries.items():
            counts = _rle(entry)
            tally.stray += track not in classed
            if counts is None:
                tally.null += 1
                continue
            places.append((number, track))
            strings.append(counts)
    tally.masks = len(strings)
    try:
        areas = rle.check(strings, clip.size)
    except rle.RleError as error:
        number, track = places[error.index]
        where = f"frame {clip.annotated[number]}, track {shown(track, 40)}"
        raise ValueError(f"{where}: {error.reason}") from error
    tally.null += int((areas == 0).sum())


def _rle(entry: Any) -> bytes | None:
    """The RLE string of a track in a frame; None where the track has no mask."""
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise ValueError("a mask is neither an object nor null")
    text = entry.get("rle")
    if text is None:
        return None
    if not isinstance(text, str):
        raise ValueError("an rle is no text")
    return text.encode("latin-1", "replace")


def _side(record: Mapping[str, Any], key: str) -> int:
    value = record[key]
    if type(value) is not int or not 0 < value <= MAX_SIDE:
        raise ValueError(f"{key} is not a number of pixels from 1 to {MAX_SIDE}: {value!r}"[:200])
    return value


def _rate(value: Any) -> float:
    """Frames per second as the file says, 0 where it does not."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_FPS
    return float(value) if known else 0.0


def _numbers(record: Mapping[str, Any], key: str) -> list[int]:
    found = record.get(key) or []
    if not isinstance(found, list) or not all(type(number) is int for number in found):
        raise ValueError(f"{key} is not a list of numbers")
    return found
