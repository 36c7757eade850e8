"""Worker processes: spawned, and never waited for in vain."""

from __future__ import annotations

import multiprocessing
import os
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from threading import Thread
from typing import Any

from refvps.errors import RefvpsError

_abandoned: list[_Pool] = []
"""Referred to for ever: CPython cancels nothing of a pool that is gone, and its process would never end."""


class _Pool(ProcessPoolExecutor):
    """Knows its futures: ``cancel_futures`` of a pool that nobody refers to any more has no effect (CPython)."""

    def __init__(self, jobs: int) -> None:
        super().__init__(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent)
        self._futures: weakref.WeakSet[Future[Any]] = weakref.WeakSet()

    def submit(self, function: Any, /, *args: Any, **options: Any) -> Future[Any]:
        future = super().submit(function, *args, **options)
        self._futures.add(future)
        return future

    def abandon(self) -> None:
        """Cancel what has not begun, and do not wait for what has."""
        _abandoned.append(self)
        if self._executor_manager_thread is None:  # Ctrl-C while the workers were started: nobody would stop them
            for process in list((self._processes or {}).values()):
                process.terminate()
        for future in list(self._futures):
            future.cancel()
        self.shutdown(wait=False, cancel_futures=True)


def _end_with_parent() -> None:
    """End this worker when the process that started it is killed; else it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


@contextmanager
def workers(jobs: int, state: Callable[[], str] | None = None) -> Iterator[Executor]:
    """A pool of ``jobs`` spawned processes. An error inside the block, or Ctrl-C, cancels all queued work.

    Raises RefvpsError when a worker dies; ``state()`` then says how far the work had come.
    """
    pool = _Pool(jobs)
    try:
        yield pool
    except BaseException as error:
        pool.abandon()
        if not isinstance(error, BrokenProcessPool):
            raise
        raise RefvpsError(
            "A worker process died before it could answer.",
            where=[state()] if state is not None else [],
            fix="it was killed, most likely for want of memory: run again with fewer --jobs",
        ) from error
    pool.shutdown()
