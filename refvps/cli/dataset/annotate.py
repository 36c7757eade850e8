"""``refvps annotate``: masks from other tools become annotations; a data set is checked."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from refvps.cli import options
from refvps.errors import UsageError

if TYPE_CHECKING:
    from refvps.annotate.checks.table import Result
    from refvps.annotate.clip import Outcome

LAYOUTS = ("davis", "coco-rle", "sa-v")
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


@click.group(epilog="Example: refvps annotate check dataset/")
def annotate() -> None:
    """Import masks of other tools as annotations, and check a data set."""


@annotate.command(
    "import", epilog="Example: refvps annotate import masks/ --layout davis --clip wax-01 --out dataset/ --by a1"
)
@click.argument("source", type=click.Path(path_type=Path), metavar="DIR|ZIP|JSON")
@click.option("--layout", type=click.Choice(LAYOUTS), required=True, help="What wrote them; docs/annotate.md.")
@click.option("--clip", required=True, metavar="ID", help="The clip that the masks belong to.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Data set to put the clip into. Default: the folder of --manifest.",
)
@click.option("--manifest", type=click.Path(path_type=Path), metavar="FILE", help="A clips.jsonl that lists the clip.")
@click.option(
    "--ignore", type=click.Path(path_type=Path), metavar="DIR|JSON", help="Layer of Ignore: all that is not 0."
)
@click.option(
    "--ignore-value", metavar="255|none", help="Whether 255 is Ignore in davis. Default: yes, unless nothing else is."
)
@click.option(
    "--overlap",
    type=click.Choice(["ignore", "refuse"]),
    default="ignore",
    show_default=True,
    help="Pixels that are target and Ignore: Ignore wins and they are counted, or an error.",
)
@click.option("--frames", type=click.Path(path_type=Path), metavar="DIR", help="The pictures of the clip.")
@click.option("--size", metavar="HxW", help="Size of the frames, where neither a list nor pictures say it.")
@click.option(
    "--fps", type=click.FloatRange(min=0, min_open=True), help="Rate of the video, for a clip not listed yet."
)
@click.option("--target", metavar="1,3", default="", help="Objects whose union is the target. Default: all.")
@click.option("--separate", is_flag=True, help="Each object is a target of its own.")
@click.option(
    "--frame-map",
    metavar="HOW",
    default="auto",
    show_default=True,
    help="auto, name, number, number+1, step=4, step=4,first=2, or a .json file of source frame to frame.",
)
@click.option("--by", metavar="WHO", default="", help="Who is responsible for the masks: a pseudonym.")
@click.option("--tool", metavar="NAME", default="", help="What drew the masks, with its version.")
@click.option("--accept", metavar="IDS", default="", help="Write in spite of the errors of these checks: M1,G5.")
@click.option("--force", is_flag=True, help="Replace masks that are there; the record of them is kept.")
@options.json_option
@options.quiet_option
def import_(
    source: Path,
    layout: str,
    clip: str,
    out: Path | None,
    manifest: Path | None,
    ignore: Path | None,
    ignore_value: str | None,
    overlap: Literal["ignore", "refuse"],
    frames: Path | None,
    size: str | None,
    fps: float | None,
    target: str,
    separate: bool,
    frame_map: str,
    by: str,
    tool: str,
    accept: str,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Turn the masks of one clip into annotations of a data set.

    Masks and Ignore are read, joined with the frames of the clip, checked, and written to masks/CLIP.jsonl with a
    record of who, when and with what tool (provenance.jsonl). Nothing is written when a check finds an error.
    """
    from refvps.annotate.checks.table import check_names
    from refvps.annotate.clip import Request
    from refvps.annotate.grid import parse_frame_map
    from refvps.annotate.importing import import_clip

    if out is None and manifest is None:
        raise UsageError("It is not said where the annotations go.", fix="give --out DIR, or --manifest FILE")
    accepted = options.names_option(accept)
    check_names(accepted, "--accept", letters=False)
    request = Request(
        source=source,
        layout=layout,
        clip=clip,
        out=out or (manifest or Path()).parent,
        ignore=ignore,
        frames=frames,
        size=_size(size),
        manifest=manifest,
        fps=fps,
        objects=tuple(options.names_option(target)),
        separate=separate,
        frame_map=parse_frame_map(frame_map),
        ignore_value=_ignore_value(ignore_value),
        overlap=overlap,
        by=by,
        tool=tool,
        accept=tuple(accepted),
        force=force,
    )
    with options.progress_bar("reading", " masks", quiet or as_json) as progress:
        outcome = import_clip(request, progress)
    if as_json:
        click.echo(json.dumps(_outcome_record(outcome), indent=1, ensure_ascii=False))
        return
    for line in _outcome_lines(outcome):
        click.echo(line)
    for line in _result_lines(outcome.results):
        click.echo(line)
    for note in outcome.notes:
        options.say(f"note: {note}", quiet)
    if not by or not tool:
        options.say("note: nobody is named as responsible, or no tool: --by, --tool", quiet)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UsageError("--size is not HEIGHTxWIDTH.", where=[text[:80]], fix="for example --size 480x854")
    return int(found[1]), int(found[2])


def _ignore_value(text: str | None) -> int | str | None:
    values: dict[str | None, int | str | None] = {None: "auto", "255": 255, "none": None}
    if text not in values:
        raise UsageError("--ignore-value is 255 or none.", where=[str(text)[:80]], fix="--ignore-value 255")
    return values[text]


def _outcome_record(outcome: Outcome) -> dict[str, Any]:
    return {
        "clip": outcome.clip.id,
        "masks": str(outcome.path),
        "size": list(outcome.clip.size),
        "counts": dict(outcome.counts),
        "targets": {key: list(names) for key, names in outcome.targets.items()},
        "objects": [
            {
                "object": row.name,
                "masks": row.masks,
                "empty": row.empty,
                "absent": row.absent,
                "pixels": row.pixels,
                "chosen": row.chosen,
            }
            for row in outcome.objects
        ],
        "findings": [_result_record(result) for result in outcome.results],
        "frame_map": outcome.frame_map,
        "notes": list(outcome.notes),
    }


def _outcome_lines(outcome: Outcome) -> list[str]:
    counts, clip = outcome.counts, outcome.clip
    lines = [
        f"{clip.id}: {counts['frames']:,} frames of {clip.size[1]}x{clip.size[0]}, {counts['annotated']:,} annotated, "
        f"{counts['empty']:,} empty, {counts['with_ignore']:,} with Ignore, {counts['dropped']:,} dropped"
    ]
    rows = [("object", "masks", "empty", "no mask", "pixels", "target")]
    target_of = {name: target for target, names in outcome.targets.items() for name in names}
    for row in outcome.objects:
        numbers = (f"{number:,}" for number in (row.masks, row.empty, row.absent, row.pixels))
        rows.append((row.name, *numbers, target_of.get(row.name, "-")))  # type: ignore[arg-type]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return lines


def _result_record(result: Result) -> dict[str, Any]:
    check = result.check
    return {
        "id": check.id,
        "severity": check.severity,
        "what": check.what,
        "threshold": check.threshold,
        "total": len(result.where),
        "where": list(result.where),
        "accepted": result.accepted,
        "fix": check.fix,
    }


def _result_lines(results: Sequence[Result]) -> list[str]:
    lines: list[str] = []
    for result in results:
        check = result.check
        accepted = ", accepted" if result.accepted else ""
        lines.append(
            f"{check.severity} {check.id:<3} {check.what} ({check.threshold}): {len(result.where):,}{accepted}"
        )
        lines += [f"      {place}" for place in result.where[:3]]
        if len(result.where) > 3:
            lines.append(f"      and {len(result.where) - 3:,} more")
        lines.append(f"      Fix: {check.fix}")
    return lines


@annotate.command(epilog="Example: refvps annotate check dataset/ --select M,G")
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@options.benchmark_options
@click.option("--select", metavar="IDS", default="", help="Only these checks, by id or first letter: M,G or M7,G1.")
@options.jobs_option
@options.json_option
@options.quiet_option
def check(
    folder: Path | None,
    benchmark: str | None,
    gt: Path | None,
    ignore_value: str | None,
    fps: float | None,
    select: str,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Check files, masks, Ignore, expressions and lists of a data set.

    DIR has clips.jsonl, expressions.jsonl and masks/, and may have frames/. Every row says how bad it is: E blocks a
    release, W needs a look, I is only told. Exit code 7 when there is an E.
    """
    from refvps.annotate.checks.dataset import check_benchmark, check_folder
    from refvps.annotate.checks.table import check_names

    chosen = options.names_option(select)
    check_names(chosen, "--select")
    if folder is not None and (benchmark is not None or gt is not None):
        raise UsageError("Name one data set: DIR, --benchmark or --gt.", fix="drop the others")
    processes = options.job_count(jobs)
    with options.progress_bar("checking", " clips", quiet or as_json) as progress:
        if folder is not None:
            done = check_folder(folder, select=chosen, jobs=processes, progress=progress)
            name = str(folder)
        else:
            bench = options.load_benchmark(benchmark, gt, ignore_value, fps, processes)
            done = check_benchmark(bench, select=chosen, jobs=processes, progress=progress)
            name = f"{bench.name}@{bench.version}"
    if as_json:
        record = {
            "ok": done.ok,
            "clips": done.clips,
            "expressions": done.expressions,
            "clips_with_frames": done.pictures,
            "findings": [_result_record(result) for result in done.results],
        }
        click.echo(json.dumps(record, indent=1, ensure_ascii=False))
        return 0 if done.ok else 7
    for line in _result_lines(done.results):
        click.echo(line)
    kinds = {severity: sum(r.check.severity == severity for r in done.results) for severity in "EWI"}
    told = ", ".join(f"{count} {severity}" for severity, count in kinds.items())
    click.echo(f"{name}: {done.clips:,} clips, {done.expressions:,} expressions: {told}")
    if not done.pictures:
        options.say("note: no frames were looked at, so no stuck tracker is found (M14)", quiet)
    return 0 if done.ok else 7
