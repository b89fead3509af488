"""CIF texts to drafts of structures, by way of gemmi."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from functools import lru_cache
from itertools import compress

import gemmi
import numpy as np
from gemmi import cif
from numpy.typing import NDArray

from variolite.crystals.crystals import lattices_from_parameters
from variolite.crystals.elements import ATOMIC_NUMBERS
from variolite.crystals.files.checks import DEUTERIUM, Limits, RejectedError, element_of
from variolite.crystals.files.formats import Draft

# Symmetry operations of a CIF: reading them, and all atoms of the cell from some.

Floats = NDArray[np.float64]
Species = NDArray[np.uint8]
Operations = tuple[Floats, Floats]
"""Rotations (G, 3, 3) and translations (G, 3) that act on fractional coordinates."""

_IDENTITY: Operations = (np.eye(3)[None], np.zeros((1, 3)))
# Images of an atom closer than this, in angstrom, are the atom itself: coordinates are commonly
# rounded to four digits, hence off a special position by up to 0.01 angstrom.
_SAME_PLACE = 0.05
_EXACT = 1e-12
# Images of an atom are the same where they agree to five digits; the borders of that grid keep
# away from all numbers with few digits.
_GRID = 100_000
_BETWEEN = 0.31415


@lru_cache(maxsize=512)
def operations_of_triplets(triplets: tuple[str, ...]) -> Operations:
    """Return the operations written as ``x, y, z``; they have to form a group."""
    try:
        found = [gemmi.Op(triplet.strip().strip("'\"").lower()).wrap() for triplet in triplets]
    except (RuntimeError, ValueError) as error:
        raise RejectedError("missing_symmetry", f"an operation is unreadable ({error})") from None
    triplets = tuple(dict.fromkeys(op.triplet() for op in found))
    try:
        distinct = [gemmi.Op(triplet) for triplet in triplets]
        group = gemmi.GroupOps(distinct)
        group.add_missing_elements()
    except (RuntimeError, ValueError):
        raise RejectedError("missing_symmetry", "the operations form no group") from None
    closed = len(group.sym_ops) * len(group.cen_ops)
    if closed != len(distinct):
        detail = f"{len(distinct)} operations are listed, their group has {closed}"
        raise RejectedError("missing_symmetry", detail)
    return _arrays(distinct)


@lru_cache(maxsize=512)
def operations_of_group(symbol: str, *, alpha: float = 0.0, gamma: float = 0.0) -> Operations:
    """Return the operations of a space group by a symbol such as ``Fd-3m:2`` or ``R -3 c:H``.

    The angles of the cell, in degrees, tell rhombohedral from hexagonal cells. Groups that are
    unknown, or exist in several settings that are not told apart, are rejected.
    """
    group = gemmi.find_spacegroup_by_name(symbol, alpha, gamma)
    if group is None:
        raise RejectedError("missing_symmetry", f"space group {symbol[:30]} is not known")
    if group.ext in ("H", "R") and not symbol.endswith(group.ext):
        fits = abs(gamma - 120.0) < 0.1 if group.ext == "H" else abs(gamma - alpha) < 0.1
        if not fits:
            raise RejectedError("missing_symmetry", f"{symbol} does not fit the angles of the cell")
    # Which of two origins is meant can only be guessed.
    if group.ext in ("1", "2") and not symbol.endswith(f":{group.ext}"):
        raise RejectedError("missing_symmetry", f"{symbol} has two origins, operations are needed")
    return _arrays(list(group.operations()))


def _arrays(found: list[gemmi.Op]) -> Operations:
    rotations = np.array([op.rot for op in found], dtype=np.float64) / gemmi.Op.DEN
    return rotations, np.array([op.tran for op in found], dtype=np.float64) / gemmi.Op.DEN


def expand(
    species: Species, coordinates: Floats, lattice: Floats, operations: Operations
) -> tuple[Species, Floats]:
    """Return species (m,) and coordinates (m, 3) in [0, 1) of all atoms from those listed, (n,).

    The images of each listed atom stand together, itself first. An atom within 0.05 angstrom of a
    special position is moved onto it: to the mean of its images under the operations that keep
    it there. The rows of the lattice are a, b, c in angstrom.
    """
    rotations, translations = operations
    placed = coordinates
    # Corrected twice at most: from the corrected place all operations of the site count.
    for _ in range(3):
        # Images (n, G, 3) of every atom, by one product for the rows of all operations.
        images = (placed @ rotations.reshape(-1, 3).T).reshape(len(placed), -1, 3) + translations
        # Those at a short offset from their atom come from the operations of its site.
        offset = images - placed[:, None]
        offset -= np.rint(offset)
        stays = ((offset @ lattice) ** 2).sum(axis=-1) < _SAME_PLACE**2
        offset[~stays] = 0.0
        shift = offset.sum(axis=1) / stays.sum(axis=1, keepdims=True)
        if np.abs(shift).max() < _EXACT:
            break
        placed = placed + shift
    images -= np.floor(images)
    # Equal images of one atom are found by one integer key each: its number, and the place on
    # a grid along the three axes. They must agree only within one atom, never across atoms.
    count, order = images.shape[:2]
    cells = np.floor(images * _GRID + _BETWEEN).astype(np.int64) % _GRID
    keys = np.repeat(np.arange(count), order)
    for axis in range(3):
        keys = keys * _GRID + cells[..., axis].ravel()
    kept = np.sort(np.unique(keys, return_index=True)[1])
    return species[kept // order], images.reshape(-1, 3)[kept]


# One data block of a CIF to a draft of a structure, whatever the format allows.

CELL = (
    *(f"_cell_length_{axis}" for axis in "abc"),
    *(f"_cell_angle_{angle}" for angle in ("alpha", "beta", "gamma")),
)
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
_SINGLE = ("fract_x", "fract_y", "fract_z", "type_symbol", "label", "occupancy")
_NO_VALUE = frozenset({"", ".", "?"})
_OCCUPANCY_SLACK = 1e-3
_SAME_COUNT = 1e-3


def read_block(block: cif.Block, max_atoms: int) -> Draft:
    """Read the block that holds the atoms: symmetry is applied, order and full sites are required.

    Symmetry is not applied to more listed atoms than ``max_atoms``.
    """
    atoms = _atoms(block)
    if not atoms:
        if block.find_values("_atom_site_Cartn_x"):
            raise RejectedError("bad_coordinates", "they are Cartesian, not fractional")
        raise RejectedError("no_cell" if not block.find_value(CELL[0]) else "no_atoms")
    cell = _cell(block)
    # gemmi drops the uncertainty of a number, and makes NaN of what is none.
    axes = [[cif.as_number(value) for value in atoms[f"fract_{axis}"]] for axis in "xyz"]
    coordinates = np.array(axes).T
    _require_order(atoms)
    species, isotopes = _species(atoms)
    if not np.isfinite(coordinates).all():
        raise RejectedError("bad_coordinates")
    operations = _operations(block, cell, species)
    if len(operations[0]) == 1:
        if not _complete(block, species):
            detail = f"only the identity is listed, not space group {_group(block)}"
            raise RejectedError("missing_symmetry", detail)
    elif len(species) > max_atoms:
        raise RejectedError("too_many_atoms", f"{len(species)} before symmetry is applied")
    else:
        lattice = lattices_from_parameters(cell)[0]
        if not np.isfinite(lattice).all():
            raise RejectedError("bad_cell", "the angles enclose no cell")
        species, coordinates = expand(species, coordinates, lattice, operations)
    return Draft(species.tolist(), coordinates, cell, notes=(DEUTERIUM,) if isotopes else ())


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
            for place, tag in enumerate(loop.tags):
                columns[tag.lower().removeprefix(prefix)] = values[place::width]
        elif block.find_value(f"{prefix}fract_x") is not None:
            found = {name: block.find_value(prefix + name) for name in _SINGLE}
            columns = {name: [value] for name, value in found.items() if value is not None}
        if columns:
            break
    kept = [flag.lower() != "dum" for flag in columns.get("calc_flag", ())]
    if not all(kept):
        columns = {tag: list(compress(values, kept)) for tag, values in columns.items()}
    if columns and len({len(columns.get(f"fract_{axis}", ())) for axis in "xyz"}) > 1:
        raise RejectedError("bad_coordinates", "x, y and z are not all given")
    return columns if columns.get("fract_x") else {}


def _cell(block: cif.Block) -> list[float]:
    cell = []
    for tag in CELL:
        value = _value(block, (tag, tag.replace("_cell_", "_cell.")))
        if not value:
            raise RejectedError("no_cell", f"{tag} is missing")
        cell.append(cif.as_number(value))
    if not all(map(math.isfinite, cell)):
        raise RejectedError("bad_cell", "a length or an angle is not a number")
    return cell


def _require_order(atoms: dict[str, list[str]]) -> None:
    """Reject partial occupancy and disorder."""
    for value in atoms.get("occupancy", ()):
        if value not in _NO_VALUE and not abs(cif.as_number(value) - 1.0) <= _OCCUPANCY_SLACK:
            raise RejectedError("partial_occupancy", f"occupancy {value}")
    groups = set(atoms.get("disorder_group", ())) - _NO_VALUE - {"0"}
    if len(groups) > 1:
        raise RejectedError("disorder", f"groups {', '.join(sorted(groups)[:5])}")


def _species(atoms: dict[str, list[str]]) -> tuple[Species, bool]:
    """Return atomic numbers by symbol, or by label where there is none; and if of isotopes."""
    symbols, labels = atoms.get("type_symbol"), atoms.get("label")
    if not symbols and not labels:
        raise RejectedError("unknown_element", "atoms have neither symbol nor label")
    missing = [""] * len(atoms["fract_x"])
    found = []
    for raw, label in zip(symbols or missing, labels or missing, strict=True):
        symbol = str(cif.as_string(raw)).strip()
        if symbol not in _NO_VALUE:
            found.append(element_of(symbol))
        else:
            found.append(element_of(str(cif.as_string(label)).strip(), is_label=True))
    numbers = np.array([number for number, _ in found], dtype=np.uint8)
    return numbers, any(isotope for _, isotope in found)


def _operations(block: cif.Block, cell: list[float], species: Species) -> Operations:
    for tag in _TRIPLETS:
        triplets = tuple(block.find_values(tag))
        if triplets:
            return operations_of_triplets(triplets)
    if not _group(block):
        raise RejectedError("missing_symmetry", "neither operations nor a space group are given")
    if _complete(block, species):
        return _IDENTITY
    symbol = _value(block, _SYMBOLS)
    if not symbol:
        raise RejectedError("missing_symmetry", "only the number of the space group is given")
    return operations_of_group(symbol, alpha=cell[3], gamma=cell[5])


def _group(block: cif.Block) -> str:
    return _value(block, _SYMBOLS) or _value(block, _NUMBERS)


def _complete(block: cif.Block, species: Species) -> bool:
    """Return whether the listed atoms may be all of the cell: in P 1, or as formula and Z say."""
    if _group(block).replace(" ", "") in ("", "P1", "1"):
        return True
    formula = _value(block, ("_chemical_formula_sum", "_chemical_formula.sum"))
    units = cif.as_number(_value(block, ("_cell_formula_units_Z", "_cell.formula_units_Z")) or "?")
    if not formula or not math.isfinite(units):
        return False
    expected: dict[int, float] = defaultdict(float)
    for element, amount in re.findall(r"([A-Z][a-z]?)\s*([0-9.]*)", formula):
        number = ATOMIC_NUMBERS.get("H" if element == "D" else element, 0)
        try:
            expected[number] += float(amount or 1) * units
        except ValueError:
            return False
    counts = Counter(species.tolist())
    return expected.keys() == counts.keys() and all(
        abs(expected[number] - count) < _SAME_COUNT for number, count in counts.items()
    )


_X = "_atom_site_fract_x"
_XYZ = frozenset({"'x, y, z'", "'x,y,z'", "x,y,z", '"x, y, z"', "'X,Y,Z'", "X,Y,Z"})
_P1 = frozenset({"'P 1'", "P1", "'P1'", '"P 1"'})
_FULL = frozenset({"1", "1.0", "1.00", "1.000", "1.0000", "1.00000", "1.000000"})


def parse_cif(text: str, max_atoms: int = Limits.max_atoms) -> tuple[Draft]:
    """Read the one structure of a CIF; see :func:`read_block` for the largest number of atoms."""
    if not text or text.isspace():
        raise RejectedError("empty")
    try:
        document = cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        message = " ".join(str(error).split()).removeprefix("string:")
        raise RejectedError("unreadable", message[:160]) from None
    if len(document) != 1:
        return (read_block(_only_block(document), max_atoms),)
    block = document[0]
    return (read_plain_block(block) or read_block(block, max_atoms),)


def _only_block(document: cif.Document) -> cif.Block:
    """Return the block with atoms; other blocks may hold remarks or reflections."""
    if not len(document):
        raise RejectedError("no_structure", "there is no data block")
    tags = (_X, "_atom_site.fract_x")
    with_atoms = [block for block in document if any(block.find_values(tag) for tag in tags)]
    if len(with_atoms) > 1:
        raise RejectedError("several_structures", f"{len(with_atoms)} data blocks have atoms")
    if not with_atoms:
        raise RejectedError("no_atoms", "in any data block")
    return with_atoms[0]


def read_plain_block(block: cif.Block) -> Draft | None:
    """Read a block in P1 in the layout that most programs write, ten times faster.

    None when there is anything else to be heeded: symmetry, occupancies, disorder, numbers with
    uncertainties, symbols with charges.
    """
    triplets = block.find_loop(_TRIPLETS[0]).get_loop()
    if triplets is None:
        triplets = block.find_loop(_TRIPLETS[1]).get_loop()
    loop = block.find_loop(_X).get_loop()
    if loop is None or triplets is None or triplets.length() != 1:
        return None
    if _XYZ.isdisjoint(triplets.values) or not _names_p1(block):
        return None
    plan = _places(tuple(loop.tags))
    if plan is None:
        return None
    symbol, x, y, z, occupancy = plan
    width, values = loop.width(), loop.values
    if occupancy >= 0 and not _FULL.issuperset(values[occupancy::width]):
        return None
    try:
        return Draft(
            [ATOMIC_NUMBERS[found] for found in values[symbol::width]],
            tuple([float(number) for number in values[axis::width]] for axis in (x, y, z)),
            [float(block.find_value(tag)) for tag in CELL],
        )
    except (KeyError, ValueError, TypeError):
        return None


def _names_p1(block: cif.Block) -> bool:
    """Return whether the space group is given as P 1, and nothing contradicts it."""
    numbers = {block.find_value(tag) for tag in _NUMBERS[:2]} - {None}
    symbols = {block.find_value(tag) for tag in _SYMBOLS[:2]} - {None}
    return bool(numbers or symbols) and numbers <= {"1"} and symbols <= _P1


@lru_cache(maxsize=256)
def _places(tags: tuple[str, ...]) -> tuple[int, ...] | None:
    """Return the columns of symbol, x, y, z and occupancy (-1 without)."""
    places = {tag.lower().removeprefix("_atom_site_"): place for place, tag in enumerate(tags)}
    needed = ("type_symbol", "fract_x", "fract_y", "fract_z")
    if places.keys() & {"disorder_group", "calc_flag"} or not places.keys() >= set(needed):
        return None
    return (*(places[name] for name in needed), places.get("occupancy", -1))
