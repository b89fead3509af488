"""Lattice reduction and shortest periodic distances, for many crystals at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product
from typing import NamedTuple

import gemmi
import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals, cell_heights, cell_parameters
from variolite.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Shortest bases of lattices, for many lattices at once.
#
# A basis of a lattice in three dimensions is Minkowski-reduced when no vector can
# be shortened by adding others with coefficients -1, 0 or 1 (Nguyen and Stehle
# 2009). The Niggli cell is one of the Minkowski-reduced bases; where a lattice
# has several, all of them are found here and `canonical` chooses.

ROUNDS = 200  # Sweeps of the reduction; real cells need fewer than ten.
_FLAT = 1e-9  # Volume over the product of the lengths up to which a cell counts as flat.
SAME_LENGTH = 1e-5  # Relative difference below which two bases count as equally short.


def _short_vectors() -> Integers:
    """Vectors with coefficients -1, 0 and 1, of each pair v, -v the first, (13, 3)."""
    every = product((0, 1, -1), repeat=3)
    return np.array([v for v in every if next((c for c in v if c), 0) == 1], dtype=np.int64)


def _bases() -> Integers:
    """All unordered bases made of such vectors, as places among them, (K, 3)."""
    triples = np.array(list(combinations(range(len(SHORT_VECTORS)), 3)))
    unimodular = np.abs(np.rint(np.linalg.det(SHORT_VECTORS[triples]))) == 1
    return np.asarray(triples[unimodular], dtype=np.int64)


def signed_permutations() -> Integers:
    """The 48 ways of ordering and turning round three vectors, (48, 3, 3)."""
    eye = np.eye(3, dtype=np.int64)
    orders = [eye[list(order)] for order in permutations(range(3))]
    signs = [np.diag(sign) for sign in product((1, -1), repeat=3)]
    return np.array([sign @ order for order in orders for sign in signs])


SHORT_VECTORS = _short_vectors()
BASES = _bases()


def _flat(lattices: Floats) -> NDArray[np.bool_]:
    lengths = np.linalg.norm(lattices, axis=2)
    return np.asarray(~(np.abs(np.linalg.det(lattices)) > _FLAT * lengths.prod(axis=1)))


def reduced_basis(lattices: Floats) -> Integers:
    """Change of basis U, (B, 3, 3), of determinant 1 or -1, with U @ lattice Minkowski-reduced.

    Rows of ``lattices``, (B, 3, 3), are lattice vectors; DataError if a cell has no volume.
    """
    lattices = np.asarray(lattices, dtype=np.float64)
    flat = _flat(lattices)
    if flat.any():
        raise DataError(
            f"cell {int(np.flatnonzero(flat)[0])} has no volume",
            where="lattice reduction",
            hint="leave this structure out",
        )
    change = np.broadcast_to(np.eye(3, dtype=np.int64), lattices.shape).copy()
    # Most cells are done after two sweeps: only those that still change are swept again.
    active = np.arange(len(lattices))
    for _ in range(ROUNDS):
        basis = change[active] @ lattices[active]
        step = _one_sweep(basis)
        moved = (step != np.eye(3, dtype=np.int64)).any(axis=(1, 2))
        if not moved.any():
            return change
        active = active[moved]
        change[active] = step[moved] @ change[active]
    raise DataError("a lattice could not be reduced", where=f"cell {int(active[0])}")


def _one_sweep(basis: Floats) -> Integers:
    """Sort by length, shorten the second vector by the first and the third by both."""
    rows = np.arange(len(basis))
    squared = (basis**2).sum(axis=2)
    order = np.argsort(squared, axis=1, kind="stable")
    step = np.eye(3, dtype=np.int64)[order]
    basis = step @ basis
    # Products of every two vectors, (B, 3, 3).
    gram = basis @ basis.transpose(0, 2, 1)
    # The second vector by the first.
    times = np.rint(gram[:, 0, 1] / gram[:, 0, 0]).astype(np.int64)
    # Gains below rounding are refused, or two equal choices would alternate for ever.
    gained = gram[:, 1, 1] - 2 * times * gram[:, 0, 1] + times**2 * gram[:, 0, 0]
    times = np.where(gained < gram[:, 1, 1] * (1 - 1e-9), times, 0)
    step[:, 1] -= times[:, None] * step[:, 0]
    basis[:, 1] -= times[:, None] * basis[:, 0]
    gram = basis @ basis.transpose(0, 2, 1)
    # The third by the nearest combination of the other two: around the solution of the
    # normal equations the best integers are among the neighbours.
    solved = np.linalg.solve(gram[:, :2, :2], gram[:, :2, 2:])[:, :, 0]
    around = np.array(list(product((-1, 0, 1), repeat=2)))
    tried = np.rint(solved)[:, None, :] + around  # (B, 9, 2)
    tried = np.concatenate([np.zeros_like(tried[:, :1]), tried], axis=1)
    shorter = basis[:, None, 2] - tried @ basis[:, :2]
    squared = (shorter**2).sum(axis=2)
    best = squared.argmin(axis=1)
    best = np.where(squared[rows, best] < squared[:, 0] * (1 - 1e-9), best, 0)
    chosen = tried[rows, best].astype(np.int64)
    step[:, 2] -= (chosen[:, :, None] * step[:, :2]).sum(axis=1)
    return step


def shortest_bases(reduced: Floats) -> tuple[Integers, Integers]:
    """Every basis as short as a Minkowski-reduced one, up to order and sign of its vectors.

    Returns the cell of each basis, ascending, (M,), and its rows in terms of the vectors of
    ``reduced``, (M, 3, 3).
    """
    # All of them are made of vectors with coefficients -1, 0 and 1; comparing sums of squared
    # lengths finds them.
    lengths = ((SHORT_VECTORS @ reduced) ** 2).sum(axis=2)  # (B, 13)
    sums = lengths[:, BASES].sum(axis=2)  # (B, K)
    least = sums.min(axis=1, keepdims=True)
    owner, which = np.nonzero(sums <= least * (1 + SAME_LENGTH))
    return owner, SHORT_VECTORS[BASES[which]]


# Niggli cells: the same crystals in the standard shortest basis of their lattice.

_ITERATIONS = 1000
_REPORT_EVERY = 4096


def niggli_steps(parameters: Sequence[float], epsilon: float = 1e-9) -> Integers:
    """Integer matrix U, (3, 3), of determinant 1, for which ``U @ lattice`` is a Niggli cell.

    From its six parameters, by the algorithm of Krivy and Gruber (Acta Cryst. A32 (1976) 297)
    with the tolerance of Grosse-Kunstleve et al. (Acta Cryst. A60 (2004) 1), as gemmi has it:
    ``epsilon`` square Angstrom, in products of lattice vectors, count as no difference.
    """
    vector = gemmi.GruberVector(gemmi.UnitCell(*parameters), "P", True)
    vector.niggli_reduce(epsilon=epsilon, iteration_limit=_ITERATIONS)
    # gemmi's operations act on columns, and count in parts of DEN.
    return np.array(vector.change_of_basis.rot, dtype=np.int64).T // gemmi.Op.DEN


def reduce_cells(crystals: Crystals, *, log: Callable[[str], None] = lambda _: None) -> Crystals:
    """The same crystals in their Niggli cells, with coordinates in [0, 1).

    Orientation, order of atoms, names and properties stay; DataError names a crystal whose
    lattice spans no volume.
    """
    flat = _flat(crystals.lattices)
    if flat.any():
        raise DataError(
            "the lattice vectors span no volume",
            where=str(crystals.names[flat][0]),
            hint="Leave this structure out",
        )
    bases = np.empty((len(crystals), 3, 3))
    for place, parameters in enumerate(cell_parameters(crystals.lattices).tolist()):
        if place % _REPORT_EVERY == 0:
            log(f"{place:,} of {len(crystals):,} cells reduced")
        bases[place] = niggli_steps(parameters)
    return crystals.in_cells(bases)


# The nearest periodic image, for many vectors at once.
#
# In a Minkowski-reduced cell the nearest image of a vector with fractional coordinates
# between -1/2 and 1/2 is the vector itself or differs from it by one of 26 neighbouring
# lattice vectors. Of each pair t, -t of those only one has to be looked at: v - t and v + t
# have the squared lengths v^2 + t^2 -+ 2 v.t, of which the sign of v.t chooses.

NEIGHBOURS = np.array([v for v in product((-1.0, 0.0, 1.0), repeat=3) if v > (0.0, 0.0, 0.0)])
"""Neighbouring lattice vectors in fractional coordinates, one of each pair, shape (13, 3)."""


def squared_neighbours(metric: Floats) -> Floats:
    """Squared lengths (B, 13) of the neighbours by metric tensors L L^T (B, 3, 3)."""
    squares: Floats = np.einsum("si,bij,sj->bs", NEIGHBOURS, metric, NEIGHBOURS)
    return squares


def nearest_image(along: Floats, squares: Floats) -> tuple[Floats, Floats]:
    """Find the lattice vectors to subtract from wrapped vectors so that these are shortest.

    ``along``, (..., 3), are the products of the vectors with the rows of their reduced lattices
    and ``squares``, (..., 13), those of `squared_neighbours`. Returns the change of the squared
    length, (...,), where it is positive the vector is the shortest itself, and the lattice
    vector in fractional coordinates, (..., 3).
    """
    # The product with a neighbour is the sum of the products with the rows it is made of.
    products = along @ NEIGHBOURS.T
    gains = squares - 2.0 * np.abs(products)
    best = gains.argmin(axis=-1)[..., None]
    gain = np.take_along_axis(gains, best, axis=-1)[..., 0]
    sign = np.sign(np.take_along_axis(products, best, axis=-1))
    return gain, sign * NEIGHBOURS[best[..., 0]]


class ReducedLattices:
    """Reduced bases of B lattices (rows in Angstrom, (B, 3, 3)), in which nearest images are found.

    ``change``, (B, 3, 3), leads to them; to Minkowski-reduced ones by default.
    """

    def __init__(self, lattices: Floats, change: Integers | None = None) -> None:
        change = reduced_basis(lattices) if change is None else change
        self.lattices = change @ lattices
        self._inverse = np.rint(np.linalg.inv(change))
        self._squares = squared_neighbours(self.lattices @ self.lattices.transpose(0, 2, 1))

    def shortest(self, fractional: Floats, owner: Integers) -> Floats:
        """Shortest Cartesian vectors (N, 3), in Angstrom, that equal the given ones up to a period.

        Those are ``fractional``, (N, 3), in the lattices as given, of which ``owner`` is whose.
        """
        wrapped = np.einsum("ni,nij->nj", fractional, self._inverse[owner])
        wrapped -= np.rint(wrapped)
        vectors: Floats = np.einsum("ni,nij->nj", wrapped, self.lattices[owner])
        # Shorter than half the shortest lattice vector: no other image is nearer.
        lengths = (vectors**2).sum(axis=1)
        far = np.flatnonzero(lengths > self._squares.min(axis=1)[owner] / 4)
        cells = self.lattices[owner[far]]
        along = np.einsum("ni,nji->nj", vectors[far], cells)
        gain, shift = nearest_image(along, self._squares[owner[far]])
        nearer = gain < 0
        vectors[far[nearer]] -= np.einsum("ni,nij->nj", shift[nearer], cells[nearer])
        return vectors


# Shortest periodic distances, for many crystals at once.

VOLUME = 0.1  # Smallest volume of a valid cell in cubic Angstrom.
CHUNK = 2_000_000  # Distances handled at once, so that the memory stays small.


def has_cell(crystals: Crystals) -> NDArray[np.bool_]:
    """Which crystals have atoms, finite numbers and a cell with a volume, (B,).

    Distances, fingerprints and everything built on them exist for these alone.
    """
    lattices = crystals.lattices
    finite = crystals.finite
    finite[crystals.owner[crystals.species == 0]] = False
    with np.errstate(invalid="ignore", over="ignore"):
        volumes = np.abs(np.linalg.det(lattices))
        boxes = np.linalg.norm(lattices, axis=2).prod(axis=1)
        solid = (volumes >= VOLUME) & np.isfinite(boxes) & (volumes > 1e-6 * boxes)
    return np.asarray(finite & solid)


def in_reduced_cells(crystals: Crystals) -> Crystals:
    """The same crystals in cells of shortest vectors, coordinates in [0, 1)."""
    return crystals.in_cells(reduced_basis(crystals.lattices).astype(np.float64))


def shortest_distances(crystals: Crystals) -> Floats:
    """Shortest distance within each crystal in Angstrom, (B,), periodic images included.

    Those of an atom to its own images count too. NaN where :func:`has_cell` is false.
    """
    shortest = np.full(len(crystals), np.nan)
    sound = np.flatnonzero(has_cell(crystals))
    kept = crystals.take(sound)
    found, blocks = periodic_distances(kept)
    for block in blocks:
        least = block.distances.min(axis=1)
        found[block.crystals] = np.minimum(found[block.crystals], least)
    shortest[sound] = found
    return shortest


@dataclass(frozen=True)
class PairBlock:
    """Distances between the atoms of some crystals of equal size, (M,).

    ``first`` and ``second``, (M, P) each, are the two atoms of every pair, counted over all
    crystals; ``distances``, (M, P), in Angstrom, are the shortest of all images.
    """

    crystals: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distances: Floats


def periodic_distances(crystals: Crystals) -> tuple[Floats, Iterator[PairBlock]]:
    """Measure the distances within crystals that have cells, in cells that are reduced once.

    Returns the distance of every atom of a crystal to the nearest of its own images in Angstrom,
    (B,), and the distances of all pairs of different atoms; crystals of one atom have none.
    """
    reduced = in_reduced_cells(crystals)
    # A reduced basis holds the shortest vector of the lattice.
    own = np.linalg.norm(reduced.lattices, axis=2).min(axis=1)
    return own, _pairs(reduced)


def _pairs(crystals: Crystals) -> Iterator[PairBlock]:
    """Measure pairs in cells of shortest vectors."""
    coordinates, lattices = crystals.coordinates, crystals.lattices
    squares = squared_neighbours(lattices @ lattices.transpose(0, 2, 1))
    # Crystals of equal size together: then one list of pairs of atoms serves all.
    for size in np.unique(crystals.counts[crystals.counts > 1]):
        first, second = np.triu_indices(size, 1)
        alike = np.flatnonzero(crystals.counts == size)
        step = max(1, CHUNK // (len(first) * len(NEIGHBOURS)))
        for start in range(0, len(alike), step):
            some = alike[start : start + step]
            atoms = crystals.atoms_of(some).reshape(len(some), size)
            x = coordinates[atoms]
            # Fractional differences (M, P, 3), wrapped, as Cartesian vectors.
            apart = x[:, first] - x[:, second]
            apart = (apart - np.rint(apart)) @ lattices[some]
            along = apart @ lattices[some].transpose(0, 2, 1)
            gain, _ = nearest_image(along, squares[some][:, None])
            squared = (apart**2).sum(axis=2) + np.minimum(gain, 0.0)
            distances = np.sqrt(np.maximum(squared, 0.0))
            yield PairBlock(some, atoms[:, first], atoms[:, second], distances)


# Atoms that are too close to one another, in many structures at once.

_PAIRS = 500_000


class ClosePairs(NamedTuple):
    """The closest pair of each structure that has one, (m,), with the distance in Angstrom.

    ``first`` and ``second`` are counted within the structure; the same atom twice where it is
    close to its own image.
    """

    structure: Integers
    first: Integers
    second: Integers
    distance: Floats


def close_pairs(crystals: Crystals, chosen: Integers, within: float) -> ClosePairs:
    """Find the closest two atoms of each chosen structure, if closer than ``within`` Angstrom.

    Each needs finite numbers and a volume. Exact for every cell: where opposite faces are at
    least twice ``within`` apart, only the image with wrapped coordinates can be that close; in
    other cells all images are looked at.
    """
    heights = cell_heights(crystals.lattices[chosen])
    roomy = (heights >= 2 * within).all(axis=1)
    counts = crystals.counts[chosen]
    found = []
    for count in np.unique(counts[roomy & (counts > 1)]).tolist():
        members = np.flatnonzero(roomy & (counts == count))
        pairs = np.triu_indices(count, 1)
        step = max(1, _PAIRS // len(pairs[0]))
        for start in range(0, len(members), step):
            part = members[start : start + step]
            # Fractional components of a vector are at most its length over the heights.
            reach = within / heights[part]
            found.append(_wrapped(crystals, chosen[part], pairs, reach, within))
    if not roomy.all():
        found.append(_images(crystals, chosen[~roomy], within))
    if not found:
        none = np.empty(0, np.int64)
        return ClosePairs(none, none, none, np.empty(0))
    structure, first, second, distance = (np.concatenate(part) for part in zip(*found, strict=True))
    # The closest pair of each structure comes first, and alone is kept.
    order = np.lexsort((distance, structure))
    order = order[np.unique(structure[order], return_index=True)[1]]
    return ClosePairs(structure[order], first[order], second[order], distance[order])


def _wrapped(
    crystals: Crystals,
    places: Integers,
    pairs: tuple[NDArray[np.intp], NDArray[np.intp]],
    reach: Floats,
    within: float,
) -> ClosePairs:
    """Look at structures of equal size; ``reach`` bounds the components of a short vector.

    One axis after the other, since the first two leave few pairs for the rest.
    """
    first, second = pairs
    atoms = crystals.coordinates[crystals.atoms_of(places)].reshape(len(places), -1, 3)
    component = atoms[:, first, 0] - atoms[:, second, 0]
    component -= np.rint(component)
    row, pair = np.nonzero(np.abs(component) < reach[:, :1])
    for axis in (1, 2):
        component = atoms[row, first[pair], axis] - atoms[row, second[pair], axis]
        component -= np.rint(component)
        near = np.abs(component) < reach[row, axis]
        row, pair = row[near], pair[near]
    vector = atoms[row, first[pair]] - atoms[row, second[pair]]
    vector -= np.rint(vector)
    lattices = crystals.lattices[places]
    distance = np.linalg.norm(np.einsum("mi,mij->mj", vector, lattices[row]), axis=1)
    near = distance < within
    row, pair = row[near], pair[near]
    return ClosePairs(places[row], first[pair], second[pair], distance[near])


def _images(crystals: Crystals, places: Integers, within: float) -> ClosePairs:
    """Look at structures in flat or skewed cells, an atom's own images included."""
    some = crystals.take(places)
    own, blocks = periodic_distances(some)
    zeros = np.zeros(len(places), dtype=np.int64)
    found = [(np.arange(len(places)), zeros, zeros, own)]
    for block in blocks:
        nearest = block.distances.argmin(axis=1)
        rows = np.arange(len(nearest))
        starts = some.offsets[block.crystals]
        first, second = block.first[rows, nearest] - starts, block.second[rows, nearest] - starts
        found.append((block.crystals, first, second, block.distances[rows, nearest]))
    structure, first, second, distance = (np.concatenate(part) for part in zip(*found, strict=True))
    near = distance < within
    return ClosePairs(places[structure[near]], first[near], second[near], distance[near])
