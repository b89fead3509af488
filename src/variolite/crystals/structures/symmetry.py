"""Symmetry operations of a CIF: reading them, and all atoms of the cell from some."""

from __future__ import annotations

from functools import lru_cache

import gemmi
import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures.rejection import RejectedError

__all__ = ["IDENTITY", "Operations", "expand", "operations_of_group", "operations_of_triplets"]

Floats = NDArray[np.float64]
Operations = tuple[Floats, Floats]
"""Rotations (G, 3, 3) and translations (G, 3) that act on fractional coordinates."""

IDENTITY: Operations = (np.eye(3)[None], np.zeros((1, 3)))
SAME_PLACE = 0.05
"""Images of an atom closer than this, in Angstrom, are the atom itself: coordinates are
commonly rounded to four digits, hence off a special position by up to 0.01 Angstrom."""

_EXACT = 1e-12
_GRID = 100_000
"""Images of an atom are the same where they agree to five digits."""
_BETWEEN = 0.31415
"""Keeps the borders of that grid away from all numbers with few digits."""


@lru_cache(maxsize=512)
def operations_of_triplets(triplets: tuple[str, ...]) -> Operations:
    """Return the operations written as ``x, y, z``.

    Raises
    ------
    RejectedError
        If one cannot be read, or together they are no group.
    """
    try:
        found = [gemmi.Op(triplet.strip().strip("'\"").lower()).wrap() for triplet in triplets]
    except (RuntimeError, ValueError) as error:
        raise RejectedError("missing_symmetry", f"an operation is unreadable ({error})") from None
    distinct = list(dict.fromkeys(op.triplet() for op in found))
    try:
        group = gemmi.GroupOps([gemmi.Op(triplet) for triplet in distinct])
        group.add_missing_elements()
    except (RuntimeError, ValueError):
        raise RejectedError("missing_symmetry", "the operations form no group") from None
    closed = len(group.sym_ops) * len(group.cen_ops)
    if closed != len(distinct):
        raise RejectedError(
            "missing_symmetry", f"{len(distinct)} operations are listed, their group has {closed}"
        )
    return _arrays([gemmi.Op(triplet) for triplet in distinct])


@lru_cache(maxsize=512)
def operations_of_group(symbol: str, *, alpha: float = 0.0, gamma: float = 0.0) -> Operations:
    """Return the operations of a space group by its Hermann-Mauguin symbol.

    Parameters
    ----------
    symbol
        Such as ``F m -3 m``, ``Fd-3m:2`` or ``R -3 c:H``.
    alpha, gamma
        Angles of the cell in degrees: they tell rhombohedral from hexagonal cells.

    Raises
    ------
    RejectedError
        If the group is unknown, or exists in several settings that are not told apart.
    """
    group = gemmi.find_spacegroup_by_name(symbol, alpha, gamma)
    if group is None:
        raise RejectedError("missing_symmetry", f"space group {symbol[:30]} is not known")
    if group.ext in ("H", "R") and not symbol.endswith(group.ext):
        fits = abs(gamma - 120.0) < 0.1 if group.ext == "H" else abs(gamma - alpha) < 0.1
        if not fits:
            raise RejectedError("missing_symmetry", f"{symbol} does not fit the angles of the cell")
    # Which of two origins is meant can only be guessed.
    if group.ext in ("1", "2") and not symbol.endswith(f":{group.ext}"):
        raise RejectedError("missing_symmetry", f"{symbol} has two origins, operations are needed")
    return _arrays(list(group.operations()))


def _arrays(found: list[gemmi.Op]) -> Operations:
    rotations = np.array([op.rot for op in found], dtype=np.float64) / gemmi.Op.DEN
    translations = np.array([op.tran for op in found], dtype=np.float64) / gemmi.Op.DEN
    return rotations, translations


def expand(
    species: NDArray[np.uint8], coordinates: Floats, lattice: Floats, operations: Operations
) -> tuple[NDArray[np.uint8], Floats]:
    """Return all atoms of the cell from those of the asymmetric unit.

    An atom within 0.05 Angstrom of a special position is moved onto it: to the mean of
    its images under the operations that keep it there.

    Parameters
    ----------
    species, coordinates
        Atoms that are listed, shapes (n,) and (n, 3).
    lattice
        Rows are a, b, c in Angstrom, shape (3, 3).
    operations
        The space group.

    Returns
    -------
    species, coordinates
        Shapes (m,) and (m, 3): the images of each listed atom together, itself first,
        coordinates in [0, 1).
    """
    rotations, translations = operations
    placed = coordinates
    # Once more from the corrected place: from there all operations of the site count.
    for _ in range(2):
        images = _images(placed, rotations, translations)
        offset = images - placed[:, None]
        offset -= np.rint(offset)
        stays = ((offset @ lattice) ** 2).sum(axis=-1) < SAME_PLACE**2
        offset[~stays] = 0.0
        shift = offset.sum(axis=1) / stays.sum(axis=1, keepdims=True)
        if np.abs(shift).max() < _EXACT:
            break
        placed = placed + shift
    else:
        images = _images(placed, rotations, translations)
    images -= np.floor(images)
    count, order = images.shape[:2]
    cells = np.floor(images * _GRID + _BETWEEN).astype(np.int64) % _GRID
    keys = np.repeat(np.arange(count), order)
    for axis in range(3):
        keys = keys * _GRID + cells[..., axis].ravel()
    kept = np.sort(np.unique(keys, return_index=True)[1])
    return species[kept // order], images.reshape(-1, 3)[kept]


def _images(coordinates: Floats, rotations: Floats, translations: Floats) -> Floats:
    """Return all images of all atoms, shape (n, G, 3)."""
    turned = coordinates @ rotations.reshape(-1, 3).T
    return turned.reshape(len(coordinates), -1, 3) + translations
