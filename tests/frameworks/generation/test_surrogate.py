"""The surrogate: the trees of scikit-learn without its pickles, and intervals that hold."""

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from variolite.frameworks.generation import surrogate as surrogates
from variolite.frameworks.generation.surrogate import LEAF, LEVEL, Surrogate


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(surrogates, "TREES", 40)


def made_up(families, seed, noise=0.3):
    """Three rows of every family, which share most of what is wrong about them."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(3 * families, 4))
    shared = np.repeat(random.normal(size=families), 3)
    target = rows[:, 0] + np.sin(2.0 * rows[:, 1]) + noise * shared
    return rows, target, [f"F{i // 3}" for i in range(3 * families)]


def test_predictions_are_those_of_the_forest_itself():
    rows, target, families = made_up(60, 0)
    found = Surrogate.fit(rows, target, families, seed=3)
    forest = ExtraTreesRegressor(40, min_samples_leaf=LEAF, random_state=3).fit(rows, target)
    other = made_up(50, 1)[0]
    mean, low, high = found.predict(other)
    np.testing.assert_allclose(mean, forest.predict(other), rtol=1e-12)
    spread = np.std([tree.predict(other) for tree in forest.estimators_], axis=0)
    np.testing.assert_allclose(high - mean, found.width * (found.floor + spread), rtol=1e-9)
    np.testing.assert_allclose(mean - low, high - mean, rtol=1e-9)
    assert len(found.roots) == 40
    assert found.predict(other[:0])[0].shape == (0,)


def test_intervals_hold_for_nine_tenths_of_new_families():
    held = []
    for seed in range(6):
        rows, target, families = made_up(80, seed)
        found = Surrogate.fit(rows, target, families, seed=seed)
        other, truth, _ = made_up(200, 100 + seed)
        _, low, high = found.predict(other)
        held.append(((low <= truth) & (truth <= high)).mean())
    assert np.mean(held) == pytest.approx(LEVEL, abs=0.05)


def test_errors_are_of_families_left_out():
    """A family that is known by a number of its own is no help to others."""
    random = np.random.default_rng(0)
    family = np.repeat(random.normal(size=60), 4)
    own = np.repeat(np.arange(60.0), 4)
    names = [f"F{int(i)}" for i in own]
    found = Surrogate.fit(own[:, None], family, names)
    assert found.r2 < 0.2
    mean = found.predict(own[:, None])[0]
    assert 1 - np.var(family - mean) / np.var(family) > 0.9, "known families are remembered"
    assert found.mae == pytest.approx(np.abs(family).mean(), rel=0.5)
