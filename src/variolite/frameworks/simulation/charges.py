"""Partial charges of framework atoms: from the CIF, by EQeq, or none."""

from __future__ import annotations

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
from variolite.optional import require

Floats = NDArray[np.float64]

_SAME = 1e-3  # in fractions of the cell
_NET = 0.01  # e per atom that rounding may leave
_LARGEST = 4.0  # e


KINDS = ("cif", "eqeq", "none")
"""Where partial charges come from."""


def find_charges(text: str) -> str:
    """Return the kind of that name; raises a DataError that lists those there are."""
    kind = text.strip().casefold()
    if kind not in KINDS:
        what = f"there are no charges of the kind {text!r}"
        raise DataError(what, where="--charges", hint=f"Kinds are {', '.join(KINDS)}")
    return kind


def partial_charges(crystal: Crystal, path: Path, kind: str) -> Floats:
    """Return charges in e, (n,), that add up to zero.

    Raises a DataError where there are none, or they cannot be right.
    """
    if kind == "none":
        return np.zeros(len(crystal))
    found = _eqeq(crystal) if kind == "eqeq" else _of_file(crystal, path)
    if abs(found.sum()) > _NET * len(found):
        raise DataError(f"the charges of the cell add up to {found.sum():.2f} e")
    worst = int(np.abs(found).argmax())
    if abs(found[worst]) > _LARGEST:
        symbol = SYMBOLS[crystal.species[worst]]
        raise DataError(f"{symbol} has an impossible charge of {found[worst]:.1f} e ({kind})")
    return np.asarray(found - found.mean())


def _of_file(crystal: Crystal, path: Path) -> Floats:
    """Read the column of a CIF whose name contains ``charge``; its labels may repeat."""
    unmatched = DataError("the charges in the file cannot be matched with its atoms")
    try:
        blocks = list(cif.read(str(path)))
    except (OSError, RuntimeError, ValueError):
        blocks = []
    for block in blocks:
        table = block.find_loop("_atom_site_fract_x").get_loop()
        tags = [tag for tag in table.tags if "charge" in tag.lower()] if table else []
        if tags:
            break
    else:
        raise DataError("there are no charges in the file: take --charges eqeq or --charges none")
    listed = np.array([cif.as_number(value) for value in block.find_loop(tags[0])])
    small = gemmi.make_small_structure_from_block(block)
    if len(small.sites) != len(listed):
        raise unmatched
    for number, site in enumerate(small.sites):
        site.label = str(number)  # so that a copy by symmetry has that of its original
    sites = small.get_all_unit_cell_sites()
    values = listed[[int(site.label) for site in sites]]
    if not np.isfinite(values).all():
        raise DataError(f"{(~np.isfinite(values)).sum()} atoms have no charge in the file")
    places = np.array([site.fract.tolist() for site in sites])
    listed_at, atoms_at = ((one % 1.0) % 1.0 for one in (places, crystal.coordinates))  # of -1e-17
    distances, nearest = cKDTree(listed_at, boxsize=1.0).query(atoms_at)
    if distances.max() > _SAME:
        raise unmatched
    return np.asarray(values[nearest], dtype=np.float64)


def _eqeq(crystal: Crystal) -> Floats:
    """Charges by extended charge equilibration (Wilmer, Kim and Snurr 2012)."""
    require("autografs")
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
