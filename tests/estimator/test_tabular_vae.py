"""What the estimator computes, against distributions known in closed form."""

import numpy as np
import pytest
from factor_table import COVARIANCE, OFFSET, SCALE, factor_table
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from variolite import TabularVAE
from variolite.errors import DataError, TrainingError, VarioliteError
from variolite.recipe import ConstantBeta, CyclicalBeta, load_recipe

Array = NDArray[np.float64]
SD = np.sqrt(np.diag(COVARIANCE))
ROWS = factor_table(2000, seed=9)


@pytest.fixture(scope="module")
def trained(table):
    return TabularVAE(latent=2, epochs=50, patience=None).fit(table)


@pytest.fixture(scope="module")
def gappy(table):
    """The table with a fifth of its values missing at random."""
    return np.where(np.random.default_rng(2).random(table.shape) < 0.2, np.nan, table)


@pytest.fixture(scope="module")
def trained_on_gaps(gappy):
    return TabularVAE(latent=2, epochs=60, patience=None).fit(gappy)


def test_scores_come_close_to_the_true_log_density(trained):
    truth = multivariate_normal(OFFSET, COVARIANCE).logpdf(ROWS)
    one, eight, scores = (trained.score_samples(ROWS, samples=k) for k in (1, 8, 64))
    assert truth.mean() - 0.1 < scores.mean() < truth.mean() + 0.02
    assert np.corrcoef(scores, truth)[0, 1] > 0.97
    # More importance samples tighten the bound.
    assert one.mean() < eight.mean() < scores.mean() + 0.01
    assert trained.score(ROWS) == pytest.approx(trained.score_samples(ROWS).mean())


def test_scores_are_densities_in_original_units(table):
    factor = np.array([1000.0, 0.5, 4.0, 1.0])  # mostly powers of 2: no rounding in between
    first = TabularVAE(latent=2, epochs=5, warm_up=1).fit(table)
    second = TabularVAE(latent=2, epochs=5, warm_up=1).fit(table * factor)
    expected = first.score_samples(table) - np.log(factor).sum()
    np.testing.assert_allclose(second.score_samples(table * factor), expected, atol=0.05)


def test_sample_has_the_moments_of_the_table_and_repeats_with_its_seed(trained):
    drawn = trained.sample(20_000, random_state=0)
    np.testing.assert_allclose((drawn.mean(axis=0) - OFFSET) / SD, 0.0, atol=0.1)
    scaled = (np.cov(drawn.T) - COVARIANCE) / np.outer(SD, SD)
    np.testing.assert_allclose(scaled, 0.0, atol=0.15)
    first, again, other = (trained.sample(5, random_state=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_reconstruction_is_the_decoded_posterior_mean(trained, table):
    latents, model = trained.transform(table), trained.model_
    decoded = trained.inverse_transform(latents)
    np.testing.assert_allclose(trained.reconstruct(table), decoded, rtol=1e-5, atol=1e-4)
    records = model.schema.apply({f"x{i}": table[:, i] for i in range(4)})
    slow = model.reconstruct(records)[0]
    np.testing.assert_allclose(trained.reconstruct(table), slow, rtol=1e-6)
    residual = (table - decoded) / (SCALE * 0.4)
    assert 0.5 < residual.std() < 1.3
    with pytest.raises(DataError, match="3 dimensions, the model has 2"):
        trained.inverse_transform(np.zeros((4, 3)))
    # Draws spread about the mean.
    draws = trained.sample_posterior(table[:50], 4000, random_state=0)
    assert draws.shape == (4000, 50, 2)
    mean, log_variance = model.posterior(records.take(np.arange(50)))
    np.testing.assert_allclose(draws.mean(axis=0), latents[:50], atol=0.06)
    np.testing.assert_allclose(draws.var(axis=0), np.exp(log_variance[0]), rtol=0.15)
    np.testing.assert_allclose(mean[0], latents[:50], atol=1e-6)


def conditional_mean(row):
    """Fill a row with the expectation of the true Gaussian given what was observed."""
    gap = np.isnan(row)
    weights = np.linalg.solve(COVARIANCE[np.ix_(~gap, ~gap)], row[~gap] - OFFSET[~gap])
    filled = row.copy()
    filled[gap] = OFFSET[gap] + COVARIANCE[np.ix_(gap, ~gap)] @ weights
    return filled


def test_impute_is_nearly_as_good_as_the_true_conditional_mean(trained_on_gaps):
    gaps = np.random.default_rng(3).random(ROWS.shape) < 0.2
    gaps[gaps.all(axis=1)] = False
    rows = np.where(gaps, np.nan, ROWS)
    filled = trained_on_gaps.impute(rows)
    np.testing.assert_array_equal(filled[~gaps], ROWS[~gaps])

    def error(values):
        return float(np.sqrt(np.mean((((values - ROWS) / SD)[gaps]) ** 2)))

    best = error(np.array([conditional_mean(row) for row in rows]))
    assert best < error(filled) < 1.1 * best
    assert error(filled) < 0.75 * error(np.broadcast_to(OFFSET, ROWS.shape))


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_of_imputed_values_hold_as_often_as_asked(trained_on_gaps, tmp_path, level):
    gaps = np.random.default_rng(4).random(ROWS.shape) < 0.2
    gaps[gaps.all(axis=1)] = False
    rows = np.where(gaps, np.nan, ROWS)
    filled, low, high = trained_on_gaps.impute(rows, level=level)
    np.testing.assert_array_equal(filled, trained_on_gaps.impute(rows))
    for values in (low, high):
        np.testing.assert_array_equal(values[~gaps], ROWS[~gaps])
    assert ((low <= ROWS) & (high >= ROWS))[gaps].mean() == pytest.approx(level, abs=0.04)
    trained_on_gaps.save(tmp_path / "m")
    again = TabularVAE.load(tmp_path / "m").impute(rows, level=level)
    np.testing.assert_allclose(again, (filled, low, high), rtol=1e-5)


def test_impute_needs_gaps_in_training(trained, gappy):
    with pytest.raises(TrainingError, match="trained on complete rows"):
        trained.impute(gappy)
    np.testing.assert_array_equal(trained.impute(ROWS), ROWS)


def test_rows_without_any_value_come_out_as_nan(trained_on_gaps, gappy):
    rows = gappy[:6].copy()
    rows[2] = np.nan
    latents, others = trained_on_gaps.transform(rows), np.delete(rows, 2, axis=0)
    assert np.isnan(latents[2]).all()
    expected = trained_on_gaps.transform(others)
    np.testing.assert_allclose(np.delete(latents, 2, axis=0), expected, atol=1e-5)
    assert np.isnan(trained_on_gaps.score_samples(rows)[2])
    assert np.isfinite(trained_on_gaps.score(rows))
    assert trained_on_gaps.sample_posterior(rows, 3).shape == (3, 6, 2)


def test_seeds_and_the_best_of_several_starts(table):
    def start(seed, members=1):
        settings = {"latent": 2, "epochs": 6, "warm_up": 1, "validation": None}
        return TabularVAE(**settings, random_state=seed, members=members).fit(table)

    several = start(10, 3)
    monitored = np.array([epoch.val_monitored for epoch in several.history_])
    assert monitored.shape == (6, 3)
    assert several.member_ == monitored.min(axis=0).argmin()
    assert np.ptp(monitored[-1]) > 1e-3
    alone = [start(10 + several.member_).transform(table) for _ in range(2)]
    np.testing.assert_allclose(several.transform(table), alone[0], atol=1e-4)
    np.testing.assert_array_equal(*alone)
    other = start(11 + several.member_).transform(table)
    assert not np.array_equal(alone[0], other)


def test_transforms_by_column(table, quick):
    vae = TabularVAE(**quick, transforms={"x0": ["log", "standardise"]}).fit(table)
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
def test_beta_follows_its_schedule(table, beta, warm_up, expected):
    vae = TabularVAE(latent=2, epochs=4, beta=beta, warm_up=warm_up, patience=None)
    assert [epoch.beta for epoch in vae.fit(table).history_] == expected


def test_recipe_stands_in_place_of_the_network_arguments(table):
    short = ["training.epochs=6", "training.beta.epochs=2", "model.latent=3"]
    recipe = load_recipe("corelogs/default", short)
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
        ({"warm_up": None}, "training.beta.epochs: .*integer"),
        ({"epochs": 5, "warm_up": 5}, "beta schedule takes 5 epochs"),
        ({"beta": CyclicalBeta(epochs=10, cycles=10)}, "beta schedule takes 100 epochs"),
        ({"validation": 1.5}, "share for validation is 1.5"),
        ({"members": 0}, "0 random starts"),
        ({"random_state": -1}, "the seed is -1"),
        ({"device": "tpu9"}, "no device called 'tpu9'"),
        ({"transforms": {"X0": "log"}}, "Did you mean 'x0'"),
        ({"transforms": "sqrt"}, "unknown transform 'sqrt'"),
        ({"recipe": "corelogs/defaults"}, "Did you mean corelogs/default"),
        ({}, r"'x2'.*7 in every training row"),
    ],
)
def test_impossible_arguments_and_a_constant_column_are_explained(table, arguments, message):
    rows = table if arguments else np.where(np.arange(4) == 2, 7.0, table)
    with pytest.raises(VarioliteError, match=message):
        TabularVAE(**arguments).fit(rows)


def test_verbose_reports_on_stderr(table, quick, capsys):
    TabularVAE(**quick, verbose=True).fit(table)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "training: epoch 1/3: validation loss" in printed.err
    TabularVAE(**quick).fit(table)
    assert capsys.readouterr().err == ""
