"""Match the atoms of reduced cells over many candidate bases at once.

The rules are those of pymatgen's StructureMatcher for cells with equal numbers of atoms.
For every candidate basis of the first lattice, the anchor of the second cell (an atom of
its rarest element) is laid on each atom of that element in the first. Where every atom of
the second cell then has an atom of its element within a box, atoms are assigned so that
the sum of squared distances in the average lattice is least, the mean displacement is taken
out, and what remains, divided by (V/n)^(1/3), is the error of this candidate.

Pairs of structures are treated together where the sizes of their groups of equal atoms are
the same: then one list of pairs of atoms serves all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.geometry.periodic import nearest_image, squared_neighbours
from variolite.crystals.matching.lattices import spread

# Many small assignment problems at once.

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Cost of a pair that must not be chosen; large, but finite, since the solver needs numbers.
FORBIDDEN = 1e20
_LISTED = 4


def assign(costs: Floats) -> Integers:
    """Return the columns (K, n) assigned to the rows of costs (K, n, n) at least cost.

    A pair of cost :data:`FORBIDDEN` is chosen only where there is no way without one. Up to four
    rows all permutations are compared; beyond, a problem whose row minima lie in different
    columns is solved by them, and only the rest goes to scipy's solver.
    """
    size = costs.shape[2]
    if size == 1:
        return np.zeros(costs.shape[:2], dtype=np.int64)
    if size <= _LISTED:
        orders = _permutations(size)
        totals = costs[:, np.arange(size), orders].sum(axis=-1)
        chosen: Integers = orders[totals.argmin(axis=1)]
        return chosen
    # Imported late: scipy's optimisers take long to import.
    from scipy.optimize import linear_sum_assignment

    columns: Integers = costs.argmin(axis=2)
    taken = np.zeros(columns.shape, dtype=bool)
    np.put_along_axis(taken, columns, True, axis=1)
    for place in np.flatnonzero(~taken.all(axis=1)):
        columns[place] = linear_sum_assignment(costs[place])[1]
    return columns


@cache
def _permutations(size: int) -> Integers:
    return np.array(list(permutations(range(size))), dtype=np.int64)


Mask = NDArray[np.bool_]

_PROBES = 4
# Pairs of atoms in work at a time: what the second-level cache of a core holds.
_CHUNK = 16_000


@dataclass(frozen=True)
class CandidateCells:
    """Candidate bases of first lattices, and the average lattice of each with the second.

    Integer matrices take fractional coordinates from the first cell to the candidate basis
    (``transform``), or from the average lattice to its reduced basis (``to_reduced``), by
    multiplication from the right.
    """

    owner: Integers  # pair of structures of every candidate, ascending (C,)
    transform: Floats  # (C, 3, 3)
    box: Floats  # half widths of the box in fractional coordinates of the candidate (C, 3)
    reduced: Floats  # the average lattice, LLL-reduced, in angstrom (C, 3, 3)
    to_reduced: Floats  # (C, 3, 3)
    reduced_box: Floats  # half widths of the box in the reduced basis (C, 3)
    free_length: Floats  # (V/n)^(1/3) of the average lattice in angstrom (C,)

    def __len__(self) -> int:
        return len(self.owner)

    def take(self, index: Integers | slice) -> CandidateCells:
        """Choose candidates."""
        return CandidateCells(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True)
class _AtomPairs:
    """P pairs (second, first) of equal atoms, ordered by the atom of the second cell.

    The pairs of the anchor, atom 0, come first.
    """

    second: Integers
    first: Integers
    starts: Integers  # where the pairs of each atom of the second cell begin
    blocks: tuple[tuple[int, int], ...]  # (atoms, first pair) of each element
    probes: Integers  # pairs of a few atoms of small groups, tested first
    probe_starts: Integers


def match_sites(
    first: Floats, second: Floats, sizes: Integers, cells: CandidateCells
) -> tuple[Floats, Floats]:
    """Return the least rms and the least largest displacement of G pairs, (G,) each.

    Both are over the candidates, in units of (V/n)^(1/3), and infinite where none holds. Given
    are fractional coordinates (G, n, 3) in the first cells, before their change of basis, and in
    the second cells. Atoms are grouped by element, the groups in ascending order of their
    ``sizes`` and the same in both; atom 0 of the second is the anchor.
    """
    # One list of atom pairs serves all structures of the group; only coordinates differ.
    pairs = _pairs_of(sizes)
    best_rms = np.full(len(first), np.inf)
    best_largest = np.full(len(first), np.inf)
    step = max(1, _CHUNK // max(int(sizes[0]) * len(pairs.probes), len(pairs.second)))
    for start in range(0, len(cells), step):
        chunk = cells.take(slice(start, start + step))
        moved = _by_axis(first[chunk.owner] @ chunk.transform)
        still = _by_axis(second[chunk.owner])
        difference = moved[:, :, pairs.first] - still[:, :, pairs.second]
        for cell, vectors in _displacements(difference, int(sizes[0]), chunk, pairs):
            # The mean displacement is a translation of the whole structure, hence no error.
            vectors -= vectors.mean(axis=1, keepdims=True)
            squares = np.einsum("kni,kni->kn", vectors, vectors)
            scale = chunk.free_length[cell]
            owner = chunk.owner[cell]
            np.minimum.at(best_rms, owner, np.sqrt(squares.mean(axis=1)) / scale)
            np.minimum.at(best_largest, owner, np.sqrt(squares.max(axis=1)) / scale)
    return best_rms, best_largest


def _pairs_of(sizes: Integers) -> _AtomPairs:
    begins = np.cumsum(sizes) - sizes
    # Every atom of the second cell pairs with the whole group that it belongs to.
    size_of = np.repeat(sizes, sizes)
    starts = np.cumsum(size_of) - size_of
    second, within = spread(size_of)
    # The anchor has its partner by construction; the next atoms have the fewest.
    probe_sizes = size_of[1 : 1 + _PROBES]
    return _AtomPairs(
        second=second,
        first=within + np.repeat(begins, sizes)[second],
        starts=starts,
        blocks=tuple(zip(sizes.tolist(), starts[begins].tolist(), strict=True)),
        probes=np.flatnonzero((second > 0) & (second <= _PROBES)),
        probe_starts=np.cumsum(probe_sizes) - probe_sizes,
    )


def _by_axis(vectors: Floats) -> Floats:
    """Return vectors as (3, ...): operations on whole axes are several times faster."""
    return np.ascontiguousarray(np.moveaxis(vectors, -1, 0))


def _displacements(
    difference: Floats, translations: int, cells: CandidateCells, pairs: _AtomPairs
) -> Iterator[tuple[Integers, Floats]]:
    """Yield Cartesian displacements (K, n, 3) of assigned atoms, with their candidates (K,).

    Differences of the pairs of atoms are fractional and by axis, (3, C, P).
    """
    # The first pairs are those of the anchor: laying it on each atom of its element in turn
    # gives the translations that are tried.
    shift = difference[:, :, :translations]
    cell, translation = _promising(difference, shift, cells, pairs)
    metric = cells.reduced @ np.swapaxes(cells.reduced, 1, 2)
    norms = squared_neighbours(metric)
    straight = np.asarray((cells.to_reduced == np.eye(3)).all(axis=(1, 2)))
    step = max(1, _CHUNK // len(pairs.second))
    for start in range(0, len(cell), step):
        here = cell[start : start + step]
        wrapped = difference[:, here]
        wrapped -= shift[:, here, translation[start : start + step]][:, :, None]
        wrapped -= np.rint(wrapped)
        # First in the basis as it is, which is cheap and rules out nearly all candidates: each
        # atom of the second cell needs one of the first.
        inside = _inside(wrapped, cells.box[here])
        kept = np.logical_or.reduceat(inside, pairs.starts, axis=1).all(axis=1)
        if not kept.any():
            continue
        # Copies of whole arrays are spared where nothing falls away.
        if not kept.all():
            here, wrapped, inside = here[kept], wrapped[:, kept], inside[kept]
        skewed = np.flatnonzero(~straight[here])
        if len(skewed):
            # Nearest images are only certain in a reduced basis of the average lattice.
            turned = np.einsum("akp,kab->bkp", wrapped[:, skewed], cells.to_reduced[here[skewed]])
            turned -= np.rint(turned)
            wrapped[:, skewed] = turned
            inside[skewed] = _inside(turned, cells.reduced_box[here[skewed]])
        kept = _coverable(inside, pairs)
        if not kept.any():
            continue
        if not kept.all():
            here, wrapped, inside = here[kept], wrapped[:, kept], inside[kept]
        squares = _squares(wrapped, metric[here])
        _shorten(wrapped, squares, inside, metric[here], norms[here])
        # An atom outside the box is not a partner, however the costs would come out.
        squares[~inside] = FORBIDDEN
        chosen = _assigned(squares, pairs)
        rows = np.arange(len(here))[:, None]
        held = np.flatnonzero(inside[rows, chosen].all(axis=1))
        if len(held):
            fractional = wrapped[:, rows[held], chosen[held]]
            yield here[held], np.moveaxis(fractional, 0, -1) @ cells.reduced[here[held]]


def _inside(wrapped: Floats, box: Floats) -> Mask:
    """Return whether fractional vectors (3, K, ...) lie in boxes of half widths (K, 3)."""
    wide = box.T.reshape(3, -1, *(1,) * (wrapped.ndim - 2))
    inside = np.abs(wrapped[0]) <= wide[0]
    inside &= np.abs(wrapped[1]) <= wide[1]
    inside &= np.abs(wrapped[2]) <= wide[2]
    return np.asarray(inside)


def _promising(
    difference: Floats, shift: Floats, cells: CandidateCells, pairs: _AtomPairs
) -> tuple[Integers, Integers]:
    """Return candidates and translations for which a few atoms have a partner in the box."""
    kept = np.ones(shift.shape[1:], dtype=bool)
    if len(pairs.probes):
        probed = difference[:, :, None, pairs.probes] - shift[:, :, :, None]
        probed -= np.rint(probed)
        inside = _inside(probed, cells.box)
        found = np.logical_or.reduceat(inside, pairs.probe_starts, axis=2)
        kept = np.asarray(found.all(axis=2))
    cell, translation = np.nonzero(kept)
    return cell, translation


def _coverable(inside: Mask, pairs: _AtomPairs) -> Mask:
    """Return whether each atom of both cells has a partner; else no assignment can hold."""
    covered = np.asarray(np.logical_or.reduceat(inside, pairs.starts, axis=1).all(axis=1))
    for size, place in pairs.blocks:
        if size > 1:
            # Rows are atoms of the second cell, columns those of the first.
            block = inside[:, place : place + size * size].reshape(-1, size, size)
            covered &= np.all(block.any(axis=1), axis=1)
    return covered


def _squares(wrapped: Floats, metric: Floats) -> Floats:
    """Return squared lengths (K, P) of fractional vectors (3, K, P) by metrics (K, 3, 3)."""
    # Written out by axis: the general product would pass over the memory three times.
    x, y, z = wrapped
    g = metric[:, :, :, None]
    squares: Floats = x * (g[:, 0, 0] * x + 2 * g[:, 0, 1] * y + 2 * g[:, 0, 2] * z)
    squares += y * (g[:, 1, 1] * y + 2 * g[:, 1, 2] * z)
    squares += z * (g[:, 2, 2] * z)
    return squares


def _shorten(wrapped: Floats, squares: Floats, inside: Mask, metric: Floats, norms: Floats) -> None:
    """Replace vectors and their squares, in place, by those of the shortest of 27 images.

    A vector shorter than half the shortest lattice vector is already the shortest.
    """
    row, place = np.nonzero(inside & (squares > norms.min(axis=1)[:, None] / 4))
    if not len(row):
        return
    along = np.einsum("aq,qab->qb", wrapped[:, row, place], metric[row])
    gain, shift = nearest_image(along, norms[row])
    better = gain < 0
    row, place = row[better], place[better]
    wrapped[:, row, place] -= shift[better].T
    squares[row, place] += gain[better]


def _assigned(costs: Floats, pairs: _AtomPairs) -> Integers:
    """Return the pair (K, n) that holds the partner of every atom of the second cell."""
    # Elements are assigned one by one: atoms never trade places with those of another.
    chosen = [
        place
        + np.arange(size) * size
        + assign(costs[:, place : place + size * size].reshape(-1, size, size))
        for size, place in pairs.blocks
    ]
    return np.concatenate(chosen, axis=1)
