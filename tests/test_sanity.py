"""The four predictors that understand nothing: their masks, pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from refvps import sanity
from refvps.types import Predictor


def masks_of(predictor: Predictor, frames: Sequence[np.ndarray], texts: Sequence[str] = ("x",)) -> np.ndarray:
    """Masks bool [texts, frames, H, W]; every cell must be filled exactly once."""
    out = np.zeros((len(texts), len(frames), *frames[0].shape[:2]), np.int64)
    for chunk in predictor.predict(frames, texts, fps=24.0, seed=0):
        out[chunk.text, chunk.start : chunk.start + len(chunk.masks)] += 1 + chunk.masks
    assert set(np.unique(out)) <= {1, 2}
    return out == 2


def moving_square(count: int = 12, size: tuple[int, int] = (40, 60), side: int = 9) -> list[np.ndarray]:
    """A bright square that moves 4 pixels a frame over a still, structured ground."""
    ground = (np.add.outer(np.arange(size[0]) * 3, np.arange(size[1]) * 2) % 90).astype(np.uint8)
    frames = []
    for index in range(count):
        frame = np.repeat(ground[..., None], 3, axis=2).copy()
        frame[10 : 10 + side, 2 + 4 * index : 2 + 4 * index + side] = (250, 240, 30)
        frames.append(frame)
    return frames


def test_empty_and_full() -> None:
    frames = moving_square(3)
    assert not masks_of(sanity.empty(), frames, ["a", "b"]).any()
    assert masks_of(sanity.full(), frames, ["a", "b"]).all()


@pytest.mark.parametrize(("size", "box"), [((8, 12), (4, 6)), ((9, 13), (5, 7)), ((1, 1), (1, 1)), ((7, 3), (5, 3))])
def test_centre_is_centred_and_half_of_each_side(size: tuple[int, int], box: tuple[int, int]) -> None:
    mask = masks_of(sanity.centre(), [np.zeros((*size, 3), np.uint8)])[0, 0]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert (len(rows), len(columns)) == box
    assert mask.sum() == box[0] * box[1]
    assert np.array_equal(mask, mask[::-1, ::-1])


def test_motion_finds_what_moves_and_only_that() -> None:
    frames = moving_square()
    found = masks_of(sanity.motion(), frames)[0]
    for index, mask in enumerate(found):
        square = np.zeros_like(mask)
        square[10:19, 2 + 4 * index : 11 + 4 * index] = True
        assert not (mask & ~square).any(), index
        assert mask.sum() == 81 - 4 * 3, index  # the vote takes three pixels off each corner


def test_motion_of_a_still_clip_and_of_one_frame_is_empty() -> None:
    frame = moving_square(1)[0]
    assert not masks_of(sanity.motion(), [frame] * 5).any()
    assert not masks_of(sanity.motion(), [frame]).any()


def test_motion_equals_its_definition_written_plainly() -> None:
    rng = np.random.default_rng(3)
    frames = list(rng.integers(0, 256, (10, 11, 13, 3), dtype=np.uint8))
    still = np.sort(np.stack(frames), axis=0)[4].astype(int)  # ten frames, the lower middle value
    for threshold in (60, 200, 765):
        found = masks_of(sanity.motion(threshold=threshold), frames)[0]
        for frame, mask in zip(frames, found, strict=True):
            far = np.abs(frame.astype(int) - still).sum(axis=2) > threshold
            padded = np.pad(far, 2)
            votes = sum(padded[y : y + 11, x : x + 13].astype(int) for y in range(5) for x in range(5))
            assert np.array_equal(mask, votes >= 13)


def test_motion_does_not_depend_on_the_size_of_its_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = moving_square()
    whole = masks_of(sanity.motion(), frames, ["a", "b"])
    monkeypatch.setattr(sanity, "CHUNK_BYTES", 5 * 40 * 60)
    chunks = list(sanity.motion().predict(frames, ["a", "b"], fps=24.0, seed=0))
    assert [(chunk.text, chunk.start, len(chunk.masks)) for chunk in chunks] == [
        (0, 0, 5), (1, 0, 5), (0, 5, 5), (1, 5, 5), (0, 10, 2), (1, 10, 2),
    ]  # fmt: skip
    assert np.array_equal(whole, masks_of(sanity.motion(), frames, ["a", "b"]))


@pytest.mark.parametrize("bad", [{"threshold": -1}, {"threshold": 1.5}, {"samples": 0}, {"samples": True}])
def test_motion_refuses_bad_options(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be a whole number"):
        sanity.motion(**bad)  # type: ignore[arg-type]


def test_options_are_declared() -> None:
    assert sanity.motion(threshold=7).method.options == {"threshold": 7, "samples": 15}


def test_a_random_box_depends_on_the_seed_alone() -> None:
    frames = moving_square(3)

    def boxes(seed: int, texts: Sequence[str]) -> list[np.ndarray]:
        return [chunk.masks for chunk in sanity.random_box().predict(frames, texts, fps=24.0, seed=seed)]

    seen = set()
    areas = []
    for seed in range(200):
        one, two = boxes(seed, ["a", "b"])
        assert np.array_equal(one, two) and np.array_equal(one, np.broadcast_to(one[0], one.shape))
        rows, columns = one[0].any(axis=1), one[0].any(axis=0)
        assert np.array_equal(one[0], rows[:, None] & columns) and one[0].any()
        assert np.diff(np.flatnonzero(rows)).max(initial=1) == np.diff(np.flatnonzero(columns)).max(initial=1) == 1
        seen.add(one[0].tobytes())
        areas.append(one[0].mean())
    assert len(seen) == 200
    assert 0.2 < np.mean(areas) < 0.3  # half of each side on average
    rows, columns = (boxes(7, ["x"])[0][0].any(axis=axis) for axis in (1, 0))
    assert (np.flatnonzero(rows)[[0, -1]].tolist(), np.flatnonzero(columns)[[0, -1]].tolist()) == GOLDEN_BOX


GOLDEN_BOX = ([2, 32], [7, 58])  # the same on every machine and with every numpy
