"""A small file in the style of SA-Co: noun phrases, a negative pair, an Ignore category, both forms of RLE."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from foreign_mevis import rle
from importers import Copy
from PIL import Image

A, B = (10, 14), (9, 8)
FRAMES = ("00000", "00004")


def runs(size: tuple[int, int], top: int, left: int) -> dict[str, object]:
    """A 3x3 square as a plain list of runs, column by column."""
    mask = np.zeros(size, bool)
    mask[top : top + 3, left : left + 3] = True
    flat = mask.ravel(order="F")
    borders = np.flatnonzero(np.diff(flat)) + 1
    edges = [0, *borders.tolist(), flat.size]
    return {"size": list(size), "counts": [b - a for a, b in zip(edges, edges[1:], strict=False)]}


def content() -> dict[str, object]:
    """Video 3 (2 frames): two dogs, one of which Ignore touches; no cat, though asked. Video 8 (1 frame): a wave."""
    return {
        "info": {"version": "0"},
        "videos": [
            {
                "id": 3,
                "video_name": "park",
                "file_names": ["park/00000.jpg", "park/00004.jpg"],
                "height": 10,
                "width": 14,
            },
            {"id": 8, "video_name": "sea (1)", "file_names": ["sea (1)/00000.jpg"], "height": 9, "width": 8},
            {"id": 9, "video_name": "nothing", "file_names": ["nothing/00000.jpg"], "height": 9, "width": 8},
        ],
        "categories": [
            {"id": 1, "name": "dog"},
            {"id": 2, "name": "cat"},
            {"id": 5, "name": "wave"},
            {"id": 6, "name": "__ignore__"},
        ],
        "video_np_pairs": [
            {"video_id": 3, "category_id": 1, "noun_phrase": "a dog", "num_masklets": 2},
            {"video_id": 3, "category_id": 2, "noun_phrase": "a cat", "num_masklets": 0},
            {"video_id": 8, "category_id": 5, "noun_phrase": "the breaking wave", "num_masklets": 1},
        ],
        "annotations": [
            {"id": 1, "video_id": 3, "category_id": 1, "segmentations": [rle(A, 0, 0), None], "iscrowd": 0},
            {"id": 2, "video_id": 3, "category_id": 1, "segmentations": [rle(A, 2, 2), rle(A, 5, 5)], "iscrowd": 0},
            {"id": 3, "video_id": 3, "category_id": 6, "segmentations": [rle(A, 4, 4), None], "iscrowd": 1},
            {"id": 4, "video_id": 8, "category_id": 5, "segmentations": [runs(B, 1, 2)], "iscrowd": 0},
        ],
    }


def copy(root: Path) -> Copy:
    """See :func:`content`."""
    record = content()
    path = root / "instances.json"
    path.write_text(json.dumps(record))
    for name, size in (("park/00000", A), ("park/00004", A), ("sea (1)/00000", B)):
        picture = root / "JPEGImages" / f"{name}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(picture)
    sea = "sea_1_-c7bf4767"
    return Copy(
        root=root,
        clips=2,
        expressions=3,
        first=("park", "1", "a dog"),
        last=(sea, "5", "the breaking wave"),
        sizes={"park": A, sea: B},
        annotated=3,
        needed=("instances.json",),
        damaged={"instances.json": path.read_bytes()[:-30]},
        pictures={
            "park": ("JPEGImages/park/00000.jpg", "JPEGImages/park/00004.jpg"),
            sea: ("JPEGImages/sea (1)/00000.jpg",),
        },
        source_ids={"park": "", sea: "sea (1)"},
    )
