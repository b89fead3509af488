"""Data whose right answer is known: exact likelihood, number of factors, heavy tails."""

import numpy as np
import polars as pl
import pytest
from toy_tables import LINEAR, fit, fitted, linear_rows, small, table_of


def _fit(schema, records, model, rows, **spec):
    settings = {"epochs": 60, "batch_size": 128, "learning_rate": 0.02, "patience": 15} | spec
    training, validation = records.take(np.arange(rows[0])), records.take(np.arange(*rows))
    return fit(schema, training, validation, model, **settings)


def _principal_components_log_likelihood(training, held_out, factors):
    """Mean log-density of held-out rows under the fit of Tipping and Bishop (1999)."""
    centre = training.mean(0)
    variance, direction = np.linalg.eigh(np.cov(training.T, bias=True))
    variance, direction = variance[::-1], direction[:, ::-1]
    noise = variance[factors:].mean()
    loadings = direction[:, :factors] * np.sqrt(variance[:factors] - noise)
    covariance = loadings @ loadings.T + noise * np.eye(training.shape[1])
    offset = held_out - centre
    distance = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariance), offset)
    constant = np.linalg.slogdet(covariance)[1] + training.shape[1] * np.log(2.0 * np.pi)
    return float(-0.5 * (distance + constant).mean())


def test_a_linear_vae_reaches_the_exact_likelihood_of_principal_components():
    values = linear_rows(4_000, columns=8, factors=3, noise=0.4)
    exact = _principal_components_log_likelihood(values[:3_000], values[3_000:], 3)
    # No transform: the noise is the same in every column, as the exact model has it.
    schema, records = table_of(values, {"transform": []})
    model = small(latent=3, **LINEAR)
    trained = _fit(schema, records, model, (2_500, 3_000), epochs=150, patience=None).model
    held_out = records.take(np.arange(3_000, 4_000))
    assert trained.evidence(held_out).mean() == pytest.approx(exact, abs=0.1)
    assert trained.evidence(held_out, samples=50).mean() == pytest.approx(exact, abs=0.03)
    assert np.median(trained.noise()) == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize(("sigma2", "expected"), [(0.1, 4), (0.5, 3), (1.5, 2), (4.0, 0)])
def test_a_dimension_is_active_where_its_eigenvalue_exceeds_the_noise(sigma2, expected):
    schema, records = table_of(linear_rows(2_000, columns=6, factors=4, noise=0.2))
    eigenvalues = np.linalg.eigvalsh(np.cov(records.numeric.T))
    assert int((eigenvalues > sigma2).sum()) == expected
    model = small(latent=5, variance="fixed", sigma2=sigma2, **LINEAR)
    trained = _fit(schema, records, model, (1_600, 2_000), epochs=80)
    assert trained.history[trained.best_epochs[0]].active_units == [expected]
    mean, log_variance = trained.model.posterior(records)
    kl = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1.0).mean((0, 1))
    assert int((kl > 0.01).sum()) == expected


@pytest.mark.parametrize("variance", ["feature", "row"])
def test_student_t_beats_the_gaussian_on_heavy_tails(variance):
    tails = np.random.default_rng(1).standard_t(1.5, size=(2_000, 4))
    values = 5.0 + 20.0 * (linear_rows(2_000, noise=0.0) + 0.1 * tails)
    schema, records = table_of(values)
    found = {}
    for kind in ("gaussian", "student_t"):
        model = small(latent=3, encoder=(16,), decoder=(16,), likelihood=kind, variance=variance)
        trained = _fit(schema, records, model, (1_300, 1_500), epochs=40, learning_rate=0.01)
        assert all(np.isfinite(r.val_monitored).all() for r in trained.history)
        bound = trained.model.evidence(records.take(np.arange(1_500, 2_000)))
        assert np.isfinite(bound).all()
        found[kind] = bound.mean()
    assert found["student_t"] > found["gaussian"] + 0.5


def test_only_the_heavy_column_needs_student_t():
    values = linear_rows(1_500, columns=3, factors=1)
    values[:, 1] += 0.3 * np.random.default_rng(2).standard_t(1.5, size=1_500)
    columns = {"a": {}, "b": {"likelihood": "student_t"}, "c": {}}
    table = fitted(pl.DataFrame(values, schema=list(columns)), columns)
    model = _fit(*table, small(latent=1, **LINEAR), (1_200, 1_500)).model
    assert model.module.architecture.likelihoods == ("gaussian", "student_t", "gaussian")
    assert np.isfinite(model.noise()).all()
    free = model.module.free.detach()[0, 0].tolist()
    assert free[::2] == [2.0, 2.0]
    assert free[1] < 2.0, "the tails were not noticed"


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
@pytest.mark.parametrize("variance", ["feature", "row"])
def test_wild_outliers_give_no_nan(likelihood, variance):
    values = linear_rows(600)
    values[::50] *= 1e6
    schema, records = table_of(values)
    model = small(encoder=(16,), decoder=(16,), likelihood=likelihood, variance=variance)
    trained = _fit(schema, records, model, (500, 600), epochs=20).model
    assert np.isfinite(trained.evidence(records)).all()
    assert np.isfinite(trained.encode(records)).all()
