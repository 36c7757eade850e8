"""Every prediction against every object, and the assignment of DAVIS, for Ref-DAVIS17 and whoever needs it."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import oracle
import oracle_davis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol_data import disc, drawn

from refvps.errors import DataMissingError, InputError
from refvps.run.protocols import AllPairs, all_pairs, count_pairs, masks_of_ids, score_run
from refvps.run.protocols.matching import check_scored, fixed_id, hungarian, matched

SIZE = (12, 20)


def masks(*objects):
    """bool [n, T, H, W] from lists of (y, x, radius) per frame; None is an empty mask."""
    frames = [[np.zeros(SIZE, bool) if place is None else disc(SIZE, *place) for place in one] for one in objects]
    return np.array(frames, bool)


LEFT, RIGHT = [(5, 4, 3), (5, 5, 3), (6, 5, 3)], [(5, 15, 4), (6, 15, 4), (6, 14, 4)]


def test_exact_masks_score_one_both_ways():
    truth = masks(LEFT, RIGHT)
    scores = score_run(truth, truth)
    for found in (scores.matched, scores.fixed_id):
        assert found.prediction == (0, 1)
        assert np.array_equal(found.j, np.ones((2, 3)))
        assert np.array_equal(found.f, np.ones((2, 3)))


def test_matching_forgives_swapped_expressions_and_fixed_id_does_not():
    truth = masks(LEFT, RIGHT)
    scores = score_run(masks(RIGHT, LEFT), truth)
    assert scores.matched.prediction == (1, 0)
    assert scores.matched.means()[0].tolist() == [1.0, 1.0]
    assert scores.fixed_id.means()[0].tolist() == [0.0, 0.0]


def test_a_cycle_of_three():
    third = [(9, 9, 2)] * 3
    scores = score_run(masks(RIGHT, third, LEFT), masks(LEFT, RIGHT, third))
    assert scores.matched.prediction == (2, 0, 1)
    assert scores.matched.j.mean() == 1.0


def test_predictions_may_overlap():
    """ReferEverything: a binary mask per expression; both expressions may claim the same pixels."""
    truth = masks(LEFT, RIGHT)
    both = np.stack([truth.any(axis=0)] * 2)
    scores = score_run(both, truth)
    areas = truth.sum(axis=(2, 3))
    expected = areas / areas.sum(axis=0)  # J of one part against the union of two disjoint parts
    assert np.array_equal(scores.fixed_id.j, expected)
    assert np.array_equal(np.sort(scores.matched.j, axis=0), np.sort(expected, axis=0))


def test_an_image_of_ids():
    ids = np.zeros((3, *SIZE), np.uint8)
    truth = masks(LEFT, RIGHT)
    ids[truth[0]], ids[truth[1]] = 2, 1
    scores = score_run(masks_of_ids(ids, 2), truth)
    assert scores.matched.prediction == (1, 0)
    assert masks_of_ids(ids, 0).shape == (0, 3, *SIZE)


def test_a_missing_object_is_an_empty_mask_and_a_surplus_prediction_is_free():
    truth = masks(LEFT, RIGHT, [None, None, (9, 9, 2)])
    scores = score_run(truth[1:2], truth)
    assert scores.matched.prediction[1] == 0
    assert sorted(scores.matched.prediction) == [0, 1, 2]
    assert scores.matched.means()[0].tolist() == [0.0, 1.0, 2 / 3]  # two frames without the third object
    assert scores.fixed_id.means()[0][0] == 0.0
    many = np.concatenate([truth, masks([(2, 2, 1)] * 3, [(3, 3, 1)] * 3)])
    assert score_run(many, truth).matched.means()[0].tolist() == [1.0, 1.0, 1.0]


def test_ignore_is_left_out_of_both():
    truth = masks(LEFT)
    ignore = np.zeros((3, *SIZE), bool)
    ignore[:, :, 10:] = True
    wild = truth | ignore[None]
    assert score_run(wild, truth, ignore).matched.j.tolist() == [[1.0, 1.0, 1.0]]
    assert score_run(wild, truth).matched.j.max() < 0.5
    assert score_run(truth, wild, ignore).matched.j.tolist() == [[1.0, 1.0, 1.0]]  # where both, Ignore wins


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    frames, size = draw(st.integers(1, 3)), (draw(st.integers(1, 9)), draw(st.integers(1, 11)))
    shape = lambda n: rng.random((n, frames, *size)) < rng.random((n, 1, 1, 1))  # noqa: E731
    return shape(draw(st.integers(0, 4))), shape(draw(st.integers(1, 3))), rng.random((frames, *size)) < 0.2


@given(case=cases())
@settings(max_examples=60)
def test_all_pairs_equal_plain_loops_and_no_assignment_is_better(case):
    predictions, targets, ignore = case
    pairs = all_pairs(count_pairs(predictions, targets, ignore))
    total = max(len(predictions), len(targets))
    assert pairs.j.shape == pairs.f.shape == (total, len(targets), len(ignore))
    for p, g, t in itertools.product(range(total), range(len(targets)), range(len(ignore))):
        guess = predictions[p, t] if p < len(predictions) else np.zeros_like(ignore[t])
        truth = targets[g, t] & ~ignore[t]
        assert pairs.j[p, g, t] == float(oracle.j(guess, truth, ignore[t]))
        assert pairs.f[p, g, t] == oracle.f(guess, truth, ignore[t])
    worth = (pairs.j.mean(axis=2) + pairs.f.mean(axis=2)) / 2
    rows, columns = hungarian(pairs)
    assert sorted(columns.tolist()) == list(range(len(targets))) and sorted(rows.tolist()) == rows.tolist()
    best = max(
        math.fsum(worth[p, g] for g, p in enumerate(chosen))
        for chosen in itertools.permutations(range(total), len(targets))
    )
    assert math.fsum(worth[rows, columns]) == pytest.approx(best, abs=1e-12)
    by_object = matched(pairs)
    assert dict(zip(columns.tolist(), rows.tolist(), strict=True)) == dict(enumerate(by_object.prediction))
    assert np.array_equal(by_object.j[0], pairs.j[by_object.prediction[0], 0])
    straight = fixed_id(pairs)
    assert all(np.array_equal(straight.f[k], pairs.f[k, k]) for k in range(len(targets)))


def test_it_is_the_davis_protocol():
    """The same sequence through files and through masks: the independent scorer says one thing of both."""
    truth, guess = (np.stack(side) for side in drawn(5, [(1, (2, 0, 99)), (2, (1, 0, 3))], void=True))
    expected = {g: (j.mean(), f.mean()) for g, _, j, f in oracle_davis.pairs(truth, guess, "unsupervised")}
    found = score_run(masks_of_ids(guess, 2), masks_of_ids(truth, 2), truth == 255).matched
    j, f = found.means()
    assert {k + 1: (j[k], f[k]) for k in range(2)} == expected


def test_more_than_twenty_predictions_are_refused():
    truth = masks(LEFT)
    score_run(np.repeat(truth, 20, axis=0), truth)
    with pytest.raises(InputError, match="more than 20 proposals"):
        score_run(np.repeat(truth, 21, axis=0), truth)


def test_arrays_that_make_no_sense_are_refused():
    truth = masks(LEFT)
    for predictions, targets in (
        (truth.astype(np.uint8), truth),
        (truth[0], truth),
        (truth[:, :2], truth),
        (truth, truth[..., :5]),
    ):
        with pytest.raises(ValueError, match="masks must be bool"):
            count_pairs(predictions, targets)
    with pytest.raises(ValueError, match="P >= G"):
        all_pairs(np.zeros((1, 2, 3, 9), np.int64))
    values = np.zeros((1, 1, 3, 11), np.int64)
    check_scored(values)
    values[0, 0, 1, 1] = 1
    with pytest.raises(ValueError, match="no prediction"):
        check_scored(values)


def test_without_scipy_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(DataMissingError, match=r'pip install "refvps\[protocols\]"'):
        hungarian(AllPairs(np.ones((1, 1, 1)), np.ones((1, 1, 1))))
