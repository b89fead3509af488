"""Match many pairs of structures, as pymatgen's StructureMatcher would, in arrays.

Results and displacements are those of ``StructureMatcher.get_rms_dist(first, second)`` and
``fit(first, second)`` with ``primitive_cell=False``: both cells are Niggli-reduced, scaled
to one volume where the tolerance says so, all bases of the first lattice that resemble the
second within the tolerances are tried, and atoms are assigned in the average lattice. The
order matters: cells are compared with that of the second structure.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import gcd
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import (
    Crystal,
    Crystals,
    cell_heights,
    cell_parameters,
    lattices_from_parameters,
)
from variolite.crystals.elements import SYMBOLS, compositions
from variolite.crystals.files.formats import from_pymatgen, to_pymatgen
from variolite.crystals.matching.lattices import (
    Bases,
    bases_like,
    niggli_cells,
    reduce_lll,
    vectors_within,
)
from variolite.crystals.matching.sites import CandidateCells, match_sites
from variolite.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Tolerance:
    """How far two structures may differ and still be called the same, as pymatgen means it."""

    name: str  # in metrics and tables
    sites: float  # largest displacement in units of the free length per atom (V/n)^(1/3)
    lengths: float  # largest relative difference of a cell length
    angles: float  # largest difference of a cell angle in degrees
    scaled: bool = True  # whether both cells are brought to the same volume first

    def __post_init__(self) -> None:
        if min(self.sites, self.lengths, self.angles) <= 0:
            what = f"{self.sites}, {self.lengths}, {self.angles} were given"
            hint = "Give three positive numbers"
            raise DataError(what, where=f"tolerance {self.name}", hint=hint)


CDVAE = Tolerance("cdvae", sites=0.5, lengths=0.3, angles=10.0)
DEFAULT = Tolerance("default", sites=0.3, lengths=0.2, angles=5.0)
STRICT = Tolerance("strict", sites=0.1, lengths=0.05, angles=3.0, scaled=False)

TOLERANCES: Mapping[str, Tolerance] = MappingProxyType(
    {tolerance.name: tolerance for tolerance in (CDVAE, DEFAULT, STRICT)}
)


# Pairs of structures whose atoms fall into groups of the same sizes, laid side by side.


def _group_by_sizes(
    first: Crystals, second: Crystals, index: Integers
) -> Iterator[tuple[Integers, Floats, Floats, Integers]]:
    """Yield chosen pairs, of equal compositions, whose groups of equal atoms have the same sizes.

    These are G places (G,), fractional coordinates of both (G, n, 3) and the sizes, ascending.
    Atoms are grouped by element, small groups first, in the same order of elements in both. The
    first atom of the second is the anchor: the first as given of its rarest elements.
    """
    first, second = first.take(index), second.take(index)
    # Small groups come first, since the fewest translations have to be tried for them; in the
    # second structures the anchor leads its group.
    amounts = compositions(second)
    owner = second.owner
    size = amounts[owner, second.species]
    by_rarity = np.lexsort((np.arange(len(owner)), size, owner))
    anchor = by_rarity[second.offsets[:-1]]
    element = second.species[anchor]
    is_anchor = np.zeros(len(owner), dtype=bool)
    is_anchor[anchor] = True
    # The element of the anchor comes before others as rare; sorted is by the last key first.
    second_order = np.lexsort(
        (~is_anchor, second.species, second.species != element[owner], size, owner)
    )
    first_size = amounts[first.owner, first.species]
    first_order = np.lexsort(
        (first.species, first.species != element[first.owner], first_size, first.owner)
    )
    size = size[second_order]
    groups: dict[bytes, list[int]] = {}
    for place in range(len(second)):
        key = size[second.offsets[place] : second.offsets[place + 1]].tobytes()
        groups.setdefault(key, []).append(place)
    for members in groups.values():
        chosen = np.array(members)
        atoms = second.offsets[chosen][:, None] + np.arange(second.counts[chosen[0]])
        # A group of n atoms is counted n times, once for every atom.
        sizes, repeats = np.unique(size[atoms[0]], return_counts=True)
        ours = first.coordinates[first_order[atoms]]
        theirs = second.coordinates[second_order[atoms]]
        yield index[chosen], ours, theirs, np.repeat(sizes, repeats // sizes)


# Pairs that cannot match, found without matching.

_SLACK = 1e-4
# Of cells in databases, even long ones have some thousand lattice vectors to try.
_MOST_VECTORS = 50_000


def same_composition(first: Crystals, second: Crystals) -> Mask:
    """Return whether the structures of each pair have the same atoms, shape (B,)."""
    return np.asarray((compositions(first) == compositions(second)).all(axis=1))


def _vectors_to_try(first: Crystals, second: Crystals, tolerance: Tolerance) -> Floats:
    """Return about how many vectors of the first lattice are as short as matching asks, (B,)."""
    longest = cell_parameters(second.lattices)[:, :3].max(axis=1, initial=0.0)
    volumes = second.volumes if tolerance.scaled else first.volumes
    count: Floats = 4 / 3 * np.pi * (longest * (1 + tolerance.lengths)) ** 3 / volumes
    return count


def _may_match(first: Crystals, second: Crystals, tolerance: Tolerance, work: Floats) -> Mask:
    """Return whether the pairs, given in Niggli cells, can match at all, shape (B,).

    The atoms must be the same. A basis of the first lattice whose vectors are at most
    1 + t times as long as those of the second bounds its successive minima, which are the
    lengths of its Niggli cell: sorted, each is at most 1 + t times that of the second.

    One rule is not exact: where more than fifty thousand vectors of the first lattice would
    have to be tried, because it is all but flat beside the second, there is no match.
    """
    scale = (second.volumes / first.volumes) ** (1 / 3) if tolerance.scaled else np.ones(len(work))
    own = np.sort(cell_parameters(first.lattices)[:, :3], axis=1) * scale[:, None]
    other = np.sort(cell_parameters(second.lattices)[:, :3], axis=1)
    short = own <= other * (1 + tolerance.lengths) * (1 + _SLACK)
    possible: Mask = same_composition(first, second) & np.all(short, axis=1)
    return possible & (work < _MOST_VECTORS)


_CHUNK = 128
_CHUNK_VECTORS = 50_000
_SMALLEST_VOLUME = 1e-3


@dataclass(frozen=True)
class ReducedCrystals:
    """Structures in their Niggli cells; those without one are left as they were."""

    crystals: Crystals
    usable: Mask  # whether there are finite numbers, a volume and a Niggli cell (B,)

    def take(self, index: Integers | slice) -> ReducedCrystals:
        """Choose structures."""
        return ReducedCrystals(self.crystals.take(index), self.usable[index])


@dataclass(frozen=True)
class Matches:
    """What matching finds for B pairs.

    ``rms`` (B,) is the root mean square displacement in units of (V/n)^(1/3) that ``get_rms_dist``
    gives, NaN where the pair does not match; ``fits`` (B,) whether the largest displacement stays
    below the tolerance for some mapping, as ``fit`` says.
    """

    rms: Floats
    fits: Mask

    @property
    def matched(self) -> Mask:
        """Whether ``get_rms_dist`` finds a match, shape (B,)."""
        return ~np.isnan(self.rms)


def reduce_crystals(crystals: Crystals) -> ReducedCrystals:
    """Bring structures into their Niggli cells."""
    usable, lattices = crystals.finite, np.array(crystals.lattices)
    with np.errstate(all="ignore"):
        usable &= np.abs(np.linalg.det(lattices)) > _SMALLEST_VOLUME
    # Those that are not usable keep the identity, so that all arrays stay aligned.
    transform = np.broadcast_to(np.eye(3), lattices.shape).copy()
    cells = niggli_cells(lattices[usable])
    transform[usable] = cells.transform
    usable[np.flatnonzero(usable)[~cells.found]] = False
    reduced = replace(crystals, properties={}).in_cells(transform)
    return ReducedCrystals(reduced, usable)


def match_pairs(first: Crystals, second: Crystals, tolerance: Tolerance) -> Matches:
    """Match B pairs of structures, cells as they are given (not made primitive).

    For a reconstruction, the reconstructed is the first and the true one the second. Raises a
    DataError if the sets differ in length.
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
    rms = np.full(len(second.usable), np.nan)
    fits = np.zeros(len(second.usable), dtype=bool)
    places = np.flatnonzero(first.usable & second.usable)
    ones, others = first.crystals.take(places), second.crystals.take(places)
    work = _vectors_to_try(ones, others, tolerance)
    possible = _may_match(ones, others, tolerance, work)
    places, work = places[possible], work[possible]
    # Cut into portions of bounded number and bounded work, that fit into the memory.
    portion = np.arange(len(places)) // _CHUNK + np.cumsum(work) // _CHUNK_VECTORS
    for index in filter(len, np.split(places, np.flatnonzero(np.diff(portion)) + 1)):
        pair = (first.crystals.take(index), second.crystals.take(index))
        found, largest = _match_chunk(*pair, tolerance)
        rms[index] = np.where(found < tolerance.sites, found, np.nan)
        fits[index] = largest < tolerance.sites
    return Matches(rms, fits)


def _match_chunk(first: Crystals, second: Crystals, tolerance: Tolerance) -> tuple[Floats, Floats]:
    """Return least rms and least largest displacement of every pair; infinite without a match."""
    lattices, target = first.lattices, second.lattices
    if tolerance.scaled:
        # Both cells meet at the geometric mean of their volumes, as in pymatgen.
        ratio = ((second.volumes / first.volumes) ** (1 / 6))[:, None, None]
        lattices, target = lattices * ratio, target / ratio
    cells = _candidates(lattices, target, second.counts, tolerance)
    rms = np.full(len(second), np.inf)
    largest = np.full(len(second), np.inf)
    # Structures whose groups of equal atoms have the same sizes are matched side by side.
    has_any = np.bincount(cells.owner, minlength=len(second)) > 0
    for index, ours, theirs, sizes in _group_by_sizes(first, second, np.flatnonzero(has_any)):
        # Candidates name their pair by its place within the group.
        place = np.full(len(second), -1)
        place[index] = np.arange(len(index))
        mine = np.flatnonzero(place[cells.owner] >= 0)
        some = replace(cells.take(mine), owner=place[cells.owner[mine]])
        rms[index], largest[index] = match_sites(ours, theirs, sizes, some)
    return rms, largest


def _candidates(
    lattices: Floats, target: Floats, counts: Integers, tolerance: Tolerance
) -> CandidateCells:
    """Return the bases of the lattices (B, 3, 3) that resemble the target, with B atom counts."""
    parameters = cell_parameters(target)
    lengths, angles = parameters[:, :3], parameters[:, 3:]
    found = vectors_within(lattices, lengths.max(axis=1) * (1 + tolerance.lengths))
    width = np.full(len(lattices), tolerance.lengths)
    bases = bases_like(found, lengths, angles, width, tolerance.angles, one_of_each_pair=True)
    # Supercells of the first lattice (determinant 2 and more) hold too many atoms.
    single = np.abs(np.abs(np.linalg.det(bases.transform)) - 1) < 0.5
    bases = Bases(bases.owner[single], bases.transform[single], bases.lattices[single])
    # pymatgen averages the six cell parameters, not the vectors.
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


# Primitive cells as structure matching takes them.
#
# pymatgen looks for translations that map every atom onto one of its element within a
# quarter of an angstrom to half an angstrom, and folds the cell where it finds some. Most
# cells have none: that is shown here from the coordinates, at a fiftieth of the cost, and
# only the others are handed to pymatgen.

_TOLERANCE = 0.25
# Rounding must not make the test find fewer translations than pymatgen does.
_PRIMITIVE_SLACK = 1e-9


def primitive_crystals(reduced: ReducedCrystals) -> ReducedCrystals:
    """Fold the cells of reduced structures as ``Structure.get_primitive_structure`` does.

    Raises a DataError if a cell may not be primitive and pymatgen is not installed.
    """
    crystals = list(reduced.crystals)
    usable = reduced.usable.copy()
    for place, crystal in enumerate(crystals):
        if not usable[place] or surely_primitive(crystal):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                folded = to_pymatgen(crystal).get_primitive_structure()
            except ValueError:
                usable[place] = False
                continue
        crystals[place] = from_pymatgen(folded, [crystal.name])[0]
    return ReducedCrystals(Crystals.of(crystals), usable)


def surely_primitive(crystal: Crystal) -> bool:
    """Return whether pymatgen is certain to find no smaller cell.

    A smaller cell of 1/m the volume needs m to divide the number of atoms of every
    element, and the rows of an inverse integer matrix of determinant m near translations
    that map all atoms onto atoms of their element.
    """
    elements, sizes = np.unique(crystal.species, return_counts=True)
    units = gcd(*sizes.tolist())
    if units == 1:
        return True
    groups = [crystal.coordinates[crystal.species == z] for z in elements]
    lengths = cell_parameters(crystal.lattice)[0, :3]
    box = _TOLERANCE / lengths * (1 + _PRIMITIVE_SLACK)
    # The first of the smallest groups in alphabetical order gives the candidates.
    smallest = min(range(len(groups)), key=lambda g: (len(groups[g]), SYMBOLS[elements[g]]))
    candidates = groups[smallest] - groups[smallest][0]
    # Every atom in turn thins them out: moved by a candidate, it must meet one of its element.
    for atoms in groups:
        for rows in np.moveaxis(atoms[:, None] - atoms, 1, 0):
            near = _near(candidates[:, None], rows, 2 * box).any(axis=1)
            candidates = candidates[near]
    if not len(candidates):
        return True
    close = _near(_inverse_cells(units)[:, :, None], candidates, box).any(axis=2)
    return not np.any(np.all(close, axis=1))


def _near(first: Floats, second: Floats, box: Floats) -> Mask:
    difference = first - second
    difference -= np.rint(difference)
    return np.asarray((np.abs(difference) <= box).all(axis=-1))


@cache
def _inverse_cells(units: int) -> Floats:
    """Return inverses of all Hermite normal forms whose determinant divides ``units``, but 1."""
    forms = [
        [[a, b, c], [0, e, f], [0, 0, volume // a // e]]
        for volume in _divisors(units)[1:]
        for a in _divisors(volume)
        for e in _divisors(volume // a)
        for b in range(a)
        for c in range(a)
        for f in range(e)
    ]
    inverses: Floats = np.linalg.inv(np.array(forms, dtype=np.float64))
    return inverses


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]
