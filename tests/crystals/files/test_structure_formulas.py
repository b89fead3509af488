"""Elements, formulas and families, and the textbook against densities and symmetry."""

from collections import Counter
from math import gcd

import numpy as np
import pytest
from crystal_cases import SEEDS, crystals_of
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition, Element

from variolite.crystals import elements as el
from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.files.groups import space_groups
from variolite.crystals.files.textbook import textbook_crystals
from variolite.errors import DataError


def one_of(species):
    return Crystals.of(
        [Crystal(np.array(species, np.uint8), np.zeros((len(species), 3)), np.eye(3))]
    )


@pytest.mark.filterwarnings("ignore")
def test_elements_are_those_of_pymatgen():
    assert len(el.ATOMIC_NUMBERS) == 118
    for z in range(1, 119):
        element = Element.from_Z(z)
        assert el.SYMBOLS[z] == element.symbol
        np.testing.assert_equal(el.ELECTRONEGATIVITIES[z], float(element.X))
        # Tables differ for elements without stable isotopes.
        assert el.MASSES[z] == pytest.approx(float(element.atomic_mass), rel=0.02)


def test_symbols_and_numbers():
    everything = np.arange(1, 119)
    np.testing.assert_array_equal(el.atomic_numbers(el.symbols_of(everything)), everything)
    assert el.symbols_of([[11], [17]]).tolist() == [["Na"], ["Cl"]]
    assert len(el.atomic_numbers([])) == 0
    for wrong in (0, 119, -1):
        with pytest.raises(DataError, match="not the atomic number of an element"):
            el.symbols_of([wrong])
    with pytest.raises(DataError, match=r"'na' is not the symbol of an element. Did you mean 'Na'"):
        el.atomic_numbers(["na"])


def electronegativity(symbol):
    value = el.ELECTRONEGATIVITIES[el.ATOMIC_NUMBERS[symbol]]
    return (np.inf if np.isnan(value) else value, symbol)


@given(SEEDS)
def test_formulas_are_those_of_pymatgen(seed):
    crystals = crystals_of(seed, count=4)
    spellings = (el.reduced_formulas, el.anonymous_formulas, el.chemical_systems)
    spelled = zip(crystals, *(spell(crystals) for spell in spellings), strict=True)
    for crystal, formula, anonymous, system in spelled:
        amounts = Counter(el.symbols_of(crystal.species).tolist())
        smallest = gcd(*amounts.values())
        reduced = Composition({symbol: count / smallest for symbol, count in amounts.items()})
        assert Composition(formula) == reduced
        assert formula.startswith(min(amounts, key=electronegativity))
        assert anonymous == reduced.anonymized_formula
        assert system == reduced.chemical_system


def test_known_formulas(monkeypatch):
    crystals = textbook_crystals()
    formulas = el.reduced_formulas(crystals)
    names = crystals.names.tolist()
    pairs = zip(formulas.tolist(), el.anonymous_formulas(crystals).tolist(), strict=True)
    assert (
        dict(zip(names, pairs, strict=True)).items()
        >= {
            "NaCl (rock salt)": ("NaCl", "AB"),
            "SrTiO3 (perovskite)": ("SrTiO3", "ABC3"),
            "MgAl2O4 (spinel)": ("MgAl2O4", "AB2C4"),
            "K2PtCl6 (antifluorite with octahedra)": ("K2PtCl6", "AB2C6"),
            "C (graphite)": ("C", "A"),
            "SiO2 (quartz)": ("SiO2", "AB2"),
        }.items()
    )
    quartz = names.index("SiO2 (quartz)")
    for reduced, amounts in ((False, [6, 3]), (True, [2, 1])):
        assert el.compositions(crystals, reduced=reduced)[quartz, [8, 14]].tolist() == amounts
    # In chunks, of nothing, and with more elements than letters.
    monkeypatch.setattr(el, "_CHUNK", 7)
    np.testing.assert_array_equal(el.reduced_formulas(crystals), formulas)
    assert len(el.reduced_formulas(Crystals.of([]))) == 0
    letters = el.anonymous_formulas(one_of(list(range(1, 61))))[0]
    assert letters.startswith("ABCDEFGHIJKLMNOPQRSTUVWXYZAAABACAD")
    assert letters.endswith("AYAZBABBBCBDBEBFBGBH")
    assert len(letters) == 26 + 2 * 34
    # Names of the textbook agree with formulas.
    for name, formula in zip(crystals.names, formulas, strict=True):
        assert Composition(name.split()[0]) == Composition(formula), name
    perovskites = ["(perovskite)" in name for name in crystals.names]
    assert crystals.counts[perovskites].tolist() == [5] * 9


# Of handbooks in g/cm3: cell, sites and multiplicities have to be right for them.
DENSITIES = (
    "Cu (fcc) 8.96, W (bcc) 19.25, Mg (hcp) 1.74, NaCl (rock salt) 2.17, C (diamond) 3.51, "
    "C (graphite) 2.26, Si (diamond) 2.33, CaCO3 (calcite) 2.71, SiO2 (quartz) 2.65, "
    "Al2O3 (corundum) 3.99, TiO2 (rutile) 4.25, FeS2 (pyrite) 5.01, MgAl2O4 (spinel) 3.58, "
    "SrTiO3 (perovskite) 5.12, MoS2 (molybdenite) 5.0"
)


@pytest.mark.parametrize("conventional", [False, True])
def test_textbook_densities_and_space_groups(conventional):
    crystals = textbook_crystals(conventional=conventional)
    masses = np.add.reduceat(el.MASSES[crystals.species], crystals.offsets[:-1])
    found = dict(zip(crystals.names.tolist(), masses / crystals.volumes * 1.66053907, strict=True))
    for name, density in (entry.rsplit(" ", 1) for entry in DENSITIES.split(", ")):
        assert found[name] == pytest.approx(float(density), rel=0.01), name
    assert len(found) == len(crystals) == 78
    groups, sizes = space_groups(crystals)
    np.testing.assert_array_equal(groups, crystals.properties["space_group"])
    np.testing.assert_array_equal(sizes, textbook_crystals().counts)


# Every element that decides, and of every two neighbouring families a compound of both.
KNOWN = (
    "halide: NaCl NaBr NaAt NaTs TiOF2 BiTeI XeF2; elemental: C2 Fe Kr; "
    "oxide: CaCO3 SrTiO3 BiOCl Zr2ON2 SO2; chalcogenide: CdSe CdTe CdPo CdLv Bi2Te3 N4S4; "
    "nitride: GaN P3N5; pnictide: GaAs GaSb GaBi GaMc PH3; hydride: MgH2 LaNi5H6 CH4; "
    "carbide: SiC B4C; boride: LaB6 SiB6; silicide or germanide: MoSi2 MoGe2 XeSi; "
    "intermetallic: NiAl CuZnSn; other: NaHe NaNe NaAr KrNa NaXe NaRn NaOg"
)


def test_families_of_known_compounds():
    known = dict(entry.split(": ") for entry in KNOWN.split("; "))
    assert known.keys() == set(el.FAMILIES)
    for family, formulas in known.items():
        for formula in formulas.split():
            amounts = el.parse_formula(formula)
            species = np.repeat([*amounts], [*map(int, amounts.values())])
            assert el.chemical_family(one_of(species)) == [family], formula
    assert el.chemical_family(one_of([])) == ["other"]


@given(st.lists(st.integers(1, 118), min_size=1, max_size=8), st.integers(2, 4), st.randoms())
def test_families_of_supercells_in_any_order(species, times, random):
    repeated = species * times
    random.shuffle(repeated)
    assert el.chemical_family(one_of(repeated)) == el.chemical_family(one_of(species))
