"""Joining the frame names of a prediction with those of a clip, and naming shifts in numbering."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from refvps.archive import shown
from refvps.predictions.problems import Findings
from refvps.types import Clip

NEARLY_ALL = 0.9
"""Share of annotated frames that must be missing before names without a rule are called a shift."""

MAX_GUESSES = 50
"""Strangers for which a likely name is looked up."""

_NUMBER = re.compile(r"(.*?)(\d+)", re.DOTALL)
_LONGEST = 18  # digits; longer ones are no frame numbers


@dataclass(frozen=True, slots=True)
class Join:
    """Frame names of one expression against the clip's.

    ``missing``: annotated frames without a prediction, in clip order; ``surplus``: names the clip does
    not have, sorted; ``shift``: how the names seem to be numbered, '' where they are not shifted.
    """

    missing: tuple[str, ...]
    surplus: tuple[str, ...]
    shift: str = ""


class FrameNames:
    """The frame names of one clip, ready for joining. ``absent``: annotated frames on which the target of an
    expression is not annotated, by expression id."""

    def __init__(self, clip: Clip, absent: Mapping[str, frozenset[str]] | None = None) -> None:
        self.index = {name: index for index, name in enumerate(clip.frames)}
        self.frames = clip.frames
        self.annotated = clip.annotated
        self.wanted = frozenset(clip.annotated)
        self.absent = absent or {}

    def join(self, names: Iterable[str], expression: str = "") -> Join:
        """Compare the names of a prediction with the clip's; order and place of files play no part."""
        found = frozenset(names)
        absent = self.absent.get(expression, frozenset())
        annotated = tuple(name for name in self.annotated if name not in absent)
        missing = tuple(name for name in annotated if name not in found)
        surplus = tuple(sorted(found.difference(self.index), key=natural))
        shift = self._shift(sorted(found, key=natural), annotated, missing) if missing and surplus else ""
        return Join(missing, surplus, shift)

    def _shift(self, found: Sequence[str], annotated: Sequence[str], missing: Sequence[str]) -> str:
        for wanted in (annotated, self.frames):
            if len(found) == len(wanted):
                reason = _numbering(found, wanted)
                if reason or len(missing) >= NEARLY_ALL * len(annotated):
                    span = f"{_span(found)} for {_span(wanted)}"
                    return f"{reason or 'frames have other names'}: {span}"
        return ""


def natural(name: str) -> tuple[str, int, str]:
    """Sort key that orders numbers by value: "frame_9" before "frame_10"."""
    match = _NUMBER.fullmatch(name)
    if match is None or len(match[2]) > _LONGEST:
        return (name, -1, name)
    return (match[1], int(match[2]), name)


def _span(names: Sequence[str]) -> str:
    first, last = shown(names[0], 40), shown(names[-1], 40)
    return first if len(names) == 1 else f"{first}..{last}"


def _numbering(found: Sequence[str], wanted: Sequence[str]) -> str:
    """The rule that turns every wanted name into the found one, in words; '' when there is none."""
    ours, theirs = [natural(name) for name in wanted], [natural(name) for name in found]
    if min(number for _, number, _ in (*ours, *theirs)) < 0 or len({prefix for prefix, _, _ in theirs}) > 1:
        return ""
    a, b = [number for _, number, _ in ours], [number for _, number, _ in theirs]
    if a == b:
        if theirs[0][0] != ours[0][0]:
            return f"frames are named {shown(found[0], 40)} instead of {wanted[0]}"
        return (
            "frames are numbered without padding" if len(found[0]) < len(wanted[0]) else "frames are padded otherwise"
        )
    offset = b[0] - a[0]
    if all(y - x == offset for x, y in zip(a, b, strict=True)):
        return f"frames look numbered from {b[0]} instead of {a[0]}"
    steps = {y - x for x, y in itertools.pairwise(b)}
    own = {y - x for x, y in itertools.pairwise(a)}
    if len(steps) == 1 and len(own) == 1:
        return f"frames look numbered with a step of {steps.pop()} instead of {own.pop()}"
    if len(steps) == 1:
        return f"frames look numbered from {b[0]} with a step of {steps.pop()}"
    return ""


def report_frames(
    names: FrameNames, found: Collection[str], clip: str, expressions: Sequence[str], findings: Findings
) -> None:
    """Report missing and surplus frames of expressions that share one list of frames, ``found``."""
    joins: dict[frozenset[str] | None, Join] = {}
    for expression in expressions:
        absent = names.absent.get(expression)
        join = joins[absent] = joins.get(absent) or names.join(found, expression)
        place = f"{clip}/{expression}"
        if join.shift:
            findings.add("numbering", f"{place}: {join.shift}", fix=f"rename the files in their order; {join.shift}")
            continue
        findings.extend("missing-frame", [f"{place}/{name}" for name in join.missing])
        findings.extend("surplus-frame", [f"{place}/{name}" for name in join.surplus])


def report_strangers(names: Sequence[str], missing: Collection[str], where: str, findings: Findings) -> None:
    """Report expressions that the clip does not have, with the one each was probably meant to be."""
    for position, name in enumerate(names):
        guess = near(name, missing) if position < MAX_GUESSES else ""
        hint = f" (did you mean {guess}?)" if guess else ""
        findings.add("surplus-expression", f"{shown(where)}: {shown(name, 60)}{hint}")


def near(name: str, candidates: Collection[str]) -> str:
    """The one of the names that ``name`` was probably meant to be, or ''."""
    plain = {re.sub(r"[^a-z0-9]", "", each.lower()): each for each in candidates}
    folded = re.sub(r"[^a-z0-9]", "", name.lower())
    if folded in plain:
        return plain[folded]
    stripped = {re.sub(r"\D", "", each).lstrip("0"): each for each in candidates if each.isdigit()}
    if name.isdigit() and name.lstrip("0") in stripped:
        return stripped[name.lstrip("0")]
    close = difflib.get_close_matches(name[:200], list(candidates), 1, 0.8)
    return close[0] if close else ""
