"""The rows that every method is scored on: one choice of rows, labels and groups for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from variolite.errors import DataError, nearest
from variolite.scoring.arrays import FloatArray, IntArray, as_labels
from variolite.scoring.contingency import LabelCodes, encode_labels

__all__ = ["HeldOut", "Penalty", "hold_out", "sample_by_group"]


@dataclass(frozen=True)
class Penalty:
    """Cost of taking one class for another.

    Attributes
    ----------
    classes
        Class names in the order of the matrix.
    matrix
        Penalty [C, C], rows for the true class.
    """

    classes: tuple[str, ...]
    matrix: FloatArray

    def __post_init__(self) -> None:
        c = len(self.classes)
        if self.matrix.shape != (c, c) or not np.isfinite(self.matrix).all():
            raise DataError(
                f"has shape {self.matrix.shape} for {c} classes, or holds NaN",
                where="penalty matrix",
            )


@dataclass(frozen=True)
class HeldOut:
    """Training and scored rows with their groups and labels.

    Attributes
    ----------
    split
        Name of the scored part.
    train_groups
        Group of every training row [n_train], as text.
    groups
        Names of the scored groups [G].
    group_codes
        Index into ``groups`` of every scored row [m].
    n_test
        Number of test rows, scored or not.
    kept
        Positions of the scored rows among the test rows [m]: all, or an even
        draw within every group.
    train_labels, test_labels
        Per label level, codes of the training rows and of the scored rows, over
        the same classes.
    penalties
        Per label level, the penalty matrix, where there is one.
    notes
        What was left out, in plain words.
    """

    split: str
    train_groups: np.ndarray
    groups: tuple[str, ...]
    group_codes: IntArray
    n_test: int
    kept: IntArray
    train_labels: Mapping[str, LabelCodes]
    test_labels: Mapping[str, LabelCodes]
    penalties: Mapping[str, Penalty] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def n_train(self) -> int:
        """Number of training rows."""
        return len(self.train_groups)


def hold_out(
    groups: ArrayLike,
    labels_by_level: Mapping[str, ArrayLike],
    *,
    train_rows: ArrayLike,
    test_rows: ArrayLike,
    split: str = "test",
    max_test_rows: int = 60_000,
    penalties: Mapping[str, Penalty] | None = None,
    seed: int = 0,
) -> HeldOut:
    """Fix the rows to score on.

    Parameters
    ----------
    groups
        Group of every row of the table [n].
    labels_by_level
        Per level name, the label of every row [n]; "" where there is none.
    train_rows, test_rows
        Row indices of the two parts; features come in this order later.
    split
        Name of the scored part, printed in every row.
    max_test_rows
        Rows scored at most. If there are more, the same fraction of every
        group is drawn, so that the groups keep their shares.
    penalties
        Penalty matrices by level name.
    seed
        Seed of that draw.

    Raises
    ------
    DataError
        If lengths differ, a part is empty, rows or groups are shared by the two
        parts, or a penalty names a level that is not there.
    """
    group = as_labels(groups, "groups")
    train, test = _rows(train_rows, len(group), "training"), _rows(test_rows, len(group), "test")
    shared = np.intersect1d(group[train], group[test])
    if len(shared):
        raise DataError(
            f"{len(shared)} groups are in training and test alike: {', '.join(shared[:5])}",
            where="split",
            mend="Split by group, so that held-out rows are not neighbours of training rows",
        )
    costs = dict(penalties or {})
    for level in costs:
        if level not in labels_by_level:
            close = nearest(level, labels_by_level)
            raise DataError(
                f"there is no label level {level!r}",
                where="penalties",
                mend=f"Did you mean {close!r}?" if close else None,
            )
    names, codes = np.unique(group[test], return_inverse=True)
    kept = sample_by_group(codes, max_test_rows, seed)
    notes = []
    if len(kept) < len(test):
        notes.append(f"{split}: {len(kept)} of {len(test)} rows scored, drawn within every group")
    train_labels, test_labels = {}, {}
    for level, labels in labels_by_level.items():
        classes = costs[level].classes if level in costs else None
        encoded = encode_labels(labels, classes)
        if len(encoded.codes) != len(group):
            raise DataError(
                f"has {len(encoded.codes)} labels for {len(group)} rows", where=f"level {level!r}"
            )
        train_labels[level], test_labels[level] = encoded.take(train), encoded.take(test[kept])
        for part, part_codes in (("training", train_labels), (split, test_labels)):
            if missing := part_codes[level].missing:
                notes.append(f"{level}: {missing:,} rows without a label are left out ({part})")
    return HeldOut(
        split=split,
        train_groups=group[train],
        groups=tuple(str(name) for name in names),
        group_codes=np.asarray(codes[kept], dtype=np.int64),
        n_test=len(test),
        kept=kept,
        train_labels=train_labels,
        test_labels=test_labels,
        penalties=costs,
        notes=tuple(notes),
    )


def sample_by_group(codes: ArrayLike, most: int, seed: int) -> IntArray:
    """Positions of at most ``most`` rows, the same fraction of every group, in order.

    Every group keeps at least one row, even if that exceeds ``most``.
    """
    group = np.asarray(codes, dtype=np.int64)
    n = len(group)
    if n <= most:
        return np.arange(n, dtype=np.int64)
    order = np.random.default_rng([seed, 7]).permutation(n)
    order = order[np.argsort(group[order], kind="stable")]
    counts = np.bincount(group)
    within = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    quota = np.maximum(1, np.floor(counts * (most / n)))
    return np.sort(order[within < quota[group[order]]])


def _rows(rows: ArrayLike, n: int, part: str) -> IntArray:
    index = np.asarray(rows)
    if index.ndim != 1 or not len(index):
        raise DataError("there is no row", where=f"{part} rows")
    if index.dtype.kind not in "iu":
        raise DataError("must be whole row numbers", where=f"{part} rows")
    if index.min() < 0 or index.max() >= n:
        raise DataError(
            f"holds rows {index.min()} to {index.max()} of a table of {n}", where=f"{part} rows"
        )
    return np.asarray(index, dtype=np.int64)
