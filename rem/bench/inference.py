"""Speed and memory of inference beside the official order of work, in one run on one device (paper, Table C)."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rem.bench.flops import stage_flops
from rem.frames import frame_pixels
from rem.inference.precision import DTYPES, compile_networks, computing, use_channels_last
from rem.inference.settings import Settings
from rem.masks import masks_from_pixels
from rem.pipeline import RemPipeline

PROMPT = "the smoke that rises, number {}"


@dataclass(frozen=True)
class Load:
    """One clip of ``frames`` frames and ``expressions`` expressions; ``size`` (H, W) is that of the network's input."""

    frames: int
    size: tuple[int, int]
    expressions: int
    warmup: int
    runs: int


@dataclass(frozen=True)
class Cost:
    """Of a whole clip: ``seconds`` is the median over runs, ``fps`` counts a frame once for each expression."""

    dtype: str
    seconds: float
    fps: float
    peak_gb: float | None
    runs: int


@dataclass(frozen=True)
class StageCost:
    """One stage of the fast path, for one expression; ``of_peak``: its share of what the device reaches in its type."""

    stage: str
    tflop: float | None
    seconds: float
    of_peak: float | None


def clip(load: Load, seed: int = 0) -> NDArray[np.uint8]:
    """Frames [T, H, W, 3] of smooth noise that drifts, from ``seed``."""
    height, width = load.size
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (1, height // 8 + load.frames, width // 8 + load.frames, 3), dtype=np.uint8)
    picture = coarse[0].repeat(8, 0).repeat(8, 1)
    return np.stack([picture[t : t + height, t : t + width] for t in range(load.frames)])


def texts(load: Load) -> list[str]:
    """Sentences of the load."""
    return [PROMPT.format(number) for number in range(load.expressions)]


def measure(
    pipeline: RemPipeline,
    load: Load,
    *,
    dtype: str,
    compiled: bool = False,
    frames: Sequence[NDArray[np.uint8]] | None = None,
    sentences: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure ``pipeline``, which must be in float32, first in the official order and then the fast way in ``dtype``.

    The official order encodes the frames again for every expression, computes in float32 and decodes 16 frames at a
    time. Both see the same noise. ``pipeline`` is left in ``dtype``. Running out of memory raises UsageError with
    the option to lower (see :mod:`rem.inference.memory`).
    """
    pipeline.set_progress_bar_config(disable=True)
    device = pipeline.backbone.device
    shown = list(frames if frames is not None else clip(load))
    asked = list(sentences or texts(load))[: load.expressions]
    official = Settings(size=load.size, chunk=load.frames, noise="seeded", share=False)
    fast = replace(official, share=True)
    if not pipeline.backbone.noise:
        official, fast = replace(official, noise="none"), replace(fast, noise="none")
    say("official order, fp32")
    naive, masks, latents = _timed(pipeline, shown, asked, official, load, "fp32")
    pipeline.to(DTYPES[dtype])
    if device.type == "cuda":
        use_channels_last(pipeline.backbone)
    if compiled:
        compile_networks(pipeline.backbone)
    say(f"fast, {dtype}")
    quick, fast_masks, fast_latents = _timed(pipeline, shown, asked, fast, load, dtype)
    say("stages")
    peak = matmul_peak(device, DTYPES[dtype])
    both, either = (masks & fast_masks).sum().item(), (masks | fast_masks).sum().item()
    return {
        "device": device_name(device),
        "torch": torch.__version__,
        "load": asdict(load),
        "official_order": asdict(naive),
        "fast": asdict(quick),
        "speedup": naive.seconds / quick.seconds,
        "peak_tflops": peak / 1e12,
        "compiled": compiled,
        "stages": [asdict(cost) for cost in stage_costs(pipeline, shown, asked[0], fast, load, peak)],
        "mask_iou_to_fp32": both / either if either else 1.0,
        "latent_error_to_fp32": ((fast_latents - latents).abs().max() / latents.abs().max()).item(),
    }


def device_name(device: torch.device) -> str:
    """The GPU's own name, or the number of threads on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def stage_costs(
    pipeline: RemPipeline, frames: Sequence[Any], text: str, settings: Settings, load: Load, peak: float
) -> list[StageCost]:
    """Time of each stage by itself, for one expression."""
    backbone = pipeline.backbone
    device = backbone.device
    flops: dict[str, int] = stage_flops(backbone, load.frames, load.size)
    text_type = next(backbone.text_encoder.parameters()).dtype  # float32, whatever the others have
    peaks = {"text": peak if text_type == backbone.dtype else matmul_peak(device, text_type)}
    height, width = frames[0].shape[:2]
    kept: dict[str, Any] = {}
    generator = torch.Generator().manual_seed(0)

    def noise() -> Tensor | None:
        drawn = torch.randn(kept["encode"].shape, generator=generator)
        return drawn.to(device) if backbone.noise else None

    work: dict[str, Callable[[], Any]] = {
        "resize frames": lambda: frame_pixels(frames, load.size)[None].to(device),
        "encode": lambda: backbone.encode(kept["resize frames"]),
        "text": lambda: backbone.embed([text]),
        "shift": lambda: backbone.shift(kept["encode"], noise()),
        "denoise": lambda: backbone.denoise(kept["shift"], kept["text"]),
        "decode": lambda: backbone.decode(kept["denoise"], load.frames, batch=settings.decode_batch),
        "masks": lambda: masks_from_pixels(kept["decode"], (height, width)).cpu(),
    }
    costs = []
    with torch.no_grad(), computing(settings, device):
        for stage, step in work.items():
            kept[stage] = step()
            seconds = statistics.median(_clock(step, device) for _ in range(max(1, min(5, load.runs))))
            count = flops.get(stage)
            share = None if count is None else count / seconds / peaks.get(stage, peak)
            costs.append(StageCost(stage, None if count is None else count / 1e12, seconds, share))
    return costs


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of the best of ten square matrix products, which no convolution exceeds by much."""
    side = 8192 if device.type == "cuda" else 512
    a = torch.randn(side, side, device=device).to(dtype)
    for _ in range(3):
        a @ a
    return 2 * side**3 / min(_clock(lambda: a @ a, device) for _ in range(10))


def reset_peak(device: torch.device) -> None:
    """Forget the peak of memory so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def peak_gb(device: torch.device) -> float | None:
    """Peak since :func:`reset_peak` in 10^9 bytes: of the GPU's tensors, or of the whole process on Linux."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9
    return None


def _timed(
    pipeline: RemPipeline, frames: Sequence[Any], asked: Sequence[str], settings: Settings, load: Load, dtype: str
) -> tuple[Cost, Tensor, Tensor]:
    """Cost, masks and latents of one way of working."""
    device = pipeline.backbone.device

    def run(output: str = "masks") -> Any:
        generator = torch.Generator().manual_seed(0)
        return pipeline(frames, asked, generator=generator, output=output, **vars(settings))

    latents = torch.cat(run("latents").latents)  # a first warm-up, too
    for _ in range(load.warmup):
        run()
    reset_peak(device)
    seconds = []
    masks = torch.zeros(0)
    for _ in range(load.runs):
        begun = time.perf_counter()
        masks = run().masks
        seconds.append(time.perf_counter() - begun)  # masks are on the CPU: the device is done
    middle = statistics.median(seconds)
    cost = Cost(dtype, middle, len(frames) * len(asked) / middle, peak_gb(device), len(seconds))
    return cost, masks, latents


def _clock(step: Callable[[], Any], device: torch.device) -> float:
    """Seconds of ``step`` until the device has finished it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begun = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun
