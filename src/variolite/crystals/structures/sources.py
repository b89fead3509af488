"""What is in files, in order: texts to be parsed, whole stores, and files that fail."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from variolite.crystals.structures.checks import faults
from variolite.crystals.structures.cif import parse_cif
from variolite.crystals.structures.crystals import Crystals
from variolite.crystals.structures.extxyz import parse_extxyz
from variolite.crystals.structures.files import STORE, TEXTS
from variolite.crystals.structures.naming import name_of_file
from variolite.crystals.structures.parsed import Parsed, Parser, gather
from variolite.crystals.structures.poscar import parse_poscar
from variolite.crystals.structures.rejection import Limits
from variolite.crystals.structures.store import open_store
from variolite.crystals.structures.structure_json import parse_json
from variolite.crystals.structures.tables import read_cif_table
from variolite.errors import DataError

__all__ = ["Checked", "Chunk", "Unusable", "Whole", "check_chunk", "read_sources"]

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
