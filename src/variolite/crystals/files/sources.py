"""What is in files, in order: texts to be parsed, whole stores, and files that fail."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.checks import RejectedError
from variolite.crystals.files.formats import IDS, name_of_file
from variolite.crystals.files.store import open_store
from variolite.errors import DataError, nearest

# Which files hold structures, and in which format.


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
    ".crystals": "store",
}
_TABLES = frozenset({"csv", "tsv", "parquet", "feather"})
_NEVER_COMPRESSED = frozenset({"parquet", "feather", "store"})


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


# What is in them, in portions that are parsed together.


_CHUNK = 4096
_CHUNK_BYTES = 1 << 26

LONGEST_TEXT = 256
"""Columns with longer texts, in characters, are no properties: one text would widen all."""


@dataclass(frozen=True)
class Chunk:
    """Texts of one format, a store, or a file that cannot be read.

    Attributes
    ----------
    kind
        The format.
    content
        Texts, structures, or why there is nothing.
    files, names, rows
        File, name and row (None for a whole file) of each text; of a store its file alone.
    properties
        Columns of a table, one entry per text.
    size
        Bytes of files that it stands for.
    """

    kind: str
    content: list[str] | Crystals | RejectedError
    files: list[str]
    names: list[str]
    rows: list[int | None]
    properties: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    size: float = 0.0


def read_sources(files: Iterable[tuple[Path, str]], *, properties: bool = True) -> Iterator[Chunk]:
    """Yield what is in the files, in their order.

    Parameters
    ----------
    files
        Paths and formats.
    properties
        Read the other columns of tables, and the properties in stores.
    """
    waiting: list[tuple[Path, str]] = []
    kind_waiting, size = "", 0
    for path, kind in files:
        full = len(waiting) >= _CHUNK or size >= _CHUNK_BYTES
        if waiting and (kind != kind_waiting or full):
            yield _of_texts(kind_waiting, waiting)
            waiting, size = [], 0
        try:
            if kind in _TABLES:
                yield from _of_table(path, kind, properties=properties)
            elif kind == "store":
                yield _of_store(path, properties=properties)
            else:
                text = _text(path)
                waiting.append((path, text))
                kind_waiting, size = kind, size + len(text)
        except (RejectedError, OSError, EOFError, ValueError, zlib.error) as error:
            if waiting:
                yield _of_texts(kind_waiting, waiting)
                waiting, size = [], 0
            yield _unreadable(path, kind, error)
    if waiting:
        yield _of_texts(kind_waiting, waiting)


def _of_texts(kind: str, found: list[tuple[Path, str]]) -> Chunk:
    paths, texts = [path for path, _ in found], [text for _, text in found]
    names = [name_of_file(path) for path in paths]
    size = float(sum(map(len, texts)))
    return Chunk(kind, texts, [str(path) for path in paths], names, [None] * len(paths), size=size)


def _text(path: Path) -> str:
    data = path.read_bytes()
    if path.name.casefold().endswith(".gz"):
        data = gzip.decompress(data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RejectedError("not_text") from None


def _unreadable(path: Path, kind: str, error: Exception) -> Chunk:
    if not isinstance(error, RejectedError):
        what = error.what if isinstance(error, DataError) else str(error)
        error = RejectedError("unreadable_file", what or type(error).__name__)
    size = float(path.stat().st_size) if path.exists() else 0.0
    return Chunk(kind, error, [str(path)], [name_of_file(path)], [None], size=size)


def _of_store(path: Path, *, properties: bool) -> Chunk:
    crystals = open_store(path)
    if not properties:
        crystals = replace(crystals, properties={})
    return Chunk("store", crystals, [str(path)], [], [], size=float(path.stat().st_size))


def _of_table(path: Path, kind: str, *, properties: bool) -> Iterator[Chunk]:
    texts, names, columns = read_cif_table(path, kind, properties=properties)
    size = float(path.stat().st_size)
    for start in range(0, len(texts), _CHUNK):
        part = slice(start, start + _CHUNK)
        rows = list(range(len(texts))[part])
        yield Chunk(
            "cif",
            texts[part],
            [str(path)] * len(rows),
            names[part],
            [*rows],
            {name: values[part] for name, values in columns.items()},
            size * len(rows) / len(texts),
        )


# Tables with one CIF per row.


def read_cif_table(
    path: Path, kind: str, *, properties: bool = True
) -> tuple[list[str], list[str], dict[str, NDArray[Any]]]:
    """Read a CSV, TSV, Parquet or Feather file that has a column ``cif``.

    Parameters
    ----------
    path
        The file; CSV and TSV may be compressed with gzip.
    kind
        "csv", "tsv", "parquet" or "feather".
    properties
        Keep the other columns.

    Returns
    -------
    texts
        The CIF of every row.
    names
        Ids by a column such as material_id; row numbers without one.
    columns
        The other columns, numbers as float64 (NaN where missing) or text.

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
    others = frame.drop(folded["cif"], *([ids] if ids else [])) if properties else pl.DataFrame()
    columns = {series.name: _values(series) for series in others.iter_columns()}
    kept = {name: values for name, values in columns.items() if values is not None}
    return texts.fill_null("").to_list(), names, kept


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
    # characters, by which the row is recognised.
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
