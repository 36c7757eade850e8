"""What can be wrong with predictions: stable codes, grouped, with places and a remedy each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from refvps.archive import shown
from refvps.errors import InputError

Severity = Literal["error", "note"]

MAX_PLACES = 1000
"""Places kept per problem; the total is always exact."""

MISSING_CODES = ("missing-clip", "missing-expression", "missing-frame")
"""Problems that ``--missing zero`` turns into notes."""

LAYOUTS = (
    "<clip>.jsonl (canonical)",
    "<clip>/<expression>/<frame>.png",
    "Annotations/<clip>/<expression>/<frame>.png",
    "<clip>/pred/<expression>/<frame>.png or <clip>/<expression>/pred/<frame>.png",
    "<clip>/<frame>.png (target ids, or binary where a clip has one expression)",
    "anno_0..anno_3/<clip>/<frame>.png or anno_k/<clip>/<target>/<frame>.png",
    "<clip>.npz or <clip>/<expression>.npy",
    "one .json of RLE {clip: {expression: [RLE per frame]}}",
)
"""The accepted layouts, as messages name them."""

_ANY = "use one of these, as a folder or a .zip: " + "; ".join(LAYOUTS)
_OR_ZERO = ", or pass --missing zero"
_AGAIN = "write the file again and copy it whole"
_BINARY = "write 1-bit PNGs, or 8-bit grey PNGs of 0 and 255 only"

KINDS: dict[str, tuple[str, str]] = {
    "layout": ("No predictions were recognised.", _ANY),
    "nesting": (
        "The predictions lie too deep.",
        "give the folder that holds the clips, or zip from inside it (cd FOLDER && zip -r ../preds.zip .)",
    ),
    "duplicate": (
        "There is more than one prediction for the same thing.",
        "keep one form and one copy of every clip, expression and frame",
    ),
    "header": (
        "A header or run file disagrees with the benchmark.",
        "check --benchmark and its version, or predict again",
    ),
    "json": ("JSON that cannot be used.", "write it again: UTF-8, no NaN, no key twice, lists where lists belong"),
    "missing-clip": (
        "Clips without a prediction.",
        "predict these clips" + _OR_ZERO + " to count them as zero",
    ),
    "missing-expression": (
        "Expressions without a prediction.",
        "predict these expressions" + _OR_ZERO + " to count them as zero",
    ),
    "missing-frame": (
        "Annotated frames without a mask.",
        "write a mask for every annotated frame (an empty one where nothing is seen)" + _OR_ZERO,
    ),
    "numbering": (
        "Frame names do not match, but their number does.",
        "rename the files to the benchmark's frame names",
    ),
    "size": ("Masks of the wrong size.", "write masks at the size of the clip's frames; nothing is resized here"),
    "rgb": ("Masks in colour.", _BINARY),
    "rgba": ("Masks with an alpha channel.", _BINARY),
    "16-bit": ("Masks with 16 bits per pixel.", _BINARY),
    "soft": ("Soft masks (more than two values).", "threshold them yourself, then " + _BINARY),
    "non-binary": ("Masks that are not binary.", _BINARY),
    "nan": ("Arrays that hold NaN.", "threshold the mask yourself and save it as bool"),
    "grey-ids": (
        "Grey masks that seem to hold target ids.",
        "save id masks as palette PNGs (mode P), or one binary PNG per expression",
    ),
    "unknown-id": (
        "Id masks with values that are no target of the clip.",
        "write 0 for background and each target's own id, nothing else",
    ),
    "jpeg": ("Masks stored as JPEG.", "write PNGs: JPEG changes the values of a mask"),
    "format": ("Masks in a file format that is not read.", _BINARY),
    "truncated": ("Files that are cut off.", _AGAIN),
    "corrupt": ("Files that are damaged.", _AGAIN),
    "unreadable": ("Files that cannot be read.", "check the file, its size and its permissions"),
    "array": ("Arrays of the wrong shape or type.", "save bool or uint8 (0 and 1) arrays [frames, height, width]"),
    "rle": (
        "RLE that cannot be used.",
        "write one compressed COCO RLE string per frame (pycocotools.mask.encode); an empty mask has one too",
    ),
    "surplus-clip": (
        "Clips that the benchmark does not have; they are ignored.",
        "check the names, if they were meant to count",
    ),
    "surplus-expression": (
        "Expressions that the benchmark does not have; they are ignored.",
        "check the names, if they were meant to count",
    ),
    "surplus-frame": (
        "Frames that the clip does not have; they are ignored.",
        "check the names, if they were meant to count",
    ),
    "surplus-file": ("Files that are no predictions; they are ignored.", ""),
    "junk": ("Files left behind by an operating system; they are ignored.", ""),
    "digest": (
        "Predictions made for another version of the benchmark.",
        "check that clips, frames and expressions did not change, or predict again",
    ),
}
"""Code to (what, fix). Codes are stable; the order here is the order of reports."""

UNSCORED = " On frames that are not annotated, which are never scored."
"""Added to ``what`` of a fault that is a note because of its frame."""

NOTES = frozenset({"surplus-clip", "surplus-expression", "surplus-frame", "surplus-file", "junk", "digest"})
"""Codes that are notes unless a place says otherwise."""

_RANK = {code: rank for rank, code in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class Problem:
    """Everything that is wrong in one way. ``where``: the first places in benchmark order, of ``total``."""

    code: str
    severity: Severity
    what: str
    where: tuple[str, ...]
    total: int
    fix: str

    def line(self) -> str:
        """One line: what, how often, the first place."""
        first = f" ({self.where[0]}{', ...' if self.total > 1 else ''})" if self.where else ""
        return f"{self.code}: {self.what} {self.total:,}{first}"

    def text(self) -> str:
        """What, how often, the first three places and the fix, on several lines."""
        count = f" {self.total:,} in all." if self.total > 1 else ""
        lines = [f"{self.severity} [{self.code}] {self.what}{count}"]
        lines += [f"  at {place}" for place in self.where[:3]]
        if self.total > 3:
            lines.append(f"  and {self.total - min(3, len(self.where)):,} more")
        if self.fix:
            lines.append(f"  Fix: {self.fix}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Report:
    """Problems, one per code and severity, errors first. ``demoted`` codes are notes, also after a merge."""

    problems: tuple[Problem, ...] = ()
    demoted: frozenset[str] = frozenset()

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that forbid scoring."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def notes(self) -> tuple[Problem, ...]:
        """The problems that do not."""
        return tuple(problem for problem in self.problems if problem.severity == "note")

    @property
    def ok(self) -> bool:
        """True when there is no error."""
        return not self.errors

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of the errors."""
        return tuple(problem.code for problem in self.errors)

    @staticmethod
    def merge(reports: Iterable[Report]) -> Report:
        """One report of several; give them in benchmark order. Demotions hold for all of them."""
        reports = list(reports)
        demoted = frozenset[str]().union(*(report.demoted for report in reports))
        return _grouped((problem for report in reports for problem in report.problems), demoted)

    def demote(self, codes: Iterable[str]) -> Report:
        """The same with the problems of these codes as notes: ``report.demote(MISSING_CODES)``."""
        return _grouped(self.problems, self.demoted | frozenset(codes))

    def raise_for_errors(self, subject: str = "The predictions", *, whole: bool = False) -> None:
        """Raise InputError (exit code 4) that lists every error with its places and fix, if there is one.

        ``whole``: only complete predictions will do, so that ``--missing zero`` is not named as a way out.
        """
        errors = self.errors
        if whole:
            errors = tuple(replace(each, fix=each.fix.partition(_OR_ZERO)[0]) for each in errors)
        if errors:
            kinds = "an error" if len(errors) == 1 else f"errors of {len(errors)} kinds"
            hints = [note for note in self.notes if note.code.startswith("surplus-")]  # a misspelt name is in both
            told = [each.text() for each in (*errors, *hints)]
            raise InputError("\n".join([f"{subject} cannot be used: {kinds}.", *told]))

    def text(self) -> str:
        """The whole report for a terminal."""
        return "\n".join(problem.text() for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """The whole report for ``--json``."""
        return {
            "ok": self.ok,
            "errors": sum(problem.total for problem in self.errors),
            "notes": sum(problem.total for problem in self.notes),
            "problems": [
                {
                    "code": problem.code,
                    "severity": problem.severity,
                    "what": problem.what,
                    "total": problem.total,
                    "where": list(problem.where),
                    "fix": problem.fix,
                }
                for problem in self.problems
            ],
        }


def _grouped(problems: Iterable[Problem], demoted: frozenset[str]) -> Report:
    found: dict[tuple[bool, int], Problem] = {}
    for problem in problems:
        if problem.code in demoted:
            problem = replace(problem, severity="note")
        key = (problem.severity != "error", _RANK[problem.code])
        first = found.get(key)
        if first is not None:
            where = (*first.where, *problem.where)[:MAX_PLACES]
            problem = replace(first, where=where, total=first.total + problem.total)
        found[key] = problem
    return Report(tuple(found[key] for key in sorted(found)), demoted)


class Findings:
    """Collects places while something is read; :meth:`report` groups them.

    ``scored``: whether what is read now can be scored. What is found while it is False becomes a note.
    """

    def __init__(self) -> None:
        self.scored = True
        self._found: dict[tuple[str, Severity], Problem] = {}
        self._places: dict[tuple[str, Severity], list[str]] = {}

    def add(self, code: str, place: str, *, fix: str = "", severity: Severity | None = None, what: str = "") -> None:
        """One place with a problem; ``fix`` and ``what`` of the first place of a code are kept."""
        self.extend(code, (place,), 1, fix=fix, severity=severity, what=what)

    def extend(
        self,
        code: str,
        places: Sequence[str],
        total: int | None = None,
        *,
        fix: str = "",
        severity: Severity | None = None,
        what: str = "",
    ) -> None:
        """Several places; ``total`` when there are more than are given."""
        count = len(places) if total is None else total
        if not count:
            return
        if not self.scored and code not in NOTES and severity is None:
            severity, what = "note", (what or KINDS[code][0]) + UNSCORED
        key: tuple[str, Severity] = (code, severity or ("note" if code in NOTES else "error"))
        known = self._found.get(key)
        if known is None:
            text, remedy = KINDS[code]
            self._found[key] = Problem(code, key[1], what or text, (), count, fix or remedy)
            self._places[key] = []
        else:
            self._found[key] = replace(known, total=known.total + count)
        kept = self._places[key]
        kept += [shown(place, 300) for place in places[: MAX_PLACES - len(kept)]]

    def report(self) -> Report:
        """What was found so far."""
        found = (replace(problem, where=tuple(self._places[key])) for key, problem in self._found.items())
        return _grouped(found, frozenset())
