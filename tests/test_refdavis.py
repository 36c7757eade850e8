"""Ref-DAVIS17: four runs, matched and fixed, against numbers worked out by hand and an oracle that is not refvps."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import oracle_davis
import pytest
from foreign_refdavis import VIDEOS, mask
from importers import make
from PIL import Image

import refvps
from refvps import cli
from refvps.data.importers.referring.davis import load_refdavis
from refvps.data.store import store
from refvps.errors import InputError
from refvps.run.protocols.refdavis import evaluate_refdavis, scored
from refvps.types import Method


def expression(run: int, label: int) -> str:
    return str(4 * (label - 1) + run)


def write(root: Path, draw) -> Path:
    """Predictions as ``<video>/<expression>/<frame>.png``; ``draw(video, run, label, frame) -> bool [H, W]``."""
    for video, (_, count, objects) in VIDEOS.items():
        for run in range(4):
            for label in range(1, objects + 1):
                for frame in range(count):
                    path = root / video / expression(run, label) / f"{frame:05d}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(draw(video, run, label, frame).astype(np.uint8) * 255).save(path)
    return root


def truth(video: str, label: int, frame: int) -> np.ndarray:
    size, _, objects = VIDEOS[video]
    return mask(size, objects, frame) == label


@pytest.fixture
def benchmark(tmp_path):
    return load_refdavis(make("ref-davis", tmp_path / "copy").root)


def test_perfect_predictions_score_100_in_all_columns(benchmark, tmp_path):
    preds = write(tmp_path / "preds", lambda video, run, label, frame: truth(video, label, frame))
    done = evaluate_refdavis(benchmark, preds)
    wanted = {"J&F": 100, "J": 100, "F": 100, "TC": 0}
    assert done.protocol["scores"] == wanted | {f"fixed {name}": value for name, value in wanted.items()}
    assert [run["run"] for run in done.protocol["runs"]] == ["anno_0", "anno_1", "anno_2", "anno_3"]
    assert all(run["objects"] == 5 for run in done.protocol["runs"])
    assert {name: e.value for name, e in done.scores.summary.items()} == {"J&F": 1, "J": 1, "F": 1, "TC": 0}
    assert "protocol:ref-davis" in done.scores.signature
    assert done.scores.summary["J"].n == 5


def test_swapped_objects_are_forgiven_by_the_matching_and_by_nothing_else(benchmark, tmp_path):
    """In run 2 the two objects of dogs-jump change places: fixed J of the run is (0 + 0 + 1 + 1 + 1) / 5."""

    def draw(video, run, label, frame):
        swapped = run == 2 and video == "dogs-jump"
        return truth(video, 3 - label if swapped else label, frame)

    done = evaluate_refdavis(benchmark, write(tmp_path / "preds", draw))
    assert done.protocol["scores"]["J"] == 100
    runs = {run["run"]: run["scores"] for run in done.protocol["runs"]}
    assert runs["anno_2"]["fixed J"] == pytest.approx(60, abs=1e-12)
    assert runs["anno_1"]["fixed J"] == 100
    assert done.protocol["scores"]["fixed J"] == pytest.approx((3 * 100 + 60) / 4, abs=1e-12)
    given = {(o["label"], o["clip"], o["object"]): o["prediction"] for o in done.protocol["objects"]}
    assert given["anno_2", "dogs-jump", "1"] == expression(2, 2)
    assert given["anno_1", "dogs-jump", "1"] == expression(1, 1)
    assert "another object than their sentence speaks of: 2 of 20" in " ".join(done.scores.notes)


def noisy(video, run, label, frame):
    """Overlapping, shifted and noisy masks; also on void."""
    rng = np.random.default_rng([run, label, frame, len(video)])
    found = np.roll(truth(video, label if run != 3 else 1, frame), rng.integers(0, 2), axis=1)
    return found ^ (rng.random(found.shape) < 0.1)


def unsupervised(targets, preds, void):
    """Mean J and F per object under the best of all assignments, by trying each; bool [n, T, H, W], void [T, H, W]."""
    count, frames = targets.shape[:2]
    table = {
        (p, g): tuple(
            np.mean([measure(preds[p, t], targets[g, t], ~void[t]) for t in range(frames)])
            for measure in (oracle_davis.j_of, oracle_davis.f_of)
        )
        for p in range(count)
        for g in range(count)
    }
    best = max(
        itertools.permutations(range(count)),
        key=lambda order: sum(sum(table[p, g]) for g, p in enumerate(order)),
    )
    return zip(*(table[p, g] for g, p in enumerate(best)), strict=True)


def test_every_run_equals_an_oracle_of_the_official_evaluation(benchmark, tmp_path):
    done = evaluate_refdavis(benchmark, write(tmp_path / "preds", noisy), draws=100)
    official = []
    for run in range(4):
        js, fs = [], []
        for video, (size, count, objects) in VIDEOS.items():
            labels = np.stack([mask(size, objects, frame) for frame in range(count)])
            targets = np.stack([labels == label for label in range(1, objects + 1)])
            preds = np.stack(
                [
                    np.stack([noisy(video, run, label, frame) for frame in range(count)])
                    for label in range(1, objects + 1)
                ]
            )
            j, f = unsupervised(targets, preds, labels == 255)
            js += list(j)
            fs += list(f)
        found = done.protocol["runs"][run]["scores"]
        assert found["J"] == pytest.approx(100 * np.mean(js), abs=1e-9)
        assert found["F"] == pytest.approx(100 * np.mean(fs), abs=1e-9)
        assert found["J&F"] == pytest.approx(50 * (np.mean(js) + np.mean(fs)), abs=1e-9)
        official.append(np.mean(js))
    assert done.protocol["scores"]["J"] == pytest.approx(100 * np.mean(official), abs=1e-9)
    assert done.scores.summary["J"].value == pytest.approx(np.mean(official), abs=1e-12)


def test_from_counts_the_same_result_follows(benchmark, tmp_path):
    done = evaluate_refdavis(benchmark, write(tmp_path / "preds", noisy), draws=100)
    again = scored(done.counts, Method("preds"), 100, 0, done.report, {})
    assert again.scores.summary == done.scores.summary
    assert again.protocol == done.protocol


def test_argmax_ids_are_read_run_by_run(benchmark, tmp_path):
    """ReferFormer writes one id image per frame and run; the same masks give the same counts."""
    write(tmp_path / "tree", lambda video, run, label, frame: truth(video, label, frame))
    for run in range(4):
        for video, (size, count, objects) in VIDEOS.items():
            for frame in range(count):
                path = tmp_path / "ids" / f"anno_{run}" / video / f"{frame:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                ids = mask(size, objects, frame)
                ids[ids == 255] = 0
                image = Image.fromarray(ids).convert("P")
                image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
                image.putdata(ids.ravel().tolist())
                image.save(path)
    first, second = (evaluate_refdavis(benchmark, tmp_path / name, method="m") for name in ("tree", "ids"))
    assert first.counts == second.counts
    assert (first.inputs["layout"], second.inputs["layout"]) != (None, None)


def test_what_does_not_form_runs_is_refused(benchmark, tmp_path):
    from dataclasses import replace

    preds = write(tmp_path / "preds", lambda video, run, label, frame: truth(video, label, frame))
    odd = replace(benchmark, expressions=tuple(replace(e, annotator="") for e in benchmark.expressions))
    with pytest.raises(InputError, match="annotator runs"):
        evaluate_refdavis(odd, preds)
    (preds / "goat" / "3" / "00001.png").unlink()
    with pytest.raises(InputError, match=r"goat/3"):
        evaluate_refdavis(benchmark, preds)


def test_the_command_line_scores_ref_davis_by_its_protocol(benchmark, tmp_path, monkeypatch, capsys):
    store(benchmark)
    monkeypatch.chdir(tmp_path)
    write(Path("preds"), noisy)
    assert cli.run(["evaluate", "-b", "ref-davis", "--pred", "preds"]) == 0
    shown = capsys.readouterr().out
    assert "anno_3" in shown
    assert "fixed J" in shown
    path = Path("results/ref-davis@val/preds.ref-davis.json")
    first = json.loads(path.read_text())
    assert first["protocol"]["runs"][0]["run"] == "anno_0"
    counts = str(path).replace(".json", ".counts.npz")
    again = ["evaluate", "--from-counts", counts, "--method", "again", "-q", "--json"]
    assert cli.run(again) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["summary"] == first["summary"]
    assert second["protocol"] == first["protocol"]
    assert cli.run(["compare", str(path), "results/ref-davis@val/again.ref-davis.json"]) == 0
    assert cli.run(["evaluate", "-b", "ref-davis", "--pred", "preds", "--metrics", "J"]) == 2
    assert "--metrics" in capsys.readouterr().err
    assert cli.run(["evaluate", "-b", "ref-davis", "--pred", "preds", "--protocol", "refvps"]) == 0
    fixed = json.loads(Path("results/ref-davis@val/preds.json").read_text())
    assert fixed["summary"]["J"]["value"] == pytest.approx(first["protocol"]["scores"]["fixed J"] / 100, abs=1e-12)
    assert cli.run(["evaluate", "-b", "sample", "--pred", "preds", "--protocol", "ref-davis"]) == 2
    assert refvps.evaluate("ref-davis", "preds").summary["J"].value == first["summary"]["J"]["value"]
