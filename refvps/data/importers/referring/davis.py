"""DAVIS-2016, and Ref-DAVIS: the sentences of Khoreva et al. for the validation videos of DAVIS-2017.

``davis16`` reads ``Annotations/480p/<video>/<frame>.png`` (one object, every number but 0) for the videos of
``ImageSets/480p/val.txt`` or ``ImageSets/2016/val.txt``; it has no sentences, an expression's text is empty.

``ref-davis`` reads the copy that ReferFormer's scripts make, ``meta_expressions/valid/meta_expressions.json`` (four
sentences an object, in the order annotator 1 first frame, annotator 1 full video, annotator 2 first frame, annotator 2
full video), with the masks of DAVIS' unsupervised task, where 255 is void, or those of the copy. The published score
takes the four runs one by one: see ``refvps.run.protocols``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from refvps.data.ids import map_ids
from refvps.data.importers.referring.label_videos import LabelVideo, Scanned, benchmark_of, mask_files, read_list
from refvps.data.importers.referring.meta_expressions import Video, read_meta
from refvps.data.index import Progress
from refvps.errors import InputError, UsageError
from refvps.types import Benchmark, Expression, Rules

FPS = 24.0
VOID = 255
RUNS = 4
"""Annotator runs of Ref-DAVIS; expression k of an object belongs to run k mod 4."""

LISTS = ("ImageSets/480p/{}.txt", "ImageSets/2016/{}.txt")
UNSUPERVISED = "DAVIS/Annotations_unsupervised/480p", "Annotations_unsupervised/480p"
LICENCE16 = "DAVIS-2016 is published for research (davischallenge.org); agree to its terms"
LICENCE = "DAVIS-2017 and Ref-DAVIS (Khoreva et al., ACCV 2018) are published for research; agree to their terms"
KNOWN = {"videos": 30, "objects": 61, "expressions": 244, "frames": 1999}
"""What the validation set of Ref-DAVIS is known to hold; never used, only shown beside what was counted."""


def load_davis16(root: Path, *, split: str = "val", jobs: int = 1, progress: Progress | None = None) -> Benchmark:
    """Load DAVIS-2016 for methods that need no sentence; ``split``: "val" or "train"."""
    if split not in ("val", "train"):
        raise UsageError("There is no such split of DAVIS-2016.", where=[repr(split)[:80]], fix="val or train")
    root = Path(root)
    listed = _listed(root, split)
    ids, wrong, videos = map_ids(listed), list[str](), list[LabelVideo]()
    for name, frames in listed.items():
        folder = root / "Annotations" / "480p" / name
        masks = mask_files(folder, wrong)
        wanted = frames or [f"{index:05d}" for index in range(len(masks))]  # DAVIS numbers frames from 00000
        wrong += [f"{folder / frame}.png: no such mask" for frame in wanted if masks and frame not in masks]
        wrong += [f"{path}: not in the list of frames" for frame, path in masks.items() if frame not in wanted]
        expression = Expression(id="1", clip=ids[name], text="")
        videos.append(
            LabelVideo(
                clip=ids[name],
                source_id=name,
                split=split,
                fps=FPS,
                annotation_fps=FPS,
                frames=tuple(masks),
                masks=masks,
                targets=((1, "1"),),
                expressions=(expression,),
                pictures=root / "JPEGImages" / "480p" / name,
                single=True,
            )
        )
    _refuse(wrong, "DAVIS-2016")
    return benchmark_of(
        videos,
        name="davis16",
        version=split,
        rules=Rules(metrics=("J", "F", "J&F", "TC"), average="frame>object"),
        licence=LICENCE16,
        notes=lambda found: [f"Counted: {len(found):,} videos, {sum(len(s.hashes) for s in found.values()):,} masks."],
        jobs=jobs,
        progress=progress,
    )


def _listed(root: Path, split: str) -> dict[str, list[str]]:
    """Frames by video of a split; lines are a video alone (its frames are not known), or the paths of a frame and its
    mask."""
    places = [root / place.format(split) for place in LISTS]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise InputError("The list of videos of DAVIS-2016 is not here.", where=map(str, places), fix="get it again")
    found: dict[str, list[str]] = {}
    for line in read_list(path):
        *folders, name = line.strip("/").split("/")
        video = folders[-1] if folders else name
        if video in ("", ".", "..") or not name:
            raise InputError("A list of videos cannot be used.", where=[f"{path}: {line}"[:200]], fix="get it again")
        found.setdefault(video, []).extend([Path(name).stem] if folders else [])
    return found


def _refuse(wrong: Sequence[str], name: str) -> None:
    if wrong:
        raise InputError(f"Masks of {name} are not here.", where=wrong, fix="give the folder the data set unpacks to")


def load_refdavis(root: Path, *, masks: str = "", jobs: int = 1, progress: Progress | None = None) -> Benchmark:
    """Load the validation set of Ref-DAVIS.

    ``masks``: "unsupervised" (the official ground truth, with void) or "copy" (``valid/Annotations``); by default
    the first that is there. Raises UsageError for options, InputError naming what is missing or does not fit.
    """
    if masks not in ("", "unsupervised", "copy"):
        raise UsageError("There are no such masks of Ref-DAVIS.", where=[repr(masks)[:80]], fix="unsupervised or copy")
    root = Path(root)
    listed = read_meta(root / "meta_expressions" / "valid" / "meta_expressions.json")
    choices = {} if masks == "copy" else {root / place: VOID for place in UNSUPERVISED}
    choices |= {} if masks == "unsupervised" else {root / "valid" / "Annotations": VOID}
    folder = next((place for place in choices if place.is_dir()), None)
    if folder is None:
        raise InputError("The masks of Ref-DAVIS are not here.", where=map(str, choices), fix="put them there")
    ids, wrong = map_ids(video.name for video in listed), list[str]()
    videos = [_refdavis_video(root, folder, video, ids[video.name], wrong) for video in listed]
    if wrong:
        raise InputError(
            "Sentences and masks of Ref-DAVIS do not fit together.",
            where=wrong,
            fix="make the copy again: every object has four sentences, in the order of its number",
        )

    def notes(found: Mapping[str, Scanned]) -> list[str]:
        frames = sum(len(result.hashes) for result in found.values())
        objects = sum(len(video.targets) for video in videos)
        sentences = sum(len(video.expressions) for video in videos)
        ignored = sum(result.ignored for result in found.values())
        return [
            f"Counted: {len(found):,} videos, {objects:,} objects, {sentences:,} expressions, {frames:,} frames. Known "
            f"are {KNOWN['videos']}, {KNOWN['objects']}, {KNOWN['expressions']} and {KNOWN['frames']:,}.",
            f"Masks from {folder.relative_to(root).as_posix()}; void pixels (255): {ignored:,}.",
        ]

    return benchmark_of(
        videos,
        name="ref-davis",
        version="val",
        rules=Rules(metrics=("J", "F", "J&F", "TC"), average="frame>object"),
        licence=LICENCE,
        notes=notes,
        jobs=jobs,
        progress=progress,
    )


def _refdavis_video(root: Path, folder: Path, video: Video, clip: str, wrong: list[str]) -> LabelVideo:
    if len(video.sentences) % RUNS:
        wrong.append(f"{video.name}: {len(video.sentences)} sentences are not four for each object")
    expressions, targets = [], {}
    for index, sentence in enumerate(video.sentences):
        wanted = str(index // RUNS + 1)
        if sentence.objects not in ((wanted,), ()):
            wrong.append(f"{video.name}: sentence {sentence.id} is of object {sentence.objects[0]}, not {wanted}")
        targets[int(wanted)] = wanted
        expressions.append(
            Expression(
                id=sentence.id,
                clip=clip,
                text=sentence.text,
                target=wanted,
                annotator=f"anno_{index % RUNS}",
            )
        )
    found = mask_files(folder / video.name, wrong)
    wrong += [
        f"{folder / video.name / frame}.png: no such mask" for frame in video.frames if found and frame not in found
    ]
    return LabelVideo(
        clip=clip,
        source_id=video.name,
        split="val",
        fps=FPS,
        annotation_fps=FPS,
        frames=video.frames,
        masks={frame: found[frame] for frame in video.frames if frame in found},
        targets=tuple(targets.items()),
        expressions=tuple(expressions),
        pictures=root / "valid" / "JPEGImages" / video.name,
        ignore=VOID,
    )
