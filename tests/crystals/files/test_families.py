"""Chemical families: known compounds, a slow reference, and what must not matter."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import FAMILIES, SYMBOLS, atomic_numbers, chemical_family

KNOWN = {
    "halide": ("Na Cl", "Ti O F F", "Bi Te I", "Xe F F"),
    "elemental": ("C C", "Fe", "Kr"),
    "oxide": ("Ca C O O O", "Sr Ti O O O", "Bi O Cl", "Zr Zr O N N"),
    "chalcogenide": ("Cd Te", "Bi Bi Te Te Te"),
    "nitride": ("Ga N",),
    "pnictide": ("Ga As",),
    "hydride": ("Mg H H", "La Ni Ni Ni Ni Ni H H H H H H"),
    "carbide": ("Si C",),
    "boride": ("La B B B B B B",),
    "silicide or germanide": ("Mo Si Si",),
    "intermetallic": ("Ni Al", "Cu Zn Sn"),
    "other": ("Kr Na",),
}


def crystal(species: list[int] | np.ndarray) -> Crystal:
    return Crystal(np.asarray(species, dtype=np.uint8), np.zeros((len(species), 3)), np.eye(3))


def test_known_compounds() -> None:
    for family, compounds in KNOWN.items():
        crystals = Crystals.of(crystal(atomic_numbers(atoms.split())) for atoms in compounds)
        assert chemical_family(crystals).tolist() == [family] * len(compounds)


def slowly(species: list[int]) -> str:
    symbols = [SYMBOLS[z] for z in species]
    if len(set(symbols)) < 2:
        return "elemental" if symbols else "other"
    halogens = sum(s in {"F", "Cl", "Br", "I", "At", "Ts"} for s in symbols)
    if "O" in symbols and halogens <= symbols.count("O"):
        return "oxide"
    if halogens:
        return "halide"
    for members, family in (
        ("S Se Te Po Lv", "chalcogenide"),
        ("N", "nitride"),
        ("P As Sb Bi Mc", "pnictide"),
        ("H", "hydride"),
        ("C", "carbide"),
        ("B", "boride"),
        ("Si Ge", "silicide or germanide"),
        ("He Ne Ar Kr Xe Rn Og", "other"),
    ):
        if set(symbols) & set(members.split()):
            return family
    return "intermetallic"


atoms = st.lists(st.integers(1, len(SYMBOLS) - 1), max_size=6)


@given(st.lists(atoms, max_size=8))
def test_agrees_with_one_crystal_at_a_time(sets: list[list[int]]) -> None:
    found = chemical_family(Crystals.of(crystal(species) for species in sets))
    assert found.tolist() == [slowly(species) for species in sets]
    assert set(found.tolist()) <= set(FAMILIES)


@given(st.lists(st.integers(1, 118), min_size=1, max_size=8), st.integers(2, 4), st.randoms())
def test_supercells_and_the_order_of_atoms_do_not_matter(
    species: list[int], times: int, random: object
) -> None:
    repeated = species * times
    random.shuffle(repeated)  # type: ignore[attr-defined]
    one, other = chemical_family(Crystals.of([crystal(species), crystal(repeated)]))
    assert one == other
