"""Which candidates to take: the most score that the money buys, under limits, never over it.

An integer programme solved by HiGHS; where its time ends, its best plan so far. The budget holds
for the high ends of costs, in whole cents, so that no rounding exceeds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from variolite.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CENTS = 100.0
MOST_MONEY = 1e12
"""More is no budget: whole cents and sums of them are exact below."""
_MOST = 2_000  # Candidates of an integer programme: the best by score, and by score per cost.


@dataclass(frozen=True)
class Limit:
    """A limit on a batch by a column: ``cells`` (N,) are its values."""

    cells: NDArray[Any]
    title: str = ""

    def among(self, places: Integers) -> Self:
        """Return the limit over some of the candidates."""
        return replace(self, cells=self.cells[places])


@dataclass(frozen=True, kw_only=True)
class AtMost(Limit):
    """At most ``most`` of a batch share a value."""

    most: int

    def rows(self) -> tuple[Floats, float]:
        """A and b of A x <= b: a row for each value that too many have."""
        values, counts = np.unique(self.cells, return_counts=True)
        shared = values[(counts > self.most) & (values != "")]
        return 1.0 * (self.cells == shared[:, None]), self.most


@dataclass(frozen=True, kw_only=True)
class Share(Limit):
    """Between ``least`` and ``most`` of a batch, as shares of it, have this ``value``."""

    value: Any
    least: float = 0.0
    most: float = 1.0

    def rows(self) -> tuple[Floats, float]:
        """A and b of A x <= b: least * all <= members <= most * all."""
        member = 1.0 * (self.cells == self.value)
        return np.stack([self.least - member, member - self.most]), 0.0


def in_cents(cost: Floats, *, up: bool = True) -> Integers:
    """Whole cents, upwards for costs and downwards for budgets.

    A millionth of a cent is taken for a rounding error of the number: 0.07 costs 7 cents.
    """
    cents = np.minimum(np.asarray(cost) * CENTS, 2.0**53)
    return (np.ceil(cents - 1e-6) if up else np.floor(cents + 1e-6)).astype(np.int64)


def choose(
    score: Floats,
    cost: Floats,
    budget: float,
    count: int,
    *,
    limits: Sequence[AtMost | Share] = (),
    required: Sequence[int] = (),
    seconds: float = 10.0,
) -> Integers:
    """Return places of at most ``count`` candidates with the highest total score, best first.

    ``score`` and ``cost`` are (N,); scores that are not positive and unknown costs are never
    taken, ``required`` ones always. Raises a DataError where what is required costs more than the
    budget or breaks a limit.
    """
    money = int(in_cents(np.array(budget), up=False))
    possible = np.isfinite(cost) & np.isfinite(score) & (score > 0)
    possible[list(required)] = True
    cents = in_cents(np.where(np.isfinite(cost), cost, 0.0))
    possible &= cents <= money
    if required and (cents[list(required)].sum() > money or len(required) > count):
        what = f"what is required costs {cents[list(required)].sum() / CENTS:,.2f}"
        raise DataError(what, hint=f"Raise the budget of {budget:,.2f} or require less")
    places = _shortlist(np.flatnonzero(possible), score, cents, set(required))
    if not len(places):
        return np.zeros(0, dtype=np.int64)
    scaled = np.where(np.isfinite(score[places]), score[places], 0.0)
    scaled = scaled / max(np.abs(scaled).max(), 1e-300)
    # Of money and number, then of every limit.
    rows = [(cents[None, places].astype(float), float(money)), (np.ones((1, len(places))), count)]
    rows += [limit.among(places).rows() for limit in limits]
    least = np.isin(places, list(required)).astype(float)
    found = milp(
        -scaled,
        integrality=np.ones(len(places)),
        bounds=Bounds(least, 1.0),
        constraints=[LinearConstraint(csr_array(a), ub=b) for a, b in rows if len(a)],
        options={"time_limit": seconds, "mip_rel_gap": 1e-3},
    )
    taken = _filled(places, found.x > 0.5, score, rows) if found.x is not None else places[:0]
    if not len(taken):
        titles = ", ".join(limit.title for limit in limits if limit.title) or "the limits"
        raise DataError(f"no batch keeps {titles}", hint="Loosen a limit or raise the budget")
    assert cents[taken].sum() <= money, "the budget is exceeded"
    best_first: Integers = taken[np.argsort(-score[taken], kind="stable")]
    return best_first


def _filled(
    places: Integers,
    inside: NDArray[np.bool_],
    score: Floats,
    rows: Sequence[tuple[Floats, float]],
) -> Integers:
    """Add what still fits to the candidates that are ``inside`` (N,), best first.

    The programme stops within a thousandth of the optimum, which many low scores may lie under.
    """
    a = np.concatenate([row for row, _ in rows])
    b = np.concatenate([np.full(len(row), bound) for row, bound in rows])
    used, inside = a @ inside, inside.copy()
    for place in np.argsort(-score[places], kind="stable"):
        if not inside[place] and (used + a[:, place] <= b + 1e-9).all():
            inside[place] = True
            used += a[:, place]
    return places[inside]


def _shortlist(places: Integers, score: Floats, cents: Integers, keep: set[int]) -> Integers:
    """Return the candidates that a plan could need where there are very many."""
    if len(places) <= _MOST:
        return places
    density = score[places] / np.maximum(cents[places], 1)
    best = places[np.argsort(-score[places], kind="stable")[: _MOST // 2]]
    dense = places[np.argsort(-density, kind="stable")[: _MOST // 2]]
    return np.unique(np.concatenate([best, dense, np.array(sorted(keep), dtype=np.int64)]))
