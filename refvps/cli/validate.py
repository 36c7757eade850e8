"""``refvps validate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from refvps.cli import options


@click.command(epilog="Example: refvps validate --pred preds.zip -b sample")
@click.option("--pred", type=click.Path(path_type=Path), required=True, metavar="DIR|ZIP", help="Predictions to check.")
@options.benchmark_options
@click.option(
    "--missing",
    type=click.Choice(["error", "zero"]),
    default="error",
    show_default=True,
    help="Whether frames without prediction are errors or only noted.",
)
@options.jobs_option
@options.json_option
@options.quiet_option
def validate(
    pred: Path,
    benchmark: str | None,
    gt: Path | None,
    ignore_value: str | None,
    fps: float | None,
    missing: Literal["error", "zero"],
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Say everything that is wrong with predictions, before any scoring.

    Reads every mask. Exit code 0 when they can be scored, 4 when not; each kind of error names its first
    three places and the fix.
    """
    from refvps.predictions.validate import validate as check

    processes = options.job_count(jobs)
    bench = options.load_benchmark(benchmark, gt, ignore_value, fps, processes)
    with options.progress_bar("validating", " clips", quiet or as_json) as progress:
        report = check(pred, bench, missing, processes, progress)
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=1, sort_keys=True, ensure_ascii=False))
    else:
        if report.problems:
            click.echo(report.text())
        masks = sum(len(bench.clips[e.clip].annotated) for e in bench.expressions)
        verdict = f"{len(report.errors)} kinds of error" if report.errors else "can be scored"
        click.echo(
            f"{pred}: {verdict} ({len(bench.clips)} clips, {len(bench.expressions)} expressions, {masks:,} masks)"
        )
    return 4 if report.errors else 0
