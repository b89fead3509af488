"""Scores of several splits together, and the penalty of the FORCE 2020 contest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from variolite.errors import DataError
from variolite.scoring import (
    Bootstrap,
    Entry,
    Evaluation,
    Interval,
    Scorecard,
    ScoredGroups,
    ScoreKey,
    ScoreRow,
    intervals_of,
)
from variolite.scoring.agreement import confusion
from variolite.scoring.clustering import ClusterScores
from variolite.scoring.intervals import FloatArray

# The same thing scored on several splits of the same groups.


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
        full = replace(key, k=ks.pop() if len(ks) == 1 else None)
        entries.append(Entry(full, scored))
        for metric, interval in intervals_of(scored, bootstrap=bootstrap).items():
            both = {metric: interval}
            if len(parts) > 1:
                both[f"{metric}_sd"] = Interval(float(np.std(scored.per_split(metric), ddof=1)))
            rows += [
                full.row(name, value, len(scored.groups), scored.n_seeds)
                for name, value in both.items()
            ]
    return Evaluation(tuple(entries), tuple(notes)), Scorecard(tuple(rows), tuple(notes))


# Clusters as predicted classes, with a cost for taking one class for another.


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

    def of(self, classes: Sequence[str]) -> FloatArray:
        """Penalty of these classes alone, in their order."""
        at = [self.classes.index(name) for name in classes]
        return self.matrix[np.ix_(at, at)]


@dataclass(frozen=True)
class PenalisedScores:
    """Scores of a clustering, and the mean of -penalty[true, predicted] over rows.

    The penalty is 0 where all is right, and more negative the worse; it is the scoring rule
    of the contest.
    """

    scores: ClusterScores
    penalty: Penalty

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the test groups [G]."""
        return self.scores.groups

    @property
    def n_seeds(self) -> int:
        """Number of seeds S."""
        return self.scores.n_seeds

    @property
    def metrics(self) -> tuple[str, ...]:
        """Scores of the clustering, then "penalty"."""
        return (*self.scores.metrics, "penalty")

    def values(self, weights: FloatArray, metrics: Sequence[str]) -> dict[str, FloatArray]:
        """Scores [B, S] for group weights [B, G]."""
        found = self.scores.values(weights, [name for name in metrics if name != "penalty"])
        if "penalty" in metrics:
            assert self.scores.mapping is not None
            # Confusions of every group first: the penalty of a resample is a weighted sum.
            tables = confusion(self.scores.tables, self.scores.mapping[:, None])
            cost = np.einsum("sgpt,tp->sg", tables, self.penalty.of(self.scores.classes))
            found["penalty"] = -(weights @ cost.T) / (weights @ tables.sum(axis=(-2, -1)).T)
        return {name: found[name] for name in metrics}


def penalised(evaluation: Evaluation, penalties: Mapping[str, Penalty]) -> Evaluation:
    """Add the penalty to the clusterings of every label level that has one."""
    known: dict[int, ScoredGroups] = {}
    entries = []
    for entry in evaluation.entries:
        scored, level = entry.scored, entry.key.level
        if level in penalties and isinstance(scored, ClusterScores) and scored.mapping is not None:
            # One object for all keys of one clustering, so that it is resampled once.
            scored = known.setdefault(id(scored), PenalisedScores(scored, penalties[level]))
        entries.append(replace(entry, scored=scored))
    return Evaluation(tuple(entries), evaluation.notes)
