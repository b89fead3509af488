"""Cells as chemeleon2 has them: lengths and angles, Niggli-reduced, in one orientation."""

from __future__ import annotations

import gemmi
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.crystals import Crystals
from variolite.crystals.geometry.frame import Frame
from variolite.errors import DataError


def parameters_of(lattice: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths and angles of cells whose rows are a, b, c.

    Parameters
    ----------
    lattice
        Angstrom, shape (B, 3, 3).

    Returns
    -------
    lengths
        Angstrom, shape (B, 3).
    angles
        alpha, beta, gamma in radians, shape (B, 3).
    """
    lengths = lattice.norm(dim=-1)
    unit = lattice / lengths[:, :, None]
    cosine = (unit[:, [1, 0, 0]] * unit[:, [2, 2, 1]]).sum(-1)
    return lengths, cosine.clamp(-1.0, 1.0).arccos()


def matrix_of(lengths: Tensor, angles: Tensor) -> Tensor:
    """Cell with c along z and a in the xz plane.

    Three angles need not make a cell; then the cosine of gamma* is held at -1 or 1, as in
    chemeleon2, and the cell is flat. Lengths may be negative. Both happen: nothing there
    keeps the volume positive.

    Parameters
    ----------
    lengths, angles
        Angstrom and radians, shape (B, 3).

    Returns
    -------
    Tensor
        Rows a, b, c, shape (B, 3, 3).
    """
    cosine, sine = angles.cos(), angles.sin()
    alpha, beta, gamma = cosine.unbind(-1)
    reciprocal = (alpha * beta - gamma) / (sine[:, 0] * sine[:, 1])
    reciprocal = reciprocal.clamp(-1.0, 1.0)
    height = (1.0 - reciprocal.square()).sqrt()
    zero = torch.zeros_like(alpha)
    rows = (
        torch.stack([sine[:, 1], zero, beta], dim=-1),
        torch.stack([-sine[:, 0] * reciprocal, sine[:, 0] * height, alpha], dim=-1),
        torch.stack([zero, zero, torch.ones_like(alpha)], dim=-1),
    )
    return torch.stack(rows, dim=1) * lengths[:, :, None]


def niggli(crystals: Crystals, elements: int = 100) -> Frame:
    """Reduce all cells and turn them as chemeleon2 does: c along z, a in the xz plane.

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


def _change(lattice: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows of the Niggli cell in terms of the rows of ``lattice`` (Gruber 1973)."""
    lengths, angles = parameters_of(torch.from_numpy(lattice)[None])
    cell = gemmi.UnitCell(*lengths[0].tolist(), *torch.rad2deg(angles[0]).tolist())
    vector = gemmi.GruberVector(cell, "P", True)
    vector.niggli_reduce()
    # The operation holds the new vectors as columns.
    rows: NDArray[np.int64] = np.rint(np.array(vector.change_of_basis.rot).T / gemmi.Op.DEN)
    return rows.astype(np.int64)
