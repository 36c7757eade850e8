"""A small benchmark, and a predictor whose masks depend on everything they may depend on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from refvps.types import Benchmark, Clip, Expression, MaskChunk, Method


class Lazy(Sequence[np.ndarray]):
    """Frames computed when asked for."""

    def __init__(self, number: int, indices: range, size: tuple[int, int]) -> None:
        self.number, self.indices, self.size = number, indices, size

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Lazy(self.number, self.indices[index], self.size)
        t = self.indices[index]
        y, x = np.ogrid[: self.size[0], : self.size[1]]
        plane = (x * (3 + self.number) + y * 5 + t * 11) % 256
        return np.repeat(plane.astype(np.uint8)[..., None], 3, axis=2)


def benchmark_of(
    lengths: Sequence[int], *, texts: int = 2, size: tuple[int, int] = (18, 26), digest: str = "d"
) -> Benchmark:
    clips, expressions = {}, []
    for number, length in enumerate(lengths):
        names = tuple(f"{index:05d}" for index in range(length))
        clip = Clip(f"clip-{number}", size, 24.0, names, names, 24.0, f"g{number}")
        clips[clip.id] = clip
        expressions += [Expression(f"e{k}", clip.id, f"thing {k} of clip {number}") for k in range(texts)]
    order = {clip: number for number, clip in enumerate(clips)}
    return Benchmark(
        "toy", "1", digest, clips, tuple(expressions), truth=lambda clip: None,  # type: ignore[arg-type, return-value]
        frames=lambda clip: Lazy(order[clip], range(len(clips[clip].frames)), size),
    )  # fmt: skip


class Noisy:
    """Masks that depend on pixels, text, fps and seed; chunks of three frames; optionally slow."""

    def __init__(self, pause: float = 0.0, level: int = 100) -> None:
        self.method = Method(name="noisy", version="2", options={"level": level})
        self.pause, self.level = pause, level

    def predict(self, frames: Any, texts: Sequence[str], *, fps: float, seed: int) -> Iterator[MaskChunk]:
        for start in range(0, len(frames), 3):
            for k, text in enumerate(texts):
                rng = np.random.default_rng([seed, start, len(text), int(fps * 100)])
                masks = np.stack(
                    [
                        (frame[..., 0] + rng.integers(0, 60, frame.shape[:2])) > self.level
                        for frame in frames[start : start + 3]
                    ]
                )
                time.sleep(self.pause)
                yield MaskChunk(k, start, masks)


def slow(**options: Any) -> Noisy:
    """Loader of :class:`Noisy`."""
    return Noisy(**options)


def content(folder: Path) -> dict[str, Any]:
    """Every file of a run by name; of run files everything but timings and environments."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            if path.name.startswith("run") and path.suffix == ".json":
                record = json.loads(data)
                for volatile in ("timings", "environments"):
                    record.pop(volatile)
                data = json.dumps(record, sort_keys=True).encode()
            found[str(path.relative_to(folder))] = data
    return found
