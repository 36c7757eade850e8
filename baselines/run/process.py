"""One foreign program, watched: its output streamed, its time and memory measured, its whole family ended with it."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POLL = 0.2
"""Seconds between two looks at the memory."""

GRACE = 5.0
"""Seconds that a program has to end after it was asked to."""

MAX_LINE = 4096
"""Longest line that is passed on, in bytes; the log has all."""

MAX_WAITING = 1000
"""Lines that wait to be passed on; a program that prints faster has to wait."""


@dataclass(frozen=True, slots=True)
class Finished:
    """``exit_code`` (negative: the signal that ended it), ``seconds`` by the clock, ``peak_memory`` in bytes: the most
    that the program and its children held at once, as far as looks every POLL seconds saw; 0 where nothing could look.
    """

    exit_code: int
    seconds: float
    peak_memory: int


def watch(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    progress: Callable[[str], None] | None = None,
) -> Finished:
    """Run a program to its end. Every line it prints, and every redrawn bar, goes to ``log`` and to ``progress``.

    Whatever ends this call early, Ctrl-C, SIGTERM or an error in ``progress``, ends the program and all it started.
    Raises OSError when it cannot be started or its log cannot be written.
    """
    lines: queue.Queue[str | OSError] = queue.Queue(MAX_WAITING)
    over = threading.Event()
    started = time.monotonic()
    peak = 0
    with log.open("wb") as sink, _endings_interrupt():
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        reader = threading.Thread(target=_read, args=(process, sink, lines, over), daemon=True)
        try:
            try:
                reader.start()
                while process.poll() is None:
                    peak = max(peak, _memory(process.pid))
                    _pass_on(lines, progress, time.monotonic() + POLL)
                seconds = time.monotonic() - started
            finally:
                _end(process)
            last = time.monotonic() + GRACE
            while reader.is_alive() and time.monotonic() < last:
                _pass_on(lines, progress, time.monotonic() + 0.02)
            _pass_on(lines, progress, 0.0)
        finally:
            over.set()
            reader.join(GRACE)
    return Finished(process.returncode, seconds, peak)


def _read(
    process: subprocess.Popen[bytes], sink: Any, lines: queue.Queue[str | OSError], over: threading.Event
) -> None:
    """Write what the program prints to ``sink`` and put its lines, and the error that ends this early, in ``lines``."""

    def put(line: str | OSError) -> None:
        while not over.is_set():
            try:
                return lines.put(line, timeout=POLL)
            except queue.Full:
                continue

    assert process.stdout is not None
    rest = b""
    with process.stdout:
        try:
            while data := os.read(process.stdout.fileno(), 1 << 16):
                sink.write(data)
                sink.flush()
                *whole, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
                for line in whole:
                    put(line[:MAX_LINE].decode("utf-8", "replace"))
                rest = rest[-MAX_LINE:]
        except OSError as error:  # a full disk: the program would wait for its reader forever
            return put(error)
    if rest:
        put(rest.decode("utf-8", "replace"))


def _pass_on(lines: queue.Queue[str | OSError], progress: Callable[[str], None] | None, until: float) -> None:
    """Hand over what was printed, waiting for more until a time of the monotonic clock."""
    while True:
        try:
            line = lines.get(timeout=left) if (left := until - time.monotonic()) > 0 else lines.get_nowait()
        except queue.Empty:
            return
        if isinstance(line, OSError):
            raise line
        if progress is not None and line.strip():
            progress(line)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End every process of the program's session: politely while it runs, and surely."""
    try:
        if process.poll() is None:
            _signal(process.pid, signal.SIGTERM)
            process.wait(GRACE)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also when Ctrl-C comes twice
        _signal(process.pid, signal.SIGKILL)
        process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def _memory(session: int) -> int:
    """Bytes resident in all processes of a session; shared pages count for each."""
    total = 0
    page = os.sysconf("SC_PAGE_SIZE")
    try:
        numbers = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return 0
    for name in numbers:
        try:
            stat = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(stat[3]) == session:
            total += int(stat[21]) * page
    return total


@contextmanager
def _endings_interrupt() -> Iterator[None]:
    """SIGTERM and a closed terminal raise KeyboardInterrupt meanwhile, so that the program is not left behind."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) != signal.SIG_IGN]  # nohup
    before = {each: signal.signal(each, interrupt) for each in wanted}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
