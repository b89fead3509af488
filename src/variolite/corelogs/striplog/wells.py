"""Wells of a table as strip logs: its own curves and labels beside what a run makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.corelogs.held_out_rows import Classes, code_clusters, code_labels
from variolite.corelogs.lithology import LevelChooser
from variolite.corelogs.striplog.tracks import CUSTOMARY, Curve
from variolite.corelogs.striplog.well_log import Strip, WellLog
from variolite.errors import DataError, nearest
from variolite.records import Records, Schema, Table
from variolite.records.mnemonics import find_mnemonics
from variolite.records.names import normalised
from variolite.records.records import SENTINELS, numeric_values, text_series
from variolite.records.units import split_header
from variolite.report.formatting import plain

Floats = NDArray[np.float64]

_FORMATIONS = ("formation", "formations", "fm", "zone", "stratigraphy", "lithostratigraphy")
_ABSENT = (*SENTINELS, -999.0, -9999.0)


class Wells:
    """The rows of a table that have a well and a depth, ready to be drawn well by well.

    ``found`` holds what a run says of the rows ``records.row``: ``cluster``, and where it has
    them ``probability``, ``class`` and ``class_probability``; ``inputs`` names the columns of
    ``records.raw``. A table without wells is one, called ``stem``.

    Raises
    ------
    DataError
        If no row has a depth.
    """

    def __init__(
        self,
        table: Table,
        schema: Schema,
        records: Records,
        inputs: Sequence[str],
        found: Mapping[str, pl.Series],
        stem: str,
    ) -> None:
        frame = table.frame
        if schema.order is None:
            hint = "Bind a column to it with --map"
            raise DataError("a strip log needs a depth, and the table has none", hint=hint)
        header = str(schema.order.source)
        self.depth = numeric_values(frame[header])
        self.depth[np.isinf(self.depth) | np.isin(self.depth, SENTINELS)] = np.nan
        if not np.isfinite(self.depth).any():
            hint = "Bind another column to depth with --map"
            raise DataError("no row has a depth", where=f"column {header!r}", hint=hint)
        self.unit = table.units.get(header) or schema.order.unit or ""
        source = schema.group.source if schema.group else None
        wells = text_series(frame[source]) if source else pl.Series([stem] * frame.height)
        self.wells = wells.to_numpy().astype(np.str_)
        if records.group is not None and source:
            # Spelled alike, where the table has several spellings of a name.
            width = max(self.wells.dtype.itemsize, records.group.dtype.itemsize) // 4
            self.wells = self.wells.astype(f"U{max(width, 1)}")
            self.wells[records.row] = records.group
        self.names = list(dict.fromkeys(self.wells[np.isfinite(self.depth)].tolist()))
        self.curves = _curves(table, schema, records, inputs)
        self.strips, self.doubt = _strips(table, schema, records, found)
        named = {split_header(name)[0].casefold(): name for name in frame.columns}
        formation = next((named[name] for name in _FORMATIONS if name in named), None)
        self.formations = None
        if formation is not None:
            texts = frame[formation].cast(pl.String, strict=False).fill_null("")
            self.formations = texts.to_numpy().astype(np.str_)
        self.undrawn = self._undrawn(frame, schema, formation)

    def _undrawn(self, frame: pl.DataFrame, schema: Schema, formation: str | None) -> list[str]:
        used = {column.source for column in schema.columns.values()}
        used |= {curve.name for curve in self.curves} | {formation}
        numeric = (name for name, kind in frame.schema.items() if kind.is_numeric())
        return [name for name in numeric if name not in used]

    def chosen(self, wanted: Sequence[str], low: float, high: float) -> list[str]:
        """Return the wells of some names, or all, that have rows between two depths.

        Names may be spelled in any way. DataError where there is no such well, or none has rows.
        """
        known = {normalised(name): name for name in self.names}
        for name in wanted:
            if normalised(name) not in known:
                close = nearest(name, self.names)
                some = f"there are {', '.join(self.names[:8])}"
                hint = f"did you mean {close!r}?" if close else some
                raise DataError("there is no such well", where=f"--well {name}", hint=hint)
        names = [known[normalised(name)] for name in wanted] or self.names
        there = set(self.wells[(self.depth >= low) & (self.depth <= high)].tolist())
        if not there.intersection(names):
            own = self.depth[np.isin(self.wells, names) & np.isfinite(self.depth)]
            hint = f"there are rows from {own.min():g} to {own.max():g} {self.unit}".rstrip()
            raise DataError("no row lies between", where=f"--from {low:g} --to {high:g}", hint=hint)
        return [name for name in names if name in there]

    def of(self, names: Sequence[str], low: float, high: float) -> list[Curve]:
        """Return the curves of some wells together, for scales that all of them share."""
        rows = np.isin(self.wells, names) & (self.depth >= low) & (self.depth <= high)
        return [replace(curve, values=curve.values[rows]) for curve in self.curves]

    def log(self, name: str, low: float, high: float) -> WellLog:
        """Return one well between two depths, without what it lacks altogether."""
        there = (self.wells == name) & (self.depth >= low) & (self.depth <= high)
        rows = np.flatnonzero(there)
        rows = rows[np.argsort(self.depth[rows], kind="stable")]
        log = WellLog(
            name, self.depth, self.unit, self.curves, self.strips, self.formations, self.doubt
        ).part(rows)
        curves = tuple(curve for curve in log.curves if np.isfinite(curve.values).any())
        strips = tuple(strip for strip in log.strips if (strip.classes.codes >= 0).any())
        named = log.formations is not None and bool((log.formations != "").any())
        formations = log.formations if named else None
        doubt = log.doubt if log.doubt is not None and np.isfinite(log.doubt).any() else None
        return WellLog(name, log.depth, log.unit, curves, strips, formations, doubt)


def _curves(
    table: Table, schema: Schema, records: Records, inputs: Sequence[str]
) -> tuple[Curve, ...]:
    """Take the inputs of a model, and what else is known by its mnemonic, as the table has them."""
    frame = table.frame
    columns = [column for column in schema.inputs if column.kind == "numeric"]
    sources = {column.name: str(column.source) for column in columns}
    units = {column.name: column.unit for column in columns}
    for meaning in CUSTOMARY:
        free = [name for name in frame.columns if name not in sources.values()]
        if meaning not in sources and (known := find_mnemonics(meaning, free)):
            sources[meaning] = next(iter(known))
    curves = []
    for meaning, header in sources.items():
        try:
            values = numeric_values(frame[header])
        except DataError:
            continue  # A column of text that is called like a log.
        values = np.where(np.isin(values, _ABSENT) | ~np.isfinite(values), np.nan, values)
        if meaning in inputs:
            # Out of the valid range, or marked as missing by the schema.
            unseen = np.isnan(records.raw[:, inputs.index(meaning)])
            values[records.row[unseen]] = np.nan
        name = plain(meaning) if len(header) > 24 else split_header(header)[0]
        unit = table.units.get(header) or units.get(meaning) or ""
        curves.append(Curve(name, meaning, unit, values))
    return tuple(curves)


def _strips(
    table: Table, schema: Schema, records: Records, found: Mapping[str, pl.Series]
) -> tuple[tuple[Strip, ...], Floats | None]:
    """Return labels, classes and clusters as strips, and how uncertain rows are, 0 to 1, [n]."""
    frame, rows = table.frame, records.row

    def spread(values: NDArray[Any], empty: object) -> NDArray[Any]:
        """Put values of the model's rows in their place in the table."""
        whole = np.full(frame.height, empty, dtype=values.dtype)
        whole[rows] = values
        return whole

    labels = {
        column.name: text_series(frame[str(column.source)]).to_numpy().astype(np.str_)
        for column in schema.labels
        if column.source in frame.columns
    }
    chooser = LevelChooser((), frame.columns)
    levels = {name: values for name, values in chooser(labels).items() if (values != "").any()}
    level, given = next(iter(levels.items()), ("", None))
    named = {} if given is None else {plain(next(iter(labels))): given}
    if "class" in found:
        texts = found["class"].cast(pl.String).fill_null("").to_numpy().astype(np.str_)
        predicted = spread(texts, "")
        # Labels may be codes, and picks their names.
        names = chooser({"class": predicted}).get(level, predicted)
        named["class"] = np.where(names == "", predicted, names)
    strips: list[Strip] = []
    likest: Classes | None = None
    if named:
        # In one list, so that a name has one colour.
        both = code_labels(np.concatenate(list(named.values())))
        coded = [replace(both, codes=codes) for codes in np.split(both.codes, len(named))]
        strips = [Strip(title, classes) for title, classes in zip(named, coded, strict=True)]
        likest = coded[-1]
    if "cluster" in found:
        numbers = found["cluster"].cast(pl.Int64).fill_null(-1).to_numpy()
        strips.append(Strip("cluster", code_clusters(spread(numbers, -1), likest), rocks=False))
    certain = found.get("class_probability", found.get("probability"))
    if certain is None:
        return tuple(strips), None
    return tuple(strips), 1 - spread(certain.cast(pl.Float64).to_numpy().astype(np.float64), np.nan)
