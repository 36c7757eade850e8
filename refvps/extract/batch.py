"""Extract many clips: one process a clip, threads within, and everything that went wrong told at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from refvps.errors import CheckError, InputError, RefvpsError, UsageError
from refvps.extract.clip import Done, extract_clip
from refvps.extract.cut import RECORD_SUFFIX, Cut
from refvps.extract.record import FrameRecord
from refvps.files import locked
from refvps.workers import workers

Progress = Callable[[int, int], None]
"""Called with (frames done, frames in all, as far as that is known)."""

LOCK = ".extract.lock"


@dataclass(frozen=True, slots=True)
class Extraction:
    """What :func:`extract` did: clips in place and clips that could not be, by id in the order of the cuts."""

    done: Mapping[str, Done]
    failed: Mapping[str, RefvpsError]

    def raise_for_failures(self) -> None:
        """Raise one error for all failed clips: of their class if they agree, InputError otherwise."""
        if not self.failed:
            return
        errors = list(self.failed.values())
        if len(errors) == 1:
            raise errors[0]
        kinds = {type(error) for error in errors}
        kind = kinds.pop() if len(kinds) == 1 else InputError
        wheres = [
            f"{clip}: {error.what}" + (f" {error.where[0]}" if error.where else "")
            for clip, error in self.failed.items()
        ]
        total = len(self.failed) + len(self.done)
        raise kind(
            f"{len(errors):,} of {total:,} clips could not be extracted; the others are in place.",
            where=wheres,
            fix="; ".join(dict.fromkeys(error.fix for error in errors if error.fix)),
        )


def extract(
    cuts: Sequence[Cut],
    out: Path,
    *,
    references: Mapping[str, FrameRecord] | None = None,
    jobs: int = 1,
    force: bool = False,
    progress: Progress | None = None,
) -> Extraction:
    """Extract every cut into ``out``; see :func:`~refvps.extract.clip.extract_clip`.

    Clips that are in place are kept, so the same call goes on where a killed one stopped and ends in the same
    bytes. A clip that fails does not stop the others. ``jobs`` CPUs are used, by one process a clip; the result
    does not depend on it. Raises UsageError when another process writes in ``out`` or ids clash.
    """
    times = Counter(cut.clip.lower() for cut in cuts)
    clashes = [cut.clip for cut in cuts if times[cut.clip.lower()] > 1]
    if clashes:
        raise UsageError("Two clips have one id.", where=clashes, fix="give each its own")
    if alike := [cut.clip for cut in cuts if cut.clip.lower().endswith(RECORD_SUFFIX)]:
        raise UsageError("A clip is named like a record of frames.", where=alike, fix="give it another id")
    if out.exists() and not out.is_dir():
        raise UsageError("The output is not a folder.", where=[str(out)], fix="name another with --out")
    out.mkdir(parents=True, exist_ok=True)
    total = sum(cut.ticks for cut in cuts)
    found: dict[str, Done | RefvpsError] = {}
    counted = 0
    lock = out / LOCK
    with locked(lock):
        try:
            for cut, result in _results(cuts, out, references or {}, jobs, force, progress, total):
                found[cut.clip] = result
                counted += cut.ticks
                if progress is not None:
                    progress(counted, max(total, counted))
        finally:
            lock.unlink(missing_ok=True)
    done = {cut.clip: found[cut.clip] for cut in cuts}
    return Extraction(
        {clip: result for clip, result in done.items() if isinstance(result, Done)},
        {clip: result for clip, result in done.items() if isinstance(result, RefvpsError)},
    )


def _results(
    cuts: Sequence[Cut],
    out: Path,
    references: Mapping[str, FrameRecord],
    jobs: int,
    force: bool,
    progress: Progress | None,
    total: int,
) -> Iterator[tuple[Cut, Done | RefvpsError]]:
    processes = max(1, min(jobs, len(cuts)))
    threads = max(1, -(-jobs // processes))
    if processes == 1:
        before = 0
        for cut in cuts:
            report = None if progress is None else partial(_report, progress, before, total)
            yield cut, _attempt(cut, out, references.get(cut.clip), force, threads, report)
            before += cut.ticks
        return
    largest_first = sorted(cuts, key=lambda cut: (-cut.ticks, cut.clip))
    with workers(processes) as pool:
        tasks = {
            pool.submit(_attempt, cut, out, references.get(cut.clip), force, threads): cut for cut in largest_first
        }
        for task in as_completed(tasks):
            yield tasks[task], task.result()


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, max(total, before + done))


def _attempt(
    cut: Cut,
    out: Path,
    reference: FrameRecord | None,
    force: bool,
    threads: int,
    progress: Callable[[int], None] | None = None,
) -> Done | RefvpsError:
    try:
        return extract_clip(cut, out, reference=reference, force=force, threads=threads, progress=progress)
    except (InputError, CheckError, UsageError) as error:
        return error
