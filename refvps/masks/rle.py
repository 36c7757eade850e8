"""Compressed COCO RLE: a binary mask as a short byte string.

The mask is read down its columns (pixel ``(y, x)`` has position ``x * h + y``) and stored as the
lengths of alternating runs, background first. A length is written as a difference to the length two
runs before (from the fourth on), in little-endian groups of five bits, each in one character from
``chr(48)``; 32 marks that another group follows. This is the format of pycocotools, byte for byte.

pycocotools does not check its input: an empty or damaged string yields uninitialised memory. So
everything that comes from outside passes :func:`check` once, and only then the other functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.masks import bits as _bits
from refvps.masks.bits import Bits, Size

MAX_CHARACTERS = 6
"""Characters of one number: 30 bits, enough for 2**28 pixels; pycocotools shifts a 32-bit int."""

_HALF = 1 << 14  # numbers in [-_HALF, _HALF) have at most three characters

_BATCH = 1 << 17  # characters parsed at once: the temporary arrays stay in the cache

_PIXEL = (128 >> np.arange(8)).astype(np.uint8)  # the bit of each of the eight pixels of a byte

Characters = NDArray[np.uint8]


class RleError(ValueError):
    """A string that is not a valid RLE of the given size. ``index``: which of the strings."""

    def __init__(self, reason: str, index: int = 0) -> None:
        super().__init__(reason, index)
        self.reason = reason
        self.index = index

    def __str__(self) -> str:
        return f"RLE {self.index}: {self.reason}"


def check(counts: Sequence[bytes], size: Size) -> NDArray[np.int64]:
    """Areas [N] of RLEs of ``size``; raises RleError, naming the first bad string and why, unless all are valid.

    Runs of length zero are allowed where every reader agrees on them: as the first (the mask starts
    with foreground) and as the last. Elsewhere they make pycocotools stop early, so they are refused.
    """
    areas = np.zeros(len(counts), np.int64)
    first = 0
    while first < len(counts):
        last, length = first, 0
        while last < len(counts) and (length < _BATCH or last == first):
            length += len(counts[last])
            last += 1
        if _reason(counts[first:last], size, areas[first:last]):
            for index in range(first, last):
                reason = _reason(counts[index : index + 1], size, areas[index : index + 1])
                if reason:
                    raise RleError(reason, index)
        first = last
    return areas


def _reason(counts: Sequence[bytes], size: Size, areas: NDArray[np.int64]) -> str:
    """Why at least one of the strings is not a valid RLE, '' when all are. For one string it is exact.

    When all are valid, their areas are put into ``areas`` [N].
    """
    lengths = np.fromiter(map(len, counts), np.intp, len(counts))
    if not lengths.all():
        return "it is an empty string; an empty mask is the RLE of all zeros"
    characters = _characters(b"".join(counts))
    if characters.max() > 63:
        where = int(np.flatnonzero(characters > 63)[0])
        code = (int(characters[where]) + 48) & 255
        return f"character {where} is {bytes([code])!r}; only '0' to 'o' (codes 48 to 111) occur in a compressed RLE"
    stops = np.cumsum(lengths)
    if (characters[stops - 1] > 31).any():
        return "it is cut off: the last number is not complete"
    values, ends = _numbers(characters)
    if values is None:
        return f"a number has more than {MAX_CHARACTERS} characters"
    stops = np.searchsorted(ends, stops - 1) + 1  # from characters to numbers
    starts = np.concatenate(([0], stops[:-1]))
    runs = _undo_differences(values, starts, stops)
    pixels = size[0] * size[1]
    if runs.view(np.uint32).max() > pixels:  # also true of negative runs
        where = int(np.flatnonzero(runs.view(np.uint32) > pixels)[0])
        return f"run {where} has the length {runs[where]}; the frame of {size[0]}x{size[1]} has {pixels} pixels"
    sums = np.add.reduceat(runs, starts, dtype=np.int64)
    if (sums != pixels).any():
        return f"its runs add up to {sums[sums != pixels][0]} pixels, the frame of {size[0]}x{size[1]} has {pixels}"
    zeros = runs.size - np.count_nonzero(runs)
    if zeros and zeros > np.count_nonzero(runs[starts] == 0) + np.count_nonzero(runs[stops - 1] == 0):
        return "a run in the middle has the length zero, which readers of RLE disagree about; encode the mask again"
    runs[1::2] *= -1  # background and foreground runs alternate through the whole array
    differences = np.add.reduceat(runs, starts, dtype=np.int64)
    areas[:] = (pixels - np.where(starts & 1, -differences, differences)) >> 1
    return ""


def _characters(text: bytes) -> Characters:
    return np.frombuffer(text, np.uint8) - np.uint8(48)


def _numbers(characters: Characters) -> tuple[NDArray[np.int32] | None, NDArray[np.intp]]:
    """The signed numbers in the characters and the position of the last character of each.

    All characters must be below 64 and the last one must end a number. The numbers are None when
    one has too many characters.
    """
    final = characters < 32
    ends = np.flatnonzero(final)
    pairs = characters.astype(np.uint16) << 6
    pairs[1:] |= characters[:-1]
    values = _pair_values().take(pairs.take(ends))
    last = np.flatnonzero(((characters[:-2] & characters[1:-1]) > 31) & final[2:]) + 2
    which = np.searchsorted(ends, last)  # the few numbers with a third character, most significant last
    for count in range(2, MAX_CHARACTERS + 1):
        if not last.size:
            return values, ends
        values[which] = values[which] * 32 + (characters[last - count] & 31)
        longer = characters[last - count - 1] > 31
        last, which = last[longer], which[longer]
    return None, ends


@cache
def _pair_values() -> NDArray[np.int32]:
    """Value of a number of one or two characters, by ``last character << 6 | the one before``."""
    last, before = np.divmod(np.arange(1 << 12, dtype=np.int32), 64)
    signed = ((last & 31) ^ 16) - 16  # the highest bit of the last group is the sign
    return np.where(before > 31, signed * 32 + (before & 31), signed).astype(np.int32)


def _undo_differences(
    values: NDArray[np.int32], starts: NDArray[np.intp], stops: NDArray[np.intp]
) -> NDArray[np.int32]:
    """Run lengths from the numbers of several strings: ``run[i] = value[i] + run[i - 2]`` for i > 2.

    Wraps at 32 bits, which is harmless: a number has 30 bits, so the first run outside [0, 2**28] is
    itself exact, and the caller refuses the string for it.
    """
    third = (starts + 2)[stops - starts > 2]
    values[third] -= values[third - 2]  # the first run is not part of the chain of even runs
    for parity in (0, 1):
        lane = values[parity::2]  # both chains alternate through the whole array: one sum each
        if lane.size:
            sums = lane.copy()  # twice as fast as summing with a stride
            np.add.accumulate(sums, dtype=np.int32, out=sums)
            if starts.size > 1:
                firsts = (starts + 1 - parity) >> 1
                before = np.where(firsts > 0, sums[firsts - 1], np.int32(0))
                sums -= np.repeat(before, np.diff(firsts, append=lane.size))
            lane[:] = sums
    return values


def _runs(counts: bytes, size: Size) -> NDArray[np.int32]:
    """Run lengths of one RLE; raises RleError when :func:`check` would."""
    characters = _characters(counts)
    if characters.size and characters[-1] < 32 and characters.max() < 64:
        values, ends = _numbers(characters)
        if values is not None:
            runs = _undo_differences(values, np.zeros(1, np.intp), np.array([ends.size]))
            if runs.min() >= 0 and runs[1:-1].all() and runs.sum(dtype=np.int64) == size[0] * size[1]:
                return runs
    raise RleError(_reason([counts], size, np.zeros(1, np.int64)) or "it is not a valid RLE")


def to_bits(counts: bytes, size: Size) -> Bits:
    """Packed bits of an RLE. Never reads out of bounds: raises RleError as :func:`check` does."""
    height, width = size
    changes = np.cumsum(_runs(counts, size)[:-1], dtype=np.int32)  # positions where the value changes
    if changes.size and changes[-1] == height * width:
        changes = changes[:-1]
    columns = changes // np.int32(height)
    stride = -(-width // 64) * 8  # bytes of a row, in whole words
    places = (changes - columns * np.int32(height)) * np.int32(stride) + (columns >> 3)
    mask = np.zeros((height, stride >> 3), np.uint64)
    # All changes are at different pixels, so adding their bits sets them.
    np.add.at(mask.view(np.uint8).reshape(-1), places, _PIXEL[columns & 7])
    # A run that goes over the end of a column changes the first pixel of the next one.
    going_over = np.zeros(stride * 8, np.bool_)
    np.cumsum(np.bincount(columns, minlength=width)[: width - 1] & 1, out=going_over[1:width].view(np.uint8))
    mask[0] ^= np.packbits(going_over.view(np.uint8) & 1).view(np.uint64)
    np.bitwise_xor.accumulate(mask, axis=0, out=mask)
    if stride == _bits.row_bytes(size):
        return mask.reshape(-1)
    return _bits.from_rows(mask.view(np.uint8)[:, : _bits.row_bytes(size)], size)


def from_bits(bits: Bits, size: Size) -> bytes:
    """The RLE of packed bits, equal to ``pycocotools.mask.encode`` of the mask."""
    height, width = size
    changed = _vertical_changes(bits, size)
    byte = np.flatnonzero(changed.view(np.uint8) != 0)  # few: look at single bits only there
    pixel = np.flatnonzero(np.unpackbits(changed.view(np.uint8)[byte]).view(np.bool_))
    place = (byte[pixel >> 3] * 8 + (pixel & 7)).astype(np.int32)
    stride = 8 * _bits.row_bytes(size)
    row = place // np.int32(stride)
    changes = np.empty(place.size + 2, np.int32)
    changes[0], changes[-1] = 0, height * width
    inner = changes[1:-1]  # place - row * stride is the column; the products wrap, their difference does not
    np.subtract(place * np.int32(height), row * np.int32(stride * height - 1), out=inner)
    inner.sort()
    runs = changes[1:] - changes[:-1]
    numbers = runs.copy()
    numbers[3:] -= runs[1:-2]
    return _text(numbers)


def _vertical_changes(bits: Bits, size: Size) -> Bits:
    """Packed bits of the pixels that differ from the one before them in column order (before the first: 0)."""
    count = _bits.row_bytes(size)
    mask = _bits.rows(bits, size).reshape(-1)
    changed = np.empty(bits.size, np.uint64)
    changed[-1] = 0
    rows = changed.view(np.uint8)[: mask.size]
    np.bitwise_xor(mask[count:], mask[:-count], out=rows[count:])
    padding = -size[1] % 8
    # The first pixel of a column follows the last pixel of the column to its left.
    previous = int.from_bytes(mask[-count:].tobytes(), "big") >> (padding + 1) << padding
    rows[:count] = mask[:count] ^ np.frombuffer(previous.to_bytes(count, "big"), np.uint8)
    return changed


def _text(numbers: NDArray[np.int32]) -> bytes:
    """The characters of signed numbers of at most 30 bits."""
    index = numbers + _HALF
    large = np.flatnonzero(index.view(np.uint32) >= 2 * _HALF)
    words = _characters_of().take(index & (2 * _HALF - 1))
    if large.size:
        low = numbers[large]
        words[large] = _characters_of()[(low >> 15) + _HALF]
        low = (low & 31) + ((low >> 5 & 31) << 8) + ((low >> 10 & 31) << 16) + 0x505050
        words = np.insert(words, large, low.view(np.uint32))
    return words.tobytes().translate(None, b"\0")


@cache
def _characters_of() -> NDArray[np.uint32]:
    """Up to three characters, padded with zero bytes, of each number in [-2**14, 2**14)."""
    rest = np.arange(-_HALF, _HALF, dtype=np.int32)
    words = np.zeros(rest.size, "<u4")
    active = np.ones(rest.size, np.bool_)
    for group in range(3):
        longer = (rest < -16) | (rest > 15)
        words |= np.where(active, (rest & 31) + 48 + 32 * longer, 0).astype(np.uint32) << np.uint32(8 * group)
        active &= longer
        rest >>= 5
    return words


def encode(mask: NDArray[np.bool_]) -> bytes:
    """The RLE of a bool array [H, W]."""
    height, width = mask.shape
    return from_bits(_bits.pack(mask), (height, width))


def decode(counts: bytes, size: Size) -> NDArray[np.bool_]:
    """The mask of an RLE as a bool array [H, W]; raises RleError as :func:`check` does."""
    return _bits.unpack(to_bits(counts, size), size)


def area(counts: bytes, size: Size) -> int:
    """Number of pixels of a checked RLE."""
    from pycocotools import mask as coco

    return int(coco.area(_coco(counts, size)))


def from_runs(runs: Sequence[Any], size: Size) -> bytes:
    """The RLE string of a plain COCO RLE: run lengths of 0 and 1 in turn, column by column (pycocotools).

    Raises ValueError unless ``runs`` are whole numbers that add up to the ``size`` (height, width).
    """
    from pycocotools import mask as coco

    if not all(type(run) is int and run >= 0 for run in runs) or sum(runs) != size[0] * size[1]:
        raise ValueError("the runs of a plain RLE do not add up to its size")
    found: bytes = coco.frPyObjects({"size": list(size), "counts": list(runs)}, *size)["counts"]
    return found


def union(counts: Sequence[bytes], size: Size) -> bytes:
    """The RLE of the pixels of all ``counts`` together (checked RLEs, at least one), in its one canonical form."""
    from pycocotools import mask as coco

    parts = [_coco(each, size) for each in counts]
    merged: bytes = coco.merge(parts if len(parts) > 1 else parts * 2)["counts"]  # one alone would be copied as it is
    return merged


def intersections(
    preds: Sequence[bytes], targets: Sequence[bytes], size: Size, areas: Sequence[int] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Areas [P] of ``preds`` and the pixels [P, T] they share with ``targets``; all checked RLEs.

    ``areas`` are those of ``preds`` where they are known already.

    Exact and never dense: pycocotools divides the intersection by the area of the prediction when
    the target is marked as a crowd, and both integers are below 2**53.
    """
    found = np.zeros(len(preds), np.int64)
    shared = np.zeros((len(preds), len(targets)), np.int64)
    if not preds:
        return found, shared
    from pycocotools import mask as coco

    first = [_coco(counts, size) for counts in preds]
    found[:] = coco.area(first) if areas is None else areas
    if targets:
        shares = coco.iou(first, [_coco(counts, size) for counts in targets], [1] * len(targets))
        shared[:] = np.rint(shares * found[:, np.newaxis])
    return found, shared


def _coco(counts: bytes, size: Size) -> dict[str, Any]:
    return {"size": size, "counts": counts}
