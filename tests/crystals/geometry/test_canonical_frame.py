"""One representation of a crystal, however it is given, and the way back."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from drawn_crystals import ALL, cut, drawn_crystals, drawn_sets, wrapped_difference
from hypothesis import given, settings
from hypothesis import strategies as st

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.geometry.frame import canonical
from variolite.crystals.invariance import (
    Transformation,
    move_by_whole_cells,
    other_cell,
    permutation,
    reflection,
    rotation,
    shape_change,
    shift_of_origin,
)
from variolite.errors import DataError

Draw = Callable[[Crystals, int], Transformation]


def supercells(crystals):
    """Each crystal twice along a: translations within the cell are symmetries too."""
    made = []
    for crystal in crystals:
        half = crystal.coordinates * np.array([0.5, 1.0, 1.0])
        places = np.concatenate([half, half + np.array([0.5, 0.0, 0.0])])
        cell = np.diag([2.0, 1.0, 1.0]) @ crystal.lattice
        made.append(Crystal(np.tile(crystal.species, 2), places, cell, crystal.name))
    return Crystals.of(made)


def _same_set(first, second, tolerance):
    """Whether two crystals in the frame are the same cell with the same atoms."""
    if not np.allclose(first.lattice, second.lattice, atol=tolerance):
        return False
    apart = np.abs(wrapped_difference(first.coordinates[:, None], second.coordinates[None]))
    pairs = (apart.max(axis=2) < tolerance) & (first.species[:, None] == second.species)
    return bool((pairs.sum(axis=0) >= 1).all() and (pairs.sum(axis=1) >= 1).all())


def _moved(draw, crystals, tolerance, seed=0):
    """Names of the crystals that are another set of places when they are described otherwise."""
    before = canonical(crystals).crystals
    after = canonical(draw(crystals, seed).apply(crystals)).crystals
    pairs = zip(before, after, strict=True)
    return [one.name for one, two in pairs if not _same_set(one, two, tolerance)]


@pytest.mark.parametrize("draw", ALL)
@settings(max_examples=15)
@given(crystals=drawn_sets(), seed=st.integers(0, 1000))
def test_atoms_of_crystals_without_symmetry_get_the_same_places(draw, crystals, seed):
    change = draw(crystals, seed)
    before = canonical(crystals).crystals
    after = canonical(change.apply(crystals)).crystals
    np.testing.assert_allclose(after.lattices, before.lattices, atol=1e-8)
    back = change.undo(after.coordinates)
    # One or two atoms, and atoms in a row, have symmetries of their own.
    simple = crystals.counts < 4
    moved = np.abs(wrapped_difference(back, before.coordinates)).max(axis=1)
    assert moved[~simple[crystals.owner]].max(initial=0.0) < 1e-8
    for one, two in zip(before, after, strict=True):
        assert _same_set(one, two, 1e-8)


@pytest.mark.parametrize("draw", ALL)
@pytest.mark.parametrize("kind", ["primitive", "conventional", "twice"])
def test_symmetric_crystals_get_the_same_set_of_places(draw, kind):
    crystals = textbook_crystals(conventional=kind == "conventional")
    if kind == "twice":
        crystals = supercells(crystals)
    for seed in range(3):
        assert _moved(draw, crystals, 1e-6, seed) == []


@pytest.mark.parametrize("draw", [rotation, reflection, shift_of_origin, move_by_whole_cells])
def test_atoms_keep_their_places_where_their_order_and_cell_are_kept(draw):
    # Exchanged by a symmetry they might not: the given cell and order settle it.
    crystals = textbook_crystals()
    before = canonical(crystals).crystals.coordinates
    after = canonical(draw(crystals, 0).apply(crystals)).crystals.coordinates
    assert np.abs(wrapped_difference(before, after)).max() < 1e-6


@pytest.mark.parametrize("name", ["mp_20/train_head", "mpts_52/val", "carbon_24/lth_val"])
def test_real_crystals_get_the_same_set_of_places(real_rows, name):
    crystals = real_rows(name, 150)
    for draw in (shift_of_origin, permutation, other_cell):
        assert _moved(draw, crystals, 1e-5) == []


@given(crystals=drawn_sets())
def test_what_the_frame_is(crystals):
    arrays = (crystals.coordinates, crystals.lattices, crystals.species)
    kept = [array.copy() for array in arrays]
    found = canonical(crystals).crystals
    for now, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(now, before)
    assert (found.coordinates >= 0.0).all()
    assert (found.coordinates < 1.0).all()
    assert (np.triu(found.lattices, 1) == 0.0).all()
    assert (np.diagonal(found.lattices, axis1=1, axis2=2) > 0.0).all()
    np.testing.assert_allclose(found.volumes, crystals.volumes, rtol=1e-10)
    np.testing.assert_array_equal(found.species, crystals.species)
    assert shape_change(found, crystals).max() < 1e-9
    nearest = np.abs(wrapped_difference(found.coordinates, 0.0)).max(axis=1)
    assert (np.minimum.reduceat(nearest, found.offsets[:-1]) < 1e-12).all()


@settings(max_examples=15)
@given(crystals=drawn_sets(), seed=st.integers(0, 1000))
def test_the_way_back_gives_the_crystals_that_were_given(crystals, seed):
    for draw in (rotation, reflection, other_cell, shift_of_origin):
        given_ = draw(crystals, seed).apply(crystals)
        frame = canonical(given_)
        back = frame.restore(frame.crystals, given_)
        np.testing.assert_allclose(back.lattices, given_.lattices, atol=1e-8)
        assert np.abs(wrapped_difference(back.coordinates, given_.coordinates)).max() < 1e-9
        np.testing.assert_array_equal(back.species, given_.species)
        assert ((back.coordinates >= 0.0) & (back.coordinates < 1.0)).all()


def test_the_way_back_keeps_names_and_properties_and_the_shape_of_what_is_brought_back():
    crystals = textbook_crystals()
    frame = canonical(crystals)
    random = np.random.default_rng(0)
    moved = frame.crystals.coordinates + 0.01 * random.normal(size=(len(crystals.species), 3))
    cells = frame.crystals.lattices * random.uniform(0.98, 1.02, (len(crystals), 3, 1))
    names = np.array(["?"] * len(crystals))
    found = Crystals(crystals.species, moved, cells, crystals.offsets, names)
    back = frame.restore(found, crystals)
    assert shape_change(found, back).max() < 1e-9
    np.testing.assert_array_equal(back.names, crystals.names)
    groups = [each.properties["space_group"] for each in (back, crystals)]
    np.testing.assert_array_equal(*groups)
    # A cell that is right but for its lengths lies on the given one as well as it can.
    assert np.abs(back.lattices - crystals.lattices).max() < 0.4


def test_other_crystals_get_other_places():
    crystals = drawn_crystals(0, 40, 6)
    before = canonical(crystals).crystals
    moved = replace(crystals, coordinates=crystals.coordinates.copy())
    last = crystals.offsets[1:] - 1
    moved.coordinates[last] += np.array([0.0, 0.05, 0.0])
    after = canonical(moved).crystals
    larger = crystals.counts > 1
    same = [_same_set(a, b, 1e-4) for a, b in zip(before, after, strict=True)]
    assert not np.array(same)[larger].any()


def test_one_atom_five_hundred_atoms_and_mixed_sizes():
    random = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(8)] * 3), -1).reshape(-1, 3)[:500] / 8
    species = random.choice([8, 14], 500).astype(np.uint8)
    places = grid + random.uniform(-0.02, 0.02, (500, 3))
    large = Crystal(species, places, 20.0 * np.eye(3) + random.uniform(-2.0, 2.0, (3, 3)), "large")
    small = Crystal(np.array([29], np.uint8), np.array([[0.3, 7.1, -2.0]]), 2.0 * np.eye(3), "one")
    mixed = Crystals.of([small, large, small, cut(textbook_crystals(), 1)[0]])
    frame = canonical(mixed)
    np.testing.assert_allclose(frame.crystals[0].coordinates, 0.0)
    np.testing.assert_allclose(frame.crystals[0].lattice, 2.0 * np.eye(3), atol=1e-12)
    for place in range(len(mixed)):
        alone = canonical(mixed.take([place])).crystals
        np.testing.assert_array_equal(alone.coordinates, frame.crystals[place].coordinates)
    for draw in (permutation, other_cell, shift_of_origin):
        after = canonical(draw(mixed, 0).apply(mixed)).crystals
        assert _same_set(frame.crystals[1], after[1], 1e-8)


def test_a_cell_without_volume_is_refused_and_no_crystal_is_fine():
    crystals = drawn_crystals(0, 3)
    flat = crystals.lattices.copy()
    flat[1, 2] = flat[1, 0]
    with pytest.raises(DataError, match="cell 1 has no volume"):
        canonical(replace(crystals, lattices=flat))
    assert len(canonical(crystals.take(slice(0, 0))).crystals) == 0
