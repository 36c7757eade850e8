"""``davis4``: what methods for Ref-DAVIS write when they are given pseudo-videos of four expressions.

``refvps export benchmark --layout davis4`` makes a pseudo-video ``<clip>__g000`` of every four expressions of a clip,
and such a method takes them for four annotators of one object: run k answers the k-th of them. It writes
``anno_k/<clip>__g000/<index>.png``, whose name is the place of the frame in the clip, in five digits, and whose
foreground is every pixel that is not 0. Runs are called ``anno_0`` to ``anno_3`` (ReferFormer, SgMg, VD-IT), or as MUTR
names them; REM has a folder for each object in that of the pseudo-video, here always ``1``; UNINEXT calls runs
``rvos-refdavis-val-0`` to ``-3`` and files after frames. Runs beyond the expressions of a pseudo-video are its padding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refvps.archive import FileSet, shown
from refvps.errors import InputError
from refvps.files import MAX_JSON_BYTES, parse_json
from refvps.masks import bits, png
from refvps.masks.mask import Mask
from refvps.predictions.layouts import absent_frames
from refvps.predictions.problems import Findings, Report
from refvps.types import Benchmark, Clip

RUNS = 4
"""Expressions of a pseudo-video."""

GROUPS = "groups.json"
MAX_PICTURE_BYTES = 1 << 26

_MUTR = ("Davis17_annot1", "Davis17_annot1_full_video", "Davis17_annot2", "Davis17_annot2_full_video")
_UNINEXT = tuple(f"rvos-refdavis-val-{k}" for k in range(RUNS))
_RUN_OF = {f"anno_{k}": k for k in range(RUNS)} | {
    name: k for names in (_MUTR, _UNINEXT) for k, name in enumerate(names)
}
_GROUP = re.compile(r"(.+)__g[0-9]{3,}")
_INDEX = re.compile(r"[0-9]{5,}")


@dataclass(frozen=True, slots=True)
class Group:
    """A pseudo-video: its clip, and the expressions that runs 0, 1, ... answer."""

    clip: str
    expressions: tuple[str, ...]


def groups_of(benchmark: Benchmark) -> dict[str, Group]:
    """The pseudo-videos of a benchmark by name: the expressions of each clip in their order, four at a time."""
    found: dict[str, Group] = {}
    for clip in benchmark.clips:
        asked = [each.id for each in benchmark.expressions_of(clip)]
        for first in range(0, len(asked), RUNS):
            found[f"{clip}__g{first // RUNS:03d}"] = Group(clip, tuple(asked[first : first + RUNS]))
    return found


def read_groups(data: bytes, name: str, benchmark: Benchmark) -> dict[str, Group]:
    """The pseudo-videos in a ``groups.json``; InputError unless they ask every expression of ``benchmark`` once."""
    content = parse_json(data, name)
    groups: dict[str, Group] = {}
    wrong: list[str] = []
    listed = content.get("groups") if isinstance(content, dict) else None
    for key, record in (listed or {}).items() if isinstance(listed, dict | None) else ():
        clip = record.get("clip") if isinstance(record, dict) else None
        members = record.get("expressions") if isinstance(record, dict) else None
        if not isinstance(clip, str) or not isinstance(members, list) or not all(isinstance(m, str) for m in members):
            wrong.append(f"{name}: {shown(key)} does not name a clip and expressions")
        elif not 0 < len(members) <= RUNS:
            wrong.append(f"{name}: {shown(key)} has {len(members)} expressions, not 1 to {RUNS}")
        else:
            groups[key] = Group(clip, tuple(members))
    asked = {(each.clip, each.id) for each in benchmark.expressions}
    answered = [(group.clip, member) for group in groups.values() for member in group.expressions]
    wrong += [f"{name}: {shown(c)}/{shown(e)} is not in the benchmark" for c, e in answered if (c, e) not in asked]
    wrong += [f"{name}: {c}/{e} is in no group" for c, e in sorted(asked - set(answered))]
    if len(set(answered)) != len(answered):
        wrong.append(f"{name}: an expression is in two groups")
    if wrong:
        raise InputError(
            "The groups do not fit the benchmark.", where=wrong, fix="use the groups.json of the same export"
        )
    return groups


@dataclass(frozen=True, slots=True)
class Davis4Reader:
    """Masks of one clip by frame; ``files``: expression, frame index, and file. Picklable."""

    clip: Clip
    expressions: tuple[str, ...]
    source: FileSet
    files: Mapping[tuple[str, int], str]

    def frame(self, index: int) -> dict[str, Mask | None]:
        """Masks by expression id, None where there is no file; raises InputError for one that cannot be read."""
        found: dict[str, Mask | None] = {}
        for expression in self.expressions:
            name = self.files.get((expression, index))
            found[expression] = None if name is None else _read(self.source, name, self.clip.size)
        return found

    @property
    def problems(self) -> Report:
        """Nothing: what cannot be read raises."""
        return Report(())


def _read(source: FileSet, name: str, size: tuple[int, int]) -> Mask:
    try:
        data = source.read(name, MAX_PICTURE_BYTES)
        if png.header(data).colour == png.PALETTE:
            return Mask.from_bits(bits.pack_nonzero(png.read_labels(data, size)), size)
        return Mask.from_bits(png.read_binary(data, size), size)
    except png.PngError as error:
        raise InputError(
            "A mask cannot be used.", where=[f"{shown(name)}: {error}"], fix="let the method write it again"
        ) from error


@dataclass(frozen=True, slots=True)
class Davis4:
    """Predictions in this layout, joined with a benchmark; ``problems``: what is missing or strange."""

    source: FileSet
    benchmark: Benchmark
    files: Mapping[tuple[str, str, int], str]
    problems: Report

    def reader(self, clip: str) -> Davis4Reader:
        """A reader for one clip."""
        own = {(expression, index): name for (c, expression, index), name in self.files.items() if c == clip}
        asked = tuple(each.id for each in self.benchmark.expressions_of(clip))
        return Davis4Reader(self.benchmark.clips[clip], asked, self.source.only(own.values()), own)


def is_davis4(names: Sequence[str]) -> bool:
    """True when a file lies in a run of a pseudo-video."""
    return next(_pictures(names), None) is not None


def _pictures(names: Sequence[str]) -> Iterator[tuple[str, str, str, str, str]]:
    """(folder of the runs, run, pseudo-video, frame, name) of every picture that could be a mask.

    The frame of an object other than the first is ''.
    """
    for name in names:
        *folders, file = name.split("/")
        stem, _, suffix = file.rpartition(".")
        if folders and folders[-1].isdigit():  # REM's, one for each object
            stem = stem if folders.pop() == "1" else ""
        if len(folders) > 1 and folders[-2] in _RUN_OF and suffix.lower() == "png" and _GROUP.fullmatch(folders[-1]):
            yield "/".join(folders[:-2]), folders[-2], folders[-1], stem, name


def open_davis4(source: FileSet, benchmark: Benchmark, groups: Mapping[str, Group] | None = None) -> Davis4:
    """Join the pictures of ``source`` with ``benchmark``.

    ``groups``: which expressions the pseudo-videos stand for; by default those in ``groups.json`` beside the runs,
    else those of :func:`groups_of`. Raises InputError where runs lie in several folders.
    """
    findings = Findings()
    homes: dict[str, None] = {}
    found: dict[tuple[str, str, int], str] = {}
    surplus: list[str] = []
    if groups is None:
        lists = [name for name in source.names if name == GROUPS or name.endswith(f"/{GROUPS}")]
        groups = groups_of(benchmark)
        if len(lists) == 1:
            groups = read_groups(source.read(lists[0], MAX_JSON_BYTES), shown(lists[0]), benchmark)
    strangers: dict[str, None] = {}
    places = {clip.id: {name: index for index, name in enumerate(clip.frames)} for clip in benchmark.clips.values()}
    for home, run, video, stem, name in _pictures(source.names):
        group = groups.get(video)
        if group is None:
            strangers[video] = None
            continue
        homes[home] = None
        if _RUN_OF[run] >= len(group.expressions):
            continue
        index = places[group.clip].get(stem) if run in _UNINEXT else _index(stem, len(places[group.clip]))
        if index is None:
            surplus.append(name)
            continue
        key = (group.clip, group.expressions[_RUN_OF[run]], index)
        if key in found and homes.keys() == {home}:
            findings.add("duplicate", f"{shown(name)} and {shown(found[key])}")
        found[key] = name
    if len(homes) > 1:
        raise InputError(
            "Runs lie in several folders.",
            where=[shown(home or ".") for home in homes],
            fix="give the folder that holds the runs of one method",
        )
    findings.extend("surplus-clip", list(strangers))
    findings.extend("surplus-frame", surplus)
    _missing(benchmark, groups, found, findings)
    return Davis4(source, benchmark, found, findings.report())


def _index(stem: str, count: int) -> int | None:
    """The place that a file is named after, None for any other name."""
    return int(stem) if _INDEX.fullmatch(stem) and int(stem) < count else None


def _missing(
    benchmark: Benchmark, groups: Mapping[str, Group], found: Mapping[tuple[str, str, int], str], findings: Findings
) -> None:
    """Report what has no mask: whole runs, and annotated frames of the others."""
    there = {key[:2] for key in found}
    for video, group in groups.items():
        clip = benchmark.clips[group.clip]
        lacking = absent_frames(clip, benchmark.expressions_of(clip.id), benchmark.truth)
        for run, expression in enumerate(group.expressions):
            if (clip.id, expression) not in there:
                findings.add("missing-expression", f"{clip.id}/{expression}: no anno_{run}/{video}/")
                continue
            absent = lacking.get(expression, frozenset())
            for index, frame in zip(clip.annotated_indices(), clip.annotated, strict=True):
                if frame not in absent and (clip.id, expression, index) not in found:
                    findings.add(
                        "missing-frame", f"{clip.id}/{expression}/{frame}: no anno_{run}/{video}/{index:05d}.png"
                    )


def groups_record(groups: Mapping[str, Group]) -> dict[str, Any]:
    """The content of ``groups.json``."""
    listed = {name: {"clip": g.clip, "expressions": list(g.expressions)} for name, g in groups.items()}
    return {"layout": "davis4", "groups": listed}
