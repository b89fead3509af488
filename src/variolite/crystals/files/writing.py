"""Writing sets of crystals: folders of files, tables, trajectories, stores."""

from __future__ import annotations

import gzip
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.atomic import placed
from variolite.crystals.crystals import Crystal, Crystals, cell_parameters
from variolite.crystals.elements import SYMBOLS, atomic_numbers, reduced_formulas, symbols_of
from variolite.crystals.files.cif import CELL
from variolite.crystals.files.groups import SYMPREC, ask_spglib
from variolite.crystals.files.store import write_store
from variolite.crystals.files.symmetry import expand, operations_of_hall
from variolite.errors import DataError
from variolite.records import write_bytes_atomic, write_table
from variolite.records.files.writing import require_parent

# Crystals as text: CIF, POSCAR and extended XYZ, each with the atoms in their order. Crystals
# without atoms, or with numbers that are not finite, are a DataError.

Floats = NDArray[np.float64]


def to_cif(crystal: Crystal) -> str:
    """Return a CIF in P 1.

    Coordinates have ten decimals and are not wrapped; the cell has eight. A CIF knows no
    orientation: the crystal comes back turned, and with coordinates of opposite sign if
    its lattice vectors are left-handed, so that it is not its mirror image.
    """
    symbols, coordinates, lattice = _right_handed(crystal)
    rows = [(symbol, 1, place) for symbol, place in zip(symbols, coordinates, strict=True)]
    return _cif(crystal.name, ("P 1", 1, ["x, y, z"]), np.array(lattice), rows)


def to_symmetric_cif(crystal: Crystal) -> str:
    """Return a CIF with the space group that spglib finds within 0.01 Angstrom.

    It has the conventional cell, the operations, and one atom of each orbit. Where there is no
    group but P 1, or no spglib, it is the CIF of `to_cif`.
    """
    _, coordinates, lattice = _right_handed(crystal)
    right = replace(crystal, coordinates=np.array(coordinates), lattice=np.array(lattice))
    try:
        found = ask_spglib("get_symmetry_dataset", right, symprec=SYMPREC)
    except DataError:
        return to_cif(crystal)
    if found is None or found.number == 1:
        return to_cif(crystal)
    operations = gemmi.symops_from_hall(found.hall)
    group = gemmi.find_spacegroup_by_ops(operations)
    cell, species = found.std_lattice, np.array(found.std_types, dtype=np.uint8)
    left, rows = np.ones(len(species), dtype=np.bool_), []
    while group is not None and left.any():
        first = np.flatnonzero(left)[:1]
        _, orbit = expand(
            species[first], found.std_positions[first], cell, operations_of_hall(found.hall)
        )
        # Which of the atoms are images of this one: all of its orbit, or the group is another.
        apart = found.std_positions[:, None] - orbit
        near = np.linalg.norm((apart - np.rint(apart)) @ cell, axis=-1).min(axis=1) < 10 * SYMPREC
        near &= left & (species == species[first])
        if near.sum() != len(orbit):
            return to_cif(crystal)
        left &= ~near
        rows.append((SYMBOLS[species[first[0]]], len(orbit), orbit[0].tolist()))
    triplets = [operation.triplet() for operation in operations]
    return _cif(crystal.name, (group.xhm(), group.number, triplets), cell, rows)


def _cif(
    name: str,
    group: tuple[str, int, list[str]],
    lattice: Floats,
    rows: list[tuple[str, int, list[float]]],
) -> str:
    """Lay out a CIF: symbol, number and operations of the group; symbol, number and place of sites.

    The lattice is right-handed.
    """
    counts: Counter[str] = Counter()
    for symbol, count, _ in rows:
        counts[symbol] += count
    species = atomic_numbers(counts.elements())
    whole = Crystal(species, np.zeros((len(species), 3)), lattice)
    formula = str(reduced_formulas(Crystals.of([whole]))[0])
    cell = cell_parameters(lattice)[0].tolist()
    lines = [
        f"data_{re.sub(r'[^A-Za-z0-9_.+-]', '_', name)[:70] or formula}",
        f"_symmetry_space_group_name_H-M   '{group[0]}'",
        *(f"{tag}   {value:.8f}" for tag, value in zip(CELL, cell, strict=True)),
        f"_symmetry_Int_Tables_number   {group[1]}",
        f"_chemical_formula_structural   {formula}",
        f"_chemical_formula_sum   '{' '.join(f'{s}{count}' for s, count in counts.items())}'",
        f"_cell_volume   {abs(float(np.linalg.det(lattice))):.8f}",
        f"_cell_formula_units_Z   {math.gcd(*counts.values())}",
        "loop_",
        " _symmetry_equiv_pos_site_id",
        " _symmetry_equiv_pos_as_xyz",
        *(f"  {place}  '{triplet}'" for place, triplet in enumerate(group[2], 1)),
        "loop_",
        *(f" _atom_site_{name}" for name in ("type_symbol", "label", "symmetry_multiplicity")),
        *(f" _atom_site_fract_{axis}" for axis in "xyz"),
        " _atom_site_occupancy",
        *(
            f"  {symbol}  {symbol}{place}  {count}  {x:.10f}  {y:.10f}  {z:.10f}  1"
            for place, (symbol, count, (x, y, z)) in enumerate(rows)
        ),
    ]
    return "\n".join(lines) + "\n"


def to_poscar(crystal: Crystal) -> str:
    """Return a POSCAR of VASP 5 in direct coordinates.

    An element is named again where atoms of another one stand between. VASP wants
    right-handed lattice vectors: left-handed ones and their coordinates are negated.
    """
    symbols, coordinates, lattice = _right_handed(crystal)
    runs = [(symbol, len(list(run))) for symbol, run in groupby(symbols)]
    rows = ["  " + "  ".join(f"{value:.10f}" for value in row) for row in [*lattice, *coordinates]]
    lines = [
        " ".join(crystal.name.split()) or "crystal",
        "1.0",
        *rows[:3],
        "  ".join(symbol for symbol, _ in runs),
        "  ".join(str(count) for _, count in runs),
        "Direct",
        *rows[3:],
    ]
    return "\n".join(lines) + "\n"


def to_extxyz(crystal: Crystal, properties: Mapping[str, Any] | None = None) -> str:
    """Return one frame of extended XYZ, with the name as ``material_id``.

    Properties, numbers and words, go into the comment line; missing ones (NaN, "") are left out.
    """
    symbols = _symbols(crystal)
    lattice = " ".join(f"{value:.10f}" for value in crystal.lattice.ravel().tolist())
    words = [f'Lattice="{lattice}"', "Properties=species:S:1:pos:R:3", 'pbc="T T T"']
    for key, value in {"material_id": crystal.name, **(properties or {})}.items():
        spelled = _spelled(value)
        if spelled:
            words.append(f"{re.sub(r'[^A-Za-z0-9_.-]', '_', key)}={spelled}")
    positions = (crystal.coordinates @ crystal.lattice).tolist()
    atoms = (
        f"{symbol} {x:.10f} {y:.10f} {z:.10f}"
        for symbol, (x, y, z) in zip(symbols, positions, strict=True)
    )
    return "\n".join([str(len(crystal)), " ".join(words), *atoms]) + "\n"


def _spelled(value: Any) -> str:
    """Return a value for the comment line, "" if it is missing."""
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else repr(float(value))
    text = " ".join(str(value).split())
    # Quotation marks within keep words that look like numbers what they are: text.
    return '"' + text.replace("\\", "").replace('"', "'") + '"' if text else ""


def _symbols(crystal: Crystal) -> list[str]:
    if not len(crystal):
        raise DataError("the crystal has no atoms", where=crystal.name or None)
    if not (np.isfinite(crystal.coordinates).all() and np.isfinite(crystal.lattice).all()):
        what = "a coordinate or a lattice vector is not finite"
        raise DataError(what, where=crystal.name or None)
    symbols: list[str] = symbols_of(crystal.species).tolist()
    return symbols


def _right_handed(crystal: Crystal) -> tuple[list[str], list[list[float]], list[list[float]]]:
    """Return symbols, coordinates and lattice vectors; left-handed ones negate both."""
    symbols = _symbols(crystal)
    sign = 1.0 if np.linalg.det(crystal.lattice) > 0 else -1.0
    # Adding 0 makes 0 of -0, which is spelled with its sign.
    coordinates, lattice = crystal.coordinates * sign + 0.0, crystal.lattice * sign + 0.0
    return symbols, coordinates.tolist(), lattice.tolist()


# Sets of crystals.

_RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")
_FILES = {
    "cif": (".cif", to_cif),
    "symmetric_cif": (".cif", to_symmetric_cif),
    "poscar": (".vasp", to_poscar),
}


def write_structures(crystals: Crystals, out: str | Path, *, kind: str = "cif") -> None:
    """Write a set in the format that the ending of ``out`` stands for.

    Parameters
    ----------
    crystals
        The structures.
    out
        A file ending in .crystals (store), .extxyz or .xyz (also .gz), or .csv, .csv.gz,
        .tsv, .parquet, .feather or .arrow (table with the columns material_id, cif and the
        properties); without an ending a folder, which must not hold anything yet.
    kind
        Of the files in a folder: "cif" (in P 1, with cell and order of atoms as they are),
        "symmetric_cif" (in the conventional cell of the space group found by spglib, with its
        operations) or "poscar". Their names are those of the structures, made safe and distinct.

    Raises
    ------
    DataError
        If the ending or kind is unknown, the place cannot be written to, or a structure
        has no atoms or numbers that are not finite.
    """
    path = Path(out)
    ending = require_place(path)
    if ending == "":
        _write_folder(crystals, path, kind)
    elif ending == ".crystals":
        write_store(path, crystals)
    elif ending in (".xyz", ".extxyz"):
        columns = crystals.properties.items()
        frames = [to_extxyz(c, {k: x[i] for k, x in columns}) for i, c in enumerate(crystals)]
        data = "".join(frames).encode()
        compressed = path.name.casefold().endswith(".gz")
        write_bytes_atomic(path, gzip.compress(data, mtime=0) if compressed else data)
    else:
        write_table(_table(crystals), path)


def require_place(out: str | Path) -> str:
    """Return the ending of ``out`` without .gz, "" for a folder; DataError if it cannot be."""
    path = Path(out)
    name = path.name.casefold()
    known = (".crystals", ".xyz", ".extxyz", ".csv", ".tsv", ".parquet", ".feather", ".arrow")
    ending = next((e for e in known if name.removesuffix(".gz").endswith(e)), None)
    if name.endswith(".gz") and ending not in (".xyz", ".extxyz", ".csv"):
        ending = None
    if ending is None and path.suffix and not path.is_dir():
        hint = f"Use one of {', '.join(known)}, or a folder for CIF files"
        what = f"structures cannot be written as {path.suffix}"
        raise DataError(what, where=str(path), hint=hint)
    require_parent(path)
    if ending is not None and path.is_dir():
        raise DataError("is a folder", where=str(path), hint="Give the name of a file")
    if ending is None:
        _require_empty(path)
    return ending or ""


def _require_empty(path: Path) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        what = "is there already, and not an empty folder"
        raise DataError(what, where=str(path), hint="Give the name of a new folder")


def file_names(names: Iterable[str]) -> list[str]:
    """Return names under which files can be kept on any system, in the same order.

    Other characters than letters, digits and ``._+()-`` become ``_``; names that differ in
    capitals only, or not at all, get ``-2``, ``-3`` and so on.
    """
    taken: set[str] = set()
    found = []
    for name in names:
        safe = re.sub(r"[^A-Za-z0-9._+()-]+", "_", name)[:100].strip("._ ") or "structure"
        if _RESERVED.match(safe):
            safe = f"_{safe}"
        candidate, number = safe, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{safe}-{number}"
        taken.add(candidate.casefold())
        found.append(candidate)
    return found


def _write_folder(crystals: Crystals, path: Path, kind: str) -> None:
    if kind not in _FILES:
        raise DataError(f"{kind!r} is not a kind of file", hint=f"Use {' or '.join(_FILES)}")
    ending, text_of = _FILES[kind]
    try:
        with placed(path, folder=True) as (temporary, _):
            for name, crystal in zip(file_names(crystals.names.tolist()), crystals, strict=True):
                (temporary / f"{name}{ending}").write_text(text_of(crystal), encoding="utf-8")
    except OSError as error:
        _require_empty(path)  # Another process may have finished in between.
        what = f"cannot be written ({error.strerror or error})"
        raise DataError(what, where=str(path), hint="Check permissions and free space") from None


def _table(crystals: Crystals) -> pl.DataFrame:
    clash = {"material_id", "cif"} & set(crystals.properties)
    if clash:
        raise DataError(f"a property is called {min(clash)!r}", hint="Rename it")
    properties = crystals.properties.items()
    columns = {name: x.tolist() if x.dtype.kind == "U" else x for name, x in properties}
    texts = {"material_id": crystals.names.tolist(), "cif": list(map(to_cif, crystals))}
    frame = pl.DataFrame(texts | columns, schema_overrides=dict.fromkeys(texts, pl.String))
    return frame.select(pl.exclude("cif"), "cif")
