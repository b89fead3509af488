"""CIF texts to drafts of structures, by way of gemmi."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import compress
from operator import truediv
from typing import Any

import gemmi
import numpy as np
from gemmi import cif
from numpy.typing import NDArray

from variolite.crystals.elements import ATOMIC_NUMBERS, SYMBOLS, parse_formula
from variolite.crystals.files.checks import (
    CONTRADICTED,
    GUESSED,
    OCCUPANCY_SLACK,
    PASSED_OVER,
    REPEATED,
    VACANT,
    Limits,
    RejectedError,
    element_of,
)
from variolite.crystals.files.formats import Draft
from variolite.crystals.files.symmetry import (
    IDENTITY,
    Operations,
    expand,
    operations_of_group,
    operations_of_hall,
    operations_of_number,
    operations_of_triplets,
    require_fit,
)
from variolite.errors import DataError

Floats = NDArray[np.float64]

# Tags: some are spelled with a dot behind the category, as in mmCIF.


def _dotted(*tags: str) -> tuple[str, ...]:
    """Return tags, and the same with a dot behind their category."""
    categories = "cell|chemical_formula|space_group_symop|space_group|symmetry_equiv|symmetry"
    return (*tags, *(re.sub(f"^_({categories})_", r"_\1.", tag) for tag in tags))


CELL = (
    *(f"_cell_length_{axis}" for axis in "abc"),
    *(f"_cell_angle_{angle}" for angle in ("alpha", "beta", "gamma")),
)
_TRIPLETS = _dotted("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
_SYMBOLS = _dotted(
    "_symmetry_space_group_name_H-M",
    "_space_group_name_H-M_alt",
    "_space_group_name_H-M_ref",
    "_space_group_name_H-M_full",
)
_NUMBERS = _dotted("_symmetry_Int_Tables_number", "_space_group_IT_number")
_HALL = _dotted("_symmetry_space_group_name_Hall", "_space_group_name_Hall")
# Magnetic operations, and the centrings that are combined with them.
_MAGNETIC = (
    ("_space_group_symop_magn_operation.xyz", "_space_group_symop_magn_centering.xyz"),
    ("_space_group_symop.magn_operation_xyz", "_space_group_symop.magn_centering_xyz"),
    ("_space_group_symop_magn_operation_xyz", "_space_group_symop_magn_centering_xyz"),
)
_SETTINGS = _dotted("_space_group_IT_coordinate_system_code")
_FORMULA = _dotted("_chemical_formula_sum")
_UNITS = _dotted("_cell_formula_units_Z")
_AXES = ("fract_x", "fract_y", "fract_z")
_COLUMNS = (*_AXES, "type_symbol", "label", "occupancy", "disorder_group", "calc_flag")
_FULL = frozenset({"1", "1.0", "1.00", "1.000", "1.0000", "1.00000", "1.000000"})
_NO_VALUE = frozenset({"", ".", "?"})
_SAME_COUNT = 1e-3


def read_block(block: cif.Block, max_atoms: int) -> Draft:
    """Read the block that holds the atoms: symmetry is applied, order and full sites are required.

    Symmetry is not applied to more listed atoms than ``max_atoms``.
    """
    atoms = _atoms(block)
    if not atoms:
        if any(block.find_values(f"_atom_site{mark}Cartn_x") for mark in "_."):
            raise RejectedError("bad_coordinates", "they are Cartesian, not fractional")
        raise RejectedError("no_cell" if not block.find_value(CELL[0]) else "no_atoms")
    cell = _cell(block)
    atoms, left_out = _occupied(atoms)
    declared = _amounts(_value(block, _FORMULA))
    species, guessed = _species(atoms, frozenset(declared))
    # gemmi drops the uncertainty of a number, and makes NaN of what is not a number.
    axes = [[*map(cif.as_number, atoms[axis])] for axis in _AXES]
    if not all(species):
        axes = [[*compress(axis, species)] for axis in axes]
        species = [*filter(None, species)]
    if not species:
        raise RejectedError("no_atoms", "all sites are vacant")
    if not math.isfinite(sum(map(sum, axes))):
        wrong = sum(not all(map(math.isfinite, place)) for place in zip(*axes, strict=True))
        raise RejectedError("bad_coordinates", f"of {wrong} of {len(species)} sites")
    draft = Draft(species, axes, cell)
    operations = _operations(block, cell, species)
    if len(operations[0]) == 1:
        if not _complete(block, species):
            detail = f"only the identity is listed, not space group {_group(block)}"
            raise RejectedError("missing_symmetry", detail)
    elif len(species) > max_atoms:
        raise RejectedError("too_many_atoms", f"{len(species)} before symmetry is applied")
    else:
        listed = np.array(species, dtype=np.uint8), np.array(axes).T
        whole, draft.coordinates = expand(*listed, _lattice(cell), operations)
        draft.species = whole.tolist()
    found = contradictions(declared, draft.species)
    draft.notes = tuple(dict.fromkeys((*left_out, *guessed, *found)))
    return draft


def _lattice(cell: list[float]) -> Floats:
    # For one cell at a time gemmi is much faster than arrays.
    lattice: Floats = np.array(gemmi.UnitCell(*cell).orth.mat.tolist()).T
    if not (np.isfinite(lattice).all() and np.linalg.det(lattice) > 0):
        raise RejectedError("bad_cell", "the angles enclose no cell")
    return lattice


@lru_cache(maxsize=4096)
def _amounts(formula: str) -> Mapping[int, float]:
    """Return the amounts of a formula sum by atomic number; none where it is not a formula."""
    try:
        return parse_formula(re.sub(r"\bD(?![a-z])", "H", formula.strip("'\"")))
    except DataError:
        return {}


def contradictions(declared: Mapping[int, float], species: Sequence[int]) -> tuple[str, ...]:
    """Return a note if the atoms of the cell are no multiple of the formula; amounts by element."""
    amounts = declared.values()
    listed = [*map(species.count, declared)]
    if len({*map(truediv, listed, amounts)}) <= 1 and sum(listed) in (0, len(species)):
        return ()
    counts = Counter(species)
    # As often as most of the elements say.
    shared = (counts[number] / amount for number, amount in declared.items() if counts[number])
    units = Counter(round(ratio, 3) for ratio in shared).most_common(1)[0][0]
    wrong = []
    for number in sorted({*declared, *counts}):
        wanted, there = units * declared.get(number, 0.0), counts[number]
        if abs(wanted - there) > min(0.5, 0.03 * max(wanted, there)):
            wrong.append(f"{SYMBOLS[number]} {there}, not {wanted:g}")
    return (f"{CONTRADICTED}: {'; '.join(wrong)}",) if wrong else ()


def _value(block: cif.Block, tags: tuple[str, ...]) -> str:
    """Return the first of the tags that has a value, "" if none."""
    for tag in tags:
        found = block.find_value(tag)
        if found is not None and found not in _NO_VALUE:
            return str(cif.as_string(found)).strip()
    return ""


def _atoms(block: cif.Block) -> dict[str, list[str]]:
    """Return the columns of the atoms without their prefix, rows of dummy atoms left out."""
    columns: dict[str, list[str]] = {}
    for prefix in ("_atom_site_", "_atom_site."):
        loop = block.find_loop(f"{prefix}fract_x").get_loop()
        if loop is not None:
            width, values = loop.width(), loop.values
            columns = {name: values[place::width] for name, place in _places(*loop.tags)}
        elif block.find_value(f"{prefix}fract_x") is not None:
            found = {name: block.find_value(prefix + name) for name in _COLUMNS}
            columns = {name: [value] for name, value in found.items() if value is not None}
        if columns:
            break
    if columns and not columns.keys() >= {*_AXES}:
        raise RejectedError("bad_coordinates", "x, y and z are not all given")
    kept = [flag.lower() != "dum" for flag in columns.get("calc_flag", ())]
    return {} if kept and not any(kept) else _chosen(columns, kept)


@lru_cache(maxsize=256)
def _places(*tags: str) -> tuple[tuple[str, int], ...]:
    """Return which columns of a loop are used, by their names without a prefix."""
    names = [tag.lower().removeprefix("_atom_site")[1:] for tag in tags]
    return tuple((name, place) for place, name in enumerate(names) if name in _COLUMNS)


def _occupied(atoms: dict[str, list[str]]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Leave out the sites of occupancy 0, with a note; partial occupancy and disorder are rejected.

    Disorder means more than one group.
    """
    given = atoms.get("occupancy", [])
    notes: tuple[str, ...] = ()
    if not _FULL.issuperset(given):
        found = {value: cif.as_number(value) for value in given if value not in _NO_VALUE}
        if 0.0 in found.values():
            atoms = _chosen(atoms, [found.get(value) != 0.0 for value in given])
            notes = (VACANT,)
        for value, occupancy in found.items():
            if occupancy != 0.0 and not abs(occupancy - 1.0) <= OCCUPANCY_SLACK:
                raise RejectedError("partial_occupancy", f"occupancy {value}")
    groups = set(atoms.get("disorder_group", ())) - _NO_VALUE - {"0"}
    if len(groups) > 1:
        raise RejectedError("disorder", f"groups {', '.join(sorted(groups)[:5])}")
    return atoms, notes


def _chosen(columns: dict[str, list[str]], kept: list[bool]) -> dict[str, list[str]]:
    if all(kept):
        return columns
    return {tag: list(compress(values, kept)) for tag, values in columns.items()}


def _cell(block: cif.Block) -> list[float]:
    cell = [cif.as_number(block.find_value(tag) or "?") for tag in CELL]
    if all(map(math.isfinite, cell)):
        return cell
    found = {tag: _value(block, _dotted(tag)) for tag in CELL}
    for tag, value in found.items():
        if not value:
            raise RejectedError("no_cell", f"{tag} is missing")
    cell = [*map(cif.as_number, found.values())]
    if not all(map(math.isfinite, cell)):
        raise RejectedError("bad_cell", "a length or an angle is not a number")
    return cell


def _species(
    atoms: dict[str, list[str]], declared: frozenset[int]
) -> tuple[list[int], tuple[str, ...]]:
    """Return atomic numbers by symbol, or by label where there is none, 0 for vacancies; notes."""
    symbols, labels = atoms.get("type_symbol"), atoms.get("label")
    if symbols is None and labels is None:
        raise RejectedError("unknown_element", "atoms have neither symbol nor label")
    with suppress(KeyError):
        return [*map(ATOMIC_NUMBERS.__getitem__, symbols or ("",))], ()
    missing, numbers, notes = ["?"] * len(atoms["fract_x"]), [], []
    for raw, label in zip(symbols or missing, labels or missing, strict=True):
        symbol = str(cif.as_string(raw)).strip()
        if symbol not in _NO_VALUE:
            number, note = element_of(symbol)
        else:
            text = str(cif.as_string(label)).strip()
            number, note = element_of(text, is_label=True, declared=declared)
        numbers.append(number)
        notes.append(note)
    # One line for all guesses.
    other = [note for note in dict.fromkeys(notes) if note and not note.startswith(GUESSED)]
    guesses = [
        n.removeprefix(f"{GUESSED}: ") for n in dict.fromkeys(notes) if n not in ("", *other)
    ]
    return numbers, (*other, *([f"{GUESSED}: {', '.join(guesses)}"] if guesses else ()))


def _operations(block: cif.Block, cell: list[float], species: list[int]) -> Operations:
    for tag in _TRIPLETS:
        if triplets := _listed(block, tag):
            return operations_of_triplets(triplets)
    for tag, centring in _MAGNETIC:
        if triplets := _listed(block, tag):
            return operations_of_triplets(triplets, _listed(block, centring))
    hall, symbol, number = (_value(block, tags) for tags in (_HALL, _SYMBOLS, _NUMBERS))
    if not (hall or symbol or number):
        raise RejectedError("missing_symmetry", "neither operations nor a space group are given")
    if _complete(block, species):
        return IDENTITY
    angles = {"alpha": cell[3], "gamma": cell[5]}
    setting = _value(block, _SETTINGS).lower()
    if setting in ("1", "2", "h", "r") and ":" not in symbol:
        symbol = symbol and f"{symbol}:{setting.upper()}"
    # A Hall symbol says the setting and the origin, too.
    if hall:
        found = operations_of_hall(hall)
    elif symbol:
        found = operations_of_group(symbol, **angles)
    else:
        found = operations_of_number(number, **angles)
    require_fit(found, _lattice(cell), f"space group {hall or symbol or number}")
    return found


def _listed(block: cif.Block, tag: str) -> tuple[str, ...]:
    column = block.find_values(tag)
    return tuple(map(column.__getitem__, range(len(column))))  # iterating takes longer


def _group(block: cif.Block) -> str:
    return _value(block, _SYMBOLS) or _value(block, _HALL) or _value(block, _NUMBERS)


def _complete(block: cif.Block, species: list[int]) -> bool:
    """Return whether the listed atoms may be all of the cell: in P 1, or as formula and Z say."""
    if _group(block).replace(" ", "") in ("", "P1", "1"):
        return True
    units = cif.as_number(_value(block, _UNITS) or "?")
    expected = {z: amount * units for z, amount in _amounts(_value(block, _FORMULA)).items()}
    counts = Counter(species)
    return expected.keys() == counts.keys() and all(
        abs(expected[number] - count) < _SAME_COUNT for number, count in counts.items()
    )


def parse_cif(text: str, max_atoms: int = Limits.max_atoms) -> Iterator[Draft | RejectedError]:
    """Yield the structures of a CIF, mostly one; see `read_block` for the largest number of atoms.

    Of several data blocks those with atoms are read, each under its own name; others may hold
    remarks or reflections.
    """
    if not text or text.isspace():
        raise RejectedError("empty")
    notes: tuple[str, ...] = ()
    try:
        document = cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        document, notes = _mended(text, error)
    if not len(document):
        raise RejectedError("no_structure", "there is no data block")
    blocks = [*document]
    if len(blocks) > 1:
        tags = ("_atom_site_fract_x", "_atom_site.fract_x")
        blocks = [block for block in document if any(block.find_values(tag) for tag in tags)]
        if not blocks:
            raise RejectedError("no_atoms", "in any data block")
    for block in blocks:
        name = block.name.strip() if len(blocks) > 1 else ""
        try:
            draft = read_plain_block(block) or read_block(block, max_atoms)
            draft.name, draft.notes = name, (*notes, *draft.notes)
            yield draft
        except RejectedError as error:
            yield RejectedError(error.code, error.detail, name)


# Texts that break the rules of CIF where it does not matter.

_PARTS = ("_cell", "_atom_site", "_symmetry", "_space_group", "_chemical_formula_sum")
_WRONG_LINE = re.compile(r"string:(\d+):")
_IN_THREE_QUOTES = re.compile(r"(\'\'\'|\"\"\").*?\1", re.DOTALL)
_MOST_MENDED = 30


def _mended(text: str, error: Exception) -> tuple[cif.Document, tuple[str, ...]]:
    """Read a text that is not valid CIF; rejected unless only what is not needed is wrong."""
    lines = _IN_THREE_QUOTES.sub("?", text).splitlines()
    notes = {REPEATED if "duplicate" in str(error) else PASSED_OVER}
    for _ in range(_MOST_MENDED):
        try:
            # Repeated tags and tags without a value pass here.
            document = cif.read_string("\n".join(lines), 0)
            break
        except ValueError as wrong:
            found = _WRONG_LINE.match(str(wrong))
            if found is None or not _pass_over(lines, int(found[1]) - 1):
                raise _unreadable(error) from None
            notes.add(PASSED_OVER)
    else:
        raise _unreadable(error)
    repeated = [_drop_repeated(block) for block in document]
    if any(repeated):
        notes.add(REPEATED)
    return document, tuple(sorted(notes))


def _unreadable(error: Exception) -> RejectedError:
    message = " ".join(str(error).split()).removeprefix("string:")
    return RejectedError("unreadable", f"line {message[:160]}")


def _pass_over(lines: list[str], place: int) -> bool:
    """Blank the value of the tag in a line, or a text that belongs to no tag; False if needed."""
    words = lines[place].split(maxsplit=1) if place < len(lines) else []
    if len(words) == 2 and words[0][0] == "_" and not words[0].lower().startswith(_PARTS):
        lines[place] = f"{words[0]} ?"
        return True
    ends = [last for last in range(place + 1, len(lines)) if lines[last][:1] == ";"]
    if not words or words[0][0] != ";" or not ends:
        return False
    lines[place : ends[0] + 1] = [""] * (ends[0] + 1 - place)
    return True


def _drop_repeated(block: cif.Block) -> bool:
    """Keep of every tag the first that has a value; rejected if what is needed differs."""
    seen: dict[str, Any] = {}
    repeated = False
    for item in list(block):
        pair: Any = item.pair
        if pair is None:
            continue
        tag, value = pair[0].lower(), str(cif.as_string(pair[1])).strip()
        if tag not in seen:
            seen[tag] = (item, value)
            continue
        repeated = True
        first, known = seen[tag]
        if known in _NO_VALUE:
            seen[tag] = (item, value)
            first.erase()
            continue
        if value not in (known, *_NO_VALUE) and tag.startswith(_PARTS[:-1]):
            raise RejectedError("unreadable", f"{tag} is {known[:40]} and {value[:40]}")
        item.erase()
    for tag in ("_atom_site_fract_x", *_TRIPLETS):
        columns = [[*item.loop.values] for item in block if item.loop and tag in item.loop.tags]
        repeated |= len(columns) > 1
        if any(column != columns[0] for column in columns):
            raise RejectedError("unreadable", f"{tag} stands in two loops that differ")
    return repeated


# The layout in which most programs write crystals in P 1.

_XYZ = frozenset({"'x, y, z'", "'x,y,z'", "x,y,z", '"x, y, z"', "'X,Y,Z'", "X,Y,Z"})
_P1 = frozenset({"'P 1'", "P1", "'P1'", '"P 1"', "1"})


def read_plain_block(block: cif.Block) -> Draft | None:
    """Read a block as `read_block` does, in two thirds of the time; None if it holds more.

    Such as symmetry, occupancies, disorder, numbers with uncertainties, or symbols with charges.
    """
    triplets = block.find_loop(_TRIPLETS[0]).get_loop()
    if triplets is None:
        triplets = block.find_loop(_TRIPLETS[1]).get_loop()
    loop = block.find_loop("_atom_site_fract_x").get_loop()
    if loop is None or triplets is None or triplets.length() != 1:
        return None
    groups = {block.find_value(tag) for tag in (*_SYMBOLS[:2], *_NUMBERS[:2])} - {None}
    if _XYZ.isdisjoint(triplets.values) or not groups or not groups <= _P1:
        return None
    plan = _plan(tuple(loop.tags))
    if plan is None:
        return None
    symbol, *axes, occupancy = plan
    width, values = loop.width(), loop.values
    if occupancy >= 0 and not _FULL.issuperset(values[occupancy::width]):
        return None
    symbols = values[symbol::width]
    try:
        draft = Draft(
            [*map(ATOMIC_NUMBERS.__getitem__, symbols)],
            [[*map(float, values[axis::width])] for axis in axes],
            [*map(float, map(block.find_value, CELL))],
        )
    except (KeyError, ValueError, TypeError):
        return None
    # Mostly the formula sum is spelled like this; reading it costs more.
    formula = block.find_value(_FORMULA[0])
    if formula is not None:
        listed = {f"{found}{symbols.count(found)}" for found in {*symbols}}
        if listed.symmetric_difference(formula.strip("'").split()):
            draft.notes = contradictions(_amounts(formula), draft.species)
    return draft


@lru_cache(maxsize=256)
def _plan(tags: tuple[str, ...]) -> tuple[int, ...] | None:
    """Return the columns of symbol, x, y, z and occupancy (-1 without)."""
    places = dict(_places(*tags))
    needed = ("type_symbol", *_AXES)
    if places.keys() & {"disorder_group", "calc_flag"} or not places.keys() >= {*needed}:
        return None
    return (*(places[name] for name in needed), places.get("occupancy", -1))
