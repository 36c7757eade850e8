"""``refvps explain`` on results scored by another tool's protocol: matched predictions, omitted frames, tampering."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import CLIPS, EXPRESSIONS, ArrayReaders, tiny_benchmark, tiny_masks
from trees import write_labels

from refvps import cli
from refvps.predictions.export import export
from refvps.report.explain import derivation
from refvps.run.protocols.refdavis import evaluate_refdavis
from refvps.run.results import write_result

SIZE = (48, 64)


@pytest.fixture
def run(capsys):
    """Run a command in this process; returns (exit code, stdout, stderr)."""

    def call(*args):
        code = cli.run([str(arg) for arg in args])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def write(late=0, swapped=True):
    """gt/ and preds/: two videos with two objects and void; object 2 is there from frame ``late`` on.

    ``swapped``: the predictions have each other's ids.
    """
    for video in ("one", "two"):
        for frame in range(7):
            truth, guess = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
            truth[8:30, 4 + frame : 20 + frame] = 1
            guess[10:30, 6 + frame : 22 + frame] = 2 if swapped else 1
            if frame >= late:
                truth[10:40, 40 : 55 - frame] = 2
                guess[12:40, 38 : 55 - frame] = 1 if swapped else 2
            truth[:4] = 255
            write_labels(Path("gt") / video / f"{frame:05d}.png", truth)
            write_labels(Path("preds") / video / f"{frame:05d}.png", guess)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)


def scored(protocol):
    assert cli.run(["evaluate", "-q", "--pred", "preds", "--gt", "gt", "--protocol", protocol, "--out", "results"]) == 0
    (path,) = Path("results").rglob(f"preds.{protocol}.json")
    return path


@pytest.mark.parametrize("protocol", ["davis17-semisupervised", "vos-benchmark", "sav", "davis17-unsupervised"])
@pytest.mark.parametrize("swapped", [False, True])
def test_every_mean_is_found_again(folders, run, protocol, swapped):
    if "unsupervised" in protocol:
        pytest.importorskip("scipy")
    write(swapped=swapped)
    path = scored(protocol)
    opened = derivation.open_result(path)
    assert opened.protocol == protocol
    assert derivation.contradictions(opened) == []
    summary = json.loads(path.read_text())["summary"]
    for row in opened.held:
        for name in ("J", "F", "J&F"):
            steps = derivation.climb(opened, row, name)
            assert all(step.same for step in steps) and steps[0].states
            assert steps[-1].value == summary[name]["value"]
    found = summary["J"]["value"] > 0.2
    assert found == (not swapped or "unsupervised" in protocol)  # only matching forgives swapped ids
    code, out, err = run("explain", path)
    assert code == 0, err
    assert "but the result" not in out and "of benchmark folder@" in out


def test_a_matched_prediction_is_named_and_another_pair_counts_nowhere(folders, run):
    pytest.importorskip("scipy")
    write()
    path = scored("davis17-unsupervised")
    code, out, _ = run("explain", path, "--clip", "one")
    assert code == 0
    assert re.search(r"^2 \(prediction 1\) ", out, re.MULTILINE) and re.search(
        r"^1 \(prediction 2\) ", out, re.MULTILINE
    )
    code, out, _ = run("explain", path, "--clip", "one", "--expression", "1", "--frame", "3")
    assert code == 0 and "expression 1: target 2" in out and "expression one/2 = " in out
    assert out.count("as the result states") == 6
    code, out, _ = run("explain", path, "--clip", "one", "--expression", "1", "--target", "1", "--frame", "3")
    assert code == 0 and "this pair enters no mean: under davis17-unsupervised" in out
    assert "as the result states" not in out


def test_frames_before_the_first_sight_are_said_to_be_left_out(folders, run):
    write(late=2, swapped=False)
    path = scored("vos-benchmark")
    code, out, _ = run("explain", path, "--clip", "one", "--expression", "2", "--frame", "1")
    assert code == 0
    assert "left out by the protocol: neither the object nor a prediction was seen before" in out
    code, out, _ = run("explain", path, "--clip", "one", "--expression", "2", "--frame", "0")
    assert "not annotated, or not scored by the protocol" in out  # the tool skips the ends
    code, out, _ = run("explain", path, "--clip", "one", "--expression", "2", "--frame", "2")
    assert "the 1st of 4 scored frames" in out


TAMPERED = {
    "scores": lambda d: d["protocol"]["scores"].update({d["protocol"]["columns"][0]: 99.0}),
    "sequences": lambda d: d["protocol"]["sequences"][0].update(objects=9),
    "objects": lambda d: d["protocol"]["objects"][0].update(prediction="2"),
    "row": lambda d: d["rows"][0]["values"].update(J=0.75),
    "summary": lambda d: d["summary"]["F"].update(value=0.75),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_tampering_is_exit_7(folders, run, what):
    write(swapped=False)
    path = scored("davis17-semisupervised")
    data = json.loads(path.read_text())
    TAMPERED[what](data)
    path.write_text(json.dumps(data))
    code, _, err = run("explain", path)
    assert code == 7 and "does not state what its counts give" in err


def test_what_a_protocol_does_not_offer(folders, run):
    write()
    path = scored("sav")
    code, _, err = run("explain", path, "--clip", "one", "--expression", "1", "--frame", "3", "--out", "pic")
    assert code == 2 and "refvps overlay" in err
    beside = path.with_name("preds.sav.counts.npz")
    path.unlink()
    code, _, err = run("explain", beside)
    assert code == 3 and "put the result (.json) beside them" in err


def test_ref_davis_with_its_runs(tmp_path, run):
    pytest.importorskip("scipy")
    flash = CLIPS[2]
    pair = [e for e in EXPRESSIONS if e.clip == "flash"]
    expressions = tuple(
        replace(e, id=f"{e.id}-{annotator}", annotator=annotator) for annotator in ("a", "b") for e in pair
    )
    bench = tiny_benchmark((flash,), expressions)
    masks = tiny_masks(bench)
    first, second = (("flash", e.id) for e in expressions[:2])
    masks[first], masks[second] = masks[second], masks[first]  # run a answers crosswise
    export(tmp_path / "preds", bench, ArrayReaders(masks), "tree")
    done = evaluate_refdavis(bench, tmp_path / "preds", method="m", draws=50)
    path, _ = write_result(done.scores, done.counts, done.rules, tmp_path / "results", protocol=done.protocol)
    opened = derivation.open_result(path)
    assert derivation.contradictions(opened) == []
    assert len(opened.held) == 4
    crossed = {row: held for row, held in opened.held.items() if row != held}
    assert {row[1] for row in crossed} == {"left-a", "right-a"}
    code, out, err = run("explain", path, "--clip", "flash", "--expression", "left-a", "--frame", "3")
    assert code == 0, err
    assert "expression left-a:" in out and "target 2" in out and "as the result states" in out
