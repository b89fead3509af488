"""Scored results of one split, or of several together, and the rows they were scored on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from variolite.errors import DataError, nearest
from variolite.scoring.agreement import LabelCodes, encode_labels
from variolite.scoring.arrays import FloatArray, IntArray, as_labels
from variolite.scoring.intervals import (
    Bootstrap,
    Interval,
    ScoredGroups,
    intervals_of,
    paired_difference,
)
from variolite.scoring.scorecard import Scorecard, ScoreRow

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
            hint="Split by group, so that held-out rows are not neighbours of training rows",
        )
    costs = dict(penalties or {})
    for level in costs:
        if level not in labels_by_level:
            close = nearest(level, labels_by_level)
            raise DataError(
                f"there is no label level {level!r}",
                where="penalties",
                hint=f"Did you mean {close!r}?" if close else None,
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


# Scored results of one split, or of several together, and what can be asked of them.


_SHARES = ("v_measure", "homogeneity", "completeness", "purity", "accuracy", "macro_f1", "noise")
_RANGES: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("ari", "ami", "silhouette"), (-1.0, 1.0)),
    **dict.fromkeys(_SHARES, (0.0, 1.0)),
    **dict.fromkeys(("rmse", "mae"), (0.0, math.inf)),
    "r2": (-math.inf, 1.0),
}


@dataclass(frozen=True)
class ScoreKey:
    """What was scored: the entries of a :class:`ScoreRow` that say so."""

    task: str
    method: str
    split: str
    algorithm: str | None = None
    fit: str | None = None
    level: str | None = None
    k: int | None = None
    rule: str | None = None
    feature: str | None = None
    unit: str | None = None

    def row(self, metric: str, interval: Interval, n_groups: int, seeds: int) -> ScoreRow:
        """Return the row of one metric; an interval never leaves the metric's own range."""
        unbounded = (-math.inf, math.inf)
        least, most = unbounded if self.task == "paired" else _RANGES.get(metric, unbounded)
        return ScoreRow(
            task=self.task,
            method=self.method,
            algorithm=self.algorithm,
            fit=self.fit,
            split=self.split,
            level=self.level,
            k=self.k,
            rule=self.rule,
            metric=metric,
            feature=self.feature,
            unit=self.unit,
            mean=interval.mean,
            low=max(interval.low, least) if math.isfinite(interval.low) else interval.low,
            high=min(interval.high, most) if math.isfinite(interval.high) else interval.high,
            n_groups=n_groups,
            seeds=seeds,
        )


@dataclass(frozen=True)
class Entry:
    """One scored thing under its key."""

    key: ScoreKey
    scored: ScoredGroups


@dataclass(frozen=True)
class Evaluation:
    """Everything scored on one split, with notes on what was left out."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()

    def find(self, **wanted: object) -> Entry:
        """Return the one entry whose key has the given values, e.g. ``find(method="vae", k=9)``.

        Raises
        ------
        DataError
            If no entry or more than one fits.
        """
        found = [
            entry
            for entry in self.entries
            if all(getattr(entry.key, name, None) == value for name, value in wanted.items())
        ]
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
        plan = bootstrap or Bootstrap()
        # A choice of k repeats the entry of that k under another rule: one bootstrap serves both.
        known: dict[int, dict[str, Interval]] = {}
        rows: list[ScoreRow] = []
        for entry in self.entries:
            scored = entry.scored
            if id(scored) not in known:
                known[id(scored)] = intervals_of(scored, bootstrap=plan)
            rows += [
                entry.key.row(metric, interval, len(scored.groups), scored.n_seeds)
                for metric, interval in known[id(scored)].items()
            ]
        return Scorecard(tuple(rows), self.notes)


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
        position = {group: index for index, group in enumerate(self.groups)}
        shape = (len(weights), self.n_seeds)
        sums = {metric: np.zeros(shape) for metric in metrics}
        counts = {metric: np.zeros(shape) for metric in metrics}
        for part in self.parts:
            own = weights[:, [position[group] for group in part.groups]]
            share = own.mean(axis=1)[:, None]
            for metric, values in part.values(own, metrics).items():
                counted = (share > 0) & np.isfinite(values)
                sums[metric] += np.where(counted, share * np.where(counted, values, 0.0), 0.0)
                counts[metric] += np.where(counted, share, 0.0)
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
    for evaluation in evaluations:
        for entry in evaluation.entries:
            found.setdefault(_without_choice(entry, name), []).append(entry)
    entries: list[Entry] = []
    rows: list[ScoreRow] = []
    notes = dict.fromkeys(note for evaluation in evaluations for note in evaluation.notes)
    for key, parts in found.items():
        if len(parts) != len(evaluations):
            missing = len(evaluations) - len(parts)
            notes[
                f"{key.method}, {key.algorithm}, {key.level}, k {key.k}: absent from {missing} "
                f"of {len(evaluations)} splits, left out"
            ] = None
            continue
        ks = {part.key.k for part in parts}
        full = replace(key, k=ks.pop() if len(ks) == 1 else None)
        scored = SplitScores(tuple(part.scored for part in parts))
        entries.append(Entry(full, scored))
        for metric, interval in intervals_of(scored, bootstrap=bootstrap).items():
            rows.append(full.row(metric, interval, len(scored.groups), scored.n_seeds))
            if len(parts) > 1:
                sd = float(np.std(scored.per_split(metric), ddof=1))
                none = Interval(sd, float("nan"), float("nan"))
                rows.append(full.row(f"{metric}_sd", none, len(scored.groups), scored.n_seeds))
    pooled = Evaluation(tuple(entries), tuple(notes))
    return pooled, Scorecard(tuple(rows), pooled.notes)


def compare(
    first: Entry,
    second: Entry,
    *,
    metrics: Sequence[str] | None = None,
    same_seeds: bool = False,
    bootstrap: Bootstrap | None = None,
) -> tuple[ScoreRow, ...]:
    """Compare two methods on the same held-out groups.

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
        ``<metric>_wins`` the share of groups on which A is higher (ties are
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
    entries = vars(first.key) | {
        "task": "paired",
        "method": f"{first.key.method} vs {second.key.method}",
    }
    for name in ("algorithm", "fit", "level", "k", "rule", "feature", "unit"):
        if getattr(first.key, name) != getattr(second.key, name):
            entries[name] = None
    key = ScoreKey(**entries)
    n_groups = len(first.scored.groups)
    seeds = min(first.scored.n_seeds, second.scored.n_seeds)
    nan = float("nan")
    rows = []
    for metric in names:
        result = paired_difference(
            _statistic(first.scored, metric),
            _statistic(second.scored, metric),
            n_groups,
            same_seeds=same_seeds,
            bootstrap=bootstrap,
        )
        interval = Interval(result.mean, result.low, result.high)
        decided = result.wins + result.losses
        wins = result.wins / decided if decided else nan
        rows.append(key.row(metric, interval, n_groups, seeds))
        rows.append(key.row(f"{metric}_p", Interval(result.p, nan, nan), n_groups, seeds))
        rows.append(key.row(f"{metric}_wins", Interval(wins, nan, nan), n_groups, seeds))
    return tuple(rows)


def _statistic(scored: ScoredGroups, metric: str) -> Callable[[FloatArray], FloatArray]:
    return lambda weights: scored.values(weights, [metric])[metric]


def _without_choice(entry: Entry, split: str) -> ScoreKey:
    chosen = entry.key.rule not in (None, "fixed")
    return replace(entry.key, split=split, k=None if chosen else entry.key.k)
