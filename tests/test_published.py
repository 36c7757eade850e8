"""Published methods by recipe: run in clones that behave like the real ones, mask for mask, and every way they fail."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from shlex import split

import numpy as np
import pytest
from fakerepos import answer, clone, questioned
from PIL import Image

import refvps
from baselines.cli import run as command
from baselines.published import RECIPES, ROWS
from baselines.run import SHIM, run
from refvps.errors import DataMissingError, InputError, UsageError
from refvps.masks.mask import Mask
from refvps.predictions.importing import import_predictions
from refvps.types import Benchmark

SHAPES = {"wax": ((20, 31), 5, 4), "long": ((16, 12), 70, 1), "five": ((9, 14), 3, 5)}
DOORS = [(name, door) for name, recipe in RECIPES.items() for door in recipe.doors]


def pictures(work: Path, benchmark: Benchmark) -> dict[tuple[str, str], np.ndarray]:
    """The frames as the method saw them, by (clip, frame): the JPEG files of the export."""
    found = {}
    (questions,) = work.glob("questions-*")
    for path in questions.rglob("*.jpg"):
        video = path.parent.name.partition("__")[0]
        found[video, path.stem] = np.array(Image.open(path).convert("RGB"))
    assert set(found) == {(clip.id, frame) for clip in benchmark.clips.values() for frame in clip.frames}
    return found


def expected(work: Path, benchmark: Benchmark) -> dict[str, list[tuple[str, list[str]]]]:
    """What the predictions must hold, by clip: (expression, RLE of every frame)."""
    seen = pictures(work, benchmark)
    wanted: dict[str, list[tuple[str, list[str]]]] = {}
    for clip in benchmark.clips.values():
        for each in benchmark.expressions_of(clip.id):
            text = " ".join(each.text.lower().split())
            masks = [answer(text, seen[clip.id, frame]) for frame in clip.frames]
            counts = [Mask.from_array(mask).counts().decode() for mask in masks]
            wanted.setdefault(clip.id, []).append((each.id, counts))
    return wanted


def read(folder: Path) -> dict[str, list[tuple[str, list[str]]]]:
    found = {}
    for path in folder.glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
        found[path.stem] = [(line["expression"], line["counts"]) for line in lines]
    return found


def go(method: str, folder: Path, mode: str = "right", benchmark: Benchmark | None = None, **options: str):
    repo = clone(method, folder, mode)
    return run(
        method,
        repo=repo,
        weights=folder / "weights.pth",
        benchmark=benchmark or questioned(SHAPES),
        out=folder / "preds",
        work=folder / "the work",
        python=os.path.relpath(sys.executable),
        options=options,
    )


@pytest.mark.parametrize(("method", "door"), DOORS, ids=[f"{method}-{door}" for method, door in DOORS])
def test_a_method_runs_and_its_masks_come_back(method: str, door: str, tmp_path: Path) -> None:
    benchmark = questioned(SHAPES)
    mode = "op" if (method, door) in {("referformer", "davis"), ("uninext", "ytvos")} else "right"
    ran = go(method, tmp_path, mode, benchmark, door=door)
    assert read(tmp_path / "preds") == expected(tmp_path / "the work", benchmark)
    assert ran.imported is not None and ran.finished is not None
    assert ran.finished.seconds > 0 and ran.finished.peak_memory > 10_000_000
    record = json.loads((tmp_path / "preds/run.json").read_text())
    assert record["method"]["name"] == method
    assert record["method"]["options"]["door"] == door
    assert record["ran"]["weights"]["bytes"] == 7
    assert record["ran"]["exit_code"] == (1 if (method, door) in {("mutr", "davis"), ("rem", "davis")} else 0)
    assert json.loads((ran.folder / "run.json").read_text())["state"] == "imported"
    assert {path.name for path in ran.folder.iterdir()} >= {"run.sh", "environment.md", "log.txt", "run.json"}
    repo = tmp_path / f"{method} clone"
    assert not [path for path in repo.rglob("*") if path.suffix in (".png", ".jpg", ".pth")], "the clone stays clean"


def test_a_window_can_be_chosen_or_left_out(tmp_path: Path) -> None:
    """70 frames at once are what the compiled operator refuses; UNINEXT takes them."""
    with pytest.raises(InputError, match=r"left 90 of 105 masks unwritten.*\n.*wax/e0/f00") as caught:
        go("referformer", tmp_path / "a", door="ytvos", window="0")  # clip "five" was done before
    assert "batch(70) must divide im2col_step(64)" in str(caught.value)
    benchmark = questioned(SHAPES)
    go("uninext", tmp_path / "b", benchmark=benchmark, window="2")
    assert read(tmp_path / "b/preds") == expected(tmp_path / "b/the work", benchmark)
    assert len(list((tmp_path / "b/the work").glob("questions-uninext-*-w2"))) == 1


def test_the_sample_is_scored(tmp_path: Path) -> None:
    whole = refvps.load("sample")
    clips = dict(list(whole.clips.items())[:2])
    sample = replace(whole, clips=clips, expressions=tuple(e for e in whole.expressions if e.clip in clips))
    ran = go("vdit", tmp_path, benchmark=sample)
    assert ran.imported is not None and ran.imported.clips == len(sample.clips)
    scores = refvps.evaluate(sample, tmp_path / "preds")
    assert scores.method.name == "vdit" and not scores.incomplete
    assert 0 < scores.summary["J"].value < 0.5


FAILURES = {
    "partial": ("masks unwritten", "wax|five"),
    "crash": ("stopped with exit code 0", "CUDA out of memory"),
    "nesting": ("masks unwritten", "masks/anno_0"),
    "size": ("cannot be used", "13x9, the clip is 14x9"),
    "keys": ("does not fit the model", "missing: backbone.0.body.norm.weight"),
    "late": ("failed after writing all masks", "exit code 3"),
}


@pytest.mark.parametrize("mode", FAILURES)
def test_every_failure_is_seen(mode: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=FAILURES[mode][0]) as caught:
        go("referformer", tmp_path, mode)
    told = str(caught.value)
    assert re.search(FAILURES[mode][1], told), told
    assert len(caught.value.where) >= 1
    assert "log.txt" in told
    assert not (tmp_path / "preds").exists()
    (folder,) = (tmp_path / "the work").glob("run-*")
    assert (folder / "log.txt").stat().st_size
    record = json.loads((folder / "run.json").read_text())
    assert (record["state"], record["exit_code"]) == ("failed", 3 if mode == "late" else 0)


@pytest.mark.parametrize(
    ("method", "mode", "what"),
    [
        ("mutr", "partial", "stopped with exit code 1 and left"),
        ("rem", "crash", "exit code 1 and left"),
        ("uninext", "keys", "not found in the checkpoint"),
        ("uninext", "nesting", "found instead"),
        ("sgmg", "size", "cannot be used"),
    ],
)
def test_others_fail_as_visibly(method: str, mode: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=what):
        go(method, tmp_path, mode)
    assert not (tmp_path / "preds").exists()


def test_an_earlier_run_is_never_taken_for_this_one(tmp_path: Path) -> None:
    go("mutr", tmp_path)
    (tmp_path / "preds").rename(tmp_path / "first")
    with pytest.raises(InputError, match="left 70 of 70|unwritten"):
        go("mutr", tmp_path, "crash")
    assert len(list((tmp_path / "the work").glob("run-*"))) == 2
    assert len(list((tmp_path / "the work").glob("questions-*"))) == 1


def test_two_runs_at_once_share_the_questions(tmp_path: Path) -> None:
    """The second begins and ends while the first writes them."""
    small = questioned({"a": ((6, 8), 2, 1)})
    others = []

    def frames(clip: str):
        if not others:
            others.append(run("vdit", benchmark=small, out=tmp_path / "b", work=tmp_path / "work"))
        return small.frames(clip)

    first = run("rem", benchmark=replace(small, frames=frames), out=tmp_path / "a", work=tmp_path / "work")
    assert others and others[0].folder != first.folder
    assert [path.name.partition("-")[0] for path in sorted((tmp_path / "work").iterdir())] == [
        "questions",
        "run",
        "run",
    ]


def test_harmless_and_allowed_keys_pass(tmp_path: Path) -> None:
    small = questioned({"a": ((6, 8), 2, 1)})
    go("referformer", tmp_path / "a", "harmless", small)
    go("referformer", tmp_path / "b", "keys", small, allow_keys="backbone.*,class_embed.0.bias")
    with pytest.raises(InputError, match="class_embed"):
        go("referformer", tmp_path / "c", "keys", small, allow_keys="backbone.*")


def alive(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_ctrl_c_ends_the_whole_family(tmp_path: Path) -> None:
    seen: list[int] = []

    def interrupt(line: str) -> None:
        if line.startswith("stuck"):
            seen.extend(int(word) for word in line.split()[1:])
            raise KeyboardInterrupt

    repo = clone("referformer", tmp_path, "stuck")
    with pytest.raises(KeyboardInterrupt):
        run(
            "referformer",
            repo=repo,
            weights=tmp_path / "weights.pth",
            benchmark=questioned({"a": ((6, 8), 2, 1)}),
            out=tmp_path / "preds",
            python=sys.executable,
            progress=interrupt,
        )
    assert len(seen) == 2
    until = time.monotonic() + 5
    while any(map(alive, seen)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, seen))
    (folder,) = (tmp_path / "preds.work").glob("run-*")
    assert json.loads((folder / "run.json").read_text())["state"] == "failed"


def test_without_a_clone_everything_is_written_and_nothing_run(tmp_path: Path) -> None:
    small = questioned({"a": ((6, 8), 2, 5)})
    for name, recipe in RECIPES.items():
        ran = run(name, benchmark=small, out=tmp_path / name, work=tmp_path / f"{name} work")
        assert ran.finished is None and ran.imported is None
        assert not (tmp_path / name).exists()
        page = (ran.folder / "environment.md").read_text()
        assert recipe.url in page and recipe.licence in page and all(trap in page for trap in recipe.traps)
        assert "refvps import --layout" in page
        assert json.loads((ran.folder / "run.json").read_text())["state"] == "prepared"
        done = subprocess.run([ran.folder / "run.sh"], capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
        assert done.returncode != 0 and "set REPO to a clone of" in done.stderr


@pytest.mark.parametrize(("method", "door"), [("mutr", "davis"), ("uninext", "ytvos"), ("rem", "davis")])
def test_the_script_does_the_same_by_hand(method: str, door: str, tmp_path: Path) -> None:
    """``run.sh`` with the clone given from outside, then the import that it names."""
    benchmark = questioned({"a": ((6, 8), 40, 5)})
    ran = run(method, benchmark=benchmark, out=tmp_path / "preds", work=tmp_path / "it's work", options={"door": door})
    repo = clone(method, tmp_path)
    python = os.path.relpath(sys.executable, tmp_path)
    given = {"REPO": repo.name, "WEIGHTS": "weights.pth", "PYTHON": python}  # as seen from where it is started
    environment = {"PATH": os.environ["PATH"], **given}
    done = subprocess.run([ran.folder / "run.sh"], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    line = done.stdout.strip().splitlines()[-1]
    (found,) = ran.folder.glob("output/refvps_72/val_vis/r_davis_*") if "*" in line else [None]
    words = split(line)[1:]
    at = words.index("--layout")
    path = found or Path(words[at + 2])
    groups = Path(words[words.index("--groups") + 1]) if "--groups" in words else None
    import_predictions(path, benchmark, tmp_path / "by hand", words[at + 1], method=method, groups=groups)
    assert read(tmp_path / "by hand") == expected(tmp_path / "it's work", benchmark)


def test_what_is_lacking_is_said_before_anything_runs(tmp_path: Path) -> None:
    small = questioned({"a": ((6, 8), 2, 1)})
    with pytest.raises(DataMissingError, match=r"git clone https://github\.com/wjn922/ReferFormer"):
        run("referformer", repo=tmp_path / "no", weights=tmp_path / "no.pth", benchmark=small, out=tmp_path / "p")
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(DataMissingError, match=r"inference_davis\.py"):
        run("vdit", repo=tmp_path, weights=tmp_path / "weights.pth", benchmark=small, out=tmp_path / "p")
    with pytest.raises(DataMissingError, match="no interpreter"):
        run("vdit", repo=tmp_path, weights=tmp_path / "weights.pth", benchmark=small, out=tmp_path / "p", python="pyx")
    with pytest.raises(UsageError, match="no such method"):
        run("yolo", benchmark=small)
    with pytest.raises(UsageError, match="has no such option"):
        run("rem", benchmark=small, out=tmp_path / "p", options={"size": "3"})
    with pytest.raises(UsageError, match="no such program"):
        run("vdit", benchmark=small, out=tmp_path / "p", options={"door": "ytvos"})
    with pytest.raises(UsageError, match="a number of frames"):
        run("uninext", benchmark=small, out=tmp_path / "p", options={"window": "x"})
    with pytest.raises(UsageError, match="The output exists"):
        run("rem", benchmark=small, out=tmp_path)
    with pytest.raises(UsageError, match="--work lies in --out"):
        run("rem", benchmark=small, out=tmp_path / "p", work=tmp_path / "p/work")
    with pytest.raises(UsageError, match="leads out of the folder"):
        run("mutr", benchmark=small, out=tmp_path / "p", options={"backbone": "../../../x"})
    assert not (tmp_path / "p").exists()
    for name, row in ROWS.items():
        with pytest.raises(UsageError, match="has no adapter") as caught:
            run(name, benchmark=small)
        assert row.how in str(caught.value)


def test_the_page_names_every_recipe_option_and_row() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs/published.md").read_text()
    for recipe in RECIPES.values():
        assert f"`{recipe.name}`" in page
        assert recipe.licence.split(" (")[0] in page
        for option in recipe.options:
            assert f"`{option}`" in page
    assert all(f"`{name}`" in page for name in ROWS)
    known = command.help.replace(",", "").replace(";", "").split() if command.help else []
    assert {*RECIPES, *ROWS} <= set(known), "the help of baselines run names every method"
    assert SHIM.name in page
