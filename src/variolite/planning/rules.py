"""What a user decides beside what columns mean; the command's options have these defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from variolite.errors import DataError, nearest

DEFAULT = "search"
"""The strategy of ours."""


@dataclass(frozen=True)
class Rules:
    """How batches are made.

    ``batch`` is the most candidates of one round and ``batch_budget`` its most money;
    ``fixed_cost`` is that of a round. ``at_most`` limits how many of a batch share a value of a
    column, ``controls`` are names that are in the next batch whatever is expected of them, and
    ``shares`` are least and most shares of a batch with a value of a column.
    """

    batch: int = 10
    batch_budget: float | None = None
    fixed_cost: float = 0.0
    at_most: Mapping[str, int] = field(default_factory=dict)
    controls: tuple[str, ...] = ()
    shares: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    strategy: str = DEFAULT
    seed: int = 0

    def __post_init__(self) -> None:
        from variolite.planning.strategies import STRATEGIES

        if self.strategy not in STRATEGIES:
            close = nearest(self.strategy, STRATEGIES)
            hint = f"Did you mean {close}?" if close else f"There are {', '.join(STRATEGIES)}"
            raise DataError(f"there is no strategy {self.strategy!r}", hint=hint)
        money = 1.0 if self.batch_budget is None else self.batch_budget
        if self.batch < 1 or not (0 <= self.fixed_cost < inf and money > 0):
            hint = "A batch has at least one candidate, and money is not negative"
            raise DataError("impossible rules of a batch", hint=hint)
        if not 0 <= self.seed < 2**32:
            raise DataError(f"a seed of {self.seed}", hint="Give one from 0 to 4294967295")


@dataclass(frozen=True)
class Settings:
    """How campaigns are replayed: rows known at the start, and the share of rows held out."""

    budget: float
    start: int = 30
    held_out: float = 0.2
    rounds: int | None = None
    seeds: int = 20
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True)
class Synthesis:
    """How a framework is made: grams of product, yield from 0 to 1, and solvent."""

    amount: float = 1.0
    yielded: float = 0.7
    solvent_volume: float = 0.0
    """Millilitres per gram of product."""
    solvent_price: float = 0.0
    """Money per millilitre."""
