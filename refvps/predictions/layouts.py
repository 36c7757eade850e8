"""Recognising how predictions are laid out, by comparing names with the benchmark's manifest.

Folders are classified, not files: a submission of 57,808 masks has a few hundred folders. Nothing is
inferred from positions, listing order or the names of top folders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from refvps.errors import DataMissingError
from refvps.predictions.frames import FrameNames
from refvps.types import Benchmark, Clip, Expression, Truth

RUN_FILE = re.compile(r"run(?:[._-][A-Za-z0-9._-]+)?\.json")
"""``run.json``, or one file per shard: ``run.1-of-2.json``."""

_ANNO = re.compile(r"anno_\d+")
"""Folders that are meant as runs; only those of :data:`_RUN` are."""

_RUN = re.compile(r"anno_(?:0|[1-9][0-9]{0,2})")
_ANNOTATIONS = "Annotations"
PRED = "pred"
"""A folder of REM's result trees: ``<clip>/pred/<class>/`` for BURST, ``<clip>/<class>/pred/`` for VSPW."""


@dataclass
class ClipNames:
    """What one clip's parts may be called: ids, or the names they had in the data set they come from."""

    id: str
    frames: FrameNames
    expressions: tuple[Expression, ...]
    by_name: dict[str, str]
    targets: frozenset[str]


@dataclass
class Names:
    """Every name of a benchmark that can stand in a path.

    ``single``: no clip has more than one target, and none of these has a number but 1, so that no pixel value
    can be meant as an id.
    """

    clips: dict[str, ClipNames]
    by_name: dict[str, str]
    deepest: int
    single: bool

    def clip_at(self, parts: tuple[str, ...]) -> tuple[ClipNames, int] | None:
        """The clip that the path starts with, and how many of its parts name it (the most possible)."""
        for count in range(min(self.deepest, len(parts)), 0, -1):
            found = self.by_name.get(parts[0] if count == 1 else "/".join(parts[:count]))
            if found is not None:
                return self.clips[found], count
        return None


def chosen_names(present: Collection[str], named: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Name to id for (id, source id) pairs. Where a name is the id of one thing and the source id of
    another, the kind of name that more of the names present are wins.
    """
    pairs = list(named)
    ids = {each: each for each, _ in pairs}
    sources = {source: each for each, source in pairs if source}
    by_source = sum(name in sources for name in present) > sum(name in ids for name in present)
    return {**ids, **sources} if by_source else {**sources, **ids}


def deepest_name(benchmark: Benchmark) -> int:
    """Most path parts that the name of a clip has: BURST names sequences by data set and name."""
    return max((clip.source_id.count("/") + 1 for clip in benchmark.clips.values()), default=1)


def present_names(found: Iterable[Folder], deepest: int) -> set[str]:
    """Every name in a submission that could be a clip's or an expression's."""
    present: set[str] = set()
    for folder in found:
        parts = folder.parts
        for start in range(len(parts)):
            stops = range(start + 1, min(len(parts), start + deepest) + 1)
            present.update("/".join(parts[start:stop]) for stop in stops)
        present.update(stem for stem, suffix, _ in folder.files if suffix in (".jsonl", ".npz", ".npy"))
    return present


def benchmark_names(benchmark: Benchmark, present: Collection[str]) -> Names:
    """The benchmark's names; ``present``: every path and part of a path that occurs."""
    by_clip: dict[str, list[Expression]] = {clip: [] for clip in benchmark.clips}
    for expression in benchmark.expressions:
        by_clip[expression.clip].append(expression)
    clips = {
        clip.id: ClipNames(
            clip.id,
            FrameNames(clip, absent_frames(clip, by_clip[clip.id], benchmark.truth)),
            tuple(by_clip[clip.id]),
            chosen_names(present, [(each.id, each.source_id) for each in by_clip[clip.id]]),
            frozenset(each.target for each in by_clip[clip.id]),
        )
        for clip in benchmark.clips.values()
    }
    by_name = chosen_names(present, [(clip.id, clip.source_id) for clip in benchmark.clips.values()])
    single = all(len(c.targets) <= 1 and all(pixel_value(t) in (0, 1) for t in c.targets) for c in clips.values())
    return Names(clips, by_name, deepest_name(benchmark), single)


def pixel_value(target: str) -> int:
    """The value of a target in id masks, 1 to 255; 0 for a target that cannot stand in them."""
    number = int(target) if target.isascii() and target.isdigit() else 0
    return number if number < 256 else 0


def absent_frames(
    clip: Clip, expressions: Iterable[Expression], truth: Callable[[str], Truth]
) -> dict[str, frozenset[str]]:
    """Annotated frames that need no mask, by expression id: those on which its target is not annotated.

    A truth that knows them without decoding has ``absent``, a set of (target, frame index). Where ground truth is
    not on this machine, every annotated frame needs a mask.
    """
    try:
        absent: Iterable[tuple[str, int]] = getattr(truth(clip.id), "absent", ())
    except DataMissingError:
        return {}
    annotated = frozenset(clip.annotated_indices()) if absent else frozenset()
    by_target: dict[str, set[str]] = {}
    for target, index in absent:
        if index in annotated:
            by_target.setdefault(target, set()).add(clip.frames[index])
    return {each.id: frozenset(by_target[each.target]) for each in expressions if each.target in by_target}


@dataclass
class Folder:
    """The files directly in one folder of the submission, split into stem and suffix (lower case)."""

    parts: tuple[str, ...]
    files: list[tuple[str, str, str]] = field(default_factory=list)  # (stem, suffix, full name)

    def stems(self, suffix: str) -> list[str]:
        """Stems of the files that end in ``suffix``."""
        return [stem for stem, each, _ in self.files if each == suffix]


def folders(names: Iterable[str]) -> list[Folder]:
    """Group sorted names by folder."""
    found: dict[str, Folder] = {}
    for name in names:
        path, _, file = name.rpartition("/")
        folder = found.get(path)
        if folder is None:
            folder = found[path] = Folder(tuple(path.split("/")) if path else ())
        stem, dot, suffix = file.rpartition(".")
        folder.files.append((stem, dot + suffix.lower(), name) if dot else (file, "", name))
    return list(found.values())


@dataclass
class Claim:
    """The files that speak for one clip in one form.

    ``form``: canonical, npz, json, tree, rem-burst, rem-vspw, arrays, ids, anno or anno-ids; ``where``: the folder
    or file as a user sees it. ``parts`` maps the expression's name in the path (trees, arrays), the run (anno-ids) or
    run and target (anno) to files by frame name; '' where there is no such level. ``exact`` counts known names.
    ``lists``: what an RLE JSON holds, by expression's name. ``wrong``: (problem, file) for masks in JPEG and
    the like, which have no file name in ``parts``.
    """

    form: str
    where: str
    parts: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)
    exact: int = 0
    lists: dict[str, Any] = field(default_factory=dict)
    wrong: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Layout:
    """A submission sorted out: claims by clip, and everything that no clip claims."""

    root: tuple[str, ...]
    rivals: dict[tuple[str, ...], int]
    claims: dict[str, list[Claim]]
    surplus_clips: dict[str, None]
    surplus_files: list[str]
    json_files: list[str]
    run_files: list[str]
    misnamed_runs: dict[str, None]


def find_root(found: Iterable[Folder], names: Names) -> tuple[tuple[str, ...] | None, dict[tuple[str, ...], int]]:
    """The folder that holds the clips (None: no clip was found) and others that seem to hold some, too.

    Each folder votes for the roots that would make its path meaningful; complete matches count first.
    """
    votes: dict[tuple[str, ...], list[int]] = {}
    ballots: list[tuple[Folder, dict[tuple[str, ...], int]]] = []
    for folder in found:
        ballot: dict[tuple[str, ...], int] = {}
        for start in range(len(folder.parts) + 1):
            level, weight = _match(folder, start, names)
            if level:
                root = _root(folder.parts[:start], names)
                ballot[root] = max(level, ballot.get(root, 0))
                votes.setdefault(root, [0, 0, 0])[3 - level] += weight
        ballots.append((folder, ballot))
    if not votes:
        return None, {}
    best = min(votes, key=lambda root: ([-count for count in votes[root]], len(root), root))
    rivals: dict[tuple[str, ...], int] = {}
    for folder, ballot in ballots:
        if best not in ballot:
            for root, level in ballot.items():
                if level >= 2:
                    rivals[root] = rivals.get(root, 0) + len(folder.files)
    return best, rivals


def _root(parts: tuple[str, ...], names: Names) -> tuple[str, ...]:
    if parts and parts[-1] not in names.by_name and (parts[-1] == _ANNOTATIONS or _ANNO.fullmatch(parts[-1])):
        return parts[:-1]
    return parts


def _match(folder: Folder, start: int, names: Names) -> tuple[int, int]:
    """How well the folder's path makes sense from part ``start`` on: (3 fully .. 0 not at all, files)."""
    rest = folder.parts[start:]
    if len(rest) < names.deepest:
        head = "".join(f"{part}/" for part in rest)
        whole = [1 for stem, suffix, _ in folder.files if suffix in (".jsonl", ".npz") and head + stem in names.by_name]
        if whole:
            return 3, len(whole)
    at = names.clip_at(rest)
    if at is None:
        return 0, 0
    clip, count = at
    rest, _ = _tree_parts(rest[count:])
    anno = start > 0 and _ANNO.fullmatch(folder.parts[start - 1]) is not None
    pictures = folder.stems(".png")
    if not rest:
        arrays = sum(stem in clip.by_name for stem, suffix, _ in folder.files if suffix in (".npy", ".npz"))
        known = sum(stem in clip.frames.index for stem in pictures)
        return (3, known + arrays) if known or arrays else (1, len(folder.files))
    if len(rest) > 1:
        return 0, 0
    if rest[0] in (clip.targets if anno else clip.by_name):
        known = sum(stem in clip.frames.index for stem in pictures)
        return (3, known) if known else (2, len(folder.files))
    return 1, len(folder.files)


def _tree_parts(rest: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The folders below a clip's without that of REM's trees, and the form they have: tree, rem-burst, rem-vspw.

    The name of an expression may have slashes in REM's trees only.
    """
    if len(rest) > 1 and rest[0] == PRED:
        return ("/".join(rest[1:]),), "rem-burst"
    if len(rest) > 1 and rest[-1] == PRED:
        return ("/".join(rest[:-1]),), "rem-vspw"
    return rest, "tree"


def sort_out(
    found: Iterable[Folder], root: tuple[str, ...], rivals: dict[tuple[str, ...], int], names: Names
) -> Layout:
    """Give every file under ``root`` to the clip and form it belongs to."""
    layout = Layout(root, rivals, {}, {}, [], [], [], {})
    for folder in found:
        if folder.parts[: len(root)] != root:
            layout.surplus_files += [name for _, _, name in folder.files]
            continue
        rest = folder.parts[len(root) :]
        lead = ""
        if rest and rest[0] not in names.by_name and (rest[0] == _ANNOTATIONS or _ANNO.fullmatch(rest[0])):
            lead, rest = rest[0], rest[1:]
        at = names.clip_at(rest)
        if at is None:
            _outside(folder, lead, rest, names, layout)
        elif lead not in ("", _ANNOTATIONS) and not _RUN.fullmatch(lead):
            layout.misnamed_runs.setdefault(lead, None)
        else:
            clip, count = at
            _inside(folder, lead, clip, rest[count:], layout)
    return layout


def _claim(layout: Layout, clip: str, form: str, where: str) -> Claim:
    claims = layout.claims.setdefault(clip, [])
    for claim in claims:
        if claim.form == form and claim.where == where:
            return claim
    claims.append(Claim(form, where))
    return claims[-1]


def _outside(folder: Folder, lead: str, rest: tuple[str, ...], names: Names, layout: Layout) -> None:
    """Files that lie in no clip's folder: one file per clip, RLE JSON, run files, and strangers."""
    head = "".join(f"{part}/" for part in rest)
    masks = 0
    for stem, suffix, name in folder.files:
        file = name.rpartition("/")[2]
        clip = names.by_name.get(head + stem)
        if suffix in (".jsonl", ".npz") and lead in ("", _ANNOTATIONS) and clip is not None:
            claim = _claim(layout, clip, "canonical" if suffix == ".jsonl" else "npz", name)
            claim.parts[()] = {"": name}
            claim.exact = 1
        elif suffix == ".jsonl" and not rest:
            layout.surplus_clips.setdefault(stem, None)
        elif suffix == ".json" and not rest and RUN_FILE.fullmatch(file):
            layout.run_files.append(name)
        elif suffix == ".json" and not rest:
            layout.json_files.append(name)
        elif suffix in (".png", ".npy", ".npz") and (rest or lead):
            masks += 1
        else:
            layout.surplus_files.append(name)
    if masks:
        stranger = rest[:-1] if len(rest) > 1 else rest
        layout.surplus_clips.setdefault("/".join(stranger) or lead, None)


_WRONG = {".jpg": "jpeg", ".jpeg": "jpeg"} | dict.fromkeys(
    (".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".pbm", ".jp2", ".avif", ".npy", ".npz"), "format"
)
"""Endings that a mask must not have, and the problem they are."""


def _inside(folder: Folder, lead: str, clip: ClipNames, rest: tuple[str, ...], layout: Layout) -> None:
    """Files in a clip's folder or one below it."""
    anno = lead if lead and lead != _ANNOTATIONS else ""
    path = "/".join(folder.parts)
    home = "/".join(folder.parts[: len(folder.parts) - len(rest)])
    own = home.rpartition(f"{anno}/")[2] if anno else ""
    rest, tree = (rest, "tree") if anno else _tree_parts(rest)
    if len(rest) > 1:
        layout.surplus_files += [name for _, _, name in folder.files]
        return
    if rest:
        form, where = ("anno", f"anno_k/{own}") if anno else (tree, home)
        key = (anno, rest[0]) if anno else rest
        known = rest[0] in (clip.targets if anno else clip.by_name)
    else:
        form, where = ("anno-ids", f"anno_k/{own}") if anno else ("ids", path)
        key = (anno,) if anno else ()
        known = True
    pictures = {stem: name for stem, suffix, name in folder.files if suffix == ".png"}
    wrong: dict[str, tuple[str, str]] = {}
    for stem, suffix, name in folder.files:
        if suffix == ".png":
            continue
        if suffix in (".npy", ".npz") and not rest and not anno:
            claim = _claim(layout, clip.id, "arrays", path)
            claim.parts[(stem, suffix)] = {"": name}
            claim.exact += stem in clip.by_name
        elif known and stem in clip.frames.wanted and stem not in pictures and suffix in _WRONG:
            wrong[stem] = (_WRONG[suffix], name)
        else:
            layout.surplus_files.append(name)
    if pictures or wrong or (rest and known and folder.files):
        claim = _claim(layout, clip.id, form, where)
        files = claim.parts.setdefault(key, {})
        files |= pictures
        files |= dict.fromkeys(wrong, "")  # there, so not missing, but not to be read
        claim.wrong += wrong.values()
        if known:
            claim.exact += sum(stem in clip.frames.index for stem in pictures)
