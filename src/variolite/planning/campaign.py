"""A campaign: rounds of proposals and results under one budget, kept as a plain file.

A row that was proposed is pending until the pool holds its value; its money is committed meanwhile
and spent afterwards. Rows that were measured before the campaign cost nothing. The file holds
names, costs and values of proposals, so that a pool that was edited in between is noticed. An order
that is replaced by another plan is withdrawn: it costs nothing, unless its value comes back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
from pydantic import BaseModel, Field, model_validator

from variolite.atomic import alone
from variolite.errors import DataError, some_of
from variolite.planning.next_batch import propose
from variolite.planning.pool import OBSERVED, Columns, Pool, read_pool
from variolite.planning.proposal import Proposal
from variolite.planning.rules import Rules
from variolite.planning.selection import MOST_MONEY
from variolite.planning.surrogate import Surrogate
from variolite.progress import Progress
from variolite.records import read_table, write_text_atomic

FORMAT = 1
_Money = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Value = Annotated[float, Field(allow_inf_nan=False)]


@dataclass
class Order:
    """One candidate of a batch: what it was to cost, and what came of it."""

    name: str
    round: Annotated[int, Field(ge=1)]
    cost: _Money
    values: list[_Value] | None = None
    withdrawn: bool = False
    measure: str | None = None
    """Column to measure, where there is a cheap one."""

    @property
    def key(self) -> tuple[str, str | None]:
        """What tells it from other orders of its campaign."""
        return self.name, self.measure


class _Kept(BaseModel):
    """What the file of a campaign holds, beside its budget, format and checksum."""

    targets: list[str]
    orders: list[Order]
    fixed: list[_Money]
    results: dict[str, list[_Value]]
    measured: list[str]
    cheap: dict[str, _Value] = {}

    @model_validator(mode="after")
    def _possible(self) -> _Kept:
        """Raise a ValueError for orders that no campaign makes."""
        keys = [order.key for order in self.orders if not order.withdrawn]
        widths = {len(o.values) for o in self.orders if o.values is not None}
        late = any(order.round > len(self.fixed) for order in self.orders)
        if late or widths - {len(self.targets)} or len({*keys}) < len(keys):
            raise ValueError("orders that no campaign makes")
        return self


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
    measured: list[str] = field(default_factory=list)
    """Names that had a value when the last round was proposed."""
    cheap: dict[str, float] = field(default_factory=dict)
    """Cheap values by name that were entered by `observe`."""

    def __post_init__(self) -> None:
        if not 0 < self.budget <= MOST_MONEY:
            hint = f"Give the money for the whole campaign, up to {MOST_MONEY:g}"
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
        return [o for o in self.orders if o.values is None and not o.withdrawn]

    @property
    def round(self) -> int:
        """Rounds that were proposed."""
        return len(self.fixed)

    def observe(
        self, name: str, *values: float, kind: str = "measured", measure: str | None = None
    ) -> None:
        """Enter the values of one candidate, a number per target, or that of the cheap column.

        Raises a DataError for anything but a measured or simulated value: a prediction or a
        request is no observation.
        """
        if kind not in OBSERVED:
            what = f"a {kind} value of {name} is no observation"
            raise DataError(what, hint=f"Only {' or '.join(OBSERVED)} values are")
        possible = [t.column for t in self.columns.measurable]
        if measure not in (None, *possible):
            what = f"{measure} is not measured in this campaign"
            raise DataError(what, hint=f"Give one of {', '.join(possible)}")
        cheap = measure is not None and measure == self.columns.cheap
        wanted = possible[-1:] if cheap else [t.column for t in self.columns.targets]
        if len(values) != len(wanted) or not np.isfinite(values).all():
            hint = f"Give a number for each of {', '.join(wanted)}"
            raise DataError(f"{len(values)} values of {name}", hint=hint)
        if cheap:
            self.cheap[name] = float(values[0])
        else:
            self.results[name] = [float(v) for v in values]

    def pool(self, source: Any) -> Pool:
        """Read a pool, with the values that were entered by `observe`."""
        pool = source if isinstance(source, Pool) else read_pool(source, self.columns)
        if not self.results and not self.cheap:
            return pool
        places = {name: place for place, name in enumerate(pool.names.tolist())}
        unknown = [name for name in (*self.results, *self.cheap) if name not in places]
        if unknown:
            what = f"{some_of(unknown)} is not in the pool"
            raise DataError(what, hint="Names are those of the pool's column of names")
        entered = pool.values.copy()  # the pool may be the caller's
        for name, values in self.results.items():
            signs = [t.sign for t in self.columns.targets]
            entered[places[name]] = np.multiply(signs, values)
        if (cheap := pool.cheap) is not None:
            cheap = replace(cheap, values=cheap.values.copy())
            for name, value in self.cheap.items():
                cheap.values[places[name]] = self.columns.targets[0].sign * value
        return replace(pool, values=entered, cheap=cheap)

    def receive(self, pool: Pool) -> list[str]:
        """Settle orders whose values the pool holds now; return what changed otherwise."""
        places = {name: place for place, name in enumerate(pool.names.tolist())}
        if self.orders and not any(order.name in places for order in self.orders):
            hint = "Give the pool of this campaign, or another --out for another campaign"
            raise DataError("no candidate that was ordered is in the pool", hint=hint)
        signs = np.array([t.sign for t in self.columns.targets])
        gone, emptied, changed, repriced, late = [], [], [], [], []
        for order in self.orders:
            place = places.get(order.name)
            costs, found = pool.cost_high, pool.values
            if pool.cheap is not None and order.measure == self.columns.cheap:
                costs, found = pool.cheap.cost_high, pool.cheap.values[:, None]
            came = place is not None and bool(np.isfinite(found[place]).all())
            if order.withdrawn and not came:
                continue
            if place is None:
                gone.append(order.name)
                continue
            cost = float(costs[place])
            if order.values is None and np.isfinite(cost) and not np.isclose(cost, order.cost):
                repriced.append(f"{order.name} ({order.cost:,.2f}, now {cost:,.2f})")
                order.cost = cost
            if came:
                values = (signs * found[place]).tolist()
                if order.values is not None and not np.allclose(values, order.values):
                    changed.append(order.name)
                if order.values is None and order.withdrawn:
                    late.append(order.name)
                order.values = values
            elif order.values is not None:
                emptied.append(order.name)
        known = {*self.measured, *(order.name for order in self.orders)}
        new = [n for n in pool.names[pool.measured].tolist() if self.orders and n not in known]
        return [
            f"{text}: {some_of(names)}"
            for text, names in (
                ("no longer in the pool; their money stays committed", gone),
                ("values changed since the last call", changed),
                ("values are gone from the pool; these are not ordered again", emptied),
                ("withdrawn orders came back, and their money is spent", late),
                ("measured without an order, so that the budget does not hold their cost", new),
                ("costs changed", repriced),
            )
            if names
        ]

    def propose(
        self,
        source: Any,
        *,
        surrogates: tuple[Surrogate, ...] = (),
        progress: Progress | None = None,
    ) -> Proposal:
        """Settle what came back, and propose the next batch; its money is committed.

        Where nothing came back since, the last batch is planned again, and what is in it no more
        is withdrawn. ``surrogates`` are fitted where none are given.
        """
        pool = self.pool(source)
        notes = self.receive(pool)
        measured, of_cheap = sorted(pool.names[pool.measured].tolist()), set[str]()
        if pool.cheap is not None:
            of_cheap = {*pool.names[np.isfinite(pool.cheap.values)].tolist()}
            measured += [f"{self.columns.cheap} of {name}" for name in sorted(of_cheap)]
        last = [o for o in self.orders if o.round == self.round and not o.withdrawn]
        again = bool(last) and not {*measured} - {*self.measured}
        again = again and all(o.values is None for o in last)
        fixed, replaced = (self.fixed[:-1], last) if again else (self.fixed, [])
        # A candidate whose cheap value came back may be measured for real.
        done = [o for o in self.orders if o.measure == self.columns.cheap and o.name in of_cheap]
        taken = {
            o.name
            for o in self.orders
            if o not in (*replaced, *done) and (o.values is not None or not o.withdrawn)
        }
        left = self.left + sum(o.cost for o in replaced) + sum(self.fixed) - sum(fixed)
        left -= self.rules.fixed_cost
        # Nothing is changed before there is a proposal.
        proposal = propose(
            pool,
            left,
            self.rules,
            round=len(fixed) + 1,
            pending=sorted(taken),
            share=left / self.budget,
            surrogates=surrogates,
            progress=progress,
        )
        keys = {*zip(proposal.names, proposal.measures, strict=True)}
        for order in replaced:
            order.withdrawn = True
        self.orders = [
            o for o in self.orders if not (o.withdrawn and o.values is None and o.key in keys)
        ]
        if gone := [o for o in replaced if o.key not in keys]:
            withdrawn = [f"{o.measure} of {o.name}" if o.measure else o.name for o in gone]
            text = f"nothing came back, and round {self.round} is planned anew; do not measure: "
            notes.append(f"{text}{some_of(withdrawn)}")
        self.fixed = fixed
        if proposal.names:
            self.measured, self.fixed = measured, [*fixed, self.rules.fixed_cost]
            self.orders += [
                Order(name, self.round, cost, measure=measure)
                for name, cost, measure in zip(
                    proposal.names, proposal.costs, proposal.measures, strict=True
                )
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
        kept: dict[str, Any] = {
            "format": FORMAT,
            "targets": [t.column for t in self.columns.targets],
            "budget": self.budget,
            "fixed": self.fixed,
            "orders": [asdict(order) for order in self.orders],
            "results": self.results,
            "measured": self.measured,
            "cheap": self.cheap,
        }
        write_text_atomic(path, json.dumps({"checksum": _checksum(kept)} | kept, indent=1) + "\n")

    def restore(self, path: str | Path) -> Campaign:
        """Take up what `save` wrote; columns, budget and rules are those of this one."""
        where = str(path)
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
            newer = content["format"] != FORMAT
            changed = content.pop("checksum", None) not in (None, _checksum(content))
            kept = None if newer or changed else _Kept.model_validate(content)
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as e:
            hint = "Move it away to begin again, and the batch that it belongs to"
            what = f"it is no campaign of Variolite ({type(e).__name__})"
            raise DataError(what, where=where, hint=hint) from None
        if newer:
            raise DataError("it is of a newer version", where=where, hint="Upgrade variolite")
        if kept is None:
            hint = "Restore it. If you changed it on purpose, delete its line checksum as well"
            raise DataError("it was changed after it was written", where=where, hint=hint)
        mine = [t.column for t in self.columns.targets]
        ordered = {*kept.targets, *(order.measure for order in kept.orders if order.measure)}
        if kept.targets != mine or ordered - {*mine, self.columns.cheap}:
            what = f"it is a campaign for {', '.join(sorted(ordered))}"
            hint = "Give the same targets and --cheap, or another --out for another campaign"
            raise DataError(what, where=where, hint=hint)
        for name in ("orders", "fixed", "results", "measured", "cheap"):
            setattr(self, name, getattr(kept, name))
        return self


def _checksum(kept: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def kept_beside(out: Path | None) -> Iterator[Path | None]:
    """Yield where the campaign of a batch is kept, beside it, for this process alone.

    Raises a DataError where another process has it.
    """
    if out is None:
        yield None
        return
    path = campaign_file(out)
    with alone(path) as free:
        if not free:
            hint = "Wait until it has ended, or give another --out"
            raise DataError("another process is planning it", where=str(path), hint=hint)
        yield path


def require_own(out: Path, table: pl.DataFrame) -> None:
    """Raise a DataError where a file to be replaced has columns that no batch has."""
    try:
        there = read_table(out) if out.exists() else table
    except DataError:
        return  # nothing that anyone could have entered results in
    known = {*table.columns, "measure"}
    more = [c.name for c in there if c.name not in known and c.null_count() < len(c)]
    if more := [name for name in more if not name.endswith(("_predicted", "_low", "_high"))]:
        what = f"it has columns that no batch has: {some_of(more)}"
        hint = "Enter results in the pool, then move this file away"
        raise DataError(what, where=str(out), hint=hint)


def campaign_file(out: Path) -> Path:
    """Return where the campaign of a batch is kept: beside it."""
    return out.with_name(f"{out.stem}.campaign.json")
