"""``refvps extract``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from refvps.cli import options
from refvps.errors import RefvpsError, UsageError

if TYPE_CHECKING:
    from refvps.extract.cut import Cut, Format
    from refvps.extract.record import FrameRecord


class Number(click.ParamType):  # type: ignore[type-arg]
    """An exact number: 24, 23.976, 30000/1001 or, for times, minutes and seconds as 1:02.5."""

    name = "number"

    def __init__(self, *, time: bool) -> None:
        self.time = time

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        """The number; a usage error for anything that is not one, is negative or absurdly long."""
        if isinstance(value, Fraction):
            return value
        parts = str(value).split(":") if self.time else [str(value)]
        try:
            if len(value) > 32 or len(parts) > 3 or "e" in value.lower():
                raise ValueError
            number = sum((Fraction(part) * 60**power for power, part in enumerate(reversed(parts))), Fraction(0))
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is not a {'time' if self.time else 'number'}", param, ctx)
        if number < 0 or (not self.time and not 0 < number <= 1000):
            self.fail(f"{value!r} is out of range", param, ctx)
        return number


def _crop(text: str | None) -> tuple[int, int, int, int] | None:
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise UsageError(
            "--crop is X,Y,WIDTH,HEIGHT in pixels.", where=[repr(text)], fix="for example --crop 0,60,640,360"
        )
    x, y, width, height = map(int, parts)
    return x, y, width, height


@click.command(epilog="Example: refvps extract VIDEO.mp4 --out frames/")
@click.argument("videos", nargs=-1, type=click.Path(path_type=Path), metavar="[VIDEO]...")
@click.option("--manifest", type=click.Path(path_type=Path), metavar="FILE", help="Extract the clips of a clips.jsonl.")
@click.option(
    "--videos", "folder", type=click.Path(path_type=Path), metavar="DIR", help="Where the manifest's videos are."
)
@click.option("--clip", "clips", multiple=True, metavar="CLIP", help="Only this clip; may be given several times.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where the folders of frames go.")
@click.option("--fps", type=Number(time=False), metavar="N", help="Frames per second of bare files. Default: 24.")
@click.option("--start", type=Number(time=True), metavar="TIME", help="Begin there, on the clock of the file.")
@click.option("--end", type=Number(time=True), metavar="TIME", help="The first moment that is not taken.")
@click.option("--crop", metavar="X,Y,W,H", help="Part of the picture as displayed.")
@click.option(
    "--format", "form", type=click.Choice(["jpg", "png"]), default="jpg", show_default=True, help="Files to write."
)
@click.option("--quality", type=click.IntRange(1, 100), help="JPEG quality. Default: the manifest's, else 95.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="DIR|FILE",
    help="Frames or fingerprints.jsonl to compare with. Default: fingerprints.jsonl beside the manifest, if there.",
)
@click.option(
    "--verify", "check", type=click.Path(path_type=Path), metavar="DIR", help="Extract nothing: compare these frames."
)
@click.option("--force", is_flag=True, help="Extract again what is there, and replace it.")
@options.jobs_option
@options.json_option
@options.quiet_option
def extract(
    videos: tuple[Path, ...],
    manifest: Path | None,
    folder: Path | None,
    clips: tuple[str, ...],
    out: Path | None,
    fps: Fraction | None,
    start: Fraction | None,
    end: Fraction | None,
    crop: str | None,
    form: str,
    quality: int | None,
    against: Path | None,
    check: Path | None,
    force: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Take the frames of videos at exactly 24 per second.

    Frame n shows the last source frame that appeared before (n + 1/2)/24 s after the start of the cut. Rotation and
    edit lists are applied. Beside OUT/<clip>/ a record says which source frame each frame is and what it looks
    like; where such a record is at hand, frames are compared with it and a shift is named (exit code 7). After an
    interruption the same command goes on where it stopped.
    """
    given = {"--fps": fps, "--start": start, "--end": end, "--crop": crop}
    if check is not None:
        foreign = {**given, "VIDEO": videos, "--videos": folder, "--out": out, "--clip": clips, "--force": force}
        if used := [name for name, value in foreign.items() if value]:
            raise UsageError("--verify extracts nothing.", where=used, fix="drop these, or --verify")
        _verify(check, against or _fingerprints(manifest), as_json, quiet)
        return
    if out is None:
        raise UsageError("--out is needed.", fix="name the folder where the frames go: --out DIR")
    if bool(videos) == (manifest is not None):
        raise UsageError("Name videos, or a manifest.", fix="refvps extract VIDEO --out DIR, or --manifest clips.jsonl")
    from refvps import extract as work

    missing: Mapping[str, RefvpsError] = {}
    withdrawn: tuple[str, ...] = ()
    if manifest is None:
        if clips or folder:
            raise UsageError("--clip and --videos belong to --manifest.", fix="add --manifest FILE, or drop them")
        cuts = work.from_files(
            videos,
            fps=fps or Fraction(24),
            start=start,
            end=end,
            crop=_crop(crop),
            format=cast("Format", form),
            quality=quality or 95,
        )
    else:
        if used := [name for name, value in given.items() if value is not None]:
            raise UsageError("The manifest says how its clips are cut.", where=used, fix="drop these, or edit it")
        if folder is None:
            raise UsageError("--manifest needs the folder of the videos.", fix="add --videos DIR")
        cuts, missing, withdrawn = work.from_manifest(
            manifest, folder, clips=clips, format=cast("Format", form), quality=quality
        )
    references = _references(against or _fingerprints(manifest), cuts)
    with options.progress_bar("extracting", " frames", quiet or as_json) as progress:
        done = work.extract(
            cuts, out, references=references, jobs=options.job_count(jobs), force=force, progress=progress
        )
    result = work.Extraction(done.done, {**done.failed, **missing})
    _show(result, withdrawn, out, as_json, quiet)
    result.raise_for_failures()


def _fingerprints(manifest: Path | None) -> Path | None:
    """The fingerprints that came with a manifest."""
    from refvps.extract.record import FINGERPRINTS

    if manifest is None:
        return None
    path = (manifest if manifest.is_dir() else manifest.parent) / FINGERPRINTS
    return path if path.is_file() else None


def _references(against: Path | None, cuts: list[Cut]) -> dict[str, FrameRecord]:
    from refvps.extract.verify import read_reference

    if against is None:
        return {}
    found = read_reference(against)
    if not found.keys() & {cut.clip for cut in cuts}:
        raise UsageError("The reference has none of these clips.", where=[str(against)], fix="check --against")
    return found


def _show(result: Any, withdrawn: tuple[str, ...], out: Path, as_json: bool, quiet: bool) -> None:
    rows: list[dict[str, Any]] = [
        {
            "clip": clip,
            "frames": len(done.record.names),
            "size": list(done.record.size),
            "folder": str(out / clip),
            "kept": done.kept,
            "verdict": done.verdict,
            "repeated": sum(one == other for one, other in zip(done.record.pts, done.record.pts[1:], strict=False)),
            "duplicates": list(done.record.duplicates),
            "notes": list(done.notes),
        }
        for clip, done in result.done.items()
    ]
    if as_json:
        failed = {clip: {"error": error.what, "where": list(error.where)} for clip, error in result.failed.items()}
        content = {"out": str(out), "clips": rows, "failed": failed, "withdrawn": list(withdrawn)}
        click.echo(json.dumps(content, indent=1, ensure_ascii=False))
        return
    for row in rows:
        height, width = row["size"]
        click.echo(f"{row['folder']}: {row['frames']:,} frames, {width}x{height}, {row['verdict']}")
        for note in row["notes"]:
            options.say(f"note: {note}", quiet)
        if row["duplicates"]:
            first, many = row["duplicates"][0], len(row["duplicates"])
            text = f"note: clip {row['clip']}: {many:,} frames equal the one before though the source frame is another"
            options.say(f"{text} (first {first})", quiet)
    if withdrawn:
        options.say(f"note: {len(withdrawn):,} withdrawn clips left out", quiet)
    kept = sum(row["kept"] for row in rows)
    there = f", {kept:,} were there already" if kept else ""
    options.say(f"{len(rows):,} clip{'' if len(rows) == 1 else 's'} in {out}{there}", quiet)


def _verify(frames: Path, against: Path | None, as_json: bool, quiet: bool) -> None:
    from refvps.extract.verify import raise_for_differences, verify

    with options.progress_bar("comparing", " clips", quiet or as_json) as progress:
        judged = verify(frames, against, progress=progress)
    if as_json:
        rows = {clip: {"verdict": each.verdict, "sentence": each.sentence} for clip, each in judged.items()}
        click.echo(json.dumps({"frames": str(frames), "clips": rows}, indent=1, ensure_ascii=False))
    else:
        counts = {verdict: 0 for verdict in ("same", "shifted", "different", "unverified")}
        for each in judged.values():
            counts[each.verdict] += 1
        click.echo(", ".join(f"{count:,} {verdict}" for verdict, count in counts.items()))
        for each in judged.values():
            if each.sentence and each.verdict in ("same", "unverified"):
                options.say(f"note: {each.sentence}", quiet)
    raise_for_differences(judged)
