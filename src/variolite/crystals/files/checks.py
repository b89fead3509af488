"""What a structure has to be, and the named reasons for which one is rejected."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals, cell_parameters
from variolite.crystals.elements import ATOMIC_NUMBERS, SYMBOLS
from variolite.crystals.periodic import close_pairs

# Reasons for which a structure is rejected, by name.

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

HINTS: Mapping[str, str] = {
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


@dataclass(frozen=True)
class Limits:
    """Bounds between which a structure is believed."""

    max_atoms: int = 512  # in the cell, after symmetry
    min_distance: float = 0.5  # angstrom between two atoms, periodic images included
    volume_per_atom: tuple[float, float] = (3.0, 300.0)  # cubic angstrom
    lengths: tuple[float, float] = (0.5, 200.0)  # of a lattice vector in angstrom
    max_rejected: float = 1.0  # fraction of structures; it is an error if more are, or if all are


NO_LIMITS = Limits(1_000_000, 0.0, (0.0, math.inf), (0.0, math.inf))
"""Let pass whatever is a structure at all, such as what a model made."""


class RejectedError(Exception):
    """Raised by a parser for one structure; never leaves the reading functions.

    ``code`` is a key of :data:`REASONS`, ``detail`` what exactly was found, and ``name`` the id of
    the structure where the text has one.
    """

    def __init__(self, code: str, detail: str = "", name: str = "") -> None:
        self.code, self.detail, self.name = code, detail, name
        self.reason = f"{REASONS[code]}: {detail}" if detail else REASONS[code]
        super().__init__(code, self.reason)


# Elements by the symbols and labels that files write.

DEUTERIUM = "deuterium or tritium was read as hydrogen"

_LETTERS = re.compile(r"[A-Za-z]{1,3}")
_ISOTOPES = frozenset("DT")


@lru_cache(maxsize=4096)
def element_of(text: str, *, is_label: bool = False) -> tuple[int, bool]:
    """Return the atomic number of ``Fe3+`` or ``Fe1A``, and whether it was deuterium or tritium.

    A label begins with the symbol and continues as it likes; a symbol is followed by a charge or
    a number at most. Labels in capitals that may be one of two elements are rejected.
    """
    found = _LETTERS.match(text)
    letters = found[0] if found else ""
    if letters in ATOMIC_NUMBERS:
        return ATOMIC_NUMBERS[letters], False
    if letters in _ISOTOPES:
        return 1, True
    # A symbol is one as a whole: WAT or OH is a group, not tungsten or oxygen.
    candidates = [letters.capitalize()]
    if is_label:
        one, two = letters[:1], letters[:2].capitalize()
        candidates = [two, one.upper()]
        if one in ATOMIC_NUMBERS and two in ATOMIC_NUMBERS and letters[1:2].isupper():
            raise RejectedError("unknown_element", f"label {text!r} may be {one} or {two}")
    for candidate in candidates:
        if candidate in ATOMIC_NUMBERS:
            return ATOMIC_NUMBERS[candidate], False
    if is_label and letters[:1] in _ISOTOPES:
        return 1, True
    raise RejectedError("unknown_element", repr(text)[:40])


# Checks of many structures at once: cells, coordinates, sizes, volumes, distances.

# Distance in angstrom below which two atoms of one element are one atom listed twice.
_SAME_PLACE = 0.1
# Fractional coordinates beyond are Cartesian, or have lost their digits.
_FARTHEST = 1000.0
# Volume over the product of the lengths of the flattest cell.
_FLATTEST = 1e-6


def faults(crystals: Crystals, limits: Limits) -> dict[int, RejectedError]:
    """Return what is wrong with structures, by place; the first fault of each."""
    found: dict[int, RejectedError] = {}
    counts = crystals.counts

    def mark(wrong: Any, code: str, form: str = "", values: NDArray[Any] = counts) -> None:
        for place in np.flatnonzero(wrong).tolist():
            found.setdefault(place, RejectedError(code, form.format(values[place].item())))

    # Whatever a file may hold is computed with; what comes out is looked at, not warned of.
    with np.errstate(all="ignore"):
        volumes = crystals.volumes
        lengths = cell_parameters(crystals.lattices)[:, :3]
        low, high = limits.lengths
        outside = (lengths < low) | (lengths > high)
        worst = np.take_along_axis(lengths, outside.argmax(axis=1)[:, None], axis=1)[:, 0]
        mark(outside.any(axis=1), "bad_cell", f"length {{:.4g}} A, not {low:g} to {high:g}", worst)
        # NaN fails every comparison: what is asked is always what has to hold.
        spanned = volumes > _FLATTEST * lengths.prod(axis=1)
        finite = np.isfinite(crystals.lattices).all(axis=(1, 2))
        mark(~(finite & spanned), "bad_cell", "the vectors or angles span no volume")

        mark(counts == 0, "no_atoms")
        usable = (np.abs(crystals.coordinates) < _FARTHEST).all(axis=1)
        unusable = np.bincount(crystals.owner[~usable], minlength=len(crystals))
        mark(unusable > 0, "bad_coordinates", "of {} atoms", unusable)
        largest = limits.max_atoms
        mark(counts > largest, "too_many_atoms", f"{{}}, the limit is {largest}")

        per_atom = volumes / np.maximum(counts, 1)
        low, high = limits.volume_per_atom
        wrong = (per_atom < low) | (per_atom > high)
        mark(wrong, "volume_per_atom", f"{{:.4g}} A^3, not {low:g} to {high:g}", per_atom)

        # Only where everything else is right can distances be measured at all.
        sound = np.setdiff1d(np.arange(len(crystals)), list(found))
        pairs = close_pairs(crystals, sound, limits.min_distance)
    for place, first, second, distance in zip(*(part.tolist() for part in pairs), strict=True):
        species = crystals.species[crystals.offsets[place] :]
        one, two = SYMBOLS[species[first]], SYMBOLS[species[second]]
        same = one == two and first != second and distance < _SAME_PLACE
        code = "duplicate_atoms" if same else "overlapping_atoms"
        found[place] = RejectedError(code, f"{one} and {two} are {distance:.3f} A apart")
    return found
