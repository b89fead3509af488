"""Bootstrap intervals over groups and seeds, and paired comparison of two methods.

Rows of one group (a borehole, a structure family) resemble one another, so the
group is the unit that is resampled, with replacement. Seeds are the second
level: every resample also draws seeds with replacement, and the statistic is
the mean over the drawn seeds. The interval answers: how would the number move
with as many other groups of the same kind, and with other seeds?

It is a percentile interval (B. Efron, R. Tibshirani, An Introduction to the
Bootstrap (1993), chapter 13) of the deviations from the mean of the resamples,
placed around the value. A resample of G groups has only about 0.63 G different
ones, and fewer groups are easier to agree with: pooled agreement scores of
resamples lie systematically higher. Left in, that shift put the value at the
lower end of its own interval; on borehole logs, taking it out raised the coverage
of 95 % intervals over 20 groups from 0.86-0.94 to 0.89-0.97. With fewer than
about ten groups the interval is still somewhat short.

A statistic is given as a function of group weights [B, G] (how often each group
was drawn) that returns values [B, S], one per seed. A resample then costs a
weighted sum of per-group tables instead of a pass over rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from variolite.errors import DataError
from variolite.scoring.arrays import FloatArray, IntArray

Statistic = Callable[[FloatArray], FloatArray]

_EXACT_GROUPS = 14
_FLIPS = 10_000
# One adjusted mutual information costs as much as some fifty of the other scores.
_SHARE_OF_RESAMPLES: Mapping[str, float] = MappingProxyType({"ami": 0.25})


class ScoredGroups(Protocol):
    """Anything scored per group: what intervals and comparisons need to know of it."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the held-out groups [G]."""

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
    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """Difference of two methods on the same groups and seeds.

    Attributes
    ----------
    mean, low, high
        Difference of the pooled statistics (first minus second) and its
        percentile interval, the same groups being drawn for both.
    p
        Two-sided p of the sign-flip test on what each group contributes to the
        difference; NaN with fewer than two groups.
    wins, losses
        Groups on which, scored by themselves, the first is higher, and lower.
    n_groups
        Groups compared.
    """

    mean: float
    low: float
    high: float
    p: float
    wins: int
    losses: int
    n_groups: int


@dataclass(frozen=True)
class Bootstrap:
    """How to resample.

    Attributes
    ----------
    resamples
        Number of resamples B.
    level
        Probability that the interval spans.
    seed
        Seed of the draws; the same seed draws the same groups for every method.
    """

    resamples: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 1 or not 0.0 < self.level < 1.0:
            raise DataError(
                f"{self.resamples} resamples at level {self.level} were asked for",
                where="bootstrap",
                hint="Take at least one resample and a level between 0 and 1",
            )

    def groups(self, n_groups: int) -> FloatArray:
        """How often each group is drawn, [B, G]; rows sum to G."""
        generator = np.random.default_rng([self.seed, 0])
        return _draws(generator, self.resamples, n_groups)

    def seeds(self, n_seeds: int, stream: int = 0) -> FloatArray:
        """Weight of each seed [B, S]; rows sum to 1. ``stream`` separates independent draws."""
        generator = np.random.default_rng([self.seed, 1 + stream])
        return _draws(generator, self.resamples, n_seeds) / n_seeds

    def interval(self, mean: float, resampled: FloatArray) -> Interval:
        """Interval around ``mean`` from resampled values [B]; undefined ones are left out."""
        finite = resampled[np.isfinite(resampled)]
        if not len(finite):
            return Interval(mean, float("nan"), float("nan"))
        tail = 50.0 * (1.0 - self.level)
        low, high = np.percentile(finite - finite.mean(), [tail, 100.0 - tail])
        return Interval(mean, mean + float(low), mean + float(high))


def bootstrap_interval(
    statistic: Statistic, n_groups: int, *, bootstrap: Bootstrap | None = None
) -> Interval:
    """Value of a statistic on all groups, with its interval over groups and seeds.

    Parameters
    ----------
    statistic
        Function of group weights [B, G] to values [B, S].
    n_groups
        Number of groups G. With one group there is nothing to resample and
        the interval is NaN, however many seeds there are.
    bootstrap
        How to resample.

    Returns
    -------
    Interval
        ``mean`` is the statistic on the groups as they are, averaged over seeds.
    """
    plan = bootstrap or Bootstrap()
    if n_groups < 1:
        raise DataError("there is no group to score", where="bootstrap")
    mean = _mean(statistic(np.ones((1, n_groups)))[0])
    if n_groups == 1:
        return Interval(mean, float("nan"), float("nan"))
    return plan.interval(mean, _over_seeds(statistic(plan.groups(n_groups)), plan))


def intervals_of(
    scored: ScoredGroups,
    metrics: Sequence[str] | None = None,
    *,
    bootstrap: Bootstrap | None = None,
) -> dict[str, Interval]:
    """Value and interval of several scores at once, as :func:`bootstrap_interval` gives them.

    The adjusted mutual information uses the first quarter of the resamples.
    """
    plan = bootstrap or Bootstrap()
    names = tuple(scored.metrics if metrics is None else metrics)
    n_groups = len(scored.groups)
    points = scored.values(np.ones((1, n_groups)), names)
    means = {name: _mean(points[name][0]) for name in names}
    if n_groups == 1:
        return {name: Interval(means[name], float("nan"), float("nan")) for name in names}
    weights = plan.groups(n_groups)
    out = {}
    for count in {_resamples(name, plan) for name in names}:
        some = [name for name in names if _resamples(name, plan) == count]
        for name, values in scored.values(weights[:count], some).items():
            out[name] = plan.interval(means[name], _over_seeds(values, plan))
    return {name: out[name] for name in names}


def paired_difference(
    first: Statistic,
    second: Statistic,
    n_groups: int,
    *,
    same_seeds: bool = False,
    bootstrap: Bootstrap | None = None,
) -> PairedDifference:
    """Compare two statistics on the same groups.

    Parameters
    ----------
    first, second
        Functions of group weights [B, G] to values [B, S]; S may differ.
    n_groups
        Number of groups G, in the same order for both.
    same_seeds
        Whether seed s of the first belongs with seed s of the second (say, two
        clusterings of the same model); seeds are then drawn together. If not,
        they are drawn independently.
    bootstrap
        How to resample.

    Returns
    -------
    PairedDifference
        The interval is of the pooled difference. For p, the difference averaged
        over seeds is split into one contribution per group by the jackknife
        (pseudo-values; R. Miller, Biometrika 61 (1974) 1), and their signs are
        flipped: all 2^G flips up to 14 groups, 10,000 random ones beyond. For a
        mean over groups, the contributions are the groups' own differences.
        Where the hypothesis held on borehole logs, 2-10 % of p were below 0.05.
    """
    plan = bootstrap or Bootstrap()
    everything = np.ones((1, n_groups))
    mean = _mean(first(everything)[0]) - _mean(second(everything)[0])
    nan = float("nan")
    if n_groups == 1:
        return PairedDifference(mean, nan, nan, nan, int(mean > 0), int(mean < 0), 1)
    weights = plan.groups(n_groups)
    stream = 0 if same_seeds else 1
    drawn = _over_seeds(first(weights), plan) - _over_seeds(second(weights), plan, stream)
    interval = plan.interval(mean, drawn)
    alone = np.eye(n_groups)
    without = first(1.0 - alone).mean(axis=1) - second(1.0 - alone).mean(axis=1)
    without = without[np.isfinite(without)]
    contributions = mean + (n_groups - 1) * (without.mean() - without)
    own = first(alone).mean(axis=1) - second(alone).mean(axis=1)
    return PairedDifference(
        mean=mean,
        low=interval.low,
        high=interval.high,
        p=sign_flip_p(contributions, seed=plan.seed),
        wins=int((own > 0).sum()),
        losses=int((own < 0).sum()),
        n_groups=n_groups,
    )


def sign_flip_p(differences: ArrayLike, *, seed: int = 0) -> float:
    """Two-sided p of the hypothesis that differences are symmetric about zero.

    The statistic is the absolute mean (R. A. Fisher, The Design of Experiments
    (1935), section 21). Exact for up to 14 differences; NaN for fewer than two.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if n < 2:
        return float("nan")
    observed = abs(values.sum())
    tolerance = 1e-12 * max(1.0, float(np.abs(values).sum()))
    if n <= _EXACT_GROUPS:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float((np.abs(signs @ values) >= observed - tolerance).mean())
    generator = np.random.default_rng([seed, 99])
    signs = generator.choice([-1.0, 1.0], size=(_FLIPS, n))
    extreme = int((np.abs(signs @ values) >= observed - tolerance).sum())
    return (1 + extreme) / (1 + _FLIPS)


def _draws(generator: np.random.Generator, resamples: int, n: int) -> FloatArray:
    return generator.multinomial(n, np.full(n, 1.0 / n), size=resamples).astype(np.float64)


def _resamples(metric: str, plan: Bootstrap) -> int:
    return max(1, round(plan.resamples * _SHARE_OF_RESAMPLES.get(metric, 1.0)))


def _over_seeds(values: FloatArray, plan: Bootstrap, stream: int = 0) -> FloatArray:
    """Mean over drawn seeds of values [B, S], as [B]."""
    resamples, seeds = values.shape
    mean: FloatArray = (values * plan.seeds(seeds, stream)[:resamples]).sum(axis=1)
    return mean


def _mean(values: FloatArray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


# Scores that are means over rows: per-group sums and counts are all that they need.


@dataclass(frozen=True)
class GroupMeans:
    """Sums and counts of one quantity per seed and group.

    Attributes
    ----------
    metric
        Name of the quantity.
    sums, counts
        Per seed and group [S, G].
    groups
        Names of the groups [G].
    """

    metric: str
    sums: FloatArray
    counts: FloatArray
    groups: tuple[str, ...]

    @property
    def n_seeds(self) -> int:
        """Number of seeds S."""
        return int(self.sums.shape[0])

    @property
    def metrics(self) -> tuple[str, ...]:
        """The one name."""
        return (self.metric,)

    def values(self, weights: FloatArray, metrics: Sequence[str]) -> dict[str, FloatArray]:
        """Pooled mean [B, S] for group weights [B, G]; NaN where no row is counted."""
        if any(metric != self.metric for metric in metrics):
            raise DataError(f"has {self.metric!r} only, not {tuple(metrics)}", where="metric")
        with np.errstate(invalid="ignore"):
            mean = (weights @ self.sums.T) / (weights @ self.counts.T)
        return dict.fromkeys(metrics, mean)

    def statistic(self, metric: str) -> Statistic:
        """The mean as a function of group weights, for the bootstrap."""
        return lambda weights: self.values(weights, [metric])[metric]


def group_means(
    metric: str, values: ArrayLike, group_codes: IntArray, groups: tuple[str, ...]
) -> GroupMeans:
    """Sum values [S, n] (or [n]) by group; NaN values are left out.

    Raises
    ------
    DataError
        If the values do not match the rows, or none is a number.
    """
    rows = np.asarray(values, dtype=np.float64)
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != len(group_codes):
        raise DataError(f"has shape {rows.shape} for {len(group_codes)} rows", where=metric)
    known = np.isfinite(rows)
    if not known.any():
        raise DataError("has no finite value", where=metric)
    size = len(groups)
    sums = [
        np.bincount(group_codes, np.where(k, r, 0.0), size)
        for r, k in zip(rows, known, strict=True)
    ]
    counts = [np.bincount(group_codes, k.astype(np.float64), size) for k in known]
    return GroupMeans(metric, np.stack(sums), np.stack(counts), groups)
