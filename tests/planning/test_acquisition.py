"""Acquisition against integration, definitions and simulation."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm

from variolite.planning import acquisition

Floats = NDArray[np.float64]


def improvement(mean: float, sd: float, best: float) -> float:
    start = max(best, mean - 12 * sd)
    value, _ = quad(
        lambda v: (v - best) * norm.pdf(v, mean, sd),
        start,
        max(mean, best) + 12 * sd,
        epsabs=0,
        points=[max(mean, start)],
    )
    return float(value)


@pytest.mark.parametrize(
    ("mean", "sd", "best"),
    [(0.0, 1.0, 0.0), (2.0, 0.5, 1.0), (0.0, 1.0, 1.0), (0.0, 1.0, 1.1), (0.0, 2.0, 12.0)],
)
def test_log_expected_improvement_is_that_of_numerical_integration(
    mean: float, sd: float, best: float
) -> None:
    found = acquisition.log_expected_improvement(np.array([mean]), np.array([sd]), best)
    assert found[0] == pytest.approx(np.log(improvement(mean, sd, best)), abs=1e-7)


def test_log_expected_improvement_orders_candidates_that_underflow() -> None:
    mean = np.array([0.0, -50.0, -1e3, -1e6, -1e9])
    found = acquisition.log_expected_improvement(mean, np.ones(5), 1.0)
    assert np.isfinite(found).all()
    assert (np.diff(found) < 0).all()
    # Mills' ratio: far below, E[max(v - best, 0)] tends to pdf(z) / z^2.
    assert found[3] == pytest.approx(norm.logpdf(1e6 + 1) - 2 * np.log(1e6 + 1), rel=1e-9)


@given(st.floats(-5, 5), st.floats(0.01, 10), st.floats(1e-6, 20))
def test_gittins_index_makes_improvement_equal_cost(mean: float, sd: float, cost: float) -> None:
    index = acquisition.gittins_index(np.array([mean]), np.array([sd]), np.array([cost]))
    log_improvement = acquisition.log_expected_improvement(
        np.array([mean]), np.array([sd]), float(index[0])
    )
    assert log_improvement[0] == pytest.approx(np.log(cost), abs=1e-6)


def test_gittins_index_falls_with_cost_and_rises_with_what_is_unknown() -> None:
    same = np.zeros(4)
    falling = acquisition.gittins_index(same, np.ones(4), np.array([0.01, 0.1, 1.0, 10.0]))
    assert (np.diff(falling) < 0).all()
    assert falling[-1] == pytest.approx(-10.0, abs=1e-6)  # A sure loss: the mean less the cost.
    rising = acquisition.gittins_index(same, np.array([0.1, 0.5, 1.0, 5.0]), np.full(4, 0.05))
    assert (np.diff(rising) > 0).all()


def area(points: Floats, reference: Floats) -> float:
    """Area dominated by points, by summing over a grid of their coordinates."""
    points = np.maximum(points, reference)
    first = np.unique(np.r_[reference[0], points[:, 0]])
    total = 0.0
    for low, high in pairwise(first):
        reach = points[points[:, 0] >= high, 1]
        total += (high - low) * (reach.max(initial=reference[1]) - reference[1])
    return total


def test_hypervolume_improvement_is_that_of_simulation() -> None:
    random = np.random.default_rng(0)
    front = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 0.5], [1.5, 1.5], [-1.0, 9.0]])
    reference = np.zeros(2)
    mean = np.array([[2.5, 2.5], [1.0, 1.0], [3.5, 0.2], [0.5, 3.2]])
    sd = np.array([[0.5, 1.0], [1.0, 1.0], [0.3, 0.3], [0.7, 0.2]])
    found = acquisition.hypervolume_improvement(mean, sd, front, reference)
    before = area(front, reference)
    for place in range(4):
        draws = mean[place] + sd[place] * random.standard_normal((4000, 2))
        gains = np.array([area(np.vstack([front, d]), reference) - before for d in draws])
        assert found[place] == pytest.approx(gains.mean(), abs=4 * gains.std() / 4000**0.5)


def test_hypervolume_without_a_front_is_the_product_of_both_improvements() -> None:
    mean, sd = np.array([[1.0, 2.0]]), np.array([[0.5, 0.5]])
    found = acquisition.hypervolume_improvement(mean, sd, np.empty((0, 2)), np.zeros(2))
    assert found[0] == pytest.approx(improvement(1, 0.5, 0) * improvement(2, 0.5, 0), rel=1e-6)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 15))
def test_as_many_are_expected_above_the_threshold_as_asked(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    mean, sd, observed = random.normal(size=20), random.uniform(0.1, 2, 20), random.normal(size=5)
    level = acquisition.top_threshold(mean, sd, observed, count)
    chances = acquisition.top_probability(mean, sd, observed, count)
    # A measured value at the threshold itself makes the count jump by one.
    assert (observed > level + 1e-9).sum() + chances.sum() <= count + 1e-6
    assert (observed >= level - 1e-9).sum() + chances.sum() >= count - 1e-6


def test_top_probability_is_that_of_joint_draws_for_a_large_pool() -> None:
    random = np.random.default_rng(1)
    mean, sd = random.normal(size=400), random.uniform(0.2, 1, 400)
    found = acquisition.top_probability(mean, sd, np.empty(0), 40)
    draws = mean + sd * random.standard_normal((4000, 400))
    share = (draws >= np.sort(draws, axis=1)[:, [-40]]).mean(axis=0)
    assert np.abs(found - share).max() < 0.03


def test_thompson_counts_how_often_each_is_the_best() -> None:
    samples = np.array([[0.0, 1.0, 2.0], [5.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    assert acquisition.thompson(samples).tolist() == [0.25, 0.0, 0.75]


def covariance(seed: int, n: int) -> Floats:
    x = np.random.default_rng(seed).normal(size=(n, 2))
    return np.exp(-0.5 * ((x[:, None] - x) ** 2).sum(axis=-1)) + 1e-6 * np.eye(n)


def test_look_ahead_with_nothing_to_follow_is_the_probability() -> None:
    mean = np.random.default_rng(3).normal(size=30)
    cov = covariance(3, 30)
    found = acquisition.look_ahead(mean, cov, 1.0, size=1, later=0)
    np.testing.assert_allclose(found, norm.cdf((mean - 1.0) / np.sqrt(np.diag(cov))), atol=1e-9)


def test_look_ahead_values_knowledge_as_simulation_does() -> None:
    """The first pick's score: its chance, and what seeing it adds to the best ones after it."""
    random = np.random.default_rng(4)
    mean, cov, level, later, discount = random.normal(size=12), covariance(4, 12), 1.0, 3, 0.5
    found = acquisition.look_ahead(mean, cov, level, 1, later, discount)
    sd = np.sqrt(np.diag(cov))
    chance = norm.cdf((mean - level) / sd)
    usual = np.sort(chance)[-later:].sum()
    value = np.empty(12)
    for row in range(12):
        seen = random.standard_normal(4000)[:, None]
        slope = cov[row] / (np.sqrt(1.01) * sd[row])
        after = norm.cdf((mean + seen * slope - level) / np.sqrt(sd**2 - slope**2))
        after[:, row] = 0
        future = np.sort(after, axis=1)[:, -later:].sum(axis=1).mean()
        value[row] = chance[row] + discount * (future - usual)
    assert np.argmax(found) == np.argmax(value)
    np.testing.assert_allclose(found, value, atol=0.05)


def test_look_ahead_prefers_the_one_that_tells_of_others() -> None:
    # Equal chances; the first stands for nine more, the last stands alone.
    n = 11
    cov = np.full((n, n), 0.95) + 0.05 * np.eye(n)
    cov[-1, :-1] = cov[:-1, -1] = 0.0
    found = acquisition.look_ahead(np.zeros(n), cov, 0.8, size=1, later=5)
    assert np.argmax(found) != n - 1
    assert found[-1] == found.min()


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_a_batch_scores_above_the_rest_and_leaves_its_inputs_alone(seed: int, size: int) -> None:
    mean, cov = np.random.default_rng(seed).normal(size=12), covariance(seed, 12)
    kept = cov.copy()
    found = acquisition.look_ahead(mean, cov, 0.5, size, later=4)
    assert np.isfinite(found).all()
    assert (cov == kept).all()
    assert found.max() <= 1.5
