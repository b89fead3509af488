"""A schema with everything it learned from the training rows.

Fitted once on training rows, stored with the model as plain JSON, applied to every
table afterwards. What is learned per column: the transform, the quantiles to clip to,
bounds and decimals where asked for, and the levels of categories. No row is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError, ModelFileError, SchemaError
from variolite.records.extraction import (
    FittedNumeric,
    build_records,
    check_units,
    extract,
    fit_numeric,
    rows_to_keep,
)
from variolite.records.records import Records
from variolite.records.schema import Column, Schema
from variolite.records.tables import read_table, units_of

FORMAT = 1


@dataclass(frozen=True)
class FittedSchema:
    """A bound schema with fitted columns.

    Attributes
    ----------
    schema
        Bound to the training table.
    numeric
        Fitted numeric inputs and conditions, by name.
    levels
        Levels of category inputs and conditions, by name, sorted.
    rows_fitted
        Number of training rows used.

    Examples
    --------
    >>> schema = Schema.from_yaml("columns: {gamma: {transform: [log, standardise]}}")
    >>> fitted = FittedSchema.fit(schema, {"gamma": [1.0, 10.0, 100.0, 7.0]}, rows=[0, 1, 2])
    >>> records = fitted.apply({"gamma": [10.0, 1000.0]})
    >>> records.numeric.round(3).tolist()
    [[0.0], [2.4489998817443848]]
    >>> fitted.inverse(records.numeric).round(3).tolist()
    [[10.0], [1000.0]]
    """

    schema: Schema
    numeric: Mapping[str, FittedNumeric]
    levels: Mapping[str, tuple[str, ...]]
    rows_fitted: int

    @classmethod
    def fit(
        cls,
        schema: Schema,
        frame: Any,
        rows: ArrayLike | None = None,
        *,
        mapping: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> FittedSchema:
        """Learn from the given rows only.

        Parameters
        ----------
        schema
            Bound or not; bound here with ``mapping``.
        frame
            Anything that :func:`variolite.records.read_table` takes.
        rows
            Training rows: integers or a bool mask over the table; all by default. Of
            these, the rows that the missing-value policies drop are left out.
        mapping
            Table column by meaning.
        units
            Units by table column, from :func:`variolite.records.units_of`. Units in
            headers, and in a LAS file given as a path, are found without it.

        Raises
        ------
        SchemaError
            If a column is absent, constant, never observed, in another unit, or
            impossible for its transform.
        DataError
            If a column is not numeric, holds infinite values, or no row is left.
        """
        table = read_table(frame)
        bound = schema.bind(table.columns, mapping)
        sources = {name: column.source or "" for name, column in bound.columns.items()}
        check_units(bound, sources, _stated_units(frame, units))
        needed = {
            name: column
            for name, column in bound.columns.items()
            if column.role in ("input", "condition") or column.missing != "mask"
        }
        found = extract(bound.model_copy(update={"columns": needed}), table)
        missing = {name: found.is_missing(name) for name in needed}
        keep, dropped = _judge(bound, missing, table.height, _row_mask(rows, table.height))
        if not keep.any():
            reasons = "; ".join(f"{reason}: {count:,}" for reason, count in dropped.items())
            raise DataError(
                f"no training row is left ({reasons})",
                hint="Set 'missing: mask' for columns that are often missing, or leave them out",
            )
        numeric = {
            column.name: fit_numeric(column, found.numeric[column.name][keep])
            for role in ("input", "condition")
            for column in bound.of_role(role, "numeric")
        }
        levels = {
            column.name: _levels(column, found.text[column.name][keep])
            for role in ("input", "condition")
            for column in bound.of_role(role, "category")
        }
        return cls(bound, numeric, levels, int(keep.sum()))

    @property
    def numeric_names(self) -> tuple[str, ...]:
        """Names of the d numeric inputs."""
        return tuple(column.name for column in self.schema.of_role("input", "numeric"))

    @property
    def category_names(self) -> tuple[str, ...]:
        """Names of the c category inputs."""
        return tuple(column.name for column in self.schema.of_role("input", "category"))

    @property
    def category_levels(self) -> dict[str, tuple[str, ...]]:
        """Levels of the category inputs; a code is a position in them."""
        return {name: self.levels[name] for name in self.category_names}

    @property
    def condition_names(self) -> tuple[str, ...]:
        """Names of the k condition features; ``name=level`` for one-hot ones."""
        numeric = [column.name for column in self.schema.of_role("condition", "numeric")]
        onehot = [
            f"{column.name}={level}"
            for column in self.schema.of_role("condition", "category")
            for level in self.levels[column.name]
        ]
        return (*numeric, *onehot)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the label columns."""
        return tuple(column.name for column in self.schema.labels)

    @property
    def units(self) -> dict[str, str]:
        """Units by numeric input, "" where none is declared."""
        return {name: self.schema.columns[name].unit or "" for name in self.numeric_names}

    def apply(
        self,
        frame: Any,
        *,
        mapping: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> Records:
        """Make records of any table, with what was learned in training.

        Labels, group, order and id may be absent from the table, and so may inputs
        with the policy ``mask``: these are then missing in every row.

        Raises
        ------
        SchemaError, DataError
            As :meth:`fit`, except that infinite values and values impossible for a
            transform count as missing, and that no row may be left.
        """
        table = read_table(frame)
        found = extract(self.schema, table, mapping, lenient=True)
        check_units(self.schema, found.sources, _stated_units(frame, units))
        return build_records(self.schema, self.numeric, self.levels, found, table.columns)

    def inverse(self, numeric: ArrayLike) -> NDArray[np.float64]:
        """Return transformed inputs to original units.

        Parameters
        ----------
        numeric
            Shape [..., d].

        Returns
        -------
        ndarray of float64, shape [..., d]
            Within bounds and rounded for columns that learned these.
        """
        values = np.asarray(numeric, dtype=np.float64)
        self._check_width(values)
        out = np.empty_like(values)
        for i, name in enumerate(self.numeric_names):
            out[..., i] = self.numeric[name].inverse(values[..., i])
        return out

    def forward(self, raw: ArrayLike) -> NDArray[np.float64]:
        """Transform inputs in original units, shape [..., d]; NaN stays NaN."""
        return self._both(raw)[0]

    def log_det(self, raw: ArrayLike) -> NDArray[np.float64]:
        """Return log |d transformed / d original| at inputs in original units.

        Parameters
        ----------
        raw
            Shape [..., d]. Values beyond the clip quantiles are clipped first.

        Returns
        -------
        ndarray of float64, shape [..., d]
            0 where ``raw`` is NaN or impossible for the transform.
        """
        return np.nan_to_num(self._both(raw)[1], nan=0.0)

    def _both(self, raw: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        values = np.asarray(raw, dtype=np.float64)
        self._check_width(values)
        forward, log_det = np.empty_like(values), np.empty_like(values)
        for i, name in enumerate(self.numeric_names):
            forward[..., i], log_det[..., i] = self.numeric[name].evaluate(values[..., i])
        return forward, log_det

    def _check_width(self, values: NDArray[np.float64]) -> None:
        d = len(self.numeric_names)
        if values.ndim == 0 or values.shape[-1] != d:
            raise DataError(f"the last axis must have length {d}, but the shape is {values.shape}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; no training row is inside."""
        return {
            "format": FORMAT,
            "schema": self.schema.to_dict(),
            "numeric": {name: fitted.to_dict() for name, fitted in self.numeric.items()},
            "levels": {name: list(levels) for name, levels in self.levels.items()},
            "rows_fitted": self.rows_fitted,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FittedSchema:
        """Rebuild from :meth:`to_dict`.

        Raises
        ------
        ModelFileError
            If the format is newer than this version reads, or something is missing.
        """
        found = data.get("format")
        if found != FORMAT:
            raise ModelFileError(
                f"the fitted schema has format {found!r}, and this version reads {FORMAT}",
                hint="Update Variolite" if isinstance(found, int) and found > FORMAT else None,
            )
        try:
            schema = Schema.from_dict(data["schema"])
            numeric = {n: FittedNumeric.from_dict(v) for n, v in data["numeric"].items()}
            levels = {n: tuple(map(str, v)) for n, v in data["levels"].items()}
            rows_fitted = int(data["rows_fitted"])
        except ModelFileError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ModelFileError(f"the fitted schema is damaged ({error})") from None
        needed = {c.name: c.kind for c in (*schema.inputs, *schema.conditions)}
        for name, kind in needed.items():
            if name not in (numeric if kind == "numeric" else levels):
                raise ModelFileError(f"the fitted schema lacks the column {name!r}")
        return cls(schema, numeric, levels, rows_fitted)


def _stated_units(source: Any, units: Mapping[str, str] | None) -> Mapping[str, str] | None:
    return units_of(source) if units is None and isinstance(source, str | Path) else units


def _row_mask(rows: ArrayLike | None, count: int) -> NDArray[np.bool_]:
    if rows is None:
        return np.ones(count, dtype=bool)
    chosen = np.asarray(rows)
    if chosen.dtype == bool:
        if chosen.shape != (count,):
            raise DataError(f"the row mask has shape {chosen.shape}, the table {count} rows")
        return chosen
    mask = np.zeros(count, dtype=bool)
    if chosen.size:
        if chosen.min() < 0 or chosen.max() >= count:
            raise DataError(f"row numbers must lie between 0 and {count - 1}")
        mask[chosen.astype(np.int64)] = True
    return mask


def _judge(
    schema: Schema, missing: Mapping[str, NDArray[np.bool_]], rows: int, among: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Apply the missing-value policies to the rows of ``among`` only."""
    judged = {name: mask[among] for name, mask in missing.items()}
    kept, dropped = rows_to_keep(schema, judged, int(among.sum()))
    keep = np.zeros(rows, dtype=bool)
    keep[np.flatnonzero(among)[kept]] = True
    return keep, dropped


def _levels(column: Column, values: NDArray[np.str_]) -> tuple[str, ...]:
    levels = tuple(sorted(level for level in pl.Series(values).unique().to_list() if level))
    if len(levels) < 2:
        raise SchemaError(
            f"has {len(levels)} level(s) in the training rows, and a category needs two",
            where=f"column {column.source or column.name!r}",
            hint="Leave the column out of the schema",
        )
    return levels
