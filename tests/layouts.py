"""A benchmark written as others might lay it out, in four ways, each with its own names; without code of refvps.

davis: clips are called video_<id>, expressions 0, 1, ..., frames 00000. ignore-folder: clips 001, 002, ... in test/,
expressions e1, e2, ..., frames counted from 1 without zeros. coco-rle: objects counted from 0, frames frame_0001.
expression-folders: no folder Annotations, our ids. The first three need the table of aliases that is written too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from trees import encode, write_labels, write_lines

from refvps.types import Benchmark, Clip

Labels = NDArray[np.uint8]
Planes = tuple[dict[str, NDArray[np.bool_]], NDArray[np.bool_]]


def _planes(benchmark: Benchmark, clip: Clip) -> Iterator[tuple[str, Planes]]:
    """(Frame name, (target arrays, Ignore array)) of the annotated frames."""
    for name in clip.annotated:
        targets, ignore = benchmark.truth(clip.id).frame(clip.frames.index(name))
        empty = np.zeros(clip.size, np.bool_)
        arrays = {key: empty if mask is None else mask.array() for key, mask in targets.items()}
        yield name, (arrays, empty if ignore is None else ignore.array())


def _pictures(folder: Path, clip: Clip, rename: Callable[[str], str]) -> None:
    folder.mkdir(parents=True)
    for name in clip.frames:
        grey = np.full((*clip.size, 3), 10 * int(name) % 250, np.uint8)
        Image.fromarray(grey).save(folder / f"{rename(name)}.jpg")


def _labels(clip: Clip, planes: Planes, ignore: int) -> Labels:
    image = np.zeros(clip.size, np.uint8)
    for key, mask in planes[0].items():
        image[mask] = int(key)
    image[planes[1]] = ignore
    return image


def _texts(benchmark: Benchmark, clip: Clip, rename: Callable[[int], str], **objects: Any) -> dict[str, Any]:
    """``objects``: field name to a function of the target."""
    return {
        rename(number): {"exp": each.text, **{field: value(each.target) for field, value in objects.items()}}
        for number, each in enumerate(benchmark.expressions_of(clip.id))
    }


def _aliases(benchmark: Benchmark, clips: dict[str, str], rename: Callable[[int], str]) -> dict[str, Any]:
    return {
        "clips": {foreign: ours for ours, foreign in clips.items()},
        "expressions": {
            ours: {rename(number): each.id for number, each in enumerate(benchmark.expressions_of(ours))}
            for ours in benchmark.clips
        },
    }


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_davis(benchmark: Benchmark, root: Path, frames: bool = True) -> Path:
    """Layout davis, masks one folder deeper as in Annotations/480p."""
    foreign = {key: f"video_{key}" for key in benchmark.clips}
    meta: dict[str, Any] = {}
    for key, clip in benchmark.clips.items():
        for name, planes in _planes(benchmark, clip):
            write_labels(root / "Annotations" / "480p" / foreign[key] / f"{name}.png", _labels(clip, planes, 255))
        texts = _texts(benchmark, clip, str, obj_id=str)
        meta[foreign[key]] = {"frames": list(clip.frames), "expressions": texts}
        if frames:
            _pictures(root / "JPEGImages" / "480p" / foreign[key], clip, str)
    _write(root / "meta_expressions.json", {"videos": meta})
    _write(root / "aliases.json", _aliases(benchmark, foreign, str))
    return root


def write_ignore_folder(benchmark: Benchmark, root: Path, frames: bool = True) -> Path:
    """Layout ignore-folder, in test/, its sentences as Ref-YouTube-VOS keeps them."""
    foreign = {key: f"{number:03d}" for number, key in enumerate(benchmark.clips, 1)}

    def frame(name: str) -> str:
        return str(int(name) + 1)

    meta: dict[str, Any] = {}
    base = root / "test"
    for key, clip in benchmark.clips.items():
        for name, planes in _planes(benchmark, clip):
            write_labels(base / "Annotations" / foreign[key] / f"{frame(name)}.png", _labels(clip, planes, 0))
            void = planes[1].astype(np.uint8) * 255
            write_labels(base / "Ignore" / foreign[key] / f"{frame(name)}.png", void, "L")
        texts = _texts(benchmark, clip, lambda number: f"e{number + 1}", obj_id=str)
        meta[foreign[key]] = {"frames": [frame(name) for name in clip.frames], "expressions": texts}
        if frames:
            _pictures(base / "JPEGImages" / foreign[key], clip, frame)
    _write(root / "meta_expressions" / "test" / "meta_expressions.json", {"videos": meta})
    _write(root / "aliases.json", _aliases(benchmark, foreign, lambda number: f"e{number + 1}"))
    return root


def write_coco_rle(benchmark: Benchmark, root: Path, ignore: str = "id", frames: bool = True) -> Path:
    """Layout coco-rle; ``ignore``: its track is named by "id", by "key", or in a "file" of its own.

    The list of frames has the annotated ones only; the others are among the pictures.
    """

    def frame(name: str) -> str:
        return f"frame_{int(name) + 1:04d}"

    tracks: dict[str, Any] = {}
    beside: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    for key, clip in benchmark.clips.items():
        planes = [each for _, each in _planes(benchmark, clip)]
        ids = {target: str(len(tracks) + number) for number, target in enumerate(sorted(planes[0][0]))}
        for target, number in ids.items():
            tracks[number] = [_rle(each[0][target]) for each in planes]
        void = [_rle(each[1]) for each in planes]
        texts = _texts(benchmark, clip, str, obj_id=lambda t: [int(t) - 1], anno_id=lambda t, ids=ids: [int(ids[t])])
        meta[key] = {"frames": [frame(name) for name in clip.annotated], "expressions": texts}
        if ignore == "id":
            meta[key]["ignore_anno_id"] = len(tracks)
            tracks[str(len(tracks))] = void
        else:
            (tracks if ignore == "key" else beside)[f"{key}/ignore" if ignore == "key" else key] = void
        if frames:
            _pictures(root / "JPEGImages" / key, clip, frame)
    _write(root / "meta_expressions.json", {"videos": meta})
    _write(root / "mask_dict.json", tracks)
    if beside:
        _write(root / "ignore_dict.json", beside)
    aliases = _aliases(benchmark, {key: key for key in benchmark.clips}, str)
    _write(root / "aliases.json", aliases)
    return root


def _rle(mask: NDArray[np.bool_]) -> dict[str, Any] | None:
    return {"size": list(mask.shape), "counts": encode(mask)} if mask.any() else None


def write_expression_folders(
    benchmark: Benchmark, root: Path, ignore: str = "label", objects: bool = False, frames: bool = True
) -> Path:
    """Layout expression-folders; ``ignore``: as the "label" 255, or in a "folder" beside binary 0/255 masks."""
    tree = root if ignore == "label" else root / "Annotations"
    meta: dict[str, Any] = {}
    for key, clip in benchmark.clips.items():
        for name, (targets, void) in _planes(benchmark, clip):
            for each in benchmark.expressions_of(key):
                image = targets[each.target].astype(np.uint8) * (1 if ignore == "label" else 255)
                if ignore == "label":
                    image[void] = 255
                write_labels(tree / key / each.id / f"{name}.png", image, "L")
            if ignore == "folder" and void.any():
                write_labels(root / "Ignore" / key / f"{name}.png", void.astype(np.uint8), "1")
        numbers = [each.id for each in benchmark.expressions_of(key)]
        fields: dict[str, Any] = {"obj_id": str} if objects else {}
        meta[key] = {"frames": list(clip.frames), "expressions": _texts(benchmark, clip, numbers.__getitem__, **fields)}
        if frames:
            _pictures(root / "JPEGImages" / key, clip, str)
    _write(root / "meta_expressions.json", {"videos": meta})
    return root


def write_lists(benchmark: Benchmark, folder: Path) -> Path:
    """The lists of Ref-VPS: clips.jsonl and expressions.jsonl."""
    clips = [
        {
            "id": clip.id, "size": list(clip.size), "fps": clip.fps, "frames": list(clip.frames), "group": clip.group,
            "annotated": list(clip.annotated), "annotation_fps": clip.annotation_fps, "split": clip.split,
        }
        for clip in benchmark.clips.values()
    ]  # fmt: skip
    expressions = [
        {
            "clip": each.clip, "id": each.id, "text": each.text, "target": each.target, "concept": each.concept,
            "categories": list(each.categories), "annotator": each.annotator,
        }
        for each in benchmark.expressions
    ]  # fmt: skip
    write_lines(folder / "clips.jsonl", clips)
    write_lines(folder / "expressions.jsonl", expressions)
    return folder


WRITERS: dict[str, Callable[[Benchmark, Path], Path]] = {
    "davis": write_davis,
    "ignore-folder": write_ignore_folder,
    "coco-rle": write_coco_rle,
    "expression-folders": write_expression_folders,
}
