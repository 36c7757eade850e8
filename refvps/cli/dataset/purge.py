"""``refvps purge``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refvps.cli import options
from refvps.errors import InputError, UsageError

if TYPE_CHECKING:
    from refvps.data.records.purge import Purge


@click.command(epilog="Example: refvps purge ref-vps --withdrawn withdrawn.jsonl --results results/")
@click.argument("name", default="ref-vps", metavar="[NAME[@VERSION]]")
@click.option(
    "--withdrawn",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="JSON lines of clip, date and reason. Default: the clips that are known to be withdrawn.",
)
@click.option(
    "--pred",
    "--frames",
    "pred",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Delete the clips from this folder of predictions or of extracted frames, too. May be given several times.",
)
@click.option(
    "--results",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Score results below this folder again, from their counts, into DIR/without-<digest>/.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@options.json_option
@options.quiet_option
def purge(
    name: str,
    withdrawn: Path | None,
    pred: tuple[Path, ...],
    results: tuple[Path, ...],
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Take withdrawn clips off the disk, out of benchmarks and scores.

    Their frames, masks, manifest lines and index entries are deleted from every registered version of NAME,
    which gets a new digest under the same version; the ids are refused for ever. Running it again changes
    nothing, and finishes what was interrupted.
    """
    from refvps.data.records import purge as data

    base, at, version = name.partition("@")
    if at and not version:
        raise UsageError("There is no version behind the @.", where=[name], fix=f"refvps purge {base}")
    given = data.read_given(withdrawn) if withdrawn is not None else ()
    for folder in (*pred, *results):
        if not folder.is_dir():
            raise UsageError("This is no folder.", where=[str(folder)], fix="check --pred and --results")
    with options.progress_bar("checking", " frames", quiet or as_json) as progress:
        done = data.purge(base, version, given, dry_run=dry_run, progress=progress)
    removed = {str(folder): data.remove_predictions(folder, done.names, dry_run=dry_run) for folder in pred}
    scored = [row for folder in results for row in _rescored(folder, base, done, dry_run)]
    if as_json:
        report = {
            "name": base,
            "dry_run": dry_run,
            "withdrawn": [asdict(each) for each in done.withdrawals],
            "versions": [{**asdict(each), "folder": str(each.folder)} for each in done.versions],
            "index_entries": done.index_entries,
            "predictions": {folder: [str(path) for path in paths] for folder, paths in removed.items()},
            "results": scored,
        }
        click.echo(json.dumps(report, indent=1, ensure_ascii=False))
        return
    for line in _lines(base, done, removed, scored, dry_run):
        click.echo(line)
    taken = {clip.lower() for each in done.versions for clip in each.clips}
    if strange := [each.clip for each in given if each.clip.lower() not in taken]:
        options.say(f"note: not taken out of a registered version now: {', '.join(strange)}", quiet)


def _lines(
    base: str, done: Purge, removed: dict[str, list[Path]], scored: list[dict[str, Any]], dry_run: bool
) -> list[str]:
    would = "would be " if dry_run else ""
    lines = [f"{len(done.withdrawals)} clips of {base} are withdrawn"]
    for each in done.versions:
        state = f"digest {each.before[:12]} -> {each.after[:12]}" if each.after else "no clip is left: the version goes"
        what = f"{len(each.clips)} clips: {', '.join(each.clips)}; {state}" if each.clips else "no clip to take out"
        lines.append(f"{base}@{each.version}: {what}; {each.files} files {would}deleted")
    if done.index_entries:
        lines.append(f"index: {done.index_entries} entries {would}deleted")
    lines += [f"{folder}: {len(paths)} files and folders {would}deleted" for folder, paths in removed.items()]
    for row in scored:
        if row["new"]:
            lines.append(f"{row['result']}: {would}scored again without {', '.join(row['clips'])}: {row['new']}")
        else:
            lines.append(f"{row['result']}: {row['problem']}")
    return lines


def _rescored(folder: Path, base: str, done: Purge, dry_run: bool) -> list[dict[str, Any]]:
    """One row for every result below ``folder`` that counts a withdrawn clip; nothing is replaced."""
    from refvps.data.records.withdrawal import gone_among
    from refvps.run import evaluate as run
    from refvps.run.results import read_result, write_result

    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob(f"**/{base}@*/*.json")):
        try:
            result = read_result(path)
        except InputError as error:
            problem = f"it is no result that can be read ({error.what})"
            rows.append({"result": str(path), "clips": [], "new": "", "problem": problem})
            continue
        if result.data["benchmark"]["name"] != base:
            continue
        gone = sorted(gone_among({row.clip for row in result.rows}, done.withdrawals))
        if not gone:
            continue
        row: dict[str, Any] = {"result": str(path), "clips": gone, "new": "", "problem": ""}
        rows.append(row)
        within = path.relative_to(folder)
        derived = within.parts[0].startswith("without-")
        if derived and (folder / Path(*within.parts[1:])).is_file():
            row["problem"] = "an older result without withdrawn clips, now counting some itself: delete it"
        elif result.protocol:
            row["problem"] = f"scored by the protocol {result.protocol}: evaluate again"
        elif not result.has_counts():
            row["problem"] = "its counts are not beside it: evaluate again"
        elif len(gone) == len({clip.id for clip in result.counts().clips}):
            row["problem"] = "no clip would be left of it: delete it"
        else:
            counts = path.parent / str(result.data["counts"]["file"])
            scored = run.evaluate_counts(counts, result.rules, method=result.name, without=gone)
            place = folder / f"without-{scored.scores.benchmark['digest'][:12]}"
            row["new"] = str(place / Path(*within.parts[derived:]))
            if not dry_run:
                write_result(scored.scores, scored.counts, scored.rules, place, inputs={"counts": str(counts)})
    return rows
