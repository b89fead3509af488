"""The rows that methods are scored on, what was scored on them, and comparisons of two methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError, nearest
from variolite.scoring.agreement import LabelCodes, encode_labels
from variolite.scoring.arrays import FloatArray, IntArray, as_groups, as_labels
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
    penalties
        Per label level, the penalty matrix, where there is one.
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
    penalties: Mapping[str, Penalty] = field(default_factory=dict)
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
        Row indices of the two parts; features come in this order later. Without
        training rows, clusters cannot be mapped to classes.
    split
        Name of the test part, printed in every row.
    max_test_rows
        Rows scored at most; None for all. If there are more, the same fraction
        of every group is drawn.
    penalties
        Penalty matrices by level name.
    seed
        Seed of that draw.

    Raises
    ------
    DataError
        If lengths differ, there is no test row, rows or groups are shared by the
        two parts, or a penalty names a level that is not there.
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
    costs = dict(penalties or {})
    for level in costs.keys() - labels_by_level.keys():
        close = nearest(level, labels_by_level)
        raise DataError(
            f"there is no label level {level!r}",
            where="penalties",
            hint=f"Did you mean {close!r}?" if close else None,
        )
    names, codes = as_groups(group[test], len(test))
    kept = sample_by_group(codes, max_test_rows or len(test), seed)
    notes = []
    if len(kept) < len(test):
        notes.append(f"{split}: {len(kept)} of {len(test)} rows scored, drawn within every group")
    train_labels, test_labels = {}, {}
    for level, labels in labels_by_level.items():
        encoded = encode_labels(labels, costs[level].classes if level in costs else None)
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
        penalties=costs,
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


@dataclass(frozen=True)
class SplitScores:
    """The same thing scored on several splits of the same groups.

    Its value is the mean over splits of the value pooled within each; when
    every split holds out one group, it is the mean over groups. In a resample a
    group is drawn as often in every split that holds it out, and a split counts
    by how much of it was drawn.

    Attributes
    ----------
    parts
        Scores per split, with equal numbers of seeds.
    """

    parts: tuple[ScoredGroups, ...]

    def __post_init__(self) -> None:
        if not self.parts or len({part.n_seeds for part in self.parts}) != 1:
            raise DataError("need at least one split, and the same seeds in all", where="splits")

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of all held-out groups, sorted."""
        return tuple(sorted({group for part in self.parts for group in part.groups}))

    @property
    def n_seeds(self) -> int:
        """Number of seeds S."""
        return self.parts[0].n_seeds

    @property
    def metrics(self) -> tuple[str, ...]:
        """Scores that every split has."""
        common = set.intersection(*(set(part.metrics) for part in self.parts))
        return tuple(metric for metric in self.parts[0].metrics if metric in common)

    def values(self, weights: FloatArray, metrics: Sequence[str]) -> dict[str, FloatArray]:
        """Scores [B, S] for weights [B, G] of the groups of all splits."""
        shape = (len(weights), self.n_seeds)
        sums = {metric: np.zeros(shape) for metric in metrics}
        counts = {metric: np.zeros(shape) for metric in metrics}
        for part in self.parts:
            own = weights[:, np.searchsorted(self.groups, part.groups)]
            drawn = own.mean(axis=1)[:, None]
            for metric, values in part.values(own, metrics).items():
                # A split of which nothing was drawn, or whose score is undefined, does not count.
                counted = np.where(np.isfinite(values), drawn, 0.0)
                sums[metric] += counted * np.nan_to_num(values, posinf=0.0, neginf=0.0)
                counts[metric] += counted
        with np.errstate(invalid="ignore"):
            return {metric: sums[metric] / counts[metric] for metric in metrics}

    def per_split(self, metric: str) -> FloatArray:
        """Value of every split by itself, averaged over seeds, [splits]."""
        values = [part.values(np.ones((1, len(part.groups))), [metric]) for part in self.parts]
        return np.array([float(value[metric].mean()) for value in values])


def evaluate_splits(
    evaluations: Sequence[Evaluation], *, name: str, bootstrap: Bootstrap | None = None
) -> tuple[Evaluation, Scorecard]:
    """Pool the evaluations of several splits.

    Parameters
    ----------
    evaluations
        One per split, made with the same settings.
    name
        What to call the way of splitting in the rows, e.g. "4 random splits".
    bootstrap
        How to resample.

    Returns
    -------
    Evaluation
        Pooled entries, for comparisons. Where a rule chose different k in
        different splits, k is None.
    Scorecard
        Their rows, and for every metric a row ``<metric>_sd``: the standard
        deviation over splits (over groups, when every split holds out one).

    Raises
    ------
    DataError
        If there is no split.
    """
    if not evaluations:
        raise DataError("there is no split to pool", where="splits")
    found: dict[ScoreKey, list[Entry]] = {}
    for entry in (entry for evaluation in evaluations for entry in evaluation.entries):
        chosen = entry.key.rule not in (None, "fixed")
        key = replace(entry.key, split=name, k=None if chosen else entry.key.k)
        found.setdefault(key, []).append(entry)
    merged = Evaluation().merge(*evaluations)
    entries: list[Entry] = []
    rows: list[ScoreRow] = []
    notes = list(merged.notes)
    for key, parts in found.items():
        if missing := len(evaluations) - len(parts):
            notes.append(
                f"{key.method}, {key.algorithm}, level {key.level}, k {key.k}: absent from "
                f"{missing} of {len(evaluations)} splits, left out"
            )
            continue
        ks = {part.key.k for part in parts}
        scored = SplitScores(tuple(part.scored for part in parts))
        entry = Entry(replace(key, k=ks.pop() if len(ks) == 1 else None), scored)
        entries.append(entry)
        for metric, interval in intervals_of(scored, bootstrap=bootstrap).items():
            both = {metric: interval}
            if len(parts) > 1:
                both[f"{metric}_sd"] = Interval(float(np.std(scored.per_split(metric), ddof=1)))
            rows += _rows_of(entry, both)
    return Evaluation(tuple(entries), tuple(notes)), Scorecard(tuple(rows), tuple(notes))


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
