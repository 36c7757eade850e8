"""``refvps compare``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from refvps.cli import options
from refvps.errors import UsageError, WorseError


@click.command(epilog="Example: refvps compare results/sample@1/motion.json results/sample@1/mine.json")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="A.json B.json ...")
@click.option(
    "--fail-if-worse", is_flag=True, help="Exit 6 when a later result is significantly worse than the first (p < 0.05)."
)
@click.option(
    "--clips",
    "most",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="How many clips that moved most to show.",
)
@options.json_option
def compare(results: tuple[Path, ...], fail_if_worse: bool, most: int, as_json: bool) -> None:
    """Paired difference of results: interval, p, per concept.

    Every result is compared with the first. Where their signatures differ, all are scored again from
    their counts under the first one's rules, on the clips whose content is the same; without counts they
    are refused.
    """
    from refvps.metrics import METRICS
    from refvps.report import table
    from refvps.run.compare import compare as run
    from refvps.run.results import read_result

    if len(results) < 2:
        raise UsageError("Two results are needed to compare.", fix="refvps compare A.json B.json")
    comparison = run([read_result(path) for path in results])
    if as_json:
        click.echo(json.dumps(comparison.to_dict(), indent=1, sort_keys=True, ensure_ascii=False))
    else:
        click.echo(table.comparison_table(comparison, most=most))
    worse = [
        f"{name}: {one.metric} {table.number(one.metric, one.difference.value, sign=True)}, p {one.p_holm:.4f}"
        for name, differences in comparison.differences.items()
        for one in differences
        if one.p_holm is not None
        and one.p_holm < 0.05
        and one.difference.value
        and (one.difference.value < 0) == (METRICS[one.metric].better == "higher")
        and METRICS[one.metric].better != "-"
    ]
    if fail_if_worse and worse:
        raise WorseError(
            f"Significantly worse than {comparison.first}.", where=worse, fix="look at the clips that moved"
        )
