"""Classes of wells from a few labelled ones."""

from functools import cache

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from variolite.corelogs.guided import boosted_trees, semi_supervised
from variolite.corelogs.guided import classifier as module
from variolite.corelogs.guided.boosted_trees import fit_boosted_trees
from variolite.corelogs.guided.classifier import LeftOut, fit_classifier
from variolite.corelogs.guided.features import FeatureExtractor, WellFeatures
from variolite.corelogs.guided.views import Wells
from variolite.scoring.agreement import calibration_error
from variolite.scoring.supervised import CONTEXT_BOOSTING


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Train the semi-supervised model for few steps, and fewer trees."""
    monkeypatch.setattr(semi_supervised, "STEPS", 40)
    monkeypatch.setattr(boosted_trees, "CONTEXT_BOOSTING", CONTEXT_BOOSTING | {"max_iter": 20})


KINDS = np.array(["chalk", "clay", "sand"])


def field(n_wells=10, rows=120, spread=4.0):
    """Wells of by_states rock, each moved by an offset of its own, and the rock of every row."""
    rng = np.random.default_rng(0)
    groups = np.repeat([f"w{i}" for i in range(n_wells)], rows)
    kind = np.repeat(rng.integers(0, 3, n_wells * rows // 6), 6)
    values = spread * np.eye(3)[kind] + rng.normal(size=(len(kind), 3))
    values += np.repeat(rng.normal(size=(n_wells, 3)), rows, axis=0)
    depth = np.tile(np.arange(rows) * 0.2, n_wells)
    return values, groups, depth, KINDS[kind]


@cache
def fitted(labelled=3):
    values, groups, depth, kinds = field()
    wells = Wells.of(values, np.zeros_like(values), groups, depth)
    names = [f"w{i}" for i in range(labelled)]
    labels = np.where(np.isin(groups, names), kinds, "")
    return (
        fit_classifier(WellFeatures(wells, FeatureExtractor.fit(wells)), labels),
        wells,
        groups,
        kinds,
    )


def test_three_labelled_wells_name_the_others():
    classifier, wells, groups, kinds = fitted()
    found = classifier.probabilities(wells)
    np.testing.assert_allclose(found.sum(1), 1.0)
    assert classifier.classes == tuple(KINDS)
    others = ~np.isin(groups, ["w0", "w1", "w2"])
    right = (np.array(classifier.classes)[found.argmax(1)] == kinds)[others]
    assert right.mean() > 0.9
    assert set(classifier.left_out.accuracy) == {"w0", "w1", "w2"}


def test_where_wells_differ_in_rock_one_view_is_enough():
    """Wells of one rock each, and no shift to take out."""
    rng = np.random.default_rng(0)
    groups, kinds = np.repeat([f"w{i}" for i in range(9)], 80), np.repeat(np.tile(KINDS, 3), 80)
    values = 4.0 * np.repeat(np.tile(np.eye(3), (3, 1)), 80, axis=0) + rng.normal(size=(720, 3))
    wells = Wells.of(values, None, groups, np.tile(np.arange(80) * 0.2, 9))
    labels = np.where(np.isin(groups, ["w0", "w1", "w2"]), kinds, "")
    classifier = fit_classifier(WellFeatures(wells, FeatureExtractor.fit(wells)), labels)
    assert len(classifier.extractor.features) == len(classifier.boosted) == 1
    best = classifier.probabilities(wells).argmax(1)
    assert np.mean(np.array(classifier.classes)[best] == kinds) > 0.98


def test_rows_in_any_order_get_the_same_probabilities():
    classifier, wells, groups, _ = fitted()
    values, groups, depth, _ = field()
    order = np.random.default_rng(1).permutation(len(groups))
    mixed = Wells.of(values[order], np.zeros_like(values), groups[order], depth[order])
    expected = classifier.probabilities(wells)[order]
    np.testing.assert_allclose(classifier.probabilities(mixed), expected, atol=1e-5)
    alone = groups == "w7"
    one = Wells.of(values[alone], np.zeros((alone.sum(), 3)), groups[alone], depth[alone])
    expected = classifier.probabilities(wells)[alone]
    np.testing.assert_allclose(classifier.probabilities(one), expected, atol=1e-5)


def test_blocks_do_not_change_the_result(monkeypatch):
    classifier, wells, _, _ = fitted()
    whole = classifier.probabilities(wells)
    monkeypatch.setattr(module, "BLOCK_ROWS", 37)
    np.testing.assert_allclose(classifier.probabilities(wells), whole, atol=1e-5)


def test_the_logistic_part_is_that_of_scikit_learn():
    classifier, wells, _, kinds = fitted()
    rows = np.flatnonzero(np.isin(wells.groups, ["w0", "w1", "w2"]))
    described = WellFeatures(wells, classifier.extractor).rows(rows)
    models = [
        LogisticRegression(C=module.PENALTY, max_iter=300).fit(x, kinds[wells.place[rows]])
        for x in described.features
    ]
    pairs = zip(models, described.features, strict=True)
    expected = np.mean([np.log(model.predict_proba(x)) for model, x in pairs], axis=0)
    np.testing.assert_allclose(classifier.heads.logistic(described), expected, atol=2e-3)


def test_states_are_named_by_the_labels_in_them():
    classifier, wells, _, kinds = fitted()
    rows = np.flatnonzero(np.isin(wells.groups, ["w0", "w1", "w2"]))
    described = WellFeatures(wells, classifier.extractor).rows(rows)
    truth = kinds[wells.place[rows]]
    for states, shares in zip(described.states, classifier.heads.shares, strict=True):
        prior = np.array([np.mean(truth == name) for name in classifier.classes])
        for state, found in zip(states.T, shares, strict=True):
            counted = np.array([state[truth == name].sum() for name in classifier.classes])
            counted = counted + module.PRIOR_ROWS * prior
            np.testing.assert_allclose(found, counted / counted.sum(), atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_class_or_two_that_wells_lack_does_no_harm(classes):
    values, groups, depth, kinds = field()
    wells = Wells.of(values, np.zeros_like(values), groups, depth)
    keep = np.isin(groups, ["w0", "w1"]) & np.isin(kinds, KINDS[:classes])
    features = WellFeatures(wells, FeatureExtractor.fit(wells))
    found = fit_classifier(features, np.where(keep, kinds, "")).probabilities(wells)
    assert found.shape == (len(kinds), classes)
    assert np.isfinite(found).all()


def test_one_labelled_well_gives_no_estimate():
    classifier = fitted(labelled=1)[0]
    assert classifier.left_out == LeftOut({}, {})
    assert np.isnan(classifier.left_out.expected(3))


def test_the_learning_curve_is_extrapolated_downwards_in_error():
    left_out = LeftOut({}, {1: 0.5, 2: 0.6, 3: 0.6333333, 5: 0.66})
    assert left_out.expected(10) == pytest.approx(0.68, abs=1e-4)
    assert LeftOut({}, {1: 0.7, 2: 0.6}).expected(9) <= 0.7


def test_calibration_error_by_hand():
    right = np.array([True, True, False, True])
    probability = np.array([0.95, 0.95, 0.55, 0.55])
    # |1 - .95| in one bin, |.5 - .55| in the other.
    assert calibration_error(right, probability) == pytest.approx(0.05)
    assert calibration_error(np.ones(2, bool), np.ones(2)) == 0.0
    assert np.isnan(calibration_error(right[:0], probability[:0]))


@pytest.mark.parametrize("classes", [2, 4])
def test_trees_kept_as_arrays_predict_as_scikit_learn_does(classes):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 3))
    codes = (np.digitize(x[:, 0] + 0.3 * x[:, 1], np.linspace(-0.5, 0.5, classes - 1)) + 1) % 5
    weight = rng.uniform(0.5, 1.5, len(x))
    found = fit_boosted_trees(x, codes, weight, 6, 3)
    settings = boosted_trees.CONTEXT_BOOSTING
    model = HistGradientBoostingClassifier(early_stopping=False, random_state=3, **settings)
    new = rng.normal(size=(200, 3))
    expected = model.fit(x, codes, sample_weight=weight).predict_proba(new)
    probabilities = np.exp(found.log_probabilities(new))
    np.testing.assert_allclose(probabilities[:, model.classes_], expected, atol=1.1e-6)
    absent = np.setdiff1d(np.arange(6), model.classes_)
    np.testing.assert_allclose(probabilities[:, absent], 1e-6)
