"""What a run of Variolite knows of candidates: the latents of their rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError


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
    records = model.records(frame, accept_range=True)
    latents = np.full((len(frame), model.members[0].latent), np.nan)
    latents[records.row] = model.encode(records)[0]
    return latents
