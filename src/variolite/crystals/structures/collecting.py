"""Structures and rejects gathered from many sources, joined once at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.structures.checks import faults
from variolite.crystals.structures.crystals import Crystals
from variolite.crystals.structures.naming import name_of_file
from variolite.crystals.structures.parsed import Parsed
from variolite.crystals.structures.rejection import REJECT_SCHEMA, Limits, RejectedError
from variolite.crystals.structures.sources import Checked, Chunk, Unusable, Whole
from variolite.crystals.structures.tables import text_or_numbers

__all__ = ["Collection"]

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
