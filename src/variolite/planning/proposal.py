"""A proposed batch: what to measure, what is expected of it, and whether it is worth its money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import norm

from variolite.planning.pool import Pool
from variolite.planning.rules import Rules
from variolite.planning.strategies import View
from variolite.report.formatting import unit_after
from variolite.text_table import text_table

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_DRAWS = 1024
_REST = 10  # Candidates reported that were not taken.


@dataclass
class Proposal:
    """A batch, best first.

    ``table`` has a row per candidate: name, round, cost with its ends, expected value with its
    90 % interval for every target, and why; ``rest`` has the best that were not taken, and why
    not. ``gain`` is how much better than the best so far the best of the batch is expected to be,
    with its 90 % interval, in the unit of the first target. Where there is a cheap column,
    ``measure`` says for every candidate which column is to be measured.
    """

    table: pl.DataFrame
    rest: pl.DataFrame
    costs: list[float]
    gain: tuple[float, float, float] | None
    verdict: str
    calibration: dict[int, float]
    notes: list[str]
    best: float | None = None
    """Best value so far of the first target."""

    @property
    def names(self) -> list[str]:
        found: list[str] = self.table["name"].to_list()
        return found

    @property
    def measures(self) -> list[str | None]:
        """Columns to measure; None where there is no choice."""
        if "measure" not in self.table.columns:
            return [None] * len(self.table)
        return self.table["measure"].to_list()

    @property
    def cost(self) -> float:
        return float(sum(self.costs))

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for a program to read."""
        return {
            "batch": self.table.to_dicts(),
            "left_out": self.rest.to_dicts(),
            "cost": self.cost,
            "gain": self.gain,
            "verdict": self.verdict,
            "calibration": self.calibration,
            "notes": self.notes,
        }

    def text(self) -> str:
        """Lay out the batch as plain text."""
        table = self.table.drop("round")
        if (table["cost_low"] == table["cost_high"]).all():
            table = table.drop("cost_low", "cost_high")
        header = ["name", *(c for c in table.columns if c not in ("name", "why")), "why"]
        rows = [
            [cell if isinstance(cell, str) else f"{cell:,.4g}" for cell in row]
            for row in table.select(header).iter_rows()
        ]
        return "\n".join([text_table(header, rows), "", self.verdict])


@dataclass(frozen=True)
class Choice:
    """What was chosen of N candidates, and what speaks for it.

    ``score`` (N,) is that by which they were chosen, ``expected`` has arrays (N, T) by name,
    ``taken`` are places, those in ``controls`` were required and those in ``cheap`` are measured
    cheaply. ``most`` is the largest return of a unit of money, None where none is known.
    """

    candidates: Pool
    view: View
    expected: Mapping[str, Floats]
    score: Floats
    taken: Integers
    controls: Sequence[int]
    cheap: Sequence[int]
    most: float | None

    @property
    def stops(self) -> bool:
        """Whether nothing brings what it costs."""
        return self.most is not None and self.most < 1.0

    def proposal(
        self, measured: bool, rules: Rules, calibration: dict[int, float], notes: list[str]
    ) -> Proposal:
        """Say what was chosen and why; ``measured`` is whether any value of the target is known."""
        order = np.argsort(-(self.score if self.score.any() else self.view.mean), kind="stable")
        missed = order[~np.isin(order, self.taken)][:_REST]
        real = self.taken[~np.isin(self.taken, self.cheap)]
        gain = gain_of(self.view, real) if measured and (len(real) or not len(self.taken)) else None
        costs = self.view.cost[self.taken].tolist()
        level = "the best so far" if measured else "the average"
        why = [self._why(place, level) for place in self.taken]
        why_not = [self._why_not(place, rules.batch) for place in missed]
        some = (self.candidates, self.expected, self.view.round)
        return Proposal(
            table=lay_out(self.taken, *some, why=why),
            rest=lay_out(missed, *some, why_not=why_not),
            costs=costs,
            gain=gain,
            verdict=self._verdict(measured, gain, sum(costs) + rules.fixed_cost),
            calibration=calibration,
            notes=notes,
            best=self.candidates.columns.targets[0].sign * self.view.best if measured else None,
        )

    def _why(self, place: int, level: str) -> str:
        """Say in words what speaks for a candidate."""
        if place in self.controls:
            return "control"
        mean, sd = self.view.mean[place], self.view.sd[place]
        rank = int((self.view.mean > mean).sum()) + 1
        beyond = float(norm.sf(self.view.best, loc=mean, scale=sd))
        parts = ["measured cheaply first"] if place in self.cheap else []
        parts.append(f"expected value rank {rank:,} of {len(self.view.mean):,}")
        if beyond >= 0.005:
            parts.append(f"{beyond:.0%} to beat {level}")
        if sd > 1.5 * np.median(self.view.sd):
            parts.append("little is known of its kind")
        if self.view.generated[place] and not self.view.generated.all():
            parts.append("generated")
        return "; ".join(parts)

    def _why_not(self, place: int, batch: int) -> str:
        if self.stops:
            return "brings less than it costs"
        if self.view.cost[place] > self.view.money:
            return "costs more than is left"
        if len(self.taken) >= batch:
            return "the batch is full"
        if self.view.cost[self.taken].sum() + self.view.cost[place] > self.view.money:
            return "the money is spent on others"
        return "a limit of the batch"

    def _verdict(self, measured: bool, gain: tuple[float, float, float] | None, cost: float) -> str:
        """Say whether the batch is worth its money, or what it brings where no worth is given."""
        target = self.candidates.columns.targets[0]
        unit = self.candidates.units.get(target.column, "")
        if gain is None:
            if not measured:
                return f"No {target.column} is measured yet: nothing can be said of the gain."
            what = (
                f"Only {self.candidates.columns.cheap} is measured in this batch, for {cost:,.2f}"
            )
            return f"{what}: it shows of which candidates to measure {target.column}."
        mean, low, high = gain
        if self.stops:
            return (
                "Stop: no candidate is expected to bring what it costs; the best brings "
                f"{self.most:.0%} of its cost. Nothing is ordered."
            )
        ends = f"{low:.3g} to {high:.3g}" if high > 0 else "above 0 in fewer than 1 case of 20"
        text = (
            "the best of this batch is expected to be better than the best so far by "
            f"{mean:.3g}{unit_after(unit)} ({ends}), for {cost:,.2f}"
        )
        if target.worth is None:
            per = mean / cost if cost else float("inf")
            return f"{text[0].upper()}{text[1:]}: {per:.3g}{unit_after(unit)} per unit of money."
        return f"Continue: {text}, worth {mean * target.worth:,.2f}."


def lay_out(
    places: Integers,
    pool: Pool,
    expected: Mapping[str, Floats],
    round: int,
    **reasons: Sequence[str],
) -> pl.DataFrame:
    """Lay out some of the candidates; targets that are minimised are in their own sign again."""
    columns: dict[str, Any] = {"name": pool.names[places]}
    if pool.cheap is not None:
        real, cheap = (target.column for target in pool.columns.measurable)
        columns["measure"] = np.where(pool.cheap.ordered[places], cheap, real)
    columns["round"] = np.full(len(places), round)
    columns |= {key: getattr(pool, key)[places] for key in ("cost", "cost_low", "cost_high")}
    number = expected["mean"].shape[1] if expected else 0
    for i, target in enumerate(pool.columns.measurable[:number]):
        ends = [target.sign * expected[key][places, i] for key in ("mean", "low", "high")]
        columns[f"{target.column}_predicted"] = ends[0]
        columns[f"{target.column}_low"] = np.minimum(*ends[1:])
        columns[f"{target.column}_high"] = np.maximum(*ends[1:])
    why = {key: pl.Series(texts, dtype=pl.String) for key, texts in reasons.items()}
    return pl.DataFrame(columns | why)


def gain_of(view: View, taken: Integers) -> tuple[float, float, float]:
    """Expected gain of a batch over the best so far, with its 90 % interval."""
    if not len(taken):
        return 0.0, 0.0, 0.0
    draws = view.surrogates[0].samples(view.features[taken], _DRAWS, view.round)
    gains = np.maximum(draws.max(axis=1) - view.best, 0.0)
    low, high = np.quantile(gains, [0.05, 0.95])
    return float(gains.mean()), float(low), float(high)
