"""Records: a table made ready for a model, as plain arrays with a mask of what was observed."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError
from variolite.records.reporting import ApplyReport

__all__ = ["MISSING", "UNSEEN", "Records"]

MISSING = -1
"""Category code of an entry that is missing."""
UNSEEN = -2
"""Category code of a level that the training rows did not hold."""


@dataclass(frozen=True)
class Records:
    """n rows of d numeric inputs, c category inputs and k condition features.

    Attributes
    ----------
    numeric
        float32 [n, d], transformed; 0 where not observed.
    observed
        bool [n, d].
    raw
        float64 [n, d], original units before clipping; NaN where not observed.
    log_det
        float64 [n, d], log |d transformed / d original| at the clipped value; 0 where
        not observed.
    category
        int64 [n, c], code of the level; ``MISSING`` or ``UNSEEN`` (both negative)
        where not observed.
    condition
        float32 [n, k], numeric conditions transformed, then category conditions one-hot.
    group
        str [n], or None when the table has no such column.
    order
        float64 [n], or None.
    labels
        str [n] by label column; "" where missing.
    row
        int64 [n], position in the source table.
    ids
        str [n], or None.
    report
        What was dropped, counted and ignored on the way.
    """

    numeric: NDArray[np.float32]
    observed: NDArray[np.bool_]
    raw: NDArray[np.float64]
    log_det: NDArray[np.float64]
    category: NDArray[np.int64]
    condition: NDArray[np.float32]
    row: NDArray[np.int64]
    group: NDArray[np.str_] | None = None
    order: NDArray[np.float64] | None = None
    labels: dict[str, NDArray[np.str_]] = field(default_factory=dict)
    ids: NDArray[np.str_] | None = None
    report: ApplyReport = field(default_factory=ApplyReport)

    def __post_init__(self) -> None:
        n = len(self.row)
        shape = self.numeric.shape
        for name in ("observed", "raw", "log_det"):
            if getattr(self, name).shape != shape:
                raise DataError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        arrays |= {f"label {name!r}": values for name, values in self.labels.items()}
        for name, values in arrays.items():
            if isinstance(values, np.ndarray) and len(values) != n:
                raise DataError(f"{name} has {len(values)} rows, not {n}")

    def __len__(self) -> int:
        return len(self.row)

    def take(self, indices: ArrayLike) -> Records:
        """Return the rows at ``indices`` (integers or a bool mask), in that order."""
        chosen = np.asarray(indices)
        if chosen.dtype != bool:
            chosen = chosen.astype(np.int64)
        taken = {
            f.name: getattr(self, f.name)[chosen]
            for f in fields(self)
            if isinstance(getattr(self, f.name), np.ndarray)
        }
        labels = {name: values[chosen] for name, values in self.labels.items()}
        return replace(self, **taken, labels=labels)
