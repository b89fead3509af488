"""What `variolite impute` writes: every input without gaps, with intervals and samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from variolite.errors import DataError, counted
from variolite.progress import Progress
from variolite.records.files.memory import require_memory
from variolite.scoring.imputation import (
    LEVELS,
    Calibration,
    Errors,
    Imputed,
    few_groups_lines,
    impute,
    load_calibration,
)
from variolite.scoring.missingness import absence_lines

if TYPE_CHECKING:
    from variolite.records import Records, Schema
    from variolite.training import RunFolder, TabularModel
    from variolite.training.row_commands import Columns


def imputed_columns(
    model: TabularModel,
    records: Records,
    schema: Schema,
    run: RunFolder,
    _member: int = 0,
    *,
    progress: Progress,
    samples: int = 0,
    level: float = 0.9,
    seed: int = 0,
) -> Columns:
    """Columns ``imputed:``, ``low:``, ``high:`` and ``sample_1:`` of each input, in its unit.

    Observed values stay as they are in all of them.
    """
    if not LEVELS[0] <= level <= LEVELS[-1]:
        hint = f"give a probability from {LEVELS[0]} to {LEVELS[-1]}, such as 0.9"
        raise DataError(f"there is no interval of {level:g}", where="--level", hint=hint)
    # As drawn, as columns, and as the file holds them.
    require_memory(24 * samples * records.raw.size, f"making {samples:,} samples")
    stored = load_calibration(run)
    if stored is None:
        progress.note(
            "the run holds no errors on new groups (an earlier version fitted it): intervals are "
            "the model's own, and too narrow where groups differ; fit it again"
        )
    calibration = stored or Calibration()
    found = impute(model, records, calibration, level=level, samples=samples, seed=seed)
    columns: Columns = {}
    imputed = {}
    for i, name in enumerate(model.schema.numeric_names):
        header = _header(model, schema, name)
        missing = found.missing[:, i]
        parts = {"imputed": found.value, "low": found.low, "high": found.high}
        parts |= {f"sample_{k + 1}": values for k, values in enumerate(found.samples)}
        for part, values in parts.items():
            columns[f"{part}:{header}"] = pl.Series(records.report.as_found(name, values[:, i]))
        if missing.any():
            imputed[name] = header
            line = _line(header, found, i, calibration.of(name))
            if name not in schema.columns and (unit := model.schema.units[name]):
                line += f"; the table lacks it: in {unit}"
            progress.note(line)
    columns |= _categories(model, records, schema)
    lines = absence_lines(records, model.schema)
    if stored is not None:
        lines += few_groups_lines(stored, imputed, level)
    for line in lines:
        progress.note(line)
    return columns


def _header(model: TabularModel, schema: Schema, name: str) -> str:
    """Header of an input in the table, in that of training where the table lacks it."""
    column = schema.columns.get(name) or model.schema.schema.columns[name]
    return str(column.source)


def _categories(model: TabularModel, records: Records, schema: Schema) -> Columns:
    """Most probable level where a category was not observed, and how probable it is."""
    names = model.schema.category_names
    if not names:
        return {}
    likely = model.most_likely(records)
    columns: Columns = {}
    for i, name in enumerate(names):
        codes = records.category[:, i]
        levels = np.asarray(model.schema.category_levels[name], dtype=object)
        known = np.where(codes >= 0, levels[codes.clip(min=0)], likely[name])
        columns[f"imputed:{_header(model, schema, name)}"] = pl.Series(known.tolist())
    return columns


def _line(header: str, found: Imputed, column: int, errors: Errors) -> str:
    """Say how many values of an input were imputed, and how well that goes."""
    line = f"{header}: {counted(int(found.missing[:, column].sum()), 'value')} imputed"
    if errors.r2 is not None:
        held_out = counted(errors.groups, "validation group")
        line += f"; hidden from {held_out}, R² was {errors.r2:.2f}"
    if little := int(found.unexplained[:, column].sum()):
        line += f"; in {little:,} the other inputs explain less than 10 % of the variance"
    return line
