"""Padding around scenes, records with decisions, thresholds, the probe."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from fractions import Fraction as F
from pathlib import Path

import films
import numpy as np
import pytest
import scenes
from PIL import Image

from refvps.curate import Thresholds, probe, proposals, read_record, record, review, write_record
from refvps.curate.survey import cells
from refvps.errors import InputError, UsageError

pytest.importorskip("av")


@pytest.fixture(scope="module")
def compilation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parts = [(scenes.drifting(1), 48), (scenes.drifting(2), 60), (scenes.plain(scenes.card()), 30)]
    return scenes.film(tmp_path_factory.mktemp("scenes") / "compilation.mp4", *scenes.join(parts))


# --- padding ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "box", "ground", "sides"),
    [
        ((180, 320), (0, 30, 320, 120), "black", ("top", "bottom")),
        ((180, 320), (60, 0, 200, 180), "black", ("left", "right")),
        ((180, 320), (60, 20, 200, 140), "colour", ("left", "top", "right", "bottom")),
        ((180, 320), (60, 20, 200, 140), "picture", ("left", "top", "right", "bottom")),
        ((320, 180), (0, 80, 180, 160), "black", ("top", "bottom")),
        ((320, 180), (0, 0, 180, 250), "picture", ("bottom",)),
    ],
)
def test_the_box_in_still_padding(tmp_path: Path, size, box, ground, sides) -> None:
    frame = {"black": scenes.black(*size), "picture": scenes.clouds(77, *size)}.get(ground)
    frame = np.full((*size, 3), (40, 90, 160), np.uint8) if frame is None else frame
    scene = scenes.padded(scenes.drifting(6, box[3], box[2]), frame, box)
    (pad,) = review(scenes.film(tmp_path / "x.mp4", scene, 48)).paddings
    assert (pad.kind, pad.box, pad.sides) == ("still", box, sides)


def test_the_box_is_that_of_the_upright_picture(tmp_path: Path) -> None:
    scene = scenes.padded(scenes.drifting(6, 120, 320), scenes.black(), (0, 20, 320, 120))
    for name in ("90", "180", "mirrored"):
        found = review(scenes.film(tmp_path / f"{name}.mp4", scene, 30, matrix=films.MATRICES[name]))
        assert found.survey.video.size == (180, 320)
        assert found.paddings[0].box == (0, 20, 320, 120)


def test_a_tripod_is_no_padding(tmp_path: Path) -> None:
    found = review(scenes.film(tmp_path / "x.mp4", scenes.flicker(9), 48))
    assert found.paddings[0].kind == "none"
    assert proposals(found) == []


def test_every_clip_has_its_own_box(tmp_path: Path) -> None:
    padded = scenes.padded(scenes.drifting(6, 120, 320), scenes.black(), (0, 30, 320, 120))
    found = review(scenes.film(tmp_path / "x.mp4", *scenes.join([(padded, 48), (scenes.drifting(7), 48)])))
    assert [pad.box for pad in found.paddings] == [(0, 30, 320, 120), (0, 0, 320, 180)]


def test_blurred_copies_are_flagged_and_not_cropped(tmp_path: Path) -> None:
    scene = scenes.drifting(8, 102, 180, 1)
    grain = np.random.default_rng(3).integers(0, 70, (102, 180, 1))

    def picture(index: int):
        middle = scene(index)
        middle = np.minimum(middle.astype(int) + np.roll(grain, index, 1), 255).astype(np.uint8)
        large = Image.fromarray(middle).resize((566, 320)).crop((193, 0, 373, 320))
        ground = large.resize((12, 20), Image.Resampling.BOX).resize((180, 320), Image.Resampling.BICUBIC)
        ground.paste(Image.fromarray(middle), (0, 109))
        return np.asarray(ground)

    other = scenes.blobs(5, 320, 180, 60)

    def elsewhere(index: int):
        image = picture(index).copy()
        image[:109], image[211:] = np.roll(other, index, 1)[:109], np.roll(other, index, 1)[211:]
        return image

    found = review(scenes.film(tmp_path / "x.mp4", picture, 48))
    assert (found.paddings[0].kind, found.paddings[0].sides) == ("blurred", ("top", "bottom"))
    assert abs(found.paddings[0].box[1] - 109) <= 2 and abs(found.paddings[0].box[3] - 102) <= 4
    assert [each["kind"] for each in proposals(found, "crop")] == ["look"]
    assert review(scenes.film(tmp_path / "y.mp4", elsewhere, 48)).paddings[0].kind == "none"


# --- the record, thresholds, probe -----------------------------------------------------------------------


def test_a_record_follows_its_schema_and_keeps_decisions(compilation: Path, tmp_path: Path) -> None:
    found = review(compilation)
    for about in ("", "shots", "static", "fast", "crop", "outro"):
        path = tmp_path / f"{about}.json"
        assert write_record(record(found, about), path)
        assert read_record(path) == record(found, about)
        assert not write_record(record(found, about), path)
    path = tmp_path / ".json"
    content = read_record(path)
    content["proposals"][0]["accepted"] = True
    content["decided_by"] = "a1"
    path.write_text(json.dumps(content))
    assert not write_record(record(found), path)
    assert read_record(path)["proposals"][0]["accepted"] is True
    other = record(review(compilation, thresholds=Thresholds(clip_seconds=2.2)))
    with pytest.raises(UsageError, match="Someone decided"):
        write_record(other, path)
    assert write_record(other, path, force=True)
    assert read_record(path) == other
    for text in ("[]", "{", '{"schema": "refvps.curation/1", "proposals": 3}', json.dumps(content | {"shots": [1]})):
        path.write_text(text)
        with pytest.raises(InputError):
            write_record(other, path)


def test_two_reviews_are_the_same(compilation: Path) -> None:
    assert record(review(compilation)) == record(review(compilation))


def test_thresholds_by_name() -> None:
    changed = Thresholds().override(["cut_level=8.5", "fast_frames=6"])
    assert asdict(changed) == asdict(Thresholds()) | {"cut_level": 8.5, "fast_frames": 6}
    for text in (
        "nothing=1",
        "cut_level",
        "cut_level=",
        "cut_level=-1",
        "cut_level=nan",
        "cut_level=inf",
        "fast_frames=1.5",
    ):
        with pytest.raises(UsageError, match="threshold"):
            Thresholds().override([text])


def test_cells_are_means_over_areas() -> None:
    picture = np.zeros((128, 256, 3), np.uint8)
    picture[:4, :2] = 200
    small = cells(picture)
    assert small.shape == (32, 64, 3)
    assert small[0, 0].tolist() == [100] * 3 and small.sum() == 300
    assert cells(np.full((2, 1000, 3), 9, np.uint8)).shape == (1, 64, 3)


def test_probe(tmp_path: Path) -> None:
    stamps = [0, 3000, 6000, 12_000, 15_000]
    films.write(tmp_path / "turned.mp4", [9000 + each for each in stamps], matrix=films.MATRICES["90"])
    found = probe(tmp_path / "turned.mp4")
    assert (found.video.size, found.frames, found.video.rotation) == (films.SIZE, 5, 90)
    assert found.variable and found.intervals == (F(1, 30), F(1, 30), F(1, 15))
    text = " ".join(found.problems)
    assert "turned by 90 degrees" in text and "the frame rate varies" in text and "shorter than one second" in text
    plain = probe(films.write(tmp_path / "plain.mkv", films.times(30, 45, 1000), scale=1000))
    assert (plain.problems, plain.variable, plain.frames) == ((), False, 45)
    assert plain.sha256 == hashlib.sha256((tmp_path / "plain.mkv").read_bytes()).hexdigest()
    slow = probe(films.write(tmp_path / "slow.mp4", films.times(10, 20)))
    assert any("slower than 24" in each for each in slow.problems)
