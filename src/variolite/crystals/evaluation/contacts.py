"""How close atoms of two elements come in known crystals, and how much closer in others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.frame.distances import (
    has_cell,
    periodic_distances,
)
from variolite.crystals.structures.crystals import Crystals
from variolite.errors import DataError

__all__ = ["Contacts", "shortest_contacts"]

Floats = NDArray[np.float64]

HIGHEST = 256
"""Beyond every atomic number that a byte can hold."""


@dataclass(frozen=True)
class Contacts:
    """Shortest distance between atoms of every two elements.

    Attributes
    ----------
    elements
        Atomic numbers, ascending, shape (E,).
    distances
        In Angstrom, symmetric, shape (E, E). Two elements that were never seen in one
        crystal have the sum of their radii, where an element's radius is half its
        shortest distance to anything: an estimate from below.
    """

    elements: NDArray[np.int64]
    distances: Floats

    def closeness(self, crystals: Crystals) -> Floats:
        """Return the smallest ratio of a distance to the shortest known one, shape (B,).

        1 or above: no two atoms are closer than the same elements are in a known
        crystal. NaN where there is no cell, or an element that is not in the table.
        """
        place = np.full(HIGHEST, -1)
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
        known_own = np.diagonal(self.distances)[of_atom]
        found = own / np.maximum.reduceat(known_own, kept.offsets[:-1])
        for block in blocks:
            known = self.distances[of_atom[block.first], of_atom[block.second]]
            least = (block.distances / known).min(axis=1)
            found[block.crystals] = np.minimum(found[block.crystals], least)
        ratios[chosen] = found
        return ratios


def shortest_contacts(crystals: Crystals) -> Contacts:
    """Measure the shortest distance between atoms of every two elements.

    Parameters
    ----------
    crystals
        Known structures; an atom's own images count.

    Raises
    ------
    DataError
        If a crystal has no cell.
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
    estimated = radii[:, None] + radii[None, :]
    return Contacts(elements, np.where(np.isfinite(distances), distances, estimated))
