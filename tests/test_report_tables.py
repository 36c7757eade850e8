"""Tables: what is in them, what is kept apart, and that each format can be read back."""

from __future__ import annotations

import csv
import io
import json
import re
from fractions import Fraction

import made_results as made
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refvps.data.reported import Reported, load_reported
from refvps.errors import InputError, UsageError
from refvps.report import collection
from refvps.report.board.content import main_boards, reported_boards
from refvps.report.board.formats import FORMATS, latex_text, markdown_text, plain, write

REPORTED = load_reported()
NOTHING = Reported((), {}, {})


def boards(tmp_path, *results, reported=NOTHING, benchmark=None):
    made.write(tmp_path, *results)
    return main_boards(collection.collect(collection.find([tmp_path]), benchmark), reported)


def lines(block):
    return [(line.label, {name: cell.shown for name, cell in line.cells.items()}) for line in block.lines]


def test_columns_are_j_and_tc_and_what_all_were_asked_for(tmp_path):
    both = {"metrics": ["J", "F", "TC"]}
    (one,) = boards(tmp_path / "a", made.result("a", 0.5, rules=both), made.result("b", 0.6, rules=both))
    assert one.metrics == ("J", "TC", "F")
    assert "|bth:0.008|" in one.signature and one.signature.startswith("refvps:J+F+TC|")
    (one,) = boards(tmp_path / "b", made.result("a", 0.5, rules=both), made.result("b", 0.6))
    assert one.metrics == ("J", "TC")
    assert "bth" not in one.signature and one.signature.startswith("refvps:J+TC|")
    (one,) = boards(
        tmp_path / "c", made.result("a", 0.5, rules={"metrics": ["F"]}), made.result("b", 0.6, rules={"metrics": ["F"]})
    )
    assert one.metrics == ("J", "TC", "F")  # J and TC follow from the counts, too
    assert lines(one.blocks[0])[0] == ("b", {"J": "60.00", "TC": "3.00", "F": "50.00"})


def test_lines_are_ordered_by_j_and_undefined_comes_last(tmp_path):
    nothing = made.result("nothing", None, None)
    (one,) = boards(tmp_path, made.result("low", 0.1), made.result("b-high", 0.9), made.result("a-high", 0.9), nothing)
    assert [label for label, _ in lines(one.blocks[0])] == ["a-high", "b-high", "low", "nothing"]
    assert lines(one.blocks[0])[-1][1] == {"J": "-", "TC": "-"}


def test_reported_figures_stand_below_in_blocks_of_their_own_version(tmp_path):
    (one,) = boards(tmp_path, made.result("mine", 0.9), made.result("other", 0.3), reported=REPORTED)
    titles = [block.title for block in one.blocks]
    assert titles == [
        "scored with refvps: ref-vps@1, 24 fps annotation",
        "reported: Ref-VPS, first version (111 clips, 24 fps annotation)",
        "reported: Ref-VPS, ICCV 2025 version (145 clips, 6 fps annotation)",
    ]
    assert [block.source for block in one.blocks] == [
        "",
        "ReferEverything, first version, Table 3, Table B",
        "ReferEverything, ICCV 2025, Table 4",
    ]
    assert lines(one.blocks[1]) == [
        ("REM", {"J": "48.96", "TC": "2.8"}),
        ("VD-IT (RefCOCO/+/g + Ref-YTB)", {"J": "35.27", "TC": "4.7"}),
        ("UNINEXT", {"J": "26.25", "TC": "5.2"}),
        ("MUTR", {"J": "24.07", "TC": "2.9"}),
    ]
    assert [label for label, _ in lines(one.blocks[2])] == ["REM-Wan", "REM-MS", "VD-IT", "GLUS", "UNINEXT", "MUTR"]
    for block in one.blocks:
        assert {line.status for line in block.lines} == {"scored" if block is one.blocks[0] else "reported"}
    assert any("do not rank across blocks" in note for note in one.notes)
    assert any("not the paper itself" in note for note in one.notes)


@pytest.mark.parametrize(("rate", "shown"), [("24", "2.8"), ("6", ""), ("6+24", ""), ("?", "")])
def test_reported_tc_is_shown_at_the_same_annotation_rate_only(rate, shown, tmp_path):
    (one,) = boards(tmp_path, made.result("mine", 0.9, rate=rate), reported=REPORTED)
    rem = next(line for line in one.blocks[1].lines if line.method == "REM")
    assert rem.cells["TC"].shown == shown and rem.cells["J"].shown == "48.96"
    said = [note for note in one.notes if "reported TC is left out" in note]
    assert bool(said) == (shown == "")
    assert not said or ("(24 fps)" in said[0] and f"({rate} fps)" in said[0])


def test_other_benchmarks_get_their_own_reported_figures(tmp_path):
    (one,) = boards(tmp_path / "s", made.result("mine", 0.9, name="sample"), reported=REPORTED)
    assert len(one.blocks) == 1 and not any("reported" in note for note in one.notes)
    (one,) = boards(tmp_path / "b", made.result("mine", 0.9, name="burst", rate="1"), reported=REPORTED)
    shown = {(block.version, line.method): line.cells["J"].shown for block in one.blocks[1:] for line in block.lines}
    assert shown["validation and test sets, 454 classes", "REM"] == "40.4"
    assert shown["as in the ICCV 2025 version", "REM-MS"] == "37.5"


@pytest.mark.parametrize(
    "change",
    [
        {"rules": {"ignore": "background"}},
        {"rules": {"average": "frame>object"}},
        {"rules": {"seed": 7}},
        {"rate": "6"},
        {"digest": "e" * 64},
        {"v": "0.2.0"},
    ],
)
def test_different_signatures_never_share_columns(change, tmp_path):
    made.write(tmp_path / "one", made.result("a", 0.5), made.result("b", 0.4))
    made.write(tmp_path / "two", made.result("c", 0.6, **change))
    found = main_boards(collection.collect(collection.find([tmp_path])), NOTHING)
    assert sorted([line.method for line in board.blocks[0].lines] for board in found) == [["a", "b"], ["c"]]
    assert len({board.title for board in found}) == len({board.signature for board in found}) == 2
    for board in found:
        assert any("were scored by other rules" in note and "--from-counts" in note for note in board.notes)
    groups = collection.collect(collection.find([tmp_path]))
    assert len({group.file_name for group in groups}) == 2


def test_results_with_and_without_f_share_columns(tmp_path):
    (one,) = boards(tmp_path, made.result("a", 0.5, rules={"metrics": ["J", "F", "TC"]}), made.result("b", 0.4))
    assert [line.method for line in one.blocks[0].lines] == ["a", "b"]


def test_results_of_another_tools_protocol_are_told_what_holds_for_them(tmp_path):
    def under(protocol):
        data = made.result(protocol, 0.5, incomplete=protocol == "sav")
        head, _, rest = data["signature"].partition("|")
        block = {"name": protocol, "tool": "", "rules": {}, "scale": 1, "digits": 4, "columns": ["J"]}
        block |= {"scores": {"J": 0.5}, "sequences": [], "objects": []}
        return {**data, "signature": f"{head}|protocol:{protocol}|{rest}", "protocol": block}

    sav, vos = boards(tmp_path, under("sav"), under("vos-benchmark"))
    assert any(note == "incomplete: videos without predictions are left out" for note in sav.notes)
    assert not any("score J = F = 0" in note for note in sav.notes)
    for one in (sav, vos):  # such counts are scored by their own protocol only
        assert any("were scored by other rules" in note for note in one.notes)
        assert not any("--from-counts" in note for note in one.notes)


def test_a_mean_over_fewer_clips_than_the_table_shows_says_so(tmp_path):
    one = made.result("a", 0.5)
    one["summary"]["TC"]["n"] = 109  # two of 111 clips have a single frame
    (board,) = boards(tmp_path / "one", one)
    assert "TC is over 109 of 111 clips: it is undefined for the others" in board.notes
    (board,) = boards(tmp_path / "two", made.result("a", 0.5))
    assert not any("undefined for the others" in note for note in board.notes)


def test_incomplete_results_are_marked_and_never_best(tmp_path):
    part = made.result("part", 0.9, None, rules={"missing": "zero"}, incomplete=True)
    whole = made.result("whole", 0.8, rules={"missing": "zero"})
    third = made.result("third", 0.7, rules={"missing": "zero"})
    (one,) = boards(tmp_path, part, whole, third)
    assert [line.label for line in one.blocks[0].lines] == ["part (incomplete)", "whole", "third"]
    assert any(note.startswith("incomplete:") for note in one.notes)
    shown = write([one], "markdown")
    assert "**80.00**" in shown and "**90.00**" not in shown


def test_the_best_is_bold_but_never_the_steadiest(tmp_path):
    made_up = [made.result("wrong", 0.0, 0.0), made.result("right", 0.7, 0.05), made.result("fair", 0.3, 0.02)]
    for form, bold in (("markdown", r"\*\*([0-9.]+)\*\*"), ("latex", r"\\textbf\{([0-9.]+)\}")):
        assert re.findall(bold, write(boards(tmp_path, *made_up), form)) == ["70.00"]
    (alone,) = boards(tmp_path / "alone", made.result("alone", 0.7))
    assert "**70" not in write([alone], "markdown")


def test_text_is_aligned_and_in_percent(tmp_path):
    (one,) = boards(tmp_path, made.result("a", 0.123456, 0.0345), made.result("long-name", 1.0, 0.5), reported=REPORTED)
    shown = write([one], "text").splitlines()
    column = shown[0].index("J") + 1
    rows = [row for row in shown if re.match(r"(a|long-name|REM|UNINEXT|GLUS) ", row)]
    assert len(rows) == 6
    for row in rows:
        assert re.fullmatch(r"[0-9.]+", row[:column].split()[-1]), row
    assert re.search(r"^a +12\.35 +\[10\.35, 14\.35\] +3\.45 +\[1\.45, 5\.45\] +111$", "\n".join(shown), re.MULTILINE)
    assert "ReferFormer" not in write([one], "text")
    assert "  MUTR: pretraining ImageNet, Kinetics, SSv2; supervision Ref-YTB, AVS; licence MIT" in write([one], "text")


def cells(row):
    """Cells of a row of a pipe table."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def test_markdown_tables_are_rectangular(tmp_path):
    shown = write(boards(tmp_path, *made.processes(), reported=REPORTED), "markdown")
    tables = [block.splitlines() for block in shown.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        assert {len(cells(row)) for row in table} == {6}
    assert cells(tables[1][2])[:4] == ["REM", "**48.96**", "", "2.8"]


def test_latex_rows_fit_the_columns_and_nothing_is_left_unescaped(tmp_path):
    shown = write(boards(tmp_path, made.result("my_method", 0.4), made.result("b", 0.3), reported=REPORTED), "latex")
    spec = re.search(r"\\begin\{tabular\}\{(\w+)\}", shown).group(1)
    assert spec == "lrlrlr"
    body = shown[shown.index("\\toprule") : shown.index("\\bottomrule")]
    rows = [row for row in body.splitlines() if row.endswith(r"\\")]
    assert len(rows) == 1 + 5 + 2 + 4 + 6
    for row in rows:
        spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", row)]
        parts = len(re.split(r"(?<!\\)&", row))
        assert parts - len(spans) + sum(spans) == len(spec), row
        assert not re.search(r"(?<!\\)[%#_]", row), row
        assert row.count("{") == row.count("}") and not row.lstrip().startswith("[")
    assert r"my\_method & \textbf{40.00} & {\scriptsize [38.00, 42.00]}" in shown
    assert all(line.startswith("%") for line in shown[shown.index("\\end{tabular}") :].splitlines()[1:] if line)


@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs")), max_size=30))
def test_escaped_text_can_be_read_back(text):
    names = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">",
             "textbar": "|", "textquotedbl": '"'}  # fmt: skip
    back = re.sub(r"\\(?:(text[a-z]+)\{\}|(.))", lambda m: names[m[1]] if m[1] else m[2], latex_text(text))
    assert back == text
    assert not re.search(r"(?<!\\)[$&#%_]", latex_text(text))
    assert re.sub(r"\\(.)", r"\1", markdown_text(text)) == text


def test_csv_holds_exact_fractions_and_every_fact(tmp_path):
    made.write(
        tmp_path, made.result("a", 1 / 3, 0.1 + 0.2), made.result("b", 0.25), made.result("c", 0.2, name="sample")
    )
    found = main_boards(collection.collect(collection.find([tmp_path])), REPORTED)
    rows = list(csv.DictReader(io.StringIO(write(found, "csv"))))
    mine = next(row for row in rows if row["method"] == "a")
    assert float(mine["J"]) == 1 / 3 and float(mine["TC"]) == 0.1 + 0.2
    assert (mine["status"], mine["benchmark"], mine["version"], mine["units"]) == ("scored", "ref-vps", "1", "111")
    assert mine["signature"].startswith("refvps:J+TC|")
    vdit = next(row for row in rows if row["method"] == "VD-IT" and row["TC"])
    assert (vdit["J"], vdit["TC"], vdit["J_low"], vdit["units"], vdit["incomplete"]) == ("0.3527", "0.047", "", "", "")
    assert vdit["status"] == "reported" and vdit["version"] == "first version (111 clips, 24 fps annotation)"
    assert vdit["pretraining"] == "LAION5B, WebVid" and vdit["code"].endswith("buxiangzhiren/VD-IT")
    assert Fraction(vdit["J"]) == Fraction(3527, 10000)
    blocks = {}
    for row in rows:
        blocks.setdefault(row["block"], set()).add((row["benchmark"], row["version"], row["signature"], row["status"]))
    assert len(blocks) == 4 and all(len(kinds) == 1 for kinds in blocks.values())
    assert "\r" not in write(found, "csv")


def test_json_is_the_same_table(tmp_path):
    found = boards(tmp_path, made.result("a", 0.5), reported=REPORTED)
    data = json.loads(json.dumps(plain(found)))
    assert data[0]["blocks"][0]["lines"][0]["cells"]["J"]["value"] == 0.5
    assert data[0]["blocks"][1]["lines"][0]["cells"]["J"]["exact"] == "0.4896"
    assert data[0]["blocks"][1]["lines"][0]["status"] == "reported"


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_says_what_is_reported(form, tmp_path):
    shown = write(boards(tmp_path, made.result("mine", 0.5), reported=REPORTED), form)
    assert "reported" in shown and "first version (111 clips, 24 fps annotation)" in shown
    assert shown.endswith("\n") and "None" not in shown and "nan" not in shown


def test_the_reported_table_has_every_score_once():
    found = reported_boards([], REPORTED)
    assert [board.title.partition(":")[0] for board in found] == [
        "Ref-DAVIS", "Ref-YTB", "VSPW-stuff-val", "BURST-val+test", "Ref-VPS", "MeViS",
    ]  # fmt: skip
    shown = sum(bool(cell.shown) for b in found for k in b.blocks for line in k.lines for cell in line.cells.values())
    assert shown == len({(*f.place, *f.subject, f.metric) for f in REPORTED.figures if f.kind == "score"})
    (one,) = reported_boards([], REPORTED, "mevis")
    assert one.metrics == ("J", "F", "J&F") and len(one.blocks) == 1 and not one.signature
    assert lines(one.blocks[0])[0] == ("REM-Wan", {"J": "57.2", "F": "63.4", "J&F": "60.3"})


# --- gathering results


def test_results_are_found_below_folders_and_read_once(tmp_path):
    paths = made.write(
        tmp_path / "r", made.result("a", 0.5), made.result("b", 0.4), made.result("c", 0.1, name="burst")
    )
    hidden = tmp_path / "r" / ".ipynb_checkpoints" / "a-checkpoint.json"
    hidden.parent.mkdir()
    hidden.write_text("{}")
    (tmp_path / "r" / "ref-vps@1" / ".a.json.123.tmp").write_text("{")
    assert collection.find([], tmp_path / "r") == sorted(paths)
    assert collection.find([paths[0], tmp_path / "r", paths[0].with_name("a.counts.npz")]) == [
        paths[0], *sorted(p for p in paths if p != paths[0])
    ]  # fmt: skip
    groups = collection.collect(collection.find([tmp_path / "r"]))
    assert [group.title for group in groups] == ["burst@1", "ref-vps@1"]
    assert [r.name for r in groups[1].results] == ["a", "b"]
    shuffled = collection.collect(reversed(collection.find([tmp_path / "r"])))
    assert [[r.name for r in group.results] for group in shuffled] == [["c"], ["a", "b"]]
    assert [group.title for group in collection.collect(paths, "burst@1")] == ["burst@1"]
    with pytest.raises(UsageError, match="No result is on this benchmark") as caught:
        collection.collect(paths, "burst@2")
    assert "burst@1, ref-vps@1" in str(caught.value)


def test_two_results_of_one_name_are_refused(tmp_path):
    made.write(tmp_path / "one", made.result("a", 0.5))
    made.write(tmp_path / "two", made.result("a", 0.6))
    with pytest.raises(UsageError, match=r"Two results of ref-vps@1 are called a\.") as caught:
        collection.collect(collection.find([tmp_path]))
    assert len(caught.value.where) == 2 and "--method NAME" in caught.value.fix


def broken(change):
    data = made.result("a", 0.5, concepts={"x": 0.1, "y": 0.2})
    change(data)
    return data


def _set(path, value):
    def change(data):
        *front, last = path
        for key in front:
            data = data[key]
        data[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set(("summary", "J", "value"), 4.2), "J is outside its range"),
        (_set(("summary", "J", "value"), -0.1), "J is outside its range"),
        (_set(("summary", "J", "low"), 0.9), "impossible interval"),
        (_set(("summary", "J", "low"), None), "impossible interval"),
        (_set(("by_concept", "x", "J", "value"), 1e300), "outside its range"),
        (_set(("summary", "Jay"), made.estimate(0.1)), "'Jay' is no metric"),
        (_set(("method", "name"), "../../etc/passwd"), "method id is not allowed"),
        (_set(("method", "name"), "a\x1b[31m"), "method id is not allowed"),
        (_set(("benchmark", "name"), "ref vps"), "benchmark id is not allowed"),
        (_set(("benchmark", "version"), "1/../.."), "benchmark version id is not allowed"),
        (_set(("benchmark", "digest"), "e" * 64), "the signature speaks of"),
        (_set(("schema",), 2), "schema"),
        (_set(("summary", "J", "value"), "0.5"), "summary/J/value"),
        (lambda data: data.pop("rules"), "'rules' is a required property"),
        (_set(("signature",), "refvps"), "refvps"),
        (lambda data: data.update(signature=data["signature"] + "|x:\x1b[2J"), "unprintable"),
        (lambda data: data.update(signature=data["signature"].replace("ign:drop", "ign:target")), "ign:target"),
    ],
)
def test_broken_and_hostile_results_are_refused_by_name(change, said, tmp_path):
    path = tmp_path / "evil.json"
    path.write_text(json.dumps(broken(change)))
    with pytest.raises(InputError) as caught:
        collection.collect([path])
    text = str(caught.value)
    assert said in text and "evil.json" in text
    assert "\x1b" not in text


@given(st.binary(max_size=60) | st.sampled_from([b"[]", b"null", b"{}", b'{"schema": 1}', b"1" * 50]))
def test_anything_else_is_no_result(data):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.json")
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"x\.json"):
            collection.collect([path])
