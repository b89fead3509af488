"""The rows that methods are scored on, what was scored on them, and comparisons of two methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError
from variolite.scoring.agreement import LabelCodes, encode_labels
from variolite.scoring.arrays import IntArray, as_groups, as_labels
from variolite.scoring.intervals import (
    Bootstrap,
    Interval,
    ScoredGroups,
    Statistic,
    intervals_of,
    paired_difference,
)
from variolite.scoring.scorecard import Scorecard, ScoreKey, ScoreRow

# The rows that every method is scored on: one choice of rows, labels and groups for all.


@dataclass(frozen=True)
class HeldOut:
    """Training and test rows with their groups and labels.

    Attributes
    ----------
    split
        Name of the test part.
    train_groups
        Group of every training row [n_train], as text.
    groups
        Names of the test groups [G].
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
    notes
        What was left out, in plain words.
    """

    split: str
    train_groups: NDArray[np.str_]
    groups: tuple[str, ...]
    group_codes: IntArray
    n_test: int
    kept: IntArray
    train_labels: Mapping[str, LabelCodes]
    test_labels: Mapping[str, LabelCodes]
    notes: tuple[str, ...] = ()

    @property
    def n_train(self) -> int:
        """Number of training rows."""
        return len(self.train_groups)

    def check(self, train: int, test: int, where: str) -> None:
        """Raise DataError unless the numbers of rows are those of the split."""
        if (train, test) != (self.n_train, self.n_test):
            raise DataError(
                f"has {train} training and {test} test rows, the split has {self.n_train} "
                f"and {self.n_test}",
                where=where,
            )


def hold_out(
    groups: ArrayLike,
    labels_by_level: Mapping[str, ArrayLike],
    *,
    train_rows: ArrayLike,
    test_rows: ArrayLike,
    split: str = "test",
    max_test_rows: int | None = 60_000,
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
        Row indices of the two parts; features come in this order later. Without
        training rows, clusters cannot be mapped to classes.
    split
        Name of the test part, printed in every row.
    max_test_rows
        Rows scored at most; None for all. If there are more, the same fraction
        of every group is drawn.
    seed
        Seed of that draw.

    Raises
    ------
    DataError
        If lengths differ, there is no test row, or rows or groups are shared by the
        two parts.
    """
    group = as_labels(groups, "groups")
    train, test = _rows(train_rows, len(group), "training"), _rows(test_rows, len(group), "test")
    if not len(test):
        raise DataError("there is no row", where="test rows")
    if len(shared := np.intersect1d(group[train], group[test])):
        raise DataError(
            f"{len(shared)} groups are in training and test alike: {', '.join(shared[:5])}",
            where="split",
            hint="Split by group, so that test rows are not neighbours of training rows",
        )
    names, codes = as_groups(group[test], len(test))
    kept = sample_by_group(codes, max_test_rows or len(test), seed)
    notes = []
    if len(kept) < len(test):
        notes.append(f"{split}: {len(kept)} of {len(test)} rows scored, drawn within every group")
    train_labels, test_labels = {}, {}
    for level, labels in labels_by_level.items():
        encoded = encode_labels(labels)
        if len(encoded.codes) != len(group):
            raise DataError(
                f"has {len(encoded.codes)} labels for {len(group)} rows", where=f"level {level!r}"
            )
        train_labels[level], test_labels[level] = encoded.take(train), encoded.take(test[kept])
        for part, of_part in (("training", train_labels), (split, test_labels)):
            if missing := of_part[level].missing:
                notes.append(f"{level}: {missing:,} rows without a label are left out ({part})")
    return HeldOut(
        split=split,
        train_groups=group[train],
        groups=names,
        group_codes=codes[kept],
        n_test=len(test),
        kept=kept,
        train_labels=train_labels,
        test_labels=test_labels,
        notes=tuple(notes),
    )


def sample_by_group(codes: IntArray, most: int, seed: int) -> IntArray:
    """Positions of at most ``most`` rows, the same fraction of every group, in order.

    Every group keeps at least one row, even if that exceeds ``most``.
    """
    n = len(codes)
    if n <= most:
        return np.arange(n)
    # Shuffled within each group, the first rows of a group are a random draw of it.
    order = np.random.default_rng([seed, 7]).permutation(n)
    order = order[np.argsort(codes[order], kind="stable")]
    counts = np.bincount(codes)
    within = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    quota = np.maximum(1, np.floor(counts * (most / n)))
    return np.sort(order[within < quota[codes[order]]])


def _rows(rows: ArrayLike, n: int, part: str) -> IntArray:
    index = np.asarray(rows)
    if not index.size:
        return np.empty(0, np.int64)
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise DataError("must be whole row numbers", where=f"{part} rows")
    if index.min() < 0 or index.max() >= n:
        raise DataError(
            f"holds rows {index.min()} to {index.max()} of a table of {n}", where=f"{part} rows"
        )
    return index.astype(np.int64)


# What was scored on one split, or on several together.


@dataclass(frozen=True)
class Entry:
    """One scored thing under its key."""

    key: ScoreKey
    scored: ScoredGroups


@dataclass(frozen=True)
class Evaluation:
    """Everything scored on one split, with notes on what was left out."""

    entries: tuple[Entry, ...] = ()
    notes: tuple[str, ...] = ()

    def find(self, **wanted: object) -> Entry:
        """Return the one entry whose key has the given values, e.g. ``find(method="vae", k=9)``.

        Raises
        ------
        DataError
            If no entry or more than one fits.
        """
        found = [e for e in self.entries if wanted.items() <= vars(e.key).items()]
        if len(found) != 1:
            raise DataError(
                f"{len(found)} entries fit {wanted}",
                where="evaluation",
                hint="Give method, algorithm, level, k and rule so that one is left",
            )
        return found[0]

    def merge(self, *others: Evaluation) -> Evaluation:
        """Return one evaluation with the entries and the distinct notes of all."""
        parts = (self, *others)
        notes = dict.fromkeys(note for part in parts for note in part.notes)
        return Evaluation(tuple(e for part in parts for e in part.entries), tuple(notes))

    def scorecard(self, bootstrap: Bootstrap | None = None) -> Scorecard:
        """Return all rows with their intervals, and the notes."""
        # A choice of k repeats the entry of that k under another rule: one bootstrap serves both.
        known: dict[int, dict[str, Interval]] = {}
        rows: list[ScoreRow] = []
        for entry in self.entries:
            if id(entry.scored) not in known:
                known[id(entry.scored)] = intervals_of(entry.scored, bootstrap=bootstrap)
            rows += _rows_of(entry, known[id(entry.scored)])
        return Scorecard(tuple(rows), self.notes)


def _rows_of(entry: Entry, intervals: Mapping[str, Interval]) -> list[ScoreRow]:
    n_groups, seeds = len(entry.scored.groups), entry.scored.n_seeds
    return [entry.key.row(name, value, n_groups, seeds) for name, value in intervals.items()]


def compare(
    first: Entry,
    second: Entry,
    *,
    metrics: Sequence[str] | None = None,
    same_seeds: bool = False,
    bootstrap: Bootstrap | None = None,
) -> tuple[ScoreRow, ...]:
    """Compare two methods on the same test groups.

    Parameters
    ----------
    first, second
        Entries over the same groups and label level.
    metrics
        Scores to compare; by default all that both have.
    same_seeds, bootstrap
        As in :func:`variolite.scoring.intervals.paired_difference`.

    Returns
    -------
    tuple of ScoreRow
        Per metric, task "paired", method "A vs B": ``<metric>`` is the
        difference A - B with its interval, ``<metric>_p`` the two-sided p,
        ``<metric>_wins`` the fraction of groups on which A is higher (ties are
        neither).

    Raises
    ------
    DataError
        If the groups differ or nothing can be compared.
    """
    if first.scored.groups != second.scored.groups:
        raise DataError(
            "the two were not scored on the same groups",
            where=f"{first.key.method} vs {second.key.method}",
            hint="Score both on the same split and label level",
        )
    names = metrics or [m for m in first.scored.metrics if m in second.scored.metrics]
    if not names:
        raise DataError("the two have no score in common", where="comparison")
    # What the two do not have in common is no part of the comparison's key.
    own, others = vars(first.key), vars(second.key)
    common = {name: value for name, value in own.items() if value == others[name]}
    method = f"{first.key.method} vs {second.key.method}"
    key = ScoreKey(**common | {"task": "paired", "method": method, "split": first.key.split})
    n_groups = len(first.scored.groups)
    seeds = min(first.scored.n_seeds, second.scored.n_seeds)
    rows = []
    for metric in names:
        result = paired_difference(
            _statistic(first.scored, metric),
            _statistic(second.scored, metric),
            n_groups,
            same_seeds=same_seeds,
            bootstrap=bootstrap,
        )
        decided = result.wins + result.losses
        wins = result.wins / decided if decided else float("nan")
        rows.append(key.row(metric, result, n_groups, seeds))
        rows.append(key.row(f"{metric}_p", Interval(result.p), n_groups, seeds))
        rows.append(key.row(f"{metric}_wins", Interval(wins), n_groups, seeds))
    return tuple(rows)


def _statistic(scored: ScoredGroups, metric: str) -> Statistic:
    return lambda weights: scored.values(weights, [metric])[metric]
