"""``baselines``: published methods in their own environments, and oracles."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from refvps.cli import run_command
from refvps.errors import UsageError

ORACLE_NAMES = ("gt", "copy-first", "static", "box", "shift", "mean-mask")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example: baselines oracle box -b sample --out box/",
)
@click.option("-v", "--verbose", is_flag=True, help="Show the traceback of a bug.")
def cli(verbose: bool) -> None:
    """What a table compares with. Predictors run through refvps: see refvps list predictors.

    Exit codes are those of refvps: 0 done, 1 a bug, 2 wrong usage, 3 something is not on this machine, 4 an
    input file cannot be used, 7 a check failed, 130 interrupted.
    """


@cli.command(epilog="Example: baselines run referformer --repo ReferFormer/ --weights FILE -b ref-vps --out preds/")
@click.argument("method")
@click.option(
    "--repo", type=click.Path(path_type=Path), metavar="DIR", help="A checkout of the method's repository, as it is."
)
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="A checkpoint of its authors.")
@click.option("-b", "--benchmark", default="ref-vps", show_default=True, metavar="NAME", help="Benchmark to predict.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where the masks go.")
@click.option("--work", type=click.Path(path_type=Path), metavar="DIR", help="Where it works. Default: beside --out.")
@click.option(
    "--python", default="python3", show_default=True, metavar="PATH", help="Python of the method's own environment."
)
@click.option("-o", "--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the recipe.")
@click.option("-q", "--quiet", is_flag=True, help="Do not show the log of the program; it is in the work folder.")
def run(
    method: str,
    repo: Path | None,
    weights: Path | None,
    benchmark: str,
    out: Path,
    work: Path | None,
    python: str,
    options: tuple[str, ...],
    quiet: bool,
) -> None:
    """Run a published method unchanged: export, run in its environment, check, import, in one command.

    METHOD: referformer, mutr, sgmg, uninext, vdit or rem; for mttr, samwise, sa2va and vlmo-l it says what to do.

    Without --repo, say what the method needs and which command would run. Its predictions come out complete,
    in the canonical form, or not at all: exit codes of foreign programs are not trusted.
    """
    from baselines.run import run as run_method

    ran = run_method(
        method,
        repo=repo,
        weights=weights,
        benchmark=benchmark,
        out=out,
        work=work,
        python=python,
        options=_pairs(options),
        progress=None if quiet else lambda line: click.echo(line, err=True),
    )
    click.echo(ran.next_step)


def _pairs(options: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in options:
        key, equals, value = pair.partition("=")
        if not equals or not key or key in found:
            raise UsageError("-o takes key=value, each key once.", where=[repr(pair)], fix="for example -o gpus=1")
        found[key] = value
    return found


@cli.command(epilog="Example: baselines oracle static -b sample --out static/")
@click.argument("name", type=click.Choice(ORACLE_NAMES))
@click.option("-b", "--benchmark", default="ref-vps", show_default=True, metavar="NAME", help="Benchmark to answer.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where the masks go.")
@click.option("--shift", type=int, default=1, show_default=True, help="Frames of delay, for the oracle shift.")
@click.option("--force", is_flag=True, help="Overwrite what is in --out.")
def oracle(name: str, benchmark: str, out: Path, shift: int, force: bool) -> None:
    """Answer a benchmark from its own ground truth: ceilings and checks, marked as such.

    gt: the truth. copy-first: its first mask, kept. static: the best mask that never moves. box: bounding boxes,
    filled. shift: the truth, late. mean-mask: where targets are in the other videos. Results are called
    oracle-NAME.
    """
    import refvps
    from baselines.oracles import write_oracle

    write_oracle(name, refvps.load(benchmark), out, shift=shift, force=force)
    click.echo(f"oracle-{name} answered {benchmark} from its own ground truth, in {out}", err=True)


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with the codes of refvps."""
    sys.exit(run_command(cli, "baselines", args, interrupted="the same command starts over"))
