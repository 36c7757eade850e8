"""From files somebody has to a benchmark on this machine, whatever form the files have."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from refvps.archive import open_files, shown
from refvps.data.importers import IMPORTERS, Importer
from refvps.data.importers.ref_vps.layout import is_foreign, is_registered_form, withdrawn_file
from refvps.data.importers.ref_vps.load import OPTIONS
from refvps.data.index import Progress
from refvps.data.records.lists import Withdrawal, read_withdrawn
from refvps.data.register import register
from refvps.data.store import Keep, store
from refvps.errors import DataMissingError, InputError, UsageError
from refvps.files import locked
from refvps.home import home
from refvps.types import Benchmark
from refvps.zips import is_junk

_CHUNK = 1 << 20
SPARE_BYTES = 64 << 20
"""What is left free on the disk when a zip is unpacked."""

REF_VPS = Importer(
    name="ref-vps",
    loader="refvps.data.importers.ref_vps.load:load_ref_vps",
    summary="Ref-VPS in a layout of the field",
    licence="",
    instructions=(),
    layout="",
    options=OPTIONS,
)
"""How any data set that has no row of its own is read when it does not have the form of Ref-VPS."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted of the files. ``frames``: None keeps them where that costs nothing: of a zip, or a source that
    is ``temporary``. ``version`` is for data sets that do not say theirs; ``origin`` says where the files came from."""

    name: str
    options: Mapping[str, str]
    frames: Keep | None = None
    temporary: bool = False
    version: str = "local"
    origin: str = ""


def install(source: Path, request: Request, *, jobs: int = 1, progress: Progress | None = None) -> Path:
    """Register a folder or zip under ``request.name``; returns the folder it is in now.

    The form of Ref-VPS is copied, any other goes through its importer. Raises UsageError for options that this data
    set does not have, InputError for files that cannot be used. ``progress`` counts files, then clips.
    """
    row = IMPORTERS.get(request.name, REF_VPS)
    names = _names(source)
    ready = is_registered_form(names) or (row is REF_VPS and not is_foreign(names) and not request.options)
    known = {} if ready else row.options
    if strange := [f"{request.name}: --option {key}" for key in request.options if key not in known]:
        listed = "".join(f"\n  --option {key}={text}" for key, text in known.items())
        raise UsageError(
            "This data set has no such option.",
            where=strange,
            fix=f"its options are{listed}" if known else "drop it: files in the form of Ref-VPS leave no choice",
        )
    if ready:
        return register(
            source, request.name, version=request.version, origin=request.origin, jobs=jobs, progress=progress
        )
    with _unpacked(source) as folder:
        root = _descended(folder, row)
        benchmark = _loaded(root, row, request, jobs, progress)
        return store(
            benchmark,
            name=request.name,
            version=benchmark.version if benchmark.version != "local" else request.version,
            frames=_keep(benchmark, request, source.is_dir()),
            origin=request.origin or source.name,
            withdrawals=_withdrawals(root) if row is REF_VPS else (),
            jobs=jobs,
            progress=progress,
        )


@contextmanager
def workspace() -> Iterator[Path]:
    """A new folder for files on their way, below the home folder; those of killed processes are removed."""
    base = home() / "work"
    for left in base.glob("*"):
        try:
            with locked(left / ".lock"):
                shutil.rmtree(left, ignore_errors=True)
        except (UsageError, OSError):  # its process lives
            continue
    folder = base / secrets.token_hex(8)
    with locked(folder / ".lock"):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _names(source: Path) -> list[str]:
    """What a folder (its upper levels; folders end in "/") or a zip holds; raises where it is neither."""
    if source.is_dir():
        found = [path for pattern in ("*", "*/*", "*/*/*.json") for path in source.glob(pattern)]
        return sorted(f"{path.relative_to(source).as_posix()}{'/' if path.is_dir() else ''}" for path in found)
    if not source.is_file():
        raise UsageError("There is no such folder or file.", where=[shown(source)], fix="check the path")
    with open(source, "rb") as stream:
        if stream.read(2) != b"PK":
            raise InputError(
                "This is neither a folder nor a .zip.", where=[shown(source)], fix="unpack other archives first"
            )
    return list(open_files(source).names)


def _loaded(root: Path, row: Importer, request: Request, jobs: int, progress: Progress | None) -> Benchmark:
    module, _, attribute = row.loader.partition(":")
    loader: Any = getattr(import_module(module), attribute)
    options: dict[str, Any] = {key.replace("-", "_"): value for key, value in request.options.items()}
    if row is REF_VPS:
        options["name"] = request.name
    benchmark: Benchmark = loader(root, jobs=jobs, progress=progress, **options)
    return benchmark


def _keep(benchmark: Benchmark, request: Request, stays: bool) -> Keep:
    """What to do with frames that nobody asked for; ``stays``: the files are not deleted afterwards."""
    if request.frames is not None:
        return request.frames
    if stays and not request.temporary:
        return "none"
    try:
        for clip in benchmark.clips:
            benchmark.frames(clip)
    except DataMissingError:
        return "none"
    return "link"


def _withdrawals(root: Path) -> tuple[Withdrawal, ...]:
    path = withdrawn_file(root)
    return read_withdrawn(path) if path else ()


@contextmanager
def _unpacked(source: Path) -> Iterator[Path]:
    """A folder as it is; a zip is unpacked for as long as it is needed."""
    if source.is_dir():
        yield source
        return
    files = open_files(source)
    with workspace() as folder:
        total = sum(entry.size for entry in files.entries.values())
        free = shutil.disk_usage(folder).free
        if free < total + SPARE_BYTES:
            raise DataMissingError(
                "There is not enough space to unpack this zip.",
                where=[f"{folder.parent}: {total:,} bytes needed, {free:,} free"],
                fix="make room, or set REFVPS_HOME to a larger disk",
            )
        for name in files.names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.stream(name) as stream, open(path, "wb") as sink:
                left = stream.size
                while left:
                    piece = stream.read(min(left, _CHUNK))
                    sink.write(piece)
                    left -= len(piece)
        yield folder


def _descended(folder: Path, row: Importer) -> Path:
    """The folder itself, or the only folder in it where that is not part of the layout."""
    expected = {"Annotations", *(line.strip().split("/")[0] for line in row.layout.splitlines())}
    with os.scandir(folder) as listing:
        entries = [entry for entry in listing if not is_junk(entry.name)]
    if len(entries) == 1 and entries[0].is_dir() and entries[0].name not in expected:
        return folder / entries[0].name
    return folder
