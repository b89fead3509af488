"""Tables at the edge of an estimator: what came in, and the same kind going out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError, TrainingError
from variolite.records import MISSING, FittedSchema, Records, as_text
from variolite.training import TabularModel

Kind = Literal["array", "pandas", "polars"]


def kind_of(source: Any) -> Kind:
    """Return what a table is; files and mappings of arrays are read into polars frames."""
    if isinstance(source, pl.DataFrame | pl.LazyFrame | str | Path):
        return "polars"
    # Some sparse matrices are mappings too; they are arrays to be refused.
    if isinstance(source, Mapping) and not hasattr(source, "shape"):
        return "polars"
    # Named without an import: pandas is an optional extra.
    module = type(source).__module__.partition(".")[0]
    return "pandas" if module == "pandas" and hasattr(source, "columns") else "array"


def as_kind(columns: Mapping[str, NDArray[Any]], kind: Kind, index: Any = None) -> Any:
    """Join columns to an array (n, d), or to a data frame; ``index`` is that of a pandas one."""
    if kind == "array":
        return np.column_stack(list(columns.values()))
    if kind == "pandas":
        import pandas as pd

        return pd.DataFrame(dict(columns), index=index)
    # Level names become text, not objects.
    return pl.DataFrame({n: v.tolist() if v.dtype == object else v for n, v in columns.items()})


def spread(values: NDArray[Any], records: Records, rows: int) -> NDArray[Any]:
    """Lay values of records (k, ...) out over all rows of their table, (rows, ...).

    Rows that did not become records hold NaN, or None among level names.
    """
    if len(values) == rows:
        return values
    empty = np.nan if values.dtype.kind == "f" else None
    out: NDArray[Any] = np.full((rows, *values.shape[1:]), empty, values.dtype)
    out[records.row] = values
    return out


ROWS_AT_ONCE = 8_192


@torch.no_grad()
def decode(
    model: TabularModel, z: NDArray[Any], condition: NDArray[np.float32] | None
) -> dict[str, NDArray[Any]]:
    """Decode latent points (n, L) with a model of one member: values (n,) by table column.

    ``condition`` is (n, K); None stands for zeros, the mean condition of the training rows.
    Numeric columns get their median, categories their most probable level.
    """
    width = model.module.architecture.condition
    if condition is None:
        condition = np.zeros((len(z), width), dtype=np.float32)
    device = next(model.module.parameters()).device
    points = torch.from_numpy(np.ascontiguousarray(z, dtype=np.float32)).to(device)
    given = torch.from_numpy(condition).to(device)
    centres, codes = [], []
    for start in range(0, len(z), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        joint = model.module.generate(points[None, part], given[None, part] if width else None)
        if joint.numeric is not None:
            # The transforms increase: the centre of a symmetric density becomes the median.
            centres.append(joint.numeric.mean[0])
        codes.append([column.logits[0].argmax(dim=-1) for column in joint.categories])
    schema = model.schema
    values: dict[str, NDArray[Any]] = {}
    if centres:
        original = schema.inverse(torch.cat(centres).double().cpu().numpy())
        values |= dict(zip(schema.numeric_names, original.T, strict=True))
    for i, (name, levels) in enumerate(schema.category_levels.items()):
        chosen = torch.cat([part[i] for part in codes]).cpu().numpy()
        values[name] = np.asarray(levels, dtype=object)[chosen]
    return {str(column.source): values[column.name] for column in schema.schema.inputs}


def fill_gaps(
    table: pl.DataFrame, records: Records, schema: FittedSchema, decoded: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Put decoded values where inputs are missing, and leave all others unchanged.

    ``decoded`` has by table column a value for every record. What comes back has the rows of
    the table: float64, or level names. Columns that the table lacks are missing throughout.
    """
    filled: dict[str, NDArray[Any]] = {}
    for column in schema.schema.inputs:
        name = str(column.source)
        if column.kind == "numeric":
            gap = ~records.observed[:, schema.numeric_names.index(column.name)]
            values: NDArray[Any] = np.full(table.height, np.nan)
        else:
            gap = records.category[:, schema.category_names.index(column.name)] == MISSING
            values = np.full(table.height, None, dtype=object)
        if name in table.columns:
            wanted = pl.Float64 if column.kind == "numeric" else pl.String
            values[:] = table[name].cast(wanted, strict=False).to_numpy()
        values[records.row[gap]] = records.report.as_found(column.name, decoded[name][gap])
        filled[name] = values
    return filled


def hold_back(
    usable: NDArray[np.int64], rows: int, groups: ArrayLike | None, share: float | None, seed: int
) -> NDArray[np.bool_]:
    """Mark the validation set, (rows,): the fraction ``share`` of the groups of ``usable`` rows.

    Rows are drawn where ``groups`` is None, nothing where ``share`` is. At least one is drawn
    and one is left; the draw does not depend on the order of the groups.
    """
    held = np.zeros(rows, dtype=bool)
    if share is None:
        return held
    if not 0.0 < share < 1.0:
        hint = "give a share between 0 and 1, or None to train on all rows"
        raise TrainingError(f"the share for validation is {share:g}", where="validation", hint=hint)
    if groups is None:
        unit, count, called = np.arange(len(usable)), len(usable), "usable row"
    else:
        names = as_text(groups)
        if len(names) != rows:
            raise DataError(f"{len(names)} groups were given for {rows} rows", where="groups")
        distinct, unit = np.unique(names[usable], return_inverse=True)
        count, called = len(distinct), "group"
    if count < 2:
        what = f"there is {count} {called}, so that none can be left for validation"
        hint = "give more data, or validation=None to train without stopping early"
        raise TrainingError(what, where="validation", hint=hint)
    # A share near 1 must not round up to everything.
    wanted = min(max(1, round(share * count)), count - 1)
    chosen = np.random.default_rng(seed).permutation(count)[:wanted]
    held[usable[np.isin(unit, chosen)]] = True
    return held
