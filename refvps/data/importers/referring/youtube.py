"""Ref-YouTube-VOS: sentences for the videos of YouTube-VOS.

Read are ``meta_expressions/<split>/meta_expressions.json``, the label masks ``<split>/Annotations/<video>/<frame>.png``
and, to predict, ``<split>/JPEGImages/<video>/<frame>.jpg``. The masks of ``train`` are public: a list of its videos
makes a split of one's own (``--option videos=FILE``). Those of ``valid`` lie on a server: the benchmark then asks the
questions, and ``refvps export predictions --layout annotations`` writes the zip that the server takes. Videos of
``valid`` that ``meta_expressions/test`` lists belong to the test set and are left out.

The server averages J and F over frames, then over expressions (as papers say; its program is not public).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from refvps.archive import shown
from refvps.data.digest import benchmark_digest, clip_digest
from refvps.data.ids import map_ids
from refvps.data.importers.referring.label_videos import (
    LabelVideo,
    Scanned,
    benchmark_of,
    mask_files,
    pictures,
    read_list,
)
from refvps.data.importers.referring.meta_expressions import Video, read_meta
from refvps.data.index import Progress
from refvps.data.truth import HiddenTruth
from refvps.errors import DataMissingError, InputError, UsageError
from refvps.frames import ImageFrames, image_files
from refvps.types import Annotation, Benchmark, Clip, Expression, Rules

FPS = 6.0
"""Every fifth frame of 30 a second is annotated and published."""

SPLITS = ("train", "valid")
KNOWN = {"videos": 202, "expressions": 834}
"""What the validation set is known to hold; never used, only shown beside what was counted."""

RULES = Rules(metrics=("J", "F", "J&F"), average="frame>expression")
LICENCE = "YouTube-VOS and its expressions are published for research (youtube-vos.org); agree to their terms"


def load_refytvos(
    root: Path, *, split: str = "train", videos: str = "", jobs: int = 1, progress: Progress | None = None
) -> Benchmark:
    """Load Ref-YouTube-VOS. ``split``: "train" or "valid"; ``videos``: a file with the names of the videos wanted.

    Raises UsageError for options, InputError naming what is missing or does not fit, DataMissingError for ``valid``
    without frames, whose sizes are needed.
    """
    if split not in SPLITS:
        raise UsageError("There is no such split of Ref-YouTube-VOS.", where=[repr(split)[:80]], fix="train or valid")
    if videos and not Path(videos).is_file():
        raise UsageError("There is no such list of videos.", where=[repr(videos)[:200]], fix="give the path of a file")
    root = Path(root)
    listed = read_meta(root / "meta_expressions" / split / "meta_expressions.json")
    test = root / "meta_expressions" / "test" / "meta_expressions.json"
    left_out = (
        {video.name for video in read_meta(test, empty=True)} if split == "valid" and test.is_file() else set[str]()
    )
    known = {video.name for video in listed}
    listed = [video for video in listed if video.name not in left_out]
    version = split
    if videos:
        wanted = read_list(Path(videos))
        if unknown := sorted(set(wanted) - {video.name for video in listed}):
            places = [f"{videos}: {shown(name)}" for name in unknown]
            raise InputError("A list names videos that the split does not have.", where=places, fix="correct the list")
        listed = [video for video in listed if video.name in set(wanted)]
        version = f"{split}-{len(listed)}"
    if not listed:
        raise InputError("No video is left.", where=[str(root)], fix="check the lists")
    ids = map_ids(video.name for video in listed)
    sentences = sum(len(video.sentences) for video in listed)
    notes = [f"Counted: {len(listed):,} videos, {sentences:,} expressions."]
    if split == "valid":
        notes[0] += f" The validation set is known to have {KNOWN['videos']} and {KNOWN['expressions']}."
        notes.append(f"Videos of the test set, left out: {len(known & left_out):,}.")
        return _hidden(root, listed, ids, version, notes)

    def counted(found: Mapping[str, Scanned]) -> Sequence[str]:
        masks = sum(len(result.hashes) for result in found.values())
        return [*notes, f"Masks: {masks:,}."]

    return benchmark_of(
        _label_videos(root, listed, ids),
        name="ref-ytvos",
        version=version,
        rules=RULES,
        licence=LICENCE,
        notes=counted,
        jobs=jobs,
        progress=progress,
    )


def _label_videos(root: Path, listed: Sequence[Video], ids: Mapping[str, str]) -> list[LabelVideo]:
    found: list[LabelVideo] = []
    wrong: list[str] = []
    for video in listed:
        folder = root / "train" / "Annotations" / video.name
        masks = mask_files(folder, wrong)
        known = {frame: masks[frame] for frame in video.frames if frame in masks}
        if masks:
            wrong += [f"{folder / frame}.png: no such mask" for frame in video.frames if frame not in masks]
        bad = [s.id for s in video.sentences if len(s.objects) != 1 or not 0 < int(s.objects[0]) < 255]
        wrong += [f"{video.name}: expression {key} does not name one object" for key in bad]
        if bad:
            continue
        expressions = tuple(
            Expression(id=s.id, clip=ids[video.name], text=s.text, target=s.objects[0]) for s in video.sentences
        )
        targets = sorted({int(s.objects[0]) for s in video.sentences})
        found.append(
            LabelVideo(
                clip=ids[video.name],
                source_id=video.name,
                split="train",
                fps=FPS,
                annotation_fps=FPS,
                frames=video.frames,
                masks=known,
                targets=tuple((label, str(label)) for label in targets),
                expressions=expressions,
                pictures=root / "train" / "JPEGImages" / video.name,
            )
        )
    if wrong:
        raise InputError(
            "Sentences and masks of Ref-YouTube-VOS do not fit together.",
            where=wrong,
            fix="give the folder that holds meta_expressions/ and train/Annotations/<video>/<frame>.png",
        )
    return found


def _hidden(root: Path, listed: Sequence[Video], ids: Mapping[str, str], version: str, notes: list[str]) -> Benchmark:
    """Clips and sentences whose ground truth is on the server; sizes come from the frames."""
    return hidden_benchmark(
        listed,
        ids,
        name="ref-ytvos",
        version=version,
        split="valid",
        fps=FPS,
        folder=root / "valid" / "JPEGImages",
        rules=RULES,
        licence=LICENCE,
        notes=notes,
    )


def hidden_benchmark(
    listed: Sequence[Video],
    ids: Mapping[str, str],
    *,
    name: str,
    version: str,
    split: str,
    fps: float,
    folder: Path,
    rules: Rules,
    licence: str,
    notes: Sequence[str],
) -> Benchmark:
    """A benchmark that can be predicted, validated and exported here, and scored only where its masks are."""
    clips: dict[str, Clip] = {}
    expressions: list[Expression] = []
    digests: dict[str, str] = {}
    folders: dict[str, Path] = {}
    missing = [
        f"{folder / v.name}" for v in listed if not (folder / v.name).is_dir() or not image_files(folder / v.name)
    ]
    if missing:
        raise DataMissingError(
            f"Frames of {name} are not on this machine; they give the size that masks must have.",
            where=missing,
            fix="put them there",
        )
    for video in listed:
        place = folder / video.name
        first = next((file for file in image_files(place) if file.stem == video.frames[0]), None)
        if first is None:
            raise DataMissingError(f"Frames of {name} are not on this machine.", where=[f"{place}/{video.frames[0]}"])
        size = ImageFrames([first], fps, str(place)).size
        key = ids[video.name]
        source = "" if key == video.name else video.name
        clip = Clip(key, size, fps, video.frames, video.frames, fps, group=key, split=split, source_id=source)
        asked = [Expression(id=s.id, clip=key, text=s.text, target=s.id) for s in video.sentences]
        clips[key], folders[key] = clip, place
        expressions += asked
        digests[key] = clip_digest(clip, asked, Annotation(key, {}))
    hidden = HiddenTruth(name)

    def frames(clip: str) -> ImageFrames:
        return pictures(folders[clip], clips[clip], name)

    return Benchmark(
        name=name,
        version=version,
        digest=benchmark_digest(digests),
        clips=clips,
        expressions=tuple(expressions),
        truth=lambda clip: hidden,
        frames=frames,
        clip_digests=digests,
        rules=rules,
        licence=licence,
        notes=(*notes, "The ground truth is not public: these predictions are scored by a server."),
    )
