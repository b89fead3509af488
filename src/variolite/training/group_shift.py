"""What moves the logs of one well against those of others: tools, mud, compaction.

Rows are a Gaussian mixture plus a shift of all logs that belongs to their group, fitted by
expectation maximisation. The mixture is shared by all groups, so that a shift is what moves a
whole group, not what its rocks are. A shift may drift along depth: it is linear between knots,
which are a stationary Gaussian process of first order. Missing values are integrated out.

Groups that met different rocks look like groups with different tools. What tells them apart is
the structure of the rows once shifts are taken out: rocks stand apart more clearly without the
tools, and less clearly without what sets them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from variolite.recipe import ModelSpec
from variolite.records import Records

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

ROWS = 400  # of a group that are looked at, evenly spaced
MOST_ROWS = 60_000  # of all groups together that the mixture is fitted to
WORTH = 20.0  # rows that count for a knot: neighbours repeat one another
RIDGE = 0.01  # added to the diagonal of covariances, in units of transformed values
MOST_KNOTS = 30
PERSISTENCE = 0.9  # correlation of one knot with the next
COMPONENTS, ITERATIONS, STEPS = 8, 25, 12
ROCKS = 4  # components by which structure is measured; more describe few wells one by one


class _Place(NamedTuple):
    """Where rows are: their group [n], the knot above them [n], and the way to the next, 0 to 1.

    ``knots`` [g] is the number that each group has; arrays have room for the largest.
    """

    code: Codes
    knot: Codes
    part: Array
    knots: Codes

    @property
    def room(self) -> int:
        return int(self.knots.max())

    def of(self, shift: Array) -> Array:
        """Value of shifts [g, J, d] at every row, [n, d]."""
        below = np.minimum(self.knot + 1, self.room - 1)
        part = self.part[:, None]
        return (1.0 - part) * shift[self.code, self.knot] + part * shift[self.code, below]

    def take(self, rows: Codes) -> _Place:
        return self._replace(code=self.code[rows], knot=self.knot[rows], part=self.part[rows])


class _Rows(NamedTuple):
    """Rows of some groups: values [n, d], observed or not, and their place.

    ``patterns`` are the distinct sets of observed columns, each with its rows.
    """

    values: Array
    observed: NDArray[np.bool_]
    place: _Place
    patterns: list[tuple[Codes, Codes]]


class _Mixture(NamedTuple):
    """Weights [k], means [k, d], covariances [k, d, d]."""

    weights: Array
    means: Array
    covariances: Array


@dataclass(frozen=True)
class GroupShift:
    """A fitted mixture (weights [k], means [k, d], covariances [k, d, d]) and shifts' covariance.

    ``spread`` [d, d] is that of the shifts, ``start`` [d] the mean half median of the groups
    trained on, ``drift`` the distance of knots in units of the order, None for constant shifts.
    The shift of any group, trained on or new, follows from its rows alone.
    """

    weights: Array
    means: Array
    covariances: Array
    spread: Array
    start: Array
    drift: float | None = None

    @classmethod
    def fit(
        cls,
        records: Records,
        *,
        drift: float | None = None,
        components: int = COMPONENTS,
        seed: int = 0,
    ) -> GroupShift | None:
        """Fit to the rows of all groups; None where there is no group, or one alone."""
        place = _place_of(records, drift)
        if place is None or len(place.knots) < 2:
            return None
        rows = _rows_of(records, place, MOST_ROWS)
        if len(rows.values) <= components:
            return None
        mixture, spread, start = _fit(rows, components, seed)
        return cls(*mixture, spread, start, None if records.order is None else drift)

    def shifts(self, records: Records) -> NDArray[np.float32]:
        """Shift of every row, [n, d] in transformed units; zero without groups."""
        place = _place_of(records, self.drift)
        if place is None:
            return np.zeros(records.numeric.shape, np.float32)
        return place.of(self._shifts_of(_rows_of(records, place))).astype(np.float32)

    def _shifts_of(self, rows: _Rows) -> Array:
        """Shifts at all knots, [g, J, d], from some rows of every group."""
        mixture = _Mixture(self.weights, self.means, self.covariances)
        shift = _start(rows, self.start)
        for _ in range(STEPS):
            shift = _modes(rows, mixture, _expect(rows, shift, mixture), self.spread)
        return shift

    def clarity(self, records: Records, *, seed: int = 0) -> float:
        """Structure that rows (n, d) gain by losing their shifts, in nats a row.

        Structure is how much likelier rows are under a mixture than under one Gaussian, each
        fitted to them, so that neither units nor spread matter. Above 0 the shifts are those of
        tools; below, they take away what tells rocks apart.
        """
        place = _place_of(records, self.drift)
        if place is None:
            return 0.0
        rows = _rows_of(records, place, MOST_ROWS)
        moved = rows._replace(values=rows.values - rows.place.of(self._shifts_of(rows)))
        before, after = (_structure(one, ROCKS, seed) for one in (rows, moved))
        return after - before

    def removed(self, records: Records) -> Records:
        """Return the records less the shifts of their groups."""
        shifted = np.where(records.observed, records.numeric - self.shifts(records), 0.0)
        return replace(records, numeric=shifted.astype(np.float32))

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, which give the same numbers back."""
        arrays = {n: v.tolist() for n, v in vars(self).items() if isinstance(v, np.ndarray)}
        return arrays | {"drift": self.drift}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> GroupShift:
        """Rebuild from `to_dict`; ValueError if shapes do not fit one another."""
        arrays = {n: np.asarray(v, np.float64) for n, v in content.items() if n != "drift"}
        shift = cls(**arrays, drift=content["drift"])
        k, d = shift.means.shape
        shapes = [(k,), (k, d), (k, d, d), (d, d), (d,)]
        if [value.shape for value in arrays.values()] != shapes:
            raise ValueError("the shapes of the group shift do not fit one another")
        return shift


def fit_shift(
    records: Records, model: ModelSpec, seed: int, note: Callable[[str], None]
) -> GroupShift | None:
    """Fit the shift that the settings ask for; None where there is none to take out."""
    if model.shift == "none":
        return None
    shift = GroupShift.fit(records, drift=model.drift, seed=seed)
    if shift is None or model.shift == "group":
        return shift
    if shift.clarity(records, seed=seed) > 0.0:
        note("what moves all rows of a group is taken out: less it they stand apart more clearly")
        return shift
    note(
        "what moves all rows of a group stays in: less it they stand apart less clearly, so it is "
        "what they are made of (model.shift=group takes it out all the same)"
    )
    return None


def _place_of(records: Records, drift: float | None) -> _Place | None:
    """Place all rows in their group and between its knots; None without groups or values."""
    if records.group is None or not records.observed.any():
        return None
    code = pl.Series(records.group).rank("dense").to_numpy().astype(np.int64) - 1
    n, groups = len(code), int(code.max()) + 1
    if drift is None or records.order is None:
        return _Place(code, np.zeros(n, np.int64), np.zeros(n), np.ones(groups, np.int64))
    known = np.isfinite(records.order)
    top, end = np.full(groups, np.inf), np.full(groups, -np.inf)
    np.minimum.at(top, code[known], records.order[known])
    np.maximum.at(end, code[known], records.order[known])
    span = np.where(end > top, end - top, 0.0)
    # A number that is no depth, such as a date, must not make a million knots.
    step = np.maximum(drift, span / (MOST_KNOTS - 1))
    down = (records.order - np.where(np.isfinite(top), top, 0.0)[code]) / step[code]
    down = np.where(known, down, 0.5 * (span / step)[code])
    knot = np.floor(down).astype(np.int64)
    knots = np.ceil(span / step).astype(np.int64) + 1
    return _Place(code, knot, down - knot, knots)


def _rows_of(records: Records, place: _Place, most: int | None = None) -> _Rows:
    """Take at most `ROWS` evenly spaced rows of every group, of those that hold a value."""
    groups = len(place.knots)
    each = ROWS if most is None else min(ROWS, max(1, most // groups))
    rows = np.flatnonzero(records.observed.any(axis=1))
    rows = rows[np.argsort(place.code[rows], kind="stable")]
    counts = np.bincount(place.code[rows], minlength=groups)
    chosen = np.concatenate(
        [
            first + np.linspace(0, n - 1, min(n, each)).round().astype(np.int64)
            for first, n in zip(np.cumsum(counts) - counts, counts, strict=True)
        ]
    )
    at = rows[chosen]
    values, observed = records.numeric[at].astype(np.float64), records.observed[at]
    kinds, kind = np.unique(observed, axis=0, return_inverse=True)
    patterns = [
        (np.flatnonzero(kind.reshape(-1) == i), np.flatnonzero(kinds[i])) for i in range(len(kinds))
    ]
    return _Rows(values, observed, place.take(at), patterns)


def _start(rows: _Rows, centre: Array | None = None) -> Array:
    """Half the median of every group, less its mean over groups, at all knots, [g, J, d]."""
    values = np.where(rows.observed, rows.values, np.nan)
    half = np.zeros((len(rows.place.knots), values.shape[1]))
    for group in range(len(half)):
        own = values[rows.place.code == group]
        seen = ~np.isnan(own).all(axis=0)
        half[group, seen] = 0.5 * np.nanmedian(own[:, seen], axis=0)
    centred = half - (half.mean(axis=0) if centre is None else centre)
    return np.repeat(centred[:, None], rows.place.room, axis=1)


def _fit(rows: _Rows, components: int, seed: int) -> tuple[_Mixture, Array, Array]:
    """Fit by EM from k-means: mixture, spread [d, d] and mean start [d] of the shifts."""
    d, place = rows.values.shape[1], rows.place
    shift = _start(rows, np.zeros(d))
    start = shift[:, 0].mean(axis=0)
    shift = shift - start
    mixture, share = _first(rows, shift, components, seed)
    spread = _spread(shift, place)
    own = np.arange(place.room) < place.knots[:, None]  # knots that a group has, [g, J]
    for _ in range(ITERATIONS):
        mixture = _maximise(rows, shift, mixture, share)
        share = _expect(rows, shift, mixture)
        shift = _modes(rows, mixture, share, spread)
        shift = shift - shift[own].mean(axis=0)
        spread = _spread(shift, place)
    return mixture, spread, start


def _first(rows: _Rows, shift: Array, components: int, seed: int) -> tuple[_Mixture, Array]:
    """Mixture and responsibilities [n, k] to start from, by k-means."""
    from sklearn.cluster import KMeans

    # Columns that a row lacks stand at their mean while the start is found.
    moved = np.where(rows.observed, rows.values - rows.place.of(shift), np.nan)
    filled = np.where(rows.observed, moved, np.nanmean(moved, axis=0))
    kmeans = KMeans(components, n_init=1, random_state=seed).fit(filled)
    centres = kmeans.cluster_centers_.astype(np.float64)
    covariances = np.tile(np.eye(filled.shape[1]), (components, 1, 1))
    return _Mixture(np.ones(components), centres, covariances), np.eye(components)[kmeans.labels_]


def _structure(rows: _Rows, components: int, seed: int) -> float:
    """Mean log likelihood of the rows under a mixture less that under one Gaussian, in nats."""
    still = np.zeros((len(rows.place.knots), rows.place.room, rows.values.shape[1]))
    found = []
    for number in (components, 1):
        mixture, share = _first(rows, still, number, seed)
        for _ in range(ITERATIONS):
            mixture = _maximise(rows, still, mixture, share)
            share = _expect(rows, still, mixture)
        found.append(logsumexp(_joint(rows, still, mixture), axis=1).mean())
    return float(found[0] - found[1])


def _kernel(knots: int) -> Array:
    """Correlation of the knots of one group, [J, J]."""
    apart = np.abs(np.subtract.outer(np.arange(knots), np.arange(knots)))
    return np.asarray(PERSISTENCE**apart)


def _spread(shift: Array, place: _Place) -> Array:
    """Covariance [d, d] of the shifts, given how their knots hang together."""
    inverse = np.linalg.inv(_kernel(place.room))
    every = np.einsum("gai,ab,gbj->gij", shift, inverse, shift, optimize=True)
    found = (every / place.knots[:, None, None]).mean(axis=0)
    return np.asarray(found + RIDGE * np.eye(shift.shape[2]))


def _expect(rows: _Rows, shift: Array, mixture: _Mixture) -> Array:
    """Responsibilities [n, k] of the components."""
    return np.asarray(softmax(_joint(rows, shift, mixture), axis=1))


def _joint(rows: _Rows, shift: Array, mixture: _Mixture) -> Array:
    """Log density [n, k] of rows and components, less what the number of columns adds to all."""
    weights, means, covariances = mixture
    moved = rows.values - rows.place.of(shift)
    joint = np.zeros((len(moved), len(weights)))
    for at, columns in rows.patterns:
        seen = moved[np.ix_(at, columns)]
        for k, factor in enumerate(np.linalg.cholesky(_block(covariances, columns))):
            white = (seen - means[k, columns]) @ np.linalg.inv(factor).T
            joint[at, k] = -0.5 * (white**2).sum(axis=1) - np.log(np.diag(factor)).sum()
    return np.asarray(joint + np.log(weights + 1e-12))


def _maximise(rows: _Rows, shift: Array, mixture: _Mixture, share: Array) -> _Mixture:
    """M step of the mixture: missing values by their conditional mean and covariance."""
    _, means, covariances = mixture
    k, d = means.shape
    moved = rows.values - rows.place.of(shift)
    count, first, second = share.sum(axis=0) + 1e-9, np.zeros((k, d)), np.zeros((k, d, d))
    for at, columns in rows.patterns:
        absent = np.setdiff1d(np.arange(d), columns)
        for j in range(k):
            full, r = moved[at], share[at, j]
            if len(absent):
                inverse = np.linalg.inv(_block(covariances[j], columns))
                slope = covariances[j][np.ix_(absent, columns)] @ inverse
                apart = full[:, columns] - means[j, columns]
                full[:, absent] = means[j, absent] + apart @ slope.T
                left = covariances[j][np.ix_(columns, absent)]
                rest = _block(covariances[j], absent) - slope @ left
                second[j][np.ix_(absent, absent)] += r.sum() * rest
            first[j] += r @ full
            second[j] += (full * r[:, None]).T @ full
    mean = first / count[:, None]
    covariance = second / count[:, None, None] - mean[:, :, None] * mean[:, None, :]
    return _Mixture(count / count.sum(), mean, covariance + RIDGE * np.eye(d))


def _modes(rows: _Rows, mixture: _Mixture, share: Array, spread: Array) -> Array:
    """Posterior mode of every shift, [g, J, d]; the rows at a knot are worth at most `WORTH`."""
    _, means, covariances = mixture
    place, (k, d) = rows.place, means.shape
    groups, room = len(place.knots), place.room
    size = np.bincount(place.code, minlength=groups)
    worth = np.minimum(1.0, WORTH * np.maximum(place.knots - 1, 1) / np.maximum(size, 1))
    # Knots above and below every row, [n], numbered over all groups.
    upper = place.code * room + place.knot
    lower = place.code * room + np.minimum(place.knot + 1, room - 1)
    # Normal equations of the knots of each group; a row takes part in those of its two knots.
    precision, pull = np.zeros((groups, room, d, room, d)), np.zeros((groups * room, d))
    for at, columns in rows.patterns:
        inverse, part = np.linalg.inv(_block(covariances, columns)), place.part[at]
        pairs = np.zeros((groups * room, room, k))  # weight of every component on two knots
        for j in range(k):
            r = share[at, j] * worth[place.code[at]]
            apart = (rows.values[np.ix_(at, columns)] - means[j, columns]) @ inverse[j]
            for knots, weight in ((upper[at], 1.0 - part), (lower[at], part)):
                for others, other in ((upper[at], 1.0 - part), (lower[at], part)):
                    np.add.at(pairs[:, :, j], (knots, others % room), r * weight * other)
                for i, column in enumerate(columns):
                    pull[:, column] += np.bincount(knots, r * weight * apart[:, i], groups * room)
        by_group = pairs.reshape(groups, room, room, k)
        # Separate index arrays put their dimensions first.
        found = np.einsum("gabk,kij->ijgab", by_group, inverse, optimize=True)
        precision[:, :, columns[:, None], :, columns] += found
    prior = np.einsum("ab,ij->aibj", np.linalg.inv(_kernel(room)), np.linalg.inv(spread))
    left = (precision + prior).reshape(groups, room * d, room * d)
    return np.linalg.solve(left, pull.reshape(groups, room * d, 1)).reshape(groups, room, d)


def _block(covariances: Array, columns: Codes) -> Array:
    """Rows and columns of one or several covariances."""
    return covariances[..., columns[:, None], columns]
