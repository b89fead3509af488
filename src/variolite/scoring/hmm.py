"""A hidden Markov model along depth: layers are thicker than the spacing of rows.

States are Gaussians that share one covariance, in whitened coordinates. L. R. Rabiner, Proceedings
of the IEEE 77 (1989) 257. Forward-backward and Viterbi are those of hmmlearn.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from variolite.errors import DataError
from variolite.scoring.gmm import as_matrix
from variolite.scoring.intervals import FloatArray, IntArray
from variolite.scoring.sequences import Sequences

if TYPE_CHECKING:
    from hmmlearn.hmm import GaussianHMM

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
        """Fit to rows [n, D]; directions that do not vary are left out."""
        matrix = as_matrix(x)
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(matrix, rowvar=False)))
        if not values[-1] > 0:
            raise DataError("no feature varies among the rows", where="clustering")
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
        return self._along(x, sequences, "predict").astype(np.int64)

    def probabilities(self, x: ArrayLike, sequences: Sequences | None = None) -> FloatArray:
        """Probability of every state at every row given all rows of its sequence, [n, k]."""
        return self._along(x, sequences, "predict_proba")

    def _along(self, x: ArrayLike, sequences: Sequences | None, verb: str) -> FloatArray:
        white = Whitening(self.centre, self.projection)(x)
        if sequences is None:
            sequences = Sequences.of(np.arange(len(white)))
        model = _blank(self.means, self.covariance, self.transitions)
        found = getattr(model, verb)(white[sequences.rows], sequences.lengths)
        ordered = np.empty_like(found)
        ordered[sequences.rows] = found
        return np.asarray(ordered)


def fit_hmm(
    x: ArrayLike, whitening: Whitening, centres: FloatArray, sequences: Sequences
) -> HiddenMarkov:
    """Fit states to rows [n, D] along depth, from whitened ``centres`` [k, d] of k-means.

    Of every sequence each m-th row is used, so that there are about 30,000: neighbours repeat one
    another, and on real logs four times as many changed nothing.
    """
    thin = sequences.thinned(math.ceil(len(sequences) / MOST_ROWS))
    white = whitening(as_matrix(x)[thin.rows])
    k, d = centres.shape
    nearest = ((white[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    apart = white - centres[nearest]
    covariance = apart.T @ apart / len(white) + FLOOR * np.eye(d)
    model = _blank(
        centres, covariance, (np.full((k, k), ANY) + STAY * np.eye(k)) / (ANY * k + STAY)
    )
    model.transmat_prior = 1.0 + ANY + STAY * np.eye(k)
    for _ in range(ITERATIONS):
        model.fit(white, thin.lengths)
        # Rows that are equal would leave no covariance.
        model.covars_ = model._covars_ + FLOOR * np.eye(d)
        model.startprob_ = stationary(model.transmat_)
    return HiddenMarkov(
        whitening.centre, whitening.projection, model.transmat_, model.means_, model._covars_
    )


def stationary(transitions: FloatArray) -> FloatArray:
    """Return the distribution [k] that transitions [k, k] leave as it is."""
    k = len(transitions)
    equations = np.vstack([transitions.T - np.eye(k), np.ones(k)])
    found = np.linalg.lstsq(equations, np.append(np.zeros(k), 1.0), rcond=None)[0]
    positive = np.maximum(found, 0.0)
    return np.asarray(positive / positive.sum())


def _blank(means: FloatArray, covariance: FloatArray, transitions: FloatArray) -> GaussianHMM:
    """Return a model of hmmlearn with given parameters, that one call of fit improves once."""
    from hmmlearn.hmm import GaussianHMM

    # It warns of a likelihood that falls: with counts added, another quantity rises.
    logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    model = GaussianHMM(len(means), "tied", n_iter=1, params="tmc", init_params="")
    model.n_features = means.shape[1]
    model.means_, model.covars_, model.transmat_ = means, covariance, transitions
    model.startprob_ = stationary(transitions)
    return model
