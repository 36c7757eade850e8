"""The records of ``annotations/sample``: clips, expressions and masks as canonical JSON lines."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from refvps.data.sample.clips import CLIPS, FPS, Scene, pixels, render
from refvps.files import canonical_json, write_atomic, write_json_lines

VERSION = "1"
"""Version of the sample; any change of its pixels, masks or sentences raises it."""

LICENCE = "Apache-2.0"
ANNOTATORS = (("a1", 1), ("a1", 2), ("a2", 1), ("a2", 2))
"""Who wrote the four sentences of a clip, and which of theirs each is."""


def _names(scene: Scene) -> list[str]:
    return [f"{index:05d}" for index in range(scene.length)]


def clip_record(scene: Scene) -> dict[str, Any]:
    """One line of ``clips.jsonl``."""
    return {
        "id": scene.id,
        "size": list(scene.size),
        "fps": float(FPS),
        "frames": _names(scene),
        "annotated": _names(scene),
        "annotation_fps": float(FPS),
        "group": scene.group,
        "split": "test",
        "concept": scene.concept,
        "categories": list(scene.categories),
        "frame_count": scene.length,
        "source": {"platform": "painted by refvps", "licence": LICENCE, "redistribution": "frames"},
        "added_in": VERSION,
    }


def expression_records(scene: Scene) -> list[dict[str, Any]]:
    """The four lines of one clip in ``expressions.jsonl``."""
    return [
        {
            "clip": scene.id,
            "id": str(number),
            "text": text,
            "target": "1",
            "concept": scene.concept,
            "categories": list(scene.categories),
            "annotator": annotator,
            "slot": slot,
        }
        for number, (text, (annotator, slot)) in enumerate(zip(scene.texts, ANNOTATORS, strict=True))
    ]


def _counts(mask: NDArray[np.bool_]) -> str:
    encoded: dict[str, Any] = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts: bytes = encoded["counts"]
    return counts.decode("ascii")


def mask_records(scene: Scene) -> list[dict[str, Any]]:
    """The lines of ``masks/<clip>.jsonl``: header, target "1" and, where there is any, Ignore."""
    drawn = [render(scene.id, index)[1] for index in range(scene.length)]
    lines: list[dict[str, Any]] = [
        {"schema": "refvps.masks/1", "clip": scene.id, "size": list(scene.size), "frames": _names(scene)},
        {"target": "1", "counts": [_counts(labels == 1) for labels in drawn]},
    ]
    if any((labels == 255).any() for labels in drawn):
        lines.append({"ignore": True, "counts": [_counts(labels == 255) for labels in drawn]})
    return lines


def write(out: Path) -> None:
    """Write everything but the README into ``out``; each file appears whole or not at all."""
    digest = hashlib.sha256()
    scenes = CLIPS.values()
    write_json_lines(out.joinpath("clips.jsonl"), map(clip_record, scenes))
    write_json_lines(
        out.joinpath("expressions.jsonl"), (record for scene in scenes for record in expression_records(scene))
    )
    for scene in scenes:
        write_json_lines(out.joinpath("masks", f"{scene.id}.jsonl"), mask_records(scene))
        for data in pixels(scene.id):
            digest.update(data)
    about = {"name": "sample", "version": VERSION, "licence": LICENCE, "pixel_digest": digest.hexdigest()}
    write_atomic(out.joinpath("benchmark.json"), canonical_json(about) + b"\n")
