"""PNG masks, read from untrusted bytes straight to packed bits, and written.

What a grey value or palette index means is decided in one place, here (decisions, 12): a mask is a
1-bit image, or 8-bit grey with {0, 1} or {0, 255}, or a palette image read by index, never by
colour. Transparency, gamma, text and the extra frames of an animation are passed over.

Nothing is trusted: signature, header, size, chunk lengths, checksums and the end are verified, the
size before a byte is inflated, and inflating stops at the size the header promises.
"""

from __future__ import annotations

import struct
import threading
import zlib as _standard
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from refvps.masks import bits as _bits
from refvps.masks.bits import Bits, Size
from refvps.masks.unfilter import unfilter
from refvps.types import MAX_SIDE

try:
    from zlib_ng import zlib_ng as _fast  # type: ignore[import-not-found,import-untyped,unused-ignore]

    _zlib: Any = _fast
except ImportError:
    _zlib = _standard

Kind = Literal[
    "not-png",
    "truncated",
    "corrupt",
    "size",
    "rgb",
    "rgba",
    "grey-alpha",
    "16-bit",
    "soft",
    "non-binary",
    "too-large",
    "grey-ids",
]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6

_DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}
_IHDR = struct.Struct(">4sIIBBBBBI")
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_SPARE = 64  # zlib-ng is ten times slower when the buffer has exactly the size of the output
_MOST_EXPANSION = 1032  # of deflate
_MOST_IDS = 20  # small grey values up to this look like object ids, not like probabilities
_HARMLESS = 1 << 24  # bytes that may be inflated without a limit, which is faster

Samples = NDArray[np.uint8]


class PngError(ValueError):
    """A file that is not a mask. ``kind`` is for programs, the message says what was found."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Header:
    """What the first chunk says. ``colour``: GREY, RGB, PALETTE, GREY_ALPHA or RGBA; ``depth``: bits a sample."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool


def header(data: bytes) -> Header:
    """Read the header chunk only; raises PngError."""
    if data[:8] != SIGNATURE:
        if SIGNATURE.startswith(data[:8]):
            raise PngError("truncated", f"the file is cut off after {len(data)} bytes" if data else "the file is empty")
        what = "a JPEG file, which cannot hold exact masks" if data[:3] == b"\xff\xd8\xff" else "not a PNG file"
        raise PngError("not-png", f"it is {what}; its first bytes are {data[:8]!r}")
    if len(data) < 33:
        raise PngError("truncated", f"the file is cut off after {len(data)} bytes, in its header")
    length = int.from_bytes(data[8:12], "big")
    name, width, height, depth, colour, method, filters, interlace, checksum = _IHDR.unpack_from(data, 12)
    if name != b"IHDR" or length != 13 or _zlib.crc32(data[12:29]) != checksum:
        raise PngError("corrupt", "its header is damaged")
    if depth not in _DEPTHS.get(colour, ()) or method or filters or interlace > 1 or not width or not height:
        raise PngError(
            "corrupt",
            f"its header is impossible: {width}x{height}, depth {depth}, colour type {colour}, "
            f"methods {method}, {filters}, {interlace}",
        )
    return Header(width, height, depth, colour, interlace == 1)


def read_binary(data: bytes, size: Size) -> Bits:
    """A binary mask of ``size`` (height, width) as packed bits.

    Accepts a 1-bit image, grey values {0, 1} or {0, 255}, and palette indices with at most one that
    is not zero, which is then the mask whatever its number or colour. Raises PngError.
    """
    image = _decode(data, size)
    if image.packed:
        return _bits.from_rows(image.rows, size)
    _require_binary(image)
    return _bits.pack_nonzero(image.rows)


def read_ids(data: bytes, size: Size) -> Samples:
    """Object ids, uint8 [H, W]: palette indices; or a binary mask (1-bit, grey {0, 1} or {0, 255}) as 0 and 1."""
    image = _decode(data, size)
    if image.packed or image.palette:
        return image.samples()
    _require_binary(image)
    return np.minimum(image.rows, 1)


def read_labels(data: bytes, size: Size) -> Samples:
    """Labels of ground truth, uint8 [H, W]: palette indices, or grey values, or 0 and 1 of a 1-bit image."""
    return _decode(data, size).samples()


def read_target_ignore(data: bytes, size: Size, ignore_value: int | None) -> tuple[Bits, Bits, frozenset[int]]:
    """Target and Ignore of a ground-truth image as packed bits, and the labels that occur in it.

    Ignore is where the label equals ``ignore_value`` (nowhere for None), target every other label
    that is not zero; labels as in :func:`read_labels`. Raises PngError.
    """
    image = _decode(data, size)
    if image.packed:
        target, values = _bits.from_rows(image.rows, size), {1}
    else:
        target, values = _bits.pack_nonzero(image.rows), _nonzero_values(image.flat)
    labelled = _bits.area(target)
    if not labelled:
        values = set()
    if labelled < size[0] * size[1]:
        values.add(0)
    if ignore_value is None or ignore_value not in values:
        ignore = _bits.empty(size)
    else:
        ignore = _bits.pack_nonzero(image.equal_to(ignore_value))
        target &= ~ignore
    return target, ignore, frozenset(values)


def write_binary(mask: Bits, size: Size) -> bytes:
    """A 1-bit grey PNG without filters: smaller and faster than any other kind, and every reader opens it."""
    height, count = size[0], _bits.row_bytes(size)
    raw = np.zeros((height, 1 + count), np.uint8)
    raw[:, 1:] = _bits.rows(mask, size)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", size[1], height, 1, GREY, 0, 0, 0)),
        (b"IDAT", _zlib.compress(raw, 5)),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(
        len(content).to_bytes(4, "big") + name + content + _zlib.crc32(name + content).to_bytes(4, "big")
        for name, content in chunks
    )


@dataclass(frozen=True, slots=True)
class _Image:
    """Decoded samples, valid until the next image is decoded in the same thread.

    ``packed``: ``rows`` are packed 1-bit rows [H, ceil(W / 8)], else one byte a sample [H, W].
    ``flat``: all bytes of ``rows`` in one contiguous array, perhaps with a zero before each row.
    """

    rows: Samples
    flat: Samples
    packed: bool
    palette: bool
    width: int

    def samples(self) -> Samples:
        """An array of its own, uint8 [H, W]."""
        return np.unpackbits(self.rows, axis=1, count=self.width) if self.packed else self.rows.copy()

    def equal_to(self, value: int) -> Samples:
        """1 where the samples have this value, uint8 [H, W]; as short-lived as the image."""
        flat = self.samples().reshape(-1) if self.packed else self.flat
        equal = _scratch.second(flat.size)
        np.equal(flat, value, out=equal.view(np.bool_))
        return equal.reshape(len(self.rows), -1)[:, -self.width :]


def _decode(data: bytes, size: Size) -> _Image:
    found = header(data)
    _require_mask(found, size)
    compressed = _image_data(data, found)
    palette = found.colour == PALETTE
    if found.interlaced:
        whole = _interlaced(compressed, found)
        return _Image(whole, whole.reshape(-1), False, palette, found.width)
    stride = (found.width * found.depth + 7) >> 3
    raw = _inflate(compressed, found.height * (1 + stride))
    rows, flat = _unfiltered(raw, found.height, stride)
    if found.depth in (2, 4):
        rows = _expanded(rows, found, found.width)
        flat = rows.reshape(-1)
    return _Image(rows, flat, found.depth == 1, palette, found.width)


def _require_mask(found: Header, size: Size) -> None:
    if max(found.width, found.height) > MAX_SIDE:
        raise PngError(
            "too-large", f"it claims {found.width}x{found.height} pixels; at most {MAX_SIDE} a side are read"
        )
    if found.depth == 16:
        raise PngError("16-bit", "it has 16 bits a sample; a mask has 8 or 1")
    if found.colour not in (GREY, PALETTE):
        kinds: dict[int, tuple[Kind, str]] = {
            RGB: ("rgb", "RGB colours"),
            RGBA: ("rgba", "RGB colours and alpha"),
            GREY_ALPHA: ("grey-alpha", "grey and alpha"),
        }
        kind, what = kinds[found.colour]
        raise PngError(kind, f"it stores {what}; a mask is a 1-bit, grey or palette image")
    if (found.height, found.width) != size:
        swapped = "; width and height are swapped" if (found.width, found.height) == size else ""
        raise PngError(
            "size", f"it is {found.width}x{found.height}, the frame is {size[1]}x{size[0]} (width x height){swapped}"
        )


def _image_data(data: bytes, found: Header) -> bytes:
    """The compressed samples; walks all chunks and checks their lengths, checksums and order."""
    parts: list[bytes] = []
    position, previous, palette = 33, b"IHDR", False
    while previous != b"IEND":
        if position + 12 > len(data):
            raise PngError("truncated", f"the file is cut off after {len(data)} bytes, without an end")
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        name = data[position + 4 : position + 8]
        if end > len(data):
            raise PngError("truncated", f"the file is cut off after {len(data)} bytes, in its chunk {name!r}")
        if _zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise PngError("corrupt", f"the checksum of its chunk {name!r} is wrong")
        if name == b"IDAT":
            if parts and previous != b"IDAT":
                raise PngError("corrupt", "its image data is in several places")
            parts.append(data[position + 8 : end - 4])
        elif name == b"PLTE":
            palette = True
        elif not name[0] & 32 and name != b"IEND":
            raise PngError("corrupt", f"it has an unknown or misplaced chunk {name!r}")
        position, previous = end, name
    if not parts:
        raise PngError("truncated", "it has no image data")
    if found.colour == PALETTE and not palette:
        raise PngError("corrupt", "it is a palette image without a palette")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _inflate(compressed: bytes, length: int) -> bytes:
    """Exactly ``length`` bytes, or a PngError."""
    if len(compressed) * _MOST_EXPANSION <= _HARMLESS:
        try:
            raw: bytes = _zlib.decompress(compressed, 15, length + _SPARE)
        except _zlib.error:
            raw = b""  # the slower way below finds out what is wrong
        if len(raw) == length:
            return raw
    stream = _zlib.decompressobj()
    try:
        raw = stream.decompress(compressed, length + 1)
    except _zlib.error as error:
        raise PngError("corrupt", f"its image data is damaged: {error}") from error
    if len(raw) > length:
        raise PngError("corrupt", f"its image data inflates to more than the {length} bytes of the image")
    if len(raw) < length or not stream.eof:
        raise PngError("truncated", f"its image data ends early, after {len(raw)} of {length} bytes")
    return raw


class _Scratch(threading.local):
    """Two buffers a thread, because touching fresh memory costs more than the work done in it."""

    buffers = (np.empty(0, np.uint8), np.empty(0, np.uint8))

    def _of(self, which: int, count: int) -> Samples:
        if self.buffers[which].size < count:
            grown = np.empty(count, np.uint8)
            self.buffers = (grown, self.buffers[1]) if which == 0 else (self.buffers[0], grown)
        return self.buffers[which][:count]

    def first(self, count: int) -> Samples:
        """For the rows of an image."""
        return self._of(0, count)

    def second(self, count: int) -> Samples:
        """For something made from them."""
        return self._of(1, count)


_scratch = _Scratch()


def _unfiltered(raw: bytes, height: int, stride: int) -> tuple[Samples, Samples]:
    """Rows [height, stride] without filters, and all their bytes, perhaps with a zero before each row."""
    filters = raw[:: stride + 1]
    flat = np.frombuffer(raw, np.uint8)
    filtered = flat.reshape(height, stride + 1)
    if filters.count(0) == height:
        return filtered[:, 1:], flat
    if max(filters) > 4:
        raise PngError("corrupt", f"it uses the unknown filter {max(filters)}")
    flat = _scratch.first(height * stride)
    rows = flat.reshape(height, stride)
    unfilter(filtered, rows)
    return rows, flat


def _interlaced(compressed: bytes, found: Header) -> Samples:
    """Samples [H, W] of an image in the seven passes of Adam7."""
    whole = np.zeros((found.height, found.width), np.uint8)
    passes = [whole[top::down, left::right] for top, left, down, right in _ADAM7]
    passes = [part for part in passes if part.size]
    lengths = [part.shape[0] * (1 + ((part.shape[1] * found.depth + 7) >> 3)) for part in passes]
    raw = _inflate(compressed, sum(lengths))
    start = 0
    for part, length in zip(passes, lengths, strict=True):
        height, width = part.shape
        rows, _ = _unfiltered(raw[start : start + length], height, length // height - 1)
        part[:] = _expanded(rows, found, width)
        start += length
    return whole


def _expanded(rows: Samples, found: Header, width: int) -> Samples:
    """One byte a sample [H, width]. Grey of 2 and 4 bits is stretched to 0..255, as every reader does."""
    if found.depth == 8:
        return rows
    if found.depth == 1:
        return np.unpackbits(rows, axis=1, count=width)
    shifts = np.arange(8 - found.depth, -1, -found.depth, dtype=np.uint8)
    samples = rows[:, :, np.newaxis] >> shifts & np.uint8((1 << found.depth) - 1)
    if found.colour == GREY:
        samples *= np.uint8(255 // ((1 << found.depth) - 1))
    return np.ascontiguousarray(samples.reshape(len(rows), -1)[:, :width])


def _nonzero_values(flat: Samples) -> set[int]:
    """The values that occur, without zero."""
    signed = flat.view(np.int8)
    lowest, highest = int(signed.min()), int(signed.max())
    if lowest >= -1 and highest <= 1:
        return {value for value, occurs in ((1, highest == 1), (255, lowest == -1)) if occurs}
    # Neighbouring words are nearly always equal: look only at those that differ from the one before.
    whole = flat[: flat.size & ~7].view(np.uint64)
    heads = whole[np.flatnonzero(whole[1:] != whole[:-1]) + 1].view(np.uint8)
    counts = np.bincount(np.concatenate((flat[:8], heads, flat[flat.size & ~7 :])), minlength=256)
    return set(np.flatnonzero(counts).tolist()) - {0}


def _require_binary(image: _Image) -> None:
    if image.flat.max() <= 1:
        return
    values = _nonzero_values(image.flat)
    if len(values) <= 1 and (image.palette or values <= {255}):
        return
    found = sorted(set(np.unique(image.rows).tolist()))
    some = ", ".join(map(str, [value for value in found if value not in (0, 255)][:3] or found))
    if image.palette:
        raise PngError("non-binary", f"it has {len(values)} objects, palette indices such as {some}, instead of one")
    if len(values) == 1 or values == {1, 255}:
        listed = " and ".join(map(str, found))
        raise PngError("non-binary", f"its grey values are {listed}, instead of 0 and 1, or 0 and 255")
    if max(values - {255}) <= _MOST_IDS:
        raise PngError(
            "grey-ids", f"object ids in grey: {len(found)} grey values, e.g. {some}; ids need a palette image"
        )
    raise PngError("soft", f"soft mask: {len(found)} grey values, e.g. {some}; threshold it to 0 and 255")
