"""Layouts that ask without answering: what the programs of published methods read.

Texts are written as those methods were trained, in lower case with single blanks; ``raw`` keeps the original where it
differs. A palette PNG is there because some programs read one, whether they use it or not.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from refvps.errors import UsageError
from refvps.export.content import ClipContent, Items
from refvps.export.pictures import jpegs
from refvps.files import canonical_json
from refvps.predictions.export import palette_png
from refvps.predictions.foreign.davis4 import RUNS, groups_of, groups_record
from refvps.predictions.foreign.windows import window_name
from refvps.types import Benchmark, Expression

META = "meta_expressions.json"
PALETTE = "valid/Annotations/blackswan/00000.png"
"""Where the programs for Ref-DAVIS, and MUTR's for Ref-YouTube-VOS, look for a palette."""

UNINEXT = "ref-youtube-vos"
"""UNINEXT's data set ``rvos-refytb-val``, below the folder that ``DETECTRON2_DATASETS`` names."""


def windowed(clips: Iterator[ClipContent], most: int, taken: Collection[str]) -> Iterator[ClipContent]:
    """Every clip as pseudo-videos ``<clip>__w000``, ``<clip>__w001``, ... of at most ``most`` frames, which keep
    their names: those programs take a whole video at once, and memory ends. Ground truth is left out. Raises
    UsageError for a window that would have one of the names ``taken``.
    """
    if most < 1:
        raise UsageError("A window has at least one frame.", where=[f"--window {most}"], fix="--window 36")
    for content in clips:
        clip, frames = content.clip, content.frames
        annotated = frozenset(clip.annotated)
        for number, first in enumerate(range(0, len(clip.frames), most)):
            names = clip.frames[first : first + most]
            if window_name(clip.id, number) in taken:
                place = f"{clip.id}: {window_name(clip.id, number)}"
                raise UsageError("A window would be called like a clip.", where=[place], fix="drop --window")
            part = replace(
                clip,
                id=window_name(clip.id, number),
                frames=names,
                annotated=tuple(name for name in names if name in annotated),
            )
            yield ClipContent(part, content.expressions, None, frames and frames[first : first + most])


def ytvos(benchmark: Benchmark, clips: Iterator[ClipContent]) -> Items:
    """The questions of a benchmark as Ref-YouTube-VOS asks them.

    ``meta_expressions/test`` is there because the programs subtract its videos.
    """
    videos: dict[str, Any] = {}
    for content in clips:
        videos[content.clip.id] = {
            "frames": list(content.clip.frames),
            "expressions": {each.id: _asked(each) for each in content.expressions},
        }
        yield from _pictures("valid/JPEGImages", content.clip.id, content)
    yield f"meta_expressions/valid/{META}", canonical_json({"videos": videos})
    yield f"meta_expressions/test/{META}", canonical_json({"videos": {}})
    yield PALETTE, _palette()


def uninext(benchmark: Benchmark, clips: Iterator[ClipContent]) -> Items:
    """The list that UNINEXT makes of Ref-YouTube-VOS, one entry for each video and expression, without answers."""
    videos: list[dict[str, Any]] = []
    for content in clips:
        clip = content.clip
        for each in content.expressions:
            asked = _asked(each)
            entry = {
                "id": len(videos) + 1,
                "video": clip.id,
                "exp_id": each.id,
                "expressions": [asked.pop("exp")],
                "height": clip.size[0],
                "width": clip.size[1],
                "length": len(clip.frames),
                "file_names": [f"{clip.id}/{frame}.jpg" for frame in clip.frames],
            }
            videos.append(entry | asked)
        yield from _pictures(f"{UNINEXT}/valid/JPEGImages", clip.id, content)
    categories = [{"supercategory": "object", "id": 1, "name": "object"}]
    yield f"{UNINEXT}/valid.json", canonical_json({"categories": categories, "videos": videos})


def davis4(benchmark: Benchmark, clips: Iterator[ClipContent]) -> Items:
    """Pseudo-videos of four expressions each; the last of a clip is filled up by repeating its last expression.

    ``groups.json`` says which expressions a pseudo-video stands for.
    """
    return _davis4(benchmark, clips, "valid/JPEGImages")


def davis4_480p(benchmark: Benchmark, clips: Iterator[ClipContent]) -> Items:
    """The same with frames one folder deeper, where SgMg looks for them."""
    return _davis4(benchmark, clips, "valid/JPEGImages/480p")


def _davis4(benchmark: Benchmark, clips: Iterator[ClipContent], folder: str) -> Items:
    videos: dict[str, Any] = {}
    groups = groups_of(benchmark)
    for content in clips:
        texts = {each.id: _asked(each) for each in content.expressions}
        for name, group in groups.items():
            if group.clip != content.clip.id:
                continue
            members = [*group.expressions, *[group.expressions[-1]] * RUNS][:RUNS]
            videos[name] = {
                "frames": list(content.clip.frames),
                "expressions": {str(k): texts[each] | {"obj_id": "1"} for k, each in enumerate(members)},
            }
            yield from _pictures(folder, name, content)
    # keys keep their order here: the programs take expression k by its place in the file
    yield f"meta_expressions/valid/{META}", json.dumps({"videos": videos}, ensure_ascii=True).encode()
    yield "groups.json", canonical_json(groups_record(groups))
    yield PALETTE, _palette()


def _asked(expression: Expression) -> dict[str, str]:
    text = " ".join(expression.text.lower().split())
    return {"exp": text} | ({} if text == expression.text else {"raw": expression.text})


def _pictures(folder: str, video: str, content: ClipContent) -> Iterator[tuple[str, bytes | Path]]:
    if content.frames is not None:
        for file, data in jpegs(content.frames, content.clip.frames):
            yield f"{folder}/{video}/{file}", data


def _palette() -> bytes:
    return palette_png(np.zeros((4, 4), np.uint8))
