"""Conditional draws from mixtures: against the formulas of normal distributions."""

from __future__ import annotations

import numpy as np

from variolite.crystals.generation.mixture import _conditional
from variolite.crystals.generation.prior import LatentPrior
from variolite.scoring.gmm import GaussianMixture


def normal(mean: np.ndarray, covariance: np.ndarray) -> GaussianMixture:
    return GaussianMixture(np.ones(1), mean[None], covariance[None], 0.0, 1, True)


def test_one_component_is_the_conditional_normal_distribution() -> None:
    random = np.random.default_rng(0)
    root = random.normal(size=(3, 3))
    covariance, mean = root @ root.T + 0.2 * np.eye(3), random.normal(size=3)
    rows = np.tile([np.nan, np.nan, 1.3], (40_000, 1))
    drawn = _conditional(normal(mean, covariance), rows, np.zeros((40_000, 1)), random, 1.0, 1.0)
    gain = covariance[:2, 2] / covariance[2, 2]
    expected = mean[:2] + gain * (1.3 - mean[2])
    rest = covariance[:2, :2] - np.outer(gain, covariance[2, :2])
    np.testing.assert_allclose(drawn[:, :2].mean(axis=0), expected, atol=0.03)
    np.testing.assert_allclose(np.cov(drawn[:, :2].T), rest, atol=0.06)
    assert (drawn[:, 2] == 1.3).all()


def test_components_are_weighed_by_what_is_given() -> None:
    mixture = GaussianMixture(
        np.array([0.5, 0.5]),
        np.array([[-5.0, 0.0], [5.0, 1.0]]),
        np.stack([np.diag([0.01, 1.0])] * 2),
        0.0,
        1,
        True,
    )
    random = np.random.default_rng(1)
    rows = np.tile([np.nan, 1.2], (20_000, 1))
    evidence = np.tile(np.log([0.3, 0.7]), (20_000, 1))
    drawn = _conditional(mixture, rows, evidence, random, 1.0, 1.0)
    odds = 0.3 * np.exp(-0.5 * 1.2**2), 0.7 * np.exp(-0.5 * 0.2**2)
    expected = odds[1] / sum(odds)
    assert abs((drawn[:, 0] > 0.0).mean() - expected) < 0.015
    certain = _conditional(mixture, rows[:500], evidence[:500], random, 1.0, 50.0)
    assert (certain[:, 0] > 0.0).all()


def test_rows_may_know_different_coordinates() -> None:
    random = np.random.default_rng(2)
    rows = np.array([[np.nan, 2.0, np.nan], [np.nan, np.nan, -1.0], [np.nan, np.nan, np.nan]])
    drawn = _conditional(normal(np.zeros(3), np.eye(3)), rows, np.zeros((3, 1)), random, 1.0, 1.0)
    assert np.isfinite(drawn).all()
    assert drawn[0, 1] == 2.0
    assert drawn[1, 2] == -1.0


def test_temperature_scales_the_spread(priors: dict[str, LatentPrior]) -> None:
    prior = priors["mixture"]
    known = prior.propose(200, seed=0)
    spread = []
    for temperature in (0.0, 1.0, 3.0):
        first, second = (
            prior.density.sample(known, seed=s, temperature=temperature, guidance=1.0, steps=1)
            for s in (0, 1)
        )
        spread.append(float(np.median(np.abs(first - second))))
    assert spread[0] < spread[1] < spread[2]
