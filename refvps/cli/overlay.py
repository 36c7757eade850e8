"""``refvps overlay``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from refvps.cli import options
from refvps.errors import UsageError


@click.command(epilog="Example: refvps overlay --pred preds/ -b sample --clip candle-wax --out sheets/")
@click.option("--pred", type=click.Path(path_type=Path), required=True, metavar="DIR|ZIP", help="Predictions to draw.")
@options.benchmark_options
@click.option("--clip", "clips", multiple=True, metavar="CLIP", help="Only this clip; may be given several times.")
@click.option("--expression", metavar="ID|all", help="Which expression of each clip. Default: the first.")
@click.option("--columns", type=click.IntRange(1, 16), default=6, show_default=True, help="Frames per clip.")
@click.option(
    "--film/--no-film",
    default=None,
    help="Films too: DIR/films/CLIP/EXPRESSION.webm, every frame. Default: for clips named with --clip.",
)
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
    film: bool | None,
    out: Path,
    suffix: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw a contact sheet and films: target, Ignore, prediction, errors.

    Blue was found, vermilion wrongly marked, yellow missed; the white line is the outline of the target, and
    what is hatched is Ignore. A film shows every frame of its clip; where only some are annotated, their
    masks are held and the caption says so.
    """
    from refvps.predictions.problems import MISSING_CODES
    from refvps.predictions.submission import open_submission
    from refvps.report import gallery
    from refvps.report.film import write_films
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
    films: list[Path] = []
    if film or (film is None and clips):
        chosen = gallery.chosen_expressions(bench, clips, expression)
        frames = sum(len(bench.clips[clip].frames) for clip in chosen)
        with options.progress_bar("films", " frames", quiet or as_json) as progress:
            before = 0
            for clip, expressions in chosen.items():
                films += write_films(
                    bench, submission, clip, expressions, out / "films", _shifted(progress, before, frames)
                )
                before += len(bench.clips[clip].frames)
    if as_json:
        click.echo(json.dumps({"sheet": str(path), "rows": len(found), "films": [str(film) for film in films]}))
    else:
        click.echo("\n".join(str(each) for each in (path, *films)))


def _shifted(progress: options.Progress | None, before: int, total: int) -> options.Progress | None:
    """Progress of one clip as part of all of them."""
    return None if progress is None else lambda done, _: progress(before + done, total)
