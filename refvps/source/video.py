"""One video file as it is displayed: every frame with its exact time, upright, decoded with PyAV.

Times are those of the file: presentation time stamp times time base, never shifted. Frames come in the order
of display; what an edit list hides is not there. Pixels are as stored: a pixel aspect ratio other than 1 is
not resampled, and the conversion to RGB is that of :mod:`refvps.video` and of the ffmpeg command line.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.errors import InputError, UsageError
from refvps.source.orientation import Orientation, orient, orientation
from refvps.types import MAX_SIDE

Picture = NDArray[np.uint8]
"""RGB pixels [H, W, 3]."""

MAX_PIXELS = 1 << 26
"""Largest frame that is decoded, in pixels: twice 8K."""

FORMATS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,ivf,yuv4mpegpipe,gif,h264,hevc"
"""Containers that are opened; playlists, image lists and the like, which name other files, are not."""

SEEKABLE = ("mov", "matroska")
"""Containers with an index of key frames, in which a late cut is not decoded from the beginning."""

SEEK_MARGIN = Fraction(3)
"""Seconds before a cut at which decoding starts at the latest, when the container can seek."""

EARLY_END = Fraction(1, 2)
"""A video that ends this many seconds before its container says so is taken for a damaged file."""

_REENCODE = "get the file again, or rewrite what is left: ffmpeg -i IN -c:v libx264 -crf 10 OUT.mp4"


@dataclass(frozen=True, slots=True)
class Shown:
    """A displayed frame: time stamp in units of the time base, the same in seconds, how long it lasts (seconds).

    ``duration`` is 0 where neither the frame nor the stream says. ``picture`` converts to upright uint8 RGB
    [H, W, 3] when called; it may be called from another thread.
    """

    pts: int
    seconds: Fraction
    duration: Fraction
    picture: Callable[[], Picture]


@dataclass(frozen=True, slots=True)
class SourceVideo:
    """What a video file says about itself. ``size`` is (height, width) as displayed.

    ``orientation`` turns stored pixels upright; ``rotation`` and ``mirrored`` tell the same to people.
    ``first`` is the time of the first displayed frame and ``claimed`` the time at which the video ends if the
    container is right, both in seconds; ``pixel_aspect`` is width by height of a pixel.
    """

    path: Path
    size: tuple[int, int]
    orientation: Orientation
    codec: str
    container: str
    average_rate: Fraction | None
    time_base: Fraction
    pixel_aspect: Fraction
    first: Fraction
    claimed: Fraction | None

    @property
    def rotation(self) -> int:
        """Degrees by which stored pixels are turned clockwise, after mirroring."""
        return self.orientation.degrees

    @property
    def mirrored(self) -> bool:
        """Whether stored pixels are mirrored left to right before they are turned."""
        return self.orientation.mirrored

    def frames(
        self, start: Fraction | int | None = None, stop: Fraction | int | None = None, *, threads: int | None = None
    ) -> Iterator[Shown]:
        """Frames in order of display; with ``start`` and ``stop`` (seconds) those on screen in [start, stop).

        The frame on screen at ``start`` began before it, unless the video begins later. ``threads`` bounds the
        decoder's threads. Raises InputError for damage (naming the frames before it), frames without a time or
        going back in time, and frames that change size or orientation.
        """
        held: Shown | None = None  # the last frame up to start; on screen at start unless another takes its place
        for shown in self._from(start, threads):
            if start is not None and shown.seconds <= start:
                held = shown
                continue
            if held is not None:
                yield held
                held = None
            if stop is not None and shown.seconds >= stop:
                return
            yield shown
        if held is not None and start is not None and max(held.seconds + held.duration, held.seconds) >= start:
            yield held

    def _from(self, start: Fraction | int | None, threads: int | None) -> Iterator[Shown]:
        """All frames, or those from a key frame well before ``start``."""
        far = start is not None and start - self.first > 2 * SEEK_MARGIN
        if start is None or not far or not self.container.startswith(SEEKABLE):
            yield from self._decoded(None, threads)
            return
        late = self._decoded(start - SEEK_MARGIN, threads)
        first = next(late, None)
        if first is None or first.seconds > start - SEEK_MARGIN:  # the index promised too much
            yield from self._decoded(None, threads)
            return
        yield first
        yield from late

    def _decoded(self, seek: Fraction | None, threads: int | None) -> Iterator[Shown]:
        last: Shown | None = None
        count = angle = 0
        stored = self.size[::-1] if self.orientation.transpose else self.size
        for frame in _decode(self.path, seek, threads):
            if last is None:  # looking at side data ties a frame to itself until the next garbage collection
                angle = frame.rotation
            turned = last is None and orientation(frame, self.path) != self.orientation
            if turned or frame.rotation != angle or stored != (frame.height, frame.width):
                raise InputError(
                    "A video changes its size or orientation.",
                    where=[f"{self.path}: after {count} frames"],
                    fix="split it there, or re-encode it in one size",
                )
            shown = _shown(self, frame, count)
            if last is not None and shown.pts < last.pts:
                raise InputError(
                    "The frames of a video go back in time.",
                    where=[f"{self.path}: after {count} frames: from {last.pts} to {shown.pts}"],
                    fix=_REENCODE,
                )
            yield shown
            last = shown
            count += 1
        if self.claimed is not None and last is not None:
            end = last.seconds + last.duration
            slack = max(EARLY_END, 3 / self.average_rate if self.average_rate else EARLY_END)
            if self.claimed - end > slack:
                reason = f"it ends at {float(end):.2f} s of {float(self.claimed):.2f} s"
                raise _damaged(self.path, count, reason)


def open_video(path: Path) -> SourceVideo:
    """Open a video file and decode its first frame, which tells size and orientation.

    Raises UsageError when PyAV is missing or the path is no file, and InputError, naming file and reason, for
    what is no video, too large a frame or a first frame that cannot be decoded.
    """
    path = path.resolve()  # an absolute path cannot be taken for a URL or an option by ffmpeg
    if not path.exists():
        raise UsageError("There is no such file.", where=[str(path)], fix="check the path")
    if not path.is_file():
        raise InputError("This is not a video file.", where=[f"{path}: not a regular file"], fix="name a video file")
    if path.stat().st_size == 0:
        raise InputError("A video file is empty.", where=[str(path)], fix="get it again")
    with _container(path) as container:
        stream = _stream(container, path)
        rate = Fraction(stream.average_rate) if stream.average_rate else None
        known = SourceVideo(
            path=path,
            size=(0, 0),
            orientation=Orientation(),
            codec=stream.codec_context.name,
            container=container.format.name,
            average_rate=rate,
            time_base=Fraction(stream.time_base),
            pixel_aspect=Fraction(stream.sample_aspect_ratio or 1),
            first=Fraction(0),
            claimed=_claimed(container, stream),
        )
    frame = next(_decode(path, None, 1), None)
    if frame is None:
        raise _not_a_video(path, "no frame can be decoded")
    turned = orientation(frame, path)
    size = (int(frame.height), int(frame.width))
    known = replace(known, size=size[::-1] if turned.transpose else size, orientation=turned)
    return replace(known, first=_shown(known, frame, 0).seconds)


def _shown(video: SourceVideo, frame: Any, count: int) -> Shown:
    if frame.pts is None or frame.time_base is None or Fraction(frame.time_base) != video.time_base:
        raise InputError(
            "The frames of a video carry no time.", where=[f"{video.path}: after {count} frames"], fix=_REENCODE
        )
    duration = Fraction(frame.duration or 0) * video.time_base
    if duration <= 0:
        duration = 1 / video.average_rate if video.average_rate else Fraction(0)
    return Shown(int(frame.pts), frame.pts * video.time_base, duration, partial(_picture, frame, video.orientation))


_own = threading.local()


def _picture(frame: Any, turned: Orientation) -> Picture:
    if not hasattr(_own, "reformatter"):
        from av.video.reformatter import VideoReformatter

        _own.reformatter = VideoReformatter()  # the frame's own would start a thread for every CPU at each call
    plane = _own.reformatter.reformat(frame, format="rgb24", threads=1).planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
    return orient(rows[:, : 3 * frame.width].reshape(frame.height, frame.width, 3), turned)


# --- PyAV ------------------------------------------------------------------------------------------


def _container(path: Path) -> Any:
    try:
        import av
    except ImportError as error:
        raise UsageError("Reading videos needs PyAV.", fix="pip install refvps[video]") from error
    try:
        return av.open(str(path), options={"protocol_whitelist": "file", "format_whitelist": FORMATS})
    except av.ArgumentError as error:  # what a format outside the list is called
        raise _not_a_video(path, "the format is not that of a video file") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _not_a_video(path, _reason(error)) from error


def _stream(container: Any, path: Path) -> Any:
    found = container.streams.best("video")
    if found is None or not found.time_base:
        raise _not_a_video(path, "no video stream")
    if max(found.width, found.height) > MAX_SIDE or found.width * found.height > MAX_PIXELS:
        raise InputError(
            "A frame is too large.", where=[f"{path}: {found.width}x{found.height}"], fix="scale the video down"
        )
    found.codec_context.options = {"max_pixels": str(MAX_PIXELS), "err_detect": "explode"}
    return found


def _decode(path: Path, seek: Fraction | None, threads: int | None) -> Iterator[Any]:
    """PyAV's frames in order of display; its errors become InputErrors that count the frames before."""
    import av

    with _container(path) as container:
        stream = _stream(container, path)
        stream.thread_type = "AUTO"
        if threads is not None:
            stream.codec_context.thread_count = threads
        count = 0
        try:
            if seek is not None:
                container.seek(int(seek / Fraction(stream.time_base)), stream=stream)
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise _damaged(path, count, "a frame is marked as corrupt")
                yield frame
                count += 1
        except (av.FFmpegError, OSError) as error:
            raise _damaged(path, count, _reason(error)) from error


def _claimed(container: Any, stream: Any) -> Fraction | None:
    """When the container says the video ends, in seconds; None when it speaks of audio and video together."""
    if stream.duration is not None:
        return Fraction((stream.start_time or 0) + stream.duration) * Fraction(stream.time_base)
    if match := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", "")):
        return int(match[1]) * 3600 + int(match[2]) * 60 + Fraction(match[3])
    if container.duration is not None and len(container.streams) == 1:
        return Fraction((container.start_time or 0) + container.duration, 1_000_000)
    return None


def _reason(error: Exception) -> str:
    """What libav says, without its numbers and function names."""
    return getattr(error, "strerror", None) or str(error)


def _not_a_video(path: Path, reason: str) -> InputError:
    return InputError(
        "This is not a video that can be read.",
        where=[f"{path}: {reason}"[:300]],
        fix="name a video file such as .mp4, .mov, .mkv or .webm, or get it again",
    )


def _damaged(path: Path, count: int, reason: str) -> InputError:
    return InputError(
        "A video file is damaged.", where=[f"{path}: after {count} frames: {reason}"[:300]], fix=_REENCODE
    )
