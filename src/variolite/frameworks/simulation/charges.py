"""Partial charges of framework atoms: from the CIF, by EQeq, or none."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace

import gemmi
import numpy as np
from gemmi import cif
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from variolite.crystals.crystals import Crystal
from variolite.crystals.elements import SYMBOLS
from variolite.errors import DataError
from variolite.frameworks.optional import require

Floats = NDArray[np.float64]

_SAME = 1e-3  # in fractions of the cell
_NET = 0.01  # e per atom that rounding may leave
_LARGEST = 4.0  # e


class Charges(StrEnum):
    """Where partial charges come from."""

    cif = "cif"
    eqeq = "eqeq"
    none = "none"


def find_charges(text: str) -> Charges:
    """Return the kind of that name; raises a DataError that lists those there are."""
    try:
        return Charges(text.strip().casefold())
    except ValueError:
        kinds = ", ".join(Charges)
        what = f"there are no charges of the kind {text!r}"
        raise DataError(what, where="--charges", hint=f"Kinds are {kinds}") from None


def partial_charges(crystal: Crystal, path: Path, kind: Charges) -> Floats:
    """Return charges in e, (n,), that add up to zero.

    Raises a DataError where there are none, or they cannot be right.
    """
    if kind is Charges.none:
        return np.zeros(len(crystal))
    found = _eqeq(crystal) if kind is Charges.eqeq else _of_file(crystal, path)
    if abs(found.sum()) > _NET * len(found):
        raise DataError(f"the charges of the cell add up to {found.sum():.2f} e")
    worst = int(np.abs(found).argmax())
    if abs(found[worst]) > _LARGEST:
        symbol = SYMBOLS[crystal.species[worst]]
        raise DataError(f"{symbol} has an impossible charge of {found[worst]:.1f} e ({kind.value})")
    return np.asarray(found - found.mean())


def _of_file(crystal: Crystal, path: Path) -> Floats:
    """Read the column of a CIF whose name speaks of charges; its labels may repeat."""
    sites, values = _listed(path)
    if not np.isfinite(values).all():
        raise DataError(f"{(~np.isfinite(values)).sum()} atoms have no charge in the file")
    distances, nearest = cKDTree(_inside(sites), boxsize=1.0).query(_inside(crystal.coordinates))
    if distances.max() > _SAME:
        raise DataError("the charges in the file cannot be matched with its atoms")
    return np.asarray(values[nearest], dtype=np.float64)


def _inside(coordinates: Floats) -> Floats:
    return (coordinates % 1.0) % 1.0  # of -1e-17 the first leaves 1.0


def _listed(path: Path) -> tuple[Floats, Floats]:
    """Return all places in the cell, (n, 3), and their charges."""
    try:
        blocks = list(cif.read(str(path)))
    except (OSError, RuntimeError, ValueError, UnicodeDecodeError):
        blocks = []
    for block in blocks:
        table = block.find_loop("_atom_site_fract_x").get_loop()
        names = [tag for tag in table.tags if "charge" in tag.lower()] if table else []
        if not names:
            continue
        listed = np.array([cif.as_number(value) for value in block.find_loop(names[0])])
        small = gemmi.make_small_structure_from_block(block)
        if len(small.sites) != len(listed):
            raise DataError("the charges in the file cannot be matched with its atoms")
        for number, site in enumerate(small.sites):
            site.label = str(number)
        sites = small.get_all_unit_cell_sites()
        return (
            np.array([site.fract.tolist() for site in sites]),
            listed[[int(site.label) for site in sites]],
        )
    raise DataError("there are no charges in the file: take --charges eqeq or --charges none")


def _eqeq(crystal: Crystal) -> Floats:
    """Charges by extended charge equilibration (Wilmer, Kim and Snurr 2012)."""
    require("autografs", "charges by EQeq")
    from autografs.charges import eqeq_charges
    from networkx import Graph

    graph = Graph()
    for number, element in enumerate(crystal.species):
        graph.add_node(number, symbol=SYMBOLS[element])
    places = crystal.coordinates @ crystal.lattice
    framework = SimpleNamespace(graph=graph, cart_coords=places, cell=crystal.lattice)
    try:
        return np.asarray(eqeq_charges(framework), dtype=np.float64)
    except ValueError as error:
        raise DataError(f"EQeq: {error}".rstrip(".")) from None
