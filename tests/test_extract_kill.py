"""kill -9 in the middle of an extraction; the same command again ends in the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import films
import pytest

from refvps.extract.record import is_whole, read_records

pytest.importorskip("av")

ROOT = Path(__file__).resolve().parent.parent


def command(videos: list[Path], out: Path) -> list[str]:
    names = [str(video) for video in videos]
    return [sys.executable, "-m", "refvps", "extract", "-q", *names, "--out", str(out), "-j", "2"]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_kill_extract_at_many_moments(tmp_path: Path) -> None:
    videos = [films.write(tmp_path / f"film{k}.mp4", films.times(30, 120 + k)) for k in range(4)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    subprocess.run(command(videos, tmp_path / "whole"), env=env, check=True, capture_output=True)
    whole = time.perf_counter() - started
    expected = content(tmp_path / "whole")
    out, killed = tmp_path / "out", 0
    for share in (0.5, 0.7, 0.8, 0.9, 0.97):
        process = subprocess.Popen(
            command(videos, out), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(share * whole)
        killed += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
        process.wait()
        if not out.is_dir():
            continue
        for record in read_records(out).values():  # what is recorded and there is whole
            if (out / record.clip).is_dir():
                assert is_whole(out, record)
        for name, data in content(out).items():
            assert name.startswith(".") or expected[name] == data
    assert killed
    subprocess.run(command(videos, out), env=env, check=True, capture_output=True)
    assert content(out) == expected
    assert not [entry for entry in out.iterdir() if entry.name.startswith(".")]
