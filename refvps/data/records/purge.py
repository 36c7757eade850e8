"""Take withdrawn clips off this machine: registered versions of a data set, the index, folders of predictions.

A version keeps its name and becomes the state that registering it without these clips would give: other digest,
other manifests. The order of writing makes that safe to interrupt. The ledger first, so that a second call knows
what the first one was about; then the new manifests beside the old ones; then ``benchmark.json``, in one step, which
decides which of them count; then the manifests take their places and the files of the clips go.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refvps.data import index
from refvps.data.digest import benchmark_digest
from refvps.data.local import damaged, next_to, read_checked, read_record
from refvps.data.manifest import CLIPS, EXPRESSIONS, parse_manifest
from refvps.data.records.lists import WITHDRAWN, Withdrawal, parse_withdrawn, withdrawn_lines
from refvps.data.records.withdrawal import enter, gone_among, ledger, merged, stripped
from refvps.data.store import NOT_STORED, RECORD, frame_files
from refvps.errors import DataMissingError, InputError, UsageError
from refvps.files import canonical_json, locked, parse_json, read_bytes, sha256, sha256_file, write_atomic
from refvps.home import home
from refvps.types import Clip, check_id

Progress = Callable[[int, int], None]
"""Called with (frames checked, frames in all)."""

_PARTS = (".jsonl", ".npz", ".npy", ".frames.json")
"""Endings of files that hold predictions, or the record of frames, of one clip."""

_TOPS = ("Annotations",)
MAX_JSON_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Purged:
    """What became of one registered version.

    ``clips`` went now (or would go), ``files`` is how many files of withdrawn clips were there. ``before`` and
    ``after`` are digests; ``after`` is "" when no clip is left and the whole version goes.
    """

    version: str
    folder: Path
    clips: tuple[str, ...]
    files: int
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Purge:
    """What a purge did to a data set: its versions, entries of the index that went, and all names of withdrawn
    clips, which are their ids and the ids they had in the data they were taken from."""

    withdrawals: tuple[Withdrawal, ...]
    versions: tuple[Purged, ...]
    index_entries: int
    names: frozenset[str]


def purge(
    name: str,
    version: str = "",
    withdrawals: Iterable[Withdrawal] = (),
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Purge:
    """Take ``withdrawals``, and all known before, out of the registered versions of a data set.

    ``version`` restricts it to one. Calling it again changes nothing, and finishes what was interrupted. With
    ``dry_run`` nothing is written. Raises DataMissingError when nothing of this name is registered and there are
    no withdrawals to remember, InputError when a registered version is damaged.
    """
    check_id(name, "benchmark")
    if name in NOT_STORED:
        raise UsageError("This benchmark is never registered.", where=[name], fix="name a data set that is")
    base = home() / "benchmarks" / name
    given = tuple(withdrawals)
    folders = sorted(path.parent for path in base.glob(f"[!.]*/{RECORD}"))
    if version:
        folders = [folder for folder in folders if folder.name == version]
    if not folders and (version or not (given or ledger(base))):
        raise DataMissingError(
            f"No {name}{'@' + version if version else ''} is registered on this machine.",
            where=[str(base)],
            fix="to refuse these clips when it is registered later, pass --withdrawn FILE",
        )
    if dry_run:
        return _purge(base, folders, merged(ledger(base), given), progress, dry_run=True)
    with locked(base / ".lock"):
        for leftover in base.glob(".staging-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        enter(base, given)
        return _purge(base, folders, ledger(base), progress, dry_run=False)


def _purge(
    base: Path, folders: Sequence[Path], known: tuple[Withdrawal, ...], progress: Progress | None, *, dry_run: bool
) -> Purge:
    names = {each.clip for each in known}
    done = []
    for folder in folders:
        state = _State.read(folder)
        gone = gone_among(state.clips, known)
        stay = {key.lower() for key in state.clips.keys() - gone}  # a foreign id may be that of another clip here
        foreign = {state.clips[key].source_id for key in gone} - {""}
        names |= {name for name in foreign if name.lower() not in stay}
        done.append(_purge_version(state, known, progress, dry_run=dry_run))
    entries = index.forget(names, dry_run=dry_run) if names else 0
    return Purge(known, tuple(done), entries, frozenset(names))


@dataclass(frozen=True, slots=True)
class _State:
    """A registered version as it is on disk; ``manifests``: content by file name, of the state that counts."""

    folder: Path
    record: Mapping[str, Any]
    manifests: Mapping[str, bytes]
    clips: Mapping[str, Clip]

    @classmethod
    def read(cls, folder: Path) -> _State:
        record = read_record(folder)
        manifests = {part: read_checked(folder / part, digest) for part, digest in record["manifests"].items()}
        clips, _ = parse_manifest(manifests[CLIPS], manifests[EXPRESSIONS], checked=True)
        if clips.keys() != record["clips"].keys():
            raise damaged(folder / RECORD)
        return cls(folder, record, manifests, clips)


def _purge_version(state: _State, known: tuple[Withdrawal, ...], progress: Progress | None, *, dry_run: bool) -> Purged:
    folder, record = state.folder, state.record
    gone = gone_among(state.clips, known)
    own = parse_withdrawn(state.manifests.get(WITHDRAWN, b""))
    now = {key.lower() for key in gone}
    listed = merged(own, (each for each in known if each.clip.lower() in now))
    files = list(_files(folder, {each.clip.lower() for each in listed}))
    count = sum(_count(path) for path in files)
    left = {key: entry for key, entry in record["clips"].items() if key not in gone}
    after = benchmark_digest({key: entry["digest"] for key, entry in left.items()}) if left else ""
    found = Purged(folder.name, folder, tuple(sorted(gone)), count, record["digest"], after)
    if dry_run:
        return found
    if not left:
        away = folder.parent / f".staging-{secrets.token_hex(6)}"
        os.rename(folder, away)
        shutil.rmtree(away)
        return found
    manifests = dict(state.manifests)
    if gone:
        frames = _frame_hashes(state, progress)
        manifests = {part: stripped(part, data, gone) for part, data in manifests.items() if part != WITHDRAWN}
        manifests[WITHDRAWN] = withdrawn_lines(listed)
        for part, data in manifests.items():
            write_atomic(next_to(folder / part), data)
        record = {
            **record,
            "digest": after,
            "clips": left,
            "manifests": {part: sha256(data) for part, data in manifests.items()},
            "frames_sha256": _frames_sha256(frames, left),
        }
        write_atomic(folder / RECORD, canonical_json(record))
    for part, data in manifests.items():
        _take_place(folder / part, data)
    for path in files:
        _delete(path)
    return found


def _take_place(path: Path, data: bytes) -> None:
    """Give a manifest that waits its name, or discard it: then a purge was killed before its new state counted."""
    waiting = next_to(path)
    if not waiting.is_file():
        return
    if waiting.stat().st_size == len(data) and waiting.read_bytes() == data:
        os.replace(waiting, path)
    else:
        waiting.unlink()


def _frame_hashes(state: _State, progress: Progress | None) -> dict[str, list[list[str]]]:
    """Path and SHA-256 of every frame by clip; raises InputError unless they are those that were registered."""
    folder, entries = state.folder, state.record["clips"]
    total = sum(len(clip.frames) for key, clip in state.clips.items() if entries[key]["frames"])
    hashes: dict[str, list[list[str]]] = {}
    done = 0
    for key, clip in state.clips.items():
        hashes[key] = []
        for path in frame_files(folder, clip, entries[key]["frames"]) if entries[key]["frames"] else ():
            if not path.is_file():
                raise damaged(path)
            hashes[key].append([path.relative_to(folder).as_posix(), sha256_file(path)])
            done += 1
            if progress is not None and (done % 64 == 0 or done == total):
                progress(done, total)
    if _frames_sha256(hashes, entries) != state.record["frames_sha256"]:
        raise damaged(folder / "frames")
    return hashes


def _frames_sha256(hashes: Mapping[str, list[list[str]]], clips: Iterable[str]) -> str:
    return sha256(canonical_json(sorted(pair for key in clips for pair in hashes[key])))


def _files(folder: Path, gone: set[str]) -> Iterator[Path]:
    """Files and folders of withdrawn clips (ids in lower case) in a registered version."""
    for part in ("masks", "bits", "frames"):
        for path in sorted((folder / part).glob("*")):
            stem = path.name if path.is_dir() else path.name.rpartition(".")[0]
            if stem.lower() in gone:
                yield path


def _count(path: Path) -> int:
    return sum(each.is_file() for each in path.rglob("*")) if path.is_dir() else 1


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def remove_predictions(folder: Path, names: Iterable[str], *, dry_run: bool = False) -> list[Path]:
    """Delete what a folder of predictions or of extracted frames holds of withdrawn clips; returns what it was.

    Looked at are files ``<clip>.jsonl``, ``.npz``, ``.npy`` and ``.frames.json``, folders ``<clip>/`` (also below
    ``Annotations/`` and ``anno_<k>/``), and the clips in .json files of RLE, which are rewritten without them. A clip
    may stand there under its id or its id in the data it was taken from. Links are not followed. Raises InputError
    for a JSON file that cannot be read, UsageError for what is no folder.
    """
    if not folder.is_dir():
        raise UsageError(
            "Predictions of withdrawn clips are taken out of folders only.",
            where=[str(folder)],
            fix="unpack a .zip, purge the folder, and zip it again" if folder.exists() else "check the path",
        )
    wanted = {name.lower() for name in names}
    tops = [folder, *(path for path in sorted(folder.iterdir()) if _is_top(path))]
    found: list[Path] = []
    for top in tops:
        found += [path for path in _entries(top, wanted) if path not in found]
    if not dry_run:
        for path in found:
            _delete(path)
    for path in sorted(folder.glob("*.json")):
        if path.is_symlink() or path in found:
            continue
        content = parse_json(read_bytes(path, MAX_JSON_BYTES), str(path))
        kept = (
            {key: value for key, value in content.items() if key.lower() not in wanted} if _by_clip(content) else None
        )
        if kept is not None and len(kept) < len(content):
            found.append(path)
            if not dry_run:
                write_atomic(path, canonical_json(kept))
    return found


def _is_top(path: Path) -> bool:
    named = path.name in _TOPS or (path.name.startswith("anno_") and path.name[5:].isdigit())
    return named and path.is_dir() and not path.is_symlink()


def _entries(top: Path, wanted: set[str]) -> Iterator[Path]:
    """Files and folders directly in ``top`` that are named like one of the clips, or like "set/clip" one deeper."""
    deep = {name.partition("/")[0] for name in wanted if "/" in name}
    for path in sorted(top.iterdir()):
        if path.is_symlink():
            continue
        if path.is_dir():
            if path.name.lower() in wanted:
                yield path
            elif path.name.lower() in deep:
                below = {name.partition("/")[2] for name in wanted if name.startswith(f"{path.name.lower()}/")}
                yield from _entries(path, below)
        elif _clip_of(path.name.lower()) in wanted:
            yield path


def _clip_of(name: str) -> str | None:
    """The clip that a file of this name is about."""
    return next((name.removesuffix(ending) for ending in _PARTS if name.endswith(ending)), None)


def _by_clip(content: Any) -> bool:
    """True for RLE by clip and expression; a run file has texts on its first level."""
    return isinstance(content, dict) and all(isinstance(value, dict | list) for value in content.values())


def read_given(path: Path) -> tuple[Withdrawal, ...]:
    """Read a file of withdrawals that a user names; raises InputError for one without a record."""
    found = parse_withdrawn(read_bytes(path, MAX_JSON_BYTES), str(path))
    if not found:
        raise InputError("A list of withdrawn clips is empty.", where=[str(path)], fix="list at least one clip")
    return found
