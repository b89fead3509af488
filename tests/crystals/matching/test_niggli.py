"""Reduced cells: the same lattice, reduced, and the very axes that pymatgen takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from matching_sets import DATA, rotations, some_rows, textbook, unimodular

from variolite.crystals.crystals import cell_parameters, lattices_from_parameters
from variolite.crystals.matching.lattices import niggli_cells, reduce_lll

LENGTHS = st.tuples(*[st.floats(2.0, 15.0)] * 3)
ANGLES = st.tuples(*[st.sampled_from([60.0, 70.5, 85.0, 90.0, 100.0, 110.0])] * 3)


@given(LENGTHS, ANGLES, st.integers(0, 1000))
def test_reduction_keeps_the_lattice(
    lengths: tuple[float, ...], angles: tuple[float, ...], seed: int
) -> None:
    lattice = lattices_from_parameters([*lengths, *angles])[0]
    volume = abs(np.linalg.det(lattice))
    assume(np.isfinite(lattice).all() and volume > 5.0)
    skewed = unimodular(seed) @ lattice
    reduced, transform = reduce_lll(skewed[None])
    np.testing.assert_allclose(transform[0] @ skewed, reduced[0], atol=1e-9)
    assert abs(round(np.linalg.det(transform[0]))) == 1
    # A reduced basis is nearly orthogonal: its lengths exceed the volume by little.
    assert np.prod(np.linalg.norm(reduced[0], axis=1)) <= 2 ** (3 * 2 / 4) * volume * (1 + 1e-9)
    # The Niggli cell does not depend on the basis.
    both = np.stack([lattice, skewed @ rotations(1, seed)[0]])
    cells = niggli_cells(both)
    assert cells.found.all()
    np.testing.assert_allclose(cells.transform @ both, cells.lattices, atol=1e-9)
    assert (np.linalg.det(cells.lattices) > 0).all()
    first, second = cell_parameters(cells.lattices)
    np.testing.assert_allclose(first[:3], second[:3], rtol=1e-4)


def same_axes_as_pymatgen(lattices: np.ndarray) -> None:
    from pymatgen.core import Lattice

    ours = niggli_cells(lattices)
    assert ours.found.all()
    for lattice, reduced in zip(lattices, ours.lattices, strict=True):
        theirs = Lattice(lattice).get_niggli_reduced_lattice().matrix
        np.testing.assert_allclose(reduced, theirs, atol=1e-6)


def test_axes_of_well_known_crystals_are_those_of_pymatgen() -> None:
    pytest.importorskip("pymatgen")
    lattices = textbook(99).lattices
    same_axes_as_pymatgen(lattices)
    same_axes_as_pymatgen(np.array([unimodular(i) @ x for i, x in enumerate(lattices)]))


@pytest.mark.parametrize("name", DATA)
def test_axes_of_real_cells_are_those_of_pymatgen(shared_data: Path, name: str) -> None:
    pytest.importorskip("pymatgen")
    lattices = some_rows(shared_data, name, 100).lattices
    same_axes_as_pymatgen(lattices)
    noise = np.random.default_rng(0).normal(size=lattices.shape) * 0.003
    same_axes_as_pymatgen(lattices @ (np.eye(3) + noise))
