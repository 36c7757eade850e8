"""Predictions made from the ground truth: ceilings and checks, never predictors.

They say what a benchmark rewards: how far one still mask gets (``static``), the first mask (``copy-first``),
boxes (``box``), a late answer (``shift``), the average place of everything in the other videos
(``mean-mask``). ``gt`` must score 1 everywhere. Their results are named
``oracle-...`` and carry ``oracle: true`` in the options of their method.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from baselines.oracles.prior import mean_masks
from baselines.oracles.still import static_mask
from baselines.oracles.truth import Masks, TargetTruth, target_truth
from refvps.errors import InputError, UsageError
from refvps.files import canonical_json, read_json, sha256, write_atomic
from refvps.types import Benchmark, Clip

ORACLES = {
    "gt": "the ground truth itself: scores 1, Ignore or not",
    "copy-first": "the first mask that is not empty, on every frame",
    "static": "one mask for all frames, the best that was found (a lower bound of the best there is)",
    "box": "the bounding box of every mask, filled",
    "shift": "the ground truth k frames late (--shift k; a negative k is early)",
    "mean-mask": "one mask for all of a clip: where targets of the other videos are, at the best threshold there",
}
"""Name to what it answers."""


def write_oracle(name: str, benchmark: Benchmark, out: Path, *, shift: int = 1, force: bool = False) -> Path:
    """Write the answers of an oracle to a whole benchmark: ``out/<clip>.jsonl`` and ``out/run.json``.

    ``run.json`` comes first, so whatever is interrupted is an oracle's and can be done again. Raises UsageError for
    an unknown name and for a folder that holds something else; ``force`` discards the answers of another run there.
    """
    if name not in ORACLES:
        raise UsageError("There is no such oracle.", where=[repr(name)], fix=f"one of {', '.join(ORACLES)}")
    options: dict[str, Any] = {"oracle": True, **({"shift": shift} if name == "shift" else {})}
    method = {
        "name": f"oracle-{name}" + (f"-{shift}" if name == "shift" else ""),
        "version": "1", "weights_sha256": "", "options": options, "licence": "Apache-2.0", "url": "",
        "training_data": "the ground truth of the benchmark itself"
        + (", of the other videos" if name == "mean-mask" else ""),
    }  # fmt: skip
    about = {"name": benchmark.name, "version": benchmark.version, "digest": benchmark.digest}
    record = {"schema": "refvps.run/1", "method": method, "seed": 0, "oracle": True, "benchmark": about}
    record["key"] = sha256(canonical_json([method["name"], method["version"], options, about]))
    _claim(out, record["key"], {f"{clip}.jsonl" for clip in benchmark.clips}, force)
    write_atomic(out / "run.json", canonical_json({**record, "timings": {}}) + b"\n")
    answer = _answers(name, benchmark, shift)
    for clip in benchmark.clips.values():
        if expressions := benchmark.expressions_of(clip.id):
            _write_clip(out, benchmark, clip, {each.id: each.target for each in expressions}, answer)
    return out


def _claim(out: Path, key: object, clips: Collection[str], force: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError("The output is not a folder.", where=[str(out)], fix="name another with --out")
    there = {entry.name for entry in out.iterdir()}
    if not there or ("run.json" in there and _key(out / "run.json") == key):
        return
    if not force:
        raise UsageError(
            "The output folder holds something else.", where=[str(out)], fix="name another with --out, or use --force"
        )
    for name in sorted(there):
        if _RUN_FILE.fullmatch(name):
            (out / name).unlink()
    for name in sorted(there & set(clips)):
        (out / name).unlink()


def _key(path: Path) -> object:
    try:
        record = read_json(path)
    except InputError:
        return None
    return record.get("key") if isinstance(record, dict) else None


_RUN_FILE = re.compile(r"run(\.[0-9]+-of-[0-9]+)?\.json")

Answer = Callable[[Clip, TargetTruth], Iterator[Masks]]
"""From the ground truth of a target to one mask [H, W] per annotated frame."""


def _answers(name: str, benchmark: Benchmark, shift: int) -> Answer:
    if name == "mean-mask":
        prior = mean_masks(benchmark)
        return lambda clip, truth: _still(prior(clip), truth)
    if name == "static":
        return lambda clip, truth: _still(static_mask(truth), truth)
    plain: Mapping[str, Answer] = {
        "gt": lambda clip, truth: (truth.target(index) for index in range(len(truth))),
        "copy-first": lambda clip, truth: _still(first_mask(truth), truth),
        "box": lambda clip, truth: (box_of(truth.target(index)) for index in range(len(truth))),
        "shift": lambda clip, truth: (
            truth.target(min(max(index - shift, 0), len(truth) - 1)) for index in range(len(truth))
        ),
    }
    return plain[name]


def _still(mask: Masks, truth: TargetTruth) -> Iterator[Masks]:
    return (mask for _ in range(len(truth)))


def first_mask(truth: TargetTruth) -> Masks:
    """The first mask that is not empty, or an empty one."""
    for index in range(len(truth)):
        if (mask := truth.target(index)).any():
            return mask
    return np.zeros(truth.size, bool)


def box_of(mask: Masks) -> Masks:
    """The bounding box of a mask, filled; an empty mask stays empty."""
    box = np.zeros_like(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows):
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box


def _write_clip(out: Path, benchmark: Benchmark, clip: Clip, targets: Mapping[str, str], answer: Answer) -> None:
    """Write the canonical file of a clip; frames without ground truth, which nobody scores, get an empty mask."""
    head = {
        "schema": "refvps.predictions/1", "clip": clip.id, "size": list(clip.size), "frames": list(clip.frames),
        "benchmark": benchmark.name, "digest": benchmark.digest,
    }  # fmt: skip
    empty = _rle(np.zeros(clip.size, bool))
    tracks: dict[str, list[str]] = {}
    for target in dict.fromkeys(targets.values()):
        truth, positions = target_truth(benchmark, clip, target)
        counts = [empty] * len(clip.frames)
        last: tuple[Masks, str] | None = None
        for position, mask in zip(positions, answer(clip, truth), strict=True):
            if last is None or last[0] is not mask:
                last = mask, _rle(mask)
            counts[position] = last[1]
        tracks[target] = counts
    lines = [head, *({"expression": name, "counts": tracks[target]} for name, target in targets.items())]
    write_atomic(out / f"{clip.id}.jsonl", b"".join(canonical_json(line) + b"\n" for line in lines))


def _rle(mask: Masks) -> str:
    counts: bytes = coco.encode(np.asfortranarray(mask.view(np.uint8)))["counts"]
    return counts.decode("ascii")
