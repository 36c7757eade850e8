"""Ref-YouTube-VOS and MeViS: the real list, hidden ground truth, and the averages their evaluators take."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from foreign_mevis import rle as square
from foreign_ytvos import meta, picture
from importers import make
from PIL import Image

import refvps
from refvps import cli
from refvps.data.importers.referring.meta_expressions import read_meta
from refvps.data.importers.referring.mevis import load_mevis
from refvps.data.importers.referring.youtube import load_refytvos
from refvps.data.store import store
from refvps.errors import DataMissingError, InputError
from refvps.run.evaluate import evaluate_submission


def test_the_real_list_of_ref_youtube_vos(fixtures, tmp_path):
    """507 videos and 2,096 expressions in the file; 202 and 834 of them are the validation set."""
    listed = read_meta(fixtures / "refytb/meta_expressions_valid.json")
    assert (len(listed), sum(len(video.sentences) for video in listed)) == (507, 2096)
    names = (fixtures / "refytb/val_videos.txt").read_text().split()
    folder = tmp_path / "meta_expressions/valid"
    folder.mkdir(parents=True)
    (folder / "meta_expressions.json").write_bytes((fixtures / "refytb/meta_expressions_valid.json").read_bytes())
    chosen = {video.name: video for video in listed if video.name in set(names)}
    for video in chosen.values():
        picture(tmp_path / "valid/JPEGImages" / video.name / f"{video.frames[0]}.jpg", (8, 12))
    listing = tmp_path / "val.txt"
    listing.write_text("\n".join(names))
    benchmark = load_refytvos(tmp_path, split="valid", videos=str(listing))
    assert (len(benchmark.clips), len(benchmark.expressions)) == (202, 834)
    assert benchmark.notes[0] == (
        "Counted: 202 videos, 834 expressions. The validation set is known to have 202 and 834."
    )
    longest = max(benchmark.expressions, key=lambda expression: len(expression.text))
    assert len(longest.text) == 136
    assert any(expression.text != expression.text.strip() for expression in benchmark.expressions)  # kept as they are


def test_a_benchmark_without_ground_truth_is_predicted_and_exported_and_never_scored(tmp_path, monkeypatch, capsys):
    copy = make("ref-ytvos", tmp_path / "copy")
    benchmark = load_refytvos(copy.root, split="valid")
    assert list(benchmark.clips) == ["00917dcfc4", "0620b43a31"]  # the third is of the test set
    assert "left out: 1" in " ".join(benchmark.notes)
    store(benchmark, frames="copy")
    again = refvps.load("ref-ytvos")
    assert (again.digest, again.clips, again.expressions) == (benchmark.digest, benchmark.clips, benchmark.expressions)
    monkeypatch.chdir(tmp_path)
    assert cli.run(["predict", "-q", "-p", "full", "-b", "ref-ytvos", "--out", "preds"]) == 0
    assert cli.run(["validate", "-q", "--pred", "preds", "-b", "ref-ytvos"]) == 0
    capsys.readouterr()
    assert cli.run(["evaluate", "-q", "--pred", "preds", "-b", "ref-ytvos"]) == 3
    assert "The ground truth of ref-ytvos is not public" in capsys.readouterr().err
    from refvps.predictions.export import export
    from refvps.predictions.submission import open_submission

    submission = open_submission(Path("preds"), again)
    export(Path("server.zip"), again, submission.reader, "annotations")
    with zipfile.ZipFile("server.zip") as archive:
        names = archive.namelist()
        assert sorted(names) == sorted(
            f"Annotations/{clip}/{expression}/{frame}.png"
            for clip, expression in (("00917dcfc4", "0"), ("0620b43a31", "1"))
            for frame in ("00000", "00005")
        )
        with archive.open(names[0]) as stream, Image.open(stream) as image:
            assert image.mode in ("L", "1")
            assert set(np.unique(np.array(image.convert("L")))) == {255}


def test_without_frames_the_sizes_are_not_known(tmp_path):
    folder = tmp_path / "meta_expressions/valid"
    folder.mkdir(parents=True)
    (folder / "meta_expressions.json").write_text(meta({"v": {"frames": ["0"], "expressions": {"0": {"exp": "it"}}}}))
    with pytest.raises(DataMissingError) as caught:
        load_refytvos(tmp_path, split="valid")
    assert any("valid/JPEGImages/v" in place for place in caught.value.where)


def test_mevis_is_averaged_over_expressions_not_over_videos(tmp_path):
    """One video with three sentences of J = 1, one with one sentence of J = 1/2: MeViS says 7/8, not 3/4."""
    copy = make("mevis", tmp_path / "copy")
    benchmark = load_mevis(copy.root)
    preds = tmp_path / "preds"
    for clip, entry in benchmark.clips.items():
        for each in benchmark.expressions_of(clip):
            for index, frame in enumerate(entry.frames):
                targets, _ = benchmark.truth(clip).frame(index)
                mask = targets[each.target].array().copy()
                if clip == "f7a2b3":
                    mask[:] = False  # right on the first frame, where the target is not yet there
                path = preds / clip / each.id / f"{frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    scores = evaluate_submission(benchmark, preds).scores
    assert scores.summary["J"].value == 7 / 8
    assert scores.summary["J"].n == 4
    assert "avg:frame>expression|" in scores.signature
    assert [e.target for e in benchmark.expressions_of("23da648cb5ba")] == ["0", "1", "0"]  # the same masks: one target


def test_mevis_unites_overlapping_masks(tmp_path):
    benchmark = load_mevis(make("mevis", tmp_path / "copy").root)
    targets, ignore = benchmark.truth("23da648cb5ba").frame(0)
    wanted = np.zeros((10, 14), bool)
    wanted[0:3, 0:3] = wanted[1:4, 1:4] = True
    assert ignore is None
    assert (targets["0"].array() == wanted).all()
    empty = benchmark.truth("23da648cb5ba").frame(1)[0]["1"]  # null in the file
    assert empty is not None
    assert empty.area() == 0


BROKEN = {
    "a mask of another length": lambda masks, a: masks.update({"1": [square(a, 1, 1)]}),
    "no such mask": lambda masks, a: masks.pop("1"),
    "two sizes": lambda masks, a: masks.update({"1": [square(a, 1, 1), None, square((14, 10), 1, 1)]}),
    "a size that is not the RLE's": lambda masks, a: masks.update(
        {"0": [square(a, 0, 0) | {"size": [11, 14]}] * 3, "1": [None] * 3}
    ),
    "uncompressed": lambda masks, a: masks.update({"1": [{"size": [10, 14], "counts": [1, 138]}] * 3}),
    "no list": lambda masks, a: masks.update({"1": "x"}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_masks_of_mevis_are_named(what, tmp_path):
    root = make("mevis", tmp_path / "copy").root
    path = root / "valid_u/mask_dict.json"
    masks = json.loads(path.read_text())
    BROKEN[what](masks, (10, 14))
    path.write_text(json.dumps(masks))
    with pytest.raises(InputError) as caught:
        load_mevis(root)
    assert any("mask_dict.json" in place and ("mask " in place or "size" in place) for place in caught.value.where)


META = {
    "no videos": {"videos": []},
    "a video that leaves its folder": {"videos": {"../v": {"frames": ["0"], "expressions": {"0": {"exp": "x"}}}}},
    "a frame that leaves its folder": {"videos": {"v": {"frames": ["../0"], "expressions": {"0": {"exp": "x"}}}}},
    "a frame twice": {"videos": {"v": {"frames": ["0", "0"], "expressions": {"0": {"exp": "x"}}}}},
    "no expression": {"videos": {"v": {"frames": ["0"], "expressions": {}}}},
    "no sentence": {"videos": {"v": {"frames": ["0"], "expressions": {"0": {"exp": 3}}}}},
    "a line break": {"videos": {"v": {"frames": ["0"], "expressions": {"0": {"exp": "a\nb"}}}}},
    "an object that is no number": {
        "videos": {"v": {"frames": ["0"], "expressions": {"0": {"exp": "x", "obj_id": "a"}}}}
    },
}


@pytest.mark.parametrize("what", META)
def test_broken_lists_are_named(what, tmp_path):
    path = tmp_path / "meta_expressions.json"
    path.write_text(json.dumps(META[what]))
    with pytest.raises(InputError) as caught:
        read_meta(path)
    assert "meta_expressions.json" in caught.value.where[0]
