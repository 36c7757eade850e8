"""What rem-tiny learned, measured: region similarity J on three benchmarks, with the language taken away as control.

    python -m rem.tiny.report MODEL0 MODEL1 MODEL2 --out rem/tiny/weights/report.json

``objects``: generated objects whose pairs of colour and shape no training clip has. ``processes``: generated
processes, drawn by other code and named by words the model has never seen. ``sample``: the embedded benchmark.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import refvps
from refvps import stats
from refvps.errors import UsageError
from refvps.masks.mask import Mask
from refvps.types import Benchmark, Clip, Estimate, Expression, Predictor, Scores
from rem.tiny import objects, processes
from rem.tiny.canvas import Scene

Masks = Mapping[tuple[str, str], NDArray[np.bool_]]
"""Masks [T, H, W] by clip and expression."""

SIDE = 64
"""Height and width of the generated test clips, twice those of the network's input."""
FRAMES = 8

NAMES = ("objects", "processes", "sample")
FLOORS = ("empty", "full", "centre", "motion")
CHANGES: dict[str, dict[str, str]] = {
    "bf16 weights": {"dtype": "bf16"}, "bf16 autocast": {"autocast": "bf16"}, "no noise": {"noise": "none"},
}  # fmt: skip
"""What is compared with fp32 and seeded noise: options of the predictor."""


@dataclass(frozen=True, eq=False)
class _Truth:
    """Masks [N, T, H, W] of one clip as ground truth, targets "1", "2", ..."""

    masks: NDArray[np.bool_]

    def frame(self, index: int) -> tuple[Mapping[str, Mask | None], Mask | None]:
        return {str(k + 1): Mask.from_array(track[index]) for k, track in enumerate(self.masks)}, None


def generated(kind: str, number: int, *, side: int = SIDE, frames: int = FRAMES) -> Benchmark:
    """``number`` clips of ``kind`` ("objects" or "processes") as a benchmark; concepts are the kinds of sentences."""
    painters: dict[str, tuple[Callable[..., Scene], int]] = {
        "objects": (objects.scene, objects.TEST_SEEDS[0]),
        "processes": (processes.scene, processes.SEEDS[0]),
    }
    if kind not in painters:
        raise UsageError("There is no such generated benchmark.", where=[repr(kind)], fix="objects or processes")
    paint, seed = painters[kind]
    scenes = {f"{kind}-{k:03d}": paint(seed, k, frames=frames, side=side) for k in range(number)}
    names = tuple(f"{t:05d}" for t in range(frames))
    clips = {name: Clip(name, (side, side), 24.0, names, names, 24.0, name) for name in scenes}
    expressions = tuple(
        Expression(str(k), name, text, target=str(k + 1), concept=concept)
        for name, scene in scenes.items()
        for k, (text, concept) in enumerate(zip(scene.texts, scene.kinds, strict=True))
    )
    digest = hashlib.sha256()
    for scene in scenes.values():
        digest.update(scene.frames.tobytes() + np.packbits(scene.masks).tobytes() + repr(scene.texts).encode())
    return Benchmark(
        f"rem-tiny-{kind}", "1", digest.hexdigest(), clips, expressions,
        truth=lambda clip: _Truth(scenes[clip].masks), frames=lambda clip: list(scenes[clip].frames),
    )  # fmt: skip


def shuffled(benchmark: Benchmark, *, seed: int = 0) -> dict[tuple[str, str], str]:
    """Every expression's text replaced by that of an expression of another clip, each used once."""
    listed = benchmark.expressions
    rng = np.random.default_rng([seed, 4])
    if len({each.clip for each in listed}) < 2:
        raise UsageError("Texts of one clip cannot be given to another one.", where=[benchmark.name])
    order = list(range(len(listed)))
    while True:
        order = [int(k) for k in rng.permutation(len(listed))]
        for k in range(len(order)):  # repair clashes by swaps, so that many expressions a clip are no problem
            if listed[order[k]].clip == listed[k].clip:
                other = int(rng.integers(len(order)))
                order[k], order[other] = order[other], order[k]
        if all(listed[order[k]].clip != listed[k].clip for k in range(len(order))):
            return {(each.clip, each.id): listed[order[k]].text for k, each in enumerate(listed)}


def swapped(benchmark: Benchmark) -> dict[tuple[str, str], str]:
    """Every expression's text replaced by that of the next expression of the same clip (another target)."""
    found = {}
    for clip in benchmark.clips:
        listed = benchmark.expressions_of(clip)
        for k, each in enumerate(listed):
            found[clip, each.id] = listed[(k + 1) % len(listed)].text
    return found


def predicted(
    predictor: Predictor, benchmark: Benchmark, texts: Mapping[tuple[str, str], str] | None = None
) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """Masks of all expressions, with other ``texts`` if given; the seed of a clip follows from its id."""
    found: dict[tuple[str, str], NDArray[np.bool_]] = {}
    for clip in benchmark.clips.values():
        listed = benchmark.expressions_of(clip.id)
        said = [each.text if texts is None else texts[clip.id, each.id] for each in listed]
        seed = int(hashlib.sha256(clip.id.encode()).hexdigest()[:8], 16)
        masks = np.zeros((len(listed), len(clip.frames), *clip.size), np.bool_)
        for chunk in predictor.predict(benchmark.frames(clip.id), said, fps=clip.fps, seed=seed):
            masks[chunk.text, chunk.start : chunk.start + len(chunk.masks)] = chunk.masks
        found.update({(clip.id, each.id): masks[k] for k, each in enumerate(listed)})
    return found


def scored(benchmark: Benchmark, masks: Masks, name: str) -> Scores:
    """J of ``masks`` by refvps' own scorer."""
    scorer = refvps.Scorer(benchmark, method=name)
    for (clip, expression), track in masks.items():
        scorer.update(clip, expression, track)
    return scorer.compute()


def gain(ours: Scores, other: Scores) -> Estimate:
    """Mean over clips of the difference in J, paired by expression, with its 95 % interval; groups are resampled."""
    theirs = {(row.clip, row.expression): row.values["J"] for row in other.rows}
    by_clip: dict[str, list[float]] = {}
    groups: dict[str, str] = {}
    for row in ours.rows:
        mine, their = row.values["J"], theirs[row.clip, row.expression]
        if mine is not None and their is not None:
            by_clip.setdefault(row.clip, []).append(mine - their)
            groups[row.clip] = row.group
    differences = [stats.exact_mean(values) for values in by_clip.values()]
    return stats.estimate(stats.sample(differences, [groups[clip] for clip in by_clip]))


def measured(predictor: Predictor, benchmark: Benchmark) -> dict[str, Any]:
    """J with the true and with other texts, and the gain of the true ones over each."""
    true = scored(benchmark, predicted(predictor, benchmark), "rem-tiny")
    found: dict[str, Any] = {"J": _numbers(true.summary["J"]), "by_concept": _concepts(true)}
    controls = {"shuffled": shuffled(benchmark)}
    if all(len({each.target for each in benchmark.expressions_of(clip)}) > 1 for clip in benchmark.clips):
        controls["swapped"] = swapped(benchmark)
    for name, texts in controls.items():
        other = scored(benchmark, predicted(predictor, benchmark, texts), name)
        found[name] = {"J": _numbers(other.summary["J"]), "gain": _numbers(gain(true, other))}
    for name in ("full", "motion"):
        found[f"over_{name}"] = _numbers(gain(true, floor(name, benchmark)))
    found["rows"] = {f"{row.clip}/{row.expression}": round(row.values["J"] or 0.0, 4) for row in true.rows}
    return found


def floor(name: str, benchmark: Benchmark) -> Scores:
    """Scores of one of refvps' predictors that do not read the text."""
    from refvps import sanity

    return scored(benchmark, predicted(getattr(sanity, name)(), benchmark), name)


def agreement(one: Masks, other: Masks) -> float:
    """Mean IoU of two sets of masks over expressions, all frames together; two empty masklets agree."""
    shares = []
    for key, track in one.items():
        both = int((track | other[key]).sum())
        shares.append(int((track & other[key]).sum()) / both if both else 1.0)
    return stats.exact_mean(shares)


def benchmark_of(name: str, clips: int) -> Benchmark:
    """A benchmark of the report; ``clips`` counts generated ones."""
    return refvps.load(name) if name == "sample" else generated(name, clips)


def report(models: Sequence[Path], clips: int, jobs: int) -> dict[str, Any]:
    """Everything in the report: per benchmark the floors and each model, and what precision and noise change."""
    work = [(str(folder), name, clips) for name in NAMES for folder in models]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        precision = pool.submit(_precision, str(models[0]), clips)
        seeds = list(pool.map(_measured, *zip(*work, strict=True)))
    found: dict[str, Any] = {"clips": clips, "side": SIDE, "frames": FRAMES, "benchmarks": {}}
    for name in NAMES:
        benchmark = benchmark_of(name, clips)
        found["benchmarks"][name] = {
            "digest": benchmark.digest,
            "floors": {each: _numbers(floor(each, benchmark).summary["J"]) for each in FLOORS},
            "seeds": [each for (_, of, _), each in zip(work, seeds, strict=True) if of == name],
        }
    found["agreement_with_fp32"] = precision.result()
    return found


def _measured(folder: str, name: str, clips: int) -> dict[str, Any]:
    return measured(_loaded(folder), benchmark_of(name, clips))


def _loaded(folder: str, **options: Any) -> Predictor:
    import torch

    from rem.tiny.predictor import load

    torch.set_num_threads(1)
    return load(folder, **options)


def _precision(folder: str, clips: int) -> dict[str, dict[str, float]]:
    """Agreement of other precisions and of clean latents with fp32 and seeded noise, per generated benchmark."""
    found: dict[str, dict[str, float]] = {key: {} for key in CHANGES}
    for name in NAMES[:2]:
        benchmark = benchmark_of(name, clips)
        exact = predicted(_loaded(folder), benchmark)
        for key, options in CHANGES.items():
            found[key][name] = round(agreement(exact, predicted(_loaded(folder, **options), benchmark)), 6)
    return found


def table(found: Mapping[str, Any]) -> str:
    """The report as Markdown, J in percent."""

    def cell(numbers: Mapping[str, Any]) -> str:
        bounds = "" if numbers["low"] is None else f" [{100 * numbers['low']:.1f}, {100 * numbers['high']:.1f}]"
        return f"{100 * numbers['value']:.1f}{bounds}"

    lines = ["| benchmark | predictor | J | gain over shuffled texts | gain over `motion` |", "|---|---|---|---|---|"]
    for name, each in found["benchmarks"].items():
        lines += [f"| {name} | `{floor_name}` | {cell(value)} | | |" for floor_name, value in each["floors"].items()]
        for k, seed in enumerate(each["seeds"]):
            lines.append(
                f"| {name} | rem-tiny, seed {k} | {cell(seed['J'])} | {cell(seed['shuffled']['gain'])} | "
                f"{cell(seed['over_motion'])} |"
            )
            lines.append(f"| {name} | the same, shuffled texts | {cell(seed['shuffled']['J'])} | | |")
            if "swapped" in seed:
                swap = seed["swapped"]
                lines.append(
                    f"| {name} | the same, the other target's text | {cell(swap['J'])} | {cell(swap['gain'])} | |"
                )
    lines += ["", "| change | mask IoU with fp32 and the same noise: objects | processes |", "|---|---|---|"]
    for key, each in found["agreement_with_fp32"].items():
        lines.append(f"| {key} | {each['objects']:.4f} | {each['processes']:.4f} |")
    return "\n".join(lines) + "\n"


def _numbers(estimate: Estimate) -> dict[str, Any]:
    value = None if estimate.value is None else round(estimate.value, 6)
    return {"value": value, "low": estimate.low, "high": estimate.high, "clips": estimate.n}


def _concepts(scores: Scores) -> dict[str, Any]:
    return {name: round(each["J"].value, 4) for name, each in scores.by_concept.items() if each["J"].value is not None}


def main() -> None:
    """Command line of the report."""
    import json

    import click

    from refvps.files import write_atomic

    @click.command()
    @click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
    @click.option("--out", type=click.Path(path_type=Path), required=True, help="JSON file to write.")
    @click.option("--clips", default=40, show_default=True, help="Clips of each generated benchmark.")
    @click.option("--jobs", default=2, show_default=True, help="Processes.")
    def run(models: tuple[Path, ...], out: Path, clips: int, jobs: int) -> None:
        """Measure models of `python -m rem.tiny.recipe`, one per seed, and print a table in Markdown."""
        found = report(models, clips, jobs)
        write_atomic(out, (json.dumps(found, indent=1) + "\n").encode())
        click.echo(table(found))

    run()


if __name__ == "__main__":
    main()
