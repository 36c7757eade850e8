"""Pictures as files: JPEG with OpenCV, PNG with a fixed filter and zlib-ng; both work without the GIL."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from refvps.errors import InputError
from refvps.extract.cut import Format

PNG_LEVEL = 2
_UP = 2
"""PNG's filter that keeps the difference to the row above: best of those that numpy computes, in size and time."""


def encode(picture: NDArray[np.uint8], format: Format, quality: int) -> bytes:
    """uint8 RGB [H, W, 3] as a JPEG file (4:2:0) or a PNG file (quality has no meaning there), without metadata."""
    return _jpeg(picture, quality) if format == "jpg" else _png(picture)


def _jpeg(picture: NDArray[np.uint8], quality: int) -> bytes:
    import cv2

    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise InputError("A picture cannot be written as JPEG.", where=[str(picture.shape)], fix="use --format png")
    content: bytes = data.tobytes()
    return content


def _png(picture: NDArray[np.uint8]) -> bytes:
    height, width = picture.shape[:2]
    rows = picture.reshape(height, 3 * width)
    filtered = np.empty((height, 1 + 3 * width), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", header), _chunk(b"IDAT", _deflated(filtered)), _chunk(b"IEND", b""))
    )


def _deflated(data: NDArray[np.uint8]) -> bytes:
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return zlib.compress(data.tobytes(), PNG_LEVEL)
    return bytes(zlib_ng.compress(data, PNG_LEVEL))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
