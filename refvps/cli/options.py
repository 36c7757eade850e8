"""Options that several commands share, and what they turn into."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import click

from refvps.errors import UsageError
from refvps.types import Benchmark

Command = Callable[..., Any]
Progress = Callable[[int, int], None]


def _complete(kind: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    def names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        if kind == "benchmarks":
            from refvps import data

            found = [row.name for row in data.names()]
        elif kind == "metrics":
            from refvps.metrics import METRICS

            found = list(METRICS)
        else:
            from refvps.run import predictors

            found = list(predictors.names())
        return [name for name in found if name.startswith(incomplete)]

    return names


complete_benchmarks = _complete("benchmarks")
complete_predictors = _complete("predictors")
complete_metrics = _complete("metrics")


def benchmark_options(command: Command, default: str = "ref-vps, when it is on disk") -> Command:
    """``--benchmark NAME`` or ``--gt DIR`` with what belongs to it; ``default`` is what the help says."""
    options = [
        click.option(
            "-b",
            "--benchmark",
            "benchmark",
            metavar="NAME",
            shell_complete=_complete("benchmarks"),
            help=f"Benchmark to use; see refvps list benchmarks. Default: {default}.",
        ),
        click.option(
            "--gt",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Ground truth of any dataset: DIR/<video>/<frame>.png or DIR/<video>/<expression>/<frame>.png.",
        ),
        click.option(
            "--ignore-value",
            metavar="N|none",
            help="Value of Ignore pixels in --gt. Default: 255, unless it is the only non-zero value.",
        ),
        click.option(
            "--fps", type=click.FloatRange(min=0, min_open=True), help="Annotation rate of --gt, for the signature."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def load_benchmark(
    benchmark: str | None, gt: Path | None, ignore_value: str | None, fps: float | None, jobs: int = 1
) -> Benchmark:
    """The benchmark that the shared options name."""
    from refvps import data

    if gt is None:
        if ignore_value is not None or fps is not None:
            raise UsageError("--ignore-value and --fps belong to --gt.", fix="add --gt DIR, or drop them")
        return data.load(benchmark or "ref-vps")
    if benchmark not in (None, "folder"):
        raise UsageError(f"--gt and --benchmark {benchmark} exclude each other.", fix="keep one of them")
    value: int | str | None = "auto"
    if ignore_value is not None:
        text = ignore_value.strip().lower()
        if text != "none" and not (text.isdigit() and 0 < int(text) <= 255):
            raise UsageError("--ignore-value is not a grey value.", where=[ignore_value], fix="1 to 255, or none")
        value = None if text == "none" else int(text)
    return data.load("folder", gt=gt, ignore_value=value, fps=fps, jobs=jobs)


def predictor_options(command: Command) -> Command:
    """``--predictor`` with what its loader is told."""
    options = [
        click.option(
            "-p",
            "--predictor",
            required=True,
            metavar="NAME",
            shell_complete=complete_predictors,
            help="A registered predictor, or module:attribute, or file.py:attribute.",
        ),
        click.option("--weights", metavar="FILE|REPO", help="Weights, for predictors that have some."),
        click.option("--device", metavar="NAME", help="Device, for predictors that compute on one."),
        click.option("--dtype", metavar="NAME", help="Number format, such as bf16, for predictors that have a choice."),
        click.option("-o", "--option", "extra", multiple=True, metavar="KEY=VALUE", help="An option of the predictor."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


jobs_option = click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    envvar="REFVPS_JOBS",
    show_envvar=True,
    help="Worker processes. Default: one per CPU. The result does not depend on it.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress, no notes; only results and errors.")
seed_option = click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    envvar="REFVPS_SEED",
    help="Seed of all random numbers.",
)


def job_count(jobs: int | None) -> int:
    """``--jobs``, or one process per CPU this process may use."""
    from refvps.home import cpu_count

    return jobs or cpu_count()


def names_option(text: str) -> list[str]:
    """A comma-separated option as a list."""
    return [name.strip() for name in text.split(",") if name.strip()]


@contextmanager
def prints_aside() -> Iterator[None]:
    """What a predictor prints goes to standard error, so that standard output holds the results alone."""
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def progress_bar(
    what: str, unit: str, quiet: bool, *, scale: bool = False, note: Callable[[], str] | None = None
) -> Iterator[Progress | None]:
    """A progress bar on standard error when that is a terminal; the callback takes (done, total).

    ``scale``: large numbers as k, M, G. ``note``: asked at every step for what to show behind the bar.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=what, unit=unit, file=sys.stderr, leave=False, dynamic_ncols=True, unit_scale=scale) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            if note is not None:
                bar.set_postfix_str(note(), refresh=False)
            bar.update(done - bar.n)

        yield show


def say(text: str, quiet: bool = False) -> None:
    """A line for people, on standard error."""
    if not quiet:
        click.echo(text, err=True)
