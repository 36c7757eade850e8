"""``refvps import --layout ytvis``: results.json of YouTube-VIS and SA-Co, answered to exported questions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco
from test_export import small

import refvps
from refvps import cli
from refvps.data.importers.referring.ytvis import load_ytvis
from refvps.data.store import store
from refvps.errors import InputError, UsageError
from refvps.export import export_benchmark
from refvps.predictions.importing import import_predictions
from refvps.run.evaluate import evaluate_submission


def rle(mask: np.ndarray) -> dict:
    found = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": found["counts"].decode()}


@pytest.fixture
def asked(tmp_path):
    """A benchmark and the questions exported from it."""
    benchmark = small()
    export_benchmark(benchmark, tmp_path / "questions", "ytvis", frames="none")
    return benchmark, tmp_path / "questions/instances.json"


def perfect(path: Path) -> list[dict]:
    """The ground truth of the questions as predictions, halves of each masklet as two entries."""
    record = json.loads(path.read_text())
    entries = []
    for each in record["annotations"]:
        if each["category_id"] == 1:
            continue
        full = [coco.decode({"size": m["size"], "counts": m["counts"].encode()}) > 0 for m in each["segmentations"]]
        for part in (0, 1):
            halves = [mask & (np.arange(mask.shape[1])[None] % 2 == part) for mask in full]
            masks = [rle(half) if half.any() else None for half in halves]
            entry = {"video_id": each["video_id"], "category_id": each["category_id"], "score": 0.9}
            entries.append(entry | {"segmentations": masks})
    return entries


def test_masklets_of_one_sentence_are_united_and_weak_ones_left_out(asked, tmp_path):
    benchmark, questions = asked
    entries = perfect(questions)
    noise = dict(entries[0], score=0.4)
    noise["segmentations"] = [rle(np.ones(benchmark.clips["candle-wax"].size, bool))] * len(noise["segmentations"])
    results = tmp_path / "results.json"
    results.write_text(json.dumps([*entries, noise]))
    done = import_predictions(results, benchmark, tmp_path / "preds", "ytvis", questions=questions)
    assert done.notes == ("1 masklets of a score below 0.5 were left out",)
    assert evaluate_submission(benchmark, tmp_path / "preds").scores.summary["J"].value == 1
    import_predictions(results, benchmark, tmp_path / "all", "ytvis", questions=questions, min_score=0)
    assert evaluate_submission(benchmark, tmp_path / "all").scores.summary["J"].value < 1


def test_no_masklet_is_an_empty_answer_and_said(asked, tmp_path):
    benchmark, questions = asked
    (tmp_path / "results.json").write_text("[]")
    done = import_predictions(tmp_path / "results.json", benchmark, tmp_path / "p", "ytvis", questions=questions)
    assert f"{len(benchmark.expressions)} of {len(benchmark.expressions)} expressions have no masklet" in done.notes[0]
    scores = evaluate_submission(benchmark, tmp_path / "p").scores
    assert scores.diagnostics["empty"].value == 1


def test_a_gold_set_and_its_predictions_meet_in_one_benchmark(asked, tmp_path, monkeypatch, capsys):
    """The questions are a benchmark of their own; what answers them is scored on it, from the command line."""
    _, questions = asked
    gold = load_ytvis(questions)
    store(gold)
    monkeypatch.chdir(tmp_path)
    (questions.parent / "results.json").write_text(json.dumps(perfect(questions)))
    args = ["import", str(questions.parent), "--layout", "ytvis", "-b", "ytvis", "--out", "preds", "--json"]
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    record = json.loads(questions.read_text())
    for category in record["categories"]:
        category.pop("expression", None)  # as in the gold sets: the number of the category is the expression
    Path("gold.json").write_text(json.dumps(record))
    assert cli.run([*args, "--questions", "gold.json"]) == 0
    assert json.loads(capsys.readouterr().out)["layout"] == "ytvis"
    assert refvps.evaluate("ytvis", "preds").summary["J"].value == 1


BROKEN = {
    "a video nobody asked about": lambda e: e.update(video_id=77),
    "a category nobody asked for": lambda e: e.update(category_id=77),
    "too few masks": lambda e: e.update(segmentations=e["segmentations"][:-1]),
    "another size": lambda e: e["segmentations"].__setitem__(0, {"size": [3, 3], "counts": "9"}),
    "a broken string": lambda e: e["segmentations"].__setitem__(0, {"size": [192, 108], "counts": "zzz"}),
    "runs that do not add up": lambda e: e["segmentations"].__setitem__(0, {"size": [192, 108], "counts": [1, 2]}),
    "a score in words": lambda e: e.update(score="high"),
    "no masks": lambda e: e.pop("segmentations"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_be_used_is_named_and_nothing_is_written(what, asked, tmp_path):
    benchmark, questions = asked
    entries = perfect(questions)
    BROKEN[what](entries[1])
    (tmp_path / "results.json").write_text(json.dumps(entries))
    with pytest.raises(InputError) as caught:
        import_predictions(tmp_path / "results.json", benchmark, tmp_path / "p", "ytvis", questions=questions)
    assert any("results.json: entry 1" in place for place in caught.value.where)
    assert not (tmp_path / "p").exists()


def test_questions_must_be_there_and_fit(asked, tmp_path):
    benchmark, questions = asked
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(UsageError, match="--questions"):
        import_predictions(tmp_path / "results.json", benchmark, tmp_path / "p", "ytvis")
    with pytest.raises(UsageError, match="belong to ytvis"):
        import_predictions(tmp_path / "results.json", benchmark, tmp_path / "p", "json", questions=questions)
    with pytest.raises(InputError, match="not asked"):
        import_predictions(tmp_path / "results.json", small(3), tmp_path / "p", "ytvis", questions=questions)
    record = json.loads(questions.read_text())
    del record["categories"]
    questions.write_text(json.dumps(record))
    with pytest.raises(InputError, match="categories"):
        import_predictions(tmp_path / "results.json", benchmark, tmp_path / "p", "ytvis", questions=questions)
