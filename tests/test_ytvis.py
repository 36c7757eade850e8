"""YouTube-VIS and SA-Co style files: hand-computed masks, negatives, both forms of RLE, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from foreign_ytvis import content, copy
from PIL import Image

from refvps.data.importers.referring.ytvis import load_ytvis
from refvps.errors import InputError
from refvps.run.evaluate import evaluate_submission


def test_union_and_ignore_by_hand(tmp_path):
    """Two 3x3 dogs at (0, 0) and (2, 2) share one pixel: 17. Ignore at (4, 4) takes one of them: 16."""
    benchmark = load_ytvis(copy(tmp_path).root)
    targets, ignore = benchmark.truth("park").frame(0)
    wanted = np.zeros((10, 14), bool)
    wanted[0:3, 0:3] = wanted[2:5, 2:5] = True
    wanted[4, 4] = False
    assert (targets["1"].array() == wanted).all()
    assert targets["1"].area() == 16
    assert ignore is not None
    assert ignore.area() == 9
    assert "Target pixels that are Ignore as well, and count as Ignore: 1." in benchmark.notes
    targets, ignore = benchmark.truth("park").frame(1)
    assert (targets["1"].area(), ignore) == (9, None)


def test_a_plain_list_of_runs_is_the_same_mask(tmp_path):
    benchmark = load_ytvis(copy(tmp_path).root)
    (sea,) = set(benchmark.clips) - {"park"}
    found = benchmark.truth(sea).frame(0)[0]["5"].array()
    wanted = np.zeros((9, 8), bool)
    wanted[1:4, 2:5] = True
    assert (found == wanted).all()


def test_an_expression_without_a_masklet_wants_an_empty_prediction(tmp_path):
    """J of empty predictions: the cat 1; the dog 0 on both frames; the wave 0. Mean over expressions: 1/3."""
    (tmp_path / "truth").mkdir()
    benchmark = load_ytvis(copy(tmp_path / "truth").root)
    assert "for which an empty prediction is right: 1." in " ".join(benchmark.notes)
    for clip, entry in benchmark.clips.items():
        for each in benchmark.expressions_of(clip):
            for frame in entry.frames:
                path = tmp_path / "preds" / clip / each.id / f"{frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.zeros(entry.size, np.uint8)).save(path)
    scores = evaluate_submission(benchmark, tmp_path / "preds").scores
    assert scores.summary["J"].value == 1 / 3
    assert {row.concept: row.values["J"] for row in scores.rows} == {"dog": 0.0, "cat": 1.0, "wave": 0.0}


def test_without_noun_phrases_every_category_is_asked_for(tmp_path):
    record = content()
    del record["video_np_pairs"]
    path = tmp_path / "youtube.json"
    path.write_text(json.dumps(record))
    benchmark = load_ytvis(path)
    assert [each.text for each in benchmark.expressions] == ["the dog", "the wave"]


def change(record, what):
    annotations, pairs = record["annotations"], record["video_np_pairs"]
    match what:
        case "a masklet too short":
            annotations[0]["segmentations"] = [None]
        case "a promise that is not kept":
            pairs[0]["num_masklets"] = 3
        case "another size":
            annotations[3]["segmentations"][0]["size"] = [8, 9]
        case "no such video":
            annotations[0]["video_id"] = 4
        case "no such category":
            annotations[0]["category_id"] = 4
        case "an id twice":
            annotations[1]["id"] = 1
        case "runs that do not add up":
            annotations[3]["segmentations"][0]["counts"][0] += 1
        case "a file outside its folder":
            record["videos"][0]["file_names"] = ["../a.jpg", "b.jpg"]
        case "a video twice":
            record["videos"][1]["id"] = 3
        case "a phrase for two":
            pairs[1]["category_id"] = 1
        case "no videos":
            del record["videos"]
        case "a huge picture":
            record["videos"][0]["height"] = 1 << 20


WRONG = (
    "a masklet too short", "a promise that is not kept", "another size", "no such video", "no such category",
    "an id twice", "runs that do not add up", "a file outside its folder", "a video twice", "a phrase for two",
    "no videos", "a huge picture",
)  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_is_named(what, tmp_path):
    record = content()
    change(record, what)
    path = tmp_path / "gold.json"
    path.write_text(json.dumps(record))
    with pytest.raises(InputError) as caught:
        load_ytvis(path)
    assert all("gold.json" in place for place in caught.value.where)


def test_several_files_in_a_folder_are_not_guessed(tmp_path):
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="several JSON files"):
        load_ytvis(tmp_path)
