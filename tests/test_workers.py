"""Worker processes that are killed end in one sentence, and Ctrl-C does not wait for queued work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path
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

ROOT = str(Path(__file__).resolve().parent.parent)


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


INTERRUPTED = """
from concurrent.futures import process
from refvps.workers import workers

def interrupted(*given):
    raise KeyboardInterrupt

def work(place):
    with workers(2) as pool:
        if place == "queue":
            pool.submit(abs, 1).result()
            pool._work_ids.put = interrupted
        else:
            process._ExecutorManagerThread = interrupted
        pool.submit(abs, 2)

if __name__ == "__main__":
    try:
        work("PLACE")
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize("place", ["queue", "start"])
def test_ctrl_c_while_work_is_handed_out_ends_the_process(place: str, tmp_path: Path) -> None:
    """Within submit, between the lists of a pool, or before somebody watches the workers that were started."""
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED.replace("PLACE", place))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=30, env=os.environ | {"PYTHONPATH": ROOT}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


KILLED = """
import os, sys, time
from refvps.workers import workers

if __name__ == "__main__":
    with workers(2) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(60)
"""


def test_workers_of_a_killed_process_end(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": ROOT}
    )
    assert process.stdout is not None
    with process.stdout:
        pids = {int(word) for word in process.stdout.readline().split()}
    assert len(pids) == 1
    process.kill()
    process.wait()
    until = time.monotonic() + 10
    while (alive := [pid for pid in pids if running(pid)]) and time.monotonic() < until:
        time.sleep(0.05)
    assert alive == []


def running(pid: int) -> bool:
    """True for a process that is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
