"""``instances.json`` of COCO: pictures, and objects as polygons or RLE, of which only those asked for are kept."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refvps.data.importers.spans import Span, walk
from refvps.errors import InputError
from refvps.masks import rle
from refvps.masks.mask import Mask
from refvps.types import MAX_SIDE

OUTSIDE = 2.0
"""How far, in pixels, a corner of a polygon may lie outside its picture."""

MAX_CORNERS = 100_000

Polygons = tuple[tuple[float, ...], ...]
Segmentation = Polygons | bytes
"""An object as it is in the file: polygons of x, y, x, y, ..., or checked compressed RLE."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of COCO: its file and (height, width)."""

    file: str
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Instance:
    """One object: the picture it is in, the number of its category, and where it is."""

    image: int
    category: int
    segmentation: Segmentation


def read_instances(path: Path, wanted: Collection[int]) -> tuple[dict[int, Picture], dict[int, Instance]]:
    """Pictures and the ``wanted`` objects by number; memory stays at the size of the file.

    Raises InputError naming every record that is missing or cannot be used; masks are checked when the record is
    read, and made by :func:`mask_of`.
    """
    raw: dict[int, tuple[int, int, Any]] = {}
    wrong: list[str] = []

    def visit(span: Span, record: Any) -> None:
        try:
            number = whole(record, "id")
            if number not in wanted:
                return
            if number in raw:
                raise ValueError(f"object {number} is there twice")
            raw[number] = whole(record, "image_id"), whole(record, "category_id"), record["segmentation"]
        except (KeyError, TypeError, ValueError) as error:
            wrong.append(f"{path}: byte {span.start:,}: {reason(error)}")

    rest = walk(path, "annotations", visit)
    try:
        pictures = _pictures(rest["images"])
    except (KeyError, TypeError, ValueError) as error:
        wrong.append(f"{path}: {reason(error)}")
        pictures = {}
    instances: dict[int, Instance] = {}
    for number, (image, category, segmentation) in raw.items() if pictures else ():
        try:
            if image not in pictures:
                raise ValueError(f"there is no picture {image}")
            instances[number] = Instance(image, category, _checked(segmentation, pictures[image].size))
        except ValueError as error:
            wrong.append(f"{path}: object {number}: {error}")
    if wrong:
        raise InputError("Objects of COCO cannot be used.", where=wrong, fix="get instances.json again")
    return pictures, instances


def _pictures(records: Any) -> dict[int, Picture]:
    found: dict[int, Picture] = {}
    if not isinstance(records, list):
        raise ValueError("images are no list")
    for record in records:
        number, height, width = (whole(record, key) for key in ("id", "height", "width"))
        name = record["file_name"]
        if not isinstance(name, str) or not name.isprintable() or not name or {"", ".", ".."} & set(name.split("/")):
            raise ValueError(f"picture {number} has no safe file name")
        if "\\" in name or ":" in name:
            raise ValueError(f"picture {number} has no safe file name")
        if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
            raise ValueError(f"picture {number} has an impossible size: {width}x{height}")
        if number in found:
            raise ValueError(f"picture {number} is there twice")
        found[number] = Picture(name, (height, width))
    return found


def _checked(value: Any, size: tuple[int, int]) -> Segmentation:
    """An object in its frozen form; raises ValueError for what is neither polygons in the picture nor its RLE."""
    if isinstance(value, Mapping):
        return _checked_rle(value, size)
    if not isinstance(value, list) or not value:
        raise ValueError("it has neither polygons nor RLE")
    if sum(len(part) for part in value if isinstance(part, list)) > 2 * MAX_CORNERS:
        raise ValueError(f"its polygons have more than {MAX_CORNERS:,} corners")
    return tuple(_polygon(part, size) for part in value)


def _polygon(part: Any, size: tuple[int, int]) -> tuple[float, ...]:
    """Corners x, y, ...; pycocotools reserves memory by their distance, and takes four numbers for a box."""
    if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
        raise ValueError("a polygon does not have three corners of two numbers or more")
    corners: list[float] = []
    for place, number in enumerate(part):
        side = size[1 - place % 2]
        if type(number) not in (int, float) or not math.isfinite(number) or not -OUTSIDE <= number <= side + OUTSIDE:
            raise ValueError(f"a corner of a polygon is not in the picture: {number!r}"[:120])
        corners.append(float(number))
    return tuple(corners)


def _checked_rle(value: Mapping[str, Any], size: tuple[int, int]) -> bytes:
    if value.get("size") != list(size):
        raise ValueError(f"its RLE has another size than the picture: {value.get('size')!r}"[:120])
    counts = value.get("counts")
    if isinstance(counts, list):
        if not all(type(run) is int and run >= 0 for run in counts) or sum(counts) != size[0] * size[1]:
            raise ValueError("the runs of its RLE do not add up to the picture")
        return _encoded(counts, size)
    if not isinstance(counts, str):
        raise ValueError("its RLE has no counts")
    found = counts.encode("latin-1", "replace")
    try:
        rle.check([found], size)
    except rle.RleError as error:
        raise ValueError(f"its RLE cannot be used: {error.reason}") from error
    return found


def _encoded(runs: list[int], size: tuple[int, int]) -> bytes:
    """Plain run lengths in the one compressed form, whatever empty runs they have."""
    values = np.arange(len(runs), dtype=np.int64) % 2 == 1
    return rle.encode(np.repeat(values, runs).reshape(size, order="F"))


def mask_of(segmentation: Segmentation, size: tuple[int, int]) -> Mask:
    """The mask of an object in a picture of ``size`` (height, width), by pycocotools' rule for polygons."""
    if isinstance(segmentation, bytes):
        return Mask.from_rle(segmentation, size)
    from pycocotools import mask as coco

    parts = coco.frPyObjects([list(polygon) for polygon in segmentation], *size)
    return Mask.from_array(coco.decode(coco.merge(parts)).astype(np.bool_))


def whole(record: Any, key: str) -> int:
    """A number from a record; raises KeyError, TypeError or ValueError for anything else."""
    value = record[key]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"{key} is no number: {value!r}"[:120])
    return value


def reason(error: Exception) -> str:
    """What an error says about a record."""
    return f"no {error}" if isinstance(error, KeyError) else str(error)[:200]
