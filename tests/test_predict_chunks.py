"""What comes out of a predictor is checked, and what goes in has no name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import Lazy, benchmark_of

from refvps import sanity
from refvps.errors import InputError
from refvps.masks import rle
from refvps.run.predict import clip_seed, predict
from refvps.types import Benchmark, MaskChunk, Method

H, W, T = 18, 26, 6
GOOD = np.zeros((T, H, W), bool)


class Liar:
    """Yields whatever it is given."""

    def __init__(self, *chunks: Any) -> None:
        self.method, self.chunks = Method(name="liar"), chunks

    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        for chunk in self.chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk


def chunk(text: Any, start: Any, masks: Any) -> MaskChunk:
    return MaskChunk(text, start, masks)


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        ([], r"left frames without a mask[\s\S]*text 0 \('thing 0 of clip 0'\), frames 0-5[\s\S]*text 1"),
        (
            [chunk(0, 0, GOOD), chunk(1, 0, GOOD[:2]), chunk(1, 3, GOOD[:1]), chunk(1, 5, GOOD[:1])],
            "text 1 .*frames 2, 4",
        ),
        ([chunk(0, 0, GOOD), chunk(0, 4, GOOD[:1])], r"frames 4-4: frames 4 were given before"),
        ([chunk(0, 0, GOOD), chunk(1, 0, GOOD), chunk(1, 0, GOOD)], "frames 0-5 were given before"),
        ([chunk(0, 0, GOOD.astype(np.uint8))], "dtype uint8, not bool"),
        ([chunk(0, 0, GOOD.astype(np.float32))], "dtype float32"),
        ([chunk(0, 0, GOOD.transpose(0, 2, 1))], "26x18, which is transposed; frames are 18x26"),
        ([chunk(0, 0, GOOD[:, :-1])], "17x26; frames are 18x26"),
        ([chunk(0, 0, GOOD[0])], r"shape \(18, 26\), not \[t, H, W\]"),
        ([chunk(0, 0, GOOD[..., None])], "not \\[t, H, W\\]"),
        ([chunk(0, 0, GOOD.tolist())], "list, not a numpy array"),
        ([chunk(0, 0, None)], "NoneType, not a numpy array"),
        ([chunk(0, 0, GOOD[:0])], "without frames"),
        ([chunk(0, 1, GOOD)], "frames 1-6: the clip has frames 0-5"),
        ([chunk(0, -1, GOOD)], "frames -1-4: the clip has"),
        ([chunk(2, 0, GOOD)], "text 2, there are 2"),
        ([chunk(-1, 0, GOOD)], "text -1, there are 2"),
        ([chunk("0", 0, GOOD)], "whole numbers"),
        ([chunk(0, 0.0, GOOD)], "whole numbers"),
        ([chunk(0, 0, GOOD), GOOD], "ndarray instead of a MaskChunk"),
        (
            [chunk(0, 0, GOOD), KeyError("lost")],
            "A predictor failed[\\s\\S]*KeyError: 'lost'[\\s\\S]*correct the predictor",
        ),
        ([MemoryError("no room")], "MemoryError: no room"),
    ],
)
def test_wrong_masks_are_refused_with_their_place(chunks: list[Any], words: str, tmp_path: Path) -> None:
    bench = benchmark_of([T])
    with pytest.raises(InputError, match=words) as caught:
        predict(bench, Liar(*chunks), tmp_path)
    assert caught.value.exit_code == 4
    assert "liar, clip clip-0" in str(caught.value)
    assert [path.name for path in tmp_path.glob("*.jsonl")] == []


def test_chunks_may_come_in_any_order_and_shape(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((2, T, H, W)) > 0.5
    pieces = [(1, 3, 6), (0, 5, 6), (1, 0, 1), (0, 0, 5), (1, 1, 3)]
    views = [chunk(np.int64(k), np.uint8(a), np.asfortranarray(masks[k, a:b])) for k, a, b in pieces]
    predict(benchmark_of([T]), Liar(*views), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "clip-0.jsonl").read_text().splitlines()[1:]]
    found = [[rle.decode(counts.encode(), (H, W)) for counts in line["counts"]] for line in lines]
    assert np.array_equal(found, masks)


def test_a_buffer_that_is_used_again_is_read_in_time(tmp_path: Path) -> None:
    class Recycler(Liar):
        def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
            buffer = np.zeros((1, H, W), bool)
            for k in range(len(texts)):
                for t in range(len(frames)):
                    buffer[:] = False
                    buffer[0, t, k] = True
                    yield MaskChunk(k, t, buffer)

    predict(benchmark_of([T]), Recycler(), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "clip-0.jsonl").read_text().splitlines()[1:]]
    for k, line in enumerate(lines):
        for t, counts in enumerate(line["counts"]):
            assert np.argwhere(rle.decode(counts.encode(), (H, W))).tolist() == [[t, k]]


def test_what_a_predictor_sees(tmp_path: Path) -> None:
    bench = benchmark_of([T])
    seen: dict[str, Any] = {}

    class Curious(Liar):
        def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
            seen.update(frames=frames, texts=texts, fps=fps, seed=seed)
            with pytest.raises(ValueError, match="read-only"):
                frames[0][0, 0] = 0
            assert np.array_equal(frames[1:5:2][-1], bench.frames("clip-0")[3])
            assert len(frames[2:4]) == 2
            with pytest.raises(IndexError):
                frames[T]
            yield from (chunk(k, 0, GOOD) for k in range(2))

    predict(bench, Curious(), tmp_path, seed=3)
    assert seen["texts"] == ("thing 0 of clip 0", "thing 1 of clip 0")
    assert (seen["fps"], seen["seed"], len(seen["frames"])) == (24.0, clip_seed("clip-0", 3), T)
    public = {name for name in dir(seen["frames"]) if not name.startswith("_")}
    assert public == {"count", "index"}  # a sequence and nothing else: no name, no path


def test_frames_that_do_not_fit_the_manifest(tmp_path: Path) -> None:
    bench = benchmark_of([T])
    for frames, words in {
        "short": (Lazy(0, range(T - 1), (H, W)), "5 on disk, 6 in the manifest"),
        "turned": (Lazy(0, range(T), (W, H)), r"frame 0: uint8 \(26, 18, 3\), the clip says uint8 \(18, 26, 3\)"),
    }.values():
        wrong = Benchmark(**{**vars(bench), "frames": lambda clip, frames=frames: frames})
        with pytest.raises(InputError, match=words) as caught:
            predict(wrong, sanity.motion(), tmp_path)
        assert "clip-0" in str(caught.value)
