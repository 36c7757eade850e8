"""Checks of the lists of a data set: what :mod:`refvps.data.census.check` finds, and the wording of expressions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import combinations

from refvps.annotate.checks import table as t
from refvps.data.census import check as census
from refvps.data.records.clip import ClipRecord, ExpressionRecord
from refvps.data.records.lists import Candidate, Withdrawal

_KEY_OF = {
    "expressions": "X1",
    "annotators": "X1",
    "slots": "X1",
    "untidy-text": "X2",
    "same-text": "X3",
    "fps": "F2",
    "licence": "P1.licence",
    "withdrawn": "P1",
}
_ADDRESS = re.compile(r"https?://|www\.|[^\s@]+@[^\s@]+\.[a-z]|(?:^|\s)@\w", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def check_lists(
    clips: Sequence[ClipRecord],
    expressions: Sequence[ExpressionRecord],
    *,
    candidates: Sequence[Candidate] = (),
    withdrawals: Sequence[Withdrawal] = (),
) -> dict[str, list[str]]:
    """Places by check (:data:`refvps.annotate.checks.table.CHECKS`)."""
    found: dict[str, list[str]] = {}
    for finding in census.check(clips, expressions, candidates=candidates, withdrawals=withdrawals):
        key = _KEY_OF.get(finding.code) or ("L1" if finding.severity == "error" else "L2")
        words = "" if key[0] in "FP" else f" ({finding.code})"
        found.setdefault(key, []).extend(f"{place}{words}" for place in finding.where)
    for record in clips:
        _check_length(record, found)
    _check_texts(clips, expressions, found)
    return found


def _check_length(record: ClipRecord, found: dict[str, list[str]]) -> None:
    clip = record.clip
    if clip.fps and not t.MIN_SECONDS <= len(clip.frames) / clip.fps <= t.MAX_SECONDS:
        found.setdefault("F2.long", []).append(f"{clip.id}: {len(clip.frames) / clip.fps:.1f} s")
    if any(side % 2 for side in clip.size):
        found.setdefault("F1.odd", []).append(f"{clip.id}: {clip.size[1]}x{clip.size[0]}")


def _check_texts(
    clips: Sequence[ClipRecord], expressions: Sequence[ExpressionRecord], found: dict[str, list[str]]
) -> None:
    concepts = {record.clip.id: record.concept for record in clips}
    by_clip: dict[str, list[ExpressionRecord]] = {}
    by_text: dict[str, dict[str, str]] = {}
    for each in expressions:
        expression = each.expression
        by_clip.setdefault(expression.clip, []).append(each)
        words = _words(expression.text)
        concept = expression.concept or concepts.get(expression.clip, "")
        by_text.setdefault(" ".join(words), {}).setdefault(concept, f"{expression.clip}/{expression.id}")
        if reason := _untidy(expression.text, len(words)):
            found.setdefault("X2", []).append(f"{expression.clip}/{expression.id}: {reason}")
    for clip, listed in by_clip.items():
        for first, second in combinations(listed, 2):
            mine, other = (set(_words(each.expression.text)) for each in (first, second))
            shared = len(mine & other) / max(1, len(mine | other))
            if mine != other and shared > t.JACCARD:
                place = f"{clip}: {first.expression.id} and {second.expression.id}, {shared:.2f}"
                found.setdefault("X3.near", []).append(place)
    for places in by_text.values():
        if len(places) > 1:
            found.setdefault("X4", []).append(" and ".join(places.values()))


def _untidy(text: str, words: int) -> str:
    if not t.MIN_WORDS <= words <= t.MAX_WORDS:
        return f"{words} words"
    if any(unicodedata.category(character) == "Cc" for character in text):
        return "a control character"
    return "an address or a handle" if _ADDRESS.search(text) else ""


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def stray(names: Iterable[str], clips: Iterable[str]) -> dict[str, list[str]]:
    """Masks of clips that are not listed."""
    strange = sorted(set(names) - set(clips))
    return {"F4.stray": [f"masks/{name}" for name in strange]} if strange else {}
