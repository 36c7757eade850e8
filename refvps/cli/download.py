"""``refvps download``: for now, what is on this machine already."""

from __future__ import annotations

import json
from pathlib import Path

import click

from refvps.cli import options
from refvps.errors import DataMissingError


@click.command(epilog="Example: refvps download ref-vps --from ref-vps.zip")
@click.argument("name", default="ref-vps")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="DIR|ZIP",
    help="A copy you have: clips.jsonl, expressions.jsonl, masks/ and, for predicting, frames/.",
)
@options.jobs_option
@options.json_option
@options.quiet_option
def download(name: str, source: Path | None, jobs: int | None, as_json: bool, quiet: bool) -> None:
    """Put a benchmark on this machine.

    Ref-VPS has no public repository yet, so a copy must be named with --from; it is checked, given its
    digest and kept under REFVPS_HOME. Without --from the command exits 3 with the steps.
    """
    if source is None:
        raise DataMissingError(
            f"{name} has no public source that refvps knows of.",
            fix=f"register a copy: refvps download {name} --from DIR|ZIP; or score the embedded clips with -b sample",
        )
    from refvps.data.register import register

    with options.progress_bar("registering", " files", quiet or as_json) as progress:
        folder = register(source, name, jobs=options.job_count(jobs), progress=progress)
    if as_json:
        click.echo(json.dumps({"name": name, "folder": str(folder)}))
    options.say(f"registered {name} in {folder}", quiet)
