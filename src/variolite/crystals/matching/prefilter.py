"""Pairs that cannot match, found without matching: exact, never a guess."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.matching.tolerances import Tolerance
from variolite.crystals.structures import Crystals, cell_parameters, compositions

__all__ = ["may_match", "same_composition"]

Mask = NDArray[np.bool_]

_SLACK = 1e-4


def same_composition(first: Crystals, second: Crystals) -> Mask:
    """Whether the structures of each pair have the same atoms, shape (B,)."""
    return np.asarray((compositions(first) == compositions(second)).all(axis=1))


def may_match(first: Crystals, second: Crystals, tolerance: Tolerance) -> Mask:
    """Whether the pairs, given in Niggli cells, can match at all, shape (B,).

    Notes
    -----
    The atoms must be the same. A basis of the first lattice whose vectors are at most
    1 + t times as long as those of the second bounds its successive minima, which are the
    lengths of its Niggli cell: sorted, each is at most 1 + t times that of the second.
    """
    same = same_composition(first, second)
    scale = np.ones(len(second))
    if tolerance.scaled:
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = (second.volumes / first.volumes) ** (1 / 3)
    own = np.sort(cell_parameters(first.lattices)[:, :3], axis=1) * scale[:, None]
    other = np.sort(cell_parameters(second.lattices)[:, :3], axis=1)
    possible: Mask = same & (own <= other * (1 + tolerance.lengths) * (1 + _SLACK)).all(axis=1)
    return possible
