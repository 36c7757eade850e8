"""Scores from counts: averaging orders, missing frames, signatures, comparison."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tables import random_counts

from refvps.errors import InputError, UsageError
from refvps.metrics import METRICS
from refvps.run import results, signature
from refvps.run.compare import compare
from refvps.run.counts import select
from refvps.run.score import score
from refvps.types import Method, Rules

RULES = Rules(draws=300)


def j_of(counts):
    c = counts.columns
    union = c["prediction"] - c["prediction_ignore"] + c["target_area"] - c["both"]
    values = np.where(union == 0, 1.0, c["both"] / np.maximum(union, 1))
    return np.where(c["state"] == 1, 0.0, values)


def by(values, keys):
    found = {}
    for value, key in zip(values, keys, strict=True):
        found.setdefault(key, []).append(float(value))
    return {key: math.fsum(group) / len(group) for key, group in found.items()}


def test_frame_expression_clip():
    counts = random_counts()
    expression = by(j_of(counts), counts.columns["expression"].tolist())
    clip = by(expression.values(), [counts.expressions[k].clip for k in expression])
    got = score(counts, RULES).summary["J"]
    assert got.value == pytest.approx(np.mean(list(clip.values())), abs=1e-15)
    assert (got.n, got.groups) == (6, 5)
    assert got.low < got.value < got.high


def test_frame_clip_concept_and_frame_object():
    counts = random_counts(clips=7)
    expression = by(j_of(counts), counts.columns["expression"].tolist())
    clip = by(expression.values(), [counts.expressions[k].clip for k in expression])
    concept = by(clip.values(), [int(name[1:]) % 3 for name in clip])
    by_concept = score(counts, replace(RULES, average="frame>clip>concept"))
    assert by_concept.summary["J"].value == pytest.approx(np.mean(list(concept.values())), abs=1e-15)
    assert {k: v["J"].value for k, v in by_concept.by_concept.items()} == pytest.approx(
        {f"k{k}": v for k, v in concept.items()}
    )
    objects = score(counts, replace(RULES, average="frame>object")).summary["J"]
    assert objects.value == pytest.approx(np.mean(list(expression.values())))
    assert objects.n == len(counts.targets)


def test_temporal_consistency_of_a_table():
    counts = random_counts()
    j = j_of(counts).reshape(len(counts.expressions), -1)
    expected = np.abs(np.diff(j, axis=1)).mean(axis=1).reshape(-1, 2).mean(axis=1).mean()
    assert score(counts, RULES).summary["TC"].value == pytest.approx(expected, abs=1e-15)


def test_missing_is_an_error_or_zero():
    counts = random_counts(missing=0.1)
    with pytest.raises(InputError, match="have no prediction"):
        score(counts, RULES)
    scores = score(counts, replace(RULES, missing="zero"))
    assert scores.incomplete
    assert scores.summary["TC"].value is None
    assert "incomplete" in " ".join(scores.notes)
    expression = by(j_of(counts), counts.columns["expression"].tolist())
    clip = by(expression.values(), [counts.expressions[k].clip for k in expression])
    assert scores.summary["J"].value == pytest.approx(np.mean(list(clip.values())))


def test_leaving_frames_out_never_helps():
    whole = random_counts(seed=3)
    names = tuple(n for n, m in METRICS.items() if m.better != "-" and not m.needs_boundary)
    rules = replace(RULES, missing="zero", draws=0, metrics=names)
    best = score(whole, rules)
    rng = np.random.default_rng(0)
    for _ in range(30):
        gone = rng.random(len(whole)) < 0.2
        columns = {name: column.copy() for name, column in whole.columns.items()}
        for name in ("both", "prediction", "prediction_ignore"):
            columns[name][gone] = 0
        columns["state"][gone] = 1
        worse = score(replace(whole, columns=columns), rules)
        for name in rules.metrics:
            value = worse.summary[name].value
            assert (value is None) == METRICS[name].needs_complete
            assert value is None or (METRICS[name].better == "higher" and value <= best.summary[name].value)


def test_different_rates_are_said():
    mixed = random_counts()
    clips = (replace(mixed.clips[0], annotation_fps=6.0), *mixed.clips[1:])
    scores = score(replace(mixed, clips=clips), RULES)
    assert "|rate:6+24|" in scores.signature
    assert any("rates" in note for note in scores.notes)
    assert "|rate:?|" in score(random_counts(fps=0.0), RULES).signature


def test_signature_round_trip():
    counts = random_counts(boundary=True)
    line = score(counts, replace(RULES, metrics=("J", "F", "TC"))).signature
    fields = signature.parse(line)
    assert "|".join(f"{k}:{v}" for k, v in fields.items()) == line
    assert fields["refvps"] == "J+F+TC"
    assert fields["bth"] == "0.008"
    assert fields["data"].startswith("toy@1#")
    for bad in ("", "BLEU|x:1", "refvps:J|refvps:J|data:a", "refvps:J"):
        with pytest.raises(InputError, match="not a refvps signature"):
            signature.parse(bad)


@pytest.mark.parametrize(
    "change",
    [
        {"average": "frame>object"},
        {"ignore": "background"},
        {"missing": "zero"},
        {"seed": 1},
        {"draws": 301},
        {"confidence": 0.9},
    ],
)
def test_every_rule_is_in_the_signature(change):
    counts = random_counts()
    line, other = (score(counts, replace(RULES, **kind)).signature for kind in ({}, change))
    assert len(signature.differences(line, other)) >= 1


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="did you mean 'J_recall'"):
        score(random_counts(), replace(RULES, metrics=("J_recal",)))
    with pytest.raises(UsageError, match="No metric"):
        score(random_counts(), replace(RULES, metrics=()))
    with pytest.raises(UsageError, match="averaging"):
        score(random_counts(), replace(RULES, average="clip"))


def saved(tmp_path: Path, name: str, counts, rules=RULES, **options):
    scores = score(counts, rules, method=Method(name))
    path, _ = results.write_result(scores, counts, rules, tmp_path, **options)
    return path


def test_results_are_never_overwritten_silently(tmp_path):
    path = saved(tmp_path, "m", random_counts())
    before = path.read_bytes()
    assert saved(tmp_path, "m", random_counts()) == path
    assert path.read_bytes() == before
    with pytest.raises(UsageError, match="already there"):
        saved(tmp_path, "m", random_counts(seed=9))
    assert path.read_bytes() == before
    saved(tmp_path, "m", random_counts(seed=9), force=True)
    assert path.read_bytes() != before


def test_a_result_is_recomputed_from_its_counts_alone(tmp_path):
    for boundary, rules in ((False, RULES), (True, replace(RULES, metrics=("J", "F", "J&F", "TC")))):
        result = results.read_result(saved(tmp_path / str(boundary), "m", random_counts(boundary=boundary), rules))
        again = score(result.counts(), result.rules, method=Method("m"))
        fresh = results.to_dict(again, result.rules, "m.counts.npz")
        assert fresh == {key: value for key, value in result.data.items() if key not in results.VOLATILE}


def test_tampered_results_are_noticed(tmp_path):
    path = saved(tmp_path, "m", random_counts())
    other = saved(tmp_path / "other", "m", random_counts(seed=4))
    path.with_name("m.counts.npz").write_bytes(other.with_name("m.counts.npz").read_bytes())
    with pytest.raises(InputError, match="not the ones"):
        results.read_result(path).counts()
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(InputError, match="not a result file"):
        results.read_result(path)
    path.write_text(path.read_text().replace("m.counts.npz", "../m.counts.npz"))
    with pytest.raises(InputError, match="not a result file"):
        results.read_result(path)


def better(counts, seed=1):
    """The same table with some predictions made perfect."""
    good = np.random.default_rng(seed).random(len(counts)) < 0.5
    columns = {name: column.copy() for name, column in counts.columns.items()}
    columns["both"][good] = columns["prediction"][good] = columns["target_area"][good]
    columns["prediction_ignore"][good] = 0
    return replace(counts, columns=columns)


def test_compare_is_paired(tmp_path):
    counts = random_counts(clips=12)
    a, b = (results.read_result(saved(tmp_path, name, t)) for name, t in (("a", counts), ("b", better(counts))))
    found = compare([a, b])
    one = found.differences["b"][0]
    assert one.metric == "J"
    assert one.difference.value == pytest.approx(one.second - one.first)
    assert one.difference.low > 0
    assert one.p < 0.01
    assert (one.wins, one.losses) == (12, 0)
    assert found.ranks["J"] == {"a": (2, 2), "b": (1, 1)}
    same = compare([a, a]).differences["a (2)"][0]
    assert (same.difference.value, same.p) == (0.0, 1.0)
    three = compare([a, b, b]).differences["b (2)"][0]
    assert three.p_holm == pytest.approx(2 * three.p)


def test_compare_refuses_or_rescores(tmp_path):
    counts = random_counts(clips=8)
    a = results.read_result(saved(tmp_path, "a", counts))
    b = results.read_result(saved(tmp_path, "b", better(counts), replace(RULES, ignore="background")))
    found = compare([a, b])
    assert "re-scored from counts" in " ".join(found.notes)
    alike = results.read_result(saved(tmp_path / "alike", "b", better(counts)))
    assert found.differences["b"] == compare([a, alike]).differences["b"]
    b.path.with_name("b.counts.npz").unlink()
    with pytest.raises(UsageError, match="ign: drop | background"):
        compare([a, b])
    alike.path.with_name("b.counts.npz").unlink()
    assert compare([a, alike]).differences["b"] == found.differences["b"]  # same signature: rows suffice


def test_compare_across_versions_uses_the_clips_that_did_not_change(tmp_path):
    counts = random_counts(clips=8)
    kept = [f"c{k}" for k in range(6)]
    newer = select(better(counts), kept)
    a, b = results.read_result(saved(tmp_path, "a", counts)), results.read_result(saved(tmp_path / "n", "b", newer))
    found = compare([a, b])
    assert found.clips == 6
    assert "6 clips" in " ".join(found.notes)
    both = [
        results.read_result(saved(tmp_path / n, n, select(t, kept))) for n, t in (("a", counts), ("b", better(counts)))
    ]
    assert found.differences["b"][0] == compare(both).differences["b"][0]
    stranger = results.read_result(saved(tmp_path, "x", random_counts(name="other")))
    with pytest.raises(UsageError, match="different benchmarks"):
        compare([a, stranger])


def test_rates_are_never_mixed(tmp_path):
    counts = random_counts(clips=8)
    slow = replace(better(counts), clips=tuple(replace(c, annotation_fps=6.0) for c in counts.clips))
    a, b = results.read_result(saved(tmp_path, "a", counts)), results.read_result(saved(tmp_path, "b", slow))
    found = compare([a, b])
    assert [one.metric for one in found.differences["b"]] == ["J"]
    assert "TC left out" in " ".join(found.notes)


def test_an_incomplete_result_has_no_tc_difference(tmp_path):
    counts = random_counts(clips=8)
    holes = random_counts(clips=8, missing=0.05)
    a = results.read_result(saved(tmp_path, "a", counts))
    b = results.read_result(saved(tmp_path, "b", holes, replace(RULES, missing="zero")))
    j, tc = compare([a, b]).differences["b"]
    assert j.difference.value is not None
    assert (tc.second, tc.difference.value, tc.p) == (None, None, None)


def test_a_killed_run_is_mended(tmp_path):
    """Whatever of the two files a kill leaves, the same command makes the result whole again."""
    path = saved(tmp_path, "m", random_counts())
    counts = path.with_name("m.counts.npz")
    good, good_counts = path.read_bytes(), counts.read_bytes()
    other = saved(tmp_path / "o", "m", random_counts(seed=9)).with_name("m.counts.npz").read_bytes()
    for broken in (other, good_counts[:100], b""):
        counts.write_bytes(broken)
        (tmp_path / "toy@1" / ".m.json.0123456789ab.tmp").write_bytes(b"half")
        saved(tmp_path, "m", random_counts())
        assert counts.read_bytes() == good_counts
        assert sorted(p.name for p in path.parent.iterdir()) == ["m.counts.npz", "m.json"]
    path.unlink()
    saved(tmp_path, "m", random_counts())  # its own counts are no other result
    path.unlink()
    with pytest.raises(UsageError, match="already there"):
        saved(tmp_path, "m", random_counts(seed=9))
    assert counts.read_bytes() == good_counts
    assert json.loads(good)["counts"]["sha256"] == random_counts().sha256()


@pytest.mark.parametrize("name", ["../x", "a/b", "x|y", ""])
def test_no_name_leaves_the_folder(tmp_path, name):
    counts = replace(random_counts(), benchmark={"name": name, "version": "1", "digest": "d" * 64})
    with pytest.raises(InputError, match="not allowed"):
        saved(tmp_path / "deep" / "er", "m", counts)
    assert not list(tmp_path.iterdir())


def test_no_draws_no_interval_and_no_p(tmp_path):
    counts = random_counts(clips=8)
    rules = replace(RULES, draws=0)
    a, b = (results.read_result(saved(tmp_path, n, t, rules)) for n, t in (("a", counts), ("b", better(counts))))
    one = compare([a, b]).differences["b"][0]
    assert one.difference.value is not None
    assert (one.difference.low, one.p, one.p_holm) == (None, None, None)
    assert compare([a, b]).ranks == {}


TAMPERED = {
    "confidence": lambda d: d["rules"].update(confidence=5),
    "draws": lambda d: d["rules"].update(draws=10**13),
    "rules against signature": lambda d: d["rules"].update(ignore="target"),
    "tolerance": lambda d: d["rules"].update(bound_th=-1),
    "unknown metric": lambda d: d["rules"].update(metrics=["Q"]),
    "row without the metric": lambda d: d["rows"][0]["values"].pop("J"),
    "row with a text": lambda d: d["rows"][0]["values"].update(J="1"),
    "row beyond reason": lambda d: d["rows"][0]["values"].update(J=1e300),
    "counts elsewhere": lambda d: d["counts"].update(file="../m.counts.npz"),
    "no rows": lambda d: d.pop("rows"),
    "signature": lambda d: d.update(signature="BLEU"),
    "a list": lambda d: d.update(rows={}),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_tampered_results_are_refused(tmp_path, kind):
    path = saved(tmp_path, "m", random_counts())
    data = json.loads(path.read_text())
    TAMPERED[kind](data)
    path.write_text(json.dumps(data))
    with pytest.raises(InputError):
        results.read_result(path)


def test_notes_of_the_benchmark_travel_with_the_counts(tmp_path):
    counts = replace(random_counts(), notes=("one clip is odd",))
    result = results.read_result(saved(tmp_path, "m", counts))
    assert "one clip is odd" in result.data["notes"]
    assert score(result.counts(), RULES).notes == score(counts, RULES).notes
