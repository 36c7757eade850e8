"""``refvps stats``: the table against counts made by hand and by other tools, print against count, plots, findings."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trees
from hypothesis import given
from hypothesis import strategies as st
from manifests import CANDIDATE, FULL
from pycocotools import mask as coco
from trees import write_lines, write_ref_vps

import refvps
from refvps import cli
from refvps.data.census import check, funnel, statistics, versions
from refvps.data.records import Candidate, read_clips, read_expressions, read_withdrawn
from refvps.data.register import register
from refvps.errors import InputError, UsageError
from refvps.report.dataset import funnel as funnel_figure
from refvps.report.dataset import lengths, table
from refvps.report.figures.style import encoded


def test_a_small_set_counted_by_hand(tmp_path: Path) -> None:
    """Three clips of seven frames at 24 fps: 36x52, 52x36 and 17x29; the second annotated on every third frame."""
    register(write_ref_vps(tmp_path, frames=False))
    benchmark = refvps.load("ref-vps")
    found = statistics.statistics(benchmark)
    assert (found.clips, found.frames, found.annotated, found.groups) == (3, 21, 17, 2)
    assert (found.expressions, found.targets, found.concepts, found.annotators) == (6, 3, 3, 2)
    assert found.lengths == (7 / 24, 7 / 24, 7 / 24)
    assert found.average_seconds == pytest.approx(7 / 24)
    assert (found.fps, found.annotation_fps) == ((24.0,), (8.0, 24.0))
    assert (found.smallest, found.largest) == ((29, 17), (52, 36))
    assert (found.expressions_per_clip, found.annotators_per_clip) == ((2, 2), (2, 2))
    assert (found.expressions_per_annotator, found.words_per_expression) == ((1, 1), 3.0)
    assert (found.categories, found.splits) == ({"motion patterns": 3}, {"test": 3})
    figures = found.figures()
    assert figures["annotation_fps"] == (8.0, 24.0)
    assert figures["share_2.5_to_5_seconds"] == 0

    images = [
        [trees.truth(number, int(name), clip.size) for name in clip.annotated]
        for number, clip in enumerate(benchmark.clips.values())
    ]
    shares = [[(image == 1).mean() for image in clip] for clip in images]
    every = [share for clip in shares for share in clip]
    for jobs in (1, 2):
        areas = statistics.areas(benchmark, jobs=jobs)
        ignored = sum(int((image == 255).sum()) for clip in images for image in clip)
        assert areas.ignore == ignored / sum(image.size for clip in images for image in clip) > 0
        assert areas.ignored_frames == sum((i == 255).any() for clip in images for i in clip) / 17
        assert areas.target == pytest.approx(np.mean(every), rel=1e-12)
        assert areas.empty == sum(share == 0 for share in every) / 17 > 0
        assert areas.by_clip == pytest.approx((min(map(np.mean, shares)), max(map(np.mean, shares))), rel=1e-12)


def test_the_sample_counted_by_other_means() -> None:
    """From its files, with json and pycocotools alone."""
    folder = refvps.home.annotations() / "sample"
    clips = [json.loads(line) for line in (folder / "clips.jsonl").read_text().splitlines()]
    said = [json.loads(line) for line in (folder / "expressions.jsonl").read_text().splitlines()]
    benchmark = refvps.load("sample")
    found = statistics.statistics(benchmark, read_clips(folder / "clips.jsonl"))
    assert found.frames == sum(len(clip["frames"]) for clip in clips)
    assert found.groups == len({clip["group"] for clip in clips})
    assert found.concepts == len({each["concept"] for each in said})
    assert found.words_per_expression == pytest.approx(np.mean([each["text"].count(" ") + 1 for each in said]))
    assert found.sources == {"licence: Apache-2.0": 14, "redistribution: frames": 14}
    target = ignore = pixels = 0
    for clip in clips:
        lines = [json.loads(line) for line in (folder / "masks" / f"{clip['id']}.jsonl").read_text().splitlines()]
        pixels += math.prod(clip["size"]) * len(clip["annotated"])
        for line in lines[1:]:
            area = sum(int(coco.area({"size": clip["size"], "counts": text})) for text in line["counts"])
            target, ignore = (target, ignore + area) if "ignore" in line else (target + area, ignore)
    areas = statistics.areas(benchmark)
    assert areas.ignore == ignore / pixels > 0
    weights = [math.prod(clip["size"]) for clip in clips]
    if len(set(weights)) == 1:
        assert areas.target == pytest.approx(target / pixels)
    assert 0 < areas.by_clip[0] < areas.target < areas.by_clip[1] < 1


# Print against count


def v2_like(root: Path, **changes: Any) -> Path:
    """Lists with the figures that are printed about the second version; ``changes`` to the first clip."""
    concepts = [f"concept {k}" for k in range(39)]
    clips, said = [], []
    for number in range(145):
        count = 161 + (number < 23_442 - 145 * 161)
        clips.append(
            {
                "id": f"c{number}",
                "size": [576, 712] if number == 7 else [1024, 576],
                "fps": 24,
                "frames": {"count": count, "digits": 5},
                "annotated": {"count": (count + 3) // 4, "digits": 5, "step": 4},
                "annotation_fps": 6,
                "group": f"v{number // 2}",
                "split": "test",
                "concept": concepts[number % 39],
                "categories": [refvps.types.CATEGORIES[number % 5]],
            }
        )
        said += [
            {"clip": f"c{number}", "id": str(k), "text": f"{number} {k}", "target": "1", "annotator": "ab"[k // 2]}
            | {"slot": 1 + k % 2}
            for k in range(4)
        ]
    clips[0] |= changes
    write_lines(root / "clips.jsonl", clips)
    write_lines(root / "expressions.jsonl", said)
    return root


def test_a_set_with_the_printed_figures_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = v2_like(tmp_path / "set")
    assert cli.run(["stats", "--manifest", str(root), "--expect", "v2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    compared = {row["figure"]: (row["printed"], row["counted"], row["agrees"]) for row in report["compared"]}
    assert compared["clips"] == ("145", 145, True)
    assert compared["frames"] == ("23,442", 23442, True)
    assert compared["average_seconds"] == ("6.74", 23442 / 145 / 24, True)
    assert compared["smallest"] == ("712 × 576", [712, 576], True)
    assert compared["candidates"] == ("over 1,000", None, None)
    assert compared["agreement"] == ("87.1 % mIoU", None, None)
    assert [name for name, row in compared.items() if row[2] is None] == [
        "searched_concepts", "candidates", "relevant_candidates", "agreement",
    ]  # fmt: skip
    assert {each["code"] for each in report["findings"]} == {"licence"}


@pytest.mark.parametrize(
    ("changes", "figure"),
    [
        ({"frames": {"count": 163, "digits": 5}}, "frames"),
        ({"annotation_fps": 24}, "annotation_fps"),
        ({"fps": 25}, "fps"),
        ({"size": [2000, 2000]}, "largest"),
        ({"size": [10, 10]}, "smallest"),
        ({"split": "train"}, "splits"),
        ({"concept": "another"}, "concepts"),
        ({"categories": ["none of the five"]}, "categories"),
    ],
)
def test_every_figure_that_differs_is_named(
    changes: dict[str, Any], figure: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = v2_like(tmp_path / "set", **changes)
    assert cli.run(["stats", "--manifest", str(root), "--expect", "v2"]) == 7
    said = capsys.readouterr()
    (row,) = [
        line for line in said.out.splitlines() if line.startswith(figure.replace("_", " ") + "  ") and " NO " in line
    ]
    assert f"  at {figure}: counted" in said.err
    assert "Fix:" in said.err and row


def test_the_first_version_contradicts_itself() -> None:
    """No data can have all figures printed in Table A of the first version: 14,452 / (111 x 24) is not 5.47."""
    one = versions.read_versions()["v1"]
    facts = {fact.figure: fact for fact in one.facts}
    figures = {"average_seconds": 14452 / (111 * 24), "frames": 14452, "clips": 111}
    found = {each.fact.figure: each.agrees for each in versions.compare(one, figures)}
    assert (found["frames"], found["clips"], found["average_seconds"]) == (True, True, False)
    assert any("5.42" in note for note in one.notes)
    assert facts["annotation_fps"].value == 24
    assert versions.compare(one, {"candidates": 1000})[-2].agrees is False
    assert versions.compare(one, {"candidates": 1001})[-2].agrees is True
    assert versions.compare(one, {"longest_seconds": 17.4})[4].agrees is True
    assert versions.compare(one, {"longest_seconds": 17.6})[4].agrees is False
    with pytest.raises(UsageError, match="v1, v2"):
        versions.version_named("v3")


@pytest.mark.parametrize("broken", [{}, {"name": "x", "versions": []}, {"name": "x", "versions": [{"version": "v1"}]}])
def test_broken_versions_are_refused(broken: Any, tmp_path: Path) -> None:
    (tmp_path / "versions.json").write_text(json.dumps(broken))
    with pytest.raises(InputError):
        versions.read_versions(tmp_path / "versions.json")


# Plots


@given(st.lists(st.floats(0.04, 5000) | st.integers(1, 400).map(lambda n: n / 24), min_size=1, max_size=60))
def test_every_clip_is_in_its_bar(seconds: list[float]) -> None:
    bars = lengths.histogram(seconds)
    assert sum(bars.counts) == len(seconds)
    assert bars.counts[-1] > 0
    assert len(bars.counts) <= lengths.MOST_BARS + 1
    slack = 1e-6 * bars.step
    for place, count in enumerate(bars.counts):
        low, high = bars.first + place * bars.step, bars.first + (place + 1) * bars.step
        inside = sum(low + slack <= length < high - slack for length in seconds)
        near = sum(abs(length - edge) <= slack for length in seconds for edge in (low, high))
        assert inside <= count <= inside + near


def test_bars_by_hand() -> None:
    assert lengths.histogram([1.0, 2.0, 2.5, 2.99, 3.0, 17.0]) == lengths.Histogram(0.0, 5.0, (5, 0, 0, 1))
    assert lengths.histogram([2.0] * 3 + [2.01]) == lengths.Histogram(2.0, 0.05, (4,))
    many = lengths.histogram([k / 24 for k in range(24, 24 * 17)])
    assert many == lengths.Histogram(0.0, 0.5, (0, 0, *[12] * 32))


def test_the_figure_shows_the_counts() -> None:
    drawing = lengths.draw([1.0, 2.0, 2.5, 3.0, 17.0], "a_$set$@1", unknown=2)
    (axes,) = drawing.figure.axes
    assert [patch.get_height() for patch in axes.patches] == drawing.data["counts"] == [4, 0, 0, 1]
    assert [line.get_label() for line in axes.lines] == ["mean 5.10 s", "median 2.50 s"]
    assert [line.get_xdata()[0] for line in axes.lines] == [pytest.approx(5.1), 2.5]
    assert drawing.notes == ("2 clips have no frame rate, so no length",)
    for suffix in ("png", "pdf", "svg"):
        assert encoded(drawing.figure, suffix) == encoded(
            lengths.draw([1.0, 2.0, 2.5, 3.0, 17.0], "a_$set$@1", 2).figure, suffix
        )
    with pytest.raises(UsageError, match="--fps"):
        lengths.draw([], "x", 3)


def candidates() -> list[Candidate]:
    """Nine found, of three concepts; one clip and a compilation of three are left."""
    lost = ["irrelevant"] * 4 + ["static"] * 2 + ["shot-changes"]
    found = [Candidate(f"k{k}", "abc"[k % 3], "q", False, reason) for k, reason in enumerate(lost)]
    found.append(Candidate("k7", "b", "q", True, "", ("one",)))
    return [*found, Candidate("k8", "c", "q", True, "compilation", ("two", "three", "four"))]


def test_the_funnel_by_hand() -> None:
    stages = funnel.funnel(candidates())
    assert [(s.name, s.unit, s.count, s.concepts, s.lost) for s in stages] == [
        ("found", "videos", 9, 3, 0),
        ("relevant", "videos", 5, 3, 4),
        ("not static", "videos", 3, 3, 2),
        ("not too fast", "videos", 3, 3, 0),
        ("no shot changes", "videos", 2, 2, 1),
        ("clips", "clips", 4, 2, 0),
    ]
    assert stages[-1].reason == "1 compilation split"
    last = funnel.funnel(candidates(), {"TWO", "one", "another"})[-1]
    assert (last.name, last.count, last.concepts, last.lost) == ("still there", 2, 2, 2)
    extra = [*candidates(), Candidate("k9", "d", "q", False, "licence")]
    assert [s.name for s in funnel.funnel(extra)][-2:] == ["may be used", "clips"]
    assert funnel.figures(candidates()) == {"searched_concepts": 3, "candidates": 9, "relevant_candidates": 5}
    drawing = funnel_figure.draw(stages, "x@1")
    (axes,) = drawing.figure.axes
    widths = [patch.get_width() for patch in axes.patches]
    assert widths[::2] == [9, 5, 3, 3, 2, 4]
    assert widths[1::2] == [0, 4, 2, 0, 1, 0]
    with pytest.raises(UsageError, match=r"candidates\.jsonl"):
        funnel_figure.draw(funnel.funnel([]), "x")


# Findings


def good_set() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Two clips of one video that follow every rule of the paper."""
    clip = {key: value for key, value in FULL.items() if key != "withdrawn_in"}
    clip |= {
        "edit": {"start": 0, "end": "131/24", "crop": [0, 0, 1024, 576]},
        "source": {"licence": "x", "redistribution": "frames"},
    }
    said = [
        {
            "clip": key,
            "id": str(k),
            "text": f"{key} version {k}",
            "target": "1",
            "annotator": "ab"[k // 2],
            "slot": 1 + k % 2,
        }
        for key in ("one", "two")
        for k in range(4)
    ]
    return [clip | {"id": "one"}, clip | {"id": "two"}], said


BROKEN: dict[str, Any] = {
    "expressions": lambda c, e: e.pop(3),
    "annotators": lambda c, e: [each.update(annotator="c") for each in e[:1]],
    "slots": lambda c, e: e[0].update(slot=3),
    "no-slot": lambda c, e: e[0].pop("slot"),
    "same-text": lambda c, e: e[0].update(text="ONE version 1."),
    "untidy-text": lambda c, e: e[0].update(text=" the wax"),
    "group-splits": lambda c, e: c[0].update(split="val"),
    "category": lambda c, e: c[0].update(categories=["fire"]),
    "no-category": lambda c, e: c[0].pop("categories"),
    "no-concept": lambda c, e: c[0].pop("concept"),
    "fps": lambda c, e: c[0].update(fps=25, annotation_fps=6.25, edit={}),
    "rate": lambda c, e: c[0].update(annotation_fps=24),
    "gaps": lambda c, e: c[0].update(annotated=["00000", *(f"{k:05d}" for k in range(1, 131, 4))]),
    "cut": lambda c, e: c[0]["edit"].update(end=10),
    "crop": lambda c, e: c[0]["edit"].update(crop=[0, 0, 500, 500]),
    "licence": lambda c, e: c[0].update(source={"licence": "x"}),
    "withdrawn": None,
    "candidate": None,
}


def findings(root: Path, clips: Any, said: Any, **lists: Any) -> tuple[check.Finding, ...]:
    write_lines(root / "clips.jsonl", json.loads(json.dumps(clips)))
    write_lines(root / "expressions.jsonl", said)
    return check.check(read_clips(root / "clips.jsonl"), read_expressions(root / "expressions.jsonl"), **lists)


@pytest.mark.parametrize("code", check.RULES)
def test_every_finding_is_found_alone(code: str, tmp_path: Path) -> None:
    clips, said = (json.loads(json.dumps(part)) for part in good_set())
    assert findings(tmp_path, clips, said) == ()
    lists: dict[str, Any] = {}
    if code == "withdrawn":
        write_lines(tmp_path / "w.jsonl", [{"clip": "ONE", "date": "2026-01-31", "reason": "other"}])
        lists["withdrawals"] = read_withdrawn(tmp_path / "w.jsonl")
    elif code == "candidate":
        lists["candidates"] = [Candidate("k", "c", "q", True, "", ("two",))]
    else:
        BROKEN[code](clips, said)
    found = findings(tmp_path, clips, said, **lists)
    also = {"expressions": {"annotators"}, "annotators": {"slots"}}.get(code, set())
    assert {finding.code for finding in found} == {code, *also}
    (own,) = [finding for finding in found if finding.code == code]
    assert "one" in own.where[0] or "video-17" in own.where[0]
    assert own.severity in str(own) and own.fix in str(own)


# The command


def test_the_table_in_every_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register(write_ref_vps(tmp_path / "set", frames=False))
    outputs = {}
    for form in table.FORMATS:
        assert cli.run(["stats", "ref-vps", "--masks", "--format", form, "-j", "1"]) == 0
        outputs[form] = capsys.readouterr().out
    rows = list(csv.reader(io.StringIO(outputs["csv"])))
    assert {len(row) for row in rows} == {2}
    assert dict(rows)["annotated frames"] == "17"
    for form in ("text", "markdown", "latex"):
        assert outputs[form].count("\n") >= len(rows)
        for name, value in rows[1:]:
            written = name.replace("%", r"\%").replace("×", r"$\times$") if form == "latex" else name
            end = {"text": "  ", "markdown": " |", "latex": " &"}[form]
            (line,) = [line for line in outputs[form].splitlines() if line.removeprefix("| ").startswith(written + end)]
            assert value.replace("×", r"$\times$" if form == "latex" else "×") in line
    assert outputs["latex"].count(r"\\") == len(rows)
    assert cli.run(["stats", "ref-vps", "--json", "--out", str(tmp_path / "t.json")]) == 0
    report = json.loads((tmp_path / "t.json").read_text())
    assert report["benchmark"]["digest"] == refvps.load("ref-vps").digest
    assert report["statistics"]["average_seconds"] == 7 / 24
    assert "areas" not in report["statistics"]
    (tmp_path / "t.json").write_text("mine")
    assert cli.run(["stats", "sample", "--out", str(tmp_path / "t.json")]) == 2
    assert (tmp_path / "t.json").read_text() == "mine"


def test_names_of_a_stranger_are_escaped() -> None:
    rows = [["figure", "count"], ["category: a & b_c | 50 % \\x", "1"]]
    assert r"category: a \& b\_c \textbar{} 50 \% \textbackslash{}x & 1 \\" in table.latex(rows)
    assert r"a & b\_c \| 50 % \\x" in table.markdown(rows).replace(r"\&", "&")


def test_a_folder_of_masks_has_statistics_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.flat(tmp_path / "gt")
    assert cli.run(["stats", "--gt", str(root), "--fps", "6", "--masks", "-j", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["statistics"]
    assert (report["clips"], report["frames"], report["average_seconds"], report["concepts"]) == (2, 6, 0.5, 0)
    images = [trees.labels(10 * number + frame, trees.SIZE, (1, 255)) for number in range(2) for frame in range(3)]
    assert report["areas"]["ignore"] == sum((image == 255).sum() for image in images) / (6 * math.prod(trees.SIZE))
    assert report["areas"]["target"] == pytest.approx(np.mean([(image == 1).mean() for image in images]))
    assert cli.run(["stats", "--gt", str(root)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("average length (s)")]
    assert line.split() == ["average", "length", "(s)", "-"]
    assert cli.run(["stats", "--gt", str(root), "--plot", "clip-lengths", "--out", str(tmp_path)]) == 2
    assert "No clip has a known length" in capsys.readouterr().err


def test_plots_are_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = v2_like(tmp_path / "set")
    write_lines(root / "candidates.jsonl", [CANDIDATE | {"clips": ["c1", "c2"]}])
    for plot in ("clip-lengths", "funnel"):
        arguments = ["stats", "--manifest", str(root), "--plot", plot, "--format", "png", "--out", str(tmp_path / "f")]
        assert cli.run(arguments) == 0
        path = Path(capsys.readouterr().out.strip())
        assert path == tmp_path / "f" / f"{plot}-set@local.png"
        first = path.read_bytes()
        assert first.startswith(b"\x89PNG")
        assert cli.run([*arguments, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["file"] == str(path)
        path.write_bytes(b"mine")
        assert cli.run(arguments) == 2
        assert path.read_bytes() == b"mine"
        assert cli.run([*arguments, "--force"]) == 0
        assert path.read_bytes() == first
        capsys.readouterr()


def test_withdrawn_clips_of_a_folder_are_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = v2_like(tmp_path / "set")
    write_lines(root / "withdrawn.jsonl", [{"clip": "C7", "date": "2026-01-31", "reason": "other"}])
    assert cli.run(["stats", "--manifest", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["statistics"]["clips"] == 144


WRONG: dict[str, tuple[list[str], int, str]] = {
    "two data sets": (["sample", "--gt", "."], 2, "Name one data set"),
    "plot and expect": (["sample", "--plot", "funnel", "--expect", "v1"], 2, "--plot draws"),
    "masks of lists": (["--manifest", ".", "--masks"], 2, "reads no masks"),
    "table as png": (["sample", "--format", "png"], 2, "does not fit"),
    "plot as csv": (["sample", "--plot", "funnel", "--format", "csv"], 2, "does not fit"),
    "unknown version": (["sample", "--expect", "v9"], 2, "one of v1, v2"),
    "no candidates": (["sample", "--plot", "funnel"], 2, "no candidates"),
    "nothing registered": ([], 3, "not on this machine"),
    "no such benchmark": (["smaple"], 2, "did you mean sample"),
    "empty folder": (["--manifest", "EMPTY"], 4, "cannot be read"),
    "bad list": (["--manifest", "BAD"], 4, "clips.jsonl:1"),
    "no folder": (["--manifest", "nowhere"], 4, "cannot be read"),
    "fps of a name": (["sample", "--fps", "3"], 2, "belong to --gt"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_explained(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "EMPTY").mkdir()
    write_lines(tmp_path / "BAD" / "clips.jsonl", [{"id": 1}])
    write_lines(tmp_path / "BAD" / "expressions.jsonl", [])
    arguments, code, message = WRONG[name]
    named = [str(tmp_path / each) if each.isupper() else each for each in arguments]
    assert cli.run(["stats", *named, "--out", str(tmp_path / "out")]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
