"""Reading structures from files of any known format."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.checks import (
    MENDS,
    REJECT_SCHEMA,
    Limits,
    Parsed,
    RejectedError,
    faults,
)
from variolite.crystals.files.formats import name_of_file
from variolite.crystals.files.sources import (
    Checked,
    Chunk,
    Unusable,
    Whole,
    check_chunk,
    find_files,
    read_sources,
    text_or_numbers,
)
from variolite.errors import DataError
from variolite.training.workers import Workers

# Structures and rejects gathered from many sources, joined once at the end.


_Line = tuple[str, int | None, str, str, str]


class Collection:
    """What was read so far.

    Parameters
    ----------
    size
        Bytes of all files together, for an estimate of the time left.
    tell
        Called with the state of progress after each step.
    """

    def __init__(self, size: float, tell: Callable[[str], None]) -> None:
        self._size = max(size, 1.0)
        self._tell = tell
        self._began = time.monotonic()
        self._done = 0.0
        self._parts: list[Crystals] = []
        self._structures = 0
        self._rejects: list[_Line] = []
        self._notes: Counter[str] = Counter()

    def add_unusable(self, source: Unusable) -> None:
        """Note a file that cannot be read."""
        reason = RejectedError(source.code, source.detail).reason
        name = name_of_file(source.file)
        self._rejects.append((str(source.file), None, name, source.code, reason))
        self._advance(source.size)

    def add_whole(self, source: Whole, limits: Limits) -> None:
        """Take a set; checks are repeated only where others than the usual are asked for.

        What is in a store was checked before it was written, or was made by a model, and
        then it is not for the reader to judge it.
        """
        crystals = source.crystals
        wrong = {} if limits == Limits() else faults(crystals, limits)
        for place, (code, detail) in sorted(wrong.items()):
            name, reason = str(crystals.names[place]), RejectedError(code, detail).reason
            self._rejects.append((str(source.file), place, name, code, reason))
        self._keep(crystals, wrong)
        self._advance(source.size)

    def add_checked(self, chunk: Chunk, checked: Checked) -> None:
        """Take the structures that passed, and list the others."""
        parsed, wrong = checked.parsed, checked.wrong
        names = [
            own or _numbered(chunk, source, frame)
            for own, source, frame in zip(
                parsed.names, parsed.source.tolist(), parsed.frame.tolist(), strict=True
            )
        ]
        self._rejects += _lines(chunk, checked, names)
        self._notes.update(parsed.notes)
        crystals = Crystals(
            parsed.species,
            parsed.coordinates,
            parsed.lattices,
            np.concatenate([[0], np.cumsum(parsed.counts)]).astype(np.int64),
            np.array(names, dtype=np.str_),
            _properties(chunk, parsed),
        )
        self._keep(crystals, wrong)
        self._advance(chunk.size)

    def _keep(self, crystals: Crystals, wrong: Mapping[int, tuple[str, str]]) -> None:
        if wrong:
            sound = np.ones(len(crystals), dtype=bool)
            sound[list(wrong)] = False
            crystals = crystals.take(sound)
        self._parts.append(crystals)
        self._structures += len(crystals)

    def _advance(self, size: float) -> None:
        self._done = min(self._done + size, self._size)
        elapsed = time.monotonic() - self._began
        left = elapsed * (self._size - self._done) / max(self._done, 1.0)
        self._tell(
            f"{self._structures:,} structures, {self._done / self._size:.0%}, {left:.0f} s left"
        )

    def crystals(self) -> Crystals:
        """Return all structures, with every property that any source has."""
        return _joined(self._parts)

    def rejects(self) -> pl.DataFrame:
        """Return one row for each structure or file that was turned away."""
        return pl.DataFrame(self._rejects, schema=dict(REJECT_SCHEMA), orient="row")

    def notes(self) -> dict[str, int]:
        """Return how many structures each change on reading concerned."""
        return dict(self._notes)


def _numbered(chunk: Chunk, source: int, frame: int) -> str:
    """Return the name of a structure without one of its own."""
    return chunk.names[source] if frame < 0 else f"{chunk.names[source]}-{frame}"


def _lines(chunk: Chunk, checked: Checked, names: list[str]) -> list[_Line]:
    """Return the rejects of a chunk in the order of the texts."""
    parsed = checked.parsed
    found = [
        (
            one.source,
            one.frame,
            one.name or _numbered(chunk, one.source, one.frame),
            one.code,
            one.reason,
        )
        for one in parsed.rejects
    ]
    found += [
        (
            int(parsed.source[place]),
            int(parsed.frame[place]),
            names[place],
            code,
            RejectedError(code, detail).reason,
        )
        for place, (code, detail) in checked.wrong.items()
    ]
    return [
        (chunk.files[source], chunk.rows[source] if frame < 0 else frame, name, code, reason)
        for source, frame, name, code, reason in sorted(found)
    ]


def _properties(chunk: Chunk, parsed: Parsed) -> dict[str, NDArray[Any]]:
    columns = {name: values[parsed.source] for name, values in chunk.properties.items()}
    for name in dict.fromkeys(key for values in parsed.properties for key in values):
        columns[name] = text_or_numbers([values.get(name) for values in parsed.properties])
    return columns


def _joined(parts: list[Crystals]) -> Crystals:
    """Join sets; where one lacks a property, its values are NaN or ""."""
    filled = [part for part in parts if len(part)] or parts[:1] or [Crystals.of([])]
    if len(filled) == 1:
        return filled[0]
    names = dict.fromkeys(name for part in filled for name in part.properties)
    text = {
        name
        for part in filled
        for name, values in part.properties.items()
        if values.dtype.kind == "U"
    }

    def columns(part: Crystals) -> Mapping[str, NDArray[Any]]:
        return {name: _column(part, name, as_text=name in text) for name in names}

    return Crystals.concatenate([replace(part, properties=columns(part)) for part in filled])


def _column(part: Crystals, name: str, *, as_text: bool) -> NDArray[Any]:
    values = part.properties.get(name)
    if values is None:
        return np.full(len(part), "" if as_text else np.nan)
    if as_text and values.dtype.kind != "U":
        return np.where(np.isnan(values), "", values.astype(np.str_))
    return values


# Parsing in order, in worker processes once it turns out to be long work.


Source = Chunk | Whole | Unusable
Finished = tuple[Chunk, Checked] | Whole | Unusable

PATIENCE = 5.0
"""Seconds of parsing after which worker processes begin to pay: starting them takes two to
three, in which a hundred thousand structures are parsed."""


def checked_in_order(
    sources: Iterable[Source], limits: Limits, workers: int, patience: float = PATIENCE
) -> Iterator[Finished]:
    """Yield every source in the given order, texts with the structures parsed from them.

    Parameters
    ----------
    sources
        What was read; it is read ahead by a few chunks only, to bound the memory.
    limits
        Bounds between which a structure is believed.
    workers
        Largest number of processes; with 1 all is parsed in this one.
    patience
        Seconds of parsing in this process before others are started.
    """
    left = iter(sources)
    spent = 0.0
    for source in left:
        if not isinstance(source, Chunk):
            yield source
        elif workers > 1 and spent >= patience:
            yield from _in_processes(source, left, limits, workers)
        else:
            began = time.monotonic()
            checked = check_chunk(source, limits)
            spent += time.monotonic() - began
            yield source, checked


def _in_processes(
    first: Chunk, left: Iterator[Source], limits: Limits, workers: int
) -> Iterator[Finished]:
    waiting: deque[tuple[Chunk, Future[Checked]] | Whole | Unusable] = deque()
    with Workers(workers) as pool:
        for source in chain([first], left):
            if isinstance(source, Chunk):
                waiting.append((source, pool.submit(check_chunk, source, limits)))
            else:
                waiting.append(source)
            while len(waiting) > 2 * workers:
                yield _finished(waiting.popleft())
        while waiting:
            yield _finished(waiting.popleft())


def _finished(item: tuple[Chunk, Future[Checked]] | Whole | Unusable) -> Finished:
    return (item[0], item[1].result()) if isinstance(item, tuple) else item


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
                hint="Give CIF, POSCAR, extXYZ or JSON files, folders of them, or tables with a "
                "column 'cif'",
            )
        if len(self.crystals) and rejected <= share * total:
            return
        first = self.rejects.row(0, named=True)
        place = first["file"] if first["row"] is None else f"{first['file']}, row {first['row']}"
        if total == 1:
            raise DataError(first["reason"], where=place, hint=MENDS[first["reason_code"]])
        how_many = "too many structures" if len(self.crystals) else "all structures"
        raise DataError(
            f"{how_many} were rejected, {rejected} of {total}: {self._counted()}",
            hint=f"The first is {place}: {first['reason']}",
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
    >>> from variolite.crystals.files import textbook_crystals, to_cif
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
