"""What a video file is: size as displayed, clock, hash, and everything that will be a nuisance later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median

from refvps.errors import InputError
from refvps.files import sha256_file
from refvps.source.video import SourceVideo, open_video

Progress = Callable[[int, int], None]

FPS = Fraction(24)


@dataclass(frozen=True, slots=True)
class Probe:
    """A video as it plays. ``intervals``: shortest, median and longest time between frames, in seconds.

    ``duration`` is from the first frame to the end of the last, in seconds. ``problems``: sentences.
    """

    video: SourceVideo
    frames: int
    duration: Fraction
    intervals: tuple[Fraction, Fraction, Fraction] | None
    variable: bool
    sha256: str
    bytes: int
    problems: tuple[str, ...]


def probe(path: Path, *, progress: Progress | None = None) -> Probe:
    """Decode a whole file and describe it.

    Raises UsageError and InputError as :func:`~refvps.source.video.open_video` does, also for damage on the way.
    """
    video = open_video(path)
    expected = frame_estimate(video)
    times: list[Fraction] = []
    end = video.first
    for shown in video.frames():
        if not times and shown.picture().shape[:2] != video.size:
            raise InputError(
                "A video is not displayed as its header says.",
                where=[f"{path}: {shown.picture().shape[:2]}, not {video.size}"],
                fix="re-encode it upright",
            )
        times.append(shown.seconds)
        end = shown.seconds + shown.duration
        if progress is not None and len(times) % 16 == 0:
            progress(len(times), max(expected, len(times)))
    if progress is not None:
        progress(len(times), len(times))
    gaps = [after - before for before, after in pairwise(times)]
    spread = (min(gaps), median(gaps), max(gaps)) if gaps else None
    variable = spread is not None and spread[2] - spread[0] > max(2 * video.time_base, spread[1] / 10)
    problems = _problems(video, gaps, variable, end)
    size = path.stat().st_size
    return Probe(video, len(times), end - video.first, spread, variable, sha256_file(path), size, problems)


def frame_estimate(video: SourceVideo) -> int:
    """About how many frames there are, for progress; 0 when nothing is known."""
    if video.claimed is None or not video.average_rate:
        return 0
    return max(0, round((video.claimed - video.first) * video.average_rate))


def _problems(video: SourceVideo, gaps: list[Fraction], variable: bool, end: Fraction) -> tuple[str, ...]:
    found = []
    if video.rotation or video.mirrored:
        turn = f"turned by {video.rotation} degrees" if video.rotation else ""
        flip = "mirrored" if video.mirrored else ""
        found.append(f"stored pixels are {' and '.join(filter(None, (flip, turn)))}; crops are meant as displayed")
    if video.pixel_aspect != 1:
        found.append(f"pixels are {video.pixel_aspect} times as wide as high; frames are taken as stored")
    if variable:
        found.append(
            f"the frame rate varies: {float(min(gaps)):.4f} to {float(max(gaps)):.4f} s between frames; "
            "at 24 per second some repeat or drop"
        )
    if 0 in gaps:
        found.append(f"{gaps.count(Fraction(0)):,} frames have the time of the one before and are never seen")
    if gaps and len(gaps) / sum(gaps, Fraction(0)) < FPS * Fraction(99, 100):
        found.append(f"slower than 24 frames per second ({len(gaps) / float(sum(gaps)):.3f}): frames repeat")
    if video.first != 0:
        found.append(f"the first frame is at {float(video.first):.3f} s, not 0")
    if end - video.first < 1:
        found.append("shorter than one second")
    return tuple(found)
