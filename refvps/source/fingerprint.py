"""A 64-bit fingerprint of a picture that survives another decoder and JPEG, the same on every machine.

A difference hash (dHash): the picture as 8 rows of 9 grey cells, one bit for each pair of horizontal neighbours.
All arithmetic is on integers; a cell is the mean of its pixels, in tall pictures of every k-th row of them.
"""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS = 8, 9
ENOUGH_ROWS = 256
"""Of pictures with at least twice as many rows, every second, third, ... row is looked at."""

_GREY = np.array([299, 587, 114], np.int64)


def dhash64(picture: NDArray[np.uint8]) -> int:
    """The fingerprint of uint8 RGB [H, W, 3], 0 <= value < 2**64, most significant bit top left.

    A bit is set where the right cell is brighter than the left one by more than half a grey level (ITU-R 601
    luma), so that noise in flat parts changes nothing.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
        raise ValueError(f"expected uint8 RGB [H, W, 3], got {picture.dtype} {picture.shape}")
    if picture.shape[0] < ROWS:
        picture = np.repeat(picture, ROWS, 0)
    if picture.shape[1] < COLUMNS:
        picture = np.repeat(picture, COLUMNS, 1)
    picture = picture[:: max(1, picture.shape[0] // ENOUGH_ROWS)]
    height, width = picture.shape[:2]
    rows = [height * row // ROWS for row in range(ROWS + 1)]
    columns = [width * column // COLUMNS for column in range(COLUMNS + 1)]
    lines = picture.reshape(height, width * 3)
    # at most 64 rows a band: their sum fits 16 bits
    bands = [np.add.reduce(lines[top:bottom], axis=0, dtype=np.uint16) for top, bottom in pairwise(rows)]
    greys = np.array(bands).reshape(ROWS, width, 3) @ _GREY
    cells = np.add.reduceat(greys, columns[:-1], axis=1)
    areas = np.diff(columns)[None] * np.diff(rows)[:, None]
    left, right = cells[:, :-1] * areas[:, 1:], cells[:, 1:] * areas[:, :-1]
    margin = 500 * areas[:, :-1] * areas[:, 1:]
    bits = np.packbits((right - left > margin).ravel())
    return int.from_bytes(bits.tobytes(), "big")


def hamming(one: int, other: int) -> int:
    """In how many of the 64 bits two fingerprints differ."""
    return (one ^ other).bit_count()


def to_hex(fingerprint: int) -> str:
    """16 lower-case hexadecimal digits."""
    return f"{fingerprint:016x}"


def from_hex(text: str) -> int:
    """The fingerprint of :func:`to_hex`; ValueError for anything else."""
    if not re.fullmatch(r"[0-9a-f]{16}", text):
        raise ValueError(f"not a fingerprint: {text[:40]!r}")
    return int(text, 16)
