"""Metrics of reconstructions with their intervals, as rows of a scorecard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.matching.reconstruction_metrics import metrics_of, name_ending
from variolite.crystals.matching.reconstruction_scores import ReconstructionScores
from variolite.errors import DataError
from variolite.scoring import Bootstrap, ScoreRow, intervals_of
from variolite.scoring.evaluation import ScoreKey

__all__ = ["GroupedReconstructions", "reconstruction_notes", "reconstruction_rows"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_QUANTILES: Mapping[str, float] = {"periodic_error_median": 0.5, "periodic_error_p95": 0.95}
_CHUNK = 2_000_000


class GroupedReconstructions:
    """Scores of the same crystals by one method under S seeds, summed over G formulas.

    It is a :class:`~variolite.scoring.ScoredGroups`: intervals and paired comparisons of
    :mod:`variolite.scoring` take it as it is.

    Parameters
    ----------
    scores
        One for each seed.

    Raises
    ------
    DataError
        If the seeds were not scored on the same crystals in the same way.
    """

    def __init__(self, scores: Sequence[ReconstructionScores]) -> None:
        first = scores[0]
        for other in scores[1:]:
            if not (
                np.array_equal(other.names, first.names)
                and other.given == first.given
                and other.settings == first.settings
            ):
                raise DataError(
                    "the seeds were not scored on the same crystals in the same way",
                    where="reconstruction",
                )
        formulas, self._group = np.unique(first.formulas, return_inverse=True)
        self.groups: tuple[str, ...] = tuple(formulas.tolist())
        self.n_seeds = len(scores)
        per_seed = [metrics_of(score) for score in scores]
        self._ending = name_ending(first.given)
        self.units = {metric.name: metric.unit for metric in per_seed[0]}
        self._ratios = list(self.units)
        self._numerators = np.array(
            [[self._summed(m.numerator) for m in seed] for seed in per_seed]
        )
        self._denominators = np.array(
            [[self._summed(m.denominator) for m in seed] for seed in per_seed]
        )
        self._sorted = [self._by_distance(score) for score in scores]
        self._quantiles = {name + self._ending: q for name, q in _QUANTILES.items()}
        self.units |= dict.fromkeys(self._quantiles, "angstrom")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return tuple(self.units)

    def values(self, weights: Floats, metrics: Sequence[str]) -> dict[str, Floats]:
        """Metrics [R, S] for weights of the formulas [R, G]."""
        found: dict[str, Floats] = {}
        for name in metrics:
            if name in self._quantiles:
                continue
            place = self._ratios.index(name)
            with np.errstate(invalid="ignore"):
                found[name] = (weights @ self._numerators[:, place].T) / (
                    weights @ self._denominators[:, place].T
                )
        wanted = [name for name in metrics if name in self._quantiles]
        if wanted:
            levels = [self._quantiles[name] for name in wanted]
            by_seed = [self._quantile(weights, seed, levels) for seed in range(self.n_seeds)]
            found |= {name: np.stack([q[i] for q in by_seed], 1) for i, name in enumerate(wanted)}
        return {name: found[name] for name in metrics}

    def _summed(self, values: Floats) -> Floats:
        sums: Floats = np.bincount(self._group, values, len(self.groups)).astype(np.float64)
        return sums

    def _by_distance(self, score: ReconstructionScores) -> tuple[Floats, Integers]:
        """Distances in ascending order, and the formula of each."""
        distances = np.where(np.isnan(score.errors.distances), np.inf, score.errors.distances)
        order = np.argsort(distances, kind="stable")
        owner = np.repeat(self._group, np.diff(score.errors.offsets))
        return distances[order], owner[order]

    def _quantile(self, weights: Floats, seed: int, levels: Sequence[float]) -> list[Floats]:
        """Least distance that a share of the weighted atoms does not exceed."""
        distances, group = self._sorted[seed]
        found = np.empty((len(levels), len(weights)))
        step = max(1, _CHUNK // len(distances))
        for start in range(0, len(weights), step):
            reached = np.cumsum(weights[start : start + step, group], axis=1)
            for row, level in enumerate(levels):
                below = (reached < level * reached[:, -1:] - 1e-9).sum(axis=1)
                values = distances[np.minimum(below, len(distances) - 1)]
                found[row, start : start + step] = np.where(np.isinf(values), np.nan, values)
        return list(found)


def reconstruction_rows(
    scores: Sequence[ReconstructionScores],
    *,
    method: str,
    split: str,
    bootstrap: Bootstrap | None = None,
) -> list[ScoreRow]:
    """Rows of the scorecard with intervals over formulas and seeds.

    Parameters
    ----------
    scores
        One for each seed, of the same crystals.
    method, split
        Entries of the rows.
    bootstrap
        How to resample.
    """
    grouped = GroupedReconstructions(scores)
    found = intervals_of(grouped, bootstrap=bootstrap)
    rows = []
    for name, interval in found.items():
        unit = grouped.units[name]
        row = ScoreKey("reconstruction", method, split, unit=unit).row(
            name, interval, len(grouped.groups), grouped.n_seeds
        )
        # An interval never leaves the range of its metric.
        low, high = np.clip([row.low, row.high], 0.0, 1.0 if unit == "share" else np.inf)
        rows.append(replace(row, low=float(low), high=float(high)))
    return rows


def reconstruction_notes(scores: ReconstructionScores) -> list[str]:
    """What the metrics mean, one line each, and what failed."""
    ending = name_ending(scores.given)
    lines = [f"{metric.name}: {metric.meaning}" for metric in metrics_of(scores)]
    lines.append(
        f"periodic_error_median{ending}: least distance in Angstrom that half of all atoms do "
        "not exceed; atoms of structures that cannot be compared count as infinitely far"
    )
    lines.append(f"periodic_error_p95{ending}: the same for 95 % of all atoms")
    pairs = scores.pairs
    lines.append(
        f"of {len(scores)} reconstructed crystals {int(scores.unusable.sum())} have no cell or no "
        f"finite coordinates, {int(pairs.timed_out.sum())} ran out of time and "
        f"{int(pairs.crashed.sum())} failed in matching; all of them count as not matched"
    )
    return lines
