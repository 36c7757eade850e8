"""``refvps stats``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refvps.cli import options
from refvps.errors import CheckError, UsageError
from refvps.files import write_atomic
from refvps.types import Benchmark

if TYPE_CHECKING:
    from refvps.data.census.check import Finding
    from refvps.data.census.statistics import Areas, Statistics
    from refvps.data.census.versions import Comparison, Version

PLOTS = ("clip-lengths", "funnel")
PLOT_FORMATS, TABLE_FORMATS = ("pdf", "png", "svg"), ("text", "markdown", "latex", "csv")


@click.command(epilog="Example: refvps stats sample --plot clip-lengths --format png")
@click.argument("name", required=False, metavar="[NAME[@VERSION]]", shell_complete=options.complete_benchmarks)
@click.option(
    "--gt",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Ground truth of any dataset: DIR/<video>/<frame>.png or DIR/<video>/<expression>/<frame>.png.",
)
@click.option("--ignore-value", metavar="N|none", help="Value of Ignore pixels in --gt.")
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), help="Frame rate of --gt.")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Count the lists in DIR (clips.jsonl, expressions.jsonl, candidates.jsonl) without registering it.",
)
@click.option("--masks", is_flag=True, help="Decode the masks, too: share of Ignore and of the targets.")
@click.option(
    "--expect", metavar="VERSION", help="Compare with what the paper prints: v1 or v2. Exit 7 if they differ."
)
@click.option("--plot", type=click.Choice(PLOTS), help="Draw clip-lengths or funnel.")
@click.option(
    "--format",
    "form",
    type=click.Choice((*TABLE_FORMATS, *PLOT_FORMATS)),
    help="A table as text (default), markdown, latex or csv; a plot as pdf (default), png or svg.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE|DIR", help="File of a table; folder of plots (figures)."
)
@click.option("--force", is_flag=True, help="Replace a file with other content.")
@options.jobs_option
@options.json_option
@options.quiet_option
def stats(
    name: str | None,
    gt: Path | None,
    ignore_value: str | None,
    fps: float | None,
    manifest: Path | None,
    masks: bool,
    expect: str | None,
    plot: str | None,
    form: str | None,
    out: Path | None,
    force: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Count a benchmark: its table, clip lengths, what was found and kept.

    Everything is counted from the lists of clips and expressions; masks are decoded with --masks only.
    """
    from refvps.data.census import funnel
    from refvps.data.census import statistics as census
    from refvps.data.census.versions import compare, version_named

    _check_usage(name, gt, manifest, masks, expect, plot, form)
    version = version_named(expect) if expect is not None else None
    if manifest is not None:
        bench = census.listed(manifest)
    else:
        bench = options.load_benchmark(name, gt, ignore_value, fps, options.job_count(jobs))
    folder = manifest or (None if gt is not None else census.manifest_folder(bench))
    known = census.clip_records(folder)
    known = tuple(record for record in known if record.clip.id in bench.clips)
    counted = census.statistics(bench, known)
    title = f"{bench.name}@{bench.version}"
    if plot is not None:
        _plot(plot, bench, counted, folder, form or "pdf", out or Path("figures"), force, as_json, quiet)
        return
    areas = None
    if masks:
        with options.progress_bar("counting", " clips", quiet or as_json) as progress:
            areas = census.areas(bench, jobs=options.job_count(jobs), progress=progress)
    found = census.candidates(folder)
    compared = compare(version, counted.figures() | funnel.figures(found)) if version is not None else ()
    findings = _findings(bench, folder) if version is not None else ()
    if as_json:
        content: dict[str, Any] = {
            "benchmark": {"name": bench.name, "version": bench.version, "digest": bench.digest},
            "statistics": census.plain(counted, areas),
            "funnel": [asdict(stage) for stage in funnel.funnel(found, bench.clips)] if found else [],
        }
        if version is not None:
            rows = [{**asdict(each.fact), "counted": each.counted, "agrees": each.agrees} for each in compared]
            content["expected"] = {"version": version.version, "source": version.source, "notes": version.notes}
            content |= {"compared": rows, "findings": [asdict(finding) for finding in findings]}
        _put(json.dumps(content, indent=1, ensure_ascii=False) + "\n", out, force, quiet)
    else:
        _put(_table(title, counted, areas, version, compared, form or "text"), out, force, quiet)
        for note in [*bench.notes, *(version.notes if version is not None else ())]:
            options.say(f"note: {note}", quiet)
        for finding in findings:
            options.say(str(finding), quiet)
    if differ := [each for each in compared if each.agrees is False]:
        raise CheckError(
            f"{title} is not what the paper prints about {expect}.",
            where=[f"{each.fact.figure}: counted {each.counted}, printed {each.fact.printed}" for each in differ],
            fix="see the table; a part or another version of the data set has other figures",
        )


def _check_usage(
    name: str | None,
    gt: Path | None,
    manifest: Path | None,
    masks: bool,
    expect: str | None,
    plot: str | None,
    form: str | None,
) -> None:
    if sum(value is not None for value in (name, gt, manifest)) > 1:
        raise UsageError("Name one data set: NAME, --gt or --manifest.", fix="drop the others")
    if plot is not None and (masks or expect is not None):
        raise UsageError("--plot draws and counts nothing else.", fix="drop --masks and --expect, or --plot")
    if masks and manifest is not None:
        raise UsageError("--manifest reads no masks.", fix="drop --masks, or register the data set")
    if form is not None and (form in PLOT_FORMATS) != (plot is not None):
        forms = ", ".join(PLOT_FORMATS if plot is not None else TABLE_FORMATS)
        raise UsageError(f"--format {form} does not fit here.", fix=f"one of {forms}")


def _findings(bench: Benchmark, folder: Path | None) -> tuple[Finding, ...]:
    """What breaks the rules of the paper in the lists of a benchmark that has some."""
    from refvps.data.census import check
    from refvps.data.census import statistics as census

    records = tuple(record for record in census.clip_records(folder) if record.clip.id in bench.clips)
    said = (each for each in census.expression_records(folder) if each.expression.clip in bench.clips)
    return check.check(records, said, candidates=census.candidates(folder)) if records else ()


def _table(
    title: str,
    counted: Statistics,
    areas: Areas | None,
    version: Version | None,
    compared: Sequence[Comparison],
    form: str,
) -> str:
    from refvps.report.dataset import table

    write = table.FORMATS[form]
    own = write(table.rows(counted, areas))
    if version is None:
        return f"{title}\n\n{own}" if form == "text" else own
    printed = write(table.comparison_rows(compared, version.version))
    return f"{title}\n\n{own}\nprinted in {version.source}:\n\n{printed}" if form == "text" else printed


def _plot(
    plot: str,
    bench: Benchmark,
    counted: Statistics,
    folder: Path | None,
    form: str,
    out: Path,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    from refvps.data.census import funnel
    from refvps.data.census import statistics as census
    from refvps.report.dataset import funnel as drawn_funnel
    from refvps.report.dataset import lengths
    from refvps.report.figures.style import encoded

    if out.exists() and not out.is_dir():
        raise UsageError("--out is a folder.", where=[str(out)], fix="name a folder; plots get their own names")
    title = f"{bench.name}@{bench.version}"
    if plot == "funnel":
        stages = funnel.funnel(census.candidates(folder), bench.clips)
        drawing = drawn_funnel.draw(stages, title)
    else:
        drawing = lengths.draw(counted.lengths, title, counted.clips - len(counted.lengths))
    path = out / f"{plot}-{title}.{form}"
    _write(path, encoded(drawing.figure, form), force)
    click.echo(json.dumps({**drawing.data, "file": str(path)}, indent=1, ensure_ascii=False) if as_json else path)
    for note in drawing.notes:
        options.say(f"note: {note}", quiet)


def _put(text: str, out: Path | None, force: bool, quiet: bool) -> None:
    if out is None:
        click.echo(text, nl=False)
        return
    _write(out, text.encode(), force)
    options.say(f"wrote {out}", quiet)


def _write(path: Path, data: bytes, force: bool) -> None:
    """Write a file unless other content is there."""
    if path.is_dir() or (path.exists() and path.read_bytes() != data and not force):
        raise UsageError("Something else is there already.", where=[str(path)], fix="pass --force, or another --out")
    write_atomic(path, data)
