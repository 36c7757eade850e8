"""Every broken submission through the command line: the right exit code and message, and nothing scored."""

from __future__ import annotations

import json

import pytest
from broken_submissions import CASES, Good
from tiny import tiny_benchmark, tiny_masks

from refvps import cli
from refvps.data import local, register
from refvps.data.manifest import write_manifest
from refvps.data.masktracks import write_masks
from refvps.data.truth import annotation


@pytest.fixture
def good(tmp_path):
    tiny = tiny_benchmark()
    write_manifest(tmp_path / "set", tiny.clips.values(), tiny.expressions)
    for clip in tiny.clips.values():
        targets = [expression.target for expression in tiny.expressions_of(clip.id)]
        path = tmp_path / "set" / "masks" / f"{clip.id}.jsonl"
        write_masks(path, clip, annotation(tiny.truth(clip.id), clip, targets))
    register.register(tmp_path / "set")
    bench = local.load_local()
    return Good(bench, tiny_masks(bench))


def run(capsys, *args):
    code = cli.run([str(arg) for arg in args])
    return code, *capsys.readouterr()


@pytest.mark.parametrize("name", CASES)
def test_a_broken_submission_is_never_scored(good, tmp_path, capsys, name):
    case = CASES[name]
    out = tmp_path / "broken"
    out.mkdir()
    pred = case.build(good, out)
    before = sorted(path for path in tmp_path.rglob("*"))
    code, text, err = run(capsys, "evaluate", "--pred", pred, "--out", tmp_path / "results", "--method", "m", "-j", 1)
    if case.exit_code == 0:  # only noted
        assert code == 0
        assert case.phrase in err
        return
    assert code == case.exit_code, err
    assert case.phrase in err
    assert "Fix: " in err
    assert text == ""
    assert "Traceback" not in err
    assert sorted(path for path in tmp_path.rglob("*")) == before
    code, text, err = run(capsys, "validate", "--pred", pred, "-j", 1)
    assert code == case.exit_code
    assert case.phrase in text + err
    if case.code:
        code, text, _ = run(capsys, "validate", "--pred", pred, "-j", 1, "--json")
        assert f'"code": "{case.code}"' in text


def test_the_good_one_is_scored(good, tmp_path, capsys):
    for layout in ("tree", "annotations", "json", "npz"):
        pred = good.export(tmp_path / layout, layout)
        assert run(capsys, "evaluate", "--pred", pred, "--out", tmp_path / "r", "--method", layout)[0] == 0
    assert run(capsys, "evaluate", "--pred", good.canonical(tmp_path / "c"), "--out", tmp_path / "r")[0] == 0


@pytest.mark.parametrize("layout", ["tree", "anno", "annotations"])
def test_frames_are_joined_by_name(good, tmp_path, capsys, layout):
    """Without the frames that need no mask, every file stands at another position, and nothing changes."""
    pred = good.export(tmp_path / layout, layout)
    spare = {clip.id: set(clip.frames) - set(clip.annotated) for clip in good.benchmark.clips.values()}
    gone = 0
    scores = []
    for k in range(2):
        command = ("evaluate", "--pred", pred, "--out", tmp_path / f"r{k}", "--method", "m", "-j", 1, "--json")
        code, text, _ = run(capsys, *command)
        assert code == 0
        scores.append({key: value for key, value in json.loads(text).items() if key in ("summary", "rows", "counts")})
        for path in pred.rglob("*.png"):
            if any(part in spare and path.stem in spare[part] for part in path.parts):
                path.unlink()
                gone += 1
    assert gone
    assert scores[0] == scores[1]
