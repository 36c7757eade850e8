"""Packed bits and the mask that holds either form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from refvps.masks import bits, rle
from refvps.masks.mask import Mask

SIZES = [(1, 1), (1, 7), (1, 8), (1, 9), (7, 1), (3, 64), (5, 65), (9, 63), (16, 128), (37, 101), (8, 3)]


def noise(size: tuple[int, int], share: float = 0.5, seed: int = 0) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random(size) < share


@st.composite
def pairs(draw: st.DrawFn) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    size = draw(st.tuples(st.integers(1, 70), st.integers(1, 140)))
    shares = st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0])
    seed = draw(st.integers(0, 2**32 - 1))
    return noise(size, draw(shares), seed), noise(size, draw(shares), seed + 1)


def padding_is_zero(packed: bits.Bits, size: tuple[int, int]) -> bool:
    """Nothing but the pixels is set: as many ones in the words as in the mask."""
    return int(np.bitwise_count(packed).sum(dtype=np.int64)) == int(bits.unpack(packed, size).sum())


@given(pairs())
def test_pack_keeps_every_pixel(pair: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> None:
    first, second = pair
    size = first.shape
    packed, other = bits.pack(first), bits.pack(second)
    assert packed.dtype == np.uint64
    assert packed.size == bits.words(size) == -(-size[0] * -(-size[1] // 8) // 8)
    rows = np.packbits(first, axis=1)
    assert packed.tobytes()[: rows.size] == rows.tobytes()
    assert padding_is_zero(packed, size)
    np.testing.assert_array_equal(bits.unpack(packed, size), first)
    assert bits.area(packed) == first.sum()
    assert bits.intersection(packed, other) == (first & second).sum()


@pytest.mark.parametrize("size", SIZES)
def test_empty_and_full(size: tuple[int, int]) -> None:
    assert bits.area(bits.empty(size)) == 0
    assert bits.area(bits.full(size)) == size[0] * size[1]
    assert padding_is_zero(bits.full(size), size)
    np.testing.assert_array_equal(bits.full(size), bits.pack(np.ones(size, np.bool_)))
    assert bits.empty(size).size == bits.words(size)


@pytest.mark.parametrize("size", SIZES)
def test_from_rows_drops_what_stands_in_the_padding(size: tuple[int, int]) -> None:
    mask = noise(size)
    rows = np.packbits(mask, axis=1)
    rows[:, -1] |= (1 << -size[1] % 8) - 1
    np.testing.assert_array_equal(bits.from_rows(rows, size), bits.pack(mask))


@pytest.mark.parametrize("size", SIZES)
def test_pack_nonzero_counts_every_value(size: tuple[int, int]) -> None:
    values = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8) * noise(size)
    np.testing.assert_array_equal(bits.pack_nonzero(values), bits.pack(values != 0))


def test_unpacked_array_is_writable_and_its_own() -> None:
    packed = bits.pack(noise((9, 9)))
    before = packed.copy()
    bits.unpack(packed, (9, 9))[:] = True
    np.testing.assert_array_equal(packed, before)


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="bool array"):
        bits.pack(np.ones((3, 3), np.uint8))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bool array"):
        bits.pack(np.ones((1, 3, 3), np.bool_))
    with pytest.raises(ValueError, match="cannot be a mask"):
        bits.unpack(bits.empty((10, 10)), (100, 10))
    with pytest.raises(ValueError, match="cannot be a mask"):
        bits.from_rows(np.zeros((3, 2), np.uint8), (3, 8))


@given(pairs())
def test_mask_is_the_same_in_both_forms(pair: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> None:
    array, _ = pair
    size = array.shape
    packed = Mask.from_array(array)
    assert not packed.has_rle
    assert packed.area() == array.sum()
    counts = packed.counts()
    assert packed.has_rle
    assert counts == rle.encode(array)
    run_lengths = Mask.from_rle(counts, size)
    assert run_lengths.has_rle
    assert run_lengths.area() == array.sum()
    np.testing.assert_array_equal(run_lengths.array(), array)
    np.testing.assert_array_equal(Mask.from_bits(packed.bits(), size).array(), array)
