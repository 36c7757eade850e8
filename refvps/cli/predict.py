"""``refvps predict``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refvps.cli import options
from refvps.errors import UsageError

if TYPE_CHECKING:
    from refvps.run.predict.live import LiveScore
    from refvps.types import Benchmark


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise UsageError("--shard is i/n with 1 <= i <= n.", where=[repr(text)], fix="for example --shard 1/8")
    return int(index), int(count)


def predictor_arguments(
    weights: str | None, device: str | None, dtype: str | None, extra: tuple[str, ...]
) -> dict[str, Any]:
    """What the options say to the loader of a predictor; only what was given."""
    given = {"weights": weights, "device": device, "dtype": dtype}
    named = {key: value for key, value in given.items() if value is not None}
    found = extra_options(extra)
    if twice := sorted(named.keys() & found.keys()):
        raise UsageError("An option is given twice.", where=[f"--{key} and -o {key}=" for key in twice])
    return {**named, **found}


def extra_options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """``-o key=value`` options; values are JSON where they parse as such, else text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier() or key in found:
            raise UsageError("-o takes key=value, each key once.", where=[repr(pair)], fix="for example -o steps=1")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


@click.command(epilog="Example: refvps predict -p motion -b sample --out preds/")
@options.predictor_options
@click.option("-b", "--benchmark", metavar="NAME", help="Benchmark to predict. Default: ref-vps, when it is on disk.")
@click.option(
    "--frames", type=click.Path(path_type=Path), metavar="DIR|VIDEO", help="Your own frames instead of a benchmark."
)
@click.option("--text", multiple=True, help="What to segment in --frames; may be given several times.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where the masks go.")
@click.option(
    "--overlay", type=click.Path(path_type=Path), metavar="FILE.webm", help="With --frames: a film of the masks."
)
@click.option(
    "--fps",
    type=click.FloatRange(min=0, min_open=True),
    help="With --frames: rate of the frames. Default: the video's, 24 for a folder.",
)
@click.option("--sample", is_flag=True, help="A smoke run: the embedded sample, scored at the end.")
@click.option(
    "--text-control",
    type=click.Choice(["shuffled", "empty", "object"]),
    help='Ask other sentences: those of another clip, none, or "the object"; the run is named accordingly.',
)
@click.option("--clip", "clips", multiple=True, metavar="CLIP", help="Only this clip; may be given several times.")
@click.option("--shard", metavar="I/N", help="The i-th of n balanced parts, for n machines.")
@click.option("--no-live", is_flag=True, help="Do not score finished clips while the others are predicted.")
@options.seed_option
@click.option("--force", is_flag=True, help="Discard what another run left in --out and start over.")
@options.json_option
@options.quiet_option
def predict(
    predictor: str,
    weights: str | None,
    device: str | None,
    dtype: str | None,
    extra: tuple[str, ...],
    benchmark: str | None,
    frames: Path | None,
    text: tuple[str, ...],
    out: Path,
    overlay: Path | None,
    fps: float | None,
    sample: bool,
    text_control: str | None,
    clips: tuple[str, ...],
    shard: str | None,
    no_live: bool,
    seed: int,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a predictor over a benchmark, or over your own frames.

    One file per clip, written whole: after an interruption the same command goes on where it stopped and
    ends in the same bytes. A clip that fails does not lose the others. The predictor sees pixels and
    sentences, never an id, a path or ground truth. With --frames and --text, masks become OUT/<frame>.png,
    or OUT/<k>/<frame>.png for several texts.
    """
    from refvps.run import predictors

    part = _shard(shard)
    if frames is None and (text or overlay or fps):
        raise UsageError("--text, --overlay and --fps belong to --frames.", fix="add --frames DIR|VIDEO, or drop them")
    if frames is not None and (benchmark or sample or clips or shard or text_control):
        raise UsageError(
            "--frames and a benchmark exclude each other.",
            fix="drop -b, --sample, --clip, --shard and --text-control",
        )
    if sample and (clips or shard or benchmark not in (None, "sample")):
        raise UsageError("--sample is a benchmark, and runs as a whole.", fix="drop -b, --clip and --shard")
    given = predictor_arguments(weights, device, dtype, extra)
    about = {"command": ["refvps", *sys.argv[1:]], "device": device, "dtype": dtype}
    with options.prints_aside():
        chosen = predictors.load(predictor, **given)
    if frames is not None:
        paths = _frames(chosen, frames, text, out, overlay, fps, seed, force, quiet or as_json, about)
        if as_json:
            click.echo(json.dumps({"masks": [str(path) for path in paths]}, indent=1))
        options.say(f"wrote {len(paths):,} masks in {out}" + (f" and {overlay}" if overlay else ""), quiet)
        return
    from refvps.data import load
    from refvps.run.predict import predict as run
    from refvps.run.predict.live import LiveScore

    bench = load("sample" if sample else benchmark or "ref-vps")
    live = None if no_live else LiveScore(bench)
    bar = options.progress_bar(chosen.method.name, " masks", quiet or as_json, note=_live_note(live))
    with options.prints_aside(), bar as progress:
        done = run(
            bench,
            chosen,
            out,
            seed=seed,
            shard=part,
            clips=clips or None,
            text_control=text_control,
            progress=progress,
            live=live,
            force=force,
            about=about,
        )
    if as_json:
        found = {"run_key": done.key, "method": done.method, "done": done.done, "kept": done.kept, "out": str(out)}
        click.echo(json.dumps({**found, "live_J": None if live is None else live.mean}, indent=1))
    kept = f", {len(done.kept)} were there already" if done.kept else ""
    options.say(f"{done.method}: {len(done.done)} clips predicted{kept}, in {out}{_score_note(live)}", quiet)
    if sample and not as_json:
        click.echo(_scored(bench, out))


def _live_note(live: LiveScore | None) -> Callable[[], str] | None:
    if live is None:
        return None
    return lambda: "" if live.mean is None else f"J {100 * live.mean:.1f} in {len(live.values)} clips"


def _score_note(live: LiveScore | None) -> str:
    if live is None or (live.mean is None and not live.off):
        return ""
    if live.mean is None:
        return f"; not scored: {live.off}"
    return f"; J {100 * live.mean:.2f} over {len(live.values)} clips (refvps evaluate gives it with its interval)"


def _scored(benchmark: Benchmark, out: Path) -> str:
    """The table of ``refvps evaluate`` for predictions in ``out``; nothing is written."""
    from refvps.report.table import result_table
    from refvps.run.evaluate import evaluate_submission
    from refvps.run.results import to_dict

    found = evaluate_submission(benchmark, out)
    return result_table(to_dict(found.scores, found.rules, "", None))


def _frames(
    predictor: Any,
    source: Path,
    texts: tuple[str, ...],
    out: Path,
    overlay: Path | None,
    fps: float | None,
    seed: int,
    force: bool,
    quiet: bool,
    about: dict[str, Any],
) -> tuple[Path, ...]:
    from refvps.report.overlay import Film
    from refvps.run.predict import predict_frames
    from refvps.video import open_frames

    if overlay is not None and overlay.exists() and not force:
        raise UsageError("The film is already there.", where=[str(overlay)], fix="pass --force, or another name")
    opened = open_frames(source, fps=fps)
    with ExitStack() as stack:
        stack.enter_context(options.prints_aside())
        film = None
        if overlay is not None:
            film = stack.enter_context(Film(overlay, opened.size, opened.fps, texts))
        progress = stack.enter_context(options.progress_bar(predictor.method.name, " masks", quiet))
        paths = predict_frames(
            predictor,
            opened,
            texts,
            fps=opened.fps,
            seed=seed,
            out=out,
            names=opened.names,
            overlay=film,
            progress=progress,
            force=force,
            about=about,
        )
    return paths
