"""Validity of composition and geometry: charge balance, distances between atoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from importlib.metadata import version
from operator import or_

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import ATOMIC_NUMBERS, SYMBOLS, compositions
from variolite.crystals.geometry.periodic import has_cell, periodic_distances, shortest_distances
from variolite.errors import DataError

Floats = NDArray[np.float64]

CUTOFF = 0.5  # shortest distance of a valid structure in Angstrom


def distance_validity(crystals: Crystals) -> NDArray[np.bool_]:
    """Return which crystals are valid by distance, shape (B,).

    Valid: no two atoms closer than 0.5 Angstrom and a cell of at least 0.1 cubic
    Angstrom, the structural validity of T. Xie et al., "Crystal diffusion variational
    autoencoder", ICLR 2022, appendix B. There an atom's own images do not count; here
    they do, which differs only where a lattice vector is shorter than 0.5 Angstrom.
    """
    return np.asarray(shortest_distances(crystals) >= CUTOFF)


# Charge balance of compositions by the rules of SMACT, decided without trying combinations.
#
# The rules (D. W. Davies et al., Chem 1 (2016) 617): every element takes one of its known
# oxidation states; the charges, times the reduced formula, add up to zero; and every
# element with a positive charge is less electronegative than every element with a
# negative one. Elements by themselves and alloys of metals pass.
#
# SMACT tries every combination of oxidation states, which can take seconds for one formula. Here
# the electronegativity rule is used first: it splits the elements, sorted by electronegativity,
# into a positive and a negative part at one of a few places; and sums of charges that can be
# reached are then kept as the bits of one whole number. Results are those of
# ``smact.screening.smact_validity`` with its default settings.

CONSENSUS = 3  # reports of an oxidation state in the ICSD that SMACT asks for by default
HEAVIEST_OF_SMACT = 103  # SMACT has data up to lawrencium


@dataclass(frozen=True)
class ChemicalRules:
    """Package, version and set in words; oxidation states and Pauling electronegativities by
    atomic number, elements without any being absent; atomic numbers of the metals."""

    source: str
    states: Mapping[int, tuple[int, ...]]
    electronegativities: Mapping[int, float]
    metals: frozenset[int]

    def knows(self, z: int) -> bool:
        """Whether compounds of an element can be evaluated."""
        return z in self.states and z in self.electronegativities


@dataclass(frozen=True)
class ChargeBalance:
    """Whether each composition is valid, False where it is not evaluated, as in SMACT, (B,);
    whether the rules know every element of it, (B,); symbols of those that they do not know; the
    rules in words."""

    balanced: NDArray[np.bool_]
    evaluated: NDArray[np.bool_]
    unknown: tuple[str, ...]
    source: str


def charge_balance(crystals: Crystals) -> ChargeBalance:
    """Check the composition of every crystal; `DataError` if SMACT is not installed."""
    known = smact_rules()
    counts = compositions(crystals, reduced=True)
    # Each composition once; rows as opaque bytes, since comparing 119 columns is slow.
    rows = counts.view(np.dtype((np.void, counts.dtype.itemsize * counts.shape[1])))[:, 0]
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    balanced, evaluated = np.zeros((2, len(first)), dtype=bool)
    unknown: set[int] = set()
    for place, row in enumerate(counts[first]):
        elements = np.flatnonzero(row).tolist()
        if not elements or elements[0] == 0:
            continue
        if len(elements) == 1 or known.metals.issuperset(elements):
            balanced[place] = evaluated[place] = True
        elif strange := [z for z in elements if not known.knows(z)]:
            unknown.update(strange)
        else:
            evaluated[place] = True
            balanced[place] = is_balanced(elements, row[elements].tolist(), known)
    return ChargeBalance(
        balanced=balanced[inverse],
        evaluated=evaluated[inverse],
        unknown=tuple(SYMBOLS[z] for z in sorted(unknown)),
        source=known.source,
    )


def is_balanced(elements: Sequence[int], counts: Sequence[int], rules: ChemicalRules) -> bool:
    """Return whether some choice of oxidation states is neutral and orders electronegativities.

    The elements are atomic numbers that the rules know, with their atoms in the reduced formula.
    """
    scale = rules.electronegativities
    ranked = sorted(zip(elements, counts, strict=True), key=lambda pair: scale[pair[0]])

    def reached(part: Sequence[tuple[int, int]], sign: int) -> int:
        # Bit s of a number says whether a total charge of s, of one sign, can be reached.
        sums = 1
        for z, count in part:
            steps = [sign * state * count for state in rules.states[z] if sign * state >= 0]
            sums = reduce(or_, (sums << step for step in steps), 0)
        return sums

    return any(
        reached(ranked[:place], 1) & reached(ranked[place:], -1)
        for place in range(len(ranked) + 1)
        # Elements of equal electronegativity cannot have charges of both signs.
        if place in (0, len(ranked)) or scale[ranked[place - 1][0]] < scale[ranked[place][0]]
    )


@cache
def smact_rules() -> ChemicalRules:
    """Return the tables that SMACT uses by default; `DataError` if it is not installed.

    Oxidation states are those reported at least three times in the ICSD, in the table of 2024
    that ships with SMACT 3.1 and later, zero left out.
    """
    try:
        from smact import Element, metals, ordered_elements
        from smact.utils.oxidation import ICSD24OxStatesFilter
    except ImportError:
        raise DataError(
            "the charge balance of compositions needs SMACT 4",
            where="smact",
            hint="run pip install 'variolite[crystals]'",
        ) from None
    table = ICSD24OxStatesFilter().filter(
        consensus=CONSENSUS, include_zero=False, commonality="low"
    )
    states = {
        ATOMIC_NUMBERS[str(symbol)]: tuple(int(state) for state in str(found).split())
        for symbol, found in zip(table["element"], table["oxidation_state"], strict=True)
    }
    symbols = ordered_elements(1, HEAVIEST_OF_SMACT)
    scale = {ATOMIC_NUMBERS[symbol]: Element(symbol).pauling_eneg for symbol in symbols}
    return ChemicalRules(
        source=f"SMACT {version('smact')}, oxidation states of ICSD24 reported at least "
        f"{CONSENSUS} times, electronegativity test, alloys of metals pass",
        states=states,
        electronegativities={z: float(v) for z, v in scale.items() if v is not None},
        metals=frozenset(ATOMIC_NUMBERS[symbol] for symbol in metals),
    )


# How close atoms of two elements come in known crystals, and how much closer in others.


@dataclass(frozen=True)
class MinimumDistances:
    """Minimum interatomic distance of every two elements in known crystals.

    Atomic numbers, ascending, (E,), and distances in Angstrom, symmetric, (E, E). Two elements
    that were never seen in one crystal have the sum of their radii, where an element's radius is
    half its shortest distance to anything: an estimate from below.
    """

    elements: NDArray[np.int64]
    distances: Floats

    def closeness(self, crystals: Crystals) -> Floats:
        """Return the smallest ratio of a distance to the shortest known one, shape (B,).

        NaN where there is no cell, or an element that is not in the table.
        """
        # Row of the table by atomic number, for every one that a byte can hold.
        place = np.full(256, -1)
        place[self.elements] = np.arange(len(self.elements))
        of_atom = place[crystals.species]
        sound = has_cell(crystals)
        sound[crystals.owner[of_atom < 0]] = False
        ratios = np.full(len(crystals), np.nan)
        chosen = np.flatnonzero(sound)
        if not len(chosen):
            return ratios
        kept, of_atom = crystals.take(chosen), of_atom[crystals.atoms_of(chosen)]
        own, blocks = periodic_distances(kept)
        # An atom and its own image: the element with the largest known distance decides.
        known_own = np.diagonal(self.distances)[of_atom]
        found = own / np.maximum.reduceat(known_own, kept.offsets[:-1])
        for block in blocks:
            known = self.distances[of_atom[block.first], of_atom[block.second]]
            least = (block.distances / known).min(axis=1)
            found[block.crystals] = np.minimum(found[block.crystals], least)
        ratios[chosen] = found
        return ratios


def minimum_distances(crystals: Crystals) -> MinimumDistances:
    """Measure the shortest distance between atoms of every two elements, own images included.

    `DataError` if a crystal has no cell.
    """
    if not len(crystals) or not has_cell(crystals).all():
        raise DataError("the shortest distances need crystals that all have a cell")
    elements, of_atom = np.unique(crystals.species.astype(np.int64), return_inverse=True)
    distances = np.full((len(elements), len(elements)), np.inf)
    own, blocks = periodic_distances(crystals)
    np.minimum.at(distances, (of_atom, of_atom), own[crystals.owner])
    for block in blocks:
        np.minimum.at(distances, (of_atom[block.first], of_atom[block.second]), block.distances)
    distances = np.minimum(distances, distances.T)
    radii = 0.5 * distances.min(axis=1)
    estimated = radii[:, None] + radii
    return MinimumDistances(elements, np.where(np.isfinite(distances), distances, estimated))
