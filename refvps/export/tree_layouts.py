"""Layouts that are folders of pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.data.manifest import CLIPS, EXPRESSIONS, clip_record, expression_record
from refvps.errors import UsageError
from refvps.export.content import ClipContent, Items
from refvps.export.pictures import jpegs, originals
from refvps.files import canonical_json
from refvps.masks import rle
from refvps.predictions.export import palette_png
from refvps.types import Benchmark

IGNORE = 255
META = "meta_expressions.json"


def davis(benchmark: Benchmark, clips: Iterator[ClipContent]) -> Items:
    """One label PNG a frame, 255 Ignore."""
    return _labelled(clips, beside=False)


def ignore_folder(benchmark: Benchmark, clips: Iterator[ClipContent]) -> Items:
    """One label PNG a frame, Ignore in a folder of its own."""
    return _labelled(clips, beside=True)


def _labelled(clips: Iterator[ClipContent], *, beside: bool) -> Items:
    videos: dict[str, Any] = {}
    lists = Lists()
    for content in clips:
        clip, numbers = content.clip, content.numbers()
        lists.add(content)
        videos[clip.id] = {
            "frames": list(clip.frames),
            "expressions": {e.id: {"exp": e.text, "obj_id": str(numbers[e.target])} for e in content.expressions},
        }
        yield from _pictures("JPEGImages", content)
        if content.masks is None:
            continue
        for index, frame in zip(clip.annotated_indices(), clip.annotated, strict=True):
            ids = np.zeros(clip.size, np.uint8)
            for target, number in numbers.items():
                mask = _mask(content, target, index)
                if ids[mask].any():
                    raise UsageError(
                        "Targets overlap, which one picture per frame cannot hold.",
                        where=[f"{clip.id}/{frame}: {int((ids[mask] > 0).sum())} pixels"],
                        fix="use --layout expression-folders, mevis or ref-vps",
                    )
                ids[mask] = number
            region = _ignore(content, index)
            if beside:
                yield f"Ignore/{clip.id}/{frame}.png", _grey(region, IGNORE)
            else:
                ids[region] = IGNORE
            yield f"Annotations/{clip.id}/{frame}.png", palette_png(ids)
    yield META, canonical_json({"videos": videos})
    yield from lists.items()


def expression_folders(benchmark: Benchmark, clips: Iterator[ClipContent]) -> Items:
    """One PNG per expression and frame: 1 the target, 255 Ignore."""
    lists = Lists()
    for content in clips:
        lists.add(content)
        yield from _pictures("JPEGImages", content)
        if content.masks is None:
            continue
        for index, frame in zip(content.clip.annotated_indices(), content.clip.annotated, strict=True):
            region = _ignore(content, index)
            for each in content.expressions:
                if content.track(each.target).counts[index] is not None:
                    labels = _mask(content, each.target, index).astype(np.uint8)
                    labels[region] = IGNORE
                    yield f"Annotations/{content.clip.id}/{each.id}/{frame}.png", palette_png(labels)
    yield from lists.items()


def sav(benchmark: Benchmark, clips: Iterator[ClipContent]) -> Items:
    """One binary PNG per target and annotated frame; Ignore never in the same file, where SA-V would take it for
    foreground."""
    for content in clips:
        yield from _pictures("JPEGImages_24fps", content)
        if content.masks is None:
            continue
        clip = content.clip
        for index, frame in zip(clip.annotated_indices(), clip.annotated, strict=True):
            for target, number in content.numbers().items():
                if content.track(target).counts[index] is not None:
                    mask = _mask(content, target, index)
                    yield f"Annotations_6fps/{clip.id}/{number - 1:03d}/{frame}.png", _grey(mask, 255)
            if content.masks.ignore is not None:
                yield f"Ignore_6fps/{clip.id}/{frame}.png", _grey(_ignore(content, index), 255)


class Lists:
    """The lists of Ref-VPS, so that nothing is lost that the other layout has no place for."""

    def __init__(self) -> None:
        self._clips: list[bytes] = []
        self._expressions: list[bytes] = []

    def add(self, content: ClipContent) -> None:
        """Remember the records of a clip."""
        self._clips.append(_line(clip_record(content.clip)))
        self._expressions += [_line(expression_record(each)) for each in content.expressions]

    def items(self) -> Items:
        """``clips.jsonl`` and ``expressions.jsonl``."""
        yield CLIPS, b"".join(self._clips)
        yield EXPRESSIONS, b"".join(self._expressions)


def _line(record: dict[str, Any]) -> bytes:
    return canonical_json(record) + b"\n"


def _pictures(folder: str, content: ClipContent) -> Iterator[tuple[str, bytes | Path]]:
    if content.frames is not None:
        keep = originals if folder == "frames" else jpegs
        for file, data in keep(content.frames, content.clip.frames):
            yield f"{folder}/{content.clip.id}/{file}", data


def _mask(content: ClipContent, target: str, index: int) -> NDArray[np.bool_]:
    """bool [H, W]; UsageError where the target is not annotated on this frame though others are."""
    counts = content.track(target).counts[index]
    if counts is None:
        raise UsageError(
            "A target is not annotated on a frame where others are, which this layout cannot say.",
            where=[f"{content.clip.id}/{content.clip.frames[index]}: target {target}"],
            fix="use --layout expression-folders, sav or ref-vps",
        )
    return rle.decode(counts, content.clip.size)


def _ignore(content: ClipContent, index: int) -> NDArray[np.bool_]:
    assert content.masks is not None
    counts = None if content.masks.ignore is None else content.masks.ignore.counts[index]
    return np.zeros(content.clip.size, np.bool_) if counts is None else rle.decode(counts, content.clip.size)


def _grey(mask: NDArray[np.bool_], value: int) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(value)).save(stream, "PNG")
    return stream.getvalue()
