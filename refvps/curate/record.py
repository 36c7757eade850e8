"""The record of a review: what was found, what is proposed, and room for a person's decisions."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from refvps import __version__
from refvps.curate.padding import Padding
from refvps.curate.review import Review
from refvps.curate.shots import Shot
from refvps.curate.split import edit
from refvps.curate.stillness import Motion
from refvps.errors import InputError, UsageError
from refvps.files import read_json, write_atomic

SCHEMA = "refvps.curation/1"


ABOUT = ("shots", "static", "fast", "crop", "outro")
"""What proposals can be about."""


def proposals(review: Review, about: str = "") -> list[dict[str, Any]]:
    """What a person is asked, one question each; ``accepted`` is None until answered.

    ``about`` (of :data:`ABOUT`) limits them; trims of all kinds come together unless it is "outro".

    ``kind``: "trim" (one clip, shorter than the video), "split" (several clips, one group), "crop", "reject" (with
    the paper's criterion) or "look" (nothing follows by itself).
    """
    found: list[dict[str, Any]] = []
    clips, whole = review.clips, len(review.survey)
    if not clips:
        reason = f"no shot lasts {review.thresholds.clip_seconds:g} s"
        found.append({"kind": "reject", "criterion": "shot-changes", "reason": reason})
    elif len(clips) > 1:
        cut = [_times(review, index) for index in range(len(clips))]
        found.append({"kind": "split", "criterion": "compilation", "clips": cut, "reason": f"{len(clips)} shots"})
    elif clips[0].stop - clips[0].first < whole:
        found.append({"kind": "trim", **_times(review, 0), "reason": "; ".join(_why(review)) or "shot changes"})
    if about == "outro":
        found = _trims(review)
    elif about not in ("", "shots"):
        found = []
    for index, pad in enumerate(review.paddings if about in ("", "crop") else ()):
        if pad.kind != "none":
            kind, reason = (
                ("crop", "padding") if pad.kind == "still" else ("look", "bands that copy the middle, blurred")
            )
            where = f"{reason}: {', '.join(pad.sides)}"
            found.append({"kind": kind, "clip": index, "box": list(pad.box), "reason": where})
    for index, moved in enumerate(review.motions):
        for criterion, reason in _verdicts(moved, review):
            if about not in ("", {"static": "static", "too-fast": "fast"}[criterion]):
                continue
            found.append({"kind": "reject", "clip": index, "criterion": criterion, "reason": reason})
        for run in moved.frozen if about in ("", "static") else ():
            reason = f"one picture for {float(run.seconds):.2f} s"
            found.append({"kind": "look", "clip": index, **_span(run), "reason": reason})
    for each in review.boundaries:
        if each.kind != "cut" and about in ("", "shots", "fast"):
            reason = "a flash, or a cut there and back" if each.kind == "flash?" else "a dissolve, or a fast change"
            found.append({"kind": "look", "frame": each.frame, "seconds": str(each.seconds), "reason": reason})
    return [each | {"accepted": None} for each in found]


def record(review: Review, about: str = "") -> dict[str, Any]:
    """The review as JSON, with all its proposals or those about one thing.

    Times are exact fractions of seconds on the clock of the file.
    """
    video, found = review.survey.video, review.survey
    return {
        "schema": SCHEMA,
        "about": about or "all",
        "file": review.path.name,
        "sha256": review.sha256,
        "size": list(video.size),
        "rotation": video.rotation,
        "frames": len(found),
        "start": str(found.at(0)),
        "end": str(found.end),
        "tool": f"refvps {__version__}",
        "engine": review.engine,
        "thresholds": asdict(review.thresholds),
        "boundaries": [
            {
                "kind": each.kind,
                "frame": each.frame,
                "stop": each.stop,
                "seconds": str(each.seconds),
                "change": each.change,
            }
            for each in review.boundaries
        ],
        "shots": [_span(shot) for shot in review.shots],
        "cards": [{"place": card.place, **_span(card.part), "reasons": list(card.reasons)} for card in review.cards],
        "frozen": [_span(run) for run in review.frozen],
        "clips": [_clip(review, index) for index in range(len(review.clips))],
        "proposals": proposals(review, about),
        "decided_by": None,
        "decided_at": None,
    }


def write_record(content: dict[str, Any], path: Path, *, force: bool = False) -> bool:
    """Write a record; False when the same stands there already, whatever was decided in it.

    Raises, without ``force``, UsageError for a file in which someone decided about other proposals, and InputError
    for one that is no such record.
    """
    if path.exists() and not force:
        there = read_record(path)
        if _undecided(there) == content:
            return False
        if _undecided(there) != there:
            raise UsageError(
                "Someone decided about other proposals here.",
                where=[str(path)],
                fix="keep that file elsewhere, write to another --out, or pass --force to lose the decisions",
            )
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text.encode("utf-8") + b"\n")
    return True


def read_record(path: Path) -> dict[str, Any]:
    """Read a record, with whatever was decided in it; raises InputError for anything else."""
    import jsonschema

    content = read_json(path)
    schema = read_json(Path(__file__).with_name("curation-1.json"))
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(content))
    if error is not None:
        place = "/".join(map(str, error.absolute_path)) or "the record"
        raise InputError(
            "This is not a record of proposals.",
            where=[f"{path}: {place}: {error.message}"[:300]],
            fix="move it, or let refvps curate write a new one with --force",
        )
    found: dict[str, Any] = content
    return found


def _undecided(content: dict[str, Any]) -> dict[str, Any]:
    """A record as it was before anybody decided."""
    asked = [each | {"accepted": None} for each in content["proposals"]]
    return content | {"proposals": asked, "decided_by": None, "decided_at": None}


def _clip(review: Review, index: int) -> dict[str, Any]:
    line: dict[str, Any] = _span(review.clips[index])
    moved = review.motions[index]
    line["motion"] = {"still": moved.still, "moved": moved.moved, "longest_movement": moved.events}
    if review.paddings:
        line["padding"] = _padding(review.paddings[index])
    return line


def _padding(found: Padding) -> dict[str, Any]:
    return {"kind": found.kind, "box": list(found.box), "sides": list(found.sides)}


def _span(part: Shot) -> dict[str, Any]:
    return {"first": part.first, "stop": part.stop, "start": str(part.start), "end": str(part.end)}


def _times(review: Review, index: int) -> dict[str, Any]:
    """[start, end) as the ``edit`` of a manifest has it: an end that is the video's own is None."""
    cut = edit(review, index)
    return {
        "start": None if cut.start is None else str(cut.start),
        "end": None if cut.end is None else str(cut.end),
    }


def _trims(review: Review) -> list[dict[str, Any]]:
    """One question for each card."""
    found = []
    for card, reason in zip(review.cards, _why(review), strict=True):
        start, end = (str(card.part.end), None) if card.place == "start" else (None, str(card.part.start))
        found.append({"kind": "trim", "start": start, "end": end, "reason": reason})
    return found


def _why(review: Review) -> list[str]:
    words = {"start": "title card", "end": "end card"}
    return [f"{words[card.place]} ({', '.join(card.reasons)})" for card in review.cards]


def _verdicts(moved: Motion, review: Review) -> list[tuple[str, str]]:
    found = []
    if moved.stationary and moved.still is not None:
        found.append(("static", f"{moved.still:.0%} of its seconds change hardly anything"))
    if moved.fast:
        least = review.thresholds.fast_frames
        found.append(
            ("too-fast", f"the longest movement takes {moved.events} of at least {least} frames at 24 per second")
        )
    return found
