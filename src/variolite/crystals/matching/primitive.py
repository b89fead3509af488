"""Primitive cells as structure matching takes them.

pymatgen looks for translations that map every atom onto one of its element within a
quarter of an Angstrom to half an Angstrom, and folds the cell where it finds some. Most
cells have none: that is shown here from the coordinates, at a fiftieth of the cost, and
only the others are handed to pymatgen.
"""

from __future__ import annotations

import warnings
from functools import cache
from math import gcd

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.matching.pairs import ReducedCrystals
from variolite.crystals.structures import (
    SYMBOLS,
    Crystal,
    Crystals,
    cell_parameters,
    from_pymatgen,
    to_pymatgen,
)

__all__ = ["primitive_crystals", "surely_primitive"]

Floats = NDArray[np.float64]

_TOLERANCE = 0.25
# Rounding must not make the test find fewer translations than pymatgen does.
_SLACK = 1e-9


def primitive_crystals(reduced: ReducedCrystals) -> ReducedCrystals:
    """Fold the cells of reduced structures as ``Structure.get_primitive_structure`` does.

    Raises
    ------
    DataError
        If a cell may not be primitive and pymatgen is not installed.
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
    """Whether pymatgen is certain to find no smaller cell.

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
    box = _TOLERANCE / lengths * (1 + _SLACK)
    # The first of the smallest groups in alphabetical order gives the candidates.
    smallest = min(range(len(groups)), key=lambda g: (len(groups[g]), SYMBOLS[elements[g]]))
    candidates = groups[smallest] - groups[smallest][0]
    for atoms in groups:
        differences = atoms[:, None] - atoms[None]
        for rows in differences.swapaxes(0, 1):
            near = _near(candidates[:, None], rows, 2 * box).any(axis=1)
            candidates = candidates[near]
    inverses = _inverse_cells(units)
    if not len(candidates) or not len(inverses):
        return True
    close = _near(inverses[:, :, None], candidates, box).any(axis=2)
    return not np.any(np.all(close, axis=1))


def _near(first: Floats, second: Floats, box: Floats) -> NDArray[np.bool_]:
    difference = first - second
    difference -= np.rint(difference)
    return np.asarray((np.abs(difference) <= box).all(axis=-1))


@cache
def _inverse_cells(units: int) -> Floats:
    """Inverses of all Hermite normal forms whose determinant divides ``units``, but 1."""
    forms = [
        [[a, b, c], [0, e, f], [0, 0, units_of // a // e]]
        for units_of in _divisors(units)
        if units_of > 1
        for a in _divisors(units_of)
        for e in _divisors(units_of // a)
        for b in range(a)
        for c in range(a)
        for f in range(e)
    ]
    inverses: Floats = np.linalg.inv(np.array(forms, dtype=np.float64))
    return inverses


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]
