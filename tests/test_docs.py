"""Docs that cannot rot: every command is in the README with help and an example, and every line there runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from refvps import cli
from refvps.errors import EXIT_CODES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language=""):
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for kind, text in fenced if kind == language]


def commands(page):
    lines = [line for block in blocks(page) for line in block.splitlines() if line.startswith("refvps ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_an_example_and_a_place_in_the_readme(name):
    command = cli.cli.get_command(click.Context(cli.cli), name)
    assert command is not None
    assert command.help
    assert command.help.splitlines()[0] == cli.COMMANDS[name][1]
    assert (command.epilog or "").startswith("Example: ")
    assert f"refvps {name}" in README
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_parses(page):
    for args in commands(page):
        command = cli.cli.get_command(click.Context(cli.cli), args[0])
        assert command is not None, args
        command.make_context(args[0], args[1:], resilient_parsing=False)


def test_the_readme_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys, fixtures):
    """Every line of the README, in its order, in an empty folder with the files it speaks of."""
    import shutil

    from trees import write_ref_vps

    monkeypatch.chdir(tmp_path)
    write_ref_vps(tmp_path / "source")
    shutil.make_archive("ref-vps", "zip", "source")
    shutil.copy(fixtures / "clips/stream_of_water_cc0.mp4", "video.mp4")
    ran = []
    for args in commands(ROOT / "README.md"):
        if args[:3] == ["evaluate", "--pred", "preds/"] and len(args) == 3:
            assert cli.run(["predict", "-q", "-p", "full", "-b", "ref-vps", "--out", "full/"]) == 0
            args = ["evaluate", "--pred", "full/"]
        elif "--gt" in args:
            for name in ("gt", "preds2"):
                shutil.copytree(fixtures / "pumavos/chair/Annotations", Path(name) / "chair", dirs_exist_ok=True)
            args = ["preds2/" if arg == "preds/" else arg for arg in args]
        elif args[0] == "evaluate" and "--json" in args:
            args = [*args, "-b", "sample", "--method", "json"]
        elif args[0] == "predict" and "rem-tiny" in args:
            args = [*args, "--clip", "candle-wax"]  # half a minute less
        assert cli.run(args) == 0, (args, capsys.readouterr().err)
        ran.append(args[0])
    assert set(ran) == set(cli.COMMANDS)
    for block in blocks(ROOT / "README.md", "python"):
        exec(compile(block, "README", "exec"), {})
    assert "refvps:J+TC" in capsys.readouterr().out


def test_the_readme_fits_its_house():
    assert len(README.splitlines()) <= 100
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
    for code in EXIT_CODES:
        assert re.search(rf"\b{code}\b", README), code


def test_the_signature_in_the_readme_is_todays():
    from tables import random_counts

    from refvps.run.score import score
    from refvps.run.signature import parse
    from refvps.types import Rules

    shown = parse(next(line for line in README.splitlines() if line.startswith("refvps:")))
    now = parse(score(random_counts(), Rules()).signature)
    assert {k: v for k, v in shown.items() if k != "data"} == {k: v for k, v in now.items() if k != "data"}


def test_the_speed_on_its_page_is_the_measured_one():
    import json

    page = (ROOT / "docs" / "speed.md").read_text()
    tables = [json.loads((ROOT / "tests" / "bench" / f"{name}.json").read_text()) for name in ("scoring", "frames")]
    assert all(table["machine"]["cpu"] for table in tables)
    measured = {row["what"]: f"{row['value']:.2f}" for table in tables for row in table["rows"]}
    quoted = re.findall(r"^\| (.*refvps.*) \| ([0-9.]+) \|$", page, re.MULTILINE)
    assert len(quoted) >= 12
    for what, value in quoted:
        assert measured[what] == value
