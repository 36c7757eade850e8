"""Films: the frames of video files as lazy sequences, and WebM files written.

Frames keep their native rate; putting them on a 24 fps grid is another module's business. Every frame is
uint8 RGB [H, W, 3] as displayed (rotation applied), with pixels as stored: a pixel aspect ratio other than
1 is not resampled. Beside :mod:`refvps.report.overlay` the only module that may import cv2, and late.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from refvps.errors import DataMissingError, InputError, UsageError
from refvps.frames import IMAGE_SUFFIXES, Frames, Image, ImageFrames, image_files
from refvps.types import MAX_SIDE

Backend = Literal["av", "cv2"]

CACHE_BYTES = 96 << 20
"""Decoded pixels that a video keeps, so that a step back does not decode from the start again."""

EARLY_END_SECONDS = 0.5
"""A video that ends this much before its container says so is taken for a damaged file."""


def open_frames(path: Path, *, fps: float | None = None, backend: Backend | None = None) -> Frames:
    """The frames of a folder of images, of one image, or of a video file.

    ``fps`` is the rate of a folder (24 when not given) and replaces the rate a video claims. ``backend``
    chooses the video decoder; by default PyAV when installed, else OpenCV. Raises InputError for files
    that cannot be used and UsageError for a path that is not there.
    """
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise UsageError("A frame rate must be a positive number.", where=[str(fps)], fix="for example --fps 24")
    if path.is_dir():
        return ImageFrames(image_files(path), fps or 24.0, str(path))
    if not path.exists():
        raise UsageError("There is nothing at this path.", where=[str(path)], fix="name a folder of images or a video")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageFrames((path,), fps or 24.0, str(path))
    return VideoFrames(path, fps=fps, backend=backend)


_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"[playlist]", b"v=0", b"# timecode")
_REENCODE = "get the file again, or rewrite what is left: ffmpeg -i IN -c:v libx264 -crf 10 OUT.mp4"


Decoder = Generator[Callable[[], Image], None, None]


@dataclass(frozen=True, slots=True)
class _Facts:
    size: tuple[int, int]
    fps: float
    count: int


class VideoFrames(Frames):
    """Frames of a video file in display order, decoded one after the other.

    The file is decoded once on opening, without keeping pixels: to count its frames (containers guess)
    and to find damage before anything is computed. Access forward decodes on; access backward is served
    from the frames kept (:data:`CACHE_BYTES`), else by decoding from the start again.
    """

    def __init__(self, path: Path, *, fps: float | None = None, backend: Backend | None = None) -> None:
        self.path = path.resolve()  # an absolute path cannot be taken for a URL or an option by ffmpeg
        _refuse_playlist(self.path)
        self.backend = backend or ("av" if _has_av() else "cv2")
        facts = _probe_av(self.path) if self.backend == "av" else _probe_cv2(self.path)
        self.size = facts.size
        self.fps = fps or facts.fps
        width = max(5, len(str(facts.count - 1)))
        self.names = tuple(f"{index:0{width}d}" for index in range(facts.count))
        self._keep = max(1, CACHE_BYTES // (self.size[0] * self.size[1] * 3))
        self._cache: OrderedDict[int, Image] = OrderedDict()
        self._decoder: Decoder | None = None
        self._next = 0

    def read(self, index: int) -> Image:
        """Decode frame ``index``, forward from where the decoder stands or from the start."""
        if (known := self._cache.get(index)) is not None:
            return known.copy()
        first = index  # forward: what is passed over is not even converted to RGB
        if self._decoder is None or index < self._next:
            first = index - self._keep + 1  # backward: likely to go on backward, so keep what comes before
            self.close()
            self._decoder = _decode_av(self.path) if self.backend == "av" else _decode_cv2(self.path)
        while self._next <= index:
            pixels = next(self._decoder, None)
            if pixels is None:
                raise InputError("A video changed while it was read.", where=[str(self.path)], fix="run again")
            if self._next >= first:
                self._remember(self._next, pixels())
            self._next += 1
        return self._cache[index].copy()

    def _remember(self, index: int, pixels: Image) -> None:
        if pixels.shape[:2] != self.size:
            raise _size_change(self.path, index)
        self._cache[index] = pixels
        while len(self._cache) > self._keep:
            self._cache.popitem(last=False)

    def close(self) -> None:
        """Let go of the decoder; reading again opens a new one."""
        decoder, self._decoder, self._next = self._decoder, None, 0
        if decoder is not None:
            decoder.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_decoder": None, "_next": 0, "_cache": OrderedDict()}


def _has_av() -> bool:
    """Whether PyAV is installed, in a version that tells the rotation of a frame."""
    try:
        import av
    except ImportError:
        return False
    return hasattr(av.VideoFrame, "rotation")


def _refuse_playlist(path: Path) -> None:
    """Playlists and concat scripts make ffmpeg open other files and addresses."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(512).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError as error:
        raise InputError("A file cannot be read.", where=[f"{path}: {error.strerror}"], fix="check the path") from error
    if not head or head.startswith(_PLAYLISTS):
        what = "A file is empty." if not head else "A playlist is not a video file."
        raise InputError(what, where=[str(path)], fix="name a video file such as .mp4, .mov, .mkv or .webm")


def _not_a_video(path: Path, reason: str) -> InputError:
    return InputError("This is not a video that can be read.", where=[f"{path}: {reason}"[:300]], fix=_REENCODE)


def _damaged(path: Path, frame: int, reason: str) -> InputError:
    return InputError(
        "A video file is damaged.", where=[f"{path}: after {frame} frames: {reason}"[:300]], fix=_REENCODE
    )


def _size_change(path: Path, frame: int) -> InputError:
    return InputError(
        "A video changes its size.", where=[f"{path}: frame {frame}"], fix="split it there, or scale it to one size"
    )


def _checked(path: Path, size: tuple[int, int], fps: float, count: int) -> _Facts:
    if count == 0:
        raise _not_a_video(path, "no frames")
    if max(size) > MAX_SIDE:
        raise InputError("A frame is too large.", where=[f"{path}: {size[1]}x{size[0]}"], fix="scale the video down")
    if not (math.isfinite(fps) and 0 < fps < 10_000):
        raise InputError("A video does not say its frame rate.", where=[str(path)], fix="give it with --fps")
    return _Facts(size, fps, count)


def _quarter_turns(path: Path, degrees: int) -> int:
    if degrees % 90:
        raise InputError(
            "A video is displayed at an odd angle.", where=[f"{path}: {degrees} degrees"], fix="re-encode it upright"
        )
    return degrees // 90 % 4


def _frames_av(path: Path) -> Iterator[tuple[Any, Any]]:
    """(stream, frame) in display order; PyAV's errors become InputErrors that count the frames before."""
    import av

    try:
        container = av.open(str(path), options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _not_a_video(path, str(error)) from error
    with container:
        if not container.streams.video:
            raise _not_a_video(path, "no video stream")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        count = 0
        try:
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise _damaged(path, count, "a frame is marked as corrupt")
                yield stream, frame
                count += 1
        except (av.FFmpegError, OSError) as error:
            raise _damaged(path, count, str(error)) from error


def _probe_av(path: Path) -> _Facts:
    count, size, fps, end, expected = 0, (0, 0), 0.0, None, None
    for stream, frame in _frames_av(path):
        sides = (frame.height, frame.width)
        turned = sides[::-1] if _quarter_turns(path, frame.rotation) % 2 else sides
        if count == 0:
            size = turned
            fps = float(stream.average_rate or stream.guessed_rate or 0)
            expected = _claimed_seconds(stream)
        elif turned != size:
            raise _size_change(path, count)
        count += 1
        if frame.pts is not None and frame.time_base is not None:
            end = float((frame.pts + (frame.duration or 0) - (stream.start_time or 0)) * frame.time_base)
    facts = _checked(path, size, fps, count)
    if expected is not None and end is not None and expected - end > EARLY_END_SECONDS:
        raise _damaged(path, count, f"it ends at {end:.2f} s of {expected:.2f} s")
    return facts


def _claimed_seconds(stream: Any) -> float | None:
    """How long the container says the video lasts; None when it says so only for audio and video together."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if match := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", "")):
        return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
    container = stream.container
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration) / 1e6
    return None


def _decode_av(path: Path) -> Decoder:
    for _, frame in _frames_av(path):
        yield partial(_pixels_av, path, frame)


def _pixels_av(path: Path, frame: Any) -> Image:
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, _quarter_turns(path, frame.rotation)))


def _open_cv2(path: Path) -> Any:
    import cv2

    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise _not_a_video(path, "OpenCV cannot open it")
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


def _probe_cv2(path: Path) -> _Facts:
    import cv2

    capture = _open_cv2(path)
    try:
        count = 0
        while capture.grab():
            count += 1
        size = (int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)))
        facts = _checked(path, size, float(capture.get(cv2.CAP_PROP_FPS)), count)
        claimed = float(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
    if claimed - count > EARLY_END_SECONDS * facts.fps:
        raise _damaged(path, count, f"the container promises {claimed:.0f}")
    return facts


def _decode_cv2(path: Path) -> Decoder:
    capture = _open_cv2(path)
    try:
        while capture.grab():
            yield partial(_pixels_cv2, path, capture)
    finally:
        capture.release()


def _pixels_cv2(path: Path, capture: Any) -> Image:
    done, pixels = capture.retrieve()
    if not done:
        raise _damaged(path, 0, "OpenCV cannot decode a frame")
    return np.ascontiguousarray(pixels[..., ::-1])


# --- writing ---------------------------------------------------------------------------------------


LONGEST_SIDE = 16383
"""Pixels a side that VP8 can hold."""


class WebmWriter:
    """Write RGB frames as a WebM film that browsers play (VP8 or VP9), atomically.

    Sides are padded to even numbers of at least 16 by repeating the border. The film stands under a
    temporary name until :meth:`finish` has read it back and counted its frames; leaving the ``with``
    block by an exception removes it.
    """

    def __init__(
        self, path: Path, size: tuple[int, int], fps: float, *, codec: Literal["VP80", "VP90"] = "VP80"
    ) -> None:
        import cv2

        if path.suffix.lower() != ".webm":
            raise UsageError("A film is written as .webm only.", where=[str(path)], fix="name it something.webm")
        self.path, self.size, self.fps = path, size, fps
        self.padded = (max(16, size[0] + size[0] % 2), max(16, size[1] + size[1] % 2))
        self.count = 0
        if max(self.padded) > LONGEST_SIDE:
            raise InputError(
                "The pictures are too large for a film.",
                where=[f"{path}: {size[1]}x{size[0]}"],
                fix=f"WebM holds up to {LONGEST_SIDE} pixels a side; look at single frames",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(f".{path.name}.*.tmp.webm"):
            leftover.unlink(missing_ok=True)
        self.temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp.webm")
        fourcc = cv2.VideoWriter.fourcc(*codec)
        with _quiet():
            self._writer = cv2.VideoWriter(str(self.temporary), cv2.CAP_FFMPEG, fourcc, fps, self.padded[::-1])
        if not self._writer.isOpened():
            self.discard()
            raise DataMissingError(
                "This OpenCV cannot write WebM.",
                where=[str(path)],
                fix="pip install --force-reinstall opencv-python-headless",
            )

    def add(self, frame: Image) -> None:
        """Append one uint8 RGB [H, W, 3] frame of the size given at the start."""
        if frame.shape != (*self.size, 3) or frame.dtype != np.uint8:
            raise ValueError(f"expected uint8 {(*self.size, 3)}, got {frame.dtype} {frame.shape}")
        below, right = self.padded[0] - self.size[0], self.padded[1] - self.size[1]
        if below or right:
            frame = np.pad(frame, ((0, below), (0, right), (0, 0)), mode="edge")
        self._writer.write(np.ascontiguousarray(frame[..., ::-1]))
        self.count += 1

    def finish(self) -> None:
        """Close the film, read it back, and put it in place."""
        self._writer.release()
        try:
            facts = _probe_cv2(self.temporary)
            if facts.count != self.count or facts.size != self.padded:
                raise InputError("A film did not survive its writing.", where=[str(self.path)], fix="is the disk full?")
            with open(self.temporary, "rb+") as stream:
                os.fsync(stream.fileno())
            os.replace(self.temporary, self.path)
        finally:
            self.discard()

    def discard(self) -> None:
        """Close and remove the temporary file."""
        self._writer.release()
        self.temporary.unlink(missing_ok=True)

    def __enter__(self) -> WebmWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            self.finish()
        else:
            self.discard()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence OpenCV's native note that WebM has no tag for VP8, which reads like an error."""
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
