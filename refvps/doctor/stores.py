"""What lies on disk: the home folder, registered data sets, the embedded sample, downloaded weights."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from refvps import home
from refvps.data import load
from refvps.data.local import load_local
from refvps.data.store import RECORD, frame_files
from refvps.doctor import Finding, Progress, size
from refvps.errors import RefvpsError, UsageError
from refvps.files import canonical_json, locked, read_json, sha256, sha256_file
from refvps.types import Benchmark

OLD = 3600
"""Seconds after which a temporary file is taken for one that a killed process left."""

SHOWN = 12
"""Repositories of the hub that are listed one by one."""


def data(deep: bool = False, progress: Progress | None = None) -> Iterator[Finding]:
    """The home folder, the sample, every registered data set; ``deep`` hashes their files."""
    base = home.home()
    if base.is_dir():
        yield Finding("home", f"{base}, {size(_weight(base))}")
    else:
        yield Finding("home", f"{base}, not made yet")
    yield _annotations()
    sets = sorted(base.glob(f"benchmarks/[!.]*/[!.]*/{RECORD}"))
    total = sum(_count(path.parent) for path in sets) if deep else 0
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    for path in sets:
        yield data_set(path.parent, deep, step)
    for folder in sorted(base.glob("benchmarks/[!.]*/[!.]*")):
        if folder.is_dir() and not (folder / RECORD).is_file():
            yield Finding(
                _name(folder), f"{folder} has no {RECORD}", "problem", f"delete it: rm -r {quote(str(folder))}"
            )
    if not sets:
        yield Finding("data sets", "none are registered", "ok")
    yield from leftovers(base)


def _annotations() -> Finding:
    try:
        place = home.annotations()
        bench = load("sample")
    except RefvpsError as error:
        return Finding("sample", error.what, "problem", error.fix or "reinstall refvps")
    return Finding("sample", f"{_about(bench)}, in {place}")


def _about(bench: Benchmark) -> str:
    return f"version {bench.version}, digest {bench.digest[:12]}, {len(bench.clips):,} clips, {len(bench.expressions):,} expressions"  # noqa: E501


def _name(folder: Path) -> str:
    return f"{folder.parent.name}@{folder.name}"


def _remove(*paths: Path) -> str:
    return " ".join(["rm -r", *(quote(str(path)) for path in paths)])


def _again(folder: Path) -> str:
    return f"{_remove(folder)}; then refvps download {folder.parent.name} --from DIR|ZIP"


def data_set(folder: Path, deep: bool, step: Callable[[], None]) -> Finding:
    """One registered data set: its lists are hashed, its files are there; ``deep``: all are hashed."""
    name, again = _name(folder), _again(folder)
    try:
        bench = load_local(folder.parent.name, folder.name)
        record: Mapping[str, Any] = read_json(folder / RECORD)
        wrong = _damage(folder, bench, record, deep, step)
    except RefvpsError as error:
        return Finding(name, f"damaged: {error.what} {'; '.join(error.where[:1])}", "problem", again)
    except OSError as error:
        return Finding(name, f"cannot be read: {error.strerror}: {error.filename}", "problem", "check the permissions")
    told = f"{_about(bench)}, {size(_weight(folder))}"
    if wrong:
        more = f" and {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
        return Finding(name, f"{told}; damaged: {wrong[0]}{more}", "problem", again)
    frames = sum(bool(entry["frames"]) for entry in record["clips"].values())
    told += f", frames of {frames:,} clips" if frames else ", without frames"
    return Finding(name, f"{told}, {'intact' if deep else 'complete (--deep also compares every file)'}")


def _damage(
    folder: Path, bench: Benchmark, record: Mapping[str, Any], deep: bool, step: Callable[[], None]
) -> list[str]:
    """Files that are not there, are empty, or (deep) are not the ones that were checked."""
    wrong: list[str] = []
    frames: list[list[str]] = []
    for key, clip in bench.clips.items():
        entry = record["clips"][key]
        files = {f"masks/{key}.jsonl": entry["rle_sha256"], f"bits/{key}.bits": entry["bits_sha256"]}
        if entry["frames"]:
            files |= {path.relative_to(folder).as_posix(): "" for path in frame_files(folder, clip, entry["frames"])}
        for part, digest in files.items():
            path = folder / part
            if not path.is_file() or not path.stat().st_size:
                wrong.append(f"{part} is {'empty' if path.is_file() else 'not there'}")
            elif deep:
                found = sha256_file(path)
                if not digest:
                    frames.append([part, found])
                elif found != digest:
                    wrong.append(f"{part} has changed")
            if deep:
                step()
    if deep and not wrong and frames and sha256(canonical_json(sorted(frames))) != record.get("frames_sha256"):
        wrong.append("a frame has changed")
    return wrong


def _count(folder: Path) -> int:
    return sum(len(files) for part in ("masks", "bits", "frames") for _, _, files in os.walk(folder / part))


def leftovers(base: Path) -> Iterator[Finding]:
    """What killed processes left, and locks that somebody holds right now."""
    old: list[Path] = []
    now = time.time()
    for folder, folders, files in os.walk(base):
        for name in [*files, *folders]:
            temporary = name.startswith(".") and (name.endswith((".tmp", ".tmp.webm")) or name.startswith(".staging-"))
            path = Path(folder) / name
            try:
                if temporary and now - path.lstat().st_mtime > OLD:
                    old.append(path)
            except OSError:
                continue
        folders[:] = [name for name in folders if not name.startswith(".staging-")]
    if old:
        weight = sum(_weight(path) for path in old)
        told = f"{len(old):,} from killed processes, {size(weight)}: {old[0]}{', ...' if len(old) > 1 else ''}"
        yield Finding(
            "temporary files", told, "note", "rm -r " + " ".join(quote(str(path)) for path in sorted(old)[:3])
        )
    held = [path for path in (*sorted(base.glob("benchmarks/*/.lock")), *sorted(base.glob("locks/*"))) if _held(path)]
    for path in held:
        yield Finding("lock", f"{path} is held by a process that runs now", "note", "wait for it, if it is not yours")


def _held(path: Path) -> bool:
    """Whether another process holds a lock; its file alone means nothing, the system frees it with the process."""
    if not path.is_file() or not os.access(path, os.W_OK):
        return False
    try:
        with locked(path):
            return False
    except UsageError:
        return True


def _weight(path: Path) -> int:
    """Bytes below a path; links are not followed and what vanishes meanwhile counts as nothing."""
    if not path.is_dir() or path.is_symlink():
        try:
            return path.lstat().st_size
        except OSError:
            return 0
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total


def weights() -> Iterator[Finding]:
    """Repositories in the cache of huggingface_hub, read from the folder alone."""
    base = home.hub_folder()
    found = sorted(base.glob("models--*")) if base.is_dir() else []
    if not found:
        yield Finding("hub cache", f"{base}, no models")
        return
    heavy = sorted(((_weight(path / "blobs"), path) for path in found), key=lambda pair: (-pair[0], pair[1]))
    yield Finding("hub cache", f"{base}, {len(found):,} models, {size(sum(weight for weight, _ in heavy))}")
    for weight, path in heavy[:SHOWN]:
        name = path.name.removeprefix("models--").replace("--", "/")
        revisions = [each.name[:12] for each in sorted(path.glob("snapshots/*"))]
        broken = sum(
            each.is_symlink() and not each.exists()
            for snapshot in path.glob("snapshots/*")
            for each in snapshot.rglob("*")
        )
        partial = len(list(path.glob("blobs/*.incomplete")))
        told = f"{size(weight)}, revision {', '.join(revisions) or '-'}"
        if broken or partial:
            told += f"; {partial} unfinished and {broken} lost files"
            yield Finding(name, told, "note", f"download it again: hf download {name}")
        else:
            yield Finding(name, told)
    if len(heavy) > SHOWN:
        yield Finding("others", f"{len(heavy) - SHOWN:,} more")
