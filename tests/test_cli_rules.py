"""Rules on the command line: where they come from when they are not given, and the mean over expressions."""

from __future__ import annotations

import json

import pytest

from refvps import cli

SAMPLE = ["-b", "sample"]


@pytest.fixture
def run(capsys):
    def call(*args):
        code = cli.run([str(arg) for arg in args])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


@pytest.fixture
def motion(tmp_path):
    out = tmp_path / "motion"
    assert cli.run(["predict", "-q", "-p", "motion", *SAMPLE, "--out", str(out)]) == 0
    return out


def test_counts_are_scored_by_the_rules_of_the_result_beside_them(run, motion, tmp_path):
    out = ("--out", tmp_path / "results")
    rules = ("--metrics", "J,TC_over_T", "--average", "frame>clip>concept", "--ignore", "background")
    assert run("evaluate", "--pred", motion, *SAMPLE, *rules, *out)[0] == 0
    first = json.loads((tmp_path / "results/sample@1/motion.json").read_text())
    counts = tmp_path / "results/sample@1/motion.counts.npz"
    code, _, err = run("evaluate", "--from-counts", counts, "--method", "again", *out)
    again = json.loads((tmp_path / "results/sample@1/again.json").read_text())
    assert (code, again["signature"], again["summary"]) == (0, first["signature"], first["summary"])
    assert "rules not given here are those of" in err
    code, _, _ = run("evaluate", "--from-counts", counts, "--metrics", "J", "--method", "other", *out)
    assert json.loads((tmp_path / "results/sample@1/other.json").read_text())["rules"]["ignore"] == "background"
    alone = tmp_path / "alone.counts.npz"
    alone.write_bytes(counts.read_bytes())
    code, _, err = run("evaluate", "--from-counts", alone, "--method", "alone", *out)
    assert (code, "rules not given here" in err) == (0, False)
    assert json.loads((tmp_path / "results/sample@1/alone.json").read_text())["rules"]["metrics"] == ["J", "TC"]


def test_the_mean_over_expressions_weighs_clips_by_their_sentences(run, motion, tmp_path):
    args = ("--pred", motion, *SAMPLE, "--average", "frame>expression", "--out", tmp_path)
    assert run("evaluate", *args)[0] == 0
    data = json.loads((tmp_path / "sample@1/motion.json").read_text())
    values = [row["values"]["J"] for row in data["rows"]]
    assert data["summary"]["J"]["value"] == pytest.approx(sum(values) / len(values), abs=1e-15)
    assert data["summary"]["J"]["n"] == len(values)
