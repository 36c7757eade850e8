"""What is asked of each clip: its sentences and frames, joined to foreign names, whoever names them how.

Ids: a foreign id is ours unless ``aliases.json`` says otherwise: ``{"clips": {foreign: ours}, "expressions":
{our clip or "*": {foreign: ours}}, "targets": {our clip or "*": {foreign: ours}}}``, every part optional. Frames are
joined by their number, counted from the first one (0 or 1), whatever stands around it: "00004" of ours is "4",
"00005", "frame_0005" or "img5" elsewhere. A clip whose frames have the very names of our list is joined by these,
whatever they are. Without the lists of Ref-VPS a frame is called by its number from 0, in five digits.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refvps.archive import shown
from refvps.data.ids import map_ids
from refvps.errors import InputError, UsageError
from refvps.files import read_json
from refvps.types import ID, Clip, Expression

_NUMBERED = re.compile(r"(\D*)([0-9]{1,9})")
ANY = "*"
_PARTS = ("clips", "expressions", "targets")


@dataclass(frozen=True, slots=True)
class Aliases:
    """Our ids by foreign ones; expressions and targets by our clip, or "*" for all."""

    clips: Mapping[str, str] = field(default_factory=dict)
    expressions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    targets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def expression(self, clip: str, foreign: str) -> str:
        """Our id of an expression of our clip."""
        return _of(self.expressions, clip, foreign)

    def target(self, clip: str, foreign: str) -> str:
        """Our id of a target of our clip."""
        return _of(self.targets, clip, foreign)


def _of(table: Mapping[str, Mapping[str, str]], clip: str, foreign: str) -> str:
    found = table.get(clip, {}).get(foreign)
    return found if found is not None else table.get(ANY, {}).get(foreign, foreign)


def read_aliases(path: Path | None) -> Aliases:
    """The table of id aliases; raises InputError for anything that is not one, or gives two ids one name."""
    if path is None:
        return Aliases()
    record = read_json(path)
    wrong: list[str] = []
    if not isinstance(record, dict) or not record.keys() <= set(_PARTS):
        wrong.append(f"{path}: it may have {', '.join(_PARTS)}, nothing else")
        record = {}
    clips = _table(record.get("clips", {}), f"{path}: clips", wrong)
    nested: list[dict[str, dict[str, str]]] = []
    for part in _PARTS[1:]:
        value = record.get(part, {})
        if not isinstance(value, dict):
            wrong.append(f"{path}: {part} is no object")
            value = {}
        nested.append(
            {str(key): _table(inner, f"{path}: {part} of {shown(key)}", wrong) for key, inner in value.items()}
        )
    if wrong:
        raise InputError("A table of aliases cannot be used.", where=wrong, fix="write it as docs/download.md says")
    return Aliases(clips, *nested)


def _table(value: Any, place: str, wrong: list[str]) -> dict[str, str]:
    if not isinstance(value, dict):
        wrong.append(f"{place} is no object")
        return {}
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    for foreign, ours in value.items():
        if not isinstance(ours, str) or not ID.fullmatch(ours):
            wrong.append(f"{place}: {shown(foreign, 60)}: {shown(repr(ours), 60)} is no id")
        elif ours.lower() in taken:
            wrong.append(f"{place}: {shown(foreign, 60)} and {shown(taken[ours.lower()], 60)} are both {ours}")
        else:
            found[foreign] = ours
            taken[ours.lower()] = foreign
    return found


def our_clips(
    foreign: Iterable[str], aliases: Aliases, known: Iterable[str] | None, gone: Collection[str] = ()
) -> dict[str, str]:
    """Our clip id by foreign one. ``known``: the clips of Ref-VPS, when its lists are there; ``gone``: withdrawn ones.

    Raises InputError for aliases of clips that are not there, two clips of one id, and clips that are not on the list.
    """
    names = list(foreign)
    aliased = {name for name, ours in aliases.clips.items() if ours.lower() not in gone}
    wrong = [f"an alias names {shown(name)}, which is not there" for name in sorted(aliased - set(names))]
    plain = {name: aliases.clips.get(name, name) for name in names}
    if known is None:
        valid = map_ids(plain.values())
        plain = {name: valid[ours] for name, ours in plain.items()}
    else:
        listed = set(known)
        wrong += [
            f"{shown(name)}: the list of clips has no {shown(ours)}"
            for name, ours in plain.items()
            if ours not in listed
        ]
        wrong += [f"{ours}: no masks" for ours in sorted(listed - set(plain.values()))]
    seen: dict[str, str] = {}
    for name, ours in plain.items():
        if (other := seen.setdefault(ours.lower(), name)) != name:
            wrong.append(f"{shown(name)} and {shown(other)} are both {ours}")
    if wrong:
        raise InputError(
            "The clips do not match.", where=wrong, fix='correct aliases.json: {"clips": {"foreign id": "our id"}}'
        )
    return plain


@dataclass(frozen=True, slots=True)
class Names:
    """How frames are counted: ``first`` is the number of the first frame of a clip."""

    first: int
    prefix: str = ""

    def number(self, name: str) -> int:
        """Number of a frame from 0; raises ValueError for a name that has none."""
        found = _NUMBERED.fullmatch(name)
        if found is None or found[1] != self.prefix or int(found[2]) < self.first:
            raise ValueError(f"the frame {shown(name, 60)} does not fit the others")
        return int(found[2]) - self.first


def frame_names(clips: Mapping[str, Sequence[str]], first: int | None) -> Names:
    """How the frames of a whole set are counted. ``clips``: every name that is known, by clip.

    Raises InputError for names without a number, UsageError where frames might be counted from 0 or from 1.
    """
    if not clips:
        return Names(0)
    lowest: dict[str, int] = {}
    prefixes: set[str] = set()
    wrong: list[str] = []
    for clip, names in clips.items():
        for name in names:
            if (found := _NUMBERED.fullmatch(name)) is None:
                wrong.append(f"{shown(clip)}/{shown(name)}")
                continue
            prefixes.add(found[1])
            lowest[clip] = min(lowest.get(clip, int(found[2])), int(found[2]))
    if wrong or len(prefixes) > 1:
        places = wrong or [f"they begin with {', '.join(repr(shown(each, 40)) for each in sorted(prefixes))}"]
        raise InputError("The names of the frames have no common form.", where=places, fix="number them: 00000, 00001")
    numbers = set(lowest.values())
    if first is None and 0 not in numbers and numbers != {1}:
        places = [f"{shown(clip)} begins with {number}" for clip, number in sorted(lowest.items()) if number != 1]
        raise UsageError(
            "It is not clear whether frames are counted from 0 or from 1.",
            where=places,
            fix="--option first-frame=0 or 1",
        )
    return Names(first if first is not None else 0 if 0 in numbers else 1, *prefixes)


def joined(names: Iterable[str], count: Names, ours: Mapping[int, str] | None, place: str) -> dict[str, str]:
    """Our frame name by foreign one; ``ours``: the frames of Ref-VPS by number, when its lists are there."""
    found: dict[str, str] = {}
    numbers: dict[int, str] = {}
    for name in names:
        number = count.number(name)
        if (other := numbers.setdefault(number, name)) != name:
            raise ValueError(f"{place}: {shown(name, 60)} and {shown(other, 60)} are one frame")
        if ours is not None and number not in ours:
            raise ValueError(f"{place}: the list of clips has no frame {shown(name, 60)}")
        found[name] = f"{number:05d}" if ours is None else ours[number]
    return found


def named_as_listed(clip: Clip, masks: Iterable[str], others: Iterable[str]) -> bool:
    """True where the masks have exactly the names of the annotated frames; they cannot then be counted otherwise."""
    return {*masks} == {*clip.annotated} and {*others} <= {*clip.frames}


def numbered(clip: Clip) -> dict[int, str]:
    """The frames of a listed clip by number from 0, which they begin with unless it is 1."""
    first = {clip.id: clip.frames[:1]}
    begins = frame_names(first, 0).number(clip.frames[0])
    count = frame_names({clip.id: clip.frames}, int(begins == 1))
    return {count.number(name): name for name in clip.frames}


def listed(expressions: Iterable[Expression]) -> dict[str, list[Expression]]:
    """Expressions by clip."""
    found: dict[str, list[Expression]] = {}
    for each in expressions:
        found.setdefault(each.clip, []).append(each)
    return found
