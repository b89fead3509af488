"""Crystals as the source loads them: Niggli cells in one orientation, atoms in file order."""

from __future__ import annotations

import gemmi
import numpy as np
import torch
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.frame import Frame
from variolite.crystals.source.cells import matrix_of, parameters_of
from variolite.errors import DataError

__all__ = ["niggli"]

Floats = NDArray[np.float64]


def niggli(crystals: Crystals, elements: int = 100) -> Frame:
    """Reduce all cells and turn them as the source does: c along z, a in the xz plane.

    The origin stays where the file has it.

    Parameters
    ----------
    crystals
        In any cell.
    elements
        Size of the table of elements.

    Returns
    -------
    Frame
        The reduced crystals, and the way back.

    Raises
    ------
    DataError
        If an element is not in the table or a cell has no volume.
    """
    beyond = np.flatnonzero(crystals.species >= elements)
    if beyond.size:
        crystal = int(crystals.owner[beyond[0]])
        raise DataError(
            f"the element of atomic number {crystals.species[beyond[0]]} is not in the table "
            f"of {elements}",
            where=str(crystals.names[crystal]) or f"crystal {crystal}",
            hint="leave this structure out",
        )
    change = np.array([_change(lattice) for lattice in crystals.lattices]).reshape(-1, 3, 3)
    cells = torch.from_numpy(change @ crystals.lattices)
    owner = crystals.owner
    back = np.rint(np.linalg.inv(change))
    reduced = Crystals(
        species=crystals.species,
        coordinates=np.einsum("ni,nij->nj", crystals.coordinates, back[owner]),
        lattices=matrix_of(*parameters_of(cells)).numpy(),
        offsets=crystals.offsets,
        names=crystals.names,
        properties=crystals.properties,
    )
    return Frame(reduced, change, np.zeros((len(crystals), 3)))


def _change(lattice: Floats) -> NDArray[np.int64]:
    """Rows of the Niggli cell in terms of the rows of ``lattice`` (Gruber 1973)."""
    lengths, angles = parameters_of(torch.from_numpy(lattice)[None])
    cell = gemmi.UnitCell(*lengths[0].tolist(), *torch.rad2deg(angles[0]).tolist())
    vector = gemmi.GruberVector(cell, "P", True)
    vector.niggli_reduce()
    # The operation holds the new vectors as columns.
    rows: NDArray[np.int64] = np.rint(np.array(vector.change_of_basis.rot).T / gemmi.Op.DEN)
    return rows.astype(np.int64)
