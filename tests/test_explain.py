"""``refvps explain``: its arithmetic stands alone, equals the scorer's, and contradicts what was tampered with."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tables import random_counts

from refvps import cli
from refvps.errors import UsageError
from refvps.metrics import METRICS
from refvps.report.explain import arithmetic, derivation, facts, places, text
from refvps.run.counts import MISSING, NOT_ANNOTATED, ClipEntry, assemble
from refvps.run.counts_file import read_counts, write_counts
from refvps.run.results import write_result
from refvps.run.score import score
from refvps.types import Method, Rules


@pytest.fixture
def run(capsys):
    """Run a command in this process; returns (exit code, stdout, stderr)."""

    def call(*args):
        code = cli.run([str(arg) for arg in args])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def stored(tmp_path, counts, rules=None, name="toy"):
    """A result on disk from made-up counts; returns its path."""
    rules = rules or Rules(draws=200)
    path, _ = write_result(score(counts, rules, method=Method(name)), counts, rules, tmp_path / "results")
    return path


def edited(path, change):
    """Change the JSON of a result in place."""
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


# --- arithmetic ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["drop", "background", "target"])
@pytest.mark.parametrize("missing", [0.0, 0.15, 1.0])
@pytest.mark.parametrize("frames", [1, 2, 9, 30])
def test_plain_python_gives_every_metric_to_the_last_digit(rule, missing, frames):
    counts = random_counts(seed=frames, clips=4, frames=frames, boundary=True, missing=missing)
    counts = replace(counts, boundary={"bound_th": 0.008, "ignore": rule})
    opened = derivation.Opened(None, None, counts, Rules(metrics=tuple(METRICS), ignore=rule))
    compared = 0
    for expression, target, series in counts.series(rule, boundary=True):
        over = opened.tracks[opened.key(expression, target)]
        for name, metric in METRICS.items():
            assert arithmetic.metric(name, over).value == metric.compute(series), name
            compared += 1
    assert compared == 8 * len(METRICS)
    assert set(arithmetic._WORK) == set(METRICS)


def calculated(line):
    """What a line of the form "name = a = b = value" says, each side of its last two signs typed into Python."""
    *_, sum_, value = (part for part in line.split(" = ") if part)
    return eval(sum_.removeprefix("= ").strip()), eval(value.removeprefix("= ").strip())


def test_every_line_can_be_typed_into_a_calculator():
    counts = random_counts(seed=3, clips=3, frames=11, boundary=True)
    opened = derivation.Opened(None, None, counts, Rules(metrics=tuple(METRICS)))
    typed = 0
    for over in opened.tracks.values():
        for name in METRICS:
            worked = arithmetic.metric(name, over)
            for line in worked.lines:
                shown, value = calculated(line)
                assert value == worked.value == shown, line
                typed += 1
        for frame in over.frames:
            _, numbers, *rest = arithmetic.jaccard(frame, "drop").lines
            for line in (numbers, *rest):
                if "0 / 0" not in line and "nothing" not in line and not re.search(r"/ \(.*\)$", line):
                    assert eval(line.strip(" =")) == pytest.approx(arithmetic.jaccard(frame, "drop").value, abs=0)
            top, union = numbers.strip(" =").split(" / ")
            pair = arithmetic.pair(frame, "drop")
            assert (eval(top), eval(union)) == (pair.top, pair.union)
    assert typed == 6 * len(METRICS)


def test_frames_worked_by_hand():
    frame = arithmetic.Frame(0, both=4, prediction=8, target=8, prediction_ignore=2, ignore=4)
    assert arithmetic.jaccard(frame, "drop").lines == (
        "J = |P∩G| / (|P| + |G| - |P∩G| - |P∩I|)",
        "  = 4 / (8 + 8 - 4 - 2)",
        "  = 4 / 10",
        "  = 0.4",
    )
    assert arithmetic.jaccard(frame, "background").value == 4 / 12
    assert arithmetic.jaccard(frame, "target").value == 6 / 14
    nothing = arithmetic.Frame(0, 0, 3, 0, 3, 9)
    assert arithmetic.jaccard(nothing, "drop").value == 1.0  # all of the prediction is on Ignore
    assert "0 / 0" in arithmetic.jaccard(nothing, "drop").lines[-1]
    assert arithmetic.jaccard(nothing, "background").value == 0.0
    gone = arithmetic.Frame(0, 0, 0, 0, 0, 0, missing=True)
    assert arithmetic.jaccard(gone, "drop").value == 0.0
    assert arithmetic.contour(gone).value == 0.0
    edges = arithmetic.Frame(0, 1, 1, 1, 0, 0, edges=(4, 8, 4, 4))
    assert arithmetic.contour(edges).value == 2 * 1.0 * 0.5 / 1.5
    assert arithmetic.contour(replace(edges, edges=(0, 0, 0, 0))).value == 1.0
    assert arithmetic.contour(replace(edges, edges=(5, 0, 0, 0))).value == 0.0
    assert arithmetic.contour(replace(edges, edges=(5, 5, 0, 0))).value == 0.0


# --- means -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", ["frame>expression>clip", "frame>clip>concept", "frame>object", "frame>expression"])
@pytest.mark.parametrize("ignore", ["drop", "background", "target"])
def test_every_mean_on_the_way_up_is_the_one_the_result_states(tmp_path, run, average, ignore):
    rules = Rules(metrics=("J", "TC", "area_ratio"), average=average, ignore=ignore, draws=200)
    path = stored(tmp_path, random_counts(clips=5, expressions=3), rules)
    opened = derivation.open_result(path)
    assert derivation.contradictions(opened) == []
    levels = set()
    for key in opened.tracks:
        for name in rules.metrics:
            steps = derivation.climb(opened, key, name)
            assert all(step.same for step in steps)
            assert steps[0].states and steps[-1].states
            assert steps[-1].value == json.loads(path.read_text())["summary"][name]["value"]
            levels.add(tuple(step.level for step in steps))
    between = {
        "frame>expression>clip": ("clip",),
        "frame>clip>concept": ("clip and concept", "concept"),
        "frame>object": ("object",),
        "frame>expression": (),
    }[average]
    assert levels == {("expression", *between, "benchmark")}
    code, out, err = run("explain", path, "--clip", "c1", "--expression", "2", "--frame", "4")
    assert code == 0, err
    assert out.count("as the result states") == len(rules.metrics) * (2 + ("concept" in between))
    assert "but the result" not in out
    assert f"rule ign:{ignore}" in out


def test_a_result_and_a_clip_at_a_glance(tmp_path, run):
    path = stored(tmp_path, random_counts(clips=14, expressions=2))
    code, out, _ = run("explain", path)
    assert code == 0
    rows = [line.split() for line in out.splitlines() if re.match(r"c\d+ ", line)]
    worst, best = [float(row[1]) for row in rows[:5]], [float(row[1]) for row in rows[5:]]
    assert len(rows) == 10 and worst == sorted(worst) and best == sorted(best) and worst[-1] <= best[0]
    assert "J of benchmark toy@1 = mean over 14 clips = " in out
    code, out, _ = run("explain", path, "--clip", "c3")
    assert code == 0
    assert "clip c3: 10x8, 9 frames, 9 annotated at 24 fps, source video v3" in out
    assert re.search(r"^1 +[\d.]+ +[\d.]+ +9 +0 +text 1$", out, re.MULTILINE)
    code, out, _ = run("explain", path, "--clip", "c3", "--expression", "1")
    assert code == 0
    assert len(re.findall(r"^ +\d+ +\d+ +\d+ +\d+ +\d+ +\d+ +[\d.]+", out, re.MULTILINE)) == 9
    assert re.search(rf"    0 [{text.BARS}]{{9}}$", out, re.MULTILINE)


def test_worst_means_largest_where_lower_is_better(tmp_path):
    path = stored(tmp_path, random_counts(clips=14), Rules(metrics=("TC",), draws=0))
    rows = facts.of_result(derivation.open_result(path))
    values = [row["values"]["TC"] for row in (*rows["worst"], *rows["best"])]
    assert values == sorted(values, reverse=True)
    opened = derivation.open_result(path)
    name = rows["worst"][0]["clip"]
    of_clip = {key[1]: value for key, value in opened.values["TC"].items() if key[0] == name}
    assert rows["worst"][0]["worst"]["expression"] == max(of_clip, key=of_clip.get)


def test_json_says_what_the_text_says(tmp_path, run):
    path = stored(tmp_path, random_counts(boundary=True), Rules(metrics=("J", "F", "TC"), draws=200))
    code, out, _ = run("explain", path, "--clip", "c2", "--expression", "0", "--frame", "8", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["contradictions"] == []
    assert [each["position"] for each in found["neighbours"]] == [7, 8]
    assert found["frame"]["state"] == "scored"
    counts = read_counts(path.with_name("toy.counts.npz"))
    row = np.flatnonzero((counts.columns["expression"] == 4) & (counts.columns["frame"] == 8))[0]
    for name, column in (
        ("both", "both"),
        ("prediction", "prediction"),
        ("target", "target_area"),
        ("ignore", "ignore"),
    ):
        assert found["frame"][name] == counts.columns[column][row]
    _, out, _ = run("explain", path, "--clip", "c2", "--expression", "0", "--frame", "8")
    for lines in (*found["frame"]["arithmetic"].values(), *found["metrics"].values()):
        for line in lines:
            assert line in out


def test_missing_frames_and_frames_without_the_target(tmp_path, run):
    counts = random_counts(clips=3, frames=6)
    columns = {name: column.copy() for name, column in counts.columns.items()}
    for row, state in ((2, MISSING), (4, NOT_ANNOTATED)):
        columns["state"][row] = state
        for name in ("both", "prediction", "prediction_ignore"):
            columns[name][row] = 0
    counts = assemble(replace(counts, columns=columns))
    path = stored(tmp_path, counts, Rules(missing="zero", draws=200))
    code, out, _ = run("explain", path, "--clip", "c0", "--expression", "0", "--frame", "2")
    assert code == 0
    assert "J = 0: there is no prediction for this frame" in out
    assert "TC is undefined: 1 frames have no prediction" in out
    assert "benchmark toy@1 is undefined: 1 frames of the benchmark have no prediction, as the result states" in out
    assert "there is no prediction, so its counts are 0" in out
    code, out, _ = run("explain", path, "--clip", "c0", "--expression", "0", "--frame", "4")
    assert code == 0
    assert "this target is not annotated, so it enters no score; nearest scored frames: 3 and 5" in out
    code, out, _ = run("explain", path, "--clip", "c0", "--expression", "0", "--frame", "3")
    assert "the 4th of 5 scored frames" in out
    assert "J of frame 5" in out  # frame 4 is skipped


def test_frames_between_the_annotated_ones(tmp_path, run):
    counts = random_counts(clips=3, frames=5)
    clips = tuple(replace(clip, frames=20, annotated=tuple(range(0, 20, 4))) for clip in counts.clips)
    counts = replace(counts, clips=clips, columns={**counts.columns, "frame": counts.columns["frame"] * 4})
    path = stored(tmp_path, counts)
    code, out, _ = run("explain", path, "--clip", "c0", "--expression", "0", "--frame", "6")
    assert code == 0
    assert "frame 6: not annotated, so it enters no score; nearest scored frames: 4 and 8" in out
    code, out, _ = run("explain", path, "--clip", "c0", "--expression", "0", "--frame", "8")
    assert "the 3rd of 5 scored frames" in out
    assert {"J of frame 4", "J of frame 12"} <= set(re.findall(r"J of frame \d+", out))


def test_counts_alone_are_explained_and_compared_with_nothing(tmp_path, run):
    write_counts(random_counts(boundary=True), tmp_path / "mine.counts.npz")
    code, out, _ = run("explain", tmp_path / "mine.counts.npz", "--clip", "c0", "--expression", "0", "--frame", "0")
    assert code == 0
    assert "nothing to compare with" in out and "F = " in out
    assert "the result states" not in out
    path = stored(tmp_path, random_counts())
    code, out, _ = run("explain", path.with_name("toy.counts.npz"))
    assert code == 0 and "as the result states" in out  # the result beside it is found


# --- tampering -------------------------------------------------------------------------------------

TAMPERED = {
    "row": lambda d: d["rows"][3]["values"].update(J=0.5),
    "summary": lambda d: d["summary"]["J"].update(value=0.987654),
    "bound": lambda d: d["summary"]["J"].update(high=0.999999),
    "n": lambda d: d["summary"]["J"].update(n=99),
    "diagnostic": lambda d: d["diagnostics"]["J_recall"].update(value=0.125),
    "concept": lambda d: d["by_concept"]["k1"]["J"].update(value=0.25),
    "invented concept": lambda d: d["by_concept"].update(fog=d["by_concept"]["k1"]),
    "category": lambda d: d["by_category"]["motion patterns"]["TC"].update(value=0.001),
    "frames": lambda d: d["rows"][0].update(frames=1000),
    "row left out": lambda d: d["rows"].pop(0),
    "row twice": lambda d: d["rows"].append(d["rows"][0]),
    "row invented": lambda d: d["rows"].append({**d["rows"][0], "clip": "c99"}),
    "complete": lambda d: d.update(incomplete=True),
    "digest": lambda d: d["benchmark"].update(digest="e" * 64),
    "hash": lambda d: d["counts"].update(sha256="0" * 64),
    "summary left out": lambda d: d["summary"].pop("TC"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_number_that_the_counts_do_not_give_is_exit_7(tmp_path, run, what):
    path = edited(stored(tmp_path, random_counts()), TAMPERED[what])
    code, out, err = run("explain", path)
    assert code == 7, err
    assert "does not state what its counts give" in err
    assert out  # the explanation itself is printed all the same


def test_a_mismatch_names_both_numbers(tmp_path, run):
    path = stored(tmp_path, random_counts())
    true = json.loads(path.read_text())["rows"][3]["values"]["J"]
    edited(path, TAMPERED["row"])
    code, out, err = run("explain", path, "--clip", "c1", "--expression", "1", "--frame", "0")
    assert code == 7
    assert f"J of c1/1: the counts give {true!r}, the result states 0.5" in err
    assert f"expression c1/1 = {true!r}, but the result states 0.5" in out


def test_counts_edited_by_hand_are_exit_7(tmp_path, run):
    path = stored(tmp_path, random_counts())
    beside = path.with_name("toy.counts.npz")
    counts = read_counts(beside)
    columns = {name: column.copy() for name, column in counts.columns.items()}
    row = int(np.flatnonzero((columns["both"] > 0) & (columns["frame"] == 5))[0])
    columns["both"][row] -= 1  # still possible
    write_counts(replace(counts, columns=columns), beside)
    code, _, err = run("explain", path)
    assert code == 7
    assert "hash of the counts" in err and "the counts give" in err and "the result states" in err
    write_counts(random_counts(seed=9), beside)  # somebody else's
    assert run("explain", path)[0] == 7
    part = {name: column[:30] for name, column in counts.columns.items()}
    write_counts(replace(counts, columns=part), beside)
    code, _, err = run("explain", path)
    assert code == 7 and "only a part" in err
    columns["both"][row] = 10_000  # impossible
    write_counts(replace(counts, columns=columns), beside)
    code, _, err = run("explain", path)
    assert code == 4 and "impossible counts" in err


def test_results_without_usable_counts(tmp_path, run):
    path = stored(tmp_path, random_counts())
    beside = path.with_name("toy.counts.npz")
    kept = beside.read_bytes()
    beside.unlink()
    code, _, err = run("explain", path)
    assert code == 3 and "toy.counts.npz" in err and "Fix: " in err
    for junk in (b"", b"PK\x03\x04 nothing", kept[: len(kept) // 2]):
        beside.write_bytes(junk)
        assert run("explain", path)[0] == 4


@pytest.mark.parametrize(
    "junk",
    [b"", b"{", b"[" * 100_000, b'{"schema": 1}', b"\x89PNG\r\n", b'{"schema": 1e999}', b"[]", b'"x"', b"\xff\xfe{}"],
)
def test_hostile_result_files(tmp_path, run, junk):
    path = tmp_path / "bad.json"
    path.write_bytes(junk)
    code, out, err = run("explain", path)
    assert code == 4 and not out and "Fix: " in err
    assert run("explain", tmp_path / "nowhere.json")[0] == 4
    assert run("explain", tmp_path)[0] == 4


def test_names_from_strangers_cannot_play_with_the_terminal(tmp_path, run):
    counts = random_counts(clips=3)
    evil = "\x1b[2Jwax\nmelting\u202e"
    counts = replace(counts, expressions=tuple(replace(e, text=evil, concept=evil) for e in counts.expressions))
    path = edited(stored(tmp_path, counts), lambda d: d["method"].update(name="\x1b]0;x\x07"))
    for extra in ([], ["--clip", "c0"], ["--clip", "c0", "--expression", "0"],
                  ["--clip", "c0", "--expression", "0", "--frame", "1"]):  # fmt: skip
        code, out, err = run("explain", path, *extra)
        assert code == 0, err
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", out)


def test_a_result_may_not_name_counts_elsewhere(tmp_path, run):
    path = stored(tmp_path, random_counts())
    edited(path, lambda d: d["counts"].update(file="../toy.counts.npz"))
    assert run("explain", path)[0] == 4


# --- places ----------------------------------------------------------------------------------------


def test_wrong_places_are_exit_2_with_a_guess(tmp_path, run):
    path = stored(tmp_path, random_counts(clips=3))
    cases = {
        ("--clip", "C1"): "did you mean c1?",
        ("--clip", "zebra"): "There are c0, c1, c2",
        ("--clip", "c1", "--expression", "11"): "did you mean 1?",
        ("--clip", "c1", "--frame", "0"): "add --expression, one of 0, 1",
        ("--clip", "c1", "--expression", "0", "--frame", "9"): "give a position from 0 to 8",
        ("--clip", "c1", "--expression", "0", "--frame", "-1"): "0 to 8",
        ("--clip", "c1", "--expression", "0", "--frame", "00003.png"): "with -b NAME or --gt DIR",
        ("--clip", "c1", "--expression", "0", "--frame", "9" * 5000): "0 to 8",
        ("--clip", "c1", "--expression", "0", "--target", "2"): "There are 1",
        ("--expression", "0"): "add --clip",
        ("--frame", "0"): "add --clip",
        ("--clip", "c1", "--out", "x"): "add --frame",
        ("--clip", "c1", "--expression", "0", "--pred", "x"): "add --frame",
    }
    for args, message in cases.items():
        code, _, err = run("explain", path, *args)
        assert code == 2, (args, err)
        assert message in err, (args, err)


def clip(frames):
    return ClipEntry("c", (4, 4), 24.0, 24.0, frames, tuple(range(frames)), "g", "")


def test_names_and_positions_of_frames():
    names = tuple(f"{k:05d}" for k in range(10))
    assert places.position_of(clip(10), "00003", names) == (3, "")
    assert places.position_of(clip(10), "3", names) == (3, "")  # either way the same frame
    shifted = tuple(str(k) for k in range(1, 11))
    at, note = places.position_of(clip(10), "3", shifted)
    assert at == 2 and "say position:3" in note and "(4)" in note
    assert places.position_of(clip(10), "position:3", shifted) == (3, "")
    assert places.position_of(clip(10), "10", shifted) == (9, "")  # no frame is at position 10
    every_fifth = tuple(f"{k:05d}" for k in range(0, 50, 5))
    at, note = places.position_of(clip(10), "5", every_fifth)
    assert at == 5 and "00025" in note and "give its whole name, 00005" in note
    assert places.position_of(clip(10), "00005", every_fifth) == (1, "")
    assert places.position_of(clip(10), "7", None) == (7, "")
    for wrong in ("10", "position:10", "frame7", "", "position:", "-1", "٣"):
        with pytest.raises(UsageError):
            places.position_of(clip(10), wrong, every_fifth)


def test_several_targets_need_to_be_named(tmp_path):
    counts = random_counts(clips=1, expressions=1, frames=3)
    columns = {name: np.concatenate([column, column]) for name, column in counts.columns.items()}
    columns["target"][3:] = 1
    counts = assemble(replace(counts, targets=(("c0", "1"), ("c0", "2")), columns=columns))
    assert places.pair_of(counts, "c0", None, "2") == (0, 1)
    with pytest.raises(UsageError, match="add --target, one of 1, 2"):
        places.pair_of(counts, "c0", "0", None)


def test_a_real_result_of_the_sample_is_free_of_contradictions(tmp_path, run):
    assert run("predict", "-q", "-p", "centre", "-b", "sample", "--out", tmp_path / "preds")[0] == 0
    assert run("evaluate", "-q", "--pred", tmp_path / "preds", "-b", "sample", "--out", tmp_path / "results")[0] == 0
    path = tmp_path / "results" / "sample@1" / "centre.json"
    code, out, err = run(
        "explain", path, "--clip", "candle-wax", "--expression", "2", "--frame", "00031", "--out", tmp_path / "pic"
    )
    assert code == 0, err
    assert "frame 00031 (position 31), the 32nd of 48 scored frames" in out
    assert "give the same integers" in err
    with Image.open(tmp_path / "pic" / "frame.png") as picture:
        assert min(picture.size) > 300
    shutil.rmtree(tmp_path / "preds")
    code, out, err = run("explain", path, "--clip", "candle-wax", "--expression", "2", "--frame", "31")
    assert code == 0 and "add --pred" in err


def test_bounds_that_are_not_computed_again_are_named(tmp_path, run):
    path = stored(tmp_path, random_counts())

    def more_draws(data):
        data["rules"]["draws"] = derivation.MOST_DRAWS + 1
        data["signature"] = data["signature"].replace("%,200,", "%,100001,").replace("flip200", "flip100001")
        data["summary"]["J"]["low"] += 0.01

    edited(path, more_draws)
    code, out, err = run("explain", path, "-q", "--json")
    assert code == 0 and "not computed again: the bounds of intervals: they were drawn 100,001 times" in err
    assert len(json.loads(out)["unchecked"]) == 1
    edited(path, lambda data: data["summary"]["J"].update(value=data["summary"]["J"]["value"] + 0.001))
    assert run("explain", path)[0] == 7
    honest = stored(tmp_path, random_counts(), name="honest")
    code, out, err = run("explain", honest, "--json")
    assert (code, json.loads(out)["unchecked"], err) == (0, [], "")


def test_options_of_the_benchmark_are_never_silently_dropped(tmp_path, run):
    path = stored(tmp_path, random_counts())
    for extra in (("-b", "nowhere"), ("--gt", tmp_path / "none"), ("--fps", 6), ("--ignore-value", 3)):
        for place in ((), ("--clip", "c0")):
            code, out, err = run("explain", path, *place, *extra)
            assert (code, out) == (2, "") and "The benchmark is looked at for one expression or frame" in err
    code, _, err = run("explain", path, "--clip", "c0", "--expression", "0", "--fps", 6)
    assert code == 2 and "belong to --gt" in err
    assert "Default: the result's own" in " ".join(run("explain", "--help")[1].split())
