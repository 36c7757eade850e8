"""docs/protocols.md: every number on it is today's, every command and every example on it runs."""

from __future__ import annotations

import json
import shlex
import shutil

import protocol_page
import pytest

from refvps import cli
from refvps.data.importers.referring.davis import load_refdavis
from refvps.data.store import store
from refvps.run.protocols import PROTOCOLS, TOOLS

TEXT = protocol_page.PAGE.read_text()


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    protocol_page.make_data()
    return tmp_path


def test_the_numbers_are_todays_and_equal_the_tools_to_the_last_digit(data):
    table, raw = protocol_page.numbers(data)
    assert protocol_page.filled(TEXT, "numbers", table) == TEXT, "stale: run python tests/protocol_page.py"
    assert set(raw) == set(TOOLS)
    for name, (theirs, ours, default) in raw.items():
        assert ours == theirs, name
        assert all(abs(a - b) > 1 for a, b in zip(ours, default, strict=True)) or name == "davis17-semisupervised"
        assert all(a != b for a, b in zip(ours, default, strict=True)), name


def test_the_rules_are_the_declared_ones():
    assert protocol_page.filled(TEXT, "rules", protocol_page.rules()) == TEXT, (
        "stale: run python tests/protocol_page.py"
    )


def test_a_stale_page_would_be_seen():
    digit = TEXT[TEXT.index("<!-- numbers -->") :].index("(") + TEXT.index("<!-- numbers -->") + 1
    stale = TEXT[:digit] + str((int(TEXT[digit]) + 1) % 10) + TEXT[digit + 1 :]
    table = TEXT.partition("<!-- numbers -->\n")[2].partition("\n<!-- end -->")[0]
    assert protocol_page.filled(stale, "numbers", table) == TEXT != stale


def test_every_command_line_runs(data, capsys):
    import test_refdavis
    from importers import make

    store(load_refdavis(make("ref-davis", data / "ref-davis").root))
    used = set()
    for line in protocol_page.commands():
        if "DIGEST" in line:
            (folder,) = {path.parent.name for path in data.glob("results/*/preds.vos-benchmark.json")}
            line = line.replace("folder@DIGEST", folder)
        args = shlex.split(line)[1:]
        if "ref-davis" in args:
            preds = test_refdavis.write(data / "runs", test_refdavis.noisy)
            args = [str(preds) if arg == "preds/" else arg for arg in args]
        assert cli.run(args) == 0, (line, capsys.readouterr().err)
        used.add(args[args.index("--protocol") + 1])
    assert used == {*PROTOCOLS, "ref-davis"}
    (again,) = data.glob("again/*/preds.vos-benchmark.json")
    (first,) = data.glob("results/*/preds.vos-benchmark.json")
    assert json.loads(again.read_text())["protocol"] == json.loads(first.read_text())["protocol"]


def test_what_the_page_says_of_its_data_is_so(data, capsys):
    """Object by object: the reasons it gives are the ones at work."""

    def objects(*options):
        assert cli.run(["evaluate", "--gt", "gt/", "--pred", "preds/", "--json", "-q", "--force", *options]) == 0
        block = json.loads(capsys.readouterr().out)["protocol"]
        return {(one["clip"], one["object"]): one for one in block["objects"]}

    unsupervised = objects("--protocol", "davis17-unsupervised")
    assert {key for key, one in unsupervised.items() if one["object"] != one["prediction"]} == {
        ("candle", "1"),
        ("candle", "2"),
    }
    assert ("storm", "3") not in unsupervised and unsupervised["storm", "1"]["frames"] == 9
    vos = objects("--protocol", "vos-benchmark")
    assert vos["storm", "3"]["scores"]["J"] == 0
    assert vos["storm", "255"]["scores"]["J"] == vos["candle", "255"]["scores"]["J"] == 0
    assert vos["storm", "1"]["frames"] == 4  # frames 4 to 7: it is gone after 5, and the last one is not scored
    semi = objects("--protocol", "davis17-semisupervised")
    assert semi["storm", "2"]["scores"]["J-Mean"] < unsupervised["storm", "2"]["scores"]["J-Mean"]  # void as background


def test_every_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = protocol_page.blocks("python")
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, "docs/protocols.md", "exec"), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gt", "gt-sav", "preds", "preds-sav", "val.txt"]
    shutil.rmtree(tmp_path / "gt")
