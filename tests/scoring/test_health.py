"""Latent health: numbers against closed forms, findings against latent spaces made to fail."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from variolite.errors import DataError
from variolite.scoring.health import evaluate_health, posterior_information

NAMES = ("gamma", "density", "porosity")


def healthy(n=2000, seed=0):
    """Two dimensions that follow the prior as a whole, one idle, three inputs."""
    rng = np.random.default_rng(seed)
    variance = np.array([0.1, 0.2, 1.0])
    mean = rng.normal(size=(n, 3)) * np.sqrt(1.0 - variance)
    log_variance = np.tile(np.log(variance), (n, 1))
    inputs = np.c_[mean[:, 0], np.exp(mean[:, 1]), mean[:, 0] - mean[:, 1]]
    return mean, log_variance, inputs + 0.1 * rng.normal(size=(n, 3))


def found(health, words):
    return [f.level for f in health.findings if words in f.text]


def levels(health):
    return found(health, "")


def test_numbers_of_a_healthy_space():
    mean, log_variance, inputs = healthy()
    health = evaluate_health(mean, log_variance, inputs, NAMES, noise={"gamma": 0.3})
    closed = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).mean(axis=0)
    np.testing.assert_allclose([d.kl for d in health.dimensions], closed)
    assert health.total_kl == pytest.approx(closed.sum())
    assert health.active_units == 2
    assert [d.active for d in health.dimensions] == [True, True, False]
    assert levels(health)[0] == "ok"
    assert "warning" not in levels(health)
    assert found(health, "1 of 3 dimensions stay at the prior")
    assert_rank_correlations(health.dimensions[:2], mean, inputs)


def test_a_space_on_another_scale_is_as_healthy_beside_a_prior_on_that_scale():
    mean, log_variance, inputs = healthy()
    shift, scale = np.array([3.0, -2.0, 7.0]), np.array([0.2, 4.0, 0.5])
    moved = mean * scale + shift, log_variance + 2.0 * np.log(scale)
    health = evaluate_health(*moved, inputs, NAMES, prior=(shift, scale**2))
    expected = evaluate_health(mean, log_variance, inputs, NAMES)
    np.testing.assert_allclose(
        [d.kl for d in health.dimensions], [d.kl for d in expected.dimensions], atol=1e-9
    )
    assert levels(health) == levels(expected)
    assert found(evaluate_health(*moved, inputs, NAMES), "do not follow the prior")


def assert_rank_correlations(dimensions, mean, inputs):
    for dimension in dimensions:
        for name, column in zip(NAMES, inputs.T, strict=True):
            known = np.isfinite(column)
            expected = spearmanr(mean[known, dimension.index], column[known]).statistic
            assert dimension.correlation[name] == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(st.integers(0, 100))
def test_rank_correlation_with_ties_and_gaps(seed):
    rng = np.random.default_rng(seed)
    mean = rng.integers(0, 5, size=(40, 2)).astype(float)
    inputs = rng.integers(0, 4, size=(40, 3)).astype(float)
    inputs[rng.random(inputs.shape) < 0.3] = np.nan
    health = evaluate_health(mean, np.zeros((40, 2)), inputs, NAMES)
    assert_rank_correlations(health.dimensions, mean, inputs)


def test_collapse_is_a_warning_with_advice():
    rng = np.random.default_rng(0)
    mean = 0.05 * rng.normal(size=(500, 4))
    health = evaluate_health(mean, np.zeros((500, 4)), rng.normal(size=(500, 3)), NAMES)
    assert health.active_units == 0
    assert health.findings[0].level == "warning"
    assert "none of 4 dimensions" in health.findings[0].text
    assert "beta" in health.findings[0].advice
    assert "ok" not in levels(health)


def test_dimensions_that_are_too_few_or_carry_the_same():
    mean, log_variance, inputs = healthy()
    health = evaluate_health(mean[:, :2], log_variance[:, :2], inputs, NAMES)
    assert found(health, "may be too small")
    alone, spread = mean.copy(), log_variance.copy()
    alone[:, 1], spread[:, 1] = 0.0, 0.0
    assert found(evaluate_health(alone, spread, inputs, NAMES), "Only 1 of 3")
    mean[:, 2], log_variance[:, 2] = -mean[:, 1], log_variance[:, 1]
    health = evaluate_health(mean, log_variance, inputs, NAMES)
    warnings = [f.text for f in health.findings if f.level == "warning"]
    assert warnings == ["Dimensions 1 and 2 carry the same (correlation -1.00)"]


def test_inputs_without_influence_or_variation():
    mean, log_variance, inputs = healthy()
    inputs[:, 1] = np.random.default_rng(1).normal(size=len(inputs))
    inputs[:, 2] = 7.0
    health = evaluate_health(mean, log_variance, inputs, NAMES)
    assert found(health, "Input density is followed by no dimension")
    assert found(health, "Input porosity does not vary")
    assert not found(health, "Input gamma")
    assert health.to_dict()["dimensions"][0]["correlation"]["porosity"] is None


@pytest.mark.parametrize(
    ("sigma", "words", "level"),
    [
        (0.97, "hardly reconstructed", "note"),
        (0.005, "reproduced almost exactly", "note"),
        (float("nan"), "not a standard deviation", "warning"),
    ],
)
def test_noise_levels(sigma, words, level):
    health = evaluate_health(*healthy(), NAMES, noise={"gamma": sigma, "density": 0.4})
    assert found(health, words) == [level]


def test_far_rows_and_mismatch_with_the_prior():
    mean, log_variance, inputs = healthy()
    for factor, expected in ((1.0, False), (3.0, True)):
        health = evaluate_health(factor * mean, log_variance, inputs, NAMES)
        assert bool(found(health, "do not follow the prior")) is expected
    mean[:3, 0] = 40.0
    assert found(evaluate_health(mean, log_variance, inputs, NAMES), "3 of 2000 rows")


def test_file_content_has_the_agreed_shape():
    body = evaluate_health(*healthy(), NAMES, noise={"gamma": 0.3}).to_dict()
    assert list(body) == ["latent", "active_units", "total_kl", "noise", "dimensions", "findings"]
    assert list(body["dimensions"][0]) == ["index", "kl", "active", "mean_sd", "correlation"]
    assert list(body["findings"][0]) == ["level", "text", "advice"]
    assert json.loads(json.dumps(body, allow_nan=False)) == body
    _, log_variance, inputs = healthy()
    with pytest.raises(DataError, match="NaN or infinite"):
        evaluate_health(np.full_like(inputs, np.nan), log_variance, inputs, NAMES)


def test_information_of_rows_and_latents():
    rng = np.random.default_rng(0)
    rho = np.array([0.9, 0.5, 0.0])
    # Posteriors of a linear model: jointly normal with correlation rho in every dimension.
    mean = rho * rng.standard_normal((4000, 3))
    log_variance = np.tile(np.log(1 - rho**2), (4000, 1))
    expected = -0.5 * np.log(1 - rho**2).sum()
    assert posterior_information(mean, log_variance) == pytest.approx(expected, abs=0.05)
    nothing = np.zeros((500, 3))
    assert posterior_information(nothing, nothing) == pytest.approx(0.0, abs=1e-12)
    apart = np.arange(50.0)[:, None] * 100
    assert posterior_information(apart, np.zeros((50, 1))) == pytest.approx(np.log(50))
