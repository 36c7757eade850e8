"""The ``rem`` command line: convert, train, bench. The only file of ``rem`` that prints and exits."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from refvps import __version__
from refvps.cli import run_command
from refvps.errors import DataMissingError, UsageError

FOLDER = click.Path(path_type=Path)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "REM", "max_content_width": 110},
    epilog="Segment with it: refvps predict -p rem --weights FOLDER -b ref-vps",
)
@click.version_option(__version__, prog_name="rem")
@click.option("-v", "--verbose", is_flag=True, help="Show the traceback of a bug.")
def cli(verbose: bool) -> None:
    """REM: a text-to-video diffusion model as a segmenter.

    Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 a bug of rem, 2 wrong
    usage, 3 data not on this machine, 4 an input file cannot be used, 130 interrupted.
    """


@cli.command()
@click.argument("checkpoint", type=FOLDER)
@click.argument("out", metavar="OUT_DIR", type=FOLDER)
@click.option("--base", type=FOLDER, help="Folder of the base model; makes OUT_DIR a whole model.")
@click.option(
    "--backbone",
    type=click.Choice(["modelscope", "wan-14b", "wan-1.3b"]),
    help="Architecture; by default as the checkpoint's keys say.",
)
@click.option("--config", type=FOLDER, help="config.json of the denoiser, instead of the backbone's.")
def convert(checkpoint: Path, out: Path, base: Path | None, backbone: str | None, config: Path | None) -> None:
    """Turn an official checkpoint into safetensors, key by key, executing nothing in it.

    Example: rem convert model_ckpt_best.pth rem-modelscope --base text-to-video-ms-1.7b
    """
    _quiet()
    from rem.convert import convert as run_conversion

    note = run_conversion(checkpoint, out, backbone=backbone, config=config, base=base).note
    dropped = ", ".join(f"{part} ({number:,})" for part, number in note["dropped"].items()) or "nothing"
    click.echo(f"{out}: {note['backbone']}, {note['tensors']:,} tensors, {note['parameters']:,} parameters")
    click.echo(f"left out: {dropped}")
    click.echo(f"source: sha256 {note['source_sha256']}, epoch {note['epoch']}")


@cli.command()
@click.option("--config", required=True, help="A recipe: a TOML file, or a shipped one such as stage1.")
@click.option("--out", type=FOLDER, required=True, help="Folder for checkpoints and logs.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out.")
@click.option("--backbone", help="Backbone, instead of the recipe's.")
@click.option("--base", help="Folder or repository of the pretrained model.")
@click.option("--start", help="Checkpoint of the denoiser to start from.")
@click.option("--refcoco", help="Folder of RefCOCO, RefCOCO+ and RefCOCOg.")
@click.option("--coco", help="Folder that holds COCO's train2014.")
@click.option("--ytvos", help="Folder of Ref-YouTube-VOS.")
@click.option("-o", "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Another field of the recipe.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
def train(config: str, out: Path, resume: bool, changes: tuple[str, ...], dry_run: bool, **places: str | None) -> None:
    """Train by a recipe; under `accelerate launch -m rem.cli train ...` on many GPUs.

    Example: rem train --config stage1 --base text-to-video-ms-1.7b --coco coco --refcoco refcoco --out runs/stage1
    """
    given = {name: value for name, value in places.items() if value is not None}
    for change in changes:
        key, sign, value = change.partition("=")
        if not sign or key in given:
            raise UsageError(
                "A change of the recipe is not KEY=VALUE, or stands twice.", where=[change], fix="-o lr=1e-5"
            )
        given[key] = value
    from rem.train import read_recipe, run

    recipe = read_recipe(config, given)
    if dry_run:
        _print_plan(recipe, out)
        return
    _quiet()
    speaks = os.environ.get("RANK", "0") == "0"  # of several processes the first

    def progress(done: int, total: int, numbers: Any) -> None:
        if speaks and (done == total or done % recipe.log_every == 0):
            shown = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
            click.echo(f"{done:,}/{total:,}  {shown}", err=True)

    result = run(recipe, out=out, resume=resume, progress=progress)
    if speaks:
        click.echo(f"{result.steps:,} steps; last checkpoint {result.checkpoint}")
    for name, value in result.metrics.items() if speaks else ():
        click.echo(f"{name}: {value:.4f}")


def _print_plan(recipe: Any, out: Path) -> None:
    """What a recipe would do, from the recipe and, if they are there, its data."""
    from rem.parameters import count, outline, select
    from rem.train.mixture import mixture
    from rem.train.sampling import Order

    lines = [("recipe", recipe.name), ("backbone", recipe.backbone), ("base", recipe.base or "not given")]
    kind = {"modelscope": "modelscope", "wan": "wan-14b"}.get(recipe.backbone)
    if kind:
        denoiser = outline(kind)
        names = select(denoiser, recipe.trained)
        trained = f"{count(denoiser, names):,} of {count(denoiser):,} parameters"
        lines.append(("trained", f"{trained} ({recipe.trained}, of {kind} at full size)"))
    try:
        data = mixture(recipe)
        order = Order(data.parts, recipe.batch, recipe.seed)
        steps = recipe.steps or max(1, round(recipe.epochs * order.epoch_steps))
        lines += [("samples", f"{len(data):,}"), ("steps", f"{steps:,} of {recipe.batch}")]
    except DataMissingError as error:
        lines += [("samples", f"unknown: {error.what}"), ("steps", str(recipe.steps or f"{recipe.epochs:g} epochs"))]
    lines += [("hours", "unknown: rem bench --train measures them on a device"), ("out", str(out))]
    for name, value in lines:
        click.echo(f"{name:<9} {value}")


@cli.command()
@click.option("--device", type=click.Choice(["cuda", "cpu"]), help="Default: cuda where there is one.")
@click.option("--dtype", type=click.Choice(["fp32", "bf16", "fp16"]), help="Of the fast path; default bf16 on a GPU.")
@click.option("--weights", type=FOLDER, help="A model's folder, instead of random weights.")
@click.option("--backbone", default="modelscope", show_default=True, help="What --weights holds.")
@click.option("--tiny", is_flag=True, help="The trained rem-tiny at its own size: masks mean something.")
@click.option("--full/--small", default=None, help="Random ModelScope at full size (default on a GPU), or a small one.")
@click.option("--frames", type=click.IntRange(1), help="Frames of the clip; default 32 (paper), on a CPU 8.")
@click.option("--size", type=click.IntRange(16), help="Side of the input; default 512, on a CPU 64.")
@click.option("--expressions", type=click.IntRange(1), default=4, show_default=True, help="Expressions of the clip.")
@click.option("--runs", type=click.IntRange(1), help="Runs; default 80 (paper), on a CPU 5.")
@click.option("--warmup", type=click.IntRange(0), default=2, show_default=True, help="Runs before those.")
@click.option("--train", "training", is_flag=True, help="Also both training stages: memory, hours of the recipe.")
@click.option("--compile", "compiled", is_flag=True, help="torch.compile the networks of the fast path.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--out", type=FOLDER, help="Write the JSON to this file, too.")
def bench(
    device: str | None, dtype: str | None, weights: Path | None, backbone: str, tiny: bool, full: bool | None,
    frames: int | None, size: int | None, expressions: int, runs: int | None, warmup: int, training: bool,
    compiled: bool, as_json: bool, out: Path | None,
) -> None:  # fmt: skip
    """Measure speed and memory beside the official order of work, in the same run (paper, Tables C and D).

    Example: rem bench --device cuda --train --out bench.json
    """
    _quiet()
    import torch

    from rem.bench.inference import Load, measure

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("There is no GPU that torch can use here.", where=["--device cuda"], fix="--device cpu")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    on_gpu = place.type == "cuda"
    if sum((tiny, full is not None, weights is not None)) > 1:
        raise UsageError("Only one model can be measured.", fix="give one of --weights, --tiny, --full, --small")
    side = size or (512 if on_gpu else 32 if tiny else 64)
    load = Load(frames or (32 if on_gpu else 8), (side, side), expressions, warmup, runs or (80 if on_gpu else 5))
    pipeline, what = _model(place, weights, backbone, tiny, on_gpu if full is None else full)
    if not on_gpu and not as_json:
        reduced = f"{load.frames} frames of {side}x{side}, {load.runs} runs"
        click.echo(f"on a CPU: {reduced}; the paper has 32 frames of 512x512, 80 runs", err=True)

    def say(line: str) -> None:
        click.echo(f"measuring: {line}", err=True)

    clip, sentences = _scene(load) if tiny else (None, None)
    chosen = dtype or ("bf16" if on_gpu else "fp32")
    result = {"model": what, **measure(
        pipeline, load, dtype=chosen, compiled=compiled, frames=clip, sentences=sentences, say=say
    )}  # fmt: skip
    if training:
        from rem.bench.training import measure_training

        say("training")
        pipeline.to(torch.float32)
        result["training"] = measure_training(pipeline.backbone, load.size)
    click.echo(json.dumps(result, indent=1) if as_json else _table(result))
    if out is not None:  # after the screen: a full disk does not lose the measurement
        from refvps.files import write_atomic

        write_atomic(out, json.dumps(result, indent=1).encode() + b"\n")


def _model(place: Any, weights: Path | None, backbone: str, tiny: bool, full: bool) -> tuple[Any, str]:
    """The pipeline to measure, in float32, and what it is."""
    from rem.pipeline import RemPipeline

    if weights is not None:
        return RemPipeline.from_pretrained(weights, backbone=backbone, device=place), f"{backbone}, {weights}"
    if tiny:
        from rem.tiny.predictor import shipped

        return RemPipeline.from_pretrained(shipped(), device=place), "rem-tiny, trained"
    from rem.bench.models import random_modelscope

    what = f"ModelScope, {'full size' if full else 'a small one of its form'}, random weights"
    return RemPipeline.of(random_modelscope(small=not full, device=place)), what


def _scene(load: Any) -> tuple[Any, list[str]]:
    """A generated clip that rem-tiny knows how to segment, with its sentences."""
    from rem.tiny.objects import scene

    made = scene(990, 0, frames=load.frames, side=load.size[0])
    return made.frames, (list(made.texts) * load.expressions)[: load.expressions]


def _table(result: dict[str, Any]) -> str:
    """The result as people read it."""
    load, lines = result["load"], [f"{result['model']}; {result['device']}, torch {result['torch']}"]
    lines.append(
        f"{load['frames']} frames of {load['size'][0]}x{load['size'][1]}, {load['expressions']} expressions; "
        f"median of {load['runs']} runs after {load['warmup']}"
    )
    for name, key in (("official order", "official_order"), ("fast", "fast")):
        cost = result[key]
        memory = "" if cost["peak_gb"] is None else f"  peak {cost['peak_gb']:.2f} GB"
        lines.append(f"  {name:<15} {cost['dtype']}  {cost['seconds']:9.4f} s  {cost['fps']:8.2f} FPS{memory}")
    lines.append(
        f"  {result['speedup']:.2f}x; to fp32 with the same noise: masks IoU {result['mask_iou_to_fp32']:.4f}, "
        f"latents off by {result['latent_error_to_fp32']:.1e} of their largest"
    )
    lines.append(f"stages of one expression; a matrix product reaches {result['peak_tflops']:.3g} TFLOP/s here")
    for cost in result["stages"]:
        work = "" if cost["tflop"] is None else f"{cost['tflop']:10.4g} TFLOP  {100 * cost['of_peak']:5.1f} % of peak"
        lines.append(f"  {cost['stage']:<15} {1000 * cost['seconds']:10.2f} ms  {work}".rstrip())
    if "training" in result:
        spent = result["training"]
        for name, stage in spent["stages"].items():
            lines.append(
                f"  {name}: {stage['frames']} frames, {stage['trained']:,} trained, "
                f"{stage['seconds_per_sample']:.3f} s a sample, {stage['samples']:,.0f} samples"
            )
        beside = "of this network at this size; not to be compared with Table D"
        if tuple(load["size"]) == (512, 512):
            paper = spent["paper"]
            beside = f"paper: {paper['peak_gb']} GB, {paper['hours']:.0f} h on {paper['devices']}"
        lines.append(
            f"  training: peak {spent['peak_gb']:.2f} GB; {spent['hours']:,.1f} h on {spent['devices']} such devices "
            f"({beside})"
        )
    return "\n".join(lines)


def _quiet() -> None:
    """Import the model packages only if they are there, and keep their notes off the screen."""
    from importlib.util import find_spec

    absent = [name for name in ("torch", "diffusers", "transformers", "safetensors") if find_spec(name) is None]
    if absent:
        raise DataMissingError("Packages are missing.", where=absent, fix="pip install 'refvps[rem]'")
    for name in ("DIFFUSERS_VERBOSITY", "TRANSFORMERS_VERBOSITY"):
        os.environ.setdefault(name, "error")


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with a code of :data:`refvps.errors.EXIT_CODES`."""
    sys.exit(run(args))


def run(args: list[str] | None = None) -> int:
    """Run the command line; the exit code, with errors already printed to standard error."""
    return run_command(cli, "rem", args, interrupted="rem train --resume goes on from the last checkpoint")


if __name__ == "__main__":
    main()
