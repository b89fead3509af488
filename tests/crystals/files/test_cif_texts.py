"""CIF in: symmetry, odd spellings, and pymatgen as the reference."""

import re
from itertools import product

import gemmi
import numpy as np
import polars as pl
import pytest
from crystal_cases import CIF, OPERATIONS, SEEDS, changed, crystals_of, same_atoms, sound
from hypothesis import given

from variolite.crystals.crystals import lattices_from_parameters
from variolite.crystals.elements import ATOMIC_NUMBERS
from variolite.crystals.files import symmetry
from variolite.crystals.files.checks import (
    DEUTERIUM,
    GUESSED,
    VACANT,
    Limits,
    RejectedError,
    element_of,
)
from variolite.crystals.files.formats import from_pymatgen, to_pymatgen
from variolite.crystals.files.reading import read_structures
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import to_cif


def read(text):
    return sound("cif", text)[0]


def by_pymatgen(text):
    from pymatgen.io.cif import CifParser

    # By default pymatgen moves coordinates near thirds; the file is what counts here.
    parser = CifParser.from_str(text, frac_tolerance=0)
    return from_pymatgen(parser.parse_structures(primitive=False)[0])[0]


SYMBOL, NUMBER, XYZ = "_symmetry_space_group_name_H-M", "_symmetry_Int_Tables_number", "_as_xyz"
OCCUPANCY, FULL = "_atom_site_occupancy", "0.25 1\n"
SAME_SALT = {
    "charges": changed("Na Na1", "Na1+ Na1", "Cl Cl1", "CL- Cl1"),
    "uncertainties": changed("4.0\n", "4.0(3)\n", FULL, "0.25(12) 1\n"),
    "labels only": changed("type_symbol", "other", "Na Na1", ". Na1"),
    "unknown symbols": changed("Na Na1", "? Na1"),
    "other capitals": changed("_atom_site_fract_x", "_Atom_Site_Fract_X"),
    "no occupancy": changed(OCCUPANCY, "_atom_site_other"),
    "occupancy unknown": changed(FULL, "0.25 ?\n"),
    "occupancy with uncertainty": changed(FULL, "0.25 1.0(1)\n"),
    "newer tags": changed("_symmetry_equiv_pos" + XYZ, "_space_group_symop_operation_xyz")
    .replace(SYMBOL, "_space_group_name_H-M_alt")
    .replace(NUMBER, "_space_group_IT_number"),
    "points in tags": changed("_cell_", "_cell.", "_atom_site_", "_atom_site.").replace(
        "_symmetry_equiv_pos" + XYZ, "_space_group_symop.operation_xyz"
    ),
    "no operations": changed(OPERATIONS, ""),
    "a remark as a block": CIF + "\ndata_remarks\n_audit_author_name 'Nobody'\n",
    "windows line ends": changed("\n", "\r\n"),
    "one disorder group": changed(OCCUPANCY, "_atom_site_disorder_group"),
    "a dummy": changed(OCCUPANCY, "_atom_site_calc_flag", "0.0 1\n", "0.0 d\n").replace(
        FULL, "0.25 d\nNa Na9 0.1 0.1 0.1 dum\n"
    ),
    "all atoms under the true group": changed("'P 1'", "'P m m m'").replace(
        "loop_\n_symm", "_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 1\nloop_\n_symm", 1
    ),
}


@pytest.mark.parametrize("spelling", SAME_SALT)
def test_spellings_of_the_same_structure(spelling):
    found, plain = read(SAME_SALT[spelling]), read(CIF)
    np.testing.assert_array_equal(found.species, [11, 17])
    np.testing.assert_array_equal(found.coordinates, plain.coordinates)
    np.testing.assert_array_equal(found.lattice, plain.lattice)


def test_one_atom_without_a_loop():
    text = CIF[: CIF.rindex("loop_")]
    text += "_atom_site_fract_x 0\n_atom_site_fract_y 0.5\n_atom_site_fract_z 0\n"
    found = read(text + "_atom_site_type_symbol Fe\n")
    assert found.species.tolist() == [26]
    assert found.coordinates.tolist() == [[0.0, 0.5, 0.0]]


@given(SEEDS)
def test_numbers_with_uncertainties_and_symbols_with_charges_change_nothing(seed):
    crystal = crystals_of(seed, count=1)[0]
    plain = to_cif(crystal)
    careful = re.sub(r"(\.\d{8,})", r"\1(3)", re.sub(r"(?m)^  ([A-Z]\w?)  ", r"  \g<1>1+  ", plain))
    assert careful.count("(3)") > 6
    found, known = read(careful), read(plain)
    assert found.species.tolist() == known.species.tolist() == crystal.species.tolist()
    np.testing.assert_array_equal(found.coordinates, known.coordinates)
    np.testing.assert_array_equal(found.lattice, known.lattice)
    np.testing.assert_allclose(found.coordinates, crystal.coordinates, 0, 1e-10)


SYMBOLS = {"Fe": 26, "Fe3+": 26, "FE": 26, "fe": 26, "O2-": 8, "Cu1+": 29, "h": 1, "Og": 118}
NOTED = {"D": (1, DEUTERIUM), "T": (1, DEUTERIUM), "Vac": (0, VACANT), "VACANCY": (0, VACANT)}
NOTED |= {"Wat": (8, f"{GUESSED}: Wat as O of water")}
CLEAR = {"Fe1": 26, "Fe1A": 26, "O1W": 8, "C12": 6, "H1A": 1, "Al(1)": 13, "O-H(1)": 8, "W1": 74}
GUESSES = {"Caa": "Ca", "Ow": "O", "OW2": "O", "Hx": "H", "SiT1": "Si", "NaM4": "Na", "OH1": "O"}
# Sites that several elements may take, two elements in one, and two letters in capitals.
UNCLEAR = (
    "Cat1",
    "CAT",
    "T1",
    "T",
    "Tet2",
    "Oct",
    "Cav",
    "Va1",
    "H2O",
    "Al/Si1",
    "AlSi1",
    "Mg,Fe1",
)
UNCLEAR += ("NA1", "CO1", "CL2", "Zz", "")


def test_symbols_and_labels():
    for text, number in SYMBOLS.items():
        assert element_of(text) == (number, ""), text
    for text, found in NOTED.items():
        assert element_of(text) == found, text
    assert element_of("Vac2", is_label=True) == (0, VACANT)
    assert element_of("D1", is_label=True) == (1, DEUTERIUM)
    for text, number in CLEAR.items():
        assert element_of(text, is_label=True) == (number, ""), text
    for text, symbol in GUESSES.items():
        expected = (ATOMIC_NUMBERS[symbol], f"{GUESSED}: {text} as {symbol}")
        assert element_of(text, is_label=True) == expected, text
    neither = [(text, False) for text in ("Uuo", "OH", "", "?", "1", "X", "M", "Cat")]
    for text, is_label in [*neither, *((text, True) for text in UNCLEAR)]:
        with pytest.raises(RejectedError, match="unknown_element"):
            element_of(text, is_label=is_label)


def test_labels_beside_a_formula():
    """What a formula declares decides between two elements, and a label has to be part of it."""
    salt, oxides = frozenset({11, 17}), frozenset({8, 13, 15})
    assert element_of("NA1", is_label=True, declared=salt) == (11, f"{GUESSED}: NA1 as Na")
    assert element_of("Ow", is_label=True, declared=oxides)[0] == 8
    with pytest.raises(RejectedError, match="names W, which the formula sum lacks"):
        element_of("W1", is_label=True, declared=oxides)


def test_special_positions_written_with_few_digits():
    """Atoms 0.3333 and 0.6667 lie on the threefold axis, and once there."""
    lattice = lattices_from_parameters([3.209, 3.209, 5.211, 90, 90, 120])[0]
    place, operations = (
        np.array([[0.3333, 0.6667, 0.25]]),
        symmetry.operations_of_group("P 63/m m c"),
    )
    species, coordinates = symmetry.expand(np.array([12], np.uint8), place, lattice, operations)
    assert species.tolist() == [12, 12]
    np.testing.assert_allclose(coordinates, [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]], 1e-9)


@pytest.mark.parametrize(
    "group", ["P 1", "P -1", "C 1 2/c 1", "F d -3 m:2", "R -3 c:H", "I 41 3 2"]
)
def test_general_and_special_orbits_have_the_size_of_the_group(group):
    """Sizes by the stabiliser, against gemmi's own images of a point."""
    found = gemmi.find_spacegroup_by_name(group)
    cell = [11, 11, 17, 90, 90, 120] if found.ext == "H" else [11, 11, 11, 90, 90, 90]
    lattice, operations = lattices_from_parameters(cell)[0], symmetry.operations_of_group(group)
    for point in ([0.123455, 0.234565, 0.345675], [0.0] * 3, [0.125] * 3):
        images = np.round([op.apply_to_xyz(point) for op in found.operations()], 9) % 1.0
        images = {tuple(image) for image in np.round(images, 6) % 1.0}
        carbon = np.array([6], np.uint8)
        species, coordinates = symmetry.expand(carbon, np.array([point]), lattice, operations)
        assert len(species) == len(images)
        assert {tuple(place) for place in np.round(coordinates, 6) % 1.0} == images


def test_operations_must_form_a_group():
    rotations, translations = symmetry.operations_of_triplets(("x,y,z", "'-X, -Y, -Z'", "x,y,z"))
    assert (len(rotations), translations.any()) == (2, False)
    for bad in (("x,y,z", "x+1/2,y,z", "-x,-y,-z"), ("x,y,z", "y,z,x"), ("a,b,q",), ("",)):
        with pytest.raises(RejectedError, match="missing_symmetry"):
            symmetry.operations_of_triplets(bad)


@pytest.mark.filterwarnings("ignore")
def test_symmetry_of_cifs_is_applied_as_in_pymatgen():
    from pymatgen.io.cif import CifWriter

    for crystal in textbook_crystals().take(slice(0, None, 5)):
        text = str(CifWriter(to_pymatgen(crystal), symprec=0.01))
        assert "_symmetry_space_group_name_H-M   'P 1'" not in text
        assert same_atoms(read(text), by_pymatgen(text)), crystal.name


def test_group_by_symbol_gives_what_its_operations_give():
    text = changed(OPERATIONS, "", "'P 1'", "'F m -3 m'", "5.0", "4.0", "6.0", "4.0")
    text = text.replace("number 1", "number 225").replace("0.5 0.5 0.25", "0.5 0.5 0.5")
    found = read(text)
    assert np.bincount(found.species)[[11, 17]].tolist() == [4, 4]
    expected = [c for c in product((0.0, 0.5), repeat=3) if sum(c) % 1 == 0]
    assert sorted(found.coordinates[found.species == 11].tolist()) == sorted(map(list, expected))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mp_20/train_head", "mpts_52/val", "carbon_24/htl_val"])
def test_real_cifs_are_read_as_pymatgen_reads_them(shared_data, name):
    path = shared_data / "crystals" / f"{name}.csv.gz"
    reading = read_structures(path, limits=Limits(volume_per_atom=(0, 1e6)))
    assert not len(reading.rejects)
    texts = pl.read_csv(path, columns=["cif"])["cif"]
    for row in range(0, len(texts), len(texts) // 25):
        assert same_atoms(reading.crystals[row], by_pymatgen(texts[row])), row
