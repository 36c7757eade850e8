"""MeViS: sentences about motion, whose target may be several objects.

Read are ``<split>/meta_expressions.json`` (or ``meta_expressions_v2.json``), ``<split>/mask_dict.json``, which maps the
number of a mask to one COCO RLE or null per frame, and, to predict, ``<split>/JPEGImages/<video>/<frame>.jpg``. The
target of an expression is the union of its masks; a null is an empty mask. J and F are averaged over frames, then
over expressions, as in the authors' evaluator; where that drops what a worker could not read, this one stops. The
masks of ``valid`` are not public: see :mod:`refvps.data.importers.referring.youtube`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from refvps.archive import shown
from refvps.data.digest import benchmark_digest, clip_digest
from refvps.data.ids import map_ids
from refvps.data.importers.referring.label_videos import pictures
from refvps.data.importers.referring.meta_expressions import Video, read_meta
from refvps.data.importers.referring.tracks import Track, UnionTruth, checked_track
from refvps.data.importers.referring.youtube import hidden_benchmark
from refvps.data.importers.spans import Span, members
from refvps.data.index import Progress
from refvps.data.masktracks import empty_counts
from refvps.data.truth import annotation
from refvps.errors import InputError, UsageError
from refvps.frames import ImageFrames
from refvps.types import Benchmark, Clip, Expression, Rules

SPLITS = ("valid_u", "train", "valid")
LISTS = ("meta_expressions.json", "meta_expressions_v2.json")
MASKS = "mask_dict.json"
FPS = 0.0
"""The rate of the frames is not published."""

KNOWN = {"videos": 50, "expressions": 793}
"""What valid_u is known to hold; never used, only shown beside what was counted."""

RULES = Rules(metrics=("J", "F", "J&F"), average="frame>expression")
LICENCE = "MeViS is published for non-commercial research (github.com/henghuiding/MeViS); agree to its terms"


def load_mevis(root: Path, *, split: str = "valid_u", jobs: int = 1, progress: Progress | None = None) -> Benchmark:
    """Load a split of MeViS: "valid_u" (the public validation set), "train", or "valid" (questions only).

    ``root`` holds the folder of the split, or is it. ``progress`` counts videos. Raises UsageError for options,
    InputError naming what is missing or does not fit.
    """
    if split not in SPLITS:
        raise UsageError("There is no such split of MeViS.", where=[repr(split)[:80]], fix=" or ".join(SPLITS))
    root = Path(root)
    folder = root / split if (root / split).is_dir() else root
    if folder == root and (other := next((name for name in SPLITS if name == root.resolve().name != split), "")):
        raise UsageError(
            f"This is the split {other} of MeViS, not {split}.",
            where=[shown(root)],
            fix=f"--option split={other}, or give the folder of {split}",
        )
    places = [folder / name for name in LISTS if (folder / name).is_file()]
    if len(places) != 1:
        what = "MeViS' list of expressions is there twice." if places else "MeViS' list of expressions is not here."
        fix = f"give the folder that holds {split}/{LISTS[0]}, with one list"
        raise InputError(what, where=map(str, places or [folder / LISTS[0]]), fix=fix)
    listed = read_meta(places[0])
    ids = map_ids(video.name for video in listed)
    sentences = sum(len(video.sentences) for video in listed)
    notes = [f"Counted: {len(listed):,} videos, {sentences:,} expressions."]
    if split == "valid_u":
        notes[0] += f" Known are {KNOWN['videos']} and {KNOWN['expressions']}."
    if split == "valid":
        return hidden_benchmark(
            listed,
            ids,
            name="mevis",
            version=split,
            split=split,
            fps=FPS,
            folder=folder / "JPEGImages",
            rules=RULES,
            licence=LICENCE,
            notes=notes,
        )
    return _benchmark(folder, split, listed, ids, notes, progress)


def _tracks(path: Path, wanted: set[str]) -> dict[str, Track]:
    """The masks that expressions ask for, each checked as far as it goes without its video."""
    found: dict[str, Track] = {}
    wrong: list[str] = []

    def visit(number: str, span: Span, value: Any) -> None:
        if number not in wanted:
            return
        try:
            found[number] = checked_track(value, number, span)
        except ValueError as error:
            wrong.append(f"{path}: mask {number}: {error}"[:300])

    members(path, visit)
    wrong += [f"{path}: no mask {number}" for number in sorted(wanted - found.keys(), key=int) if not wrong]
    if wrong:
        raise InputError("Masks of MeViS cannot be used.", where=wrong, fix="get them again")
    return found


def _benchmark(
    folder: Path,
    split: str,
    listed: Sequence[Video],
    ids: Mapping[str, str],
    notes: list[str],
    progress: Progress | None,
) -> Benchmark:
    wanted = {number for video in listed for sentence in video.sentences for number in sentence.masks}
    tracks = _tracks(folder / MASKS, wanted)
    clips: dict[str, Clip] = {}
    expressions: list[Expression] = []
    truths: dict[str, UnionTruth] = {}
    digests: dict[str, str] = {}
    wrong: list[str] = []
    empty = 0
    for done, video in enumerate(listed, start=1):
        try:
            clip, asked, truth = _clip(video, ids[video.name], split, tracks)
        except ValueError as error:
            wrong.append(f"{folder / MASKS}: {shown(video.name, 60)}: {error}"[:400])
            continue
        masks = annotation(truth, clip)
        clips[clip.id] = clip
        expressions += asked
        truths[clip.id] = truth.unread()
        digests[clip.id] = clip_digest(clip, asked, masks)
        nothing = empty_counts(clip.size)
        silent = {key for key, track in masks.targets.items() if all(counts == nothing for counts in track.counts)}
        empty += sum(expression.target in silent for expression in asked)
        if progress is not None:
            progress(done, len(listed))
    if wrong:
        raise InputError("Sentences and masks of MeViS do not fit together.", where=wrong, fix="get them again")
    folders = {ids[video.name]: folder / "JPEGImages" / video.name for video in listed}

    def frames(clip: str) -> ImageFrames:
        return pictures(folders[clip], clips[clip], "mevis")

    if empty:
        notes = [*notes, f"Expressions without a single pixel, for which an empty prediction is right: {empty:,}."]
    return Benchmark(
        name="mevis",
        version=split,
        digest=benchmark_digest(digests),
        clips=clips,
        expressions=tuple(expressions),
        truth=truths.__getitem__,
        frames=frames,
        clip_digests=digests,
        rules=RULES,
        licence=LICENCE,
        notes=tuple(notes),
    )


def _clip(video: Video, key: str, split: str, tracks: Mapping[str, Track]) -> tuple[Clip, list[Expression], UnionTruth]:
    """One video with the union of the masks of each sentence; raises ValueError."""
    own = [tracks[number] for number in dict.fromkeys(n for s in video.sentences for n in s.masks)]
    if bad := [track for track in own if track.frames != len(video.frames)]:
        raise ValueError(f"mask {bad[0].number} has {bad[0].frames} entries for {len(video.frames)} frames")
    sizes = sorted({track.size for track in own if track.size is not None})
    if len(sizes) != 1:
        raise ValueError(f"masks of several sizes: {sizes}" if sizes else "no mask has a pixel, so no size is known")
    size, source = sizes[0], "" if key == video.name else video.name
    clip = Clip(key, size, FPS, video.frames, video.frames, FPS, group=key, split=split, source_id=source)
    targets: dict[tuple[str, ...], str] = {}
    asked = []
    for sentence in video.sentences:
        target = targets.setdefault(tuple(sorted(sentence.masks)), sentence.id)
        asked.append(Expression(id=sentence.id, clip=key, text=sentence.text, target=target))
    spans = tuple((track.number, track.span) for track in own)
    return clip, asked, UnionTruth(spans, tuple((target, numbers) for numbers, target in targets.items()), (), size)
