"""What is in files, in order: texts to be parsed, whole stores, and files that fail."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
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

_ENDINGS: Mapping[str, tuple[str, ...]] = {
    "cif": (".cif", ".mcif"),
    "poscar": (".vasp", ".poscar", ".contcar"),
    "extxyz": (".xyz", ".extxyz"),
    "json": (".json",),
    "csv": (".csv",),
    "tsv": (".tsv",),
    "parquet": (".parquet",),
    "feather": (".feather", ".arrow"),
    "store": (".crystals",),
}
_TABLES = frozenset({"csv", "tsv", "parquet", "feather"})
_NEVER_COMPRESSED = frozenset({"parquet", "feather", "store"})


def _format_of(path: Path) -> str | None:
    """Return the format that a file name stands for, None if none."""
    name = path.name.casefold()
    bare = name.removesuffix(".gz")
    for kind, endings in _ENDINGS.items():
        if bare.endswith(endings):
            return None if bare != name and kind in _NEVER_COMPRESSED else kind
    return "poscar" if bare.startswith(("poscar", "contcar")) else None


def find_files(paths: Iterable[str | Path]) -> Iterator[tuple[Path, str]]:
    """Yield every file that may hold structures with its format.

    Folders are searched to the bottom in the order of names; hidden files in them and files of
    other endings are passed over, links to folders are not followed. A path that does not exist
    or a named file of unknown ending is a DataError.
    """
    for path in map(Path, paths):
        if path.is_dir():
            yield from _in_folder(path)
            continue
        if not path.exists():
            names = [found.name for found in path.parent.glob("*")] if path.parent.is_dir() else []
            close = nearest(path.name, names)
            hint = f"Did you mean {close!r}?" if close else "Check the path"
            raise DataError("no such file", where=str(path), hint=hint)
        kind = _format_of(path)
        if kind is None:
            what = "the ending of this file stands for no format of structures"
            hint = f"Use one of {', '.join(sorted(chain(*_ENDINGS.values())))}, or POSCAR"
            raise DataError(what, where=str(path), hint=hint)
        yield path, kind


def _in_folder(folder: Path) -> Iterator[tuple[Path, str]]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            kind = None if name.startswith(".") else _format_of(Path(name))
            if kind is not None:
                yield Path(root) / name, kind


# What is in them, in portions that are parsed together.

_CHUNK = 4096
_CHUNK_BYTES = 1 << 26

LONGEST_TEXT = 256
"""Columns with longer texts, in characters, are no properties: one text would widen all."""


@dataclass(frozen=True)
class Chunk:
    """Texts of one format, a store, or why a file cannot be read."""

    kind: str
    content: list[str] | Crystals | RejectedError
    files: list[str]  # of each text; of a store its own
    names: list[str]
    rows: list[int | None]  # None for a whole file
    properties: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # columns of a table
    size: float = 0.0  # bytes of files that it stands for


def read_sources(files: Iterable[tuple[Path, str]], properties: bool = True) -> Iterator[Chunk]:
    """Yield what is in files of the given formats in order, properties only if asked for."""
    waiting: list[tuple[Path, str]] = []
    kind_waiting, size = "", 0
    for path, kind in files:
        try:
            found = _contents(path, kind, properties)
        except (RejectedError, OSError, EOFError, ValueError, zlib.error) as error:
            found = [_unreadable(path, kind, error)]
        full = len(waiting) >= _CHUNK or size >= _CHUNK_BYTES
        if waiting and (full or isinstance(found, list) or kind != kind_waiting):
            yield _of_texts(kind_waiting, waiting)
            waiting, size = [], 0
        if isinstance(found, str):
            waiting.append((path, found))
            kind_waiting, size = kind, size + len(found)
        else:
            yield from found
    if waiting:
        yield _of_texts(kind_waiting, waiting)


def _contents(path: Path, kind: str, properties: bool) -> str | list[Chunk]:
    """Return the text of one file, or what a table or a store holds."""
    if kind in _TABLES:
        return list(_of_table(path, kind, properties))
    if kind == "store":
        crystals = open_store(path)
        if not properties:
            crystals = replace(crystals, properties={})
        return [Chunk(kind, crystals, [str(path)], [], [], size=float(path.stat().st_size))]
    data = path.read_bytes()
    if path.name.casefold().endswith(".gz"):
        data = gzip.decompress(data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RejectedError("not_text") from None


def _of_texts(kind: str, found: list[tuple[Path, str]]) -> Chunk:
    files, texts = [str(path) for path, _ in found], [text for _, text in found]
    names = [name_of_file(path) for path, _ in found]
    return Chunk(kind, texts, files, names, [None] * len(found), size=float(sum(map(len, texts))))


def _unreadable(path: Path, kind: str, error: Exception) -> Chunk:
    if not isinstance(error, RejectedError):
        what = error.what if isinstance(error, DataError) else str(error)
        error = RejectedError("unreadable_file", what or type(error).__name__)
    size = float(path.stat().st_size) if path.exists() else 0.0
    return Chunk(kind, error, [str(path)], [name_of_file(path)], [None], size=size)


# Tables with one CIF per row.


def _of_table(path: Path, kind: str, properties: bool) -> Iterator[Chunk]:
    """Read a table with a column ``cif``, called by a column such as material_id or its rows."""
    try:
        frame = _frame(path, kind)
    except (pl.exceptions.PolarsError, OSError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"cannot be read as a table ({reason})", where=str(path)) from None
    folded = {name.casefold(): name for name in frame.columns}
    if "cif" not in folded:
        hint = f"It has: {', '.join(frame.columns[:20])}"
        raise DataError("the table has no column 'cif'", where=str(path), hint=hint)
    cif = frame[folded.pop("cif")]
    if cif.dtype != pl.String:
        raise DataError(f"the column 'cif' holds {cif.dtype}, not text", where=str(path))
    texts, taken = cif.fill_null("").to_list(), {cif.name}
    names = list(map(str, range(frame.height)))
    ids = next((folded[name] for name in IDS if name in folded), None)
    if ids is not None:
        names = frame[ids].cast(pl.String).fill_null("").to_list()
        taken.add(ids)
    columns = {
        series.name: values
        for series in (frame.iter_columns() if properties else ())
        if series.name not in taken and (values := _values(series)) is not None
    }
    size = float(path.stat().st_size)
    for start in range(0, frame.height, _CHUNK):
        part = slice(start, start + _CHUNK)
        rows = [*range(frame.height)[part]]
        own = {name: values[part] for name, values in columns.items()}
        share = size * len(rows) / frame.height
        yield Chunk("cif", texts[part], [str(path)] * len(rows), names[part], [*rows], own, share)


def _frame(path: Path, kind: str) -> pl.DataFrame:
    data = path.read_bytes()
    if kind == "parquet":
        return pl.read_parquet(io.BytesIO(data))
    if kind == "feather":
        return pl.read_ipc(io.BytesIO(data))
    if path.name.casefold().endswith(".gz"):
        data = gzip.decompress(data)
    # Bytes that are no UTF-8 spoil their row alone: they come out as replacement characters, by
    # which the row is recognised.
    read = partial(pl.read_csv, separator="\t" if kind == "tsv" else ",", encoding="utf8-lossy")
    names = read(io.BytesIO(data), n_rows=0).columns
    as_text = {name: pl.String for name in names if name.casefold() in (*IDS, "cif")}
    return read(io.BytesIO(data), schema_overrides=as_text, infer_schema_length=None)


def _values(series: pl.Series) -> NDArray[Any] | None:
    """Return numbers (NaN where missing) or text, None for what is neither."""
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        return series.cast(pl.Float64).fill_null(np.nan).to_numpy().copy()
    if series.dtype.is_nested() or series.dtype in (pl.Object, pl.Binary):
        return None
    texts = series.cast(pl.String).fill_null("")
    longest = texts.str.len_chars().max()
    if isinstance(longest, int) and longest > LONGEST_TEXT:
        return None
    return texts.to_numpy().astype(np.str_)
