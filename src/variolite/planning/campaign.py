"""A campaign: rounds of proposals and results under one budget, kept as a plain file.

A row that was proposed is pending until the pool holds its value; its money is committed meanwhile
and spent afterwards. Rows that were measured before the campaign cost nothing. The file holds
names, costs and values of proposals, so that a pool that was edited in between is noticed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from variolite.errors import DataError
from variolite.planning.pool import OBSERVED, Columns, Pool, listed, read_pool
from variolite.planning.proposal import Proposal, propose
from variolite.planning.rules import Rules
from variolite.progress import Progress
from variolite.records import write_text_atomic

FORMAT = 1


@dataclass
class Order:
    """One candidate of a batch: what it was to cost, and what came of it."""

    name: str
    round: int
    cost: float
    values: list[float] | None = None


@dataclass
class Campaign:
    """Which candidate to measure next, for the money that is left.

    Parameters
    ----------
    columns
        What the columns of the pool mean.
    budget
        Money for the whole campaign, in the unit of the costs.
    rules
        Size of a batch, limits, strategy.
    """

    columns: Columns
    budget: float
    rules: Rules = field(default_factory=Rules)
    orders: list[Order] = field(default_factory=list)
    fixed: list[float] = field(default_factory=list)
    """Fixed cost of every round that was proposed."""
    results: dict[str, list[float]] = field(default_factory=dict)
    """Values by name that were entered by `observe`."""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.budget) and self.budget > 0):
            hint = "Give the money for the whole campaign"
            raise DataError(f"a budget of {self.budget:g}", where="budget", hint=hint)

    @property
    def spent(self) -> float:
        """Money of orders that came back, and of rounds."""
        return sum(o.cost for o in self.orders if o.values is not None) + sum(self.fixed)

    @property
    def committed(self) -> float:
        """Money of orders that have not come back."""
        return sum(o.cost for o in self.pending)

    @property
    def left(self) -> float:
        return self.budget - self.spent - self.committed

    @property
    def pending(self) -> list[Order]:
        return [o for o in self.orders if o.values is None]

    @property
    def round(self) -> int:
        """Rounds that were proposed."""
        return len(self.fixed)

    def observe(self, name: str, *values: float, kind: str = "measured") -> None:
        """Enter the values of one candidate, a number per target.

        Raises a DataError for anything but a measured or simulated value: a prediction or a
        request is no observation.
        """
        if kind not in OBSERVED:
            what = f"a {kind} value of {name} is no observation"
            raise DataError(what, hint=f"Only {' or '.join(OBSERVED)} values are")
        if len(values) != len(self.columns.targets) or not np.isfinite(values).all():
            what = f"{len(values)} values of {name}"
            hint = f"Give a number for each of {', '.join(t.column for t in self.columns.targets)}"
            raise DataError(what, hint=hint)
        self.results[name] = [float(v) for v in values]

    def pool(self, source: Any) -> Pool:
        """Read a pool, with the values that were entered by `observe`."""
        pool = source if isinstance(source, Pool) else read_pool(source, self.columns)
        if not self.results:
            return pool
        places = {name: place for place, name in enumerate(pool.names.tolist())}
        unknown = [name for name in self.results if name not in places]
        if unknown:
            what = f"{listed(unknown)} is not in the pool"
            raise DataError(what, hint="Names are those of the pool's column of names")
        entered = pool.values.copy()  # the pool may be the caller's
        for name, values in self.results.items():
            signs = [t.sign for t in self.columns.targets]
            entered[places[name]] = np.multiply(signs, values)
        return replace(pool, values=entered)

    def receive(self, pool: Pool) -> list[str]:
        """Settle orders whose values the pool holds now; return what changed otherwise."""
        places = {name: place for place, name in enumerate(pool.names.tolist())}
        signs = np.array([t.sign for t in self.columns.targets])
        gone, changed, repriced = [], [], []
        for order in self.orders:
            place = places.get(order.name)
            if place is None:
                gone.append(order.name)
                continue
            cost = float(pool.cost_high[place])
            if order.values is None and np.isfinite(cost) and not np.isclose(cost, order.cost):
                repriced.append(f"{order.name} ({order.cost:,.2f}, now {cost:,.2f})")
                order.cost = cost
            if pool.measured[place]:
                values = (signs * pool.values[place]).tolist()
                if order.values is not None and not np.allclose(values, order.values):
                    changed.append(order.name)
                order.values = values
        return [
            f"{text}: {listed(names)}"
            for text, names in (
                ("no longer in the pool; their money stays committed", gone),
                ("values changed since the last call", changed),
                ("costs changed", repriced),
            )
            if names
        ]

    def propose(self, source: Any, *, progress: Progress | None = None) -> Proposal:
        """Settle what came back, and propose the next batch; its money is committed.

        Where nothing of the last batch came back, that batch is proposed again.
        """
        pool = self.pool(source)
        notes = self.receive(pool)
        pending = [o.name for o in self.pending]
        last = [o for o in self.orders if o.round == self.round]
        again = bool(last) and all(o.values is None for o in last)
        if again:
            self.orders = [o for o in self.orders if o.round != self.round]
            self.fixed.pop()
            notes.append(f"nothing of round {self.round + 1} came back: it is planned again")
            pending = [o.name for o in self.pending]
        left = self.left - self.rules.fixed_cost
        proposal = propose(
            pool,
            left,
            self.rules,
            round=self.round + 1,
            pending=pending,
            share=left / self.budget,
            progress=progress,
        )
        if proposal.names:
            self.fixed.append(self.rules.fixed_cost)
            self.orders += [
                Order(name, self.round, cost)
                for name, cost in zip(proposal.names, proposal.costs, strict=True)
            ]
        assert self.left >= -1e-6, "the budget is exceeded"
        proposal.notes[:0] = notes
        return proposal

    def money(self) -> dict[str, float]:
        """Return budget, spent, committed and left."""
        return {key: getattr(self, key) for key in ("budget", "spent", "committed", "left")}

    def statement(self) -> str:
        """Say in one sentence where the money is."""
        return (
            f"Of {self.budget:,.2f}, {self.spent:,.2f} are spent, {self.committed:,.2f} committed "
            f"to {len(self.pending)} candidates that are being measured, {self.left:,.2f} left."
        )

    def save(self, path: str | Path) -> None:
        """Write what was proposed and came back, as JSON."""
        kept = {
            "format": FORMAT,
            "targets": [t.column for t in self.columns.targets],
            "budget": self.budget,
            "fixed": self.fixed,
            "orders": [asdict(order) for order in self.orders],
            "results": self.results,
        }
        write_text_atomic(path, json.dumps(kept, indent=1) + "\n")

    def restore(self, path: str | Path) -> Campaign:
        """Take up what `save` wrote; columns, budget and rules are those of this one."""
        where = str(path)
        try:
            kept = json.loads(Path(path).read_text(encoding="utf-8"))
            orders = [Order(**order) for order in kept["orders"]]
            fixed, results = list(map(float, kept["fixed"])), dict(kept["results"])
            targets = kept["targets"]
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            hint = "Move it away to begin again, and the batch that it belongs to"
            what = f"it is no campaign of Variolite ({type(error).__name__})"
            raise DataError(what, where=where, hint=hint) from None
        if kept.get("format") != FORMAT:
            raise DataError("it is of a newer version", where=where, hint="upgrade variolite")
        mine = [t.column for t in self.columns.targets]
        if targets != mine:
            what = f"it is a campaign for {', '.join(targets)}"
            hint = "Give the same targets, or another --out for another campaign"
            raise DataError(what, where=where, hint=hint)
        self.orders, self.fixed, self.results = orders, fixed, results
        return self


def campaign_file(out: Path) -> Path:
    """Return where the campaign of a batch is kept: beside it."""
    return out.with_name(f"{out.stem}.campaign.json")
