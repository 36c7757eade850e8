"""Frames as lazy sequences: the base class and folders of images (videos: :mod:`refvps.video`).

Every frame is uint8 RGB [H, W, 3]; all frames of a sequence have one size.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from refvps.errors import InputError
from refvps.types import MAX_SIDE

Image = NDArray[np.uint8]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""Endings of the image files that count as frames, compared without case."""


class Frames(Sequence[Image]):
    """A lazy sequence of frames: slicing gives another lazy sequence, indexing decodes.

    ``size`` is (height, width), ``fps`` frames per second, ``names`` one name per frame (image names
    without their ending, or 00000, 00001, ... for a video).
    """

    size: tuple[int, int]
    fps: float
    names: tuple[str, ...]
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Image: ...

    @overload
    def __getitem__(self, index: slice) -> Frames: ...

    def __getitem__(self, index: int | slice) -> Image | Frames:
        if isinstance(index, slice):
            return _Slice(self, range(len(self))[index])
        return self.read(range(len(self))[index])

    def read(self, index: int) -> Image:
        """Decode frame ``index`` (0 <= index < len)."""
        raise NotImplementedError


class _Slice(Frames):
    def __init__(self, parent: Frames, indices: range) -> None:
        self.parent, self.indices = parent, indices
        self.size = parent.size
        self.fps = parent.fps / abs(indices.step)
        self.names = tuple(parent.names[index] for index in indices)
        self.files = tuple(parent.files[index] for index in indices) if parent.files else ()

    def read(self, index: int) -> Image:
        return self.parent.read(self.indices[index])


def natural_key(name: str) -> tuple[Any, ...]:
    """Sort key under which frame2 comes before frame10; equal numbers fall back to the plain name."""
    parts = re.split(r"([0-9]+)", name)
    return (*((int(part), "") if at % 2 else (-1, part) for at, part in enumerate(parts)), (-2, name))


def image_files(folder: Path) -> tuple[Path, ...]:
    """The image files directly in a folder, hidden ones left out, in natural order."""
    found = [
        entry
        for entry in folder.iterdir()
        if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".") and entry.is_file()
    ]
    return tuple(sorted(found, key=lambda entry: natural_key(entry.name)))


class ImageFrames(Frames):
    """Frames from image files, in the given order. Headers are read now, pixels when asked for.

    Grey, palette and CMYK images become RGB; an alpha channel must be opaque. Raises InputError for no
    files, sizes that differ, names that differ only in their ending, 16-bit pixels, and a rotation in
    the EXIF data (some tools apply it and others do not, so masks would not fit).
    """

    def __init__(self, files: Sequence[Path], fps: float, where: str) -> None:
        if not files:
            raise InputError(
                "There are no frames here.", where=[where], fix=f"put {', '.join(IMAGE_SUFFIXES)} files directly there"
            )
        self.files = tuple(files)
        self.fps = fps
        self.names = tuple(file.stem for file in self.files)
        self._check_names()
        sizes = [_image_size(file) for file in self.files]
        self.size = sizes[0]
        other = [
            f"{file}: {width}x{height}, the first is {self.size[1]}x{self.size[0]}"
            for file, (height, width) in zip(self.files, sizes, strict=True)
            if (height, width) != self.size
        ]
        if other:
            raise InputError("The frames differ in size.", where=other, fix="give one size to all, or split the folder")

    def _check_names(self) -> None:
        seen: dict[str, Path] = {}
        for name, file in zip(self.names, self.files, strict=True):
            if name.casefold() in seen:
                raise InputError(
                    "Two frames have the same name.",
                    where=[str(seen[name.casefold()]), str(file)],
                    fix="keep one of them, names must differ in more than their ending or case",
                )
            seen[name.casefold()] = file

    def read(self, index: int) -> Image:
        """Decode one image file; InputError when it cannot be."""
        from PIL import Image as pillow

        file = self.files[index]
        try:
            with pillow.open(file, formats=("JPEG", "PNG", "WEBP")) as image:
                see_through = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
                if see_through and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
                    raise InputError(
                        "A frame has transparent pixels.", where=[str(file)], fix="flatten it on a background"
                    )
                pixels = np.array(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, EOFError, pillow.DecompressionBombError) as error:
            raise _bad_image(file, error) from error
        if pixels.shape[:2] != self.size:
            raise InputError("A frame changed its size while it was used.", where=[str(file)], fix="run again")
        return pixels


def _bad_image(file: Path, error: Exception) -> InputError:
    return InputError("A frame cannot be read.", where=[f"{file}: {error}"[:300]], fix="get the file again")


def _image_size(file: Path) -> tuple[int, int]:
    """(height, width) from the header, after the checks that need no pixels."""
    from PIL import Image as pillow

    try:
        with pillow.open(file, formats=("JPEG", "PNG", "WEBP")) as image:
            width, height = image.size
            # asking a PNG without EXIF for it would decode the picture
            turned = image.getexif().get(0x0112, 1) if {"exif", "xmp"} & image.info.keys() else 1
            mode = image.mode
    except (OSError, SyntaxError, ValueError, EOFError, pillow.DecompressionBombError) as error:
        raise _bad_image(file, error) from error
    if max(width, height) > MAX_SIDE:
        raise InputError("A frame is too large.", where=[f"{file}: {width}x{height}"], fix="scale the frames down")
    if turned not in (0, 1):
        raise InputError(
            "A frame carries a rotation in its EXIF data.",
            where=[f"{file}: orientation {turned}"],
            fix="turn the pixels themselves, for example with: mogrify -auto-orient *.jpg",
        )
    if mode not in ("1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr"):
        raise InputError(
            "A frame is not an 8-bit image.", where=[f"{file}: mode {mode}"], fix="convert the frames to 8-bit RGB"
        )
    return height, width
