"""docs/manifest.md: its records follow their schemas, its code runs, its commands do what it says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from test_statistics import v2_like
from trees import write_lines, write_ref_vps

from refvps import cli
from refvps.data.census import check
from refvps.data.manifest import violation
from refvps.data.records import read_candidates, read_clips, read_expressions, read_withdrawn
from refvps.data.register import register
from refvps.types import CATEGORIES

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "manifest.md").read_text()
BLOCKS = re.findall(r"^```([a-z ]*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
README = (Path(__file__).resolve().parent.parent / "annotations" / "ref-vps" / "README.md").read_text()


def test_records_on_the_page_are_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = {head.split()[1]: json.loads(text) for head, text in BLOCKS if head.startswith("json ")}
    assert set(records) == {"clips", "expressions", "candidates", "withdrawn"}
    for name, record in records.items():
        assert violation(record, name) == ""
        write_lines(tmp_path / f"{name}.jsonl", [record])
    (clip,) = read_clips(tmp_path / "clips.jsonl")
    said = list(read_expressions(tmp_path / "expressions.jsonl"))
    codes = {
        finding.code for finding in check.check([clip], said, candidates=read_candidates(tmp_path / "candidates.jsonl"))
    }
    assert codes == {"expressions", "annotators"}  # the page shows one of four
    assert read_withdrawn(tmp_path / "withdrawn.jsonl")[0].reason in PAGE
    monkeypatch.chdir(tmp_path)
    (code,) = [text for head, text in BLOCKS if head == "python"]
    names: dict[str, object] = {}
    exec(code, names)
    assert names["free"] == ["wax-01"]
    flat = " ".join(PAGE.split())
    assert all(category in flat for category in CATEGORIES)


def test_commands_on_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    register(write_ref_vps(tmp_path / "source", frames=False))
    v2_like(tmp_path / "set")
    write_lines(
        tmp_path / "set" / "candidates.jsonl",
        [{"id": "k", "concept": "c", "query": "q", "kept": True, "clips": ["c0"]}],
    )
    write_lines(tmp_path / "withdrawn.jsonl", [{"clip": "wax-01", "date": "2026-01-31", "reason": "uploader"}])
    for folder in ("preds", "results"):
        (tmp_path / folder).mkdir()
    lines = [line for head, text in BLOCKS if not head for line in text.splitlines()]
    assert len(lines) == 7
    for line in lines:
        assert cli.run(shlex.split(line)[1:]) == 0, line


def test_the_readme_of_ref_vps_shows_valid_records() -> None:
    shown = re.findall(r"^ {4}(\{.*?\})$", README, re.MULTILINE | re.DOTALL)
    records = [
        json.loads(" ".join(text.split())) for text in shown if '"schema"' not in text and '"counts"' not in text
    ]
    kinds = []
    for record in records:
        kind = "clips" if "frames" in record else "expressions" if "text" in record else "withdrawn"
        assert violation(record, kind) == "", record
        kinds.append(kind)
    assert kinds == ["clips", "expressions", "withdrawn"]
