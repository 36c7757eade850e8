"""Water: ripples and a ball on a pond, a wave on a beach, ink in an aquarium."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refvps.data.sample.canvas import (
    Canvas,
    Colour,
    Disc,
    Ellipse,
    Line,
    Point,
    Polygon,
    ball,
    blend,
    fade,
    over,
    solid,
    turned,
)
from refvps.data.sample.integers import FULL, ONE, Plane, ease, pick, pulse, ramp, roots, sin, sines, smooth, wander
from refvps.data.sample.textures import Puff, Size, clouds, grid, noise, noise_at, puffs

_BANK = 34 * ONE


def pond_backdrop(size: Size, seed: int) -> Plane:
    """A pond seen from its edge: dark reeds behind, the sky mirrored in front."""
    _, y = grid(size)
    height = size[0] * ONE
    image = blend((34, 84, 92), (126, 176, 190), np.clip(FULL - (y - _BANK) * 300 // height, 0, FULL))
    mirror = clouds(size, seed, (14 * ONE, 70 * ONE), 3)
    image += ((mirror - 128) * 6)[..., None] * np.array((3, 3, 4), dtype=np.int64) // 4
    shade = np.clip((_BANK + 26 * ONE - y) * FULL // (26 * ONE), 0, FULL) * 150 >> 8
    image = over(image, solid((14, 40, 30)), shade)
    reeds = clouds(size, seed + 1, (44 * ONE, 3 * ONE), 2)
    tops = 8 * ONE + noise(size, seed + 2, (600 * ONE, 7 * ONE)) * 20 * ONE // 255
    green = blend((12, 36, 18), (84, 124, 54), reeds)
    air = blend((206, 220, 214), (160, 190, 186), np.clip(y * FULL // _BANK, 0, FULL))
    bank = over(air, green, np.clip((y - tops) * 3, 0, FULL))
    return over(image, bank, np.clip((_BANK - y) * 4, 0, FULL))


def _ripples(canvas: Canvas, centre: Point, age: int, last: int, *, target: bool) -> None:
    """Rings that have spread for ``age`` frames after something fell in; gone at ``last``."""
    if not 0 < age < last:
        return
    across, down = canvas.x - centre[0], (canvas.y - centre[1]) * 2
    distance = roots(across * across + down * down)
    front = 5 * ONE + age * 110
    back = max(0, age - 12) * 96
    strength = min(ramp(age, 0, 4), FULL - ease(age, last - 12, last))
    band = np.clip((front - distance) * FULL // (9 * ONE), 0, FULL)
    if back:
        band = np.minimum(band, np.clip((distance - back) * FULL // (9 * ONE) + 60, 0, FULL))
    band = smooth(band)
    wave = sines((distance - age * 100) * 1024 // (11 * ONE)) * band >> 12
    height = wave * strength >> 8
    tilt = height * 3 + (height * np.clip(-down * FULL // (distance + ONE), -FULL, FULL) >> 8)
    canvas.image += tilt[..., None] * np.array((10, 11, 11), dtype=np.int64) >> 3
    share = band * strength >> 8
    share[canvas.y < _BANK + 2 * ONE] = 0
    if target:
        canvas.cover += (FULL - canvas.cover) * share >> 8
    if age < 9:  # the column of water that jumps up
        jump = sin(age * 512 // 9) * 15 * ONE >> 12
        foot: Point = (centre[0], centre[1])
        canvas.fill(
            Line(foot, (centre[0], centre[1] - jump), 3 * ONE // 2), (224, 240, 240), soft=2 * ONE, target=target
        )
        for drop in range(6):
            side = (pick(-9, 10, drop, 3) * age * ONE) // 9
            up = sin(age * 512 // 9) * pick(8, 20, drop, 4) * ONE >> 12
            canvas.fill(Disc(centre[0] + side, centre[1] - up, ONE), (236, 246, 246), target=target)


def _shimmer(canvas: Canvas, seed: int, frame: int) -> None:
    """Slow, small waves everywhere on the pond."""
    small = noise(canvas.size, seed, (3 * ONE, 17 * ONE), dx=frame * 14, time=frame * 20)
    fall = np.clip((canvas.y - _BANK) * 2, 0, FULL)
    canvas.image += ((small - 128) * fall >> 8)[..., None]


@dataclass(frozen=True, slots=True)
class _Afloat:
    """The part of a disc above a water line that curves around it."""

    disc: Disc
    line: int

    def bounds(self) -> tuple[int, int, int, int]:
        left, top, right, _ = self.disc.bounds()
        return left, top, right, self.line + self.disc.radius // 4

    def depth(self, x: Plane, y: Plane) -> Plane:
        level = self.line + self.disc.radius // 4 - (x - self.disc.x) ** 2 // (self.disc.radius * 4)
        above: Plane = np.minimum(self.disc.depth(x, y), level - y)
        return above


def _beach_ball(canvas: Canvas, centre: Point, radius: int, angle: int, sunk: int, *, target: bool) -> None:
    """A striped ball, its lowest ``sunk`` units below the water line, and its mirror image."""
    line = centre[1] + radius - sunk
    mirror = Ellipse(centre[0], line + radius * 2 // 3, radius, radius)
    canvas.fill(mirror, (150, 60, 60), soft=8 * ONE, opacity=80)
    lit = ball((255, 255, 255), centre, radius, 190)
    axis = (sin(angle), sin(angle + 256))

    def paint(x: Plane, y: Plane) -> Plane:
        u, v = (x - centre[0]) * FULL // radius, (y - centre[1]) * FULL // radius
        along = (u * axis[0] + v * axis[1]) >> 12
        side = (u * axis[1] - v * axis[0]) >> 12
        bulge = roots(np.maximum(65536 - along * along, 1))
        stripe = np.clip(side * FULL // (bulge + 1), -255, 255) + 256
        red, yellow = np.array(((236, 52, 44), (255, 236, 90)), dtype=np.int64)
        painted: Plane = lit(x, y) * np.where((stripe // 86 % 2 == 0)[..., None], red, yellow) >> 8
        return painted

    canvas.fill(_Afloat(Disc(centre[0], centre[1], radius), line), paint, target=target)


def ripples(canvas: Canvas, frame: int) -> None:
    """A drop falls into a pond and rings spread, while a big ball bobs about."""
    _shimmer(canvas, 71, frame)
    centre: Point = (70 * ONE, 136 * ONE)
    if 2 <= frame < 7:
        fall = centre[1] - (7 - frame) * (7 - frame) * 5 * ONE
        canvas.fill(Ellipse(centre[0], fall, 2 * ONE, 3 * ONE), (226, 240, 246))
    _ripples(canvas, centre, frame - 6, 42, target=True)
    where: Point = (
        34 * ONE + frame * 26 + (sin(frame * 24) * 8 * ONE >> 12),
        86 * ONE + (sin(frame * 64 + 100) * 4 * ONE >> 12),
    )
    _beach_ball(canvas, where, 22 * ONE, frame * 9, 8 * ONE, target=False)


def floating_ball(canvas: Canvas, frame: int) -> None:
    """The same pond: the ball drifts through, and a stone makes rings that nobody asks for."""
    _shimmer(canvas, 72, frame)
    centre: Point = (44 * ONE, 160 * ONE)
    if 11 <= frame < 16:
        fall = centre[1] - (16 - frame) * (16 - frame) * 5 * ONE
        canvas.fill(Ellipse(centre[0], fall, 3 * ONE, 2 * ONE), (60, 60, 64))
    _ripples(canvas, centre, frame - 15, 40, target=False)
    drift = (frame - 6) * 4 * ONE
    where: Point = (-18 * ONE + drift, 104 * ONE + (sin(frame * 52) * 4 * ONE >> 12))
    _beach_ball(canvas, where, 17 * ONE, 300 + frame * 12, 6 * ONE, target=True)


_HORIZON = 58 * ONE
_SHORE = 132 * ONE


def beach_backdrop(size: Size) -> Plane:
    """Sky, sea and sand; the shore line runs across the lower half."""
    _, y = grid(size)
    image = blend((92, 150, 214), (238, 222, 196), np.clip(y * FULL // _HORIZON, 0, FULL))
    veil = clouds(size, 91, (10 * ONE, 60 * ONE), 3)
    image = over(image, solid((244, 244, 244)), np.clip(veil - 130, 0, FULL) * 2)
    sea = blend((38, 98, 128), (64, 158, 160), np.clip((y - _HORIZON) * FULL // (_SHORE - _HORIZON), 0, FULL))
    image = over(image, sea, np.clip((y - _HORIZON) * 4, 0, FULL))
    shore = _SHORE + (noise(size, 92, (999 * ONE, 30 * ONE)) - 128) * 4 * ONE // 128
    grit = clouds(size, 93, (4 * ONE, 8 * ONE), 2)
    sand = blend((176, 142, 98), (236, 208, 158), np.clip((y - _SHORE) * 3 // 16 + grit // 4, 0, FULL))
    return over(image, sand, np.clip((y - shore) * 2, 0, FULL))


def _sail_boat(canvas: Canvas, x: int, y: int, lean: int) -> None:
    """A boat with two white sails and a red hull, about 50 pixels high."""
    hull = turned(
        [(-22 * ONE, -4 * ONE), (22 * ONE, -5 * ONE), (15 * ONE, 5 * ONE), (-17 * ONE, 5 * ONE)], (x, y), lean
    )
    main = turned([(-2 * ONE, -52 * ONE), (-2 * ONE, -8 * ONE), (-21 * ONE, -8 * ONE)], (x, y), lean)
    fore = turned([(ONE, -46 * ONE), (ONE, -8 * ONE), (20 * ONE, -9 * ONE)], (x, y), lean)
    mast = turned([(-ONE // 2, -54 * ONE), (-ONE // 2, -4 * ONE)], (x, y), lean)
    canvas.fill(Ellipse(x, y + 10 * ONE, 24 * ONE, 6 * ONE), (24, 60, 80), soft=6 * ONE, opacity=140)
    canvas.fill(Polygon(main), fade((255, 255, 252), (206, 214, 226), (x - 20 * ONE, y), (x, y - 30 * ONE)))
    canvas.fill(Polygon(fore), fade((250, 204, 96), (226, 130, 60), (x, y - 30 * ONE), (x + 20 * ONE, y)))
    canvas.fill(Line(mast[0], mast[1], ONE // 2), (70, 48, 36))
    canvas.fill(Polygon(hull), fade((220, 56, 44), (120, 22, 26), (x, y - 4 * ONE), (x, y + 6 * ONE)))


def wave(canvas: Canvas, frame: int) -> None:
    """A wave rises off the beach, breaks and runs up the sand; a sail boat crosses behind it."""
    x, y = canvas.x, canvas.y
    glint = noise(canvas.size, 94, (2 * ONE, 12 * ONE), dx=frame * 20, time=frame * 40)
    at_sea = np.clip((y - _HORIZON) * 2, 0, FULL) * np.clip((_SHORE - y) // 8, 0, FULL) >> 8
    canvas.image += ((glint - 128) * at_sea >> 7)[..., None] * 2
    _sail_boat(canvas, -28 * ONE + frame * 200, 80 * ONE + (sin(frame * 40) * ONE >> 12), sin(frame * 30) * 18 >> 12)
    rise, run = ramp(frame, 6, 24), ease(frame, 18, 30) - ease(frame, 31, 46)
    if frame < 6 or frame >= 47:
        return
    columns = x[:1, :]
    bumps = noise((1, canvas.size[1]), 95, (ONE, 22 * ONE), dx=frame * 40, time=frame * 12) - 128
    front = 92 * ONE + (rise * 44 + run * 34) * ONE // FULL + bumps * 4 * ONE // 128
    thick = (3 * ONE + rise * 15 * ONE // FULL) + run * 30 * ONE // FULL
    ending = ramp(frame, 38, 47)
    thick = thick * (FULL - ending * 3 // 4) // FULL
    back = front - thick
    body = np.clip(np.minimum((front - y) * 2, (y - back) * 3 // 2), 0, FULL)
    sides = np.clip(np.minimum(columns + 24 * ONE, canvas.width + 24 * ONE - columns) // 4, 0, FULL)
    weight = smooth(body) * sides * min(ramp(frame, 5, 11), FULL - ending * 5 // 8) >> 16
    along = np.clip((y - back) * FULL // thick, 0, FULL)
    bend = noise_at(97, 19 * ONE, x, y, frame * 24) * 7
    lace = noise_at(96, 9 * ONE, x + bend, y * 2 - frame * 60, frame * 20) * 2
    lace = np.abs(lace + noise_at(98, 4 * ONE, x + bend, y * 2 - frame * 60, frame * 30) - 380)
    foam = np.clip((110 - lace) * 4 + along // 2, 0, FULL) * np.clip(run + rise // 3, 0, FULL) >> 8
    foam = np.maximum(foam, np.clip((along - 200) * 5, 0, FULL)) * 230 >> 8
    colour = blend((22, 92, 112), (110, 196, 190), along)
    colour = over(colour, solid((244, 250, 250)), foam)
    canvas.cover_with(weight, lambda _x, _y: colour, target=True)


def aquarium_backdrop(size: Size) -> Plane:
    """Clear water before a pale wall, pebbles and a plant on the ground."""
    x, y = grid(size)
    height, width = size[0] * ONE, size[1] * ONE
    light = np.clip(FULL - y * 150 // height - np.abs(x - width // 2) * 90 // width, 0, FULL)
    image = blend((70, 130, 150), (206, 232, 230), light)
    image += ((clouds(size, 51, (60 * ONE, 26 * ONE), 2) - 128) * 2)[..., None]
    canvas = Canvas(image)
    for stem in range(5):
        foot = width - (12 + stem * 7) * ONE
        for step in range(12):
            sway = sin(step * 60 + stem * 200) * 4 * ONE >> 12
            leaf = Ellipse(foot + sway, height - (8 + step * (3 + stem % 3)) * ONE, 3 * ONE, 5 * ONE)
            canvas.fill(leaf, (40 + step * 4, 110 + step * 5, 60), opacity=220)
    for stone in range(150):
        sx, sy = pick(0, width, 52, stone), height - pick(0, 11 * ONE, 53, stone)
        grey = pick(90, 200, 54, stone)
        size_ = pick(2 * ONE, 5 * ONE, 55, stone)
        canvas.fill(Ellipse(sx, sy, size_, size_ * 3 // 4), ball((grey, grey - 12, grey - 30), (sx, sy), size_, 60))
    return canvas.image


def _goldfish(canvas: Canvas, x: int, y: int, frame: int) -> None:
    """A fat orange fish, about 48 pixels long, swimming to the left."""
    beat = sin(frame * 110) * 5 * ONE >> 12
    tail: Colour = (248, 150, 60)
    root: Point = (x + 17 * ONE, y)
    canvas.fill(Polygon((root, (x + 36 * ONE, y - 13 * ONE + beat), (x + 30 * ONE, y + beat))), tail, opacity=235)
    canvas.fill(Polygon((root, (x + 30 * ONE, y + beat), (x + 36 * ONE, y + 13 * ONE + beat))), tail, opacity=235)
    canvas.fill(Polygon(((x - 6 * ONE, y - 10 * ONE), (x + 12 * ONE, y - 8 * ONE), (x + 10 * ONE, y - 18 * ONE))), tail)
    canvas.fill(
        Ellipse(x, y, 21 * ONE, 12 * ONE), fade((255, 140, 30), (255, 214, 130), (x, y - 9 * ONE), (x, y + 12 * ONE))
    )
    fin = ((x, y + 4 * ONE), (x + 9 * ONE, y + 6 * ONE), (x + 6 * ONE, y + 13 * ONE + beat))
    canvas.fill(Polygon(fin), (226, 100, 24))
    canvas.fill(Disc(x - 13 * ONE, y - 3 * ONE, 5 * ONE // 2), (255, 255, 255))
    canvas.fill(Disc(x - 13 * ONE - 20, y - 3 * ONE, 3 * ONE // 2), (16, 16, 20))


def ink(canvas: Canvas, frame: int) -> None:
    """A pipette lets ink into an aquarium; the cloud sinks, curls and thins out; a goldfish passes."""
    height, width = canvas.height, canvas.width
    mouth: Point = (70 * ONE, 16 * ONE)
    age = frame - 7
    if age > 0:
        items: list[Puff] = []
        left = FULL - ease(age, 26, 46)
        for grain in range(64):
            born = pick(0, 12, 61, grain)
            life = age - born
            if life <= 0:
                continue
            sink = roots(np.array([life * 4096], dtype=np.int64)).item() * pick(50, 200, 62, grain) // 13
            spread = life * pick(-34, 35, 63, grain) + wander(grain + 640, life, 9) * life * ONE // 1600
            radius = 4 * ONE + life * pick(9, 22, 65, grain)
            items.append((mouth[0] + spread, mouth[1] + sink, radius, 150 * left >> 8))
        bend = noise_at(66, 9 * ONE, canvas.x, canvas.y - frame * 40, frame * 16)
        mass = puffs(canvas.size, items) * (bend * 2 - 20) >> 8
        canvas.cover_with(smooth(np.clip(mass, 0, FULL)) * 15 >> 4, (44, 26, 120), target=True)
    glass = fade((120, 150, 170), (60, 84, 110), (mouth[0] - 4 * ONE, 0), (mouth[0] + 5 * ONE, 0))
    dip = (pulse(frame, 0, 5, 22, 30) - FULL) * 40 * ONE >> 8
    tip = mouth[1] + dip
    canvas.fill(
        Polygon(
            (
                (mouth[0] - 4 * ONE, tip - 40 * ONE),
                (mouth[0] + 4 * ONE, tip - 40 * ONE),
                (mouth[0] + ONE, tip),
                (mouth[0] - ONE, tip),
            )
        ),
        glass,
    )
    _goldfish(canvas, width + 40 * ONE - frame * 250, height * 5 // 9 + (sin(frame * 24) * 8 * ONE >> 12), frame)
    for bubble in range(5):
        up = (frame * pick(70, 130, 67, bubble) + pick(0, height, 68, bubble)) % height
        bx = width - pick(14, 60, 69, bubble) * ONE + (sin(frame * 40 + bubble * 300) * 2 * ONE >> 12)
        canvas.fill(Disc(bx, height - up, 2 * ONE), (240, 250, 252), opacity=150)
