"""Transformations describe the same crystal anew, each crystal in its own way."""

from collections.abc import Callable

import numpy as np
import pytest
from drawn_crystals import ALL, cut, drawn_crystals, drawn_sets
from hypothesis import given, settings
from hypothesis import strategies as st

from variolite.crystals import invariance
from variolite.crystals.crystals import Crystals
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.files.textbook import textbook_crystals

Draw = Callable[[Crystals, int], invariance.Transformation]


@pytest.mark.parametrize("draw", ALL)
@settings(max_examples=20)
@given(crystals=drawn_sets(), seed=st.integers(0, 1000))
def test_nothing_but_the_description_changes(draw, crystals, seed):
    other = draw(crystals, seed).apply(crystals)
    assert invariance.shape_change(crystals, other).max() < 1e-9
    np.testing.assert_allclose(other.volumes, crystals.volumes, rtol=1e-10)
    np.testing.assert_array_equal(other.offsets, crystals.offsets)


@pytest.mark.parametrize("draw", ALL)
def test_the_matcher_of_pymatgen_finds_the_same_crystal(draw):
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.1, primitive_cell=False)
    crystals = Crystals.concatenate([drawn_crystals(5, 3), cut(textbook_crystals(), 4)])
    for before, after in zip(crystals, draw(crystals, 1).apply(crystals), strict=True):
        assert matcher.fit(to_pymatgen(before), to_pymatgen(after))


@pytest.mark.parametrize("draw", ALL)
def test_every_crystal_has_its_own_and_the_seed_decides(draw):
    crystals = Crystals.concatenate([drawn_crystals(3, 1, 6)] * 6)
    arrays = (crystals.coordinates, crystals.lattices, crystals.species)
    kept = [array.copy() for array in arrays]
    one, again, other = (draw(crystals, seed).apply(crystals) for seed in (0, 0, 1))
    for now, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(now, before)
    np.testing.assert_array_equal(one.coordinates, again.coordinates)
    np.testing.assert_array_equal(one.lattices, again.lattices)

    def seen(crystals):
        return {c.coordinates.round(9).tobytes() + c.lattice.round(9).tobytes() for c in crystals}

    assert len(seen(one)) > 1
    assert seen(one) != seen(other)


@given(crystals=drawn_sets(), seed=st.integers(0, 1000))
def test_values_of_atoms_are_brought_back(crystals, seed):
    change = invariance.permutation(crystals, seed)
    other = change.apply(crystals)
    np.testing.assert_array_equal(change.undo(other.coordinates), crystals.coordinates)
    np.testing.assert_array_equal(change.undo(other.species[:, None])[:, 0], crystals.species)
    np.testing.assert_array_equal(crystals.owner[change.order], crystals.owner)


def test_rotations_are_uniform():
    turned = invariance.random_rotations(20_000, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.det(turned), 1.0)
    skew = turned - turned.transpose(0, 2, 1)
    axes = np.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], axis=1)
    octant = (axes > 0) @ np.array([1, 2, 4])
    # One in eight each, with a standard error of 0.0023.
    np.testing.assert_allclose(np.bincount(octant) / 20_000, 0.125, atol=0.01)
    cosine = (np.trace(turned, axis1=1, axis2=2) - 1.0) / 2.0
    # The density of the angle is (1 - cos a) / pi: its mean is pi / 2 + 2 / pi.
    mean = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))).mean()
    assert mean == pytest.approx(np.degrees(np.pi / 2 + 2 / np.pi), abs=1.0)
    # Where a fixed vector goes is uniform on the sphere: every coordinate is uniform.
    counts = np.histogram(turned[:, 0, 2], bins=10, range=(-1, 1))[0]
    assert ((counts - 2_000.0) ** 2 / 2_000.0).sum() < 35.0  # 9 +- 4


def test_reflections_reflect_and_cells_stay_cells():
    crystals = drawn_crystals(0, 200, 3)
    mirrors = invariance.reflection(crystals, 0).rotation
    np.testing.assert_allclose(np.linalg.det(mirrors), -1.0)
    np.testing.assert_allclose(mirrors @ mirrors, np.tile(np.eye(3), (200, 1, 1)), atol=1e-12)
    change = invariance.other_cell(crystals, 0).change
    determinants = np.rint(np.linalg.det(change))
    assert set(determinants) == {-1.0, 1.0}
    same = (np.abs(change).sum(axis=(1, 2)) == 3).mean()
    assert same < 0.1, "most cells must be other ones, not the old with other names"
