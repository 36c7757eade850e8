"""The command ``baselines``: light, and with the exit codes of refvps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from baselines import cli
from baselines.oracles import ORACLES
from refvps.cli import run_command
from refvps.errors import DataMissingError
from refvps.run import predictors

ROOT = Path(__file__).resolve().parent.parent


def call(*args: str) -> int:
    return run_command(cli.cli, "baselines", list(args))


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, io; sys.stdout = io.StringIO(); from baselines.cli import cli; from refvps.cli import run_command;"
        "codes = [run_command(cli, 'baselines', a) for a in (['--help'], ['run', '--help'], ['oracle', '--help'])];"
        "sys.stderr.write(f'{codes} ' + ' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.startswith("[0, 0, 0] ")
    assert not {"torch", "numpy", "transformers", "refvps.run"} & set(done.stderr.split())


def test_the_names_of_the_help_are_those_of_the_oracles() -> None:
    assert tuple(ORACLES) == cli.ORACLE_NAMES


def test_run_hands_everything_over(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import baselines.run as module

    given: dict[str, Any] = {}

    def run(method: str, **options: Any) -> Any:
        given.update(options, method=method)
        options["progress"]("a line of its log")
        return SimpleNamespace(next_step="refvps evaluate --pred preds")

    monkeypatch.setattr(module, "run", run)
    words = ["--repo", "R", "--weights", "W", "-b", "sample", "--out", "preds", "--work", "K", "--python", "py"]
    assert call("run", "mutr", *words, "-o", "gpus=2", "-o", "backbone=a=b") == 0
    del given["progress"]
    assert given == {
        "method": "mutr", "repo": Path("R"), "weights": Path("W"), "benchmark": "sample", "out": Path("preds"),
        "work": Path("K"), "python": "py", "options": {"gpus": "2", "backbone": "a=b"},
    }  # fmt: skip
    said = capsys.readouterr()
    assert (said.out, said.err) == ("refvps evaluate --pred preds\n", "a line of its log\n")
    assert call("run", "mutr", "--out", "preds", "-o", "gpus") == 2


def test_errors_have_the_exit_codes_of_refvps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", "no-such-method", "--out", str(tmp_path / "x")) == 2
    assert "Fix: " in capsys.readouterr().err
    assert call("oracle", "best", "--out", str(tmp_path / "x")) == 2
    assert call("oracle", "gt", "-b", "ref-vps", "--out", str(tmp_path / "x")) == 3
    assert "Fix: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["referformer", "mutr", "uninext", "sgmg"])
def test_methods_with_a_recipe_say_how_they_run(name: str) -> None:
    with pytest.raises(DataMissingError, match=f"baselines run {name} --repo DIR --weights FILE"):
        predictors.load(f"baselines.published_entry:{name}", weights="w", device="cuda")


def test_an_interrupted_run_starts_over(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("baselines.oracles.write_oracle", stopped)
    with pytest.raises(SystemExit, match="130"):
        cli.main(["oracle", "gt", "-b", "sample", "--out", "x"])
    err = capsys.readouterr().err
    assert "starts over" in err and "go on" not in err
