"""POSCAR and CONTCAR texts of VASP to drafts of structures."""

from __future__ import annotations

import math

import numpy as np

from variolite.crystals.structures.elements import ATOMIC_NUMBERS
from variolite.crystals.structures.labels import DEUTERIUM, element_of
from variolite.crystals.structures.parsed import Draft
from variolite.crystals.structures.rejection import RejectedError

__all__ = ["parse_poscar"]


def parse_poscar(text: str) -> tuple[Draft]:
    """Read a POSCAR of VASP 5, or of VASP 4 where its comment or its atoms name the elements.

    Direct and Cartesian coordinates, one scale, three scales or a volume, and selective
    dynamics are understood; velocities are passed over.

    Raises
    ------
    RejectedError
        If the text is no POSCAR, or holds no usable structure.
    """
    lines = text.splitlines()
    if not text.strip():
        raise RejectedError("empty")
    if len(lines) < 7:
        raise RejectedError("unreadable", "fewer than seven lines")
    vectors = np.array([_numbers(lines[2 + axis], 3, f"line {3 + axis}") for axis in range(3)])
    scale = _scale(lines[1], vectors)
    lattice = vectors * scale
    symbols, counts, next_line = _species(lines)
    total = sum(counts)
    if total == 0:
        raise RejectedError("no_atoms")
    selective = next_line < len(lines) and lines[next_line].strip()[:1].lower() == "s"
    next_line += selective
    if next_line >= len(lines):
        raise RejectedError("unreadable", "the text ends before the coordinates")
    cartesian = lines[next_line].strip()[:1].lower() in ("c", "k")
    rows = lines[next_line + 1 : next_line + 1 + total]
    if len(rows) < total:
        raise RejectedError("unreadable", f"{total} atoms are announced, {len(rows)} are listed")
    positions = np.array(
        [_numbers(row, 3, f"line {next_line + 2 + i}") for i, row in enumerate(rows)]
    )
    if not np.isfinite(positions).all():
        raise RejectedError("bad_coordinates")
    if not np.isfinite(lattice).all():
        raise RejectedError("bad_cell", "a number is not finite")
    if cartesian:
        if abs(float(np.linalg.det(lattice))) < 1e-6:
            raise RejectedError("bad_cell", "the vectors span no volume")
        positions = (positions * scale) @ np.linalg.inv(lattice)
    if not symbols:
        symbols, counts = _symbols_of_rows(rows, 6 if selective else 3), [1] * total
    elements = [element_of(symbol) for symbol in symbols]
    species = [z for (z, _), count in zip(elements, counts, strict=True) for _ in range(count)]
    notes = (DEUTERIUM,) if any(isotope for _, isotope in elements) else ()
    return (Draft(species, positions, lattice, notes=notes),)


def _numbers(line: str, count: int, place: str) -> list[float]:
    try:
        values = [float(word) for word in line.split()[:count]]
    except ValueError:
        raise RejectedError("unreadable", f"{place} has no {count} numbers") from None
    if len(values) < count:
        raise RejectedError("unreadable", f"{place} has no {count} numbers")
    return values


def _scale(
    line: str, vectors: np.ndarray[tuple[int, int], np.dtype[np.float64]]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the factor of each Cartesian axis; a negative number is the volume."""
    words = line.split()
    if len(words) >= 3:
        try:
            return np.array([float(word) for word in words[:3]])
        except ValueError:
            pass
    factor = _numbers(line, 1, "line 2")[0]
    if factor < 0:
        volume = abs(float(np.linalg.det(vectors)))
        factor = (-factor / volume) ** (1 / 3) if volume > 0 else math.nan
    return np.full(3, factor)


def _species(lines: list[str]) -> tuple[list[str], list[int], int]:
    """Return symbols (none where atoms have to name them), counts and the next line."""
    words = lines[5].split()
    if words and all(word.isdigit() for word in words):
        counts = [int(word) for word in words]
        named = lines[0].split()[: len(counts)]
        known = len(named) == len(counts) and all(name in ATOMIC_NUMBERS for name in named)
        return (named if known else []), counts, 6
    # Files of the VASP library name their potentials: Fe_pv, or Fe/a1b2c3.
    symbols = [word.split("_")[0].split("/")[0] for word in words]
    counts = []
    for word in lines[6].split():
        if not word.isdigit():
            break
        counts.append(int(word))
    if not symbols or len(symbols) != len(counts):
        raise RejectedError(
            "unreadable", f"line 6 names {len(symbols)} elements, line 7 has {len(counts)} counts"
        )
    return symbols, counts, 7


def _symbols_of_rows(rows: list[str], column: int) -> list[str]:
    """Return the symbols after coordinates, and flags where there are some: F is fluorine."""
    symbols = [row.split()[column : column + 1] for row in rows]
    if not all(symbol and symbol[0] in ATOMIC_NUMBERS for symbol in symbols):
        raise RejectedError("unknown_element", "the elements are not named anywhere")
    return [symbol[0] for symbol in symbols]
