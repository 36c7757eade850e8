"""Killed in the middle, crowded, and short of memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toys import Noisy, benchmark_of, content

from refvps.run.predict import predict

ROOT = Path(__file__).resolve().parent.parent

KILL = """
import sys
sys.path.insert(0, {tests!r})
import toys
from pathlib import Path
from refvps.run import predictors
from refvps.run.predict import predict
predictor = predictors.load("toys:slow", pause=float(sys.argv[2]))
predict(toys.benchmark_of([9, 8, 7, 6, 5]), predictor, Path(sys.argv[1]), seed=4)
"""


def start(out: Path, pause: float) -> subprocess.Popen[bytes]:
    code = KILL.format(tests=str(ROOT / "tests"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(out), str(pause)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT, env=environment)


def end(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """Exit status and standard error."""
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_kill_9_in_the_middle_then_again_gives_the_same_bytes(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert end(start(whole, 0)) == (0, b"")
    kept = 0
    for finished in (1, 3):  # killed twice: during the second clip, and during the fourth
        process = start(out, 0.1)
        deadline = time.monotonic() + 60
        while len(list(out.glob("*.jsonl"))) < finished:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(0.12)  # into the next clip
        process.send_signal(signal.SIGKILL)
        assert end(process)[0] == -signal.SIGKILL
        done = sorted(path.name for path in out.glob("*.jsonl"))
        assert finished <= len(done) < 5
        assert {name: (out / name).read_bytes() for name in done} == {
            name: (whole / name).read_bytes() for name in done
        }
        kept = len(done)
    (out / ".clip-4.jsonl.abcdef.tmp").write_bytes(b"half a file, as a kill during the write leaves it")
    (out / ".run.json.abcdef.tmp").write_bytes(b"half a file")
    run = predict(benchmark_of([9, 8, 7, 6, 5]), Noisy(), out, seed=4)
    assert len(run.kept) == kept
    assert content(out) == content(whole)  # also: no locks, no leftovers


def test_processes_that_share_a_folder_do_every_clip_once(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert end(start(whole, 0)) == (0, b"")
    together = [start(out, 0.01) for _ in range(3)]
    codes = []
    for process in together:  # one may find the last clips in other hands
        code, errors = end(process)
        assert code == 0 or b"still writing some clips" in errors, errors
        codes.append(code)
    assert 0 in codes
    assert content(out) == content(whole)


MEMORY = """
import resource, sys
sys.path.insert(0, {tests!r})
import toys
from pathlib import Path
from refvps import sanity
from refvps.run.predict import predict
bench = toys.benchmark_of([1000], texts=2, size=(720, 1280))
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
predict(bench, getattr(sanity, sys.argv[2])(), Path(sys.argv[1]))
print(base, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("name", ["full", pytest.param("motion", marks=pytest.mark.slow)])
def test_a_thousand_frames_of_720p_stay_under_1_gb(name: str, tmp_path: Path) -> None:
    code = MEMORY.format(tests=str(ROOT / "tests"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), name], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    before, peak = (int(number) / 1024 for number in done.stdout.split())
    assert peak < 1024
    assert peak - before < 400, f"{peak - before:.0f} MB for one clip"
