"""Wells to label next."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.corelogs.guided.suggest import distances, suggest
from variolite.corelogs.guided.views import Wells
from variolite.errors import DataError


def _distance(seed, n=9):
    points = np.random.default_rng(seed).normal(size=(n, 2))
    return np.linalg.norm(points[:, None] - points, axis=-1)


@given(st.integers(0, 500), st.integers(1, 3), st.integers(0, 2))
def test_suggested_wells_are_close_to_the_best_there_are(seed, count, known):
    distance = _distance(seed)
    names = [f"w{i}" for i in range(len(distance))]
    labelled = names[:known]
    before, found = suggest(names, distance, count, labelled)
    chosen = [names.index(s.well) for s in found]
    fixed = list(range(known))
    assert len(set(chosen)) == count
    assert not set(chosen) & set(fixed)
    best = min(
        distance[:, [*fixed, *some]].min(1).mean()
        for some in combinations(range(known, len(names)), count)
    )
    # Exchanges of one well at a time can miss the best set, by little.
    assert found[-1].distance <= 1.25 * best + 1e-9
    if count == 1:
        assert found[0].distance == pytest.approx(best)
    assert np.isnan(before) == (known == 0)
    steps = [s.distance for s in found]
    assert steps == sorted(steps, reverse=True)


def test_a_well_stands_for_those_nearest_to_it():
    near, far = [0.0, 0.1], [0.8, 0.9]
    distance = np.array([near + far, near[::-1] + far, far + near, far + near[::-1]])
    _, found = suggest(list("abcd"), distance, 2)
    pairs = {frozenset((s.well, *s.stands_for)) for s in found}
    assert pairs == {frozenset("ab"), frozenset("cd")}


def test_distances_are_zero_for_the_same_rocks_and_one_for_none_in_common():
    rng = np.random.default_rng(0)
    sand, clay = rng.normal(0, 0.1, (200, 2)), rng.normal(9, 0.1, (200, 2))
    # Half the median of a well is subtracted: it stays a different rock.
    values = np.concatenate([sand, sand, clay])
    groups = np.repeat(["a", "b", "c"], 200)
    names, found = distances(Wells.of(values, np.zeros_like(values), groups, None))
    assert names.tolist() == ["a", "b", "c"]
    assert found[0, 1] == pytest.approx(0.0, abs=1e-6)
    assert found[0, 2] == pytest.approx(1.0)
    np.testing.assert_allclose(found, found.T)


def test_more_wells_than_there_are_are_refused():
    with pytest.raises(DataError, match="only 1 well without labels left, and 2 wanted"):
        suggest(["a", "b"], np.zeros((2, 2)), 2, ["a"])
    with pytest.raises(DataError, match=r"all wells .2. have labels already"):
        suggest(["a", "b"], np.zeros((2, 2)), 1, ["a", "b"])
