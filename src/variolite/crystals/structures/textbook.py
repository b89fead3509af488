"""Well-known crystals from textbook lattice parameters: the data that always is there."""

from __future__ import annotations

from functools import cache

import gemmi
import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures.cells import lattices_from_parameters
from variolite.crystals.structures.crystals import Crystal, Crystals
from variolite.crystals.structures.elements import atomic_numbers
from variolite.crystals.structures.symmetry import expand, operations_of_group
from variolite.crystals.structures.textbook_entries import Entry, textbook_entries

__all__ = ["textbook_crystals"]

_PRIMITIVE = {
    "P": np.eye(3),
    "I": np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / 2,
    "F": np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2,
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
}
"""Primitive lattice vectors in terms of the conventional ones, by centring."""


@cache
def textbook_crystals(*, conventional: bool = False) -> Crystals:
    """Return 78 well-known crystals.

    Parameters
    ----------
    conventional
        The cells of the textbook, up to 56 atoms, instead of primitive ones.

    Returns
    -------
    Crystals
        With names such as "NaCl (rock salt)" and the property ``space_group``, its number.

    Examples
    --------
    >>> crystals = textbook_crystals()
    >>> place = crystals.names.tolist().index("SrTiO3 (perovskite)")
    >>> int(crystals.counts[place]), float(crystals.volumes[place].round(2))
    (5, 59.55)
    """
    groups = []
    found = []
    for entry in textbook_entries():
        group = gemmi.find_spacegroup_by_name(entry.group)
        crystal = _conventional(entry, group)
        found.append(crystal if conventional else _primitive(crystal, group.centring_type()))
        groups.append(float(group.number))
    joined = Crystals.of(found)
    return Crystals(
        joined.species,
        joined.coordinates,
        joined.lattices,
        joined.offsets,
        joined.names,
        {"space_group": np.array(groups)},
    )


def _conventional(entry: Entry, group: gemmi.SpaceGroup) -> Crystal:
    a, *rest = entry.cell
    hexagonal = group.crystal_system_str() in ("trigonal", "hexagonal")
    lattice = lattices_from_parameters(
        (a, a, rest[0] if rest else a, 90.0, 90.0, 120.0 if hexagonal else 90.0)
    )[0]
    species, coordinates = expand(
        atomic_numbers(site[0] for site in entry.sites),
        np.array([site[1:] for site in entry.sites], dtype=np.float64),
        lattice,
        operations_of_group(entry.group),
    )
    return Crystal(species, coordinates, lattice, entry.name)


def _primitive(crystal: Crystal, centring: str) -> Crystal:
    basis = _PRIMITIVE[centring]
    coordinates = crystal.coordinates @ np.linalg.inv(basis)
    coordinates -= np.floor(coordinates + 1e-9)
    keys = np.round(coordinates * 1e5).astype(np.int64) % 100_000
    first: NDArray[np.intp] = np.sort(np.unique(keys, axis=0, return_index=True)[1])
    return Crystal(
        crystal.species[first], coordinates[first], basis @ crystal.lattice, crystal.name
    )
