"""Which frame of a clip a mask belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from refvps.annotate.sources.drawn import Drawn
from refvps.archive import shown
from refvps.errors import InputError, UsageError
from refvps.files import read_json

_NUMBER = re.compile(r"([0-9]{1,9})(?![0-9])(?=[^0-9]*$)")
_STEP = re.compile(r"step=([1-9][0-9]{0,4})(?:,first=([0-9]{1,6}))?")
_SHIFT = re.compile(r"number([+-][0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class FrameMap:
    """How frames of a source become frames of a clip.

    ``kind``: "auto" (files by name, lists by their length), "name", "number" (plus ``shift``), "step" (entry k is
    frame ``first + k * step``), or "table" (``names``).
    """

    kind: str = "auto"
    shift: int = 0
    step: int = 1
    first: int = 0
    names: Mapping[str, str] = field(default_factory=dict)


def parse_frame_map(text: str) -> FrameMap:
    """From ``--frame-map``: auto, name, number, number+1, number-1, step=4, step=4,first=2, or a .json file."""
    if text in ("auto", "name"):
        return FrameMap(text)
    if found := _SHIFT.fullmatch(text):
        return FrameMap("number", shift=int(found[1] or 0))
    if found := _STEP.fullmatch(text):
        return FrameMap("step", step=int(found[1]), first=int(found[2] or 0))
    if text.lower().endswith(".json"):
        table = read_json(Path(text))
        if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
            raise InputError(
                "A table of frames cannot be used.",
                where=[text],
                fix='write {"name in the source": "name in the clip"}',
            )
        if len(set(table.values())) != len(table):
            raise InputError("A table of frames names a frame of the clip twice.", where=[text], fix="correct it")
        return FrameMap("table", names=table)
    raise UsageError(
        "There is no such way to map frames.",
        where=[shown(text)],
        fix="auto, name, number, number+1, number-1, step=4, step=4,first=2, or a .json file",
    )


@dataclass(frozen=True, slots=True)
class Placed:
    """``positions``: place in the source by frame of the clip; ``dropped``: frames of the source without one."""

    positions: Mapping[str, int]
    dropped: tuple[str, ...]
    how: str


def place(drawn: Drawn, frames: Sequence[str], annotated: Sequence[str] | None, using: FrameMap) -> Placed:
    """Join the frames of a source with those of a clip.

    ``annotated``: frames that are listed as annotated, if anybody listed them. Raises InputError where nothing fits,
    with the way that seems to.
    """
    wanted, how = _wanted(drawn, frames, annotated, using)
    known = set(frames)
    found: dict[str, int] = {}
    dropped: list[str] = []
    for position, name in enumerate(wanted):
        if name in known and name not in found:
            found[name] = position
        else:
            dropped.append(drawn.names[position])
    if not found:
        raise InputError(
            "No mask belongs to a frame of the clip.",
            where=[f"masks {_span(drawn.names)}, frames of the clip {_span(frames)}"],
            fix=_advice(drawn, frames) or "say which belongs to which: --frame-map FILE.json",
        )
    return Placed(found, tuple(dropped), how)


def _wanted(
    drawn: Drawn, frames: Sequence[str], annotated: Sequence[str] | None, using: FrameMap
) -> tuple[list[str | None], str]:
    """The frame of the clip that each frame of the source wants, None for none; and how that was found out."""
    count = len(drawn.names)
    if using.kind == "auto" and drawn.listed:
        if drawn.step == 1 and count == len(frames):
            using = FrameMap("step")
        elif drawn.step > 1 and drawn.step * (count - 1) < len(frames):
            using = FrameMap("step", step=drawn.step)
        elif annotated is not None and count == len(annotated):
            return list(annotated), "the annotated frames in their order"
        else:
            raise InputError(
                "A list of masks does not have the length of the clip.",
                where=[f"{count} entries, each {drawn.step} frames further; {len(frames)} frames in the clip"],
                fix="check the clip, or say how they belong together: --frame-map step=1",
            )
    if using.kind == "step":
        places = [using.first + using.step * k for k in range(count)]
        how = f"step={using.step}" + (f",first={using.first}" if using.first else "")
        return [frames[at] if at < len(frames) else None for at in places], how
    if using.kind == "table":
        strange = [name for name in using.names if name not in set(drawn.names)]
        if strange:
            raise InputError(
                "A table of frames names what the source does not have.", where=map(shown, strange), fix="correct it"
            )
        return [using.names.get(name) for name in drawn.names], "a table"
    if using.kind == "number":
        numbered = {_number(name): name for name in frames}
        numbers = [_number(name) for name in drawn.names]
        how = f"number{using.shift:+d}" if using.shift else "number"
        return [None if n is None else numbered.get(n + using.shift) for n in numbers], how
    return list(drawn.names), "name"


def _number(name: str) -> int | None:
    """The last number in a name."""
    found = _NUMBER.search(name)
    return None if found is None else int(found[1])


def _advice(drawn: Drawn, frames: Sequence[str]) -> str:
    """The shift of numbers under which every mask has a frame, as the option that says so."""
    numbers = {_number(name) for name in drawn.names}
    known = {_number(name) for name in frames}
    for shift in (0, -1, 1):
        if None not in numbers and {number + shift for number in numbers if number is not None} <= known:
            return f"--frame-map number{shift:+d}" if shift else "--frame-map number"
    return ""


def _span(names: Sequence[str]) -> str:
    first, last = shown(names[0], 40), shown(names[-1], 40)
    return first if len(names) == 1 else f"{first} to {last}"
