"""Fingerprints of pictures, and what they say about two extractions of one clip."""

from __future__ import annotations

import io
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from refvps.extract.alignment import compare, shifts_between
from refvps.extract.record import FrameRecord
from refvps.source.fingerprint import dhash64, from_hex, hamming, to_hex


def by_hand(picture: np.ndarray) -> int:
    """Cells of whole pixels, grey means as fractions, one bit per pair of neighbours, row by row."""
    if picture.shape[0] >= 512:
        picture = picture[:: picture.shape[0] // 256]
    height, width = picture.shape[:2]
    value = 0
    for row in range(8):
        means = []
        for column in range(9):
            cell = picture[
                row * height // 8 : (row + 1) * height // 8, column * width // 9 : (column + 1) * width // 9
            ].astype(int)
            grey = int((cell @ np.array([299, 587, 114])).sum())
            means.append(F(grey, 1000 * cell.shape[0] * cell.shape[1]))
        for left, right in zip(means, means[1:], strict=False):
            value = 2 * value + (right - left > F(1, 2))
    return value


def scene(seed: int, size: tuple[int, int] = (72, 96)) -> np.ndarray:
    """Soft blobs of colour."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (9, 12, 3), np.uint8)
    return np.array(Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC))


@given(st.integers(8, 600), st.integers(9, 100), st.integers(0, 2**32 - 1))
def test_any_size_is_that_by_hand(height: int, width: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert dhash64(picture) == by_hand(picture)


def test_tall_pictures_do_not_overflow() -> None:
    for height in (511, 512, 767, 4100):
        picture = np.full((height, 90, 3), 255, np.uint8)
        picture[:, ::2] = 254
        picture[: height // 2, 50:] = 0
        assert dhash64(picture) == by_hand(picture)


def test_a_ramp_and_a_flat_picture() -> None:
    ramp = np.repeat(np.repeat(np.arange(0, 90, dtype=np.uint8)[None, :, None], 16, 0), 3, 2)
    assert dhash64(ramp) == 2**64 - 1
    assert dhash64(ramp[:, ::-1]) == 0
    flat = np.full((40, 50, 3), 117, np.uint8)
    assert dhash64(flat) == 0
    assert dhash64(flat + np.random.default_rng(0).integers(-1, 2, flat.shape).astype(np.uint8)) == 0


def test_small_pictures_have_one_too() -> None:
    assert dhash64(np.array([[[0, 0, 0], [200, 200, 200]]], np.uint8)) == dhash64(
        np.repeat(np.repeat(np.array([[[0, 0, 0], [200, 200, 200]]], np.uint8), 8, 0), 9, 1)
    )


def test_jpeg_and_another_size_change_few_bits_and_another_picture_many() -> None:
    for seed in range(20):
        picture = scene(seed, (360, 480))
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "JPEG", quality=60)
        assert hamming(dhash64(picture), dhash64(np.array(Image.open(stream)))) <= 2
        smaller = np.array(Image.fromarray(picture).resize((240, 180), Image.Resampling.BOX))
        assert hamming(dhash64(picture), dhash64(smaller)) <= 3
        assert hamming(dhash64(picture), dhash64(scene(seed + 100, (360, 480)))) > 12


def test_what_is_no_picture() -> None:
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="expected uint8 RGB"):
            dhash64(wrong)


@given(st.integers(0, 2**64 - 1))
def test_text_form(value: int) -> None:
    assert from_hex(to_hex(value)) == value


@pytest.mark.parametrize("text", ["", "0" * 15, "0" * 17, "0" * 15 + "g", "A" * 16, "0" * 15 + "\n", "０" * 16])
def test_other_texts_are_no_fingerprints(text: str) -> None:
    with pytest.raises(ValueError, match="not a fingerprint"):
        from_hex(text)


# --- two extractions -----------------------------------------------------------------------------------


def moving(count: int, seed: int = 0, bits: int = 3) -> list[int]:
    """Fingerprints of a film in which ``bits`` random bits change from frame to frame."""
    random = np.random.default_rng(seed)
    value, found = int(random.integers(0, 2**63)), []
    for _ in range(count):
        found.append(value)
        for bit in random.choice(64, bits, replace=False):
            value ^= 1 << int(bit)
    return found


def noisy(values: list[int], seed: int, bits: int) -> list[int]:
    random = np.random.default_rng(seed)
    return [value ^ sum(1 << int(bit) for bit in random.choice(64, bits, replace=False)) for value in values]


def record(values: list[int], **fields) -> FrameRecord:
    return FrameRecord("x", tuple(f"{index:05d}" for index in range(len(values))), tuple(values), **fields)


FILM = moving(80)


def test_the_same_frames_are_the_same() -> None:
    assert compare(record(FILM), record(FILM)).verdict == "same"
    assert compare(record(FILM), record(noisy(FILM, 1, 2))).verdict == "same"
    assert compare(record(FILM), record(FILM)).sentence == ""


@pytest.mark.parametrize(("shift", "at"), [(1, 31), (-1, 31), (1, 0), (-1, 0), (3, 10), (-12, 40), (12, 20)])
def test_a_shift_is_named_with_its_first_frame(shift: int, at: int) -> None:
    """From frame ``at`` on, every picture comes ``shift`` ticks late."""
    source = moving(120, seed=4)
    wanted = source[20:100]
    shifted = [source[20 + index - (shift if index - max(shift, 0) >= at else 0)] for index in range(80)]
    judged = compare(record(wanted), record(shifted))
    assert judged.verdict == "shifted"
    assert judged.sentence.startswith(f"clip x: frames look shifted by {shift:+d} from ")
    named = int(judged.sentence.split(" from ")[1].split()[0])
    assert abs(named - at) <= abs(shift)
    assert judged.sentence.endswith("on")


def test_the_sentence_of_the_issue() -> None:
    late = [*FILM[:31], FILM[30], *FILM[31:79]]  # frame 30 is shown twice, the rest comes one tick late
    assert compare(record(FILM), record(late)).sentence == "clip x: frames look shifted by +1 from 00031 on"


def test_a_shift_that_ends_again() -> None:
    late = [*FILM[:20], *FILM[19:49], *FILM[50:]]
    assert compare(record(FILM), record(late)).sentence == "clip x: frames look shifted by +1 from 00020 to 00048"


def test_a_still_film_cannot_shift() -> None:
    still = [FILM[0]] * 40
    assert set(shifts_between(still, still)) == {0}
    assert compare(record(still), record(still)).verdict == "same"


def test_noise_in_a_still_film_is_no_shift() -> None:
    for seed in range(20):
        one, two = (noisy([FILM[0]] * 300, 100 * seed + k, 1) for k in (1, 2))
        assert compare(record(one), record(two)).verdict == "same"


def test_a_slow_film_is_enough_to_see_a_shift() -> None:
    """One bit changes in every other frame, as in the real film of a stream; both sides have some noise."""
    slow = [value for value in moving(60, seed=3, bits=1) for _ in range(2)]
    late = noisy([*slow[:50], *slow[49:99]], 5, 0)
    assert compare(record(slow[:100]), record(late)).sentence.startswith("clip x: frames look shifted by +1 from 0005")


def test_other_pictures_are_different() -> None:
    other = moving(80, seed=9)
    judged = compare(record(FILM), record(other))
    assert judged.verdict == "different"
    assert "other pictures" in judged.sentence
    replaced = [*FILM[:40], FILM[40] ^ (2**40 - 1), *FILM[41:]]
    assert compare(record(FILM), record(replaced)).sentence == "clip x: frame 00040 shows another picture"
    run = [*FILM[:40], *other[:20], *FILM[60:]]
    judged = compare(record(FILM), record(run))
    assert judged.verdict == "different"
    assert judged.sentence.startswith("clip x: frame 000")


def test_one_tick_at_the_very_end_is_named_and_two_are_not_allowed() -> None:
    assert compare(record(FILM), record(FILM[:-1])).sentence == "clip x: one frame less at the very end"
    longer = compare(record(FILM[:-1]), record(FILM))
    assert (longer.verdict, longer.sentence) == ("same", "clip x: one frame more at the very end")
    assert compare(record(FILM), record(FILM[:-2])).verdict == "different"
    assert compare(record(FILM[1:]), record(FILM)).verdict == "shifted"  # more, but at the beginning


def test_other_source_frames_that_look_alike_are_told_from_their_times() -> None:
    still, same = [FILM[0]] * 30, {"source_sha256": "a" * 64}
    pts = tuple(range(0, 300, 10))
    moved = (*pts[:12], *(value + 10 for value in pts[12:]))
    one = record(still, pts=pts, time_base=F(1, 240), request=same)
    two = record(still, pts=moved, time_base=F(1, 240), request=same)
    judged = compare(one, two)
    assert judged.verdict == "shifted"
    assert "from 00012 on (pts 130, in the reference 120)" in judged.sentence
    other_file = record(still, pts=moved, time_base=F(1, 240), request={"source_sha256": "b" * 64})
    assert compare(one, other_file).verdict == "same"


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40), st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_anything_is_the_same_as_itself_and_nearly_itself(values: list[int], seed: int, bits: int) -> None:
    assert compare(record(values), record(values)).verdict == "same"
    assert compare(record(values), record(noisy(values, seed, bits))).verdict == "same"
