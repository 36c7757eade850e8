"""The masks behind one frame of a result: whether they still give its integers, and a picture of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.errors import InputError, RefvpsError, UsageError
from refvps.metrics import boundary_counts, region_counts
from refvps.predictions.submission import Submission, open_submission
from refvps.report.explain.arithmetic import Frame
from refvps.report.explain.derivation import Key, Opened
from refvps.report.explain.facts import Facts
from refvps.report.gallery import pictures
from refvps.report.sheet import Cell, SheetRow, contact_sheet
from refvps.report.table import number
from refvps.types import Benchmark, Clip

Bools = NDArray[np.bool_]

AREAS = ("|P∩G|", "|P|", "|G|", "|P∩I|", "|I|")
EDGES = ("boundary of P", "boundary of G", "boundary of P near G's", "boundary of G near P's")


@dataclass(frozen=True, eq=False)
class FrameMasks:
    """Masks of one frame, bool [H, W] or None: no target annotated, no Ignore, no prediction."""

    target: Bools | None
    ignore: Bools | None
    prediction: Bools | None


def check_clip(opened: Opened, benchmark: Benchmark, clip: str) -> Clip:
    """The clip in a benchmark on this machine; InputError when it is not the one that was counted."""
    entry = next(each for each in opened.counts.clips if each.id == clip)
    here = benchmark.clips.get(clip)
    if here is None:
        raise InputError(
            "The benchmark on this machine does not have this clip.",
            where=[f"{clip}: {benchmark.name}@{benchmark.version} ({len(benchmark.clips)} clips)"],
            fix="name the benchmark of the result with -b NAME[@VERSION] or --gt DIR",
        )
    if (here.size, len(here.frames)) != (entry.size, entry.frames):
        raise InputError(
            "The clip on this machine is not the one that was counted.",
            where=[
                f"{clip}: {here.size[1]}x{here.size[0]}, {len(here.frames)} frames; "
                f"the counts say {entry.size[1]}x{entry.size[0]}, {entry.frames} frames"
            ],
            fix="name the benchmark of the result with -b NAME[@VERSION] or --gt DIR",
        )
    return here


def remembered(opened: Opened, clip: str) -> Path | None:
    """Where the predictions of a result lay when it was made, if they still seem to lie there.

    A result may come from anyone, so its word is only taken for a zip or a folder that has something named after
    the clip; no other folder is ever searched.
    """
    inputs = {} if opened.data is None else opened.data.get("inputs", {})
    said = inputs.get("predictions") if isinstance(inputs, dict) else None
    if not isinstance(said, str) or not said or "\0" in said or len(said) > 4096:
        return None
    path = Path(said)
    beside = (f"{clip}.jsonl", f"{clip}.npz", clip, f"Annotations/{clip}", f"anno_0/{clip}")
    try:
        if path.is_file():
            return path if path.suffix.lower() in (".zip", ".jsonl", ".json", ".npz", ".npy") else None
        return path if path.is_dir() and any((path / part).exists() for part in beside) else None
    except OSError:
        return None


def read_masks(benchmark: Benchmark, submission: Submission, key: Key, position: int) -> FrameMasks:
    """The masks of one frame; InputError when one of them cannot be used."""
    clip, expression, target = key
    known = [each.id for each in benchmark.expressions_of(clip)]
    if expression not in known:
        raise UsageError(
            "The benchmark on this machine does not have this expression.",
            where=["/".join(key[:2])],
            fix="name the benchmark of the result with -b NAME[@VERSION] or --gt DIR",
        )
    targets, ignore = benchmark.truth(clip).frame(position)
    reader = submission.reader(clip)
    prediction = reader.frame(position)[expression]
    reader.problems.raise_for_errors()
    found = targets.get(target)
    return FrameMasks(*(None if mask is None else mask.array() for mask in (found, ignore, prediction)))


def differences(frame: Frame, masks: FrameMasks, boundary: Any) -> list[str]:
    """Where the masks do not give the integers of a frame, counted here on dense arrays; empty when they do.

    ``boundary``: how boundaries were counted ({"bound_th", "ignore"}), or None.
    """
    if masks.target is None:
        return ["the target is not annotated on this frame any more"]
    if masks.prediction is None:
        return [] if frame.missing else ["there is no mask for this frame any more"]
    if frame.missing:
        return ["there is a mask for this frame; the counts say there was none"]
    p, g, i = masks.prediction, masks.target, masks.ignore
    now = dict(zip(AREAS, region_counts(p, g, i), strict=True))
    said = dict(
        zip(AREAS, (frame.both, frame.prediction, frame.target, frame.prediction_ignore, frame.ignore), strict=True)
    )
    if frame.edges is not None and boundary is not None:
        rule = boundary["ignore"]
        g = g | i if rule == "target" and i is not None else g
        edges = boundary_counts(p, g, i if rule == "drop" else None, boundary["bound_th"])
        now |= dict(zip(EDGES, edges, strict=True))
        said |= dict(zip(EDGES, frame.edges, strict=True))
    return [
        f"{name}: the masks give {now[name]}, the counts hold {said[name]}" for name in said if now[name] != said[name]
    ]


def draw_frame(benchmark: Benchmark, masks: FrameMasks, facts: Facts, path: Path) -> Path:
    """Four views of one frame on one page: the frame, target with Ignore, prediction, right and wrong."""
    clip, frame, expression = facts["clip"]["id"], facts["frame"], facts["expression"]
    picture = pictures(benchmark, benchmark.clips[clip])[frame["position"]]
    name = f"frame {frame['name']}" if frame["name"] else f"frame {frame['position']}"
    gave = "no prediction" if masks.prediction is None else f"prediction, {frame['prediction']:,} pixels"
    rows = [
        SheetRow(
            f"{clip}/{expression['id']}, {name}",
            expression["text"],
            [
                Cell(picture, caption=name),
                Cell(
                    picture,
                    masks.target,
                    masks.ignore,
                    caption=f"target, {frame['target']:,} pixels; Ignore, {frame['ignore']:,}",
                ),
            ],
        ),
        SheetRow(
            "",
            "",
            [
                Cell(picture, prediction=masks.prediction, caption=gave),
                Cell(
                    picture,
                    masks.target,
                    masks.ignore,
                    masks.prediction,
                    f"right and wrong: J {number('J', frame['J'])}",
                ),
            ],
        ),
    ]
    _, *sums = (line.strip() for line in frame["arithmetic"]["J"])  # without the formula: its sign ∩ is in no font
    title = f"{facts['method']} on {facts['benchmark']}"
    contact_sheet(rows, path, title=title, subtitle=" ".join(["J", *sums]) if sums else "J = 0: no prediction")
    return path


def open_masks(opened: Opened, benchmark: Benchmark, pred: Path | None, clip: str) -> tuple[Submission | None, str]:
    """The predictions behind a result, and a note where those it remembers cannot be opened.

    ``pred`` given: exactly those, or the error that forbids it. Else where the result says they lay.
    """
    if pred is not None:
        return open_submission(pred, benchmark), ""
    path = remembered(opened, clip)
    if path is None:
        return None, ""
    try:
        return open_submission(path, benchmark), ""
    except RefvpsError as error:
        return None, f"the predictions at {path} cannot be opened: {error.what}"
