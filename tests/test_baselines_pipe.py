"""The pipe: what a program may say, and what happens when it says something else, dies or hangs."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import Lazy, benchmark_of, content

from baselines import pipe
from refvps.errors import InputError, UsageError
from refvps.run.predict import clip_seed, predict

PROGRAM = """
import json, sys, time
def say(message, data=b""):
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\\n" + data)
    sys.stdout.buffer.flush()
sys.stderr.write("loading\\n"); sys.stderr.flush()
say({"pipe": 1, "method": {"name": "echo", "version": "3", "options": {"level": 90}}})
served = 0
for line in sys.stdin.buffer:
    clip = json.loads(line)
    h, w, n = clip["height"], clip["width"], clip["frames"]
    served += 1
    def frame(t):
        say({"frame": t})
        return sys.stdin.buffer.read(h * w * 3)
    # BAD
    first = frame(n - 1)
    for start in range(0, n, 3):
        planes = [bytes(value > 90 for value in frame(t)[::3]) for t in range(start, min(n, start + 3))]
        for k, text in enumerate(clip["texts"]):
            mark = (len(text) + clip["seed"] + served * 0) % 2
            say({"text": k, "start": start, "masks": len(planes)}, b"".join(planes) if mark else bytes(h * w * len(planes)))
    say({"done": True})
"""  # noqa: E501


@pytest.fixture
def program(tmp_path: Path) -> Any:
    """A loader of the program above with a line of mischief in it."""

    def load(bad: str = "", start: str = "", **options: Any) -> pipe.Pipe:
        text = PROGRAM.replace("# BAD", bad or "pass")
        path = tmp_path / f"program{len(list(tmp_path.iterdir()))}.py"
        path.write_text(start + text)
        return pipe.load([sys.executable, "-S", "-E", str(path)], **{"timeout": 20, **options})

    return load


def masks(found: pipe.Pipe, frames: Any, texts: list[str], seed: int = 1) -> np.ndarray:
    out = np.zeros((len(texts), len(frames), *frames[0].shape[:2]), bool)
    for chunk in found.predict(frames, texts, fps=24.0, seed=seed):
        out[chunk.text, chunk.start : chunk.start + len(chunk.masks)] = chunk.masks
    return out


def test_one_program_serves_a_run(program: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    found = program(log=str(log))
    assert (found.method.name, found.method.version, found.method.options) == ("echo", "3", {"level": 90})
    bench = benchmark_of([7, 4, 1], size=(9, 14))
    predict(bench, found, tmp_path / "out", seed=3)
    assert log.read_text() == "loading\n"  # started once
    lines = (tmp_path / "out" / "clip-0.jsonl").read_text()
    assert lines.count("\n") == 3
    for clip in bench.clips:
        frames = bench.frames(clip)
        texts = [each.text for each in bench.expressions_of(clip)]
        seed = clip_seed(clip, 3)
        got = masks(found, frames, texts, seed)
        for k, text in enumerate(texts):
            expected = np.stack([frame[..., 0] > 90 for frame in frames]) & bool((len(text) + seed) % 2)
            assert np.array_equal(got[k], expected)
    assert found._process is not None


def test_a_large_clip_passes_through(program: Any) -> None:
    """Frames and masks of many times the buffer of a pipe, in both directions."""
    found = program()
    frames = Lazy(1, range(4), (150, 400))
    got = masks(found, frames, ["a"], seed=0)
    assert np.array_equal(got[0], [frame[..., 0] > 90 for frame in frames])


def test_a_program_may_ask_for_the_next_frame_before_it_answers(program: Any) -> None:
    """Frames and masks larger than a pipe at once: neither side may wait for the other to read first."""
    ahead = """say({"frame": 0})
    for t in range(n):
        shown = sys.stdin.buffer.read(h * w * 3)
        if t + 1 < n: say({"frame": t + 1})
        say({"text": 0, "start": t, "masks": 1}, bytes(value > 90 for value in shown[::3]))
    say({"done": True})
    continue"""
    found = program(ahead, timeout=3)
    frames = Lazy(1, range(4), (400, 500))
    assert np.array_equal(masks(found, frames, ["a"])[0], [frame[..., 0] > 90 for frame in frames])


BAD = {
    "raise SystemExit(7)": "it ended, exit status 7",
    "raise RuntimeError('no GPU here')": "no GPU here",
    "print('hello from a library', flush=True)": "b'hello from a library', not a JSON object",
    "say([1])": "not a JSON object",
    "say({'frame': n})": 'it said {"frame": ',
    "say({'frame': -1})": 'it said {"frame": -1}',
    "say({'frame': True})": 'it said {"frame": true}',
    "say({'text': 0, 'start': 0, 'masks': n + 1}, bytes(h * w * (n + 1)))": 'it said {"text": 0',
    "say({'text': 0, 'start': 0, 'masks': 1}, bytes([255]) * h * w)": "a mask has the value 255, not 0 or 1",
    "sys.stdout.buffer.write(b'x' * (2 << 20)); sys.stdout.buffer.flush()": "without an end of line",
    "say({'error': 'what'})": 'it said {"error": "what"}',
}


@pytest.mark.parametrize("bad", BAD)
def test_what_a_program_must_not_do_is_an_error_that_names_the_sentences(bad: str, program: Any) -> None:
    found = program(f"if served == 1 and 'poison' in clip['texts'][0]:\n        {bad}")
    frames = Lazy(1, range(3), (12, 40))
    with pytest.raises(InputError) as caught:
        masks(found, frames, ["poison", "cake"])
    assert BAD[bad] in str(caught.value)
    assert "texts ['poison', 'cake']" in caught.value.where[0]
    assert masks(found, frames, ["cake"], seed=1).any()  # started again


def test_one_bad_clip_of_a_run(program: Any, tmp_path: Path) -> None:
    found = program("if n == 4: sys.exit(3)")
    with pytest.raises(InputError, match=r"exit status 3") as caught:
        predict(benchmark_of([5, 4, 3], size=(6, 8)), found, tmp_path / "out")
    assert "thing 0 of clip 1" in str(caught.value)
    assert sorted(content(tmp_path / "out")) == ["clip-0.jsonl", "clip-2.jsonl", "run.json"]


def test_silence_ends_after_the_time_limit(program: Any) -> None:
    found = program("time.sleep(600)", timeout=0.5)
    began = time.monotonic()
    with pytest.raises(InputError, match=r"silent for 0\.5 seconds"):
        masks(found, Lazy(1, range(2), (4, 4)), ["a"])
    assert time.monotonic() - began < 15
    assert found._process is None


@pytest.mark.parametrize("end", ["pass", "time.sleep(600)"])
def test_a_program_takes_its_children_with_it(end: str, program: Any, tmp_path: Path) -> None:
    """Whether it ends by itself or not; the write end of a named pipe tells whether a child still lives."""
    held = tmp_path / "held"
    os.mkfifo(held)
    reader = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    child = f"import os\nfrom subprocess import DEVNULL, Popen\nkept = os.open({str(held)!r}, os.O_WRONLY)\n"
    child += "Popen(['sleep', '600'], pass_fds=[kept], stdin=DEVNULL, stdout=DEVNULL)\n"
    found = program(end, start=child, timeout=0.5)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)  # somebody holds it
    with suppress(InputError):
        masks(found, Lazy(1, range(2), (4, 4)), ["a"])
    found._stop()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with suppress(BlockingIOError):
            assert os.read(reader, 1) == b""
            break
        time.sleep(0.02)
    else:
        pytest.fail("a child of the program lives on")
    os.close(reader)


def test_a_run_that_is_broken_off_does_not_mix_two_clips(program: Any) -> None:
    found = program()
    frames = Lazy(1, range(7), (6, 8))
    stream = found.predict(frames, ["odd"], fps=24.0, seed=0)
    next(stream)
    stream.close()
    got = masks(found, frames, ["odd"], seed=0)
    assert np.array_equal(got[0], [frame[..., 0] > 90 for frame in frames])


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("import sys; print('welcome'); sys.exit(0)\n", "b'welcome', not a JSON object"),
        ("import sys; sys.exit('no weights')\n", "no weights"),
        ('print(\'{"pipe": 2, "method": {}}\', flush=True)\n', "not who it is"),
        ('print(\'{"pipe": 1, "method": {"name": "a", "author": "b"}}\', flush=True)\n', "declares author; there are"),
        ('print(\'{"pipe": 1, "method": {"name": ["a"]}}\', flush=True)\n', 'name as ["a"], which is not a string'),
        ('print(\'{"pipe": 1, "method": {"name": "a", "options": 1}}\', flush=True)\n', "which is not an object"),
    ],
)
def test_a_program_that_does_not_start(start: str, words: str, program: Any) -> None:
    with pytest.raises(InputError) as caught:
        program(start=start)
    assert words in str(caught.value)


def test_commands_that_are_none() -> None:
    for command, words in [("no-such-program-xyz", "No such file"), ("", "needs a command"), ([], "needs a command")]:
        with pytest.raises(UsageError, match=words):
            pipe.load(command)
    with pytest.raises(UsageError, match="number of seconds"):
        pipe.load("true", timeout=0)
    with pytest.raises(UsageError, match="number of seconds"):
        pipe.load("true", timeout=float("nan"))
