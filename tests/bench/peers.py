"""What the speed table compares with: a davis2017-style loop, vos-benchmark, dense decoding, pure inflating.

Run as a process: ``peers.py KIND ROOT FORM JOBS CLIPS``; prints masks and seconds as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np


def frames_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.png"))


def davis_clip(task):
    """J (and F) of a clip as davis2017-evaluation computes it, one run per expression.

    The tool knows no expressions, so each is a run of its own that reads the ground truth again; masks
    become float64 stacks [T, H, W], are compared with a stack of ids [objects, T, H, W], and Ignore is
    removed from whole stacks.
    """
    root, form, clip, contour = task
    found = []
    for e in range(4):
        labels = davis_stack(frames_of(root / "source" / "masks" / clip))
        void = labels == 255
        labels[void] = 0
        a = davis_objects(labels)[0]
        b = davis_objects(davis_stack(frames_of(root / form / clip / str(e))) > 0)[0]
        inters = np.sum((b & a) & np.logical_not(void), axis=(-2, -1))
        union = np.sum((b | a) & np.logical_not(void), axis=(-2, -1))
        j = np.where(union == 0, 1.0, inters / np.maximum(union, 1))
        f = [davis_f(b[t], a[t], void[t]) for t in range(len(b))] if contour else []
        found.append((j, f))
    return found


def davis_stack(paths):
    """All frames of a track as float64 [T, H, W]."""
    from PIL import Image

    first = np.array(Image.open(paths[0]))
    stack = np.zeros((len(paths), *first.shape))
    for t, path in enumerate(paths):
        stack[t] = np.array(Image.open(path))
    return stack


def davis_objects(stack):
    """Binary masks [objects, T, H, W] of ids 1 to 1, by comparing with a stack of ids."""
    ids = np.ones((1, *stack.shape)) * np.arange(1, 2)[:, None, None, None]
    return (ids == stack[None, ...]) > 0


def davis_f(prediction, target, void, bound_th=0.008):
    """F of one frame as davis2017-evaluation computes it, skimage's disk and all."""
    import cv2
    from skimage.morphology import disk

    prediction, target = prediction & ~void, target & ~void
    radius = np.ceil(bound_th * np.linalg.norm(prediction.shape))
    ep, eg = davis_edge(prediction), davis_edge(target)
    dp = cv2.dilate(ep.astype(np.uint8), disk(radius).astype(np.uint8))
    dg = cv2.dilate(eg.astype(np.uint8), disk(radius).astype(np.uint8))
    n_p, n_g = np.sum(ep), np.sum(eg)
    if n_p == 0 or n_g == 0:
        return float(n_p == n_g)
    precision, recall = np.sum(ep * dg) / float(n_p), np.sum(eg * dp) / float(n_g)
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def davis_edge(seg):
    right, down, both = np.zeros_like(seg), np.zeros_like(seg), np.zeros_like(seg)
    right[:, :-1], down[:-1], both[:-1, :-1] = seg[:, 1:], seg[1:], seg[1:, 1:]
    edge = (seg ^ right) | (seg ^ down) | (seg ^ both)
    edge[-1], edge[:, -1] = seg[-1] ^ right[-1], seg[:, -1] ^ down[:, -1]
    edge[-1, -1] = False
    return edge


def vos_clip(task):
    """J and F of a clip by vos-benchmark's evaluator, per expression; it knows no Ignore."""
    root, form, clip, _ = task
    from PIL import Image
    from vos_benchmark.evaluator import Evaluator

    for e in range(4):
        vos = Evaluator()
        pairs = zip(frames_of(root / "source" / "masks" / clip), frames_of(root / form / clip / str(e)), strict=True)
        for truth, prediction in pairs:
            vos.feed_frame(
                (np.array(Image.open(prediction)) > 0).astype(np.uint8),
                (np.array(Image.open(truth)) == 1).astype(np.uint8),
            )
        vos.conclude()


def inflate_clip(task):
    """Read the same files and inflate them with zlib-ng, nothing else: the physical limit for PNG."""
    root, form, clip, _ = task
    from zlib_ng import zlib_ng

    folders = [root / "source" / "masks" / clip, *(root / form / clip / str(e) for e in range(4))]
    for folder in folders:
        for path in frames_of(folder):
            data = path.read_bytes()
            width, height, depth = int.from_bytes(data[16:20]), int.from_bytes(data[20:24]), data[24]
            at, parts = 33, []
            while data[at + 4 : at + 8] != b"IEND":
                length = int.from_bytes(data[at : at + 4])
                if data[at + 4 : at + 8] == b"IDAT":
                    parts.append(data[at + 8 : at + 8 + length])
                at += 12 + length
            raw = zlib_ng.decompress(b"".join(parts), 15, height * ((width * depth + 7) // 8 + 1) + 64)
            assert raw


def pillow_clip(task):
    """Decode the same files with Pillow, nothing else."""
    root, form, clip, _ = task
    from PIL import Image

    for folder in [root / "source" / "masks" / clip, *(root / form / clip / str(e) for e in range(4))]:
        for path in frames_of(folder):
            np.asarray(Image.open(path))


def dense_clip(task):
    """The plain way from RLE: decode prediction and target to dense arrays, then numpy."""
    root, _, clip, _ = task
    from PIL import Image
    from pycocotools import mask as coco

    labels = [np.array(Image.open(path)) for path in frames_of(root / "source" / "masks" / clip)]
    lines = [json.loads(line) for line in (root / "rle" / f"{clip}.jsonl").read_text().splitlines()]
    size = lines[0]["size"]
    for line in lines[1:]:
        for label, counts in zip(labels, line["counts"], strict=True):
            p = coco.decode({"size": size, "counts": counts}).astype(bool)
            g, v = label == 1, label != 255
            union = int(np.count_nonzero((p | g) & v))
            1.0 if union == 0 else int(np.count_nonzero(p & g & v)) / union


KINDS = {
    "davis-j": (davis_clip, False),
    "davis-jf": (davis_clip, True),
    "vos": (vos_clip, True),
    "inflate": (inflate_clip, False),
    "pillow": (pillow_clip, False),
    "dense": (dense_clip, False),
}


def main() -> None:
    kind, root, form, jobs, clips = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    names = sorted(path.name for path in (root / "source" / "masks").iterdir())[:clips]
    work, contour = KINDS[kind]
    tasks = [(root, form, name, contour) for name in names]
    frames = sum(len(frames_of(root / "source" / "masks" / name)) for name in names)
    started = time.perf_counter()
    if jobs == 1:
        for task in tasks:
            work(task)
    else:
        with get_context("spawn").Pool(jobs) as pool:
            pool.map(work, tasks, chunksize=1)
    print(json.dumps({"masks": frames * 4, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
