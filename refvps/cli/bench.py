"""``refvps bench``."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import click

from refvps.cli import options
from refvps.cli.predict import predictor_arguments
from refvps.errors import UsageError

if TYPE_CHECKING:
    from refvps.run.predict.bench import Bench


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if found is None:
        raise UsageError("--size is HEIGHTxWIDTH.", where=[repr(text)], fix="for example --size 480x854")
    return int(found[1]), int(found[2])


@click.command(epilog="Example: refvps bench -p motion --runs 20")
@options.predictor_options
@click.option("--frames", type=click.IntRange(min=1), default=32, show_default=True, help="Frames of a clip.")
@click.option("--size", metavar="HxW", default="480x854", show_default=True, help="Height and width of a frame.")
@click.option("--texts", type=click.IntRange(min=1), default=1, show_default=True, help="Expressions of a clip.")
@click.option("--warmup", type=click.IntRange(min=1), default=3, show_default=True, help="Runs that do not count.")
@click.option("--runs", type=click.IntRange(min=1), default=80, show_default=True, help="Runs that do.")
@options.seed_option
@options.json_option
@options.quiet_option
def bench(
    predictor: str,
    weights: str | None,
    device: str | None,
    dtype: str | None,
    extra: tuple[str, ...],
    frames: int,
    size: str,
    texts: int,
    warmup: int,
    runs: int,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Frames per second and peak memory of a predictor, on generated clips.

    The protocol of the paper's Table C: 32-frame clips, a warm-up, 80 runs. Frames lie decoded in memory; a
    run ends with its last mask, the GPU idle. The median run is shown with the range of 95 % of the runs.
    """
    from refvps.run import predictors
    from refvps.run.predict.bench import bench as run

    shape = _size(size)
    with options.prints_aside():
        chosen = predictors.load(predictor, **predictor_arguments(weights, device, dtype, extra))
    with options.prints_aside(), options.progress_bar(chosen.method.name, " runs", quiet or as_json) as progress:
        found = run(
            chosen, frames=frames, size=shape, texts=texts, warmup=warmup, runs=runs, seed=seed, progress=progress
        )
    click.echo(json.dumps(found.to_dict(), indent=1) if as_json else _text(found))


def _text(found: Bench) -> str:
    low, high = found.interval
    frames, texts, median = found.frames, found.texts, found.median
    height, width = found.size
    where = found.environment.get("gpu", found.environment["system"])
    rows = [
        ("clip", f"{frames} frames of {height}x{width}, {texts} expression{'s' if texts > 1 else ''}"),
        ("seconds a clip", f"{median:.4g}  [{low:.4g}, {high:.4g}]  median and 95 % of {len(found.seconds)} runs"),
        ("frames a second", f"{frames / median:.4g} by clip, {frames * texts / median:.4g} by expression"),
        ("peak memory", _memory(found.peak_memory_mb)),
        ("peak GPU memory", _memory(found.peak_gpu_mb)),
        ("device", str(where)),
    ]
    lines = [f"{found.method}, after {found.warmup} warm-up run{'s' if found.warmup > 1 else ''}"]
    return "\n".join([*lines, *(f"  {name:<16} {value}" for name, value in rows)])


def _memory(megabytes: float | None) -> str:
    return "-" if megabytes is None else f"{megabytes:,.0f} MB"
