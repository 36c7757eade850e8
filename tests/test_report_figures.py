"""Figures as readers see them: compared with pictures that were looked at, and with the numbers behind them."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import made_results as made
import numpy as np
import pictures
import pytest
from matplotlib import get_cachedir, rcParams

from refvps.errors import UsageError
from refvps.report import collection
from refvps.report.figures import PLOTS, Options
from refvps.report.figures.coverage import coverage, running_mean
from refvps.report.figures.style import SMALL, WIDTHS, encoded, extent, looks, told_apart


def group(tmp_path, results):
    """The one group that these results make."""
    found = collection.collect(collection.find([made.write(tmp_path, *results)[0].parent]))
    assert len(found) == 1
    return found[0]


def draw(name, one, sort=None, column=None):
    return PLOTS[name].draw(one, Options(sort, column or PLOTS[name].column))


def artists(drawing, kind):
    """Artists of the axes by method, for ids such as ``line-rem``."""
    axes = drawing.figure.axes[0]
    every = [*axes.lines, *axes.collections]
    return {a.get_gid().partition("-")[2]: a for a in every if (a.get_gid() or "").startswith(f"{kind}-")}


def texts(drawing):
    from matplotlib.text import Text

    drawing.figure.draw_without_rendering()
    found = [t for t in drawing.figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
    axes = drawing.figure.axes[0]
    unused = {id(t) for axis in (axes.xaxis, axes.yaxis) for t in axis.get_ticklabels(which="both")}
    low, high = sorted(axes.get_xlim())
    bottom, top = sorted(axes.get_ylim())
    for tick in (*axes.xaxis.get_major_ticks(), *axes.yaxis.get_major_ticks()):
        limits = (low, high) if tick in axes.xaxis.get_major_ticks() else (bottom, top)
        if limits[0] <= tick.get_loc() <= limits[1]:
            unused.discard(id(tick.label1))
    return [t for t in found if id(t) not in unused]


CASES = {
    "processes": ("concept-coverage", made.processes, None, "double"),
    "processes-own-single": ("concept-coverage", made.processes, "own", "single"),
    "long-tail": ("concept-coverage", made.long_tail, None, "double"),
    "long-tail-vdit-single": ("concept-coverage", made.long_tail, "vdit", "single"),
    "plane": ("j-vs-tc", made.processes, None, "single"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_figure_looks_like_its_reference(name, tmp_path):
    pictures.needs_this_freetype()
    plot, results, sort, column = CASES[name]
    data = encoded(draw(plot, group(tmp_path, results()), sort, column).figure, "png", pictures.DPI)
    reference = pictures.REFERENCE / f"{name}.png"
    gap = pictures.difference(pictures.read(data), pictures.read(reference))
    if gap > pictures.TOLERANCE:
        (tmp_path / f"{name}.png").write_bytes(data)
    assert gap <= pictures.TOLERANCE, f"{gap:.3f}; look at {tmp_path / name}.png and {reference}"


def changed(how):
    """The processes with one thing changed that a reader would see."""
    results = made.processes()
    table = results[0]["by_concept"]
    if how == "a score":
        table["lightning"]["J"] = made.estimate(table["lightning"]["J"]["value"] + 0.05, 0.09)
    elif how == "an interval":
        table["wave rising"]["J"]["high"] += 0.1
    elif how == "a name":
        table["ice melting!"] = table.pop("ice melting")
        for other in results[1:]:
            other["by_concept"]["ice melting!"] = other["by_concept"].pop("ice melting")
    elif how == "a method":
        results[1]["method"]["name"] = "vdjt"
    return results


@pytest.mark.parametrize("how", ["a score", "an interval", "a name", "a method"])
def test_a_changed_figure_does_not_pass_for_the_reference(how, tmp_path):
    pictures.needs_this_freetype()
    data = encoded(draw("concept-coverage", group(tmp_path, changed(how))).figure, "png", pictures.DPI)
    reference = pictures.read(pictures.REFERENCE / "processes.png")
    assert pictures.difference(pictures.read(data), reference) > pictures.TOLERANCE


def test_the_comparison_sees_a_pixel_row_and_forgives_rounding():
    one = pictures.read(pictures.REFERENCE / "processes.png")
    rounded = np.clip(one + np.random.default_rng(0).uniform(-0.02, 0.02, one.shape), 0, 1)
    assert 0 < pictures.difference(one, rounded) < pictures.TOLERANCE
    assert pictures.difference(one, np.roll(one, 1, 0)) > pictures.TOLERANCE
    assert pictures.difference(one, one[:-1]) == 1.0


@pytest.mark.parametrize("sort", [None, "vdit", "own"])
def test_lines_are_the_numbers_of_the_results_in_the_order_they_say(sort, tmp_path):
    one = group(tmp_path, made.processes())
    drawing = draw("concept-coverage", one, sort)
    lines, bars = artists(drawing, "line"), artists(drawing, "interval")
    tables = {r.name: {c: v["J"] for c, v in r.data["by_concept"].items()} for r in one.results}
    assert lines.keys() == tables.keys()
    shared = sorted(tables["rem"], key=lambda c: (-tables[sort if sort == "vdit" else "rem"][c]["value"], c))
    for method, line in lines.items():
        order = shared if sort != "own" else sorted(shared, key=lambda c: (-tables[method][c]["value"], c))
        want = [100 * tables[method][concept]["value"] for concept in order]
        assert line.get_ydata().tolist() == want
        assert all(abs(x - k) < 0.5 for k, x in enumerate(line.get_xdata(), start=1))
        if sort == "own":
            assert want == sorted(want, reverse=True)
        else:
            ends = [segment[:, 1].tolist() for segment in bars[method].get_segments() if len(segment)]
            found = [(tables[method][c]["low"], tables[method][c]["high"]) for c in order]
            assert ends == [[100 * low, 100 * high] for low, high in found if low is not None]
            assert len(ends) == (0 if method == "empty" else 14 - want.count(0.0))
    axes = drawing.figure.axes[0]
    said = {None: "sorted by J of rem (highest mean J)", "vdit": "sorted by J of vdit", "own": "sorted by its own J"}
    assert said[sort] in axes.get_xlabel()
    assert ("highest" in axes.get_xlabel()) == (sort is None)
    assert ("95% intervals" in axes.get_xlabel()) == bool(bars) == (sort != "own")
    assert "ref-vps@1" in axes.get_title(loc="left")
    assert axes.get_ylabel() == "J per concept (%)"
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert (names == shared) == (sort != "own")


def test_the_legend_holds_means_over_all_concepts_and_over_the_tail(tmp_path):
    one = group(tmp_path, made.processes())
    drawing = draw("concept-coverage", one)
    legend = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    rem = {c: v["J"]["value"] for c, v in one.named("rem").data["by_concept"].items()}
    tail = sorted(rem, key=lambda c: -rem[c])[-4:]
    want = []
    for result in one.results:
        scores = {c: v["J"]["value"] for c, v in result.data["by_concept"].items()}
        mean, low = sum(scores.values()) / 14, sum(scores[c] for c in tail) / 4
        want.append((-mean, f"{result.name}  {100 * mean:.1f} | {100 * low:.1f}"))
    assert legend == [text for _, text in sorted(want)]
    shade = next(p for p in drawing.figure.axes[0].patches if p.get_gid() == "tail")
    assert shade.get_extents().transformed(drawing.figure.axes[0].transData.inverted()).x0 == pytest.approx(10.5)
    assert any(t.get_text() == "long tail of rem:\nlowest 4 of 14" for t in texts(drawing))


def test_many_concepts_show_every_point_and_a_running_mean(tmp_path):
    one = group(tmp_path, made.long_tail())
    drawing = draw("concept-coverage", one)
    lines, points = artists(drawing, "line"), artists(drawing, "points")
    rem = {c: v["J"]["value"] for c, v in one.named("rem").data["by_concept"].items()}
    order = sorted(rem, key=lambda c: (-rem[c], c))
    assert points.keys() == {"vdit", "uninext", "mutr"}
    assert lines["rem"].get_ydata().tolist() == [100 * rem[c] for c in order]
    for method, drawn in points.items():
        scores = [100 * one.named(method).data["by_concept"][c]["J"]["value"] for c in order]
        assert drawn.get_ydata().tolist() == scores
        k = 200
        assert lines[method].get_ydata()[k] == pytest.approx(sum(scores[k - 11 : k + 12]) / 23)
    axes = drawing.figure.axes[0]
    assert "454 concepts" in axes.get_xlabel() and "running mean over 23" in axes.get_xlabel()
    assert all(label.get_text().strip("−").isdigit() for label in axes.get_xticklabels())
    assert any("454 concept names" in note for note in drawing.notes)


def test_running_mean_by_hand():
    values = np.array([3.0, np.nan, 6.0, 0.0, 9.0])
    assert running_mean(values, 3).tolist() == [3.0, 4.5, 3.0, 5.0, 4.5]
    assert math.isnan(running_mean(np.array([np.nan, np.nan]), 1)[0])


def test_points_of_the_plane_are_j_and_tc_with_their_intervals(tmp_path):
    one = group(tmp_path, made.processes())
    drawing = draw("j-vs-tc", one)
    points = artists(drawing, "point")
    for result in one.results:
        j, tc = (result.data["summary"][name]["value"] for name in ("J", "TC"))
        assert points[result.name].get_xydata().tolist() == [[100 * j, 100 * tc]]
    axes = drawing.figure.axes[0]
    assert "higher is better" in axes.get_xlabel() and "lower is better" in axes.get_ylabel()
    title = axes.get_title(loc="left").replace("\n", " ")
    assert title == "J and TC on ref-vps@1, 24 fps, 95% intervals"
    reach = [s for container in axes.containers for bars in container.lines[2] for s in bars.get_segments()]
    rem = one.named("rem").data["summary"]["J"]
    want = [100 * rem["low"], 100 * rem["high"]]
    assert any(np.allclose(segment[:, 0], want, atol=1e-9) for segment in reach)


def test_methods_without_tc_are_named_and_left_out(tmp_path):
    whole, broken = made.result("whole", 0.4), made.result("broken", 0.6)
    broken["summary"]["TC"] = {"value": None, "low": None, "high": None, "n": 0, "groups": 0}
    drawing = draw("j-vs-tc", group(tmp_path / "two", [whole, broken]))
    assert artists(drawing, "point").keys() == {"whole"}
    assert drawing.notes == ("left out, because TC needs every frame: broken",)
    with pytest.raises(UsageError, match="None of these results"):
        draw("j-vs-tc", group(tmp_path / "one", [broken]))


@pytest.mark.parametrize("case", CASES)
def test_print_size_and_fonts(case, tmp_path):
    plot, results, sort, column = CASES[case]
    drawing = draw(plot, group(tmp_path, results()), sort, column)
    assert drawing.figure.get_size_inches()[0] == WIDTHS[column]
    shown = texts(drawing)
    assert len(shown) > 8
    box = drawing.figure.bbox
    for text in shown:
        assert text.get_fontsize() >= 7.0
        extent = text.get_window_extent()
        assert box.x0 <= extent.x0 and extent.x1 <= box.x1 and box.y0 <= extent.y0 and extent.y1 <= box.y1, text
    pdf = encoded(drawing.figure, "pdf")
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf
    width = float(re.search(rb"/MediaBox \[ 0 0 ([0-9.]+)", pdf).group(1))
    assert width == pytest.approx(72 * WIDTHS[column], abs=0.01)


def test_concept_names_do_not_touch(tmp_path):
    for column, most in (("single", 22), ("double", 50)):
        table = {f"concept {k:02d}": 0.9 - 0.01 * k for k in range(most)}
        drawing = draw(
            "concept-coverage", group(tmp_path / column, [made.result("m", 0.5, concepts=table)]), None, column
        )
        drawing.figure.draw_without_rendering()
        labels = [label.get_window_extent() for label in drawing.figure.axes[0].get_xticklabels()]
        assert len(labels) == most
        assert all(a.x1 <= b.x0 for a, b in zip(labels, labels[1:], strict=False)), column


def test_bytes_do_not_change_from_run_to_run(tmp_path):
    """Other processes, other hash seeds: the same svg, pdf and png, without dates."""
    made.write(tmp_path, *made.processes())
    script = (
        "import sys, hashlib\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from refvps.report import collection\n"
        "from refvps.report.figures import PLOTS, Options\n"
        "from refvps.report.figures.style import encoded\n"
        "one, = collection.collect(collection.find([Path(sys.argv[1])]))\n"
        "figure = PLOTS['concept-coverage'].draw(one, Options()).figure\n"
        "print([hashlib.sha256(encoded(figure, f)).hexdigest() for f in ('svg', 'pdf', 'png')])\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), str(pictures.REFERENCE.parent.parent)],
            env={
                "PYTHONHASHSEED": seed,
                "HOME": str(tmp_path),
                "SOURCE_DATE_EPOCH": seed + "00000",
                "MPLCONFIGDIR": get_cachedir(),
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] and len(set(eval(runs[0]))) == 3
    figure = draw("concept-coverage", collection.collect(collection.find([tmp_path]))[0]).figure
    svg = encoded(figure, "svg")
    ids = [node.get("id") for node in ET.fromstring(svg).iter() if node.get("id")]
    assert "line-rem" in ids and len(ids) == len(set(ids))
    for data in (svg, encoded(figure, "pdf"), encoded(figure, "png")):
        assert not re.search(rb"20[0-9]{2}-[01][0-9]-|CreationDate", data)


def test_the_users_settings_are_neither_used_nor_changed(tmp_path):
    one = group(tmp_path, made.processes())
    plain = encoded(draw("concept-coverage", one).figure, "png", 50)
    before = dict(rcParams)
    rcParams.update({"font.size": 30, "axes.facecolor": "red", "text.color": "green", "savefig.bbox": "tight"})
    mine = dict(rcParams)
    try:
        assert encoded(draw("concept-coverage", one).figure, "png", 50) == plain
        assert dict(rcParams) == mine
    finally:
        rcParams.update(before)


def test_looks_are_distinct_and_floors_grey():
    names = [f"m{k:02d}" for k in range(12)] + ["empty", "full", "centre"]
    found = looks(names)
    assert len({(look.colour, look.marker) for look in found.values()}) == len(names)
    assert {found[name].colour for name in ("empty", "full", "centre")} == {"#8c8c8c"}
    assert "#8c8c8c" not in {found[name].colour for name in names[:12]}


STRANGE = ["$\\frac{1}{", "a_b^c $x$", "line\nbreak\x1b[31m", "融化的蜡", "x" * 90, "", "&<>\"'", "שלום"]


def test_concept_names_of_strangers_are_text(tmp_path):
    table = {name: 0.9 - 0.1 * k for k, name in enumerate(STRANGE)}
    drawing = draw("concept-coverage", group(tmp_path, [made.result("m", 0.5, concepts=table)]))
    labels = [label.get_text() for label in drawing.figure.axes[0].get_xticklabels()]
    assert labels[:4] == ["$\\frac{1}{", "a_b^c $x$", "line break [31m", "融化的蜡"]
    assert labels[4] == "x" * 21 + "…" and labels[5] == "(none)"
    assert any("no glyph" in note and "\\u878d" in note for note in drawing.notes)
    for suffix in ("png", "svg", "pdf"):
        assert len(encoded(drawing.figure, suffix)) > 1000


def test_long_names_stay_inside_the_figure(tmp_path):
    results = [made.result(name, 0.5, concepts={"a": 0.1, "b": 0.2}) for name in ("m" * 128, "n" * 127 + "1", "short")]
    for column in WIDTHS:
        drawing = draw("concept-coverage", group(tmp_path / column, results), "m" * 128, column)
        box = drawing.figure.bbox
        for text in texts(drawing):
            extent = text.get_window_extent()
            assert box.x0 <= extent.x0 and extent.x1 <= box.x1, (column, text)


def test_what_cannot_be_drawn_is_said(tmp_path):
    def one(name, *results):
        return group(tmp_path / name, results)

    with pytest.raises(UsageError, match="no J by concept"):
        coverage(one("f", made.result("m", 0.5, rules={"metrics": ["F"]}, concepts={"a": 0.1, "b": 0.2})))
    with pytest.raises(UsageError, match="fewer than two concepts"):
        coverage(one("none", made.result("m", 0.5, concepts={"": 0.1})))
    many = [made.result(f"m{k}", 0.5, concepts={"a": 0.1, "b": 0.2}) for k in range(15)]
    for plot in PLOTS:
        with pytest.raises(UsageError, match="at most 14"):
            draw(plot, one(f"many-{plot}", *many))
    with pytest.raises(UsageError, match="did you mean motion"):
        coverage(one("near", made.result("motion", 0.5, concepts={"a": 0.1, "b": 0.2})), "motoin")


def test_a_concept_one_method_lacks_is_a_gap(tmp_path):
    full = made.result("full-list", 0.5, concepts={"a": 0.3, "b": 0.2, "c": 0.1})
    short = made.result("short-list", 0.5, concepts={"a": 0.3, "c": 0.4})
    drawing = draw("concept-coverage", group(tmp_path, [full, short]), "full-list")
    y = artists(drawing, "line")["short-list"].get_ydata()
    assert y[0] == 30.0 and math.isnan(y[1]) and y[2] == 40.0
    assert any("gap" in note for note in drawing.notes)
    listed = drawing.data["methods"][0]["concepts"]
    assert [entry["concept"] for entry in listed] == ["a", "b", "c"]


def test_sorting_breaks_ties_by_name_and_a_method_may_be_called_own(tmp_path):
    tied = made.result("own", 0.5, concepts={"b": 0.5, "a": 0.5, "c": 0.9})
    other = made.result("other", 0.5, concepts={"b": 0.7, "a": 0.1, "c": 0.2})
    found = coverage(group(tmp_path, [tied, other]), "own")
    assert found.reference == "own"
    assert {curve.concepts for curve in found.curves} == {("c", "a", "b")}


def legend(drawing):
    return [entry.get_text() for entry in drawing.figure.legends[0].get_texts()]


@pytest.mark.parametrize("plot", PLOTS)
def test_methods_whose_names_begin_alike_are_told_apart(plot, tmp_path):
    runs = [f"my-fine-tuned-model-with-text-step-{step}" for step in (10000, 10500, 20000)]
    names = [*runs, runs[0] + "-ema", "my-fine-tuned-model-with-tuned-vae", "rem"]
    results = [made.result(name, 0.3 + k / 50, concepts={"a": 0.2, "b": 0.4}) for k, name in enumerate(names)]
    drawing = draw(plot, group(tmp_path, results))
    said = [entry.split("  ")[0] for entry in legend(drawing)]
    assert len(set(said)) == len(names), said
    assert "rem" in said and any("-step-20" in label for label in said)
    assert all(extent(label, SMALL) <= 90 for label in said)


def test_concepts_that_look_alike_keep_a_name_of_their_own():
    long = [f"thick smoke that rises out of the {place}" for place in ("chimney", "chimneys", "car")]
    same = ["wax  melting", "wax melting", "wax\nmelting"]
    labels = told_apart([*long, *same, "ink"], 96.0)
    assert list(labels) == [*long, *same, "ink"]
    assert len(set(labels.values())) == 7 and labels["ink"] == "ink"
    assert all(extent(label, SMALL) <= 96 for label in labels.values())


def test_a_method_with_missing_frames_is_marked_in_the_figure(tmp_path):
    concepts = {"a": 0.2, "b": 0.4}
    part = made.result("part", 0.9, None, rules={"missing": "zero"}, incomplete=True, concepts=concepts)
    whole = made.result("whole", 0.5, rules={"missing": "zero"}, concepts=concepts)
    drawing = draw("concept-coverage", group(tmp_path, [part, whole]))
    assert sorted(entry.split("  ")[0] for entry in legend(drawing)) == ["part (incomplete)", "whole"]
    assert {one["method"]: one["incomplete"] for one in drawing.data["methods"]} == {"part": True, "whole": False}
    assert [note for note in drawing.notes if note.startswith("incomplete") and note.endswith(": part")]


def test_results_of_another_tools_protocol_are_not_told_to_score_their_counts_again(tmp_path):
    block = {"name": "sav", "tool": "", "rules": {}, "scale": 1, "digits": 4, "columns": ["J"]}
    block |= {"scores": {"J": 0.5}, "sequences": [], "objects": []}
    data = made.result("a", 0.5)
    head, _, rest = data["signature"].partition("|")
    one = group(tmp_path, [{**data, "signature": f"{head}|protocol:sav|{rest}", "protocol": block}])
    with pytest.raises(UsageError, match="no J by concept") as caught:
        coverage(one)
    assert "--from-counts" not in str(caught.value) and "without --protocol" in str(caught.value)
