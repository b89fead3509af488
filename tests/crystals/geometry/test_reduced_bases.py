"""Shortest bases against a search, and against the Niggli reduction of pymatgen."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice

from variolite.crystals.geometry.periodic import reduced_basis, shortest_bases, signed_permutations
from variolite.errors import DataError

CUBE = 3.0 * np.eye(3)
FACE = 2.0 * np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
BODY = 2.0 * np.array([[-1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [1.0, 1.0, -1.0]])
HEXAGON = np.array([[3.0, 0.0, 0.0], [-1.5, 1.5 * np.sqrt(3.0), 0.0], [0.0, 0.0, 5.0]])
LATTICES = {"cubic": CUBE, "face-centred": FACE, "body-centred": BODY, "hexagonal": HEXAGON}


@st.composite
def cells(draw):
    """Cells of any shape, most of them far from reduced."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cell = np.diag(random.uniform(2.0, 8.0, 3)) + random.uniform(-0.9, 0.9, (3, 3))
    for _ in range(draw(st.integers(0, 6))):
        to, other = random.permutation(3)[:2]
        cell[to] += random.integers(-3, 4) * cell[other]
    return cell


@given(cell=cells())
def test_no_vector_of_a_reduced_basis_can_be_shortened(cell):
    change = reduced_basis(cell[None])[0]
    assert abs(round(float(np.linalg.det(change)))) == 1
    basis = change @ cell
    squares = (basis**2).sum(axis=1)
    assert (np.diff(squares) >= -1e-9 * squares.max()).all()
    for place in range(3):
        for weights in product((-2, -1, 0, 1, 2), repeat=place):
            added = basis[place] + np.array(weights) @ basis[:place]
            assert (added**2).sum() >= squares[place] * (1 - 1e-8)
    niggli = Lattice(cell).get_niggli_reduced_lattice()
    np.testing.assert_allclose(np.sort(niggli.abc), np.sqrt(squares), rtol=1e-4)


@pytest.mark.parametrize("name", LATTICES)
def test_every_shortest_basis_is_found(name):
    cell = LATTICES[name]
    cell = reduced_basis(cell[None])[0] @ cell
    owner, change = shortest_bases(cell[None])
    assert (owner == 0).all()
    total = (cell**2).sum()
    every = [v for v in product(range(-2, 3), repeat=3) if any(v)]
    # One of each pair v, -v.
    half = np.array([v for v in every if next(c for c in v if c) > 0])
    lengths = ((half @ cell) ** 2).sum(axis=1)
    half = half[lengths <= total * (1 + 1e-9)]
    expected = 0
    for triple in combinations(half, 3):
        shape = np.array(triple)
        short = ((shape @ cell) ** 2).sum() <= total * (1 + 1e-9)
        expected += bool(short and abs(round(float(np.linalg.det(shape)))) == 1)
    assert len(change) == expected
    np.testing.assert_allclose(((change @ cell) ** 2).sum(axis=(1, 2)), total)


def test_orders_and_signs_of_three_vectors_and_many_cells_at_once():
    ways = signed_permutations()
    assert len({way.tobytes() for way in ways}) == 48
    np.testing.assert_array_equal(
        ways @ ways.transpose(0, 2, 1), np.tile(np.eye(3, dtype=np.int64), (48, 1, 1))
    )
    random = np.random.default_rng(0)
    many = random.normal(size=(50, 3, 3)) + 2.0 * np.eye(3)
    together = reduced_basis(many)
    for cell, change in zip(many, together, strict=True):
        np.testing.assert_array_equal(reduced_basis(cell[None])[0], change)


@pytest.mark.parametrize(
    "cell", [np.zeros((3, 3)), np.ones((3, 3)), np.diag([1.0, 1.0, 0.0]), np.eye(3)[[0, 0, 1]]]
)
def test_what_is_no_cell_is_refused(cell):
    with pytest.raises(DataError, match="cell 1 has no volume"):
        reduced_basis(np.stack([CUBE, cell]))
