"""Whose an output folder is: run keys, run files, and what may be kept or discarded.

A run file names the method, its options, the seed and the input; the SHA-256 of those is the run key. A
folder holds one run key. Everything here is written whole or not at all, under a lock.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from refvps.errors import InputError, UsageError
from refvps.files import canonical_json, locked, read_json, remove_leftovers, sha256, write_atomic
from refvps.predictions.write import RUN_SCHEMA
from refvps.run.predictors import method_problem
from refvps.types import Method, Predictor

LOCKS = ".locks"
"""Folder of the lock files inside an output folder; gone once a run has ended."""

RUN_LOCK = ".run.lock"
"""Held for moments, while a run file is read and written."""

TIDIED = 1000
"""So often in a row others can take the folder of a lock away; where no folder can be made, it ends."""

_RUN_FILE = re.compile(r"run(\.[0-9]+-of-[0-9]+)?\.json")

Outputs = Callable[[Mapping[str, Any]], Iterable[str]]
"""From a run record to the relative paths of the files that such a run writes."""


def checked_method(predictor: Predictor) -> Method:
    """The method that a predictor declares; UsageError when it cannot name a run."""
    if problem := method_problem(predictor.method):
        raise UsageError("This is not a predictor.", where=[problem], fix="see refvps.types.Method")
    return predictor.method


def run_fields(method: Method, seed: int) -> dict[str, Any]:
    """The part of a run record that the predictor answers for."""
    return {"method": {**asdict(method), "options": dict(method.options)}, "seed": seed}


def key_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a run key covers, flat: whatever moves a pixel, so not a licence, a URL or a shard."""
    method = record.get("method") or {}
    fields = {f"method.{name}": method.get(name) for name in ("name", "version", "weights_sha256")}
    fields |= {f"method.options.{name}": value for name, value in (method.get("options") or {}).items()}
    fields["seed"] = record.get("seed")
    for part in ("benchmark", "input"):
        fields |= {f"{part}.{name}": value for name, value in (record.get(part) or {}).items()}
    return fields


def run_key(record: Mapping[str, Any]) -> str:
    """SHA-256 over :func:`key_fields`; UsageError when the options of the method are not plain JSON."""
    try:
        return sha256(canonical_json(key_fields(record)))
    except (TypeError, ValueError) as error:
        raise UsageError(
            "The options of a predictor cannot be stored.",
            where=[f"{record['method']['name']}: {error}"],
            fix="declare plain JSON values in Method.options",
        ) from error


def claim(
    out: Path,
    name: str,
    record: Mapping[str, Any],
    outputs: Outputs,
    *,
    force: bool,
    environment: Mapping[str, Any] | None = None,
) -> None:
    """Make ``out`` the folder of this run by writing its run file ``name``; UsageError if it is another's.

    ``force`` discards the outputs and run files of the other run instead; files that neither run writes
    are never touched. ``environment`` is noted.
    """
    if out.exists() and not out.is_dir():
        raise UsageError("The output is not a folder.", where=[str(out)], fix="name another with --out")
    with holding(out / LOCKS / RUN_LOCK, wait=60):
        present = sorted(entry.name for entry in out.iterdir() if not entry.name.startswith("."))
        runs = [out / entry for entry in present if _RUN_FILE.fullmatch(entry)]
        problem = _foreign(out, present) if present and not runs else _first(_difference(run, record) for run in runs)
        if problem and not force:
            raise problem
        if problem:
            for old in [record, *(_record(run) for run in runs)]:
                _discard(out, outputs(old))
            _discard(out, [run.name for run in runs])
        _update(out / name, record, {}, environment)


def add_timing(
    out: Path,
    name: str,
    record: Mapping[str, Any],
    clip: str,
    timing: Mapping[str, float],
    environment: Mapping[str, Any],
) -> None:
    """Note in the run file what a clip cost, and where: the only parts of it that are not the same in every run.

    ``timings`` has a row per clip, whose ``environment`` counts the different ``environments`` from 0.
    """
    with holding(out / LOCKS / RUN_LOCK, wait=60):
        _update(out / name, record, {clip: timing}, environment)


def _update(
    path: Path,
    record: Mapping[str, Any],
    timings: Mapping[str, Mapping[str, float]],
    environment: Mapping[str, Any] | None,
) -> None:
    remove_leftovers(path)
    old = _record(path) if path.is_file() else {}
    known, environments = old.get("timings", {}), list(old.get("environments", []))
    if environment is not None:
        if environment not in environments:
            environments.append(environment)
        timings = {clip: {**row, "environment": environments.index(environment)} for clip, row in timings.items()}
    new = {**record, "timings": {**known, **timings}, "environments": environments}
    write_atomic(path, canonical_json(new) + b"\n")


def _first(problems: Iterable[UsageError | None]) -> UsageError | None:
    return next((problem for problem in problems if problem), None)


def _discard(out: Path, names: Iterable[str]) -> None:
    for name in names:
        if ".." not in PurePosixPath(name).parts and not PurePosixPath(name).is_absolute() and (out / name).is_file():
            (out / name).unlink()


def _foreign(out: Path, present: Iterable[str]) -> UsageError:
    return UsageError(
        "The output folder is not empty, and no run of refvps stands in it.",
        where=[str(out / entry) for entry in present],
        fix="name an empty folder with --out, or overwrite what is there with --force",
    )


def _record(path: Path) -> Mapping[str, Any]:
    """A run file, empty when it is not one."""
    try:
        record = read_json(path)
        key_fields(record)
        volatile = isinstance(record.get("timings", {}), dict) and isinstance(record.get("environments", []), list)
        ours = record.get("schema") == RUN_SCHEMA and volatile
    except (InputError, AttributeError, TypeError, ValueError):
        return {}
    return record if ours else {}


def _difference(path: Path, record: Mapping[str, Any]) -> UsageError | None:
    """None when the run file at ``path`` has the run key of ``record``, else an error saying what differs."""
    there = _record(path)
    if not there:
        return UsageError(
            "The run file in the output folder was not written by refvps predict.",
            where=[str(path)],
            fix="name another folder with --out, or overwrite what is there with --force",
        )
    if there.get("key") == record["key"]:
        return None
    old, new = key_fields(there), key_fields(record)
    differing = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return UsageError(
        "The output folder belongs to another run.",
        where=[f"{path}: {name} is {old.get(name)!r} there, {new.get(name)!r} now" for name in differing]
        or [f"{path}: its key does not fit its content"],
        fix="name another folder with --out, or discard that run with --force",
    )


@contextmanager
def holding(lock: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold a lock file, waiting up to ``wait`` seconds for it; UsageError when another process keeps it."""
    deadline, tidied = time.monotonic() + wait, 0
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(lock))
                break
            except FileNotFoundError:  # its folder was tidied away between two steps, or cannot be made at all
                tidied += 1
                if tidied == TIDIED:
                    raise
            except UsageError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.02)
        yield


def tidy(lock: Path) -> None:
    """Remove a lock file whose work is done, and its folder when that was the last.

    A process that already waits for it will find the work done; where an open file cannot be removed
    (Windows) it stays, which is harmless.
    """
    with suppress(OSError):
        lock.unlink(missing_ok=True)
        lock.parent.rmdir()
