"""Sentences "the <class>": the shipped tables, both styles, the command, and why the styles are never compared."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from foreign_vspw import copy
from hypothesis import given
from hypothesis import strategies as st

from refvps import cli, home
from refvps.data.importers import classes
from refvps.data.importers.vspw import load_vspw
from refvps.data.store import store
from refvps.errors import InputError, UsageError

COLLISIONS = {
    "bow": {136: "bow, weapon", 137: "bow, decorative ribbons"},
    "fish": {453: "fish", 454: "fish, food"},
    "mouse": {716: "mouse, animal rodent", 717: "mouse, computer equipment"},
    "octopus": {741: "octopus, food", 742: "octopus, animal"},
    "pan": {764: "pan, for cooking", 765: "pan, metal container"},
    "salmon": {921: "salmon, fish", 922: "salmon, food"},
    "turkey": {1149: "turkey, bird", 1150: "turkey, food"},
}


def test_the_tables_are_made_from_the_real_lists(fixtures: Path, tmp_path: Path) -> None:
    hashes = classes.write_tables(
        fixtures / "burst/tao_categories.json",
        fixtures / "vspw/label_num_dic_final.json",
        fixtures / "vspw/panoVIPSeg_categories.json",
        tmp_path,
    )
    shipped = home.annotations() / "expressions"
    for name in ("burst.jsonl", "vspw.jsonl", "tables.json"):
        assert (tmp_path / name).read_bytes() == (shipped / name).read_bytes()
    assert {name: classes.load_table(name).sha256 for name in hashes} == hashes


def test_every_class_has_its_name() -> None:
    burst, vspw = classes.load_table("burst"), classes.load_table("vspw")
    assert (len(burst.rows), len(vspw.rows)) == (1230, 124)
    assert sum(row.stuff for row in vspw.rows.values()) == 66
    for table in (burst, vspw):
        counted = Counter(row.clean for row in table.rows.values())
        assert counted.most_common(1)[0][1] == 1
        for row in table.rows.values():
            assert row.clean == row.clean.lower().strip()
            assert not set("_()/") & set(row.clean)
            assert "  " not in row.clean
        digest = hashlib.sha256((home.annotations() / f"expressions/{table.name}.jsonl").read_bytes()).hexdigest()
        assert table.sha256 == digest


def test_names_that_collide_keep_what_stands_in_brackets() -> None:
    burst = classes.load_table("burst")
    found = {name: {row.id: row.clean for row in rows} for name, rows in classes.collisions(burst).items()}
    assert found == COLLISIONS
    kept = {row.id for row in burst.rows.values() if "," in row.clean}
    assert kept == {key for names in COLLISIONS.values() for key, name in names.items() if "," in name}
    assert not classes.collisions(classes.load_table("vspw"))


@pytest.mark.parametrize(
    ("name", "key", "raw", "clean"),
    [
        ("burst", 805, "baby", "person"),
        ("burst", 46, "Band_Aid", "band aid"),
        ("burst", 211, "car_(automobile)", "car"),
        ("burst", 708, "monitor_(computer_equipment) computer_monitor", "monitor"),
        ("burst", 453, "fish", "fish"),
        ("vspw", 7, "handrail_or_fence", "handrail or fence"),
        ("vspw", 6, "Playground_slide", "playground slide"),
        ("vspw", 40, "billboard_or_Bulletin_Board", "billboard or bulletin board"),
        ("vspw", 75, "cupboard_or_showcase_or_storage_rack", "cupboard or showcase or storage rack"),
        ("vspw", 98, "other_machine", "other machine"),
    ],
)
def test_some_names(name: str, key: int, raw: str, clean: str) -> None:
    row = classes.load_table(name).rows[key]
    assert (row.raw, row.clean) == (raw, clean)


def test_names_of_another_copy_are_cleaned_by_the_same_rule() -> None:
    table = classes.load_table("burst")
    given_names = {453: "fish", 805: "person", 211: "Motor_Car_(automobile)", 9000: "fish_(toy)"}
    assert classes.names_in(table, given_names, "raw") == given_names
    clean = classes.names_in(table, given_names, "clean")
    assert clean == {453: "fish", 805: "person", 211: "motor car", 9000: "fish, toy"}
    assert classes.names_in(table, {454: "fish_(food)"}, "clean") == {454: "fish, food"}  # also without the other fish
    for names in ({1: "a", 2: "a"}, {1: "a_b", 2: "A b"}):
        with pytest.raises(InputError, match="same name"):
            classes.names_in(table, names, "clean")
    with pytest.raises(UsageError):
        classes.names_in(table, {}, "nice")


@given(st.dictionaries(st.integers(0, 50), st.text("ab_() ", min_size=1, max_size=8), max_size=8))
def test_clean_names_are_clean(names: dict[int, str]) -> None:
    clean = classes.clean_names(names)
    assert clean.keys() == names.keys()
    for name in clean.values():
        assert name == " ".join(name.split())
        assert not set("_()") & set(name)


def test_a_table_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(home.annotations() / "expressions", tmp_path / "expressions")
    monkeypatch.setattr(home, "annotations", lambda: tmp_path)
    assert classes.load_table("vspw").rows
    path = tmp_path / "expressions/vspw.jsonl"
    path.write_text(path.read_text().replace('"clean":"wall"', '"clean":"the wall"'))
    with pytest.raises(InputError, match="not the one that came with refvps"):
        classes.load_table("vspw")
    with pytest.raises(UsageError):
        classes.load_table("coco")


def test_the_command_lists_both_styles(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = {
        ("burst", "raw"): (1230, "211\tthe car_(automobile)", "1,230 expressions, style raw, table "),
        ("burst", "clean"): (1230, "716\tthe mouse, animal rodent", "brackets are kept for bow, fish, mouse, octopus,"),
        ("vspw", "raw"): (66, "7\tthe handrail_or_fence", "66 expressions, style raw, table "),
        ("vspw", "clean"): (66, "7\tthe handrail or fence", "66 expressions, style clean, table "),
    }
    for (name, style), (count, line, note) in wanted.items():
        assert cli.run(["expressions", name, "--style", style]) == 0
        out, err = capsys.readouterr()
        listed = out.splitlines()
        assert len(listed) == count
        assert line in listed
        assert note in err
        assert classes.load_table(name).sha256 in err
        assert cli.run(["expressions", name, "--style", style, "--json", "-q"]) == 0
        out, err = capsys.readouterr()
        found = json.loads(out)
        assert (found["style"], found["table_sha256"], err) == (style, classes.load_table(name).sha256, "")
        assert [f"{row['id']}\t{row['text']}" for row in found["expressions"]] == listed


def test_the_command_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "table.jsonl"
    assert cli.run(["expressions", "vspw", "--style", "clean", "--out", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 66
    assert rows[5] == {"id": 7, "class": "handrail_or_fence", "text": "the handrail or fence", "style": "clean"}
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"wrote {out}" in printed.err
    for args in (["coco"], ["vspw", "--style", "nice"], []):
        assert cli.run(["expressions", *args]) == 2


def test_results_of_two_styles_are_never_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, results = copy(tmp_path / "copy").root, []
    for style in ("raw", "clean"):
        benchmark = load_vspw(root, style=style)
        store(benchmark, frames="link")
        preds = str(tmp_path / style)
        name = f"vspw-stuff@val-{style}"
        assert cli.run(["predict", "-q", "-p", "full", "-b", name, "--out", preds]) == 0
        assert cli.run(["evaluate", "-q", "-b", name, "--pred", preds, "--out", str(tmp_path / "out")]) == 0
        results.append(tmp_path / "out" / name / "full.json")
    capsys.readouterr()
    assert cli.run(["compare", *map(str, results)]) == 2
    error = capsys.readouterr().err
    assert "differently worded" in error
    assert "'the handrail_or_fence' (class names, raw)" in error
    assert "'the handrail or fence' (class names, clean)" in error
    assert "one style of expressions" in error
    for path in results:
        path.with_name("full.counts.npz").unlink()
    assert cli.run(["compare", *map(str, results)]) == 2
    assert "data: vspw-stuff@val-raw#" in capsys.readouterr().err
