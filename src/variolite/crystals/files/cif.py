"""CIF texts to drafts of structures, by way of gemmi."""

from __future__ import annotations

import math
import re
from functools import lru_cache

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
Operations = tuple[Floats, Floats]
"""Rotations (G, 3, 3) and translations (G, 3) that act on fractional coordinates."""

IDENTITY: Operations = (np.eye(3)[None], np.zeros((1, 3)))
SAME_PLACE = 0.05
"""Images of an atom closer than this, in Angstrom, are the atom itself: coordinates are
commonly rounded to four digits, hence off a special position by up to 0.01 Angstrom."""

_EXACT = 1e-12
_GRID = 100_000
"""Images of an atom are the same where they agree to five digits."""
_BETWEEN = 0.31415
"""Keeps the borders of that grid away from all numbers with few digits."""


@lru_cache(maxsize=512)
def operations_of_triplets(triplets: tuple[str, ...]) -> Operations:
    """Return the operations written as ``x, y, z``.

    Raises
    ------
    RejectedError
        If one cannot be read, or together they are no group.
    """
    try:
        found = [gemmi.Op(triplet.strip().strip("'\"").lower()).wrap() for triplet in triplets]
    except (RuntimeError, ValueError) as error:
        raise RejectedError("missing_symmetry", f"an operation is unreadable ({error})") from None
    distinct = list(dict.fromkeys(op.triplet() for op in found))
    try:
        group = gemmi.GroupOps([gemmi.Op(triplet) for triplet in distinct])
        group.add_missing_elements()
    except (RuntimeError, ValueError):
        raise RejectedError("missing_symmetry", "the operations form no group") from None
    closed = len(group.sym_ops) * len(group.cen_ops)
    if closed != len(distinct):
        raise RejectedError(
            "missing_symmetry", f"{len(distinct)} operations are listed, their group has {closed}"
        )
    return _arrays([gemmi.Op(triplet) for triplet in distinct])


@lru_cache(maxsize=512)
def operations_of_group(symbol: str, *, alpha: float = 0.0, gamma: float = 0.0) -> Operations:
    """Return the operations of a space group by its Hermann-Mauguin symbol.

    Parameters
    ----------
    symbol
        Such as ``F m -3 m``, ``Fd-3m:2`` or ``R -3 c:H``.
    alpha, gamma
        Angles of the cell in degrees: they tell rhombohedral from hexagonal cells.

    Raises
    ------
    RejectedError
        If the group is unknown, or exists in several settings that are not told apart.
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
    translations = np.array([op.tran for op in found], dtype=np.float64) / gemmi.Op.DEN
    return rotations, translations


def expand(
    species: NDArray[np.uint8], coordinates: Floats, lattice: Floats, operations: Operations
) -> tuple[NDArray[np.uint8], Floats]:
    """Return all atoms of the cell from those of the asymmetric unit.

    An atom within 0.05 Angstrom of a special position is moved onto it: to the mean of
    its images under the operations that keep it there.

    Parameters
    ----------
    species, coordinates
        Atoms that are listed, shapes (n,) and (n, 3).
    lattice
        Rows are a, b, c in Angstrom, shape (3, 3).
    operations
        The space group.

    Returns
    -------
    species, coordinates
        Shapes (m,) and (m, 3): the images of each listed atom together, itself first,
        coordinates in [0, 1).
    """
    rotations, translations = operations
    placed = coordinates
    # Once more from the corrected place: from there all operations of the site count.
    for _ in range(2):
        # Offsets (n, G, 3) of every image from its atom; short ones are operations of the site.
        images = _images(placed, rotations, translations)
        offset = images - placed[:, None]
        offset -= np.rint(offset)
        stays = ((offset @ lattice) ** 2).sum(axis=-1) < SAME_PLACE**2
        offset[~stays] = 0.0
        shift = offset.sum(axis=1) / stays.sum(axis=1, keepdims=True)
        if np.abs(shift).max() < _EXACT:
            break
        placed = placed + shift
    else:
        images = _images(placed, rotations, translations)
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


def _images(coordinates: Floats, rotations: Floats, translations: Floats) -> Floats:
    """Return all images of all atoms, shape (n, G, 3)."""
    turned = coordinates @ rotations.reshape(-1, 3).T
    return turned.reshape(len(coordinates), -1, 3) + translations


# One data block of a CIF to a draft of a structure, whatever the format allows.


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
    """Reject partial occupancy and disorder."""
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


_MAX_ATOMS = Limits().max_atoms
_X = "_atom_site_fract_x"
_IDENTITY = frozenset({"'x, y, z'", "'x,y,z'", "x,y,z", '"x, y, z"', "'X,Y,Z'", "X,Y,Z"})
_P1 = frozenset({"'P 1'", "P1", "'P1'", '"P 1"'})
_FULL = frozenset({"1", "1.0", "1.00", "1.000", "1.0000", "1.00000", "1.000000"})


def parse_cif(text: str, *, max_atoms: int = _MAX_ATOMS) -> tuple[Draft]:
    """Read the one structure of a CIF.

    Parameters
    ----------
    text
        The whole file.
    max_atoms
        Symmetry is not applied to more listed atoms than this.

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
        message = " ".join(str(error).split()).removeprefix("string:")
        raise RejectedError("unreadable", message[:160]) from None
    if len(document) == 1:
        block = document[0]
        draft = read_plain_block(block)
        if draft is not None:
            return (draft,)
    else:
        block = _only_block(document)
    return (read_block(block, max_atoms),)


def _only_block(document: cif.Document) -> cif.Block:
    """Return the block with atoms; other blocks may hold remarks or reflections."""
    if not len(document):
        raise RejectedError("no_structure", "there is no data block")
    with_atoms = [
        block
        for block in document
        if any(block.find_values(tag) for tag in (_X, "_atom_site.fract_x"))
    ]
    if len(with_atoms) > 1:
        raise RejectedError("several_structures", f"{len(with_atoms)} data blocks have atoms")
    if not with_atoms:
        raise RejectedError("no_atoms", "in any data block")
    return with_atoms[0]


def read_plain_block(block: cif.Block) -> Draft | None:
    """Read a block in P1 in the layout that most programs write, ten times faster.

    Returns
    -------
    Draft or None
        None when there is anything else to be heeded: symmetry, occupancies, disorder,
        numbers with uncertainties, symbols with charges.
    """
    triplets = block.find_loop(_TRIPLETS[0]).get_loop()
    if triplets is None:
        triplets = block.find_loop(_TRIPLETS[1]).get_loop()
    loop = block.find_loop(_X).get_loop()
    if loop is None or triplets is None or triplets.length() != 1:
        return None
    if _IDENTITY.isdisjoint(triplets.values) or not _names_p1(block):
        return None
    plan = _places(tuple(loop.tags))
    if plan is None:
        return None
    symbol, x, y, z, occupancy = plan
    width = loop.width()
    values = loop.values
    if occupancy >= 0 and not _FULL.issuperset(values[occupancy::width]):
        return None
    try:
        return Draft(
            [ATOMIC_NUMBERS[found] for found in values[symbol::width]],
            (
                [float(number) for number in values[x::width]],
                [float(number) for number in values[y::width]],
                [float(number) for number in values[z::width]],
            ),
            [float(block.find_value(tag)) for tag in _CELL],
        )
    except (KeyError, ValueError, TypeError):
        return None


def _names_p1(block: cif.Block) -> bool:
    """Return whether the space group is given as P 1, and nothing contradicts it."""
    numbers = {block.find_value(tag) for tag in _NUMBERS[:2]} - {None}
    symbols = {block.find_value(tag) for tag in _SYMBOLS[:2]} - {None}
    return bool(numbers or symbols) and numbers <= {"1"} and symbols <= _P1


@lru_cache(maxsize=256)
def _places(tags: tuple[str, ...]) -> tuple[int, int, int, int, int] | None:
    """Return the columns of symbol, x, y, z and occupancy (-1 without)."""
    places = {tag.lower(): place for place, tag in enumerate(tags)}
    if "_atom_site_disorder_group" in places or "_atom_site_calc_flag" in places:
        return None
    try:
        x, y, z = (places[f"_atom_site_fract_{axis}"] for axis in "xyz")
        symbol = places["_atom_site_type_symbol"]
    except KeyError:
        return None
    return symbol, x, y, z, places.get("_atom_site_occupancy", -1)
