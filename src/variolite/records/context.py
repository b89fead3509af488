"""Depth context: what lies above and below a row, for an encoder to see beside the row itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from variolite.errors import DataError
from variolite.records.records import Records

LONGEST_STEP = 3.0
"""Rows further apart than this many usual steps of their group are no neighbours."""

_LEAST_DEVIATION = 0.05  # of transformed values; keeps the logarithm finite where nothing varies


class DepthContext(BaseModel):
    """What an encoder sees of the rows around each row, column by column.

    ``neighbours`` are the values of the rows directly above and below; ``windows`` running means
    and log deviations over the given numbers of ``rows``. Neither reaches across a gap, and
    both leave out what was not observed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["neighbours", "windows"]
    rows: tuple[Annotated[int, Field(ge=2)], ...] = Field((5, 21, 81), min_length=1)

    @property
    def per_column(self) -> int:
        """Features of each numeric column."""
        return 4 if self.kind == "neighbours" else 2 * len(self.rows)

    def of(self, records: Records) -> NDArray[np.float32]:
        """Features of every row, (n, d * per_column), those of one column side by side.

        Neighbours: value above and 1, value below and 1, or zeros where there is none. DataError
        where the records have no order, say depth.
        """
        if records.order is None:
            what = "the recipe looks at the rows above and below, and the table has no depth"
            hint = "bind it with --map depth=COLUMN, or train with --set model.context=null"
            raise DataError(what, where="model.context", hint=hint)
        group = np.zeros(len(records)) if records.group is None else records.group
        by_depth, run = runs(group, records.order)
        seen = records.observed[by_depth]
        if self.kind == "neighbours":
            found = _neighbours(np.where(seen, records.numeric[by_depth], 0.0), seen, run)
        else:
            means, deviations = running(
                np.where(seen, records.numeric[by_depth], np.nan), run, self.rows
            )
            logs = np.log(deviations + _LEAST_DEVIATION)
            found = np.nan_to_num(np.stack([means, logs], axis=-1))  # (windows, n, d, 2)
            found = np.moveaxis(found, 0, 2)  # (n, d, windows, 2)
        out = np.empty((len(records), records.numeric.shape[1] * self.per_column), np.float32)
        out[by_depth] = found.reshape(out.shape)
        return out


def runs(
    group: NDArray[Any], order: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows (n,) by group and depth, and the number of the run of each (n,).

    A run is a stretch of one group without a gap: a step longer than `LONGEST_STEP` times the
    median one of the group. A row without a depth is a run of its own.
    """
    codes = pl.Series(group).rank("dense").to_numpy()
    by_depth = np.lexsort((order, codes))
    codes, depth = codes[by_depth], order[by_depth]
    first = np.diff(codes, prepend=-1) != 0
    step = np.where(first, np.nan, np.diff(depth, prepend=np.nan))
    frame = pl.DataFrame({"group": codes, "step": np.where(step > 0.0, step, np.nan)})
    usual = frame.fill_nan(None).select(pl.col("step").median().over("group"))["step"]
    near = step <= LONGEST_STEP * usual.fill_null(0.0).to_numpy()  # False for a NaN
    return by_depth, np.cumsum(first | ~near) - 1


def _neighbours(
    values: NDArray[np.float32], seen: NDArray[np.bool_], run: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Values (n, d) of the rows above and below with flags, (n, d, 4), of rows in order."""
    out = np.zeros((*values.shape, 4), np.float32)
    same = (run[1:] == run[:-1])[:, None]
    for first, here, there in ((0, slice(1, None), slice(-1)), (2, slice(-1), slice(1, None))):
        flag = seen[there] & same
        out[here, :, first] = np.where(flag, values[there], 0.0)
        out[here, :, first + 1] = flag
    return out


def running(
    values: NDArray[Any], key: NDArray[Any], rows: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return running means and deviations, each (windows, n, d), of rows (n, d) that are in order.

    Windows are centred, stay among neighbouring rows of one ``key`` (n,) and leave out NaN; where
    nothing is left the result is NaN.
    """
    frame = pl.DataFrame(values.astype(np.float32)).fill_nan(None)
    frame = frame.with_columns(key=pl.Series(key))
    others = pl.exclude("key")
    found = [
        [
            frame.select(statistic.over("key")).fill_null(np.nan).to_numpy()
            for statistic in (
                others.rolling_mean(width, min_samples=1, center=True),
                others.rolling_std(width, min_samples=1, center=True, ddof=0),
            )
        ]
        for width in rows
    ]
    means, deviations = (np.stack(part) for part in zip(*found, strict=True))
    return means, deviations
