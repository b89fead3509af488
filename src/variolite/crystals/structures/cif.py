"""CIF texts to drafts of structures, by way of gemmi."""

from __future__ import annotations

from functools import lru_cache

from gemmi import cif

from variolite.crystals.structures.cif_block import read_block
from variolite.crystals.structures.elements import ATOMIC_NUMBERS
from variolite.crystals.structures.parsed import Draft
from variolite.crystals.structures.rejection import Limits, RejectedError

__all__ = ["parse_cif", "read_plain_block"]

_MAX_ATOMS = Limits().max_atoms
_X = "_atom_site_fract_x"
_CELL = (
    "_cell_length_a",
    "_cell_length_b",
    "_cell_length_c",
    "_cell_angle_alpha",
    "_cell_angle_beta",
    "_cell_angle_gamma",
)
_TRIPLETS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
_NUMBER = ("_symmetry_Int_Tables_number", "_space_group_IT_number")
_SYMBOL = ("_symmetry_space_group_name_H-M", "_space_group_name_H-M_alt")
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
    """Return whether the space group is said to be P 1, and nothing contradicts it."""
    numbers = {block.find_value(tag) for tag in _NUMBER} - {None}
    symbols = {block.find_value(tag) for tag in _SYMBOL} - {None}
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
