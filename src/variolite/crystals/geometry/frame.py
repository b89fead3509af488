"""One representation of every crystal, whatever cell, origin and order it came in.

The frame is chosen by comparing real-valued scores, never by rules that need a rounding: among all
shortest bases the one with the least weighted metric, and among the bases and origins that are left
the ones with the greatest weighted sum of structure factors. Choices that tie are related by
symmetry and give the same representation. The weights only have to be generic.

Mirror images get the same representation: the bases of both hands are compared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals, ragged_places
from variolite.crystals.geometry.periodic import reduced_basis, shortest_bases, signed_permutations

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

METRIC_WEIGHTS = np.array([3.137, 2.0719, 1.0, 0.5771, 0.4143, 0.3307])
"""On G11, G22, G33, G12, G13, G23: sorts lengths and prefers obtuse angles."""

SAME_METRIC = 1e-6  # Relative difference in the weighted metric that counts as none.


def _miller_indices() -> Integers:
    """Short ones along every kind of direction, then generic ones, (40, 3).

    Sixteen were not enough: systematic absences of four MPTS-52 crystals of 5,000 hid
    the difference between two origins.
    """
    short = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1), (2, 1, 0)]
    number = np.arange(1, 33)[:, None]
    generic = np.rint(9.0 * np.modf(number * np.array([0.8191725, 0.6710436, 0.5497005]))[0] - 4.5)
    return np.concatenate([np.array(short), generic.astype(np.int64)])


HKL = _miller_indices()  # Of the structure factors that break ties, shape (K, 3).

AMPLITUDES = 1.0 / (1.0 + 0.173 * np.arange(len(HKL)))
PHASES = 2.0 * np.pi * np.modf(0.7548776662 * (1 + np.arange(len(HKL))))[0]

# Of the function of every wave at once that breaks the ties which those waves leave.
STRENGTHS = np.array([3.3, 4.4, 2.9])
CENTRES = np.array([0.1371, 0.2913, 0.4135])
OFFSET = 0.7
SAME_SCORE = 1e-8  # Difference below which two frames count as related by symmetry.
CHUNK = 200_000  # Atoms times candidates handled at once, so that the memory stays small.


@dataclass(frozen=True)
class Frame:
    """Crystals in the canonical frame, and the way back.

    ``crystals`` have reduced cells in standard orientation (a along x, b in the xy plane), an
    origin on an atom, coordinates in [0, 1) and atoms in their order. ``change``, (B, 3, 3), has
    the rows of the canonical cell in terms of the given one; ``origin``, (B, 3), the fractional
    coordinates in the given cell that became the origin.
    """

    crystals: Crystals
    change: Integers
    origin: Floats

    def restore(self, found: Crystals, given: Crystals) -> Crystals:
        """Put crystals of the canonical frame back into cell, origin and orientation.

        ``found`` are crystals like those of this frame, such as their reconstructions, and
        ``given`` those that this frame was made of.
        """
        back = np.linalg.inv(self.change)
        owner = found.owner
        # With the rows of L as vectors and L' = U L, a place x' L' = x L has x = x' U.
        coordinates = np.einsum("ni,nij->nj", found.coordinates, self.change[owner].astype(float))
        lattices = back @ found.lattices
        # The rotation, or rotation with reflection, that lays one lattice best on the other;
        # seen in the canonical cell, so that it does not depend on the cell that was given.
        reduced = self.change @ given.lattices
        left, _, right = np.linalg.svd(found.lattices.transpose(0, 2, 1) @ reduced)
        return replace(
            found,
            coordinates=(coordinates + self.origin[owner]) % 1.0,
            lattices=lattices @ (left @ right),
            names=given.names,
            properties=given.properties,
        )


def canonical(crystals: Crystals) -> Frame:
    """Put crystals into the frame that does not depend on how they were given.

    DataError if a cell has no volume.
    """
    if not len(crystals):
        return Frame(crystals, np.empty((0, 3, 3), np.int64), np.empty((0, 3)))
    first = reduced_basis(crystals.lattices)
    owner, change = _bases(first @ crystals.lattices)
    change = change @ first[owner]
    chosen, origin = _origins(crystals, owner, change)
    change = change[chosen]
    atoms = crystals.owner
    # U has determinant 1 or -1, so that its inverse is integer too.
    back = np.rint(np.linalg.inv(change))
    shifted = crystals.coordinates - crystals.coordinates[origin][atoms]
    coordinates = np.einsum("ni,nij->nj", shifted, back[atoms]) % 1.0
    cells = change @ crystals.lattices
    # The Cholesky factor of the metric is the lattice in standard orientation.
    standard = np.linalg.cholesky(cells @ cells.transpose(0, 2, 1)).astype(np.float64)
    settled = replace(crystals, coordinates=coordinates, lattices=standard)
    return Frame(settled, change, crystals.coordinates[origin])


def _bases(reduced: Floats) -> tuple[Integers, Integers]:
    """Owner (M,) and change (M, 3, 3) of the bases of each cell whose metric is canonical.

    Those of one cell differ by symmetry alone.
    """
    owner, change = shortest_bases(reduced)
    ways = signed_permutations()
    owner = np.repeat(owner, len(ways))
    change = (ways[None] @ change[:, None]).reshape(-1, 3, 3)
    cells = change @ reduced[owner]
    # By metric tensors, so that neither orientation nor handedness matters.
    metric = cells @ cells.transpose(0, 2, 1)
    entries = metric[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    # Scaled by the trace, so that one tolerance serves cells of any size.
    score = entries @ METRIC_WEIGHTS / np.trace(metric, axis1=1, axis2=2)
    least = np.minimum.reduceat(score, np.searchsorted(owner, np.arange(len(reduced))))
    kept = score <= least[owner] + SAME_METRIC
    return owner[kept], change[kept]


def _origins(crystals: Crystals, owner: Integers, change: Integers) -> tuple[Integers, Integers]:
    """Choose among bases and origins by the weighted sum of structure factors.

    Returns the basis of every crystal, as a place in ``change``, (B,), and its atom that becomes
    the origin, (B,).
    """
    weight = _weights(crystals.species)
    rare, rare_starts = _rarest_atoms(crystals)
    rare_counts = np.diff(rare_starts)
    found: list[tuple[Integers, Integers, Integers, Floats]] = []
    # k . x' with x' = x U^-1 is x . (U^-1 k): indices change instead of all coordinates.
    hkl = np.rint(np.linalg.inv(change) @ HKL.T).transpose(0, 2, 1)  # (M, K, 3)
    for start, stop in _chunks(crystals.counts[owner]):
        # Structure factors F(k) of every candidate basis in the chunk, about the given origin.
        mine = owner[start:stop]
        counts = crystals.counts[mine]
        atoms = crystals.atoms_of(mine)
        holder = np.repeat(np.arange(stop - start), counts)
        phase = np.einsum("nki,ni->nk", hkl[start:stop][holder], crystals.coordinates[atoms])
        wave = np.exp(2j * np.pi * phase) * weight[atoms, None]
        factors = np.add.reduceat(wave, np.cumsum(counts) - counts, axis=0)
        factors *= AMPLITUDES * np.exp(1j * PHASES)
        # Every such basis with every atom of the rarest element as the origin: moving the
        # origin to x multiplies F(k) by exp(-2 pi i k.x), so nothing is summed again.
        pair = np.repeat(np.arange(stop - start), rare_counts[mine])
        atom = rare[ragged_places(rare_starts[:-1][mine], rare_counts[mine])]
        shift = np.einsum("pki,pi->pk", hkl[start:stop][pair], crystals.coordinates[atom])
        score = (factors[pair] * np.exp(-2j * np.pi * shift)).real.sum(axis=1)
        of = mine[pair]
        near = _near_greatest(score, of)
        found.append((of[near], start + pair[near], atom[near], score[near]))
    # Once more, since the bases of one crystal may lie in two chunks.
    of, candidate, atom, score = (np.concatenate(part) for part in zip(*found, strict=True))
    near = _near_greatest(score, of)
    of, candidate, atom = of[near], candidate[near], atom[near]
    near = _near_greatest(_score_of_every_wave(crystals, change, of, candidate, atom), of)
    of, candidate, atom = of[near], candidate[near], atom[near]
    # What ties now is related by symmetry. Chosen by the given cell and order, atoms keep
    # their latents when the crystal is turned or moved, not only the set of latents.
    order = np.lexsort((atom, *change[candidate].reshape(-1, 9).T, of))
    first = order[np.searchsorted(of[order], np.arange(len(crystals)))]
    return candidate[first], atom[first]


def _score_of_every_wave(
    crystals: Crystals, change: Integers, of: Integers, candidate: Integers, atom: Integers
) -> Floats:
    """Score (M,) frames that tie in the few waves looked at once more; 0 where nothing ties.

    In a cell with translations of its own all of those may be absent that distinguish two
    origins. A sine of a sum of cosines has a part in every wave (Jacobi and Anger), but is
    expensive: it has to be computed for every frame.
    """
    tied = np.flatnonzero(np.bincount(of)[of] > 1)
    score = np.zeros(len(of))
    back = np.rint(np.linalg.inv(change[candidate]))
    for start, stop in _chunks(crystals.counts[of[tied]]):
        frames = tied[start:stop]
        counts = crystals.counts[of[frames]]
        atoms = crystals.atoms_of(of[frames])
        # The atoms of every frame (N, 3), moved to its origin and brought into its cell.
        moved = crystals.coordinates[atoms] - crystals.coordinates[np.repeat(atom[frames], counts)]
        placed = np.einsum("ni,nij->nj", moved, np.repeat(back[frames], counts, axis=0))
        angle = np.cos(2.0 * np.pi * (placed - CENTRES)) @ STRENGTHS + OFFSET
        values = _weights(crystals.species[atoms]) * np.sin(angle)
        score[frames] = np.add.reduceat(values, np.cumsum(counts) - counts)
    return score


def _weights(species: NDArray[np.uint8]) -> Floats:
    """A generic number for every element, (N,): fractions of the golden ratio never repeat."""
    weights: Floats = 0.5 + np.modf(0.6180339887498949 * species.astype(np.float64))[0]
    return weights


def _near_greatest(score: Floats, of: Integers) -> NDArray[np.bool_]:
    """Whether a score is the greatest of its crystal or ties with it, (M,)."""
    greatest = np.full(int(of.max()) + 1, -np.inf)
    np.maximum.at(greatest, of, score)
    near: NDArray[np.bool_] = score >= greatest[of] - SAME_SCORE
    return near


def _chunks(work: Integers) -> list[tuple[int, int]]:
    """Cut a list of jobs, each of so much work, into spans of about `CHUNK` in all."""
    total = np.cumsum(work)
    edges = np.searchsorted(total, np.arange(0, total[-1:].sum() + CHUNK, CHUNK))
    edges = np.unique([0, *edges, len(work)])
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _rarest_atoms(crystals: Crystals) -> tuple[Integers, Integers]:
    """Atoms of the element with the fewest atoms in each crystal, by lowest number on a tie.

    Returns their places, crystal by crystal, and where those of crystal i begin, (B + 1,). Few
    atoms mean few origins to compare, and no symmetry exchanges atoms of two elements.
    """
    # Element z of crystal i has the key 128 i + z: one count for all crystals.
    key = crystals.owner * 128 + crystals.species
    _, inverse, numbers = np.unique(key, return_inverse=True, return_counts=True)
    rank = numbers[inverse] * 128 + crystals.species
    chosen = rank == np.minimum.reduceat(rank, crystals.offsets[:-1])[crystals.owner]
    per_crystal = np.add.reduceat(chosen.astype(np.int64), crystals.offsets[:-1])
    return np.flatnonzero(chosen), np.concatenate([[0], np.cumsum(per_crystal)])
