"""How stored pixels become upright: the eight orientations of a display matrix."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.errors import InputError


@dataclass(frozen=True, slots=True)
class Orientation:
    """Rows and columns exchanged, then left and right, then top and bottom: what makes stored pixels upright."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def mirrored(self) -> bool:
        """Whether left and right are exchanged before the turn."""
        return (self.transpose + self.flip_x + self.flip_y) % 2 == 1

    @property
    def degrees(self) -> int:
        """The turn after mirroring, clockwise: 0, 90, 180 or 270."""
        if not self.transpose:
            return 180 if self.flip_y else 0
        return 90 if self.flip_x else 270


def orient(pixels: NDArray[np.uint8], turned: Orientation) -> NDArray[np.uint8]:
    """Stored pixels [H, W, 3] made upright; contiguous."""
    if turned.transpose:
        pixels = pixels.transpose(1, 0, 2)
    if turned.flip_x:
        pixels = pixels[:, ::-1]
    if turned.flip_y:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def orientation(frame: Any, path: Path) -> Orientation:
    """The orientation that a PyAV frame asks for; InputError for an angle that is no multiple of 90 degrees."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return from_matrix(bytes(matrix), path) if matrix is not None else Orientation()


def from_matrix(matrix: bytes, path: Path) -> Orientation:
    """From the nine 32-bit integers of a display matrix (libavutil/display.h, ISO/IEC 14496-12, 8.3.2)."""
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
    straight, crossed = max(abs(a), abs(d)), max(abs(b), abs(c))
    if min(straight, crossed) > 0.01 * max(straight, crossed):
        raise InputError(
            "A video is displayed at an odd angle.",
            where=[f"{path}: display matrix {a} {b} {c} {d}"],
            fix="re-encode it upright",
        )
    if crossed > straight:  # x' = c y, y' = b x
        return Orientation(True, c < 0, b < 0)
    return Orientation(False, a < 0, d < 0)
