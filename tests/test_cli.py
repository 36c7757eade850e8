"""The command line from a user's chair: every command, its output, its exit codes, what it leaves on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refvps import cli
from refvps.data import load
from refvps.predictions.export import export
from refvps.predictions.submission import open_submission

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ["-b", "sample"]


@pytest.fixture
def run(capsys):
    """Run a command in this process; returns (exit code, stdout, stderr)."""

    def call(*args):
        code = cli.run([str(arg) for arg in args])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


@pytest.fixture(scope="session")
def motion(tmp_path_factory):
    """Predictions of ``motion`` for the sample."""
    out = tmp_path_factory.mktemp("preds") / "motion"
    assert cli.run(["predict", "-q", "-p", "motion", *SAMPLE, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def floors(tmp_path_factory, motion):
    """Results of the built-in predictors on the sample, by name."""
    folder = tmp_path_factory.mktemp("floors")
    found = {}
    for name in ("empty", "full", "centre", "motion"):
        preds = motion if name == "motion" else folder / name
        if name != "motion":
            assert cli.run(["predict", "-q", "-p", name, *SAMPLE, "--out", str(preds)]) == 0
        command = ["evaluate", "-q", "--pred", preds, *SAMPLE, "--metrics", "J,F,TC", "--out", folder / "results"]
        assert cli.run([str(part) for part in command]) == 0
        found[name] = folder / "results" / "sample@1" / f"{name}.json"
    return found


def stable(path):
    data = json.loads(Path(path).read_text())
    return {key: value for key, value in data.items() if key not in ("environment", "inputs", "timings")}


def test_evaluate_prints_a_table_and_writes_both_files(run, motion, tmp_path):
    code, out, err = run("evaluate", "--pred", motion, *SAMPLE, "--out", tmp_path)
    assert code == 0
    assert "motion on sample@1" in out
    assert "95 % interval" in out
    assert "refvps:J+TC|avg:" in out
    assert "wrote" in err
    folder = tmp_path / "sample@1"
    assert sorted(path.name for path in folder.iterdir()) == ["motion.counts.npz", "motion.json"]
    data = json.loads((folder / "motion.json").read_text())
    for metric in ("J", "TC"):
        assert {"value", "low", "high", "n"} <= set(data["summary"][metric])
        assert (
            0
            <= data["summary"][metric]["low"]
            <= data["summary"][metric]["value"]
            <= data["summary"][metric]["high"]
            <= 1
        )
    assert f"{100 * data['summary']['J']['value']:.2f}" in out


def test_json_on_stdout_is_the_result_file(run, motion, tmp_path):
    code, out, _ = run(
        "evaluate", "--pred", motion, *SAMPLE, "--out", tmp_path, "--json", "--metrics", "J,F,TC", "--method", "mine"
    )
    assert code == 0
    assert out == (tmp_path / "sample@1" / "mine.json").read_text()
    assert list(json.loads(out)["rules"]["metrics"]) == ["J", "F", "TC"]


def test_the_same_again_is_nothing_and_another_is_refused(run, motion, tmp_path):
    command = ("evaluate", "--pred", motion, *SAMPLE, "--out", tmp_path)
    assert run(*command)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "sample@1").iterdir()}
    assert run(*command)[0] == 0
    assert {path: path.read_bytes() for path in (tmp_path / "sample@1").iterdir()} == before
    code, _, err = run(*command, "--ignore", "background")
    assert (code, "already there" in err, "--force" in err) == (2, True, True)
    assert {path: path.read_bytes() for path in (tmp_path / "sample@1").iterdir()} == before
    assert run(*command, "--ignore", "background", "--force")[0] == 0


@pytest.mark.parametrize("layout", ["tree", "annotations", "anno", "anno-ids", "json", "npz"])
def test_every_form_of_the_same_masks_gives_the_same_bytes(run, motion, tmp_path, layout):
    bench = load("sample")
    reader = open_submission(motion, bench).reader
    export(tmp_path / "form", bench, reader, layout)
    results = []
    for k, (pred, jobs) in enumerate([(motion, 1), (tmp_path / "form", 2)]):
        out = tmp_path / f"r{k}"
        command = (
            "evaluate",
            "--pred",
            pred,
            *SAMPLE,
            "--out",
            out,
            "--method",
            "m",
            "--jobs",
            jobs,
            "--metrics",
            "J,F,TC",
        )
        assert run(*command)[0] == 0
        results.append(stable(out / "sample@1" / "m.json"))
        assert (out / "sample@1" / "m.counts.npz").read_bytes() == (
            tmp_path / "r0" / "sample@1" / "m.counts.npz"
        ).read_bytes()
    assert results[0] == results[1]


def test_zip_deep_zip_and_jobs_give_the_same_bytes(run, motion, tmp_path):
    import zipfile

    forms = {"folder": motion}
    for name, prefix in (("zip", ""), ("deep", "submission/")):
        forms[name] = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(forms[name], "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(motion.glob("*.json*"), reverse=True):
                archive.write(path, prefix + path.name)
    found = set()
    for name, pred in forms.items():
        for jobs in (1, 2):
            out = tmp_path / f"{name}{jobs}"
            assert run("evaluate", "--pred", pred, *SAMPLE, "--out", out, "--method", "m", "--jobs", jobs)[0] == 0
            found.add(json.dumps(stable(out / "sample@1" / "m.json")))
    assert len(found) == 1


def test_counts_alone_are_enough(run, motion, tmp_path):
    first = tmp_path / "first"
    assert run("evaluate", "--pred", motion, *SAMPLE, "--out", first, "--metrics", "J,F,TC")[0] == 0
    moved = tmp_path / "m.counts.npz"
    moved.write_bytes((first / "sample@1" / "motion.counts.npz").read_bytes())
    command = (
        "evaluate",
        "--from-counts",
        moved,
        "--metrics",
        "J,F,TC",
        "--out",
        tmp_path / "again",
        "--method",
        "motion",
    )
    assert run(*command)[0] == 0
    assert stable(tmp_path / "again" / "sample@1" / "motion.json") == stable(first / "sample@1" / "motion.json")
    assert run("evaluate", "--from-counts", moved, "--without", "candle-wax", "--out", tmp_path / "w", "--json")[0] == 0
    code, _, err = run("evaluate", "--from-counts", moved, "--without", "nobody", "--out", tmp_path / "w")
    assert (code, "no such clip" in err) == (2, True)


def test_a_withdrawn_clip_is_gone_from_the_masks_too(run, motion, tmp_path):
    command = ("--without", "candle-wax", "--method", "m")
    assert run("evaluate", "--pred", motion, *SAMPLE, "--out", tmp_path / "a", *command)[0] == 0
    assert run("evaluate", "--pred", motion, *SAMPLE, "--out", tmp_path / "b")[0] == 0
    counts = tmp_path / "b" / "sample@1" / "motion.counts.npz"
    assert run("evaluate", "--from-counts", counts, "--out", tmp_path / "c", *command)[0] == 0
    assert stable(tmp_path / "a" / "sample@1" / "m.json") == stable(tmp_path / "c" / "sample@1" / "m.json")


def test_language_blind_predictors_lose_to_an_oracle(run, floors, tmp_path):
    """motion and full lose with the interval excluding 0; empty scores exactly the share of empty frames."""
    bench = load("sample")
    oracle = tmp_path / "oracle"
    for clip in bench.clips.values():
        truth = bench.truth(clip.id)
        for expression in bench.expressions_of(clip.id):
            folder = oracle / clip.id / expression.id
            folder.mkdir(parents=True)
            for index, name in enumerate(clip.frames):
                target = truth.frame(index)[0]["1"].array()
                Image.fromarray(target).save(folder / f"{name}.png")
    assert run("evaluate", "--pred", oracle, *SAMPLE, "--out", tmp_path, "--metrics", "J,F,TC")[0] == 0
    perfect = tmp_path / "sample@1" / "oracle.json"
    assert stable(perfect)["summary"]["J"]["value"] == 1.0
    assert stable(perfect)["summary"]["TC"]["value"] == 0.0
    for name in ("motion", "full", "centre"):
        code, out, _ = run("compare", perfect, floors[name], "--json")
        assert code == 0
        j = next(one for one in json.loads(out)["differences"][name] if one["metric"] == "J")
        assert j["difference"]["high"] < -0.3
        assert run("compare", perfect, floors[name], "--fail-if-worse")[0] == 6
    shares = []
    for clip in bench.clips.values():
        empty = [bench.truth(clip.id).frame(k)[0]["1"].area() == 0 for k in range(len(clip.frames))]
        shares.append(sum(empty) / len(empty))
    assert stable(floors["empty"])["summary"]["J"]["value"] == pytest.approx(sum(shares) / len(shares), abs=1e-15)


def test_compare_prints_everything(run, floors):
    code, out, _ = run("compare", floors["motion"], floors["full"], floors["empty"])
    assert code == 0
    for text in ("p (Holm)", "rank by J", "J by concept", "clips that moved most", "refvps:"):
        assert text in out


def test_missing_is_an_error_or_zero_and_never_helps(run, motion, tmp_path):
    partial = tmp_path / "partial"
    partial.mkdir()
    for path in motion.glob("*.jsonl"):
        if path.stem != "pond-ball":
            (partial / path.name).write_bytes(path.read_bytes())
    code, _, err = run("evaluate", "--pred", partial, *SAMPLE, "--out", tmp_path)
    assert code == 4
    assert "pond-ball" in err
    assert "--missing zero" in err
    assert not (tmp_path / "sample@1").exists()
    code, out, err = run("evaluate", "--pred", partial, *SAMPLE, "--out", tmp_path, "--missing", "zero")
    assert code == 0
    assert "INCOMPLETE" in out
    data = stable(tmp_path / "sample@1" / "partial.json")
    assert data["incomplete"]
    assert data["summary"]["TC"]["value"] is None
    assert run("evaluate", "--pred", motion, *SAMPLE, "--out", tmp_path)[0] == 0
    whole = stable(tmp_path / "sample@1" / "motion.json")
    assert data["summary"]["J"]["value"] < whole["summary"]["J"]["value"]
    rows = {(row["clip"], row["expression"]): row for row in data["rows"]}
    assert rows["pond-ball", "0"]["values"] == {"J": 0.0, "TC": None}


def gt_tree(root, values, frames=3):
    for video in ("v1", "v2"):
        (root / video).mkdir(parents=True)
        for k in range(frames):
            label = np.zeros((20, 30), np.uint8)
            for n, value in enumerate(values):
                label[2:14, 2 + 6 * n : 7 + 6 * n] = value
            Image.fromarray(label).save(root / video / f"{k:05d}.png")
    return root


def test_two_folders(run, tmp_path):
    gt = gt_tree(tmp_path / "gt", [1, 255])
    pred = gt_tree(tmp_path / "pred", [1])
    code, out, _ = run("evaluate", "--pred", pred, "--gt", gt, "--out", tmp_path / "r", "--json")
    assert code == 0
    data = json.loads(out)
    assert data["summary"]["J"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 2, "groups": 2}
    assert "|rate:?|" in data["signature"]
    assert run("evaluate", "--pred", pred, "--gt", gt, "--fps", "24", "--out", tmp_path / "r24")[0] == 0
    assert "|rate:24|" in next((tmp_path / "r24").rglob("*.json")).read_text()


def test_a_lone_255_must_be_explained(run, tmp_path):
    gt = gt_tree(tmp_path / "gt", [255])
    pred = gt_tree(tmp_path / "pred", [255])
    code, _, err = run("evaluate", "--pred", pred, "--gt", gt, "--out", tmp_path / "r")
    assert code == 2
    assert "--ignore-value" in err
    code, out, _ = run(
        "evaluate", "--pred", pred, "--gt", gt, "--out", tmp_path / "r", "--ignore-value", "none", "--json"
    )
    assert (code, json.loads(out)["summary"]["J"]["value"]) == (0, 1.0)


def test_ids_pair_with_ids(run, tmp_path):
    gt = gt_tree(tmp_path / "gt", [1, 2, 3])
    pred = tmp_path / "pred"
    for path in gt.rglob("*.png"):
        image = Image.open(path)
        out = pred / path.relative_to(gt)
        out.parent.mkdir(parents=True, exist_ok=True)
        palette = Image.fromarray(np.asarray(image)).convert("P")
        palette.putdata(np.asarray(image).ravel())
        palette.save(out)
    code, out, _ = run("evaluate", "--pred", pred, "--gt", gt, "--out", tmp_path / "r", "--json")
    assert code == 0
    assert len(json.loads(out)["rows"]) == 6
    assert json.loads(out)["summary"]["J"]["value"] == 1.0


def test_real_masks_in_two_folders(run, fixtures, tmp_path):
    import shutil

    shutil.copytree(fixtures / "pumavos/chair/Annotations", tmp_path / "gt" / "chair")
    shutil.copytree(fixtures / "pumavos/chair/Annotations", tmp_path / "pred" / "chair")
    code, out, _ = run(
        "evaluate",
        "--pred",
        tmp_path / "pred",
        "--gt",
        tmp_path / "gt",
        "--out",
        tmp_path / "r",
        "--json",
        "--metrics",
        "J,F,TC",
    )
    assert code == 0
    assert [json.loads(out)["summary"][name]["value"] for name in ("J", "F", "TC")] == [1.0, 1.0, 0.0]
    assert json.loads(out)["summary"]["J"]["low"] is None
    shutil.copy(fixtures / "pumavos/chair/incorrect/frame_000000.png", tmp_path / "pred/chair/frame_000000.png")
    code, _, err = run("evaluate", "--pred", tmp_path / "pred", "--gt", tmp_path / "gt", "--out", tmp_path / "r2")
    assert (code, "alpha" in err) == (4, True)


EXIT_CODES = [
    (2, ["evaluate"], "--pred"),
    (2, ["evaluate", "--pred", "x", "--from-counts", "y"], "--pred"),
    (2, ["evaluate", "--pred", "x", "-b", "sample", "--metrics", "J,Q"], "no such metric"),
    (2, ["evaluate", "--pred", "x", "-b", "sample", "--gt", "gt"], "exclude"),
    (2, ["evaluate", "--pred", "x", "-b", "sample", "--ignore-value", "255"], "--gt"),
    (2, ["evaluate", "--pred", "x", "--gt", "gt", "--ignore-value", "300"], "grey value"),
    (2, ["evaluate", "--pred", "x", "-b", "sampel"], "sample"),
    (2, ["evaluate", "--jobs", "0"], "jobs"),
    (2, ["evalute"], "Did you mean 'evaluate'"),
    (2, ["compare", "only.json"], ""),
    (2, ["predict", "-p", "motoin", "-b", "sample", "--out", "x"], "motion"),
    (2, ["predict", "-p", "motion", "-b", "sample", "--out", "x", "--shard", "3/2"], "--shard"),
    (2, ["predict", "-p", "motion", "-b", "sample", "--out", "x", "--text", "the dog"], "--frames"),
    (2, ["predict", "-p", "motion", "-b", "sample", "--out", "x", "--frames", "d"], "exclude"),
    (2, ["predict", "-p", "motion", "-b", "sample", "--out", "x", "-o", "speed=3"], "speed"),
    (2, ["list", "nothing"], "benchmarks"),
    (2, ["completion", "csh"], "bash"),
    (3, ["evaluate", "--pred", "x"], "refvps download ref-vps --from"),
    (3, ["download"], "--from"),
    (3, ["predict", "-p", "motion", "--out", "x"], "-b sample"),
    (4, ["evaluate", "--pred", "/nonexistent/preds", "-b", "sample"], "/nonexistent/preds"),
    (4, ["validate", "--pred", "/nonexistent/preds", "-b", "sample"], "/nonexistent/preds"),
    (4, ["compare", "/nonexistent/a.json", "/nonexistent/b.json"], "a.json"),
    (4, ["evaluate", "--from-counts", "/nonexistent/a.counts.npz"], "counts"),
]


@pytest.mark.parametrize(
    ("code", "args", "phrase"), EXIT_CODES, ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None
)
def test_exit_codes(run, tmp_path, monkeypatch, code, args, phrase):
    monkeypatch.chdir(tmp_path)
    found, out, err = run(*args)
    assert found == code, err
    assert phrase in err
    assert out == ""
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_errors_say_where_and_how(run, tmp_path):
    code, _, err = run("evaluate", "--pred", tmp_path, "-b", "sample")
    assert code == 4
    assert err.startswith("error: ")
    assert "Fix: " in err


def test_a_bug_is_said_to_be_one(run, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("refvps.data.names", broken)
    code, _, err = run("list", "benchmarks")
    assert (code, "bug in refvps" in err, "Traceback" in err) == (1, True, False)
    assert "Traceback" in run("-v", "list", "benchmarks")[2]


def test_interrupt_exits_130(run, monkeypatch):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("refvps.data.names", stopped)
    code, _, err = run("list", "benchmarks")
    assert (code, "interrupted" in err) == (130, True)


def test_environment_variables_are_defaults(motion, tmp_path):
    env = {
        **os.environ,
        "REFVPS_JOBS": "1",
        "REFVPS_EVALUATE_OUT": str(tmp_path / "env"),
        "REFVPS_SEED": "7",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "refvps", "evaluate", "-q", "--pred", str(motion), "-b", "sample"]
    assert subprocess.run(command, env=env, capture_output=True, cwd=tmp_path).returncode == 0
    assert "seed7" in (tmp_path / "env" / "sample@1" / "motion.json").read_text()


def test_lists_are_text_or_json(run):
    for what in ("benchmarks", "predictors", "metrics"):
        code, text, _ = run("list", what)
        rows = json.loads(run("list", what, "--json")[1])
        assert code == 0
        assert all(row["name"] in text for row in rows)
    assert {"sample", "ref-vps", "folder"} <= {
        row["name"] for row in json.loads(run("list", "benchmarks", "--json")[1])
    }


def test_completion_and_citation(run):
    for shell in ("bash", "zsh", "fish"):
        assert "_REFVPS_COMPLETE" in run("completion", shell)[1]
    assert "Tokmakov" in run("--cite")[1]
    assert run("--version")[1].startswith("refvps, version ")


def test_completing_names():
    env = {
        **os.environ,
        "_REFVPS_COMPLETE": "bash_complete",
        "COMP_WORDS": "refvps predict -p mo",
        "COMP_CWORD": "3",
        "PYTHONPATH": str(ROOT),
    }
    code = "from refvps.cli import cli; cli(prog_name='refvps')"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=ROOT)
    assert "motion" in done.stdout, done.stderr


def test_overlay_draws_a_sheet(run, motion, tmp_path):
    code, out, _ = run(
        "overlay", "--pred", motion, *SAMPLE, "--clip", "candle-wax", "--expression", "all", "--out", tmp_path
    )
    assert code == 0
    first, *films = out.splitlines()
    with Image.open(first) as sheet:
        assert sheet.width > 400
    assert [Path(film).name for film in films] == ["0.webm", "1.webm", "2.webm", "3.webm"]
    code, _, err = run("overlay", "--pred", motion, *SAMPLE, "--clip", "nobody", "--out", tmp_path)
    assert (code, "no such clip" in err) == (2, True)


def test_your_own_frames(run, fixtures, tmp_path):
    command = ("predict", "-p", "motion", "--frames", fixtures / "oddities/video_90.mov", "--text", "the thing")
    code, _, _ = run(*command, "--out", tmp_path / "m", "--overlay", tmp_path / "o.webm")
    assert code == 0
    assert list((tmp_path / "m").glob("*.png"))
    assert (tmp_path / "o.webm").stat().st_size > 1000
    assert run(*command, "--out", tmp_path / "n", "--overlay", tmp_path / "o.webm")[0] == 2
    code, _, err = run(
        "predict",
        "-p",
        "motion",
        "--frames",
        fixtures / "oddities/corrupted.mp4",
        "--text",
        "x",
        "--out",
        tmp_path / "c",
    )
    assert (code, "Fix: " in err) == (4, True)


def test_register_and_evaluate_the_default_benchmark(run, tmp_path):
    from trees import write_ref_vps

    source = tmp_path / "source"
    write_ref_vps(source)
    assert run("download", "ref-vps", "--from", source)[0] == 0
    assert run("predict", "-p", "full", "--out", tmp_path / "preds")[0] == 0
    code, out, _ = run("evaluate", "--pred", tmp_path / "preds", "--out", tmp_path / "r")
    assert code == 0
    assert "full on ref-vps@" in out
