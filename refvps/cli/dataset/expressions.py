"""``refvps expressions``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from refvps.cli import options


@click.command(epilog="Example: refvps expressions vspw --style clean")
@click.argument("name", type=click.Choice(["burst", "vspw"]))
@click.option(
    "--style",
    type=click.Choice(["raw", "clean"]),
    default="raw",
    show_default=True,
    help="raw: the data set's own names, as REM's code used them; clean: readable, different for every class.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write JSON lines there instead."
)
@options.json_option
@options.quiet_option
def expressions(name: str, style: str, out: Path | None, as_json: bool, quiet: bool) -> None:
    """List the sentences "the <class>" of BURST or of VSPW's stuff classes.

    They come from a table that ships with refvps; its SHA-256 is printed. BURST's are those of TAO's 1,230
    categories, of which a copy of the annotations uses some; VSPW's are the 66 stuff classes. Scores of the two
    styles are not comparable.
    """
    from refvps.data.importers import classes
    from refvps.files import write_json_lines

    table = classes.load_table(name)
    rows = [row for row in table.rows.values() if name == "burst" or row.stuff]
    said = {row.id: classes.sentence(row.raw if style == "raw" else row.clean) for row in rows}
    listed = [{"id": row.id, "class": row.raw, "text": said[row.id], "style": style} for row in rows]
    if out is not None:
        write_json_lines(out, listed)
        options.say(f"wrote {out}", quiet)
    elif as_json:
        about = {"name": name, "style": style, "table_sha256": table.sha256, "expressions": listed}
        click.echo(json.dumps(about, indent=1, ensure_ascii=False))
    else:
        click.echo("\n".join(f"{key}\t{text}" for key, text in said.items()))
    kept = ", ".join(classes.collisions(table)) if style == "clean" else ""
    told = f"; brackets are kept for {kept}, which several classes are called without them" if kept else ""
    options.say(f"{len(rows):,} expressions, style {style}, table {table.sha256}{told}", quiet)
