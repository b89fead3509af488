"""Verdicts and displacements against pymatgen, and what must not matter."""

import warnings
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from matching_sets import DATA, noisy, rebased, rotated, some_rows, strained, textbook, unimodular
from scipy.optimize import linear_sum_assignment

from variolite.crystals.crystals import (
    Crystal,
    Crystals,
    cell_parameters,
    lattices_from_parameters,
)
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.matching import CDVAE, DEFAULT, STRICT, TOLERANCES, Tolerance, match_pairs
from variolite.crystals.matching.baselines import random_coordinates
from variolite.crystals.matching.lattices import niggli_cells, reduce_lll
from variolite.crystals.matching.pairs import (
    Matches,
    match_reduced,
    primitive_crystals,
    reduce_crystals,
    surely_primitive,
)
from variolite.crystals.matching.sites import FORBIDDEN, assign
from variolite.errors import DataError


@pytest.mark.parametrize("name", ["textbook", *DATA])
def test_niggli_axes_are_those_of_pymatgen(request, name):
    from pymatgen.core import Lattice

    if name == "textbook":
        cells = textbook(99).lattices
        cells = np.concatenate([cells, [unimodular(i) @ x for i, x in enumerate(cells)]])
    else:
        cells = some_rows(request.getfixturevalue("shared_data"), name, 100).lattices
        noise = np.random.default_rng(0).normal(size=cells.shape) * 0.003
        cells = np.concatenate([cells, cells @ (np.eye(3) + noise)])
    ours = niggli_cells(cells)
    assert ours.found.all()
    np.testing.assert_allclose(ours.transform @ cells, ours.lattices, atol=1e-9)
    assert (np.linalg.det(ours.lattices) > 0).all()
    for cell, reduced in zip(cells, ours.lattices, strict=True):
        theirs = Lattice(cell).get_niggli_reduced_lattice().matrix
        np.testing.assert_allclose(reduced, theirs, atol=1e-6)


@given(
    st.tuples(*[st.floats(2.0, 15.0)] * 3),
    st.tuples(*[st.sampled_from([60.0, 70.5, 85.0, 90.0, 100.0, 110.0])] * 3),
    st.integers(0, 1000),
)
def test_reduction_keeps_the_lattice_and_niggli_cells_do_not_depend_on_the_basis(
    lengths, angles, seed
):
    lattice = lattices_from_parameters([*lengths, *angles])[0]
    volume = abs(np.linalg.det(lattice))
    # Angles that enclose nothing make NaN.
    assume(volume > 5.0)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    both = np.stack([lattice, unimodular(seed) @ lattice @ turn])
    reduced, transform = reduce_lll(both)
    np.testing.assert_allclose(transform @ both, reduced, atol=1e-9)
    np.testing.assert_allclose(np.abs(np.linalg.det(transform)), 1.0)
    # A reduced basis is nearly orthogonal: its lengths exceed the volume by little.
    longest = np.linalg.norm(reduced, axis=2).prod(axis=1)
    assert (longest <= 2 ** (3 * 2 / 4) * volume * (1 + 1e-9)).all()
    cells = niggli_cells(both)
    assert cells.found.all()
    np.testing.assert_allclose(cells.transform @ both, cells.lattices, atol=1e-9)
    assert (np.linalg.det(cells.lattices) > 0).all()
    first, second = cell_parameters(cells.lattices)
    np.testing.assert_allclose(first[:3], second[:3], rtol=1e-4)


def match_by_pymatgen(first, second, tolerance, *, primitive=False):
    """What pymatgen itself finds; a pair on which it raises an error does not match."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    t = tolerance
    matcher = StructureMatcher(t.lengths, t.sites, t.angles, primitive, t.scaled)
    matches = Matches(np.full(len(second), np.nan), np.zeros(len(second), dtype=bool))
    for place, pair in enumerate(zip(first, second, strict=True)):
        structures = [to_pymatgen(crystal) for crystal in pair]
        with warnings.catch_warnings(), suppress(ValueError, np.linalg.LinAlgError):
            warnings.simplefilter("ignore")
            found = matcher.get_rms_dist(*structures)
            matches.fits[place] = matcher.fit(*structures)
            matches.rms[place] = np.nan if found is None else found[0]
    return matches


def agree(ours, theirs):
    np.testing.assert_array_equal(ours.matched, theirs.matched)
    np.testing.assert_array_equal(ours.fits, theirs.fits)
    found = theirs.matched
    # pymatgen stops at the first match below 1e-5.
    np.testing.assert_allclose(ours.rms[found], theirs.rms[found], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [*TOLERANCES, *DATA])
def test_crystals_match_as_pymatgen_says(request, name):
    """Textbook crystals at each tolerance, real ones at a tolerance that grows with the noise."""
    if name in TOLERANCES:
        crystals, tolerances = textbook(6).take(slice(None, None, 4)), [TOLERANCES[name]] * 4
    else:
        crystals = some_rows(request.getfixturevalue("shared_data"), name, 8, seed=1)
        tolerances = [STRICT, DEFAULT, CDVAE, CDVAE]
    variants = (
        noisy(crystals, 0.05),
        strained(noisy(crystals, 0.2, 1), 0.01),
        strained(noisy(crystals, 0.4, 2), 0.1),
        random_coordinates(crystals, seed=3),
    )
    for other, tolerance in zip(variants, tolerances, strict=True):
        theirs = match_by_pymatgen(other, crystals, tolerance)
        agree(match_pairs(other, crystals, tolerance), theirs)


@pytest.mark.parametrize("name", ["carbon_24", "mp_20"])
def test_primitive_cells_match_as_pymatgen_says(shared_data, name):
    crystals = some_rows(shared_data, name, 15, seed=2)
    other = noisy(crystals, 0.05)
    ours, theirs = (primitive_crystals(reduce_crystals(c)) for c in (other, crystals))
    expected = match_by_pymatgen(other, crystals, CDVAE, primitive=True)
    agree(match_reduced(ours, theirs, CDVAE), expected)


def test_doubled_cells_are_folded():
    crystals = textbook(2)
    doubled = []
    for c in crystals:
        whole = np.concatenate([c.coordinates, c.coordinates + np.eye(3)[2]]) * [1, 1, 0.5]
        doubled.append(Crystal(np.tile(c.species, 2), whole, np.diag([1, 1, 2]) @ c.lattice))
    reduced = reduce_crystals(Crystals.of(doubled))
    assert not any(surely_primitive(c) for c in reduced.crystals)
    folded = primitive_crystals(reduced)
    np.testing.assert_array_equal(folded.crystals.counts, crystals.counts)
    assert match_reduced(folded, primitive_crystals(reduce_crystals(crystals)), STRICT).fits.all()


def test_a_cell_called_primitive_is_one(shared_data):
    crystals = reduce_crystals(some_rows(shared_data, "carbon_24", 60, seed=3)).crystals
    sure = [crystal for crystal in crystals if surely_primitive(crystal)]
    assert len(sure) > 20
    for crystal in sure:
        assert len(to_pymatgen(crystal).get_primitive_structure()) == len(crystal)


def test_a_crystal_matches_itself_in_any_setting():
    crystals = textbook(12)
    draws = np.random.default_rng(4).random((len(crystals), 3))
    shifted = replace(crystals, coordinates=crystals.coordinates + draws[crystals.owner])
    order = np.lexsort((np.random.default_rng(0).random(len(crystals.species)), crystals.owner))
    coordinates, species = crystals.coordinates[order], crystals.species[order]
    reordered = replace(crystals, coordinates=coordinates, species=species)
    for other in (shifted, rebased(crystals), rotated(crystals), reordered):
        found = match_pairs(other, crystals, STRICT)
        assert found.fits.all()
        assert found.rms.max() < 1e-6


def test_what_matches_at_no_tolerance_or_at_some():
    crystals = textbook(6)
    larger = replace(crystals, lattices=crystals.lattices * 1.1)
    assert match_pairs(larger, crystals, DEFAULT).fits.all()
    wrong = replace(crystals, species=crystals.species + np.uint8(1))
    by_size = crystals.take(np.argsort(crystals.counts, kind="stable"))
    fewer, more = by_size.take(slice(0, 5)), by_size.take(slice(-5, None))
    flat = replace(crystals, lattices=crystals.lattices * np.array([1.0, 1.0, 1e-6])[:, None])
    for first, second, tolerance in (
        (larger, crystals, STRICT),
        (wrong, crystals, CDVAE),
        (fewer, more, CDVAE),
        # A flat cell must take no time either.
        *((flat, crystals, tolerance) for tolerance in (CDVAE, STRICT)),
        *((crystals, flat, tolerance) for tolerance in (CDVAE, STRICT)),
    ):
        assert not match_pairs(first, second, tolerance).matched.any()


def test_broken_structures_and_unequal_sets_do_not_match():
    crystals = textbook(4).take(slice(0, 6))
    lattices, coordinates = crystals.lattices.copy(), crystals.coordinates.copy()
    lattices[0] = np.nan
    lattices[1, 2] = lattices[1, 1]
    coordinates[crystals.offsets[2]] = np.inf
    broken = replace(crystals, lattices=lattices, coordinates=coordinates)
    for pair in ((broken, crystals), (crystals, broken)):
        assert match_pairs(*pair, CDVAE).matched.tolist() == [False] * 3 + [True] * 3
    none = crystals.take(slice(0, 0))
    assert len(match_pairs(none, none, CDVAE).rms) == 0
    with pytest.raises(DataError, match="pairs"):
        match_pairs(crystals, crystals.take(slice(0, 2)), CDVAE)
    with pytest.raises(DataError, match="positive"):
        Tolerance("none", sites=0.0, lengths=0.1, angles=5.0)


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_atoms_are_assigned_at_least_cost(size, seed):
    costs = np.random.default_rng(seed).random((5, size, size))
    # A forbidden pair is taken only where there is no other way.
    ahead = (np.arange(size) + 1) % size
    costs[0] = FORBIDDEN
    costs[0, np.arange(size), ahead] = 1.0
    chosen = assign(costs)
    assert (chosen[0] == ahead).all()
    for problem, columns in zip(costs, chosen, strict=True):
        rows, best = linear_sum_assignment(problem)
        assert sorted(columns) == list(range(size))
        assert problem[rows, columns].sum() == pytest.approx(problem[rows, best].sum())
