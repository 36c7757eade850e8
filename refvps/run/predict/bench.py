"""Frames per second and peak memory of any predictor, as in the paper's Table C: 32-frame clips, 80 runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refvps.errors import UsageError
from refvps.run.chunks import checked_masks, chunks_of
from refvps.run.predict.meter import Meter, environment
from refvps.types import Predictor

TEXTS = ("the disc that grows", "the stripes", "the dark ground", "whatever moves to the right")
FPS = 24.0
MAX_BYTES = 8 << 30
"""Pixels of a generated clip, in bytes, at most."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What :func:`bench` measured.

    ``seconds``: one clip with all its texts, per run. ``peak_memory_mb``, ``peak_gpu_mb``: the highest of all
    runs, models included, None where the system does not tell; megabytes are 2^20 bytes.
    """

    method: str
    frames: int
    size: tuple[int, int]
    texts: int
    warmup: int
    seconds: tuple[float, ...]
    peak_memory_mb: float | None
    peak_gpu_mb: float | None
    environment: dict[str, Any]

    @property
    def median(self) -> float:
        """Seconds of the median run."""
        return float(np.median(self.seconds))

    @property
    def interval(self) -> tuple[float, float]:
        """Seconds between which 95 % of the runs lie (2.5th and 97.5th percentile)."""
        low, high = np.percentile(self.seconds, [2.5, 97.5])
        return float(low), float(high)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON, with what follows from it."""
        low, high = self.interval
        return {
            "method": self.method, "frames": self.frames, "size": list(self.size), "texts": self.texts,
            "warmup": self.warmup, "runs": len(self.seconds),
            "seconds_per_clip": {"median": self.median, "low": low, "high": high, "runs": list(self.seconds)},
            "seconds_per_expression": self.median / self.texts,
            "fps_per_clip": self.frames / self.median,
            "fps_per_expression": self.frames * self.texts / self.median,
            "peak_memory_mb": self.peak_memory_mb, "peak_gpu_mb": self.peak_gpu_mb, "environment": self.environment,
        }  # fmt: skip


def bench(
    predictor: Predictor,
    *,
    frames: int = 32,
    size: tuple[int, int] = (480, 854),
    texts: int = 1,
    warmup: int = 3,
    runs: int = 80,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Bench:
    """Time a predictor on generated frames that lie decoded in memory.

    ``warmup`` runs come first and do not count; the very first one is checked mask by mask, so what is timed
    is known to be complete. A run ends when its last mask has arrived and the GPU is idle. Raises UsageError
    for numbers that make no sense and InputError when the predictor fails.
    """
    limits = {"frames": frames, "height": size[0], "width": size[1], "texts": texts, "warmup": warmup, "runs": runs}
    if (size[0] * size[1] * frames) * 3 > MAX_BYTES:
        raise UsageError(
            "A bench holds its clip in memory.",
            where=[f"{frames:,} frames of {size[0]}x{size[1]} are more than {MAX_BYTES >> 30} GB"],
            fix="fewer or smaller frames",
        )
    if wrong := [f"{name} is {value}" for name, value in limits.items() if value < 1]:
        raise UsageError("A bench counts from 1.", where=wrong, fix="the first warm-up run is the one that is checked")
    clip = generated_clip(frames, size)
    asked = tuple(TEXTS[k % len(TEXTS)] for k in range(texts))
    report = progress or (lambda done, total: None)
    meter, seconds, peaks = Meter(), [], []
    for count in range(warmup + runs):
        report(count, warmup + runs)
        meter.start()
        if count == 0:
            for _ in checked_masks(predictor, clip, asked, size=size, fps=FPS, seed=seed, place="generated clip"):
                pass
        else:
            for chunk in chunks_of(predictor, clip, asked, FPS, seed, f"{predictor.method.name}, run {count + 1}"):
                del chunk
        measured = meter.stop()
        if count >= warmup:
            seconds.append(meter.seconds)
            peaks.append(measured)
    report(warmup + runs, warmup + runs)
    return Bench(
        method=predictor.method.name,
        frames=frames,
        size=size,
        texts=texts,
        warmup=warmup,
        seconds=tuple(seconds),
        peak_memory_mb=max((row["peak_memory_mb"] for row in peaks if "peak_memory_mb" in row), default=None),
        peak_gpu_mb=max((row["peak_gpu_mb"] for row in peaks if "peak_gpu_mb" in row), default=None),
        environment=environment({}),
    )


def generated_clip(frames: int, size: tuple[int, int]) -> Sequence[NDArray[np.uint8]]:
    """Frames uint8 [H, W, 3] of a growing disc over stripes that drift; integers only, the same everywhere."""
    height, width = size
    y, x = np.ogrid[:height, :width]
    clip = []
    for t in range(frames):
        frame = np.empty((height, width, 3), np.uint8)
        frame[..., 0] = (x * 2 + y + 3 * t) % 160
        frame[..., 1] = ((y + 2 * t) // 16 % 2) * 60 + 20
        frame[..., 2] = (x // 3 + y // 5) % 120
        radius = (2 + t) * min(size) // (2 * frames + 8)
        frame[(y - height // 2) ** 2 + (x - width // 3 - t) ** 2 <= radius**2] = (230, 220, 40)
        frame.flags.writeable = False
        clip.append(frame)
    return clip
