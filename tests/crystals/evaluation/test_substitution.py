"""Baselines without learning: charges, elements and volumes are what they should be."""

import numpy as np
import pytest
from crystal_sets import NAMES, TEXTBOOK

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import anonymous_formulas, compositions, reduced_formulas
from variolite.crystals.evaluation import charge_balance, substitution
from variolite.crystals.evaluation.substitution import NOTES, substituted

SALT = TEXTBOOK[NAMES.index("NaCl (rock salt)")]


@pytest.fixture(scope="module")
def made():
    return substituted(TEXTBOOK, 120)


def test_as_many_as_asked_for_on_the_sites_of_known_crystals(made):
    assert set(made) == set(NOTES)
    again = substituted(TEXTBOOK, 120)
    for name, crystals in made.items():
        assert len(crystals) == len(set(crystals.names)) == 120
        assert set(anonymous_formulas(crystals)) <= set(anonymous_formulas(TEXTBOOK))
        assert np.isin(crystals.species, TEXTBOOK.species).all()
        assert charge_balance(crystals).balanced.mean() > (0.9 if name == "ion_exchange" else 0.999)
        assert (~np.isin(reduced_formulas(crystals), reduced_formulas(TEXTBOOK))).mean() > 0.3
        np.testing.assert_array_equal(again[name].species, crystals.species)
        np.testing.assert_array_equal(again[name].lattices, crystals.lattices)


def test_ions_are_exchanged_as_often_as_pymatgen_says():
    from pymatgen.analysis.structure_prediction.substitution_probability import (
        SubstitutionProbability,
    )

    halides = [
        SALT.__class__(np.array(pair, np.uint8), SALT.coordinates, SALT.lattice)
        for pair in ((11, 17), (19, 17), (37, 17), (3, 17))
    ]
    found = substituted(Crystals.of(halides), 2000)["ion_exchange"]
    table, cations = SubstitutionProbability(), ("Li+", "Na+", "K+", "Rb+")
    chances = np.array([[table.cond_prob(b, a) for b in cations] for a in cations])
    chances /= chances.sum(axis=1, keepdims=True)
    # Known crystals are drawn alike; one that stays as it was is drawn again.
    np.fill_diagonal(chances, 0.0)
    expected = chances.sum(axis=0) / chances.sum()
    share = [np.mean(compositions(found)[:, z] > 0) for z in (3, 11, 19, 37)]
    np.testing.assert_allclose(share, expected, atol=0.04)


def test_volumes_are_those_of_the_elements():
    volumes = substitution._element_volumes(TEXTBOOK)
    elements = compositions(TEXTBOOK)
    predicted = elements @ volumes
    assert np.median(np.abs(predicted / TEXTBOOK.volumes - 1.0)) < 0.15
    made = substituted(TEXTBOOK, 40)["random_decoration"]
    ratios = made.volumes / (compositions(made) @ volumes)
    known = TEXTBOOK.volumes / predicted
    # A decorated crystal deviates from its fitted volume just as the one that it was made from.
    assert all(np.isclose(known, ratio, rtol=1e-6).any() for ratio in ratios)


def test_what_cannot_be_exchanged_gives_fewer():
    diamond = TEXTBOOK.take(np.array([NAMES.index("C (diamond)")]))
    found = substituted(diamond, 3)
    assert len(found["ion_exchange"]) == 0
    assert set(reduced_formulas(found["random_decoration"])) == {"C"}
