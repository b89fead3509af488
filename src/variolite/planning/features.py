"""What describes a candidate, as numbers.

Numbers as they are, categories and sets by whether a member is in them, chemical formulas by the
share of each element; and the latents of a run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import spearmanr

from variolite.errors import DataError, VarioliteError
from variolite.records import numeric_values
from variolite.records.records import text_values

Floats = NDArray[np.float64]
Names = NDArray[np.str_]

_MEMBERS = 40  # Most members of a category or set that are features, commonest first.
_FEWEST = 3  # Candidates that a member needs.
_SAME = 0.98  # Rank correlation from which a column is taken for the target itself,
_RELATED = 0.3  # and where it begins with the same word.


def encoded(series: pl.Series) -> dict[str, Floats]:
    """Return one column as features by name: (N,) each; none where it says nothing of a row."""
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        values = numeric_values(series.cast(pl.Float64))
        gaps = np.isnan(values)
        if gaps.mean() > 0.5:
            # What is known of few rows, perhaps of the measured only, describes none.
            return {}
        if not gaps.any():
            return {"": values}
        return {"": np.where(gaps, np.nanmedian(values), values), "missing": gaps.astype(float)}
    if series.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return {}
    cells = text_values(series)
    shares = _element_shares(cells)
    if shares:
        return shares
    members = [frozenset(filter(None, map(str.strip, cell.split(";")))) for cell in cells]
    counts = Counter(member for cell in members for member in cell)
    common = [m for m, count in counts.most_common(_MEMBERS) if _FEWEST <= count < len(cells)]
    return {m: np.array([m in cell for cell in members], dtype=float) for m in common}


def _element_shares(cells: Names) -> dict[str, Floats]:
    """Return the share of each element where a column holds formulas of several elements."""
    from variolite.crystals.elements import SYMBOLS, parse_formula

    distinct = np.unique(cells[cells != ""])
    if not any(any(c.isdigit() for c in cell) for cell in distinct[:20]):
        return {}
    found: dict[str, dict[int, float]] = {"": {}}
    for cell in distinct.tolist():
        try:
            found[cell] = parse_formula(cell)
        except DataError:
            return {}
    elements = sorted({z for amounts in found.values() for z in amounts})
    table = np.array([[found[c].get(z, 0.0) for z in elements] for c in cells.tolist()])
    table /= np.maximum(table.sum(axis=1, keepdims=True), 1e-12)
    return {SYMBOLS[z]: table[:, i] for i, z in enumerate(elements)}


def is_target(name: str, column: Floats | None, targets: Sequence[str], values: Floats) -> bool:
    """Whether a column of numbers (N,) is one of the targets under another name.

    It ranks measured rows as the target does; of columns that begin with the same word, such as
    uptakes by several force fields, much less is needed.
    """
    for target, value in zip(targets, values.T, strict=True):
        measured = ~np.isnan(value)
        if column is None or measured.sum() < 10 or not np.ptp(column[measured]):
            continue
        if not np.ptp(value[measured]):
            continue
        alike = _first_word(name) == _first_word(target)
        rank = abs(spearmanr(column[measured], value[measured]).statistic)
        if rank > (_RELATED if alike else _SAME):
            return True
    return False


def _first_word(name: str) -> str:
    return re.split(r"[\W_]+", name.casefold().strip("_"))[0]


def latents_of(run: Path, frame: pl.DataFrame) -> NDArray[np.float64]:
    """Return the posterior means of rows (N, L) by the first member of a run.

    NaN where the run's schema does not take a row. Raises a DataError where the run is one on
    structures, or the table lacks columns.
    """
    from variolite.training import RunFolder
    from variolite.training.tabular import TabularModel

    model = RunFolder(run).model()
    if not isinstance(model, TabularModel):
        hint = "Write them by `variolite encode`, and add the columns to the pool"
        raise DataError("its latents are those of structures", where=str(run), hint=hint)
    try:
        records = model.records(frame, accept_range=True)
    except VarioliteError as error:
        hint = "The target is hidden from it: add other columns, or train a run without the target"
        raise DataError(error.what, where=str(run), hint=hint) from None
    latents = np.full((len(frame), model.members[0].latent), np.nan)
    latents[records.row] = model.encode(records)[0]
    return latents
