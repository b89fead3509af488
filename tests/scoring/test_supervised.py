"""The supervised reference: the best of three classifiers, none with a look at test labels."""

import numpy as np
import pytest
from sklearn import metrics
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from synthetic_wells import QUICK, wells, without
from variolite.scoring.supervised import Logs, evaluate_supervised, less_half_median, with_context

TEST = [f"well {i}" for i in range(4)]


def _scores(x, group, labels, order=None, **options):
    held, train, test = without(TEST, group, labels)
    logs = [
        Logs(x[rows], group[rows], None if order is None else order[rows]) for rows in (train, test)
    ]
    return evaluate_supervised(*logs, held, **options), train, test


def test_half_of_each_median_is_taken_out_and_windows_stay_within_a_well():
    x = np.array([[1.0, 9.0], [3.0, np.nan], [8.0, 5.0], [2.0, np.nan], [4.0, np.nan]])
    logs = Logs(x, np.array(["a", "a", "a", "b", "b"]), np.array([3.0, 1.0, 2.0, 2.0, 1.0]))
    halved = less_half_median(logs)
    expected = [[-0.5, 5.5], [1.5, np.nan], [6.5, 1.5], [0.5, np.nan], [2.5, np.nan]]
    np.testing.assert_allclose(halved, expected)
    found = with_context(logs)
    assert found.shape == (5, 14)
    np.testing.assert_array_equal(with_context(Logs(x, logs.groups)), halved)
    rng = np.random.default_rng(0)
    long = Logs(rng.normal(size=(300, 1)), np.repeat(["a", "b"], 150), rng.permutation(300) * 0.5)
    values, found = less_half_median(long)[:, 0], with_context(long)
    for row in (0, 70, 149, 299):
        own = np.flatnonzero(long.groups == long.groups[row])
        own = own[np.argsort(long.order[own])]
        at = int(np.flatnonzero(own == row)[0])
        for i, width in enumerate((5, 21, 81)):
            window = values[own[max(0, at - width // 2) : at + width // 2 + 1]]
            pair = window.mean(), window.std()
            np.testing.assert_allclose(found[row, 1 + 2 * i : 3 + 2 * i], pair, atol=1e-5)


def test_classifiers_equal_those_of_scikit_learn():
    x, group, kind = wells(spread=1.5)
    halved = less_half_median(Logs(x, group))
    boosting = {"max_iter": 100, "learning_rate": 0.05, "l2_regularization": 10.0}
    boosting |= {"max_leaf_nodes": 15, "early_stopping": False, "random_state": 0}
    for name, model, features in (
        ("gradient_boosting", HistGradientBoostingClassifier(**boosting), x),
        ("logistic_regression", LogisticRegression(C=0.1), halved),
    ):
        evaluation, train, test = _scores(x, group, {"kind": kind}, methods=(name,))
        white = PCA(whiten=True).fit(features[train]) if features is halved else None
        a, b = ((white.transform(features[i]) if white else features[i]) for i in (train, test))
        predicted = model.fit(a, kind[train]).predict(b)
        found = {row.metric: row for row in evaluation.scorecard(QUICK).rows}
        assert (found["ari"].method, found["ari"].algorithm) == ("supervised", name)
        assert found["accuracy"].mean == pytest.approx(
            metrics.accuracy_score(kind[test], predicted)
        )
        assert found["ari"].mean == pytest.approx(
            metrics.adjusted_rand_score(kind[test], predicted)
        )


def test_the_classifier_that_validation_wells_favour_is_taken():
    rng = np.random.default_rng(1)
    group = np.repeat([f"well {i}" for i in range(12)], 150)
    beds = np.repeat(rng.integers(0, 2, 12 * 10), 15)
    # A single row says little, its neighbours say all; every well has an offset of its own.
    x = (
        np.c_[beds, beds]
        + rng.normal(0, 1.5, (len(beds), 2))
        + np.repeat(rng.normal(0, 2, 12), 150)[:, None]
    )
    x[rng.random(x.shape) < 0.2] = np.nan
    order, kind = np.tile(np.arange(150.0), 12), np.array(["clay", "sand"])[beds]
    validation = np.isin(group, ["well 4", "well 5"])[~np.isin(group, TEST)]
    evaluation, *_ = _scores(x, group, {"kind": kind}, order, validation=validation)
    assert evaluation.entries[0].key.algorithm == "boosting_with_context"
    accuracy = evaluation.scorecard(QUICK).select(metric="accuracy")[0].mean
    alone, *_ = _scores(x, group, {"kind": kind}, order, methods=("gradient_boosting",))
    assert accuracy > alone.scorecard(QUICK).select(metric="accuracy")[0].mean + 0.1
    assert "by mean of accuracy and ARI on validation groups" in evaluation.notes[0]
    # Without a label in the validation wells, labelled training wells take their place.
    few = np.where(np.isin(group, ["well 4", "well 5", "well 6"]), "", kind)
    evaluation, *_ = _scores(x, group, {"kind": few}, order, validation=validation)
    assert "on validation groups: logistic_regression" in evaluation.notes[0]


def test_one_class_no_labels_one_training_well():
    x, group, kind = wells()
    one = np.where(np.isin(group, ["well 0", "well 1"]), kind, "clay")
    evaluation, _, test = _scores(x, group, {"one": one, "none": np.full(len(kind), "")})
    accuracy = evaluation.scorecard(QUICK).select(metric="accuracy")[0].mean
    assert accuracy == pytest.approx((one[test] == "clay").mean())
    assert evaluation.notes[1:] == (
        "none: labels are missing, so there is no supervised reference",
    )
    single = np.isin(group, [*TEST, "well 5"])
    evaluation, *_ = _scores(x[single], group[single], {"kind": kind[single]})
    assert evaluation.entries[0].key.algorithm == "gradient_boosting"
