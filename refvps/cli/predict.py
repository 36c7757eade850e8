"""``refvps predict``."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from refvps.cli import options
from refvps.errors import UsageError


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise UsageError("--shard is i/n with 1 <= i <= n.", where=[repr(text)], fix="for example --shard 1/8")
    return int(index), int(count)


def _extra(pairs: tuple[str, ...]) -> dict[str, Any]:
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
@click.option(
    "-p", "--predictor", required=True, metavar="NAME", shell_complete=options.complete_predictors,
    help="A registered predictor, or module:attribute, or file.py:attribute.",
)  # fmt: skip
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
@click.option("--weights", metavar="FILE|REPO", help="Weights, for predictors that have some.")
@click.option("--device", metavar="NAME", help="Device, for predictors that compute on one.")
@click.option("-o", "--option", "extra", multiple=True, metavar="KEY=VALUE", help="An option of the predictor.")
@click.option("--clip", "clips", multiple=True, metavar="CLIP", help="Only this clip; may be given several times.")
@click.option("--shard", metavar="I/N", help="The i-th of n balanced parts, for n machines.")
@options.seed_option
@click.option("--force", is_flag=True, help="Discard what another run left in --out and start over.")
@options.json_option
@options.quiet_option
def predict(
    predictor: str,
    benchmark: str | None,
    frames: Path | None,
    text: tuple[str, ...],
    out: Path,
    overlay: Path | None,
    fps: float | None,
    weights: str | None,
    device: str | None,
    extra: tuple[str, ...],
    clips: tuple[str, ...],
    shard: str | None,
    seed: int,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a predictor over a benchmark, or over your own frames.

    One file per clip, written whole: after an interruption the same command goes on where it stopped and
    ends in the same bytes. The predictor sees pixels and sentences, never an id, a path or ground truth.
    With --frames and --text, masks become OUT/<frame>.png, or OUT/<k>/<frame>.png for several texts.
    """
    from refvps.run import predictors

    part = _shard(shard)
    given = {"weights": weights, "device": device, **_extra(extra)}
    if frames is None and (text or overlay or fps):
        raise UsageError("--text, --overlay and --fps belong to --frames.", fix="add --frames DIR|VIDEO, or drop them")
    if frames is not None and (benchmark or clips or shard):
        raise UsageError("--frames and a benchmark exclude each other.", fix="drop -b, --clip and --shard")
    chosen = predictors.load(predictor, **{key: value for key, value in given.items() if value is not None})
    if frames is not None:
        paths = _frames(chosen, frames, text, out, overlay, fps, seed, force, quiet or as_json)
        if as_json:
            click.echo(json.dumps({"masks": [str(path) for path in paths]}, indent=1))
        options.say(f"wrote {len(paths):,} masks in {out}" + (f" and {overlay}" if overlay else ""), quiet)
        return
    from refvps.data import load
    from refvps.run.predict import predict as run

    bench = load(benchmark or "ref-vps")
    with options.progress_bar(chosen.method.name, " masks", quiet or as_json) as progress:
        done = run(bench, chosen, out, seed=seed, shard=part, clips=clips or None, progress=progress, force=force)
    if as_json:
        click.echo(json.dumps({"run_key": done.key, "done": done.done, "kept": done.kept, "out": str(out)}, indent=1))
    kept = f", {len(done.kept)} were there already" if done.kept else ""
    options.say(f"{chosen.method.name}: {len(done.done)} clips predicted{kept}, in {out}", quiet)


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
) -> tuple[Path, ...]:
    from refvps.report.overlay import Film
    from refvps.run.predict import predict_frames
    from refvps.video import open_frames

    if overlay is not None and overlay.exists() and not force:
        raise UsageError("The film is already there.", where=[str(overlay)], fix="pass --force, or another name")
    opened = open_frames(source, fps=fps)
    with ExitStack() as stack:
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
        )
    return paths
