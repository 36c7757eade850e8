"""The frames of a cut as files in memory: chosen by the tick rule, turned, cropped, encoded, fingerprinted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from refvps.errors import InputError, UsageError
from refvps.extract.cut import Cut
from refvps.extract.pictures import encode
from refvps.extract.record import MAX_FRAMES
from refvps.files import sha256
from refvps.source.fingerprint import dhash64
from refvps.source.orientation import Orientation, orient
from refvps.source.ticks import spans, tick_count
from refvps.source.video import Shown, SourceVideo

MAX_FROZEN = 600
"""Longest time, in seconds, for which one source frame may stand: more is a damaged clock, and fills the disk."""

_QUARTERS = {
    0: Orientation(),
    90: Orientation(True, True, False),
    180: Orientation(False, True, True),
    270: Orientation(True, False, True),
}


@dataclass(frozen=True, slots=True)
class FrameFile:
    """The content of a frame's file and its hash, and of the picture before encoding fingerprint and (h, w)."""

    content: bytes
    sha256: str
    fingerprint: int
    size: tuple[int, int]


def frame_files(cut: Cut, video: SourceVideo, threads: int) -> Iterator[tuple[Shown, range, FrameFile]]:
    """(source frame, ticks at which it is shown, its file) in order; ``threads`` convert and encode beside the decoder.

    Raises InputError for a video that cannot be decoded, ends before the cut does or gives absurdly many frames,
    and for a crop that reaches out of the picture.
    """
    turn = _QUARTERS[0] if cut.rotation is None else _QUARTERS[(cut.rotation - video.rotation) % 360]

    def finish(shown: Shown) -> FrameFile:
        picture = orient(shown.picture(), turn)
        if cut.crop is not None:
            picture = _cropped(cut.clip, cut.crop, picture)
        content = encode(picture, cut.format, cut.quality)
        height, width = picture.shape[:2]
        return FrameFile(content, sha256(content), dhash64(picture), (height, width))

    waiting: deque[tuple[Shown, range, Future[FrameFile]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="encode")
    try:
        for shown, ticks in _chosen(cut, video, threads):
            waiting.append((shown, ticks, pool.submit(finish, shown)))
            if len(waiting) > 2 * threads:
                first, its_ticks, file = waiting.popleft()
                yield first, its_ticks, file.result()
        for first, its_ticks, file in waiting:
            yield first, its_ticks, file.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _chosen(cut: Cut, video: SourceVideo, threads: int) -> Iterator[tuple[Shown, range]]:
    """The frames of the cut that are shown, with their ticks; checks that the video reaches as far as the cut."""
    if cut.end is not None and tick_count(cut.start or Fraction(0), cut.end, cut.fps) == 0:
        raise UsageError("A cut is shorter than half a frame.", where=[f"{cut.clip}: [{cut.start}, {cut.end}) s"])
    ends: Fraction | None = None  # known once the video is over

    def timed() -> Iterator[tuple[Shown, Fraction, Fraction]]:
        nonlocal ends
        last = cut.start or video.first
        for shown in video.frames(cut.start, threads=threads):
            if cut.end is not None and shown.seconds >= cut.end:
                return
            yield shown, shown.seconds, shown.duration
            last = shown.seconds + shown.duration
        ends = last

    for shown, ticks in spans(timed(), fps=cut.fps, t0=cut.start, end=cut.end):
        if cut.end is not None and ends is not None and cut.end - ends > 1 / cut.fps:
            raise InputError(
                "A cut goes on after its video.",
                where=[f"{cut.clip}: until {float(cut.end):.3f} s, {cut.video} ends at {float(ends):.3f} s"],
                fix="correct the end of the cut; times are those of the file",
            )
        if len(ticks) > MAX_FROZEN * cut.fps or ticks.stop > MAX_FRAMES:
            reason = f"{cut.video}: the frame at {float(shown.seconds):.3f} s stands for {len(ticks):,} ticks"
            raise InputError("A video would give too many frames.", where=[reason], fix="cut it, or repair its times")
        yield shown, ticks


def _cropped(clip: str, crop: tuple[int, int, int, int], picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    x, y, width, height = crop
    if x < 0 or y < 0 or width < 1 or height < 1 or x + width > picture.shape[1] or y + height > picture.shape[0]:
        raise InputError(
            "A crop reaches out of the picture.",
            where=[f"{clip}: {width}x{height} at {x},{y} of {picture.shape[1]}x{picture.shape[0]} as displayed"],
            fix="a crop is x, y, width, height in pixels of the upright picture",
        )
    return np.ascontiguousarray(picture[y : y + height, x : x + width])
