"""Writing tables and text so that a reader never sees half a file."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import IO, cast

import polars as pl

from variolite.atomic import placed
from variolite.errors import DataError
from variolite.records.files.tables import ending_of

# A spreadsheet runs a cell that begins so, unless an apostrophe stands before it.
FORMULA = r"^[=+\-@\t\r]"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"

raw_text: ContextVar[bool] = ContextVar("raw_text", default=False)
"""Whether text goes into delimited files as it is, formulas of spreadsheets included."""


_ROWS = 100_000  # Turned into text at a time: what is written may be larger than the memory.


def _delimited(frame: pl.DataFrame, file: IO[bytes], separator: str = ",") -> None:
    names = frame.columns if raw_text.get() else _harmless(pl.Series(frame.columns)).to_list()
    for start in range(0, max(frame.height, 1), _ROWS):
        part = frame[start : start + _ROWS].with_columns(pl.selectors.float().fill_nan(None))
        if not raw_text.get():
            text = part.select(pl.selectors.string(include_categorical=True))
            part = part.with_columns(_harmless(series) for series in text.iter_columns())
        part.columns = names
        part.write_csv(file, separator=separator, include_header=start == 0)


def _compressed(frame: pl.DataFrame, file: IO[bytes]) -> None:
    # A fixed time stamp and no name: the same table always gives the same bytes.
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as text:
        _delimited(frame, cast("IO[bytes]", text))


def _harmless(text: pl.Series) -> pl.Series:
    text = text.cast(pl.String)
    runs = text.str.contains(FORMULA) & ~text.str.contains(_NUMBER)
    return ("'" + text).zip_with(runs, text).alias(text.name)


_WRITERS: dict[str, Callable[[pl.DataFrame, IO[bytes]], object]] = {
    ".csv": _delimited,
    ".csv.gz": _compressed,
    ".tsv": partial(_delimited, separator="\t"),
    ".parquet": pl.DataFrame.write_parquet,
    ".feather": pl.DataFrame.write_ipc,
    ".arrow": pl.DataFrame.write_ipc,
}


def write_table(frame: pl.DataFrame, path: str | Path) -> None:
    """Write a table in the format that its file ending names; NaN is an empty cell in CSV.

    DataError where the ending is unknown or the file cannot be written; an existing file is then
    left unchanged.
    """
    ending = ending_of(Path(path), _WRITERS, "written")
    try:
        with _writing(path) as file:
            _WRITERS[ending](frame, file)
    except pl.exceptions.PolarsError as error:
        what = f"the table cannot be written as {ending} ({error})"
        # Its Parquet writer reports a full disk as one of its own errors.
        full = "os error" in str(error)
        hint = "Check free space" if full else "Parquet holds every type of column"
        raise DataError(what, where=str(path), hint=hint) from None


def require_writable(path: str | Path, *, also: Iterable[str] = ()) -> None:
    """Raise before long work what writing a table, or a file that ends in ``also``, would raise."""
    _require_place(Path(path))
    ending_of(Path(path), [*_WRITERS, *also], "written")


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write UTF-8 text with line feeds; see `write_bytes_atomic`."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_bytes_atomic(path: str | Path, data: bytes) -> None:
    """Write to a temporary file beside ``path``, then put it in place; DataError if impossible."""
    with _writing(path) as file:
        file.write(data)


@contextmanager
def _writing(path: str | Path) -> Iterator[IO[bytes]]:
    """Yield a file that replaces ``path`` at the end; DataError if impossible."""
    path = Path(path)
    _require_place(path)
    try:
        with placed(path) as (_, descriptor), open(descriptor, "wb", closefd=False) as file:
            yield file
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise DataError(what, where=str(path), hint="Check permissions and free space") from None


def _require_place(path: Path) -> None:
    if path.is_dir():
        raise DataError("is a folder", where=str(path), hint="Give the name of a file")
    require_parent(path)


def require_parent(path: Path) -> None:
    """Raise a DataError if the folder that is to hold ``path`` cannot be, or be written to.

    One that is missing is made when something is written.
    """
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if not folder.is_dir():
        raise DataError("is no folder", where=str(folder), hint="Choose another place")
    if not os.access(folder, os.W_OK):
        hint = "Choose another place, or change its permissions"
        raise DataError("the folder is write-protected", where=str(folder), hint=hint)


_LONGEST = 150
"""Bytes of a name: systems take 255 with all that is put before and after it."""


def files_in(folder: Path, names: Sequence[str], ending: str) -> list[Path]:
    """Make a folder, and return the path of a file in it for each name, such as wells.

    DataError where it is there already, and not empty.
    """
    what = f"the folder for {len(names)} wells"
    if folder.exists() and not folder.is_dir():
        hint = "Give another name, or move that file"
        raise DataError(
            f"{what} cannot be made: a file has that name", where=str(folder), hint=hint
        )
    if folder.exists() and any(folder.iterdir()):
        hint = "Give another name, or empty it"
        raise DataError(f"{what} is there already, and not empty", where=str(folder), hint=hint)
    require_parent(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stems: dict[str, str] = {}
    for name in names:
        stem = re.sub(r"[^\w.-]+", "_", name).lstrip(".") or "_"
        stem = stem.encode()[:_LONGEST].decode(errors="ignore")
        while stem.casefold() in stems:
            stem += "_"
        stems[stem.casefold()] = stem
    return [folder / f"{stem}{ending}" for stem in stems.values()]
