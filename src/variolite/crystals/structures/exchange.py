"""To and from the structures of pymatgen and ASE."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures.crystals import Crystal, Crystals
from variolite.crystals.structures.elements import HEAVIEST, symbols_of
from variolite.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core.structure import Structure

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
        from pymatgen.core.structure import Structure
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
    # Whoever has such an object has pymatgen: this import cannot be the one that fails.
    from pymatgen.core.structure import Structure

    found = [structures] if isinstance(structures, Structure) else list(structures)
    crystals = []
    for name, structure in zip(_names(names, len(found)), found, strict=True):
        if not structure.is_ordered:
            raise DataError(
                "the structure has partially occupied sites", where=name, mend="Order it first"
            )
        numbers = [getattr(site.specie, "Z", 0) for site in structure.sites]
        crystals.append(
            Crystal(
                _elements(numbers, name),
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
    from ase import Atoms

    found = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    crystals = []
    for name, item in zip(_names(names, len(found)), found, strict=True):
        if item.cell.rank < 3:
            raise DataError("the atoms have no three-dimensional cell", where=name)
        crystals.append(
            Crystal(
                _elements(item.numbers.tolist(), name),
                np.array(item.get_scaled_positions(wrap=False), dtype=np.float64),
                np.array(item.cell.array, dtype=np.float64),
                name,
            )
        )
    return Crystals.of(crystals)


def _names(names: Iterable[str], count: int) -> list[str]:
    given = list(names) or [str(place) for place in range(count)]
    if len(given) != count:
        raise DataError(f"{len(given)} names for {count} structures")
    return given


def _elements(numbers: list[int], name: str) -> NDArray[np.uint8]:
    if not all(1 <= number <= HEAVIEST for number in numbers):
        raise DataError("a site holds no element", where=name)
    return np.array(numbers, dtype=np.uint8)
