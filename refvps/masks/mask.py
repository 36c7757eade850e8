"""One binary mask in whichever of its two exact forms is at hand: packed bits or COCO RLE."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from refvps.masks import bits as _bits
from refvps.masks import rle as _rle

Bits = NDArray[np.uint64]


class Mask:
    """A binary mask of ``size`` (height, width); converts between its forms on demand and remembers.

    Made by :meth:`from_bits`, :meth:`from_rle`, :meth:`from_array` or :meth:`lazy`; treat it as immutable.
    """

    __slots__ = ("_area", "_bits", "_counts", "_load", "size")

    def __init__(self, size: tuple[int, int], bits: Bits | None, counts: bytes | None) -> None:
        self.size = size
        self._bits = bits
        self._counts = counts
        self._area: int | None = None
        self._load: tuple[Callable[[], Bits], Callable[[], bytes]] | None = None

    @classmethod
    def from_bits(cls, bits: Bits, size: tuple[int, int]) -> Mask:
        """From packed bits (see :mod:`refvps.masks.bits`)."""
        return cls(size, bits, None)

    @classmethod
    def from_rle(cls, counts: bytes, size: tuple[int, int], area: int | None = None) -> Mask:
        """From a compressed COCO RLE checked with :func:`refvps.masks.rle.check`, which also yields its area."""
        mask = cls(size, None, counts)
        mask._area = area
        return mask

    @classmethod
    def from_array(cls, mask: NDArray[np.bool_]) -> Mask:
        """From a bool array [H, W]."""
        height, width = mask.shape
        return cls((height, width), _bits.pack(mask), None)

    @classmethod
    def lazy(cls, size: tuple[int, int], area: int, bits: Callable[[], Bits], rle: Callable[[], bytes]) -> Mask:
        """From two readers of the same mask, packed or as RLE, of which only what is asked for is called."""
        mask = cls(size, None, None)
        mask._area = area
        mask._load = bits, rle
        return mask

    @property
    def has_rle(self) -> bool:
        """True when the RLE form is at hand without a conversion."""
        return self._counts is not None

    def bits(self) -> Bits:
        """Packed bits."""
        if self._bits is None:
            self._bits = self._load[0]() if self._load else _rle.to_bits(self.counts(), self.size)
        return self._bits

    def counts(self) -> bytes:
        """Compressed COCO RLE."""
        if self._counts is None:
            self._counts = self._load[1]() if self._load else _rle.from_bits(self.bits(), self.size)
        return self._counts

    def array(self) -> NDArray[np.bool_]:
        """Bool array [H, W]."""
        return _bits.unpack(self.bits(), self.size)

    def area(self) -> int:
        """Number of pixels in the mask."""
        if self._area is None:
            if self._bits is None and self._counts is not None:
                self._area = _rle.area(self._counts, self.size)
            else:
                self._area = _bits.area(self.bits())
        return self._area
