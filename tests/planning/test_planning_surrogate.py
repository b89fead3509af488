"""The surrogate against scikit-learn, finite differences, and families it never saw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from variolite.errors import DataError
from variolite.planning import gaussian_process, next_batch, surrogate
from variolite.planning.surrogate import Surrogate
from variolite.progress import Progress

Floats = NDArray[np.float64]


def problem(n: int, seed: int, d: int = 5) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, d))
    return x, x[:, 0] + np.sin(2 * x[:, 1]) + 0.1 * random.normal(size=n)


def test_gaussian_process_is_that_of_scikit_learn() -> None:
    x, y = problem(40, 0)
    new, _ = problem(15, 1)
    noise = np.random.default_rng(2).uniform(0.05, 0.5, 40)
    ours = gaussian_process.GaussianProcess().fit(x, y, noise)
    scales, variance, white = (
        np.exp(ours.parameters[:5]),
        np.exp(ours.parameters[5]),
        np.exp(ours.parameters[6]),
    )
    theirs = GaussianProcessRegressor(
        ConstantKernel(variance) * Matern(scales, nu=2.5),
        alpha=white + (noise / y.std()) ** 2 + 1e-6,
        optimizer=None,
        normalize_y=True,
    ).fit(x, y)
    mean, covariance = theirs.predict(new, return_cov=True)
    np.testing.assert_allclose(ours.predict(new)[0], mean, atol=1e-8)
    np.testing.assert_allclose(ours.covariance(new), covariance, atol=1e-8)
    np.testing.assert_allclose(ours.predict(new)[1], np.sqrt(np.diag(covariance)), atol=1e-8)


def test_gradient_of_the_likelihood_is_that_of_finite_differences() -> None:
    x, y = problem(30, 0)
    known = np.random.default_rng(1).uniform(0, 0.1, 30)
    at = np.random.default_rng(2).normal(size=7) * 0.5
    _, gradient = gaussian_process._loss(at, x, y, known)
    numeric = approx_fprime(at, lambda p: gaussian_process._loss(p, x, y, known)[0], 1e-7)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-4)


def test_a_row_measured_badly_pulls_less() -> None:
    x, y = problem(40, 0)
    y[3] += 3.0
    noise = np.zeros(40)
    trusted = gaussian_process.GaussianProcess().fit(x, y, noise).predict(x[3:4])[0]
    noise[3] = 5.0
    doubted = gaussian_process.GaussianProcess().fit(x, y, noise).predict(x[3:4])[0]
    assert doubted < trusted - 0.5


@pytest.mark.parametrize("place", [0, 1])
def test_joint_and_single_predictions_agree(place: int) -> None:
    x, y = problem(60, 0)
    new, _ = problem(25, 1)
    model = Surrogate().models(x, y, np.zeros(60))[place]
    covariance = model.covariance(new)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), model.predict(new)[1], rtol=1e-6)
    assert np.linalg.eigvalsh(covariance).min() > -1e-8


def test_samples_have_the_mean_and_the_covariance_of_both_models() -> None:
    x, y = problem(60, 0)
    new, _ = problem(25, 1)
    fitted = Surrogate(folds=0).fit(x, y)
    found, covariance = fitted.predict(new), fitted.covariance(new)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), found.sd, rtol=1e-6)
    drawn = fitted.samples(new, 4000, seed=0)
    np.testing.assert_allclose(drawn.mean(axis=0), found.mean, atol=4 * found.sd.max() / 4000**0.5)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.1 * covariance.max())


def test_predictions_do_not_depend_on_how_rows_are_batched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = problem(40, 0)
    new, _ = problem(50, 1)
    fitted = Surrogate().fit(x, y)
    whole = fitted.predict(new)
    monkeypatch.setattr(next_batch, "_CHUNK", 7)
    parts = next_batch.predict([fitted], new, Progress())
    np.testing.assert_allclose(parts["mean"][:, 0], whole.mean, rtol=1e-9)
    np.testing.assert_allclose(parts["high"][:, 0], whole.high, rtol=1e-9)


class OnlyTrees(Surrogate):
    def models(self, x: Floats, y: Floats, *_: Any) -> tuple[surrogate.Model, ...]:
        return (surrogate.Trees().fit(x, y, self.seed),)


def test_intervals_hold_for_families_that_were_left_out() -> None:
    """Each family has its own shift: rows of one family alone would look far too sure."""
    inside, claimed = [], []
    for seed in range(12):
        random = np.random.default_rng(seed)
        family = np.repeat(np.arange(60), 4)
        x = random.normal(size=(60, 4))[family] + 0.05 * random.normal(size=(240, 4))
        y = x[:, 0] + random.normal(size=60)[family] + 0.05 * random.normal(size=240)
        seen = family < 25
        fitted = OnlyTrees(seed=seed).fit(x[seen], y[seen], groups=family[seen])
        found = fitted.predict(x[~seen])
        inside.append(np.mean((found.low <= y[~seen]) & (y[~seen] <= found.high)))
        claimed.append(fitted.calibration[90])
    assert 0.86 < np.mean(inside) < 0.95
    assert 86 < np.mean(claimed) < 95


def test_the_same_seed_gives_the_same_prediction() -> None:
    x, y = problem(30, 0)
    first, second = (Surrogate(seed=3).fit(x, y).predict(x) for _ in range(2))
    assert (first.mean == second.mean).all()
    assert (first.low == second.low).all()


def test_equal_targets_and_constant_features_are_fine() -> None:
    x, _ = problem(20, 0)
    x[:, 2] = 4.0
    found = Surrogate().fit(x, np.full(20, 2.5)).predict(x)
    np.testing.assert_allclose(found.mean, 2.5)
    assert np.isfinite(found.high).all()
    assert (found.sd > 0).all()


def test_two_rows_are_enough_and_one_is_not() -> None:
    x, y = problem(10, 0)
    found = Surrogate().fit(x[:2], y[:2]).predict(x)
    assert np.isfinite(found.low).all()
    with pytest.raises(DataError, match="two measured rows"):
        Surrogate().fit(x[:1], y[:1])


def test_what_is_not_finite_is_an_error() -> None:
    x, y = problem(10, 0)
    x[2, 1] = np.nan
    with pytest.raises(DataError, match="finite"):
        Surrogate().fit(x, y)


def test_a_joint_distribution_of_a_whole_pool_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = problem(20, 0)
    monkeypatch.setattr(surrogate, "_MOST_JOINT", 10)
    with pytest.raises(DataError, match="20 candidates"):
        Surrogate(folds=0).fit(x, y).samples(x, 3, 0)


def test_rows_are_weighted_to_lie_as_the_pool_does() -> None:
    pool = np.arange(100.0)
    expected = np.r_[np.linspace(80, 99, 30), [5.0, 10.0], [30.0], [60.0]]
    weight = surrogate._shares(expected, pool)
    quarter = (expected // 25).astype(int)
    np.testing.assert_allclose(np.bincount(quarter, weights=weight), np.ones(4))


def test_a_pool_unlike_the_measured_rows_narrows_intervals_of_a_greedy_campaign() -> None:
    """High values scatter more: rows measured there must not set the width for all."""
    random = np.random.default_rng(0)
    x = random.normal(size=(600, 3))
    y = x[:, 0] + np.where(x[:, 0] > 0.8, 1.5, 0.1) * random.normal(size=600)
    seen = np.r_[np.flatnonzero(x[:, 0] > 0.8)[:60], np.flatnonzero(x[:, 0] < 0.8)[:30]]
    left = np.setdiff1d(np.arange(600), seen)
    widths = {}
    for name, pool in (("alone", None), ("pool", x)):
        fitted = Surrogate().fit(x[seen], y[seen], pool=pool)
        found = fitted.predict(x[left])
        widths[name] = float((found.high - found.low).mean())
        if pool is not None:
            assert np.mean((found.low <= y[left]) & (y[left] <= found.high)) > 0.8
    assert widths["pool"] < 0.9 * widths["alone"]
