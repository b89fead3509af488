"""Features of rows that are learnt from the logs of all wells, before any label is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from variolite.corelogs.guided.views import Wells
from variolite.scoring.clustering import draw
from variolite.scoring.gmm import lloyd
from variolite.scoring.hmm import HiddenMarkov, Whitening, fit_hmm
from variolite.scoring.intervals import FloatArray, IntArray

STATES = (6, 8, 12, 16)  # of the hidden Markov models: none is right, their mean is steadier
DRIFTING = -1  # the view less the drifting shift, the last: they follow its logs along depth
FIT_ROWS = 60_000  # for scales and starts, drawn from all wells


@dataclass(frozen=True)
class LogFeatures:
    """Whitens the logs of one correction, and standardises what a classifier sees.

    ``centre`` and ``scale`` [f] are of whitened logs and context side by side.
    """

    whitening: Whitening
    centre: FloatArray
    scale: FloatArray

    @classmethod
    def fit(cls, values: FloatArray, context: FloatArray) -> LogFeatures:
        """Fit to corrected logs [n, d] and what surrounds them [n, c]."""
        whitening = Whitening.of(values)
        found = np.hstack([whitening(values), context])
        scale = found.std(0)
        return cls(whitening, found.mean(0), np.where(scale > 0, scale, 1.0))

    @property
    def logs(self) -> int:
        """Number of features that are whitened logs; the others are context."""
        return int(self.whitening.projection.shape[1])

    def __call__(self, values: FloatArray, context: FloatArray) -> FloatArray:
        """LogFeatures of rows, [m, f]."""
        found = np.hstack([self.whitening(values), context])
        return np.asarray((found - self.centre) / self.scale)


@dataclass(frozen=True)
class FeatureExtractor:
    """Features of every correction, and hidden Markov models along depth, fitted to all wells."""

    features: tuple[LogFeatures, ...]
    layers: tuple[HiddenMarkov, ...]

    @classmethod
    def fit(cls, wells: Wells, seed: int = 0) -> FeatureExtractor:
        """Learn from the rows of all wells."""
        rows = draw(np.random.default_rng([seed, 11]), len(wells.values), FIT_ROWS)
        features = tuple(
            LogFeatures.fit(values[rows], context[rows]) for values, context in wells.views
        )
        values, whitening = wells.views[DRIFTING][0], features[DRIFTING].whitening
        along = wells.along
        white = whitening(values[rows])
        most = len(np.unique(white, axis=0))
        layers = []
        for i, k in enumerate(STATES):
            start = lloyd(white, min(k, most), seed * len(STATES) + i, 2)
            centres = np.asarray(start.cluster_centers_, np.float64)
            layers.append(fit_hmm(values, whitening, centres, along))
        return cls(features, tuple(layers))


@dataclass(frozen=True)
class Rows:
    """Rows as classifiers see them.

    ``wells`` [m], ``features`` [m, f] of every correction, and ``states`` [m, k], the
    probabilities of the states of every hidden Markov model.
    """

    wells: NDArray[np.str_]
    features: Sequence[FloatArray]
    states: Sequence[FloatArray]

    def take(self, rows: NDArray[np.bool_] | IntArray) -> Rows:
        parts = ([own[rows] for own in every] for every in (self.features, self.states))
        return Rows(self.wells[rows], *parts)


@dataclass(frozen=True)
class WellFeatures:
    """Wells, and what gives the features of their rows."""

    wells: Wells
    extractor: FeatureExtractor

    @cached_property
    def states(self) -> list[NDArray[np.float32]]:
        """Probabilities of states given all rows of the well, [n, k] per model."""
        values, along = self.wells.views[DRIFTING][0], self.wells.along
        every = (model.probabilities(values, along) for model in self.extractor.layers)
        return [found.astype(np.float32) for found in every]

    def rows(self, rows: IntArray) -> Rows:
        """Describe some rows [m] of the sorted wells."""
        pairs = zip(self.extractor.features, self.wells.views, strict=True)
        features = [own(values[rows], context[rows]) for own, (values, context) in pairs]
        states = [own[rows].astype(np.float64) for own in self.states]
        return Rows(self.wells.groups[rows], features, states)
