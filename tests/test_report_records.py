"""Figures that papers report: complete, as printed, marked, and never of two versions at once."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from refvps import home
from refvps.data.reported import load_reported, most_precise
from refvps.errors import InputError

REPORTED = load_reported()
V1, ICCV, VDIT = "refereverything-v1", "refereverything-iccv2025", "vd-it-supplement"


def find(**wanted):
    return [f for f in REPORTED.figures if all(getattr(f, key) == value for key, value in wanted.items())]


def value(paper, dataset, method, metric, **more):
    (found,) = {f.text for f in find(paper=paper, dataset=dataset, method=method, metric=metric, **more)}
    return found


@pytest.fixture(scope="session")
def printed(fixtures):
    """The 138 records that were read from the tables of the two papers."""
    path = fixtures.parent / "data" / "reported_results.json"
    if not path.is_file():
        pytest.skip("real data is absent: reported_results.json")
    return json.loads(path.read_text())


NAMES = {
    "TempCon": "TC",
    "inference memory GB": "inference memory",
    "inference FPS": "inference speed",
    "training memory GB per GPU": "training memory per GPU",
    "training hours": "training time",
    "Clips": "clips",
    "Frames": "frames",
    "Concepts": "concepts",
    "Avg len. (s)": "average length",
    "Ann FPS": "annotation rate",
    "Min-resolution": "smallest frame",
    "Max-resolution": "largest frame",
}


def test_every_printed_figure_is_a_record(printed):
    """All 138, each once: method, variant, training, metric, value, paper, table and version."""
    want, precise = Counter(), {}
    for r in printed:
        file, table = r["source"].split(" ", 1)
        method = "REM" if r["method"].startswith("REM-ablation") else r["method"].strip("-")
        variant = r["variant"].replace("fusion=", "fusion: ").replace("noise_step=", "noise step ")
        key = (
            {"000": V1, "003": VDIT}[file[:3]], table, method, variant, r.get("training", ""),
            NAMES.get(r["metric"], r["metric"]), r["value"],
        )  # fmt: skip
        want[key] += 1
        precise.setdefault(key, set()).add((r["dataset"].split(" 32")[0].split(",")[0], r["precision"]))
        if "benchmark_version" in r:
            assert r["benchmark_version"] in {f.benchmark_version for f in find(dataset="Ref-VPS", paper=V1)}
    have = Counter(
        (f.paper, f.table, f.method, f.variant, f.training, f.metric, f.value)
        for f in REPORTED.figures
        if f.paper in (V1, VDIT)
    )
    assert len(printed) == 138 and have == want
    other = {
        (f.table, f.text)
        for f in REPORTED.figures
        if f.paper in (V1, VDIT)
        and (f.dataset, f.precision)
        not in precise[f.paper, f.table, f.method, f.variant, f.training, f.metric, f.value]
    }
    assert other == {("Table 4", "59.10"), ("Table 4", "65.00"), ("Table 4", "37.80")}  # the paper prints the zeros


def test_counts_of_the_records():
    assert Counter(f.paper for f in REPORTED.figures) == {V1: 111, VDIT: 27, ICCV: 166}
    tables = {(1, 36), (2, 8), (3, 4), (4, 12), ("A", 7), ("B", 16), ("C", 8), ("D", 8), ("E", 12)}
    assert {(f"Table {name}", n) for name, n in tables} == set(Counter(f.table for f in find(paper=V1)).items())
    assert Counter(f.table for f in find(paper=VDIT)) == {"Table A": 12, "Table B": 15}
    assert Counter(f.kind for f in REPORTED.figures) == {"score": 246, "cost": 32, "statistic": 26}
    assert {f.status for f in REPORTED.figures} == {"reported"}


def test_the_printed_tables_by_hand():
    """Cells copied by eye from the two papers and, for ICCV, from our notes on it."""
    assert value(V1, "Ref-VPS", "REM", "J", table="Table 3") == "48.96"
    assert value(V1, "Ref-DAVIS", "REM", "F") == "75.29"
    assert value(V1, "BURST-val+test", "VD-IT", "J") == "30.9"
    assert value(V1, "Ref-VPS", "MUTR", "TC") == "2.9"
    assert value(V1, "training", "UNINEXT", "training time") == "1906"
    assert value(V1, "Ref-VPS", "", "smallest frame") == "712x576"
    assert value(VDIT, "Ref-YTB", "VD-IT", "F", variant="noise step 100") == "64.5"
    assert value(ICCV, "Ref-VPS", "REM-Wan", "J", variant="") == "50.0"
    assert value(ICCV, "BURST-val+test", "REM-MS", "J") == "37.5"
    assert value(ICCV, "MeViS", "REM-Wan", "J&F", training="MeViS only") == "57.6"
    assert value(ICCV, "Ref-VPS", "", "frames") == "23442"
    assert value(ICCV, "Ref-VPS", "REM-MS", "J", variant="single stage") == "46.33"


def test_j_and_f_is_the_mean_of_j_and_f():
    """Within the rounding of all three; one row of VD-IT is at the edge, because its unrounded values were averaged."""
    rows = {}
    for f in REPORTED.figures:
        if f.metric in ("J", "F", "J&F"):
            rows.setdefault((f.paper, f.table, f.dataset, f.subject), {})[f.metric] = f
    whole = [row for row in rows.values() if len(row) == 3]
    assert len(whole) == 12 + 9 + 14 + 7
    edge = []
    for row in whole:
        off = abs((Decimal(row["J"].text) + Decimal(row["F"].text)) / 2 - Decimal(row["J&F"].text))
        assert off <= Decimal("0.1")
        if off > Decimal("0.05"):
            edge.append((row["J"].method, row["J"].variant, off))
    assert edge == [("VD-IT", "noise step 10", Decimal("0.1"))]


def test_versions_and_papers_are_never_one_place():
    versions = {
        f.paper: {g.benchmark_version for g in find(paper=f.paper, dataset="Ref-VPS")} for f in REPORTED.figures
    }
    assert versions[V1] == {"first version (111 clips, 24 fps annotation)"}
    assert "ICCV 2025 version (145 clips, 6 fps annotation)" in versions[ICCV]
    assert not versions[V1] & versions[ICCV]
    assert all(
        f.annotation_fps == (24 if f.paper == V1 else 6) for f in find(dataset="Ref-VPS") if f.table != "Table H"
    )
    copied = find(paper=ICCV, dataset="Ref-VPS", table="Table H")
    assert len(copied) == 8
    assert all(f.benchmark_version.startswith("unclear") and f.annotation_fps is None for f in copied)


def test_names_of_benchmarks_are_those_of_refvps():
    known = {"ref-vps", "burst", "vspw-stuff", "ref-davis", "ref-ytvos", "mevis", ""}
    assert {f.benchmark for f in REPORTED.figures} == known
    assert all(f.benchmark for f in REPORTED.figures if f.kind == "score")


def test_the_most_precise_of_duplicates_is_shown():
    rem = find(paper=V1, dataset="Ref-VPS", method="REM", variant="")
    assert {f.text for f in rem if f.metric == "J"} == {"48.96", "49.0"}
    for order in (rem, rem[::-1]):
        best = most_precise(order)
        assert best["J"].text == "48.96" and best["TC"].text == "2.8"
    assert most_precise(rem)["J"].fraction == "0.4896"
    assert {f.fraction for f in find(paper=V1, method="REM", variant="VideoCrafter-1, Frozen VAE", metric="J&F")} == {
        "0.5910"
    }
    with pytest.raises(ValueError, match="not in percent"):
        _ = find(metric="training time")[0].fraction


def test_methods_hold_facts_or_nothing():
    methods = REPORTED.methods
    assert {f.method for f in REPORTED.figures if f.method} == set(methods)
    assert methods["ReferFormer"].licence == "Apache-2.0"
    assert methods["VLMO-L"].licence == "none stated"
    assert methods["VD-IT"].supervision == "RefCOCO/+/g, Ref-YTB"
    assert methods["UNINEXT"].code == "https://github.com/MasterBin-IIAU/UNINEXT"
    assert (methods["GLUS"].pretraining, methods["GLUS"].licence, methods["GLUS"].code) == ("", "", "")


def test_papers_say_what_was_read():
    assert REPORTED.papers.keys() == {V1, ICCV, VDIT}
    assert "not the paper itself" in REPORTED.papers[ICCV].read_from
    assert REPORTED.papers[VDIT].arxiv == "2403.12042"


FOLDER = home.annotations() / "reported"


@pytest.fixture
def copy(tmp_path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "reported"))


def line(folder, number, **changes):
    """Change a line of figures.jsonl, or append it when ``number`` is None."""
    path = folder / "figures.jsonl"
    lines = path.read_text().splitlines()
    record = {**json.loads(lines[number or 0]), **changes}
    lines = (
        [*lines, json.dumps(record)] if number is None else [*lines[:number], json.dumps(record), *lines[number + 1 :]]
    )
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("number", "changes", "said"),
    [
        (0, {"status": "measured"}, "status"),
        (0, {"value": 61.123}, "more than 1 digits"),
        (0, {"value": 611}, "in percent"),
        (0, {"value": "61.1"}, "cannot be '61.1'"),
        (0, {"method": "Nobody"}, "does not fit a score"),
        (0, {"source": {"paper": "elsewhere", "table": "Table 1"}}, "no paper 'elsewhere'"),
        (0, {"extra": 1}, "extra"),
        (0, {"precision": 99}, "precision"),
        (None, {}, "stands twice in one table"),
        (None, {"source": {"paper": V1, "table": "Table Z"}, "value": 61.3}, "is 61.3, elsewhere 61.1"),
    ],
)
def test_broken_records_are_refused_with_their_line(copy, number, changes, said):
    line(copy, number, **changes)
    with pytest.raises(InputError, match="reported|format") as caught:
        load_reported(copy)
    place = f"figures.jsonl:{305 if number is None else 1}"
    assert any(place in where and said in where for where in caught.value.where), caught.value.where


def test_a_figure_printed_again_with_more_digits_agrees(copy):
    line(copy, None, source={"paper": V1, "table": "Table Z"}, value=61.14, precision=2)
    assert len(load_reported(copy).figures) == 305


def test_names_stand_once(copy):
    for name in ("methods", "papers"):
        path = copy / f"{name}.jsonl"
        path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")
    with pytest.raises(InputError) as caught:
        load_reported(copy)
    assert [where.rpartition("/")[2] for where in caught.value.where] == [
        "methods.jsonl: a name stands twice",
        "papers.jsonl: a name stands twice",
    ]
