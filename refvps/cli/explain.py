"""``refvps explain``."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from refvps.cli import options
from refvps.errors import CheckError, DataMissingError, InputError, RefvpsError, UsageError
from refvps.types import Benchmark

if TYPE_CHECKING:
    from refvps.report.explain.derivation import Key, Opened
    from refvps.report.explain.facts import Facts


@click.command(
    epilog="Example: refvps explain results/sample@1/motion.json --clip candle-wax --expression 2 --frame 31"
)
@click.argument("result", type=click.Path(path_type=Path), metavar="RESULT")
@click.option("--clip", metavar="CLIP", help="Which clip. Without it: the worst and the best clips.")
@click.option("--expression", metavar="ID", help="Which expression of the clip. Without it: all of the clip.")
@click.option("--target", metavar="ID", help="Which target, where an expression is compared with several.")
@click.option(
    "--frame",
    metavar="NAME|N",
    help="Which frame: its name, or its position, counted from 0. Without it: all of the expression.",
)
@click.option(
    "--pred",
    type=click.Path(path_type=Path),
    metavar="DIR|ZIP",
    help="The predictions behind the result. Default: where they lay when it was made.",
)
@partial(options.benchmark_options, default="the result's own, when it is on this machine")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where frame.png goes.")
@options.json_option
@options.quiet_option
def explain(
    result: Path,
    clip: str | None,
    expression: str | None,
    target: str | None,
    frame: str | None,
    pred: Path | None,
    benchmark: str | None,
    gt: Path | None,
    ignore_value: str | None,
    fps: float | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show the counts and the arithmetic behind a score, down to one frame.

    RESULT is a result file or its .counts.npz. Everything is computed again from the integers, in plain
    arithmetic, and compared with what the result states; where they differ the exit code is 7. With the
    masks at hand, those of the frame are counted again as well, and --out draws them. The benchmark is the
    one that the result names, if it is on this machine; else name it with -b or --gt.
    """
    from refvps.report.explain import derivation, facts, places, text

    if clip is None and (expression or target or frame):
        raise UsageError("An expression and a frame belong to a clip.", fix="add --clip CLIP")
    if frame is None and (pred or out):
        raise UsageError("Masks are looked at frame by frame.", fix="add --frame, or drop --pred and --out")
    if expression is None and frame is None and any(each is not None for each in (benchmark, gt, ignore_value, fps)):
        raise UsageError(
            "The benchmark is looked at for one expression or frame.",
            fix="add --clip and --expression, or drop -b, --gt, --ignore-value and --fps",
        )
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError("--out is a folder.", where=[str(out)], fix="name a folder; the picture is called frame.png")
    opened = derivation.open_result(result)
    if opened.protocol and (pred or out):
        raise UsageError(
            "The masks of another tool's protocol are not looked at.",
            where=[opened.protocol],
            fix="drop --pred and --out; refvps overlay draws the masks",
        )
    changed: list[str] = []
    if clip is None:
        found, said = facts.of_result(opened), text.result_text
    elif expression is None and frame is None:
        places.clip_of(opened.counts, clip)
        found, said = facts.of_clip(opened, clip), text.clip_text
    else:
        entry = places.clip_of(opened.counts, clip)
        if target is None and opened.protocol:
            target = next((held[2] for held in opened.held.values() if held[:2] == (clip, expression)), None)
        key = opened.key(*places.pair_of(opened.counts, clip, expression, target))
        given = any(option is not None for option in (benchmark, gt, ignore_value, fps))
        bench = options.load_benchmark(benchmark, gt, ignore_value, fps) if given else _own_benchmark(opened, clip)
        names = bench.clips[clip].frames if bench is not None and _fits(opened, bench, clip, given) else None
        bench = None if names is None else bench
        if frame is None:
            found, said = facts.of_expression(opened, key, names), text.expression_text
        else:
            position, note = places.position_of(entry, frame, names)
            found, said = facts.of_frame(opened, key, position, names, note), text.frame_text
            changed = _masks(opened, bench, key, found, pred, out, quiet)
    found["contradictions"] = wrong = derivation.contradictions(opened)
    found["unchecked"] = derivation.unchecked(opened)
    click.echo(json.dumps(found, indent=1, ensure_ascii=False) if as_json else said(found))
    for part in found["unchecked"]:
        click.echo(f"note: not computed again: {part}", err=True)
    if wrong:
        raise CheckError(
            "The result does not state what its counts give.",
            where=wrong,
            fix="take both files from their author again, or evaluate the predictions again",
        )
    if changed:
        raise CheckError(
            "The masks do not give the integers of this result.",
            where=changed,
            fix="name the predictions and the benchmark that were scored, or evaluate again",
        )


def _own_benchmark(opened: Opened, clip: str) -> Benchmark | None:
    """The benchmark that the result names, if it is on this machine and holds this clip as it was."""
    from refvps import data

    name, version = opened.counts.benchmark["name"], opened.counts.benchmark["version"]
    digests = {entry.id: entry.digest for entry in opened.counts.clips}
    for wanted in (f"{name}@{version}", name):
        try:
            found = data.load(wanted)
        except RefvpsError:
            continue
        if found.clip_digests.get(clip) == digests[clip]:
            return found
    return None


def _fits(opened: Opened, bench: Benchmark, clip: str, given: bool) -> bool:
    """Whether the clip is there at the size that was counted; an error where the user named the benchmark."""
    from refvps.report.explain import picture

    try:
        picture.check_clip(opened, bench, clip)
    except InputError:
        if given:
            raise
        return False
    return True


def _masks(
    opened: Opened, bench: Benchmark | None, key: Key, found: Facts, pred: Path | None, out: Path | None, quiet: bool
) -> list[str]:
    """Count the masks of the frame again and draw them; what is different now. Writes what it did into ``found``."""
    from refvps.report.explain import picture

    found["masks"], found["picture"] = None, None
    if "order" not in found:
        return []
    if bench is None or opened.protocol:
        if pred is not None or out is not None:
            raise DataMissingError(
                "The benchmark of this result is not on this machine.",
                where=[found["benchmark"]],
                fix="name it with -b NAME or --gt DIR",
            )
        return []
    submission, note = picture.open_masks(opened, bench, pred, key[0])
    if submission is None:
        if out is not None:
            raise DataMissingError(
                "The predictions of this result are not where they were.",
                where=[note or found["result"]],
                fix="name them with --pred DIR|ZIP",
            )
        options.say(note or "for a look at the masks, add --pred DIR|ZIP --out DIR", quiet)
        return []
    try:
        masks = picture.read_masks(bench, submission, key, found["frame"]["position"])
    except InputError as error:
        if pred is not None or out is not None:
            raise
        options.say(f"the masks cannot be read any more: {error.what}", quiet)
        return []
    at = found["order"]["index"]
    changed = picture.differences(opened.tracks[key].frames[at], masks, opened.counts.boundary)
    found["masks"] = {"predictions": str(submission.files.root), "same": not changed, "differences": changed}
    if not changed:
        options.say(f"the masks in {submission.files.root} give the same integers", quiet)
    if out is not None:
        found["picture"] = str(picture.draw_frame(bench, masks, found, out / "frame.png"))
        options.say(f"wrote {found['picture']}", quiet)
    return changed
