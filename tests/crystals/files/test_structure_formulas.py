"""Elements and formulas against pymatgen, and the textbook against densities and symmetry."""

from __future__ import annotations

import warnings
from collections import Counter
from math import gcd

import numpy as np
import pytest
from crystal_cases import SEEDS, crystals_of
from hypothesis import given

from variolite.crystals import elements
from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import (
    ATOMIC_NUMBERS,
    ELECTRONEGATIVITIES,
    MASSES,
    SYMBOLS,
    anonymous_formulas,
    atomic_numbers,
    chemical_systems,
    compositions,
    reduced_formulas,
    symbols_of,
)
from variolite.crystals.files.groups import space_groups
from variolite.crystals.files.textbook import textbook_crystals
from variolite.errors import DataError


def test_elements_are_those_of_pymatgen() -> None:
    from pymatgen.core.periodic_table import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for z in range(1, 119):
            element = Element.from_Z(z)
            assert SYMBOLS[z] == element.symbol
            np.testing.assert_equal(ELECTRONEGATIVITIES[z], float(element.X))
            # Tables differ for elements without stable isotopes.
            assert MASSES[z] == pytest.approx(float(element.atomic_mass), rel=0.02)


def test_symbols_and_numbers() -> None:
    everything = np.arange(1, 119)
    np.testing.assert_array_equal(atomic_numbers(symbols_of(everything)), everything)
    assert symbols_of([[11], [17]]).tolist() == [["Na"], ["Cl"]]
    assert len(ATOMIC_NUMBERS) == 118
    assert len(atomic_numbers([])) == 0
    for wrong in (0, 119, -1):
        with pytest.raises(DataError, match="not the atomic number of an element"):
            symbols_of([wrong])
    with pytest.raises(DataError, match=r"'na' is not the symbol of an element. Did you mean 'Na'"):
        atomic_numbers(["na"])


def electronegativity(symbol: str) -> tuple[float, str]:
    return (np.nan_to_num(ELECTRONEGATIVITIES[ATOMIC_NUMBERS[symbol]], nan=np.inf), symbol)


@given(SEEDS)
def test_formulas_are_those_of_pymatgen(seed: int) -> None:
    from pymatgen.core.composition import Composition

    crystals = crystals_of(seed, count=4)
    spelled = (f(crystals) for f in (reduced_formulas, anonymous_formulas, chemical_systems))
    for crystal, formula, anonymous, system in zip(crystals, *spelled, strict=True):
        amounts = Counter(symbols_of(crystal.species).tolist())
        smallest = gcd(*amounts.values())
        reduced = Composition({symbol: count / smallest for symbol, count in amounts.items()})
        assert Composition(formula) == reduced
        assert formula.startswith(min(amounts, key=electronegativity))
        assert anonymous == reduced.anonymized_formula
        assert system == reduced.chemical_system


def test_known_formulas() -> None:
    crystals = textbook_crystals()
    at = crystals.names.tolist().index
    formulas, anonymous = reduced_formulas(crystals), anonymous_formulas(crystals)
    for name, formula, letters in (
        ("NaCl (rock salt)", "NaCl", "AB"),
        ("SrTiO3 (perovskite)", "SrTiO3", "ABC3"),
        ("MgAl2O4 (spinel)", "MgAl2O4", "AB2C4"),
        ("K2PtCl6 (antifluorite with octahedra)", "K2PtCl6", "AB2C6"),
        ("C (graphite)", "C", "A"),
        ("SiO2 (quartz)", "SiO2", "AB2"),
    ):
        assert formulas[at(name)] == formula
        assert anonymous[at(name)] == letters
    assert compositions(crystals)[at("SiO2 (quartz)"), [8, 14]].tolist() == [6, 3]
    assert compositions(crystals, reduced=True)[at("SiO2 (quartz)"), [8, 14]].tolist() == [2, 1]


def test_formulas_in_chunks_and_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    crystals = textbook_crystals()
    expected = reduced_formulas(crystals)
    monkeypatch.setattr(elements, "_CHUNK", 7)
    np.testing.assert_array_equal(reduced_formulas(crystals), expected)
    assert len(reduced_formulas(Crystals.of([]))) == 0
    many = Crystal(np.arange(1, 61, dtype=np.uint8), np.zeros((60, 3)), np.eye(3), "all")
    letters = anonymous_formulas(Crystals.of([many]))[0]
    assert letters.startswith("ABCDEFGHIJKLMNOPQRSTUVWXYZAAABACAD")
    assert letters.endswith("AYAZBABBBCBDBEBFBGBH")
    assert len(letters) == 26 + 2 * 34


# Of handbooks in g/cm3: cell, sites and multiplicities have to be right for them.
DENSITIES = {
    "Cu (fcc)": 8.96,
    "W (bcc)": 19.25,
    "Mg (hcp)": 1.74,
    "NaCl (rock salt)": 2.17,
    "C (diamond)": 3.51,
    "C (graphite)": 2.26,
    "Si (diamond)": 2.33,
    "CaCO3 (calcite)": 2.71,
    "SiO2 (quartz)": 2.65,
    "Al2O3 (corundum)": 3.99,
    "TiO2 (rutile)": 4.25,
    "FeS2 (pyrite)": 5.01,
    "MgAl2O4 (spinel)": 3.58,
    "SrTiO3 (perovskite)": 5.12,
    "MoS2 (molybdenite)": 5.0,
}


@pytest.mark.parametrize("conventional", [False, True])
def test_textbook_densities_and_space_groups(conventional: bool) -> None:
    crystals = textbook_crystals(conventional=conventional)
    masses = np.add.reduceat(MASSES[crystals.species], crystals.offsets[:-1])
    found = dict(zip(crystals.names.tolist(), masses / crystals.volumes * 1.66053907, strict=True))
    assert {name: found[name] for name in DENSITIES} == pytest.approx(DENSITIES, rel=0.01)
    assert len(found) == len(crystals) == 78
    groups, sizes = space_groups(crystals)
    np.testing.assert_array_equal(groups, crystals.properties["space_group"])
    np.testing.assert_array_equal(sizes, textbook_crystals().counts)


def test_textbook_names_agree_with_formulas() -> None:
    from pymatgen.core.composition import Composition

    crystals = textbook_crystals()
    for name, formula in zip(crystals.names, reduced_formulas(crystals), strict=True):
        assert Composition(name.split()[0]) == Composition(formula), name
    perovskites = [name for name in crystals.names.tolist() if "(perovskite)" in name]
    assert len(perovskites) == 9
    chosen = np.isin(crystals.names, perovskites)
    assert set(crystals.counts[chosen].tolist()) == {5}
