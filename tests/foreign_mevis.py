"""A small MeViS in its own layout: valid_u with masks, valid as questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from importers import Copy
from PIL import Image
from pycocotools import mask as coco

SIZES = {"23da648cb5ba": (10, 14), "f7a2b3": (14, 10)}


def rle(size: tuple[int, int], top: int, left: int) -> dict[str, Any]:
    """COCO RLE of a 3x3 square."""
    mask = np.zeros(size, np.uint8, order="F")
    mask[top : top + 3, left : left + 3] = 1
    found = coco.encode(mask)
    return {"size": list(size), "counts": found["counts"].decode()}


def copy(root: Path) -> Copy:
    """23da648cb5ba (3 frames): one sentence of two overlapping masks, one of the second alone, and two of the same
    mask; f7a2b3 (2 frames): a mask that is null everywhere but on the last frame."""
    a, b = SIZES["23da648cb5ba"], SIZES["f7a2b3"]
    masks = {
        "0": [rle(a, 0, 0), rle(a, 0, 1), rle(a, 0, 2)],
        "1": [rle(a, 1, 1), None, rle(a, 1, 3)],
        "7": [None, rle(b, 4, 4)],
        "8": [rle(a, 5, 5)],
    }
    videos = {
        "f7a2b3": {
            "frames": ["00000", "00001"],
            "expressions": {"0": {"exp": "the one that comes late", "obj_id": [2], "anno_id": [7]}},
        },
        "23da648cb5ba": {
            "frames": ["00000", "00001", "00002"],
            "expressions": {
                "0": {"exp": "both that move to the right", "obj_id": [0, 1], "anno_id": [0, 1]},
                "1": {"exp": "the lower one", "obj_id": [1], "anno_id": [1]},
                "2": {"exp": "the two of them", "obj_id": [0, 1], "anno_id": [1, 0]},
            },
        },
    }
    folder = root / "valid_u"
    folder.mkdir(parents=True)
    (folder / "mask_dict.json").write_text(json.dumps(masks))
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    for name, size in SIZES.items():
        for frame in videos[name]["frames"]:
            path = folder / "JPEGImages" / name / f"{frame}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path)
    broken = masks | {"1": [rle(a, 1, 1), None]}
    return Copy(
        root=root,
        clips=2,
        expressions=4,
        first=("23da648cb5ba", "0", "both that move to the right"),
        last=("f7a2b3", "0", "the one that comes late"),
        sizes=SIZES,
        annotated=5,
        needed=("valid_u/meta_expressions.json", "valid_u/mask_dict.json"),
        damaged={"valid_u/mask_dict.json": json.dumps(broken).encode(), "valid_u/meta_expressions.json": b"{"},
        pictures={
            name: tuple(f"valid_u/JPEGImages/{name}/{frame}.jpg" for frame in videos[name]["frames"])
            for name in sorted(SIZES)
        },
        source_ids={name: "" for name in SIZES},
    )
