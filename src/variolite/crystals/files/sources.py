"""What is in files, in order: texts to be parsed, whole stores, and files that fail."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.checks import Limits, Parsed, Parser, faults, gather
from variolite.crystals.files.cif import parse_cif
from variolite.crystals.files.formats import (
    IDS,
    name_of_file,
    parse_extxyz,
    parse_json,
    parse_poscar,
)
from variolite.crystals.files.store import open_store
from variolite.errors import DataError, nearest

# Which files hold structures, and in which format.


TEXTS = ("cif", "poscar", "extxyz", "json")
"""Formats of which a whole file is parsed."""

TABLES = ("csv", "tsv", "parquet", "feather")
"""Formats with a structure per row."""

STORE = "store"
"""The flat store."""

_ENDINGS: Mapping[str, str] = {
    ".cif": "cif",
    ".mcif": "cif",
    ".vasp": "poscar",
    ".poscar": "poscar",
    ".contcar": "poscar",
    ".xyz": "extxyz",
    ".extxyz": "extxyz",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".feather": "feather",
    ".arrow": "feather",
    ".crystals": STORE,
}
_NEVER_COMPRESSED = frozenset({"parquet", "feather", STORE})


def format_of(path: Path) -> str | None:
    """Return the format that a file name stands for, None if none."""
    name = path.name.casefold()
    compressed = name.endswith(".gz")
    name = name.removesuffix(".gz")
    for ending, kind in _ENDINGS.items():
        if name.endswith(ending):
            return None if compressed and kind in _NEVER_COMPRESSED else kind
    return "poscar" if name.startswith(("poscar", "contcar")) else None


def find_files(paths: Iterable[str | Path]) -> Iterator[tuple[Path, str]]:
    """Yield every file that may hold structures with its format.

    Folders are searched to the bottom in the order of names; hidden files in them and
    files of other endings are passed over, links to folders are not followed.

    Raises
    ------
    DataError
        If a path does not exist, or a file that is named has an unknown ending.
    """
    for given in paths:
        path = Path(given)
        if path.is_dir():
            yield from _in_folder(path)
            continue
        if not path.exists():
            names = [found.name for found in path.parent.glob("*")] if path.parent.is_dir() else []
            close = nearest(path.name, names)
            hint = f"Did you mean {close!r}?" if close else "Check the path"
            raise DataError("no such file", where=str(path), hint=hint)
        kind = format_of(path)
        if kind is None:
            raise DataError(
                "the ending of this file stands for no format of structures",
                where=str(path),
                hint=f"Use one of {', '.join(sorted(_ENDINGS))}, or POSCAR",
            )
        yield path, kind


def _in_folder(folder: Path) -> Iterator[tuple[Path, str]]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root) / name
            kind = None if name.startswith(".") else format_of(path)
            if kind is not None:
                yield path, kind


# Tables with one CIF per row.


LONGEST_TEXT = 256
"""Columns with longer texts, in characters, are no properties: one text would widen all."""


@dataclass(frozen=True)
class CifTable:
    """A table of structures.

    Attributes
    ----------
    texts
        The CIF of every row.
    names
        Ids by a column such as material_id; row numbers without one.
    properties
        The other columns, numbers as float64 (NaN where missing) or text.
    """

    texts: list[str]
    names: list[str]
    properties: Mapping[str, NDArray[Any]]


def read_cif_table(path: Path, kind: str, *, properties: bool = True) -> CifTable:
    """Read a CSV, TSV, Parquet or Feather file that has a column ``cif``.

    Parameters
    ----------
    path
        The file; CSV and TSV may be compressed with gzip.
    kind
        "csv", "tsv", "parquet" or "feather".
    properties
        Keep the other columns.

    Raises
    ------
    DataError
        If the file cannot be read as a table or has no such column.
    """
    try:
        frame = _frame(path, kind)
    except (pl.exceptions.PolarsError, OSError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"cannot be read as a table ({reason})", where=str(path)) from None
    folded = {name.casefold(): name for name in frame.columns}
    if "cif" not in folded:
        raise DataError(
            "the table has no column 'cif'",
            where=str(path),
            hint=f"It has: {', '.join(frame.columns[:20])}",
        )
    texts = frame[folded["cif"]]
    if texts.dtype != pl.String:
        raise DataError(f"the column 'cif' holds {texts.dtype}, not text", where=str(path))
    ids = next((folded[name] for name in IDS if name in folded), None)
    if ids is None:
        names = [str(row) for row in range(frame.height)]
    else:
        names = frame[ids].cast(pl.String).fill_null("").to_list()
    columns: dict[str, NDArray[Any]] = {}
    if properties:
        for series in frame.drop(folded["cif"], *([ids] if ids else [])).iter_columns():
            values = _values(series)
            if values is not None:
                columns[series.name] = values
    return CifTable(texts.fill_null("").to_list(), names, columns)


def _frame(path: Path, kind: str) -> pl.DataFrame:
    data = path.read_bytes()
    if kind == "parquet":
        return pl.read_parquet(io.BytesIO(data))
    if kind == "feather":
        return pl.read_ipc(io.BytesIO(data))
    if path.name.casefold().endswith(".gz"):
        data = gzip.decompress(data)
    separator = "\t" if kind == "tsv" else ","
    # Bytes that are no UTF-8 spoil their row alone: they come out as replacement
    # characters, by which the row is told.
    header = pl.read_csv(io.BytesIO(data), separator=separator, n_rows=0, encoding="utf8-lossy")
    as_text = {name: pl.String for name in header.columns if name.casefold() in (*IDS, "cif")}
    return pl.read_csv(
        io.BytesIO(data),
        separator=separator,
        schema_overrides=as_text,
        infer_schema_length=None,
        encoding="utf8-lossy",
    )


def _values(series: pl.Series) -> NDArray[Any] | None:
    """Return numbers or text, None for what is neither."""
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        return series.cast(pl.Float64).fill_null(np.nan).to_numpy().copy()
    if series.dtype.is_nested() or series.dtype in (pl.Object, pl.Binary):
        return None
    texts = series.cast(pl.String).fill_null("")
    longest = texts.str.len_chars().max()
    if isinstance(longest, int) and longest > LONGEST_TEXT:
        return None
    return texts.to_numpy().astype(np.str_)


def text_or_numbers(values: list[Any]) -> NDArray[Any]:
    """Return a property of some structures as one array; None where it is missing.

    Numbers alone give float64 with NaN, anything else text with "".
    """
    if all(value is None or isinstance(value, bool | int | float) for value in values):
        return np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64)
    return np.array(["" if v is None else str(v)[:LONGEST_TEXT] for v in values], dtype=np.str_)


_CHUNK = 4096
_CHUNK_BYTES = 1 << 26


@dataclass(frozen=True)
class Chunk:
    """Texts of one format that are parsed together.

    Attributes
    ----------
    kind
        Their format.
    texts, names, files, rows
        Text, name, file and row (None for a whole file) of each.
    properties
        Columns of a table, one entry per text.
    size
        Bytes of files that they stand for.
    """

    kind: str
    texts: list[str]
    names: list[str]
    files: list[str]
    rows: list[int | None]
    properties: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    size: float = 0.0


@dataclass(frozen=True)
class Whole:
    """A set that needs no parsing, its file, and the size of that in bytes."""

    file: Path
    crystals: Crystals
    size: float


@dataclass(frozen=True)
class Unusable:
    """A file that cannot be read: reason code and detail, and its size in bytes."""

    file: Path
    code: str
    detail: str
    size: float


@dataclass(frozen=True)
class Checked:
    """Parsed texts, and what is wrong with structures among them by place."""

    parsed: Parsed
    wrong: Mapping[int, tuple[str, str]]


def check_chunk(chunk: Chunk, limits: Limits) -> Checked:
    """Parse a chunk and check its structures; a function of its own for worker processes."""
    parsers: Mapping[str, Parser] = {
        "cif": partial(parse_cif, max_atoms=limits.max_atoms),
        "poscar": parse_poscar,
        "extxyz": parse_extxyz,
        "json": parse_json,
    }
    parsed = gather(chunk.texts, parsers[chunk.kind])
    return Checked(parsed, faults(parsed, limits))


def read_sources(
    files: Iterable[tuple[Path, str]], *, properties: bool = True
) -> Iterator[Chunk | Whole | Unusable]:
    """Yield what is in the files, in their order.

    Parameters
    ----------
    files
        Paths and formats.
    properties
        Read the other columns of tables, and the properties in stores.
    """
    waiting: list[tuple[Path, str]] = []
    kind_waiting = ""
    size = 0
    for path, kind in files:
        if waiting and (kind != kind_waiting or len(waiting) >= _CHUNK or size >= _CHUNK_BYTES):
            yield _joined(kind_waiting, waiting)
            waiting, size = [], 0
        if kind in TEXTS:
            text = _text(path)
            if isinstance(text, Unusable):
                if waiting:
                    yield _joined(kind_waiting, waiting)
                    waiting, size = [], 0
                yield text
                continue
            kind_waiting = kind
            waiting.append((path, text))
            size += len(text)
        elif kind == STORE:
            yield _store(path, properties=properties)
        else:
            yield from _table(path, kind, properties=properties)
    if waiting:
        yield _joined(kind_waiting, waiting)


def _joined(kind: str, found: list[tuple[Path, str]]) -> Chunk:
    return Chunk(
        kind,
        [text for _, text in found],
        [name_of_file(path) for path, _ in found],
        [str(path) for path, _ in found],
        [None] * len(found),
        size=float(sum(len(text) for _, text in found)),
    )


def _text(path: Path) -> str | Unusable:
    try:
        data = path.read_bytes()
        size = float(len(data))
        if path.name.casefold().endswith(".gz"):
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Unusable(path, "not_text", "", size)
    except (OSError, EOFError, ValueError) as error:
        return Unusable(path, "unreadable_file", str(error) or type(error).__name__, 0.0)


def _store(path: Path, *, properties: bool) -> Whole | Unusable:
    try:
        size = float(path.stat().st_size)
        crystals = open_store(path)
    except (DataError, OSError) as error:
        what = error.what if isinstance(error, DataError) else str(error)
        return Unusable(path, "unreadable_file", what, 0.0)
    return Whole(path, crystals if properties else replace(crystals, properties={}), size)


def _table(path: Path, kind: str, *, properties: bool) -> Iterator[Chunk | Unusable]:
    try:
        table = read_cif_table(path, kind, properties=properties)
        size = float(path.stat().st_size)
    except DataError as error:
        yield Unusable(path, "unreadable_file", error.what, 0.0)
        return
    for start in range(0, len(table.texts), _CHUNK):
        part = slice(start, start + _CHUNK)
        texts = table.texts[part]
        yield Chunk(
            "cif",
            texts,
            table.names[part],
            [str(path)] * len(texts),
            list(range(start, start + len(texts))),
            {name: values[part] for name, values in table.properties.items()},
            size * len(texts) / len(table.texts),
        )
