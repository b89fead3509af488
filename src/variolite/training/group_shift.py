"""What shifts the logs of one well against those of others: instruments, mud, calibration.

Rows are a Gaussian mixture plus one Gaussian shift b ~ N(0, S) of all logs for every group,
fitted by expectation maximisation. The mixture is shared by all groups, so that a shift is what
moves a whole group, not what its rocks are. Missing values are integrated out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from variolite.records import Records

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

ROWS = 400  # of a group that are looked at, evenly spaced
MOST_ROWS = 60_000  # of all groups together that the mixture is fitted to
WORTH = 20.0  # rows that count for a shift: neighbours repeat one another
RIDGE = 0.01  # added to the diagonal of covariances, in units of transformed values
COMPONENTS, ITERATIONS, STEPS = 8, 25, 15


class _Rows(NamedTuple):
    """Rows of some groups: values [n, d], observed or not, and the code of their group [n].

    ``patterns`` are the distinct sets of observed columns, each with its rows.
    """

    values: Array
    observed: NDArray[np.bool_]
    code: Codes
    patterns: list[tuple[Codes, Codes]]
    groups: int


class _Mixture(NamedTuple):
    """Weights [k], means [k, d], covariances [k, d, d]."""

    weights: Array
    means: Array
    covariances: Array


@dataclass(frozen=True)
class GroupShift:
    """A fitted mixture (weights [k], means [k, d], covariances [k, d, d]) and shifts' covariance.

    ``spread`` [d, d] is that of the shifts, ``start`` [d] the mean half median of the groups
    trained on. The shifts of any group, trained on or new, follow from its rows alone.
    """

    weights: Array
    means: Array
    covariances: Array
    spread: Array
    start: Array

    @classmethod
    def fit(
        cls, records: Records, *, components: int = COMPONENTS, seed: int = 0
    ) -> GroupShift | None:
        """Fit to the rows of all groups; None where there is no group, or one alone."""
        found = _rows_of(records, MOST_ROWS)
        if found is None or found.groups < 2 or len(found.values) <= components:
            return None
        return _fit(found, components, seed)[0]

    def shifts(self, records: Records) -> NDArray[np.float32]:
        """Shift of the group of every row, [n, d] in transformed units; zero without groups."""
        found = _rows_of(records)
        if found is None:
            return np.zeros(records.numeric.shape, np.float32)
        mixture = _Mixture(self.weights, self.means, self.covariances)
        shift = 0.5 * _medians(found) - self.start
        for _ in range(STEPS):
            shift = _modes(found, mixture, _expect(found, shift, mixture)[0], self.spread)
        assert records.group is not None
        code = np.unique(records.group, return_inverse=True)[1].reshape(-1)
        return shift.astype(np.float32)[code]

    def removed(self, records: Records) -> Records:
        """Return the records less the shifts of their groups."""
        shifted = np.where(records.observed, records.numeric - self.shifts(records), 0.0)
        return replace(records, numeric=shifted.astype(np.float32))

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, which give the same numbers back."""
        return {name: value.tolist() for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> GroupShift:
        """Rebuild from `to_dict`; ValueError if shapes do not fit one another."""
        shift = cls(**{name: np.asarray(value, np.float64) for name, value in content.items()})
        k, d = shift.means.shape
        shapes = [(k,), (k, d), (k, d, d), (d, d), (d,)]
        if [value.shape for value in vars(shift).values()] != shapes:
            raise ValueError("the shapes of the group shift do not fit one another")
        return shift


def _rows_of(records: Records, most: int | None = None) -> _Rows | None:
    """Take at most `ROWS` evenly spaced rows of every group, of those that hold a value."""
    if records.group is None or not records.observed.any():
        return None
    names, inverse = np.unique(records.group, return_inverse=True)
    code = inverse.reshape(-1).astype(np.int64)
    each = ROWS if most is None else min(ROWS, max(1, most // len(names)))
    rows = np.flatnonzero(records.observed.any(axis=1))
    rows = rows[np.argsort(code[rows], kind="stable")]
    counts = np.bincount(code[rows], minlength=len(names))
    first = np.cumsum(counts) - counts
    chosen = np.concatenate(
        [
            f + np.linspace(0, n - 1, min(n, each)).round().astype(np.int64)
            for f, n in zip(first, counts, strict=True)
        ]
    )
    at = rows[chosen]
    values, observed = records.numeric[at].astype(np.float64), records.observed[at]
    kinds, kind = np.unique(observed, axis=0, return_inverse=True)
    patterns = [
        (np.flatnonzero(kind.reshape(-1) == i), np.flatnonzero(kinds[i])) for i in range(len(kinds))
    ]
    return _Rows(values, observed, code[at], patterns, len(names))


def _medians(rows: _Rows) -> Array:
    """Median of the observed values of every group, [g, d]; 0 where there are none."""
    values = np.where(rows.observed, rows.values, np.nan)
    found = np.zeros((rows.groups, values.shape[1]))
    for group in range(rows.groups):
        own = values[rows.code == group]
        seen = ~np.isnan(own).all(axis=0)
        found[group, seen] = np.nanmedian(own[:, seen], axis=0)
    return found


def _fit(rows: _Rows, components: int, seed: int) -> tuple[GroupShift, float]:
    """Fit by EM from k-means; the second value is the mean log-likelihood at the end."""
    from sklearn.cluster import KMeans

    d = rows.values.shape[1]
    half = 0.5 * _medians(rows)
    start = half.mean(axis=0)
    shift = half - start
    # Columns that a row lacks stand at their mean while the start is found.
    moved = np.where(rows.observed, rows.values - shift[rows.code], np.nan)
    filled = np.where(rows.observed, moved, np.nanmean(moved, axis=0))
    kmeans = KMeans(components, n_init=1, random_state=seed).fit(filled)
    share = np.eye(components)[kmeans.labels_]
    mixture = _Mixture(
        np.full(components, 1 / components),
        kmeans.cluster_centers_.astype(np.float64),
        np.tile(np.eye(d), (components, 1, 1)),
    )
    spread = _covariance(shift)
    likelihood = -np.inf
    for _ in range(ITERATIONS):
        mixture = _maximise(rows, shift, mixture, share)
        share, likelihood = _expect(rows, shift, mixture)
        shift = _modes(rows, mixture, share, spread)
        shift -= shift.mean(axis=0)
        spread = _covariance(shift)
    return GroupShift(*mixture, spread, start), likelihood


def _covariance(shift: Array) -> Array:
    found: Array = np.atleast_2d(np.cov(shift.T)) + RIDGE * np.eye(shift.shape[1])
    return found


def _expect(rows: _Rows, shift: Array, mixture: _Mixture) -> tuple[Array, float]:
    """Responsibilities [n, k] of the components, and the mean log-likelihood."""
    weights, means, covariances = mixture
    joint = np.zeros((len(rows.values), len(weights)))
    for at, columns in rows.patterns:
        moved = rows.values[np.ix_(at, columns)] - shift[rows.code[at]][:, columns]
        for k, factor in enumerate(np.linalg.cholesky(_block(covariances, columns))):
            white = (moved - means[k, columns]) @ np.linalg.inv(factor).T
            joint[at, k] = -0.5 * (white**2).sum(axis=1) - np.log(np.diag(factor)).sum()
    joint += np.log(weights + 1e-12)
    peak = joint.max(axis=1, keepdims=True)
    joint = np.exp(joint - peak)
    total = joint.sum(axis=1, keepdims=True)
    return joint / total, float((peak + np.log(total)).mean())


def _maximise(rows: _Rows, shift: Array, mixture: _Mixture, share: Array) -> _Mixture:
    """M step of the mixture: missing values by their conditional mean and covariance."""
    _, means, covariances = mixture
    k, d = means.shape
    moved = rows.values - shift[rows.code]
    count, first, second = share.sum(axis=0) + 1e-9, np.zeros((k, d)), np.zeros((k, d, d))
    for at, columns in rows.patterns:
        absent = np.setdiff1d(np.arange(d), columns)
        for j in range(k):
            full = moved[at]
            r = share[at, j]
            if len(absent):
                inverse = np.linalg.inv(_block(covariances[j], columns))
                slope = covariances[j][np.ix_(absent, columns)] @ inverse
                full[:, absent] = (
                    means[j, absent] + (full[:, columns] - means[j, columns]) @ slope.T
                )
                left = covariances[j][np.ix_(columns, absent)]
                rest = _block(covariances[j], absent) - slope @ left
                second[j][np.ix_(absent, absent)] += r.sum() * rest
            first[j] += r @ full
            second[j] += (full * r[:, None]).T @ full
    mean = first / count[:, None]
    covariance = second / count[:, None, None] - mean[:, :, None] * mean[:, None, :]
    return _Mixture(count / count.sum(), mean, covariance + RIDGE * np.eye(d))


def _modes(rows: _Rows, mixture: _Mixture, share: Array, spread: Array) -> Array:
    """Posterior mode of every group's shift, [g, d], its rows worth at most `WORTH` rows."""
    _, means, covariances = mixture
    k, d = means.shape
    size = np.bincount(rows.code, minlength=rows.groups)
    worth = np.minimum(size, WORTH) / np.maximum(size, 1)
    precision, pull = np.zeros((rows.groups, d, d)), np.zeros((rows.groups, d))
    for at, columns in rows.patterns:
        code, inverse = rows.code[at], np.linalg.inv(_block(covariances, columns))
        members = np.zeros((rows.groups, k))
        np.add.at(members, code, share[at])
        sums = np.zeros((rows.groups, k, len(columns)))
        for j in range(k):
            weighted = share[at, j, None] * (rows.values[np.ix_(at, columns)] - means[j, columns])
            np.add.at(sums[:, j], code, weighted)
        precision[np.ix_(np.arange(rows.groups), columns, columns)] += np.einsum(
            "gk,kij->gij", members, inverse
        )
        pull[:, columns] += np.einsum("kij,gkj->gi", inverse, sums)
    precision = np.linalg.inv(spread) + worth[:, None, None] * precision
    found = np.linalg.solve(precision, worth[:, None, None] * pull[:, :, None])[:, :, 0]
    return np.asarray(found, np.float64)


def _block(covariances: Array, columns: Codes) -> Array:
    """Rows and columns of one or several covariances."""
    return covariances[..., columns[:, None], columns]
