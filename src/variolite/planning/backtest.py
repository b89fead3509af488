"""Replay a campaign on a pool whose values are all known, under many seeds and strategies.

Every strategy starts from the same rows of a seed, pays the same costs and sees a value only
when it has paid for it. Rows held out are never offered: on them intervals are checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.errors import DataError, ShortfallError
from variolite.planning.campaign import Campaign
from variolite.planning.next_batch import fit_surrogates
from variolite.planning.pool import Pool
from variolite.planning.rules import DEFAULT, Settings
from variolite.planning.strategies import TOP
from variolite.planning.surrogate import Surrogate
from variolite.progress import Progress
from variolite.scoring.intervals import bootstrap_interval
from variolite.training.workers import each_outcome

Floats = NDArray[np.float64]

ALWAYS = (DEFAULT, "random", "greedy")
_LIMIT = 3600.0
_FOLDS = 5


@dataclass(frozen=True)
class Replay:
    """One campaign of one strategy and seed; arrays are per round, beginning with the start.

    ``best`` is in the unit of the target, ``recall`` the share of the available top 5 % that was
    found, ``coverage`` of the 90 % interval on rows held out (NaN but for the default).
    """

    strategy: str
    seed: int
    spent: Floats
    best: Floats
    recall: Floats
    coverage: Floats
    reachable: float


def backtest(
    pool: Pool,
    settings: Settings,
    strategies: Sequence[str] = (),
    *,
    workers: int | None = 1,
    progress: Progress | None = None,
) -> list[Replay]:
    """Replay every strategy under every seed; random, greedy and the default are always among them.

    Raises a DataError where too few rows have a value and a cost, or a strategy is unknown.
    """
    progress = progress or Progress()
    Campaign(pool.columns, settings.budget)  # which refuses an impossible budget,
    for name in strategies:
        replace(settings.rules, strategy=name)  # and rules a strategy that there is not
    known = pool.measured & np.isfinite(pool.cost_high)
    if known.sum() < settings.start + 20:
        what = f"{int(known.sum())} rows have a value and a cost"
        hint = f"A replay from {settings.start} rows needs {settings.start + 20} at least"
        raise DataError(what, hint=hint)
    if float(pool.cost_high[known].min()) > settings.budget:
        what = f"the cheapest candidate costs {pool.cost_high[known].min():,.2f}"
        raise DataError(f"{what}, and the budget is {settings.budget:,.2f}", hint="Raise it")
    pool = replace(pool.take(known), notes=())
    names = list(dict.fromkeys([*ALWAYS, *strategies]))
    tasks = [(pool, settings, name, seed) for seed in range(settings.seeds) for name in names]
    found: list[Replay] = []
    with progress.stage("campaigns", len(tasks)) as step:
        for place, outcome in each_outcome(replay, tasks, workers=workers, limit=_LIMIT):
            if outcome.value is None:
                what = f"{tasks[place][2]}, seed {tasks[place][3]}: {outcome.reason}"
                raise DataError(what, hint="Leave this strategy out")
            found.append(outcome.value)
            step("campaigns", done=len(found))
    return sorted(found, key=lambda one: (names.index(one.strategy), one.seed))


def replay(pool: Pool, settings: Settings, strategy: str, seed: int) -> Replay:
    """Replay one campaign; the pool has every value."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(pool))
    held_out, offered = np.split(order, [int(settings.held_out * len(pool))])
    truth = pool.take(offered)
    values = truth.values[:, 0]
    first = random.permutation(len(truth))[: settings.start]
    seen = np.zeros(len(truth), dtype=bool)
    seen[first] = True
    reachable = values.max()
    top = values >= np.sort(values)[-max(1, round(TOP * len(values)))]
    rules = replace(settings.rules, strategy=strategy, seed=seed)
    campaign = Campaign(pool.columns, settings.budget, rules)
    # Intervals are the same whatever the strategy; it is ours that has to live with them.
    folds = _FOLDS if strategy == DEFAULT else 0
    rows: list[tuple[float, float, float, float]] = []
    while True:
        masked = replace(truth, values=np.where(seen[:, None], truth.values, np.nan))
        surrogates = fit_surrogates(masked, np.flatnonzero(seen), seed, folds)
        coverage = _coverage(surrogates[0], pool, held_out) if folds else np.nan
        spent = settings.budget - campaign.left
        rows.append((spent, values[seen].max(), float(seen[top].mean()), coverage))
        if settings.rounds is not None and campaign.round >= settings.rounds:
            break
        try:
            batch = campaign.propose(masked, surrogates=surrogates)
        except (ShortfallError, DataError):
            break  # Nothing left to measure, or to pay for it.
        if not batch.names:
            break
        seen |= np.isin(truth.names, batch.names)
    sign = pool.columns.targets[0].sign
    spending, best, recall, covered = (np.array(column) for column in zip(*rows, strict=True))
    return Replay(strategy, seed, spending, sign * best, recall, covered, float(sign * reachable))


def _coverage(surrogate: Surrogate, pool: Pool, held_out: NDArray[np.int64]) -> float:
    """Return the share of rows held out that are within their 90 % intervals."""
    predicted = surrogate.predict(pool.features[held_out])
    truth = pool.values[held_out, 0]
    return float(((truth >= predicted.low) & (truth <= predicted.high)).mean())


def summary(replays: Sequence[Replay]) -> dict[str, Any]:
    """Means over seeds with 95 % intervals, by strategy; what ``--json`` prints."""
    names = list(dict.fromkeys(r.strategy for r in replays))
    table = {}
    for name in names:
        mine = [r for r in replays if r.strategy == name]
        entry: dict[str, Any] = {"seeds": len(mine)}
        figures = {
            "recall_top5": [r.recall[-1] for r in mine],
            "best_found": [r.best[-1] for r in mine],
            "spent": [r.spent[-1] for r in mine],
            "regret": [abs(r.reachable - r.best[-1]) for r in mine],
            "area_under_recall": [area(r) for r in mine],
        }
        if name == DEFAULT:
            figures["coverage_90"] = [r.coverage.mean() for r in mine]
        for key, values in figures.items():
            entry |= dict(zip((key, f"{key}_low", f"{key}_high"), interval(values), strict=True))
        table[name] = entry
    return {"default": DEFAULT, "strategies": table}


def area(replay: Replay) -> float:
    """Mean recall over the money spent, 0 to 1: half the money for the same recall is better."""
    if replay.spent[-1] == 0:
        return float(replay.recall[-1])
    return float(np.trapezoid(replay.recall, replay.spent) / replay.spent[-1])


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean over seeds with its 95 % bootstrap interval, within the values."""
    array = np.asarray(values, dtype=float)
    found = bootstrap_interval(lambda drawn: (drawn @ array)[:, None] / len(array), len(array))
    return found.mean, max(found.low, float(array.min())), min(found.high, float(array.max()))
