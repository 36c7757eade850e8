"""What to take from which video: cuts from a manifest of clips or from bare files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from refvps.data.ids import map_ids
from refvps.data.manifest import CLIPS
from refvps.data.records import ClipRecord, read_clips
from refvps.errors import DataMissingError, InputError, UsageError
from refvps.files import sha256_file
from refvps.source.video import open_video

Format = Literal["jpg", "png"]

RECORD_SUFFIX = ".frames.json"
JPEG_QUALITY = 95
FPS = Fraction(24)

_BESIDE = {".json", ".jpg", ".jpeg", ".png", ".webp", ".vtt", ".srt", ".txt", ".description"}
"""Endings of what downloaders put beside a video under its name."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One clip to extract. Times are seconds on the clock of the file; ``crop`` is (x, y, width, height).

    ``names`` and ``size`` (height, width) are what the manifest promises; None where there is none. ``rotation``
    overrules the file, in degrees clockwise. ``sha256`` is the expected hash of the video, or "". ``ticks`` is
    about how many frames will come, for progress and for the digits of numbered names.
    """

    clip: str
    video: Path
    fps: Fraction = FPS
    start: Fraction | None = None
    end: Fraction | None = None
    crop: tuple[int, int, int, int] | None = None
    rotation: int | None = None
    names: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    sha256: str = ""
    format: Format = "jpg"
    quality: int = JPEG_QUALITY
    ticks: int = 0

    def request(self, source_sha256: str) -> dict[str, Any]:
        """Everything that decides the frames, as JSON: two extractions with one request show the same."""
        return {
            "source_sha256": source_sha256,
            "fps": str(self.fps),
            "start": None if self.start is None else str(self.start),
            "end": None if self.end is None else str(self.end),
            "crop": None if self.crop is None else list(self.crop),
            "rotation": self.rotation,
            "format": self.format,
            "quality": self.quality if self.format == "jpg" else None,
        }


def from_files(
    videos: Sequence[Path],
    *,
    fps: Fraction = FPS,
    start: Fraction | None = None,
    end: Fraction | None = None,
    crop: tuple[int, int, int, int] | None = None,
    format: Format = "jpg",
    quality: int = JPEG_QUALITY,
) -> list[Cut]:
    """One cut per video file, named after it (made a valid id where needed).

    A file that is no usable video gets a cut as well, so that its extraction fails and the others go on. Raises
    UsageError for two files of one name and for a path without a file.
    """
    stems = Counter(video.stem for video in videos)
    doubled = [str(video) for video in videos if stems[video.stem] > 1]
    if doubled:
        raise UsageError("Two videos have one name.", where=doubled, fix="extract them into two folders")
    ids = map_ids(stems)
    cuts = []
    for video in videos:
        try:
            about = open_video(video)
            until = end if end is not None else about.claimed or about.first
            ticks = max(0, round((until - (start if start is not None else about.first)) * fps))
        except InputError:
            ticks = 0
        cuts.append(
            Cut(ids[video.stem], video, fps, start, end, crop, format=format, quality=quality, ticks=int(ticks))
        )
    return cuts


def from_manifest(
    manifest: Path,
    videos: Path,
    *,
    clips: Collection[str] = (),
    format: Format = "jpg",
    quality: int | None = None,
) -> tuple[list[Cut], dict[str, DataMissingError], tuple[str, ...]]:
    """(cuts, clips whose video is not there with the reason, withdrawn clips) of a ``clips.jsonl``.

    ``clips`` restricts the work to some ids. ``quality`` overrules the manifest. A video is the file that the
    manifest names, else the only one in ``videos`` (or below) named after the video id, the source id, the group
    or the clip, else the one with the right hash. Raises UsageError for an unknown clip or an unusable rate.
    """
    path = manifest / CLIPS if manifest.is_dir() else manifest
    if not videos.is_dir():
        raise UsageError("There is no folder of videos.", where=[str(videos)], fix="name it with --videos")
    if not path.is_file():
        raise UsageError("There is no manifest.", where=[str(path)], fix=f"name a {CLIPS} with --manifest")
    found = list(read_clips(path))
    if not found:
        raise UsageError("The manifest lists no clip.", where=[str(path)], fix=f"name a {CLIPS} with --manifest")
    if unknown := sorted(set(clips) - {record.clip.id for record in found}):
        raise UsageError("There is no such clip in the manifest.", where=unknown, fix=f"see {path}")
    chosen = [record for record in found if not clips or record.clip.id in clips]
    shelf = _Shelf(videos)
    cuts, missing, withdrawn = [], {}, []
    for record in chosen:
        if record.withdrawn_in:
            withdrawn.append(record.clip.id)
            continue
        try:
            cuts.append(_cut(record, shelf.find(record), format, quality))
        except DataMissingError as error:
            missing[record.clip.id] = error
    return cuts, missing, tuple(withdrawn)


def _cut(record: ClipRecord, video: Path, format: Format, quality: int | None) -> Cut:
    clip, edit = record.clip, record.edit
    fps = Fraction(str(clip.fps)).limit_denominator(1001)
    if fps <= 0:
        raise UsageError("A clip does not say its frame rate.", where=[clip.id], fix="write its fps into the manifest")
    return Cut(
        clip=clip.id,
        video=video,
        fps=fps,
        start=edit.start,
        end=edit.end,
        crop=edit.crop,
        rotation=edit.rotation,
        names=clip.frames,
        size=clip.size,
        sha256=record.source.sha256,
        format=format,
        quality=quality or edit.jpeg_quality or JPEG_QUALITY,
        ticks=len(clip.frames),
    )


class _Shelf:
    """The files below a folder of videos; nothing in a manifest can point out of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = sorted(
            path
            for path in folder.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
        self._hashes: dict[str, Path] | None = None

    def find(self, record: ClipRecord) -> Path:
        """The video of a clip; DataMissingError when there is none, or several."""
        source = record.source
        named = [[path for path in self.files if source.file and path.name == source.file]]
        for name in (source.video_id, record.clip.source_id, record.clip.group, record.clip.id):
            named.append([p for p in self.files if name and p.stem == name and p.suffix.lower() not in _BESIDE])
        if one := next((paths[0] for paths in named if len(paths) == 1), None):
            return one
        if source.sha256:
            if self._hashes is None:
                self._hashes = {sha256_file(path): path for path in self.files}
            if source.sha256 in self._hashes:
                return self._hashes[source.sha256]
        if several := next((paths for paths in named if paths), None):
            raise DataMissingError(
                "It is not clear which file is the video of a clip.",
                where=[f"{record.clip.id}: {', '.join(map(str, several))}"],
                fix="keep one, or write its file name or its sha256 into the manifest",
            )
        wanted = source.file or source.video_id or record.clip.group
        raise DataMissingError(
            "The video of a clip is not here.",
            where=[f"{record.clip.id}: {wanted} in {self.folder}"],
            fix=f"put it there{f' from {source.url}' if source.url else ''}, named as the manifest says",
        )
