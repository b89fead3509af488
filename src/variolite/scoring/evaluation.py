"""The rows that methods are scored on, what was scored on them, and comparisons of two methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError, counted
from variolite.scoring.agreement import LabelCodes, as_text, encode_groups, encode_labels
from variolite.scoring.intervals import (
    Bootstrap,
    FloatArray,
    Formula,
    GroupSums,
    IntArray,
    Interval,
    ScoredGroups,
    Statistic,
    group_means,
    intervals_of,
    paired_difference,
    sum_by_group,
)
from variolite.scoring.scorecard import Scorecard, ScoreKey, ScoreRow
from variolite.scoring.sequences import Sequences

# The rows that every method is scored on: one choice of rows, labels and groups for all.

FEWEST_ROWS = 50  # of complete rows, or of rows with gaps, to be scored apart


@dataclass(frozen=True)
class HeldOut:
    """Training and test rows with their groups and labels.

    Of the test part, called ``split``, the rows at ``kept`` [m] are scored. ``group_codes`` [m]
    index the names ``groups`` [G] of the test groups; ``train_groups`` [n_train] are names.
    Labels are codes per level, of training and of scored rows, over the same classes. ``parts``
    are the scored rows by name, as masks [m]: all of them, or also the complete ones and those
    with gaps apart where there are both; None where nobody knows which are complete. Along depth
    the training rows are ``train_along``, all test rows, scored or not, ``along``.
    """

    split: str
    train_groups: NDArray[np.str_]
    groups: tuple[str, ...]
    group_codes: IntArray
    kept: IntArray
    train_labels: Mapping[str, LabelCodes]
    test_labels: Mapping[str, LabelCodes]
    parts: Mapping[str | None, NDArray[np.bool_]]
    train_along: Sequences
    along: Sequences
    notes: tuple[str, ...] = ()

    def only(self, part: str | None) -> HeldOut:
        """Return the same with the scored rows of one part alone."""
        chosen = self.parts[part]
        return replace(
            self,
            group_codes=self.group_codes[chosen],
            kept=self.kept[chosen],
            test_labels={name: codes.take(chosen) for name, codes in self.test_labels.items()},
            parts={part: np.ones(int(chosen.sum()), bool)},
        )

    def within_training(
        self, validation: NDArray[np.bool_] | None, most: int
    ) -> tuple[IntArray, IntArray, HeldOut] | None:
        """Hold out the training rows of ``validation`` [n_train], to choose between methods.

        Without any, a quarter of the training groups, drawn at random; None where there is one
        group alone. Returns the positions of at most ``most`` training rows and of validation
        rows, and how they are held out; at most ``most`` of those are scored.
        """
        names, codes = encode_groups(self.train_groups)
        apart = np.zeros(len(codes), bool) if validation is None else validation
        if not apart.any() and len(names) > 1:
            drawn = np.random.default_rng(0).permutation(len(names))[: max(1, len(names) // 4)]
            apart = np.isin(codes, drawn)
        known, tried = np.flatnonzero(~apart), np.flatnonzero(apart)
        if not len(known) or not len(tried):
            return None
        known = known[sample_by_group(codes[known], most, 0)]
        labels = {
            level: np.array([*encoded.classes, ""])[encoded.codes]
            for level, encoded in self.train_labels.items()
        }
        inner = hold_out(
            self.train_groups, labels, train_rows=known, test_rows=tried, max_test_rows=most
        )
        return known, tried, inner


def hold_out(
    groups: ArrayLike,
    labels_by_level: Mapping[str, ArrayLike],
    *,
    train_rows: ArrayLike,
    test_rows: ArrayLike,
    split: str = "test",
    complete: ArrayLike | None = None,
    order: ArrayLike | None = None,
    max_test_rows: int | None = 60_000,
) -> HeldOut:
    """Fix the rows to score on, of a table with a group and labels for every row, [n] each.

    Labels are per level, "" where there is none. Features come in the order of ``train_rows``
    and ``test_rows`` later. At most ``max_test_rows`` are scored, the same fraction of every
    group. ``complete`` [n] says in which rows every input was observed, ``order`` [n] how deep they
    are. Raises DataError if there is no test row, or a group has rows in both parts.
    """
    group = as_text(groups)
    train, test = (np.asarray(rows, np.int64) for rows in (train_rows, test_rows))
    if not len(test):
        raise DataError("there is no row", where="test rows")
    if len(shared := np.intersect1d(group[train], group[test])):
        raise DataError(
            f"{len(shared)} groups are in training and test alike: {', '.join(shared[:5])}",
            where="split",
            hint="Split by group, so that test rows are not neighbours of training rows",
        )
    names, codes = encode_groups(group[test])
    kept = sample_by_group(codes, max_test_rows or len(test), 0)
    notes = []
    if len(kept) < len(test):
        notes.append(f"{split}: {len(kept)} of {len(test)} rows scored, drawn within every group")
    train_labels, test_labels = {}, {}
    for level, labels in labels_by_level.items():
        encoded = encode_labels(labels)
        train_labels[level], test_labels[level] = encoded.take(train), encoded.take(test[kept])
        for part, of_part in (("training", train_labels), (split, test_labels)):
            if missing := of_part[level].missing:
                notes.append(
                    f"{level}: {counted(missing, 'row')} without a label left out ({part})"
                )
    every = np.ones(len(kept), bool)
    parts: dict[str | None, NDArray[np.bool_]] = {None: every}
    if complete is not None:
        full = np.asarray(complete, bool)[test[kept]]
        apart = {"complete": full, "with gaps": ~full}
        parts = {name: mask for name, mask in apart.items() if mask.all()} or {
            "all": every,
            # A score of a handful of rows would be noise.
            **{name: mask for name, mask in apart.items() if mask.sum() >= FEWEST_ROWS},
        }
    return HeldOut(
        split=split,
        train_groups=group[train],
        groups=names,
        group_codes=codes[kept],
        kept=kept,
        train_labels=train_labels,
        test_labels=test_labels,
        parts=parts,
        train_along=_along(group, order, train),
        along=_along(group, order, test),
        notes=tuple(notes),
    )


def _along(groups: NDArray[np.str_], order: ArrayLike | None, rows: IntArray) -> Sequences:
    return Sequences.of(groups[rows], None if order is None else np.asarray(order)[rows])


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


# What was scored on one split, or on several together.


@dataclass(frozen=True)
class Entry:
    """One scored thing under its key."""

    key: ScoreKey
    scored: ScoredGroups

    def whole(self, metric: str) -> FloatArray:
        """One score of all groups together, by seed, [S]."""
        every = np.ones((1, len(self.scored.groups)))
        return np.asarray(self.scored.values(every, [metric])[metric][0])


@dataclass(frozen=True)
class Evaluation:
    """Everything scored on one split, with notes on what was left out."""

    entries: tuple[Entry, ...] = ()
    notes: tuple[str, ...] = ()

    def find(self, **wanted: object) -> Entry:
        """Return the one entry whose key has the given values, e.g. ``find(method="vae", k=9)``.

        Raises DataError if no entry or more than one fits.
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
            scored = entry.scored
            if id(scored) not in known:
                known[id(scored)] = intervals_of(scored, bootstrap=bootstrap)
            rows += [
                entry.key.row(name, value, len(scored.groups), scored.n_seeds)
                for name, value in known[id(scored)].items()
            ]
        return Scorecard(tuple(rows), self.notes)


def compare(
    first: Entry,
    second: Entry,
    *,
    metrics: Sequence[str] | None = None,
    bootstrap: Bootstrap | None = None,
) -> tuple[ScoreRow, ...]:
    """Compare two methods on the same test groups, by all scores that both have if not given.

    Per metric there are three rows of task "paired" and method "A vs B": ``<metric>`` is the
    difference A - B with its interval, ``<metric>_p`` the two-sided p, ``<metric>_wins`` the
    fraction of groups on which A is higher (ties are neither). Raises DataError if the groups
    differ or nothing can be compared.
    """
    method = f"{first.key.method} vs {second.key.method}"
    if (first.scored.groups, first.key.rows) != (second.scored.groups, second.key.rows):
        raise DataError(
            "the two were not scored on the same rows",
            where=method,
            hint="Score both on the same split, rows and label level",
        )
    names = metrics or [m for m in first.scored.metrics if m in second.scored.metrics]
    if not names:
        raise DataError("the two have no score in common", where="comparison")
    # What the two do not have in common is no part of the comparison's key.
    own, others = vars(first.key), vars(second.key)
    common = {name: value for name, value in own.items() if value == others[name]}
    key = ScoreKey(**common | {"task": "paired", "method": method, "split": first.key.split})
    n_groups = len(first.scored.groups)
    seeds = min(first.scored.n_seeds, second.scored.n_seeds)
    rows = []
    for metric in names:
        one, other = (_statistic(entry.scored, metric) for entry in (first, second))
        result = paired_difference(one, other, n_groups, bootstrap=bootstrap)
        decided = result.wins + result.losses
        wins = result.wins / decided if decided else float("nan")
        values = {"": result, "_p": Interval(result.p), "_wins": Interval(wins)}
        rows += [key.row(metric + end, value, n_groups, seeds) for end, value in values.items()]
    return tuple(rows)


def _statistic(scored: ScoredGroups, metric: str) -> Statistic:
    return lambda weights: scored.values(weights, [metric])[metric]


# Reconstruction of features, in original units, and the likelihood of rows.
#
# R2, root mean square error and mean absolute error of a set of groups follow from five sums
# per group, so the bootstrap never returns to the rows.


def _r2(sums: Mapping[str, FloatArray]) -> FloatArray:
    """1 - squared error / squared deviation from the mean of the same weighted rows.

    0 is as good as knowing that mean, below 0 is worse; NaN where the values do not vary.
    """
    deviation = sums["square"] - sums["value"] ** 2 / sums["count"]
    # Below rounding of the sum of squares nothing varies.
    varies = deviation > 1e-12 * sums["square"]
    return np.where(varies, 1.0 - sums["squared_error"] / np.where(varies, deviation, 1.0), np.nan)


_ERRORS: Mapping[str, Formula] = {
    "r2": _r2,
    "rmse": lambda sums: np.asarray(np.sqrt(sums["squared_error"] / sums["count"])),
    "mae": lambda sums: sums["absolute_error"] / sums["count"],
}


def feature_errors(
    true: FloatArray, guess: FloatArray, group_codes: IntArray, groups: tuple[str, ...]
) -> GroupSums:
    """Score guesses [S, n] of one feature: "r2", and "rmse" and "mae" in the feature's unit.

    ``true`` [n] is NaN where unknown, which is left out. Raises DataError if a scored guess is
    not finite.
    """
    known = np.isfinite(true)
    if bad := int((~np.isfinite(guess[:, known])).sum()):
        raise DataError(f"{bad} reconstructed values are NaN or infinite", where="reconstruction")
    # Sums of squares lose digits when the mean is far from zero.
    shifted = np.broadcast_to(true - true[known].mean(), guess.shape)
    error = guess - true
    terms = {
        "count": np.ones(guess.shape),
        "value": shifted,
        "square": shifted**2,
        "squared_error": error**2,
        "absolute_error": np.abs(error),
    }
    used = np.broadcast_to(known, guess.shape)
    sums = {name: sum_by_group(t, used, group_codes, len(groups)) for name, t in terms.items()}
    return GroupSums(sums, _ERRORS, groups)


Scale = Callable[[FloatArray], FloatArray]
"""From values in original units to another scale, element by element."""


def evaluate_reconstruction(
    original: ArrayLike,
    predicted: ArrayLike,
    groups: ArrayLike,
    features: Sequence[str],
    *,
    units: Mapping[str, str | None] = MappingProxyType({}),
    scales: Mapping[str, tuple[str, Scale]] = MappingProxyType({}),
    method: str = "vae",
    split: str = "test",
) -> Evaluation:
    """Score all features of test rows, one entry each.

    ``original`` [n, d] holds true values in original units, NaN where unknown; ``predicted``
    is [S, n, d]. A feature with nothing to score is left out, with a note. Of a feature in
    ``scales``, R2 is an entry of its own, on the scale given with its name: of a quantity over
    many decades, R2 in original units is that of its few largest values.
    """
    true, guess = np.asarray(original, np.float64), np.asarray(predicted, np.float64)
    names, codes = encode_groups(groups)
    entries: list[Entry] = []
    notes: list[str] = []
    for index, feature in enumerate(features):
        column = true[:, index]
        if not np.isfinite(column).any():
            notes.append(f"{feature}: no known value among the held-out rows, left out")
            continue
        key = ScoreKey("reconstruction", method, split, feature=feature, unit=units.get(feature))
        errors = feature_errors(column, guess[:, :, index], codes, names)
        if feature in scales:
            name, scale = scales[feature]
            there, least = scale(guess[:, :, index]), np.nanmin(scale(column))
            scaled = np.where(np.isfinite(there), there, least)  # rounded to 0, which has no log
            r2 = feature_errors(scale(column), scaled, codes, names).only("r2")
            entries.append(Entry(replace(key, unit=f"{name} {key.unit or ''}".strip()), r2))
            errors = errors.only("rmse", "mae")
        entries.append(Entry(key, errors))
    return Evaluation(tuple(entries), tuple(notes))


def evaluate_likelihood(
    values: ArrayLike, groups: ArrayLike, *, metric: str, method: str = "vae", split: str = "test"
) -> Evaluation:
    """Score the mean log-likelihood per test row in nats, from values [n] or [S, n]."""
    rows = np.atleast_2d(np.asarray(values, dtype=np.float64))
    names, codes = encode_groups(groups)
    scores = group_means(metric, rows, codes, names)
    return Evaluation((Entry(ScoreKey("likelihood", method, split, unit="nats"), scores),))
