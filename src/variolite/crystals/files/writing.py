"""Writing sets of crystals: folders of files, tables, trajectories, stores."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystal, Crystals, cell_parameters
from variolite.crystals.elements import compositions, reduced_formulas, symbols_of
from variolite.crystals.files.store import write_store
from variolite.errors import DataError
from variolite.records import write_bytes_atomic, write_table

# Crystals as text: CIF, POSCAR and extended XYZ.


Floats = NDArray[np.float64]


def to_cif(crystal: Crystal) -> str:
    """Return a CIF in P 1 with the atoms in their order.

    Coordinates have ten decimals and are not wrapped; the cell has eight. A CIF knows no
    orientation: the crystal comes back turned, and with coordinates of opposite sign if
    its lattice vectors are left-handed, so that it is not its mirror image.

    Raises
    ------
    DataError
        If there are no atoms, or a number is not finite.
    """
    _require_finite(crystal)
    single = Crystals.of([crystal])
    formula = str(reduced_formulas(single)[0])
    counts = compositions(single)[0]
    units = int(np.gcd.reduce(counts))
    symbols = symbols_of(crystal.species).tolist()
    total = " ".join(
        f"{symbol}{count}"
        for symbol, count in ((s, symbols.count(s)) for s in dict.fromkeys(symbols))
    )
    a, b, c, alpha, beta, gamma = cell_parameters(crystal.lattice)[0].tolist()
    coordinates, _ = _right_handed(crystal)
    lines = [
        f"data_{re.sub(r'[^A-Za-z0-9_.+-]', '_', crystal.name)[:70] or formula}",
        "_symmetry_space_group_name_H-M   'P 1'",
        f"_cell_length_a   {a:.8f}",
        f"_cell_length_b   {b:.8f}",
        f"_cell_length_c   {c:.8f}",
        f"_cell_angle_alpha   {alpha:.8f}",
        f"_cell_angle_beta   {beta:.8f}",
        f"_cell_angle_gamma   {gamma:.8f}",
        "_symmetry_Int_Tables_number   1",
        f"_chemical_formula_structural   {formula}",
        f"_chemical_formula_sum   '{total}'",
        f"_cell_volume   {abs(float(np.linalg.det(crystal.lattice))):.8f}",
        f"_cell_formula_units_Z   {units}",
        "loop_",
        " _symmetry_equiv_pos_site_id",
        " _symmetry_equiv_pos_as_xyz",
        "  1  'x, y, z'",
        "loop_",
        " _atom_site_type_symbol",
        " _atom_site_label",
        " _atom_site_symmetry_multiplicity",
        " _atom_site_fract_x",
        " _atom_site_fract_y",
        " _atom_site_fract_z",
        " _atom_site_occupancy",
        *(
            f"  {symbol}  {symbol}{place}  1  {x:.10f}  {y:.10f}  {z:.10f}  1"
            for place, (symbol, (x, y, z)) in enumerate(
                zip(symbols, coordinates.tolist(), strict=True)
            )
        ),
    ]
    return "\n".join(lines) + "\n"


def to_poscar(crystal: Crystal) -> str:
    """Return a POSCAR of VASP 5 in direct coordinates with the atoms in their order.

    An element is named again where atoms of another one stand between. VASP wants
    right-handed lattice vectors: left-handed ones and their coordinates are negated.

    Raises
    ------
    DataError
        If there are no atoms, or a number is not finite.
    """
    _require_finite(crystal)
    coordinates, lattice = _right_handed(crystal)
    runs = [(s, len(list(run))) for s, run in groupby(symbols_of(crystal.species).tolist())]
    lines = [
        " ".join(crystal.name.split()) or "crystal",
        "1.0",
        *("  " + "  ".join(f"{value:.10f}" for value in row) for row in lattice.tolist()),
        "  ".join(symbol for symbol, _ in runs),
        "  ".join(str(count) for _, count in runs),
        "Direct",
        *("  " + "  ".join(f"{value:.10f}" for value in row) for row in coordinates.tolist()),
    ]
    return "\n".join(lines) + "\n"


def to_extxyz(crystal: Crystal, properties: Mapping[str, Any] | None = None) -> str:
    """Return one frame of extended XYZ with the atoms in their order.

    Parameters
    ----------
    crystal
        The structure; its name is written as ``material_id``.
    properties
        Numbers and words for the comment line; missing ones (NaN, "") are left out.

    Raises
    ------
    DataError
        If there are no atoms, or a number is not finite.
    """
    _require_finite(crystal)
    lattice = " ".join(f"{value:.10f}" for value in crystal.lattice.ravel().tolist())
    words = [f'Lattice="{lattice}"', "Properties=species:S:1:pos:R:3", 'pbc="T T T"']
    values = {"material_id": crystal.name, **(properties or {})}
    for key, value in values.items():
        spelled = _spelled(value)
        if spelled:
            words.append(f"{re.sub(r'[^A-Za-z0-9_.-]', '_', key)}={spelled}")
    positions = crystal.coordinates @ crystal.lattice
    lines = [
        str(len(crystal)),
        " ".join(words),
        *(
            f"{symbol} {x:.10f} {y:.10f} {z:.10f}"
            for symbol, (x, y, z) in zip(
                symbols_of(crystal.species).tolist(), positions.tolist(), strict=True
            )
        ),
    ]
    return "\n".join(lines) + "\n"


def _spelled(value: Any) -> str:
    """Return a value for the comment line, "" if it is missing."""
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else repr(float(value))
    text = " ".join(str(value).split())
    # Quotation marks within keep words that look like numbers what they are: text.
    return '"' + text.replace("\\", "").replace('"', "'") + '"' if text else ""


def _require_finite(crystal: Crystal) -> None:
    if not len(crystal):
        raise DataError("the crystal has no atoms", where=crystal.name or None)
    if not (np.isfinite(crystal.coordinates).all() and np.isfinite(crystal.lattice).all()):
        raise DataError(
            "a coordinate or a lattice vector is not finite", where=crystal.name or None
        )


def _right_handed(crystal: Crystal) -> tuple[Floats, Floats]:
    """Return coordinates and lattice vectors, both negated if the latter are left-handed."""
    sign = 1.0 if np.linalg.det(crystal.lattice) > 0 else -1.0
    # Adding 0 makes 0 of -0, which is spelled with its sign.
    return crystal.coordinates * sign + 0.0, crystal.lattice * sign + 0.0


_LONGEST = 100
_RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")
_FILES: Mapping[str, tuple[str, Callable[[Crystal], str]]] = {
    "cif": (".cif", to_cif),
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
        Of the files in a folder: "cif" or "poscar". Their names are those of the
        structures, made safe and distinct by :func:`file_names`.

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
        data = "".join(_frames(crystals)).encode()
        compressed = path.name.casefold().endswith(".gz")
        write_bytes_atomic(path, gzip.compress(data, mtime=0) if compressed else data)
    else:
        write_table(_table(crystals), path)


def require_place(out: str | Path) -> str:
    """Raise before long work if structures cannot be written to ``out``.

    Returns
    -------
    str
        Its ending without .gz; "" for a folder.

    Raises
    ------
    DataError
        If the ending is unknown, the place is taken or its folder is missing.
    """
    path = Path(out)
    name = path.name.casefold()
    known = (".crystals", ".xyz", ".extxyz", ".csv", ".tsv", ".parquet", ".feather", ".arrow")
    ending = next((e for e in known if name.removesuffix(".gz").endswith(e)), None)
    if name.endswith(".gz") and ending not in (".xyz", ".extxyz", ".csv"):
        ending = None
    if ending is None and path.suffix and not path.is_dir():
        raise DataError(
            f"structures cannot be written as {path.suffix}",
            where=str(path),
            hint=f"Use one of {', '.join(known)}, or a folder for CIF files",
        )
    if not path.parent.is_dir():
        raise DataError("the folder does not exist", where=str(path.parent), hint="Create it first")
    if not os.access(path.parent, os.W_OK):
        raise DataError(
            "the folder is write-protected",
            where=str(path.parent),
            hint="Choose another place, or change its permissions",
        )
    if ending is not None:
        if path.is_dir():
            raise DataError("is a folder", where=str(path), hint="Give the name of a file")
        return ending
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataError(
            "is there already, and not an empty folder",
            where=str(path),
            hint="Give the name of a new folder",
        )
    return ""


def file_names(names: Iterable[str]) -> list[str]:
    """Return names under which files can be kept on any system, in the same order.

    Other characters than letters, digits and ``._+()-`` become ``_``; names that differ in
    capitals only, or not at all, get ``-2``, ``-3`` and so on.

    Examples
    --------
    >>> file_names(["mp-1", "mp-1", "NaCl (rock salt)"])
    ['mp-1', 'mp-1-2', 'NaCl_(rock_salt)']
    """
    taken: set[str] = set()
    found = []
    for name in names:
        safe = re.sub(r"[^A-Za-z0-9._+()-]+", "_", name)[:_LONGEST].strip("._ ") or "structure"
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
        raise DataError(f"{kind!r} is no kind of file", hint=f"Use {' or '.join(_FILES)}")
    ending, text_of = _FILES[kind]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir()
        for name, crystal in zip(file_names(crystals.names.tolist()), crystals, strict=True):
            (temporary / f"{name}{ending}").write_text(text_of(crystal), encoding="utf-8")
        if path.exists():
            path.rmdir()
        temporary.rename(path)
    except OSError as error:
        raise DataError(
            f"cannot be written ({error.strerror or error})",
            where=str(path),
            hint="Check permissions and free space",
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _frames(crystals: Crystals) -> Iterable[str]:
    for place, crystal in enumerate(crystals):
        values = {name: column[place] for name, column in crystals.properties.items()}
        yield to_extxyz(crystal, values)


def _table(crystals: Crystals) -> pl.DataFrame:
    clash = {"material_id", "cif"} & set(crystals.properties)
    if clash:
        raise DataError(f"a property is called {min(clash)!r}", hint="Rename it")
    return pl.DataFrame(
        {
            "material_id": crystals.names.astype(object).tolist(),
            **{
                name: pl.Series(values.tolist() if values.dtype.kind == "U" else values)
                for name, values in crystals.properties.items()
            },
            "cif": [to_cif(crystal) for crystal in crystals],
        },
        schema_overrides={"material_id": pl.String, "cif": pl.String},
    )
