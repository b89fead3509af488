"""How many different states a sample shows, how many it could show, and how far it is from data.

Counts are whole numbers per state, (K,) or (..., K). A number of states is never reported without
the number of draws: everything that depends on it is taken at a stated n.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from variolite.scoring.intervals import FloatArray, IntArray

HEAD = 0.8
"""Share of the rows that the head of a distribution holds."""

RARE = 2
"""Rows up to which a state belongs to the tail."""


def shares(counts: ArrayLike) -> FloatArray:
    """Counts (..., K) as shares that sum to 1; NaN where there is nothing."""
    values = np.asarray(counts, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(values / values.sum(axis=-1, keepdims=True))


def expected_distinct(p: ArrayLike, n: int) -> float:
    """Different states that n independent draws from shares ``p`` show on average."""
    return float((1.0 - (1.0 - np.asarray(p, dtype=np.float64)) ** n).sum())


def chance_of_being_seen(counts: ArrayLike, n: int, rows: int | None = None) -> FloatArray:
    """Probability (K,) of every state to be among n of the rows that ``counts`` sums up.

    ``rows`` is how many there are where a row counts for several states, or for none. Rows are
    drawn without replacement, so that a large sample tells about a smaller n without the noise
    of one draw (S. Hurlbert, Ecology 52 (1971) 577).
    """
    from scipy.stats import hypergeom

    c = np.asarray(counts, dtype=np.int64)
    total = int(c.sum()) if rows is None else rows
    return np.asarray(-np.expm1(hypergeom.logpmf(0, total, c, min(n, total))))


def total_variation(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Half the summed difference of shares (..., K)."""
    difference = np.abs(np.asarray(p, dtype=np.float64) - np.asarray(q, dtype=np.float64))
    return np.asarray(0.5 * difference.sum(axis=-1))


def effective_number(p: ArrayLike) -> float:
    """Number of equally common states with the same entropy (M. Hill, Ecology 54 (1973) 427)."""
    from scipy.stats import entropy

    return float(np.exp(entropy(np.asarray(p, dtype=np.float64))))


def rarefied_number(counts: IntArray, n: int, rng: np.random.Generator) -> float:
    """Mean of the effective numbers of n of the rows, over 20 subsets."""
    if n >= counts.sum():
        return effective_number(shares(counts))
    subsets = rng.multivariate_hypergeometric(counts, n, size=20, method="marginals")
    return float(np.mean([effective_number(shares(s)) for s in subsets]))


def head_of(counts: IntArray) -> IntArray:
    """States of the head: the fewest that hold `HEAD` of the rows."""
    order = np.argsort(-counts, kind="stable")
    reached = np.cumsum(counts[order]) >= HEAD * counts.sum() - 1e-9
    return np.asarray(order[: int(reached.argmax()) + 1])


def tail_of(counts: IntArray) -> IntArray:
    """States of the tail: those of `RARE` rows or fewer."""
    return np.flatnonzero((counts > 0) & (counts <= RARE))
