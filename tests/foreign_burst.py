"""A small BURST in its own layout: val and test, each an ``all_classes.json``, and the frames of one sequence.

val, LaSOT/airplane-1 (12x20, 7 frames, 3 annotated): track 1 and 2 are persons (805, called "baby") that overlap on
    the second annotated frame; track 3 an airplane that is gone on the third (a null mask).
val, YFCC100M/airplane-1 (20x12, annotated on all of its 2 frames): a car, under the same name of the sequence.
test, AVA/side(left) (16x9, 4 frames, 2 annotated): a dog; a hat whose track has no mask at all; dogs are not
    annotated exhaustively.
test, HACS/empty: no track.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from importers import Copy
from PIL import Image
from trees import encode

PERSON, AIRPLANE, CAR, DOG, HAT = 805, 4, 211, 382, 554
NAMES = {AIRPLANE: "airplane", CAR: "car_(automobile)", DOG: "dog", HAT: "hat", PERSON: "baby"}


def box(size: tuple[int, int], top: int, left: int, bottom: int, right: int) -> np.ndarray:
    """A filled rectangle, bool [H, W]."""
    mask = np.zeros(size, np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def categories(names: dict[int, str] | None = None) -> list[dict[str, Any]]:
    """The list of categories."""
    return [
        {"id": key, "name": name, "synset": f"{name}.n.01", "def": "", "synonyms": [name]}
        for key, name in (names or NAMES).items()
    ]


def sequence(
    dataset: str,
    name: str,
    size: tuple[int, int],
    frames: list[str],
    annotated: list[int],
    tracks: dict[str, int],
    masks: list[dict[str, np.ndarray | None]],
    **more: Any,
) -> dict[str, Any]:
    """A sequence; ``masks``: by track, for every annotated frame; None for a null mask."""
    return {
        "id": 1,
        "width": size[1],
        "height": size[0],
        "seq_name": name,
        "dataset": dataset,
        "fps": 30,
        "all_image_paths": frames,
        "annotated_image_paths": [frames[index] for index in annotated],
        "neg_category_ids": [],
        "not_exhaustive_category_ids": [],
        "track_category_ids": tracks,
        "segmentations": [
            {
                track: {"rle": encode(np.zeros(size, bool) if mask is None else mask), "is_gt": True, "score": 1.0}
                for track, mask in entries.items()
            }
            for entries in masks
        ],
    } | more


def write(root: Path, split: str, sequences: list[dict[str, Any]], names: dict[int, str] | None = None) -> Path:
    """Write an ``all_classes.json``."""
    path = root / split / "all_classes.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"sequences": sequences, "categories": categories(names), "split": split}))
    return path


def jpegs(count: int) -> list[str]:
    """Names of frames as BURST has them."""
    return [f"frame{index:04d}.jpg" for index in range(1, count + 1)]


def copy(root: Path) -> Copy:
    """See the text of the module."""
    a, b, c = (12, 20), (20, 12), (16, 9)
    first = sequence(
        "LaSOT",
        "airplane-1",
        a,
        jpegs(7),
        [0, 3, 6],
        {"1": PERSON, "2": PERSON, "3": AIRPLANE},
        [
            {"1": box(a, 0, 0, 4, 4), "3": box(a, 6, 6, 9, 12)},
            {"1": box(a, 0, 0, 4, 4), "2": box(a, 2, 2, 6, 6), "3": box(a, 6, 7, 9, 13)},
            {"2": box(a, 2, 2, 6, 6), "3": None},
        ],
    )
    second = sequence(
        "YFCC100M",
        "airplane-1",
        b,
        jpegs(2),
        [0, 1],
        {"1": CAR},
        [{"1": box(b, 1, 1, 5, 5)}, {"1": box(b, 2, 2, 6, 6)}],
    )
    third = sequence(
        "AVA",
        "side(left)",
        c,
        jpegs(4),
        [1, 2],
        {"7": DOG, "9": HAT},
        [{"7": box(c, 0, 0, 16, 2)}, {"7": None}],
        not_exhaustive_category_ids=[DOG, CAR],
    )
    last = sequence("HACS", "empty", c, jpegs(2), [0], {}, [{}])
    write(root, "val", [first, second])
    write(root, "test", [third, last])
    for index, file in enumerate(jpegs(2)):
        path = root / "frames" / "val" / "YFCC100M" / "airplane-1" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*b, 3), 90 * index, np.uint8)).save(path)
    odd = "AVA_side_left_-834b24b5"
    return Copy(
        root=root,
        clips=3,
        expressions=5,
        first=("LaSOT_airplane-1", "4", "the airplane"),
        last=(odd, "554", "the hat"),
        sizes={"LaSOT_airplane-1": a, "YFCC100M_airplane-1": b, odd: c},
        annotated=7,
        needed=("val/all_classes.json", "test/all_classes.json"),
        damaged={
            "val/all_classes.json": b"",
            "test/all_classes.json": (root / "test/all_classes.json").read_bytes()[:-40],
        },
        pictures={"YFCC100M_airplane-1": tuple(f"frames/val/YFCC100M/airplane-1/{file}" for file in jpegs(2))},
        source_ids={
            "LaSOT_airplane-1": "LaSOT/airplane-1",
            "YFCC100M_airplane-1": "YFCC100M/airplane-1",
            odd: "AVA/side(left)",
        },
    )
