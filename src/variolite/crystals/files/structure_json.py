"""JSON with structures, of pymatgen, OPTIMADE, JARVIS or Matbench, to drafts of structures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import lattices_from_parameters
from variolite.crystals.files.checks import OCCUPANCY_SLACK, RejectedError
from variolite.crystals.files.formats import IDS, Draft, lattice_of, species_of

Floats = NDArray[np.float64]

_LISTS = ("entries", "structures", "data", "results", "materials")
"""Keys under which files keep their list of structures."""
_MISSING = frozenset({"na", "None", "nan"})
"""Words for a missing value, such as JARVIS writes."""


def parse_json(text: str) -> Iterator[Draft | RejectedError]:
    """Yield one structure, those of a list, or those of a mapping of ids to them.

    An entry may be a structure, or a mapping with one under ``structure``, ``atoms`` or
    ``attributes``, whose other single values become properties; the list may stand under a key
    such as ``entries`` or ``data``, or be a table, as Matbench keeps it.
    """
    if not text.strip():
        raise RejectedError("empty")
    try:
        lines = text.strip().splitlines()
        # A value in each line, as JSON Lines.
        several = len(lines) > 1 and lines[0].rstrip().endswith("}")
        content = [*map(json.loads, filter(None, lines))] if several else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RejectedError("unreadable", " ".join(str(error).split())[:120]) from None
    entries = _entries(content)
    if not entries:
        raise RejectedError("no_structure", "the JSON has no lattice with sites")
    for name, entry in entries:
        structure = _structure_of(entry)
        values = _properties(entry, structure)
        keys = {key.casefold(): key for key in values}
        given = next((str(values.pop(keys[key])) for key in IDS if key in keys), "")
        try:
            draft = _draft(structure)
            draft.name, draft.properties = name or given, values
            yield draft
        except RejectedError as error:
            yield RejectedError(error.code, error.detail, name or given)


def _entries(content: Any) -> list[tuple[str, Any]]:
    """Return what the content lists, each with its id where it has one."""
    if isinstance(content, list):
        return [("", entry) for entry in content]
    if not isinstance(content, dict):
        return []
    if _structure_of(content) is not None:
        return [("", content)]
    columns, rows = content.get("columns"), content.get("data")
    if isinstance(columns, list) and isinstance(rows, list):
        names = map(str, content.get("index") or range(len(rows)))
        return [
            (name, dict(zip(map(str, columns), row, strict=False)))
            for name, row in zip(names, rows, strict=False)
            if isinstance(row, list)
        ]
    for key in _LISTS:
        if isinstance(content.get(key), list | dict):
            return _entries(content[key])
    return [(key, entry) for key, entry in content.items() if _structure_of(entry) is not None]


def _structure_of(entry: Any) -> dict[str, Any] | None:
    """Return the mapping that has cell and sites: the entry, or what it holds."""
    if not isinstance(entry, dict):
        return None
    if any(keys <= entry.keys() for keys in _SHAPES):
        return entry
    held = (entry.get(key) for key in ("structure", "atoms", "attributes"))
    return next((found for found in map(_structure_of, held) if found is not None), None)


def _properties(entry: Any, structure: dict[str, Any] | None) -> dict[str, Any]:
    """Return the single values beside a structure, and those among its own properties."""
    if structure is None:
        return {}
    values = _scalars(structure.get("properties"))
    if structure is not entry:
        values |= _scalars(entry)
    if structure is entry.get("attributes"):
        values |= _scalars(structure)
        values.pop("type", None)
    return values


def _draft(structure: dict[str, Any] | None) -> Draft:
    if structure is None:
        raise RejectedError("no_structure", "no lattice with sites")
    read = next(read for keys, read in _SHAPES.items() if keys <= structure.keys())
    try:
        symbols, positions, lattice, fractional = read(structure)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError):
        raise RejectedError("unreadable", "cell or sites are not understood") from None
    if not symbols:
        raise RejectedError("no_atoms")
    species, notes = species_of(symbols)
    if not fractional:
        positions = positions @ np.linalg.inv(lattice)
    return Draft(species, positions, lattice, notes=notes)


def _scalars(mapping: Any) -> dict[str, Any]:
    """Return the single values of what may be a mapping."""
    pairs = mapping.items() if isinstance(mapping, dict) else ()
    return {
        key: None if value in _MISSING else value
        for key, value in pairs
        if isinstance(value, str | int | float) and not key.startswith("@")
    }


_Parts = tuple[list[str], Floats, Floats, bool]
"""Symbols, positions (n, 3), lattice vectors (3, 3), and whether the positions are fractional."""


def _of_pymatgen(structure: Mapping[str, Any]) -> _Parts:
    lattice, sites = structure["lattice"], structure["sites"]
    try:
        if "matrix" in lattice:
            vectors = lattice_of(lattice["matrix"])
        else:
            cell = [float(lattice[key]) for key in ("a", "b", "c", "alpha", "beta", "gamma")]
            vectors = lattices_from_parameters(cell)[0]
    except (TypeError, ValueError, KeyError):
        raise RejectedError("no_cell", "the lattice is not understood") from None
    if not isinstance(sites, list) or not sites:
        raise RejectedError("no_atoms")
    symbols = [
        _only([(str(one["element"]), float(one.get("occu", 1.0))) for one in site["species"]])
        for site in sites
    ]
    try:
        placed = [
            site["abc"] if "abc" in site else np.array(site["xyz"], float) @ np.linalg.inv(vectors)
            for site in sites
        ]
        return symbols, np.array(placed, dtype=np.float64).reshape(-1, 3), vectors, True
    except (TypeError, ValueError, KeyError, np.linalg.LinAlgError):
        raise RejectedError("bad_coordinates", "the position of a site") from None


def _only(occupants: list[tuple[str, float]]) -> str:
    """Return the element of a site that is fully occupied by one."""
    if len(occupants) != 1 or abs(occupants[0][1] - 1.0) > OCCUPANCY_SLACK:
        listed = ", ".join(f"{symbol} {occupancy:g}" for symbol, occupancy in occupants[:4])
        raise RejectedError("partial_occupancy", listed or "an empty site")
    return occupants[0][0]


def _of_optimade(structure: Mapping[str, Any]) -> _Parts:
    # The names at the sites are those of species, which may be mixed, or plain symbols.
    kinds = {kind["name"]: kind for kind in structure.get("species") or ()}
    symbols = []
    for name in structure["species_at_sites"]:
        kind = kinds.get(name) or {"chemical_symbols": [name], "concentration": [1.0]}
        shares = zip(kind["chemical_symbols"], map(float, kind["concentration"]), strict=True)
        symbols.append(_only(list(shares)))
    placed = np.array(structure["cartesian_site_positions"], dtype=np.float64).reshape(-1, 3)
    return symbols, placed, lattice_of(structure["lattice_vectors"]), False


def _of_jarvis(structure: Mapping[str, Any]) -> _Parts:
    placed = np.array(structure["coords"], dtype=np.float64).reshape(-1, 3)
    fractional = not structure.get("cartesian", False)
    symbols = [str(symbol).strip() for symbol in structure["elements"]]
    return symbols, placed, lattice_of(structure["lattice_mat"]), fractional


_SHAPES = {
    frozenset({"lattice", "sites"}): _of_pymatgen,
    frozenset({"lattice_vectors", "species_at_sites"}): _of_optimade,
    frozenset({"lattice_mat", "elements", "coords"}): _of_jarvis,
}
"""How a structure is read, by the keys of the program that wrote it."""
