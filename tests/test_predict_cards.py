"""``refvps list predictors``: what packages say of their predictors, read without importing them."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from refvps import cli
from refvps.run import cards, predictors

ROOT = Path(__file__).resolve().parent.parent


class _Entry:
    def __init__(self, name: str, value: str) -> None:
        self.name, self.value = name, value


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, str]], None]:
    """Makes a package ``lamps`` that must not be imported, with a file of cards and entry points."""
    entries: list[_Entry] = []
    monkeypatch.setattr(predictors.metadata, "entry_points", lambda group: entries)
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(text: str, points: dict[str, str]) -> None:
        (tmp_path / "lamps").mkdir()
        (tmp_path / "lamps" / "__init__.py").write_text("raise RuntimeError('imported')\n")
        (tmp_path / "lamps" / "predictors.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
        entries.extend(_Entry(name, value) for name, value in points.items())

    return make


def test_cards_of_a_package_that_is_never_imported(
    package: Callable[[str, dict[str, str]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package(
        '[lamp]\nlicence = "MIT"\nneeds = ["json.decoder", "no_such_module_xyz"]\ngated = true\n'
        'flags = ["sam-family"]\n'
        '[ghost]\nreason = "no checkpoint"\n[full]\nlicence = "stolen"\n[odd]\nneeds = 3\nlicence = 5\nextra = 1\n',
        {
            "lamp": "lamps.net:load",
            "odd": "lamps:odd",
            "bare": "somewhere:load",
            "referformer": "baselines.published_entry:referformer",
        },
    )
    found = {card.name: card for card in cards.cards()}
    assert found["lamp"].missing == ("no_such_module_xyz",) and not found["lamp"].installed
    assert (found["ghost"].where, found["ghost"].installed) == ("", False)
    assert found["full"].licence == "Apache-2.0"  # nobody describes another's
    assert found["odd"] == cards.Card("odd", where="lamps:odd")  # of wrong types nothing is taken
    assert found["bare"] == cards.Card("bare", where="somewhere:load")
    assert "lamps" not in sys.modules
    monkeypatch.setenv("COLUMNS", "150")
    assert cli.run(["list", "predictors"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 150
    lines = {line.split()[0]: line for line in shown.splitlines()}
    assert "pip: no_such_module_xyz; gated weights;" in lines["lamp"]
    assert "no checkpoint" in lines["ghost"]
    assert lines["referformer"].split()[1] == "no" and "baselines run referformer" in lines["referformer"]
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.run(["list", "predictors"]) == 0
    narrow = capsys.readouterr().out
    assert max(map(len, narrow.splitlines())) <= 80
    assert sorted(narrow.replace(" ", "").replace("\n", "")) == sorted(shown.replace(" ", "").replace("\n", ""))
    assert cli.run(["list", "predictors", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["full"]["installed"] is True and rows["lamp"]["missing"] == ["no_such_module_xyz"]


@pytest.mark.parametrize(
    "text",
    [
        "[lamp\n",
        "[lamp]\nlicence = '\udcff'\n",
        "a = " + "[" * 100_000,
        "[lamp]\nlicence = 'MIT'\n#" + "x" * (cards.MAX_BYTES),
    ],
    ids=["syntax", "encoding", "depth", "size"],
)
def test_a_broken_file_of_one_package_leaves_the_list_whole(
    text: str, package: Callable[[str, dict[str, str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    package(text, {"lamp": "lamps.net:load"})
    found = {card.name: card for card in cards.cards()}
    assert "cannot be read" in found["lamp"].description and "full" in found
    assert cli.run(["list", "predictors"]) == 0
    assert "cannot be" in capsys.readouterr().out


def test_what_a_package_writes_cannot_move_the_cursor(
    package: Callable[[str, dict[str, str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    package('[lamp]\nweights = "\\u001b[2J\\nfull"\n', {"lamp": "lamps.net:load"})
    assert cli.run(["list", "predictors"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "[2J full" in shown


@pytest.mark.parametrize("name", ["refvps", "rem", "baselines"])
def test_our_own_cards_use_known_keys_and_say_enough(name: str) -> None:
    tables = tomllib.loads((ROOT / name / "predictors.toml").read_text())
    known = {each.name for each in fields(cards.Card)} - {"name", "where"}
    for predictor, table in tables.items():
        assert table.keys() <= known, predictor
        assert table["description"] and table["licence"] and table["weights"]
        assert cards._card(predictor, table, "") == cards.Card(
            **{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}, name=predictor
        )
    if name == "baselines":
        family = {predictor for predictor, table in tables.items() if "sam-family" in table.get("flags", [])}
        assert family == {"grounded-sam2", "sam3", "samwise", "sa2va"}
        assert {"mttr", "samwise", "sa2va", "vlmo-l"} == {name for name, table in tables.items() if "reason" in table}


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, io; sys.stdout = io.StringIO(); from refvps.cli import run; run(['list', 'predictors']);"
        "sys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not {"torch", "transformers", "rem", "baselines", "refvps.sanity"} & set(done.stderr.split())
