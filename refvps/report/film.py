"""Films of a submission against its benchmark: every frame of a clip, with what was found, missed and wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from refvps.masks.mask import Mask
from refvps.metrics import jaccard_from_counts, region_counts
from refvps.metrics.region import IgnoreRule
from refvps.predictions.submission import Submission
from refvps.report.gallery import frames_of, grey
from refvps.report.overlay import INK, draw, font, legend, shortened
from refvps.types import Benchmark, Clip, Expression, Truth
from refvps.video import WebmWriter

Image = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Pixel = TypeVar("Pixel", bound=np.generic)

NARROW = 320
"""Pictures narrower than this are enlarged by a whole factor, so that the words below them can be read."""

TALLEST = 2160
"""Pictures are not enlarged beyond this height; what is still narrow then stands in the middle."""

FALLBACK_FPS = 24.0
"""Rate of a film whose clip does not know its own."""

WHITE = (255, 255, 255)


def write_films(
    benchmark: Benchmark,
    submission: Submission,
    clip: str,
    expressions: Sequence[Expression],
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write ``folder/<clip>/<expression>.webm`` for each expression; returns the paths.

    Every frame of the clip is shown at the clip's rate. Where only some are annotated, their masks are held until
    the next one and the caption says so; before the first there are none. Frames that are not on this machine are
    grey. Broken masks raise InputError, and no film is left behind. ``progress`` counts frames.
    """
    about = benchmark.clips[clip]
    found, truth, reader = frames_of(benchmark, about), benchmark.truth(clip), submission.reader(clip)
    images, lacking = (grey(about), " · the frames are not on this machine") if found is None else (found, "")
    scale = max(1, min(-(-NARROW // about.size[1]), TALLEST // about.size[0]))
    height, width = about.size[0] * scale, max(NARROW, about.size[1] * scale)
    rule, annotated = benchmark.rules.ignore, frozenset(about.annotated_indices())
    paths = [folder / clip / f"{expression.id}.webm" for expression in expressions]
    bands = [Band(width, f"{clip}/{expression.id}{lacking}", expression.text) for expression in expressions]
    held: list[tuple[list[Bools | None], str]] = [([None, None, None], "")] * len(expressions)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(WebmWriter(path, (height + band.height, width), rate(about)))
            for path, band in zip(paths, bands, strict=True)
        ]
        for index, name in enumerate(about.frames):
            if index in annotated:
                held = _masks(truth, reader.frame(index), index, expressions, rule, scale)
                reader.problems.raise_for_errors()
                since = name
            picture = _enlarged(images[index], scale)
            for writer, band, (masks, score) in zip(writers, bands, held, strict=True):
                if not annotated or index < min(annotated):
                    said = "not annotated yet"
                else:
                    said = score if index in annotated else f"masks of frame {since}, held · {score}"
                shown = _centred(draw(picture, *masks), width)
                writer.add(np.concatenate([shown, band(f"frame {name} · {said}")]))
            if progress is not None:
                progress(index + 1, len(about.frames))
    return paths


def rate(clip: Clip) -> float:
    """Frames per second of a film of this clip."""
    return clip.fps if 0 < clip.fps <= 240 else FALLBACK_FPS


def _masks(
    truth: Truth,
    predictions: Mapping[str, Mask | None],
    index: int,
    expressions: Sequence[Expression],
    rule: IgnoreRule,
    scale: int,
) -> list[tuple[list[Bools | None], str]]:
    """Target, Ignore and prediction of each expression on one annotated frame, enlarged, and what to say of them."""
    targets, ignore = truth.frame(index)
    i = None if ignore is None else ignore.array()
    found: list[tuple[list[Bools | None], str]] = []
    for expression in expressions:
        pair = targets[expression.target], predictions[expression.id]
        g, p = (None if mask is None else mask.array() for mask in pair)
        if g is None:
            said = "the target is not annotated here"
        elif p is None:
            said = "no prediction"
        else:
            said = f"J {100 * float(jaccard_from_counts(*region_counts(p, g, i), rule)):.1f}"
        found.append(([None if mask is None else _enlarged(mask, scale) for mask in (g, i, p)], said))
    return found


def _enlarged(image: NDArray[Pixel], scale: int) -> NDArray[Pixel]:
    return image if scale == 1 else image.repeat(scale, axis=0).repeat(scale, axis=1)


def _centred(picture: Image, width: int) -> Image:
    """The picture in the middle of ``width`` pixels."""
    rest = width - picture.shape[1]
    if not rest:
        return picture
    ground = np.full((picture.shape[0], width, 3), INK, np.uint8)
    ground[:, rest // 2 : rest // 2 + picture.shape[1]] = picture
    return ground


def wrapped(text: str, size: int, width: int, most: int = 2) -> list[str]:
    """``text`` on at most ``most`` lines of at most ``width`` pixels, broken between words, cut where needed."""
    face, words = font(size), text.split()
    lines: list[str] = []
    while words and len(lines) < most - 1:
        count = len(words)
        while count > 1 and face.getlength(" ".join(words[:count])) > width:
            count -= 1
        lines.append(shortened(" ".join(words[:count]), size, width))
        words = words[count:]
    return [*lines, shortened(" ".join(words), size, width)] if words else lines or [""]


class Band:
    """The words below a picture ``width`` pixels wide: title, text, a line that changes, the legend.

    Call it with the line; it returns RGB uint8 [``height``, width, 3].
    """

    def __init__(self, width: int, title: str, text: str) -> None:
        from PIL import Image as pillow
        from PIL import ImageDraw

        self.width = width
        self.points = max(12, min(22, round(width / 40)))
        step, margin = self.points * 3 // 2, self.points // 2
        key = legend(max(11, self.points * 3 // 4), INK, ink=WHITE, width=width - 2 * margin)
        lines = [(title, (190, 196, 204)), *((line, WHITE) for line in wrapped(text, self.points, width - 2 * margin))]
        self.line = margin + len(lines) * step
        self.height = self.line + step + key.shape[0] + margin
        image = pillow.new("RGB", (width, self.height), INK)
        pen = ImageDraw.Draw(image)
        for row, (words, colour) in enumerate(lines):
            shown = shortened(words, self.points, width - 2 * margin)
            pen.text((margin, margin + row * step), shown, font=font(self.points), fill=colour)
        image.paste(pillow.fromarray(key), (margin, self.line + step))
        self.ground = np.array(image)

    def __call__(self, line: str) -> Image:
        """The band with ``line`` in it."""
        from PIL import Image as pillow
        from PIL import ImageDraw

        image = pillow.fromarray(self.ground)
        shown = shortened(line, self.points, self.width - self.points)
        ImageDraw.Draw(image).text((self.points // 2, self.line), shown, font=font(self.points), fill=WHITE)
        return np.array(image)
