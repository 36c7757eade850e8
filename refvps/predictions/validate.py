"""Everything that is wrong with predictions, before any scoring: names first, then every mask."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Literal

from refvps.predictions.problems import MISSING_CODES, Report
from refvps.predictions.submission import ClipReader, Submission, open_submission
from refvps.types import Benchmark


def validate(
    path: Path,
    benchmark: Benchmark,
    missing: Literal["error", "zero"] = "error",
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Open a submission and decode every mask of every frame, also of frames that are not annotated.

    ``missing``: "zero" reports what is missing as notes. ``progress`` is called with (clips done, clips in
    all). The report does not depend on ``jobs``.
    """
    submission = open_submission(path, benchmark)
    reports = [submission.problems, *validate_clips(submission, jobs, progress)]
    report = Report.merge(reports)
    return report.demote(MISSING_CODES) if missing == "zero" else report


def validate_clips(
    submission: Submission, jobs: int = 1, progress: Callable[[int, int], None] | None = None
) -> list[Report]:
    """What is wrong with the masks of each clip, in benchmark order."""
    readers = [submission.reader(clip) for clip in submission.clips if clip in submission.entries]
    total = len(readers)
    if jobs <= 1 or total < 2:
        return list(_counted(map(validate_reader, readers), total, progress))
    with ProcessPoolExecutor(min(jobs, total), mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(_counted(pool.map(validate_reader, readers), total, progress))


def _counted(reports: Iterable[Report], total: int, progress: Callable[[int, int], None] | None) -> Iterable[Report]:
    for done, report in enumerate(reports, start=1):
        if progress is not None:
            progress(done, total)
        yield report


def validate_clip(submission: Submission, clip: str) -> Report:
    """What is wrong with the masks of one clip."""
    return validate_reader(submission.reader(clip))


def validate_reader(reader: ClipReader) -> Report:
    """Decode every mask of one clip; a reader travels to a worker process, a submission need not."""
    for index in range(len(reader.clip.frames)):
        reader.frame(index)
    return reader.problems
