"""The two DAVIS 2017 protocols: hand-computed cases, stored goldens, an independent scorer, and TrackEval.

davis2017-evaluation is not on PyPI. Its rules stand in tests/oracle_davis.py, written without refvps; here that file
is itself held against TrackEval and vos-benchmark where the rules coincide.
"""

from __future__ import annotations

import json
import math

import numpy as np
import oracle_davis
import protocol_data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol_data import data_set, write
from trackeval.datasets.davis import DAVIS
from trackeval.metrics.j_and_f import JAndF
from vos_benchmark.benchmark import VideoEvaluator

from refvps.errors import InputError
from refvps.run.protocols import choose, evaluate_protocol

TASKS = {"unsupervised": "davis17-unsupervised", "semi-supervised": "davis17-semisupervised"}


def ours(root, task, **options):
    return evaluate_protocol(choose(TASKS[task]), root / "gt", root / "pred", **options)


def folders(root, truth, guess):
    write(root / "gt", truth)
    write(root / "pred", guess)
    return root


def same(block, expected):
    """Equal to the last bit: the scores, and every object with its label, prediction and numbers."""
    assert block["scores"] == expected["scores"]
    assert len(block["objects"]) == len(expected["objects"])
    for one, other in zip(block["objects"], expected["objects"], strict=True):
        assert {key: one[key] for key in ("label", "object", "prediction")} == {
            key: other[key] for key in ("label", "object", "prediction")
        }
        assert {name: one["scores"][name] for name in oracle_davis.NAMES} == other["scores"]
        assert one["scores"]["J&F-Mean"] == (other["scores"]["J-Mean"] + other["scores"]["F-Mean"]) / 2


GOLDEN = json.loads(oracle_davis.GOLDEN.read_text())


@pytest.mark.parametrize("case", GOLDEN)
def test_goldens(case, tmp_path):
    name, _, task = case.partition("/")
    folders(tmp_path, *data_set(name))
    if "error" in GOLDEN[case]:
        with pytest.raises(InputError, match="Ids higher than the objects in the first frame"):
            ours(tmp_path, task)
        return
    same(ours(tmp_path, task).protocol, GOLDEN[case])


def test_the_goldens_are_what_the_independent_scorer_says_today():
    assert oracle_davis.golden() == GOLDEN
    assert sum("error" in result for result in GOLDEN.values()) == 1  # swap/semi-supervised: ids above the objects


@st.composite
def label_videos(draw):
    """Ground truth and prediction [T, H, W] of label images: boxes of few ids, void, empty frames."""
    size = draw(st.tuples(st.integers(2, 17), st.integers(2, 19)))
    frames = draw(st.integers(3, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def one(ids):
        image = np.zeros((frames, *size), np.uint8)
        for t in range(frames):
            for label in ids:
                if rng.random() < 0.75:
                    y, x = np.sort(rng.integers(0, size[0] + 1, 2)), np.sort(rng.integers(0, size[1] + 1, 2))
                    image[t, y[0] : y[1], x[0] : x[1]] = label
        return image

    truth = one(draw(st.lists(st.sampled_from([1, 2, 3, 255]), min_size=1, max_size=4, unique=True)))
    guess = one(draw(st.lists(st.integers(1, 5), max_size=3, unique=True)))
    return truth, guess


@given(videos=st.lists(label_videos(), min_size=1, max_size=2))
@settings(max_examples=60)
def test_random_videos_equal_the_independent_scorer(videos, tmp_path_factory):
    root = tmp_path_factory.mktemp("random")
    folders(root, *({f"v{k}": list(pair[side]) for k, pair in enumerate(videos)} for side in (0, 1)))
    for task in TASKS:
        try:
            expected = oracle_davis.evaluate(root / "gt", root / "pred", task)
        except ValueError:
            with pytest.raises(InputError):
                ours(root, task)
            continue
        if not expected["objects"]:
            with pytest.raises(InputError, match="no object"):
                ours(root, task)
            continue
        found = ours(root, task).protocol
        if task == "semi-supervised":
            same(found, expected)
        else:  # equal pairs may be assigned otherwise, at the same total
            assert found["scores"]["J&F-Mean"] == pytest.approx(expected["scores"]["J&F-Mean"], abs=1e-12)


def test_real_masks_of_cutie(fixtures, tmp_path):
    """Four frames of judo, palette PNGs, one object each, a new id every time; the second is a pixel narrower."""
    images = [oracle_davis.images_of(path) for path in sorted((fixtures / "cutie/masks/judo").glob("*.png"))]
    assert [image.shape[1] for image in images] == [854, 853, 854, 854]
    folders(tmp_path / "whole", {"judo": images}, {"judo": images})
    with pytest.raises(InputError, match="it is 853x480, the frame is 854x480"):
        ours(tmp_path / "whole", "unsupervised")
    truth = [image[::2, :852:2] for image in images]
    guess = [np.roll(image, (t, -3 * t), (0, 1)) for t, image in enumerate(truth, 1)]
    folders(tmp_path, {"judo": truth}, {"judo": guess})
    done = ours(tmp_path, "unsupervised")
    same(done.protocol, oracle_davis.evaluate(tmp_path / "gt", tmp_path / "pred", "unsupervised"))
    assert any("judo/2, judo/3, judo/4" in note for note in done.scores.notes)  # late, and dropped by the tool
    with pytest.raises(InputError, match="Ids higher than the objects"):
        ours(tmp_path, "semi-supervised")
    _, j, f = VideoEvaluator(str(tmp_path / "gt"), str(tmp_path / "pred"))("judo")
    block = evaluate_protocol(choose("vos-benchmark"), tmp_path / "gt", tmp_path / "pred").protocol
    assert {int(o["object"]): (o["scores"]["J"], o["scores"]["F"]) for o in block["objects"]} == {
        k: (j[k], f[k]) for k in (2, 3)
    }


# Hand-computed: 4x4 pixels, one column or row a mask, so that every count can be read off.


def columns(*labels):
    """A 4x4 image whose four columns carry these labels."""
    return np.tile(np.array(labels, np.uint8), (4, 1))


def test_by_hand_late_objects_and_void(tmp_path):
    """Frame 0 shows object 1 in column 0 and void in column 3; object 2 appears in frame 1.

    davis17-unsupervised: one object (the highest id of frame 0), the void column is left out.
      frame 0: G = column 0, P = columns 0 and 3; column 3 is void, so P counts 4 pixels: J = 4/4 = 1
      frame 1: G = column 0, P = columns 0 and 1, no void: J = 4/8 = 1/2
      frame 2: G empty, P empty: J = 1
      frame 3: G = column 0, P = column 1: J = 0
    J = (1 + 1/2 + 1 + 0) / 4 = 5/8. Recall (above 1/2, strictly) = 2/4. Borders of decay: linspace(1, 4, 5) =
    1, 1.75, 2.5, 3.25, 4 -> minus 1, rounded: 0, 1, 1, 2, 3 (2.5 rounds to 3 by the 1e-10: 2), so 0, 1, 2, 2, 3:
    first quarter frames 0-1: 3/4, last frames 2-3: 1/2; decay = 1/4.

    davis17-semisupervised leaves frames 0 and 3 out: J = (1/2 + 1) / 2 = 3/4, recall 1/2.
    """
    truth = [columns(1, 0, 0, 255), columns(1, 0, 0, 2), columns(0, 0, 0, 2), columns(1, 0, 0, 2)]
    guess = [columns(1, 0, 0, 1), columns(1, 1, 0, 0), columns(0, 0, 0, 0), columns(0, 1, 0, 0)]
    folders(tmp_path, {"v": truth}, {"v": guess})
    done = ours(tmp_path, "unsupervised")
    scores = done.protocol["scores"]
    assert [one["object"] for one in done.protocol["objects"]] == ["1"]
    assert (scores["J-Mean"], scores["J-Recall"], scores["J-Decay"]) == (5 / 8, 0.5, 0.25)
    assert any("not scored by davis2017-evaluation" in note and "v/2" in note for note in done.scores.notes)
    scores = ours(tmp_path, "semi-supervised").protocol["scores"]
    assert (scores["J-Mean"], scores["J-Recall"]) == (3 / 4, 0.5)


def test_by_hand_void_is_background_in_the_semisupervised_task(tmp_path):
    """The middle frame: G = column 0, void = column 1, P = both. Void dropped: J = 4/4; as background 4/8."""
    truth = [columns(1, 0, 0, 0), columns(1, 255, 0, 0), columns(1, 0, 0, 0)]
    guess = [columns(1, 0, 0, 0), columns(1, 1, 0, 0), columns(1, 0, 0, 0)]
    folders(tmp_path, {"v": truth}, {"v": guess})
    assert ours(tmp_path, "semi-supervised").protocol["scores"]["J-Mean"] == 0.5
    assert ours(tmp_path, "unsupervised").protocol["scores"]["J-Mean"] == 1.0


def test_by_hand_a_swap_is_forgiven_by_matching_only(tmp_path):
    """Both objects are found exactly, under each other's id: 1 by matching, 0 by id."""
    truth = [columns(1, 0, 2, 0)] * 3
    folders(tmp_path, {"v": truth}, {"v": [columns(2, 0, 1, 0)] * 3})
    done = ours(tmp_path, "unsupervised")
    assert done.protocol["scores"]["J&F-Mean"] == 1.0
    assert [(one["object"], one["prediction"], one["label"]) for one in done.protocol["objects"]] == [
        ("2", "1", "v_1"),  # davis2017-evaluation names what it prints by position, not by object
        ("1", "2", "v_2"),
    ]
    scores = ours(tmp_path, "semi-supervised").protocol["scores"]
    assert scores["J-Mean"] == 0.0


def test_by_hand_proposals_too_few_and_too_many(tmp_path):
    """Objects 1 (column 0), 2 (column 1), 3 (columns 2, 3); every frame the same, so means are frame values.

    Too few: only proposal 1 = column 1. It is object 2 (J 1); objects 1 and 3 get empty masks: J 0 and 0; J = 1/3.
    Too many: proposals 1 = column 0, 2 = column 1, 4 = column 2, 5 = column 3 (3 is empty). Objects 1 and 2 score
    1; object 3 gets one of its halves (4/8) and the other costs nothing: J = (1 + 1 + 1/2) / 3 = 5/6.
    """
    truth = {"v": [columns(1, 2, 3, 3)] * 3}
    folders(tmp_path / "few", truth, {"v": [columns(0, 1, 0, 0)] * 3})
    done = ours(tmp_path / "few", "unsupervised")
    assert done.protocol["scores"]["J-Mean"] == pytest.approx(1 / 3, abs=1e-15)
    assert sorted(one["scores"]["J-Mean"] for one in done.protocol["objects"]) == [0, 0, 1]
    folders(tmp_path / "many", truth, {"v": [columns(1, 2, 4, 5)] * 3})
    done = ours(tmp_path / "many", "unsupervised")
    assert done.protocol["scores"]["J-Mean"] == pytest.approx(5 / 6, abs=1e-15)
    assert [(one["object"], one["scores"]["J-Mean"]) for one in done.protocol["objects"]][:2] == [("1", 1), ("2", 1)]


def test_by_hand_ids_missing_in_the_first_frame_are_objects_all_the_same(tmp_path):
    """Ids 1 and 3 in frame 0: the tool has objects 1, 2, 3; object 2 is empty, and scores 1 by an empty mask."""
    truth = {"v": [columns(1, 0, 3, 0)] * 3}
    folders(tmp_path, truth, truth)
    done = ours(tmp_path, "semi-supervised")
    assert [(one["object"], one["scores"]["J&F-Mean"]) for one in done.protocol["objects"]] == [
        ("1", 1.0),
        ("2", 1.0),
        ("3", 1.0),
    ]
    assert any("without a pixel" in note and "v/2" in note for note in done.scores.notes)
    folders(tmp_path / "wrong", truth, {"v": [columns(1, 2, 3, 0)] * 3})
    scores = [one["scores"]["J-Mean"] for one in ours(tmp_path / "wrong", "semi-supervised").protocol["objects"]]
    assert scores == [1.0, 0.0, 1.0]


def test_more_than_twenty_proposals_are_an_error_and_twenty_are_not(tmp_path):
    truth = np.zeros((5, 30), np.uint8)
    truth[:, 0] = 1
    guess = np.tile(np.arange(30, dtype=np.uint8), (5, 1))
    folders(tmp_path / "most", {"v": [truth] * 3}, {"v": [np.where(guess > 20, 0, guess)] * 3})
    done = ours(tmp_path / "most", "unsupervised")
    assert len(done.counts.expressions) == 20
    assert done.protocol["scores"]["J-Mean"] == 0.0
    folders(tmp_path / "over", {"v": [truth] * 3}, {"v": [np.where(guess > 21, 0, guess)] * 3})
    with pytest.raises(InputError, match=r"Ids higher than 20, the most proposals(?s:.)*v/21"):
        ours(tmp_path / "over", "unsupervised")


def test_a_ground_truth_of_255_has_no_object_for_davis(tmp_path):
    """0/255 masks, as DAVIS 2016 has them: the tool finds no object at all. Said, instead of a mean of nothing."""
    truth = {"v": [columns(255, 0, 0, 0)] * 3}
    folders(tmp_path / "ids", truth, {"v": [columns(1, 0, 0, 0)] * 3})
    with pytest.raises(InputError, match="no object(?s:.*)--protocol vos-benchmark"):
        ours(tmp_path / "ids", "unsupervised")
    for task in TASKS:
        folders(tmp_path / task, truth, truth)
        with pytest.raises(InputError, match="Ids higher than (?s:.*)--protocol vos-benchmark"):
            ours(tmp_path / task, task)


def test_decay_differs_by_design_beyond_256_frames(tmp_path):
    """uint8 borders in the tool wrap: NaN or another quarter. Here they are int64; everything else is equal."""
    folders(tmp_path, *data_set("long"))
    for task in TASKS:
        tool = oracle_davis.evaluate(tmp_path / "gt", tmp_path / "pred", task, borders=np.uint8)
        done = ours(tmp_path, task)
        for name, value in done.protocol["scores"].items():
            if name.endswith("Decay"):
                assert math.isnan(tool["scores"][name]) or abs(tool["scores"][name] - value) > 0.05
            else:
                assert tool["scores"][name] == value
        assert any("uint8" in note for note in done.scores.notes)
    folders(tmp_path / "short", *data_set("plain"))
    done = ours(tmp_path / "short", "unsupervised")
    assert not any("uint8" in note for note in done.scores.notes)
    same(done.protocol, oracle_davis.evaluate(tmp_path / "short/gt", tmp_path / "short/pred", "unsupervised", np.uint8))


# The independent scorer against tools that can be installed.


def track_eval(root, sequence, matching):
    """TrackEval's own numbers of one sequence, read by its own loader from the same files."""
    tracker = root / "trackers" / "mine" / "data"
    if not tracker.exists():
        tracker.parent.mkdir(parents=True)
        tracker.symlink_to(root / "pred")
    data = DAVIS(
        {
            "GT_FOLDER": str(root / "gt"),
            "TRACKERS_FOLDER": str(root / "trackers"),
            "TRACKERS_TO_EVAL": ["mine"],
            "PRINT_CONFIG": False,
        }
    )
    metric = JAndF()
    metric.optim_type = matching
    return metric.eval_sequence(data.get_preprocessed_seq_data(data.get_raw_seq_data("mine", sequence), "general"))


@pytest.mark.parametrize("name", ["plain", "void", "swap"])
def test_trackeval_equals_where_its_objects_are_the_same(name, tmp_path):
    """With J&F as the measure of matching TrackEval is DAVIS unsupervised, but that it knows late objects as well."""
    folders(tmp_path, *data_set(name))
    sequences = {one["clip"]: one["scores"] for one in ours(tmp_path, "unsupervised").protocol["sequences"]}
    assert len(sequences) == len(protocol_data.SHAPES[name])
    for sequence, scores in sequences.items():
        found = track_eval(tmp_path, sequence, "J&F")
        assert {key: found[key] for key in oracle_davis.NAMES} == {key: scores[key] for key in oracle_davis.NAMES}
        assert found["J&F"] == scores["J&F-Mean"]


def test_trackeval_differs_by_its_own_rules(tmp_path):
    """It scores late objects, and matches on J alone unless told otherwise."""
    folders(tmp_path, *data_set("gaps"))
    late = {one["clip"]: one for one in ours(tmp_path, "unsupervised").protocol["sequences"]}["bike"]
    assert late["objects"] == 2  # ids 1 (absent) and 2; 4 is late
    found = track_eval(tmp_path, "bike", "J&F")
    assert found["num_gt_tracks"] == 2  # ids 2 and 4; 1 is never seen
    assert found["J-Mean"] != late["scores"]["J-Mean"]


@pytest.mark.parametrize("name", ["plain", "long"])
def test_the_independent_scorer_equals_vos_benchmark_where_rules_coincide(name, tmp_path):
    """No void, every object in the first frame that counts, ends skipped: then both are the same."""
    folders(tmp_path, *data_set(name))
    expected = oracle_davis.evaluate(tmp_path / "gt", tmp_path / "pred", "semi-supervised")
    for video in protocol_data.SHAPES[name]:
        _, j, f = VideoEvaluator(str(tmp_path / "gt"), str(tmp_path / "pred"))(video)
        mine = {int(o["object"]): o["scores"] for o in expected["objects"] if o["label"].startswith(video)}
        assert {k: 100 * scores["J-Mean"] for k, scores in mine.items()} == j
        assert {k: 100 * scores["F-Mean"] for k, scores in mine.items()} == f
