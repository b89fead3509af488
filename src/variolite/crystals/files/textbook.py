"""Well-known crystals from textbook lattice parameters: the data that always is there."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import yaml
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystal, Crystals, lattices_from_parameters
from variolite.crystals.elements import atomic_numbers
from variolite.crystals.files.symmetry import expand, operations_of_group

# Primitive lattice vectors in terms of the conventional ones, by centring.
_PRIMITIVE = {
    "P": np.eye(3),
    "I": np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / 2,
    "F": np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2,
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
}


@cache
def textbook_crystals(*, conventional: bool = False) -> Crystals:
    """Return 78 crystals such as "NaCl (rock salt)", with the number of their ``space_group``.

    Parameters
    ----------
    conventional
        The cells of the textbook, up to 56 atoms, instead of primitive ones.

    Examples
    --------
    >>> crystals = textbook_crystals()
    >>> place = crystals.names.tolist().index("SrTiO3 (perovskite)")
    >>> int(crystals.counts[place]), float(crystals.volumes[place].round(2))
    (5, 59.55)
    """
    text = Path(__file__).with_name("textbook.yaml").read_text(encoding="utf-8")
    found, numbers = [], []
    for name, entry in yaml.safe_load(text).items():
        group = gemmi.find_spacegroup_by_name(entry["group"])
        crystal = _conventional(name, entry, group)
        found.append(crystal if conventional else _primitive(crystal, group.centring_type()))
        numbers.append(float(group.number))
    return replace(Crystals.of(found), properties={"space_group": np.array(numbers)})


def _conventional(name: str, entry: dict[str, Any], group: gemmi.SpaceGroup) -> Crystal:
    a, *rest = entry["cell"]
    hexagonal = group.crystal_system_str() in ("trigonal", "hexagonal")
    cell = (a, a, rest[0] if rest else a, 90.0, 90.0, 120.0 if hexagonal else 90.0)
    lattice = lattices_from_parameters(cell)[0]
    # Thirds are written as such: a rounded one is off its special position.
    sites = [[float(Fraction(value)) for value in place] for _, *place in entry["sites"]]
    species = atomic_numbers(symbol for symbol, *_ in entry["sites"])
    operations = operations_of_group(entry["group"])
    return Crystal(*expand(species, np.array(sites), lattice, operations), lattice, name)


def _primitive(crystal: Crystal, centring: str) -> Crystal:
    basis = _PRIMITIVE[centring]
    coordinates = crystal.coordinates @ np.linalg.inv(basis)
    coordinates -= np.floor(coordinates + 1e-9)
    # Atoms that the centring maps onto one another fall on one place; the first is kept.
    keys = np.round(coordinates * 1e5).astype(np.int64) % 100_000
    first: NDArray[np.intp] = np.sort(np.unique(keys, axis=0, return_index=True)[1])
    lattice = basis @ crystal.lattice
    return Crystal(crystal.species[first], coordinates[first], lattice, crystal.name)
