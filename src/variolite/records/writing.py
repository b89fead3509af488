"""Writing tables and text so that a reader never sees half a file."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from variolite.errors import DataError
from variolite.records.tables import ending_of


def _text(frame: pl.DataFrame, separator: str) -> bytes:
    buffer = io.BytesIO()
    frame.with_columns(pl.selectors.float().fill_nan(None)).write_csv(buffer, separator=separator)
    return buffer.getvalue()


def _binary(write: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


_WRITERS: dict[str, Callable[[pl.DataFrame], bytes]] = {
    ".csv": lambda frame: _text(frame, ","),
    # A fixed time stamp: the same table always gives the same bytes.
    ".csv.gz": lambda frame: gzip.compress(_text(frame, ","), mtime=0),
    ".tsv": lambda frame: _text(frame, "\t"),
    ".parquet": lambda frame: _binary(frame.write_parquet),
    ".feather": lambda frame: _binary(frame.write_ipc),
    ".arrow": lambda frame: _binary(frame.write_ipc),
}


def write_table(frame: pl.DataFrame, path: str | Path) -> None:
    """Write a table in the format its file ending names.

    Parameters
    ----------
    frame
        The table. NaN is written as an empty cell in CSV.
    path
        Ending in .csv, .csv.gz, .tsv, .parquet, .feather or .arrow.

    Raises
    ------
    DataError
        If the ending is unknown or the file cannot be written. An existing file is
        then left as it was.
    """
    ending = ending_of(Path(path), _WRITERS, "written")
    try:
        data = _WRITERS[ending](frame)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"the table cannot be written as {ending} ({error})",
            where=str(path),
            hint="Parquet holds every type of column",
        ) from None
    write_bytes_atomic(path, data)


def require_writable(path: str | Path) -> None:
    """Raise before long work what writing a table to ``path`` would raise."""
    path = Path(path)
    _require_place(path)
    ending_of(path, _WRITERS, "written")


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write UTF-8 text with line feeds; see :func:`write_bytes_atomic`."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_bytes_atomic(path: str | Path, data: bytes) -> None:
    """Write ``data`` to a temporary file beside ``path``, then put it in place.

    Raises
    ------
    DataError
        If the folder is missing or the file cannot be written.
    """
    path = Path(path)
    _require_place(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with temporary.open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot be written ({error.strerror or error})",
            where=str(path),
            hint="Check permissions and free space",
        ) from None


def _require_place(path: Path) -> None:
    if path.is_dir():
        raise DataError("is a folder", where=str(path), hint="Give the name of a file")
    if not path.parent.is_dir():
        raise DataError("the folder does not exist", where=str(path.parent), hint="Create it first")
    if not os.access(path.parent, os.W_OK):
        raise DataError(
            "the folder is write-protected",
            where=str(path.parent),
            hint="Choose another place, or change its permissions",
        )


def _sync_folder(folder: Path) -> None:
    """Make the new directory entry last a power cut, where the system can do so."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
