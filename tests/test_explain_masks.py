"""``refvps explain`` with masks at hand: a frame is counted again, drawn, and missed when it changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import write_labels

from refvps import cli
from refvps.report.explain import arithmetic, derivation, picture
from refvps.report.overlay import BLUE, VERMILION, YELLOW

SIZE = (24, 32)


@pytest.fixture
def run(capsys):
    """Run a command in this process; returns (exit code, stdout, stderr)."""

    def call(*args):
        code = cli.run([str(arg) for arg in args])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def truth(frame: int) -> np.ndarray:
    """Left half is the target, a strip beside it Ignore; the last frame shows neither."""
    image = np.zeros(SIZE, np.uint8)
    if frame < 3:
        image[:, : 16 + frame] = 1
        image[:, 16 + frame : 20] = 255
    return image


def guess(frame: int) -> np.ndarray:
    """The lower half, but nothing on the last frame."""
    image = np.zeros(SIZE, np.uint8)
    if frame < 3:
        image[12 + frame :] = 1
    return image


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """A result of two-folder mode, with F, made in the working directory from gt/ and preds/."""
    monkeypatch.chdir(tmp_path)
    for frame in range(4):
        write_labels(Path("gt/vid") / f"{frame + 1:05d}.png", truth(frame))
        write_labels(Path("preds/vid") / f"{frame + 1:05d}.png", guess(frame))
    command = ["evaluate", "-q", "--pred", "preds", "--gt", "gt", "--metrics", "J,F,TC", "--out", "results"]
    assert cli.run(command) == 0
    return next(Path("results").glob("folder@*/preds.json"))


AT = ("--clip", "vid", "--expression", "1")


def test_a_frame_worked_by_hand(scored, run):
    code, out, err = run("explain", scored, *AT, "--frame", "00001", "--gt", "gt", "--out", "pic")
    assert code == 0, err
    both, p, g, pi, i = 12 * 16, 12 * 32, 24 * 16, 12 * 4, 24 * 4
    assert f"= {both} / ({p} + {g} - {both} - {pi})" in out
    assert f"= {both / (p + g - both - pi)!r}" in out
    for name, value in (("|P∩G|", both), ("|P|", p), ("|G|", g), ("|P∩I|", pi), ("|I|", i)):
        assert any(line.split()[:2] == [name, f"{value:,}"] for line in out.splitlines()), name
    assert "frame 00001 (position 0), the 1st of 4 scored frames" in out
    assert "the masks in preds give the same integers" in err
    assert "wrote pic/frame.png" in err
    with Image.open("pic/frame.png") as image:
        pixels = np.array(image).reshape(-1, 3).astype(int)
    for colour in (BLUE, VERMILION, YELLOW):
        mixed = (np.array(colour) * 166 + 96 * 90 + 128) >> 8  # over the grey of frames that are not there
        assert (np.abs(pixels - mixed).max(axis=1) <= 2).sum() > 1000, colour


def test_an_empty_pair_and_a_position(scored, run):
    code, out, err = run("explain", scored, *AT, "--frame", "3", "--gt", "gt")
    assert code == 0, err
    assert "= 0 / 0: nothing is left to find and nothing is claimed, which scores 1" in out
    assert "3 is taken as a position" in out
    assert "F = 1: neither mask has a boundary" in out
    code, out, _ = run("explain", scored, *AT, "--frame", "3")  # without the benchmark there are only positions
    assert code == 0 and "taken as" not in out
    code, out, _ = run("explain", scored, *AT, "--gt", "gt")
    assert code == 0 and "00004" in out


def test_masks_that_changed_are_exit_7_and_say_how(scored, run):
    image = guess(0)
    image[0, 0] = 1
    write_labels(Path("preds/vid/00001.png"), image)
    for extra in ([], ["--pred", "preds"]):
        code, out, err = run("explain", scored, *AT, "--frame", "0", "--gt", "gt", *extra)
        assert code == 7
        assert "|P∩G|: the masks give 193, the counts hold 192" in err
        assert "|P|: the masks give 385, the counts hold 384" in err
        assert "J = |P∩G|" in out  # the explanation is there all the same
    assert run("explain", scored, *AT, "--frame", "1", "--gt", "gt")[0] == 0  # another frame is not concerned
    code, out, _ = run("explain", scored, *AT, "--frame", "0", "--gt", "gt", "--json")
    assert code == 7
    assert json.loads(out)["masks"]["same"] is False
    write_labels(Path("preds/vid/00001.png"), guess(0))
    label = truth(1)
    label[0, 20] = 255
    write_labels(Path("gt/vid/00002.png"), label)
    code, _, err = run("explain", scored, *AT, "--frame", "1", "--gt", "gt")
    assert code == 7 and "|I|: the masks give" in err


def test_other_predictions_are_found_out(scored, run):
    shutil.copytree("preds", "others")
    for frame in range(4):
        write_labels(Path("others/vid") / f"{frame + 1:05d}.png", 1 - guess(frame))
    code, _, err = run("explain", scored, *AT, "--frame", "2", "--gt", "gt", "--pred", "others")
    assert code == 7 and "fix" in err.lower()


def test_a_mask_that_is_gone_or_broken(scored, run):
    Path("preds/vid/00001.png").write_bytes(b"\x89PNG broken")
    code, _, err = run("explain", scored, *AT, "--frame", "0", "--gt", "gt", "--pred", "preds")
    assert code == 4
    code, _, err = run("explain", scored, *AT, "--frame", "0", "--gt", "gt")
    assert code == 0 and "cannot be read any more" in err
    Path("preds/vid/00001.png").unlink()
    code, _, err = run("explain", scored, *AT, "--frame", "0", "--gt", "gt")
    assert code == 7 and "there is no mask for this frame any more" in err


def test_pictures_need_masks(scored, run):
    code, _, err = run("explain", scored, *AT, "--frame", "0", "--out", "pic")
    assert code == 3 and "-b NAME or --gt DIR" in err
    shutil.move("preds", "elsewhere")
    code, _, err = run("explain", scored, *AT, "--frame", "0", "--gt", "gt", "--out", "pic")
    assert code == 3 and "--pred" in err
    code, _, err = run("explain", scored, *AT, "--frame", "0", "--gt", "gt", "--out", "pic", "--pred", "elsewhere")
    assert code == 0 and Path("pic/frame.png").is_file()
    assert run("explain", scored, *AT, "--frame", "0", "--gt", "gt", "--out", "pic/frame.png")[0] == 2


def test_a_benchmark_that_is_another_one(scored, run):
    write_labels(Path("gt2/vid/00001.png"), truth(0))
    code, _, err = run("explain", scored, *AT, "--frame", "0", "--gt", "gt2")
    assert code == 4 and "1 frames" in err
    code, _, err = run("explain", scored, *AT, "--frame", "0", "-b", "sample")
    assert code == 4 and "does not have this clip" in err
    assert run("explain", scored, *AT, "--frame", "0", "-b", "nothing")[0] == 2
    assert run("explain", scored, *AT, "--frame", "0", "--gt", "nowhere")[0] == 2


def test_missing_then_and_there_now(scored, run):
    Path("preds/vid/00003.png").unlink()
    command = ["evaluate", "-q", "--pred", "preds", "--gt", "gt", "--missing", "zero", "--method", "gappy"]
    assert run(*command, "--out", "results")[0] == 0
    path = scored.with_name("gappy.json")
    code, out, err = run("explain", path, *AT, "--frame", "2", "--gt", "gt", "--out", "pic")
    assert code == 0, err
    assert "there is no prediction for this frame" in out
    write_labels(Path("preds/vid/00003.png"), guess(2))
    code, _, err = run("explain", path, *AT, "--frame", "2", "--gt", "gt")
    assert code == 7 and "the counts say there was none" in err


@pytest.mark.parametrize("rule", ["drop", "background", "target"])
def test_boundaries_are_counted_again_under_their_rule(rule):
    g, i, p = truth(1) == 1, truth(1) == 255, guess(0) == 1
    from refvps.metrics import boundary_counts, region_counts

    edges = boundary_counts(p, g | i if rule == "target" else g, i if rule == "drop" else None, 0.05)
    frame = arithmetic.Frame(0, *region_counts(p, g, i), edges=edges)
    masks, how = picture.FrameMasks(g, i, p), {"bound_th": 0.05, "ignore": rule}
    assert picture.differences(frame, masks, how) == []
    wrong = arithmetic.Frame(0, *region_counts(p, g, i), edges=(edges[0], edges[1], edges[2], edges[3] + 1))
    (said,) = picture.differences(wrong, masks, how)
    assert said == f"boundary of G near P's: the masks give {edges[3]}, the counts hold {edges[3] + 1}"


def test_only_predictions_that_look_like_it_are_opened_on_the_word_of_a_stranger(scored, tmp_path):
    """A result may name any path; a folder without anything named after the clip is not searched."""

    def said(value):
        opened = derivation.open_result(scored)
        return picture.remembered(
            derivation.Opened(scored, {**opened.data, "inputs": value}, opened.counts, opened.rules), "vid"
        )

    (tmp_path / "big").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    assert said({"predictions": "preds"}) == Path("preds")
    for hostile in ("/", "/etc", "/proc", str(tmp_path / "big"), str(tmp_path / "notes.txt"), "/dev/zero", "a\0b",
                    "", "x" * 5000, "nowhere", 7, None, ["preds"], {"a": 1}):  # fmt: skip
        assert said({"predictions": hostile}) is None, hostile
    for inputs in ([], "preds", None, 3, {}):
        assert said(inputs) is None
