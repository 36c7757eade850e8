"""What is inside label PNGs: every file decoded once, and the answer kept under a hash of the content.

A label PNG holds one small integer per pixel: 0 background, others objects or Ignore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from refvps.data.truth import MAX_MASK_BYTES, read_mask
from refvps.errors import InputError
from refvps.files import canonical_json, parse_json, read_bytes, sha256, write_atomic
from refvps.home import home
from refvps.masks import bits, png, rle
from refvps.workers import workers

Progress = Callable[[int, int], None]
"""Called with (files done, files in all)."""

VERSION = 1
"""Part of every key: raise it when the meaning of an entry changes."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Labels:
    """One decoded label PNG: ``size`` (height, width) and the COCO RLE of each label other than 0."""

    size: tuple[int, int]
    masks: dict[int, bytes]


def scan(data: bytes, size: tuple[int, int] | None = None) -> Labels:
    """Decode one label PNG; raises PngError. ``size``: what it must be, else what its header says."""
    if size is None:
        header = png.header(data)
        size = header.height, header.width
    target, ignore, present = png.read_target_ignore(data, size, 255)
    others = sorted(present - {0, 255})
    masks: dict[int, bytes] = {}
    if len(others) == 1:
        masks[others[0]] = rle.from_bits(target, size)
    elif others:
        labels = png.read_labels(data, size)
        masks = {label: rle.from_bits(bits.pack(labels == label), size) for label in others}
    if 255 in present:
        masks[255] = rle.from_bits(ignore, size)
    return Labels(size, masks)


def scan_files(
    paths: Sequence[str], *, jobs: int = 1, progress: Progress | None = None
) -> Iterator[tuple[str, Labels | str]]:
    """(path, content or what is wrong with it) for label PNGs, in order, on ``jobs`` processes."""
    return zip(paths, parallel(_scan_path, paths, jobs=jobs, progress=progress), strict=True)


def _scan_path(path: str) -> Labels | str:
    try:
        return scan(read_mask(path))
    except png.PngError as error:
        return str(error)
    except InputError as error:
        return error.what


def parallel(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int = 1,
    chunk: int = 64,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Results of a module-level function, in order; ``chunk`` items at a time on ``jobs`` spawned processes.

    Two chunks or fewer stay in this process: starting workers would cost more than it saves. Raises RefvpsError
    when a worker dies.
    """
    report = progress or (lambda done, total: None)
    chunks = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    done = 0
    report(done, len(items))
    if jobs <= 1 or len(chunks) <= 2:
        for piece in chunks:
            yield from _each(function, piece)
            done += len(piece)
            report(done, len(items))
        return
    with workers(min(jobs, len(chunks)), lambda: f"{done:,} of {len(items):,} were read") as pool:
        for results in pool.map(_each, [function] * len(chunks), chunks):
            yield from results
            done += len(results)
            report(done, len(items))


def _each(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    return [function(item) for item in items]


def hash_file(path: str) -> str:
    """Hex SHA-256 of a mask file; raises InputError when it cannot be read or is too large."""
    return sha256(read_mask(path))


def key_of(**content: Any) -> str:
    """The key of an index entry: a hash over everything the entry follows from."""
    return sha256(canonical_json({"version": VERSION, **content}))


def recall(key: str) -> Any:
    """The value kept under ``key``, or None when there is none or it is damaged."""
    try:
        entry = parse_json(read_bytes(_path(key), MAX_MASK_BYTES), key)
    except InputError:
        return None
    if not isinstance(entry, dict) or entry.get("key") != key:
        return None
    value = entry.get("value")
    return value if entry.get("sha256") == sha256(canonical_json(value)) else None


def remember(key: str, value: Any) -> None:
    """Keep a JSON value under ``key``; a cache folder that cannot be written is no reason to fail."""
    entry = {"key": key, "sha256": sha256(canonical_json(value)), "value": value}
    try:
        write_atomic(_path(key), canonical_json(entry))
    except OSError:
        return


def _path(key: str) -> Path:
    return home() / "index" / f"{key}.json"


def forget(names: Iterable[str], *, dry_run: bool = False) -> int:
    """Delete every entry that says something about one of the videos in ``names``; returns how many there were."""
    wanted = {name.lower() for name in names}
    found = 0
    for path in sorted((home() / "index").glob("*.json")):
        value = recall(path.stem)
        if isinstance(value, dict) and any(name.lower() in wanted for name in value):
            found += 1
            if not dry_run:
                path.unlink(missing_ok=True)
    return found
