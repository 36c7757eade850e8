"""BURST by class: "the <class>" for every class of every sequence, as REM evaluates it (paper, C.1).

Read are ``<split>/all_classes.json`` of val and test, below the folder itself, ``annotations_burst`` or
``annotations``; frames, where they are wanted, from ``frames/<split>/<data set>/<sequence>/``. One expression per
(sequence, class); its target is the union of the tracks of the class. J is averaged over the annotated frames, those
without the class included, then over the sequences of a class, then over classes. As in REM's public code no class
is removed or merged, and classes that are not annotated exhaustively count like others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from sys import intern
from typing import Any

from refvps.archive import shown
from refvps.data.digest import benchmark_digest
from refvps.data.ids import map_ids
from refvps.data.importers.burst.sequences import (
    Checked,
    Tally,
    Task,
    TrackTruth,
    check_sequence,
    frame_files,
    sequence_name,
    track_categories,
)
from refvps.data.importers.classes import PERSON, ClassTable, check_name, check_style, load_table, names_in
from refvps.data.importers.spans import Span, walk
from refvps.data.index import Progress, parallel
from refvps.errors import DataMissingError, InputError, UsageError
from refvps.frames import ImageFrames
from refvps.types import Benchmark, Clip, Expression, Rules

FILE = "all_classes.json"
FOLDERS = ("", "annotations_burst", "annotations")
SPLITS = {"val+test": ("val", "test"), "val": ("val",), "test": ("test",)}
PAPER = {"sequences": 2049, "classes": 454}
"""What the paper (C.1) says val and test have together; never used, only shown beside what was counted."""

RULES = Rules(metrics=("J",), average="frame>clip>concept")
LICENCE = (
    "BURST's annotations come from github.com/Ali2500/BURST-benchmark; the videos belong to ArgoVerse, AVA, BDD, "
    "Charades, HACS, LaSOT and YFCC100M, each with terms of its own"
)


@dataclass(frozen=True, slots=True)
class Found:
    """One sequence of one split, not yet checked."""

    split: str
    span: Span
    name: tuple[str, str]
    categories: frozenset[int]


@dataclass(slots=True)
class Lists:
    """Sequences in the order of the files, and the names of the categories by split."""

    sequences: list[Found] = field(default_factory=list)
    names: dict[str, dict[int, str]] = field(default_factory=dict)


def load_burst(
    root: Path, *, split: str = "val+test", style: str = "raw", jobs: int = 1, progress: Progress | None = None
) -> Benchmark:
    """Load BURST's classes from a folder of annotations.

    ``split``: "val+test", "val" or "test". ``style`` of the sentences: see :mod:`refvps.data.importers.classes`.
    Names of classes come from the val file when it is loaded, for both splits, as in REM's code. ``progress`` counts
    sequences. Raises UsageError for options, InputError naming what is missing or cannot be used.
    """
    check_style(style)
    if split not in SPLITS:
        raise UsageError("There is no such split of BURST.", where=[repr(split)[:80]], fix=" or ".join(SPLITS))
    root = Path(root)
    lists = Lists()
    for part in SPLITS[split]:
        _walk(_file(root, part), part, lists)
    table = load_table("burst")
    first = lists.names[SPLITS[split][0]]
    names = _merged(lists.names)
    said = names_in(table, names, style)
    tasks = _tasks(lists, {key: (name, said[key]) for key, name in names.items()}, style)
    checked = list(parallel(check_sequence, tasks, jobs=jobs, chunk=16, progress=progress))
    if wrong := [place for result in checked for place in result.wrong]:
        raise InputError(f"Sequences in {FILE} cannot be used.", where=wrong, fix="get the annotations again")
    tally = Tally()
    for result in checked:
        tally.add(result.tally)
    notes = [*_counted(tally, checked), *_renamed(lists, first, table), _style_note(style, table)]
    return _benchmark(root, split, style, tasks, checked, tuple(notes))


def _file(root: Path, split: str) -> Path:
    places = [root / folder / split / FILE for folder in FOLDERS]
    there = [place for place in places if place.is_file()]
    if len(there) == 1:
        return there[0]
    what = (
        f"BURST's annotations of {split} are there twice." if there else f"BURST's annotations of {split} are not here."
    )
    raise InputError(
        what,
        where=[str(place) for place in there or places[:1]],
        fix=f"give the folder that holds {split}/{FILE}, directly or in {' or '.join(FOLDERS[1:])}",
    )


def _walk(path: Path, split: str, lists: Lists) -> None:
    """Where the sequences of a file are, and what its categories are called."""

    def visit(span: Span, record: Any) -> None:
        try:
            name = sequence_name(record)
            used = frozenset(track_categories(record).values())
        except (KeyError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            place = f"{path}: byte {span.start:,}: {reason}"
            raise InputError(f"A sequence in {FILE} cannot be used.", where=[place], fix=_AGAIN) from error
        lists.sequences.append(Found(split, span, name, used))

    rest = walk(path, "sequences", visit)
    if rest.get("split", split) != split:
        place = f"{path}: {rest['split']!r}"[:300]
        raise InputError(f"The annotations of {split} say they are another split.", where=[place], fix=_AGAIN)
    categories = rest.get("categories")
    wrong: list[str] = []
    names: dict[int, str] = {}
    for row in categories if isinstance(categories, list) else ["categories"]:
        key, name = (row.get("id"), row.get("name")) if isinstance(row, dict) else (None, None)
        reason = check_name(name)
        if type(key) is not int or not 0 <= key < 10**9 or key in names:
            reason = "its id is no number, or there twice"
        if reason:
            wrong.append(f"{path}: category {row!r}"[:200] + f": {reason}")
        elif type(key) is int:
            names[key] = str(name)
    if wrong or not lists.sequences:
        wrong = wrong or [f"{path}: no sequence"]
        raise InputError(f"{FILE} does not have the expected content.", where=wrong, fix=_AGAIN)
    lists.names[split] = names


_AGAIN = "get the annotations of BURST again"


def _merged(by_split: Mapping[str, Mapping[int, str]]) -> dict[int, str]:
    """Names by category; where the splits differ, val's."""
    names: dict[int, str] = {}
    for split in ("test", "val"):
        names |= by_split.get(split, {})
    return names


def _tasks(lists: Lists, names: Mapping[int, tuple[str, str]], style: str) -> list[Task]:
    pairs = [found.name for found in lists.sequences]
    if len(set(pairs)) != len(pairs):
        twice = sorted({"/".join(pair) for pair in pairs if pairs.count(pair) > 1})
        raise InputError("Sequences of BURST are there twice.", where=twice, fix=_AGAIN)
    joined = {pair: "_".join(pair) for pair in pairs}
    if len(set(joined.values())) != len(pairs):  # "a_b" of "c" and "b_c" of "a"
        joined = {pair: "/".join(pair) for pair in pairs}
    ids = map_ids(joined.values())
    return [
        Task(
            span=found.span,
            place=shown("/".join(found.name)),
            clip=ids[joined[found.name]],
            source="/".join(found.name),
            split=found.split,
            style=style,
            names={key: names[key] for key in found.categories & names.keys()},
        )
        for found in lists.sequences
    ]


def _benchmark(
    root: Path, split: str, style: str, tasks: Sequence[Task], checked: Sequence[Checked], notes: tuple[str, ...]
) -> Benchmark:
    clips: dict[str, Clip] = {}
    expressions: list[Expression] = []
    truths: dict[str, TrackTruth] = {}
    digests: dict[str, str] = {}
    spans: dict[str, Span] = {}
    for task, result in zip(tasks, checked, strict=True):
        if result.clip is None or not result.expressions:
            continue
        frames = tuple(intern(name) for name in result.clip.frames)  # the same in many sequences
        annotated = tuple(intern(name) for name in result.clip.annotated)
        clip = clips[result.clip.id] = replace(result.clip, frames=frames, annotated=annotated)
        expressions += result.expressions
        truths[clip.id] = TrackTruth(task.span, clip, result.tracks)
        digests[clip.id] = result.digest
        spans[clip.id] = task.span
    if not clips:
        raise InputError("No sequence of BURST has a track.", where=[str(root)], fix=_AGAIN)

    def frames_of(clip: str) -> ImageFrames:
        return _frames(root, clips[clip], spans[clip])

    return Benchmark(
        name="burst",
        version=f"{split.replace('+', '')}-{style}",
        digest=benchmark_digest(digests),
        clips=clips,
        expressions=tuple(expressions),
        truth=truths.__getitem__,
        frames=frames_of,
        clip_digests=digests,
        rules=RULES,
        licence=LICENCE,
        notes=notes,
    )


def _frames(root: Path, clip: Clip, span: Span) -> ImageFrames:
    """The frames of a sequence, lazily; the files are those that the annotation lists."""
    record = span.read()
    files = frame_files(record, "all_image_paths" if record.get("all_image_paths") else "annotated_image_paths")
    splits = {"val": ("val", "validation"), "test": ("test",)}[clip.split]
    folders = [root / "frames" / split / clip.source_id for split in splits]
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    paths = [folder / file for file in files.values()]
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise DataMissingError(
            "Frames of BURST are not on this machine.",
            where=missing,
            fix="get them from motchallenge.net/tao_download.php; AVA and HACS need a request of their own",
        )
    frames = ImageFrames(paths, clip.fps, str(folder))
    if frames.size != clip.size:
        place = f"{folder}: {frames.size[1]}x{frames.size[0]}, the annotation has {clip.size[1]}x{clip.size[0]}"
        raise InputError("The frames of a clip do not have its size.", where=[place], fix="get the frames again")
    return frames


def _counted(tally: Tally, checked: Sequence[Checked]) -> list[str]:
    with_class = [result for result in checked if result.expressions]
    classes = {expression.concept for result in with_class for expression in result.expressions}
    notes = [
        f"Counted: {len(with_class):,} sequences with a class and {len(classes):,} classes. The paper says "
        f"{PAPER['sequences']:,} and {PAPER['classes']:,} for val and test.",
        f"Pairs of sequence and class: {tally.pairs:,}; masks of tracks: {tally.masks:,}, on {tally.frames:,} frames.",
    ]
    names = [result.clip.source_id.partition("/")[2] for result in with_class if result.clip is not None]
    counts = {
        "Sequences without a track, which are left out": tally.sequences - len(with_class),
        "Names of sequences that several data sets use; REM's evaluator mixes these": len(names) - len(set(names)),
        "Null masks, which count as empty": tally.null,
        "Masks of tracks without a class, which are not used": tally.stray,
        "Pairs without a single pixel, for which an empty prediction is right": tally.silent,
        "Pairs whose class is not annotated exhaustively, which count like others": tally.partial,
    }
    return notes + [f"{meaning}: {count:,}." for meaning, count in counts.items() if count]


def _renamed(lists: Lists, names: Mapping[int, str], table: ClassTable) -> list[str]:
    """What the categories are called, where that is a question."""
    notes = [f"Names of classes are those of {next(iter(lists.names))}/{FILE}, as in REM's code."]
    for split, others in lists.names.items():
        notes += _differing(f"Categories that {split} calls otherwise", names, others)
    notes += _differing(
        "Categories called otherwise than in TAO's list", names, {k: r.raw for k, r in table.rows.items()}
    )
    if PERSON in names:
        notes.append(f"Category {PERSON} (person.n.01) is called {names[PERSON]!r} here.")
    return notes


def _differing(what: str, names: Mapping[int, str], others: Mapping[int, str]) -> list[str]:
    """A note on the categories that have another name in a second list, or are not in it; no note for none."""
    places = [
        f"{key} is {name!r}, there {others.get(key, 'nothing')!r}"
        for key, name in sorted(names.items())
        if others.get(key) != name
    ]
    return [f"{what}: {_some(places)}."] if places else []


def _some(places: Sequence[str]) -> str:
    return "; ".join(places[:5]) + (f"; and {len(places) - 5:,} more" if len(places) > 5 else "")


def _style_note(style: str, table: ClassTable) -> str:
    return f"Expressions: style {style}, table of class names {table.sha256[:12]}. Other styles are other questions."
