"""Primitive cells: which crystals repeat within their cell, and the smallest cell of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import compositions
from variolite.crystals.files.groups import SYMPREC, ask_spglib


def repeats(crystals: Crystals) -> NDArray[np.bool_]:
    """Whether a translation within the cell maps each crystal onto itself, (B,).

    Such a cell is not primitive. Only whole crystals can be asked, with atoms and a cell.
    """
    # Repeated m times, there are m times as many atoms of every element.
    divisors = np.gcd.reduce(compositions(crystals), axis=1)
    found = np.zeros(len(crystals), dtype=np.bool_)
    for place in np.flatnonzero(divisors > 1).tolist():
        found[place] = _repeats(crystals[place])
    return found


def _repeats(crystal: Crystal) -> bool:
    numbers, counts = np.unique(crystal.species, return_counts=True)
    rarest = np.flatnonzero(crystal.species == numbers[counts.argmin()])
    placed = np.mod(crystal.coordinates, 1.0) % 1.0
    # Atoms by place and element: neighbours are those of the same element nearest by.
    elements = 10.0 * crystal.species[:, None]
    tree = cKDTree(np.hstack([placed, elements]), boxsize=[1, 1, 1, 0])
    for shift in placed[rarest[1:]] - placed[rarest[0]]:
        moved = np.mod(placed + shift, 1.0) % 1.0
        _, nearest = tree.query(np.hstack([moved, elements]))
        difference = moved - placed[nearest]
        difference -= np.rint(difference)
        same = (crystal.species == crystal.species[nearest]).all()
        if same and (np.linalg.norm(difference @ crystal.lattice, axis=1) < SYMPREC).all():
            return True
    return False


def primitive_cells(crystals: Crystals, *, log: Callable[[str], None] = lambda _: None) -> Crystals:
    """Return the same crystals in primitive cells, found by spglib; primitive ones as they are.

    Atoms that a translation maps onto one another become one, at their mean place. A DataError
    without spglib.
    """
    where = np.flatnonzero(repeats(crystals))
    found = list(crystals)
    ways = {"to_primitive": True, "no_idealize": True, "symprec": SYMPREC}
    for done, place in enumerate(where.tolist(), 1):
        name = found[place].name
        reduced = ask_spglib("standardize_cell", found[place], **ways)
        if reduced is not None:
            lattice, coordinates, species = reduced
            found[place] = Crystal(species.astype(np.uint8), coordinates, lattice, name)
        log(f"primitive cells: {done:,} of {len(where):,}")
    joined = Crystals.of(found)
    return replace(joined, names=crystals.names, properties=crystals.properties)
