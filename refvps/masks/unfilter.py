"""PNG scanline filters (PNG specification, section 9): undoing None, Sub, Up, Average and Paeth.

Only the samples of one byte or less that masks use, so the pixel to the left is always one byte
away. Two implementations with the same results: a numba kernel where numba is installed, and Pillow.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Kernel = Callable[[Bytes, Bytes], None]

WARM_UP = 500
"""Filtered images that Pillow handles in a process before numba is loaded, which takes about as long."""

_met = itertools.count()


def unfilter(raw: Bytes, out: Bytes) -> None:
    """Undo the filters of ``raw``, uint8 [H, 1 + N] with filter types 0 to 4 first, into ``out``, uint8 [H, N]."""
    kernel = numba_kernel() if next(_met) >= WARM_UP else None
    if kernel is None:
        with_pillow(raw, out)
    else:
        kernel(raw, out)


def with_pillow(raw: Bytes, out: Bytes) -> None:
    """As :func:`unfilter`: Pillow decodes the rows as a grey image, from a stream that is not compressed again."""
    from PIL import Image

    height, width = out.shape
    image = Image.frombytes("L", (width, height), zlib.compress(raw.tobytes(), 0), "zip", "L")
    out[:] = np.frombuffer(image.tobytes(), np.uint8).reshape(height, width)


@cache
def numba_kernel() -> Kernel | None:
    """The compiled kernel, or None where numba is not installed."""
    try:
        import numba
    except ImportError:
        return None
    try:
        kernel: Any = numba.njit(cache=True, nogil=True)(_unfilter)
    except RuntimeError:  # no place to keep the compiled code
        kernel = numba.njit(nogil=True)(_unfilter)
    return kernel  # type: ignore[no-any-return]


def _unfilter(raw: Bytes, out: Bytes) -> None:
    height, width = out.shape
    above = np.zeros(width, np.uint8)
    for y in range(height):
        row = out[y]
        kind = raw[y, 0]
        line = raw[y, 1:]
        if kind == 0:
            for x in range(width):
                row[x] = line[x]
        elif kind == 1:
            left = np.int32(0)
            for x in range(width):
                left = (left + np.int32(line[x])) & np.int32(255)
                row[x] = left
        elif kind == 2:
            for x in range(width):
                row[x] = line[x] + above[x]
        elif kind == 3:
            left = np.int32(0)
            for x in range(width):
                left = (np.int32(line[x]) + ((left + np.int32(above[x])) >> np.int32(1))) & np.int32(255)
                row[x] = left
        else:
            left = corner = np.int32(0)
            for x in range(width):
                up = np.int32(above[x])
                # In a mask two of the three neighbours are nearly always equal, which decides at once.
                if corner == left:
                    left = up
                elif corner != up and left != up:
                    from_left, from_up = abs(up - corner), abs(left - corner)
                    from_corner = abs(left + up - corner - corner)
                    if from_up < from_left and from_up <= from_corner:
                        left = up
                    elif from_corner < from_left and from_corner < from_up:
                        left = corner
                left = (left + np.int32(line[x])) & np.int32(255)
                corner = up
                row[x] = left
        above = row
