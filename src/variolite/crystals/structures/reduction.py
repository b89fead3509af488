"""Niggli cells: the same crystals in the shortest basis of their lattice."""

from __future__ import annotations

from collections.abc import Callable

import gemmi
import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures.cells import cell_parameters
from variolite.crystals.structures.crystals import Crystals
from variolite.errors import DataError

__all__ = ["niggli_basis", "reduce_cells"]

Floats = NDArray[np.float64]
_ITERATIONS = 1000
_REPORT_EVERY = 4096


def _silent(text: str) -> None:
    del text


def niggli_basis(lattice: Floats) -> NDArray[np.int64]:
    """Return the integer matrix U for which ``U @ lattice`` is a Niggli cell.

    By the algorithm of Krivy and Gruber (Acta Cryst. A32 (1976) 297) with the tolerance
    of Grosse-Kunstleve et al. (Acta Cryst. A60 (2004) 1), as gemmi has it.

    Parameters
    ----------
    lattice
        Rows are a, b, c in Angstrom, shape (3, 3).

    Returns
    -------
    ndarray, shape (3, 3)
        Its determinant is 1.

    Raises
    ------
    DataError
        If the rows span no volume.
    """
    volume = abs(float(np.linalg.det(lattice)))
    if not volume > 1e-9 * float(np.linalg.norm(lattice, axis=1).prod()):
        raise DataError("the lattice vectors span no volume", mend="Leave this structure out")
    cell = gemmi.UnitCell(*cell_parameters(lattice)[0])
    vector = gemmi.GruberVector(cell, "P", True)
    vector.niggli_reduce(iteration_limit=_ITERATIONS)
    rotation = np.array(vector.change_of_basis.rot, dtype=np.int64)
    basis: NDArray[np.int64] = rotation.T // gemmi.Op.DEN
    return basis


def reduce_cells(crystals: Crystals, *, tell: Callable[[str], None] = _silent) -> Crystals:
    """Return the same crystals in their Niggli cells.

    Orientation, order of atoms, names and properties stay; fractional coordinates come
    out in [0, 1).

    Parameters
    ----------
    crystals
        The structures.
    tell
        Called with the state of progress.

    Raises
    ------
    DataError
        If a lattice spans no volume.
    """
    bases = np.empty((len(crystals), 3, 3))
    for place, lattice in enumerate(crystals.lattices):
        if place % _REPORT_EVERY == 0:
            tell(f"{place:,} of {len(crystals):,} cells reduced")
        try:
            bases[place] = niggli_basis(lattice)
        except DataError as error:
            raise DataError(error.what, where=str(crystals.names[place]), mend=error.mend) from None
    # Atoms stay where they are: x L = x' (U L), hence x' = x U^-1.
    back = np.linalg.inv(bases)[crystals.owner]
    coordinates = np.einsum("ni,nij->nj", crystals.coordinates, back)
    coordinates -= np.floor(coordinates)
    # A coordinate just below 0 is 1 after rounding.
    coordinates[coordinates >= 1.0] = 0.0
    return Crystals(
        crystals.species,
        coordinates,
        bases @ crystals.lattices,
        crystals.offsets,
        crystals.names,
        crystals.properties,
    )
