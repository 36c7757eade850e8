"""A predictor that is a program of yours, in its own environment and any language, over a pipe.

The program is started once and serves a whole run. On its standard input and output it speaks lines of JSON,
some of them followed by raw bytes::

    program   {"pipe": 1, "method": {"name": "mine", "version": "1"}}           once, when it is ready
    refvps    {"frames": 48, "height": 360, "width": 640, "texts": ["the ..."], "fps": 24.0, "seed": 7}
    program   {"frame": 0}                          refvps answers with height x width x 3 bytes, RGB
    program   {"text": 0, "start": 0, "masks": 8}   followed by 8 x height x width bytes of 0 and 1
    program   {"done": true}                        after the last mask; then the next clip comes

Frames are asked for in any order, as often as needed; masks come in chunks of consecutive frames, in any
order, every text and frame once. The program ends when its input does. Its standard error is its log. It
gets no id, no path and no ground truth. :class:`Pipe` is for Linux (and its like): it waits on pipes.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from refvps.errors import InputError, UsageError
from refvps.types import MaskChunk, Method

MAX_LINE = 1 << 20
MAX_AHEAD = 1 << 30
DECLARED = {each.name for each in fields(Method)}


class Pipe:
    """The predictor behind :func:`load`."""

    def __init__(self, command: Sequence[str], timeout: float, log: str) -> None:
        self._command, self._timeout = list(command), timeout
        self._log: IO[bytes] = open(log, "ab+") if log else tempfile.TemporaryFile()
        weakref.finalize(self, self._log.close)
        self._process: _Process | None = None
        self.method = self._started(None)

    def predict(
        self, frames: Sequence[NDArray[np.uint8]], texts: Sequence[str], *, fps: float, seed: int
    ) -> Iterator[MaskChunk]:
        """Ask the program about one clip. Raises InputError, naming the texts, when it dies, is silent for too
        long or says what it must not; it is started again for the next clip then."""
        if not len(frames):
            return
        if self._process is None:
            self._started(self.method)
        finished = False
        try:
            yield from self._talk(frames, texts, fps, seed)
            finished = True
        except _BrokenPipe as error:
            raise self._failure(str(error), f"texts {list(texts)!r}"[:500]) from None
        finally:
            if not finished:
                self._stop()

    def _talk(
        self, frames: Sequence[NDArray[np.uint8]], texts: Sequence[str], fps: float, seed: int
    ) -> Iterator[MaskChunk]:
        program = self._process
        assert program is not None
        height, width = frames[0].shape[:2]
        clip = {"frames": len(frames), "height": height, "width": width, "texts": list(texts), "fps": fps, "seed": seed}
        program.send(json.dumps(clip).encode() + b"\n")
        while True:
            said = program.line()
            if said == {"done": True}:
                return
            if said.keys() == {"frame"} and _whole(said["frame"], 0, len(frames)):
                program.send(np.ascontiguousarray(frames[said["frame"]]).tobytes())
                continue
            if said.keys() != {"text", "start", "masks"} or not _whole(said["masks"], 1, len(frames) + 1):
                raise _BrokenPipe(f"it said {json.dumps(said)[:200]}")
            data = program.read(said["masks"] * height * width)
            masks = np.frombuffer(data, np.uint8).reshape(-1, height, width)
            if masks.max() > 1:
                raise _BrokenPipe(f"a mask has the value {masks.max()}, not 0 or 1")
            yield MaskChunk(said["text"], said["start"], masks.view(np.bool_))

    def _started(self, known: Method | None) -> Method:
        """Start the program and read who it is, the same as ``known`` if it was started before."""
        try:
            self._process = _Process(self._command, self._timeout, self._log)
            hello = self._process.line()
            method = hello.get("method")
            if hello.get("pipe") != 1 or not isinstance(method, dict) or not method.get("name"):
                raise _BrokenPipe(f"it said {json.dumps(hello)[:200]}, not who it is")
            if unknown := method.keys() - DECLARED:
                raise _BrokenPipe(f"it declares {', '.join(sorted(unknown))}; there are {', '.join(sorted(DECLARED))}")
            for name, value in method.items():
                if not isinstance(value, dict if name == "options" else str):
                    kind = "an object" if name == "options" else "a string"
                    raise _BrokenPipe(f"it declares {name} as {json.dumps(value)[:200]}, which is not {kind}")
        except OSError as error:
            raise UsageError(
                "The program cannot be started.",
                where=[f"{shlex.join(self._command)}: {error.strerror or error}"],
                fix="check the command: -o command='env/bin/python mine.py'",
            ) from error
        except _BrokenPipe as error:
            failure = self._failure(str(error), "its first line")
            self._stop()
            raise failure from None
        declared = Method(**method)
        if known is not None and declared != known:
            self._stop()
            raise self._failure(f"started again, it is {declared}", "its first line")
        return declared

    def _failure(self, why: str, place: str) -> InputError:
        status = "" if self._process is None else self._process.status()
        last = _last_lines(self._log)
        return InputError(
            "The program behind the pipe failed.",
            where=[f"{shlex.join(self._command)}, {place}: {why}{status}", *(f"its log: {line}" for line in last)],
            fix="see baselines/README.md for what a program says; -o log=FILE keeps its log",
        )

    def _stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None


def load(command: str | list[str], timeout: float = 600, log: str = "") -> Pipe:
    """Start ``command`` (no shell) and return it as a predictor.

    ``timeout``: seconds of silence after which the program counts as dead, also at its start, when it loads
    its weights. ``log``: a file that its standard error is appended to; without one, its last lines stand in
    errors. Name, version, weights and options are what the program declares.
    """
    words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
    if not words:
        raise UsageError("A pipe needs a command.", fix="-o command='env/bin/python mine.py'")
    if not isinstance(timeout, int | float) or isinstance(timeout, bool) or not 0 < timeout <= 1e6:
        raise UsageError("timeout is a number of seconds, a million at most.", where=[repr(timeout)])
    return Pipe(words, timeout, log)


class _BrokenPipe(Exception):
    """The conversation ended: why."""


class _Process:
    """The running program: whole lines and blocks of bytes, within a time limit."""

    def __init__(self, command: Sequence[str], timeout: float, log: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True, bufsize=0
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._timeout, self._rest = timeout, bytearray()
        self.stop = weakref.finalize(self, _end, self._process)

    def send(self, data: bytes) -> None:
        """Write all of ``data``; what the program says meanwhile is taken in, or both would wait for each other."""
        view = memoryview(data)
        while view:
            self._wait(writing=True)
            try:
                view = view[os.write(self._in, view) :]
            except BlockingIOError:
                self._fill(1 << 20)
            except BrokenPipeError:
                raise _BrokenPipe("it ended") from None
            if len(self._rest) > MAX_AHEAD:
                raise _BrokenPipe(f"it wrote {MAX_AHEAD:,} bytes before it read a frame that it asked for")

    def line(self) -> dict[str, Any]:
        """The next line, as a JSON object."""
        while b"\n" not in self._rest:
            if len(self._rest) > MAX_LINE:
                raise _BrokenPipe(f"it wrote {MAX_LINE:,} bytes without an end of line")
            self._wait()
            self._fill(1 << 16)
        line, _, rest = self._rest.partition(b"\n")
        self._rest = rest
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise _BrokenPipe(f"it wrote {bytes(line[:200])!r}, not a JSON object (is something else on its stdout?)")
        return found

    def read(self, count: int) -> bytes:
        """Exactly ``count`` bytes."""
        while len(self._rest) < count:
            self._wait()
            self._fill(count - len(self._rest))
        with memoryview(self._rest) as view:
            data = bytes(view[:count])
        del self._rest[:count]
        return data

    def status(self) -> str:
        """How the program ended, for a sentence; waits a moment for one that just closed its pipe."""
        with suppress(subprocess.TimeoutExpired):
            return f", exit status {self._process.wait(0.5)}"
        return ""

    def _fill(self, count: int) -> None:
        """Take in what there is to read; nothing when there is nothing."""
        try:
            data = os.read(self._out, min(count, 1 << 20))
        except BlockingIOError:
            return
        if not data:
            raise _BrokenPipe("it ended")
        self._rest += data

    def _wait(self, writing: bool = False) -> None:
        """Until the program has said something, or, when ``writing``, can be written to."""
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        if writing:
            poll.register(self._in, select.POLLOUT)
        if not poll.poll(1000 * self._timeout):
            raise _BrokenPipe(f"it was silent for {self._timeout:g} seconds")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the program's input, which ends it; kill what then is left of it and of its children."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(2)
    with suppress(OSError):  # its group, and so the group's number, lives as long as one of them does
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _whole(value: object, low: int, stop: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value < stop


def _last_lines(log: IO[bytes]) -> list[str]:
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - 2000))
    lines = log.read().decode("utf-8", "replace").splitlines()
    return [line[:300] for line in lines[-2:] if line.strip()]
