"""VSPW by stuff class: "the <class>" for each of the 66 stuff classes of every video, as REM evaluates it (paper, C.1).

Read are ``<split>.txt`` (one video a line), ``label_num_dic_final.json`` ({name: number as text}), and
``data/<video>/mask/*.png``; frames, where they are wanted, from ``data/<video>/origin``. A mask holds class + 1; 0
("others"), 255 and every other value above 124 are void, which is kept as Ignore. The stuff classes are those that
VIPSeg counts as no things.

A video is asked for every stuff class that some mask of it shows, on all of its frames. J is averaged over frames,
those without the class included, then over the videos of a class, then over classes. In REM's evaluator void counts
as background, and so it does here unless the rule says otherwise (``refvps evaluate --void ignore``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refvps.archive import shown
from refvps.data.digest import benchmark_digest, clip_digest
from refvps.data.ids import map_ids
from refvps.data.importers.classes import ClassTable, annotator, check_style, load_table, names_in, sentence
from refvps.data.index import Progress, parallel
from refvps.data.masktracks import empty_counts, make_annotation
from refvps.data.truth import Frame, read_mask, read_unchanged
from refvps.errors import DataMissingError, InputError, UsageError
from refvps.files import read_bytes, read_json, sha256
from refvps.frames import ImageFrames, image_files, natural_key
from refvps.masks import bits, png, rle
from refvps.masks.mask import Mask
from refvps.types import ID, Benchmark, Clip, Expression, Rules, Truth
from refvps.zips import is_junk

LABELS = "label_num_dic_final.json"
PAIRS = "val_vid2classes.json"
"""REM's list of the classes of every video, {video: [class as text]}; compared where it is there."""

SPLITS = ("val", "train")
FPS = 15.0
HIGHEST = 124
"""Highest label of a class."""

KNOWN = {"videos": 343, "classes": 66, "pairs": 1684}
"""What REM's lists hold for val; never used, only shown beside what was counted."""

MAX_LIST_BYTES = 1 << 24
RULES = Rules(metrics=("J",), average="frame>clip>concept", ignore="background")
LICENCE = "VSPW is released by its authors for research (github.com/VSPW-dataset); the videos are not theirs to give"


@dataclass(frozen=True, slots=True)
class Video:
    """A video on disk; ``masks``: (frame name, file) in time order."""

    name: str
    clip: str
    split: str
    masks: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Content:
    """What decoding a video yields: size (height, width), its stuff classes, the clip's digest, SHA-256 of the files,
    void pixels, and (label, frames with it) for labels that have no meaning."""

    size: tuple[int, int]
    classes: tuple[int, ...]
    digest: str
    hashes: tuple[str, ...]
    void: int
    stray: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker needs to decode a video. ``names``: (name in VSPW, name in the sentence) by stuff class."""

    video: Video
    style: str
    names: Mapping[int, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class StuffTruth:
    """Ground truth of one video, one label PNG per frame; ``targets``: (label, target). Void is Ignore."""

    paths: tuple[str, ...]
    hashes: tuple[str, ...]
    size: tuple[int, int]
    targets: tuple[tuple[int, str], ...]

    def frame(self, index: int) -> Frame:
        """See :meth:`refvps.types.Truth.frame`."""
        path = self.paths[index]
        try:
            labels = png.read_labels(read_unchanged(path, self.hashes[index]), self.size)
        except png.PngError as error:
            raise InputError("A ground truth mask cannot be used.", where=[f"{path}: {error}"]) from error
        void = Mask.from_array(_void(labels))
        return {name: Mask.from_array(labels == label) for label, name in self.targets}, void if void.area() else None


def load_vspw(
    root: Path, *, split: str = "val", style: str = "raw", jobs: int = 1, progress: Progress | None = None
) -> Benchmark:
    """Load the stuff classes of VSPW from a folder in its own layout.

    ``split``: "val" or "train". ``style`` of the sentences: see :mod:`refvps.data.importers.classes`. Every mask is
    decoded, on ``jobs`` processes; ``progress`` counts videos. Raises UsageError for options, InputError naming what
    is missing or cannot be used.
    """
    check_style(style)
    if split not in SPLITS:
        raise UsageError("There is no such split of VSPW.", where=[repr(split)[:80]], fix=" or ".join(SPLITS))
    root = Path(root)
    table = load_table("vspw")
    _check_labels(root / LABELS, table)
    names = _stuff(table, style)
    videos, hidden = _videos(root, split)
    contents = _contents(videos, names, style, jobs, progress)
    notes = _notes(root, split, videos, contents, table, style, hidden)
    return _benchmark(root, split, style, videos, contents, names, notes)


def _check_labels(path: Path, table: ClassTable) -> None:
    """Raise InputError unless VSPW's own list numbers the classes as the shipped table does."""
    found = read_json(path)
    wanted = {row.raw: str(row.id + 1) for row in table.rows.values()} | {"others": "0"}
    wrong = ["it is no object of names and numbers"]
    if isinstance(found, dict):
        differ = sorted({name for name in {*found, *wanted} if str(found.get(name)) != wanted.get(name)})
        wrong = [f"{shown(name, 60)} is {found.get(name)!r}"[:200] + f", not {wanted.get(name)}" for name in differ]
    if wrong:
        raise InputError(
            "The labels of VSPW are not numbered as expected.",
            where=[f"{path}: {text}" for text in wrong],
            fix="use the file that comes with VSPW",
        )


def _stuff(table: ClassTable, style: str) -> dict[int, tuple[str, str]]:
    names = {key: row.raw for key, row in table.rows.items()}
    said = names_in(table, names, style)
    return {key: (row.raw, said[key]) for key, row in sorted(table.rows.items()) if row.stuff}


def _videos(root: Path, split: str) -> tuple[list[Video], int]:
    """The videos of a split with their mask files, and how many hidden files were passed over."""
    path = root / f"{split}.txt"
    try:
        lines = [line.strip() for line in read_bytes(path, MAX_LIST_BYTES).decode("utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise InputError("A list of videos is no text.", where=[str(path)], fix="get VSPW again") from error
    names = [line for line in lines if line]
    odd = [name for name in names if "/" in name or "\\" in name or name.startswith(".") or not name.isprintable()]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if odd or twice or not names:
        wrong = odd or [f"{name}: twice" for name in twice] or ["no video"]
        places = [f"{path}: {shown(text)}" for text in wrong]
        raise InputError("A list of videos cannot be used.", where=places, fix="get VSPW again")
    ids = map_ids(names)
    videos, wrong, hidden = [], [], 0
    for name in names:
        folder = root / "data" / name / "mask"
        files, passed = _mask_files(folder, wrong)
        hidden += passed
        pictures = folder.parent / "origin"
        masked = {file.stem for file in files}
        lacking = [file.stem for file in image_files(pictures) if file.stem not in masked] if pictures.is_dir() else []
        wrong += [f"{folder / stem}.png: no mask of this frame" for stem in lacking]
        videos.append(Video(name, ids[name], split, tuple((file.stem, str(file)) for file in files)))
    if wrong:
        raise InputError(
            "Masks of VSPW cannot be used.",
            where=wrong,
            fix=f"give the folder that holds {split}.txt, {LABELS} and data/<video>/mask/<frame>.png",
        )
    return videos, hidden


def _mask_files(folder: Path, wrong: list[str]) -> tuple[list[Path], int]:
    """PNG files in time order, and the number of hidden files."""
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        wrong.append(f"{folder}: {error.strerror or error}")
        return [], 0
    open_files = [entry for entry in entries if not is_junk(entry.name)]
    files = sorted((e for e in open_files if e.suffix.lower() == ".png"), key=lambda file: natural_key(file.name))
    wrong += [f"{entry}: not a PNG" for entry in sorted(open_files) if entry.suffix.lower() != ".png"]
    wrong += [f"{file}: a frame name is not allowed" for file in files if not ID.fullmatch(file.stem)]
    if len({file.stem.lower() for file in files}) != len(files):
        wrong.append(f"{folder}: two masks of one frame")
    if not files:
        wrong.append(f"{folder}: no mask")
    return files, len(entries) - len(open_files)


def _contents(
    videos: Sequence[Video], names: Mapping[int, tuple[str, str]], style: str, jobs: int, progress: Progress | None
) -> dict[str, Content]:
    """What is in the masks, by clip."""
    tasks = [Task(video, style, names) for video in videos]
    found = list(parallel(scan_video, tasks, jobs=jobs, chunk=1, progress=progress))
    if wrong := [place for result in found if isinstance(result, list) for place in result]:
        raise InputError(
            "Masks of VSPW cannot be used.",
            where=wrong,
            fix="get these files again: 8-bit PNG with one label per pixel, all of one size in a video",
        )
    return {v.clip: result for v, result in zip(videos, found, strict=True) if isinstance(result, Content)}


def scan_video(task: Task) -> Content | list[str]:
    """Decode all masks of a video once; places where something is wrong instead of a content."""
    video, wrong = task.video, []
    size: tuple[int, int] | None = None
    tracks: dict[int, dict[int, bytes]] = {}
    ignored: list[bytes] = []
    stray: Counter[int] = Counter()
    pixels = 0
    hashes: list[str] = []
    for index, (_, path) in enumerate(video.masks):
        try:
            data = read_mask(path)
            hashes.append(sha256(data))
            if size is None:
                head = png.header(data)
                size = head.height, head.width
            labels = png.read_labels(data, size)
        except png.PngError as error:
            first = f", as of {video.masks[0][1]}" if error.kind == "size" else ""
            wrong.append(f"{path}: {error}{first}")
            continue
        except InputError as error:
            wrong += [f"{place}: {error.what}" for place in error.where]
            continue
        present = set(np.flatnonzero(np.bincount(labels.reshape(-1), minlength=256)).tolist())
        for key in present & {key + 1 for key in task.names}:
            tracks.setdefault(key - 1, {})[index] = rle.from_bits(bits.pack(labels == key), size)
        void = bits.pack(_void(labels))
        pixels += bits.area(void)
        ignored.append(rle.from_bits(void, size))
        stray.update(label for label in present if HIGHEST < label < 255)
    if wrong or size is None:
        return wrong
    classes = tuple(sorted(tracks))
    clip, expressions = _clip(video, size, classes, task.style, task.names)
    nothing = empty_counts(size)
    targets = {task.names[key][0]: [tracks[key].get(k, nothing) for k in range(len(video.masks))] for key in classes}
    digest = clip_digest(clip, expressions, make_annotation(clip, targets, ignored))
    return Content(size, classes, digest, tuple(hashes), pixels, tuple(sorted(stray.items())))


def _void(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((labels == 0) | (labels > HIGHEST))


def _clip(
    video: Video,
    size: tuple[int, int],
    classes: Sequence[int],
    style: str,
    names: Mapping[int, tuple[str, str]],
) -> tuple[Clip, list[Expression]]:
    frames = tuple(frame for frame, _ in video.masks)
    source = "" if video.name == video.clip else video.name
    clip = Clip(video.clip, size, FPS, frames, frames, FPS, group=video.clip, split=video.split, source_id=source)
    return clip, [
        Expression(
            id=names[key][0],
            clip=clip.id,
            text=sentence(names[key][1]),
            target=names[key][0],
            concept=names[key][0],
            annotator=annotator(style),
        )
        for key in classes
    ]


def _benchmark(
    root: Path,
    split: str,
    style: str,
    videos: Sequence[Video],
    contents: Mapping[str, Content],
    names: Mapping[int, tuple[str, str]],
    notes: tuple[str, ...],
) -> Benchmark:
    clips: dict[str, Clip] = {}
    expressions: list[Expression] = []
    truths: dict[str, Truth] = {}
    for video in videos:
        content = contents[video.clip]
        if not content.classes:
            continue
        clip, asked = _clip(video, content.size, content.classes, style, names)
        clips[clip.id] = clip
        expressions += asked
        truths[clip.id] = StuffTruth(
            tuple(path for _, path in video.masks),
            content.hashes,
            content.size,
            tuple((key + 1, names[key][0]) for key in content.classes),
        )
    if not clips:
        raise InputError("No mask of VSPW shows a stuff class.", where=[str(root)], fix="get VSPW again")
    digests = {clip: contents[clip].digest for clip in clips}
    folders = {video.clip: root / "data" / video.name / "origin" for video in videos}

    def frames(clip: str) -> ImageFrames:
        return _frames(folders[clip], clips[clip])

    return Benchmark(
        name="vspw-stuff",
        version=f"{split}-{style}",
        digest=benchmark_digest(digests),
        clips=clips,
        expressions=tuple(expressions),
        truth=truths.__getitem__,
        frames=frames,
        clip_digests=digests,
        rules=RULES,
        licence=LICENCE,
        notes=notes,
    )


def _frames(folder: Path, clip: Clip) -> ImageFrames:
    """The frames of a video, lazily, joined with the masks by name."""
    files = {file.stem: file for file in image_files(folder)} if folder.is_dir() else {}
    if missing := [f"{folder}/{frame}.jpg" for frame in clip.frames if frame not in files]:
        raise DataMissingError("Frames of VSPW are not on this machine.", where=missing, fix="put them there")
    paths = [files[frame] for frame in clip.frames]
    if empty := [str(path) for path in paths if not path.stat().st_size]:
        raise InputError("Frames of VSPW have 0 bytes.", where=empty, fix="get this video of VSPW again")
    frames = ImageFrames(paths, clip.fps, str(folder))
    if frames.size != clip.size:
        place = f"{folder}: {frames.size[1]}x{frames.size[0]}, its masks have {clip.size[1]}x{clip.size[0]}"
        raise InputError("Frames and masks of a video differ in size.", where=[place], fix="get the video again")
    return frames


def _notes(
    root: Path,
    split: str,
    videos: Sequence[Video],
    contents: Mapping[str, Content],
    table: ClassTable,
    style: str,
    hidden: int,
) -> tuple[str, ...]:
    found = {video.name: set(contents[video.clip].classes) for video in videos}
    classes = set().union(*found.values())
    pairs = sum(len(each) for each in found.values())
    notes = [
        f"Counted: {len(videos):,} videos, {len(classes)} stuff classes, {pairs:,} pairs. "
        f"For val, REM's lists have {KNOWN['videos']:,}, {KNOWN['classes']} and {KNOWN['pairs']:,}.",
        f"Void pixels (labels 0, 255 and above {HIGHEST}): {sum(c.void for c in contents.values()):,}. They count as "
        "background, as in REM's evaluator, or are left out with --void ignore.",
    ]
    for video in videos:
        for label, frames in contents[video.clip].stray:
            notes.append(f"{video.name}: the label {label} has no meaning and is void; frames with it: {frames:,}.")
    silent = sum(not each for each in found.values())
    notes += [f"Videos without a stuff class, which are left out: {silent}."] if silent else []
    notes += [f"Hidden files that were passed over: {hidden}."] if hidden else []
    if split == "val" and (root / PAIRS).is_file():
        notes.append(_compared(root / PAIRS, found, table))
    notes.append(
        f"Expressions: style {style}, table of class names {table.sha256[:12]}. Other styles are other questions."
    )
    return tuple(notes)


def _compared(path: Path, found: Mapping[str, set[int]], table: ClassTable) -> str:
    """How the pairs in the masks differ from REM's list."""
    listed = read_json(path)
    if not isinstance(listed, dict) or not all(isinstance(each, list) for each in listed.values()):
        raise InputError("REM's list of classes cannot be used.", where=[str(path)], fix="delete it, or get it again")
    known = {(name, str(key)) for name, each in found.items() for key in each}
    stuff = {str(key) for key, row in table.rows.items() if row.stuff}
    theirs = {(name, str(key)) for name, each in listed.items() for key in each if str(key) in stuff}
    if known == theirs:
        return f"{PAIRS} lists the same {len(theirs):,} pairs."
    places = ", ".join([f"{name}/{key}" for name, key in sorted(theirs ^ known)][:5])
    lacking, more = len(theirs - known), len(known - theirs)
    return (
        f"{PAIRS} differs: {lacking:,} of its pairs are not in the masks, {more:,} in the masks not in it ({places})."
    )
