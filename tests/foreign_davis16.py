"""A small DAVIS-2016 in its own layout: two videos of the validation list, and one of the training list."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from importers import Copy
from PIL import Image
from trees import write_labels

VIDEOS = {"blackswan": ((9, 14), 3), "bmx-trees": ((14, 9), 2), "bear": ((9, 14), 1)}


def copy(root: Path) -> Copy:
    """blackswan: 0/255 grey, empty on its last frame; bmx-trees: palette with two numbers, which are one object."""
    for name, (size, count) in VIDEOS.items():
        for index in range(count):
            mask = np.zeros(size, np.uint8)
            if name == "bmx-trees":
                mask[2:6, 1:4], mask[6:9, 4:7] = 1, 2
                write_labels(root / f"Annotations/480p/{name}/{index:05d}.png", mask, "P")
            else:
                mask[2:6, 1 + index : 5 + index] = 255 if index < 2 else 0
                write_labels(root / f"Annotations/480p/{name}/{index:05d}.png", mask, "L")
            picture = root / f"JPEGImages/480p/{name}/{index:05d}.jpg"
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((*size, 3), 50 * index, np.uint8)).save(picture)
    lists = root / "ImageSets" / "480p"
    lists.mkdir(parents=True)
    lines = [
        f"/JPEGImages/480p/{name}/{index:05d}.jpg /Annotations/480p/{name}/{index:05d}.png\n"
        for name in ("blackswan", "bmx-trees")
        for index in range(VIDEOS[name][1])
    ]
    (lists / "val.txt").write_text("".join(lines))
    (lists / "train.txt").write_text("/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png\n")
    good = (root / "Annotations/480p/blackswan/00001.png").read_bytes()
    return Copy(
        root=root,
        clips=2,
        expressions=2,
        first=("blackswan", "1", ""),
        last=("bmx-trees", "1", ""),
        sizes={"blackswan": (9, 14), "bmx-trees": (14, 9)},
        annotated=5,
        needed=("ImageSets/480p/val.txt", "Annotations/480p/blackswan/00001.png"),
        damaged={
            "Annotations/480p/blackswan/00001.png": good[:-20],
            "Annotations/480p/bmx-trees/00001.png": good,
            "ImageSets/480p/val.txt": b"\n",
        },
        pictures={
            name: tuple(f"JPEGImages/480p/{name}/{index:05d}.jpg" for index in range(VIDEOS[name][1]))
            for name in ("blackswan", "bmx-trees")
        },
        source_ids={"blackswan": "", "bmx-trees": ""},
    )
