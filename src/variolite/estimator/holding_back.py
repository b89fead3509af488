"""Which rows stop the training of an estimator."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError, TrainingError
from variolite.records.text import as_text

__all__ = ["hold_back"]


def hold_back(
    usable: NDArray[np.int64],
    rows: int,
    groups: ArrayLike | None,
    share: float | None,
    seed: int,
) -> NDArray[np.bool_]:
    """Mark the rows to validate on.

    Parameters
    ----------
    usable
        Rows that the schema keeps, ascending.
    rows
        Rows of the table.
    groups
        Group of every row, shape (rows,); None draws rows.
    share
        Share of the groups, or of the usable rows; at least one is held back and at
        least one is left. None holds nothing back.
    seed
        Seed of the draw, which does not depend on the order of the groups.

    Returns
    -------
    ndarray of bool, shape (rows,)

    Raises
    ------
    TrainingError
        If the share is impossible, or there is one unit only.
    DataError
        If the groups do not fit the rows.
    """
    held = np.zeros(rows, dtype=bool)
    if share is None:
        return held
    if not 0.0 < share < 1.0:
        raise TrainingError(
            f"the share to hold back is {share:g}",
            where="validation",
            mend="give a share between 0 and 1, or None to hold nothing back",
        )
    if groups is None:
        unit, count, called = np.arange(len(usable)), len(usable), "usable row"
    else:
        names = as_text(groups)
        if len(names) != rows:
            raise DataError(f"{len(names)} groups were given for {rows} rows", where="groups")
        distinct, unit = np.unique(names[usable], return_inverse=True)
        count, called = len(distinct), "group"
    if count < 2:
        raise TrainingError(
            f"there is {count} {called}, so that none can be held back",
            where="validation",
            mend="give more data, or validation=None to train without stopping early",
        )
    chosen = np.random.default_rng(seed).permutation(count)[: max(1, round(share * count))]
    # A share near 1 must not round up to everything.
    chosen = chosen[: count - 1]
    held[usable[np.isin(unit, chosen)]] = True
    return held
