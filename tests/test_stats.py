"""Intervals and tests: hand cases, exact enumeration, seeds, clusters."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refvps import stats


def plain(values, groups=None):
    return stats.sample(values, groups or [f"g{k:03d}" for k in range(len(values))])


def test_mean_and_bounds_of_a_constant():
    found = stats.estimate(plain([0.25] * 9))
    assert (found.value, found.low, found.high, found.n, found.groups) == (0.25, 0.25, 0.25, 9, 9)


def test_one_group_has_no_bounds():
    found = stats.estimate(plain([0.1, 0.9], ["a", "a"]))
    assert (found.value, found.low, found.high) == (0.5, None, None)
    assert stats.estimate(plain([])).value is None


def test_golden_interval():
    values = [k / 16 for k in range(17)]
    found = stats.estimate(plain(values))
    assert (found.value, found.low, found.high) == (0.5, 0.352941, 0.647059)


def test_the_interval_agrees_with_the_normal_approximation():
    values = np.linspace(0, 1, 200).tolist()
    found = stats.estimate(plain(values))
    se = float(np.std(values)) / len(values) ** 0.5
    assert found.low == pytest.approx(0.5 - 1.96 * se, abs=0.004)
    assert found.high == pytest.approx(0.5 + 1.96 * se, abs=0.004)


def test_clusters_widen_the_interval():
    values = [0.0] * 20 + [1.0] * 20
    alone = stats.estimate(plain(values))
    clustered = stats.estimate(plain(values, [f"g{k // 10}" for k in range(40)]))
    assert clustered.value == alone.value
    assert clustered.high - clustered.low > 1.5 * (alone.high - alone.low)


@given(st.permutations(range(12)))
def test_order_does_not_matter(order):
    values, groups = [k / 11 for k in range(12)], [f"g{k % 5}" for k in range(12)]
    shuffled = stats.estimate(plain([values[k] for k in order], [groups[k] for k in order]), draws=500)
    assert shuffled == stats.estimate(plain(values, groups), draws=500)


def test_chunks_see_the_same_stream(monkeypatch):
    data = plain(np.linspace(0, 1, 30).tolist())
    whole = stats.resample(data, 1000, 3)
    monkeypatch.setattr(stats, "_CHUNK", 30 * 64)
    assert np.array_equal(stats.resample(data, 1000, 3), whole)


def test_classes_are_averaged_last():
    data = stats.sample([1.0, 0.0, 0.0, 0.0], ["a", "b", "c", "d"], ["x", "y", "y", "y"])
    assert stats.mean(data) == 0.5
    found = stats.estimate(data, draws=4000)
    assert found.low == 0.0
    assert found.high == 0.5


def test_sign_flip_equals_enumeration():
    differences = [0.3, 0.1, -0.05, 0.2, 0.15, 0.02, -0.1, 0.25]
    observed = abs(sum(differences))
    flips = list(itertools.product([-1, 1], repeat=len(differences)))
    extreme = sum(abs(sum(s * d for s, d in zip(f, differences, strict=True))) >= observed - 1e-12 for f in flips)
    p = stats.sign_flip(plain(differences), flips=20_000)
    assert p == pytest.approx(extreme / len(flips), abs=0.01)


def test_sign_flip_flips_whole_groups():
    ten = stats.sign_flip(plain([0.1] * 10))
    one_source = stats.sign_flip(plain([0.1] * 10, ["a"] * 10))
    assert ten < 0.01
    assert one_source == 1.0
    assert stats.sign_flip(plain([0.0] * 10)) == 1.0
    assert stats.sign_flip(plain([])) is None


def test_sign_flip_is_calibrated():
    rng = np.random.default_rng(1)
    p = [stats.sign_flip(plain(rng.normal(size=12).tolist()), flips=499) for _ in range(300)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09


def test_holm():
    assert stats.holm([0.01, 0.04, 0.03]) == [0.03, 0.06, 0.06]
    assert stats.holm([0.6, 0.7]) == [1.0, 1.0]
    assert stats.holm([]) == []


def test_rank_ranges():
    clear = [plain([0.9] * 8), plain([0.5] * 8), plain([0.1] * 8)]
    assert stats.rank_ranges(clear, higher_is_better=True, draws=200) == [(1, 1), (2, 2), (3, 3)]
    assert stats.rank_ranges(clear, higher_is_better=False, draws=200) == [(3, 3), (2, 2), (1, 1)]
    tied = [plain([0.2, 0.8] * 4), plain([0.8, 0.2] * 4)]
    assert stats.rank_ranges(tied, higher_is_better=True, draws=500) == [(1, 2), (1, 2)]
