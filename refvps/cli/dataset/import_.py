"""``refvps import``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from refvps.cli import options

LAYOUTS = (
    "auto", "tree", "annotations", "ytvos", "davis4", "ids", "anno", "anno-ids", "rem-burst", "rem-vspw", "ytvis",
    "json",    "npz", "arrays", "canonical",
)  # fmt: skip


@click.command("import", epilog="Example: refvps import --layout davis4 referformer/ --out preds/ -b ref-vps")
@click.argument("path", type=click.Path(path_type=Path), metavar="DIR|ZIP")
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default="auto",
    show_default=True,
    help="Which layout the predictions must be in; docs/import.md lists them.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="New folder.")
@options.benchmark_options
@click.option("--method", metavar="NAME", default="", help="Who made them. Default: what their run.json says.")
@click.option(
    "--groups",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="groups.json of refvps export benchmark --layout davis4. Default: the one among the predictions.",
)
@click.option(
    "--questions",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="instances.json that a results.json (ytvis) answers. Default: the one beside it.",
)
@click.option(
    "--min-score", type=click.FloatRange(0, 1), help="ytvis: masklets below this score are left out. Default: 0.5."
)
@options.jobs_option
@options.json_option
@options.quiet_option
def import_(
    path: Path,
    layout: str,
    out: Path,
    benchmark: str | None,
    gt: Path | None,
    ignore_value: str | None,
    fps: float | None,
    method: str,
    groups: Path | None,
    questions: Path | None,
    min_score: float | None,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Read predictions of any layout into the canonical form.

    The mirror of refvps export predictions: DIR|ZIP is read completely, and --out gets <clip>.jsonl for every clip
    and run.json. All or nothing: a missing mask is an error with exit code 4 that names it.
    """
    from refvps.predictions.importing import import_predictions

    processes = options.job_count(jobs)
    bench = options.load_benchmark(benchmark, gt, ignore_value, fps, processes)
    with options.progress_bar("importing", " clips", quiet or as_json) as progress:
        done = import_predictions(
            path,
            bench,
            out,
            layout,
            method=method,
            groups=groups,
            questions=questions,
            min_score=min_score,
            jobs=processes,
            progress=progress,
        )
    if as_json:
        record = {
            "out": str(done.folder),
            "layout": done.layout,
            "clips": done.clips,
            "expressions": done.expressions,
            "masks": done.masks,
            "notes": list(done.notes),
        }
        click.echo(json.dumps(record, indent=1, ensure_ascii=False))
        return
    click.echo(done.folder)
    for note in done.notes:
        options.say(f"note: {note}", quiet)
    counted = f"{done.clips:,} clips, {done.expressions:,} expressions, {done.masks:,} masks"
    options.say(f"{done.layout}: {counted}", quiet)
