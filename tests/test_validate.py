"""Every broken submission is told from a good one, with its place and its fix, and nothing is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from broken_submissions import CASES, Good
from tiny import ArrayReaders, tiny_benchmark, tiny_masks

from refvps.errors import InputError
from refvps.predictions.export import export
from refvps.predictions.problems import KINDS
from refvps.predictions.submission import open_submission
from refvps.predictions.validate import validate, validate_reader
from refvps.types import Clip, Expression

BENCHMARK = tiny_benchmark()
MASKS = tiny_masks(BENCHMARK)
GOOD = Good(BENCHMARK, MASKS)


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(each.relative_to(root)): (each.lstat().st_mtime_ns, each.lstat().st_size)
        for each in sorted(root.rglob("*"))
    }


@pytest.mark.parametrize("name", CASES)
def test_broken_submission(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = case.build(GOOD, tmp_path)
    before = snapshot(tmp_path)
    if not case.code:
        with pytest.raises(InputError) as refused:
            validate(path, BENCHMARK)
        error = refused.value
        assert case.phrase in str(error)
        assert error.where
        assert error.fix
        assert case.exit_code == error.exit_code == 4
    else:
        report = validate(path, BENCHMARK)
        text = report.text()
        assert case.phrase in text, text
        if case.exit_code:
            assert report.codes == (case.code,), text
            with pytest.raises(InputError) as caught:
                report.raise_for_errors()
            assert caught.value.exit_code == case.exit_code
            assert "Fix: " in str(caught.value)
        else:
            assert report.ok, text
            assert case.code in [note.code for note in report.notes]
        for problem in report.problems:
            assert problem.what
            assert problem.fix or problem.code == "surplus-file"
            assert problem.total >= len(problem.where) or problem.code == "layout"
            assert all(place.isprintable() for place in problem.where)
        json.dumps(report.to_dict())
    assert snapshot(tmp_path) == before


def test_the_corpus_covers_every_code() -> None:
    covered = {case.code for case in CASES.values()}
    assert set(KINDS) - covered == {"junk"}
    assert "" in covered


def test_a_mask_that_is_wrong_reads_as_missing_and_no_other_does(tmp_path: Path) -> None:
    """What a scorer sees of a broken submission is None exactly where the report says so."""
    for name in ("rgb", "damaged-png", "rle-cut", "mask-dict-size", "npy-255"):
        path = CASES[name].build(GOOD, tmp_path / name)
        submission = open_submission(path, BENCHMARK)
        reader = submission.reader(GOOD.clip.id)
        frames = [reader.frame(index) for index in range(len(GOOD.clip.frames))]
        missing = [(e, k) for k, row in enumerate(frames) for e, mask in row.items() if mask is None]
        array = MASKS[GOOD.clip.id, GOOD.expression]
        touched = [k for k in range(len(frames)) if array[k].any()] if name == "npy-255" else [GOOD.index]
        assert missing == [(GOOD.expression, k) for k in touched]
        assert [each.total for each in (*submission.problems.errors, *reader.problems.errors)] == [len(touched)]


def test_several_processes_report_the_same(tmp_path: Path) -> None:
    path = CASES["soft"].build(GOOD, tmp_path)
    (path / "flash/left/00002.png").write_bytes(b"")
    calls: list[tuple[int, int]] = []
    alone = validate(path, BENCHMARK, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert validate(path, BENCHMARK, jobs=2) == alone
    assert alone.codes == ("soft", "truncated")
    submission = open_submission(path, BENCHMARK)
    assert validate_reader(submission.reader("flash")).codes == ("truncated",)


def test_junk_is_a_note(tmp_path: Path) -> None:
    export(tmp_path / "preds", BENCHMARK, ArrayReaders(MASKS), "tree")
    (tmp_path / "preds/melt/.DS_Store").write_bytes(b"x")
    (note,) = validate(tmp_path / "preds", BENCHMARK).problems
    assert (note.code, note.severity, note.total) == ("junk", "note", 1)


def test_real_masks_one_pixel_too_narrow(fixtures: Path, tmp_path: Path) -> None:
    """One of Cutie's judo masks is 853x480, where DAVIS is 854x480."""
    files = sorted((fixtures / "cutie/masks/judo").glob("*.png"))
    names = tuple(file.stem for file in files)
    clip = Clip("judo", (480, 854), 24.0, names, names, 24.0, "judo")
    benchmark = tiny_benchmark((clip,), (Expression("e", "judo", "the fighter"),))
    (tmp_path / "judo/e").mkdir(parents=True)
    for file in files:
        (tmp_path / "judo/e" / file.name).write_bytes(file.read_bytes())
    (problem,) = validate(tmp_path, benchmark).errors
    assert problem.code == "size"
    assert problem.where == ("judo/e/00005.png: 853x480 but the clip is 854x480 (width off by one)",)


def test_a_real_mask_with_alpha(fixtures: Path, tmp_path: Path) -> None:
    """PUMaVOS has one mask whose content is in its alpha channel; read naively it has IoU 0.015."""
    (file,) = (fixtures / "pumavos/chair/incorrect").rglob("*.png")
    clip = Clip("chair", (480, 720), 24.0, (file.stem,), (file.stem,), 24.0, "chair")
    benchmark = tiny_benchmark((clip,), (Expression("e", "chair", "the chair"),))
    (tmp_path / "chair/e").mkdir(parents=True)
    (tmp_path / "chair/e" / file.name).write_bytes(file.read_bytes())
    assert validate(tmp_path, benchmark).codes == ("rgba",)
