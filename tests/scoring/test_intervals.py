"""Intervals and paired tests: coverage, shrinkage, exactness, and edge cases."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from variolite.errors import DataError
from variolite.scoring import intervals


def mean_of(values):
    """Weighted mean of one number per seed and group [S, G], as a statistic."""
    values = np.atleast_2d(np.asarray(values, dtype=float))
    return lambda weights: weights @ values.T / weights.sum(axis=1, keepdims=True)


def test_covers_a_mean_as_often_as_stated():
    rng, plan = np.random.default_rng(0), intervals.Bootstrap(resamples=400, level=0.9)
    samples = (mean_of(rng.normal(3.0, 2.0, size=30)) for _ in range(300))
    found = [intervals.bootstrap_interval(sample, 30, bootstrap=plan) for sample in samples]
    assert 0.83 < np.mean([interval.low <= 3.0 <= interval.high for interval in found]) < 0.95


def test_equal_to_resampling_by_hand():
    values = np.random.default_rng(1).normal(size=(3, 8))
    plan = intervals.Bootstrap(resamples=500, seed=4)
    groups, seeds = plan.groups(8), plan.seeds(3)
    slow = []
    for drawn, share in zip(groups, seeds, strict=True):
        per_seed = [np.repeat(row, drawn.astype(int)).mean() for row in values]
        slow.append(sum(s * p for s, p in zip(share, per_seed, strict=True)))
    low, high = np.percentile(np.array(slow) - np.mean(slow), [2.5, 97.5])
    interval = intervals.bootstrap_interval(mean_of(values), 8, bootstrap=plan)
    found = interval.mean, interval.low, interval.high
    assert found == pytest.approx(values.mean() + np.array([0.0, low, high]))
    assert (groups.sum(axis=1) == 8).all()
    np.testing.assert_allclose(seeds.sum(axis=1), 1.0)


def test_one_group_has_no_interval_and_none_is_an_error():
    interval = intervals.bootstrap_interval(mean_of([[2.0], [4.0]]), 1)
    assert interval.mean == 3.0
    assert np.isnan([interval.low, interval.high]).all()
    pair = intervals.paired_difference(mean_of([[2.0]]), mean_of([[1.0]]), 1)
    assert (pair.mean, pair.wins) == (1.0, 1)
    assert np.isnan([pair.low, pair.high, pair.p]).all()
    with pytest.raises(DataError, match="no group to score"):
        intervals.bootstrap_interval(mean_of([[]]), 0)
    for options, words in (({"resamples": 0}, "0 resamples"), ({"level": 1.0}, r"level 1\.0")):
        with pytest.raises(DataError, match=words):
            intervals.Bootstrap(**options)


def test_undefined_resamples_are_left_out():
    def only_with_the_first_group(weights):
        return np.where(weights[:, :1] > 0, weights[:, :1], np.nan)

    interval = intervals.bootstrap_interval(only_with_the_first_group, 5)
    assert np.isfinite([interval.mean, interval.low, interval.high]).all()
    nothing = intervals.bootstrap_interval(lambda weights: np.full((len(weights), 2), np.nan), 5)
    assert np.isnan([nothing.mean, nothing.low, nothing.high]).all()


def test_sign_flips_are_exact_for_few_groups_and_near_the_normal_p_for_many():
    for n in (2, 5, 9):
        values = np.random.default_rng(n).normal(0.4, 1.0, size=n)
        flips = [abs(np.dot(s, values)) for s in itertools.product([1, -1], repeat=n)]
        exact = np.mean([f >= abs(values.sum()) - 1e-12 for f in flips])
        assert intervals.sign_flip_p(values) == pytest.approx(exact)
    values = np.random.default_rng(3).normal(0.3, 1.0, size=60)
    assert intervals.sign_flip_p(values) == pytest.approx(ttest_1samp(values, 0.0).pvalue, abs=0.02)
    assert intervals.sign_flip_p(np.zeros(20)) == 1.0
    assert np.isnan(intervals.sign_flip_p([1.0]))


def test_paired_interval_ignores_what_both_share():
    rng = np.random.default_rng(5)
    shared = 10.0 * rng.normal(size=25)
    a, b = shared + 0.5 + 0.1 * rng.normal(size=25), shared + 0.1 * rng.normal(size=25)
    result = intervals.paired_difference(mean_of(a), mean_of(b), 25)
    assert result.low < result.mean < result.high < result.low + 0.3
    assert result.mean == pytest.approx(0.5, abs=0.1)
    assert result.p < 0.01
    assert result.wins + result.losses == 25
    assert result.wins == (a > b).sum() >= 24
    # For a mean, the contributions of the groups are the differences themselves.
    assert result.p == pytest.approx(intervals.sign_flip_p(a - b))
    swapped = intervals.paired_difference(mean_of(b), mean_of(a), 25)
    assert (swapped.mean, swapped.p) == pytest.approx((-result.mean, result.p))


def test_no_difference_is_seldom_significant():
    rng, plan = np.random.default_rng(7), intervals.Bootstrap(resamples=10)
    pairs = ([mean_of(rng.normal(size=12)) for _ in range(2)] for _ in range(300))
    low = [intervals.paired_difference(*pair, 12, bootstrap=plan).p < 0.05 for pair in pairs]
    assert np.mean(low) < 0.1


@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 99))
def test_group_means_are_weighted_means_of_rows(n_groups, n_seeds, seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(n_groups, size=30)
    rows = rng.normal(size=(n_seeds, 30))
    rows[rng.random(rows.shape) < 0.2] = np.nan
    means = intervals.group_means("x", rows, codes, tuple(str(i) for i in range(n_groups)))
    weights = rng.integers(0, 3, size=(4, n_groups)).astype(float)
    values = means.values(weights, ["x"])["x"]
    for b, s in np.ndindex(4, n_seeds):
        repeated = np.repeat(rows[s], weights[b].astype(int)[codes])
        known = repeated[np.isfinite(repeated)]
        expected = known.mean() if len(known) else np.nan
        assert values[b, s] == pytest.approx(expected, nan_ok=True)
    with pytest.raises(DataError, match="no finite value"):
        intervals.group_means("x", np.full(30, np.nan), codes, means.groups)


def test_intervals_of_several_scores_equal_those_of_one():
    codes, rows = np.repeat(np.arange(5), 20), np.random.default_rng(0).normal(size=(2, 100))
    means = intervals.group_means("silhouette", rows, codes, tuple("abcde"))
    alone = intervals.bootstrap_interval(lambda w: means.values(w, ["silhouette"])["silhouette"], 5)
    assert intervals.intervals_of(means)["silhouette"] == alone
