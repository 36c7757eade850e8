"""Ground truth on disk for tests: label PNGs and data sets in the form of Ref-VPS, written without refvps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

Labels = NDArray[np.uint8]


def labels(seed: int, size: tuple[int, int] = (36, 52), values: tuple[int, ...] = (1, 255)) -> Labels:
    """A label image: blobs of ``values`` on 0; every value occurs."""
    rng = np.random.default_rng(seed)
    image = np.zeros(size, np.uint8)
    for value in values:
        y, x = rng.integers(0, size[0] - 6), rng.integers(0, size[1] - 6)
        image[y : y + rng.integers(3, 12), x : x + rng.integers(3, 12)] = value
        image[rng.random(size) < 0.02] = value
    for place, value in enumerate(values):
        image[0, place] = value
    return image


def write_labels(path: Path, image: Labels, mode: str = "P") -> Path:
    """Write a label image as 8-bit palette (P), grey (L) or 1-bit PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "1":
        Image.fromarray(image > 0).save(path)
        return path
    picture = Image.fromarray(image)
    if mode == "P":
        picture = picture.convert("P")
        picture.putdata(image.ravel().tolist())
        picture.putpalette([value for index in range(256) for value in (index * 37 % 256, index * 91 % 256, 0)])
    picture.save(path)
    with Image.open(path) as written:
        assert written.mode == mode
    return path


def read_image(path: Path) -> Labels:
    """A PNG as Pillow reads it, palette by index."""
    with Image.open(path) as picture:
        return np.array(picture)


SIZE = (36, 52)


def flat(root: Path, values: tuple[int, ...] = (1, 255), videos: tuple[str, ...] = ("a", "b"), mode: str = "P") -> Path:
    """``root/<video>/<frame>.png`` with three frames each."""
    for number, video in enumerate(videos):
        for frame in range(3):
            write_labels(root / video / f"{frame:05d}.png", labels(10 * number + frame, SIZE, values), mode)
    return root


def nested(root: Path, values: tuple[int, ...] = (1,), expressions: tuple[str, ...] = ("0", "1")) -> Path:
    """``root/<video>/<expression>/<frame>.png`` with three frames each."""
    for video in ("a", "b"):
        for number, expression in enumerate(expressions):
            for frame in range(3):
                image = labels(10 * number + frame, SIZE, values)
                write_labels(root / video / expression / f"{frame}.png", image)
    return root


def encode(mask: NDArray[np.bool_]) -> str:
    """COCO RLE of a mask, by pycocotools."""
    counts: bytes = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    return counts.decode("ascii")


def write_lines(path: Path, records: list[dict[str, Any]]) -> Path:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


SIZES = {"wax-01": (36, 52), "smoke.2": (52, 36), "wave_3": (17, 29)}


def clip_records() -> list[dict[str, Any]]:
    """Three clips; the second annotated on every third frame, the third from the same video as the first."""
    return [
        {
            "id": clip,
            "size": list(size),
            "fps": 24,
            "frames": [f"{index:05d}" for index in range(7)],
            "annotated": [f"{index:05d}" for index in range(0, 7, 3 if clip == "smoke.2" else 1)],
            "annotation_fps": 8 if clip == "smoke.2" else 24,
            "group": "video-b" if clip == "smoke.2" else "video-a",
            "split": "test",
            "concept": clip.rstrip("0123456789-._"),
            "categories": ["motion patterns"],
        }
        for clip, size in SIZES.items()
    ]


def expression_records() -> list[dict[str, Any]]:
    """Two expressions a clip."""
    return [
        {"clip": clip, "id": str(k), "text": f"the {clip} {k}", "target": "1", "annotator": "ab"[k]}
        for clip in SIZES
        for k in range(2)
    ]


def write_ref_vps(
    root: Path, masks: dict[str, str] | str = "png", *, frames: bool = True, about: dict[str, str] | None = None
) -> Path:
    """A data set in the form of Ref-VPS; ``masks``: "png" or "rle", for all clips or by clip."""
    clips = clip_records()
    write_lines(root / "clips.jsonl", clips)
    write_lines(root / "expressions.jsonl", expression_records())
    if about is not None:
        (root / "benchmark.json").write_text(json.dumps(about))
    for number, clip in enumerate(clips):
        images = {name: truth(number, int(name), tuple(clip["size"])) for name in clip["annotated"]}
        form = masks if isinstance(masks, str) else masks[clip["id"]]
        if form == "png":
            for name, image in images.items():
                write_labels(root / "masks" / clip["id"] / f"{name}.png", image, "P" if int(name) % 2 else "L")
        else:
            head = {"schema": "refvps.masks/1", "clip": clip["id"], "size": clip["size"], "frames": clip["annotated"]}
            target = {"target": "1", "counts": [encode(image == 1) for image in images.values()]}
            ignore = {"ignore": True, "counts": [encode(image == 255) for image in images.values()]}
            write_lines(root / "masks" / f"{clip['id']}.jsonl", [head, target, ignore])
        for name in clip["frames"] if frames else ():
            path = root / "frames" / clip["id"] / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((*clip["size"], 3), 30 * int(name), np.uint8)).save(path)
    return root


def truth(clip: int, frame: int, size: tuple[int, ...]) -> Labels:
    """The label image of a frame of :func:`write_ref_vps`; frame 0 is empty, the third clip has no Ignore."""
    if frame == 0:
        return np.zeros((size[0], size[1]), np.uint8)
    return labels(100 * clip + frame, (size[0], size[1]), (1,) if clip == 2 else (1, 255))
