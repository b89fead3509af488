"""CIF texts to drafts of structures, by way of gemmi."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any

import numpy as np
from gemmi import cif

from variolite.crystals.structures.cells import lattices_from_parameters
from variolite.crystals.structures.elements import ATOMIC_NUMBERS
from variolite.crystals.structures.parsed import Draft
from variolite.crystals.structures.rejection import RejectedError
from variolite.crystals.structures.symmetry import (
    IDENTITY,
    Operations,
    expand,
    operations_of_group,
    operations_of_triplets,
)

__all__ = ["element_of", "parse_cif"]

DEUTERIUM = "deuterium and tritium were read as hydrogen"

_LENGTHS = tuple(f"_cell_length_{axis}" for axis in "abc")
_ANGLES = tuple(f"_cell_angle_{angle}" for angle in ("alpha", "beta", "gamma"))
_CELL = (*_LENGTHS, *_ANGLES)
_X = "_atom_site_fract_x"
_TRIPLETS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
_SYMBOLS = (
    "_symmetry_space_group_name_H-M",
    "_space_group_name_H-M_alt",
    "_space_group_name_H-M_ref",
    "_space_group_name_H-M_full",
)
_NUMBERS = ("_symmetry_Int_Tables_number", "_space_group_IT_number")
_IDENTITIES = frozenset({"'x, y, z'", "'x,y,z'", "x,y,z", '"x, y, z"', "'X,Y,Z'", "X,Y,Z"})
_FULL = frozenset({"1", "1.0", "1.00", "1.000", "1.0000", "1.00000", "1.000000"})
_NO_VALUE = frozenset({"", ".", "?"})
_OCCUPANCY_SLACK = 1e-3


def parse_cif(text: str) -> tuple[Draft]:
    """Read the one structure of a CIF.

    Raises
    ------
    RejectedError
        If there is no structure, or several, or it cannot be used.
    """
    if not text or text.isspace():
        raise RejectedError("empty")
    try:
        document = cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        raise RejectedError("unreadable", _shortened(error)) from None
    except UnicodeError:
        raise RejectedError("not_text") from None
    if len(document) == 1:
        block = document[0]
        draft = _plain(block)
        if draft is not None:
            return (draft,)
    else:
        block = _only_block(document)
    return (_careful(block),)


def _shortened(error: Exception) -> str:
    return " ".join(str(error).split()).removeprefix("string:")[:160]


def _only_block(document: cif.Document) -> cif.Block:
    """Return the block with atoms; other blocks may hold remarks or reflections."""
    if not len(document):
        raise RejectedError("no_structure", "there is no data block")
    with_atoms = [block for block in document if _column(block, _X)]
    if len(with_atoms) > 1:
        raise RejectedError("several_structures", f"{len(with_atoms)} data blocks have atoms")
    if not with_atoms:
        raise RejectedError("no_atoms")
    return with_atoms[0]


# --- the plain case: one block, no symmetry, full occupancy, numbers without uncertainties


@lru_cache(maxsize=256)
def _plan(tags: tuple[str, ...]) -> tuple[int, int, int, int, int] | None:
    """Return the places of symbol, x, y, z and occupancy, or None if more is to be heeded."""
    places = {tag.lower(): place for place, tag in enumerate(tags)}
    if "_atom_site_disorder_group" in places or "_atom_site_calc_flag" in places:
        return None
    try:
        x, y, z = (places[f"_atom_site_fract_{axis}"] for axis in "xyz")
        symbol = places["_atom_site_type_symbol"]
    except KeyError:
        return None
    return symbol, x, y, z, places.get("_atom_site_occupancy", -1)


def _plain(block: cif.Block) -> Draft | None:
    """Read a block in P1 as most programs write it; None when it is anything else."""
    triplets = block.find_loop(_TRIPLETS[0]).get_loop()
    if triplets is None:
        triplets = block.find_loop(_TRIPLETS[1]).get_loop()
    loop = block.find_loop(_X).get_loop()
    if loop is None or triplets is None or triplets.length() != 1:
        return None
    if _IDENTITIES.isdisjoint(triplets.values) or not _named_p1(block):
        return None
    plan = _plan(tuple(loop.tags))
    if plan is None:
        return None
    symbol, x, y, z, occupancy = plan
    width = loop.width()
    values = loop.values
    if occupancy >= 0 and not _FULL.issuperset(values[occupancy::width]):
        return None
    find = block.find_value
    try:
        return Draft(
            [ATOMIC_NUMBERS[found] for found in values[symbol::width]],
            (
                [float(number) for number in values[x::width]],
                [float(number) for number in values[y::width]],
                [float(number) for number in values[z::width]],
            ),
            [float(find(tag)) for tag in _CELL],
        )
    except (KeyError, ValueError, TypeError):
        return None


def _named_p1(block: cif.Block) -> bool:
    number = block.find_value(_NUMBERS[0])
    if number is not None:
        return bool(number == "1")
    symbol = block.find_value(_SYMBOLS[0])
    return symbol in ("'P 1'", "P1", "'P1'", '"P 1"')


# --- the careful case: whatever the format allows


def _value(block: cif.Block, *tags: str) -> str:
    """Return the first of the tags that has a value, "" if none."""
    for tag in tags:
        # Newer dictionaries write a point where older ones have an underscore.
        for spelling in (tag, re.sub(r"^_(cell|space_group|atom_site)_", r"_\1.", tag)):
            found = block.find_value(spelling)
            if found is not None and found not in _NO_VALUE:
                return str(cif.as_string(found)).strip()
    return ""


def _column(block: cif.Block, *tags: str) -> list[str]:
    for tag in tags:
        dotted = re.sub(r"^_(atom_site|space_group_symop|symmetry_equiv)_", r"_\1.", tag)
        for spelling in (tag, dotted):
            found = list(block.find_values(spelling))
            if found:
                return [str(cif.as_string(value)).strip() for value in found]
    return []


def _careful(block: cif.Block) -> Draft:
    cell = _cell(block)
    columns = [_column(block, f"_atom_site_fract_{axis}") for axis in "xyz"]
    if not columns[0]:
        if _column(block, "_atom_site_Cartn_x"):
            raise RejectedError("bad_coordinates", "they are Cartesian, not fractional")
        raise RejectedError("no_atoms")
    used = _used_rows(block, len(columns[0]))
    if not used.any():
        raise RejectedError("no_atoms", "all listed atoms are dummies")
    coordinates = np.array([[_number(v) for v in column] for column in columns]).T[used]
    symbols = _column(block, "_atom_site_type_symbol")
    labels = _column(block, "_atom_site_label")
    if not symbols and not labels:
        raise RejectedError("unknown_element", "atoms have neither symbol nor label")
    listed = np.arange(len(used))[used].tolist()
    elements = [
        element_of(symbols[i] if symbols else labels[i], is_label=not symbols) for i in listed
    ]
    species = np.array([z for z, _ in elements], dtype=np.uint8)
    _require_order(block)
    if not np.isfinite(coordinates).all():
        raise RejectedError("bad_coordinates")
    notes = (DEUTERIUM,) if any(isotope for _, isotope in elements) else ()
    operations = _operations(block)
    if len(operations[0]) > 1:
        lattice = lattices_from_parameters(cell)[0]
        if not np.isfinite(lattice).all():
            raise RejectedError("bad_cell")
        species, coordinates = expand(species, coordinates, lattice, operations)
    elif _other_group(block) and not _complete(block, species):
        raise RejectedError(
            "missing_symmetry", f"only the identity is listed for {_value(block, *_SYMBOLS)}"
        )
    return Draft(species.tolist(), coordinates, cell, notes=notes)


def _cell(block: cif.Block) -> list[float]:
    values = [_value(block, tag) for tag in _CELL]
    if not any(values[:3]):
        raise RejectedError("no_cell")
    if not all(values):
        missing = [tag for tag, value in zip(_CELL, values, strict=True) if not value]
        raise RejectedError("no_cell", f"{missing[0]} is missing")
    cell = [_number(value) for value in values]
    if not all(map(math.isfinite, cell)):
        raise RejectedError("bad_cell", "a length or an angle is no number")
    return cell


def _number(text: str) -> float:
    """Return a CIF number, its uncertainty dropped; NaN if it is none."""
    return float(cif.as_number(text))


def _used_rows(block: cif.Block, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    flags = _column(block, "_atom_site_calc_flag")
    if len(flags) != count:
        return np.ones(count, dtype=bool)
    return np.array([flag.lower() != "dum" for flag in flags])


def _require_order(block: cif.Block) -> None:
    """Turn away partial occupancy and disorder."""
    occupancies = _column(block, "_atom_site_occupancy")
    for value in occupancies:
        if value in _NO_VALUE:
            continue
        number = _number(value)
        if not abs(number - 1.0) <= _OCCUPANCY_SLACK:
            raise RejectedError("partial_occupancy", f"occupancy {value}")
    groups = set(_column(block, "_atom_site_disorder_group")) - _NO_VALUE - {"0"}
    if len(groups) > 1:
        raise RejectedError("disorder", f"groups {', '.join(sorted(groups)[:5])}")


_LABEL = re.compile(r"([A-Za-z]{1,3})")


@lru_cache(maxsize=4096)
def element_of(text: str, *, is_label: bool = False) -> tuple[int, bool]:
    """Return the atomic number for a symbol such as ``Fe3+`` or a label such as ``Fe1A``.

    Returns
    -------
    number, isotope
        Whether it was written as deuterium or tritium, which counts as hydrogen.

    Raises
    ------
    RejectedError
        If it is no element, or a label in capitals that may be one of two.
    """
    match = _LABEL.match(text)
    letters = match[1] if match else ""
    if letters in ("D", "T"):
        return 1, True
    if letters in ATOMIC_NUMBERS:
        return ATOMIC_NUMBERS[letters], False
    if not is_label:
        # A symbol is one as a whole: WAT or OH is a group, not tungsten or oxygen.
        number = ATOMIC_NUMBERS.get(letters.capitalize())
        if number is None:
            raise RejectedError("unknown_element", repr(text)[:40])
        return number, False
    two, one = letters[:2], letters[:1]
    if two[1:].islower() and two.capitalize() in ATOMIC_NUMBERS:
        return ATOMIC_NUMBERS[two.capitalize()], False
    if two[1:].isupper() and two.capitalize() in ATOMIC_NUMBERS and one in ATOMIC_NUMBERS:
        raise RejectedError("unknown_element", f"label {text!r} may be {one} or {two.capitalize()}")
    for candidate in (two.capitalize(), one.upper()):
        if candidate in ATOMIC_NUMBERS:
            return ATOMIC_NUMBERS[candidate], False
    if one in ("D", "T"):
        return 1, True
    raise RejectedError("unknown_element", repr(text)[:40])


def _operations(block: cif.Block) -> Operations:
    triplets = _column(block, *_TRIPLETS)
    if triplets:
        return operations_of_triplets(tuple(triplets))
    symbol = _value(block, *_SYMBOLS)
    number = _value(block, *_NUMBERS)
    if not symbol and not number:
        raise RejectedError("missing_symmetry", "neither operations nor a space group are given")
    if symbol.replace(" ", "") == "P1" or (not symbol and number == "1"):
        return IDENTITY
    return operations_of_group(symbol, int(number) if number.isdigit() else None)


def _other_group(block: cif.Block) -> bool:
    """Return whether the file names a space group that is not P 1."""
    symbol = _value(block, *_SYMBOLS).replace(" ", "")
    if symbol:
        return symbol != "P1"
    return _value(block, *_NUMBERS) not in ("", "1")


def _complete(block: cif.Block, species: np.ndarray[Any, np.dtype[np.uint8]]) -> bool:
    """Return whether the listed atoms are what formula and formula units ask for."""
    formula = _value(block, "_chemical_formula_sum")
    units = _number(_value(block, "_cell_formula_units_Z") or "?")
    if not formula or not math.isfinite(units):
        return False
    expected: dict[int, float] = {}
    for symbol, amount in re.findall(r"([A-Z][a-z]?)\s*([0-9.]*)", formula):
        number = ATOMIC_NUMBERS.get("H" if symbol == "D" else symbol, 0)
        expected[number] = expected.get(number, 0.0) + float(amount or 1) * units
    found = dict(
        zip(*(part.tolist() for part in np.unique(species, return_counts=True)), strict=True)
    )
    return expected.keys() == found.keys() and all(
        abs(expected[number] - count) < 1e-3 for number, count in found.items()
    )
