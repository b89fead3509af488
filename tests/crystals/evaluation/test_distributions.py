import numpy as np
import pytest
from ase import units
from crystal_sets import TEXTBOOK
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from variolite.crystals.evaluation import distributions
from variolite.crystals.files.formats import to_ase
from variolite.crystals.files.groups import space_groups

VALUES = st.lists(st.integers(-20, 20).map(lambda v: v / 4), min_size=1, max_size=12)


@given(VALUES, VALUES, st.integers(0, 1000))
def test_wasserstein_distances_are_those_of_scipy(first, second, seed):
    x, y = np.array(first), np.array(second)
    weights = np.random.default_rng(seed).random((3, len(x)))
    weights[1, 1:] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    expected = [wasserstein_distance(x, y, row) for row in weights]
    np.testing.assert_allclose(
        distributions.wasserstein_statistic(x, y)(weights), expected, atol=1e-12
    )
    alike = np.full((1, len(x)), 1.0 / len(x))
    assert distributions.wasserstein_statistic(x, x)(alike)[0] == pytest.approx(0.0, abs=1e-12)


@given(st.integers(0, 1000))
def test_differences_of_shares(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.dirichlet(np.ones(6), size=4), rng.dirichlet(np.ones(6))
    first[0, :3], second[3:] = 0.0, 0.0
    first, second = first / first.sum(axis=1, keepdims=True), second / second.sum()
    expected = [jensenshannon(row, second, base=2) ** 2 for row in first]
    assert distributions.jensen_shannon(first, second) == pytest.approx(expected, abs=1e-12)
    assert distributions.jensen_shannon(first, second)[0] == pytest.approx(1.0)
    variation = distributions.total_variation(first, second)
    assert variation[0] == pytest.approx(1.0)
    assert variation[1] == pytest.approx(np.maximum(first[1] - second, 0.0).sum())


def test_densities_are_those_of_ase():
    atoms = [to_ase(crystal) for crystal in TEXTBOOK]
    grams = units.create_units("2018")["_amu"] * 1e27
    expected = [grams * a.get_masses().sum() / a.get_volume() for a in atoms]
    np.testing.assert_allclose(distributions.densities(TEXTBOOK), expected, rtol=3e-4)


def test_equal_sets_have_distance_zero_and_others_their_own():
    groups, _ = space_groups(TEXTBOOK, symprec=distributions.SYMPREC)
    assert groups.tolist() == TEXTBOOK.properties["space_group"].tolist()
    traits = distributions.traits_of(TEXTBOOK, groups)
    same = distributions.compare_distributions(traits, traits)
    assert [row.mean for row in same] == pytest.approx([0.0] * len(same))
    elements = traits.numbers["n_elements"]
    metals = distributions.traits_of(TEXTBOOK.take(elements == 1), groups[elements == 1])
    found = {row.metric: row for row in distributions.compare_distributions(metals, traits)}
    assert found["n_elements_wasserstein"].mean == pytest.approx(elements.mean() - 1.0)
    density = found["density_wasserstein"]
    assert density.unit == "g/cm3"
    assert density.low < density.mean < density.high
    assert density.n_groups == len(np.unique(metals.formulas))
