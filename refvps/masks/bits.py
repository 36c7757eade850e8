"""Packed bits: a binary mask in one flat array of 64-bit words.

Viewed as bytes, the first ``h * ceil(w / 8)`` bytes are the rows of ``np.packbits(mask, axis=1)``
(leftmost pixel in the highest bit). All padding bits, at the end of each row and in the last word,
are zero; every function here keeps that, so areas and intersections are plain popcounts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint64]
"""Flat C-contiguous uint64 array of :func:`words` words."""

Size = tuple[int, int]
"""(height, width) in pixels."""


def row_bytes(size: Size) -> int:
    """Bytes of one packed row."""
    return (size[1] + 7) >> 3


def words(size: Size) -> int:
    """Number of 64-bit words of a packed mask."""
    return (size[0] * row_bytes(size) + 7) >> 3


def empty(size: Size) -> Bits:
    """A mask without a pixel."""
    return np.zeros(words(size), np.uint64)


def full(size: Size) -> Bits:
    """A mask of every pixel."""
    height, width = size
    row = np.packbits(np.ones(width, np.bool_))
    return _from_clean_rows(np.broadcast_to(row, (height, row.size)), size)


def pack(mask: NDArray[np.bool_]) -> Bits:
    """Pack a bool array [H, W]; raises ValueError for any other kind of array."""
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ValueError(f"a mask must be a bool array [H, W], not {mask.dtype} {mask.shape}")
    return _from_packed(np.packbits(mask, axis=1), mask.shape)


def pack_nonzero(values: NDArray[np.uint8]) -> Bits:
    """Pack where a uint8 array [H, W] is not zero."""
    return _from_packed(np.packbits(values, axis=1), values.shape)


def unpack(bits: Bits, size: Size) -> NDArray[np.bool_]:
    """The mask as a bool array [H, W]."""
    return np.unpackbits(rows(bits, size), axis=1, count=size[1]).view(np.bool_)


def rows(bits: Bits, size: Size) -> NDArray[np.uint8]:
    """The packed rows, uint8 [H, ceil(W / 8)], as a view."""
    count = row_bytes(size)
    if bits.size != words(size):
        raise ValueError(f"{bits.size} words cannot be a mask of {size[0]}x{size[1]}")
    return bits.view(np.uint8)[: size[0] * count].reshape(size[0], count)


def from_rows(packed: NDArray[np.uint8], size: Size) -> Bits:
    """From packed rows, uint8 [H, ceil(W / 8)]; whatever stands in the padding bits is dropped."""
    bits = _from_clean_rows(packed, size)
    padding = -size[1] % 8
    if padding:
        rows(bits, size)[:, -1] &= 0xFF << padding & 0xFF
    return bits


def _from_packed(packed: NDArray[np.uint8], size: Size) -> Bits:
    """From rows that numpy just packed; not copied when they fill whole words."""
    return _from_clean_rows(packed, size) if packed.size & 7 else packed.reshape(-1).view(np.uint64)


def _from_clean_rows(packed: NDArray[np.uint8], size: Size) -> Bits:
    height, count = size[0], row_bytes(size)
    if packed.shape != (height, count):
        raise ValueError(f"packed rows of shape {packed.shape} cannot be a mask of {size[0]}x{size[1]}")
    bits = np.empty(words(size), np.uint64)
    if bits.size:
        bits[-1] = 0
    bits.view(np.uint8)[: height * count].reshape(height, count)[:] = packed
    return bits


def area(bits: Bits) -> int:
    """Number of pixels in the mask."""
    return int(np.add.reduce(np.bitwise_count(bits), dtype=np.uint32))  # a frame has at most 2**28 pixels


def intersection(first: Bits, second: Bits) -> int:
    """Number of pixels in both masks, which must be of one size."""
    return int(np.add.reduce(np.bitwise_count(first & second), dtype=np.uint32))
