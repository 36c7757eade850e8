"""Compressed RLE against pycocotools and against a slow codec written from the format's definition."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco

from refvps.masks import bits, rle

Mask = NDArray[np.bool_]
KINDS = ("empty", "full", "salt", "pepper", "noise", "blob", "stripes", "corner")


def draw_mask(size: tuple[int, int], kind: str, seed: int) -> Mask:
    rng = np.random.default_rng(seed)
    if kind == "empty" or kind == "full":
        return np.full(size, kind == "full")
    if kind == "blob":
        y, x = np.ogrid[: size[0], : size[1]]
        cy, cx, radius = rng.random() * size[0], rng.random() * size[1], rng.random() * max(size)
        return np.asarray((y - cy) ** 2 + (x - cx) ** 2 < radius**2)
    if kind == "stripes":  # runs that end exactly at the ends of columns
        return np.broadcast_to(rng.random(size[1]) < 0.5, size).copy()
    if kind == "corner":
        mask = np.zeros(size, np.bool_)
        mask[0, 0], mask[-1, -1] = rng.random(2) < 0.5
        return mask
    return rng.random(size) < {"salt": 0.01, "pepper": 0.99, "noise": 0.5}[kind]


@st.composite
def masks(draw: st.DrawFn, count: int = 1, side: int = 90) -> list[Mask]:
    """Masks of one size."""
    size = draw(st.tuples(st.integers(1, side), st.integers(1, side)))
    seed = draw(st.integers(0, 2**32 - 1))
    return [draw_mask(size, draw(st.sampled_from(KINDS)), seed + k) for k in range(count)]


def ragged(size: tuple[int, int], seed: int, share: float = 0.3) -> Mask:
    """Smoke-like: many runs of many lengths."""
    rng = np.random.default_rng(seed)
    field = rng.standard_normal(size)
    for reach in (1, 3, 9):
        field += sum(np.roll(field, (dy, dx), (0, 1)) for dy in (-reach, reach) for dx in (-reach, reach))
    return np.asarray(field > np.quantile(field, 1 - share))


def peer(mask: Mask) -> bytes:
    return bytes(coco.encode(np.asfortranarray(mask, np.uint8))["counts"])


def slow_text(numbers: list[int]) -> bytes:
    """Characters of the numbers, from the definition."""
    text = bytearray()
    for number in numbers:
        more = True
        while more:
            group, number = number & 31, number >> 5
            more = number != (-1 if group & 16 else 0)
            text.append(48 + group + 32 * more)
    return bytes(text)


def slow_encode(runs: list[int]) -> bytes:
    return slow_text([run - runs[k - 2] if k > 2 else run for k, run in enumerate(runs)])


def slow_runs(text: bytes) -> list[int] | None:
    """Run lengths of a string, in integers without a limit; None when it is not even a list of numbers."""
    runs: list[int] = []
    number, groups = 0, 0
    for character in text:
        if not 48 <= character < 112:
            return None
        group = character - 48
        number |= (group & 31) << 5 * groups
        groups += 1
        if not group & 32:
            if group & 16:
                number -= 1 << 5 * groups
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number, groups = 0, 0
    return None if groups or not runs else runs


def slow_decode(runs: list[int], size: tuple[int, int]) -> Mask:
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(size[1], size[0]).T


def is_valid(text: bytes, size: tuple[int, int]) -> bool:
    runs = slow_runs(text)
    if runs is None or min(runs) < 0 or sum(runs) != size[0] * size[1]:
        return False
    return all(runs[1:-1])


def accepted(text: bytes, size: tuple[int, int]) -> bool:
    try:
        rle.check([text], size)
    except rle.RleError:
        return False
    return True


# --- encoding and decoding


@settings(max_examples=300)
@given(masks())
def test_round_trip_and_the_bytes_of_pycocotools(drawn: list[Mask]) -> None:
    (mask,) = drawn
    size = mask.shape
    packed = bits.pack(mask)
    text = rle.from_bits(packed, size)
    assert text == peer(mask) == rle.encode(mask)
    rle.check([text], size)
    np.testing.assert_array_equal(rle.to_bits(text, size), packed)
    np.testing.assert_array_equal(rle.decode(text, size), mask)
    assert rle.area(text, size) == mask.sum()


@pytest.mark.parametrize("size", [(576, 1024), (480, 854), (853, 480), (1, 16384), (16384, 1), (1080, 1919)])
@pytest.mark.parametrize("kind", ["ragged", "salt", "pepper", "blob", "corner", "full", "empty"])
def test_real_sizes(size: tuple[int, int], kind: str) -> None:
    mask = ragged(size, 3) if kind == "ragged" else draw_mask(size, kind, 5)
    text = rle.encode(mask)
    assert text == peer(mask)
    rle.check([text], size)
    np.testing.assert_array_equal(rle.to_bits(text, size), bits.pack(mask))


def test_golden_strings() -> None:
    square = np.zeros((4, 4), np.bool_)
    square[1:3, 1:3] = True
    assert slow_encode([5, 2, 2, 2, 5]) == b"52203"
    assert rle.encode(square) == b"52203"
    assert rle.encode(np.zeros((10, 10), np.bool_)) == b"T3"  # 100 = 4 + 3 * 32
    assert rle.encode(np.ones((10, 10), np.bool_)) == b"0T3"
    assert rle.encode(np.zeros((576, 1024), np.bool_)) == b"PPPb0"  # 589,824 = 18 << 15, in groups of five bits
    assert rle.encode(slow_decode([1, 4, 2, 2, 7], (4, 4))) == b"142N5"  # the fourth is 2 - 4, the fifth 7 - 2


@given(st.lists(st.integers(-(2**29), 2**29 - 1), min_size=1, max_size=40))
def test_numbers_of_every_length(numbers: list[int]) -> None:
    text = slow_text(numbers)
    assert rle._text(np.array(numbers, np.int32)) == text
    values, ends = rle._numbers(rle._characters(text))
    assert values is not None
    assert values.tolist() == numbers
    assert ends.size == len(numbers)


# --- checking


def test_check_accepts_many_strings_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    size = (61, 83)
    texts = [rle.encode(draw_mask(size, KINDS[k % len(KINDS)], k)) for k in range(120)]
    for batch in (1, 7, 1000, 1 << 17):
        monkeypatch.setattr(rle, "_BATCH", batch)
        rle.check(texts, size)
        assert rle._reason(texts, size, np.zeros(len(texts), np.int64)) == ""  # all at once, not one by one
        for k in (0, 1, 59, 118, 119):
            spoilt = [*texts[:k], texts[k][:-1] + b"o", *texts[k + 1 :]]
            with pytest.raises(rle.RleError, match=f"^RLE {k}: it is cut off") as caught:
                rle.check(spoilt, size)
            assert caught.value.index == k
    rle.check([], size)


@given(masks(count=6, side=40), st.permutations(range(6)))
def test_neighbours_in_a_batch_do_not_matter(drawn: list[Mask], order: list[int]) -> None:
    size = drawn[0].shape
    texts = [rle.encode(drawn[k]) for k in order]
    rle.check(texts, size)
    bad = slow_encode([size[0] * size[1] + 1])
    for k in range(7):
        with pytest.raises(rle.RleError) as caught:
            rle.check([*texts[:k], bad, *texts[k:]], size)
        assert caught.value.index == k


PIXELS = 12 * 10
BAD = {
    "empty string": (b"", "empty string"),
    "blank": (b"T 3", "character 1 is b' '"),
    "zero byte": (b"T3\0", "character 2"),
    "high byte": (b"\xff3", r"character 0 is b'\\xff'"),
    "after o": (b"p3", "character 0 is b'p'"),
    "python repr": (b"b'X3'", "character 1"),
    "cut off": (slow_encode([PIXELS])[:-1], "cut off"),
    "too few": (slow_encode([PIXELS - 1]), "add up to 119 pixels.* 120"),
    "too many": (slow_encode([60, 61]), "add up to 121"),
    "one run too long": (slow_encode([PIXELS + 1]), "has 120 pixels"),
    "negative first": (slow_encode([-1, PIXELS + 1]), "run 0 has the length -1"),
    "negative later": (slow_encode([60, 70, -10]), "run 2 has the length -10"),
    "negative fourth": (slow_encode([60, 30, 40, -10]), "run 3 has the length -10"),
    "seven characters": (b"PPPPPP" + b"0", "more than 6 characters"),
    "thirteen characters": (b"P" * 12 + b"0", "more than 6 characters"),
    "thousands of characters": (b"P" * 5000 + b"0", "more than 6 characters"),
    "2**32 more than valid": (slow_encode([PIXELS + 2**32]), "more than 6"),
    "2**32 less than valid": (slow_encode([PIXELS - 2**32]), "more than 6"),
    "zero run in the middle": (slow_encode([60, 0, 60]), "length zero"),
    "zero run at second place": (slow_encode([0, 0, PIXELS]), "length zero"),
    "two zero runs at the end": (slow_encode([PIXELS, 0, 0]), "length zero"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_strings_are_named(name: str) -> None:
    text, reason = BAD[name]
    with pytest.raises(rle.RleError, match=reason):
        rle.check([text], (12, 10))
    with pytest.raises(rle.RleError, match=f"^RLE 1: .*{reason}"):
        rle.check([slow_encode([PIXELS]), text, text], (12, 10))
    for read in (rle.to_bits, rle.decode):
        with pytest.raises(rle.RleError, match=reason):
            read(text, (12, 10))


@pytest.mark.parametrize("modulus", [2**30, 2**31, 2**32])
def test_runs_that_wrap_around_are_refused(modulus: int) -> None:
    """A run that equals a valid one modulo 2**32, reached in legal steps; pycocotools keeps only those bits."""
    size, step, first = (1, 10), 2**29 - 1, 3
    climb = [first, *[step] * (modulus // step), modulus % step]
    numbers = [1, *[number for delta in climb for number in (delta, 1)]]
    runs = slow_runs(slow_text(numbers))
    assert runs is not None
    assert modulus + first in runs
    assert not accepted(slow_text(numbers), size)
    assert not accepted(slow_text([-number for number in numbers]), size)


def test_errors_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(rle.RleError("why", 7)))
    assert (error.reason, error.index, str(error)) == ("why", 7, "RLE 7: why")


@settings(max_examples=400)
@given(st.binary(max_size=12) | st.text("0123456789:;<=>?@OPQRST_`ano", max_size=12).map(str.encode))
def test_check_agrees_with_the_definition_on_garbage(text: bytes) -> None:
    for size in ((1, 1), (2, 3), (4, 4), (10, 10)):
        assert accepted(text, size) == is_valid(text, size)


@settings(max_examples=400)
@given(masks(side=30), st.data())
def test_check_agrees_with_the_definition_on_damaged_strings(drawn: list[Mask], data: st.DataObject) -> None:
    size = drawn[0].shape
    text = bytearray(rle.encode(drawn[0]))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text)))
        how = data.draw(st.sampled_from(["replace", "insert", "delete", "swap"]))
        character = data.draw(st.integers(47, 112))
        if how == "replace":
            text[place : place + 1] = bytes([character])
        elif how == "insert":
            text[place:place] = bytes([character])
        elif how == "delete":
            del text[place : place + 1]
        else:
            text[place : place + 2] = text[place : place + 2][::-1]
    damaged = bytes(text)
    valid = is_valid(damaged, size)
    assert accepted(damaged, size) == valid
    if valid:  # whatever is accepted, all readers agree on
        runs = slow_runs(damaged)
        assert runs is not None
        mask = slow_decode(runs, size)
        np.testing.assert_array_equal(rle.decode(damaged, size), mask)
        np.testing.assert_array_equal(coco.decode({"size": size, "counts": damaged}), mask)
        assert rle.area(damaged, size) == mask.sum()


@given(st.lists(st.integers(0, 12), min_size=1, max_size=8))
def test_check_agrees_with_the_definition_on_zero_runs(runs: list[int]) -> None:
    assume(sum(runs))
    text, size = slow_encode(runs), (1, sum(runs))
    assert accepted(text, size) == all(runs[1:-1])


def test_zero_runs_are_refused_because_pycocotools_stops_at_them() -> None:
    size, text = (1, 10), slow_encode([2, 3, 0, 0, 2, 3])
    other = slow_encode([0, 5, 0, 5])
    wrong: Any = coco.iou([{"size": size, "counts": text}], [{"size": size, "counts": other}], [1])
    assert round(float(wrong[0, 0]) * 6) != 6
    assert not accepted(text, size)


# --- intersections


@settings(max_examples=200)
@given(masks(count=7, side=70), st.integers(0, 7))
def test_intersections_are_exact(drawn: list[Mask], split: int) -> None:
    size = drawn[0].shape
    texts = [rle.encode(mask) for mask in drawn]
    areas, inter = rle.intersections(texts[:split], texts[split:], size)
    assert areas.dtype == inter.dtype == np.int64
    assert inter.shape == (split, 7 - split)
    assert areas.tolist() == [int(mask.sum()) for mask in drawn[:split]]
    assert inter.tolist() == [[int((p & t).sum()) for t in drawn[split:]] for p in drawn[:split]]


@pytest.mark.parametrize("size", [(576, 1024), (1080, 1919)])
def test_intersections_of_large_ragged_masks(size: tuple[int, int]) -> None:
    drawn = [ragged(size, 1), ragged(size, 2, 0.7), np.ones(size, np.bool_), np.zeros(size, np.bool_)]
    texts = [rle.encode(mask) for mask in drawn]
    areas, inter = rle.intersections(texts, texts, size)
    assert areas.tolist() == [int(mask.sum()) for mask in drawn]
    assert inter.tolist() == [[int((p & t).sum()) for t in drawn] for p in drawn]


@given(masks(count=3, side=30) | masks(count=3, side=5).map(lambda drawn: [np.tile(m, (1, 64)) for m in drawn]))
def test_a_zero_run_at_the_end_changes_nothing(drawn: list[Mask]) -> None:
    size = drawn[0].shape
    plain = [rle.encode(mask) for mask in drawn]
    longer = []
    for text in plain:
        runs = slow_runs(text)
        assert runs is not None
        longer.append(slow_encode([*runs, 0]))
    rle.check(longer, size)
    expected = [[int((p & t).sum()) for t in drawn] for p in drawn]
    for first in (plain, longer):
        for second in (plain, longer):
            areas, inter = rle.intersections(first, second, size)
            assert areas.tolist() == [int(mask.sum()) for mask in drawn]
            assert inter.tolist() == expected
    for text, mask in zip(longer, drawn, strict=True):
        np.testing.assert_array_equal(rle.to_bits(text, size), bits.pack(mask))


def test_real_masklets(fixtures: Path) -> None:
    seen = 0
    for path in sorted((fixtures / "sav").glob("*.json")):
        video = json.loads(path.read_text())
        size = (int(video["video_height"]), int(video["video_width"]))
        texts = [entry["counts"].encode() for frame in video["masklet"] for entry in frame]
        rle.check(texts, size)
        for text in texts[::97]:
            mask = coco.decode({"size": size, "counts": text})
            np.testing.assert_array_equal(rle.decode(text, size), mask)
            assert rle.encode(mask.astype(np.bool_)) == text
            seen += 1
    assert seen > 10


def test_check_yields_the_areas() -> None:
    size = (23, 61)
    masks = [draw_mask(size, KINDS[k % len(KINDS)], k) for k in range(60)]
    texts = [rle.encode(mask) for mask in masks]
    assert rle.check(texts, size).tolist() == [int(mask.sum()) for mask in masks]
    for mask, text in zip(masks, texts, strict=True):
        assert rle.check([text], size).tolist() == [int(mask.sum())]
    assert rle.check([], size).tolist() == []


def test_a_plain_list_of_runs_is_the_same_mask():
    mask = np.zeros((5, 7), bool)
    mask[1:4, 2:5] = True
    runs = [11, 3, 2, 3, 2, 3, 11]
    assert rle.from_runs(runs, (5, 7)) == rle.encode(mask)
    for wrong in ([*runs, 1], runs[:-1], [-1, *runs[1:]], [11.0, *runs[1:]], ["11"]):
        with pytest.raises(ValueError, match="add up"):
            rle.from_runs(wrong, (5, 7))
