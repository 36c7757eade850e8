"""Worker processes: spawned, and never waited for in vain."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from refvps.errors import RefvpsError


@contextmanager
def workers(jobs: int, state: Callable[[], str] | None = None) -> Iterator[Executor]:
    """A pool of ``jobs`` spawned processes. An error inside the block, or Ctrl-C, cancels all queued work.

    Raises RefvpsError when a worker dies; ``state()`` then says how far the work had come.
    """
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        if not isinstance(error, BrokenProcessPool):
            raise
        raise RefvpsError(
            "A worker process died before it could answer.",
            where=[state()] if state is not None else [],
            fix="it was killed, most likely for want of memory: run again with fewer --jobs",
        ) from error
    pool.shutdown()
