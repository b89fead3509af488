"""Pairs that cannot match, found without matching."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.matching.tolerances import Tolerance
from variolite.crystals.structures import Crystals, cell_parameters, compositions

__all__ = ["may_match", "same_composition", "vectors_to_try"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_SLACK = 1e-4
# Of cells in databases, even long ones have some thousand lattice vectors to try.
_MOST_VECTORS = 50_000


def same_composition(first: Crystals, second: Crystals) -> Mask:
    """Whether the structures of each pair have the same atoms, shape (B,)."""
    return np.asarray((compositions(first) == compositions(second)).all(axis=1))


def vectors_to_try(first: Crystals, second: Crystals, tolerance: Tolerance) -> Floats:
    """About how many vectors of the first lattice are as short as matching asks, shape (B,)."""
    longest = cell_parameters(second.lattices)[:, :3].max(axis=1, initial=0.0)
    volumes = second.volumes if tolerance.scaled else first.volumes
    count: Floats = 4 / 3 * np.pi * (longest * (1 + tolerance.lengths)) ** 3 / volumes
    return count


def may_match(first: Crystals, second: Crystals, tolerance: Tolerance) -> Mask:
    """Whether the pairs, given in Niggli cells, can match at all, shape (B,).

    Notes
    -----
    The atoms must be the same. A basis of the first lattice whose vectors are at most
    1 + t times as long as those of the second bounds its successive minima, which are the
    lengths of its Niggli cell: sorted, each is at most 1 + t times that of the second.

    One rule is not exact: where more than fifty thousand vectors of the first lattice would
    have to be tried, because it is all but flat beside the second, there is no match.
    """
    scale = np.ones(len(second))
    if tolerance.scaled:
        scale = (second.volumes / first.volumes) ** (1 / 3)
    own = np.sort(cell_parameters(first.lattices)[:, :3], axis=1) * scale[:, None]
    other = np.sort(cell_parameters(second.lattices)[:, :3], axis=1)
    short = own <= other * (1 + tolerance.lengths) * (1 + _SLACK)
    possible: Mask = same_composition(first, second) & np.all(short, axis=1)
    possible &= vectors_to_try(first, second, tolerance) < _MOST_VECTORS
    return possible
