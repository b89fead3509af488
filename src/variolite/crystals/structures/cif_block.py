"""One data block of a CIF to a draft of a structure, whatever the format allows."""

from __future__ import annotations

import math
import re

import numpy as np
from gemmi import cif
from numpy.typing import NDArray

from variolite.crystals.structures.cells import lattices_from_parameters
from variolite.crystals.structures.elements import ATOMIC_NUMBERS
from variolite.crystals.structures.labels import DEUTERIUM, element_of
from variolite.crystals.structures.parsed import Draft
from variolite.crystals.structures.rejection import RejectedError
from variolite.crystals.structures.symmetry import (
    IDENTITY,
    Operations,
    expand,
    operations_of_group,
    operations_of_triplets,
)

__all__ = ["read_block"]

_ANGLES = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")
_CELL = ("_cell_length_a", "_cell_length_b", "_cell_length_c", *_ANGLES)
_TRIPLETS = (
    "_symmetry_equiv_pos_as_xyz",
    "_space_group_symop_operation_xyz",
    "_space_group_symop.operation_xyz",
    "_symmetry_equiv.pos_as_xyz",
)
_SYMBOLS = (
    "_symmetry_space_group_name_H-M",
    "_space_group_name_H-M_alt",
    "_space_group_name_H-M_ref",
    "_space_group_name_H-M_full",
    "_space_group.name_H-M_alt",
    "_symmetry.space_group_name_H-M",
)
_NUMBERS = (
    "_symmetry_Int_Tables_number",
    "_space_group_IT_number",
    "_space_group.IT_number",
    "_symmetry.Int_Tables_number",
)
_NO_VALUE = frozenset({"", ".", "?"})
_OCCUPANCY_SLACK = 1e-3
_SAME_COUNT = 1e-3


def read_block(block: cif.Block, max_atoms: int) -> Draft:
    """Read a data block: symmetry is applied, full occupancy and order are required.

    Parameters
    ----------
    block
        The block that holds the atoms.
    max_atoms
        Symmetry is not applied to more listed atoms than this.

    Raises
    ------
    RejectedError
        With the reason for which the structure cannot be used.
    """
    atoms = _atoms(block)
    if not atoms:
        if block.find_values("_atom_site_Cartn_x"):
            raise RejectedError("bad_coordinates", "they are Cartesian, not fractional")
        raise RejectedError("no_cell" if not block.find_value(_CELL[0]) else "no_atoms")
    cell = _cell(block)
    coordinates = np.array(
        [[_number(value) for value in atoms.get(f"fract_{axis}", ())] for axis in "xyz"]
    ).T
    _require_order(atoms)
    species, isotopes = _species(atoms)
    if not np.isfinite(coordinates).all():
        raise RejectedError("bad_coordinates")
    operations = _operations(block, cell, species)
    if len(operations[0]) == 1:
        if not _complete(block, species):
            raise RejectedError(
                "missing_symmetry",
                f"only the identity is listed, not space group {_group(block)}",
            )
    elif len(species) > max_atoms:
        raise RejectedError("too_many_atoms", f"{len(species)} before symmetry is applied")
    else:
        lattice = lattices_from_parameters(cell)[0]
        if not np.isfinite(lattice).all():
            raise RejectedError("bad_cell", "the angles enclose no cell")
        species, coordinates = expand(species, coordinates, lattice, operations)
    notes = (DEUTERIUM,) if isotopes else ()
    return Draft(species.tolist(), coordinates, cell, notes=notes)


def _value(block: cif.Block, tags: tuple[str, ...]) -> str:
    """Return the first of the tags that has a value, "" if none."""
    for tag in tags:
        found = block.find_value(tag)
        if found is not None and found not in _NO_VALUE:
            return str(cif.as_string(found)).strip()
    return ""


def _number(text: str) -> float:
    """Return a CIF number, its uncertainty dropped; NaN if it is none."""
    return float(cif.as_number(text))


def _atoms(block: cif.Block) -> dict[str, list[str]]:
    """Return the columns of the atoms without their prefix, rows of dummy atoms left out."""
    columns: dict[str, list[str]] = {}
    for prefix in ("_atom_site_", "_atom_site."):
        loop = block.find_loop(f"{prefix}fract_x").get_loop()
        if loop is not None:
            width, values = loop.width(), loop.values
            for place, tag in enumerate(loop.tags):
                columns[tag.lower().removeprefix(prefix)] = values[place::width]
            break
        single = block.find_value(f"{prefix}fract_x")
        if single is not None:
            names = ("fract_x", "fract_y", "fract_z", "type_symbol", "label", "occupancy")
            found = {name: block.find_value(f"{prefix}{name}") for name in names}
            columns = {name: [value] for name, value in found.items() if value is not None}
            break
    flags = columns.get("calc_flag", [])
    if any(flag.lower() == "dum" for flag in flags):
        kept = [place for place, flag in enumerate(flags) if flag.lower() != "dum"]
        columns = {tag: [values[place] for place in kept] for tag, values in columns.items()}
    if columns and len({len(columns.get(f"fract_{axis}", ())) for axis in "xyz"}) > 1:
        raise RejectedError("bad_coordinates", "x, y and z are not all given")
    return columns if columns.get("fract_x") else {}


def _cell(block: cif.Block) -> list[float]:
    values = [_value(block, (tag, tag.replace("_cell_", "_cell."))) for tag in _CELL]
    missing = [tag for tag, value in zip(_CELL, values, strict=True) if not value]
    if missing:
        raise RejectedError("no_cell", f"{missing[0]} is missing")
    cell = [_number(value) for value in values]
    if not all(map(math.isfinite, cell)):
        raise RejectedError("bad_cell", "a length or an angle is no number")
    return cell


def _require_order(atoms: dict[str, list[str]]) -> None:
    """Turn away partial occupancy and disorder."""
    for value in atoms.get("occupancy", ()):
        if value not in _NO_VALUE and not abs(_number(value) - 1.0) <= _OCCUPANCY_SLACK:
            raise RejectedError("partial_occupancy", f"occupancy {value}")
    groups = set(atoms.get("disorder_group", ())) - _NO_VALUE - {"0"}
    if len(groups) > 1:
        raise RejectedError("disorder", f"groups {', '.join(sorted(groups)[:5])}")


def _species(atoms: dict[str, list[str]]) -> tuple[NDArray[np.uint8], bool]:
    symbols = atoms.get("type_symbol", [])
    labels = atoms.get("label", [])
    if not symbols and not labels:
        raise RejectedError("unknown_element", "atoms have neither symbol nor label")
    found = []
    for place in range(len(atoms["fract_x"])):
        symbol = str(cif.as_string(symbols[place])) if symbols else ""
        if symbol.strip() not in _NO_VALUE:
            found.append(element_of(symbol.strip()))
        else:
            label = str(cif.as_string(labels[place])) if labels else ""
            found.append(element_of(label.strip(), is_label=True))
    numbers = np.array([number for number, _ in found], dtype=np.uint8)
    return numbers, any(isotope for _, isotope in found)


def _operations(block: cif.Block, cell: list[float], species: NDArray[np.uint8]) -> Operations:
    for tag in _TRIPLETS:
        triplets = tuple(block.find_values(tag))
        if triplets:
            return operations_of_triplets(triplets)
    symbol = _value(block, _SYMBOLS)
    if not _group(block):
        raise RejectedError("missing_symmetry", "neither operations nor a space group are given")
    if _complete(block, species):
        return IDENTITY
    if not symbol:
        raise RejectedError("missing_symmetry", "only the number of the space group is given")
    return operations_of_group(symbol, alpha=cell[3], gamma=cell[5])


def _group(block: cif.Block) -> str:
    return _value(block, _SYMBOLS) or _value(block, _NUMBERS)


def _complete(block: cif.Block, species: NDArray[np.uint8]) -> bool:
    """Return whether the listed atoms may be all of the cell.

    They may not if another space group than P 1 is named, unless they are exactly what
    formula and number of formula units ask for.
    """
    if _group(block).replace(" ", "") in ("", "P1", "1"):
        return True
    formula = _value(block, ("_chemical_formula_sum", "_chemical_formula.sum"))
    units = _number(_value(block, ("_cell_formula_units_Z", "_cell.formula_units_Z")) or "?")
    if not formula or not math.isfinite(units):
        return False
    expected: dict[int, float] = {}
    for element, amount in re.findall(r"([A-Z][a-z]?)\s*([0-9.]*)", formula):
        number = ATOMIC_NUMBERS.get("H" if element == "D" else element, 0)
        try:
            expected[number] = expected.get(number, 0.0) + float(amount or 1) * units
        except ValueError:
            return False
    numbers, counts = np.unique(species, return_counts=True)
    return expected.keys() == set(numbers.tolist()) and all(
        abs(expected[number] - count) < _SAME_COUNT
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
    )
