"""Indoors: an ice cube that melts on a table, and the light of a swinging lamp on a floor."""

from __future__ import annotations

import numpy as np

from refvps.data.sample.canvas import Box, Canvas, Disc, Ellipse, Line, Point, Polygon, alpha, blend, fade, over, turned
from refvps.data.sample.integers import FULL, ONE, Plane, cos, ease, pick, pulse, roots, sin, smooth, wander
from refvps.data.sample.textures import Size, clouds, grid, noise, noise_at

_EDGE = 40 * ONE


def table_backdrop(size: Size) -> Plane:
    """A table top of dark wood before a blurred kitchen wall."""
    _, y = grid(size)
    wall = blend((186, 176, 160), (120, 112, 110), np.clip(y * FULL // _EDGE, 0, FULL))
    wall += ((clouds(size, 161, (20 * ONE, 40 * ONE), 2) - 128) * 3)[..., None]
    canvas = Canvas(wall)
    for jar in range(5):
        left = (8 + jar * 42) * ONE
        tone = ((150, 70, 50), (70, 100, 90), (196, 160, 90), (90, 90, 130), (160, 110, 70))[jar]
        canvas.fill(Box(left, (10 + jar % 2 * 8) * ONE, left + 20 * ONE, 50 * ONE, 4 * ONE), tone, soft=6 * ONE)
    rings = clouds(size, 162, (5 * ONE, 80 * ONE), 4) * 3 % 300
    wood = blend((92, 54, 32), (160, 104, 62), np.minimum(rings, 300 - rings) * 3 // 2)
    wood = wood * np.clip(150 + (y - _EDGE) // 32, 0, FULL)[..., None] >> 8
    image = canvas.image
    return over(image, wood, np.clip((y - _EDGE) * 4, 0, FULL))


def puddle(canvas: Canvas, frame: int) -> None:
    """An ice cube shrinks, a puddle grows from under it, and a sponge wipes all of it away."""
    melt = ease(frame, 4, 40)
    centre: Point = (92 * ONE, 82 * ONE)
    edge = canvas.width + 40 * ONE - ease(frame, 37, 53) * 260 * ONE // FULL
    wiped = np.clip((edge + 6 * ONE - canvas.x) * 4, 0, FULL)
    if melt > 2:
        x, y = canvas.x, canvas.y
        across, down = (14 + melt * 44 // FULL) * ONE, (3 + melt * 15 // FULL) * ONE
        bend = noise_at(163, 16 * ONE, x, y * 2) - 128
        u, v = (x - centre[0]) * 1024 // across, (y - centre[1] - 2 * ONE) * 1024 // down
        inside = ((1 << 20) - u * u - v * v >> 12) + bend * 3 // 4
        weight = np.clip(inside * 6 + FULL // 2, 0, FULL) * wiped >> 8
        rim = np.clip(FULL - np.abs(inside - 22) * 9, 0, FULL) * wiped >> 8
        mirror = noise(canvas.size, 164, (9 * ONE, 26 * ONE), dx=frame * 9)
        sheen = np.clip((mirror - 110) * 3 + (centre[1] - y) // 6, 0, FULL)
        water = blend((72, 84, 96), (206, 222, 232), sheen)
        canvas.cover_with(weight * 200 >> 8, lambda _x, _y: water)
        canvas.cover += (FULL - canvas.cover) * weight >> 8
        canvas.light(rim * 90 >> 8, (210, 220, 230))
    if frame < 52:
        _cube(canvas, centre, (FULL - melt * 5 // 8) * 17 * ONE // FULL, melt, edge)
    _sponge(canvas, edge, 80 * ONE + (sin(frame * 130) * 4 * ONE >> 12))


def _cube(canvas: Canvas, centre: Point, half: int, melt: int, edge: int) -> None:
    """The ice: three faces with rounded corners, sinking as it melts; the sponge pushes it along."""
    if melt >= 250 and edge < centre[0] + half:
        return
    x, y = centre
    tall = half * (300 - melt // 2) // FULL
    soft = (1 + melt // 90) * ONE
    top = (
        (x - half * 5 // 4, y - tall),
        (x - half // 8, y - tall - half // 2),
        (x + half * 5 // 4, y - tall),
        (x + half // 8, y - tall + half // 2),
    )
    left = (top[0], top[3], (x + half // 8, y + half // 2), (x - half * 5 // 4, y))
    right = (top[3], top[2], (x + half * 5 // 4, y), (x + half // 8, y + half // 2))
    canvas.fill(Polygon(left), fade((222, 240, 250), (120, 166, 196), top[0], (x, y)), soft=soft, opacity=236)
    canvas.fill(Polygon(right), fade((150, 190, 214), (84, 128, 164), top[2], (x, y)), soft=soft, opacity=236)
    canvas.fill(Polygon(top), fade((255, 255, 255), (190, 222, 238), top[0], top[2]), soft=soft, opacity=240)
    canvas.fill(Line(top[3], (x + half // 8, y + half // 2), ONE // 2), (246, 252, 255), soft=2 * ONE, opacity=170)
    canvas.fill(Line(top[0], top[3], ONE // 2), (255, 255, 255), soft=2 * ONE, opacity=190)
    canvas.fill(Line(top[3], top[2], ONE // 2), (255, 255, 255), soft=2 * ONE, opacity=190)
    for flaw in range(5):
        fx, fy = x + pick(-half, half, 165, flaw), y - pick(0, tall, 166, flaw)
        canvas.fill(Disc(fx, fy, half // 9), (250, 254, 255), soft=2 * ONE, opacity=130)


def _sponge(canvas: Canvas, edge: int, y: int) -> None:
    """A big yellow sponge in a hand's glove, its left side at ``edge``."""
    if edge > canvas.width + 8 * ONE:
        return
    canvas.fill(Ellipse(edge + 30 * ONE, y + 22 * ONE, 34 * ONE, 6 * ONE), (30, 18, 12), soft=8 * ONE, opacity=160)
    body = fade((255, 226, 84), (206, 140, 20), (edge, y - 24 * ONE), (edge, y + 24 * ONE))
    canvas.fill(Box(edge, y - 22 * ONE, edge + 56 * ONE, y + 22 * ONE, 7 * ONE), body)
    canvas.fill(
        Box(edge, y - 22 * ONE, edge + 56 * ONE, y - 10 * ONE, 5 * ONE),
        fade((80, 170, 90), (50, 120, 70), (edge, y - 22 * ONE), (edge, y - 10 * ONE)),
    )
    for hole in range(26):
        hx, hy = edge + pick(4, 52, 167, hole) * ONE, y + pick(-7, 19, 168, hole) * ONE
        canvas.fill(Ellipse(hx, hy, pick(1, 3, 169, hole) * ONE, ONE), (190, 124, 16))
    glove = fade((236, 84, 120), (150, 36, 76), (edge, y - 30 * ONE), (edge + 40 * ONE, y + 20 * ONE))
    for finger in range(4):
        fx = edge + (16 + finger * 9) * ONE
        canvas.fill(Line((fx, y - 4 * ONE), (fx + 8 * ONE, y - 30 * ONE), 5 * ONE), glove)
    canvas.fill(Line((edge + 34 * ONE, y - 34 * ONE), (edge + 80 * ONE, y - 90 * ONE), 16 * ONE), glove)


_FLOOR = 128 * ONE


def attic_backdrop(size: Size) -> Plane:
    """A dark attic: a plaster wall with a picture, floor boards."""
    x, y = grid(size)
    rough = clouds(size, 171, (30 * ONE, 30 * ONE), 4)
    canvas = Canvas(blend((14, 16, 26), (52, 50, 60), rough))
    canvas.fill(Box(12 * ONE, 62 * ONE, 42 * ONE, 100 * ONE), (64, 46, 26))
    canvas.fill(
        Box(15 * ONE, 65 * ONE, 39 * ONE, 97 * ONE), fade((44, 58, 74), (40, 46, 34), (0, 65 * ONE), (0, 97 * ONE))
    )
    grain = clouds(size, 172, (50 * ONE, 3 * ONE), 3)
    deep = np.maximum(y - _FLOOR, 0) + 40 * ONE
    board = (x - canvas.width // 2) * 40 * ONE // deep + 400 * ONE
    line = np.clip(np.abs(board % (10 * ONE) - 5 * ONE) - 270, 0, 50) * 5
    planks = blend((36, 26, 22), (66, 48, 38), grain) * (FULL - line[..., None] * 3 // 4) >> 8
    image = canvas.image
    return over(image, planks, np.clip((y - _FLOOR) * 4, 0, FULL))


def pool(canvas: Canvas, frame: int) -> None:
    """A lamp swings and its bulb flickers; the pool of light on the boards moves and pulses with it."""
    x, y = canvas.x, canvas.y
    angle = sin(frame * 27 + 200) * 36 >> 12
    pivot: Point = (canvas.width // 2, -8 * ONE)
    cable = 62 * ONE
    lamp: Point = (pivot[0] + (cable * sin(angle) >> 12), pivot[1] + (cable * cos(angle) >> 12))
    on = pulse(frame, 5, 8, 39, 42)
    flicker = on * (200 + wander(173, frame, 2) // 8 + wander(174, frame, 5) // 12) >> 8
    foot: Point = (pivot[0] + (150 * ONE * sin(angle) >> 12), 162 * ONE)
    across, down = (x - foot[0]) * 1024 // (34 * ONE), (y - foot[1]) * 1024 // (17 * ONE)
    far = roots(across * across + down * down)
    core = np.clip((1240 - far) * FULL // 480, 0, FULL)
    lit = smooth(core) * flicker >> 8
    lit[y < _FLOOR] = 0
    canvas.gain(FULL + lit * 5)
    canvas.light(lit * 70 >> 8, (255, 200, 120))
    canvas.cover += (FULL - canvas.cover) * np.clip(lit * 5 // 4, 0, FULL) >> 8
    around = np.clip(FULL - roots((x - lamp[0]) ** 2 + (y - lamp[1]) ** 2) * FULL // (130 * ONE), 0, FULL)
    canvas.gain(FULL + (around * flicker >> 8))
    low = turned([(-12 * ONE, 6 * ONE), (12 * ONE, 6 * ONE)], lamp, -angle)
    beam = Polygon((low[0], low[1], (foot[0] + 30 * ONE, foot[1]), (foot[0] - 30 * ONE, foot[1])))
    weight = alpha(beam.depth(x, y), 14 * ONE) * np.clip(FULL - (y - lamp[1]) * 200 // (110 * ONE), 0, FULL) >> 8
    canvas.light(weight * flicker >> 10, (255, 216, 140))
    canvas.fill(Line(pivot, lamp, ONE), (20, 18, 18))
    shade = turned(
        [(-6 * ONE, -12 * ONE), (6 * ONE, -12 * ONE), (18 * ONE, 7 * ONE), (-18 * ONE, 7 * ONE)], lamp, -angle
    )
    red = fade((236, 74, 50), (110, 20, 24), (lamp[0] - 12 * ONE, 0), (lamp[0] + 18 * ONE, 0))
    bulb = turned([(0, 8 * ONE)], lamp, -angle)[0]
    canvas.fill(Disc(bulb[0], bulb[1], 6 * ONE), (110 + flicker // 2, 104 + flicker // 2, 90 + flicker // 2))
    canvas.fill(Polygon(shade), red)
    canvas.glow(Disc(bulb[0], bulb[1] + 2 * ONE, 10 * ONE), (255, 220, 150), soft=16 * ONE, opacity=flicker)
