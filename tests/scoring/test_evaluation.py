"""Reconstruction scores against scikit-learn and row-by-row resampling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from variolite.errors import DataError
from variolite.scoring import evaluation as scoring
from variolite.scoring.evaluation import evaluate_reconstruction, feature_errors

NAMES = ("a", "b", "c")


def example(n=200, seed=0, offset=0.0, seeds=2):
    rng = np.random.default_rng(seed)
    codes = rng.integers(3, size=n)
    true = offset + rng.normal(size=n) + codes
    guess = true + rng.normal(0.0, 0.5, size=(seeds, n))
    return true, guess, codes


@given(st.integers(0, 200), st.sampled_from([0.0, 1e6, -3e3]))
def test_scores_of_resampled_groups_are_those_of_the_repeated_rows(seed, offset):
    true, guess, codes = example(n=60, seed=seed, offset=offset)
    used = np.random.default_rng(seed).random(60) > 0.2
    true[~used] = np.nan
    errors = feature_errors(true, guess, codes, NAMES)
    weights = np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 1.0]])
    values = errors.values(weights, errors.metrics)
    for b, s in np.ndindex(2, 2):
        rows = np.repeat(np.flatnonzero(used), weights[b].astype(int)[codes[used]])
        y, p = true[rows], guess[s, rows]
        assert values["r2"][b, s] == pytest.approx(metrics.r2_score(y, p), abs=1e-9)
        assert values["rmse"][b, s] == pytest.approx(metrics.root_mean_squared_error(y, p))
        assert values["mae"][b, s] == pytest.approx(metrics.mean_absolute_error(y, p))


def test_table_of_features_with_units_and_intervals():
    true, guess, codes = example(seeds=1)
    groups = np.array(NAMES)[codes]
    original = np.c_[true, 10.0 * true, np.full(len(true), np.nan)]
    predicted = np.stack([np.c_[g, 10.0 * g, g] for g in guess])
    rows, units = (original, predicted, groups, ("density", "gamma", "none")), {"density": "g/cm3"}
    card = evaluate_reconstruction(*rows, units=units).scorecard()
    density, gamma = card.select(metric="rmse")
    assert (density.unit, gamma.unit) == ("g/cm3", None)
    assert gamma.mean == pytest.approx(10.0 * density.mean)
    assert density.low < density.mean < density.high
    assert density.n_groups == 3
    assert card.notes == ("none: no known value among the held-out rows, left out",)
    predicted[0, :2, 0] = np.nan
    with pytest.raises(DataError, match="2 reconstructed values are NaN"):
        evaluate_reconstruction(*rows)


@pytest.mark.parametrize(
    ("lacking", "parts"),
    [
        (0, ["complete"]),
        (49, ["all", "complete"]),
        (50, ["all", "complete", "with gaps"]),
        (160, ["all", "with gaps"]),
        (200, ["with gaps"]),
    ],
)
def test_parts_of_the_held_out_rows_that_are_scored_apart(lacking, parts):
    groups, labels = np.repeat(["train", "a", "b"], 100), np.tile(["clay", "sand"], 150)
    complete = np.arange(300) >= 100 + lacking
    rows = {"train_rows": np.arange(100), "test_rows": np.arange(100, 300)}
    held = scoring.hold_out(groups, {"rock": labels}, complete=complete, **rows)
    assert list(held.parts) == parts
    part = held.only(parts[-1])
    assert (part.kept >= lacking).all() if parts[-1] == "complete" else (part.kept < lacking).all()
    assert [part.test_labels["rock"].codes.tolist()] == [(part.kept % 2).tolist()]
    assert list(scoring.hold_out(groups, {}, **rows).parts) == [None]


def test_r2_of_a_log_over_decades_is_that_of_its_logarithm():
    true, guess, codes = example(seeds=1)
    original, predicted = 10.0 ** true[:, None], 10.0 ** guess[:, :, None]
    predicted[0, 0] = 0.0  # rounded away: it counts as the least value
    scales = {"rdep": ("log10", lambda values: np.log10(values))}
    rows = (original, predicted, np.array(NAMES)[codes], ("rdep",))
    with np.errstate(divide="ignore"):
        card = evaluate_reconstruction(*rows, units={"rdep": "ohm.m"}, scales=scales).scorecard()
    found = {row.metric: (row.unit, row.mean) for row in card.select(feature="rdep")}
    guess[0, 0] = true.min()
    assert found["r2"] == ("log10 ohm.m", pytest.approx(metrics.r2_score(true, guess[0])))
    rmse = metrics.root_mean_squared_error(original[:, 0], predicted[0, :, 0])
    assert found["rmse"] == ("ohm.m", pytest.approx(rmse))
    assert set(found) == {"r2", "rmse", "mae"}


def test_values_that_do_not_vary_have_no_r2():
    constant, codes = np.full(200, 7.3), example()[2]
    values = feature_errors(constant, constant[None], codes, NAMES).values(np.ones((1, 3)), ["r2"])
    assert np.isnan(values["r2"]).all()


def test_likelihood_is_a_mean_over_rows():
    values = np.array([[-1.0, -2.0, -3.0], [-1.0, -2.0, np.nan]])
    evaluation = scoring.evaluate_likelihood(values, ["w1", "w1", "w2"], metric="log_likelihood")
    row = evaluation.scorecard().rows[0]
    assert row.mean == pytest.approx((-2.0 - 1.5) / 2)
    assert (row.task, row.unit, row.n_groups, row.seeds) == ("likelihood", "nats", 2, 2)
