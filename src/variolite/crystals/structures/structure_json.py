"""JSON that pymatgen writes to drafts of structures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from variolite.crystals.structures.cells import lattices_from_parameters
from variolite.crystals.structures.labels import DEUTERIUM, element_of
from variolite.crystals.structures.naming import IDS
from variolite.crystals.structures.parsed import Draft
from variolite.crystals.structures.rejection import RejectedError

__all__ = ["parse_json"]

_OCCUPANCY_SLACK = 1e-3


def parse_json(text: str) -> Iterator[Draft | RejectedError]:
    """Read one structure, a list of them, or a mapping of ids to them.

    An entry may be a structure, or a mapping with one under ``structure``, whose other
    single values become properties. A faulty one is handed on as the error.

    Raises
    ------
    RejectedError
        If the text is no JSON, or holds no structure.
    """
    if not text.strip():
        raise RejectedError("empty")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RejectedError("unreadable", " ".join(str(error).split())[:120]) from None
    found = list(_entries(content))
    if not found:
        raise RejectedError("no_structure", "the JSON has no lattice with sites")
    for name, entry in found:
        try:
            yield _draft(name, entry)
        except RejectedError as error:
            yield RejectedError(error.code, error.detail, name)


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(content, list):
        for entry in content:
            yield "", entry
    elif isinstance(content, dict):
        if _structure_of(content) is not None:
            yield "", content
        else:
            for key, entry in content.items():
                if _structure_of(entry) is not None:
                    yield str(key), entry


def _structure_of(entry: Any) -> dict[str, Any] | None:
    """Return the mapping that has lattice and sites: the entry, or what it holds."""
    if not isinstance(entry, dict):
        return None
    if "lattice" in entry and "sites" in entry:
        return entry
    return _structure_of(entry.get("structure"))


def _draft(name: str, entry: Any) -> Draft:
    structure = _structure_of(entry)
    if structure is None:
        raise RejectedError("no_structure", "no lattice with sites")
    values = dict(_scalars(structure.get("properties")))
    if structure is not entry:
        values |= dict(_scalars(entry))
    keys = {key.casefold(): key for key in values}
    given = next((str(values.pop(keys[key])) for key in IDS if key in keys), "")
    lattice = _lattice(structure["lattice"])
    sites = structure["sites"]
    if not isinstance(sites, list) or not sites:
        raise RejectedError("no_atoms")
    elements = [_element(site) for site in sites]
    return Draft(
        [number for number, _ in elements],
        np.array([_position(site, lattice) for site in sites], dtype=np.float64),
        lattice,
        name=name or given,
        properties=values,
        notes=(DEUTERIUM,) if any(isotope for _, isotope in elements) else (),
    )


def _scalars(mapping: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(mapping, Mapping):
        return
    for key, value in mapping.items():
        if isinstance(value, str | int | float) and not str(key).startswith("@"):
            yield str(key), value


def _lattice(lattice: Any) -> Any:
    try:
        if "matrix" in lattice:
            return np.array(lattice["matrix"], dtype=np.float64).reshape(3, 3)
        names = ("a", "b", "c", "alpha", "beta", "gamma")
        return lattices_from_parameters([float(lattice[name]) for name in names])[0]
    except (TypeError, ValueError, KeyError):
        raise RejectedError("no_cell", "the lattice is not understood") from None


def _element(site: Any) -> tuple[int, bool]:
    try:
        species = site["species"]
        occupants = [(str(one["element"]), float(one.get("occu", 1.0))) for one in species]
    except (TypeError, ValueError, KeyError, AttributeError):
        raise RejectedError("unreadable", "the species of a site are not understood") from None
    if len(occupants) != 1 or abs(occupants[0][1] - 1.0) > _OCCUPANCY_SLACK:
        listed = ", ".join(f"{symbol} {occupancy:g}" for symbol, occupancy in occupants[:4])
        raise RejectedError("partial_occupancy", listed or "an empty site")
    return element_of(occupants[0][0])


def _position(site: Any, lattice: Any) -> Any:
    try:
        if "abc" in site:
            return np.array(site["abc"], dtype=np.float64).reshape(3)
        return np.array(site["xyz"], dtype=np.float64).reshape(3) @ np.linalg.inv(lattice)
    except (TypeError, ValueError, KeyError, np.linalg.LinAlgError):
        raise RejectedError("bad_coordinates", "the position of a site") from None
