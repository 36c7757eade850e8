"""The one form that every reader yields, and what all of them need to make it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refvps.archive import shown
from refvps.data.masktracks import empty_counts
from refvps.errors import InputError
from refvps.masks import rle
from refvps.types import MAX_SIDE

MAX_FRAMES = 100_000

Size = tuple[int, int]
Counts = tuple[bytes | None, ...]
"""COCO RLE, one per frame of the source; None where the source has nothing to say about the object."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a source says about one clip.

    ``names``: its frames in time order, names of files, or places in a list as numbers when ``listed``. ``ignore``:
    its Ignore, if it has one. ``frames``: names of all frames of the video, where the source knows them; ``step``:
    frames of the video from one entry of a list to the next; ``fps``: rate of the video, 0 when not known. ``files``:
    how many were read, ``sha256`` over names and contents of all; ``notes``: for people.
    """

    size: Size
    names: tuple[str, ...]
    objects: Mapping[str, Counts]
    listed: bool = False
    ignore: Counts | None = None
    frames: tuple[str, ...] = ()
    step: int = 1
    fps: float = 0.0
    files: int = 0
    sha256: str = ""
    notes: tuple[str, ...] = ()


class Digest:
    """SHA-256 over files, in the order they are read: of each its name, length and content."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.files = 0

    def add(self, name: str, data: bytes) -> bytes:
        """Take a file; returns its content."""
        self._hash.update(f"{name}\0{len(data)}\0".encode("utf-8", "surrogatepass"))
        self._hash.update(data)
        self.files += 1
        return data

    def hex(self) -> str:
        """The hash so far."""
        return self._hash.hexdigest()


def refuse(places: Sequence[str], fix: str = "write the masks again") -> None:
    """Raise InputError when there is anything in ``places``."""
    if places:
        raise InputError("Masks cannot be used.", where=places, fix=fix)


def whole(value: Any) -> int:
    """A whole number that is not negative, also one written as a float; raises ValueError for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"{value!r} is no number"[:120])
    return value


def possible(height: int, width: int) -> Size:
    """(height, width); raises ValueError for a size that no frame has."""
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise ValueError(f"an impossible size: {width}x{height}")
    return height, width


def track(values: Any, size: Size | None, place: str) -> tuple[list[bytes], Size | None]:
    """The RLE of a list of entries over time, checked and in canonical form, and their size; null is an empty mask.

    ``size``: what it must be, if that is known; without a size and an entry that has one the list is empty. Raises
    ValueError, naming the entry.
    """
    if not isinstance(values, list) or len(values) > MAX_FRAMES:
        raise ValueError(f"{place}: not a list of one entry per frame")
    texts: list[bytes | None] = []
    for position, value in enumerate(values):
        try:
            found, counts = _entry(value)
            size = size or found
            if found not in (None, size):
                assert found is not None and size is not None
                raise ValueError(f"{found[1]}x{found[0]}, not {size[1]}x{size[0]}")
        except ValueError as error:
            raise ValueError(f"{place}[{position}]: {error}") from error
        texts.append(counts)
    if size is None:
        return [], None
    nothing = empty_counts(size)
    filled = [nothing if text is None else text for text in texts]
    try:
        rle.check(filled, size)
    except rle.RleError as error:
        raise ValueError(f"{place}[{error.index}]: {error.reason}") from error
    return [rle.from_bits(rle.to_bits(text, size), size) for text in filled], size


def _entry(value: Any) -> tuple[Size | None, bytes | None]:
    """(Size, counts) of one COCO RLE, compressed or plain; (None, None) for null. Raises ValueError."""
    if value is None:
        return None, None
    size, counts = (value.get("size"), value.get("counts")) if isinstance(value, dict) else (None, None)
    if not isinstance(size, list) or len(size) != 2:
        raise ValueError("neither null nor a COCO RLE with a size")
    height, width = possible(whole(size[0]), whole(size[1]))
    if isinstance(counts, list):
        return (height, width), rle.from_runs(counts, (height, width))
    if not isinstance(counts, str):
        raise ValueError("a COCO RLE without counts")
    return (height, width), counts.encode("latin-1", "replace")


def only(found: Sequence[str], fix: str) -> str:
    """The one JSON file there is; raises InputError otherwise."""
    if len(found) != 1:
        what = "It is not clear which JSON file is meant." if found else "There is no JSON file here."
        raise InputError(what, where=[shown(name) for name in found] or ["none found"], fix=fix)
    return found[0]
