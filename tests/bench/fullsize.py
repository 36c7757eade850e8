"""Full-size ModelScope with random weights through one chunk on a CPU: time, memory, operations per second.

PYTHONPATH=. python tests/bench/fullsize.py [--frames 2] [--side 256] [--dtype bf16] [--out tests/bench/rem.json]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import torch

from rem.bench.inference import Load, clip, matmul_peak, peak_gb, reset_peak, stage_costs, texts
from rem.bench.models import random_modelscope
from rem.inference.precision import DTYPES
from rem.inference.settings import Settings
from rem.parameters import count
from rem.pipeline import RemPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--dtype", choices=list(DTYPES), default="bf16", help="bf16 is slow on a CPU without it")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("rem.json"))
    given = parser.parse_args()
    size, device = (given.side, given.side), torch.device("cpu")
    load = Load(given.frames, size, 1, 0, 1)
    reset_peak(device)
    begun = time.perf_counter()
    backbone = random_modelscope(dtype=DTYPES[given.dtype])
    built = time.perf_counter() - begun
    building_gb = peak_gb(device)
    pipeline = RemPipeline.of(backbone)
    pipeline.set_progress_bar_config(disable=True)
    settings = Settings(size=size, chunk=given.frames, noise="seeded")
    frames = clip(load)
    reset_peak(device)
    begun, processor = time.perf_counter(), time.process_time()
    masks = pipeline(
        frames, texts(load), generator=torch.Generator().manual_seed(0), size=size, chunk=given.frames, noise="seeded"
    ).masks
    seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - processor
    memory = peak_gb(device)
    assert masks.shape == (1, given.frames, *size)
    costs = stage_costs(pipeline, frames, texts(load)[0], settings, load, matmul_peak(device, DTYPES[given.dtype]))
    total = sum(cost.tflop or 0 for cost in costs)
    result = {
        "what": "ModelScope text-to-video at full size, random weights, one chunk",
        "dtype": given.dtype,
        "machine": {"threads": torch.get_num_threads(), "torch": torch.__version__, "load": os.getloadavg()},
        "denoiser_parameters": count(backbone.denoiser),
        "frames": given.frames,
        "size": size,
        "building": {"seconds": built, "peak_gb": building_gb},
        "chunk": {
            "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_gb": memory, "tflop": total,
            "gflop_per_cpu_second": 1000 * total / cpu_seconds,
        },
        "stages": [asdict(cost) for cost in costs],
    }  # fmt: skip
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
