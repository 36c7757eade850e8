"""A small Ref-YouTube-VOS in its own layout: train with masks, valid and test as lists and frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from importers import Copy
from PIL import Image
from trees import write_labels

VIDEOS = {"003234408d": ((9, 16), 3), "0043f083b5": ((16, 9), 2)}
VALID = {"00917dcfc4": (12, 20), "0620b43a31": (20, 12), "in-the-test": (8, 8)}


def meta(videos: dict[str, Any]) -> str:
    """The content of ``meta_expressions.json``."""
    return json.dumps({"videos": videos})


def picture(path: Path, size: tuple[int, int], value: int = 0) -> None:
    """One grey frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


def copy(root: Path) -> Copy:
    """003234408d: objects 1 and 3 of three; 0043f083b5: one object with two sentences, one with a trailing blank."""
    for split in ("train", "valid", "test"):
        (root / "meta_expressions" / split).mkdir(parents=True)
    listed: dict[str, Any] = {}
    for name, (size, count) in VIDEOS.items():
        frames = [f"{5 * index:05d}" for index in range(count)]
        listed[name] = {"frames": frames, "expressions": {}}
        for index, frame in enumerate(frames):
            image = np.zeros(size, np.uint8)
            for label in (1, 2, 3):
                image[2 * label : 2 * label + 2, index : index + 3] = label
            write_labels(root / f"train/Annotations/{name}/{frame}.png", image, "P")
            picture(root / f"train/JPEGImages/{name}/{frame}.jpg", size, 40 * index)
    listed["003234408d"]["expressions"] = {
        "0": {"exp": "a penguin on the left", "obj_id": "1"},
        "1": {"exp": "the dog s head", "obj_id": "3"},
    }
    listed["0043f083b5"]["expressions"] = {
        "0": {"exp": "a bus ", "obj_id": "2"},
        "10": {"exp": "the last one", "obj_id": "2"},
        "9": {"exp": "a bus", "obj_id": "2"},
    }
    (root / "meta_expressions/train/meta_expressions.json").write_text(meta(listed))
    hidden = {}
    for number, (name, size) in enumerate(VALID.items()):
        hidden[name] = {"frames": ["00000", "00005"], "expressions": {str(number): {"exp": f"what is in {name}"}}}
        for frame in ("00000", "00005"):
            picture(root / f"valid/JPEGImages/{name}/{frame}.jpg", size)
    (root / "meta_expressions/valid/meta_expressions.json").write_text(meta(hidden))
    (root / "meta_expressions/test/meta_expressions.json").write_text(meta({"in-the-test": hidden["in-the-test"]}))
    good = (root / "train/Annotations/003234408d/00005.png").read_bytes()
    return Copy(
        root=root,
        clips=2,
        expressions=5,
        first=("003234408d", "0", "a penguin on the left"),
        last=("0043f083b5", "10", "the last one"),
        sizes={"003234408d": (9, 16), "0043f083b5": (16, 9)},
        annotated=5,
        needed=("meta_expressions/train/meta_expressions.json", "train/Annotations/003234408d/00010.png"),
        damaged={
            "train/Annotations/003234408d/00005.png": good[:-20],
            "train/Annotations/0043f083b5/00005.png": good,
            "meta_expressions/train/meta_expressions.json": b"[]",
        },
        pictures={
            name: tuple(f"train/JPEGImages/{name}/{5 * index:05d}.jpg" for index in range(count))
            for name, (_, count) in VIDEOS.items()
        },
        source_ids={"003234408d": "", "0043f083b5": ""},
    )
