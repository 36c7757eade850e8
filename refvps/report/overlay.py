"""Masks drawn over frames: what was found, what was wrongly marked, what was missed, what does not count.

Colours are from the Okabe-Ito palette, which stays distinguishable with every common colour blindness;
they also differ in lightness. Numpy and Pillow only; films go through :mod:`refvps.video`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.video import WebmWriter

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Colour = tuple[int, int, int]

BLUE: Colour = (0, 114, 178)
VERMILION: Colour = (213, 94, 0)
YELLOW: Colour = (240, 228, 66)
GREY: Colour = (150, 150, 150)

TEXT_COLOURS: tuple[Colour, ...] = (
    BLUE,
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    VERMILION,
    YELLOW,
)
"""One colour per text in films, in turn."""

INK: Colour = (33, 37, 41)
FAINT: Colour = (98, 104, 112)

_ALPHA = 166
"""Opacity of a fill, of 256."""


def draw(frame: Image, target: Mask | None = None, ignore: Mask | None = None, prediction: Mask | None = None) -> Image:
    """A copy of an RGB frame uint8 [H, W, 3] with its masks, each bool [H, W] or None when unknown.

    Blue: predicted, and right where a target is known. Vermilion: predicted but not target. Yellow:
    target that was missed. White line: outline of the target. Grey hatching: Ignore, which never counts,
    so nothing else is filled there.
    """
    image = frame.copy()
    counts = np.ones(frame.shape[:2], np.bool_) if ignore is None else ~ignore
    if prediction is not None:
        known = prediction if target is None else target
        _fill(image, prediction & known & counts, BLUE)
        _fill(image, prediction & ~known & counts, VERMILION)
        _fill(image, ~prediction & known & counts, YELLOW)
    if ignore is not None:
        _hatch(image, ignore)
    if target is not None:
        _line(image, target, (255, 255, 255))
    elif prediction is not None:
        _line(image, prediction, BLUE)
    return image


def draw_texts(frame: Image, masks: Sequence[Mask]) -> Image:
    """A copy of an RGB frame with one mask per text, each in its colour of :data:`TEXT_COLOURS`."""
    image = frame.copy()
    for index, mask in enumerate(masks):
        colour = TEXT_COLOURS[index % len(TEXT_COLOURS)]
        _fill(image, mask, colour)
        _line(image, mask, colour)
    return image


def _fill(image: Image, where: Mask, colour: Colour) -> None:
    pixels = image[where].astype(np.uint16)
    image[where] = (pixels * (256 - _ALPHA) + np.array(colour, np.uint16) * _ALPHA + 128) >> 8


def _hatch(image: Image, where: Mask) -> None:
    """Diagonal stripes, light on dark, so that they read on any ground."""
    height, width = where.shape
    period = max(4, _thickness(where) * 4)
    phase = (np.arange(height)[:, None] + np.arange(width)[None, :]) % period
    _fill(image, where & (phase >= period // 2), (70, 70, 70))
    _fill(image, where & (phase < period // 2), (225, 225, 225))


def _line(image: Image, mask: Mask, colour: Colour) -> None:
    """The outline inside the mask, with a dark line outside of it."""
    thickness = _thickness(mask)
    image[_grown(mask, max(1, thickness // 2)) & ~mask] = (20, 20, 20)
    image[mask & _grown(~mask, thickness)] = colour


def _thickness(mask: Mask) -> int:
    return max(1, round(float(np.hypot(*mask.shape)) / 400))


def _grown(mask: Mask, steps: int) -> Mask:
    """Dilated by ``steps`` pixels in the four directions, so by a diamond; the image border adds nothing."""
    grown = mask.copy()
    for _ in range(steps):
        before = grown.copy()
        grown[1:] |= before[:-1]
        grown[:-1] |= before[1:]
        grown[:, 1:] |= before[:, :-1]
        grown[:, :-1] |= before[:, 1:]
    return grown


# --- words -----------------------------------------------------------------------------------------


def font(size: int) -> Any:
    """Pillow's built-in scalable font."""
    from PIL import ImageFont

    return ImageFont.load_default(size=size)


def shortened(text: str, size: int, width: int) -> str:
    """``text`` on one line of at most ``width`` pixels, cut with an ellipsis where needed."""
    face, text = font(size), " ".join(text.split())
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text.rstrip() + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def legend(size: int = 15, ground: Colour = (255, 255, 255), *, ink: Colour = INK, width: int = 0) -> Image:
    """The meaning of the colours of :func:`draw`, RGB uint8; ``size`` is that of the font.

    One line, or as many as it takes to stay within ``width`` pixels.
    """
    from PIL import Image as pillow
    from PIL import ImageDraw

    face, gap = font(size), size // 2
    rows: list[list[tuple[str, Image, int]]] = [[]]
    left = 0
    for name, kind in LEGEND:
        needed = 2 * size + gap + int(face.getlength(name)) + 1
        if width and rows[-1] and left + needed > width:
            rows.append([])
            left = 0
        rows[-1].append((name, _swatch(kind, size), left))
        left += needed - 1 + 2 * size
    ends = [at + 2 * size + gap + int(face.getlength(name)) + 1 for row in rows for name, _, at in row]
    image = pillow.new("RGB", (min(max(ends), width or max(ends)), len(rows) * (size + 6)), ground)
    pen = ImageDraw.Draw(image)
    for number, row in enumerate(rows):
        top = 3 + number * (size + 6)
        for name, swatch, at in row:
            image.paste(pillow.fromarray(swatch), (at, top))
            pen.text((at + 2 * size + gap, top + size // 2), name, font=face, fill=ink, anchor="lm")
    return np.array(image)


LEGEND = (
    ("found", "hit"),
    ("wrongly marked", "extra"),
    ("missed", "missed"),
    ("outline of the target", "target"),
    ("Ignore, does not count", "ignore"),
)
"""What :func:`legend` explains, in order."""


def _swatch(kind: str, size: int) -> Image:
    """A sample of one kind of pixel, drawn by :func:`draw` itself."""
    ground = np.full((size, 2 * size, 3), 128, np.uint8)
    yes, no = np.ones(ground.shape[:2], np.bool_), np.zeros(ground.shape[:2], np.bool_)
    if kind == "target":
        inner = no.copy()
        inner[2:-2, 2:-2] = True
        return draw(ground, target=inner)
    if kind == "ignore":
        return draw(ground, ignore=yes)
    image = ground
    _fill(image, yes, {"hit": BLUE, "extra": VERMILION, "missed": YELLOW}[kind])
    return image


class Film:
    """A WebM film of frames with the masks of several texts, and a line for each text under the picture.

    Call it with a frame [H, W, 3] and one mask per text, in order; use it in a ``with`` block, at whose
    end the film is complete. It fits :func:`refvps.run.predict.predict_frames` as ``overlay``.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float, texts: Sequence[str]) -> None:
        self.band = _band(size, texts)
        self.writer = WebmWriter(path, (size[0] + self.band.shape[0], size[1]), fps)

    def __call__(self, frame: Image, masks: Sequence[Mask]) -> None:
        """Append one frame with its masks."""
        self.writer.add(np.concatenate([draw_texts(frame, masks), self.band]))

    def __enter__(self) -> Film:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.__exit__(kind, error, trace)


def _band(size: tuple[int, int], texts: Sequence[str]) -> Image:
    from PIL import Image as pillow
    from PIL import ImageDraw

    points = max(12, round(size[0] / 28))
    step = points * 3 // 2
    image = pillow.new("RGB", (size[1], step * len(texts) + points // 2), INK)
    pen = ImageDraw.Draw(image)
    for index, text in enumerate(texts):
        middle = points // 4 + step * index + step // 2
        box = (points // 2, middle - points // 2, points // 2 + points, middle + points // 2)
        pen.rectangle(box, fill=TEXT_COLOURS[index % len(TEXT_COLOURS)])
        line = shortened(text, points, size[1] - points * 5 // 2)
        pen.text((points * 2, middle), line, font=font(points), fill=(255, 255, 255), anchor="lm")
    return np.array(image)
