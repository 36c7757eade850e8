"""``refvps overlay``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from refvps.cli import options
from refvps.errors import UsageError


@click.command(epilog="Example: refvps overlay --pred preds/ -b sample --out sheets/")
@click.option("--pred", type=click.Path(path_type=Path), required=True, metavar="DIR|ZIP", help="Predictions to draw.")
@options.benchmark_options
@click.option("--clip", "clips", multiple=True, metavar="CLIP", help="Only this clip; may be given several times.")
@click.option("--expression", metavar="ID|all", help="Which expression of each clip. Default: the first.")
@click.option("--columns", type=click.IntRange(1, 16), default=6, show_default=True, help="Frames per clip.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where sheet.png goes.")
@click.option(
    "--format", "suffix", type=click.Choice(["png", "jpg"]), default="png", show_default=True, help="Form of the sheet."
)
@options.json_option
@options.quiet_option
def overlay(
    pred: Path,
    benchmark: str | None,
    gt: Path | None,
    ignore_value: str | None,
    fps: float | None,
    clips: tuple[str, ...],
    expression: str | None,
    columns: int,
    out: Path,
    suffix: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw a contact sheet: target, Ignore, prediction, errors."""
    from refvps.predictions.problems import MISSING_CODES
    from refvps.predictions.submission import open_submission
    from refvps.report import gallery
    from refvps.report.sheet import contact_sheet

    if out.exists() and not out.is_dir():
        raise UsageError("--out is a folder.", where=[str(out)], fix="name a folder; the sheet is called sheet.png")
    bench = options.load_benchmark(benchmark, gt, ignore_value, fps)
    submission = open_submission(pred, bench)
    submission.problems.demote(MISSING_CODES).raise_for_errors()
    found = gallery.rows(bench, submission, clips, expression=expression, columns=columns)
    path = out / f"sheet.{suffix}"
    name = submission.name or pred.resolve().name
    contact_sheet(found, path, title=f"{name} on {bench.name}@{bench.version}")
    click.echo(json.dumps({"sheet": str(path), "rows": len(found)}) if as_json else path)
