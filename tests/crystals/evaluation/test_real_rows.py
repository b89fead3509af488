"""Scores of rows of MP-20, where the folder of real data is there."""

import numpy as np
import pytest

from variolite.crystals.evaluation import (
    Matcher,
    charge_balance,
    distance_validity,
    find_novelty,
    read_hull,
)
from variolite.crystals.evaluation.fingerprints import element_fractions


@pytest.fixture(scope="module")
def rows(real_rows):
    return real_rows("mp_20/biternary_test_a", 395)


def test_real_crystals_are_valid_and_mostly_balanced(rows):
    assert len(rows) == 395
    assert distance_validity(rows).all()
    found = charge_balance(rows)
    assert 0.90 < found.balanced[found.evaluated].mean() < 0.96
    assert found.unknown == ("Pm",)


def test_real_crystals_differ_from_each_other_and_are_known_to_themselves(rows):
    found = find_novelty(rows.take(slice(0, 80)), rows, Matcher())
    assert found.unique.mean() > 0.97
    assert not found.novel.any()


def test_energies_above_the_hull_are_those_of_the_materials_project(rows, shared_data):
    hull = read_hull(shared_data / "crystals" / "hull" / "mp20_hull.parquet")
    energy = rows.properties["formation_energy_per_atom"]
    found = hull.above(element_fractions(rows), energy, rows.names)
    assert 0.7 < (found.removed > 0).mean() < 0.9
    # Listed values are never negative, and this hull has fewer phases than theirs.
    error = np.maximum(found.above, 0.0) - rows.properties["e_above_hull"]
    assert np.abs(error).mean() < 0.005
    assert error.max() < 1e-3
    assert found.missing == ()
