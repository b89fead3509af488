"""Extended XYZ texts to drafts of structures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from variolite.crystals.structures.elements import HEAVIEST
from variolite.crystals.structures.labels import DEUTERIUM, element_of
from variolite.crystals.structures.naming import IDS
from variolite.crystals.structures.parsed import Draft
from variolite.crystals.structures.rejection import RejectedError

__all__ = ["parse_extxyz"]

_PAIR = re.compile(r"""([^\s="']+)\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*'|\{[^}]*\}|\[[^\]]*\]|[^\s]+)""")
_DEFAULT = "species:S:1:pos:R:3"
_SYMBOLS = ("species", "symbols", "element", "elements")
_NUMBERS = ("z", "numbers", "atomic_numbers")
_TRUE = frozenset({"t", "true", "1"})


def parse_extxyz(text: str) -> Iterator[Draft | RejectedError]:
    """Read every frame; a faulty one is handed on as the error, and reading goes on.

    Yields
    ------
    Draft
        With the values of the comment line that are no vectors as properties.

    Raises
    ------
    RejectedError
        If the text is empty, or what follows cannot be told apart into frames.
    """
    lines = text.splitlines()
    place = 0
    frames = 0
    while place < len(lines):
        if not lines[place].strip():
            place += 1
            continue
        try:
            count = int(lines[place])
        except ValueError:
            yield RejectedError("unreadable", f"line {place + 1} is no number of atoms")
            return
        if count < 0 or place + 2 + count > len(lines):
            yield RejectedError("unreadable", f"line {place + 1} announces {count} atoms")
            return
        rows = lines[place + 2 : place + 2 + count]
        try:
            yield _frame(lines[place + 1], rows)
        except RejectedError as error:
            yield error
        place += 2 + count
        frames += 1
    if not frames:
        raise RejectedError("empty")


def _frame(comment: str, rows: list[str]) -> Draft:
    pairs = {key: _unquoted(value) for key, value in _PAIR.findall(comment)}
    folded = {key.lower(): value for key, value in pairs.items()}
    lattice = _lattice(folded)
    if not rows:
        raise RejectedError("no_atoms")
    columns = _columns(folded.get("properties", _DEFAULT))
    words = [row.split() for row in rows]
    width = max(place + count for place, count in columns.values())
    if min(map(len, words)) < width:
        raise RejectedError("unreadable", f"a line of atoms has fewer than {width} columns")
    species, isotopes = _species(words, columns)
    start, size = columns.get("pos", (0, 0))
    if size != 3:
        raise RejectedError("bad_coordinates", "there is no column pos:R:3")
    try:
        positions = np.array([row[start : start + 3] for row in words], dtype=np.float64)
    except ValueError:
        raise RejectedError("bad_coordinates", "a position is no number") from None
    properties = {
        key: _scalar(value)
        for key, value in pairs.items()
        if key.lower() not in ("lattice", "properties", "pbc", *IDS) and not _is_vector(value)
    }
    return Draft(
        species,
        positions @ np.linalg.inv(lattice),
        lattice,
        name=next((folded[key] for key in IDS if key in folded), ""),
        properties=properties,
        notes=(DEUTERIUM,) if isotopes else (),
    )


def _lattice(folded: dict[str, str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    if "lattice" not in folded:
        raise RejectedError("no_cell", "the comment line has no Lattice")
    words = re.sub(r"[\[\]{},]", " ", folded.get("pbc", "")).split()
    if words and not all(word.lower() in _TRUE for word in words):
        raise RejectedError("no_cell", f"not periodic in three directions (pbc {' '.join(words)})")
    try:
        values = [float(word) for word in re.sub(r"[\[\]{},]", " ", folded["lattice"]).split()]
        lattice = np.array(values, dtype=np.float64).reshape(3, 3)
    except ValueError:
        raise RejectedError("bad_cell", "Lattice is not nine numbers") from None
    if not np.isfinite(lattice).all() or abs(float(np.linalg.det(lattice))) < 1e-6:
        raise RejectedError("bad_cell", "the vectors span no volume")
    return lattice


def _columns(layout: str) -> dict[str, tuple[int, int]]:
    """Return first column and number of columns by name, from ``species:S:1:pos:R:3``."""
    words = layout.split(":")
    columns = {}
    place = 0
    try:
        for name, _, size in zip(words[::3], words[1::3], words[2::3], strict=True):
            columns[name.lower()] = (place, int(size))
            place += int(size)
    except ValueError:
        raise RejectedError("unreadable", f"Properties={layout!r} is not understood") from None
    return columns


def _species(words: list[list[str]], columns: dict[str, tuple[int, int]]) -> tuple[list[int], bool]:
    for name in _SYMBOLS:
        if name in columns:
            place = columns[name][0]
            found = [element_of(row[place]) for row in words]
            return [z for z, _ in found], any(isotope for _, isotope in found)
    for name in _NUMBERS:
        if name in columns:
            place = columns[name][0]
            numbers = [int(row[place]) if row[place].isdigit() else 0 for row in words]
            if not all(1 <= number <= HEAVIEST for number in numbers):
                raise RejectedError("unknown_element", "an atomic number out of range")
            return numbers, False
    raise RejectedError("unknown_element", "there is no column of species")


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1].replace('\\"', '"')
    return value


def _is_vector(value: str) -> bool:
    """Return whether a value is several numbers, or a list of anything."""
    words = value.split()
    try:
        return value.startswith(("[", "{", "_JSON")) or (
            len(words) > 1 and bool([float(w) for w in words])
        )
    except ValueError:
        return False


def _scalar(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return {"t": 1.0, "f": 0.0, "true": 1.0, "false": 0.0}.get(value.lower(), value)
