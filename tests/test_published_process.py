"""A foreign program, watched: what it prints arrives, what it takes is measured, and it never outlives the call."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from baselines.run.process import Finished, watch


def start(program: str, folder: Path, progress=None) -> Finished:
    return watch(
        [sys.executable, "-u", "-c", program],
        folder=folder,
        environment=dict(os.environ) | {"GREETING": "hello"},
        log=folder / "log.txt",
        progress=progress,
    )


def gone(number: int) -> bool:
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_lines_bars_and_the_exit_code_arrive(tmp_path: Path) -> None:
    program = """
import os, sys
print(os.environ["GREETING"], os.getcwd() == sys.argv[1] if len(sys.argv) > 1 else "")
print("10 %\\r20 %", end="", flush=True)
print("\\nerr", file=sys.stderr)
os.write(1, b"\\xff" * 3 + b"x" * 5000 + b"\\nlast")
sys.exit(7)
"""
    seen: list[str] = []
    done = start(program, tmp_path, seen.append)
    assert done.exit_code == 7
    assert [line.strip() for line in seen[:4]] == ["hello", "10 %", "20 %", "err"]
    assert seen[-1] == "last" and len(seen[-2]) == 4096
    assert b"10 %\r20 %" in (tmp_path / "log.txt").read_bytes()
    assert (tmp_path / "log.txt").read_bytes().endswith(b"x\nlast")


def test_memory_of_children_counts(tmp_path: Path) -> None:
    child = "import time; block = b'1' * 80_000_000; print('held', flush=True); time.sleep(1)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    done = start(program, tmp_path)
    assert done.exit_code == 0
    assert 80_000_000 < done.peak_memory < 400_000_000
    assert 1 < done.seconds < 60


def test_a_grandchild_that_stays_is_ended_and_holds_nothing_up(tmp_path: Path) -> None:
    program = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid)
"""
    seen: list[str] = []
    done = start(program, tmp_path, seen.append)
    assert done.exit_code == 0 and done.seconds < 30
    assert gone(int(seen[0]))


def test_an_error_of_the_caller_ends_the_program_even_if_it_will_not(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("baselines.run.process.GRACE", 0.3)
    program = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid())
time.sleep(600)
"""
    seen: list[int] = []

    def fail(line: str) -> None:
        seen.append(int(line))
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        start(program, tmp_path, fail)
    assert gone(seen[0])


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_kill_or_a_closed_terminal_is_like_ctrl_c_and_handlers_are_put_back(ending: int, tmp_path: Path) -> None:
    before = signal.getsignal(ending)
    seen: list[int] = []

    def soon(line: str) -> None:
        seen.append(int(line))
        threading.Timer(0.1, os.kill, (os.getpid(), ending)).start()

    with pytest.raises(KeyboardInterrupt):
        start("import os, time; print(os.getpid()); time.sleep(600)", tmp_path, soon)
    assert gone(seen[0])
    assert signal.getsignal(ending) is before


def test_under_nohup_a_closed_terminal_ends_nothing(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        done = start("import time; print('here'); time.sleep(0.3)", tmp_path, lambda _: os.kill(os.getpid(), 1))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert done.exit_code == 0


def test_ctrl_c_twice_leaves_nothing_behind_either(tmp_path: Path) -> None:
    """The second one comes while the program, deaf to SIGTERM, is given time to end."""
    seen: list[int] = []

    def twice(line: str) -> None:
        seen.append(int(line))
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        raise KeyboardInterrupt

    deaf = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid()); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        start(deaf, tmp_path, twice)
    assert gone(seen[0])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_an_error_and_no_endless_wait(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        watch(
            [sys.executable, "-c", "while True: print('x' * 1000)"],
            folder=tmp_path,
            environment={},
            log=Path("/dev/full"),
        )


def test_what_cannot_be_started_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no such program|No such file"):
        watch([str(tmp_path / "no such program")], folder=tmp_path, environment={}, log=tmp_path / "log.txt")
