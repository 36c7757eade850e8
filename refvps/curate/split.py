"""Clips of a video as lines of a ``clips.jsonl``: one group, several cuts; proposals until someone uses them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from refvps.curate.review import Review
from refvps.curate.shots import Shot
from refvps.data.ids import map_ids
from refvps.data.records import ClipRecord, Edit, Source
from refvps.data.records.clip import record_of
from refvps.errors import UsageError
from refvps.source.ticks import tick_count
from refvps.types import Clip

FPS = Fraction(24)


def clip_lines(
    reviews: Sequence[Review], *, fps: Fraction = FPS, split: str = "test", concept: str = ""
) -> list[dict[str, Any]]:
    """One line a proposed clip, in the form :func:`refvps.data.records.read_clips` reads.

    The clips of one video share its name as ``group``; a crop is part of the edit where still padding was found,
    and blurred padding a quality flag. All frames count as annotated: which ones will be is not known yet. Raises
    UsageError for two videos of one name and for clips of one id.
    """
    stems = [each.path.stem for each in reviews]
    if doubled := [str(each.path) for each in reviews if stems.count(each.path.stem) > 1]:
        raise UsageError("Two videos have one name.", where=doubled, fix="rename one: it becomes the group's name")
    ids = map_ids(stems)
    records = [
        _record(review, index, ids[review.path.stem], fps, split, concept)
        for review in reviews
        for index in range(len(review.clips))
    ]
    names = [each.clip.id.lower() for each in records]
    if clashes := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError("Two clips would have one id.", where=clashes, fix="rename a video, or split them separately")
    return [record_of(each, compact=True) for each in records]


def edit(review: Review, index: int) -> Edit:
    """How clip ``index`` is cut out of its video; what the whole video has is left out."""
    clip, box = review.clips[index], _crop(review, index)
    start, end = _ends(review, clip)
    return Edit(start=start, end=end, crop=box)


def _ends(review: Review, clip: Shot) -> tuple[Fraction | None, Fraction | None]:
    start = None if clip.first == 0 else clip.start
    end = None if clip.stop == len(review.survey) else clip.end
    return start, end


def _crop(review: Review, index: int) -> tuple[int, int, int, int] | None:
    found = review.paddings[index] if review.paddings else None
    return found.box if found is not None and found.kind == "still" else None


def _record(review: Review, index: int, name: str, fps: Fraction, split: str, concept: str) -> ClipRecord:
    part, cut = review.clips[index], edit(review, index)
    video = review.survey.video
    count = max(1, tick_count(part.start, part.end, fps))
    frames = tuple(f"{number:05d}" for number in range(count))
    size = video.size if cut.crop is None else (cut.crop[3], cut.crop[2])
    clip = Clip(
        id=name if len(review.clips) == 1 else f"{name[:124]}-{index + 1:02d}",
        size=size,
        fps=float(fps),
        frames=frames,
        annotated=frames,
        annotation_fps=float(fps),
        group=name,
        split=split,
    )
    blurred = review.paddings and review.paddings[index].kind == "blurred"
    return ClipRecord(
        clip,
        concept=concept,
        source=Source(file=review.path.name, sha256=review.sha256, bytes=review.path.stat().st_size),
        edit=cut,
        quality=("blurred-padding",) if blurred else (),
    )
