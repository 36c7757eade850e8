"""Scores in people's hands: a table, a flat dict for a logger, a page in a notebook."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from tables import random_counts

import refvps
from refvps.run.score import score
from refvps.types import Estimate, Method, Rules

RULES = Rules(metrics=("J", "TC"), draws=200)


@pytest.fixture(scope="module")
def scores():
    return score(random_counts(boundary=True), replace(RULES, metrics=("J", "F", "J&F", "TC")))


def test_one_row_per_expression_with_every_metric(scores):
    table = scores.to_pandas()
    about = ["clip", "expression", "target", "concept", "group", "frames", "missing"]
    assert list(table.columns) == [*about, *scores.rows[0].values]
    assert len(table) == len(scores.rows) == 12
    for row, found in zip(scores.rows, table.to_dict("records"), strict=True):
        assert [found[name] for name in about] == [getattr(row, name) for name in about]
        assert {name: found[name] for name in row.values} == row.values
    assert table[["frames", "missing"]].dtypes.tolist() == [np.dtype("int64")] * 2
    assert all(table[name].dtype == np.dtype("float64") for name in scores.rows[0].values)


def test_the_summary_follows_from_the_table(scores):
    """frame > expression > clip, in pandas."""
    table = scores.to_pandas()
    for metric in ("J", "F", "J&F", "TC"):
        by_clip = table.groupby("clip")[metric].mean()
        assert by_clip.mean() == pytest.approx(scores.summary[metric].value, abs=1e-12)
    by_concept = table.groupby(["concept", "clip"])["J"].mean().groupby("concept").mean()
    for concept, estimates in scores.by_concept.items():
        assert by_concept[concept] == pytest.approx(estimates["J"].value, abs=1e-12)


def test_what_is_undefined_is_nan_in_the_table_and_absent_in_the_dict():
    one = score(random_counts(frames=1), RULES)
    assert one.to_pandas()["TC"].isna().all()
    assert one.to_pandas()["TC"].dtype == np.dtype("float64")
    assert list(one.flat()) == ["toy/J"]
    holes = score(random_counts(missing=0.3), replace(RULES, missing="zero"))
    table = holes.to_pandas()
    assert table["missing"].sum() == random_counts(missing=0.3).missing > 0
    assert table.loc[table["missing"] > 0, "TC"].isna().all()
    assert "toy/TC" not in holes.flat(concepts=True)


def test_flat_is_what_a_logger_takes(scores):
    flat = scores.flat()
    assert flat == {f"toy/{name}": scores.summary[name].value for name in ("J", "F", "TC")} | {
        "toy/J_F": scores.summary["J&F"].value
    }
    assert all(type(value) is float for value in flat.values())
    more = scores.flat(concepts=True)
    assert more["toy/concept/k1/TC"] == scores.by_concept["k1"]["TC"].value
    assert len(more) == 4 * (1 + len(scores.by_concept))
    assert all(re.fullmatch(r"[\w./ :-]+", key) for key in more), "what MLflow accepts, the strictest of them"


def test_names_that_collide_keep_all_their_values(scores):
    values = {name: {"J": Estimate(k / 10, None, None, 1, 1)} for k, name in enumerate(("", "a&b", "a+b", "none"))}
    odd = replace(scores, by_concept=values, summary={})
    assert odd.flat(concepts=True) == {
        "toy/concept/none/J": 0.0,
        "toy/concept/a_b/J": 0.1,
        "toy/concept/a_b/J_": 0.2,
        "toy/concept/none/J_": 0.3,
    }


class Cells(HTMLParser):
    """The texts of a page by tag."""

    def __init__(self):
        super().__init__()
        self.found, self.open = {}, []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.found.setdefault(tag, [])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.found[self.open[-1]].append(data)


def parsed(html):
    page = Cells()
    page.feed(html)
    page.close()
    assert page.open == []
    return page.found


def test_the_table_of_a_notebook_says_what_the_summary_says(scores):
    named = replace(scores, method=Method("mine"))
    found = parsed(named._repr_html_())
    assert found["th"] == ["mine on toy@1", "percent", "95% interval", "n", "videos"]
    cells = found["td"]
    j = scores.summary["J"]
    assert cells[:5] == ["J", f"{100 * j.value:.2f}", f"[{100 * j.low:.2f}, {100 * j.high:.2f}]", "6", "5"]
    assert cells[::5] == ["J", "F", "J&F", "TC"]
    assert found["code"] == [scores.signature]


def test_the_table_of_a_notebook_shows_what_is_wrong():
    holes = score(random_counts(missing=0.3), replace(RULES, metrics=("TC", "area_ratio"), missing="zero"))
    found = parsed(holes._repr_html_())
    assert found["td"][:3] == ["TC", "-", "0"], "no value, an empty interval"
    assert found["td"][3:5] == ["0", "area_ratio"]
    assert re.fullmatch(r"\d\.\d\d \(ratio\)", found["td"][5])
    assert found["th"][0] == "unnamed on toy@1 (INCOMPLETE)"
    assert found["small"] == list(holes.notes)
    assert len(holes.notes) == 1


def test_the_line_of_a_terminal():
    named = score(random_counts(missing=0.3), replace(RULES, missing="zero"), method=Method("mine"))
    j = named.summary["J"]
    assert repr(named) == (
        f"<Scores of mine on toy@1 (INCOMPLETE): J {100 * j.value:.2f} [{100 * j.low:.2f}, {100 * j.high:.2f}], TC ->"
    )


def test_nothing_in_a_result_becomes_markup(scores):
    evil = "<script>alert('x')</script>\"&amp;"
    odd = replace(
        scores,
        method=Method(evil),
        benchmark={**scores.benchmark, "name": evil, "version": evil},
        summary={evil: scores.summary["J"]},
        notes=(evil,),
        signature=f"refvps:J|ci:{evil},1|data:{evil}",
    )
    html = odd._repr_html_()
    assert "<script" not in html
    assert "alert(&#x27;x&#x27;)" in html
    assert parsed(html)["td"][0] == evil
    assert parsed(replace(scores, signature="nonsense")._repr_html_())["code"] == ["nonsense"]


def test_pandas_comes_late_and_scores_are_only_data(scores):
    subprocess.run([sys.executable, "-c", "import sys, refvps.types; sys.exit('pandas' in sys.modules)"], check=True)
    assert isinstance(scores.to_pandas(), pd.DataFrame)
    assert scores == replace(scores)
    assert refvps.Scorer.__module__ == "refvps.run.scorer"
