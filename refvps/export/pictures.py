"""Frames for an export: files as they are where they have the ending that is wanted, anything else written anew."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refvps.errors import InputError
from refvps.frames import Frames as FramesOfClip
from refvps.types import Benchmark, Clip

QUALITY = 95
"""JPEG quality of frames that are not JPEG files already; colours are not subsampled."""

Frames = Sequence[NDArray[np.uint8]]


def frames_of(benchmark: Benchmark, clip: Clip) -> Frames:
    """The frames of a clip; InputError unless there is one for each name."""
    frames = benchmark.frames(clip.id)
    if len(frames) != len(clip.frames):
        place = f"{clip.id}: {len(frames)} frames, {len(clip.frames)} in the list of clips"
        raise InputError("The frames of a clip do not match its list.", where=[place], fix="get the frames again")
    return frames


def jpegs(frames: Frames, names: Sequence[str]) -> Iterator[tuple[str, bytes | Path]]:
    """(name with ending, content) as JPEG, in order."""
    files = frames.files if isinstance(frames, FramesOfClip) else ()
    for index, name in enumerate(names):
        if files and files[index].suffix.lower() in (".jpg", ".jpeg"):
            yield f"{name}.jpg", files[index]
        else:
            yield f"{name}.jpg", _jpeg(frames[index])


def originals(frames: Frames, names: Sequence[str]) -> Iterator[tuple[str, bytes | Path]]:
    """(name with ending, content) without loss: one kind of file, PNG where the frames are no files of one kind."""
    files = frames.files if isinstance(frames, FramesOfClip) else ()
    kinds = {file.suffix.lower() for file in files}
    kept = len(kinds) == 1 and kinds <= {".jpg", ".jpeg", ".png"}
    for index, name in enumerate(names):
        if kept:
            yield f"{name}{files[index].suffix.lower()}", files[index]
        else:
            yield f"{name}.png", _encoded(frames[index], "PNG")


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    return _encoded(pixels, "JPEG", quality=QUALITY, subsampling=0)


def _encoded(pixels: NDArray[np.uint8], form: str, **options: int) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, form, **options)
    return stream.getvalue()
