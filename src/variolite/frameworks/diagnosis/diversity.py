"""How many different states a sample shows, how many it could show, and how far it is from data.

Counts are whole numbers per state, (K,) or (..., K). A number of states is never reported without
the number of draws: everything that depends on it is taken at a stated n.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

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

    ``rows`` is how many there are where a row counts for several states, or for none.

    Rows are drawn without replacement, so that a large sample tells about a smaller n without
    the noise of one draw (S. Hurlbert, Ecology 52 (1971) 577).
    """
    c = np.asarray(counts, dtype=np.float64)
    total = c.sum() if rows is None else rows
    if n >= total:
        return np.asarray(c > 0, dtype=np.float64)
    left = total - c
    # log of C(N - c, n) / C(N, n); no way to miss a state that leaves fewer than n rows.
    possible = left >= n
    rest = np.where(possible, left, n)
    log_missed = gammaln(rest + 1) - gammaln(rest - n + 1) - gammaln(total + 1)
    log_missed += gammaln(total - n + 1)
    return np.asarray(np.where(possible, -np.expm1(np.minimum(log_missed, 0.0)), 1.0))


def total_variation(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Half the summed difference of shares (..., K)."""
    difference = np.abs(np.asarray(p, dtype=np.float64) - np.asarray(q, dtype=np.float64))
    return np.asarray(0.5 * difference.sum(axis=-1))


class Effective(NamedTuple):
    """Numbers of equally common states with the same entropy, and the same chance of a pair.

    M. Hill, Ecology 54 (1973) 427.
    """

    n1: float
    n2: float


def effective_numbers(p: ArrayLike) -> Effective:
    """Hill numbers of order 1 and 2 of shares."""
    q = np.asarray(p, dtype=np.float64)
    q = q[q > 0]
    return Effective(float(np.exp(-(q * np.log(q)).sum())), float(1.0 / (q**2).sum()))


def rarefied_numbers(counts: IntArray, n: int, rng: np.random.Generator) -> Effective:
    """Mean of the effective numbers of n of the rows, over 20 subsets."""
    if n >= counts.sum():
        return effective_numbers(shares(counts))
    subsets = rng.multivariate_hypergeometric(counts, n, size=20, method="marginals")
    return Effective(*np.mean([effective_numbers(shares(s)) for s in subsets], axis=0).tolist())


def vendi_number(kernel: ArrayLike) -> float:
    """Effective number of rows that differ, from their similarities (n, n) with diagonal 1.

    D. Friedman, A. Dieng, TMLR (2023): the exponential entropy of the eigenvalues.
    """
    k = np.asarray(kernel, dtype=np.float64)
    return effective_numbers(np.clip(np.linalg.eigvalsh(k / len(k)), 0.0, None)).n1


def fitted_temperature(p: ArrayLike, counts: ArrayLike) -> float:
    """Temperature T at which shares proportional to p^(1/T) fit the counts best.

    1 reproduces p, towards 0 the most frequent state is left alone, towards infinity all are
    alike. States that p does not have are left out; NaN where one state has it all.
    """
    q, c = np.asarray(p, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    known = q > 0
    log_p, c = np.log(q[known]), c[known]
    if len(log_p) < 2 or np.ptp(log_p) == 0 or not c.sum():
        return float("nan")

    def loss(log_t: float) -> float:
        logits = log_p / np.exp(log_t)
        top = logits.max()
        return float(-(c @ (logits - top - np.log(np.exp(logits - top).sum()))))

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def head_of(counts: IntArray) -> IntArray:
    """States of the head: the fewest that hold `HEAD` of the rows."""
    order = np.argsort(-counts, kind="stable")
    reached = np.cumsum(counts[order]) >= HEAD * counts.sum() - 1e-9
    return np.asarray(order[: int(reached.argmax()) + 1])


def tail_of(counts: IntArray) -> IntArray:
    """States of the tail: those of `RARE` rows or fewer."""
    return np.flatnonzero((counts > 0) & (counts <= RARE))
