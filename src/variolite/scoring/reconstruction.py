"""Reconstruction and imputation of features, in original units, with intervals over groups.

R2, root mean square error and mean absolute error of a set of groups follow from
five sums per group, so the bootstrap never returns to the rows. For imputation,
give the entries that had been hidden from the model as ``scored``: what a model
was shown is no test of imputation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError
from variolite.scoring.arrays import FloatArray, IntArray, as_groups
from variolite.scoring.evaluation import Entry, Evaluation
from variolite.scoring.intervals import Formula, GroupSums, group_means, sum_by_group
from variolite.scoring.scorecard import ScoreKey


def _r2(sums: Mapping[str, FloatArray]) -> FloatArray:
    """1 - squared error / squared deviation from the mean of the same weighted rows.

    0 is as good as knowing that mean, below 0 is worse; NaN where the values do not vary.
    """
    deviation = sums["square"] - sums["value"] ** 2 / sums["count"]
    # Below rounding of the sum of squares nothing varies.
    varies = deviation > 1e-12 * sums["square"]
    return np.where(varies, 1.0 - sums["squared_error"] / np.where(varies, deviation, 1.0), np.nan)


def _rmse(sums: Mapping[str, FloatArray]) -> FloatArray:
    return np.asarray(np.sqrt(sums["squared_error"] / sums["count"]))


def _mae(sums: Mapping[str, FloatArray]) -> FloatArray:
    return sums["absolute_error"] / sums["count"]


_FORMULAS: Mapping[str, Formula] = {"r2": _r2, "rmse": _rmse, "mae": _mae}


def feature_errors(
    true: FloatArray,
    guess: FloatArray,
    scored: NDArray[np.bool_],
    group_codes: IntArray,
    groups: tuple[str, ...],
) -> GroupSums:
    """Score one feature: "r2", and "rmse" and "mae" in the feature's unit.

    Parameters
    ----------
    true
        True values [n]; NaN where unknown, which is left out.
    guess, scored
        Reconstructed values, and which to score, [S, n].
    group_codes, groups
        Group index of every row [n] and the names [G].

    Raises
    ------
    DataError
        If a scored prediction is not finite.
    """
    used = scored & np.isfinite(true)
    if bad := int((~np.isfinite(guess[used])).sum()):
        raise DataError(f"{bad} reconstructed values are NaN or infinite", where="reconstruction")
    # Sums of squares lose digits when the mean is far from zero.
    shifted = true - true[np.isfinite(true)].mean()
    error = guess - true
    terms = {
        "count": np.ones(guess.shape),
        "value": np.broadcast_to(shifted, guess.shape),
        "square": np.broadcast_to(shifted**2, guess.shape),
        "squared_error": error**2,
        "absolute_error": np.abs(error),
    }
    sums = {name: sum_by_group(t, used, group_codes, len(groups)) for name, t in terms.items()}
    return GroupSums(sums, _FORMULAS, groups)


def evaluate_reconstruction(
    original: ArrayLike,
    predicted: ArrayLike,
    groups: ArrayLike,
    features: Sequence[str],
    *,
    units: Mapping[str, str | None] = MappingProxyType({}),
    method: str = "vae",
    split: str = "test",
    scored: ArrayLike | None = None,
) -> Evaluation:
    """Score all features of test rows.

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
    method, split
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
    names, codes = as_groups(groups, len(true))
    entries: list[Entry] = []
    notes: list[str] = []
    for index, feature in enumerate(features):
        column, chosen = true[:, index], wanted[:, :, index]
        if not (chosen & np.isfinite(column)).any():
            notes.append(f"{feature}: no known value among the held-out rows, left out")
            continue
        scores = feature_errors(column, guess[:, :, index], chosen, codes, names)
        key = ScoreKey("reconstruction", method, split, feature=feature, unit=units.get(feature))
        entries.append(Entry(key, scores))
    return Evaluation(tuple(entries), tuple(notes))


def evaluate_likelihood(
    log_likelihood: ArrayLike,
    groups: ArrayLike,
    *,
    metric: str = "log_likelihood",
    method: str = "vae",
    split: str = "test",
) -> Evaluation:
    """Score the mean log-likelihood per test row in nats, from values [n] or [S, n].

    NaN values are left out.
    """
    values = np.atleast_2d(np.asarray(log_likelihood, dtype=np.float64))
    names, codes = as_groups(groups, values.shape[-1])
    scores = group_means(metric, values, codes, names)
    return Evaluation((Entry(ScoreKey("likelihood", method, split, unit="nats"), scores),))
