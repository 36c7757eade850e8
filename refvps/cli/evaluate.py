"""``refvps evaluate``."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refvps.cli import options
from refvps.errors import UsageError
from refvps.types import Rules

if TYPE_CHECKING:
    from refvps.run.protocols import ProtocolEvaluation

PROTOCOLS = ("refvps", "davis17-unsupervised", "davis17-semisupervised", "vos-benchmark", "sav", "ref-davis")


@click.command(epilog="Example: refvps evaluate --pred preds/ -b sample --metrics J,F,TC --out results/")
@click.option(
    "--pred",
    type=click.Path(path_type=Path),
    metavar="DIR|ZIP",
    help="Predictions, in any form that docs/submission.md lists.",
)
@click.option(
    "--from-counts", type=click.Path(path_type=Path), metavar="FILE", help="Score a .counts.npz again instead of masks."
)
@options.benchmark_options
@click.option(
    "--metrics", metavar="A,B", shell_complete=options.complete_metrics, help="Metrics to report. Default: J,TC."
)
@click.option(
    "--missing", type=click.Choice(["error", "zero"]), help="A frame without prediction stops (default) or scores 0."
)
@click.option(
    "--ignore",
    "--void",
    "ignore",
    type=click.Choice(["drop", "ignore", "background", "target"]),
    callback=lambda ctx, param, value: "drop" if value == "ignore" else value,
    help="What Ignore pixels (void) count as; ignore is the same as drop. Default: the benchmark's rule, mostly drop.",
)
@click.option(
    "--average",
    type=click.Choice(["frame>expression>clip", "frame>clip>concept", "frame>object", "frame>expression"]),
    help="Order of the means.",
)
@click.option(
    "--without", multiple=True, metavar="CLIP", help="Leave out a clip, as if the benchmark had never had it."
)
@click.option(
    "--draws", type=click.IntRange(min=0, max=1_000_000), help="Bootstrap draws and sign flips. Default: 10000."
)
@options.seed_option
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    help="Score as another tool does (docs/protocols.md). Default: refvps; for the benchmark ref-davis, ref-davis.",
)
@click.option(
    "--sequences",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --protocol: only the videos in this list, such as ImageSets/2017/val.txt.",
)
@click.option(
    "--shared-videos", is_flag=True, help="With vos-benchmark, sav: only videos with predictions, as without --strict."
)
@click.option("--keep-ends", is_flag=True, help="With vos-benchmark, sav: score the first and the last frame, too.")
@click.option("--method", metavar="NAME", help="Name of the result. Default: run.json's, else the folder's.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Where results go."
)
@click.option("--force", is_flag=True, help="Replace another result of the same name.")
@click.option("--concepts", is_flag=True, help="Print the table by concept, too.")
@options.jobs_option
@options.json_option
@options.quiet_option
def evaluate(
    pred: Path | None,
    from_counts: Path | None,
    benchmark: str | None,
    gt: Path | None,
    ignore_value: str | None,
    fps: float | None,
    metrics: str | None,
    missing: str | None,
    ignore: str | None,
    average: str | None,
    without: tuple[str, ...],
    draws: int | None,
    seed: int,
    protocol: str | None,
    sequences: Path | None,
    shared_videos: bool,
    keep_ends: bool,
    method: str | None,
    out: Path,
    force: bool,
    concepts: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score predictions and write the result with its counts.

    Everything is validated first; nothing is skipped, guessed or overwritten. Writes
    OUT/<benchmark>@<version>/<method>.json and .counts.npz. Scores are fractions in files and percent on
    screen, with 95 % intervals over source videos. --protocol scores two folders as another tool does.
    """
    from refvps.report import protocol_table, table
    from refvps.run import evaluate as run
    from refvps.run import protocols, results
    from refvps.run.score import check_metrics

    started = time.perf_counter()
    chosen = {
        "metrics": check_metrics(options.names_option(metrics)) if metrics is not None else None,
        "missing": missing,
        "ignore": ignore,
        "average": average,
        "draws": draws,
        "seed": seed,
    }
    given: dict[str, Any] = {key: value for key, value in chosen.items() if value is not None}
    if (pred is None) == (from_counts is None):
        raise UsageError("One of --pred and --from-counts is needed.", fix="refvps evaluate --pred preds/")
    if out.exists() and not out.is_dir():
        raise UsageError("--out is a folder.", where=[str(out)], fix="name a folder; results get their own names")
    block = None
    done: run.Evaluation | protocols.ProtocolEvaluation
    if protocol in protocols.TOOLS:
        unused = {"--benchmark": benchmark, "--ignore-value": ignore_value, "--metrics": metrics, "--missing": missing,
                  "--ignore": ignore, "--average": average, "--without": without, "--concepts": concepts}  # fmt: skip
        if given_anyway := [name for name, value in unused.items() if value]:
            raise UsageError(
                "A protocol fixes these rules itself.",
                where=given_anyway,
                fix=f"drop them: refvps evaluate --protocol {protocol} --gt gt/ --pred preds/",
            )
        done = _by_protocol(
            protocol,
            gt,
            pred,
            from_counts,
            sequences,
            shared_videos,
            keep_ends,
            fps,
            method,
            draws,
            seed,
            jobs,
            quiet or as_json,
        )
    elif protocol == "ref-davis" and (gt or (benchmark not in (None, "ref-davis"))):
        raise UsageError(
            "The protocol ref-davis belongs to the benchmark ref-davis.",
            where=[str(gt or benchmark)],
            fix="refvps evaluate --protocol ref-davis -b ref-davis --pred preds/",
        )
    elif sequences or shared_videos or keep_ends:
        raise UsageError(
            "--sequences, --shared-videos and --keep-ends belong to the protocol of another tool.",
            fix="add --protocol NAME, or drop them",
        )
    elif from_counts is not None:
        if benchmark or gt or fps or ignore_value:
            raise UsageError("Counts carry their benchmark.", fix="drop -b, --gt, --fps and --ignore-value")
        if protocol == "ref-davis" or (protocol is None and run.protocol_of(from_counts) == "ref-davis"):
            _refuse_rules(chosen, without, concepts)
            done = protocols.rescore_refdavis(from_counts, method=method, draws=draws, seed=seed)
        else:
            base, said = run.rules_beside(from_counts)
            options.say(said, quiet or not said)
            done = run.evaluate_counts(from_counts, replace(base, **given), method=method, without=without)
    else:
        assert pred is not None
        processes = options.job_count(jobs)
        name = benchmark or ("ref-davis" if protocol == "ref-davis" else None)
        bench = options.load_benchmark(name, gt, ignore_value, fps, processes)
        with options.progress_bar("counting", " masks", quiet or as_json) as progress:
            if protocol == "ref-davis" or (protocol is None and bench.name == "ref-davis"):
                _refuse_rules(chosen, without, concepts)
                done = protocols.evaluate_refdavis(
                    bench, pred, method=method, draws=draws, seed=seed, jobs=processes, progress=progress
                )
            else:
                rules = replace(bench.rules, **given)
                done = run.evaluate_submission(
                    bench, pred, rules, method=method, jobs=processes, without=without, progress=progress
                )
    if isinstance(done, protocols.ProtocolEvaluation):
        block = done.protocol
    path, data = results.write_result(
        done.scores,
        done.counts,
        done.rules,
        out,
        inputs=done.inputs,
        timings={"seconds": round(time.perf_counter() - started, 3)},
        force=force,
        protocol=block,
    )
    if done.report.problems:
        options.say(done.report.text(), quiet)
    if as_json:
        click.echo(path.read_text(encoding="utf-8"), nl=False)
    else:
        click.echo(protocol_table.protocol_table(data) if block else table.result_table(data, concepts=concepts))
    options.say(f"wrote {path} and {data['counts']['file']}", quiet)


def _refuse_rules(chosen: dict[str, Any], without: tuple[str, ...], concepts: bool) -> None:
    """Raise UsageError for rules that the protocol of Ref-DAVIS fixes."""
    fixed = {name: chosen[name] for name in ("metrics", "missing", "ignore", "average")}
    fixed |= {"without": without or None, "concepts": concepts or None}
    if anyway := [f"--{name}" for name, value in fixed.items() if value is not None]:
        raise UsageError(
            "The protocol of Ref-DAVIS fixes these rules itself.",
            where=anyway,
            fix="drop them, or score sentence by sentence with --protocol refvps",
        )


def _by_protocol(
    name: str,
    gt: Path | None,
    pred: Path | None,
    from_counts: Path | None,
    sequences: Path | None,
    shared: bool,
    keep_ends: bool,
    fps: float | None,
    method: str | None,
    draws: int | None,
    seed: int,
    jobs: int | None,
    hidden: bool,
) -> ProtocolEvaluation:
    from refvps.run import protocols

    draws = Rules().draws if draws is None else draws
    if from_counts is not None:
        if gt or sequences or shared or keep_ends or fps:
            raise UsageError(
                "Counts carry their ground truth and their rules.",
                fix="drop --gt, --fps, --sequences, --shared-videos and --keep-ends",
            )
        return protocols.rescore(from_counts, name=name, method=method, draws=draws, seed=seed)
    if gt is None:
        raise UsageError(
            "A protocol needs ground truth in a folder.",
            fix=f"refvps evaluate --protocol {name} --gt gt/ --pred preds/",
        )
    assert pred is not None
    chosen = protocols.choose(name, keep_ends=keep_ends, shared=shared)
    listed = None if sequences is None else protocols.read_sequences(sequences)
    with options.progress_bar("counting", " videos", hidden) as progress:
        return protocols.evaluate_protocol(
            chosen,
            gt,
            pred,
            sequences=listed,
            shared=shared,
            fps=fps or 0.0,
            method=method,
            draws=draws,
            seed=seed,
            jobs=options.job_count(jobs),
            progress=progress,
        )
