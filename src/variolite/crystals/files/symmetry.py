"""Symmetry operations: as triplets or by symbols of space groups, and all atoms from some."""

from __future__ import annotations

import re
from functools import lru_cache

import gemmi
import numpy as np
from numpy.typing import NDArray

from variolite.crystals.files.checks import RejectedError

Floats = NDArray[np.float64]
Species = NDArray[np.uint8]
Operations = tuple[Floats, Floats]
"""Rotations (G, 3, 3) and translations (G, 3) that act on fractional coordinates."""

IDENTITY: Operations = (np.eye(3)[None], np.zeros((1, 3)))
# Images of an atom closer than this, in angstrom, are the atom itself: coordinates are commonly
# rounded to four digits, hence off a special position by up to 0.01 angstrom.
_SAME_PLACE = 0.05
_EXACT = 1e-12
# Images of an atom are the same where they agree to five digits; the borders of that grid keep
# away from all numbers with few digits.
_GRID = 100_000
_BETWEEN = 0.31415


# Spellings of settings behind a symbol: origin 1 or 2, which FIZ Karlsruhe calls S and Z, and
# hexagonal or rhombohedral axes. HR says neither: the angles of the cell decide.
_SETTING = re.compile(
    r"(?i)^\W*(.+?)[\s:(]*(?:origin|choice|\bo)?\s*(?:choice)?\s*([12]|[SZ]|[HR]S?|HR)\)?$"
)
_EXTENSION = {"S": "1", "Z": "2", "HS": "H", "RS": "R", "HR": ""}
# Share by which operations may change lengths: cells are rounded, or a little distorted.
_SAME_CELL = 0.02


@lru_cache(maxsize=512)
def operations_of_triplets(
    triplets: tuple[str, ...], centrings: tuple[str, ...] = ()
) -> Operations:
    """Return the operations written as ``x, y, z``; they have to form a group.

    Of magnetic operations, ``x, y, z, -1``, the reversal of time is left out. ``centrings`` are
    operations that every other one is combined with.
    """
    if any(text.count(",") < 2 for text in triplets):
        # Without quotation marks x, y, z are three values.
        triplets = tuple(re.findall(r"[^,]+,[^,]+,\s*[^,\s]+", " ".join(triplets))) or triplets
    try:
        found, further = (
            [gemmi.Op(",".join(text.strip("'\" ").lower().split(",")[:3])) for text in texts]
            for texts in (triplets, centrings or ("x,y,z",))
        )
    except (RuntimeError, ValueError) as error:
        raise RejectedError("missing_symmetry", f"an operation is unreadable ({error})") from None
    distinct = tuple(dict.fromkeys((c * op).wrap().triplet() for c in further for op in found))
    try:
        operations = [gemmi.Op(triplet) for triplet in distinct]
        group = gemmi.GroupOps(operations)
        group.add_missing_elements()
    except (RuntimeError, ValueError):
        raise RejectedError("missing_symmetry", "the operations form no group") from None
    closed = len(group.sym_ops) * len(group.cen_ops)
    if closed != len(operations):
        detail = f"{len(operations)} operations are listed, their group has {closed}"
        raise RejectedError("missing_symmetry", detail)
    return _arrays(operations)


@lru_cache(maxsize=512)
def operations_of_group(symbol: str, *, alpha: float = 0.0, gamma: float = 0.0) -> Operations:
    """Return the operations of a space group by a symbol such as ``Fd-3m:2`` or ``R -3 c RS``.

    The angles of the cell, in degrees, distinguish rhombohedral and hexagonal cells. Groups that
    are unknown, or exist in several settings that cannot be distinguished, are rejected.
    """
    bare, setting = symbol.replace("_", ""), ""
    group = gemmi.find_spacegroup_by_name(bare, alpha, gamma)
    spelled = _SETTING.match(bare)
    if spelled is not None and (group is None or group.ext in ("1", "2", "H", "R")):
        setting = _EXTENSION.get(spelled[2].upper(), spelled[2].upper())
        name = f"{spelled[1]}:{setting}" if setting else spelled[1]
        found = gemmi.find_spacegroup_by_name(name, alpha, gamma)
        group, setting = (found, setting) if found is not None else (group, "")
    if group is None:
        raise RejectedError("missing_symmetry", f"space group {symbol[:30]} is not known")
    if group.ext in ("H", "R") and not setting:
        fits = abs(gamma - 120.0) < 0.1 if group.ext == "H" else abs(gamma - alpha) < 0.1
        if not fits:
            raise RejectedError("missing_symmetry", f"{symbol} does not fit the angles of the cell")
    # Which of two origins is meant can only be guessed.
    if group.ext in ("1", "2") and not setting:
        raise RejectedError("missing_symmetry", f"{symbol} has two origins, operations are needed")
    return _arrays(list(group.operations()))


@lru_cache(maxsize=512)
def operations_of_hall(symbol: str) -> Operations:
    """Return the operations that a Hall symbol such as ``-P 2yn`` stands for, origin and all."""
    try:
        return _arrays(list(gemmi.symops_from_hall(symbol.replace("_", " "))))
    except (RuntimeError, ValueError):
        raise RejectedError("missing_symmetry", f"Hall symbol {symbol[:30]} is not known") from None


@lru_cache(maxsize=512)
def operations_of_number(number: str, *, alpha: float = 0.0, gamma: float = 0.0) -> Operations:
    """Return the operations of a space group by its number, if there is only one setting of it."""
    settings = {
        (group.hm, group.ext if group.ext in ("1", "2") else "")
        for group in gemmi.spacegroup_table()
        if str(group.number) == number
    }
    if len(settings) != 1:
        known = "has several settings" if settings else "is not known"
        detail = f"only the number of the space group is given, and {number[:30]} {known}"
        raise RejectedError("missing_symmetry", detail)
    return operations_of_group(settings.pop()[0], alpha=alpha, gamma=gamma)


def require_fit(operations: Operations, lattice: Floats, what: str) -> None:
    """Reject operations, named by ``what``, that change the lengths of a lattice (rows)."""
    metric = lattice @ lattice.T
    changed = operations[0].transpose(0, 2, 1) @ metric @ operations[0]
    if np.abs(changed - metric).max() > _SAME_CELL * metric.diagonal().max():
        raise RejectedError("missing_symmetry", f"{what} does not fit the cell")


def _arrays(found: list[gemmi.Op]) -> Operations:
    rotations = np.array([op.rot for op in found], dtype=np.float64) / gemmi.Op.DEN
    return rotations, np.array([op.tran for op in found], dtype=np.float64) / gemmi.Op.DEN


def expand(
    species: Species, coordinates: Floats, lattice: Floats, operations: Operations
) -> tuple[Species, Floats]:
    """Return species (m,) and coordinates (m, 3) in [0, 1) of all atoms from those listed, (n,).

    The images of each listed atom stand together, itself first. An atom within 0.05 angstrom of a
    special position is moved onto it: to the mean of its images under the operations that keep
    it there. The rows of the lattice are a, b, c in angstrom.
    """
    rotations, translations = operations
    placed = coordinates
    # Corrected twice at most: from the corrected place all operations of the site count.
    for _ in range(3):
        # Images (n, G, 3) of every atom, by one product for the rows of all operations.
        images = (placed @ rotations.reshape(-1, 3).T).reshape(len(placed), -1, 3) + translations
        # Those at a short offset from their atom come from the operations of its site.
        offset = images - placed[:, None]
        offset -= np.rint(offset)
        stays = ((offset @ lattice) ** 2).sum(axis=-1) < _SAME_PLACE**2
        offset[~stays] = 0.0
        shift = offset.sum(axis=1) / stays.sum(axis=1, keepdims=True)
        if np.abs(shift).max() < _EXACT:
            break
        placed = placed + shift
    images -= np.floor(images)
    # Equal images of one atom are found by one integer key each: its number, and the place on
    # a grid along the three axes. They must agree only within one atom, never across atoms.
    count, order = images.shape[:2]
    cells = np.floor(images * _GRID + _BETWEEN).astype(np.int64) % _GRID
    keys = np.repeat(np.arange(count), order)
    for axis in range(3):
        keys = keys * _GRID + cells[..., axis].ravel()
    kept = np.sort(np.unique(keys, return_index=True)[1])
    return species[kept // order], images.reshape(-1, 3)[kept]
