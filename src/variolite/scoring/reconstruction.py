"""Reconstruction and imputation of features, in original units, with intervals over groups.

R2, root mean square error and mean absolute error of a set of groups follow from
five sums per group, so the bootstrap never returns to the rows. For imputation,
give the entries that had been hidden from the model as ``scored``: what a model
was shown is no test of imputation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from variolite.errors import DataError
from variolite.scoring.arrays import FloatArray, IntArray, as_labels
from variolite.scoring.evaluation import Entry, Evaluation, ScoreKey
from variolite.scoring.intervals import Statistic, group_means


@dataclass(frozen=True)
class FeatureErrors:
    """Sums of one feature per seed and group, [S, G] each.

    Attributes
    ----------
    count
        Scored values.
    value, square
        Sum of (value - shift) and of its square; the shift is the same everywhere.
    squared_error, absolute_error
        Sums of the errors.
    groups
        Names of the groups [G].
    """

    count: FloatArray
    value: FloatArray
    square: FloatArray
    squared_error: FloatArray
    absolute_error: FloatArray
    groups: tuple[str, ...]

    @property
    def n_seeds(self) -> int:
        """Number of seeds S."""
        return int(self.count.shape[0])

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores."""
        return ("r2", "rmse", "mae")

    def values(self, weights: FloatArray, metrics: Sequence[str]) -> dict[str, FloatArray]:
        """Pooled scores [B, S] for group weights [B, G].

        "r2" is 1 - squared error / squared deviation from the mean of the same
        weighted rows: 0 is as good as knowing that mean, below 0 is worse. NaN
        where the values do not vary. "rmse" and "mae" are in the feature's unit.
        """
        n, value, square, squared, absolute = (
            weights @ part.T
            for part in (
                self.count,
                self.value,
                self.square,
                self.squared_error,
                self.absolute_error,
            )
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            deviation = square - value**2 / n
            # Below rounding of the sum of squares nothing varies.
            varies = deviation > 1e-12 * square
            scores = {
                "r2": np.where(varies, 1.0 - squared / np.where(varies, deviation, 1.0), np.nan),
                "rmse": np.sqrt(squared / n),
                "mae": absolute / n,
            }
        for metric in metrics:
            if metric not in scores:
                raise DataError(f"there is no score {metric!r} here", where="metric")
        return {metric: scores[metric] for metric in metrics}

    def statistic(self, metric: str) -> Statistic:
        """One metric as a function of group weights, for the bootstrap."""
        return lambda weights: self.values(weights, [metric])[metric]


def feature_errors(
    original: ArrayLike,
    predicted: ArrayLike,
    group_codes: IntArray,
    groups: tuple[str, ...],
    *,
    scored: ArrayLike | None = None,
) -> FeatureErrors:
    """Sum up one feature.

    Parameters
    ----------
    original
        True values [n]; NaN where unknown, which is left out.
    predicted
        Reconstructed values [n] or [S, n]; must be finite where scored.
    group_codes, groups
        Group index of every row [n] and the names [G].
    scored
        Entries to score [n] or [S, n]; all by default.

    Raises
    ------
    DataError
        If shapes differ, nothing is left to score, or a scored prediction is not finite.
    """
    true = np.asarray(original, dtype=np.float64)
    guess = np.atleast_2d(np.asarray(predicted, dtype=np.float64))
    if true.ndim != 1 or guess.shape[1:] != true.shape or len(group_codes) != len(true):
        raise DataError(
            f"{true.shape} values, {guess.shape} reconstructions and {len(group_codes)} groups "
            "do not fit one another",
            where="reconstruction",
        )
    wanted = np.ones(guess.shape, bool) if scored is None else np.asarray(scored, dtype=bool)
    try:
        used = np.broadcast_to(wanted, guess.shape) & np.isfinite(true)
    except ValueError as error:
        raise DataError(
            f"has shape {wanted.shape} for values {guess.shape}", where="scored entries"
        ) from error
    if not used.any():
        raise DataError("there is no known value to score", where="reconstruction")
    if not np.isfinite(guess[used]).all():
        bad = int((~np.isfinite(guess[used])).sum())
        raise DataError(f"{bad} reconstructed values are NaN or infinite", where="reconstruction")
    # Sums of squares lose digits when the mean is far from zero.
    shift = float(true[np.isfinite(true)].mean())
    size = len(groups)

    def total(values: FloatArray) -> FloatArray:
        parts = [
            np.bincount(group_codes[mask], row[mask], size)
            for row, mask in zip(np.broadcast_to(values, guess.shape), used, strict=True)
        ]
        return np.stack(parts)

    deviation = guess - true
    return FeatureErrors(
        count=total(np.ones(guess.shape)),
        value=total(true - shift),
        square=total((true - shift) ** 2),
        squared_error=total(deviation**2),
        absolute_error=total(np.abs(deviation)),
        groups=groups,
    )


def evaluate_reconstruction(
    original: ArrayLike,
    predicted: ArrayLike,
    groups: ArrayLike,
    features: Sequence[str],
    *,
    units: Mapping[str, str | None] | None = None,
    method: str = "vae",
    split: str = "test",
    task: str = "reconstruction",
    scored: ArrayLike | None = None,
) -> Evaluation:
    """Score all features of held-out rows.

    Parameters
    ----------
    original
        True values [n, d] in original units; NaN where unknown.
    predicted
        Reconstructed values [n, d] or [S, n, d].
    groups
        Group of every row [n].
    features, units
        Names of the features [d] and their units.
    method, split, task
        As in a score row.
    scored
        Entries to score [n, d] or [S, n, d], e.g. those hidden for imputation.

    Returns
    -------
    Evaluation
        One entry per feature. A feature with nothing to score is left out, with a note.
    """
    true = np.asarray(original, dtype=np.float64)
    guess = np.asarray(predicted, dtype=np.float64)
    guess = guess[None] if guess.ndim == 2 else guess
    if true.ndim != 2 or guess.shape[1:] != true.shape or true.shape[1] != len(features):
        raise DataError(
            f"values have shape {true.shape}, reconstructions {guess.shape}, and there are "
            f"{len(features)} feature names",
            where="reconstruction",
        )
    wanted = np.ones(guess.shape, bool) if scored is None else np.asarray(scored, dtype=bool)
    if wanted.shape not in (guess.shape, true.shape):
        raise DataError(f"has shape {wanted.shape} for {true.shape}", where="scored entries")
    wanted = np.broadcast_to(wanted, guess.shape)
    names, codes = _groups(groups, len(true))
    entries: list[Entry] = []
    notes: list[str] = []
    for index, feature in enumerate(features):
        if not (wanted[:, :, index] & np.isfinite(true[:, index])).any():
            notes.append(f"{feature}: no known value among the held-out rows, left out")
            continue
        scores = feature_errors(
            true[:, index], guess[:, :, index], codes, names, scored=wanted[:, :, index]
        )
        unit = (units or {}).get(feature)
        entries.append(Entry(ScoreKey(task, method, split, feature=feature, unit=unit), scores))
    return Evaluation(tuple(entries), tuple(notes))


def evaluate_likelihood(
    log_likelihood: ArrayLike,
    groups: ArrayLike,
    *,
    metric: str = "log_likelihood",
    method: str = "vae",
    split: str = "test",
) -> Evaluation:
    """Score the mean log-likelihood per held-out row in nats, from values [n] or [S, n].

    NaN values are left out.
    """
    values = np.atleast_2d(np.asarray(log_likelihood, dtype=np.float64))
    names, codes = _groups(groups, values.shape[-1])
    scores = group_means(metric, values, codes, names)
    return Evaluation((Entry(ScoreKey("likelihood", method, split, unit="nats"), scores),))


def _groups(groups: ArrayLike, n: int) -> tuple[tuple[str, ...], IntArray]:
    text = as_labels(groups, "groups")
    if len(text) != n:
        raise DataError(f"{len(text)} groups were given for {n} rows", where="groups")
    names, codes = np.unique(text, return_inverse=True)
    return tuple(str(name) for name in names), np.asarray(codes, dtype=np.int64)
