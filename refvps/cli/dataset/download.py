"""``refvps download``: a benchmark from the hub, an address, or files you have."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from refvps.cli import options
from refvps.errors import DataMissingError, InputError, UsageError

PARTS = ("clips", "masks", "frames")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for, apart from the source."""

    name: str
    options: dict[str, str]
    frames: Any
    accept: bool
    jobs: int
    quiet: bool


@click.command(epilog="Example: refvps download ref-vps --from ref-vps.zip")
@click.argument("name", default="ref-vps")
@click.option(
    "--from",
    "source",
    metavar="DIR|ZIP|URL",
    help="A copy you have, or its http(s) address. Forms: docs/download.md.",
)
@click.option("--repo", metavar="ORG/NAME", help="A dataset repository of the Hugging Face hub. [env var: REFVPS_REPO]")
@click.option("--revision", metavar="REV", help="Branch, tag or commit of --repo. Default: main, pinned to its commit.")
@click.option("--endpoint", metavar="URL", help="Another hub than huggingface.co.")
@click.option("--only", metavar="A,B", help="Parts to download: clips,masks,frames. Default: all there are.")
@click.option("--sha256", metavar="HEX", help="What the file at --from URL must be.")
@click.option(
    "--frames", type=click.Choice(["none", "copy", "link"]), help="What to do with the frames of other layouts."
)
@click.option(
    "--option", "pairs", multiple=True, metavar="KEY=VALUE", help="A choice of the importer of this data set."
)
@click.option("--accept-licence", "accept", is_flag=True, help="You have read its licence and accept it.")
@options.jobs_option
@options.json_option
@options.quiet_option
def download(
    name: str,
    source: str | None,
    repo: str | None,
    revision: str | None,
    endpoint: str | None,
    only: str | None,
    sha256: str | None,
    frames: str | None,
    pairs: tuple[str, ...],
    accept: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Put a benchmark on this machine.

    Ref-VPS has no public repository yet, so a repository or a copy must be named. What may not be handed out is
    imported from a copy you have; without one the command exits 3 with the steps to get it. Everything is checked,
    given its digest and kept under REFVPS_HOME.
    """
    from refvps import home
    from refvps.data import ALIASES
    from refvps.types import ID

    name = ALIASES.get(name, name)
    if not ID.fullmatch(name):
        fix = (
            "name it without @; --revision or --option version=V says which"
            if "@" in name
            else "letters, digits, . _ -"
        )
        raise UsageError("This is no name of a benchmark.", where=[repr(name)[:80]], fix=fix)
    if source == "":
        raise UsageError("--from is empty.", fix="give a folder, a .zip or an address")
    if name in ("sample", "folder"):
        raise UsageError(f"{name} needs no download.", fix="refvps evaluate --pred preds/ -b sample, or --gt DIR")
    repo = repo or (home.repository() if name == "ref-vps" and source is None else "")
    if source is not None and repo:
        raise UsageError("--from and --repo exclude each other.", fix="keep one of them")
    for option, value in (("--revision", revision), ("--endpoint", endpoint), ("--only", only)):
        if value is not None and not repo:
            raise UsageError(f"{option} belongs to --repo.", fix=f"add --repo ORG/NAME, or drop {option}")
    if source is None and not repo:
        raise _nowhere(name)
    parts = _parts(only)
    wish = Wish(
        name,
        _pairs(pairs),
        frames if "frames" in parts else "none",
        accept,
        options.job_count(jobs),
        quiet or as_json,
    )
    if repo:
        folder = _from_hub(wish, repo, revision, endpoint)
    elif source is not None and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source):
        folder = _from_address(wish, source, sha256)
    else:
        if sha256:
            raise UsageError("--sha256 belongs to --from URL.", fix="drop it for a copy you have")
        folder = _from_files(wish, Path(source or ""), temporary=False)
    _report(folder, as_json, quiet or as_json)


def _nowhere(name: str) -> DataMissingError | UsageError:
    """What to say when no source is named."""
    from refvps import data
    from refvps.data.importers import IMPORTERS

    if row := IMPORTERS.get(name):
        steps = [*row.instructions, f"run: refvps download {name} --from DIR|ZIP|URL, where DIR holds"]
        lines = [f"{number}. {step}" for number, step in enumerate(steps, 1)]
        lines += [f"     {line}" for line in row.layout.splitlines()]
        return DataMissingError(
            f"{name} may not be handed out by refvps: {row.licence}", fix="\n  ".join(["these steps", *lines])
        )
    if name not in data.ENTRIES:
        raise data.unknown(name)
    return DataMissingError(
        f"{name} has no public repository that refvps knows of.",
        fix="\n  ".join([
            "one of",
            "refvps download ref-vps --repo ORG/NAME    a dataset repository of the Hugging Face hub (or REFVPS_REPO)",
            "refvps download ref-vps --from DIR|ZIP|URL    a copy you have; its forms are in docs/download.md",
            "refvps evaluate --pred preds/ -b sample    the clips that come with refvps, without any download",
        ]),
    )  # fmt: skip


def _parts(only: str | None) -> list[str]:
    parts = list(PARTS) if only is None else options.names_option(only)
    if strange := [part for part in parts if part not in PARTS]:
        raise UsageError("There is no such part.", where=strange, fix=f"parts are {', '.join(PARTS)}")
    if "masks" not in parts:
        raise UsageError(
            "Without masks there is nothing to check or score.", fix="--only clips,masks leaves out frames"
        )
    return parts


def _pairs(pairs: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key or key in found:
            raise UsageError("--option takes KEY=VALUE, once per key.", where=[pair], fix="such as layout=davis")
        found[key.replace("_", "-")] = value
    return found


def _from_files(wish: Wish, path: Path, *, temporary: bool, version: str = "local", origin: str = "") -> Path:
    """Register a folder or zip on this machine."""
    from refvps.data.importers import IMPORTERS
    from refvps.data.importers.install import Request, install

    if (row := IMPORTERS.get(wish.name)) is not None:
        _agree(wish, row.licence)
    request = Request(wish.name, wish.options, wish.frames, temporary, version, origin)
    with options.progress_bar("registering", " files", wish.quiet) as progress:
        return install(path, request, jobs=wish.jobs, progress=progress)


def _from_address(wish: Wish, url: str, sha256: str | None) -> Path:
    """Fetch a zip, register it, and delete it again; it is kept where its licence was not accepted."""
    import hashlib
    import shutil

    from refvps import home
    from refvps.fetch.http import fetch
    from refvps.fetch.record import FileRecord, check_url

    check_url(url)
    record = FileRecord(f"{wish.name}.zip", (url,), sha256=sha256 or "")
    folder = home.home() / "downloads" / hashlib.sha256(url.encode()).hexdigest()[:16]
    with options.progress_bar("downloading", "B", wish.quiet, scale=True) as progress:
        path = fetch(record, folder, offline=home.offline(), progress=progress)
    try:
        _agree(wish, _stated(path))
        done = _from_files(wish, path, temporary=True, origin=url)
    except InputError:
        path.unlink(missing_ok=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return done


def _stated(path: Path) -> str:
    """The licence that a zip states."""
    from refvps.archive import open_files
    from refvps.fetch.hub import licence_of

    files = open_files(path)
    return licence_of(files.names, lambda name: files.read(name, 1 << 20))


def _from_hub(wish: Wish, repo: str, revision: str | None, endpoint: str | None) -> Path:
    """Download a repository into the cache of huggingface_hub, check it, and register it."""
    from refvps import home
    from refvps.data.importers.install import workspace
    from refvps.fetch import hub

    repository = hub.find(repo, revision=revision, endpoint=endpoint, offline=home.offline())
    options.say(f"{repo}: {repository.revision} is commit {repository.commit}", wish.quiet)
    terms = hub.download(repository, only=hub.TERMS)
    _agree(wish, hub.licence_of(tuple(terms), lambda name: terms[name].read_bytes()[: 1 << 20]))
    without = hub.FRAMES if wish.frames == "none" else ()
    with options.progress_bar("downloading", "B", wish.quiet, scale=True) as progress:
        files = hub.download(repository, without=without, progress=progress)
    if not repository.files:
        options.say("without the network the files could not be compared with the hub's hashes", wish.quiet)
    with workspace() as folder:
        hub.place(files, folder / "files")
        packed = [path for path in files if path.lower().endswith(".zip")]
        alone = len(packed) == 1 and not any(path.endswith((".jsonl", ".png")) for path in files)
        path = folder / "files" / packed[0] if alone else folder / "files"
        return _from_files(wish, path, temporary=True, version=repository.commit[:12], origin=str(repository))


def _agree(wish: Wish, text: str) -> None:
    """Show a licence once, and go on only when it is accepted."""
    from refvps.archive import shown
    from refvps.fetch import licence

    if not text or licence.is_accepted(text):
        return
    if not wish.accept or not wish.quiet:
        lines = "\n".join(shown(line, 1000) for line in text.splitlines())
        click.echo(f"Licence of {wish.name}:\n\n{lines}\n", err=True)
    asked = not wish.accept and sys.stdin.isatty() and sys.stderr.isatty()
    if wish.accept or (asked and click.confirm("Do you accept it?", err=True)):
        licence.accept(wish.name, text)
        return
    raise DataMissingError(
        f"The licence of {wish.name} was not accepted.",
        fix="read it above, and run the same command with --accept-licence if you accept it",
    )


def _report(folder: Path, as_json: bool, quiet: bool) -> None:
    from refvps.data.local import read_record

    record = read_record(folder)
    if as_json:
        found = {key: record[key] for key in ("name", "version", "digest", "source", "licence")}
        found |= {"folder": str(folder), "clips": len(record["clips"])}
        click.echo(json.dumps(found | {"notes": record.get("notes", [])}))
    for note in record.get("notes", []):
        options.say(note, quiet)
    clips = len(record["clips"])
    options.say(f"registered {record['name']}@{record['version']}, {clips} clips, in {folder}", quiet)
