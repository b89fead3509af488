"""Drafts of structures from any parser, checked; every rejected one has a named reason."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals, cell_parameters, lattices_from_parameters
from variolite.crystals.elements import ATOMIC_NUMBERS, SYMBOLS
from variolite.crystals.periodic import close_pairs

# Reasons for which a structure is turned away, by name.


REASONS: Mapping[str, str] = {
    "empty": "the text is empty",
    "not_text": "not UTF-8 text",
    "unreadable": "cannot be parsed",
    "unreadable_file": "the file cannot be read",
    "no_structure": "holds no structure",
    "several_structures": "holds several structures where one is expected",
    "no_cell": "has no cell",
    "bad_cell": "lengths or angles of the cell are impossible",
    "no_atoms": "has no atoms",
    "bad_coordinates": "a coordinate is missing or no number",
    "unknown_element": "an element is unknown or not named",
    "partial_occupancy": "a site is not fully occupied",
    "disorder": "holds disorder groups",
    "missing_symmetry": "the symmetry operations are missing or incomplete",
    "duplicate_atoms": "two atoms of one element at one place",
    "overlapping_atoms": "atoms are too close",
    "volume_per_atom": "volume per atom out of range",
    "too_many_atoms": "more atoms than allowed",
}
"""What each reason code means."""

MENDS: Mapping[str, str] = {
    "empty": "Export the structure again",
    "not_text": "Save it as UTF-8 text",
    "unreadable": "Correct it, or export it again from the program that wrote it",
    "unreadable_file": "Check the file, and download or export it again",
    "no_structure": "Give files that hold a cell and atoms",
    "several_structures": "Make a file of each",
    "no_cell": "Give a crystal, periodic in three directions, with its cell",
    "bad_cell": "Correct the cell; lengths are in Angstrom, angles in degrees",
    "no_atoms": "Add the atoms",
    "bad_coordinates": "Give every atom three fractional coordinates",
    "unknown_element": "Name elements by their symbols",
    "partial_occupancy": "Give an ordered structure, for instance a supercell of full sites",
    "disorder": "Keep one group of the disorder, and delete the others",
    "missing_symmetry": "Add the symmetry operations, or export the structure in P 1",
    "duplicate_atoms": "Delete one of the two",
    "overlapping_atoms": "Correct the coordinates; check that they fit the unit and the cell",
    "volume_per_atom": "Check that lengths are in Angstrom and that no atoms are missing",
    "too_many_atoms": "Give the primitive cell, or raise --max-atoms of `variolite crystals pack`",
}
"""What a user can do about each."""

REJECT_SCHEMA: Mapping[str, type[pl.DataType]] = {
    "file": pl.String,
    "row": pl.Int64,
    "name": pl.String,
    "reason_code": pl.String,
    "reason": pl.String,
}
"""Columns of a table of rejects."""


@dataclass(frozen=True)
class Limits:
    """Between which bounds a structure is believed.

    Attributes
    ----------
    max_atoms
        Largest number of atoms in the cell, after symmetry.
    min_distance
        Smallest distance between two atoms, periodic images included, in Angstrom.
    volume_per_atom
        Smallest and largest volume of the cell per atom in cubic Angstrom.
    lengths
        Smallest and largest length of a lattice vector in Angstrom.
    max_rejected
        Largest share of structures that may be rejected; it is an error if more are, or
        if nothing at all is left.
    """

    max_atoms: int = 512
    min_distance: float = 0.5
    volume_per_atom: tuple[float, float] = (3.0, 300.0)
    lengths: tuple[float, float] = (0.5, 200.0)
    max_rejected: float = 1.0


NO_LIMITS = Limits(
    max_atoms=1_000_000,
    min_distance=0.0,
    volume_per_atom=(0.0, math.inf),
    lengths=(0.0, math.inf),
)
"""Let pass whatever is a structure at all, such as what a model made."""


class RejectedError(Exception):
    """Raised by a parser for one structure; never leaves the reading functions.

    Parameters
    ----------
    code
        A key of :data:`REASONS`.
    detail
        What exactly was met; the general reason by default.
    name
        Id of the structure where the text has one.
    """

    def __init__(self, code: str, detail: str = "", name: str = "") -> None:
        self.code = code
        self.detail = detail
        self.name = name
        self.reason = f"{REASONS[code]}: {detail}" if detail else REASONS[code]
        super().__init__(code, self.reason)


# Elements by the symbols and labels that files write.


DEUTERIUM = "deuterium or tritium was read as hydrogen"

_LETTERS = re.compile(r"[A-Za-z]{1,3}")
_ISOTOPES = frozenset("DT")


@lru_cache(maxsize=4096)
def element_of(text: str, *, is_label: bool = False) -> tuple[int, bool]:
    """Return the atomic number for a symbol such as ``Fe3+`` or a label such as ``Fe1A``.

    Parameters
    ----------
    text
        What the file has.
    is_label
        A label begins with the symbol and goes on as it likes; a symbol is followed by
        a charge or a number at most.

    Returns
    -------
    number, isotope
        Whether it was written as deuterium or tritium, which counts as hydrogen.

    Raises
    ------
    RejectedError
        If it is no element, or a label in capitals that may be one of two.
    """
    match = _LETTERS.match(text)
    letters = match[0] if match else ""
    if letters in ATOMIC_NUMBERS:
        return ATOMIC_NUMBERS[letters], False
    if letters in _ISOTOPES:
        return 1, True
    two, one = letters[:2], letters[:1]
    if not is_label:
        # A symbol is one as a whole: WAT or OH is a group, not tungsten or oxygen.
        candidates = [letters.capitalize()]
    elif two[1:].islower():
        candidates = [two.capitalize(), one.upper()]
    elif two.capitalize() in ATOMIC_NUMBERS and one in ATOMIC_NUMBERS and len(two) == 2:
        raise RejectedError("unknown_element", f"label {text!r} may be {one} or {two.capitalize()}")
    else:
        candidates = [two.capitalize(), one.upper()]
    for candidate in candidates:
        if candidate in ATOMIC_NUMBERS:
            return ATOMIC_NUMBERS[candidate], False
    if is_label and one in _ISOTOPES:
        return 1, True
    raise RejectedError("unknown_element", repr(text)[:40])


# What parsers hand on: drafts of structures, and flat arrays of many of them.


Floats = NDArray[np.float64]


@dataclass(slots=True)
class Draft:
    """One structure as it was read, not yet checked.

    Attributes
    ----------
    species
        Atomic numbers.
    coordinates
        Fractional coordinates: three sequences of numbers, or an array of shape (n, 3).
    cell
        Six cell parameters, or lattice vectors of shape (3, 3).
    name
        Its id where the text has one.
    properties
        Further values that the text has.
    notes
        What was changed on reading.
    """

    species: Sequence[int]
    coordinates: tuple[Sequence[float], Sequence[float], Sequence[float]] | Floats
    cell: Sequence[float] | Floats
    name: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Parser = Callable[[str], Iterable[Draft | RejectedError]]
"""Returns the structures of one text; may raise :class:`RejectedError` for all of it."""


@dataclass(frozen=True)
class Reject:
    """A structure that was turned away.

    Attributes
    ----------
    source
        Place of the text among those that were parsed.
    frame
        Place of the structure in a text with several, otherwise -1.
    name
        Its id where the text has one.
    code, reason
        Key of :data:`~variolite.crystals.files.checks.REASONS`, and a sentence.
    """

    source: int
    frame: int
    name: str
    code: str
    reason: str


@dataclass(frozen=True)
class Parsed:
    """Many structures in flat arrays, not yet checked, and those that cannot be parsed.

    Attributes
    ----------
    species, coordinates, lattices, counts
        As in :class:`~variolite.crystals.Crystals`; shapes (N,), (N, 3),
        (B, 3, 3) and (B,).
    source
        Place of the text that each structure comes from, shape (B,).
    frame
        Place of each structure in a text with several, otherwise -1, shape (B,).
    names
        Ids, "" where the text has none.
    properties
        Further values by structure; empty when no text has any.
    rejects
        What was turned away.
    notes
        How many structures each change on reading concerned.
    """

    species: NDArray[np.uint8]
    coordinates: Floats
    lattices: Floats
    counts: NDArray[np.int64]
    source: NDArray[np.int64]
    frame: NDArray[np.int64]
    names: tuple[str, ...]
    properties: tuple[Mapping[str, Any], ...]
    rejects: tuple[Reject, ...]
    notes: Mapping[str, int]


def gather(texts: Iterable[str], parse: Parser) -> Parsed:
    """Parse texts one after the other into flat arrays.

    Parameters
    ----------
    texts
        The texts.
    parse
        The parser of their format.
    """
    species: list[int] = []
    x: list[float] = []
    y: list[float] = []
    z: list[float] = []
    cells: list[Sequence[float] | Floats] = []
    vectors: dict[int, Floats] = {}
    counts: list[int] = []
    source: list[int] = []
    frame: list[int] = []
    names: list[str] = []
    properties: list[Mapping[str, Any]] = []
    rejects: list[Reject] = []
    notes: dict[str, int] = {}
    for place, text in enumerate(texts):
        found = _attempt(parse, text)
        several = len(found) > 1
        for number, draft in enumerate(found):
            here = number if several else -1
            if isinstance(draft, RejectedError):
                rejects.append(Reject(place, here, draft.name, draft.code, draft.reason))
                continue
            coordinates = draft.coordinates
            if isinstance(coordinates, np.ndarray):
                columns = coordinates.reshape(-1, 3).T.tolist()
                coordinates = (columns[0], columns[1], columns[2])
            species += draft.species
            x += coordinates[0]
            y += coordinates[1]
            z += coordinates[2]
            if len(draft.cell) == 3:
                vectors[len(cells)] = np.asarray(draft.cell, dtype=np.float64)
                cells.append((1.0, 1.0, 1.0, 90.0, 90.0, 90.0))
            else:
                cells.append(draft.cell)
            counts.append(len(draft.species))
            source.append(place)
            frame.append(here)
            names.append(draft.name)
            properties.append(draft.properties)
            for note in draft.notes:
                notes[note] = notes.get(note, 0) + 1
    with np.errstate(all="ignore"):
        lattices = lattices_from_parameters(np.array(cells, dtype=np.float64).reshape(-1, 6))
    if vectors:
        lattices[list(vectors)] = np.stack(list(vectors.values()))
    return Parsed(
        species=np.array(species, dtype=np.uint8),
        coordinates=np.array([x, y, z], dtype=np.float64).T.reshape(-1, 3).copy(),
        lattices=lattices,
        counts=np.array(counts, dtype=np.int64),
        source=np.array(source, dtype=np.int64),
        frame=np.array(frame, dtype=np.int64),
        names=tuple(names),
        properties=tuple(properties) if any(properties) else (),
        rejects=tuple(rejects),
        notes=notes,
    )


def _attempt(parse: Parser, text: str) -> Sequence[Draft | RejectedError]:
    if "\0" in text or "\ufffd" in text:
        return (RejectedError("not_text"),)
    try:
        # Numbers that overflow are met by the checks that follow.
        with np.errstate(all="ignore"):
            found = parse(text)
            return found if isinstance(found, tuple) else tuple(found)
    except RejectedError as error:
        return (error,)
    # What no parser foresaw must not cost the other structures.
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        return (RejectedError("unreadable", f"{type(error).__name__}: {error}"[:160]),)


# Checks of many structures at once: cells, coordinates, sizes, volumes, distances.


Fault = tuple[str, str]
Structures = Parsed | Crystals

_SAME_PLACE = 0.1
_FARTHEST = 1000.0
_FLATTEST = 1e-6


def faults(structures: Structures, limits: Limits) -> dict[int, Fault]:
    """Return what is wrong with structures: reason code and detail, by place.

    Parameters
    ----------
    structures
        What was parsed, or a set.
    limits
        Bounds to hold them against.
    """
    found: dict[int, Fault] = {}
    # Whatever a file may hold is computed with; what comes out is looked at, not warned of.
    with np.errstate(all="ignore"):
        _check_cells(structures, limits, found)
        _check_atoms(structures, limits, found)
        _check_volumes(structures, limits, found)
        _check_distances(structures, limits, found)
    return found


def _mark(
    found: dict[int, Fault], wrong: NDArray[np.bool_], code: str, details: NDArray[np.str_]
) -> None:
    for place, detail in zip(np.flatnonzero(wrong).tolist(), details.tolist(), strict=True):
        found.setdefault(place, (code, detail))


def _spelled(form: str, values: NDArray[np.generic]) -> NDArray[np.str_]:
    return np.array([form.format(value) for value in values.tolist()], dtype=np.str_)


def _check_cells(parsed: Structures, limits: Limits, found: dict[int, Fault]) -> None:
    lengths = cell_parameters(parsed.lattices)[:, :3]
    low, high = limits.lengths
    outside = (lengths < low) | (lengths > high)
    wrong = np.asarray(outside.any(axis=1))
    worst = lengths[wrong, outside[wrong].argmax(axis=1)]
    _mark(found, wrong, "bad_cell", _spelled(f"length {{:.4g}} A, not {low:g} to {high:g}", worst))
    spanned = np.abs(np.linalg.det(parsed.lattices)) > _FLATTEST * lengths.prod(axis=1)
    finite = np.isfinite(parsed.lattices).all(axis=(1, 2))
    wrong = ~(finite & spanned)
    _mark(found, wrong, "bad_cell", np.full(wrong.sum(), "the vectors or angles span no volume"))


def _check_atoms(parsed: Structures, limits: Limits, found: dict[int, Fault]) -> None:
    wrong = np.asarray(parsed.counts == 0)
    _mark(found, wrong, "no_atoms", np.full(wrong.sum(), ""))
    owner = np.repeat(np.arange(len(parsed.counts)), parsed.counts)
    # Beyond a thousand cells it is a Cartesian coordinate, or has lost its digits.
    usable = (np.abs(parsed.coordinates) < _FARTHEST).all(axis=1)
    unusable = np.bincount(owner[~usable], minlength=len(parsed.counts))
    wrong = unusable > 0
    _mark(found, wrong, "bad_coordinates", _spelled("of {} atoms", unusable[wrong]))
    wrong = parsed.counts > limits.max_atoms
    form = f"{{}}, the limit is {limits.max_atoms}"
    _mark(found, wrong, "too_many_atoms", _spelled(form, parsed.counts[wrong]))


def _check_volumes(parsed: Structures, limits: Limits, found: dict[int, Fault]) -> None:
    per_atom = np.abs(np.linalg.det(parsed.lattices)) / np.maximum(parsed.counts, 1)
    low, high = limits.volume_per_atom
    wrong = (per_atom < low) | (per_atom > high)
    form = f"{{:.4g}} A^3, not {low:g} to {high:g}"
    _mark(found, wrong, "volume_per_atom", _spelled(form, per_atom[wrong]))


def _check_distances(parsed: Structures, limits: Limits, found: dict[int, Fault]) -> None:
    offsets = np.concatenate([[0], np.cumsum(parsed.counts)]).astype(np.int64)
    sound = np.ones(len(parsed.counts), dtype=bool)
    sound[list(found)] = False
    crystals = Crystals(
        parsed.species,
        parsed.coordinates,
        parsed.lattices,
        offsets,
        np.empty(len(parsed.counts), np.str_),
    )
    pairs = close_pairs(crystals, np.flatnonzero(sound), limits.min_distance)
    for place, first, second, distance in zip(
        pairs.structure.tolist(),
        pairs.first.tolist(),
        pairs.second.tolist(),
        pairs.distance.tolist(),
        strict=True,
    ):
        one, two = (SYMBOLS[parsed.species[offsets[place] + atom]] for atom in (first, second))
        same = one == two and first != second and distance < _SAME_PLACE
        code = "duplicate_atoms" if same else "overlapping_atoms"
        found[place] = (code, f"{one} and {two} are {distance:.3f} A apart")
