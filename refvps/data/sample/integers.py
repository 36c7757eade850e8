"""Integer arithmetic of the sample: counter hash, sine, square root, ramps.

Everything here is exact on every platform: Python integers, or int64 and uint64 arrays. Lengths are
in units of 1/64 pixel (:data:`ONE`), opacities and weights run from 0 to 256, angles in 1/1024 turn.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.int64]

ONE = 64
"""Units of length per pixel."""

FULL = 256
"""The weight or opacity "all"."""

TURN = 1024
"""Angle units per turn."""

SINE = 4096
"""Amplitude of :func:`sin`."""

_MASK = (1 << 64) - 1
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mix(*keys: int) -> int:
    """A 64-bit hash of integers (the splitmix64 finaliser, chained)."""
    state = 0
    for key in keys:
        state = (state + _STEP + key) & _MASK
        state = ((state ^ (state >> 30)) * _FIRST) & _MASK
        state = ((state ^ (state >> 27)) * _SECOND) & _MASK
        state ^= state >> 31
    return state


def mixed(seed: int, *planes: Plane) -> NDArray[np.uint64]:
    """The same hash, element by element: ``mixed(s, y, x)[i, j] == mix(s, y[i, j], x[i, j])``."""
    state = np.array([mix(seed)], dtype=np.uint64)
    for plane in planes:
        state = state + plane.astype(np.uint64) + np.uint64(_STEP)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(_FIRST)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(_SECOND)
        state ^= state >> np.uint64(31)
    return state


def pick(low: int, high: int, *keys: int) -> int:
    """A number in [low, high), chosen by the hash of ``keys``."""
    return low + mix(*keys) % (high - low)


@cache
def _sines() -> tuple[int, ...]:
    """One turn of sine in 1024 steps, times 4096: half angles by integer roots, then a rotation."""
    one = 1 << 60
    cosine = 0
    for _ in range(8):  # from a quarter turn down to 1/1024 turn
        cosine = math.isqrt((one + cosine) * one >> 1)
    sine = math.isqrt(one * one - cosine * cosine)
    x, y, table = one, 0, []
    for _ in range(TURN):
        table.append((y * SINE + (one >> 1)) >> 60)
        x, y = (x * cosine - y * sine) >> 60, (x * sine + y * cosine) >> 60
    return tuple(table)


@cache
def _sine_table() -> Plane:
    return np.array(_sines(), dtype=np.int64)


def sin(angle: int) -> int:
    """4096 times the sine of ``angle`` / 1024 turns."""
    return _sines()[angle % TURN]


def cos(angle: int) -> int:
    """4096 times the cosine of ``angle`` / 1024 turns."""
    return _sines()[(angle + TURN // 4) % TURN]


def sines(angle: Plane) -> Plane:
    """:func:`sin` of every element."""
    found: Plane = _sine_table()[angle & (TURN - 1)]
    return found


@cache
def _root_table() -> Plane:
    """floor(256 * sqrt(i)) for i in 0..65535."""
    squares = np.arange(1 << 16, dtype=np.int64) ** 2
    wanted = np.arange(1 << 16, dtype=np.int64) << 16
    return (np.searchsorted(squares, wanted, side="right") - 1).astype(np.int64)


def roots(square: Plane) -> Plane:
    """The integer square root of every element in [0, 2**32), at most one off the floor."""
    table = _root_table()
    low = table[np.minimum(square, 65535)] >> 8
    middle = table[np.minimum(square >> 8, 65535)] >> 4
    high = table[square >> 16]
    guess = np.where(square < 1 << 16, low, np.where(square < 1 << 24, middle, high))
    return np.where(square < 1 << 16, low, (guess + square // np.maximum(guess, 1)) >> 1)


def ramp(value: int, start: int, stop: int, top: int = FULL) -> int:
    """0 before ``start``, ``top`` after ``stop``, straight in between."""
    return max(0, min(top, (value - start) * top // (stop - start)))


def ease(value: int, start: int, stop: int, top: int = FULL) -> int:
    """As :func:`ramp`, but smooth at both ends."""
    weight = ramp(value, start, stop)
    return weight * weight * (3 * FULL - 2 * weight) * top >> 24


def pulse(value: int, start: int, rise: int, fall: int, stop: int) -> int:
    """A weight that rises from ``start`` to ``rise`` and falls from ``fall`` to ``stop``."""
    return min(ease(value, start, rise), FULL - ease(value, fall, stop))


def smooth(weight: Plane) -> Plane:
    """Smoothstep of weights in 0..256."""
    return weight * weight * (3 * FULL - 2 * weight) >> 16


def wander(seed: int, time: int, period: int) -> int:
    """Smooth noise in time, from -256 to 256, with a new random value every ``period`` steps."""
    cell, rest = divmod(time, period)
    before, after = pick(-FULL, FULL + 1, seed, cell), pick(-FULL, FULL + 1, seed, cell + 1)
    return before + ((after - before) * ease(rest, 0, period) >> 8)
