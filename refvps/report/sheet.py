"""Contact sheets: a benchmark and a submission at a glance, one row of frames per clip."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refvps.errors import UsageError
from refvps.files import write_atomic
from refvps.report.overlay import FAINT, INK, draw, font, legend, shortened

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

MARGIN, GAP, BETWEEN = 28, 6, 26
TITLE, HEADING, BODY, SMALL = 26, 18, 15, 13

TALLEST = 4
"""Pictures on a sheet are at most this many times as tall as their column is wide."""


class Cell(NamedTuple):
    """One frame, RGB uint8 [H, W, 3], its masks, bool [H, W] or None, and a caption such as "J 93.1"."""

    frame: Image
    target: Mask | None = None
    ignore: Mask | None = None
    prediction: Mask | None = None
    caption: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SheetRow:
    """One clip with one expression: ``title`` (clip id), ``subtitle`` (the text) and frames, left to right."""

    title: str
    subtitle: str
    frames: Sequence[Cell | tuple[Image, Mask | None, Mask | None, Mask | None, str]]


def spread(count: int, columns: int) -> tuple[int, ...]:
    """At most ``columns`` indices spread evenly over ``count`` frames, each in the middle of its share."""
    columns = min(count, columns)
    return tuple((2 * column + 1) * count // (2 * columns) for column in range(columns))


def contact_sheet(
    rows: Sequence[SheetRow], path: Path, *, title: str = "", subtitle: str = "", width: int = 1600
) -> None:
    """Draw rows onto one sheet and write it, atomically, as .png or .jpg.

    Clips in landscape take the full width, clips in portrait half of it, each beside the one before it.
    ``width`` is that of the sheet in pixels; its height follows.
    """
    from PIL import Image as pillow

    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
    if path.suffix.lower() not in formats:
        raise UsageError("A contact sheet is a picture.", where=[str(path)], fix="name it .png or .jpg")
    image = pillow.fromarray(sheet(rows, title=title, subtitle=subtitle, width=width))
    buffer = io.BytesIO()
    image.save(buffer, formats[path.suffix.lower()], quality=92, optimize=True)
    write_atomic(path, buffer.getvalue())


def sheet(rows: Sequence[SheetRow], *, title: str = "", subtitle: str = "", width: int = 1600) -> Image:
    """The picture that :func:`contact_sheet` writes, RGB uint8 [H, W, 3]."""
    if not rows or not all(row.frames for row in rows):
        raise UsageError("A contact sheet needs at least one frame in every row.")
    columns = max(len(row.frames) for row in rows)
    full = width - 2 * MARGIN
    half = (full - BETWEEN) // 2
    lines: list[list[Image]] = []
    for row in rows:
        height, side = row.frames[0][0].shape[:2]
        portrait = height > 1.2 * side
        block = _block(row, half if portrait else full, columns)
        gap = next((line for line in lines if len(line) == 1 and line[0].shape[1] == half), None)
        if portrait and gap is not None:
            gap.append(block)
        else:
            lines.append([block])
    head = _head(title, subtitle, full)
    tall = MARGIN + head.shape[0] + sum(BETWEEN + max(block.shape[0] for block in line) for line in lines) + MARGIN
    page = np.full((tall, width, 3), 255, np.uint8)
    page[MARGIN : MARGIN + head.shape[0], MARGIN : MARGIN + full] = head
    top = MARGIN + head.shape[0]
    for line in lines:
        top += BETWEEN
        for index, block in enumerate(line):
            left = MARGIN + index * (half + BETWEEN)
            page[top : top + block.shape[0], left : left + block.shape[1]] = block
        top += max(block.shape[0] for block in line)
    return page


def _head(title: str, subtitle: str, width: int) -> Image:
    from PIL import Image as pillow
    from PIL import ImageDraw

    key = legend(BODY)
    tall = (TITLE + 10 if title else 0) + (BODY + 10 if subtitle else 0) + key.shape[0]
    image = pillow.new("RGB", (width, tall), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    top = 0
    if title:
        pen.text((0, top), shortened(title, TITLE, width), font=font(TITLE), fill=INK)
        top += TITLE + 10
    if subtitle:
        pen.text((0, top), shortened(subtitle, BODY, width), font=font(BODY), fill=FAINT)
        top += BODY + 10
    page = np.array(image)
    shown = key[:, :width]
    page[top : top + shown.shape[0], : shown.shape[1]] = shown
    return page


def _block(row: SheetRow, width: int, columns: int) -> Image:
    """One row of the sheet: heading, text and frames, exactly ``width`` pixels wide."""
    from PIL import Image as pillow
    from PIL import ImageDraw

    side = (width - GAP * (columns - 1)) // columns
    frames = [Cell(*frame) for frame in row.frames]
    cells = [_thumbnail(frame, side) for frame in frames]
    words = HEADING + 6 + BODY + 9
    pictures = max(cell.shape[0] for cell in cells)
    captions = SMALL + 7 if any(frame.caption for frame in frames) else 0
    image = pillow.new("RGB", (width, words + pictures + captions), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    pen.text((0, 0), shortened(row.title, HEADING, width), font=font(HEADING), fill=INK)
    pen.text((0, HEADING + 6), shortened(row.subtitle, BODY, width), font=font(BODY), fill=FAINT)
    for index, (frame, pixels) in enumerate(zip(frames, cells, strict=True)):
        left = index * (side + GAP)
        image.paste(pillow.fromarray(pixels), (left, words))
        caption = shortened(frame.caption, SMALL, side)
        middle = (left + side // 2, words + pictures + 4)
        pen.text(middle, caption, font=font(SMALL), fill=INK, anchor="ma")
    return np.array(image)


def _thumbnail(cell: Cell, width: int) -> Image:
    """The frame scaled to ``width`` and only then drawn on, so that lines stay sharp.

    A very tall one is scaled to :data:`TALLEST` times ``width`` and stands in the middle.
    """
    from PIL import Image as pillow

    height, side = max(1, round(width * cell.frame.shape[0] / cell.frame.shape[1])), width
    if height > TALLEST * width:
        height, side = TALLEST * width, max(1, round(TALLEST * width * width / height))
    frame = np.array(pillow.fromarray(cell.frame).resize((side, height), pillow.Resampling.LANCZOS))

    def scaled(mask: Mask | None) -> Mask | None:
        if mask is None:
            return None
        grey = pillow.fromarray(mask.astype(np.uint8) * 255).resize((side, height), pillow.Resampling.BILINEAR)
        shown: Mask = np.array(grey) >= 128
        return shown

    drawn = draw(frame, scaled(cell.target), scaled(cell.ignore), scaled(cell.prediction))
    left = (width - side) // 2
    return np.pad(drawn, ((0, 0), (left, width - side - left), (0, 0)), constant_values=255)
