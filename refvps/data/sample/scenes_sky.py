"""Air and light: smoke of a locomotive, a cloud behind a crane, sheet lightning, a swinging lamp."""

from __future__ import annotations

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
    ball,
    blend,
    fade,
    over,
    turned,
)
from refvps.data.sample.integers import FULL, ONE, Plane, cos, pick, roots, sin, smooth, wander
from refvps.data.sample.textures import Puff, Size, clouds, grid, noise, noise_at, puffs

_RAIL = 112 * ONE


def railway_backdrop(size: Size) -> Plane:
    """Hills under a pale evening sky, a meadow, and a railway line."""
    _, y = grid(size)
    image = blend((116, 162, 206), (244, 214, 178), np.clip(y * FULL // (84 * ONE), 0, FULL))
    for ridge in range(3):
        tops = (52 + ridge * 15) * ONE + (
            noise(size, 101 + ridge, (999 * ONE, (50 - ridge * 8) * ONE)) - 128
        ) * ONE // 8
        hill: Colour = ((116, 136, 150), (82, 120, 100), (74, 112, 58))[ridge]
        rough = clouds(size, 105 + ridge, (8 * ONE, 12 * ONE), 2)
        colours = blend((hill[0] * 4 // 5, hill[1] * 4 // 5, hill[2] * 4 // 5), hill, rough)
        image = over(image, colours, np.clip((y - tops) * 4, 0, FULL))
    canvas = Canvas(image)
    gravel = clouds(size, 109, (2 * ONE, 3 * ONE), 2)
    bed = blend((70, 62, 58), (150, 138, 126), gravel)
    canvas.cover_with(
        np.clip((y - _RAIL) * 4, 0, FULL) * np.clip((_RAIL + 9 * ONE - y) * 4, 0, FULL) >> 8, lambda _x, _y: bed
    )
    canvas.fill(Box(-ONE, _RAIL, canvas.width + ONE, _RAIL + 3 * ONE // 2), (56, 52, 54))
    return canvas.image


def _wheel(canvas: Canvas, x: int, y: int, radius: int, angle: int) -> None:
    canvas.fill(Disc(x, y, radius), (150, 30, 26))
    canvas.fill(Disc(x, y, radius * 3 // 4), (44, 20, 22))
    for spoke in range(4):
        turn = angle + spoke * 128
        reach: Point = (cos(turn) * radius * 3 >> 14, sin(turn) * radius * 3 >> 14)
        canvas.fill(Line((x - reach[0], y - reach[1]), (x + reach[0], y + reach[1]), ONE // 2), (190, 60, 50))
    canvas.fill(Disc(x, y, radius // 4), (220, 190, 120))


def _locomotive(canvas: Canvas, x: int, frame: int) -> None:
    """A steam engine with a tender, 120 pixels long, its chimney at ``x``, running to the right."""
    y = _RAIL
    iron = fade((96, 110, 104), (16, 22, 22), (0, y - 40 * ONE), (0, y - 10 * ONE))
    green = fade((56, 128, 84), (14, 46, 32), (0, y - 44 * ONE), (0, y - 8 * ONE))
    canvas.fill(Box(x - 104 * ONE, y - 30 * ONE, x - 62 * ONE, y - 8 * ONE, 2 * ONE), green)
    canvas.fill(Ellipse(x - 83 * ONE, y - 30 * ONE, 19 * ONE, 5 * ONE), (26, 24, 26))
    canvas.fill(Box(x - 64 * ONE, y - 12 * ONE, x + 16 * ONE, y - 7 * ONE), (30, 28, 30))
    canvas.fill(Box(x - 58 * ONE, y - 46 * ONE, x - 32 * ONE, y - 9 * ONE, 2 * ONE), green)
    canvas.fill(Box(x - 61 * ONE, y - 49 * ONE, x - 29 * ONE, y - 45 * ONE, ONE), (40, 36, 38))
    canvas.fill(Box(x - 52 * ONE, y - 41 * ONE, x - 39 * ONE, y - 30 * ONE, ONE), (250, 222, 140))
    canvas.fill(Box(x - 34 * ONE, y - 33 * ONE, x + 12 * ONE, y - 12 * ONE, 6 * ONE), iron)
    for band in (-22, -8):
        canvas.fill(Box(x + band * ONE, y - 33 * ONE, x + (band + 2) * ONE, y - 12 * ONE), (206, 168, 80))
    canvas.fill(Disc(x + 9 * ONE, y - 22 * ONE, 9 * ONE), ball((70, 74, 78), (x + 9 * ONE, y - 22 * ONE), 9 * ONE, 60))
    canvas.fill(Ellipse(x - 15 * ONE, y - 33 * ONE, 5 * ONE, 6 * ONE), (206, 168, 80))
    chimney = (
        (x - 4 * ONE, y - 32 * ONE),
        (x + 4 * ONE, y - 32 * ONE),
        (x + 6 * ONE, y - 50 * ONE),
        (x - 6 * ONE, y - 50 * ONE),
    )
    canvas.fill(Polygon(chimney), fade((80, 80, 84), (14, 14, 16), (x - 4 * ONE, 0), (x + 6 * ONE, 0)))
    canvas.fill(Polygon(((x + 12 * ONE, y - 9 * ONE), (x + 22 * ONE, y), (x + 10 * ONE, y))), (150, 30, 26))
    turn = frame * 90
    for at, radius in ((-92, 6), (-74, 6), (-46, 9), (-24, 9), (-2, 6)):
        _wheel(canvas, x + at * ONE, y - radius * ONE, radius * ONE, turn * 9 // radius)
    rod = (cos(turn) * 5 * ONE >> 12, sin(turn) * 5 * ONE >> 12)
    start: Point = (x - 46 * ONE + rod[0], y - 9 * ONE + rod[1])
    canvas.fill(Line(start, (x - 24 * ONE + rod[0], y - 9 * ONE + rod[1]), ONE), (214, 210, 200))


def smoke(canvas: Canvas, frame: int) -> None:
    """A locomotive crosses; for a while it puffs smoke that rises, drifts back and dissolves."""

    def chimney(half: int) -> int:
        return 42 * ONE + half * 103

    items: list[Puff] = []
    for born in range(7 * 2, 30 * 2):
        life = frame * 2 - born
        if not 0 < life < 44:
            continue
        rise = 46 * life - life * life // 3
        drift = life * 24 + wander(born * 7, life, 12) * life // 9
        beat = 236 if born % 8 < 4 else 120
        strength = beat * (44 - life) * min(life, 6) // (44 * 6)
        items.append((chimney(born) - drift, _RAIL - 53 * ONE - rise, 5 * ONE + life * 28, strength))
    if items:
        bend = noise_at(111, 9 * ONE, canvas.x + frame * 60, canvas.y + frame * 60, frame * 20)
        mass = puffs(canvas.size, items)
        body = np.clip(mass * (bend + 190) >> 8, 0, FULL)
        lit = np.clip(150 + (bend >> 1) - (mass >> 3), 0, FULL)
        canvas.cover_with(
            smooth(body) * 15 >> 4, lambda _x, _y: blend((104, 100, 106), (238, 234, 232), lit), target=True
        )
    _locomotive(canvas, chimney(frame * 2), frame)


def harbour_backdrop(size: Size) -> Plane:
    """A deep blue sky above a row of warehouses."""
    _, y = grid(size)
    height, width = size[0] * ONE, size[1] * ONE
    image = blend((40, 96, 178), (190, 216, 236), np.clip(y * FULL // (height * 4 // 5), 0, FULL))
    canvas = Canvas(image)
    for house in range(6):
        left = house * width // 5 - 8 * ONE
        top = height - pick(18, 36, 121, house) * ONE
        shade = pick(60, 110, 122, house)
        canvas.fill(Box(left, top, left + 25 * ONE, height + ONE), (shade + 20, shade, shade - 6))
        for row in range(3):
            for pane in range(4):
                px, py = left + (3 + pane * 6) * ONE, top + (4 + row * 8) * ONE
                glass: Colour = (226, 214, 160) if pick(0, 3, 123, house, row, pane) == 0 else (70, 84, 100)
                canvas.fill(Box(px, py, px + 3 * ONE, py + 4 * ONE), glass)
    return canvas.image


def cloud(canvas: Canvas, frame: int) -> None:
    """A cumulus crosses the sky, quickly as in a time lapse, behind a crane that swings a container."""
    shift = -46 * ONE + (frame - 4) * 300
    items: list[Puff] = []
    for lump in range(16):
        off, up = pick(-34, 35, 131, lump), pick(-6, 7, 132, lump)
        height = 12 - abs(off) // 4
        swell = wander(1300 + lump, frame, 14) * 2 * ONE >> 8
        items.append((shift + off * ONE, (66 + up // 2 - height) * ONE, (14 + height // 2) * ONE + swell, 210))
    mass = puffs(canvas.size, items)
    bend = noise_at(133, 10 * ONE, canvas.x - shift, canvas.y, frame * 12)
    fine = noise_at(134, 4 * ONE, canvas.x - shift, canvas.y, frame * 18)
    flat = np.clip((74 * ONE - canvas.y) // 2, 0, FULL)
    body = np.clip((mass - 90) * 3 + bend - 128 + (fine - 128) // 2, 0, FULL) * flat >> 8
    body = np.where(mass > 40, body, 0)
    under = np.clip((canvas.y - 36 * ONE) * FULL // (44 * ONE) + (bend - 128) // 3 - (mass >> 4) + 40, 0, FULL)
    canvas.cover_with(smooth(body), lambda _x, _y: blend((255, 255, 255), (150, 164, 186), under), target=True)
    _crane(canvas, frame)


def _crane(canvas: Canvas, frame: int) -> None:
    """A yellow tower crane; its jib turns (seen as a change of length), the trolley runs, the load sways."""
    foot, top = 30 * ONE, 44 * ONE
    yellow, dark = (250, 196, 30), (150, 106, 10)
    for side in (-3, 3):
        canvas.fill(Line((foot + side * ONE, top), (foot + side * ONE, canvas.height), ONE), yellow)
    for step in range(18):
        y = top + step * 8 * ONE
        canvas.fill(Line((foot - 3 * ONE, y), (foot + 3 * ONE, y + 8 * ONE), ONE // 2), dark)
    reach = (54 + (sin(frame * 16) * 16 >> 12)) * ONE
    back = -reach * 2 // 5
    canvas.fill(Polygon(((foot - 5 * ONE, top), (foot + 5 * ONE, top), (foot, top - 16 * ONE))), dark)
    canvas.fill(Line((foot, top - 15 * ONE), (foot + reach * 3 // 4, top - 4 * ONE), ONE // 2), dark)
    canvas.fill(Line((foot, top - 15 * ONE), (foot + back, top - 4 * ONE), ONE // 2), dark)
    canvas.fill(Box(foot + back, top - 5 * ONE, foot + reach, top - 3 * ONE), yellow)
    canvas.fill(Box(foot + back, top, foot + reach, top + 2 * ONE), yellow)
    for step in range(12):
        x = foot + back + (reach - back) * step // 12
        canvas.fill(Line((x, top), (x + (reach - back) // 24, top - 4 * ONE), ONE // 2), dark)
    canvas.fill(Box(foot + back, top, foot + back + 8 * ONE, top + 10 * ONE), (96, 96, 100))
    trolley = foot + reach * (150 + (sin(frame * 22 + 300) * 80 >> 12)) // FULL
    sway = sin(frame * 46) * 5 * ONE >> 12
    low = (92 + (sin(frame * 18) * 22 >> 12)) * ONE
    canvas.fill(Line((trolley, top + 2 * ONE), (trolley + sway, low), ONE // 2), (40, 40, 44))
    box = turned(
        [(-15 * ONE, 0), (15 * ONE, 0), (15 * ONE, 17 * ONE), (-15 * ONE, 17 * ONE)], (trolley + sway, low), -sway // 8
    )
    canvas.fill(Polygon(box), fade((232, 64, 40), (140, 26, 24), (trolley, low), (trolley, low + 17 * ONE)))
    for rib in range(-2, 3):
        line = turned([(rib * 5 * ONE, 2 * ONE), (rib * 5 * ONE, 15 * ONE)], (trolley + sway, low), -sway // 8)
        canvas.fill(Line(line[0], line[1], ONE // 2), (120, 20, 20), opacity=150)


_FLASH = (
    0,
    40,
    150,
    236,
    256,
    190,
    120,
    170,
    240,
    256,
    216,
    150,
    110,
    90,
    150,
    220,
    240,
    180,
    130,
    96,
    66,
    40,
    22,
    8,
    0,
)


def storm_backdrop(size: Size) -> Plane:
    """Night: a bank of cloud over a town and a road."""
    _, y = grid(size)
    image = blend((18, 22, 44), (46, 46, 70), np.clip(y * FULL // (80 * ONE), 0, FULL))
    return image


def flash(canvas: Canvas, frame: int) -> None:
    """Sheet lightning lights up a part of the clouds twice; a car with headlights drives by below."""
    x, y = canvas.x, canvas.y
    bank = clouds(canvas.size, 141, (34 * ONE, 60 * ONE), 4, dx=frame * 24, time=frame * 3)
    sky = np.clip((bank - 84) * 3, 0, FULL)
    canvas.cover_with(sky * 180 >> 8, lambda _x, _y: blend((30, 32, 52), (74, 76, 102), bank))
    strength = 0
    spots: list[tuple[int, int, int, int]] = [(5, 70, 34, 46), (26, 118, 40, 40)]
    for start, cx, cy, reach in spots:
        step = (frame - start) * 9 // 8
        if not 0 <= step < len(_FLASH):
            continue
        strength = _FLASH[step]
        across, down = x - cx * ONE, (y - cy * ONE) * 3 // 2
        far = roots(across * across + down * down)
        glow = np.clip(FULL - far * FULL // (reach * ONE + strength * ONE // 8), 0, FULL)
        lit = smooth(glow) * np.clip(bank * 3 - 180, 40, 2 * FULL) >> 8
        lit = np.clip(lit * 2, 0, FULL) * (40 + strength) // 296 if strength else lit * 0
        canvas.light(lit * np.clip(bank + 80, 0, FULL) >> 8, (196, 200, 244))
        canvas.cover += (FULL - canvas.cover) * lit >> 8
    _town(canvas, strength)
    _car(canvas, canvas.width + 34 * ONE - frame * 330)


def _town(canvas: Canvas, strength: int) -> None:
    """Dark houses with lit windows in front of the sky, and a wet road."""
    ground = canvas.height - 22 * ONE
    for house in range(11):
        left = house * 21 * ONE - pick(0, 8, 151, house) * ONE
        top = ground - pick(10, 36, 152, house) * ONE
        shade = 14 + strength // 24
        canvas.fill(Box(left, top, left + pick(16, 26, 153, house) * ONE, ground), (shade, shade, shade + 10))
        for pane in range(10):
            if pick(0, 3, 154, house, pane) == 0:
                px, py = left + (3 + pane % 3 * 5) * ONE, top + (4 + pane // 3 * 7) * ONE
                canvas.fill(Box(px, py, px + 2 * ONE, py + 3 * ONE), (236, 190, 96))
    canvas.fill(
        Box(-ONE, ground, canvas.width + ONE, canvas.height + ONE),
        fade((34, 34, 42), (16, 16, 20), (0, ground), (0, canvas.height)),
    )
    for dash in range(9):
        canvas.fill(
            Box(dash * 26 * ONE, ground + 11 * ONE, dash * 26 * ONE + 12 * ONE, ground + 12 * ONE), (150, 146, 120)
        )


def _car(canvas: Canvas, x: int) -> None:
    """A red car, 50 pixels long, driving to the left, with the beam of its headlights."""
    y = canvas.height - 12 * ONE
    beam = Polygon(((x - 22 * ONE, y - 4 * ONE), (x - 80 * ONE, y - 8 * ONE), (x - 80 * ONE, y + 8 * ONE)))
    canvas.glow(beam, (190, 180, 120), soft=8 * ONE, opacity=170)
    paint = fade((240, 70, 60), (110, 14, 22), (x, y - 16 * ONE), (x, y + 4 * ONE))
    canvas.fill(
        Polygon(
            (
                (x - 12 * ONE, y - 8 * ONE),
                (x - 5 * ONE, y - 17 * ONE),
                (x + 10 * ONE, y - 17 * ONE),
                (x + 18 * ONE, y - 8 * ONE),
            )
        ),
        paint,
    )
    canvas.fill(
        Polygon(
            (
                (x - 9 * ONE, y - 9 * ONE),
                (x - 4 * ONE, y - 15 * ONE),
                (x + 9 * ONE, y - 15 * ONE),
                (x + 14 * ONE, y - 9 * ONE),
            )
        ),
        (150, 180, 200),
    )
    canvas.fill(Box(x - 25 * ONE, y - 9 * ONE, x + 25 * ONE, y + 3 * ONE, 4 * ONE), paint)
    for at in (-14, 14):
        canvas.fill(Disc(x + at * ONE, y + 3 * ONE, 5 * ONE), (14, 14, 16))
        canvas.fill(Disc(x + at * ONE, y + 3 * ONE, 2 * ONE), (170, 170, 176))
    canvas.glow(Disc(x - 23 * ONE, y - 4 * ONE, 4 * ONE), (255, 246, 200), soft=8 * ONE)
    canvas.fill(Disc(x + 24 * ONE, y - 4 * ONE, 3 * ONE // 2), (255, 40, 30))
