"""Reasons for which a structure is turned away, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

__all__ = ["NO_LIMITS", "REASONS", "REJECT_SCHEMA", "Limits", "RejectedError"]

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
