"""Tables of frameworks as a model sees them: canonical linkers, families, cells that cannot fail.

A cell goes into the model as six numbers that any real values make a cell of: the logarithms of
the diagonal of its lower triangular matrix, and what is below the diagonal over the diagonal.
Its volume is their consequence and never a free number.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from variolite.crystals.crystals import cell_parameters, lattices_from_parameters
from variolite.errors import DataError, DataWarning
from variolite.frameworks.columns import CELL, join
from variolite.records import Table, load_table

Floats = NDArray[np.float64]

SHAPE = ("cell_log_a", "cell_log_b", "cell_log_c", "cell_ab", "cell_ac", "cell_bc")
"""The six numbers of a cell: logarithms of lengths in Angstrom, and ratios."""

_USUAL = np.array([[2.0] * 3 + [10.0] * 3, [300.0] * 3 + [170.0] * 3])
"""Between which medians of cells lie, in Angstrom and degrees; nm, pm and radians are outside."""

_TEXTS = ("name", "family", "metals", "linkers", "nodes", "net")  # as written, 1E10 is a name
_REFCODE = re.compile(r"[A-Z]{6}(\d\d)?(?![a-z])")


def read_frameworks(data: Any, *, text: Iterable[str] = (), **settings: Any) -> Table:
    """Read a table, or several, of frameworks and add what a model needs beside its columns.

    Linkers become canonical molecules, families are read off the names where there is no column
    of them, and cells get their six numbers. Arguments are those of `load_table`.
    """
    table = load_table(data, text=(*text, *_TEXTS), **settings)
    return table._replace(frame=with_derived(table.frame))


def with_derived(frame: pl.DataFrame) -> pl.DataFrame:
    """Add family and cell shape to a table that has name and cell, and make linkers canonical."""
    frame = _published(frame)
    if "linkers" in frame.columns:
        cells = frame["linkers"].cast(pl.String).fill_null("")
        canonical = _canonical(cells.unique(maintain_order=True))
        known = pl.Series("linkers", [canonical[cell] or None for cell in cells], dtype=pl.String)
        frame = frame.with_columns(known)
    name = next((name for name in ("name", "Name", "MOFname") if name in frame.columns), None)
    if "family" not in frame.columns and name is not None:
        names = frame[name].cast(pl.String)
        frame = frame.with_columns(pl.Series("family", [family_of(name) for name in names]))
    missing = [name for name in CELL if name not in frame.columns]
    if not missing:
        frame = frame.with_columns(_shapes(frame.select(CELL)))
    elif len(missing) <= len(CELL) // 2:
        message = f"cells are left out: there is no column {', '.join(missing)}"
        warnings.warn(message, DataWarning, stacklevel=3)
    return frame


def _shapes(cells: pl.DataFrame) -> list[pl.Series]:
    """Return the six numbers of each cell; a DataError where all are in other units."""
    numbers = cells.select(pl.all().cast(pl.Float64, strict=False)).to_numpy()
    shape = cell_shape(numbers)
    whole = np.isfinite(shape).all(axis=1)
    usual = np.median(numbers[whole], axis=0) if whole.any() else np.zeros(len(CELL))
    if cells.height and not ((_USUAL[0] < usual) & (usual < _USUAL[1])).all():
        medians = ", ".join(f"{name} {value:.3g}" for name, value in zip(CELL, usual, strict=True))
        what = f"these are in other units: their medians are {medians}"
        if not whole.any():
            what = f"{', '.join(CELL)} make no cell in any row"
        hint = "Lengths are in Angstrom, angles in degrees, all of them above 0"
        raise DataError(what, where="columns of cells", hint=hint)
    given = cells.select(pl.all_horizontal(pl.all().is_not_null())).to_series().to_numpy()
    if lost := int((given & ~whole).sum()):
        message = f"{lost:,} of {cells.height:,} cells are impossible and count as missing"
        warnings.warn(message, DataWarning, stacklevel=4)
    return [pl.Series(name, values) for name, values in zip(SHAPE, shape.T, strict=True)]


def _published(frame: pl.DataFrame) -> pl.DataFrame:
    """Take metals, linkers and nets of published tables under our names and as sets.

    CRAFTED and CoRE MOF write ``Cd+Na`` or ``Cd,Na``, and ERROR or UNKNOWN where no net was found.
    """
    ours = {"metal": "metals", "linker_smiles": "linkers", "topo": "net"}
    taken = {theirs: own for theirs, own in ours.items() if theirs in frame.columns}
    for theirs, own in taken.items():
        if own not in frame.columns:
            frame = frame.with_columns(pl.col(theirs).cast(pl.String).alias(own))
    if "metals" in frame.columns:
        metals = pl.col("metals").cast(pl.String).str.replace_all(r"\s*[+,]\s*", ";")
        frame = frame.with_columns(metals)
    if "net" in frame.columns:
        # Several names are as many readers that disagree, or nets in one structure.
        known = pl.col("net").str.contains(r"^[a-z]{3}(-[a-z*]+)*$")
        frame = frame.with_columns(net=pl.when(known).then(pl.col("net")))
    return frame


def _canonical(cells: Iterable[str]) -> dict[str, str]:
    """Canonical linkers of cells, in which ``;`` or `` . `` stands between them.

    Says which are no molecules; those are left out.
    """
    from variolite.linkers import read_linker

    found, unread = {}, dict[str, None]()
    for cell in cells:
        parts = [part.strip() for part in re.split(r"\s\.\s|;", cell) if part.strip()]
        found[cell] = join(read_linker(part).smiles for part in parts)
        unread |= dict.fromkeys(part for part in parts if not read_linker(part).parsed)
    if unread:
        shown = ", ".join(map(repr, [*unread][:3])) + (", ..." if len(unread) > 3 else "")
        message = f"linkers: {len(unread):,} are no SMILES of molecules and are left out: {shown}"
        warnings.warn(message, DataWarning, stacklevel=3)
    return found


def family_of(name: str | None) -> str | None:
    """Refcode family: the first six letters, or the text before ``_`` where it is no refcode.

    >>> family_of("LAJDUV02"), family_of("S2052520616002663_ja5023")
    ('LAJDUV', 'S2052520616002663')
    """
    if name is None:
        return None
    return name[:6] if _REFCODE.match(name) else name.split("_")[0]


def cell_shape(cells: ArrayLike) -> Floats:
    """Turn a, b, c (Angstrom), alpha, beta, gamma (degrees), (n, 6), to `SHAPE`, (n, 6).

    NaN where the six make no cell of positive volume.
    """
    cells = np.asarray(cells, dtype=np.float64)
    lattices = lattices_from_parameters(np.where(np.isfinite(cells), cells, np.nan))
    a, b_y, c_z = np.diagonal(lattices, axis1=1, axis2=2).T
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = (lattices[:, 1, 0] / a, lattices[:, 2, 0] / a, lattices[:, 2, 1] / b_y)
        shape = np.stack([np.log(a), np.log(b_y), np.log(c_z), *ratios], axis=1)
    return np.where(np.isfinite(shape).all(axis=1, keepdims=True), shape, np.nan)


def cell_of(shape: ArrayLike) -> Floats:
    """Return a, b, c (Angstrom), alpha, beta, gamma (degrees) and volume (Angstrom^3), (n, 7)."""
    numbers = np.asarray(shape, dtype=np.float64)
    lattices = np.zeros((len(numbers), 3, 3))
    sides = np.exp(numbers[:, :3])
    lattices[:, [0, 1, 2], [0, 1, 2]] = sides
    # Below the diagonal each is over the side above it.
    lattices[:, [1, 2, 2], [0, 0, 1]] = numbers[:, 3:] * sides[:, [0, 0, 1]]
    return np.column_stack([cell_parameters(lattices), sides.prod(axis=1)])


def with_cells(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Put the parameters of cells and their volumes in the place of their shapes."""
    rest = {name: values for name, values in columns.items() if name not in SHAPE}
    if not all(name in columns for name in SHAPE):
        return rest
    cells = cell_of(np.stack([columns[name] for name in SHAPE], axis=1))
    return rest | dict(zip((*CELL, "volume"), cells.T, strict=True))
