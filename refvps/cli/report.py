"""``refvps report``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from refvps.cli import options
from refvps.errors import UsageError

EXAMPLES = "refvps report --plot concept-coverage, or refvps report --table main"


def _complete(kind: str) -> Any:
    def names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        return [name for name in _known(kind) if name.startswith(incomplete)]

    return names


@click.command(epilog="Example: refvps report --plot concept-coverage results/ --sort own --format svg")
@click.argument("results", nargs=-1, type=click.Path(path_type=Path), metavar="[RESULT|DIR]...")
@click.option("--plot", metavar="NAME", shell_complete=_complete("plot"), help="Draw concept-coverage or j-vs-tc.")
@click.option("--table", metavar="NAME", shell_complete=_complete("table"), help="Print the table main or reported.")
@click.option("-b", "--benchmark", metavar="NAME", help="Only results on this benchmark, or on NAME@VERSION.")
@click.option(
    "--sort",
    metavar="METHOD|own",
    help="Sort concepts by J of METHOD, or each method by its own. Default: the method with the highest mean J.",
)
@click.option(
    "--column", type=click.Choice(["single", "double"]), help="Print width: one column (3.25 in) or both (6.875 in)."
)
@click.option(
    "--format",
    "form",
    metavar="FORM",
    help="A plot as pdf (default), png or svg; a table as text (default), markdown, latex or csv.",
)
@click.option("--no-reported", is_flag=True, help="Leave out the figures that papers report.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR|FILE", help="Folder of plots (default: figures) or file."
)
@click.option("--force", is_flag=True, help="Replace a file with other content.")
@options.json_option
@options.quiet_option
def report(
    results: tuple[Path, ...],
    plot: str | None,
    table: str | None,
    benchmark: str | None,
    sort: str | None,
    column: str | None,
    form: str | None,
    no_reported: bool,
    out: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Plots and tables for papers, from results.

    Reads the results named, those below the folders named, or all of results/. Results on different content
    or scored by different rules never share a figure or a column. --json prints the data behind a plot or
    table.
    """
    if (plot is None) == (table is None):
        raise UsageError("One of --plot and --table is needed.", fix=EXAMPLES)
    if plot is not None:
        if no_reported:
            raise UsageError("--no-reported belongs to --table.", fix="drop it: plots show results only")
        _plot(results, _checked("plot", plot), benchmark, sort, column, form, out, force, as_json, quiet)
    elif table is not None:
        for name, value in (("--sort", sort), ("--column", column)):
            if value is not None:
                raise UsageError(f"{name} belongs to --plot.", fix="drop it: tables are ordered by J")
        _table(results, _checked("table", table), benchmark, form, not no_reported, out, force, as_json, quiet)


def _plot(
    results: Sequence[Path],
    name: str,
    benchmark: str | None,
    sort: str | None,
    column: str | None,
    form: str | None,
    out: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    from refvps.report.collection import collect, find
    from refvps.report.figures import PLOTS, Options
    from refvps.report.figures.style import FORMATS, encoded

    plot = PLOTS[name]
    suffix = _form(form or "pdf", FORMATS, "plot")
    if sort is not None and not plot.sorts:
        raise UsageError(f"{name} has nothing to sort.", fix="drop --sort")
    folder = out if out is not None else Path("figures")
    if folder.exists() and not folder.is_dir():
        raise UsageError("--out is a folder.", where=[str(folder)], fix="name a folder; plots get their own names")
    groups = collect(find(results), benchmark)
    files: dict[Path, bytes] = {}
    data: list[dict[str, Any]] = []
    notes: list[str] = []
    skipped: list[UsageError] = []
    for group in groups:
        try:
            drawing = plot.draw(group, Options(sort, column or plot.column))
        except UsageError as error:
            if len(groups) == 1 or sort is not None:
                raise
            skipped.append(error)
            continue
        path = folder / f"{name}-{group.file_name}.{suffix}"
        files[path] = encoded(drawing.figure, suffix)
        data.append({**drawing.data, "file": str(path), "notes": list(drawing.notes)})
        notes += [f"{group.title}: {note}" for note in drawing.notes]
    if not files:
        raise skipped[0]
    _write(files, force)
    if as_json:
        click.echo(json.dumps(data, indent=1, ensure_ascii=False))
    else:
        for path in files:
            click.echo(path)
    for note in [*notes, *(f"no figure of {'; '.join(e.where)}: {e.what}" for e in skipped)]:
        options.say(f"note: {note}", quiet)


def _table(
    results: Sequence[Path],
    name: str,
    benchmark: str | None,
    form: str | None,
    with_reported: bool,
    out: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    from refvps.data.reported import Reported, load_reported
    from refvps.report.board import TABLES
    from refvps.report.board.formats import FORMATS, plain, write
    from refvps.report.collection import collect, find

    table = TABLES[name]
    chosen = _form(form or "text", tuple(FORMATS), "table")
    if not table.needs_results and (results or not with_reported):
        raise UsageError(f"The table {name} shows reported figures only.", fix=f"refvps report --table {name}")
    groups = collect(find(results), benchmark) if table.needs_results else []
    reported = load_reported() if with_reported else Reported((), {}, {})
    boards = table.build(groups, reported, benchmark)
    if not boards:
        known = sorted({figure.benchmark for figure in reported.figures if figure.benchmark})
        raise UsageError(
            "No paper reports scores on this benchmark.", where=[f"{benchmark!a}"], fix=f"there are {', '.join(known)}"
        )
    written = write(boards, chosen)
    if out is not None:
        if out.is_dir():
            raise UsageError("--out is a file here.", where=[str(out)], fix="name the file of the table")
        _write({out: written.encode("utf-8")}, force)
    if as_json:
        click.echo(json.dumps(plain(boards), indent=1, ensure_ascii=False))
    elif out is not None:
        click.echo(out)
    else:
        click.echo(written, nl=False)
    if chosen == "csv":
        for note in dict.fromkeys(note for board in boards for note in board.notes):
            options.say(f"note: {note}", quiet)


def _known(kind: str) -> list[str]:
    if kind == "plot":
        from refvps.report.figures import PLOTS

        return list(PLOTS)
    from refvps.report.board import TABLES

    return list(TABLES)


def _checked(kind: str, name: str) -> str:
    known = _known(kind)
    if name in known:
        return name
    close = get_close_matches(name.lower(), known, 1, 0.4)
    raise UsageError(
        f"There is no {kind} of this name.",
        where=[ascii(name)[:100]],
        fix=(f"did you mean {close[0]}? " if close else "") + f"known: {', '.join(known)}",
    )


def _form(form: str, known: Sequence[str], kind: str) -> str:
    if form in known:
        return form
    close = get_close_matches(form.lower(), known, 1, 0.4)
    raise UsageError(
        f"A {kind} is not written in this form.",
        where=[ascii(form)[:100]],
        fix=(f"did you mean {close[0]}? " if close else "") + f"one of {', '.join(known)}",
    )


def _write(files: Mapping[Path, bytes], force: bool) -> None:
    """Write all files or none: the same bytes again are a no-op, others are refused unless ``force``."""
    from refvps.files import write_atomic

    there = {path: path.read_bytes() if path.exists() else None for path in files}
    other = [str(path) for path, data in files.items() if there[path] not in (None, data)]
    if other and not force:
        raise UsageError("Another file is already there.", where=other, fix="pass --force to replace it, or --out")
    for path, data in files.items():
        if there[path] != data:
            write_atomic(path, data)
