"""One pass over a video, in flat memory: how much every frame differs from those before it.

Frames are looked at as pictures of 64 cells on the longer side (means over areas, by Pillow's integer
arithmetic), so that noise and compression count for little.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from refvps.curate.probe import Progress, frame_estimate
from refvps.curate.thresholds import Thresholds
from refvps.errors import InputError
from refvps.source.fingerprint import dhash64
from refvps.source.video import Picture, SourceVideo

Floats = NDArray[np.float64]
Cells = NDArray[np.int16]
Box = tuple[int, int, int, int]
"""(x, y, width, height) in pixels as displayed."""

Watcher = Callable[[int, Picture], None]

CELLS = 64
DARK = 32
BLEND_LAGS = (Fraction(1, 2), Fraction(1))
MAX_FRAMES = 1_000_000
_LUMA = np.array([77, 150, 29], np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """Signals of N frames; grey levels are means over cells and the three colours.

    ``pts`` int64 [N]; ``end``: when the last frame ends, in seconds. ``change``, ``moving``: mean difference from
    the frame before, and share of cells that moved; 0 for the first. ``second``, ``second_moving``: the same from
    the frame ``since`` (index) one second earlier; NaN within the first second. ``blend``: how far pictures of
    the last half second or second are from blends of the first of them and this one, as a share of the difference
    between the two, which is ``blend_change``; ``blend_since``: index of that first one; NaN and -1 where the
    difference is small. ``back``: index of the frame that
    looks again as before a change, -1 when there is none. ``anchor``: index of the frame that a frozen picture
    began with. ``light``, ``contrast``, ``dark``: mean and standard deviation of luma, and share of dark cells.
    ``prints``, ``mirrored``: dHash64 of each frame and of its mirror image, where asked for.
    """

    video: SourceVideo
    pts: NDArray[np.int64]
    end: Fraction
    change: Floats
    moving: Floats
    second: Floats
    second_moving: Floats
    since: NDArray[np.int64]
    blend: Floats
    blend_change: Floats
    blend_since: NDArray[np.int64]
    back: NDArray[np.int64]
    anchor: NDArray[np.int64]
    light: Floats
    contrast: Floats
    dark: Floats
    prints: tuple[int, ...] = ()
    mirrored: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.pts)

    def at(self, frame: int) -> Fraction:
        """When a frame appears, in seconds on the clock of the file, exact; N: when the last one ends."""
        return self.end if frame >= len(self.pts) else int(self.pts[frame]) * self.video.time_base

    @property
    def times(self) -> Floats:
        """[N + 1] seconds: when each frame appears, and the end."""
        return np.array([*(self.pts * float(self.video.time_base)), float(self.end)])

    @property
    def lasting(self) -> Floats:
        """[N] seconds for which each frame is seen."""
        return np.diff(self.times)


def cells(picture: Picture) -> Cells:
    """A picture uint8 RGB [H, W, 3] as means over 64 cells on its longer side, int16 [h, w, 3]."""
    from PIL import Image

    height, width = picture.shape[:2]
    scale = CELLS / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(picture).resize(size, Image.Resampling.BOX)
    return np.asarray(small).astype(np.int16)


def cropped(picture: Picture, box: Box | None) -> Picture:
    """The part of a picture in a box; the whole for None."""
    if box is None:
        return picture
    x, y, width, height = box
    return np.ascontiguousarray(picture[y : y + height, x : x + width])


def survey(
    video: SourceVideo,
    thresholds: Thresholds,
    *,
    crop: Box | None = None,
    prints: bool = False,
    watcher: Watcher | None = None,
    progress: Progress | None = None,
) -> Survey:
    """Decode ``video`` once. ``watcher`` is shown every picture with its index; ``crop`` limits what is looked at.

    Raises InputError for damage, and for a video of more than a million frames.
    """
    expected = frame_estimate(video)
    pts: list[int] = []
    signals: list[tuple[float, ...]] = []
    since: list[int] = []
    blended: list[tuple[float, float, int]] = []
    anchor: list[int] = []
    back: dict[int, int] = {}
    hashes: list[tuple[int, int]] = []
    recent: deque[tuple[int, Fraction, Cells]] = deque()
    watched: list[_Change] = []
    held: tuple[int, Cells] | None = None
    previous: Cells | None = None
    end = video.first
    for index, shown in enumerate(video.frames()):
        if index >= MAX_FRAMES:
            raise InputError("A video is too long.", where=[str(video.path)], fix="cut it into pieces first")
        picture = shown.picture()
        if watcher is not None:
            watcher(index, picture)
        picture = cropped(picture, crop)
        now = cells(picture)
        change, moving = (0.0, 0.0) if previous is None else _difference(now, previous, thresholds)
        while len(recent) > 1 and recent[1][1] <= shown.seconds - 1:
            recent.popleft()
        if recent and recent[0][1] <= shown.seconds - 1:
            since.append(recent[0][0])
            second = _difference(now, recent[0][2], thresholds)
        else:
            since.append(-1)
            second = (float("nan"), float("nan"))
        blended.append(_blend(recent, shown.seconds, now, thresholds.dissolve_level))
        if held is None or int(np.abs(now - held[1]).max()) > thresholds.frozen_level:
            held = (index, now)
        anchor.append(held[0])
        watched = _look_back(watched, index, shown.seconds, now, thresholds, back)
        if previous is not None and change > thresholds.cut_level / 3:
            watched.append(_Change(index, shown.seconds, change, previous))
        luma = now.astype(np.int32) @ _LUMA >> 8
        signals.append((change, moving, *second, luma.mean(), luma.std(), (luma < DARK).mean()))
        if prints:
            hashes.append((dhash64(picture), dhash64(np.ascontiguousarray(picture[:, ::-1]))))
        pts.append(shown.pts)
        recent.append((index, shown.seconds, now))
        previous, end = now, shown.seconds + shown.duration
        if progress is not None and index % 16 == 0:
            progress(index, max(expected, index))
    if progress is not None:
        progress(len(pts), len(pts))
    change_, moving_, second_, second_moving, light, contrast, dark = np.array(signals, np.float64).T
    return Survey(
        video=video,
        pts=np.array(pts, np.int64),
        end=end,
        change=change_,
        moving=moving_,
        second=second_,
        second_moving=second_moving,
        since=np.array(since, np.int64),
        blend=np.array([each[0] for each in blended]),
        blend_change=np.array([each[1] for each in blended]),
        blend_since=np.array([each[2] for each in blended], np.int64),
        back=np.array([back.get(index, -1) for index in range(len(pts))], np.int64),
        anchor=np.array(anchor, np.int64),
        light=light,
        contrast=contrast,
        dark=dark,
        prints=tuple(one for one, _ in hashes),
        mirrored=tuple(other for _, other in hashes),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Change:
    """A change that may turn out to be a flash: where, when, how large, and what was seen before."""

    index: int
    seconds: Fraction
    size: float
    before: Cells


def _look_back(
    watched: list[_Change], index: int, now: Fraction, seen: Cells, thresholds: Thresholds, back: dict[int, int]
) -> list[_Change]:
    """Note in ``back`` the changes after which the old picture returns with this frame; those still open."""
    still = []
    for each in watched:
        if now - each.seconds > thresholds.flash_seconds:
            continue
        if float(np.abs(seen - each.before).mean()) <= thresholds.flash_return * each.size:
            back[each.index] = index
        else:
            still.append(each)
    return still


def _blend(
    recent: deque[tuple[int, Fraction, Cells]], seconds: Fraction, now: Cells, level: float
) -> tuple[float, float, int]:
    """(rest, change, index of the first frame) of the better of two times; (NaN, NaN, -1) when little changed."""
    best = (float("nan"), float("nan"), -1)
    for lag in BLEND_LAGS:
        row = [each for each in recent if each[1] >= seconds - lag]
        if len(row) < 4:
            continue
        net = (now - row[0][2]).astype(np.float32)
        change = float(np.abs(net).mean())
        if change <= level:
            continue
        rest, between = 0.0, False
        for quarter in (1, 2, 3):
            way = row[len(row) * quarter // 4][2] - row[0][2]
            share = min(max(float((way * net).sum() / (net * net).sum()), 0.0), 1.0)
            rest = max(rest, float(np.abs(way - share * net).mean()) / change)
            between = between or 0.2 < share < 0.8
        if between and not best[0] <= rest:
            best = (rest, change, row[0][0])
    return best


def _difference(one: Cells, other: Cells, thresholds: Thresholds) -> tuple[float, float]:
    """Mean absolute difference, and the share of cells that moved."""
    bits = np.abs(one - other)
    return float(bits.mean()), float((bits.max(axis=2) > thresholds.cell_level).mean())
