"""Latent statistics and mismatches: against formulas in closed form."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from variolite.crystals.crystals import Latents
from variolite.crystals.model import latents as module
from variolite.errors import DataError


def latents(mean, log_variance=None):
    """Crystals of four atoms."""
    offsets = np.arange(0, len(mean) + 1, 4)
    variance = None if log_variance is None else log_variance.astype(np.float32)
    return Latents(mean.astype(np.float32), variance, offsets, offsets[1:].astype(str))


def test_statistics_are_those_of_posterior_draws():
    random = np.random.default_rng(0)
    mean = random.normal([0.0, 3.0, -1.0], [1.0, 2.0, 0.0], (4000, 3))
    log_variance = np.log(np.array([0.01, 1.0, 1.0])) + np.zeros((4000, 3))
    found = module.latent_statistics(latents(mean, log_variance))
    draws = mean + np.exp(0.5 * log_variance) * random.standard_normal(mean.shape)
    np.testing.assert_allclose(found.location, draws.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(found.scale, draws.std(axis=0), rtol=0.03)
    np.testing.assert_allclose(found.kl[2], 0.5 * ((mean[:, 2] ** 2).mean()), rtol=1e-5)
    scaled = found.standardised(draws)
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=0.03)
    np.testing.assert_allclose(found.restored(scaled), draws, atol=1e-5)
    # A dimension at the prior is not active; without variances nobody knows.
    mean, log_variance = mean[:, :2] * [1.0, 0.0], log_variance[:, :2]
    assert module.latent_statistics(latents(mean, log_variance)).active.tolist() == [True, False]
    unknown = module.latent_statistics(latents(mean))
    assert unknown.active.tolist() == [True, True]
    assert unknown.scale[1] == 1.0


def test_distances_agree_with_those_of_numpy_and_scipy():
    random = np.random.default_rng(3)
    for rows in (1, 2, 40):
        values = random.normal(size=(rows, 3))
        expected = np.quantile(values, (np.arange(1_000) + 0.5) / 1_000, axis=0)
        np.testing.assert_allclose(module._quantiles(values).T, expected, atol=1e-12)
    first, second = random.normal(size=(2000, 1)), random.exponential(size=(1500, 1))
    expected = wasserstein_distance(first[:, 0], second[:, 0])
    assert module.sliced_wasserstein(first, second) == pytest.approx(expected, rel=0.02)
    # Along a direction u two samples shifted by s lie |u_0 s| apart, whatever their shape.
    for dimensions in (1, 2, 4):
        rows = random.normal(size=(300, dimensions))
        directions = np.random.default_rng(0).standard_normal((dimensions, 256))
        shares = np.abs(directions[0]) / np.linalg.norm(directions, axis=0)
        found = module.sliced_wasserstein(rows, rows + 0.7 * np.eye(dimensions)[0])
        assert found == pytest.approx(0.7 * shares.mean(), abs=1e-9)


def test_a_mismatch_is_seen_where_there_is_one():
    random = np.random.default_rng(5)
    reference, alike = (latents(random.normal(size=(1600, 3))) for _ in range(2))
    other = latents(random.normal(0.8, 1.0, (1600, 3)))
    near, far = module.latent_mismatch(alike, reference), module.latent_mismatch(other, reference)
    assert near.crystals < 2.5 * near.crystals_floor
    assert near.classified < 0.6
    assert far.crystals > 3.0 * far.crystals_floor
    assert far.classified > 0.85
    for shape, message in (((80, 2), "dimensions"), ((8, 3), "at least 20")):
        with pytest.raises(DataError, match=message):
            module.latent_mismatch(latents(np.zeros(shape)), reference)
