"""Masks of one clip as segmentation tools write them, without code of refvps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from trees import encode

Array = NDArray[np.bool_]
SIZE = (40, 56)


def disks(count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> list[Array]:
    """A disk that drifts and grows; a good track, in which no check finds anything."""
    y, x = np.mgrid[: size[0], : size[1]]
    random = np.random.default_rng(seed)
    start = random.uniform(0.4, 0.5, 2) * size
    return [(y - start[0] - 0.1 * k) ** 2 + (x - start[1] - 0.2 * k) ** 2 < (7 + 0.05 * k) ** 2 for k in range(count)]


def names(count: int, pattern: str = "{:05d}") -> list[str]:
    return [pattern.format(k) for k in range(count)]


def picture(path: Path, values: NDArray[np.uint8], mode: str = "P") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if mode == "P":
        image = Image.frombytes("P", (values.shape[1], values.shape[0]), values.tobytes())
        image.putpalette([(index * 37) % 256 for index in range(768)])
    image.save(path)
    return path


def labels(folder: Path, tracks: Mapping[int, Sequence[Array]], frames: Sequence[str], mode: str = "P") -> Path:
    """``<frame>.png``; later labels over earlier ones."""
    for index, frame in enumerate(frames):
        values = np.zeros(next(iter(tracks.values()))[0].shape, np.uint8)
        for label, track in tracks.items():
            values[track[index]] = label
        picture(folder / f"{frame}.png", values, mode)
    return folder


def object_folders(folder: Path, tracks: Mapping[str, Sequence[Array]], frames: Sequence[str], value: int = 1) -> Path:
    """``<object>/<frame>.png``, as SAM 2's vos_inference.py writes objects that overlap."""
    for name, track in tracks.items():
        for index, frame in enumerate(frames):
            picture(folder / name / f"{frame}.png", track[index].astype(np.uint8) * np.uint8(value))
    return folder


def rle(mask: Array) -> dict[str, Any]:
    return {"size": list(mask.shape), "counts": encode(mask)}


def entries(track: Sequence[Array]) -> list[Any]:
    """RLE per frame, null where nothing is drawn."""
    return [rle(mask) if mask.any() else None for mask in track]


def plain(mask: Array) -> dict[str, Any]:
    """An uncompressed RLE: run lengths down the columns."""
    flat = mask.reshape(-1, order="F")
    bounds = [0, *(np.flatnonzero(np.diff(flat.astype(np.int8))) + 1).tolist(), flat.size]
    runs = np.diff(bounds).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def sav(tracks: Mapping[int, Sequence[Array]], **more: Any) -> dict[str, Any]:
    """A masklet JSON of SA-V; numbers of the video are floats there, and absent objects have masks without a pixel."""
    count = len(next(iter(tracks.values())))
    height, width = next(iter(tracks.values()))[0].shape
    return {
        "video_id": "sav_1",
        "video_height": float(height),
        "video_width": float(width),
        "video_frame_count": float(4 * (count - 1) + 3),
        "masklet": [[rle(track[k]) for track in tracks.values()] for k in range(count)],
        "masklet_id": list(tracks),
        "masklet_type": ["manual" for _ in tracks],
        "masklet_first_appeared_frame": [0.0 for _ in tracks],
    } | more


def ytvis(tracks: Mapping[int, Sequence[Array]], frames: Sequence[str], clip: str, **more: Any) -> dict[str, Any]:
    height, width = next(iter(tracks.values()))[0].shape
    return {
        "videos": [
            {"id": 1, "height": height, "width": width, "file_names": [f"other/{name}.jpg" for name in frames[:1]]},
            {"id": 7, "height": height, "width": width, "file_names": [f"{clip}/{name}.jpg" for name in frames]},
        ],
        "categories": [{"id": 1, "name": "__ignore__"}, {"id": 2, "name": "smoke"}],
        "annotations": [
            {"id": number, "video_id": 7, "category_id": 2, "iscrowd": 0, "segmentations": entries(track)}
            for number, track in tracks.items()
        ],
    } | more


def manifest(
    folder: Path, clip: str, frames: Sequence[str], annotated: Sequence[str] | None = None, **more: Any
) -> Path:
    record = {
        "id": clip,
        "size": list(SIZE),
        "fps": 24.0,
        "frames": list(frames),
        "annotated": list(annotated or frames),
        "annotation_fps": 24.0,
        "group": clip,
        "split": "test",
        "concept": "drifting disk",
        "categories": ["motion patterns"],
        "source": {"licence": "CC0-1.0", "redistribution": "frames"},
    } | more
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "clips.jsonl", "a") as stream:
        stream.write(json.dumps(record) + "\n")
    return folder / "clips.jsonl"


def sentences(folder: Path, clip: str, target: str = "1") -> None:
    texts = (
        "the disk that drifts",
        "a slowly growing spot",
        "whatever moves to the right",
        "the only round thing here",
    )
    with open(folder / "expressions.jsonl", "a") as stream:
        for k, text in enumerate(texts):
            record = {"clip": clip, "id": f"e{k}", "text": f"{text} in {clip}", "target": target}
            stream.write(json.dumps(record | {"annotator": "ab"[k // 2], "slot": k % 2 + 1}) + "\n")
