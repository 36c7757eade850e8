"""A canvas that paints soft shapes in integers and keeps book of the target while it does.

Colours are 8-bit (r, g, b) outside and 12-bit (times 16) on the canvas. Painting the target raises
:attr:`Canvas.cover`, painting anything over it lowers it again, so occlusion needs no second thought.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from refvps.data.sample.integers import FULL, ONE, Plane, cos, mixed, sin, smooth
from refvps.data.sample.textures import Size, grid

Colour = tuple[int, int, int]
Point = tuple[int, int]
Shading = Callable[[Plane, Plane], Plane]
"""A function of (x, y) in units that gives 12-bit colours [h, w, 3]."""

Paint = Colour | Shading
"""One colour, or one for each point."""


class Shape(Protocol):
    """An outline; lengths in units."""

    def bounds(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom)."""

    def depth(self, x: Plane, y: Plane) -> Plane:
        """How far inside the outline a point lies (negative outside), exact near the outline."""


@dataclass(frozen=True, slots=True)
class Disc:
    """A circle."""

    x: int
    y: int
    radius: int

    def bounds(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom)."""
        return self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius

    def depth(self, x: Plane, y: Plane) -> Plane:
        """Depth inside the outline; see :class:`Shape`."""
        square = (x - self.x) ** 2 + (y - self.y) ** 2
        return (self.radius * self.radius - square) // (2 * self.radius)


@dataclass(frozen=True, slots=True)
class Ellipse:
    """An ellipse with horizontal and vertical axes."""

    x: int
    y: int
    across: int
    down: int

    def bounds(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom)."""
        return self.x - self.across, self.y - self.down, self.x + self.across, self.y + self.down

    def depth(self, x: Plane, y: Plane) -> Plane:
        """Depth inside the outline; see :class:`Shape`."""
        u, v = (x - self.x) * 4096 // self.across, (y - self.y) * 4096 // self.down
        return ((1 << 24) - u * u - v * v) * min(self.across, self.down) >> 25


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle with corners of radius ``round``."""

    left: int
    top: int
    right: int
    bottom: int
    round: int = 0

    def bounds(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom)."""
        return self.left, self.top, self.right, self.bottom

    def depth(self, x: Plane, y: Plane) -> Plane:
        """Depth inside the outline; see :class:`Shape`."""
        across = np.minimum(x - self.left, self.right - x)
        down = np.minimum(y - self.top, self.bottom - y)
        inside = np.minimum(across, down)
        if not self.round:
            return inside
        u, v = np.maximum(self.round - across, 0), np.maximum(self.round - down, 0)
        corner = (self.round * self.round - u * u - v * v) // (2 * self.round)
        return np.where((u > 0) & (v > 0), np.minimum(corner, inside), inside)


@dataclass(frozen=True, slots=True)
class Line:
    """A thick line with round ends."""

    start: Point
    stop: Point
    radius: int

    def bounds(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom)."""
        (a, b), (c, d) = self.start, self.stop
        r = self.radius
        return min(a, c) - r, min(b, d) - r, max(a, c) + r, max(b, d) + r

    def depth(self, x: Plane, y: Plane) -> Plane:
        """Depth inside the outline; see :class:`Shape`."""
        (a, b), (c, d) = self.start, self.stop
        across, down = c - a, d - b
        length = max(1, across * across + down * down)
        along = np.clip(((x - a) * across + (y - b) * down) * 1024 // length, 0, 1024)
        u, v = x - a - (across * along >> 10), y - b - (down * along >> 10)
        depth: Plane = (self.radius * self.radius - u * u - v * v) // (2 * self.radius)
        return depth


@dataclass(frozen=True, slots=True)
class Polygon:
    """A convex polygon, corners in either sense."""

    points: tuple[Point, ...]

    def bounds(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom)."""
        xs, ys = [x for x, _ in self.points], [y for _, y in self.points]
        return min(xs), min(ys), max(xs), max(ys)

    def depth(self, x: Plane, y: Plane) -> Plane:
        """Depth inside the outline; see :class:`Shape`."""
        points = self.points
        edges = list(zip(points, points[1:] + points[:1], strict=True))
        turn = 1 if sum(a * d - c * b for (a, b), (c, d) in edges) > 0 else -1
        inside = np.full(np.broadcast_shapes(x.shape, y.shape), 1 << 20, dtype=np.int64)
        for (a, b), (c, d) in edges:
            across, down = turn * (c - a), turn * (d - b)
            length = math.isqrt(across * across + down * down)
            if length:
                inside = np.minimum(inside, ((y - b) * across - (x - a) * down) // length)
        return inside


def turned(points: Sequence[Point], centre: Point, angle: int) -> tuple[Point, ...]:
    """Points given around the origin, turned by ``angle`` / 1024 turns and moved to ``centre``."""
    c, s = cos(angle), sin(angle)
    return tuple((centre[0] + ((x * c - y * s) >> 12), centre[1] + ((x * s + y * c) >> 12)) for x, y in points)


def solid(colour: Colour) -> Plane:
    """A colour in 12 bits, int64 [3]."""
    return np.array(colour, dtype=np.int64) * 16


def over(image: Plane, top: Plane, weight: Plane) -> Plane:
    """``image`` [h, w, 3] with ``top`` laid over it through weights 0..256 [h, w]."""
    result: Plane = image + ((top - image) * weight[..., None] >> 8)
    return result


def scaled(image: Plane, weight: Plane) -> Plane:
    """``image`` [h, w, 3] times weights [h, w], where 256 changes nothing."""
    result: Plane = image * weight[..., None] >> 8
    return result


def alpha(depth: Plane, soft: int = ONE) -> Plane:
    """Opacity 0..256 from depth: one half on the outline, the slope ``soft`` units wide."""
    weight = np.clip(depth * FULL // soft + FULL // 2, 0, FULL)
    return weight if soft <= ONE else smooth(weight)


def blend(first: Colour, second: Colour, weight: Plane) -> Plane:
    """12-bit colours [h, w, 3] from ``first`` (weight 0) to ``second`` (weight 256)."""
    return over(solid(first), solid(second), weight)


def fade(first: Colour, second: Colour, start: Point, stop: Point) -> Shading:
    """A straight gradient between two points."""
    across, down = stop[0] - start[0], stop[1] - start[1]
    length = across * across + down * down

    def paint(x: Plane, y: Plane) -> Plane:
        along = ((x - start[0]) * across + (y - start[1]) * down) * FULL // length
        return blend(first, second, np.clip(along, 0, FULL))

    return paint


def ball(colour: Colour, centre: Point, radius: int, shine: int = 150) -> Shading:
    """A lit sphere: light from the upper left, a dark limb, a highlight."""

    def paint(x: Plane, y: Plane) -> Plane:
        u, v = (x - centre[0]) * FULL // radius, (y - centre[1]) * FULL // radius
        dark = np.clip(((u + 80) ** 2 + (v + 90) ** 2) * 170 >> 17, 0, 215)
        spot = np.clip(FULL - (((u + 95) ** 2 + (v + 105) ** 2) >> 4), 0, FULL)
        body = blend(colour, (colour[0] // 6, colour[1] // 6, colour[2] // 5), dark)
        return over(body, solid((255, 255, 255)), smooth(spot) * shine >> 8)

    return paint


class Canvas:
    """A picture in the making; ``image`` is int64 [H, W, 3] in 12 bits, ``cover`` the target's share."""

    def __init__(self, backdrop: Plane) -> None:
        self.image = backdrop.copy()
        self.size: Size = (backdrop.shape[0], backdrop.shape[1])
        self.cover: Plane = np.zeros(self.size, dtype=np.int64)
        self.x, self.y = grid(self.size)
        self.width, self.height = self.size[1] * ONE, self.size[0] * ONE

    def _window(self, bounds: tuple[int, int, int, int], soft: int) -> tuple[slice, slice] | None:
        left, top, right, bottom = bounds
        rows = slice(max(0, (top - soft) // ONE), min(self.size[0], (bottom + soft) // ONE + 1))
        columns = slice(max(0, (left - soft) // ONE), min(self.size[1], (right + soft) // ONE + 1))
        return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None

    def _blend(self, window: tuple[slice, slice], weight: Plane, paint: Paint, target: bool) -> None:
        if isinstance(paint, tuple):
            colours = solid(paint)
        else:
            colours = paint(self.x[window], self.y[window])
        image, cover = self.image[window], self.cover[window]
        image += (colours - image) * weight[..., None] >> 8
        cover += ((FULL - cover) * weight >> 8) if target else -(cover * weight >> 8)

    def fill(self, shape: Shape, paint: Paint, *, soft: int = ONE, opacity: int = FULL, target: bool = False) -> None:
        """Paint a shape; ``soft`` is the width of its edge in units."""
        window = self._window(shape.bounds(), soft)
        if window is None or opacity <= 0:
            return
        weight = alpha(shape.depth(self.x[window], self.y[window]), soft)
        self._blend(window, weight * opacity >> 8, paint, target)

    def cover_with(self, weight: Plane, paint: Paint, *, target: bool = False) -> None:
        """Paint through a full-size plane of opacities 0..256."""
        self._blend((slice(None), slice(None)), weight, paint, target)

    def glow(self, shape: Shape, colour: Colour, *, soft: int, opacity: int = FULL, target: bool = False) -> None:
        """Add light in the form of a soft shape."""
        window = self._window(shape.bounds(), soft)
        if window is None or opacity <= 0:
            return
        weight = alpha(shape.depth(self.x[window], self.y[window]), soft) * opacity >> 8
        self.image[window] += np.array(colour, dtype=np.int64) * weight[..., None] >> 4
        if target:
            self.cover[window] += (FULL - self.cover[window]) * weight >> 8

    def light(self, weight: Plane, colour: Colour, *, target: bool = False) -> None:
        """Add light through a full-size plane of weights 0..256."""
        self.image += np.array(colour, dtype=np.int64) * weight[..., None] >> 4
        if target:
            self.cover += (FULL - self.cover) * weight >> 8

    def gain(self, weight: Plane) -> None:
        """Multiply the picture by weights (256: unchanged)."""
        self.image[...] = scaled(self.image, weight)

    def rgb(self, seed: int, frame: int, grain: int = 40) -> NDArray[np.uint8]:
        """The finished picture, uint8 [H, W, 3], with soft noise of ``grain`` / 16 grey levels."""
        bits = mixed(seed, np.full((1, 1), frame, dtype=np.int64), self.y[:, :1], self.x[:1, :])
        first = (bits & np.uint64(255)).astype(np.int64)
        second = ((bits >> np.uint64(8)) & np.uint64(255)).astype(np.int64)
        speckle = (first + second - 255) * grain >> 8
        picture: NDArray[np.uint8] = np.clip((self.image + speckle[..., None] + 8) >> 4, 0, 255).astype(np.uint8)
        return picture

    def labels(self, low: int, high: int, least: int) -> NDArray[np.uint8]:
        """0, 1 or 255 per pixel: target from cover ``high`` on, Ignore from ``low``.

        Fewer than ``least`` target pixels are too few to point at and become Ignore.
        """
        target = self.cover >= high
        unsure = self.cover >= low
        found = np.zeros(self.size, dtype=np.uint8)
        found[unsure] = 255
        if int(target.sum()) >= least:
            found[target] = 1
        return found
