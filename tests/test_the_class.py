"""docs/the-class.md, run from top to bottom on small copies of both data sets."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import foreign_burst
import foreign_vspw
import numpy as np
import pytest
from tiny import ArrayReaders

from refvps import cli
from refvps.data.importers.burst import PAPER, load_burst
from refvps.data.importers.classes import PERSON, collisions, load_table
from refvps.data.importers.vspw import KNOWN, load_vspw
from refvps.predictions.export import LAYOUTS, export
from refvps.types import Benchmark

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "the-class.md").read_text()


def predict_nothing(out: Path, benchmark: Benchmark, layout: str) -> None:
    masks = {
        (each.clip, each.id): np.zeros((len(benchmark.clips[each.clip].frames), *benchmark.clips[each.clip].size), bool)
        for each in benchmark.expressions
    }
    export(out, benchmark, ArrayReaders(masks), layout)


def test_every_command_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    burst, vspw = foreign_burst.copy(tmp_path / "BURST").root, foreign_vspw.copy(tmp_path / "VSPW").root
    predict_nothing(tmp_path / "burst_valtest", load_burst(burst), "rem-burst")
    predict_nothing(tmp_path / "burst_clean", load_burst(burst), "tree")
    predict_nothing(tmp_path / "vspw_val", load_vspw(vspw), "rem-vspw")
    ran = []
    for block in re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            args = shlex.split(line, comments=True)
            assert args.pop(0) == "refvps"
            wanted = 3 if args == ["download", "burst"] else 0
            assert cli.run(args) == wanted, (line, capsys.readouterr().err)
            ran.append(args[0])
            out, err = capsys.readouterr()
            if args[0] == "stats":
                assert "The paper says 2,049 and 454" in out + err
    assert ran.count("evaluate") == 4
    names = {str(path.relative_to(tmp_path / "results")) for path in (tmp_path / "results").rglob("*.json")}
    assert names == {
        "burst@valtest-raw/burst_valtest.json",
        "burst@valtest-clean/burst_clean.json",
        "vspw-stuff@val-raw/vspw_val.json",
        "vspw-stuff@val-raw/void-ignored.json",
    }
    for name, rule in (("vspw_val", "background"), ("void-ignored", "drop")):
        assert f"|ign:{rule}|" in (tmp_path / f"results/vspw-stuff@val-raw/{name}.json").read_text()


def test_what_the_page_says_is_so() -> None:
    assert f"{PAPER['classes']} classes and {PAPER['sequences']:,} sequences" in PAGE
    assert f"{KNOWN['videos']} videos, {KNOWN['pairs']:,} pairs" in PAGE
    assert f"({', '.join(collisions(load_table('burst')))})" in PAGE
    assert f"Category {PERSON} is *the person*" in PAGE
    assert {name for name in LAYOUTS if name.startswith("rem")} <= set(re.findall(r"`([a-z-]+)` \|", PAGE))
    for sentence in re.findall(r"\*(the [^*]+)\*", PAGE.replace("\n", " ")):
        rows = [row for name in ("burst", "vspw") for row in load_table(name).rows.values()]
        assert sentence.removeprefix("the ") in {name for row in rows for name in (row.raw, row.clean)}, sentence
