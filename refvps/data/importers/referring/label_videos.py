"""Videos whose ground truth is one label PNG per annotated frame: DAVIS, Ref-DAVIS, Ref-YouTube-VOS.

A label is the number of an object; with ``ignore`` set, that label is Ignore. Labels that no expression asks for are
background to those that are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refvps.archive import shown
from refvps.data.digest import benchmark_digest, clip_digest
from refvps.data.index import Progress, parallel
from refvps.data.masktracks import make_annotation
from refvps.data.truth import PngTruth, read_mask
from refvps.errors import DataMissingError, InputError
from refvps.files import sha256
from refvps.frames import ImageFrames, image_files
from refvps.masks import bits, png, rle
from refvps.types import Benchmark, Clip, Expression, Rules


@dataclass(frozen=True, slots=True)
class LabelVideo:
    """One video before its masks are read.

    ``frames``: all frame names in time order; ``masks``: file by annotated frame; ``targets``: (label, target);
    ``single``: every label but Ignore is the one target. ``pictures``: the folder of its frames.
    """

    clip: str
    source_id: str
    split: str
    fps: float
    annotation_fps: float
    frames: tuple[str, ...]
    masks: Mapping[str, str]
    targets: tuple[tuple[int, str], ...]
    expressions: tuple[Expression, ...]
    pictures: Path
    ignore: int | None = None
    single: bool = False

    def as_clip(self, size: tuple[int, int]) -> Clip:
        """The clip, once its size (height, width) is known."""
        return Clip(
            id=self.clip,
            size=size,
            fps=self.fps,
            frames=self.frames,
            annotated=tuple(frame for frame in self.frames if frame in self.masks),
            annotation_fps=self.annotation_fps,
            group=self.clip,
            split=self.split,
            source_id="" if self.source_id == self.clip else self.source_id,
        )


@dataclass(frozen=True, slots=True)
class Scanned:
    """What decoding a video yields; ``labels`` seen, ``ignored`` pixels of Ignore, SHA-256 of each file in order."""

    size: tuple[int, int]
    digest: str
    hashes: tuple[str, ...]
    labels: frozenset[int]
    ignored: int


def scan_video(video: LabelVideo) -> Scanned | list[str]:
    """Decode every mask of a video once; a list of what is wrong instead, if anything is."""
    wrong: list[str] = []
    size: tuple[int, int] | None = None
    hashes: list[str] = []
    seen: set[int] = set()
    ignored = 0
    tracks: dict[str, dict[str, bytes]] = {target: {} for _, target in video.targets}
    regions: dict[str, bytes] = {}
    for frame in (name for name in video.frames if name in video.masks):
        path = video.masks[frame]
        try:
            data = read_mask(path)
            hashes.append(sha256(data))
            if size is None:
                head = png.header(data)
                size = head.height, head.width
            labels = png.read_labels(data, size)
        except png.PngError as error:
            wrong.append(f"{path}: {error}")
            continue
        except InputError as error:
            wrong += [f"{place}: {error.what}" for place in error.where]
            continue
        seen |= set(np.flatnonzero(np.bincount(labels.reshape(-1), minlength=256)).tolist())
        for label, target in video.targets:
            drawn = (labels != 0) & (labels != (video.ignore or 0)) if video.single else labels == label
            tracks[target][frame] = rle.from_bits(bits.pack(drawn), size)
        void = bits.pack(labels == video.ignore) if video.ignore else bits.empty(size)
        ignored += bits.area(void)
        regions[frame] = rle.from_bits(void, size)
    if wrong or size is None:
        return wrong or [f"{shown(video.source_id)}: no mask"]
    clip = video.as_clip(size)
    targets = {key: [track.get(frame) for frame in clip.frames] for key, track in tracks.items()}
    ignore = [regions.get(frame) for frame in clip.frames]
    digest = clip_digest(clip, video.expressions, make_annotation(clip, targets, ignore))
    return Scanned(size, digest, tuple(hashes), frozenset(seen), ignored)


def truth_of(video: LabelVideo, scanned: Scanned) -> PngTruth:
    """The ground truth of a scanned video, read frame by frame."""
    listed = [frame for frame in video.frames if frame in video.masks]
    known = dict(zip(listed, scanned.hashes, strict=True))
    return PngTruth(
        paths=tuple(video.masks.get(frame) for frame in video.frames),
        hashes=tuple(known.get(frame) for frame in video.frames),
        size=scanned.size,
        targets=video.targets,
        ignore=video.ignore,
        single=video.single,
    )


def benchmark_of(
    videos: Sequence[LabelVideo],
    *,
    name: str,
    version: str,
    rules: Rules,
    licence: str,
    notes: Callable[[Mapping[str, Scanned]], Sequence[str]],
    jobs: int = 1,
    progress: Progress | None = None,
) -> Benchmark:
    """Scan videos and make a benchmark of them; ``notes`` gets what was found, by clip.

    Raises InputError naming every mask that cannot be used.
    """
    found = list(parallel(scan_video, videos, jobs=jobs, chunk=1, progress=progress))
    if wrong := [place for result in found if isinstance(result, list) for place in result]:
        raise InputError(
            f"Masks of {name} cannot be used.",
            where=wrong,
            fix="get these files again: 8-bit PNG with one number per pixel, all of one size in a video",
        )
    by_clip = {v.clip: v for v in videos}
    scanned = {v.clip: result for v, result in zip(videos, found, strict=True) if isinstance(result, Scanned)}
    clips = {key: video.as_clip(scanned[key].size) for key, video in by_clip.items()}
    digests = {key: result.digest for key, result in scanned.items()}
    truths = {key: truth_of(video, scanned[key]) for key, video in by_clip.items()}

    def frames(clip: str) -> ImageFrames:
        return pictures(by_clip[clip].pictures, clips[clip], name)

    return Benchmark(
        name=name,
        version=version,
        digest=benchmark_digest(digests),
        clips=clips,
        expressions=tuple(expression for video in videos for expression in video.expressions),
        truth=truths.__getitem__,
        frames=frames,
        clip_digests=digests,
        rules=rules,
        licence=licence,
        notes=tuple(notes(scanned)),
    )


def pictures(folder: Path, clip: Clip, name: str) -> ImageFrames:
    """The frames of a clip, lazily, joined by name with its list; more files in the folder do no harm."""
    files = {file.stem: file for file in image_files(folder)} if folder.is_dir() else {}
    if missing := [f"{folder}/{frame}.jpg" for frame in clip.frames if frame not in files]:
        raise DataMissingError(f"Frames of {name} are not on this machine.", where=missing, fix="put them there")
    frames = ImageFrames([files[frame] for frame in clip.frames], clip.fps, str(folder))
    if frames.size != clip.size:
        place = f"{folder}: {frames.size[1]}x{frames.size[0]}, the masks have {clip.size[1]}x{clip.size[0]}"
        raise InputError("Frames and masks of a video differ in size.", where=[place], fix="get the video again")
    return frames


def mask_files(folder: Path, wrong: list[str]) -> dict[str, str]:
    """PNG file by frame name below ``folder``, in natural order; adds what is missing or strange to ``wrong``."""
    if not folder.is_dir():
        wrong.append(f"{folder}: no such folder")
        return {}
    found = {file.stem: str(file) for file in image_files(folder) if file.suffix.lower() == ".png"}
    if not found:
        wrong.append(f"{folder}: no mask")
    return found


def read_list(path: Path) -> list[str]:
    """Names, one per line; the first word counts. InputError for a missing, empty or strange list."""
    from refvps.files import read_bytes

    try:
        lines = [line.split() for line in read_bytes(path, 1 << 24).decode("utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise InputError("A list of videos is no text.", where=[str(path)], fix="get it again") from error
    names = [words[0] for words in lines if words]
    odd = [name for name in names if name.startswith((".", "..")) or "\\" in name or not name.isprintable()]
    if odd or not names:
        places = [f"{path}: {shown(text)}" for text in odd or ["no video"]]
        raise InputError("A list of videos cannot be used.", where=places, fix="get it again")
    return names
