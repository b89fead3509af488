"""Reduced cells: the same lattice, reduced, and the very axes that pymatgen takes."""

from __future__ import annotations

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


@pytest.mark.parametrize("name", ["textbook", *DATA])
def test_axes_are_those_of_pymatgen(request: pytest.FixtureRequest, name: str) -> None:
    lattices = pytest.importorskip("pymatgen.core").Lattice
    if name == "textbook":
        cells = textbook(99).lattices
        cells = np.concatenate([cells, [unimodular(i) @ x for i, x in enumerate(cells)]])
    else:
        cells = some_rows(request.getfixturevalue("shared_data"), name, 100).lattices
        noise = np.random.default_rng(0).normal(size=cells.shape) * 0.003
        cells = np.concatenate([cells, cells @ (np.eye(3) + noise)])
    ours = niggli_cells(cells)
    assert ours.found.all()
    for cell, reduced in zip(cells, ours.lattices, strict=True):
        theirs = lattices(cell).get_niggli_reduced_lattice().matrix
        np.testing.assert_allclose(reduced, theirs, atol=1e-6)
