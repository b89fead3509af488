"""What is in files, in order: texts to be parsed, whole stores, and files that fail."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.checks import RejectedError
from variolite.crystals.files.formats import IDS, name_of_file
from variolite.crystals.files.store import open_store
from variolite.errors import DataError, nearest
from variolite.records.files.memory import read_bounded, unpacked_limit

# Which files hold structures, and in which format.

_ENDINGS: Mapping[str, tuple[str, ...]] = {
    "cif": (".cif", ".mcif"),
    "poscar": (".vasp", ".poscar", ".contcar"),
    "extxyz": (".xyz", ".extxyz"),
    "json": (".json", ".jsonl"),
    "csv": (".csv",),
    "tsv": (".tsv",),
    "parquet": (".parquet",),
    "feather": (".feather", ".arrow"),
    "store": (".crystals",),
}
_TABLES = frozenset({"csv", "tsv", "parquet", "feather"})
_NEVER_COMPRESSED = frozenset({"parquet", "feather", "store"})
_COMPRESSED: Mapping[str, Callable[[Any], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
_ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", *(f".tar{ending}" for ending in _COMPRESSED))

_UNREADABLE = (
    *(RejectedError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError),
    *(tarfile.TarError, zipfile.BadZipFile, NotImplementedError, RuntimeError),
)
"""What is raised by files that are damaged, encrypted or compressed in another way."""


def _format_of(path: Path) -> str | None:
    """Return the format that a file name stands for, None if none."""
    name = path.name.casefold()
    if name.endswith(_ARCHIVES):
        return "archive"
    bare = name.removesuffix(next((ending for ending in _COMPRESSED if name.endswith(ending)), ""))
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
            endings = sorted(chain(*_ENDINGS.values(), _ARCHIVES[:2]))
            hint = f"Use one of {', '.join(endings)}, or POSCAR"
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
    """Texts of one format, a store, or why a file cannot be read.

    ``decoded`` are the places of texts that were not UTF-8.
    """

    kind: str
    content: list[str] | Crystals | RejectedError
    files: list[str]  # of each text; of a store its own
    names: list[str]
    rows: list[int | None]  # None for a whole file
    properties: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # columns of a table
    size: float = 0.0  # bytes of files that it stands for
    decoded: frozenset[int] = frozenset()


class _Text(NamedTuple):
    """What is in a file of one text, and whether that was not UTF-8."""

    path: Path
    kind: str
    text: str
    decoded: bool


def read_sources(files: Iterable[tuple[Path, str]], properties: bool = True) -> Iterator[Chunk]:
    """Yield what is in files of the given formats in order, properties only if asked for."""
    waiting: list[_Text] = []
    size = 0
    for found in _found(files, properties):
        own = isinstance(found, Chunk)
        full = len(waiting) >= _CHUNK or size >= _CHUNK_BYTES
        if waiting and (own or full or found.kind != waiting[0].kind):
            yield _of_texts(waiting)
            waiting, size = [], 0
        if isinstance(found, Chunk):
            yield found
        else:
            waiting.append(found)
            size += len(found.text)
    if waiting:
        yield _of_texts(waiting)


def _found(files: Iterable[tuple[Path, str]], properties: bool) -> Iterator[_Text | Chunk]:
    for path, kind in files:
        if kind == "archive":
            yield from _in_archive(path, properties)
        else:
            yield from _contents(path, kind, None, properties)


def _in_archive(path: Path, properties: bool) -> Iterator[_Text | Chunk]:
    """Yield what is in the files of an archive, or why it cannot be unpacked.

    Nothing is written to the disk. A damaged archive ends where it is damaged; what came before
    stays.
    """
    try:
        left = limit = unpacked_limit(path.stat().st_size)
        for name, opened, packed in _members(path):
            inner = path / name
            kind = None if inner.name.startswith(".") else _format_of(inner)
            if kind is None:
                continue
            try:
                if kind in ("archive", "store"):
                    raise RejectedError("unreadable_file", "packed in an archive: unpack it")
                data = read_bounded(opened(), packed)
            except _UNREADABLE as error:
                yield _unreadable(inner, kind, error)
                continue
            left -= len(data)
            if left < 0:
                detail = f"its members decompress to more than {limit:,} bytes"
                raise RejectedError("unreadable_file", detail)
            yield from _contents(inner, kind, data, properties)
    except _UNREADABLE as error:
        yield _unreadable(path, "archive", error)


def _members(path: Path) -> Iterator[tuple[str, Callable[[], Any], int]]:
    """Yield name of every file in an archive, what opens it, and the bytes that it is packed in."""
    if path.name.casefold().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for file in archive.infolist():
                if not file.is_dir():
                    yield file.filename, partial(archive.open, file), file.compress_size
        return
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isfile():
                # Unlike those of a zip file, members are compressed together.
                yield member.name, partial(tar.extractfile, member), path.stat().st_size


def _contents(
    path: Path, kind: str, data: bytes | None, properties: bool
) -> Iterator[_Text | Chunk]:
    """Yield what is in one file, or why it cannot be read.

    ``data`` are the bytes of a member of an archive, which may be packed themselves.
    """
    try:
        if kind == "store":
            crystals = open_store(path)
            if not properties:
                crystals = replace(crystals, properties={})
            yield Chunk(kind, crystals, [str(path)], [], [], size=float(path.stat().st_size))
            return
        data = path.read_bytes() if data is None else data
        for ending, opened in _COMPRESSED.items():
            if path.name.casefold().endswith(ending):
                data = read_bounded(opened(io.BytesIO(data)), len(data))
        if kind in _TABLES:
            yield from _of_table(path, kind, data, properties)
        else:
            yield _Text(path, kind, *_decoded(data))
    except _UNREADABLE as error:
        yield _unreadable(path, kind, error)


def _decoded(data: bytes) -> tuple[str, bool]:
    """Return the text of some bytes, and whether it was in an encoding of Windows, not UTF-8."""
    try:
        return data.decode("utf-8-sig"), False
    except UnicodeDecodeError:
        pass
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if utf16 else "cp1252")
    except UnicodeDecodeError:
        raise RejectedError("not_text") from None
    if not _CONTROL.isdisjoint(text):
        raise RejectedError("not_text")
    return text, True


_CONTROL = frozenset(map(chr, range(32))) - frozenset("\t\n\r\f\v\x1a")


def _of_texts(found: list[_Text]) -> Chunk:
    files, names = [str(one.path) for one in found], [name_of_file(one.path) for one in found]
    texts, rows = [one.text for one in found], [None] * len(found)
    decoded = frozenset(place for place, one in enumerate(found) if one.decoded)
    size = float(sum(map(len, texts)))
    return Chunk(found[0].kind, texts, files, names, [*rows], size=size, decoded=decoded)


def _unreadable(path: Path, kind: str, error: Exception) -> Chunk:
    if not isinstance(error, RejectedError):
        what = error.what if isinstance(error, DataError) else " ".join(str(error).split())[:200]
        error = RejectedError("unreadable_file", what or type(error).__name__)
    size = float(path.stat().st_size) if path.exists() else 0.0
    return Chunk(kind, error, [str(path)], [name_of_file(path)], [None], size=size)


# Tables with one CIF per row.


def _of_table(path: Path, kind: str, data: bytes, properties: bool) -> Iterator[Chunk]:
    """Read a table with a column ``cif``, called by a column such as material_id or its rows."""
    try:
        frame = _frame(data, kind)
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
    size = float(len(data))
    for start in range(0, frame.height, _CHUNK):
        part = slice(start, start + _CHUNK)
        rows = [*range(frame.height)[part]]
        own = {name: values[part] for name, values in columns.items()}
        share = size * len(rows) / frame.height
        yield Chunk("cif", texts[part], [str(path)] * len(rows), names[part], [*rows], own, share)


def _frame(data: bytes, kind: str) -> pl.DataFrame:
    if kind == "parquet":
        return pl.read_parquet(io.BytesIO(data))
    if kind == "feather":
        return pl.read_ipc(io.BytesIO(data))
    # Bytes that are not UTF-8 spoil their row alone: they come out as replacement characters, by
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
