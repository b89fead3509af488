"""The one task every engine is timed on: a table like core logs, a network, an objective."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEATURES = 6
HIDDEN = (32, 16)
LATENT = 10
NOISE_VARIANCE = 0.25
"""Fixed variance of the Gaussian decoder; the loss ``SSE + 0.5 KL`` times two is its ELBO."""
RATE = 1e-3

_GROUPS = 200
_HELD_OUT_GROUPS = 30
_ROWS_PER_GROUP = 1_000
_ROCKS = 12
_FACTORS = 4
_MEAN_RUN = 25


@dataclass(frozen=True)
class Table:
    """Standardised rows, split by group.

    Attributes
    ----------
    train : float32 array, shape (170000, 6)
    held_out : float32 array, shape (30000, 6)
        Rows of groups that are absent from ``train``.
    """

    train: NDArray[np.float32]
    held_out: NDArray[np.float32]


def make_table(seed: int = 20_261) -> Table:
    """Draw the synthetic table.

    Each group (a borehole) has its own mixture of rocks, met in runs, and its own offset. A rock
    is a Gaussian in four factors; six sensors see the factors through a bent map with noise.

    Parameters
    ----------
    seed : int
        Seed of the generator; the same seed gives the same table.

    Returns
    -------
    Table
        Scaled to mean zero and variance one on the training rows.
    """
    rng = np.random.default_rng(seed)
    centre = rng.normal(0.0, 1.3, (_ROCKS, _FACTORS))
    spread = rng.normal(0.0, 0.35, (_ROCKS, _FACTORS, _FACTORS))
    straight = rng.normal(0.0, 0.7, (_FACTORS, FEATURES))
    bent = rng.normal(0.0, 0.8, (_FACTORS, FEATURES))
    noise = rng.uniform(0.2, 0.5, FEATURES)

    rows = _GROUPS * _ROWS_PER_GROUP
    group = np.repeat(np.arange(_GROUPS), _ROWS_PER_GROUP)
    shares = rng.dirichlet(np.full(_ROCKS, 0.4), _GROUPS)
    new_run = rng.random(rows) < 1.0 / _MEAN_RUN
    new_run[::_ROWS_PER_GROUP] = True
    # A run keeps the rock drawn at its first row.
    drawn = (rng.random((rows, 1)) > shares.cumsum(1)[group][:, :-1]).sum(1)
    rock = drawn[np.maximum.accumulate(np.where(new_run, np.arange(rows), 0))]

    factors = centre[rock] + np.einsum(
        "nf,nfg->ng", rng.normal(size=(rows, _FACTORS)), spread[rock]
    )
    factors += rng.normal(0.0, 0.25, (_GROUPS, _FACTORS))[group]
    sensors = (
        factors @ straight + np.tanh(factors @ bent) + noise * rng.normal(size=(rows, FEATURES))
    )

    cut = rows - _HELD_OUT_GROUPS * _ROWS_PER_GROUP
    order = rng.permutation(_GROUPS)
    sensors = sensors.reshape(_GROUPS, _ROWS_PER_GROUP, FEATURES)[order].reshape(rows, FEATURES)
    train = sensors[:cut]
    scaled = ((sensors - train.mean(0)) / train.std(0)).astype(np.float32)
    return Table(np.ascontiguousarray(scaled[:cut]), np.ascontiguousarray(scaled[cut:]))
