"""What the lists of a data set get wrong, beyond what no reader accepts: the rules of the paper, and consistency.

``refvps annotate check`` looks at masks, too; nothing here decodes one.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from refvps.data.records.clip import ClipRecord, ExpressionRecord
from refvps.data.records.lists import Candidate, Withdrawal
from refvps.data.records.withdrawal import gone_among
from refvps.types import CATEGORIES

EXPRESSIONS, ANNOTATORS, SLOTS = 4, 2, 2
"""Per clip, annotators per clip, and expressions per annotator (paper, 4.2)."""

FPS = 24
"""Frames per second of every clip (paper, 4.2)."""

Severity = Literal["error", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a data set: a stable code, what, all places, and what to do. A note spoils no score."""

    code: str
    severity: Severity
    what: str
    where: tuple[str, ...]
    fix: str

    def __str__(self) -> str:
        more = f" and {len(self.where) - 3:,} more" if len(self.where) > 3 else ""
        return f"{self.severity}: {self.what} {'; '.join(self.where[:3])}{more}. Fix: {self.fix}"


RULES: dict[str, tuple[Severity, str, str]] = {
    "expressions": ("error", "Clips without four expressions.", "write two expressions by each of two annotators"),
    "annotators": ("error", "Clips whose expressions are not by two annotators.", "let two annotators write two each"),
    "slots": ("error", "Annotators without slots 1 and 2 for a clip.", "number the expressions of each annotator"),
    "no-slot": ("note", "Expressions without a slot.", "number the expressions of each annotator: slot 1 and 2"),
    "same-text": ("error", "Clips with the same expression twice.", "write another expression"),
    "untidy-text": ("note", "Expressions with stray blanks or unusual characters.", "write them in NFC, tidily"),
    "group-splits": ("error", "Source videos with clips in several splits.", "keep the clips of one video together"),
    "category": ("error", "Categories that are none of the five of the paper.", f"one of: {', '.join(CATEGORIES)}"),
    "no-category": ("note", "Clips without a category.", "name one or more of the five categories"),
    "no-concept": ("note", "Clips without a concept.", "name the row of the concept table"),
    "fps": ("error", "Clips that are not at 24 fps.", "extract the frames at 24 fps: refvps extract"),
    "rate": ("error", "Annotated frames that do not fit the annotation rate.", "correct annotation_fps or the list"),
    "gaps": ("note", "Annotated frames that are not evenly spaced.", "check that no frame was forgotten"),
    "cut": ("error", "Clips whose cut is not as long as their frames.", "correct edit.start and edit.end, or extract"),
    "crop": ("error", "Clips whose crop has another shape than their frames.", "correct edit.crop or size"),
    "licence": ("note", "Clips whose licence or redistribution is not known.", "look it up and record the evidence"),
    "withdrawn": ("error", "Withdrawn clips that are still listed.", "refvps purge"),
    "candidate": ("error", "Clips that no candidate became.", "add the candidate, or correct its clips"),
}
"""Severity, what is wrong and what to do, by code."""


def check(
    clips: Iterable[ClipRecord],
    expressions: Iterable[ExpressionRecord],
    *,
    candidates: Sequence[Candidate] = (),
    withdrawals: Sequence[Withdrawal] = (),
) -> tuple[Finding, ...]:
    """Every finding about a data set that follows the paper's protocol, in the order of :data:`RULES`."""
    places: dict[str, list[str]] = {code: [] for code in RULES}
    records = {record.clip.id: record for record in clips}
    said: dict[str, list[ExpressionRecord]] = {key: [] for key in records}
    for each in expressions:
        said.setdefault(each.expression.clip, []).append(each)
    for key, listed in said.items():
        _check_expressions(key, listed, places)
    for record in records.values():
        _check_clip(record, said[record.clip.id], places)
    _check_groups(records, places)
    places["withdrawn"] += sorted(gone_among(records, withdrawals))
    if candidates:
        became = {clip.lower() for candidate in candidates for clip in candidate.clips}
        places["candidate"] += [key for key in records if key.lower() not in became]
    return tuple(
        Finding(code, *RULES[code][:2], tuple(found), RULES[code][2]) for code, found in places.items() if found
    )


def _check_expressions(clip: str, listed: Sequence[ExpressionRecord], places: Mapping[str, list[str]]) -> None:
    if len(listed) != EXPRESSIONS:
        places["expressions"].append(f"{clip}: {len(listed)}")
    slots: dict[str, list[int]] = {}
    for each in listed:
        slots.setdefault(each.expression.annotator, []).append(each.slot)
    if "" in slots or len(slots) != ANNOTATORS or any(len(found) != SLOTS for found in slots.values()):
        counted = ", ".join(f"{name or '(none)'} {len(found)}" for name, found in sorted(slots.items()))
        places["annotators"].append(f"{clip}: {counted}")
    for name, found in sorted(slots.items()):
        if 0 in found:
            places["no-slot"].append(f"{clip}: {name or '(no annotator)'}")
        elif sorted(found) != list(range(1, len(found) + 1)):
            places["slots"].append(f"{clip}: {name} {', '.join(map(str, sorted(found)))}")
    texts = Counter(_folded(each.expression.text) for each in listed)
    places["same-text"] += [f"{clip}: {text!r}" for text, count in texts.items() if count > 1 and text]
    for each in listed:
        text = each.expression.text
        if text != unicodedata.normalize("NFC", text).strip() or "  " in text:
            places["untidy-text"].append(f"{clip}/{each.expression.id}")


def _check_clip(record: ClipRecord, listed: Sequence[ExpressionRecord], places: Mapping[str, list[str]]) -> None:
    clip = record.clip
    categories = {*record.categories, *(name for each in listed for name in each.expression.categories)}
    places["category"] += [f"{clip.id}: {name}" for name in sorted(categories - set(CATEGORIES))]
    if not categories:
        places["no-category"].append(clip.id)
    if not record.concept and not any(each.expression.concept for each in listed):
        places["no-concept"].append(clip.id)
    if clip.fps != FPS:
        places["fps"].append(f"{clip.id}: {clip.fps:g}")
    _check_annotated(record, places)
    edit = record.edit
    if edit.end is not None and clip.fps:
        wanted = (edit.end - (edit.start or 0)) * Fraction(str(clip.fps))
        if abs(wanted - len(clip.frames)) > 1:
            places["cut"].append(f"{clip.id}: {float(wanted):.1f} frames in the cut, {len(clip.frames)} in the list")
    if edit.crop is not None:
        width, height = edit.crop[2:]
        if abs(width * clip.size[0] - height * clip.size[1]) > max(width, height, *clip.size):
            places["crop"].append(f"{clip.id}: {width}x{height}, frames {clip.size[1]}x{clip.size[0]}")
    if not record.source.licence or not record.source.redistribution:
        places["licence"].append(clip.id)


def _check_annotated(record: ClipRecord, places: Mapping[str, list[str]]) -> None:
    clip = record.clip
    at = clip.annotated_indices()
    steps = {later - earlier for earlier, later in pairwise(at)}
    if len(steps) > 1:
        places["gaps"].append(f"{clip.id}: {min(steps)} to {max(steps)} frames apart")
    if clip.fps and clip.annotation_fps and len(at) > 1:
        span = (at[-1] - at[0]) * clip.annotation_fps / clip.fps
        if abs(span - (len(at) - 1)) > 1:
            rate = (len(at) - 1) * clip.fps / (at[-1] - at[0])
            places["rate"].append(f"{clip.id}: {rate:.2f} a second, annotation_fps says {clip.annotation_fps:g}")


def _check_groups(records: Mapping[str, ClipRecord], places: Mapping[str, list[str]]) -> None:
    splits: dict[str, set[str]] = {}
    for record in records.values():
        splits.setdefault(record.clip.group, set()).add(record.clip.split)
    places["group-splits"] += [f"{group}: {', '.join(sorted(s))}" for group, s in sorted(splits.items()) if len(s) > 1]


def _folded(text: str) -> str:
    """A text as a reader compares it: without case, outer blanks and a full stop."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(".")
