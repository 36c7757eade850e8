"""Sheets on which a person decides what to do with a video: when it changes, what is cut off, what repeats."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.curate.duplicates import Agreement, Fingerprints
from refvps.curate.pictures import pictures, small
from refvps.curate.record import proposals
from refvps.curate.review import Review
from refvps.curate.shots import Boundary, Shot
from refvps.errors import UsageError
from refvps.files import write_atomic
from refvps.report.overlay import BLUE, FAINT, GREY, INK, VERMILION, YELLOW, font, shortened
from refvps.source.video import open_video

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

PARTS: Mapping[str, tuple[str, ...]] = {
    "shots": ("shots",),
    "fast": ("shots",),
    "crop": ("crop",),
    "static": ("static",),
    "outro": ("shots", "static"),
}
"""What a sheet about one thing shows below the strip: boundaries, padding, frozen runs; any other shows all."""

WIDTH, MARGIN, GAP, BETWEEN = 1600, 28, 8, 24
TITLE, HEADING, BODY, SMALL = 26, 18, 15, 13
TALL = 132
"""Height of the pictures in blocks."""
MOST = 12
"""Boundaries, frozen runs and proposals of a kind that are drawn; the others are counted."""

_ORANGE: Colour = (230, 159, 0)
_GREEN: Colour = (0, 158, 115)
_PALE: Colour = (232, 234, 237)
_TAGS: Mapping[str, Colour] = {
    "trim": BLUE,
    "split": BLUE,
    "crop": BLUE,
    "reject": VERMILION,
    "look": (120, 94, 0),
}


def proposal_sheet(review: Review, path: Path, *, about: str = "") -> None:
    """Draw what was found in one video, all or only about one thing, and write it, atomically, as .png."""
    _write(_proposals(review, about), path)


def duplicate_sheet(videos: Sequence[Fingerprints], agreements: Sequence[Agreement], path: Path) -> None:
    """Draw near-duplicates, pictures of the same moment above each other, and write it, atomically, as .png."""
    full = WIDTH - 2 * MARGIN
    pairs = [_pair(each, full) for each in agreements[:MOST]]
    more = f", {len(agreements) - MOST:,} more not drawn" if len(agreements) > MOST else ""
    words = (
        f"{len(videos):,} videos, {len(agreements):,} pairs that show the same{more}. A person decides which to keep."
    )
    _write(_page([_head("Near-duplicates", words, full), *pairs]), path)


def _proposals(review: Review, about: str) -> Image:
    parts = PARTS.get(about, ("shots", "crop", "static"))
    full = WIDTH - 2 * MARGIN
    video, found = review.survey.video, review.survey
    height, width = video.size
    times = found.times
    columns = 10 if width >= height else 15
    strip = _spread(len(found), columns)
    borders = [each for each in review.boundaries if "shots" in parts][:MOST]
    frozen = [each for each in review.frozen if "static" in parts][:MOST]
    padded = [index for index, pad in enumerate(review.paddings) if pad.kind != "none" and "crop" in parts][:MOST]
    needed = {*strip, *(frame for each in borders for frame, _ in _around(each, len(found)))}
    needed |= {frame for run in frozen for frame in (run.first, run.stop - 1)}
    needed |= {_middle(review.clips[index]) for index in padded}
    seen = {frame: small(picture, 640) for frame, picture in pictures(video, needed)}
    turned = f", turned by {video.rotation}°" if video.rotation else ""
    words = (
        f"{width}x{height}{turned}, {video.codec}, {len(found):,} frames, {times[-1] - times[0]:.2f} s, "
        f"engine {review.engine}. Nothing is applied: a person decides."
    )
    blocks = [_head(review.path.name, words, full), _list(review, about, full), _timeline(review, full)]
    blocks.append(_strip(review, strip, seen, full, columns))
    if borders:
        drawn = [_block(_around(each, len(found)), seen, _named(each, index)) for index, each in enumerate(borders, 1)]
        blocks.append(_section("Shot changes", len(review.boundaries), drawn, full))
    if padded:
        drawn = [_crop(review, index, seen[_middle(review.clips[index])]) for index in padded]
        blocks.append(_section("Padding", len(padded), drawn, full))
    if frozen:
        drawn = [
            _block(
                [(run.first, "first"), (run.stop - 1, "last")],
                seen,
                f"frozen {float(run.seconds):.2f} s from {times[run.first]:.2f} s",
            )
            for run in frozen
        ]
        blocks.append(_section("Frozen pictures", len(review.frozen), drawn, full))
    return _page(blocks)


def _around(each: Boundary, frames: int) -> list[tuple[int, str]]:
    """Frames that show a boundary: before, in between where there is something, after."""
    before, after = max(0, each.frame - 1), min(each.stop, frames - 1)
    if each.kind == "cut":
        return [(before, f"frame {before}"), (after, f"frame {after}")]
    inner = each.frame if each.kind == "flash?" else (each.frame + each.stop) // 2
    return [(before, f"frame {before}"), (inner, f"frame {inner}"), (after, f"frame {after}")]


def _named(each: Boundary, number: int) -> str:
    return f"{number}  {each.kind} at {float(each.seconds):.2f} s, change {each.change:.1f}"


def _middle(part: Shot) -> int:
    return (part.first + part.stop) // 2


def _spread(count: int, columns: int) -> list[int]:
    columns = min(count, columns)
    return [(2 * column + 1) * count // (2 * columns) for column in range(columns)]


# --- parts of the page -----------------------------------------------------------------------------


def _head(title: str, words: str, width: int) -> Image:
    canvas, pen = _canvas(width, TITLE + 10 + BODY + 8)
    pen.text((0, 0), shortened(title, TITLE, width), font=font(TITLE), fill=INK)
    pen.text((0, TITLE + 10), shortened(words, BODY, width), font=font(BODY), fill=FAINT)
    return np.array(canvas)


def _list(review: Review, about: str, width: int) -> Image:
    """The proposals, one a line, with a box to tick."""
    asked = proposals(review, about)
    lines = [(each["kind"], _sentence(each, review)) for each in asked[:MOST]]
    if len(asked) > MOST:
        lines.append(("look", f"and {len(asked) - MOST:,} more in the record"))
    if not lines:
        lines = [("", "No proposal: one shot, nothing to cut off.")]
    step = BODY + 12
    canvas, pen = _canvas(width, step * len(lines))
    for row, (kind, text) in enumerate(lines):
        top = row * step
        left = 0
        if kind:
            pen.rectangle((0, top + 1, 14, top + 15), outline=INK)
            pen.rounded_rectangle((26, top - 1, 86, top + 18), 4, fill=_TAGS[kind])
            pen.text((56, top + 8), kind, font=font(SMALL), fill=(255, 255, 255), anchor="mm")
            left = 98
        pen.text((left, top), shortened(text, BODY, width - left), font=font(BODY), fill=INK)
    return np.array(canvas)


def _sentence(each: Mapping[str, Any], review: Review) -> str:
    where = f"clip {each['clip'] + 1}: " if "clip" in each and len(review.clips) > 1 else ""
    if each["kind"] == "trim":
        start, end = (each[key] and f"{float(Fraction(each[key])):.3f} s" for key in ("start", "end"))
        return f"keep {start or 'the beginning'} to {end or 'the end'}: {each['reason']}"
    if each["kind"] == "split":
        spans = ", ".join(f"{float(clip.start):.2f}-{float(clip.end):.2f} s" for clip in review.clips)
        return f"{len(review.clips)} clips of one group: {spans}"
    if each["kind"] == "crop":
        x, y, width, height = each["box"]
        return f"{where}to {width}x{height}+{x}+{y}: {each['reason']}"
    if each["kind"] == "reject":
        return f"{where}as {each['criterion']}: {each['reason']}"
    at = f" at {float(review.survey.at(each['frame'])):.2f} s" if "frame" in each else ""
    return f"{where}{each['reason']}{at}"


def _timeline(review: Review, width: int) -> Image:
    """Change over time, with everything that was found along it."""
    found, tall, low = review.survey, 96, 118
    times = found.times
    span = max(times[-1] - times[0], 1e-9)
    canvas, pen = _canvas(width, low + 44)

    def x(seconds: float) -> int:
        return round(float((seconds - times[0]) / span * (width - 1)))

    pen.rectangle((0, 0, width - 1, tall), fill=_PALE)
    for clip in review.clips:
        pen.rectangle((x(times[clip.first]), 0, x(times[clip.stop]), tall), fill=(255, 255, 255))
    for run in review.frozen:
        for left in range(x(times[run.first]), x(times[run.stop]), 6):
            pen.line((left, 0, left, tall), fill=GREY)
    top = max(2 * review.thresholds.cut_level, float(found.change.max(initial=0)))
    for frame in np.flatnonzero(found.change > 0):
        left, right = x(times[frame]), max(x(times[frame]), x(times[frame + 1]) - 1)
        pen.rectangle((left, tall - round(float(found.change[frame]) / top * tall), right, tall), fill=FAINT)
    level = tall - round(review.thresholds.cut_level / top * tall)
    for left in range(0, width, 10):
        pen.line((left, level, left + 4, level), fill=INK)
    for number, each in enumerate(review.boundaries, 1):
        left, right = x(times[each.frame]), x(times[each.stop])
        colour = _ORANGE if each.kind == "flash?" else VERMILION
        pen.rectangle((left - 1, 0, max(right, left + 1), 7), fill=colour)
        pen.line((left, 0, left, tall), fill=colour, width=2)
        if right > left + 1 and each.kind != "flash?":
            pen.line((right, 0, right, tall), fill=colour, width=2)
        pen.text((left + 5, 9), str(number), font=font(SMALL), fill=colour)
    pen.rectangle((0, 0, width - 1, tall), outline=GREY)
    for number, clip in enumerate(review.clips, 1):
        left, right = x(times[clip.first]), x(times[clip.stop])
        pen.rectangle((left, tall + 4, right, low), fill=BLUE)
        text = shortened(f"clip {number}  {float(clip.seconds):.2f} s", SMALL, right - left - 8)
        pen.text(((left + right) // 2, tall + 13), text, font=font(SMALL), fill=(255, 255, 255), anchor="mm")
    for card in review.cards:
        left, right = x(times[card.part.first]), x(times[card.part.stop])
        pen.rectangle((left, tall + 4, right, low), fill=_GREEN)
        text = shortened("title" if card.place == "start" else "end card", SMALL, right - left - 4)
        pen.text(((left + right) // 2, tall + 13), text, font=font(SMALL), fill=(255, 255, 255), anchor="mm")
    step = next((each for each in (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300) if span / each <= 16), span)
    for index in range(int(span / step) + 1):
        left = x(times[0] + index * step)
        anchor = "la" if index == 0 else ("ra" if left > width - 40 else "ma")
        pen.line((left, low + 1, left, low + 5), fill=FAINT)
        pen.text((left, low + 7), f"{times[0] + index * step:g} s", font=font(SMALL), fill=FAINT, anchor=anchor)
    legend = [("change of a frame", FAINT), ("shot change", VERMILION), ("flash?", _ORANGE), ("frozen", GREY)]
    legend += [("proposed clip", BLUE), ("card", _GREEN), ("left out", _PALE)]
    left = 0
    for text, colour in legend:
        pen.rectangle((left, low + 29, left + 12, low + 41), fill=colour, outline=GREY if colour == _PALE else None)
        pen.text((left + 18, low + 28), text, font=font(SMALL), fill=INK)
        left += 18 + int(font(SMALL).getlength(text)) + 22
    pen.text((left, low + 28), "- -  level above which a cut is looked for", font=font(SMALL), fill=INK)
    return np.array(canvas)


def _strip(review: Review, frames: Sequence[int], seen: Mapping[int, Image], width: int, columns: int) -> Image:
    """Pictures all along the video; what would be cut off is dimmed."""
    side = (width - GAP * (columns - 1)) // columns
    cells = []
    times = review.survey.times
    for frame in frames:
        index = next((k for k, clip in enumerate(review.clips) if clip.first <= frame < clip.stop), None)
        picture = small(seen[frame], side)
        colour = GREY if index is None else BLUE
        if index is None:
            picture = _dimmed(picture)
        elif review.paddings and review.paddings[index].kind != "none":
            picture = _boxed(picture, review.paddings[index].box, review.survey.video.size)
        high, wide = picture.shape[:2]
        canvas, pen = _canvas(side, high + 6 + SMALL + 8)
        canvas.paste(_pillow(picture), ((side - wide) // 2, 0))
        pen.rectangle((0, high + 2, side, high + 5), fill=colour)
        pen.text((side // 2, high + 9), f"{times[frame]:.2f} s", font=font(SMALL), fill=INK, anchor="ma")
        cells.append(np.array(canvas))
    return _flow(cells, width, GAP)


def _block(shown: Sequence[tuple[int, str]], seen: Mapping[int, Image], title: str) -> Image:
    """Pictures beside each other under one line of text."""
    cells = [_to_height(seen[frame]) for frame, _ in shown]
    wide = sum(cell.shape[1] for cell in cells) + 3 * (len(cells) - 1)
    needed = max(wide, int(font(BODY).getlength(title)) + 2)
    canvas, pen = _canvas(needed, BODY + 8 + TALL + SMALL + 8)
    pen.text((0, 0), title, font=font(BODY), fill=INK)
    left = 0
    for cell, (_, text) in zip(cells, shown, strict=True):
        canvas.paste(_pillow(cell), (left, BODY + 8))
        middle = left + cell.shape[1] // 2
        pen.text((middle, BODY + 8 + TALL + 3), text, font=font(SMALL), fill=FAINT, anchor="ma")
        left += cell.shape[1] + 3
    return np.array(canvas)


def _crop(review: Review, index: int, picture: Image) -> Image:
    """The box in the picture, and what it leaves."""
    pad, (height, width) = review.paddings[index], review.survey.video.size
    x, y, wide, high = pad.box
    rows, columns = picture.shape[0] / height, picture.shape[1] / width
    inner = picture[round(y * rows) : round((y + high) * rows), round(x * columns) : round((x + wide) * columns)]
    inner = inner if inner.size else picture
    kind = "crop" if pad.kind == "still" else "blurred bands, not cropped"
    title = f"clip {index + 1}: {kind} {wide}x{high}+{x}+{y}"
    shown = {0: _boxed(_to_height(picture), pad.box, (height, width)), 1: np.ascontiguousarray(inner)}
    return _block([(0, f"{width}x{height}"), (1, f"{wide}x{high}")], shown, title)


def _section(title: str, count: int, blocks: Sequence[Image], width: int) -> Image:
    more = f"  ({count - len(blocks):,} more not drawn)" if count > len(blocks) else ""
    canvas, pen = _canvas(width, HEADING + 12)
    pen.text((0, 0), title + more, font=font(HEADING), fill=INK)
    return np.concatenate([np.array(canvas), _flow(blocks, width, 22)])


def _pair(each: Agreement, width: int) -> Image:
    """The same moments of two videos, above each other."""
    columns = 8
    moments = [each.seconds * (2 * index + 1) / (2 * columns) for index in range(columns)]
    side = (width - GAP * (columns - 1)) // columns
    rows = []
    for path, start in ((each.one, each.one_start), (each.other, each.other_start)):
        video = open_video(path)
        times = [video.first + start + moment for moment in moments]
        frames = [0] * columns
        for index, shown in enumerate(video.frames()):
            for column, moment in enumerate(times):
                if shown.seconds <= moment:
                    frames[column] = index
        seen = {frame: small(picture, side) for frame, picture in pictures(video, frames)}
        text = f"{path.name}  {video.size[1]}x{video.size[0]}, from {float(start):.2f} s"
        canvas, pen = _canvas(width, BODY + 8)
        pen.text((0, 0), shortened(text, BODY, width), font=font(BODY), fill=INK)
        rows += [np.array(canvas), _flow([_padded(seen[frame], side) for frame in frames], width, GAP)]
    how = "the same file" if each.identical else f"{each.bits:g} bits of 64 differ in the median"
    how += ", mirrored" if each.mirrored else ""
    canvas, pen = _canvas(width, HEADING + 12)
    pen.text((0, 0), f"{float(each.seconds):.2f} s alike, {how}", font=font(HEADING), fill=INK)
    return np.concatenate([np.array(canvas), *rows])


# --- pixels ----------------------------------------------------------------------------------------


def _canvas(width: int, height: int) -> tuple[Any, Any]:
    from PIL import Image as pillow
    from PIL import ImageDraw

    canvas = pillow.new("RGB", (max(1, width), height), (255, 255, 255))
    return canvas, ImageDraw.Draw(canvas)


def _pillow(picture: Image) -> Any:
    from PIL import Image as pillow

    return pillow.fromarray(picture)


def _to_height(picture: Image) -> Image:
    width = max(1, round(picture.shape[1] * TALL / picture.shape[0]))
    return np.array(_pillow(picture).resize((min(width, WIDTH // 4), TALL)))


def _padded(picture: Image, width: int) -> Image:
    canvas, _ = _canvas(width, picture.shape[0])
    canvas.paste(_pillow(picture), ((width - picture.shape[1]) // 2, 0))
    return np.array(canvas)


def _dimmed(picture: Image) -> Image:
    return (picture // 3 + 160).astype(np.uint8)


def _boxed(picture: Image, box: tuple[int, int, int, int], size: tuple[int, int]) -> Image:
    """The picture with what is outside the box dimmed, and the box outlined."""
    rows, columns = picture.shape[0] / size[0], picture.shape[1] / size[1]
    x, y, width, height = box
    left, right = round(x * columns), round((x + width) * columns)
    top, bottom = round(y * rows), round((y + height) * rows)
    image = _dimmed(picture)
    image[top:bottom, left:right] = picture[top:bottom, left:right]
    for line in (slice(top, top + 2), slice(max(0, bottom - 2), bottom)):
        image[line, left:right] = YELLOW
    for line in (slice(left, left + 2), slice(max(0, right - 2), right)):
        image[top:bottom, line] = YELLOW
    return image


def _flow(blocks: Sequence[Image], width: int, gap: int) -> Image:
    """Blocks from left to right, as many in a line as fit."""
    lines: list[list[Image]] = [[]]
    for block in blocks:
        if lines[-1] and sum(each.shape[1] + gap for each in lines[-1]) + block.shape[1] > width:
            lines.append([])
        lines[-1].append(block)
    rows = []
    for line in lines:
        canvas, _ = _canvas(width, max(each.shape[0] for each in line) + gap)
        left = 0
        for each in line:
            canvas.paste(_pillow(each), (left, 0))
            left += each.shape[1] + gap
        rows.append(np.array(canvas))
    return np.concatenate(rows)


def _page(blocks: Iterable[Image]) -> Image:
    shown = list(blocks)
    tall = 2 * MARGIN + sum(each.shape[0] for each in shown) + BETWEEN * (len(shown) - 1)
    page = np.full((tall, WIDTH, 3), 255, np.uint8)
    top = MARGIN
    for each in shown:
        page[top : top + each.shape[0], MARGIN : MARGIN + each.shape[1]] = each
        top += each.shape[0] + BETWEEN
    return page


def _write(page: Image, path: Path) -> None:
    if path.suffix.lower() != ".png":
        raise UsageError("A sheet of proposals is a PNG picture.", where=[str(path)], fix="name it .png")
    buffer = io.BytesIO()
    _pillow(page).save(buffer, "PNG", optimize=True)
    write_atomic(path, buffer.getvalue())
