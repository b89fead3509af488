"""Conditional draws of the fitted prior: against the closed form, and against rejection."""

import numpy as np
import pytest
from scipy.stats import kstest

from variolite.frameworks.generation.latent_prior import LatentPrior


def spd(random, n):
    root = random.normal(size=(n, n))
    return root @ root.T + 0.3 * np.eye(n)


def gaussian(latent=2, conditions=2, components=1, seed=0):
    random, size = np.random.default_rng(seed), latent + conditions
    weights = random.dirichlet(np.full(components, 3.0))
    means = random.normal(0.0, 2.0, (components, size))
    return LatentPrior(weights, means, np.array([spd(random, size) for _ in weights]), latent)


@pytest.mark.parametrize("given", [{}, {0: 1.5}, {1: -0.5}, {1: -0.5, 0: 2.0}])
def test_a_single_gaussian_is_drawn_from_in_closed_form(given):
    prior, n = gaussian(), 200_000
    latents, conditions = prior.sample(n, given, np.random.default_rng(1))
    assert (latents.shape, conditions.shape) == ((n, 2), (n, 2))
    mean, covariance = prior.means[0], prior.covariances[0]
    known = [2 + place for place in given]
    free = [i for i in range(4) if i not in known]
    # By the precision matrix, and not by the Schur complement.
    precision = np.linalg.inv(covariance)
    spread = np.linalg.inv(precision[np.ix_(free, free)])
    off = np.array(list(given.values())) - mean[known]
    centre = mean[free] - spread @ precision[np.ix_(free, known)] @ off
    rows = np.column_stack([latents, conditions])
    np.testing.assert_array_equal(rows[:, known], np.tile(list(given.values()), (n, 1)))
    np.testing.assert_allclose(rows[:, free].mean(0), centre, atol=0.03)
    np.testing.assert_allclose(np.cov(rows[:, free].T), spread, atol=0.06)


def test_of_a_mixture_it_draws_what_rejection_leaves():
    prior, random = gaussian(latent=2, conditions=1, components=3, seed=4), np.random.default_rng(0)
    every, condition = prior.sample(2_000_000, {}, random)
    for value in np.quantile(condition, [0.15, 0.5, 0.9]):
        near = every[np.abs(condition[:, 0] - value) < 0.02]
        assert len(near) > 2_000
        drawn = prior.sample(20_000, {0: float(value)}, random)[0]
        for i in range(2):
            assert kstest(near[:, i], drawn[:, i]).pvalue > 1e-3
    far = prior.sample(20_000, {0: float(np.quantile(condition, 0.9))}, random)[0]
    low = prior.sample(20_000, {0: float(np.quantile(condition, 0.15))}, random)[0]
    assert kstest(far[:, 0], low[:, 0]).pvalue < 1e-10, "the condition changes nothing here"


def test_values_that_no_component_is_near_are_drawn_for_too():
    latents, conditions = gaussian(components=3).sample(50, {0: 1e4}, np.random.default_rng(0))
    assert np.isfinite(latents).all()
    assert (conditions[:, 0] == 1e4).all()


def test_the_fit_finds_the_aggregate_posterior_of_two_clouds():
    random, n = np.random.default_rng(0), 600
    side = random.choice([-1.0, 1.0], n)
    mean = np.column_stack([3.0 * side, random.normal(size=n)])
    log_variance = np.log(np.full((n, 2), 0.25))
    conditions = (2.0 * side + 0.1 * random.normal(size=n))[:, None]
    prior = LatentPrior.fit(mean, log_variance, conditions, seed=0)
    assert len(prior.weights) == 2
    at = int(np.argmax(prior.means[:, 0]))
    np.testing.assert_allclose(prior.means[at], [3.0, 0.0, 2.0], atol=0.2)
    # Variance of the posterior means, and of a posterior, in the sum.
    np.testing.assert_allclose(np.diag(prior.covariances[at]), [0.25, 1.25, 0.011], atol=0.1)
    asked = prior.sample(500, {0: -2.0}, random)[0]
    assert (asked[:, 0] < 0).mean() > 0.99
    again = LatentPrior.fit(mean, log_variance, conditions, seed=0)
    np.testing.assert_array_equal(again.means, prior.means)


def test_fewer_rows_than_dimensions_have_one_component():
    random = np.random.default_rng(0)
    prior = LatentPrior.fit(random.normal(size=(6, 8)), np.zeros((6, 8)), np.zeros((6, 0)), seed=0)
    assert prior.means.shape == (1, 8)
    latents, conditions = prior.sample(5, {}, random)
    assert np.isfinite(latents).all()
    assert conditions.shape == (5, 0)
