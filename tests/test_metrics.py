"""The metric page: perfect, empty, golden and property cases, against the oracle."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from refvps import metrics
from refvps.metrics import boundary, region, temporal
from refvps.metrics.catalogue import METRICS, Series


def masks(max_side=24):
    sides = st.tuples(st.integers(1, max_side), st.integers(1, max_side))
    return sides.flatmap(lambda size: st.tuples(*(arrays(np.bool_, size) for _ in range(3))))


@given(masks())
@settings(max_examples=700)
def test_counts_j_and_f_equal_the_oracle(three):
    p, g, i = three
    counts = region.region_counts(p, g, i)
    assert counts == oracle.areas(p, g, i)
    assert metrics.jaccard(p, g, i) == float(oracle.j(p, g, i))
    assert boundary.boundary_counts(p, g & ~i, i) == oracle.f_counts(p, g, i)
    assert boundary.boundary_f(p, g & ~i, i) == oracle.f(p, g, i)


@given(masks())
@settings(max_examples=300)
def test_ignore_is_the_same_as_removing_it_from_both(three):
    p, g, i = three
    assert metrics.jaccard(p, g, i) == metrics.jaccard(p & ~i, g & ~i)
    assert boundary.boundary_f(p, g & ~i, i) == boundary.boundary_f(p & ~i, g & ~i)


@given(masks())
@settings(max_examples=300)
def test_j_is_symmetric_bounded_and_one_only_for_equality(three):
    p, g, _ = three
    value = metrics.jaccard(p, g)
    assert value == metrics.jaccard(g, p)
    assert 0 <= value <= 1
    assert (value == 1) == bool((p == g).all())


@given(masks())
@settings(max_examples=200)
def test_the_two_other_ignore_rules_relabel_ignore(three):
    p, g, i = three
    counts = region.region_counts(p, g, i)
    assert region.jaccard_from_counts(*counts, rule="background") == metrics.jaccard(p, g & ~i)
    assert region.jaccard_from_counts(*counts, rule="target") == metrics.jaccard(p, g | i)


def test_perfect_and_empty_inputs():
    g = np.zeros((5, 7, 9), bool)
    g[1:, 2:4, 3:5] = True
    assert (metrics.jaccard(g, g) == 1).all()
    assert metrics.jaccard(~g[1], g[1]) == 0
    assert metrics.jaccard(np.zeros((3, 3), bool), np.zeros((3, 3), bool)) == 1
    assert metrics.jaccard(np.ones((3, 3), bool), np.zeros((3, 3), bool)) == 0


def test_ground_truth_that_is_all_ignore():
    everywhere = np.ones((4, 4), bool)
    nothing = np.zeros((4, 4), bool)
    partly = np.zeros((4, 4), bool)
    partly[:2] = True
    assert metrics.jaccard(everywhere, nothing, everywhere) == 1
    assert metrics.jaccard(everywhere, nothing, partly) == 0
    assert metrics.jaccard(partly, nothing, partly) == 1


def test_a_full_frame_mask_has_no_boundary():
    full, empty = np.ones((6, 6), bool), np.zeros((6, 6), bool)
    assert boundary.boundary_f(full, empty) == 1.0
    assert metrics.jaccard(full, empty) == 0.0


@pytest.mark.parametrize(("size", "pixels"), [((480, 854), 8), ((576, 1024), 10), ((1280, 720), 12)])
def test_boundary_tolerance_of_common_sizes(size, pixels):
    assert boundary.tolerance(size) == pixels


def test_soft_and_mismatched_masks_are_refused():
    with pytest.raises(ValueError, match="bool"):
        metrics.jaccard(np.zeros((2, 2)), np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="shape"):
        metrics.jaccard(np.zeros((2, 2), bool), np.zeros((2, 3), bool))
    with pytest.raises(ValueError, match="rule"):
        metrics.jaccard_from_counts(1, 1, 1, rule="maybe")


# J of the first and last quarter and the borders, worked by hand from DAVIS's rule
@pytest.mark.parametrize(
    ("frames", "borders"), [(1, [0, 0, 0, 0, 0]), (5, [0, 1, 2, 3, 4]), (408, [0, 102, 204, 305, 407])]
)
def test_decay_borders(frames, borders):
    found = (np.round(np.linspace(1, frames, 5) + 1e-10) - 1).astype(np.int64).tolist()
    assert found == borders
    values = np.arange(frames, dtype=float)
    first, last = values[found[0] : found[1] + 1].mean(), values[found[3] : found[4] + 1].mean()
    assert metrics.decay(values) == pytest.approx(first - last, abs=1e-12)


def test_decay_does_not_wrap_beyond_256_frames():
    falling = np.linspace(1, 0, 408)
    assert metrics.decay(falling) == pytest.approx(0.75, abs=0.01)
    wrapped = (np.round(np.linspace(1, 408, 5) + 1e-10) - 1).astype(np.uint8)
    assert wrapped.tolist() != sorted(wrapped.tolist())  # what the peers do


def test_recall_is_strict():
    assert metrics.recall(np.array([0.5, 0.5, 0.500001, 1.0])) == 0.5


def test_last_quarter_starts_at_int_of_three_quarters():
    assert metrics.last_quarter(np.arange(10.0)) == 8.0  # frames 7, 8, 9
    assert metrics.last_quarter(np.array([0.25])) == 0.25


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60))
def test_temporal_consistency_forms(values):
    j = np.array(values)
    tc = metrics.temporal_consistency(j)
    assert tc == pytest.approx(sum(abs(b - a) for a, b in zip(values, values[1:], strict=False)) / (len(values) - 1))
    assert temporal.temporal_consistency_over_frames(j) == pytest.approx(tc * (len(j) - 1) / len(j))
    signed = sum(b - a for a, b in zip(values, values[1:], strict=False)) / len(values)
    assert temporal.temporal_consistency_signed(j) == pytest.approx(signed, abs=1e-12)
    assert temporal.temporal_consistency_visible(j, np.ones(len(j), bool)) == tc
    assert temporal.temporal_consistency_visible(j, np.zeros(len(j), bool)) is None


def test_one_frame_has_no_temporal_consistency():
    one = np.array([0.3])
    assert metrics.temporal_consistency(one) is None
    assert temporal.temporal_consistency_over_frames(one) is None
    assert temporal.temporal_consistency_signed(one) is None


def series(both, p, g, pi=0, i=0, missing=None):
    n = len(p)
    columns = [np.broadcast_to(np.asarray(x, np.int64), n).copy() for x in (both, p, g, pi, i)]
    return Series(*columns, missing=np.zeros(n, bool) if missing is None else np.array(missing))


def test_an_empty_prediction_scores_the_share_of_empty_frames():
    s = series(0, [0, 0, 0, 0], [0, 5, 5, 0])
    assert METRICS["J"].compute(s) == 0.5
    assert METRICS["TC"].compute(s) == pytest.approx(2 / 3)
    assert METRICS["TC_visible"].compute(s) == 0.0
    assert METRICS["empty"].compute(s) == 1.0
    assert METRICS["area_ratio"].compute(s) == 0.0
    assert METRICS["J_visible"].compute(s) == 0.0


def test_missing_frames_never_help():
    whole = series([0, 2, 0], [0, 2, 0], [0, 4, 0])
    partial = series([0, 2, 0], [0, 2, 0], [0, 4, 0], missing=[True, False, False])
    assert METRICS["J"].compute(whole) == pytest.approx(2.5 / 3)
    assert METRICS["J"].compute(partial) == pytest.approx(1.5 / 3)  # 0 although the target is empty there
    for name, metric in METRICS.items():
        if metric.spans_frames or name == "J_decay":
            assert metric.compute(partial) is None
    assert partial.jaccard("target")[0] == 0


def test_every_metric_says_what_it_needs():
    s = series([1, 1], [2, 2], [2, 2])
    for metric in METRICS.values():
        assert metric.meaning
        assert metric.source
        assert metric.better in ("higher", "lower", "-")
        if metric.needs_boundary:
            with pytest.raises(ValueError, match="boundary counts"):
                metric.compute(s)
        else:
            metric.compute(s)
    with_edges = Series(
        s.both, s.prediction, s.target, s.prediction_ignore, s.ignore, s.missing, np.ones((4, 2), np.int64)
    )
    assert METRICS["F"].compute(with_edges) == 1.0
    assert METRICS["J&F"].compute(with_edges) == pytest.approx((1 / 3 + 1) / 2)


@pytest.mark.parametrize(
    "module", ["refvps.metrics.region", "refvps.metrics.boundary", "refvps.metrics.temporal", "refvps.stats"]
)
def test_the_examples_in_the_docstrings(module):
    result = doctest.testmod(importlib.import_module(module), extraglobs={"np": np})
    assert result.attempted > 0
    assert result.failed == 0
