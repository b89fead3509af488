"""Bootstrap intervals over groups and seeds, and paired comparison of two methods.

Rows of one group resemble one another, so the group is the unit that is resampled, with
replacement. Seeds are the second level: every resample also draws seeds with replacement,
and the statistic is the mean over the drawn seeds. The interval answers: how would the
number move with as many other groups of the same kind, and with other seeds?

It is a percentile interval (B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993),
chapter 13) of the deviations from the mean of the resamples, placed around the value. A
resample of G groups has only about 0.63 G different ones, and fewer groups are easier to
agree with: pooled agreement scores of resamples lie systematically higher. Left in, that shift
put the value at the lower end of its own interval; on real data, taking it out raised the
coverage of 95 % intervals over 20 groups from 0.86-0.94 to 0.89-0.97. With fewer than about
ten groups the interval is still somewhat short.

A statistic is a function of group weights [B, G] (how often each group was drawn) that returns
values [B, S], one per seed. A resample then costs a weighted sum of per-group tables instead
of a pass over rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Statistic = Callable[[FloatArray], FloatArray]

_EXACT_GROUPS = 14
_FLIPS = 10_000
# One adjusted mutual information costs as much as some fifty of the other scores.
_FRACTION_OF_RESAMPLES = {"ami": 0.25}
_NAN = float("nan")


class ScoredGroups(Protocol):
    """Anything scored per group: what intervals and comparisons need to know of it."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the test groups [G]."""

    @property
    def n_seeds(self) -> int:
        """Number of seeds S."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores it has."""

    def values(self, weights: FloatArray, metrics: Sequence[str]) -> dict[str, FloatArray]:
        """Scores [B, S] per metric, for group weights [B, G]."""


@dataclass(frozen=True)
class Interval:
    """A value with its interval; ``low`` and ``high`` are NaN where none can be given."""

    mean: float
    low: float = _NAN
    high: float = _NAN


@dataclass(frozen=True, kw_only=True)
class PairedDifference(Interval):
    """Difference of two methods (first minus second) on the same groups and seeds.

    ``p`` is that of the sign-flip test on what each group contributes to the difference, NaN
    with fewer than two groups; ``wins`` and ``losses`` count the groups on which, scored by
    themselves, the first is higher, and lower.
    """

    p: float
    wins: int
    losses: int


@dataclass(frozen=True)
class Bootstrap:
    """How to resample: how often, what probability the interval spans, and the seed of the draws.

    The same seed draws the same groups for every method.
    """

    resamples: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 1 or not 0.0 < self.level < 1.0:
            raise DataError(
                f"invalid: {self.resamples} resamples, level {self.level}",
                where="bootstrap",
                hint="Take at least one resample and a level between 0 and 1",
            )

    def groups(self, n_groups: int) -> FloatArray:
        """How often each group is drawn, [B, G]; rows sum to G."""
        return self._draws(0, n_groups)

    def seeds(self, n_seeds: int, stream: int = 0) -> FloatArray:
        """Weight of each seed [B, S]; rows sum to 1. ``stream`` separates independent draws."""
        return self._draws(1 + stream, n_seeds) / n_seeds

    def _draws(self, stream: int, n: int) -> FloatArray:
        # Drawing n of n with replacement is one multinomial draw of counts.
        generator = np.random.default_rng([self.seed, stream])
        return generator.multinomial(n, np.full(n, 1.0 / n), size=self.resamples).astype(np.float64)

    def over_seeds(self, values: FloatArray, stream: int = 0) -> FloatArray:
        """Mean over the drawn seeds of values [B, S], as [B]."""
        resamples, seeds = values.shape
        mean: FloatArray = (values * self.seeds(seeds, stream)[:resamples]).sum(axis=1)
        return mean

    def interval(self, mean: float, resampled: FloatArray) -> Interval:
        """Interval around ``mean`` from resampled values [B]; undefined ones are left out."""
        finite = resampled[np.isfinite(resampled)]
        if not len(finite):
            return Interval(mean)
        # Deviations, not values: resamples as a whole lie too high (see the top of the file).
        tail = 50.0 * (1.0 - self.level)
        low, high = np.percentile(finite - finite.mean(), [tail, 100.0 - tail])
        return Interval(mean, mean + float(low), mean + float(high))


def bootstrap_interval(
    statistic: Statistic, n_groups: int, *, bootstrap: Bootstrap | None = None
) -> Interval:
    """Value of a statistic with every group counted once, averaged over seeds, and its interval.

    With one group there is nothing to resample and the interval is NaN; none is a DataError.
    """
    plan = bootstrap or Bootstrap()
    if n_groups < 1:
        raise DataError("there is no group to score", where="bootstrap")
    mean = _mean(statistic(np.ones((1, n_groups))))
    if n_groups == 1:
        return Interval(mean)
    return plan.interval(mean, plan.over_seeds(statistic(plan.groups(n_groups))))


def intervals_of(
    scored: ScoredGroups, *, bootstrap: Bootstrap | None = None
) -> dict[str, Interval]:
    """Value and interval of all its scores, as :func:`bootstrap_interval` gives them.

    The adjusted mutual information uses the first quarter of the resamples.
    """
    plan = bootstrap or Bootstrap()
    n_groups = len(scored.groups)
    points = scored.values(np.ones((1, n_groups)), scored.metrics)
    out = {name: Interval(_mean(values)) for name, values in points.items()}
    if n_groups == 1:
        return out
    weights = plan.groups(n_groups)
    # Scores of equally many resamples share one pass over the pooled tables.
    by_count: dict[int, list[str]] = {}
    for name in out:
        count = max(1, round(plan.resamples * _FRACTION_OF_RESAMPLES.get(name, 1.0)))
        by_count.setdefault(count, []).append(name)
    for count, some in by_count.items():
        for name, values in scored.values(weights[:count], some).items():
            out[name] = plan.interval(out[name].mean, plan.over_seeds(values))
    return out


def paired_difference(
    first: Statistic, second: Statistic, n_groups: int, *, bootstrap: Bootstrap | None = None
) -> PairedDifference:
    """Compare two statistics on the same groups; the interval is of the pooled difference.

    Groups are drawn together, so that what both share cancels; seeds independently.

    For p, the difference averaged over seeds is split into one contribution per group by the
    jackknife (pseudo-values; R. Miller, Biometrika 61 (1974) 1), and their signs are flipped.
    For a mean over groups, the contributions are the groups' own differences. Where the
    hypothesis held on real data, 2-10 % of p were below 0.05.
    """
    plan = bootstrap or Bootstrap()
    everything, alone = np.ones((1, n_groups)), np.eye(n_groups)
    mean = _mean(first(everything)) - _mean(second(everything))
    if n_groups == 1:
        return PairedDifference(mean=mean, p=_NAN, wins=int(mean > 0), losses=int(mean < 0))
    weights = plan.groups(n_groups)
    drawn = plan.over_seeds(first(weights)) - plan.over_seeds(second(weights), stream=1)
    # Jackknife: what the pooled difference loses without a group is that group's part of it.
    without = first(1.0 - alone).mean(axis=1) - second(1.0 - alone).mean(axis=1)
    without = without[np.isfinite(without)]
    contributions = mean + (n_groups - 1) * (without.mean() - without)
    own = first(alone).mean(axis=1) - second(alone).mean(axis=1)
    return PairedDifference(
        **vars(plan.interval(mean, drawn)),
        p=sign_flip_p(contributions, seed=plan.seed),
        wins=int((own > 0).sum()),
        losses=int((own < 0).sum()),
    )


def sign_flip_p(differences: ArrayLike, *, seed: int = 0) -> float:
    """Two-sided p of the hypothesis that differences [n] are symmetric about zero.

    The statistic is the absolute mean (R. A. Fisher, The Design of Experiments (1935),
    section 21). All 2^n flips up to n = 14, 10,000 random ones beyond; NaN for n < 2.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if n < 2:
        return _NAN
    observed = abs(values.sum()) - 1e-12 * max(1.0, float(np.abs(values).sum()))
    if n <= _EXACT_GROUPS:
        # Row r holds the signs that the binary digits of r spell.
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float((np.abs(signs @ values) >= observed).mean())
    signs = np.random.default_rng([seed, 99]).choice([-1.0, 1.0], size=(_FLIPS, n))
    # The data themselves are one of the flips, so that p is never 0.
    return (1 + int((np.abs(signs @ values) >= observed).sum())) / (1 + _FLIPS)


def _mean(values: FloatArray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else _NAN


# Scores that follow from sums over rows: the sums of every group are all that they need.

Formula = Callable[[Mapping[str, FloatArray]], FloatArray]
"""A score [B, S] from the pooled sums [B, S] by name."""


@dataclass(frozen=True)
class GroupSums:
    """Sums over rows by name, [S, G] each, and the scores that follow from them, by name."""

    sums: Mapping[str, FloatArray]
    formulas: Mapping[str, Formula]
    groups: tuple[str, ...]

    @property
    def n_seeds(self) -> int:
        return len(next(iter(self.sums.values())))

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(self.formulas)

    def only(self, *metrics: str) -> GroupSums:
        """Return the same with some of the scores."""
        return replace(self, formulas={name: self.formulas[name] for name in metrics})

    def values(self, weights: FloatArray, metrics: Sequence[str]) -> dict[str, FloatArray]:
        """Scores [B, S] of the pooled rows for group weights [B, G]; NaN where undefined."""
        pooled = {name: weights @ part.T for name, part in self.sums.items()}
        with np.errstate(divide="ignore", invalid="ignore"):
            return {metric: self.formulas[metric](pooled) for metric in metrics}


def sum_by_group(
    values: FloatArray, counted: NDArray[np.bool_], group_codes: IntArray, n_groups: int
) -> FloatArray:
    """Sum the counted values [S, n] of every group, as [S, G]."""
    rows = zip(values, counted, strict=True)
    return np.stack([np.bincount(group_codes[mask], row[mask], n_groups) for row, mask in rows])


def group_means(
    metric: str, values: ArrayLike, group_codes: IntArray, groups: tuple[str, ...]
) -> GroupSums:
    """Score the mean over rows of values [S, n] or [n]; NaN values are left out.

    Raises DataError if no value is a number.
    """
    rows = np.atleast_2d(np.asarray(values, dtype=np.float64))
    known = np.isfinite(rows)
    if not known.any():
        raise DataError("has no finite value", where=metric)
    terms = {"sum": rows, "count": np.ones(rows.shape)}
    sums = {n: sum_by_group(t, known, group_codes, len(groups)) for n, t in terms.items()}
    return GroupSums(sums, {metric: _mean_of_rows}, groups)


def _mean_of_rows(pooled: Mapping[str, FloatArray]) -> FloatArray:
    # With a name of its own, so that scores can be handed between processes.
    return pooled["sum"] / pooled["count"]
