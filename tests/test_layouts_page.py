"""docs/layouts.md: every command runs, in order, and its tables name the layouts that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from refvps import cli
from refvps.export import LAYOUTS
from refvps.predictions.export import LAYOUTS as PREDICTIONS

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "layouts.md").read_text()


def rows(heading: str) -> list[str]:
    part = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_the_tables_list_every_layout_once() -> None:
    assert sorted(rows("Benchmarks")) == sorted(LAYOUTS)
    assert sorted(rows("Predictions")) == sorted(PREDICTIONS)


def test_every_command_runs(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for line in PAGE.splitlines() if line.startswith("refvps ")]
    assert len(lines) == 8
    for line in lines:
        assert cli.run(shlex.split(line)[1:]) == 0, (line, capsys.readouterr().err)
    assert (tmp_path / "motion.csv").read_text().startswith("Sequence,J-Mean,F-Mean\ncandle-wax_")
