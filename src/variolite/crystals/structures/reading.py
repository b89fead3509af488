"""Reading structures from files of any known format."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.structures.checks import faults
from variolite.crystals.structures.cif import parse_cif
from variolite.crystals.structures.crystals import Crystals
from variolite.crystals.structures.parsed import gather
from variolite.crystals.structures.rejection import REASONS, REJECT_SCHEMA, Limits
from variolite.errors import DataError

__all__ = ["Reading", "load_crystals", "read_structures"]

_IDS = ("material_id", "mp_id", "id", "name", "structure_id", "refcode")


@dataclass(frozen=True)
class Reading:
    """What was read.

    Attributes
    ----------
    crystals
        The structures that passed every check, in the order of the files.
    rejects
        One row for each that did not: file, row (from 0; null for a file of one
        structure), name, reason_code, reason.
    """

    crystals: Crystals
    rejects: pl.DataFrame


def _silent(text: str) -> None:
    del text


def read_structures(
    paths: str | Path | Iterable[str | Path],
    *,
    limits: Limits = Limits(),
    tell: Callable[[str], None] = _silent,
) -> Reading:
    found = [paths] if isinstance(paths, str | Path) else list(paths)
    parts: list[Crystals] = []
    rejects: list[dict[str, Any]] = []
    for given in found:
        path = Path(given)
        files = sorted(path.rglob("*.cif")) if path.is_dir() else [path]
        for file in files:
            tell(file.name)
            if not file.exists():
                raise DataError("no such file", where=str(file))
            if file.name.endswith(".cif"):
                texts, names = [file.read_text()], [file.stem]
                columns: Mapping[str, NDArray[Any]] = {}
            else:
                texts, names, columns = _table(file)
            parsed = gather(texts, parse_cif)
            wrong = faults(parsed, limits)
            keep = np.array([i not in wrong for i in range(len(parsed.counts))], dtype=bool)
            crystals = Crystals(
                parsed.species,
                parsed.coordinates,
                parsed.lattices,
                np.concatenate([[0], np.cumsum(parsed.counts)]).astype(np.int64),
                np.array([names[i] for i in parsed.source], dtype=np.str_),
                {name: values[parsed.source] for name, values in columns.items()},
            ).take(keep)
            parts.append(crystals)
            for reject in parsed.rejects:
                rejects.append(
                    {
                        "file": str(file),
                        "row": reject.source,
                        "name": names[reject.source],
                        "reason_code": reject.code,
                        "reason": reject.reason,
                    }
                )
            for i, (code, detail) in wrong.items():
                row = int(parsed.source[i])
                rejects.append(
                    {
                        "file": str(file),
                        "row": row,
                        "name": names[row],
                        "reason_code": code,
                        "reason": f"{REASONS[code]}: {detail}",
                    }
                )
    if not any(map(len, parts)):
        raise DataError("no structure could be read", where=str(found[0]) if found else None)
    return Reading(Crystals.concatenate(parts), pl.DataFrame(rejects, schema=dict(REJECT_SCHEMA)))


def _table(path: Path) -> tuple[Sequence[str], Sequence[str], Mapping[str, NDArray[Any]]]:
    if path.suffix == ".parquet":
        frame = pl.read_parquet(path)
    else:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        frame = pl.read_csv(io.BytesIO(data), infer_schema_length=None)
    if "cif" not in frame.columns:
        raise DataError("has no column 'cif'", where=str(path))
    ids = [name for name in _IDS if name in frame.columns]
    names = frame[ids[0]].cast(pl.String) if ids else pl.Series(map(str, range(frame.height)))
    columns = {}
    for series in frame.drop("cif", *ids[:1]).iter_columns():
        if series.dtype.is_numeric() or series.dtype == pl.Boolean:
            columns[series.name] = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
        else:
            columns[series.name] = series.cast(pl.String).fill_null("").to_numpy().astype(str)
    return frame["cif"].fill_null("").to_list(), names.fill_null("").to_list(), columns


def load_crystals(
    paths: str | Path | Iterable[str | Path],
    *,
    limits: Limits = Limits(),
    tell: Callable[[str], None] = _silent,
) -> Crystals:
    reading = read_structures(paths, limits=limits, tell=tell)
    if len(reading.rejects):
        tell(f"{len(reading.rejects)} structures were rejected")
    return reading.crystals
