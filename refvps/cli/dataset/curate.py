"""``refvps curate``: proposals, never changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from refvps.cli import options
from refvps.errors import InputError, RefvpsError, UsageError

if TYPE_CHECKING:
    from refvps.curate import Review, Thresholds

Command = Callable[..., Any]
Found = TypeVar("Found")

_videos = click.argument(
    "videos", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="VIDEO..."
)
_out = click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Write a sheet to look at, and a record to fill in."
)
_force = click.option("--force", is_flag=True, help="Replace records in --out, also those with decisions.")
_set = click.option("--set", "assigned", multiple=True, metavar="NAME=N", help="Change a threshold; --json lists them.")
_engine = click.option(
    "--engine",
    type=click.Choice(["built-in", "pyscenedetect"]),
    default="built-in",
    show_default=True,
    help="What looks for cuts.",
)
_cards = click.option(
    "--end-card",
    "cards",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PICTURE",
    help="A known title or end card, whole; may be given several times.",
)


def _shared(*used: Command) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed((_videos, *used, _set, options.json_option, options.quiet_option)):
            command = option(command)
        return command

    return decorate


_reviewing = _shared(_out, _force, _engine)


@click.group(epilog="Example: refvps curate review VIDEO.mp4 --out proposals/")
def curate() -> None:
    """Propose cuts, crops and rejections of videos; a person decides.

    Nothing is changed: with --out DIR each command draws a sheet and writes a record in which a person answers
    "accepted" for each proposal. The rules are those of the paper: no static video, no event that is over too
    soon, no shot changes; compilations become several clips of one group.
    """


@curate.command(epilog="Example: refvps curate probe VIDEO.mp4")
@_shared()
def probe(videos: tuple[Path, ...], assigned: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Size as displayed, rotation, codec, frame rate, duration, hash, and what will be a nuisance."""
    from refvps import curate as work

    _thresholds(assigned)
    found, failed = _each(videos, lambda path, progress: work.probe(path, progress=progress), quiet or as_json)
    rows = []
    for path, each in found:
        video = each.video
        height, width = video.size
        rate = each.frames / float(each.duration) if each.duration else 0.0
        rows.append(
            {
                "file": str(path),
                "size": [height, width],
                "rotation": video.rotation,
                "mirrored": video.mirrored,
                "codec": video.codec,
                "container": video.container,
                "average_rate": None if video.average_rate is None else str(video.average_rate),
                "variable_rate": each.variable,
                "intervals": None if each.intervals is None else [str(gap) for gap in each.intervals],
                "time_base": str(video.time_base),
                "pixel_aspect": str(video.pixel_aspect),
                "first": str(video.first),
                "duration": str(each.duration),
                "frames": each.frames,
                "sha256": each.sha256,
                "bytes": each.bytes,
                "problems": list(each.problems),
            }
        )
        if not as_json:
            varies = "variable" if each.variable else "constant"
            click.echo(
                f"{path}: {width}x{height}, {video.codec}, {rate:.3f} fps ({varies}), {each.frames:,} frames, "
                f"{float(each.duration):.3f} s, sha256 {each.sha256}"
            )
            for problem in each.problems:
                click.echo(f"  {problem}")
    _finish({"videos": rows}, failed, as_json)


@curate.command(epilog="Example: refvps curate shots VIDEO.mp4 --engine pyscenedetect")
@_reviewing
def shots(**given: Any) -> None:
    """Cuts, dissolves and flashes, and the clips between them."""
    _review("shots", given, crops=False)


@curate.command(epilog="Example: refvps curate static VIDEO.mp4")
@_reviewing
def static(**given: Any) -> None:
    """Frozen pictures, and videos in which hardly anything changes (the paper's first criterion)."""
    _review("static", given, crops=False)


@curate.command(epilog="Example: refvps curate fast VIDEO.mp4")
@_reviewing
def fast(**given: Any) -> None:
    """Events that are over before enough frames could be labelled (the paper's second criterion)."""
    _review("fast", given, crops=False)


@curate.command(epilog="Example: refvps curate crop VIDEO.mp4 --out proposals/")
@_reviewing
def crop(**given: Any) -> None:
    """Bars, frames and blurred copies around the picture."""
    _review("crop", given, crops=True)


@curate.command(epilog="Example: refvps curate outro VIDEO.mp4 --end-card logo.png")
@_shared(_cards, _out, _force, _engine)
def outro(**given: Any) -> None:
    """Title cards, end cards, logos, black or frozen ends within the first or last four seconds."""
    _review("outro", given, crops=False)


@curate.command(epilog="Example: refvps curate review VIDEO.mp4 --out proposals/")
@_shared(_cards, _out, _force, _engine)
def review(**given: Any) -> None:
    """All of shots, static, fast, crop and outro on one sheet."""
    _review("", given, crops=True)


@curate.command(epilog="Example: refvps curate split VIDEO.mp4 --concept fireworks > proposed.jsonl")
@click.option("--concept", default="", metavar="TEXT", help="Concept to write into the lines.")
@click.option("--split", "part", default="test", show_default=True, metavar="NAME", help="Split to write into them.")
@_shared(_cards, _out, _force, _engine)
def split(concept: str, part: str, **given: Any) -> None:
    """Print the proposed clips as lines of a clips.jsonl: one group a video.

    refvps extract --manifest takes them as they are. Nothing is written into annotations/.
    """
    from refvps import curate as work

    found, failed = _reviews(given, crops=True)
    lines = work.clip_lines([review for _, review in found], concept=concept, split=part)
    for line in lines:
        click.echo(json.dumps(line, ensure_ascii=False, sort_keys=True))
    _store("", found, given)
    for path, each in found:
        if not each.clips:
            options.say(f"note: {path}: no clip is long enough", given["quiet"])
    _finish(None, failed, as_json=False)


@curate.command(epilog="Example: refvps curate duplicates videos/*.mp4")
@_shared(_out)
def duplicates(
    videos: tuple[Path, ...], out: Path | None, assigned: tuple[str, ...], as_json: bool, quiet: bool
) -> None:
    """The same pictures in several videos: shifted, trimmed, scaled, padded or mirrored copies."""
    from refvps import curate as work

    thresholds = _thresholds(assigned)
    silent = quiet or as_json
    found, failed = _each(
        sorted(set(videos)), lambda path, step: work.fingerprints(path, thresholds=thresholds, progress=step), silent
    )
    prints = [each for _, each in found]
    with options.progress_bar("comparing", " pairs", silent) as progress:
        pairs = work.near_duplicates(prints, thresholds=thresholds, progress=progress)
    groups = work.clusters(prints, pairs)
    if out is not None and pairs:
        from refvps.report.proposals import duplicate_sheet

        duplicate_sheet(prints, pairs, out / "duplicates.png")
        options.say(f"sheet: {out / 'duplicates.png'}", quiet)
    if not as_json:
        for group in groups:
            click.echo(f"{len(group):,} alike, keep {group[0]}: {', '.join(map(str, group[1:]))}")
        for each in pairs:
            how = "the same file" if each.identical else f"{each.bits:g} bits differ"
            turned = ", mirrored" if each.mirrored else ""
            click.echo(
                f"  {each.one} from {float(each.one_start):.2f} s = {each.other} from {float(each.other_start):.2f} s"
                f" for {float(each.seconds):.2f} s ({how}{turned})"
            )
        if not pairs:
            click.echo("no near-duplicates")
    content = {
        "schema": "refvps.duplicates/1",
        "thresholds": _as_dict(thresholds),
        "videos": [{"file": str(each.path), "sha256": each.sha256, "size": list(each.size)} for each in prints],
        "pairs": [
            {
                "one": str(each.one),
                "other": str(each.other),
                "one_start": str(each.one_start),
                "other_start": str(each.other_start),
                "seconds": str(each.seconds),
                "bits": each.bits,
                "mirrored": each.mirrored,
                "identical": each.identical,
                "accepted": None,
            }
            for each in pairs
        ],
        "clusters": [{"keep": str(group[0]), "others": [str(path) for path in group[1:]]} for group in groups],
    }
    _finish(content, failed, as_json)


# --- what the commands share -----------------------------------------------------------------------


def _review(about: str, given: dict[str, Any], *, crops: bool) -> None:
    from refvps import curate as work

    found, failed = _reviews(given, crops=crops)
    for path, each in found if not given["as_json"] else ():
        for line in _lines(path, each, about):
            click.echo(line)
    _store(about, found, given)
    _finish({"videos": [work.record(each, about) for _, each in found]}, failed, given["as_json"])


def _reviews(given: dict[str, Any], *, crops: bool) -> tuple[list[tuple[Path, Review]], dict[Path, RefvpsError]]:
    from refvps import curate as work

    videos, thresholds = given["videos"], _thresholds(given["assigned"])
    known = [_card_print(path) for path in given.get("cards", ())]
    if given["out"] is not None:
        stems = [path.stem for path in videos]
        if doubled := [str(path) for path in videos if stems.count(path.stem) > 1]:
            raise UsageError("Two videos have one name.", where=doubled, fix="review them one after the other")

    def look(path: Path, progress: options.Progress | None) -> Review:
        return work.review(
            path, thresholds=thresholds, engine=given["engine"], known_cards=known, crops=crops, progress=progress
        )

    return _each(videos, look, given["quiet"] or given["as_json"])


def _each(
    videos: Sequence[Path], look: Callable[[Path, options.Progress | None], Found], quiet: bool
) -> tuple[list[tuple[Path, Found]], dict[Path, RefvpsError]]:
    """Look at every video; one that cannot be used does not stop the others."""
    found: list[tuple[Path, Found]] = []
    failed: dict[Path, RefvpsError] = {}
    for path in videos:
        try:
            with options.progress_bar(path.name, " frames", quiet) as progress:
                found.append((path, look(path, progress)))
        except (InputError, UsageError) as error:
            if len(videos) == 1:
                raise
            failed[path] = error
    return found, failed


def _lines(path: Path, found: Review, about: str) -> Iterator[str]:
    from refvps import curate as work

    survey = found.survey
    height, width = survey.video.size
    yield f"{path}: {width}x{height}, {len(survey):,} frames, {float(survey.end - survey.at(0)):.3f} s"
    if about in ("", "shots"):
        for each in found.boundaries:
            until = f" to {each.stop:,}" if each.stop > each.frame else ""
            yield f"  {each.kind} at {float(each.seconds):.3f} s, frame {each.frame:,}{until}, change {each.change:.1f}"
        for number, clip in enumerate(found.clips, 1):
            yield f"  clip {number}: [{float(clip.start):.3f}, {float(clip.end):.3f}) s"
    if about in ("", "static"):
        for number, each_ in enumerate(found.motions, 1):
            if each_.still is not None:
                moved = f"{each_.moved:.1%} of the picture is another after a second"
                yield f"  clip {number}: {each_.still:.0%} of its seconds are still; {moved}"
    if about in ("", "fast"):
        for number, each_ in enumerate(found.motions, 1):
            yield f"  clip {number}: the longest movement takes {each_.events:,} frames at 24 per second"
    asked = work.proposals(found, about)
    for proposal in asked:
        spans = [f"[{start or 'beginning'}, {end or 'end'})" for start, end in _spans(proposal)]
        box = "{2}x{3}+{0}+{1}".format(*proposal["box"]) if "box" in proposal else ""
        words = [proposal["kind"], proposal.get("criterion", ""), *spans, box]
        yield f"  propose {' '.join(word for word in words if word)}: {proposal['reason']}"
    if not asked:
        yield "  nothing to propose"


def _spans(proposal: dict[str, Any]) -> Iterator[tuple[str, str]]:
    given = proposal.get("clips", [proposal] if proposal["kind"] == "trim" else [])
    for each in given:
        start, end = (each[key] and f"{float(Fraction(each[key])):.3f} s" for key in ("start", "end"))
        yield start, end


def _store(about: str, found: Sequence[tuple[Path, Review]], given: dict[str, Any]) -> None:
    from refvps import curate as work

    if given["out"] is None:
        return
    from refvps.report.proposals import proposal_sheet

    for path, each in found:
        name = f"{path.stem}.{about or 'review'}"
        record, sheet = given["out"] / f"{name}.json", given["out"] / f"{name}.png"
        written = work.write_record(work.record(each, about), record, force=given["force"])
        proposal_sheet(each, sheet, about=about)
        options.say(f"sheet: {sheet}; record: {record}{'' if written else ' (kept)'}", given["quiet"])


def _finish(content: dict[str, Any] | None, failed: dict[Path, RefvpsError], as_json: bool) -> None:
    if as_json and content is not None:
        content["failed"] = {
            str(path): {"error": error.what, "where": list(error.where)} for path, error in failed.items()
        }
        click.echo(json.dumps(content, indent=1, ensure_ascii=False))
    if failed:
        wheres = [f"{path}: {error.what} {error.where[0] if error.where else ''}" for path, error in failed.items()]
        kinds = {type(error) for error in failed.values()}
        kind = kinds.pop() if len(kinds) == 1 else InputError
        fixes = "; ".join(dict.fromkeys(error.fix for error in failed.values() if error.fix))
        raise kind("Some videos could not be looked at; the others were.", where=wheres, fix=fixes)


def _thresholds(assigned: Sequence[str]) -> Thresholds:
    from refvps.curate import Thresholds

    return Thresholds().override(assigned)


def _as_dict(thresholds: Thresholds) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(thresholds)


def _card_print(path: Path) -> int:
    """The fingerprint of a picture of a card."""
    from refvps.frames import ImageFrames
    from refvps.source.fingerprint import dhash64

    return dhash64(ImageFrames((path,), 1.0, str(path)).read(0))
