"""``refvps bench``: what is timed, what is told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from refvps import cli
from refvps.errors import InputError, UsageError
from refvps.run.predict.bench import bench, generated_clip
from refvps.types import MaskChunk, Method


class Clock:
    """Takes a known time; notes what it was asked."""

    method = Method("clock")

    def __init__(self, *pauses: float) -> None:
        self.pauses, self.calls = list(pauses), []

    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        self.calls.append((len(frames), tuple(texts), frames[0].shape, seed))
        time.sleep(self.pauses.pop(0))
        for text in range(len(texts)):
            yield MaskChunk(text, 0, np.zeros((len(frames), *frames[0].shape[:2]), bool))


def test_runs_after_the_warm_up_are_timed() -> None:
    clock = Clock(0.7, 0.7, 0.02, 0.02, 0.6)
    found = bench(clock, frames=6, size=(24, 30), texts=2, warmup=2, runs=3, seed=9)
    assert len(clock.calls) == 5
    assert {call[0:1] + call[2:] for call in clock.calls} == {(6, (24, 30, 3), 9)}
    assert len(set(clock.calls[0][1])) == 2
    assert len(found.seconds) == 3
    assert 0.02 <= found.median < 0.6 <= found.seconds[2]
    assert found.interval[0] <= found.median <= found.interval[1] <= max(found.seconds)
    told = json.loads(json.dumps(found.to_dict()))
    assert told["fps_per_clip"] == pytest.approx(6 / found.median)
    assert told["fps_per_expression"] == pytest.approx(12 / found.median)
    assert told["seconds_per_expression"] == pytest.approx(found.median / 2)
    assert told["peak_memory_mb"] > 10 and told["peak_gpu_mb"] is None


def test_a_predictor_that_leaves_frames_out_is_not_timed() -> None:
    class Lazy(Clock):
        def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
            yield from super().predict(frames[:-1], texts, fps=fps, seed=seed)

    with pytest.raises(InputError, match="left frames without a mask"):
        bench(Lazy(0.0), frames=4, size=(8, 8), warmup=1, runs=1)
    with pytest.raises(UsageError, match="runs is 0"):
        bench(Clock(), runs=0)
    with pytest.raises(InputError, match=r"clock, run 2: IndexError"):
        bench(Clock(0.0), frames=2, size=(8, 8), warmup=1, runs=1)
    with pytest.raises(UsageError, match="in memory"):
        bench(Clock(), size=(99999, 99999))


def test_generated_frames_move_and_cannot_be_written() -> None:
    clip = generated_clip(5, (40, 60))
    assert {frame.shape for frame in clip} == {(40, 60, 3)}
    assert all((a != b).any() for a, b in zip(clip, clip[1:], strict=False))
    assert not clip[0].flags.writeable


def test_the_command_prints_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--frames", "4", "--size", "20x30", "--warmup", "1", "--runs", "3"]
    assert cli.run(["bench", "-p", "motion", "-o", "samples=3", *small]) == 0
    text = capsys.readouterr().out
    assert "motion, after 1 warm-up run" in text and "4 frames of 20x30, 1 expression\n" in text
    assert cli.run(["bench", "-p", "motion", "--texts", "4", "--json", *small]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["runs"], told["size"], told["texts"]) == (3, [20, 30], 4)
    assert cli.run(["bench", "-p", "motion", "--size", "20"]) == 2
    assert "HEIGHTxWIDTH" in capsys.readouterr().err
