"""Films whose frames carry their number as a block code, in any codec, container, clock and orientation."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK, ROWS, COLUMNS, MARGIN = 16, 3, 5, 8
SIZE = (ROWS * BLOCK + 2 * MARGIN, COLUMNS * BLOCK + 2 * MARGIN)
MARK = (1, 0, 1, 1, 0)
"""The last row of blocks: no turn and no mirroring maps it to itself."""

CODECS = {
    "h264": ("libx264", {"crf": "18", "preset": "veryfast", "bf": "2"}),
    "h265": ("libx265", {"crf": "18", "preset": "ultrafast", "x265-params": "log-level=none:bframes=2"}),
    "vp9": ("libvpx-vp9", {"crf": "20", "deadline": "realtime", "cpu-used": "8"}),
    "mpeg4": ("mpeg4", {"q:v": "2"}),
}

MATRICES = {  # stored to displayed: x' = a x + c y, y' = b x + d y, as (a, b, c, d)
    "upright": (1, 0, 0, 1),
    "90": (0, 1, -1, 0),
    "180": (-1, 0, 0, -1),
    "270": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "upside down": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "other diagonal": (0, -1, -1, 0),
}


def picture(index: int) -> NDArray[np.uint8]:
    """The upright picture of a number below 1,024; its background is bright on the left and darkens downwards."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.stack([150 - x // 2, 140 - y // 2, 90 + (x + 3 * index) % 40], -1).astype(np.uint8)
    bits = [*(index >> np.arange(10) & 1), *MARK]
    for at, bit in enumerate(bits):
        top, left = MARGIN + at // COLUMNS * BLOCK, MARGIN + at % COLUMNS * BLOCK
        image[top : top + BLOCK, left : left + BLOCK] = 235 if bit else 20
    return image


def number(image: NDArray[np.uint8]) -> int:
    """The number that an upright picture carries; ValueError when its marks are not where they should be."""
    if image.shape != (*SIZE, 3):
        raise ValueError(f"a picture of {image.shape}")
    middles = image[MARGIN:-MARGIN, MARGIN:-MARGIN].reshape(ROWS, BLOCK, COLUMNS, BLOCK, 3)[:, 4:12, :, 4:12]
    grey = middles.mean(axis=(1, 3, 4)).ravel()
    if ((grey > 70) & (grey < 180)).any() or tuple(grey[10:] > 128) != tuple(map(bool, MARK)):
        raise ValueError(f"not a code: {grey.round()}")
    return int(((grey[:10] > 128) << np.arange(10)).sum())


def stored(image: NDArray[np.uint8], matrix: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """The pixels that ``matrix`` displays as ``image``, by the definition, pixel by pixel of each axis."""
    a, b, c, d = matrix
    height, width = (image.shape[0], image.shape[1]) if a else (image.shape[1], image.shape[0])
    y, x = np.mgrid[:height, :width]
    across, down = a * x + c * y, b * x + d * y
    return image[down - down.min(), across - across.min()]


def times(rate: Fraction | int, count: int, scale: int = 90_000, start: int = 0) -> list[int]:
    """Time stamps of a constant rate, rounded to a clock of ``scale`` ticks a second."""
    return [start + round(Fraction(index * scale) / rate) for index in range(count)]


def write(
    path: Path,
    pts: Sequence[int],
    *,
    scale: int = 90_000,
    codec: str = "h264",
    rate: Fraction | int = 30,
    matrix: tuple[int, int, int, int] = (1, 0, 0, 1),
    shape: Any = picture,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode frame k with time stamp ``pts[k]`` of a clock of ``scale`` ticks a second."""
    import av

    name, settings = CODECS[codec]
    base = Fraction(1, scale)
    first = stored(shape(0), matrix)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(name, rate=Fraction(rate), options=settings)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = base
        stream.codec_context.thread_count = 1
        for index, stamp in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(stored(shape(index), matrix)), format="rgb24")
            frame.pts, frame.time_base = stamp, base
            frame.duration = (pts[index + 1] if index + 1 < len(pts) else 2 * stamp - pts[index - 1]) - stamp
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if matrix != (1, 0, 0, 1):
        set_matrix(path, matrix)
    return path


def remux(source: Path, path: Path, *, shift: Fraction = Fraction(0), options: dict[str, str] | None = None) -> Path:
    """Copy the video packets into another container, all times moved by ``shift`` seconds.

    In MP4 and MOV what then lies before zero is hidden by an edit list.
    """
    import av

    with av.open(str(source)) as old, av.open(str(path), "w", options=options or {}) as new:
        video = old.streams.video[0]
        copy = new.add_stream_from_template(video)
        move = round(shift / video.time_base)
        for packet in old.demux(video):
            if packet.dts is None:
                continue
            packet.pts, packet.dts = packet.pts + move, packet.dts + move
            packet.stream = copy
            new.mux(packet)
    return path


def set_matrix(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write a display matrix into the track header of an MP4 or MOV file (ISO/IEC 14496-12, 8.3.2, version 0)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    assert data[at] == 0
    a, b, c, d = (value << 16 for value in matrix)
    data[at + 40 : at + 76] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def numbers(folder: Path) -> list[int]:
    """The numbers that the frames in a folder carry, in the order of their names."""
    from PIL import Image

    found = []
    for file in sorted(folder.iterdir()):
        with Image.open(file) as image:
            found.append(number(np.array(image.convert("RGB"))))
    return found
