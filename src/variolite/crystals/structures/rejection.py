"""Reasons for which a structure is turned away, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

__all__ = ["MENDS", "NO_LIMITS", "REASONS", "REJECT_SCHEMA", "Limits", "RejectedError"]

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
