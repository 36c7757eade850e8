"""``refvps list``."""

from __future__ import annotations

import json
from itertools import zip_longest
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from refvps.cli import options

if TYPE_CHECKING:
    from refvps.run.cards import Card


@click.command("list", epilog="Example: refvps list benchmarks")
@click.argument("what", type=click.Choice(["benchmarks", "predictors", "metrics"]))
@options.json_option
def listing(what: str, as_json: bool) -> None:
    """List benchmarks, predictors or metrics.

    Predictors with their licence, their weights, what they still need, and whether they can run here;
    nothing is imported for it. --json says more, such as the entry point.
    """
    rows: list[dict[str, Any]]
    if what == "benchmarks":
        from refvps import data

        rows = [{"name": row.name, "description": row.description, "here": row.available} for row in data.names()]
    elif what == "predictors":
        rows = _predictors(as_json)
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
    lines = [head, *([_cell(row[key]) for key in head] for row in rows)]
    if what == "predictors":
        lines = _folded(lines, get_terminal_size((100, 24)).columns)
    click.echo(grid(lines, left=len(head)))


def _predictors(full: bool) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from refvps.run.cards import cards

    if full:
        return [{**asdict(card), "installed": card.installed, "missing": card.missing} for card in cards()]
    return [
        {
            "name": card.name,
            "installed": card.installed,
            "licence": card.licence or "?",
            "weights": card.weights or card.description or "?",
            "needs": _needs(card),
        }
        for card in cards()
    ]


def _needs(card: Card) -> str:
    parts = [f"pip: {', '.join(card.missing)}"] if card.missing else []
    parts += [part for part in (card.hardware, "gated weights" if card.gated else "") if part]
    parts += [part for part in (card.recipe, card.reason, *card.flags) if part]
    return "; ".join(parts) or "-"


def _cell(value: Any) -> str:
    text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    return "".join(each if each.isprintable() else " " for each in text)  # packages write what they like


def _folded(rows: list[list[str]], width: int) -> list[list[str]]:
    """The same table in ``width`` columns: long cells go on in rows below, where all but theirs are empty."""
    first = [max(len(row[k]) for row in rows) for k in (0, 1)]
    rest = max(36, width - sum(first) - 2 * (len(rows[0]) - 1))
    widths = [*first, rest // 4, rest * 3 // 8, rest - rest // 4 - rest * 3 // 8]
    found = []
    for row in rows:
        cells = [wrap(cell, columns, break_on_hyphens=False) or [""] for cell, columns in zip(row, widths, strict=True)]
        found += [list(each) for each in zip_longest(*cells, fillvalue="")]
    return found
