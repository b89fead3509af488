"""Scores of rows of MP-20, where the folder of real data is there."""

import numpy as np
import pytest

from variolite.crystals import evaluation
from variolite.crystals.evaluation.fingerprints import element_fractions


@pytest.fixture(scope="module")
def rows(real_rows):
    return real_rows("mp_20/biternary_test_a", 395)


def test_real_crystals_are_valid_mostly_balanced_and_differ_from_each_other(rows):
    assert len(rows) == 395
    assert evaluation.distance_validity(rows).all()
    found = evaluation.charge_balance(rows)
    assert 0.90 < found.balanced[found.evaluated].mean() < 0.96
    assert found.unknown == ("Pm",)
    found = evaluation.find_novelty(rows.take(slice(0, 80)), rows, evaluation.Matcher())
    assert found.unique.mean() > 0.97
    assert not found.novel.any()


def test_energies_above_the_hull_are_those_of_the_materials_project(rows, shared_data):
    hull = evaluation.read_hull(shared_data / "crystals" / "hull" / "mp20_hull.parquet")
    energy = rows.properties["formation_energy_per_atom"]
    found = hull.above(element_fractions(rows), energy, rows.names)
    assert 0.7 < (found.removed > 0).mean() < 0.9
    # Listed values are never negative, and this hull has fewer phases than theirs.
    error = np.maximum(found.above, 0.0) - rows.properties["e_above_hull"]
    assert np.abs(error).mean() < 0.005
    assert error.max() < 1e-3
    assert found.missing == ()
