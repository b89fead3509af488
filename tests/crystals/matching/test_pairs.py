"""Verdicts and displacements against pymatgen, and what must not matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matching_sets import (
    DATA,
    changed,
    match_by_pymatgen,
    noisy,
    rebased,
    reordered,
    rotated,
    scattered,
    some_rows,
    strained,
    textbook,
)

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.matching import CDVAE, DEFAULT, STRICT, TOLERANCES, Tolerance, match_pairs
from variolite.crystals.matching.pairs import (
    Matches,
    match_reduced,
    primitive_crystals,
    reduce_crystals,
    surely_primitive,
)
from variolite.errors import DataError


def agree(ours: Matches, theirs: Matches) -> None:
    np.testing.assert_array_equal(ours.matched, theirs.matched)
    np.testing.assert_array_equal(ours.fits, theirs.fits)
    found = theirs.matched
    # pymatgen stops at the first match below 1e-5.
    np.testing.assert_allclose(ours.rms[found], theirs.rms[found], rtol=0, atol=1e-6)


def variants(crystals: Crystals) -> tuple[Crystals, ...]:
    return (
        noisy(crystals, 0.05),
        strained(noisy(crystals, 0.2, 1), 0.01),
        strained(noisy(crystals, 0.4, 2), 0.1),
        scattered(crystals, 3),
    )


@pytest.mark.parametrize("tolerance", TOLERANCES.values(), ids=list(TOLERANCES))
def test_textbook_crystals_match_as_pymatgen_says(tolerance: Tolerance) -> None:
    pytest.importorskip("pymatgen")
    crystals = textbook(6)
    crystals = crystals.take(slice(None, None, 4))
    for other in variants(crystals):
        agree(
            match_pairs(other, crystals, tolerance), match_by_pymatgen(other, crystals, tolerance)
        )


@pytest.mark.parametrize("name", DATA)
def test_real_crystals_match_as_pymatgen_says(shared_data: Path, name: str) -> None:
    pytest.importorskip("pymatgen")
    crystals = some_rows(shared_data, name, 8, seed=1)
    for other, tolerance in zip(variants(crystals), (STRICT, DEFAULT, CDVAE, CDVAE), strict=True):
        agree(
            match_pairs(other, crystals, tolerance), match_by_pymatgen(other, crystals, tolerance)
        )


@pytest.mark.parametrize("name", ["carbon_24", "mp_20"])
def test_primitive_cells_match_as_pymatgen_says(shared_data: Path, name: str) -> None:
    pytest.importorskip("pymatgen")
    crystals = some_rows(shared_data, name, 15, seed=2)
    other = noisy(crystals, 0.05)
    ours = match_reduced(
        primitive_crystals(reduce_crystals(other)),
        primitive_crystals(reduce_crystals(crystals)),
        CDVAE,
    )
    agree(ours, match_by_pymatgen(other, crystals, CDVAE, primitive=True))


def test_doubled_cells_are_folded() -> None:
    pytest.importorskip("pymatgen")
    crystals = textbook(2)
    lattices = crystals.lattices * np.array([1.0, 1.0, 2.0])[:, None]
    halves = [
        np.concatenate([c.coordinates * [1, 1, 0.5], c.coordinates * [1, 1, 0.5] + [0, 0, 0.5]])
        for c in crystals
    ]
    doubled = Crystals.of(
        Crystal(np.tile(c.species, 2), half, lattice)
        for c, half, lattice in zip(crystals, halves, lattices, strict=True)
    )
    assert not any(surely_primitive(c) for c in reduce_crystals(doubled).crystals)
    folded = primitive_crystals(reduce_crystals(doubled))
    np.testing.assert_array_equal(folded.crystals.counts, crystals.counts)
    single = primitive_crystals(reduce_crystals(crystals))
    assert match_reduced(folded, single, STRICT).fits.all()


def test_a_cell_called_primitive_is_one(shared_data: Path) -> None:
    pytest.importorskip("pymatgen")
    from variolite.crystals.files.formats import to_pymatgen

    crystals = some_rows(shared_data, "carbon_24", 60, seed=3)
    sure = [c for c in reduce_crystals(crystals).crystals if surely_primitive(c)]
    assert len(sure) > 20
    for crystal in sure:
        assert len(to_pymatgen(crystal).get_primitive_structure()) == len(crystal)


def test_a_crystal_matches_itself_in_any_setting() -> None:
    crystals = textbook(12)
    draws = np.random.default_rng(4).random((len(crystals), 3))
    shifted = changed(crystals, coordinates=crystals.coordinates + draws[crystals.owner])
    for other in (shifted, rebased(crystals), rotated(crystals), reordered(crystals)):
        found = match_pairs(other, crystals, STRICT)
        assert found.fits.all()
        assert found.rms.max() < 1e-6


def test_scaling_matters_only_where_the_tolerance_says_so() -> None:
    crystals = textbook(6)
    larger = changed(crystals, lattices=crystals.lattices * 1.1)
    assert match_pairs(larger, crystals, DEFAULT).fits.all()
    assert not match_pairs(larger, crystals, STRICT).matched.any()


def test_other_compositions_and_counts_do_not_match() -> None:
    crystals = textbook(6)
    wrong = changed(crystals, species=crystals.species + np.uint8(1))
    assert not match_pairs(wrong, crystals, CDVAE).matched.any()
    order = np.argsort(crystals.counts, kind="stable")
    fewer, more = crystals.take(order[:5]), crystals.take(order[-5:])
    assert not match_pairs(fewer, more, CDVAE).matched.any()


def test_broken_structures_do_not_match() -> None:
    crystals = textbook(4).take(slice(0, 6))
    lattices = crystals.lattices.copy()
    lattices[0] = np.nan
    lattices[1, 2] = lattices[1, 1]
    coordinates = crystals.coordinates.copy()
    coordinates[crystals.offsets[2]] = np.inf
    broken = changed(crystals, lattices=lattices, coordinates=coordinates)
    for pair in ((broken, crystals), (crystals, broken)):
        found = match_pairs(*pair, CDVAE)
        assert found.matched.tolist() == [False] * 3 + [True] * 3


@pytest.mark.parametrize("tolerance", [CDVAE, STRICT])
def test_a_flat_cell_takes_no_time_and_does_not_match(tolerance: Tolerance) -> None:
    crystals = textbook(4)
    flat = changed(crystals, lattices=crystals.lattices * np.array([1.0, 1.0, 1e-6])[:, None])
    assert not match_pairs(flat, crystals, tolerance).matched.any()
    assert not match_pairs(crystals, flat, tolerance).matched.any()


def test_nothing_to_match() -> None:
    none = textbook().take(slice(0, 0))
    assert len(match_pairs(none, none, CDVAE).rms) == 0


def test_sets_of_different_lengths_are_refused() -> None:
    crystals = textbook()
    with pytest.raises(DataError, match="pairs"):
        match_pairs(crystals, crystals.take(slice(0, 2)), CDVAE)


def test_tolerances_are_positive() -> None:
    with pytest.raises(DataError, match="positive"):
        Tolerance("none", sites=0.0, lengths=0.1, angles=5.0)
