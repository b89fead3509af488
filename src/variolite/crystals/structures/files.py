"""Which files hold structures, and in which format."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from variolite.errors import DataError, nearest

__all__ = ["STORE", "TABLES", "TEXTS", "find_files", "format_of"]

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
            raise DataError("no such file", where=str(path), mend=hint)
        kind = format_of(path)
        if kind is None:
            raise DataError(
                "the ending of this file stands for no format of structures",
                where=str(path),
                mend=f"Use one of {', '.join(sorted(_ENDINGS))}, or POSCAR",
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
