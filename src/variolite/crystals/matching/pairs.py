"""Match many pairs of structures, as pymatgen's StructureMatcher would, in arrays.

Verdicts and displacements are those of ``StructureMatcher.get_rms_dist(first, second)`` and
``fit(first, second)`` with ``primitive_cell=False``: both cells are Niggli-reduced, scaled
to one volume where the tolerance says so, all bases of the first lattice that resemble the
second within the tolerances are tried, and atoms are assigned in the average lattice. The
order matters: the second structure is the one whose cell is the yardstick.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.matching.groups import group_by_sizes
from variolite.crystals.matching.lattice_mappings import Bases, bases_like, vectors_within
from variolite.crystals.matching.lll import reduce_lll
from variolite.crystals.matching.niggli import niggli_cells
from variolite.crystals.matching.prefilter import may_match, same_composition, vectors_to_try
from variolite.crystals.matching.sites import CandidateCells, match_sites
from variolite.crystals.matching.tolerances import Tolerance
from variolite.crystals.structures import (
    Crystals,
    cell_heights,
    cell_parameters,
    lattices_from_parameters,
)
from variolite.errors import DataError

__all__ = ["Matches", "ReducedCrystals", "match_pairs", "match_reduced", "reduce_crystals"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_CHUNK = 128
_CHUNK_VECTORS = 50_000
_SMALLEST_VOLUME = 1e-3


@dataclass(frozen=True)
class ReducedCrystals:
    """Structures in their Niggli cells.

    Attributes
    ----------
    crystals
        The structures; those without a Niggli cell are left as they were.
    usable
        Whether a structure has finite numbers, a volume and a Niggli cell, shape (B,).
    """

    crystals: Crystals
    usable: Mask

    def take(self, index: Integers | slice) -> ReducedCrystals:
        """Choose structures."""
        return ReducedCrystals(self.crystals.take(index), self.usable[index])


@dataclass(frozen=True)
class Matches:
    """What matching says of B pairs.

    Attributes
    ----------
    rms
        Root mean square displacement in units of (V/n)^(1/3), as ``get_rms_dist`` gives
        it; NaN where the pair does not match, shape (B,).
    fits
        Whether the largest displacement stays below the tolerance for some mapping, as
        ``fit`` says, shape (B,).
    """

    rms: Floats
    fits: Mask

    @property
    def matched(self) -> Mask:
        """Whether ``get_rms_dist`` finds a match, shape (B,)."""
        return ~np.isnan(self.rms)


def reduce_crystals(crystals: Crystals) -> ReducedCrystals:
    """Bring structures into their Niggli cells."""
    usable = np.isfinite(crystals.lattices).all(axis=(1, 2)) & (crystals.counts > 0)
    finite_atoms = np.isfinite(crystals.coordinates).all(axis=1)
    usable[crystals.owner[~finite_atoms]] = False
    lattices = np.array(crystals.lattices)
    with np.errstate(all="ignore"):
        volumes = np.abs(np.linalg.det(lattices))
    usable &= volumes > _SMALLEST_VOLUME
    transform = np.broadcast_to(np.eye(3), lattices.shape).copy()
    cells = niggli_cells(lattices[usable])
    transform[usable] = cells.transform
    lattices[usable] = cells.lattices
    usable[np.flatnonzero(usable)[~cells.found]] = False
    inverse = np.rint(np.linalg.inv(transform))
    coordinates = np.einsum("ni,nij->nj", crystals.coordinates, inverse[crystals.owner])
    reduced = Crystals(
        species=crystals.species,
        coordinates=coordinates - np.floor(coordinates),
        lattices=lattices,
        offsets=crystals.offsets,
        names=crystals.names,
    )
    return ReducedCrystals(reduced, usable)


def match_pairs(first: Crystals, second: Crystals, tolerance: Tolerance) -> Matches:
    """Match pairs of structures, cells as they are given (not made primitive).

    Parameters
    ----------
    first, second
        Sets of B structures; pair i is the i-th of each. For a reconstruction, the
        reconstructed is the first and the true one the second.
    tolerance
        What counts as the same.

    Raises
    ------
    DataError
        If the sets differ in length.
    """
    if len(first) != len(second):
        raise DataError(f"{len(first)} and {len(second)} structures do not make pairs")
    matches = Matches(np.full(len(first), np.nan), np.zeros(len(first), dtype=bool))
    same = np.flatnonzero(same_composition(first, second))
    reduced = (reduce_crystals(first.take(same)), reduce_crystals(second.take(same)))
    found = match_reduced(*reduced, tolerance)
    matches.rms[same], matches.fits[same] = found.rms, found.fits
    return matches


def match_reduced(first: ReducedCrystals, second: ReducedCrystals, tolerance: Tolerance) -> Matches:
    """Match pairs of structures that are reduced already; see :func:`match_pairs`."""
    count = len(second.usable)
    rms = np.full(count, np.nan)
    fits = np.zeros(count, dtype=bool)
    places = np.flatnonzero(first.usable & second.usable)
    possible = may_match(first.crystals.take(places), second.crystals.take(places), tolerance)
    places = places[possible]
    work = vectors_to_try(first.crystals.take(places), second.crystals.take(places), tolerance)
    for index in _portions(places, work):
        pair = (first.crystals.take(index), second.crystals.take(index))
        found, largest = _match_chunk(*pair, tolerance)
        rms[index] = np.where(found < tolerance.sites, found, np.nan)
        fits[index] = largest < tolerance.sites
    return Matches(rms, fits)


def _portions(places: Integers, work: Floats) -> list[Integers]:
    """Cut pairs into portions of bounded number and bounded work."""
    by_number = np.arange(len(places)) // _CHUNK
    by_work = np.cumsum(work) // _CHUNK_VECTORS
    cuts = np.flatnonzero(np.diff(by_number) + np.diff(by_work)) + 1
    return np.split(places, cuts) if len(places) else []


def _match_chunk(first: Crystals, second: Crystals, tolerance: Tolerance) -> tuple[Floats, Floats]:
    """Least rms and least largest displacement of every pair; infinite where none matches."""
    lattices, target = first.lattices, second.lattices
    if tolerance.scaled:
        ratio = ((second.volumes / first.volumes) ** (1 / 6))[:, None, None]
        lattices, target = lattices * ratio, target / ratio
    cells = _candidates(lattices, target, second.counts, tolerance)
    rms = np.full(len(second), np.inf)
    largest = np.full(len(second), np.inf)
    has_any = np.bincount(cells.owner, minlength=len(second)) > 0
    for group in group_by_sizes(first, second, np.flatnonzero(has_any)):
        place = np.full(len(second), -1)
        place[group.index] = np.arange(len(group.index))
        mine = np.flatnonzero(place[cells.owner] >= 0)
        some = cells.take(mine).relabelled(place[cells.owner[mine]])
        rms[group.index], largest[group.index] = match_sites(
            group.first, group.second, group.sizes, some
        )
    return rms, largest


def _candidates(
    lattices: Floats, target: Floats, counts: Integers, tolerance: Tolerance
) -> CandidateCells:
    """Bases of the lattices that resemble the target."""
    parameters = cell_parameters(target)
    lengths, angles = parameters[:, :3], parameters[:, 3:]
    found = vectors_within(lattices, lengths.max(axis=1) * (1 + tolerance.lengths))
    spread = np.full(len(lattices), tolerance.lengths)
    bases = bases_like(found, lengths, angles, spread, tolerance.angles, one_of_each_pair=True)
    single = np.abs(np.abs(np.linalg.det(bases.transform)) - 1) < 0.5
    bases = Bases(bases.owner[single], bases.transform[single], bases.lattices[single])
    average = lattices_from_parameters(
        (cell_parameters(bases.lattices) + parameters[bases.owner]) / 2
    )
    reduced, transform = reduce_lll(average)
    volumes = np.abs(np.linalg.det(average))
    free_length = (volumes / counts[bases.owner]) ** (1 / 3)
    # The box reaches 2 stol (V/n)^(1/3) to either side, measured across the cell.
    reach = (2 * tolerance.sites * free_length)[:, None]
    cells = CandidateCells(
        owner=bases.owner,
        transform=np.rint(np.linalg.inv(bases.transform)),
        box=reach / cell_heights(average),
        reduced=reduced,
        to_reduced=np.rint(np.linalg.inv(transform)),
        reduced_box=reach / cell_heights(reduced),
        free_length=free_length,
    )
    # A basis and its opposite (all vectors negated) share the average lattice.
    doubled = cells.take(np.repeat(np.arange(len(cells)), 2))
    doubled.transform[1::2] *= -1
    return doubled
