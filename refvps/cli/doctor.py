"""``refvps doctor``."""

from __future__ import annotations

import json

import click

from refvps.cli import options


@click.command(epilog="Example: refvps doctor")
@click.option("--deep", is_flag=True, help="Compare every file of the registered data sets with its hash.")
@options.json_option
@options.quiet_option
def doctor(deep: bool, as_json: bool, quiet: bool) -> int:
    """Look at this installation and machine; one block for an issue.

    Nothing is changed and nothing heavy is imported. The home folder is shown as ~, secrets are never
    shown. Exit code 0 when nothing is wrong, 7 when something is; each problem says how to fix it.
    """
    from refvps.doctor import examine

    with options.progress_bar("hashing", " files", quiet or as_json or not deep) as progress:
        found = examine(deep=deep, progress=progress)
    click.echo(json.dumps(found.to_dict(), indent=1) if as_json else found.text())
    return 7 if found.problems else 0
