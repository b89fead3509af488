"""Writing sets of crystals: folders of files, tables, trajectories, stores."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import polars as pl

from variolite.crystals.structures.crystals import Crystal, Crystals
from variolite.crystals.structures.store import write_store
from variolite.crystals.structures.texts import to_cif, to_extxyz, to_poscar
from variolite.errors import DataError
from variolite.records import write_bytes_atomic, write_table

__all__ = ["file_names", "require_place", "write_structures"]

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
    """Say before long work that structures cannot be written to ``out``.

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
            mend=f"Use one of {', '.join(known)}, or a folder for CIF files",
        )
    if not path.parent.is_dir():
        raise DataError("the folder does not exist", where=str(path.parent), mend="Create it first")
    if not os.access(path.parent, os.W_OK):
        raise DataError(
            "the folder is write-protected",
            where=str(path.parent),
            mend="Choose another place, or change its permissions",
        )
    if ending is not None:
        if path.is_dir():
            raise DataError("is a folder", where=str(path), mend="Give the name of a file")
        return ending
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataError(
            "is there already, and not an empty folder",
            where=str(path),
            mend="Give the name of a new folder",
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
        raise DataError(f"{kind!r} is no kind of file", mend=f"Use {' or '.join(_FILES)}")
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
            mend="Check permissions and free space",
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
        raise DataError(f"a property is called {min(clash)!r}", mend="Rename it")
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
