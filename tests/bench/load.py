"""The load of the speed table: one Ref-VPS-sized submission in five PNG forms and as RLE.

Half of the masks are object-like blobs, half ragged like smoke; three clips of four carry Ignore. A few
clips are drawn and then repeated under new names, so that the load is as large as the real one and made
in seconds; every file is written separately.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from refvps.files import write_json_lines
from refvps.masks import bits, png, rle

SIZE = (576, 1024)
EXPRESSIONS = 4
FORMS = ("own", "1bit", "P8", "L", "cv")
PALETTE = [0, 0, 0, 128, 0, 0] + [k // 3 for k in range(6, 768)]


def field(rng: np.random.Generator, detail: float) -> np.ndarray:
    """Smooth noise [H, W] in [0, 1]; ``detail`` is the blur in pixels."""
    small = rng.random((max(2, int(SIZE[0] / detail)), max(2, int(SIZE[1] / detail)))).astype(np.float32)
    return cv2.resize(small, SIZE[::-1], interpolation=cv2.INTER_CUBIC)


def track(seed: int, frames: int) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    """Labels (0, 1, 255) per frame, and per expression the predictions of every frame."""
    rng = np.random.default_rng(seed)
    ragged = seed % 2 == 1
    broad, fine = field(rng, 160), field(rng, 10 if ragged else 60)
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]].astype(np.float32)
    labels, predictions = [], [[] for _ in range(EXPRESSIONS)]
    for t in range(frames):
        cx, cy = 300 + 3 * t, 288 + 60 * np.sin(t / 9)
        near = np.exp(-(((x - cx) / 210) ** 2 + ((y - cy) / 150) ** 2))
        level = near + 0.25 * broad + (0.5 if ragged else 0.12) * np.roll(fine, (t, 2 * t), (0, 1))
        label = (level > 0.75).astype(np.uint8)
        if seed % 4:
            label[(level <= 0.75) & (level > 0.70)] = 255
        labels.append(label)
        for e in range(EXPRESSIONS):
            predictions[e].append(np.roll(level, (3 * e, -5 * e), (0, 1)) > 0.72 + 0.03 * e)
    return labels, predictions


def encode(mask: np.ndarray, form: str) -> bytes:
    """One mask as PNG bytes in one of :data:`FORMS`."""
    if form == "own":
        return png.write_binary(bits.pack(mask), SIZE)
    if form == "cv":
        return cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()
    image = (
        Image.fromarray(mask)
        if form == "1bit"
        else Image.fromarray(mask.astype(np.uint8) * (255 if form == "L" else 1))
    )
    if form == "P8":
        image = image.convert("P")
        image.putdata(mask.astype(np.uint8).ravel())
        image.putpalette(PALETTE)
    stream = io.BytesIO()
    image.save(stream, "PNG", bits=8) if form == "P8" else image.save(stream, "PNG")
    return stream.getvalue()


def palette(label: np.ndarray) -> bytes:
    """Ground truth as the data set would ship it: 8-bit palette, 255 is Ignore."""
    image = Image.fromarray(label).convert("P")
    image.putdata(label.ravel())
    image.putpalette(PALETTE)
    stream = io.BytesIO()
    image.save(stream, "PNG", bits=8)
    return stream.getvalue()


def build(root: Path, clips: int, frames: int, forms: tuple[str, ...], drawn: int = 8) -> dict[str, float]:
    """Write ``root/source`` (a data set to register), ``root/rle`` and ``root/<form>`` trees; sizes in MB."""
    names = [f"{t:05d}" for t in range(frames)]
    cached = {}
    for seed in range(min(drawn, clips)):
        labels, predictions = track(seed, frames)
        cached[seed] = (
            [palette(label) for label in labels],
            {form: [[encode(mask, form) for mask in one] for one in predictions] for form in forms},
            [[rle.encode(mask).decode() for mask in one] for one in predictions],
        )
    sizes = dict.fromkeys(("gt", "rle", *forms), 0.0)
    records, sentences = [], []
    for c in range(clips):
        clip = f"clip{c:03d}"
        truth, trees, strings = cached[c % len(cached)]
        records.append(
            {
                "id": clip, "size": list(SIZE), "fps": 24, "frames": names, "annotated": names, "annotation_fps": 24,
                "group": clip, "split": "test", "concept": f"concept {c % 38}", "categories": ["motion patterns"],
            }
        )  # fmt: skip
        folder = root / "source" / "masks" / clip
        folder.mkdir(parents=True)
        for name, data in zip(names, truth, strict=True):
            (folder / f"{name}.png").write_bytes(data)
            sizes["gt"] += len(data) / 1e6
        lines = [
            {
                "schema": "refvps.predictions/1",
                "clip": clip,
                "size": list(SIZE),
                "frames": names,
                "benchmark": "ref-vps",
                "digest": "",
            }
        ]
        for e in range(EXPRESSIONS):
            sentences.append({"clip": clip, "id": str(e), "text": f"text {e}", "target": "1", "annotator": "a1"})
            lines.append({"expression": str(e), "counts": strings[e]})
            for form in forms:
                folder = root / form / clip / str(e)
                folder.mkdir(parents=True)
                for name, data in zip(names, trees[form][e], strict=True):
                    (folder / f"{name}.png").write_bytes(data)
                    sizes[form] += len(data) / 1e6
        (root / "rle").mkdir(exist_ok=True)
        text = "\n".join(json.dumps(line) for line in lines) + "\n"
        (root / "rle" / f"{clip}.jsonl").write_text(text)
        sizes["rle"] += len(text) / 1e6
    write_json_lines(root / "source" / "clips.jsonl", records)
    write_json_lines(root / "source" / "expressions.jsonl", sentences)
    return sizes
