"""docs/metrics.md: every metric has its section, every block runs, every number is right, also by another route."""

from __future__ import annotations

import ast
import doctest
import math
import operator
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch

import refvps
from refvps.metrics import METRICS, Series, boundary_counts, region_counts
from refvps.metrics.catalogue import _ALL
from refvps.run.score import AVERAGES
from refvps.types import PERCENT_EXEMPT

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
TEXT = PAGE.read_text()
SECTIONS = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##+ |\Z)", TEXT, re.MULTILINE | re.DOTALL))
ARITHMETIC = re.compile(r"`([^`=]*\d[^`=]*) = (-?\d+(?:\.\d+)?)`")


def test_every_metric_has_its_section_worked_out_by_hand():
    assert sorted(SECTIONS) == sorted(METRICS)
    assert len(_ALL) == len(METRICS)
    for name, text in SECTIONS.items():
        said = {"higher": "higher is better", "lower": "lower is better"}
        others = [phrase for way, phrase in said.items() if way != METRICS[name].better]
        flat = " ".join(text.split())
        assert said.get(METRICS[name].better, "") in flat, name
        assert not any(phrase in flat for phrase in others), name
        assert re.search(r"Range|From 0 up", flat), name
        assert f'value("{name}")' in text, name
        assert ARITHMETIC.search(text), f"{name} is not worked out by hand"


def test_every_block_runs_and_prints_what_it_says():
    test = doctest.DocTestParser().get_doctest(TEXT, {}, "metrics.md", str(PAGE), 0)
    assert len(test.examples) >= 40
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(test, out=lambda text: None)
    assert runner.summarize(verbose=False).failed == 0
    fenced = "".join(re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
    assert fenced.count(">>> ") == TEXT.count(">>> "), "every example stands in a block of its own"


OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def calculate(node):
    match node:
        case ast.Expression():
            return calculate(node.body)
        case ast.Constant():
            return node.value
        case ast.BinOp():
            return OPERATORS[type(node.op)](calculate(node.left), calculate(node.right))
        case ast.UnaryOp(op=ast.USub()):
            return -calculate(node.operand)
        case ast.Call(func=ast.Name(id="abs")):
            return abs(calculate(node.args[0]))
    raise AssertionError(ast.dump(node))


def says(value, shown):
    """Whether a number is printed exactly, or rounded to four decimals."""
    digits = len(shown.partition(".")[2])
    return digits <= 4 and (f"{value:.4f}" == shown if digits == 4 else abs(value - float(shown)) < 1e-12)


def test_the_arithmetic_in_the_text_is_right():
    found = ARITHMETIC.findall(TEXT)
    assert len(found) >= 35
    for left, shown in found:
        if left.strip() == "J":
            continue
        assert says(calculate(ast.parse(left.strip(), mode="eval")), shown), (left, shown)


def drawn():
    """The example, read from the drawing of the page, not from its code."""
    block = re.search(r"```\n( +frame 0.*?)```", TEXT, re.DOTALL)[1]
    rows = [re.findall(r"[.Gi#]", line.removeprefix("truth").removeprefix("prediction")) for line in block.splitlines()]
    rows = [row for row in rows if len(row) == 16]
    assert len(rows) == 8
    frames = np.array(rows).reshape(2, 4, 4, 4).transpose(0, 2, 1, 3)
    return frames[1] == "#", frames[0] == "G", frames[0] == "i"


def test_the_example_by_another_route():
    """Each metric of the page from its definition, in fractions, with the oracle's J and F of the drawing."""
    p, g, i = drawn()
    j = [oracle.j(*frame) for frame in zip(p, g, i, strict=True)]
    f = [oracle.f(*frame) for frame in zip(p, g, i, strict=True)]
    assert j == [1, Fraction(2, 5), Fraction(3, 4), 0]
    jumps = [abs(b - a) for a, b in zip(j, j[1:], strict=False)]
    counted = [oracle.areas(*frame) for frame in zip(p, g, i, strict=True)]
    nothing = np.zeros((4, 4), bool)
    expected = {
        "J": sum(j) / 4,
        "F": sum(f) / 4,
        "J&F": (sum(j) / 4 + Fraction(sum(f) / 4)) / 2,
        "TC": sum(jumps) / 3,
        "J_recall": Fraction(sum(value > Fraction(1, 2) for value in j), 4),
        "J_decay": (j[0] + j[1]) / 2 - (j[2] + j[3]) / 2,
        "J_last25": j[3],
        "J_visible": (j[1] + j[2]) / 2,
        "TC_over_T": sum(jumps) / 4,
        "TC_signed": (j[3] - j[0]) / 4,
        "TC_visible": jumps[1],
        "empty": Fraction(1, 4),
        "area_ratio": Fraction(int((p & ~i).sum()), int(g.sum())),
        "J_ignore_target": sum(oracle.j(p[t], g[t] | i[t], nothing) for t in range(4)) / 4,
        "J_ignore_background": sum(oracle.j(p[t], g[t], nothing) for t in range(4)) / 4,
    }
    assert expected.keys() == METRICS.keys()
    edges = [oracle.f_counts(*frame) for frame in zip(p, g, i, strict=True)]
    clip = Series(*np.array(counted).T, missing=np.zeros(4, bool), edges=np.array(edges).T)
    for name, value in expected.items():
        assert METRICS[name].compute(clip) == pytest.approx(float(value), abs=1e-15), name
        printed = re.search(rf'value\("{re.escape(name)}"\)\n(-?[\d.]+)\n', SECTIONS[name])[1]
        assert float(printed) == round(float(value), 4), name
        assert says(float(value), ARITHMETIC.findall(SECTIONS[name])[-1][1]), f"arithmetic under {name} ends elsewhere"


CASES = {
    "neither G nor P has a pixel": ("", "", ""),
    "G is empty, P is not": ("x", "", ""),
    "G is not empty, P is": ("", "x", ""),
    "everything is Ignore": ("x", "", "full"),
    "G is empty, P lies within Ignore": ("x", "", "x"),
    "G is empty, P fills the frame": ("full", "", ""),
}


def test_the_table_of_edge_cases():
    shapes = {"": np.zeros((4, 4), bool), "full": np.ones((4, 4), bool), "x": np.zeros((4, 4), bool)}
    shapes["x"][1:3, 1:3] = True
    table = dict(re.findall(r"^\| ([^|]+) \| (\d \| \d)", TEXT, re.MULTILINE))
    for case, names in CASES.items():
        p, g, i = (shapes[name] for name in names)
        j, f = refvps.jaccard(p, g, i), refvps.boundary_f(p, g, i)
        assert table.pop(case) == f"{j:g} | {f:g}", case
    assert table == {"no prediction for a frame, `--missing zero`": "0 | 0"}
    gone = Series(*np.zeros((5, 1), np.int64), missing=np.ones(1, bool), edges=np.zeros((4, 1), np.int64))
    assert [METRICS[name].compute(gone) for name in ("J", "F")] == [0, 0]


def test_a_clip_of_one_frame():
    """What the page says of T = 1."""
    one = Series(*np.array([[4, 8, 8, 2, 4]]).T, missing=np.zeros(1, bool), edges=np.array([[8, 4, 7, 4]]).T)
    values = {name: metric.compute(one) for name, metric in METRICS.items()}
    assert {name for name, value in values.items() if value is None} == {
        name for name in METRICS if METRICS[name].spans_frames
    }
    assert values["J_decay"] == 0
    assert values["J_last25"] == values["J"] == 0.4


def test_every_averaging_order_is_explained():
    section = TEXT[TEXT.index("## From clips to one number") : TEXT.index("## Intervals")]
    for name in AVERAGES:
        assert f"`{name}`" in section
        assert f'mean("{name}")' in section
    assert {"area_ratio"} == PERCENT_EXEMPT
    assert "`area_ratio` is a ratio" in TEXT


# --- the documented forms of the three functions -----------------------------------------------------


@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy, np.asfortranarray], ids=["numpy", "torch", "columns"])
def test_the_public_functions_take_clips_and_frames(form):
    p, g, i = drawn()
    by_clip = refvps.jaccard(form(p), form(g), form(i))
    assert (
        by_clip.tolist() == [refvps.jaccard(form(p[t]), form(g[t]), form(i[t])) for t in range(4)] == [1, 0.4, 0.75, 0]
    )
    contour = refvps.boundary_f(form(p), form(g), form(i))
    assert contour.tolist() == [refvps.boundary_f(p[t], g[t], i[t]) for t in range(4)]
    assert refvps.boundary_f(p[1], g[1], bound_th=3.0) == 1.0
    assert refvps.boundary_f(p, g, bound_th=3.0)[1] == 1.0
    assert refvps.temporal_consistency(torch.from_numpy(by_clip)) == refvps.temporal_consistency(by_clip)
    assert math.isclose(refvps.temporal_consistency(by_clip.tolist()), 17 / 30)


@pytest.mark.parametrize("function", [refvps.jaccard, refvps.boundary_f, region_counts, boundary_counts])
def test_the_public_functions_neither_threshold_nor_broadcast(function):
    p, g, i = (mask[1] for mask in drawn())
    for soft in (p.astype(float), p.astype(np.uint8), torch.from_numpy(p).float()):
        with pytest.raises(ValueError, match="must be bool"):
            function(soft, g)
    for masks in ((p, g[:1]), (p, g[:, :3]), (p, g[None]), (p, g, i[0]), (p, g.all())):
        with pytest.raises(ValueError, match="differ in shape"):
            function(*masks)


def test_consistency_needs_one_finite_number_a_frame():
    for values in ([[1.0, 0.0], [0.0, 0.0]], [1.0, float("nan")], 0.5, [float("inf"), 0.0]):
        with pytest.raises(ValueError, match="one finite number per frame"):
            refvps.temporal_consistency(values)
    assert refvps.temporal_consistency([]) is None
