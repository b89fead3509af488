"""Extended XYZ and POSCAR to drafts; crystals to and from pymatgen and ASE.

The two texts are read here and not by those packages, since a crystal must never change
unnoticed: ase makes 7 of the id "007" and stops at the first faulty frame; it pairs elements
and counts of a POSCAR up to the shorter of the two; pymatgen calls unnamed atoms H and He.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import ATOMIC_NUMBERS, HEAVIEST, symbols_of
from variolite.crystals.files.checks import RejectedError, element_of
from variolite.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core.structure import Structure


Floats = NDArray[np.float64]

# What a structure is called: by a column or key, or by its file.

IDS = ("material_id", "mp_id", "id", "name", "structure_id", "entry_id", "refcode", "jid")
"""Columns and keys that hold ids, in order of preference; in any capitals."""

_VASP = re.compile(r"(?i)^(?:poscar|contcar)[._-]*")


def name_of_file(path: Path) -> str:
    """Return mp-1 of ``mp-1.cif`` or ``POSCAR_mp-1``; of a bare ``POSCAR`` the folder's name."""
    name = path.name
    for ending in (
        *(".gz", ".bz2", ".xz", ".cif", ".mcif", ".vasp", ".poscar", ".contcar"),
        *(".json", ".jsonl", ".extxyz", ".xyz"),
    ):
        if name.casefold().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    return _VASP.sub("", name) or path.resolve().parent.name or name


# To and from the structures of pymatgen and ASE, with the same order of atoms.


def import_extra(module: str) -> Any:
    """Import a module of the extra ``crystals``, or raise a DataError that says what to install."""
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        hint = "run pip install 'variolite[crystals]'"
        raise DataError(f"{package} is not installed", hint=hint) from None


def to_pymatgen(crystal: Crystal) -> Structure:
    """Return a pymatgen ``Structure``; a DataError without pymatgen."""
    structures = import_extra("pymatgen.core.structure")
    symbols = symbols_of(crystal.species).tolist()
    found: Structure = structures.Structure(crystal.lattice, symbols, crystal.coordinates)
    return found


def from_pymatgen(
    structures: Structure | Iterable[Structure], names: Iterable[str] = ()
) -> Crystals:
    """Return crystals of one pymatgen ``Structure`` or several, called 0, 1, 2 ... by default.

    Oxidation states and site properties are left out. Raises a DataError if a site is partially
    occupied or holds no element.
    """
    # Whoever has such an object has pymatgen: this import cannot be the one that fails.
    from pymatgen.core.structure import Structure

    found = [structures] if isinstance(structures, Structure) else list(structures)
    return Crystals.of(map(_of_structure, found, _names(names, len(found))))


def _of_structure(structure: Structure, name: str) -> Crystal:
    if not structure.is_ordered:
        what = "the structure has partially occupied sites"
        raise DataError(what, where=name, hint="Order it first")
    numbers = [getattr(site.specie, "Z", 0) for site in structure.sites]
    return _crystal(numbers, structure.frac_coords, structure.lattice.matrix, name)


def to_ase(crystal: Crystal) -> Atoms:
    """Return ASE ``Atoms``, periodic in three directions; a DataError without ASE."""
    numbers, cell = crystal.species.astype(int), crystal.lattice
    new = import_extra("ase").Atoms
    atoms: Atoms = new(numbers=numbers, scaled_positions=crystal.coordinates, cell=cell, pbc=True)
    return atoms


def from_ase(atoms: Atoms | Iterable[Atoms], names: Iterable[str] = ()) -> Crystals:
    """Return crystals of one ASE ``Atoms`` or several, called 0, 1, 2 ... by default.

    Raises a DataError if one has no three-dimensional cell, or an atom is not an element.
    """
    from ase import Atoms

    found = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    return Crystals.of(map(_of_atoms, found, _names(names, len(found))))


def _of_atoms(atoms: Any, name: str) -> Crystal:
    if atoms.cell.rank < 3:
        raise DataError("the atoms have no three-dimensional cell", where=name)
    coordinates = atoms.get_scaled_positions(wrap=False)
    return _crystal(atoms.numbers.tolist(), coordinates, atoms.cell.array, name)


def _names(names: Iterable[str], count: int) -> list[str]:
    given = list(names) or [str(place) for place in range(count)]
    if len(given) != count:
        raise DataError(f"{len(given)} names for {count} structures")
    return given


def _crystal(numbers: list[int], coordinates: ArrayLike, lattice: ArrayLike, name: str) -> Crystal:
    if not all(1 <= number <= HEAVIEST for number in numbers):
        raise DataError("a site holds no element", where=name)
    species = np.array(numbers, dtype=np.uint8)
    placed = np.array(coordinates, dtype=np.float64).reshape(-1, 3)
    return Crystal(species, placed, np.array(lattice, dtype=np.float64), name)


# What a parser hands on.


@dataclass(slots=True)
class Draft:
    """One structure as it was read, not yet checked."""

    species: Sequence[int]  # atomic numbers
    coordinates: Sequence[Sequence[float]] | Floats  # fractional: three sequences, or (n, 3)
    cell: Sequence[float] | Floats  # six cell parameters, or lattice vectors (3, 3)
    name: str = ""  # its id where the text has one
    properties: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what was changed on reading


Parser = Callable[[str], Iterable[Draft | RejectedError]]
"""Returns the structures of one text, faulty ones as the error; may reject all of it."""


def species_of(symbols: Iterable[str]) -> tuple[list[int], tuple[str, ...]]:
    """Return atomic numbers, and notes such as of isotopes among them."""
    found = [element_of(symbol) for symbol in symbols]
    if not all(number for number, _ in found):
        raise RejectedError("unknown_element", "a vacancy")
    return [number for number, _ in found], tuple(dict.fromkeys(note for _, note in found if note))


def lattice_of(values: ArrayLike) -> Floats:
    """Return lattice vectors of nine numbers that span a volume."""
    lattice = np.array(values, dtype=np.float64).reshape(3, 3)
    if not np.isfinite(lattice).all() or abs(float(np.linalg.det(lattice))) < 1e-6:
        raise RejectedError("bad_cell", "the vectors span no volume")
    return lattice


# Extended XYZ.

_PAIR = re.compile(r"""([^\s="']+)\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*'|\{[^}]*\}|\[[^\]]*\]|[^\s]+)""")
_BRACKETS = re.compile(r"[\[\]{},]")
_SYMBOLS = ("species", "symbols", "element", "elements")
_NUMBERS = ("z", "numbers", "atomic_numbers")
_TRUE = frozenset({"t", "true", "1"})
_FLAGS = {"t": 1.0, "f": 0.0, "true": 1.0, "false": 0.0}


def parse_extxyz(text: str) -> Iterator[Draft | RejectedError]:
    """Yield every frame, with the single values of its comment line as properties.

    After a faulty frame reading continues, unless what follows cannot be split into frames.
    """
    if not text.strip():
        raise RejectedError("empty")
    lines = text.splitlines()
    place = 0
    while place < len(lines):
        if not lines[place].strip():
            place += 1
            continue
        try:
            count = int(lines[place])
        except ValueError:
            yield RejectedError("unreadable", f"line {place + 1} is not a number of atoms")
            return
        if count < 0 or place + 2 + count > len(lines):
            yield RejectedError("unreadable", f"line {place + 1} announces {count} atoms")
            return
        try:
            yield _frame(lines[place + 1], lines[place + 2 : place + 2 + count])
        except RejectedError as error:
            yield error
        place += 2 + count


def _frame(comment: str, rows: list[str]) -> Draft:
    pairs = {key: _unquoted(value) for key, value in _PAIR.findall(comment)}
    folded = {key.lower(): value for key, value in pairs.items()}
    if "lattice" not in folded:
        raise RejectedError("no_cell", "the comment line has no Lattice")
    periodic = _BRACKETS.sub(" ", folded.get("pbc", "")).split()
    if not _TRUE.issuperset(word.lower() for word in periodic):
        detail = f"not periodic in three directions (pbc {' '.join(periodic)})"
        raise RejectedError("no_cell", detail)
    try:
        lattice = lattice_of([float(w) for w in _BRACKETS.sub(" ", folded["lattice"]).split()])
    except ValueError:
        raise RejectedError("bad_cell", "Lattice is not nine numbers") from None
    if not rows:
        raise RejectedError("no_atoms")
    columns = _columns(folded.get("properties", "species:S:1:pos:R:3"))
    words = [row.split() for row in rows]
    width = max(place + count for place, count in columns.values())
    if min(map(len, words)) < width:
        raise RejectedError("unreadable", f"a line of atoms has fewer than {width} columns")
    species, notes = _extxyz_species(words, columns)
    start, size = columns.get("pos", (0, 0))
    if size != 3:
        raise RejectedError("bad_coordinates", "there is no column pos:R:3")
    try:
        positions = np.array([row[start : start + 3] for row in words], dtype=np.float64)
    except ValueError:
        raise RejectedError("bad_coordinates", "a position is not a number") from None
    taken = {"lattice", "properties", "pbc", *IDS}
    scalars = {key: _scalar(value) for key, value in pairs.items() if key.lower() not in taken}
    properties = {key: value for key, value in scalars.items() if value is not None}
    name = next((folded[key] for key in IDS if key in folded), "")
    return Draft(species, positions @ np.linalg.inv(lattice), lattice, name, properties, notes)


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


def _extxyz_species(
    words: list[list[str]], columns: dict[str, tuple[int, int]]
) -> tuple[list[int], tuple[str, ...]]:
    name = next((name for name in (*_SYMBOLS, *_NUMBERS) if name in columns), None)
    if name is None:
        raise RejectedError("unknown_element", "there is no column of species")
    given = [row[columns[name][0]] for row in words]
    if name in _SYMBOLS:
        return species_of(given)
    numbers = [int(word) if word.isdigit() else 0 for word in given]
    if not all(1 <= number <= HEAVIEST for number in numbers):
        raise RejectedError("unknown_element", "an atomic number out of range")
    return numbers, ()


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1].replace('\\"', '"')
    return value


def _scalar(value: str) -> float | str | None:
    """Return a number or a word; None for several numbers, or a list of anything."""
    if value.startswith(("[", "{", "_JSON")):
        return None
    try:
        numbers = [float(word) for word in value.split()]
    except ValueError:
        return _FLAGS.get(value.lower(), value)
    if len(numbers) > 1:
        return None
    return numbers[0] if numbers else value


# POSCAR and CONTCAR of VASP.


def parse_poscar(text: str) -> tuple[Draft]:
    """Read a POSCAR of VASP 5, or of VASP 4 where its comment or its atoms name the elements.

    Direct and Cartesian coordinates, one scale, three scales or a volume, and selective
    dynamics are understood; velocities are passed over.
    """
    if not text.strip():
        raise RejectedError("empty")
    lines = text.splitlines()
    if len(lines) < 7:
        raise RejectedError("unreadable", "fewer than seven lines")
    vectors = np.array([_numbers(lines, 2 + axis, 3) for axis in range(3)])
    scale = _scale(lines, vectors)
    symbols, counts, place = _poscar_species(lines)
    total = sum(counts)
    if total == 0:
        raise RejectedError("no_atoms")
    selective = place < len(lines) and lines[place].strip()[:1].lower() == "s"
    place += selective
    if place >= len(lines):
        raise RejectedError("unreadable", "the text ends before the coordinates")
    rows = range(place + 1, min(place + 1 + total, len(lines)))
    if len(rows) < total:
        raise RejectedError("unreadable", f"{total} atoms are announced, {len(rows)} are listed")
    positions = np.array([_numbers(lines, row, 3) for row in rows])
    if not np.isfinite(positions).all():
        raise RejectedError("bad_coordinates")
    lattice = vectors * scale
    if not np.isfinite(lattice).all():
        raise RejectedError("bad_cell", "a number is not finite")
    if lines[place].strip()[:1].lower() in ("c", "k"):
        positions = (positions * scale) @ np.linalg.inv(lattice_of(lattice))
    if not symbols:
        # VASP 4: behind the coordinates and the flags of selective dynamics (F is not fluorine).
        behind = 6 if selective else 3
        symbols = [(lines[row].split()[behind:] or ["nothing"])[0] for row in rows]
        counts = [1] * total
        if not all(symbol in ATOMIC_NUMBERS for symbol in symbols):
            raise RejectedError("unknown_element", "the elements are not named anywhere")
    species, notes = species_of(symbols)
    return (Draft(np.repeat(species, counts).tolist(), positions, lattice, notes=notes),)


def _numbers(lines: list[str], row: int, count: int) -> list[float]:
    """Return the first numbers of a line, counted from 0."""
    try:
        values = [float(word) for word in lines[row].split()[:count]]
    except ValueError:
        values = []
    if len(values) < count:
        raise RejectedError("unreadable", f"line {row + 1} has fewer than {count} numbers")
    return values


def _scale(lines: list[str], vectors: Floats) -> Floats:
    """Return the factor of each Cartesian axis; a negative number is the volume."""
    try:
        return np.array([float(word) for word in lines[1].split()[:3]]).reshape(3)
    except ValueError:
        factor = _numbers(lines, 1, 1)[0]
    if factor < 0:
        volume = abs(float(np.linalg.det(vectors)))
        factor = (-factor / volume) ** (1 / 3) if volume > 0 else math.nan
    return np.full(3, factor)


def _poscar_species(lines: list[str]) -> tuple[list[str], list[int], int]:
    """Return symbols (none where atoms have to name them), counts and the next line."""
    # What follows an exclamation mark is a remark.
    words = lines[5].partition("!")[0].split()
    if words and all(word.isdigit() for word in words):
        named = lines[0].split()[: len(words)]
        known = len(named) == len(words) and all(name in ATOMIC_NUMBERS for name in named)
        return (named if known else []), [int(word) for word in words], 6
    # Files of the VASP library name their potentials: Fe_pv, or Fe/a1b2c3.
    symbols = [word.split("_")[0].split("/")[0] for word in words]
    counts = [int(word) for word in takewhile(str.isdigit, lines[6].split())]
    if not symbols or len(symbols) != len(counts):
        detail = f"line 6 names {len(symbols)} elements, line 7 has {len(counts)} counts"
        raise RejectedError("unreadable", detail)
    return symbols, counts, 7
