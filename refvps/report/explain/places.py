"""From what a user types to a clip, an expression and a frame of a table of counts, with a guess when it is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from refvps.errors import UsageError
from refvps.run.counts import ClipEntry, Counts

PREFIX = "position:"
"""What a frame starts with that is meant as a position, whatever frames are named."""


def clip_of(counts: Counts, name: str) -> ClipEntry:
    """The clip of this id; UsageError with the nearest ids for another."""
    for entry in counts.clips:
        if entry.id == name:
            return entry
    raise _unknown("The result has no such clip.", name, [entry.id for entry in counts.clips])


def pair_of(counts: Counts, clip: str, expression: str | None, target: str | None) -> tuple[int, int]:
    """Indices of an expression and of the target it is compared with.

    An expression that is alone in its clip, and a target that is alone with its expression, need not be named.
    """
    known = {entry.id: index for index, entry in enumerate(counts.expressions) if entry.clip == clip}
    if expression is None and len(known) == 1:
        (expression,) = known
    if expression is None:
        raise UsageError(
            "A frame belongs to an expression.", where=[clip], fix="add --expression, one of " + _listed(known)
        )
    if expression not in known:
        raise _unknown(f"The clip {clip} has no such expression.", expression, known)
    index = known[expression]
    rows = counts.columns["expression"] == index
    against = {counts.targets[k][1]: k for k in sorted(set(counts.columns["target"][rows].tolist()))}
    if not against:
        raise UsageError(
            "The counts hold no frame of this expression.",
            where=[f"{clip}/{expression}"],
            fix="take the whole counts file from the result's author",
        )
    if target is None and len(against) == 1:
        (target,) = against
    if target is None:
        raise UsageError(
            "The expression is compared with several targets.",
            where=[f"{clip}/{expression}"],
            fix="add --target, one of " + _listed(against),
        )
    if target not in against:
        raise _unknown(f"{clip}/{expression} is not compared with such a target.", target, against)
    return index, against[target]


def position_of(entry: ClipEntry, text: str, names: Sequence[str] | None) -> tuple[int, str]:
    """The position (from 0) of a frame given by name or position, and what there is to say about the choice.

    ``names``: of all frames of the clip, None where the benchmark is not at hand. A name that fits exactly wins;
    else whole numbers are positions.
    """
    forced = text.startswith(PREFIX)
    digits = text.removeprefix(PREFIX)
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 12 else None
    if names is not None and not forced and text in names:
        at = names.index(text)
        if number is None or str(number) != text or number == at or number >= len(names):
            return at, ""
        other = f"for the frame at position {number} ({names[number]}) say {PREFIX}{number}"
        return at, f"{text} is the name of the frame at position {at}; {other}"
    if number is None:
        if names is None:
            raise UsageError(
                "Frames have names only where the benchmark is at hand.",
                where=[repr(text)[:200]],
                fix=f"give a position from 0 to {entry.frames - 1}, or the benchmark with -b NAME or --gt DIR",
            )
        raise _unknown(f"The clip {entry.id} has no such frame.", text, names)
    if number >= entry.frames:
        raise UsageError(
            f"The clip {entry.id} has no such frame.",
            where=[f"{text}: it has {entry.frames} frames"],
            fix=f"give a position from 0 to {entry.frames - 1}" + ("" if names is None else ", or a frame's name"),
        )
    alike = [k for k, name in enumerate(names or ()) if name.isascii() and name.isdigit() and int(name) == number]
    if names is not None and not forced and alike and number not in alike:
        return number, (
            f"{text} is taken as a position, which counts from 0: the frame {names[number]}; "
            f"for the frame at position {alike[0]} give its whole name, {names[alike[0]]}"
        )
    return number, ""


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (f" and {len(names) - 8:,} more" if len(names) > 8 else "")


def _unknown(what: str, name: str, known: Iterable[str]) -> UsageError:
    known = list(known)
    folded = {each.casefold(): each for each in known}
    near = get_close_matches(name.casefold()[:128], folded, n=1, cutoff=0.5)
    guess = f"did you mean {folded[near[0]]}? " if near else ""
    return UsageError(what, where=[repr(name)[:200]], fix=f"{guess}There are {_listed(known)}")
