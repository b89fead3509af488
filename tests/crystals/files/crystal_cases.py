"""Random crystals, CIF texts and comparisons that the tests of structures share."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from variolite.crystals.crystals import Crystal, Crystals, cell_parameters
from variolite.crystals.files.checks import NO_LIMITS
from variolite.crystals.files.reading import read_chunk
from variolite.crystals.files.sources import Chunk

CIF = """data_test
_cell_length_a 4.0
_cell_length_b 5.0
_cell_length_c 6.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
_symmetry_Int_Tables_number 1
loop_
_symmetry_equiv_pos_as_xyz
'x, y, z'
loop_
_atom_site_type_symbol
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na Na1 0.0 0.0 0.0 1
Cl Cl1 0.5 0.5 0.25 1
"""
"""A plain CIF that tests change in one way or another."""

OPERATIONS = "loop_\n_symmetry_equiv_pos_as_xyz\n'x, y, z'\n"
SEEDS = st.integers(0, 2**32 - 1)


def changed(*words, text=CIF):
    """A text with the second word in place of the first, the fourth of the third ..."""
    for old, new in zip(words[::2], words[1::2], strict=True):
        assert old in text
        text = text.replace(old, new)
    return text


def read_text(kind, text):
    """Read one text of a format, called x, whatever its volumes and distances."""
    return read_chunk(Chunk(kind, [text], ["x"], ["x"], [None]), NO_LIMITS)


def sound(kind, text):
    """The structures of a text that has no faulty one."""
    reading = read_text(kind, text)
    assert reading.rejects.rows() == []
    return reading.crystals


def crystals_of(seed, *, count=3, atoms=6, hostile=False):
    """Draw crystals with well separated atoms in skewed cells."""
    rng = np.random.default_rng(seed)
    found = []
    for place in range(count):
        n = int(rng.integers(1, atoms + 1))
        lattice = 4.0 * np.eye(3) * n ** (1 / 3) + rng.uniform(-0.8, 0.8, (3, 3))
        if hostile and rng.random() < 0.5:
            lattice = lattice[::-1]
        grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)
        coordinates = rng.permutation(grid)[:n] / 3 + rng.uniform(-0.03, 0.03, (n, 3))
        species = rng.integers(1, 95, n).astype(np.uint8)
        found.append(Crystal(species, coordinates, lattice, f"crystal {seed}/{place}"))
    return Crystals.of(found)


@st.composite
def crystal_sets(draw):
    """Draw sets with names and properties of both kinds, empty ones included."""
    count = draw(st.integers(0, 4))
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
    names, words = (
        np.array(draw(st.lists(text, min_size=count, max_size=count)), dtype=np.str_)
        for _ in range(2)
    )
    floats = np.array(draw(st.lists(st.floats(), min_size=count, max_size=count)), dtype=float)
    properties = {"numbers": floats, "words, words": words}
    return replace(crystals_of(draw(SEEDS), count=count), names=names, properties=properties)


def assert_same(found, expected, tolerance=0.0):
    """Fail unless all is equal: atoms in their order, cells, names and properties."""
    for name in ("offsets", "species", "names"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.coordinates, expected.coordinates, 0, tolerance)
    np.testing.assert_allclose(found.lattices, expected.lattices, 0, 10 * tolerance)
    assert list(found.properties) == list(expected.properties)
    for name, values in expected.properties.items():
        assert found.properties[name].dtype.kind == values.dtype.kind
        np.testing.assert_array_equal(found.properties[name], values)


def same_atoms(one, two, tolerance=1e-5):
    """Return whether cells and atoms agree, whatever order and whole shifts."""
    if len(one) != len(two):
        return False
    cells = [cell_parameters(crystal.lattice)[0] for crystal in (one, two)]
    difference = one.coordinates[:, None] - two.coordinates[None]
    difference -= np.rint(difference)
    near = (np.abs(difference) < tolerance).all(axis=-1)
    near &= one.species[:, None] == two.species[None]
    same_cell = np.abs(cells[0] - cells[1]).max() <= 10 * tolerance
    return bool(same_cell and (near.sum(axis=0) == 1).all() and (near.sum(axis=1) == 1).all())
