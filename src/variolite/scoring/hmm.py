"""A hidden Markov model along depth: layers are thicker than the spacing of rows.

States are Gaussians that share one covariance, in whitened coordinates. L. R. Rabiner, Proceedings
of the IEEE 77 (1989) 257. All sequences take a step at once, so that wells with many gaps cost no
more than whole ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError
from variolite.scoring.gmm import as_matrix
from variolite.scoring.intervals import FloatArray, IntArray
from variolite.scoring.sequences import Sequences

V = TypeVar("V", bound=np.generic)

ITERATIONS = 10
MOST_ROWS = 30_000  # rows fitted to, about
# Counts added to the transitions seen: from any state to any, and from each to itself.
ANY, STAY = 5.0, 50.0
FLOOR = 1e-3  # added to variances, in whitened units
_LEAST = 1e-12  # variance of a direction that is left out, relative to the largest


@dataclass(frozen=True)
class Whitening:
    """Principal components scaled to variance 1: (x - ``centre`` [D]) @ ``projection`` [D, d]."""

    centre: FloatArray
    projection: FloatArray

    @classmethod
    def of(cls, x: ArrayLike) -> Whitening:
        """Fit to rows [n, D], the weakest component first.

        Directions that do not vary are left out: whitened, they would be amplified rounding.
        """
        matrix = as_matrix(x)
        if not np.ptp(matrix, axis=0).any():
            raise DataError("no feature varies among the rows", where="whitening")
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(matrix, rowvar=False)))
        kept = values > _LEAST * values[-1]
        return cls(matrix.mean(axis=0), vectors[:, kept] / np.sqrt(values[kept]))

    def __call__(self, x: ArrayLike) -> FloatArray:
        return np.asarray((as_matrix(x) - self.centre) @ self.projection)


@dataclass(frozen=True)
class HiddenMarkov:
    """A fitted model: ``transitions`` [k, k], ``means`` [k, d] and ``covariance`` [d, d].

    States live in whitened coordinates, (x - ``centre`` [D]) @ ``projection`` [D, d]. A sequence
    starts in the stationary distribution of the transitions.
    """

    centre: FloatArray
    projection: FloatArray
    transitions: FloatArray
    means: FloatArray
    covariance: FloatArray

    @property
    def n_clusters(self) -> int:
        return len(self.means)

    @property
    def consistent(self) -> bool:
        if self.means.ndim != 2 or self.centre.ndim != 1:
            return False
        k, d = self.means.shape
        shapes = [self.transitions.shape, self.covariance.shape, self.projection.shape]
        return shapes == [(k, k), (d, d), (len(self.centre), d)]

    def predict(self, x: ArrayLike, sequences: Sequences | None = None) -> IntArray:
        """Most likely path of states through rows ``x`` [n, D], as [n] (Viterbi).

        Without ``sequences`` every row stands by itself.
        """
        if sequences is None:
            return np.asarray(self.probabilities(x).argmax(axis=1), np.int64)
        steps, log_density = _Steps.of(sequences), self._log_density(x)
        return steps.spread(_viterbi(steps, log_density[steps.rows], self.transitions))

    def probabilities(self, x: ArrayLike, sequences: Sequences | None = None) -> FloatArray:
        """Probability of every state at every row given all rows of its sequence, [n, k]."""
        log_density = self._log_density(x)
        if sequences is None:
            joint = _likelihood(log_density) * stationary(self.transitions)
            return np.asarray(joint / joint.sum(axis=1, keepdims=True))
        steps = _Steps.of(sequences)
        return steps.spread(_forward_backward(steps, log_density[steps.rows], self.transitions)[0])

    def _log_density(self, x: ArrayLike) -> FloatArray:
        white = Whitening(self.centre, self.projection)(x)
        return _log_density(white, self.means, self.covariance)


def fit_hmm(
    x: ArrayLike, whitening: Whitening, centres: FloatArray, sequences: Sequences
) -> HiddenMarkov:
    """Fit states to rows [n, D] along depth, from whitened ``centres`` [k, d] of k-means.

    Of every sequence each m-th row is used, so that there are about 30,000: neighbours repeat one
    another, and on real logs four times as many changed nothing.
    """
    thin = sequences.thinned(math.ceil(len(sequences) / MOST_ROWS))
    steps = _Steps.of(thin)
    white = whitening(as_matrix(x)[steps.rows])
    k, d = centres.shape
    nearest = ((white[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    apart = white - centres[nearest]
    means, covariance = centres, apart.T @ apart / len(white) + FLOOR * np.eye(d)
    prior = ANY + STAY * np.eye(k)
    transitions = prior / prior.sum(axis=1, keepdims=True)
    for _ in range(ITERATIONS):
        share, moves = _forward_backward(steps, _log_density(white, means, covariance), transitions)
        transitions = (moves + prior) / (moves + prior).sum(axis=1, keepdims=True)
        count = share.sum(axis=0) + 1e-9
        means = share.T @ white / count[:, None]
        # E[x x'] less what the means explain; rows that are equal would leave nothing.
        covariance = (white.T @ white - (means * count[:, None]).T @ means) / len(white)
        covariance = covariance + FLOOR * np.eye(d)
    return HiddenMarkov(whitening.centre, whitening.projection, transitions, means, covariance)


class _Steps(NamedTuple):
    """Rows ordered by their place in their sequence, long sequences first.

    ``rows`` [n] are positions in the table; those of step t are the next ``sizes`` [T] ones, of
    which the first belong to sequences that are not over.
    """

    rows: IntArray
    sizes: IntArray

    @classmethod
    def of(cls, sequences: Sequences) -> _Steps:
        lengths = sequences.lengths
        rank = np.empty(len(lengths), np.int64)
        rank[np.argsort(-lengths, kind="stable")] = np.arange(len(lengths))
        within = np.arange(len(sequences)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        order = np.lexsort((np.repeat(rank, lengths), within))
        return cls(sequences.rows[order], np.bincount(within))

    @property
    def places(self) -> list[slice]:
        """Where the rows of every step lie."""
        ends = np.cumsum(self.sizes)
        return [*map(slice, (ends - self.sizes).tolist(), ends.tolist())]

    def spread(self, values: NDArray[V]) -> NDArray[V]:
        """Return values [n, ...] of rows in this order in the order of the table."""
        found = np.empty_like(values)
        found[self.rows] = values
        return found


def _log_density(white: FloatArray, means: FloatArray, covariance: FloatArray) -> FloatArray:
    """Log-density of every row at every state, [n, k], up to a constant."""
    unit = np.linalg.inv(np.linalg.cholesky(covariance)).T
    z, m = white @ unit, means @ unit
    # |z|^2 is the same for all states.
    return np.asarray(z @ m.T - 0.5 * (m**2).sum(axis=1))


def _likelihood(log_density: FloatArray) -> FloatArray:
    return np.asarray(np.exp(log_density - log_density.max(axis=1, keepdims=True)))


def _forward_backward(
    steps: _Steps, log_density: FloatArray, transitions: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Probabilities of states [n, k], and expected numbers of transitions [k, k].

    Both passes are scaled to sum to one at every row; the scales cancel.
    """
    likelihood = _likelihood(log_density)
    forward, backward = np.empty_like(likelihood), np.ones_like(likelihood)
    places, back = steps.places, np.ascontiguousarray(transitions.T)
    now = likelihood[places[0]] * stationary(transitions)
    for t, place in enumerate(places):
        if t:
            now = now[: place.stop - place.start] @ transitions
            now *= likelihood[place]
        now /= now.sum(axis=1, keepdims=True)
        forward[place] = now
    for t in range(len(places) - 2, -1, -1):
        below = places[t + 1]
        now = (likelihood[below] * backward[below]) @ back
        now /= now.sum(axis=1, keepdims=True)
        backward[places[t].start : places[t].start + len(now)] = now
    share = forward * backward
    share /= share.sum(axis=1, keepdims=True)
    # Every row below another one, and the row above it.
    lower = np.arange(places[0].stop, len(forward))
    upper = lower - np.repeat(steps.sizes[:-1], steps.sizes[1:])
    onward = likelihood[lower] * backward[lower]
    scale = ((forward[upper] @ transitions) * onward).sum(axis=1, keepdims=True)
    return share, transitions * ((forward[upper] / scale).T @ onward)


def _viterbi(steps: _Steps, log_density: FloatArray, transitions: FloatArray) -> IntArray:
    """Most likely path of states, [n]."""
    with np.errstate(divide="ignore"):
        moves = np.log(transitions)
        best = log_density[: steps.sizes[0]] + np.log(stationary(transitions))
    places = steps.places
    source = np.empty(log_density.shape, np.int16)
    last = np.empty(log_density.shape)
    last[places[0]] = best
    for place in places[1:]:
        through = best[: place.stop - place.start, :, None] + moves
        source[place] = through.argmax(axis=1)
        best = through.max(axis=1) + log_density[place]
        last[place] = best
    path = last.argmax(axis=1)  # right where a sequence ends; above, what the row below asks for
    for t in range(len(places) - 1, 0, -1):
        here = places[t]
        above = slice(places[t - 1].start, places[t - 1].start + here.stop - here.start)
        path[above] = np.take_along_axis(source[here], path[here, None], axis=1)[:, 0]
    return np.asarray(path, np.int64)


def stationary(transitions: FloatArray) -> FloatArray:
    """Return the distribution [k] that transitions [k, k] leave as it is."""
    k = len(transitions)
    equations = np.vstack([transitions.T - np.eye(k), np.ones(k)])
    found = np.linalg.lstsq(equations, np.append(np.zeros(k), 1.0), rcond=None)[0]
    positive = np.maximum(found, 0.0)
    return np.asarray(positive / positive.sum())
