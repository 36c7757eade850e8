"""Which drawn object each sentence points at, and under which target id of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from refvps.archive import shown
from refvps.data.importers.ref_vps.asked import Aliases
from refvps.data.importers.ref_vps.masks import Drawn, Track
from refvps.data.importers.referring.meta_expressions import Sentence
from refvps.data.masktracks import empty_counts
from refvps.errors import InputError
from refvps.masks import rle
from refvps.types import Expression


@dataclass(frozen=True, slots=True)
class Clue:
    """What is known of one expression of ours: the foreign record, if there is one, and ours, if there is a list."""

    id: str
    sentence: Sentence | None = None
    listed: Expression | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    """What holds for the whole set: ``single``: no clip has more than one label; ``shift``: what is added to the
    numbers of objects, 1 where they begin at 0; ``folders``: expressions have folders of their own."""

    layout: str
    single: bool = False
    shift: int = 0


def targets_of(
    clip: str, clues: Sequence[Clue], drawn: Drawn, folders: Mapping[str, str], aliases: Aliases, whole: Whole
) -> tuple[dict[str, Track], dict[str, str]]:
    """Tracks by target of ours, and the target of every expression.

    ``folders``: the folder of each expression of ours, where there are folders. Raises InputError for an expression
    without an object and for two objects under one target.
    """
    tracks: dict[str, Track] = {}
    chosen: dict[str, str] = {}
    names: dict[tuple[str, ...], str] = {}
    wrong: list[str] = []
    for clue in clues:
        try:
            if whole.layout == "expression-folders":
                objects: tuple[str, ...] = (folders[clue.id],)
            elif whole.layout == "coco-rle":
                objects = clue.sentence.masks if clue.sentence else ()
            else:
                objects = _labels(clip, clue, drawn, aliases, whole)
            if not objects or any(key not in drawn.objects for key in objects):
                raise ValueError(f"its mask {', '.join(objects) or '(none named)'} is not drawn in any frame")
            track = _union([drawn.objects[key] for key in objects], drawn.size)
            name = _target(clip, clue, objects, track, tracks, names, aliases, whole)
        except ValueError as error:
            wrong.append(f"{clip}/{clue.id}: {error}")
            continue
        if tracks.setdefault(name, track) != track:
            wrong.append(f"{clip}/{clue.id}: its masks differ from those of another expression of target {name}")
        names.setdefault(objects, name)
        chosen[clue.id] = name
    if wrong:
        raise InputError("Expressions and masks do not match.", where=wrong, fix="correct the list of expressions")
    return tracks, chosen


def _labels(clip: str, clue: Clue, drawn: Drawn, aliases: Aliases, whole: Whole) -> tuple[str, ...]:
    """Labels that an expression points at, in a layout of label files."""
    if whole.single:
        return tuple(drawn.objects)
    if clue.sentence is not None and clue.sentence.objects:
        return clue.sentence.objects
    if clue.listed is not None:
        fitting = [label for label in drawn.objects if aliases.target(clip, label) == clue.listed.target]
        if len(fitting) == 1:
            return tuple(fitting)
    if len(drawn.objects) == 1:
        return tuple(drawn.objects)
    raise ValueError(f"it does not say which of the objects {', '.join(drawn.objects)} it means")


def _target(
    clip: str,
    clue: Clue,
    objects: tuple[str, ...],
    track: Track,
    tracks: Mapping[str, Track],
    names: Mapping[tuple[str, ...], str],
    aliases: Aliases,
    whole: Whole,
) -> str:
    """Our id of the target of an expression: of our list, of its object number, or by order of appearance."""
    if clue.listed is not None:
        return clue.listed.target
    if whole.single and whole.layout in ("davis", "ignore-folder"):
        return aliases.target(clip, "1")
    numbers = clue.sentence.objects if clue.sentence else ()
    if whole.layout in ("davis", "ignore-folder") and not numbers:
        numbers = objects
    if numbers:
        return aliases.target(clip, "-".join(str(int(number) + whole.shift) for number in numbers))
    same = names.get(objects) or next((name for name, other in tracks.items() if other == track), None)
    return same or aliases.target(clip, str(len(tracks) + 1))


def _union(tracks: Sequence[Track], size: tuple[int, int]) -> Track:
    if len(tracks) == 1:
        return tracks[0]
    return {frame: rle.union([track[frame] for track in tracks], size) for frame in tracks[0]}


def without_ignore(tracks: Mapping[str, Track], ignore: Track, size: tuple[int, int]) -> tuple[dict[str, Track], int]:
    """The targets without the pixels of Ignore, which wins, and how many there were."""
    nothing = empty_counts(size)
    pixels = 0
    cleared: dict[str, Track] = {}
    for name, track in tracks.items():
        cleared[name] = dict(track)
        for frame, counts in track.items():
            region = ignore.get(frame, nothing)
            if nothing in (region, counts):
                continue
            shared = int(rle.intersections([counts], [region], size)[1][0, 0])
            if shared:
                pixels += shared
                left = rle.to_bits(counts, size) & ~rle.to_bits(region, size)
                cleared[name][frame] = rle.from_bits(left, size)
    return cleared, pixels


def folders_of(clip: str, clues: Sequence[Clue], parts: Sequence[str], aliases: Aliases) -> dict[str, str]:
    """The folder of every expression of ours; raises InputError where folders and expressions do not match."""
    by_id: dict[str, str] = {}
    wrong: list[str] = []
    for part in parts:
        ours = aliases.expression(clip, part)
        if (other := by_id.setdefault(ours, part)) != part:
            wrong.append(f"{clip}: the folders {shown(part)} and {shown(other)} are both {ours}")
    asked = {clue.id for clue in clues}
    wrong += [f"{clip}/{shown(key)}: no such expression" for key in sorted(by_id.keys() - asked)]
    wrong += [f"{clip}/{key}: no folder of masks" for key in sorted(asked - by_id.keys())]
    if wrong:
        raise InputError(
            "Folders and expressions do not match.", where=wrong, fix='correct aliases.json: {"expressions": ...}'
        )
    return by_id
