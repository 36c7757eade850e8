"""``refvps export``: benchmarks, predictions and results in the forms that other people's code reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from refvps.cli import options
from refvps.errors import UsageError
from refvps.types import Benchmark

BENCHMARK_LAYOUTS = (
    "ref-vps", "davis", "ignore-folder", "expression-folders", "mevis", "ytvis", "sav", "ytvos", "uninext", "davis4",
    "davis4-480p",
)  # fmt: skip
PREDICTION_LAYOUTS = ("tree", "annotations", "ids", "anno", "anno-ids", "rem-burst", "rem-vspw", "json", "npz")
RESULT_LAYOUTS = ("davis-csv", "csv")


@click.command(epilog="Example: refvps export predictions --pred preds/ -b ref-ytvos --layout annotations --out yt.zip")
@click.argument("what", type=click.Choice(["benchmark", "predictions", "results"]))
@click.argument("result", required=False, type=click.Path(path_type=Path))
@click.option("--layout", required=True, metavar="NAME", help="Which form; docs/layouts.md lists them.")
@click.option("--pred", type=click.Path(path_type=Path), metavar="DIR|ZIP", help="Predictions to export.")
@options.benchmark_options
@click.option(
    "--frames",
    type=click.Choice(["copy", "link", "none"]),
    default="copy",
    show_default=True,
    help="Frames of a benchmark: copied, hard-linked where the file system can, or left out.",
)
@click.option(
    "--window",
    type=click.IntRange(1),
    metavar="N",
    help="ytvos, uninext: cut clips into pseudo-videos of at most N frames.",
)
@click.option("--masks/--no-masks", default=True, help="Ground truth of a benchmark, in layouts that hold it.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR|ZIP|FILE", help="Must not exist.")
@options.json_option
@options.quiet_option
def export(
    what: str,
    result: Path | None,
    layout: str,
    pred: Path | None,
    benchmark: str | None,
    gt: Path | None,
    ignore_value: str | None,
    fps: float | None,
    frames: str,
    window: int | None,
    masks: bool,
    out: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a benchmark, predictions or a result in another layout.

    WHAT is benchmark, predictions (with --pred) or results (with the path of a RESULT). The output appears whole or
    not at all; nothing is overwritten.
    """
    known = {"benchmark": BENCHMARK_LAYOUTS, "predictions": PREDICTION_LAYOUTS, "results": RESULT_LAYOUTS}[what]
    if layout not in known:
        raise UsageError(
            f"There is no such layout of {what}.", where=[repr(layout)[:80]], fix="one of " + ", ".join(known)
        )
    if (what == "predictions") != (pred is not None):
        raise UsageError("--pred goes with predictions.", fix="refvps export predictions --pred preds/ --layout tree")
    if (what == "results") != (result is not None):
        raise UsageError("A result file goes with results.", fix="refvps export results RESULT --layout davis-csv")
    if what == "results":
        assert result is not None
        files = _results(result, layout, out)
    elif what == "benchmark":
        loaded = options.load_benchmark(benchmark, gt, ignore_value, fps)
        files = _benchmark(loaded, layout, out, frames, masks, window, quiet)
    else:
        assert pred is not None
        files = _predictions(options.load_benchmark(benchmark, gt, ignore_value, fps), pred, layout, out)
    if as_json:
        click.echo(json.dumps({"out": str(out), "layout": layout, "files": files}))
    else:
        click.echo(out)
    options.say(f"wrote {files:,} files", quiet)


def _benchmark(
    benchmark: Benchmark, layout: str, out: Path, frames: Any, masks: bool, window: int | None, quiet: bool
) -> int:
    from refvps.export import export_benchmark

    with options.progress_bar("exporting", " clips", quiet) as progress:
        return export_benchmark(benchmark, out, layout, frames=frames, masks=masks, window=window, progress=progress)


def _predictions(benchmark: Benchmark, pred: Path, layout: str, out: Path) -> int:
    from refvps.predictions.export import export as write
    from refvps.predictions.submission import open_submission

    submission = open_submission(pred, benchmark)
    submission.problems.raise_for_errors(whole=True)
    return write(out, benchmark, submission.reader, layout)


def _results(path: Path, layout: str, out: Path) -> int:
    """Rows of a result: ``csv`` with every metric and exact fractions, ``davis-csv`` as the tools of DAVIS write it."""
    import csv
    import io

    from refvps.files import write_atomic
    from refvps.run.results import read_result

    if out.exists():
        raise UsageError("The output exists.", where=[str(out)], fix="choose another --out, or remove it")
    result = read_result(path)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    if layout == "davis-csv":
        if not {"J", "F"} <= set(result.rules.metrics):
            raise UsageError(
                "DAVIS' table needs J and F.", where=[str(path)], fix="evaluate with --metrics J,F,TC and export that"
            )
        writer.writerow(["Sequence", "J-Mean", "F-Mean"])
        for row in result.rows:
            writer.writerow([f"{row.clip}_{row.expression}", *(f"{_number(row.values[name])}" for name in ("J", "F"))])
    else:
        metrics = result.rules.metrics
        about = ("clip", "expression", "target", "concept", "group", "frames", "missing")
        writer.writerow([*about, *metrics])
        for row in result.rows:
            told = [_text(getattr(row, name)) for name in about]
            writer.writerow([*told, *(_number(row.values[name]) for name in metrics)])
    write_atomic(out, stream.getvalue().encode("utf-8"))
    return 1


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def _text(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = str(value)
    return f"'{text}" if text[:1] in "=+-@\t\r" and not text.lstrip("-").isdigit() else text
