"""Everything that is wrong with predictions, before any scoring: names first, then every mask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from refvps.predictions.problems import MISSING_CODES, Report
from refvps.predictions.submission import ClipReader, Submission, open_submission
from refvps.types import Benchmark
from refvps.workers import workers


def validate(
    path: Path,
    benchmark: Benchmark,
    missing: Literal["error", "zero"] = "error",
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Open a submission and decode every mask of every frame; what is wrong on frames that are not annotated, and
    so never scored, is noted.

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
    reports: list[Report] = []

    def take(report: Report) -> None:
        reports.append(report)
        if progress is not None:
            progress(len(reports), total)

    if jobs <= 1 or total < 2:
        for reader in readers:
            take(validate_reader(reader))
        return reports
    with workers(min(jobs, total), lambda: f"{len(reports):,} of {total:,} clips were read") as pool:
        for report in pool.map(validate_reader, readers):
            take(report)
    return reports


def validate_reader(reader: ClipReader) -> Report:
    """Decode every mask of one clip; a reader travels to a worker process, a submission need not."""
    annotated = reader.clip.annotated_indices()
    others = sorted(set(range(len(reader.clip.frames))).difference(annotated))
    for index in (*annotated, *others):  # the former as a scorer reads them: nothing else may be in their way
        reader.frame(index)
    return reader.problems
