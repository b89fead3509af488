"""Validity of the geometry, as CDVAE defines it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.frame.distances import shortest_distances
from variolite.crystals.structures.crystals import Crystals

__all__ = ["CUTOFF", "distance_validity"]

Floats = NDArray[np.float64]

CUTOFF = 0.5
"""Shortest distance of a valid structure in Angstrom."""


def distance_validity(crystals: Crystals, shortest: Floats | None = None) -> NDArray[np.bool_]:
    """Say which crystals are valid by distance, shape (B,).

    Valid: no two atoms closer than 0.5 Angstrom and a cell of at least 0.1 cubic
    Angstrom, the structural validity of T. Xie et al., "Crystal diffusion variational
    autoencoder", ICLR 2022, appendix B. There an atom's own images do not count; here
    they do, which differs only where a lattice vector is shorter than 0.5 Angstrom.

    Parameters
    ----------
    crystals
        The structures.
    shortest
        Their shortest distances, where they are known already.
    """
    distances = shortest_distances(crystals) if shortest is None else shortest
    return np.asarray(distances >= CUTOFF)
