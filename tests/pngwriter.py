"""A slow writer that can make every kind of PNG, right or wrong, for the tests of the reader."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Samples = NDArray[np.uint8]
Size = tuple[int, int]
SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOURED = 0, 3
PALETTE = bytes(range(256)) * 3
DAVIS = (0, 0, 0, 128, 0, 0, 0, 128, 0)


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def filtered(rows: Samples, kinds: list[int]) -> bytes:
    """Scanlines with the given filter types in turn, byte by byte as the specification has it."""
    out = bytearray()
    above = [0] * rows.shape[1]
    for y, row in enumerate(rows.tolist()):
        kind = kinds[y % len(kinds)]
        out.append(kind)
        left = corner = 0
        for x, value in enumerate(row):
            up = above[x]
            guess = left + up - corner
            paeth = min((left, 0), (up, 1), (corner, 2), key=lambda c: (abs(guess - c[0]), c[1]))[0]
            out.append((value - (0, left, up, (left + up) // 2, paeth)[kind]) % 256)
            left, corner = value, up
        above = row
    return bytes(out)


def packed_rows(samples: Samples, depth: int) -> Samples:
    """Rows of samples of ``depth`` bits, the padding of each row filled with ones."""
    planes = np.unpackbits(samples[:, :, None], axis=2)[:, :, 8 - depth :].reshape(len(samples), -1)
    padding = np.ones((len(samples), -planes.shape[1] % 8), np.uint8)
    return np.packbits(np.hstack([planes, padding]), axis=1)


def container(
    data: bytes,
    size: Size,
    *,
    depth: int = 8,
    colour: int = GREY,
    interlaced: bool = False,
    pieces: int = 1,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A PNG file around compressed data, whatever that is."""
    cuts = [len(data) * k // pieces for k in range(pieces + 1)] if pieces else []
    return b"".join(
        [
            SIGNATURE,
            chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], depth, colour, 0, 0, interlaced)),
            before,
            chunk(b"PLTE", PALETTE[: 3 << depth]) if colour == COLOURED else b"",
            *(chunk(b"IDAT", data[a:b]) for a, b in itertools.pairwise(cuts)),
            after,
            chunk(b"IEND"),
        ]
    )


def make(
    samples: Samples,
    *,
    depth: int = 8,
    filters: tuple[int, ...] = (0,),
    interlaced: bool = False,
    **options: Any,
) -> bytes:
    """A PNG file of samples of any depth, colour type, filters and order."""
    parts = [samples]
    if interlaced:
        starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
        parts = [samples[y::dy, x::dx] for y, x, dy, dx in starts]
    raw = b"".join(filtered(packed_rows(part, depth), list(filters)) for part in parts if part.size)
    return container(zlib.compress(raw), samples.shape, depth=depth, interlaced=interlaced, **options)


def saved(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def palette_image(values: Samples, colours: tuple[int, ...] = DAVIS, **options: Any) -> bytes:
    image = Image.new("P", values.shape[::-1])
    image.frombytes(values.tobytes())
    image.putpalette(colours)
    return saved(image, **options)


def cv2_png(values: Samples, *options: int) -> bytes:
    return cv2.imencode(".png", values, options)[1].tobytes()
