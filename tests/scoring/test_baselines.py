"""Baselines: fitted on training rows alone, equal to scikit-learn's, sound where rows have gaps."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from synthetic_wells import PLAN, QUICK, wells, without
from variolite.errors import DataError
from variolite.scoring import evaluate_clustering
from variolite.scoring.baselines import fill_gaps, pca_whitened, raw, unsupervised_baselines

TEST = [f"well {i}" for i in range(4)]


def rows(n=200, d=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 5.0


def test_whitening_and_scaling_equal_scikit_learn():
    train, test = rows(), rows(seed=1)
    ours = pca_whitened(train, test)
    model = PCA(whiten=True).fit(train)
    for mine, theirs in zip(ours, (model.transform(train), model.transform(test)), strict=True):
        np.testing.assert_allclose(np.abs(mine), np.abs(theirs), atol=1e-8)
    np.testing.assert_allclose(np.cov(ours[0].T), np.eye(4), atol=1e-10)
    np.testing.assert_allclose(pca_whitened(train[::-1], test)[1], ours[1], atol=1e-10)
    train[:, 2] = test[:, 2] = 0.1
    scaler, varying = StandardScaler().fit(train), [0, 1, 3]
    for mine, part in zip(raw(train, test), (train, test), strict=True):
        np.testing.assert_allclose(mine[:, varying], scaler.transform(part)[:, varying])
        np.testing.assert_allclose(mine[:, 2], 0.0, atol=1e-12)


def test_directions_without_variance_are_left_out():
    train = rows(d=2)
    doubled = np.c_[train, train[:, 0], np.full(len(train), 3.3)]
    assert [part.shape[1] for part in pca_whitened(doubled, doubled)] == [2, 2]
    with pytest.raises(DataError, match="no feature varies"):
        pca_whitened(np.full((5, 2), 0.1), np.ones((5, 2)))


def test_gaps_are_filled_by_regression_on_the_other_features():
    train, test = rows(2000, d=3), rows(50, d=3, seed=0)
    assert fill_gaps(train, test)[0] is train
    gaps = test.copy()
    gaps[::2, 1] = np.nan
    filled = fill_gaps(train, gaps)[1]
    line = LinearRegression().fit(train[:, [0, 2]], train[:, 1])
    np.testing.assert_allclose(filled[::2, 1], line.predict(test[::2][:, [0, 2]]), atol=1e-2)
    np.testing.assert_array_equal(filled[1::2], test[1::2])


@pytest.mark.parametrize(("seed", "rows"), [(3, "complete rows"), (2, "all rows")])
def test_gaps_do_not_lower_the_baselines_and_validation_wells_choose_the_rows(seed, rows):
    x, group, kind = wells(n_wells=12, rows=60, seed=seed)
    # Every log twice, the second one in each third well only. Filled with means, whitening
    # blows up what is missing; filled by regression, clusters are those of complete rows.
    x = np.c_[x, x + np.random.default_rng(seed).normal(0, 0.1, x.shape)]
    x[np.isin(group, np.unique(group)[2::3], invert=True), 3:] = np.nan
    held, train, test = without(TEST, group, {"kind": kind}, complete=np.isfinite(x).all(1))
    found, notes = unsupervised_baselines(x[train], x[test], held, PLAN)
    kept = np.isfinite(x[train]).all(1) if rows == "complete rows" else np.ones(len(train), bool)
    np.testing.assert_array_equal(found["pca_whitened"].fitted_on, np.flatnonzero(kept))
    assert f"pca_whitened: fitted on {rows}, by ARI on validation groups" in notes[1]
    filled = fill_gaps(x[train], x[test])
    expected = PCA(whiten=True).fit(filled[0][kept]).transform(filled[1])
    np.testing.assert_allclose(np.abs(found["pca_whitened"].test), np.abs(expected), atol=1e-6)
    means = np.where(np.isfinite(x), x, np.nanmean(x[train], axis=0))
    found["means"] = pca_whitened(means[train], means[test])
    card = evaluate_clustering(found, held, PLAN, every_part=True).scorecard(QUICK)
    ari = {r.method: r.mean for r in card.select(k=3, rows="all", metric="ari")}
    assert ari["pca_whitened"] > 0.95 > 0.8 > ari["means"]


def test_without_gaps_without_labels_and_with_hardly_a_complete_row():
    x, group, kind = wells()
    held, train, test = without(TEST, group, {"kind": kind}, complete=np.ones(len(x), bool))
    found, notes = unsupervised_baselines(x[train], x[test], held, PLAN)
    np.testing.assert_array_equal(found["raw"].test, raw(x[train], x[test])[1])
    assert notes == []
    assert list(held.parts) == ["complete"]
    x[np.arange(len(x)) % 20 > 0, 0] = np.nan
    for labels in ({}, {"kind": kind}):
        held, train, test = without(TEST, group, labels, complete=np.isfinite(x).all(1))
        found, notes = unsupervised_baselines(x[train], x[test], held, PLAN)
        assert len(found["raw"].fitted_on) == len(train)
        assert notes == [
            "gaps of raw and pca_whitened are filled by regression on the other inputs"
        ]
