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
from variolite.crystals.geometry.periodic import close_pairs

# Reasons for which a structure is rejected, by name.

REASONS: Mapping[str, str] = {
    "empty": "the text is empty",
    "not_text": "not text",
    "unreadable": "cannot be parsed",
    "unreadable_file": "the file cannot be read",
    "no_structure": "holds no structure",
    "no_cell": "has no cell",
    "bad_cell": "lengths or angles of the cell are impossible",
    "no_atoms": "has no atoms",
    "bad_coordinates": "a coordinate is missing or not a number",
    "unknown_element": "an element is unknown or not named",
    "partial_occupancy": "a site is not fully occupied",
    "disorder": "holds disorder groups",
    "missing_symmetry": "the symmetry operations are missing or incomplete",
    "duplicate_atoms": "two atoms of one element at one place",
    "overlapping_atoms": "atoms are too close",
    "volume_per_atom": "volume per atom out of range",
    "too_many_atoms": "more atoms than allowed",
    "not_trained_on": "the model was not trained on an element",
}
"""What each reason code means."""

HINTS: Mapping[str, str] = {
    "empty": "Export the structure again",
    "not_text": "Save it as text",
    "unreadable": "Correct it, or export it again from the program that wrote it",
    "unreadable_file": "Check the file, and download or export it again",
    "no_structure": "Give files that hold a cell and atoms",
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
    "not_trained_on": "Leave it out, or train a model on data that have the element",
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


# Notes on structures that were read: harmless ones, and doubts, which --strict refuses.

DEUTERIUM = "deuterium or tritium was read as hydrogen"
GUESSED = "elements were guessed from labels"
VACANT = "vacancies and sites of occupancy 0 were left out"
CONTRADICTED = "the sites differ from the formula sum"
REPEATED = "repeated tags were passed over"
PASSED_OVER = "lines that are not CIF were passed over"
NOT_UTF8 = "text that is not UTF-8 was read as Windows-1252 or UTF-16"

HARMLESS = frozenset({REPEATED, PASSED_OVER, NOT_UTF8})
"""Notes that concern no atom and no cell."""

OCCUPANCY_SLACK = 1e-3  # By which a full site may differ from 1.

# Elements by the symbols and labels that files write.

_LETTERS = re.compile(r"[A-Za-z]{1,3}")
_ISOTOPES = frozenset("DT")
_WATER, _VACANCY = re.compile(r"(?i)wat(er)?(?![a-z])"), re.compile(r"(?i)vac(ancy)?(?![a-z])")
# Labels that name a kind of site, which several elements may occupy; T is tetrahedral, too.
_SITES = re.compile(
    r"(?i)(?:cat|cation|tet|oct|cav|cub|hole|void|va|site|pos|alk|hal|lig|inter|t)(?![a-z])"
    r"|[HD][23]O"
)
# Two elements in one: Al/Si1, AlSi1.
_SEVERAL = re.compile(r"[A-Z][a-z]?(?:\d*[,/+|]\s*[A-Z]|[A-Z][a-z](?![A-Za-z]))")


@lru_cache(maxsize=4096)
def element_of(
    text: str, *, is_label: bool = False, declared: frozenset[int] = frozenset()
) -> tuple[int, str]:
    """Return the atomic number of ``Fe3+`` or ``Fe1A``, 0 for a vacancy, and what is to be noted.

    A label begins with the symbol and continues as it likes; a symbol is followed by a charge or
    a number at most. Labels that may be one of several elements are rejected, unless just one is
    among those that the formula ``declared``; of a declared formula a label has to be part.
    """
    found = _LETTERS.match(text)
    letters = found[0] if found else ""
    if _VACANCY.match(text):
        return 0, VACANT
    if _WATER.match(text):
        return 8, f"{GUESSED}: {text} as O of water"
    if not is_label:
        if letters in _ISOTOPES:
            return 1, DEUTERIUM
        # A symbol is one as a whole: OH is a group, not oxygen.
        symbol = letters if letters in ATOMIC_NUMBERS else letters.capitalize()
        if symbol in ATOMIC_NUMBERS:
            return ATOMIC_NUMBERS[symbol], ""
        raise RejectedError("unknown_element", repr(text)[:40])
    return _of_label(text, letters, declared)


def _of_label(text: str, letters: str, declared: frozenset[int]) -> tuple[int, str]:
    if _SITES.match(text) or _SEVERAL.match(text):
        raise RejectedError("unknown_element", f"label {text[:30]!r} may be one of several")
    one, two = letters[:1].upper(), letters[:2].capitalize()
    candidates = [letters] if letters in ATOMIC_NUMBERS else [two, one]
    known = [symbol for symbol in dict.fromkeys(candidates) if symbol in ATOMIC_NUMBERS]
    if not known and one == "D":
        known = ["H"]
    likely = [symbol for symbol in known if not declared or ATOMIC_NUMBERS[symbol] in declared]
    if known and not likely:
        what = f"label {text[:30]!r} names {known[0]}, which the formula sum lacks"
        raise RejectedError("unknown_element", what)
    if not likely:
        raise RejectedError("unknown_element", repr(text)[:40])
    # In capitals it may be either: NA is sodium, or a nitrogen called A.
    if len(likely) > 1 and letters[:2].isupper():
        raise RejectedError("unknown_element", f"label {text[:30]!r} may be {one} or {two}")
    symbol = likely[0]
    guess = f"{GUESSED}: {text} as {symbol}"
    note = DEUTERIUM if letters == "D" else "" if letters == symbol else guess
    return ATOMIC_NUMBERS[symbol], note


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
