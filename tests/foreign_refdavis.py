"""A small Ref-DAVIS in the layout of ReferFormer's copy, with DAVIS' unsupervised masks beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from importers import Copy
from PIL import Image
from trees import write_labels

VIDEOS = {"dogs-jump": ((10, 16), 3, 2), "goat": ((8, 8), 2, 3)}
"""Size, frames, objects."""


def mask(size: tuple[int, int], objects: int, index: int) -> np.ndarray:
    """Label image: object k is a 2x2 square at row 3(k-1), moving to the right; void in the last row."""
    image = np.zeros(size, np.uint8)
    for label in range(1, objects + 1):
        image[3 * (label - 1) : 3 * (label - 1) + 2, index : index + 2] = label
    image[-1] = 255
    return image


def copy(root: Path) -> Copy:
    """dogs-jump: two objects, so eight sentences; goat: three, so twelve ("10" after "9"). 255 is void."""
    listed = {}
    for name, (size, count, objects) in VIDEOS.items():
        frames = [f"{index:05d}" for index in range(count)]
        for index, frame in enumerate(frames):
            path = root / f"DAVIS/Annotations_unsupervised/480p/{name}/{frame}.png"
            write_labels(path, mask(size, objects, index), "P")
            picture = root / f"valid/JPEGImages/{name}/{frame}.jpg"
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((*size, 3), 50 * index, np.uint8)).save(picture)
        sentences = {
            str(4 * k + run): {"exp": f"{name} object {k + 1}, said by {run}", "obj_id": str(k + 1)}
            for k in range(objects)
            for run in range(4)
        }
        listed[name] = {"expressions": sentences, "frames": frames}
    meta = root / "meta_expressions/valid/meta_expressions.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"videos": listed}))
    good = (root / "DAVIS/Annotations_unsupervised/480p/dogs-jump/00001.png").read_bytes()
    folder = "DAVIS/Annotations_unsupervised/480p"
    return Copy(
        root=root,
        clips=2,
        expressions=20,
        first=("dogs-jump", "0", "dogs-jump object 1, said by 0"),
        last=("goat", "11", "goat object 3, said by 3"),
        sizes={"dogs-jump": (10, 16), "goat": (8, 8)},
        annotated=5,
        needed=("meta_expressions/valid/meta_expressions.json", f"{folder}/goat/00001.png"),
        damaged={
            f"{folder}/dogs-jump/00001.png": good[:-20],
            f"{folder}/goat/00001.png": good,
            "meta_expressions/valid/meta_expressions.json": b'{"videos": {}}',
        },
        pictures={
            name: tuple(f"valid/JPEGImages/{name}/{index:05d}.jpg" for index in range(count))
            for name, (_, count, _) in VIDEOS.items()
        },
        source_ids={"dogs-jump": "", "goat": ""},
    )
