"""Niggli cells against pymatgen and spglib, and close atoms against a slow search."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from crystal_cases import SEEDS, crystals_of
from hypothesis import example, given
from hypothesis import strategies as st

from variolite.crystals.crystals import (
    Crystal,
    Crystals,
    cell_heights,
    cell_parameters,
    lattices_from_parameters,
)
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.geometry.periodic import close_pairs, reduce_cells
from variolite.errors import DataError


def in_another_cell(crystal, seed):
    """The same crystal with lattice vectors added to one another."""
    rng = np.random.default_rng(seed)
    change = np.eye(3)
    for _ in range(6):
        i, j = rng.choice(3, 2, replace=False)
        change[i] += rng.integers(-2, 3) * change[j]
    moved = crystal.coordinates @ np.linalg.inv(change)
    return Crystal(crystal.species, moved, change @ crystal.lattice, crystal.name)


# spglib announces another way of saying that it failed.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@given(SEEDS)
@example(3_311_619_373)
def test_cells_are_those_of_pymatgen_and_spglib_whatever_cell_was_given(seed):
    import spglib

    crystal = crystals_of(seed, count=1)[0]
    given_cells = Crystals.of([crystal, in_another_cell(crystal, seed)])
    first, found = cell_parameters(reduce_cells(given_cells).lattices)
    np.testing.assert_allclose(first, found, 0, 1e-6)
    theirs = np.array(to_pymatgen(given_cells[1]).lattice.get_niggli_reduced_lattice().parameters)
    # pymatgen leaves edges that differ by a ten-thousandth as they come.
    order = np.argsort(np.round(theirs[:3], 6), kind="stable")
    theirs = theirs[np.r_[order, 3 + order]]
    # In one cell of 150 pymatgen turns a vector round that changes two angles by less than a
    # degree, from below 90 to above; of spglib's cells none differs.
    np.testing.assert_allclose(found[:3], theirs[:3], 0, 1e-5)
    np.testing.assert_allclose(np.abs(found[3:] - 90), np.abs(theirs[3:] - 90), 0, 1e-5)
    other = cell_parameters(spglib.niggli_reduce(given_cells.lattices[1]))[0]
    np.testing.assert_allclose(found, other, 0, 1e-5)


@given(SEEDS)
def test_atoms_stay_where_they_are(seed):
    """Every position of the reduced crystal is one of the given, up to given lattice vectors."""
    before = Crystals.of([in_another_cell(c, seed) for c in crystals_of(seed, hostile=True)])
    after = reduce_cells(before)
    np.testing.assert_array_equal(after.species, before.species)
    np.testing.assert_array_equal(after.offsets, before.offsets)
    assert ((after.coordinates >= 0) & (after.coordinates < 1)).all()
    np.testing.assert_allclose(np.linalg.det(after.lattices), np.linalg.det(before.lattices), 1e-9)
    for one, two in zip(before, after, strict=True):
        back = (two.coordinates @ two.lattice) @ np.linalg.inv(one.lattice)
        difference = back - one.coordinates
        np.testing.assert_allclose(difference, np.rint(difference), 0, 1e-8)


def test_textbook_cells():
    """Primitive and conventional cells of primitive lattices reduce to the same."""
    both = textbook_crystals(), textbook_crystals(conventional=True)
    same = both[0].counts == both[1].counts
    cells = [cell_parameters(reduce_cells(crystals.take(same)).lattices) for crystals in both]
    np.testing.assert_allclose(cells[0], cells[1], 0, 1e-6)
    logged: list[str] = []
    fcc = cell_parameters(reduce_cells(both[0], log=logged.append).lattices)[0]
    np.testing.assert_allclose(fcc, [3.615 / 2**0.5] * 3 + [60] * 3, 0, 1e-6)
    assert logged == ["0 of 78 cells reduced"]
    flat = Crystal(np.array([6], np.uint8), np.zeros((1, 3)), np.ones((3, 3)), "flat one")
    with pytest.raises(DataError, match="flat one: the lattice vectors span no volume"):
        reduce_cells(Crystals.of([flat]))


@given(SEEDS)
def test_parameters_lattices_and_heights_belong_together(seed):
    lattices = crystals_of(seed).lattices
    parameters = cell_parameters(lattices)
    again = lattices_from_parameters(parameters)
    np.testing.assert_allclose(cell_parameters(again), parameters, 0, 1e-8)
    gram, expected = (x @ x.transpose(0, 2, 1) for x in (again, lattices))
    np.testing.assert_allclose(gram, expected, 0, 1e-8)
    # A height is the volume over the area of the other two vectors.
    for i in range(3):
        area = np.linalg.norm(np.cross(lattices[:, i - 2], lattices[:, i - 1]), axis=1)
        heights = np.abs(np.linalg.det(lattices)) / area
        np.testing.assert_allclose(cell_heights(lattices)[:, i], heights, 1e-9)
    # Parameters of no cell.
    cells = ("3 3 3 90 90 90", "-3 3 3 90 90 90", "3 3 3 90 90 180", "3 3 3 0 90 90")
    cells += ("3 3 3 30 90 30", "3 nan 3 90 90 90")
    finite = np.isfinite(lattices_from_parameters([cell.split() for cell in cells]))
    assert finite.all(axis=(1, 2)).tolist() == [True] + [False] * 5


IMAGES = np.array(list(product(range(-4, 5), repeat=3)), dtype=float)


def slow_distance(crystal):
    """The shortest distance of all, over 729 images."""
    difference = crystal.coordinates[:, None] - crystal.coordinates
    difference -= np.rint(difference)
    every = (difference[:, :, None] + IMAGES) @ crystal.lattice
    distances = np.linalg.norm(every, axis=-1)
    # The image of an atom on itself is none.
    distances[np.arange(len(crystal)), np.arange(len(crystal)), len(IMAGES) // 2] = np.inf
    return float(distances.min())


@given(SEEDS, st.floats(0.3, 4.0))
def test_the_closest_pair_is_found(seed, within):
    """With reaches up to the size of the cells, so that both ways of searching are taken."""
    rng = np.random.default_rng(seed)
    crystals = crystals_of(seed, count=4)
    lattices = crystals.lattices.copy()
    lattices[0, 1] += rng.integers(0, 3) * lattices[0, 0]
    coordinates = rng.uniform(-2, 2, crystals.coordinates.shape)
    crystals = replace(crystals, coordinates=coordinates, lattices=lattices)
    found = close_pairs(crystals, np.arange(4), within)
    expected = np.array([slow_distance(crystal) for crystal in crystals])
    near = np.flatnonzero(expected < within)
    np.testing.assert_array_equal(found.structure, near)
    np.testing.assert_allclose(found.distance, expected[near], 1e-9)
    for place, i, j, distance in zip(*found, strict=True):
        x = crystals[place].coordinates
        images = (x[i] - x[j] - np.rint(x[i] - x[j]) + IMAGES) @ lattices[place]
        assert np.abs(np.linalg.norm(images, axis=1) - distance).min() < 1e-9


def test_only_the_chosen_structures_are_searched():
    crystals = textbook_crystals()
    everything = close_pairs(crystals, np.arange(78), 2.0).structure
    some = close_pairs(crystals, np.arange(0, 78, 2), 2.0).structure
    np.testing.assert_array_equal(some, everything[everything % 2 == 0])
    assert len(close_pairs(crystals, np.arange(78), 0.5).structure) == 0
    assert len(close_pairs(crystals, np.arange(0), 2.0).structure) == 0
    # The worst case in memory: every pair is close.
    heap = Crystal(np.full(512, 6, dtype=np.uint8), np.zeros((512, 3)), np.eye(3) * 20)
    assert close_pairs(Crystals.of([heap]), np.arange(1), 0.5).distance.tolist() == [0.0]
