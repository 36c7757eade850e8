"""Layouts that keep masks as COCO RLE in JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from refvps.data.manifest import CLIPS, EXPRESSIONS, clip_record, expression_record
from refvps.data.masktracks import mask_lines
from refvps.data.store import RECORD, rules_record
from refvps.errors import UsageError
from refvps.export.content import ClipContent, Items
from refvps.export.pictures import jpegs, originals
from refvps.files import canonical_json
from refvps.masks import rle
from refvps.types import Benchmark, Clip, MaskTrack

META = "meta_expressions.json"


def ref_vps(benchmark: Benchmark, clips: Iterator[ClipContent]) -> Items:
    """The form of Ref-VPS: what ``refvps download NAME --from`` registers, with everything that has a digest."""
    listed, asked = b"", b""
    for content in clips:
        clip = content.clip
        listed += canonical_json(clip_record(clip)) + b"\n"
        for each in content.expressions:
            asked += canonical_json(expression_record(each)) + b"\n"
        if content.masks is not None:
            yield f"masks/{clip.id}.jsonl", mask_lines(clip, content.masks)
        if content.frames is not None:
            for file, data in originals(content.frames, clip.frames):
                yield f"frames/{clip.id}/{file}", data
    yield CLIPS, listed
    yield EXPRESSIONS, asked
    about = {"version": benchmark.version, "licence": benchmark.licence}  # whoever registers it names it
    yield RECORD, canonical_json(about | {"rules": rules_record(benchmark.rules)})


def mevis(benchmark: Benchmark, clips: Iterator[ClipContent]) -> Items:
    """MeViS: masks by number, each expression naming the one it points at; Ignore in a file that only we read.

    Frames without annotation are not listed, because null is an empty mask there.
    """
    videos: dict[str, Any] = {}
    masks: dict[str, Any] = {}
    ignored: dict[str, Any] = {}
    listed, asked = b"", b""
    for content in clips:
        clip = content.clip
        listed += canonical_json(clip_record(clip)) + b"\n"
        numbers: dict[str, int] = {}
        for each in content.expressions:
            asked += canonical_json(expression_record(each)) + b"\n"
            numbers.setdefault(each.target, len(masks) + len(numbers))
        videos[clip.id] = {
            "frames": list(clip.annotated),
            "expressions": {
                each.id: {"exp": each.text, "obj_id": [k], "anno_id": [numbers[each.target]]}
                for each in content.expressions
                for k in [list(numbers).index(each.target)]
            },
        }
        if content.masks is not None:
            masks |= {str(number): _track(_whole(content, target), clip) for target, number in numbers.items()}
            if content.masks.ignore is not None:
                ignored[clip.id] = _track(content.masks.ignore, clip)
        if content.frames is not None:
            for file, data in jpegs(content.frames, clip.frames):
                yield f"JPEGImages/{clip.id}/{file}", data
    yield META, canonical_json({"videos": videos})
    if masks:
        yield "mask_dict.json", canonical_json(masks)
    if ignored:
        yield "ignore_dict.json", canonical_json(ignored)
    yield CLIPS, listed
    yield EXPRESSIONS, asked


def ytvis(benchmark: Benchmark, clips: Iterator[ClipContent]) -> Items:
    """YouTube-VIS and SA-Co: a category for each expression and one for Ignore.

    Frames without annotation are not listed, because null is an empty mask there.
    """
    videos: list[Any] = []
    pairs: list[Any] = []
    categories: list[Any] = []
    annotations: list[Any] = []
    ignore = {"id": 1, "name": "__ignore__"}
    for number, content in enumerate(clips, start=1):
        clip = content.clip
        videos.append(
            {
                "id": number,
                "video_name": clip.id,
                "file_names": [f"{clip.id}/{frame}.jpg" for frame in clip.annotated],
                "height": clip.size[0],
                "width": clip.size[1],
                "length": len(clip.annotated),
            }
        )
        for each in content.expressions:
            category = {"id": len(categories) + 2, "name": each.concept or each.text, "expression": each.id}
            categories.append(category)
            pairs.append(
                {"video_id": number, "category_id": category["id"], "noun_phrase": each.text, "num_masklets": 1}
            )
            if content.masks is not None:
                track = _whole(content, each.target)
                annotations.append(_masklet(len(annotations) + 1, clip, number, category["id"], track, 0))
        if content.masks is not None and content.masks.ignore is not None:
            annotations.append(_masklet(len(annotations) + 1, clip, number, 1, content.masks.ignore, 1))
        if content.frames is not None:
            for file, data in jpegs(content.frames, clip.frames):
                yield f"JPEGImages/{clip.id}/{file}", data
    yield (
        "instances.json",
        canonical_json(
            {
                "info": {"description": f"{benchmark.name}@{benchmark.version}, written by refvps"},
                "videos": videos,
                "categories": [ignore, *categories],
                "video_np_pairs": pairs,
                "annotations": annotations,
            }
        ),
    )


def _masklet(number: int, clip: Clip, video: int, category: Any, track: MaskTrack, crowd: int) -> dict[str, Any]:
    (height, width), entries = clip.size, _track(track, clip)
    return {
        "id": number,
        "video_id": video,
        "category_id": category,
        "iscrowd": crowd,
        "height": height,
        "width": width,
        "areas": [None if entry is None else rle.area(entry["counts"].encode(), clip.size) for entry in entries],
        "segmentations": entries,
    }


def _whole(content: ClipContent, target: str) -> MaskTrack:
    """The masklet of a target; UsageError where it lacks an annotated frame, as null would mean an empty mask."""
    track, clip = content.track(target), content.clip
    if lacking := [clip.frames[index] for index in clip.annotated_indices() if track.counts[index] is None]:
        raise UsageError(
            "A target is not annotated on a frame where others are, which this layout cannot say.",
            where=[f"{clip.id}/{frame}: target {target}" for frame in lacking],
            fix="use --layout sav or ref-vps",
        )
    return track


def _track(track: MaskTrack, clip: Clip) -> list[Any]:
    """One entry per annotated frame."""
    values = (track.counts[index] for index in clip.annotated_indices())
    return [None if value is None else {"size": list(clip.size), "counts": value.decode("ascii")} for value in values]
