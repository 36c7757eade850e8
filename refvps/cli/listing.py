"""``refvps list``."""

from __future__ import annotations

import json
from typing import Any

import click

from refvps.cli import options


@click.command("list", epilog="Example: refvps list benchmarks")
@click.argument("what", type=click.Choice(["benchmarks", "predictors", "metrics"]))
@options.json_option
def listing(what: str, as_json: bool) -> None:
    """List benchmarks, predictors or metrics."""
    rows: list[dict[str, Any]]
    if what == "benchmarks":
        from refvps import data

        rows = [{"name": row.name, "description": row.description, "here": row.available} for row in data.names()]
    elif what == "predictors":
        from refvps.run import predictors

        rows = [{"name": name, "where": place} for name, place in predictors.registered().items()]
    else:
        from refvps.metrics import METRICS

        rows = [
            {"name": m.name, "meaning": m.meaning, "better": m.better, "source": m.source} for m in METRICS.values()
        ]
    if as_json:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    from refvps.report.table import grid

    head = list(rows[0])
    click.echo(grid([head, *([_cell(row[key]) for key in head] for row in rows)], left=len(head)))


def _cell(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
