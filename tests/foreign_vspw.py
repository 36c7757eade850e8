"""A small VSPW in its own layout; see :func:`copy`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from importers import Copy
from PIL import Image
from trees import Labels, write_labels

ROOT = Path(__file__).resolve().parent.parent
WALL, FENCE, WINDOW, SKY, PERSON = 1, 8, 9, 29, 61
"""Labels in masks: class + 1."""

VIDEOS = {"1_one": 3, "2_two": 2, "3_three": 1, "-four": 2}
"""Frames by video of :func:`copy`."""


def labels() -> dict[str, str]:
    """The content of ``label_num_dic_final.json``; tests/test_vspw.py compares it with the real file."""
    lines = (ROOT / "annotations/expressions/vspw.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return {"others": "0"} | {row["raw"]: str(row["id"] + 1) for row in rows}


def image(size: tuple[int, int], parts: dict[int, tuple[slice, slice]], ground: int = 0) -> Labels:
    """A label image: ``ground`` everywhere, then a rectangle for each label."""
    mask = np.full(size, ground, np.uint8)
    for label, place in parts.items():
        mask[place] = label
    return mask


def write(root: Path, videos: dict[str, list[Labels]], *, modes: str = "LP", split: str = "val") -> Path:
    """Write a VSPW; frames are numbered 00000001, 00000016, ... as those of the videos are."""
    root.mkdir(parents=True, exist_ok=True)
    (root / f"{split}.txt").write_text("".join(f"{name}\n" for name in videos))
    (root / "label_num_dic_final.json").write_text(json.dumps(labels()))
    for number, (name, masks) in enumerate(videos.items()):
        for index, mask in enumerate(masks):
            stem = f"{15 * index + 1:08d}"
            write_labels(root / "data" / name / "mask" / f"{stem}.png", mask, modes[number % len(modes)])
            path = root / "data" / name / "origin" / f"{stem}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((*mask.shape, 3), 40 * index, np.uint8)).save(path)
    return root


def copy(root: Path) -> Copy:
    """Four videos.

    1_one (6x8, 3 frames, grey): wall; a window, which is no stuff; void as 0, 255 and 253, which has no meaning;
    hidden files. 2_two (8x6, 2 frames, palette): a fence on the first frame only, sky. 3_three: a person and nothing
    else, so it is left out. -four: sky everywhere.
    """
    a, b = (6, 8), (8, 6)
    top, left, corner = (slice(0, 2), slice(0, 8)), (slice(0, 6), slice(0, 2)), (slice(5, 6), slice(7, 8))
    write(
        root,
        {
            "1_one": [
                image(a, {255: top}, WALL),
                image(a, {0: left, WINDOW: top}, WALL),
                image(a, {253: corner}, WINDOW),
            ],
            "2_two": [image(b, {FENCE: (slice(0, 4), slice(0, 3))}, SKY), image(b, {}, SKY)],
            "3_three": [image((5, 5), {}, PERSON)],
            "-four": [image((4, 7), {}, SKY), image((4, 7), {}, SKY)],
        },
    )
    for name in ("._00000001.png", ".DS_Store"):
        (root / "data/1_one/mask" / name).write_bytes(b"junk")
    (root / "data/1_one/origin/._00000001.jpg").write_bytes(b"")
    good = (root / "data/1_one/mask/00000016.png").read_bytes()
    other = (root / "data/2_two/mask/00000001.png").read_bytes()
    frames = [(name, f"{15 * index + 1:08d}") for name, count in VIDEOS.items() for index in range(count)]
    ids = {"1_one": "1_one", "2_two": "2_two", "-four": "four-5a159f8a"}
    return Copy(
        root=root,
        clips=3,
        expressions=4,
        first=("1_one", "wall", "the wall"),
        last=("four-5a159f8a", "sky", "the sky"),
        sizes={"1_one": a, "2_two": b, "four-5a159f8a": (4, 7)},
        annotated=7,
        needed=("val.txt", "label_num_dic_final.json", *(f"data/{name}/mask/{stem}.png" for name, stem in frames)),
        damaged={
            "data/1_one/mask/00000016.png": b"",
            "data/1_one/mask/00000031.png": good[:-30],
            "data/2_two/mask/00000016.png": good,
            "data/1_one/mask/00000001.png": other,
            "label_num_dic_final.json": b"{",
        },
        pictures={
            clip: tuple(f"data/{name}/origin/{stem}.jpg" for video, stem in frames if video == name)
            for name, clip in ids.items()
        },
        source_ids={"1_one": "", "2_two": "", "four-5a159f8a": "-four"},
    )
