"""kill -9 in the middle of an evaluation leaves nothing half done; the rerun gives the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from refvps import cli

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def preds(tmp_path_factory):
    out = tmp_path_factory.mktemp("kill") / "centre"
    assert cli.run(["predict", "-q", "-p", "centre", "-b", "sample", "--out", str(out)]) == 0
    return out


def command(preds, out):
    return [
        sys.executable,
        "-m",
        "refvps",
        "evaluate",
        "-q",
        "--pred",
        str(preds),
        "-b",
        "sample",
        "-j",
        "2",
        "--out",
        str(out),
    ]


def stable(path):
    data = json.loads(path.read_text())
    return {key: value for key, value in data.items() if key not in ("environment", "inputs", "timings")}


def test_kill_evaluate_at_many_moments(preds, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    subprocess.run(command(preds, tmp_path / "whole"), env=env, check=True, capture_output=True)
    whole = time.perf_counter() - started
    expected = stable(tmp_path / "whole" / "sample@1" / "centre.json")
    counts = (tmp_path / "whole" / "sample@1" / "centre.counts.npz").read_bytes()
    out, killed = tmp_path / "out", 0
    for share in (0.3, 0.6, 0.8, 0.9, 0.97):
        process = subprocess.Popen(
            command(preds, out), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(share * whole)
        killed += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
        process.wait()
        for path in out.rglob("*.json"):
            assert stable(path) == expected  # either not there or whole
    assert killed
    subprocess.run(command(preds, out), env=env, check=True, capture_output=True)
    assert stable(out / "sample@1" / "centre.json") == expected
    assert (out / "sample@1" / "centre.counts.npz").read_bytes() == counts


def test_a_dying_worker_is_an_error_and_never_a_hang(preds, tmp_path):
    (tmp_path / "tests_die.py").write_text(
        "import os\n\n\nclass Truth:\n    def frame(self, index):\n        os._exit(9)\n"
    )
    probe = (
        "import sys; sys.path[:0] = [sys.argv[1], sys.argv[2]]\n"
        "from tests_die import Truth\n"
        "from inmemory import ArrayReader, clip_of\n"
        "from refvps.run.count import ClipTask, run_tasks\n"
        "if __name__ == '__main__':\n"
        "    tasks = [ClipTask(clip_of(300, (4, 4), name=f'c{k}'), (('e', '1'),), Truth(), ArrayReader({}))\n"
        "             for k in range(3)]\n"
        "    run_tasks(tasks, 2)\n"
    )
    script = tmp_path / "probe.py"
    script.write_text(probe)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(tmp_path)])}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(ROOT / "tests")],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "A worker process died" in done.stderr
