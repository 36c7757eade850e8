"""Exports: every layout is read again by what it says reads it, with the same masks; nothing half is left."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from inmemory import ArrayReader, ArrayTruth, clip_of
from PIL import Image
from test_layouts import plain
from test_store import digested, tiny
from tiny import tiny_benchmark

import refvps
from refvps import cli
from refvps.cli.dataset import export as command
from refvps.data.importers.ref_vps.load import load_ref_vps
from refvps.data.importers.referring.mevis import load_mevis
from refvps.data.importers.referring.youtube import load_refytvos
from refvps.data.importers.referring.ytvis import load_ytvis
from refvps.data.register import register
from refvps.data.store import store
from refvps.data.truth import annotation
from refvps.errors import InputError, UsageError
from refvps.export import LAYOUTS, export_benchmark
from refvps.predictions.export import LAYOUTS as PREDICTIONS
from refvps.predictions.export import export as write_predictions
from refvps.types import Benchmark, Expression


def same_masks(first: Benchmark, second: Benchmark) -> bool:
    """Equal masks of every expression, joined by clip and expression id or text."""
    for key, clip in first.clips.items():
        one, two = (annotation(b.truth(key), b.clips[key]) for b in (first, second))
        others = {each.text: each.target for each in second.expressions_of(key)}
        for each in first.expressions_of(key):
            if one.targets[each.target].counts != two.targets[others[each.text]].counts:
                return False
        if (one.ignore is None) != (two.ignore is None) or (one.ignore and one.ignore.counts != two.ignore.counts):
            return False
        assert clip.size == second.clips[key].size
    return True


def small(count: int = 2) -> Benchmark:
    """The first clips of the sample, which have Ignore and four expressions each."""
    whole = refvps.load("sample")
    clips = dict(list(whole.clips.items())[:count])
    kept = tuple(each for each in whole.expressions if each.clip in clips)
    return digested(replace(whole, name="small", clips=clips, expressions=kept))


def test_the_command_knows_every_layout():
    assert set(command.BENCHMARK_LAYOUTS) == set(LAYOUTS)
    assert set(command.PREDICTION_LAYOUTS) == set(PREDICTIONS)


@pytest.mark.parametrize("layout", ["davis", "ignore-folder", "expression-folders", "mevis"])
def test_the_four_layouts_come_back_with_one_digest(layout, tmp_path):
    before = small()
    assert export_benchmark(before, tmp_path / "set", layout, frames="none") >= 5
    assert load_ref_vps(tmp_path / "set").digest == before.digest
    if layout not in ("davis", "mevis"):
        return
    export_benchmark(before, tmp_path / "set.zip", layout)
    args = ["download", "mine", "--from", str(tmp_path / "set.zip"), "--accept-licence", "--frames", "copy", "-q"]
    assert cli.run(args) == 0
    after = refvps.load("mine")
    assert after.digest == before.digest
    assert len(after.frames("candle-wax")) == len(after.clips["candle-wax"].frames)


@pytest.mark.parametrize("benchmark", [plain, tiny], ids=["plain", "sparse"])
@pytest.mark.parametrize("layout", ["expression-folders", "mevis"])
def test_sparse_annotation_survives(benchmark, layout, tmp_path):
    before = benchmark()
    export_benchmark(before, tmp_path / "set", layout, frames="none")
    after = load_ref_vps(tmp_path / "set")
    assert after.digest == before.digest


def test_our_own_form_is_complete(tmp_path):
    before = small()
    export_benchmark(before, tmp_path / "set.zip", "ref-vps")
    register(tmp_path / "set.zip", "again")
    after = refvps.load("again")
    assert (after.digest, after.rules, after.licence) == (before.digest, before.rules, before.licence)
    for clip in before.clips:
        assert all((a == b).all() for a, b in zip(after.frames(clip), before.frames(clip), strict=True))


def test_ytvis_keeps_masks_ignore_and_sentences(tmp_path):
    before = small()
    export_benchmark(before, tmp_path / "set", "ytvis", frames="none")
    after = load_ytvis(tmp_path / "set")
    assert same_masks(before, after)
    assert [each.text for each in after.expressions] == [each.text for each in before.expressions]


def test_mevis_is_read_by_the_importer_of_mevis(tmp_path):
    before = small()
    export_benchmark(before, tmp_path / "set", "mevis", frames="none")
    after = load_mevis(tmp_path / "set")
    assert [(e.clip, e.id, e.text) for e in after.expressions] == sorted(
        (e.clip, e.id, e.text) for e in before.expressions
    )
    for clip in before.clips:
        one, two = (annotation(b.truth(clip), b.clips[clip]) for b in (before, after))
        assert set(one.targets["1"].counts) == set(next(iter(two.targets.values())).counts)


def test_ytvos_asks_the_questions_and_hides_the_answers(tmp_path):
    before = small()
    export_benchmark(before, tmp_path / "set", "ytvos")
    (palette,) = (tmp_path / "set").rglob("*.png")  # which MUTR's program opens and does not use
    assert palette.relative_to(tmp_path / "set") == Path("valid/Annotations/blackswan/00000.png")
    after = load_refytvos(tmp_path / "set", split="valid")
    assert list(after.clips) == sorted(before.clips)
    wanted = {(e.clip, e.id): " ".join(e.text.lower().split()) for e in before.expressions}
    assert {(e.clip, e.id): e.text for e in after.expressions} == wanted
    record = json.loads((tmp_path / "set/meta_expressions/test/meta_expressions.json").read_text())
    assert record == {"videos": {}}
    picture = next((tmp_path / "set/valid/JPEGImages/candle-wax").iterdir())
    with Image.open(picture) as image:
        assert (image.format, image.size) == ("JPEG", (108, 192))
        error = np.abs(np.array(image).astype(int) - before.frames("candle-wax")[0].astype(int)).mean()
    assert picture.name == "00000.jpg" or error < 20
    first = np.array(Image.open(tmp_path / "set/valid/JPEGImages/candle-wax/00000.jpg")).astype(int)
    assert np.abs(first - before.frames("candle-wax")[0].astype(int)).mean() < 3


def test_davis4_has_four_expressions_a_video_in_the_order_of_the_file(tmp_path):
    before = digested(tiny_benchmark())
    export_benchmark(before, tmp_path / "set", "davis4", frames="none")
    text = (tmp_path / "set/meta_expressions/valid/meta_expressions.json").read_text()
    record = json.loads(text)["videos"]
    groups = json.loads((tmp_path / "set/groups.json").read_text())["groups"]
    assert set(record) == set(groups)
    asked = []
    for name, video in record.items():
        assert list(video["expressions"]) == ["0", "1", "2", "3"]
        assert {each["obj_id"] for each in video["expressions"].values()} == {"1"}
        clip = groups[name]["clip"]
        ids = groups[name]["expressions"]
        texts = {each.id: " ".join(each.text.lower().split()) for each in before.expressions_of(clip)}
        shown = [each["exp"] for each in video["expressions"].values()]
        assert shown == ([texts[each] for each in ids] + [texts[ids[-1]]] * 4)[:4]
        asked += [(clip, each) for each in ids]
    assert sorted(asked) == sorted((each.clip, each.id) for each in before.expressions)
    with Image.open(tmp_path / "set/valid/Annotations/blackswan/00000.png") as image:
        assert image.mode == "P"


def test_sav_never_mixes_ignore_with_the_object(tmp_path):
    before = small()
    export_benchmark(before, tmp_path / "set", "sav", frames="none")
    for clip, entry in before.clips.items():
        for index, frame in zip(entry.annotated_indices(), entry.annotated, strict=True):
            targets, ignore = before.truth(clip).frame(index)
            found = np.array(Image.open(tmp_path / f"set/Annotations_6fps/{clip}/000/{frame}.png"))
            assert ((found == 255) == targets["1"].array()).all()
            place = tmp_path / f"set/Ignore_6fps/{clip}/{frame}.png"
            if ignore is not None:
                assert ((np.array(Image.open(place)) > 0) == ignore.array()).all()


def test_what_a_layout_cannot_hold_is_refused_and_nothing_is_left(tmp_path):
    """The tiny benchmark has two targets that overlap."""
    overlapping = digested(tiny_benchmark())
    from refvps.masks.mask import Mask

    class Both:
        def __init__(self, truth):
            self.truth = truth

        def frame(self, index):
            targets, ignore = self.truth.frame(index)
            first = next((mask for mask in targets.values() if mask is not None and mask.area()), None)
            return {key: mask and (first or Mask.from_array(mask.array())) for key, mask in targets.items()}, ignore

    odd = replace(overlapping, truth=lambda clip: Both(overlapping.truth(clip)))
    with pytest.raises(UsageError, match="overlap"):
        export_benchmark(odd, tmp_path / "set", "davis", frames="none")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_and_names_are_checked(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    base = ["export", "benchmark", "-b", "sample", "--out", str(tmp_path / "out")]
    assert cli.run([*base, "--layout", "davis"]) == 2
    assert "The output exists" in capsys.readouterr().err
    assert cli.run([*base, "--layout", "daviss"]) == 2
    assert "one of ref-vps" in capsys.readouterr().err
    assert cli.run(["export", "benchmark", "--pred", "x", "--layout", "davis", "--out", "y"]) == 2
    assert cli.run(["export", "predictions", "--layout", "tree", "--out", "y"]) == 2
    assert cli.run(["export", "results", "--layout", "csv", "--out", "y"]) == 2
    with pytest.raises(UsageError, match="no such layout"):
        export_benchmark(refvps.load("sample"), tmp_path / "x", "davis5")


def test_predictions_and_results_leave_and_come_back(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    store(small(), frames="copy")
    assert cli.run(["predict", "-q", "-p", "motion", "-b", "small", "--out", "preds"]) == 0
    export = ["export", "predictions", "--pred", "preds", "-b", "small", "-q"]
    assert cli.run([*export, "--layout", "annotations", "--out", "yt.zip"]) == 0
    with zipfile.ZipFile("yt.zip") as archive:
        assert all(name.startswith("Annotations/") for name in archive.namelist())
    scores = []
    for pred in ("preds", "yt.zip"):
        args = ["evaluate", "-q", "--pred", pred, "-b", "small", "--metrics", "J,F,TC", "--method", "m", "--json"]
        assert cli.run([*args, "--out", f"results-{pred}"]) == 0
    scores = [next(Path(f"results-{pred}").rglob("m.json")) for pred in ("preds", "yt.zip")]
    first, second = (json.loads(path.read_text()) for path in scores)
    for volatile in ("inputs", "environment", "timings"):
        first.pop(volatile, None)
        second.pop(volatile, None)
    assert first == second
    capsys.readouterr()
    assert cli.run(["export", "results", str(scores[0]), "--layout", "davis-csv", "--out", "d.csv", "-q"]) == 0
    rows = list(csv.DictReader(Path("d.csv").read_text().splitlines()))
    assert len(rows) == len(first["rows"])
    assert float(rows[0]["J-Mean"]) == first["rows"][0]["values"]["J"]
    assert cli.run(["export", "results", str(scores[0]), "--layout", "csv", "--out", "all.csv", "--json"]) == 0
    rows = list(csv.DictReader(Path("all.csv").read_text().splitlines()))
    assert {row["clip"] for row in rows} == set(small().clips)
    assert [float(row["TC"]) for row in rows] == [row["values"]["TC"] for row in first["rows"]]


def test_a_broken_mask_leaves_no_export_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    store(small(1), frames="copy")
    assert cli.run(["predict", "-q", "-p", "full", "-b", "small", "--out", "preds"]) == 0
    assert cli.run(["export", "predictions", "--pred", "preds", "-b", "small", "--layout", "tree", "--out", "t"]) == 0
    victim = sorted(Path("t").rglob("*.png"))[-1]
    victim.write_bytes(victim.read_bytes()[:40])
    capsys.readouterr()
    for layout in ("annotations", "json", "npz"):
        args = ["export", "predictions", "--pred", "t", "-b", "small", "--layout", layout, "--out", "j"]
        assert cli.run(args) == 4
        assert victim.name in capsys.readouterr().err
        assert not Path("j").exists()


def renamed(names: Mapping[str, Callable[[int], str]]) -> Benchmark:
    """The small benchmark with frames called otherwise, by clip."""
    before = small()
    clips, truths = {}, {}
    for key, clip in before.clips.items():
        frames = tuple(names[key](k) for k in range(len(clip.frames)))
        kept = tuple(frames[k] for k in clip.annotated_indices())
        clips[key] = replace(clip, frames=frames, annotated=kept)
        truths[key] = before.truth(key)
    return digested(replace(before, clips=clips, truth=truths.__getitem__))


@pytest.mark.parametrize("layout", ["davis", "ignore-folder", "expression-folders", "mevis"])
def test_frames_of_any_name_come_back(layout, tmp_path):
    """VSPW's frames begin anywhere; clips may differ in how they count; names need not be numbers."""
    first, second = small().clips
    ways = [
        {first: lambda k: f"{k + 48:08d}", second: lambda k: f"{k:08d}"},
        {first: lambda k: f"{k:05d}", second: lambda k: f"{k + 1:05d}"},
        {first: lambda k: f"v1.{k:03d}", second: lambda k: "abcdefghijklmnopqrstuvwxyz"[k // 26] + chr(97 + k % 26)},
    ]
    for number, names in enumerate(ways):
        before = renamed(names)
        export_benchmark(before, tmp_path / str(number), layout, frames="none" if number else "copy")
        after = load_ref_vps(tmp_path / str(number))
        assert after.digest == before.digest
        if not number and layout != "mevis":
            assert [file.stem for file in after.frames(first).files] == list(before.clips[first].frames)


@pytest.mark.parametrize("layout", ["davis", "ignore-folder"])
def test_a_target_that_is_never_drawn_does_not_get_the_masks_of_another(layout, tmp_path):
    clip = clip_of(2, (6, 8))
    drawn = np.zeros((2, 6, 8), np.bool_)
    drawn[:, 1:3, 1:4] = True
    truth = ArrayTruth({"1": drawn, "2": np.zeros_like(drawn)})
    asked = tuple(Expression(id=key, clip="clip", text=f"thing {key}", target=key) for key in ("1", "2"))
    before = digested(replace(small(), clips={"clip": clip}, expressions=asked, truth=lambda key: truth))
    export_benchmark(before, tmp_path / "set", layout, frames="none")
    with pytest.raises(InputError, match="do not match") as caught:
        load_ref_vps(tmp_path / "set")
    assert caught.value.where == ("clip/2: its mask 2 is not drawn in any frame",)


@pytest.mark.parametrize("layout", ["mevis", "ytvis"])
def test_null_is_never_written_for_what_nobody_annotated(layout, tmp_path):
    clip = clip_of(2, (6, 8))
    drawn = np.ones((2, 6, 8), np.bool_)
    truth = ArrayTruth({"1": drawn, "2": [drawn[0], None]})
    asked = tuple(Expression(id=key, clip="clip", text=f"thing {key}", target=key) for key in ("1", "2"))
    before = replace(small(), clips={"clip": clip}, expressions=asked, truth=lambda key: truth)
    with pytest.raises(UsageError, match="not annotated on a frame") as caught:
        export_benchmark(before, tmp_path / "set", layout, frames="none")
    assert caught.value.where == ("clip/00001: target 2",)
    assert list(tmp_path.iterdir()) == []


def test_the_zip_for_the_server_of_ref_ytvos_has_eight_bits_a_pixel(tmp_path):
    before = small(1)
    clip = next(iter(before.clips.values()))
    drawn = np.zeros((len(clip.frames), *clip.size), np.bool_)
    drawn[:, 3:9, 4:7] = True
    reader = ArrayReader({each.id: drawn for each in before.expressions})
    count = write_predictions(tmp_path / "server.zip", before, lambda key: reader, "annotations")
    with zipfile.ZipFile(tmp_path / "server.zip") as archive:
        names = archive.namelist()
        assert len(names) == count == len(clip.frames) * len(before.expressions)
        assert names[0] == f"Annotations/{clip.id}/{before.expressions[0].id}/{clip.frames[0]}.png"
        for name in (names[0], names[-1]):
            with archive.open(name) as stream:
                picture = Image.open(stream)
                assert picture.mode == "L"
                assert (np.array(picture) == drawn[0] * 255).all()
