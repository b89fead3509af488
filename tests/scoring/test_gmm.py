"""The mixture against scikit-learn, closed forms, and awkward data."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture as ScikitMixture

from variolite.errors import DataError
from variolite.scoring.gmm import fit_gaussian_mixture


def clouds(n=600, d=3, k=4, seed=0, spread=3.0):
    rng = np.random.default_rng(seed)
    centres = spread * rng.normal(size=(k, d))
    mixing = rng.normal(size=(k, d, d))
    member = rng.integers(k, size=n)
    noise = np.einsum("nij,nj->ni", mixing[member], rng.normal(size=(n, d)))
    return centres[member] + 0.5 * noise, member


def scikit_from(x, start, k, iterations, reg_covar=1e-6):
    """scikit-learn's EM from given responsibilities."""

    class FromStart(ScikitMixture):
        def _initialize_parameters(self, X, random_state, xp=None):
            self._initialize(X, np.eye(k)[start])

    model = FromStart(k, max_iter=iterations, tol=0.0, reg_covar=reg_covar)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(x)


@pytest.mark.parametrize("iterations", [1, 5, 25])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_same_likelihood_per_row_as_scikit_learn(iterations, scale):
    x, member = clouds()
    x = x * np.array([scale, 1.0, 0.1]) + np.array([0.0, 300.0, -5.0])
    start = (member + (np.arange(len(x)) % 7 == 0)) % 4
    ours = fit_gaussian_mixture(x, 4, start=start, max_iter=iterations, tol=0.0)
    theirs = scikit_from(x, start, 4, iterations)
    assert np.abs(ours.score_samples(x) - theirs.score_samples(x)).max() < 1e-6
    assert ours.log_likelihood == pytest.approx(theirs.lower_bound_, abs=1e-8)
    assert ours.bic(x) == pytest.approx(theirs.bic(x), rel=1e-9)
    assert ours.n_parameters == theirs._n_parameters()
    assert (ours.predict(x) == theirs.predict(x)).all()


def test_one_component_is_the_sample_gaussian_and_the_likelihood_never_falls():
    x, _ = clouds(seed=3)
    mixture = fit_gaussian_mixture(x, 1)
    exact = multivariate_normal(x.mean(axis=0), np.cov(x.T, bias=True) + 1e-6 * np.eye(3))
    np.testing.assert_allclose(mixture.score_samples(x), exact.logpdf(x), atol=1e-9)
    settings = {"start": np.arange(len(x)) % 4, "tol": 0.0}
    fits = [fit_gaussian_mixture(x, 4, max_iter=m, **settings) for m in range(1, 15)]
    path = [mixture.log_likelihood for mixture in fits]
    assert np.diff(path).min() > -1e-7
    assert path[-1] > path[0] + 0.1


@given(seed=st.integers(0, 1000), shift=st.floats(-1e4, 1e4), scale=st.floats(1e-2, 1e2))
def test_shift_and_scale_of_the_data_change_nothing_but_the_units(seed, shift, scale):
    x, member = clouds(n=120, d=2, k=2, seed=seed)
    settings, other = {"start": member, "max_iter": 10, "tol": 0.0}, x * scale + shift
    plain = fit_gaussian_mixture(x, 2, reg_covar=1e-6, **settings)
    moved = fit_gaussian_mixture(other, 2, reg_covar=1e-6 * scale**2, **settings)
    difference = moved.score_samples(other) - plain.score_samples(x)
    np.testing.assert_allclose(difference, -2 * np.log(scale), atol=1e-5)


def test_finds_separated_clouds_and_repeats_by_seed():
    x, member = clouds(n=900, spread=20.0)
    first, second = (fit_gaussian_mixture(x, 4, seed=1, n_init=3) for _ in range(2))
    np.testing.assert_array_equal(first.means, second.means)
    assert first.converged
    assert len(set(zip(first.predict(x).tolist(), member.tolist(), strict=True))) == 4
    x, _ = clouds(n=400, k=8, seed=5, spread=1.0)
    one, five = (fit_gaussian_mixture(x, 8, seed=2, n_init=n, tol=1e-5) for n in (1, 5))
    assert five.log_likelihood >= one.log_likelihood


def test_empty_and_collapsed_components_and_collinear_features_survive():
    x, member = clouds(n=300, k=2, d=2)
    mixture = fit_gaussian_mixture(x, 3, start=member, tol=1e-6)
    assert len(np.unique(mixture.predict(x))) == 3
    assert np.isfinite(mixture.score_samples(x)).all()
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(200, 2)), np.full((50, 2), 8.0)])
    start = np.r_[np.zeros(200, int), np.ones(50, int)]
    mixture = fit_gaussian_mixture(x, 2, start=start)
    assert mixture.collapsed == (1,)
    assert np.isfinite(mixture.score_samples(x)).all()
    assert fit_gaussian_mixture(x[:200], 2).collapsed == ()
    far = mixture.score_samples(np.full((1, 2), 1e6))
    assert -np.inf < far[0] < -1e9
    collinear = np.c_[x[:, 0], np.full(250, 7.0), 2.0 * x[:, 0]]
    assert np.isfinite(fit_gaussian_mixture(collinear, 2).score_samples(collinear)).all()


@pytest.mark.parametrize(
    ("x", "k", "words"),
    [
        (np.zeros((3, 2)), 4, "cannot fit 4 clusters to 3 rows"),
        (np.zeros((3, 2)), 0, "cannot fit 0 clusters"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), 1, "NaN or infinite, the first in feature 1"),
        (np.zeros((0, 2)), 1, "is empty"),
        (np.zeros(5), 1, r"expected \(rows, features\)"),
        (np.array([["a"]]), 1, "is not a regular array of numbers"),
    ],
)
def test_bad_input_is_said_plainly(x, k, words):
    with pytest.raises(DataError, match=words):
        fit_gaussian_mixture(x, k)


def test_constant_features_count_as_nothing():
    x, member = clouds(n=400, d=2, k=3)
    padded = np.c_[x[:, :1], np.full(400, 7.1), x[:, 1:], np.zeros(400)]
    plain = fit_gaussian_mixture(x, 3, start=member % 3, max_iter=8, tol=0.0)
    wide = fit_gaussian_mixture(padded, 3, start=member % 3, max_iter=8, tol=0.0)
    assert wide.constant == (1, 3)
    assert (wide.collapsed, wide.n_parameters) == (plain.collapsed, plain.n_parameters)
    assert (wide.predict(padded) == plain.predict(x)).all()
    theirs = scikit_from(padded, member % 3, 3, 8)
    np.testing.assert_allclose(wide.score_samples(padded), theirs.score_samples(padded), atol=1e-6)
    assert wide.log_likelihood == pytest.approx(theirs.lower_bound_, abs=1e-7)
    only = fit_gaussian_mixture(np.full((5, 2), 3.0), 2)
    assert np.isfinite(only.score_samples(np.full((5, 2), 3.0))).all()
