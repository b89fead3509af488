"""What the estimator computes, against distributions known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from factor_table import OFFSET, SCALE, factor_covariance, factor_table
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from variolite import TabularVAE
from variolite.errors import DataError, SchemaError, TrainingError, VarioliteError
from variolite.recipe import ConstantBeta, CyclicalBeta, load_recipe
from variolite.training import TabularModel

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def trained(table: Array) -> TabularVAE:
    return TabularVAE(latent=2, epochs=50, patience=None).fit(table)


@pytest.fixture(scope="module")
def trained_on_gaps(gappy: Array) -> TabularVAE:
    return TabularVAE(latent=2, epochs=60, patience=None).fit(gappy)


def test_scores_come_close_to_the_true_log_density(trained: TabularVAE) -> None:
    rows = factor_table(2000, seed=9)
    truth = multivariate_normal(OFFSET, factor_covariance()).logpdf(rows)
    scores = trained.score_samples(rows, samples=64)
    assert truth.mean() - 0.1 < scores.mean() < truth.mean() + 0.02
    assert np.corrcoef(scores, truth)[0, 1] > 0.97
    assert trained.score(rows) == pytest.approx(trained.score_samples(rows).mean())


def test_more_importance_samples_tighten_the_bound(trained: TabularVAE) -> None:
    rows = factor_table(2000, seed=9)
    bounds = [trained.score_samples(rows, samples=k).mean() for k in (1, 8, 64)]
    assert bounds[0] < bounds[1] < bounds[2] + 0.01


def test_scores_are_densities_in_original_units(table: Array) -> None:
    factor = np.array([1000.0, 0.5, 4.0, 1.0])  # mostly powers of 2: no rounding in between
    first = TabularVAE(latent=2, epochs=5, warm_up=1).fit(table)
    second = TabularVAE(latent=2, epochs=5, warm_up=1).fit(table * factor)
    expected = first.score_samples(table) - np.log(factor).sum()
    np.testing.assert_allclose(second.score_samples(table * factor), expected, atol=0.05)


def test_sample_has_the_moments_of_the_table(trained: TabularVAE) -> None:
    drawn = trained.sample(20_000, random_state=0)
    sd = np.sqrt(np.diag(factor_covariance()))
    np.testing.assert_allclose((drawn.mean(axis=0) - OFFSET) / sd, 0.0, atol=0.1)
    scaled = (np.cov(drawn.T) - factor_covariance()) / np.outer(sd, sd)
    np.testing.assert_allclose(scaled, 0.0, atol=0.15)


def test_sample_repeats_with_its_seed_only(trained: TabularVAE) -> None:
    first, again = (trained.sample(5, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, trained.sample(5, random_state=4))


def test_reconstruction_is_the_decoded_posterior_mean(trained: TabularVAE, table: Array) -> None:
    decoded = trained.inverse_transform(trained.transform(table))
    np.testing.assert_allclose(trained.reconstruct(table), decoded, rtol=1e-5, atol=1e-4)
    model: TabularModel = trained.model_
    columns = {f"x{i}": table[:, i] for i in range(4)}
    slow = model.reconstruct(model.schema.apply(columns))[0]
    np.testing.assert_allclose(trained.reconstruct(table), slow, rtol=1e-6)
    residual = (table - decoded) / (SCALE * 0.4)
    assert 0.5 < residual.std() < 1.3


def test_posterior_draws_spread_about_the_mean(trained: TabularVAE, table: Array) -> None:
    rows = table[:50]
    draws = trained.sample_posterior(rows, 4000, random_state=0)
    assert draws.shape == (4000, 50, 2)
    mean, log_variance = trained.model_.posterior(
        trained.model_.schema.apply({f"x{i}": rows[:, i] for i in range(4)})
    )
    np.testing.assert_allclose(draws.mean(axis=0), trained.transform(rows), atol=0.06)
    np.testing.assert_allclose(draws.var(axis=0), np.exp(log_variance[0]), rtol=0.15)
    np.testing.assert_allclose(mean[0], trained.transform(rows), atol=1e-6)


def conditional_mean(row: Array) -> Array:
    """Fill a row with the expectation of the true Gaussian given what was observed."""
    gap = np.isnan(row)
    covariance = factor_covariance()
    weights = np.linalg.solve(covariance[np.ix_(~gap, ~gap)], row[~gap] - OFFSET[~gap])
    filled = row.copy()
    filled[gap] = OFFSET[gap] + covariance[np.ix_(gap, ~gap)] @ weights
    return filled


def test_impute_is_nearly_as_good_as_the_true_conditional_mean(
    trained_on_gaps: TabularVAE,
) -> None:
    truth = factor_table(2000, seed=9)
    gaps = np.random.default_rng(3).random(truth.shape) < 0.2
    gaps[gaps.all(axis=1)] = False
    rows = np.where(gaps, np.nan, truth)
    filled = trained_on_gaps.impute(rows)
    np.testing.assert_array_equal(filled[~gaps], truth[~gaps])

    sd = np.sqrt(np.diag(factor_covariance()))

    def error(values: Array) -> float:
        return float(np.sqrt(np.mean((((values - truth) / sd)[gaps]) ** 2)))

    best = error(np.array([conditional_mean(row) for row in rows]))
    assert best < error(filled) < 1.1 * best
    assert error(filled) < 0.75 * error(np.broadcast_to(OFFSET, truth.shape))


def test_impute_needs_gaps_in_training(trained: TabularVAE, gappy: Array) -> None:
    with pytest.raises(TrainingError, match="trained on complete rows"):
        trained.impute(gappy)
    complete = factor_table(10, seed=5)
    np.testing.assert_array_equal(trained.impute(complete), complete)


def test_rows_without_any_value_come_out_as_nan(trained_on_gaps: TabularVAE, gappy: Array) -> None:
    rows = gappy[:6].copy()
    rows[2] = np.nan
    latents = trained_on_gaps.transform(rows)
    assert np.isnan(latents[2]).all()
    others = np.delete(rows, 2, axis=0)
    np.testing.assert_allclose(
        np.delete(latents, 2, axis=0), trained_on_gaps.transform(others), atol=1e-5
    )
    assert np.isnan(trained_on_gaps.score_samples(rows)[2])
    assert np.isfinite(trained_on_gaps.score(rows))
    assert trained_on_gaps.sample_posterior(rows, 3).shape == (3, 6, 2)


def test_the_same_seed_gives_the_same_model(table: Array) -> None:
    def latents(seed: int) -> NDArray[np.float32]:
        return (
            TabularVAE(latent=2, epochs=4, warm_up=1, random_state=seed).fit(table).transform(table)
        )

    np.testing.assert_array_equal(latents(5), latents(5))
    assert not np.array_equal(latents(5), latents(6))


def test_the_best_of_several_starts_is_used(table: Array) -> None:
    def start(seed: int, members: int) -> TabularVAE:
        return TabularVAE(
            latent=2, epochs=6, warm_up=1, validation=None, random_state=seed, members=members
        ).fit(table)

    several = start(10, 3)
    monitored = np.array([epoch.val_monitored for epoch in several.history_])
    assert monitored.shape == (6, 3)
    assert several.member_ == monitored.min(axis=0).argmin()
    alone = start(10 + several.member_, 1)
    np.testing.assert_allclose(several.transform(table), alone.transform(table), atol=1e-4)
    assert np.ptp(monitored[-1]) > 1e-3


def test_transforms_by_column(table: Array) -> None:
    vae = TabularVAE(latent=2, epochs=3, warm_up=1, transforms={"x0": ["log", "standardise"]})
    vae.fit(table)
    steps = vae.model_.schema.schema.columns
    assert [len(steps[f"x{i}"].transform) for i in range(4)] == [2, 1, 1, 1]
    assert (vae.sample(500, random_state=0)[:, 0] > 0).all()


@pytest.mark.parametrize(
    ("beta", "warm_up", "expected"),
    [
        (2.0, 2, [0.0, 1.0, 2.0, 2.0]),
        (0.5, 0, [0.5, 0.5, 0.5, 0.5]),
        (ConstantBeta(value=0.25), 99, [0.25] * 4),
        ({"kind": "linear", "start": 1.0, "end": 0.0, "epochs": 1}, 5, [1.0, 0.0, 0.0, 0.0]),
    ],
)
def test_beta_follows_its_schedule(
    table: Array, beta: object, warm_up: int, expected: list[float]
) -> None:
    vae = TabularVAE(latent=2, epochs=4, beta=beta, warm_up=warm_up, patience=None)  # type: ignore[arg-type]
    assert [epoch.beta for epoch in vae.fit(table).history_] == expected


def test_recipe_stands_in_place_of_the_network_arguments(table: Array) -> None:
    recipe = load_recipe(
        "corelogs/default", ["training.epochs=6", "training.beta.epochs=2", "model.latent=3"]
    )
    vae = TabularVAE(latent=9, recipe=recipe, random_state=4).fit(table)
    assert vae.transform(table).shape[1] == 3
    assert vae.model_.module.architecture.encoder == recipe.model.encoder
    assert vae.model_.members[0].seed == 4
    assert list(vae.model_.schema.numeric_names) == ["x0", "x1", "x2", "x3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent": 0}, "model.latent"),
        ({"likelihood": "poisson"}, "model.likelihood"),
        ({"sigma2": 0.1}, "sigma2 and variance: fixed go together"),
        ({"epochs": 5, "warm_up": 5}, "beta schedule takes 5 epochs"),
        ({"beta": CyclicalBeta(epochs=10, cycles=10)}, "beta schedule takes 100 epochs"),
        ({"validation": 1.5}, "share to hold back is 1.5"),
        ({"members": 0}, "0 random starts"),
        ({"random_state": -1}, "the seed is -1"),
        ({"device": "tpu9"}, "no device called 'tpu9'"),
        ({"transforms": {"X0": "log"}}, "did you mean 'x0'"),
        ({"transforms": "sqrt"}, "unknown transform 'sqrt'"),
        ({"recipe": "corelogs/defaults"}, "did you mean corelogs/default"),
    ],
)
def test_impossible_arguments_are_explained(
    table: Array, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(VarioliteError, match=message):
        TabularVAE(**arguments).fit(table)  # type: ignore[arg-type]


def test_a_constant_column_is_named(table: Array) -> None:
    broken = table.copy()
    broken[:, 2] = 7.0
    with pytest.raises(SchemaError, match=r"'x2'.*7 in every training row"):
        TabularVAE().fit(broken)


def test_latent_points_of_another_model_are_refused(trained: TabularVAE) -> None:
    with pytest.raises(DataError, match="3 dimensions, the model has 2"):
        trained.inverse_transform(np.zeros((4, 3)))


def test_verbose_speaks_on_stderr(table: Array, capsys: pytest.CaptureFixture[str]) -> None:
    TabularVAE(latent=2, epochs=2, warm_up=1, verbose=True).fit(table)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "training: epoch 1/2: validation loss" in printed.err
    TabularVAE(latent=2, epochs=2, warm_up=1).fit(table)
    assert capsys.readouterr().err == ""
