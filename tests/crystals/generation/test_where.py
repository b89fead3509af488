"""Conditions by name: what is understood, and what every mistake says."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.elements import SYMBOLS
from variolite.crystals.generation.conditions import Vocabulary
from variolite.crystals.generation.where import parse_composition, parse_where
from variolite.errors import DataError

VOCABULARY = Vocabulary(
    (3, 8, 22, 38), 20, ("formation_energy_per_atom", "band_gap"), (0.0, 0.0), (1.0, 1.0), True
)


def test_nothing_and_everything_at_once():
    where = parse_where({}, VOCABULARY)
    assert (where.atoms, where.formula, where.elements) == (None, None, ())
    assert (where.size, where.text) == (1, "")
    assert np.isnan(where.properties).tolist() == [True, True]
    asked = {"composition": "SrTiO3", "atoms": "10", "space_group": 221, "band_gap": "1.5"}
    where = parse_where(asked, VOCABULARY)
    assert where.formula == {38: 1, 22: 1, 8: 3}
    assert (where.atoms, where.size, where.space_group) == (10, 5, 221)
    assert where.properties[1] == 1.5
    assert where.text == "atoms=10, composition=SrTiO3, space_group=221"


@given(
    st.dictionaries(st.integers(1, 94), st.integers(1, 9), min_size=1, max_size=5),
    st.integers(1, 4),
)
def test_formulas_are_read_in_lowest_terms(formula, units):
    text = "".join(SYMBOLS[z] + str(units * k) for z, k in formula.items())
    divisor = np.gcd.reduce(list(formula.values()))
    expected = {z: k // divisor for z, k in formula.items()}
    assert parse_composition(text)["formula"] == expected
    # Repeated symbols add up.
    assert parse_composition("CH3CH3")["formula"] == {6: 1, 1: 3}
    assert parse_composition("Sr(TiO3)2")["formula"] == {38: 1, 22: 2, 8: 6}
    for text, elements in (("Li-O", (3, 8)), ("Li-O-*", (3, 8)), ("*-O", (8,)), ("*", ())):
        assert parse_composition(text) == {"elements": elements, "others": "*" in text}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"composition": "SrTiX3"}, "'X' in 'SrTiX3' is not the symbol"),
        ({"composition": "Tl-Ox"}, "Did you mean O"),
        ({"composition": "Sr(TiO3"}, "is not a composition"),
        ({"composition": "Li0.5O"}, "is not a composition"),
        ({"composition": ""}, "is not a composition"),
        ({"composition": "SrTi0O3"}, "asks for no Ti"),
        ({"composition": "Li-Li"}, "names an element twice"),
        ({"composition": "LiCl"}, "no training crystal has Cl"),
        ({"composition": "Li7Ti9O8"}, "one formula unit has 24 atoms"),
        ({"composition": "SrTiO3", "atoms": 7}, "Choose among 5, 10, 15, 20"),
        ({"composition": "Li-Ti-O", "atoms": 2}, "cannot be of 3 elements"),
        ({"atoms": 21}, "Ask for 1 to 20"),
        ({"atoms": "2.5"}, "not a positive whole number"),
        ({"atoms": "many"}, "is not a number"),
        ({"space_group": 231}, "there is no space group 231"),
        ({"space_group": 225, "spacegroup.number": 1}, "space_group: is asked for twice"),
        ({"formation_energy": -1}, "Did you mean formation_energy_per_atom"),
        ({"hardness": 1}, "It knows composition, atoms, space_group"),
        ({"band_gap": "nan"}, "is not a number"),
        ({"band_gap": -100}, "Ask for a value like those from -3 to 3"),
    ],
)
def test_mistakes(where, message):
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        parse_where(where, VOCABULARY)
    with pytest.raises(DataError, match="not fitted with space groups"):
        parse_where({"space_group": 225}, replace(VOCABULARY, space_groups=False))
