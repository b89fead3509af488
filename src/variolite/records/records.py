"""Records: a table made ready for a model, as plain arrays with a mask of what was observed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError

# What happened to a table on its way to records, in numbers and in words.


@dataclass(frozen=True)
class ApplyReport:
    """Counts of everything that was dropped, replaced or ignored.

    Attributes
    ----------
    rows_read, rows_kept
        Rows of the table, and of the records.
    dropped
        Rows by the first reason that dropped them; they add up to the difference.
    missing
        Entries missing in the table itself, by column, before any row is dropped.
    sentinels, out_of_range, outside_domain
        Entries turned into missing ones, by column: equal to a sentinel, outside
        ``valid`` or infinite, or impossible for the column's transform.
    clipped
        Kept entries beyond the training quantiles of ``clip``, by column.
    unseen
        Entries by column and category level that the training rows did not hold.
    absent
        Columns of the schema that the table lacks.
    ignored
        Columns of the table that the schema does not use.
    """

    rows_read: int = 0
    rows_kept: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    sentinels: Mapping[str, int] = field(default_factory=dict)
    out_of_range: Mapping[str, int] = field(default_factory=dict)
    outside_domain: Mapping[str, int] = field(default_factory=dict)
    clipped: Mapping[str, int] = field(default_factory=dict)
    unseen: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return one sentence for each thing worth knowing."""
        kept, read = self.rows_kept, self.rows_read
        found = [f"{kept:,} of {read:,} rows kept"]
        found += [f"{count:,} rows dropped: {reason}" for reason, count in self.dropped.items()]
        masked = {n: c for n, c in self.missing.items() if f"{n} missing" not in self.dropped}
        for counts, meaning in (
            (masked, "entries are missing"),
            (self.sentinels, "entries hold a sentinel and count as missing"),
            (self.out_of_range, "entries are outside the valid range and count as missing"),
            (self.outside_domain, "entries are impossible for its transform, count as missing"),
            (self.clipped, "entries are clipped to the training quantiles"),
        ):
            found += [f"{name}: {count:,} {meaning}" for name, count in counts.items() if count]
        for name, levels in self.unseen.items():
            listed = ", ".join(
                f"{level!r} ({count:,})" for level, count in list(levels.items())[:8]
            )
            more = ", ..." if len(levels) > 8 else ""
            found.append(f"{name}: not met in training: {listed}{more}")
        if self.absent:
            found.append(f"not in the table: {', '.join(self.absent)}")
        if self.ignored:
            found.append(f"columns not used: {', '.join(self.ignored)}")
        return found

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            name: list(value)
            if isinstance(value, tuple)
            else {k: dict(v) if isinstance(v, Mapping) else v for k, v in value.items()}
            if isinstance(value, Mapping)
            else value
            for name, value in vars(self).items()
        }


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
