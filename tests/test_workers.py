"""Worker processes that are killed end in one sentence, and Ctrl-C does not wait for queued work."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from types import SimpleNamespace
from typing import Any

import pytest
from tiny import CLIPS

from refvps.archive import FileSet
from refvps.data.index import parallel
from refvps.errors import RefvpsError
from refvps.predictions.submission import ClipReader
from refvps.predictions.validate import validate_clips
from refvps.types import Clip
from refvps.workers import workers


def die(item: int) -> int:
    if item == 300:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


class Deadly:
    """An entry whose opening kills the process."""

    def open(self, files: FileSet, clip: Clip, findings: Any) -> None:
        die(300)


def told(run: Callable[[], Any]) -> RefvpsError:
    with pytest.raises(RefvpsError, match="worker process died") as caught:
        run()
    assert caught.value.exit_code == 1
    assert "fewer --jobs" in caught.value.fix
    return caught.value


def test_a_killed_worker_of_the_index() -> None:
    error = told(lambda: list(parallel(die, range(400), jobs=2)))
    assert error.where[0].endswith("of 400 were read")


def test_a_killed_worker_of_validate() -> None:
    def reader(clip: str) -> ClipReader:
        found = next(each for each in CLIPS if each.id == clip)
        return ClipReader(found, (), None, Deadly())  # type: ignore[arg-type]

    names = {clip.id: clip for clip in CLIPS}
    submission: Any = SimpleNamespace(clips=names, entries=names, reader=reader)
    error = told(lambda: validate_clips(submission, jobs=2))
    assert error.where == ("0 of 3 clips were read",)


def test_an_interrupt_cancels_what_is_queued() -> None:
    futures: list[Future[None]] = []

    def interrupted() -> Iterator[None]:
        with workers(1) as pool:
            futures.extend(pool.submit(time.sleep, 0.3) for _ in range(40))
            futures[0].result()
            raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        list(interrupted())
    wait(futures, timeout=9)
    assert sum(future.cancelled() for future in futures) >= 30


def test_results_come_back() -> None:
    with workers(2) as pool:
        assert list(pool.map(abs, [-3, 4])) == [3, 4]
    assert list(parallel(abs, range(-200, 0), jobs=2)) == list(range(200, 0, -1))
