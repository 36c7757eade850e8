"""The other lists of a data set: ``candidates.jsonl``, what was found, and ``withdrawn.jsonl``, what is gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from refvps.data.manifest import MAX_MANIFEST_BYTES, records
from refvps.errors import InputError
from refvps.files import canonical_json, read_bytes

CANDIDATES = "candidates.jsonl"
WITHDRAWN = "withdrawn.jsonl"

CRITERIA = {
    "irrelevant": "not the event that was searched for",
    "static": "no significant change of the subject",
    "too-fast": "too rapid for enough non-empty frames",
    "shot-changes": "no uninterrupted clip can be cut",
    "licence": "may not be used",
    "duplicate": "found before",
}
"""Why a candidate is not kept, in the order of the funnel. The first four are the paper's (4.1)."""

COMPILATION = "compilation"
"""Criterion of a kept video that was split into several clips."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A video that a search found. ``criterion``: why it was not kept, or "compilation"; ``clips``: what it became."""

    id: str
    concept: str
    query: str
    kept: bool
    criterion: str = ""
    clips: tuple[str, ...] = ()
    category: str = ""
    platform: str = ""
    video_id: str = ""
    retrieved_at: str = ""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A clip that is no longer part of the data set, since when, and the class of the reason; never a person."""

    clip: str
    date: str
    reason: str
    withdrawn_in: str = ""


def read_candidates(path: Path) -> tuple[Candidate, ...]:
    """Read a ``candidates.jsonl``; see :func:`parse_candidates`."""
    return parse_candidates(read_bytes(path, MAX_MANIFEST_BYTES), str(path))


def parse_candidates(data: bytes, name: str = CANDIDATES, *, checked: bool = False) -> tuple[Candidate, ...]:
    """The candidates in a file; raises InputError naming every record that breaks the format or contradicts itself."""
    found: list[Candidate] = []
    seen: set[str] = set()
    owners: set[str] = set()
    wrong: list[str] = []
    for place, record in records(data, name, None if checked else "candidates"):
        candidate = Candidate(**{**record, "clips": tuple(record.get("clips", ()))})
        count = Counter(clip.lower() for clip in candidate.clips)
        taken = [clip for clip in candidate.clips if clip.lower() in owners or count[clip.lower()] > 1]
        owners |= count.keys()
        if reason := _contradiction(candidate):
            wrong.append(f"{place}: {reason}")
        elif candidate.id.lower() in seen:
            wrong.append(f"{place}: the id {candidate.id} is taken (upper and lower case count as one)")
        elif taken:
            wrong.append(f"{place}: the clip {taken[0]} is listed twice")
        seen.add(candidate.id.lower())
        found.append(candidate)
    if wrong:
        raise InputError("The list of candidates cannot be used.", where=wrong, fix="correct these records")
    return tuple(found)


def _contradiction(candidate: Candidate) -> str:
    if not candidate.kept:
        if candidate.criterion not in CRITERIA:
            return f"it was not kept: say by which criterion ({', '.join(CRITERIA)})"
        return "it was not kept, but became clips" if candidate.clips else ""
    if not candidate.clips:
        return "it was kept: name the clips it became"
    if (len(candidate.clips) > 1) != (candidate.criterion == COMPILATION):
        return f"the criterion {COMPILATION} belongs to a video that became several clips, and to no other"
    if candidate.criterion in CRITERIA:
        return f"it was kept in spite of the criterion {candidate.criterion}"
    return ""


def read_withdrawn(path: Path) -> tuple[Withdrawal, ...]:
    """Read a ``withdrawn.jsonl``; see :func:`parse_withdrawn`."""
    return parse_withdrawn(read_bytes(path, MAX_MANIFEST_BYTES), str(path))


def parse_withdrawn(data: bytes, name: str = WITHDRAWN, *, checked: bool = False) -> tuple[Withdrawal, ...]:
    """The withdrawals in a file, one a clip (the first counts); raises InputError naming every bad record."""
    found: dict[str, Withdrawal] = {}
    wrong: list[str] = []
    for place, record in records(data, name, None if checked else "withdrawn"):
        try:
            date.fromisoformat(record["date"])
        except ValueError:
            wrong.append(f"{place}: {record['date']} is no day")
        found.setdefault(record["clip"].lower(), Withdrawal(**record))
    if wrong:
        raise InputError("The list of withdrawn clips cannot be used.", where=wrong, fix="correct these records")
    return tuple(found.values())


def withdrawn_lines(withdrawals: Iterable[Withdrawal]) -> bytes:
    """The content of a ``withdrawn.jsonl``, ordered by clip."""
    lines: list[dict[str, Any]] = []
    for each in sorted(withdrawals, key=lambda each: each.clip.lower()):
        line = {"clip": each.clip, "date": each.date, "reason": each.reason}
        lines.append(line | ({"withdrawn_in": each.withdrawn_in} if each.withdrawn_in else {}))
    return b"".join(canonical_json(line) + b"\n" for line in lines)
