"""Reading structures from files of any known format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from variolite.crystals.structures.collecting import Collection
from variolite.crystals.structures.crystals import Crystals
from variolite.crystals.structures.files import find_files
from variolite.crystals.structures.rejection import MENDS, Limits
from variolite.crystals.structures.sources import Unusable, Whole, read_sources
from variolite.crystals.structures.workers import checked_in_order
from variolite.errors import DataError

__all__ = ["Reading", "load_crystals", "read_all", "read_structures"]

Tell = Callable[[str], None]
Paths = str | Path | Iterable[str | Path]


@dataclass(frozen=True)
class Reading:
    """What was read.

    Attributes
    ----------
    crystals
        The structures that passed every check, in the order of the files.
    rejects
        One row for each that did not: file, row (from 0; null in a file of one
        structure), name, reason_code, reason.
    notes
        What was changed on reading, and in how many structures.
    """

    crystals: Crystals
    rejects: pl.DataFrame
    notes: Mapping[str, int] = field(default_factory=dict)

    def reasons(self) -> pl.DataFrame:
        """Count the rejects by reason, the most frequent first: reason_code, count."""
        counted = self.rejects.group_by("reason_code").agg(pl.len().alias("count"))
        return counted.sort(["count", "reason_code"], descending=[True, False])

    def remarks(self) -> list[str]:
        """Return sentences on what was rejected or changed; none when all is well."""
        lines = [f"{note}, in {count} structures" for note, count in self.notes.items()]
        if len(self.rejects):
            total = len(self.rejects) + len(self.crystals)
            lines.append(f"{len(self.rejects)} of {total} were rejected: {self._counted()}")
        return lines

    def require(self, share: float, paths: Paths = ()) -> None:
        """Refuse to go on when too much was rejected.

        Parameters
        ----------
        share
            Of all structures that may be rejected.
        paths
            What was read, for the message.

        Raises
        ------
        DataError
            If nothing is left, or more than ``share`` of all structures were rejected.
        """
        rejected, total = len(self.rejects), len(self.rejects) + len(self.crystals)
        if not total:
            raise DataError(
                "no structures were found",
                where=", ".join(map(str, _listed(paths))) or None,
                mend="Give CIF, POSCAR, extXYZ or JSON files, folders of them, or tables with a "
                "column 'cif'",
            )
        if len(self.crystals) and rejected <= share * total:
            return
        first = self.rejects.row(0, named=True)
        place = first["file"] if first["row"] is None else f"{first['file']}, row {first['row']}"
        if total == 1:
            raise DataError(first["reason"], where=place, mend=MENDS[first["reason_code"]])
        how_many = "too many structures" if len(self.crystals) else "all structures"
        raise DataError(
            f"{how_many} were rejected, {rejected} of {total}: {self._counted()}",
            mend=f"The first is {place}: {first['reason']}",
        )

    def _counted(self) -> str:
        return ", ".join(f"{code} {count}" for code, count in self.reasons().rows())


def _silent(text: str) -> None:
    del text


def _listed(paths: Paths) -> list[str | Path]:
    return [paths] if isinstance(paths, str | Path) else list(paths)


def read_structures(
    paths: Paths,
    *,
    properties: bool = True,
    limits: Limits = Limits(),
    workers: int = 1,
    tell: Tell = _silent,
) -> Reading:
    """Read every structure there is; what cannot be used is listed with the reason.

    Parameters
    ----------
    paths
        CIF (.cif), POSCAR and CONTCAR (also .vasp, .poscar), extended XYZ (.xyz,
        .extxyz), JSON of pymatgen (.json), tables with a column ``cif`` (.csv, .tsv,
        .parquet, .feather), stores (.crystals), and folders of these. Text may be
        compressed (.gz).
    properties
        Keep the other columns of tables, and what extended XYZ and JSON say of a
        structure. Where files differ in their columns, values are missing (NaN or "").
    limits
        Bounds between which a structure is believed. Stores were checked when they were
        written: they are taken as they are, unless other limits than the usual are given.
    workers
        Largest number of processes to parse in; they are started only when it takes
        longer than some seconds. A script that allows more than one needs the usual
        guard, ``if __name__ == "__main__"``.
    tell
        Called with the state of progress.

    Raises
    ------
    DataError
        If a path does not exist, nothing can be read, or more than
        ``limits.max_rejected`` of the structures are rejected.

    Examples
    --------
    >>> import tempfile
    >>> from variolite.crystals.structures import textbook_crystals, to_cif
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "salt.cif").write_text(to_cif(textbook_crystals()[18]))
    ...     _ = Path(folder, "odd.cif").write_text("not a CIF")
    ...     reading = read_structures(folder)
    >>> reading.crystals.names.tolist(), reading.rejects["reason_code"].to_list()
    (['salt'], ['unreadable'])
    """
    reading = read_all(paths, properties=properties, limits=limits, workers=workers, tell=tell)
    reading.require(limits.max_rejected, paths)
    return reading


def load_crystals(
    paths: Paths, *, properties: bool = True, limits: Limits = Limits(), tell: Tell = _silent
) -> Crystals:
    """Return the structures of :func:`read_structures`; tells how many were rejected."""
    reading = read_structures(paths, properties=properties, limits=limits, tell=tell)
    for line in reading.remarks():
        tell(line)
    return reading.crystals


def read_all(
    paths: Paths,
    *,
    properties: bool = True,
    limits: Limits = Limits(),
    workers: int = 1,
    tell: Tell = _silent,
) -> Reading:
    """Read as :func:`read_structures` does, whatever share is rejected."""
    files = list(find_files(_listed(paths)))
    size = sum(path.stat().st_size for path, _ in files if path.exists())
    collection = Collection(size, tell)
    sources = read_sources(files, properties=properties)
    for source in checked_in_order(sources, limits, workers):
        if isinstance(source, Whole):
            collection.add_whole(source, limits)
        elif isinstance(source, Unusable):
            collection.add_unusable(source)
        else:
            collection.add_checked(*source)
    return Reading(collection.crystals(), collection.rejects(), collection.notes())
