"""Baselines: fitted on training rows alone, and equal to scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.preprocessing import StandardScaler

from synthetic_wells import QUICK, wells, without
from variolite.errors import DataError
from variolite.scoring.baselines import evaluate_supervised, pca_whitened, raw

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
        pca_whitened(np.ones((5, 2)), np.ones((5, 2)))


def test_supervised_reference_is_plain_boosting_on_the_training_groups():
    x, group, kind = wells(spread=1.5)
    held, train, test = without(TEST, group, {"kind": kind})
    evaluation = evaluate_supervised(x[train], x[test], held)
    settings = {"max_iter": 100, "learning_rate": 0.05, "l2_regularization": 10.0}
    settings |= {"max_leaf_nodes": 15, "early_stopping": False, "random_state": 0}
    model = HistGradientBoostingClassifier(**settings)
    predicted = model.fit(x[train], kind[train]).predict(x[test])
    rows = {row.metric: row for row in evaluation.scorecard(QUICK).rows}
    assert rows["ari"].method == "supervised"
    assert rows["accuracy"].mean == pytest.approx(metrics.accuracy_score(kind[test], predicted))
    assert rows["ari"].mean == pytest.approx(metrics.adjusted_rand_score(kind[test], predicted))


def test_supervised_reference_with_one_class_or_no_labels():
    x, group, kind = wells()
    one = np.where(np.isin(group, ["well 0", "well 1"]), kind, "clay")
    held, train, test = without(TEST, group, {"one": one, "none": np.full(len(kind), "")})
    evaluation = evaluate_supervised(x[train], x[test], held)
    accuracy = evaluation.scorecard(QUICK).select(metric="accuracy")[0].mean
    assert accuracy == pytest.approx((one[test] == "clay").mean())
    assert evaluation.notes == ("none: labels are missing, so there is no supervised reference",)
