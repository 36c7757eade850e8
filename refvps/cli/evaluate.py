"""``refvps evaluate``."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from refvps.cli import options
from refvps.errors import UsageError
from refvps.types import Rules


@click.command(epilog="Example: refvps evaluate --pred preds/ -b sample --metrics J,F,TC --out results/")
@click.option(
    "--pred",
    type=click.Path(path_type=Path),
    metavar="DIR|ZIP",
    help="Predictions, in any form that docs/submission.md lists.",
)
@click.option(
    "--from-counts", type=click.Path(path_type=Path), metavar="FILE", help="Score a .counts.npz again instead of masks."
)
@options.benchmark_options
@click.option(
    "--metrics", metavar="A,B", shell_complete=options.complete_metrics, help="Metrics to report. Default: J,TC."
)
@click.option(
    "--missing", type=click.Choice(["error", "zero"]), help="A frame without prediction stops (default) or scores 0."
)
@click.option(
    "--ignore", type=click.Choice(["drop", "background", "target"]), help="What Ignore pixels count as. Default: drop."
)
@click.option(
    "--average",
    type=click.Choice(["frame>expression>clip", "frame>clip>concept", "frame>object"]),
    help="Order of the means.",
)
@click.option(
    "--without", multiple=True, metavar="CLIP", help="Leave out a clip, as if the benchmark had never had it."
)
@click.option(
    "--draws", type=click.IntRange(min=0, max=1_000_000), help="Bootstrap draws and sign flips. Default: 10000."
)
@options.seed_option
@click.option("--method", metavar="NAME", help="Name of the result. Default: run.json's, else the folder's.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Where results go."
)
@click.option("--force", is_flag=True, help="Replace another result of the same name.")
@click.option("--concepts", is_flag=True, help="Print the table by concept, too.")
@options.jobs_option
@options.json_option
@options.quiet_option
def evaluate(
    pred: Path | None,
    from_counts: Path | None,
    benchmark: str | None,
    gt: Path | None,
    ignore_value: str | None,
    fps: float | None,
    metrics: str | None,
    missing: str | None,
    ignore: str | None,
    average: str | None,
    without: tuple[str, ...],
    draws: int | None,
    seed: int,
    method: str | None,
    out: Path,
    force: bool,
    concepts: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score predictions and write the result with its counts.

    Everything is validated first; nothing is skipped, guessed or overwritten. Writes
    OUT/<benchmark>@<version>/<method>.json and .counts.npz. Scores are fractions in files and percent on
    screen, with 95 % intervals over source videos.
    """
    from refvps.report import table
    from refvps.run import evaluate as run
    from refvps.run import results
    from refvps.run.score import check_metrics

    started = time.perf_counter()
    chosen = {
        "metrics": check_metrics(options.names_option(metrics)) if metrics is not None else None,
        "missing": missing,
        "ignore": ignore,
        "average": average,
        "draws": draws,
        "seed": seed,
    }
    given: dict[str, Any] = {key: value for key, value in chosen.items() if value is not None}
    if (pred is None) == (from_counts is None):
        raise UsageError("One of --pred and --from-counts is needed.", fix="refvps evaluate --pred preds/")
    if out.exists() and not out.is_dir():
        raise UsageError("--out is a folder.", where=[str(out)], fix="name a folder; results get their own names")
    if from_counts is not None:
        if benchmark or gt or fps or ignore_value:
            raise UsageError("Counts carry their benchmark.", fix="drop -b, --gt, --fps and --ignore-value")
        done = run.evaluate_counts(from_counts, Rules(**given), method=method, without=without)
    else:
        assert pred is not None
        processes = options.job_count(jobs)
        bench = options.load_benchmark(benchmark, gt, ignore_value, fps, processes)
        rules = replace(bench.rules, **given)
        with options.progress_bar("counting", " masks", quiet or as_json) as progress:
            done = run.evaluate_submission(
                bench, pred, rules, method=method, jobs=processes, without=without, progress=progress
            )
    path, data = results.write_result(
        done.scores,
        done.counts,
        done.rules,
        out,
        inputs=done.inputs,
        timings={"seconds": round(time.perf_counter() - started, 3)},
        force=force,
    )
    if done.report.problems:
        options.say(done.report.text(), quiet)
    if as_json:
        click.echo(path.read_text(encoding="utf-8"), nl=False)
    else:
        click.echo(table.result_table(data, concepts=concepts))
    options.say(f"wrote {path} and {data['counts']['file']}", quiet)
