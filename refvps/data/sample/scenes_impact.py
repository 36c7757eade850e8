"""Impacts: a ball and a window pane, twice, and two blocks of steel that throw sparks."""

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
    scaled,
    turned,
)
from refvps.data.sample.integers import FULL, ONE, Plane, cos, ease, mix, pick, ramp, sin, sines
from refvps.data.sample.textures import Size, clouds, grid, noise

_PANE = Box(66 * ONE, 14 * ONE, 158 * ONE, 88 * ONE)
_HIT: Point = (112 * ONE, 52 * ONE)


def window_backdrop(size: Size, plaster: Colour, inside: Colour) -> Plane:
    """A plastered wall with a window; behind the glass a dim room."""
    _, y = grid(size)
    rough = clouds(size, mix(*plaster) % 997, (18 * ONE, 18 * ONE), 4)
    dark: Colour = (plaster[0] * 4 // 5, plaster[1] * 4 // 5, plaster[2] * 4 // 5)
    canvas = Canvas(blend(dark, plaster, np.clip(rough + 60 - y // 128, 0, FULL)))
    frame = 6 * ONE
    outer = Box(_PANE.left - frame, _PANE.top - frame, _PANE.right + frame, _PANE.bottom + frame)
    canvas.fill(
        Box(outer.left + 3 * ONE, outer.top + 3 * ONE, outer.right + 4 * ONE, outer.bottom + 4 * ONE),
        (40, 34, 30),
        soft=6 * ONE,
        opacity=150,
    )
    canvas.fill(outer, fade((250, 248, 240), (190, 186, 176), (outer.left, outer.top), (outer.right, outer.bottom)))
    room = fade(inside, (inside[0] // 3, inside[1] // 3, inside[2] // 3), (0, _PANE.top), (0, _PANE.bottom))
    canvas.fill(_PANE, room)
    canvas.fill(
        Box(76 * ONE, 26 * ONE, 92 * ONE, 60 * ONE, 2 * ONE),
        (inside[0] // 2 + 40, inside[1] // 2 + 20, inside[2] // 2),
        soft=5 * ONE,
    )
    canvas.fill(
        Ellipse(138 * ONE, 84 * ONE, 18 * ONE, 16 * ONE), (inside[0] // 4, inside[1] // 3, inside[2] // 4), soft=6 * ONE
    )
    canvas.fill(
        Box(outer.left - 5 * ONE, outer.bottom, outer.right + 5 * ONE, outer.bottom + 6 * ONE),
        fade((236, 232, 222), (150, 146, 138), (0, outer.bottom), (0, outer.bottom + 6 * ONE)),
    )
    return canvas.image


def _glass(canvas: Canvas, opacity: int) -> None:
    """The whole pane: a bluish film with two slanted reflections."""
    canvas.fill(_PANE, (150, 190, 210), opacity=opacity * 60 >> 8)
    for left, wide in ((80, 14), (102, 5)):
        top, bottom = _PANE.top, _PANE.bottom
        slant = (
            ((left + 26) * ONE, top),
            ((left + 26 + wide) * ONE, top),
            ((left + wide) * ONE, bottom),
            (left * ONE, bottom),
        )
        canvas.fill(Polygon(slant), (236, 246, 252), soft=2 * ONE, opacity=opacity * 90 >> 8)


def _thrown_ball(canvas: Canvas, centre: Point, radius: int, angle: int, colour: Colour, *, target: bool) -> None:
    """A basket ball with its seams."""
    lit = ball(colour, centre, radius, 130)

    def paint(x: Plane, y: Plane) -> Plane:
        u, v = (x - centre[0]) * FULL // radius, (y - centre[1]) * FULL // radius
        along = (u * cos(angle) + v * sin(angle)) >> 12
        side = (v * cos(angle) - u * sin(angle)) >> 12
        seam = np.minimum(np.abs(along), np.minimum(np.abs(side), np.abs(np.abs(side) - 150 + (along * along >> 10))))
        return scaled(lit(x, y), np.clip(90 + seam * 10, 0, FULL))

    canvas.fill(Disc(centre[0], centre[1], radius), paint, target=target)


def _pieces(seed: int) -> list[tuple[Point, ...]]:
    """The pane cut along rays from the point of impact and two uneven rings around it."""
    rays = 13
    turns = [ray * 1024 // rays + pick(-22, 23, seed, ray) for ray in range(rays)]
    found: list[tuple[Point, ...]] = []
    for ray in range(rays):
        near: list[Point] = []
        far: list[Point] = []
        rim: list[Point] = []
        for turn in (turns[ray], turns[(ray + 1) % rays]):
            across, down = cos(turn), sin(turn)
            wide = (_PANE.right - _HIT[0] if across > 0 else _HIT[0] - _PANE.left) * 4096 // max(1, abs(across))
            tall = (_PANE.bottom - _HIT[1] if down > 0 else _HIT[1] - _PANE.top) * 4096 // max(1, abs(down))
            reach = min(wide, tall)
            for part, share in ((near, 90), (far, 170), (rim, FULL)):
                length = reach * (share + (pick(-24, 25, seed, turn, share) if share < FULL else 0)) >> 8
                part.append((_HIT[0] + (across * length >> 12), _HIT[1] + (down * length >> 12)))
        found.append((_HIT, near[0], near[1]))
        found.append((near[0], far[0], far[1], near[1]))
        found.append((far[0], rim[0], rim[1], far[1]))
    return found


def shards(canvas: Canvas, frame: int) -> None:
    """A ball flies at a window and through it; the pane bursts and its shards fall out of the picture."""
    hit = 9
    grow = ramp(frame, 1, hit)
    colour: Colour = (240, 120, 36)
    ball_at: Point = (
        20 * ONE + (_HIT[0] - 20 * ONE) * grow // FULL,
        150 * ONE + (_HIT[1] - 150 * ONE) * grow // FULL - (sin(grow * 2) * 26 * ONE >> 12),
    )
    radius = (30 - grow * 16 // FULL) * ONE
    if frame < hit:
        _glass(canvas, FULL)
        if frame >= 1:
            _thrown_ball(canvas, ball_at, radius, frame * 30, colour, target=False)
        return
    age = frame - hit
    if age < 26:  # the ball comes back out and rolls off along the sill
        back: Point = (_HIT[0] + age * 250, _HIT[1] + age * age * 14 - age * 60)
        _thrown_ball(canvas, back, (14 + age) * ONE, frame * 30, colour, target=False)
    for number, piece in enumerate(_pieces(181)):
        cx = sum(x for x, _ in piece) // len(piece)
        cy = sum(y for _, y in piece) // len(piece)
        local = [((x - cx) * 15 >> 4, (y - cy) * 15 >> 4) for x, y in piece]
        push = max(0, age - pick(0, 3, 182, number) - number % 3 * 2)
        out = pick(10, 30, 183, number)
        centre: Point = (
            cx + (cx - _HIT[0]) * push * out // 900 + pick(-30, 31, 184, number) * push,
            cy + (cy - _HIT[1]) * push * out // 1400 + push * push * pick(20, 27, 185, number) - push * 20,
        )
        angle = pick(-16, 17, 186, number) * push
        flip = cos(pick(6, 30, 187, number) * push)
        shape = turned([(x * flip >> 12, y) for x, y in local], centre, angle)
        gleam = (sin(angle * 3 + number * 90) + 4096) * 110 >> 13
        tone: Colour = (130 + gleam, 176 + gleam * 3 // 5, 196 + gleam // 2)
        canvas.fill(Polygon(shape), tone, opacity=205, target=True)
        canvas.fill(Line(shape[0], shape[1], ONE // 2), (246, 254, 255), opacity=200, target=True)
        canvas.fill(Line(shape[-1], shape[0], ONE // 2), (90, 140, 160), opacity=150, target=True)


def bouncing_ball(canvas: Canvas, frame: int) -> None:
    """Another window: the pane holds and only cracks; the ball bounces off and leaves."""
    hit = 20
    _glass(canvas, FULL)
    if frame >= hit:
        _cracks(canvas, ramp(frame, hit, hit + 12))
    colour: Colour = (66, 150, 60)
    if 6 <= frame < hit:
        grow = ramp(frame, 5, hit)
        at: Point = (
            210 * ONE + (_HIT[0] - 210 * ONE) * grow // FULL,
            156 * ONE + (_HIT[1] - 156 * ONE) * grow // FULL - (sin(grow * 2) * 20 * ONE >> 12),
        )
        _thrown_ball(canvas, at, (32 - grow * 17 // FULL) * ONE, frame * 40, colour, target=True)
    elif frame >= hit:
        age = frame - hit
        at = (_HIT[0] - age * 210, _HIT[1] + age * age * 16 - age * 100)
        _thrown_ball(canvas, at, (15 * ONE + age * 50), frame * 40, colour, target=True)


def _cracks(canvas: Canvas, spread: int) -> None:
    """White cracks that run out from the point of impact to ``spread`` / 256 of their length."""
    for ray in range(11):
        at, turn = _HIT, ray * 93 + pick(-20, 21, 191, ray)
        for step in range(5):
            if step * 51 > spread:
                break
            length = pick(5, 12, 192, ray, step) * ONE
            turn += pick(-50, 51, 193, ray, step)
            stop: Point = (at[0] + (cos(turn) * length >> 12), at[1] + (sin(turn) * length >> 12))
            stop = (max(_PANE.left, min(_PANE.right, stop[0])), max(_PANE.top, min(_PANE.bottom, stop[1])))
            canvas.fill(Line(at, stop, ONE * 3 // 4), (240, 250, 255), opacity=220)
            at = stop
    canvas.fill(Disc(_HIT[0], _HIT[1], 3 * ONE), (236, 246, 250), soft=4 * ONE, opacity=200)


def workshop_backdrop(size: Size) -> Plane:
    """A dark workshop wall of sheet metal over a steel bench."""
    x, y = grid(size)
    rough = clouds(size, 201, (26 * ONE, 40 * ONE), 4)
    fold = sines(x * 1024 // (16 * ONE)) >> 7
    image = blend((16, 20, 28), (74, 80, 92), np.clip(rough + fold - 30, 0, FULL))
    bench = 112 * ONE
    scratch = noise(size, 202, (ONE, 30 * ONE))
    steel = blend((54, 58, 66), (126, 130, 138), np.clip(scratch // 2 + 130 - (y - bench) // 16, 0, FULL))
    return over(image, steel, np.clip((y - bench) * 4, 0, FULL))


def sparks(canvas: Canvas, frame: int) -> None:
    """Two blocks slide together and collide; sparks fly off and die while the blocks draw apart."""
    hit, ground = 9, 112 * ONE
    gap = (
        (ramp(frame, 0, hit) * -48 // FULL + 48) * ONE
        if frame < hit
        else ease(frame, hit + 2, hit + 34) * 40 * ONE // FULL
    )
    middle = canvas.width // 2
    blue, amber = ((70, 110, 176), (22, 40, 80)), ((214, 120, 50), (96, 40, 14))
    for side, (bright, dark) in ((-1, blue), (1, amber)):
        near = middle + side * gap
        left, right = (near - 52 * ONE, near) if side < 0 else (near, near + 52 * ONE)
        canvas.fill(
            Ellipse((left + right) // 2, ground + 3 * ONE, 30 * ONE, 4 * ONE), (14, 14, 18), soft=6 * ONE, opacity=170
        )
        canvas.fill(
            Box(left, ground - 42 * ONE, right, ground + 2 * ONE, 2 * ONE),
            fade(bright, dark, (left, ground - 42 * ONE), (right, ground)),
        )
        canvas.fill(
            Box(left + 3 * ONE, ground - 40 * ONE, right - 3 * ONE, ground - 38 * ONE, ONE), (236, 240, 246), opacity=90
        )
        for bolt in (10, 42):
            canvas.fill(
                Disc(left + bolt * ONE, ground - 10 * ONE, 3 * ONE),
                ball((190, 190, 196), (left + bolt * ONE, ground - 10 * ONE), 3 * ONE),
            )
    age = frame - hit
    if age < 0:
        return
    burst: Point = (middle, ground - 24 * ONE)
    flare = FULL - ramp(age, 0, 9)
    canvas.glow(Disc(burst[0], burst[1], 34 * ONE), (255, 170, 70), soft=60 * ONE, opacity=flare * 3 // 4)
    for number in range(44):
        life = pick(12, 34, 211, number)
        now = age - pick(0, 3, 212, number)
        if not 0 <= now < life:
            continue
        turn, speed = pick(520, 1016, 213, number), pick(150, 600, 214, number)
        vx, vy = cos(turn) * speed >> 12, sin(turn) * speed >> 12
        slow = now * 64 - now * now * 3 // 4
        x, y = burst[0] + vx * slow // 64, burst[1] + vy * slow // 64 + now * now * 7
        fall = vy + now * 14
        if y > ground:
            y, fall = 2 * ground - y, -fall // 2
        tail: Point = (x - vx * 3 // 4, y - fall * 3 // 4)
        heat = FULL - ramp(now, 0, life)
        tone: Colour = (255, 90 + heat * 160 // FULL, 20 + heat * 190 // FULL)
        canvas.glow(Line(tail, (x, y), 3 * ONE), (120, 60, 16), soft=5 * ONE, opacity=heat)
        streak = Line(tail, (x, y), ONE * 5 // 4 + heat * ONE // 512)
        canvas.fill(streak, tone, opacity=min(FULL, heat * 3), target=True)
