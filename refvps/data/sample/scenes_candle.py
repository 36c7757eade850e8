"""A candle twice: wax that runs down its side, and the flame that flickers on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refvps.data.sample.canvas import (
    Box,
    Canvas,
    Colour,
    Disc,
    Ellipse,
    Line,
    Point,
    Polygon,
    blend,
    fade,
    over,
    scaled,
    solid,
)
from refvps.data.sample.integers import FULL, ONE, Plane, ease, pulse, ramp, roots, sines, wander
from refvps.data.sample.textures import Size, clouds, grid, puffs


@dataclass(frozen=True, slots=True)
class Candle:
    """Where a candle stands and its colours; lengths in units."""

    x: int
    top: int
    foot: int
    half: int
    wax: Colour
    wall: Colour
    table: Colour


@dataclass(frozen=True, slots=True)
class Flame:
    """A teardrop that leans; ``lean`` and ``bend`` move its tip and its middle."""

    x: int
    base: int
    height: int
    half: int
    lean: int
    bend: int

    def bounds(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom)."""
        reach = self.half + abs(self.lean) + abs(self.bend)
        return self.x - reach, self.base - self.height, self.x + reach, self.base

    def depth(self, x: Plane, y: Plane) -> Plane:
        """Depth inside the outline."""
        rise = np.clip((self.base - y) * FULL // self.height, 0, FULL)
        half = self.half * (FULL - rise) * roots(rise * FULL) * 665 >> 24
        middle = self.x + (self.lean * rise * rise >> 16) + (self.bend * sines(rise * 2) >> 12)
        inside = (half - np.abs(x - middle)) * 3 >> 2
        depth: Plane = np.minimum(inside, np.minimum(self.base - y, y - self.base + self.height))
        return depth


def backdrop(size: Size, candle: Candle) -> Plane:
    """A dim wall and a table top, warm near the flame, with the candle's dish."""
    x, y = grid(size)
    height, width = size[0] * ONE, size[1] * ONE
    rough = clouds(size, candle.x, (40 * ONE, 24 * ONE), 3)
    distance = roots((x - candle.x) ** 2 + (y - candle.top) ** 2)
    warm = np.clip(230 - distance * 200 // height, 30, FULL) + ((rough - 128) >> 2)
    image = blend((8, 8, 14), candle.wall, np.clip(warm, 0, FULL))
    edge = candle.foot - 6 * ONE
    wood = clouds(size, candle.x + 1, (3 * ONE, 60 * ONE), 3)
    table = blend((20, 12, 8), candle.table, np.clip(wood + 40 - np.abs(x - candle.x) * 200 // width, 0, FULL))
    image = over(image, table, np.clip((y - edge) * 4, 0, FULL))
    canvas = Canvas(image)
    canvas.fill(Ellipse(candle.x, candle.foot + 3 * ONE, candle.half * 5 // 2, 7 * ONE), (12, 8, 8), soft=5 * ONE)
    canvas.fill(
        Ellipse(candle.x, candle.foot, candle.half * 9 // 4, 6 * ONE),
        fade((176, 140, 70), (70, 48, 20), (candle.x - 20 * ONE, 0), (candle.x + 24 * ONE, 0)),
    )
    canvas.fill(Ellipse(candle.x, candle.foot - ONE, candle.half * 2, 4 * ONE), (96, 70, 34))
    return canvas.image


def _body(canvas: Canvas, candle: Candle, lit: int) -> None:
    """The wax column, shaded round and glowing under the flame by ``lit`` / 256."""
    dark: Colour = (candle.wax[0] // 4, candle.wax[1] // 5, candle.wax[2] // 5)

    def paint(x: Plane, y: Plane) -> Plane:
        side = (x - candle.x + candle.half // 3) * FULL // (candle.half * 3 // 2)
        round_ = np.clip(FULL - (side * side >> 8), 0, FULL)
        near = np.clip(FULL - (y - candle.top) * 5 // 14, 0, FULL) * lit >> 8
        colours = blend(dark, candle.wax, np.clip(round_ * 3 // 4 + 40, 0, FULL))
        return colours + scaled(scaled(solid((70, 40, 8)), near), (round_ + 40) * FULL // 160)

    canvas.fill(Box(candle.x - candle.half, candle.top, candle.x + candle.half, candle.foot), paint)
    canvas.fill(Ellipse(candle.x, candle.foot, candle.half, 3 * ONE), paint)


def _rim(canvas: Canvas, candle: Candle, lit: int) -> None:
    """The molten pool on top and the wick."""
    bright: Colour = (min(255, candle.wax[0] + 20), candle.wax[1], candle.wax[2])
    canvas.fill(Ellipse(candle.x, candle.top, candle.half, 4 * ONE), bright)
    pool: Colour = (150 + lit // 3, 110 + lit // 3, 60 + lit // 6)
    canvas.fill(Ellipse(candle.x, candle.top, candle.half * 3 // 4, 5 * ONE // 2), pool, soft=2 * ONE)
    canvas.fill(Line((candle.x, candle.top), (candle.x + ONE, candle.top - 6 * ONE), ONE), (24, 18, 16))


def _flame(canvas: Canvas, candle: Candle, frame: int, size: int, seed: int, *, target: bool) -> None:
    """The flame at ``size`` / 256 of its full height, flickering, with its halo."""
    if size <= 8:
        return
    beat = wander(seed, frame, 3) + wander(seed + 1, frame, 5)
    height = candle.half * (640 + beat // 3) * size >> 16
    half = candle.half * (132 + wander(seed + 2, frame, 4) // 12) * (size + 300) // 556 >> 8
    lean = wander(seed + 3, frame, 5) * candle.half * size >> 16
    bend = wander(seed + 4, frame, 3) * candle.half * size >> 18
    base, x = candle.top - 2 * ONE, candle.x + ONE // 2
    glow = size * (170 + beat // 8) >> 8
    canvas.glow(Disc(x, base - height // 3, candle.half * 4), (96, 50, 14), soft=candle.half * 7, opacity=glow)
    flame = Flame(x, base, height, half, lean, bend)
    canvas.fill(flame, (255, 146, 38), soft=5 * ONE // 2, target=target)
    inner = Flame(x, base - 2 * ONE, height * 4 // 5, half * 3 // 4, lean * 3 // 4, bend)
    canvas.fill(inner, (255, 214, 96), soft=3 * ONE, target=target)
    core = Flame(x, base - 3 * ONE, height * 3 // 5, half // 2, lean // 2, bend)
    canvas.fill(core, (255, 250, 222), soft=3 * ONE, target=target)
    canvas.fill(Disc(x, base - ONE, half // 2), (88, 120, 230), soft=3 * ONE, opacity=120, target=target)


WAX = Candle(54 * ONE, 78 * ONE, 176 * ONE, 19 * ONE, (236, 214, 176), (96, 52, 36), (120, 70, 36))
FLAME = Candle(58 * ONE, 106 * ONE, 190 * ONE, 20 * ONE, (196, 44, 48), (44, 56, 92), (92, 66, 46))

Drip = tuple[int, int, int, int]
"""(first frame, pixels off the axis, pixels of the whole run, radius of the drop)."""


def _runs(
    canvas: Canvas, candle: Candle, frame: int, drips: tuple[Drip, ...], wax: Colour, left: int, *, target: bool
) -> None:
    """Molten wax that runs down from the rim, at ``left`` / 256 of its opacity."""
    gloss: Colour = (min(255, wax[0] + 40), min(255, wax[1] + 40), min(255, wax[2] + 50))
    for start, off, reach, radius in drips:
        run = ease(frame, start, start + 30) * 3 // 4 + ramp(frame, start, start + 30) // 4
        if frame <= start:
            continue
        x, top = candle.x + off * ONE, candle.top + ONE
        length = reach * run * ONE >> 8
        sway = wander(off & 63, frame // 3 + length // (16 * ONE), 4) * ONE >> 8
        head: Point = (x + sway, top + length)
        swell = radius * ONE + ONE // 2
        shadow = Line((x + 2 * ONE, top), (head[0] + 2 * ONE, head[1] + ONE), swell * 3 // 4)
        dark: Colour = (candle.wax[0] * 2 // 5, candle.wax[1] * 2 // 5, candle.wax[2] * 2 // 5)
        canvas.fill(shadow, dark, soft=3 * ONE, opacity=170 * left >> 8)
        canvas.fill(Line((x, top), head, swell * 3 // 4), wax, soft=2 * ONE, opacity=left, target=target)
        canvas.fill(Ellipse(head[0], head[1], swell, swell * 4 // 3), wax, opacity=left, target=target)
        shine = Line((x - ONE, top + ONE), (head[0] - ONE, head[1]), ONE // 2)
        canvas.fill(shine, gloss, opacity=left, target=target)
        canvas.fill(Disc(head[0] - ONE, head[1] - ONE, ONE), gloss, soft=2 * ONE, opacity=left, target=target)


def wax(canvas: Canvas, frame: int) -> None:
    """Two runs of molten wax come over the rim, race down and set; the flame dances above."""
    candle = WAX
    beat = 220 + wander(5, frame, 4) // 8
    _body(canvas, candle, beat)
    drips = ((6, -9, 66, 4), (14, 7, 80, 5))
    _runs(canvas, candle, frame, drips, (255, 232, 176), FULL - ease(frame, 39, 46), target=True)
    _rim(canvas, candle, beat)
    _flame(canvas, candle, frame, 236, 11, target=False)


def flame(canvas: Canvas, frame: int) -> None:
    """The wick takes fire, the flame flickers, wax runs, and a brass snuffer comes down."""
    candle = FLAME
    size = min(ease(frame, 3, 13), FULL - ease(frame, 37, 42))
    _body(canvas, candle, size)
    _runs(canvas, candle, frame, ((14, 9, 50, 4),), (250, 110, 96), FULL, target=False)
    _rim(canvas, candle, size)
    ember = pulse(frame, -2, 3, 7, 12) + pulse(frame, 40, 42, 46, 52)
    canvas.glow(Disc(candle.x + ONE, candle.top - 6 * ONE, 2 * ONE), (250, 90, 20), soft=4 * ONE, opacity=ember)
    smoke = [
        (
            candle.x + 3 * ONE + wander(31, age * 2 + frame, 8) * age * ONE // 1400,
            candle.top - (6 + age * 3) * ONE,
            (4 + age // 3) * ONE,
            max(0, 90 - age * 3),
        )
        for age in range(max(0, frame - 43))
    ]
    canvas.cover_with(np.minimum(puffs(canvas.size, smoke), 110), (150, 156, 170))
    _flame(canvas, candle, frame, size, 23, target=True)
    drop = ease(frame, 28, 41) - ease(frame, 44, 51)
    centre = candle.x + (FULL - drop) * 44 * ONE // FULL
    bottom = candle.top - (FULL - drop) * 74 * ONE // FULL + 2 * ONE
    if drop > 0 or 28 <= frame < 51:
        brass = fade((250, 214, 120), (96, 66, 20), (centre - 8 * ONE, 0), (centre + 14 * ONE, 0))
        canvas.fill(Line((centre + 2 * ONE, bottom - 34 * ONE), (centre + 50 * ONE, bottom - 70 * ONE), 2 * ONE), brass)
        cone = ((-7, -38), (7, -38), (18, 0), (-18, 0))
        canvas.fill(Polygon(tuple((centre + x * ONE, bottom + y * ONE) for x, y in cone)), brass)
        canvas.fill(Ellipse(centre, bottom, 18 * ONE, 3 * ONE), (110, 78, 28))
        canvas.fill(Ellipse(centre, bottom - 38 * ONE, 7 * ONE, 2 * ONE), (220, 184, 100))
