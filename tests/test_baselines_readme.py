"""baselines/README.md: every block is run, in its order, in an empty folder; the three ways agree."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from baselines.cli import cli as baselines_command
from refvps import cli

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "baselines" / "README.md").read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def follow(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Do what the page says; the commands that ran."""
    ran = []
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for language, block in BLOCK.findall(PAGE):
        first, _, rest = block.partition("\n")
        if language == "python":
            Path(re.fullmatch(r"# ([\w.]+\.py)", first)[1]).write_text(rest)
            continue
        assert language == ""
        for line in block.splitlines():
            words = shlex.split(line)
            if words[0] == "python":
                subprocess.run([sys.executable, *words[1:]], check=True)
            else:
                with redirect_stdout(io.StringIO()):
                    command = {"refvps": cli.cli, "baselines": baselines_command}[words[0]]
                    assert cli.run_command(command, words[0], words[1:]) == 0, line
            ran.append(line)
    return ran


def test_the_page_runs_and_its_three_ways_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFVPS_JOBS", "1")
    ran = follow(monkeypatch)
    assert len(ran) >= 10
    results = {path.stem: json.loads(path.read_text()) for path in Path("results/sample@1").glob("*.json")}
    assert set(results) == {"oracle-static", "motion.shuffled-text", "bright", "folder", "bright-pipe"}
    ways = [results[name]["rows"] for name in ("bright", "folder", "bright-pipe")]
    assert ways[0] == ways[1] == ways[2]
    assert results["bright"]["summary"]["J"]["value"] > 0.1
    assert Path("program.log").read_text() == ""
    clips = sorted(path.name for path in Path("bright").glob("*.jsonl"))
    assert len(clips) == 14
    assert all(Path("bright", name).read_bytes() == Path("program", name).read_bytes() for name in clips)


def test_each_way_is_about_thirty_lines() -> None:
    programs = [block for language, block in BLOCK.findall(PAGE) if language == "python"]
    assert len(programs) == 3
    assert all(len(block.splitlines()) <= 33 for block in programs)
