"""``refvps report`` from a user's chair: real results of the sample, every exit code, what is left on disk."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from pathlib import Path

import made_results as made
import numpy as np
import pytest
import trees

from refvps import cli
from refvps.data import load
from refvps.masks.mask import Mask
from refvps.predictions.write import ClipWriter

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reports.md"


@pytest.fixture
def run(capsys):
    """Run a command in this process; returns (exit code, stdout, stderr)."""

    def call(*args):
        code = cli.run([str(arg) for arg in args])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def noisy_oracle(folder):
    """Predictions that are the truth, shifted further on later clips, and empty now and then."""
    bench = load("sample")
    for number, clip in enumerate(bench.clips.values()):
        rng = np.random.default_rng(number)
        truth = bench.truth(clip.id)
        names = [each.id for each in bench.expressions_of(clip.id)]
        writer = ClipWriter(folder / f"{clip.id}.jsonl", clip, names, "sample", bench.digest)
        for index in range(len(clip.frames)):
            target = truth.frame(index)[0]["1"].array()
            shifted = np.roll(target, (int(rng.integers(0, 3 + number)), 2), (0, 1)) & (rng.random() > 0.03)
            for name in names:
                writer.add(name, index, Mask.from_array(np.ascontiguousarray(shifted)))
        writer.finish()
    return folder


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """Results of four methods on the sample."""
    folder = tmp_path_factory.mktemp("real")
    for name in ("empty", "full", "centre", "oracle"):
        preds = folder / name
        if name == "oracle":
            noisy_oracle(preds)
        else:
            assert cli.run(["predict", "-q", "-p", name, "-b", "sample", "--out", str(preds)]) == 0
        command = ["evaluate", "-q", "--pred", preds, "-b", "sample", "--draws", 500, "--out", folder / "results"]
        assert cli.run([str(part) for part in [*command, "--method", name]]) == 0
    return folder / "results"


def test_the_table_shows_the_numbers_of_the_results(run, real):
    code, out, _ = run("report", "--table", "main", real)
    assert code == 0
    for name in ("empty", "full", "centre", "oracle"):
        data = json.loads((real / "sample@1" / f"{name}.json").read_text())["summary"]
        j, tc = data["J"], data["TC"]
        low, high = f"{100 * j['low']:.2f}", f"{100 * j['high']:.2f}"
        pattern = rf"^{name} +{100 * j['value']:.2f} +\[{low}, {high}\] +{100 * tc['value']:.2f} +\[.*\] +14$"
        assert re.search(pattern, out, re.MULTILINE), (pattern, out)
    order = re.findall(r"^(oracle|empty|full|centre) ", out, re.MULTILINE)
    assert order == ["oracle", "empty", "centre", "full"]
    signature = json.loads((real / "sample@1" / "full.json").read_text())["signature"]
    assert signature in out.splitlines()
    code, out, _ = run("report", "--table", "main", real, "--format", "csv", "-q")
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(out))}
    assert (
        float(rows["oracle"]["J"])
        == json.loads((real / "sample@1" / "oracle.json").read_text())["summary"]["J"]["value"]
    )


def test_the_plot_holds_the_scores_of_every_concept(run, real, tmp_path):
    code, out, err = run("report", "--plot", "concept-coverage", real, "--format", "svg", "--out", tmp_path, "--json")
    assert code == 0
    (data,) = json.loads(out)
    assert data["sorted_by"] == "oracle" and data["benchmark"] == "sample" and data["tail"] == 4
    assert Path(data["file"]) == tmp_path / "concept-coverage-sample@1.svg" and Path(data["file"]).is_file()
    for entry in data["methods"]:
        table = json.loads((real / "sample@1" / f"{entry['method']}.json").read_text())["by_concept"]
        assert {e["concept"]: (e["J"], e["low"], e["high"]) for e in entry["concepts"]} == {
            concept: (v["J"]["value"], v["J"]["low"], v["J"]["high"]) for concept, v in table.items()
        }
    assert len(data["methods"]) == 4 and "note: sample@1: concepts are sorted by oracle" in err


def test_files_are_kept_unless_forced(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made.write(tmp_path / "results", *made.processes()[:2])
    plot = ["report", "-q", "--plot", "concept-coverage", "--format", "svg"]
    assert run(*plot) == (0, "figures/concept-coverage-ref-vps@1.svg\n", "")
    path = tmp_path / "figures" / "concept-coverage-ref-vps@1.svg"
    first = path.stat()
    assert run(*plot)[0] == 0
    assert path.stat().st_mtime_ns == first.st_mtime_ns and path.stat().st_ino == first.st_ino
    made.write(tmp_path / "results", *made.processes()[2:])
    before = path.read_bytes()
    code, out, err = run(*plot)
    assert (code, out) == (2, "") and "already there" in err and "--force" in err
    assert path.read_bytes() == before
    assert run(*plot, "--force")[0] == 0 and path.read_bytes() != before
    assert run("report", "--table", "main", "--out", "t/main.tex", "--format", "latex") == (0, "t/main.tex\n", "")
    assert run("report", "--table", "main", "--out", "t/main.tex", "--format", "latex")[0] == 0
    assert run("report", "--table", "main", "--out", "t/main.tex")[0] == 2
    assert run("report", "--table", "main", "--out", "t")[0] == 2
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == ["main.tex"]


def test_one_figure_per_benchmark_and_nothing_half_written(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made.write(
        "results", *made.processes(), *made.long_tail(60), made.result("a", 0.5, name="plain", concepts={"": 0.5})
    )
    code, out, err = run("report", "--plot", "concept-coverage", "--format", "svg")
    assert code == 0
    assert out.split() == ["figures/concept-coverage-burst@1.svg", "figures/concept-coverage-ref-vps@1.svg"]
    assert "no figure of plain@1: There is nothing to sort" in err
    assert run("report", "--plot", "concept-coverage", "-b", "plain")[0] == 2
    code, out, _ = run("report", "--plot", "concept-coverage", "-b", "burst", "--format", "svg", "--out", "b")
    assert out.split() == ["b/concept-coverage-burst@1.svg"]
    made.write(
        "results",
        made.result("rem", 0.6, concepts={"x": 0.9, "y": 0.1}),
        made.result("rem", 0.6, name="burst", concepts={"x": 0.9, "y": 0.1}),
    )
    before = {p: p.read_bytes() for p in Path("figures").iterdir()}
    assert run("report", "--plot", "concept-coverage", "--format", "svg")[0] == 2
    assert {p: p.read_bytes() for p in Path("figures").iterdir()} == before
    made.write(
        "other",
        made.result("a", 0.5, concepts={"x": 0.9, "y": 0.1}),
        made.result("b", 0.5, concepts={"x": 0.9, "y": 0.1}),
    )
    made.write("third", made.result("a", 0.4, rules={"ignore": "target"}, concepts={"x": 0.9, "y": 0.1}))
    code, out, _ = run("report", "--plot", "concept-coverage", "other", "third", "--format", "svg", "--out", "c")
    assert code == 0 and len(set(out.split())) == 2
    titles = {re.sub(r"-[0-9a-f]{8}\.svg", "", line) for line in out.split()}
    assert titles == {"c/concept-coverage-ref-vps@1"}


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        ((), 2, "One of --plot and --table"),
        (("--plot", "a", "--table", "b"), 2, "One of --plot and --table"),
        (("--plot", "concept-covrage"), 2, "did you mean concept-coverage?"),
        (("--plot", "j-vs-ct"), 2, "did you mean j-vs-tc?"),
        (("--plot", "\x1b[31m"), 2, "known: concept-coverage, j-vs-tc"),
        (("--table", "mian"), 2, "did you mean main?"),
        (("--plot", "concept-coverage", "--format", "pgn"), 2, "did you mean png?"),
        (("--plot", "concept-coverage", "--format", "markdown"), 2, "one of pdf, png, svg"),
        (("--table", "main", "--format", "pdf"), 2, "one of text, markdown, latex, csv"),
        (("--table", "main", "--sort", "rem"), 2, "--sort belongs to --plot"),
        (("--table", "main", "--column", "single"), 2, "--column belongs to --plot"),
        (("--plot", "j-vs-tc", "--sort", "rem"), 2, "nothing to sort"),
        (("--plot", "concept-coverage", "--no-reported"), 2, "--no-reported belongs to --table"),
        (("--plot", "concept-coverage", "--sort", "ren"), 2, "did you mean rem?"),
        (("--plot", "concept-coverage", "--out", "results/ref-vps@1/rem.json"), 2, "--out is a folder"),
        (("--plot", "concept-coverage", "-b", "burst"), 2, "there are ref-vps@1"),
        (("--table", "main", "nowhere.json"), 4, "nowhere.json"),
        (("--table", "main", "broken"), 4, "broken/x.json"),
        (("--table", "reported", "results"), 2, "shows reported figures only"),
        (("--table", "reported", "-b", "nowhere"), 2, "there are burst, mevis"),
    ],
)
def test_exit_codes_and_remedies(args, code, said, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made.write("results", *made.processes())
    Path("broken").mkdir()
    Path("broken/x.json").write_text('{"schema": 1')
    found, out, err = run("report", *args)
    assert (found, out) == (code, "") and said in err and "Fix: " in err
    assert "\x1b" not in err
    assert not Path("figures").exists()


@pytest.mark.parametrize("args", [("--plot", "concept-coverage"), ("--plot", "j-vs-tc"), ("--table", "main")])
def test_without_results_the_first_command_is_named(args, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (None, "results", "results/sample@1"):
        if folder:
            Path(folder).mkdir()
        code, out, err = run("report", *args)
        assert (code, out) == (2, "")
        assert "There are no results yet." in err and "refvps evaluate --pred preds/" in err
    assert [p.name for p in tmp_path.iterdir()] == ["results"]


def test_reported_figures_need_no_results(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("report", "--table", "reported", "-b", "ref-vps")
    assert code == 0 and re.search(r"^REM +48\.96 +2\.8$", out, re.MULTILINE)
    assert "reported: Ref-VPS, ICCV 2025 version (145 clips, 6 fps annotation)" in out
    made.write("results", made.result("mine", 0.5))
    assert "48.96" in run("report", "--table", "main")[1]
    code, out, _ = run("report", "--table", "main", "--no-reported")
    assert code == 0 and "48.96" not in out and "reported" not in out


def test_another_tools_protocol_has_its_own_table_and_title(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trees.flat(Path("gt"), (1, 2))
    trees.flat(Path("preds"), (1, 2))
    assert run("evaluate", "-q", "--pred", "preds", "--gt", "gt", "--protocol", "vos-benchmark", "--draws", 9)[0] == 0
    code, out, _ = run("report", "--table", "main")
    assert code == 0 and "(protocol:vos-benchmark)" in out and "other results" not in out
    assert re.search(r"^method +J ", out) and "TC" not in out.partition("\n")[0]
    assert re.search(r"^preds +100\.00 ", out, re.MULTILINE)
    code, _, err = run("report", "--plot", "j-vs-tc")
    assert code == 2 and "None of these results has both J and TC" in err


def test_symbolic_links_and_strange_folders_do_no_harm(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made.write("results", made.result("mine", 0.5))
    Path("results/loop.json").symlink_to("loop.json")
    code, _, err = run("report", "--table", "main")
    assert code == 4 and "loop.json" in err
    Path("results/loop.json").unlink()
    Path("results/again").symlink_to(tmp_path / "results")
    Path("results/dir.json").mkdir()
    code, _, err = run("report", "--table", "main")
    assert code == 4 and "dir.json" in err


def commands():
    blocks = re.findall(r"^```\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for block in blocks for line in block.splitlines()]


def test_the_page_runs_from_top_to_bottom(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for args in commands():
        code, _, err = run(*args)
        assert code == 0, (args, err)
    names = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file() and "preds" not in p.parts}
    assert names - {n for n in names if n.startswith("results")} == {
        "figures/concept-coverage-sample@1.pdf",
        "figures/concept-coverage-sample@1.svg",
        "figures/j-vs-tc-sample@1.png",
        "slides/concept-coverage-sample@1.png",
        "two/concept-coverage-sample@1.svg",
        "main.tex",
        "main.csv",
    }
    assert len(commands()) == 16


def test_help_names_every_plot_and_table():
    from refvps.report.board import TABLES
    from refvps.report.figures import PLOTS

    text = PAGE.read_text()
    assert all(f"--plot {name}" in text for name in PLOTS) and all(f"--table {name}" in text for name in TABLES)
    import click

    command = cli.cli.get_command(click.Context(cli.cli), "report")
    helped = {p.name: p.help for p in command.params if isinstance(p, click.Option)}
    assert all(name in helped["plot"] for name in PLOTS) and all(name in helped["table"] for name in TABLES)
