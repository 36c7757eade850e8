"""What there is to say about a result, a clip, an expression or a frame, as plain JSON.

:mod:`refvps.report.explain.text` puts it in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from refvps.metrics import METRICS
from refvps.report.explain import arithmetic
from refvps.report.explain.arithmetic import Frame
from refvps.report.explain.derivation import Key, Opened, Step, climb
from refvps.report.explain.places import clip_of

SHOWN = 5
"""Clips shown from either end of a ranking."""

Facts = dict[str, Any]


def of_result(opened: Opened) -> Facts:
    """The means of the benchmark, and its worst and best clips by the first metric."""
    first = opened.rules.metrics[0]
    clips = [_clip_row(opened, entry.id) for entry in opened.counts.clips]
    worse = -1 if METRICS[first].better == "lower" else 1
    ranked = sorted(
        (row for row in clips if row["values"][first] is not None),
        key=lambda row: (worse * row["values"][first], row["clip"]),
    )
    whole = len(ranked) <= 2 * SHOWN
    return {
        **_head(opened),
        "steps": {name: [_step(climb_top(opened, name))] for name in opened.rules.metrics},
        "clips": len(clips),
        "worst": ranked if whole else ranked[:SHOWN],
        "best": [] if whole else ranked[-SHOWN:],
        "undefined": [row["clip"] for row in clips if row["values"][first] is None],
    }


def climb_top(opened: Opened, name: str) -> Step:
    """The last mean of :func:`~refvps.report.explain.derivation.climb`, which is the same from every row."""
    return climb(opened, next(iter(opened.held)), name)[-1]


def of_clip(opened: Opened, clip: str) -> Facts:
    """The rows of one clip."""
    rows = []
    for key in (each for each in opened.held if each[0] == clip):
        said, track = opened.stated(key), opened.tracks[opened.held[key]]
        rows.append(
            {
                "expression": key[1],
                "target": key[2],
                "prediction": opened.held[key][1],
                "text": _entry(opened, key).text,
                "frames": len(track.frames),
                "missing": track.missing,
                "values": {name: opened.values[name][key] for name in opened.rules.metrics},
                "stated": None if said is None else dict(said),
                "spark": list(track.j),
            }
        )
    first = next((each for each in opened.held if each[0] == clip), None)
    return {**_head(opened), "clip": _clip(opened, clip), "rows": rows, "steps": _steps(opened, first)}


def of_expression(opened: Opened, key: Key, names: Sequence[str] | None) -> Facts:
    """Every scored frame of one expression, and how its metrics follow."""
    track = opened.tracks[key]
    return {
        **_head(opened),
        "clip": _clip(opened, key[0]),
        "expression": _expression(opened, key),
        "frames": [_frame(frame, j, names) for frame, j in zip(track.frames, track.j, strict=True)],
        "metrics": {name: list(arithmetic.metric(name, track).lines) for name in opened.rules.metrics},
        "steps": _steps(opened, opened.row_of(key)),
    }


def of_frame(opened: Opened, key: Key, position: int, names: Sequence[str] | None, note: str = "") -> Facts:
    """One frame: its integers, the arithmetic, its neighbours, and every mean it enters."""
    track = opened.tracks.get(key)
    order = [frame.position for frame in track.frames] if track is not None else []
    facts: Facts = {
        **_head(opened),
        "clip": _clip(opened, key[0]),
        "expression": _expression(opened, key),
        "note": note,
        "frame": {"position": position, "name": None if names is None else names[position]},
    }
    if track is None or position not in order:
        facts["frame"]["state"] = _state(opened, key, position)
        facts["frame"]["nearest"] = _nearest(order, position)
        return facts
    at = order.index(position)
    frame = track.frames[at]
    facts["frame"] |= _frame(frame, track.j[at], names)
    facts["frame"]["arithmetic"] = {"J": list(arithmetic.jaccard(frame, track.rule).lines)}
    if frame.edges is not None:
        facts["frame"]["arithmetic"]["F"] = list(arithmetic.contour(frame).lines)
        facts["frame"]["F"] = arithmetic.contour(frame).value
        facts["frame"]["boundary"] = dict(opened.counts.boundary or {})
    around = [k for k in (at - 1, at, at + 1) if 0 <= k < len(order)]
    changes = track.changes()
    facts["order"] = {"index": at, "of": len(order)}
    facts["neighbours"] = [
        {"position": order[k], "J": track.j[k], "change": changes[k - 1] if k > around[0] else None} for k in around
    ]
    facts["metrics"] = {name: list(arithmetic.metric(name, track).lines) for name in opened.rules.metrics}
    facts["steps"] = _steps(opened, opened.row_of(key))
    return facts


def _head(opened: Opened) -> Facts:
    bench = opened.counts.benchmark
    return {
        "result": str(opened.path),
        "method": opened.name,
        "benchmark": f"{bench['name']}@{bench['version']}",
        "signature": "" if opened.data is None else str(opened.data["signature"]),
        "ignore": opened.rules.ignore,
        "average": opened.rules.average,
        "protocol": opened.protocol,
        "states": opened.data is not None,
    }


def _clip(opened: Opened, name: str) -> Facts:
    entry = clip_of(opened.counts, name)
    return {
        "id": name,
        "size": list(entry.size),
        "frames": entry.frames,
        "annotated": len(entry.annotated),
        "annotation_fps": entry.annotation_fps,
        "group": entry.group,
    }


def _entry(opened: Opened, key: Key) -> Any:
    return next(e for e in opened.counts.expressions if (e.clip, e.id) == key[:2])


def _expression(opened: Opened, key: Key) -> Facts:
    entry = _entry(opened, key)
    return {"id": entry.id, "text": entry.text, "target": key[2], "concept": entry.concept}


def _frame(frame: Frame, j: float, names: Sequence[str] | None) -> Facts:
    return {
        "position": frame.position,
        "name": None if names is None else names[frame.position],
        "state": "missing" if frame.missing else "scored",
        "both": frame.both,
        "prediction": frame.prediction,
        "target": frame.target,
        "prediction_ignore": frame.prediction_ignore,
        "ignore": frame.ignore,
        "edges": None if frame.edges is None else list(frame.edges),
        "J": j,
    }


def _state(opened: Opened, key: Key, position: int) -> str:
    """Why a frame is not in a track."""
    if position not in clip_of(opened.counts, key[0]).annotated:
        return "not annotated" + (", or not scored by the protocol" if opened.protocol else "")
    if opened.protocol:
        return "left out by the protocol: neither the object nor a prediction was seen before"
    return "this target is not annotated"


def _nearest(order: Sequence[int], position: int) -> list[int]:
    return [
        *[at for at in order if at < position][-1:],
        *[at for at in order if at > position][:1],
    ]


def _steps(opened: Opened, row: Key | None) -> Facts:
    """Every metric of a row up to the benchmark; no step for a pair that is scored in no row."""
    return {
        name: [] if row is None else [_step(step) for step in climb(opened, row, name)] for name in opened.rules.metrics
    }


def _step(step: Step) -> Facts:
    return {**asdict(step), "members": [list(member) for member in step.members], "same": step.same}


def _clip_row(opened: Opened, clip: str) -> Facts:
    """Means of one clip over its expressions, and the worst of them by the first metric."""
    keys = [key for key in opened.held if key[0] == clip]
    first = opened.values[opened.rules.metrics[0]]
    defined = [(value, key) for key in keys if (value := first[key]) is not None]
    means = {
        name: arithmetic.average([value for key in keys if (value := opened.values[name][key]) is not None])
        for name in opened.rules.metrics
    }
    worst = (max if METRICS[opened.rules.metrics[0]].better == "lower" else min)(defined, default=None)
    return {
        "clip": clip,
        "values": means,
        "worst": None if worst is None else {"expression": worst[1][1], "value": worst[0]},
        "frames": max((len(opened.tracks[opened.held[key]].frames) for key in keys), default=0),
    }
