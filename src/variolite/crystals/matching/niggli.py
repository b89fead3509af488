"""Niggli cells of many lattices at once, in the choice of axes that pymatgen makes.

Where a cell has several Niggli bases that differ by less than the numerical tolerance
(a symmetric or nearly symmetric cell), structure matching sees which of them was taken:
its candidate cells are compared with this one. To give the same verdicts, the choice must
be the same. It is the first basis, in the order in which the lattice vectors are listed,
whose lengths agree within the tolerance and whose angles agree within one degree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.matching.lattice_mappings import LatticeVectors, bases_like
from variolite.crystals.matching.lll import reduce_lll

__all__ = ["NiggliCells", "niggli_cells"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_RELATIVE_TOLERANCE = 1e-5
_ANGLE_TOLERANCE = 1.0
_STEPS = 100
# Vectors of the length of a Niggli basis vector have coefficients of at most 1 in that
# basis; 2 leaves room for the tolerance.
_COEFFICIENTS = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)

_EXCHANGE_AB = np.array([[0, -1, 0], [-1, 0, 0], [0, 0, -1]])
_EXCHANGE_BC = np.array([[-1, 0, 0], [0, 0, -1], [0, -1, 0]])
_SUM = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1]])


@dataclass(frozen=True)
class NiggliCells:
    """Niggli cells of B lattices.

    Attributes
    ----------
    lattices
        Reduced lattices of positive volume, in the orientation given, shape (B, 3, 3).
    transform
        Integer matrices with ``lattices = transform @ given``, shape (B, 3, 3).
    found
        Whether a reduced cell was found; the others keep what was given, shape (B,).
    """

    lattices: Floats
    transform: Integers
    found: Mask


def niggli_cells(lattices: Floats) -> NiggliCells:
    """Reduce lattices by R. Grosse-Kunstleve, N. Sauter, P. Adams (Acta Cryst. A60 (2004) 1).

    Parameters
    ----------
    lattices
        Rows are lattice vectors in Angstrom, shape (B, 3, 3); finite, of nonzero volume.
    """
    if not len(lattices):
        empty = np.empty((0, 3, 3))
        return NiggliCells(empty, empty.astype(np.int64), np.empty(0, bool))
    reduced, transform = reduce_lll(lattices)
    tolerance = _RELATIVE_TOLERANCE * np.abs(np.linalg.det(lattices)) ** (1 / 3)
    metric = np.einsum("bik,bjk->bij", reduced, reduced)
    transform = _reduce_metric(metric, transform, tolerance)
    return _choose_axes(lattices, metric, transform, tolerance)


def _reduce_metric(metric: Floats, transform: Integers, tolerance: Floats) -> Integers:
    """Bring metric tensors, in place, to Niggli form; return the transform that does it."""
    transform = transform.copy()
    active = np.arange(len(metric))
    for _ in range(_STEPS):
        if not len(active):
            break
        active = _one_round(metric, transform, tolerance, active)
    return transform


def _one_round(
    metric: Floats, transform: Integers, tolerance: Floats, active: Integers
) -> Integers:
    """One pass through the steps A1 to A8; return the lattices that are not done."""

    def terms(index: Integers) -> tuple[Floats, ...]:
        g = metric[index]
        sides = (g[:, 0, 0], g[:, 1, 1], g[:, 2, 2])
        return (*sides, 2 * g[:, 1, 2], 2 * g[:, 0, 2], 2 * g[:, 0, 1], tolerance[index])

    def apply(index: Integers, change: NDArray[np.integer]) -> None:
        if len(index):
            moved = np.swapaxes(change, -1, -2)
            metric[index] = moved @ metric[index] @ change
            transform[index] = moved @ transform[index]

    again: list[Integers] = []
    a, b, c, xi, eta, zeta, e = terms(active)
    exchange = (b + e < a) | ((np.abs(a - b) < e) & (np.abs(xi) > np.abs(eta) + e))
    apply(active[exchange], _EXCHANGE_AB)

    a, b, c, xi, eta, zeta, e = terms(active)
    exchange = (c + e < b) | ((np.abs(b - c) < e) & (np.abs(eta) > np.abs(zeta) + e))
    apply(active[exchange], _EXCHANGE_BC)
    again.append(active[exchange])
    active = active[~exchange]

    _, _, _, xi, eta, zeta, e = terms(active)
    apply(active, _sign_changes(np.stack([xi, eta, zeta], axis=1), e))

    def shear(needed: Mask, change: Integers) -> Integers:
        apply(active[needed], change[needed])
        again.append(active[needed])
        return active[~needed]

    a, b, _, xi, eta, zeta, e = terms(active)
    active = shear(_step_a5_to_a7(xi, b, zeta, eta, e), _shears(1, 2, xi))
    a, b, _, xi, eta, zeta, e = terms(active)
    active = shear(_step_a5_to_a7(eta, a, zeta, xi, e), _shears(0, 2, eta))
    a, b, _, xi, eta, zeta, e = terms(active)
    active = shear(_step_a5_to_a7(zeta, a, eta, xi, e), _shears(0, 1, zeta))
    a, b, _, xi, eta, zeta, e = terms(active)
    total = xi + eta + zeta + a + b
    needed = (-e > total) | ((np.abs(total) < e) & (e < zeta + 2 * (a + eta)))
    shear(needed, np.broadcast_to(_SUM, (len(active), 3, 3)))
    return np.sort(np.concatenate(again))


def _sign_changes(products: Floats, tolerance: Floats) -> Integers:
    """Steps A3 and A4: make the three products all positive, or none of them."""
    signs = np.where(np.abs(products) < tolerance[:, None], 0.0, np.sign(products)).astype(np.int64)
    product = signs.prod(axis=1)
    all_positive = np.where(signs == -1, -1, 1)
    none_positive = np.where(signs == 1, -1, 1)
    # An even number of axes must turn; a product that is zero may be used to make it so.
    odd = none_positive.prod(axis=1) == -1
    spare = np.where(
        signs[:, 2] == 0, 2, np.where(signs[:, 1] == 0, 1, np.where(signs[:, 0] == 0, 0, -1))
    )
    rows = np.flatnonzero(odd & (spare >= 0))
    none_positive[rows, spare[rows]] = -1
    turned = np.where((product == 1)[:, None], all_positive, none_positive)
    return turned[:, :, None] * np.eye(3, dtype=np.int64)


def _shears(row: int, column: int, product: Floats) -> Integers:
    change = np.broadcast_to(np.eye(3, dtype=np.int64), (len(product), 3, 3)).copy()
    change[:, row, column] = -np.sign(product).astype(np.int64)
    return change


def _step_a5_to_a7(product: Floats, side: Floats, last: Floats, other: Floats, e: Floats) -> Mask:
    """Whether a face needs a shear, from twice its scalar product and its shorter side."""
    needed: Mask = np.abs(product) > side + e
    needed |= (np.abs(product - side) < e) & (last - e > 2 * other)
    needed |= (np.abs(product + side) < e) & (-e > last)
    return needed


def _choose_axes(
    lattices: Floats, metric: Floats, transform: Integers, tolerance: Floats
) -> NiggliCells:
    lengths = np.sqrt(np.einsum("bii->bi", metric))
    cosines = metric[:, [1, 0, 0], [2, 2, 1]] / (lengths[:, [1, 0, 0]] * lengths[:, [2, 2, 1]])
    angles = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    listed = _listed(lattices, transform, lengths, tolerance)
    bases = bases_like(listed, lengths, angles, tolerance, _ANGLE_TOLERANCE)
    # The first that keeps the handedness; where none does, the first of all.
    improper = np.linalg.det(bases.transform) < 0 if len(bases.owner) else np.empty(0, bool)
    order = np.lexsort((np.arange(len(improper)), improper, bases.owner))
    owners, first = np.unique(bases.owner[order], return_index=True)
    chosen = np.broadcast_to(np.eye(3, dtype=np.int64), metric.shape).copy()
    chosen[owners] = bases.transform[order[first]]
    reduced = chosen @ lattices
    negative = np.linalg.det(reduced) < 0
    chosen[negative] *= -1
    reduced[negative] *= -1
    found = np.zeros(len(lattices), dtype=bool)
    found[owners] = True
    return NiggliCells(reduced, chosen, found)


def _listed(
    lattices: Floats, transform: Integers, lengths: Floats, tolerance: Floats
) -> LatticeVectors:
    """Vectors of about the length of a basis vector, in the order in which pymatgen lists them.

    That order is by octant of the Cartesian vector, then by descending indices.
    """
    indices = np.einsum("vi,bij->bvj", _COEFFICIENTS, transform)
    vectors = np.einsum("bvi,bij->bvj", indices.astype(np.float64), lattices)
    norms = np.sqrt((vectors**2).sum(axis=-1))
    near = np.abs(norms[:, :, None] / lengths[:, None, :] - 1) < 2 * tolerance[:, None, None]
    owner, place = np.nonzero(near.any(axis=-1))
    listed = LatticeVectors(
        owner, indices[owner, place], vectors[owner, place], norms[owner, place]
    )
    octants = (listed.vectors >= -2e-8).T
    descending = -listed.indices.T
    order = np.lexsort((*descending[::-1], *octants[::-1], listed.owner))
    return listed.take(order)
