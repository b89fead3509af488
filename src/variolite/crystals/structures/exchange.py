"""To and from the structures of pymatgen and ASE."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from variolite.crystals.structures.crystals import Crystal, Crystals
from variolite.crystals.structures.elements import symbols_of
from variolite.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

__all__ = ["from_ase", "from_pymatgen", "to_ase", "to_pymatgen"]

_EXTRA = "pip install 'variolite[crystals]'"


def to_pymatgen(crystal: Crystal) -> Structure:
    """Return a pymatgen ``Structure`` with the same order of atoms.

    Raises
    ------
    DataError
        If pymatgen is not installed.
    """
    try:
        from pymatgen.core import Structure
    except ImportError:
        raise DataError("pymatgen is not installed", mend=_EXTRA) from None
    return Structure(crystal.lattice, symbols_of(crystal.species).tolist(), crystal.coordinates)


def from_pymatgen(
    structures: Structure | Iterable[Structure], names: Iterable[str] = ()
) -> Crystals:
    """Return crystals of one pymatgen ``Structure`` or several, ordered ones only.

    Oxidation states and site properties are left out.

    Parameters
    ----------
    structures
        What to convert.
    names
        Their ids; 0, 1, 2 ... by default.

    Raises
    ------
    DataError
        If a site is partially occupied or holds no element.
    """
    found = [structures] if hasattr(structures, "lattice") else list(structures)  # type: ignore[arg-type]
    given = list(names) or [str(place) for place in range(len(found))]
    crystals = []
    for name, structure in zip(given, found, strict=True):
        if not structure.is_ordered:
            raise DataError(
                "the structure has partially occupied sites", where=name, mend="Order it first"
            )
        try:
            species = np.array([site.specie.Z for site in structure], dtype=np.uint8)
        except AttributeError:
            raise DataError("a site holds no element", where=name) from None
        crystals.append(
            Crystal(
                species,
                np.array(structure.frac_coords, dtype=np.float64).reshape(-1, 3),
                np.array(structure.lattice.matrix, dtype=np.float64),
                name,
            )
        )
    return Crystals.of(crystals)


def to_ase(crystal: Crystal) -> Atoms:
    """Return ASE ``Atoms``, periodic in three directions, with the same order of atoms.

    Raises
    ------
    DataError
        If ASE is not installed.
    """
    try:
        from ase import Atoms
    except ImportError:
        raise DataError("ASE is not installed", mend=_EXTRA) from None
    return Atoms(
        numbers=crystal.species.astype(int),
        scaled_positions=crystal.coordinates,
        cell=crystal.lattice,
        pbc=True,
    )


def from_ase(atoms: Atoms | Iterable[Atoms], names: Iterable[str] = ()) -> Crystals:
    """Return crystals of ASE ``Atoms``.

    Parameters
    ----------
    atoms
        One object or several.
    names
        Their ids; 0, 1, 2 ... by default.

    Raises
    ------
    DataError
        If an object has no three-dimensional cell, or an atom is no element.
    """
    found = [atoms] if hasattr(atoms, "get_scaled_positions") else list(atoms)
    given = list(names) or [str(place) for place in range(len(found))]
    crystals = []
    for name, item in zip(given, found, strict=True):
        if item.cell.rank < 3:
            raise DataError("the atoms have no three-dimensional cell", where=name)
        if len(item) and item.numbers.min() < 1:
            raise DataError("an atom is no element", where=name)
        crystals.append(
            Crystal(
                np.array(item.numbers, dtype=np.uint8),
                np.array(item.get_scaled_positions(wrap=False), dtype=np.float64),
                np.array(item.cell.array, dtype=np.float64),
                name,
            )
        )
    return Crystals.of(crystals)
