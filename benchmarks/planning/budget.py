"""Random campaigns whose money is counted: does any spend a cent more than its budget?

    python -m benchmarks.planning.budget            10,000 campaigns, some minutes

Pools, costs (cents, fractions of cents, zeros, ranges, unknown ones), fixed costs, limits and the
share of a batch that comes back are drawn at random. What is counted is money, so the surrogate is
replaced by one that predicts at random.
"""

from __future__ import annotations

import argparse
from fractions import Fraction

import numpy as np
import polars as pl
from benchmarks.pages import RESULTS, command, provenance, table, write_page

from variolite.errors import DataError
from variolite.planning import Campaign, Columns, Rules, Target, next_batch
from variolite.planning.surrogate import Prediction
from variolite.progress import ConsoleProgress

COLUMNS = Columns((Target("y"),), costs=("cost",))


class Anything:
    """A surrogate that predicts at random: what it says does not matter to the budget."""

    def __init__(self, seed: int) -> None:
        self.calibration: dict[int, float] = {}
        self.random = np.random.default_rng(seed)

    def predict(self, x: np.ndarray) -> Prediction:
        mean, sd = self.random.normal(size=len(x)), self.random.uniform(0.1, 2.0, len(x))
        return Prediction(mean, sd, mean - sd, mean + sd)

    def samples(self, x: np.ndarray, count: int, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=(count, len(x)))


def random_pool(random: np.random.Generator) -> pl.DataFrame:
    """Draw a pool of 5 to 60 candidates, five of them measured at least half of the time."""
    number = int(random.integers(5, 60))
    kind = random.integers(4)
    cost = [
        random.uniform(0, 9, number),
        random.integers(0, 900, number) / 100,
        random.choice([0.0, 0.1, 0.7, 3.3], number),
        np.exp(random.normal(0, 2, number)),
    ][kind]
    high = cost * random.uniform(1, 2, number) if random.random() < 0.3 else cost
    known = np.arange(number) < random.integers(0, 9)
    return pl.DataFrame(
        {
            "name": [f"c{i}" for i in range(number)],
            "x": random.normal(size=number),
            "kind": random.choice(list("abc"), number),
            "cost": np.where(random.random(number) < 0.1, np.nan, cost),
            "cost_high": high,
            "y": np.where(known, random.normal(size=number), np.nan),
        }
    ).with_columns(pl.col("cost", "y").fill_nan(None))


def campaign(seed: int) -> tuple[Fraction, Fraction, int]:
    """Run one; return what it committed and its budget, exactly, and its rounds."""
    random = np.random.default_rng(seed)
    pool = random_pool(random)
    high = dict(zip(pool["name"], pool["cost_high"], strict=True))
    rules = Rules(
        batch=int(random.integers(1, 12)),
        batch_budget=float(random.uniform(1, 20)) if random.random() < 0.4 else None,
        fixed_cost=float(random.choice([0.0, 0.01, 1.37])),
        at_most={"kind": int(random.integers(1, 5))} if random.random() < 0.4 else {},
        strategy=str(random.choice(["random", "greedy", "ucb", "exploration"])),
        seed=seed,
    )
    running = Campaign(COLUMNS, float(np.round(random.uniform(0.5, 60), 2)), rules)
    for _ in range(8):
        try:
            batch = running.propose(pool)
        except DataError:
            break
        back = [name for name in batch.names if random.random() < 0.8]
        measured = pl.when(pl.col("name").is_in(back)).then(pl.lit(float(random.normal())))
        pool = pool.with_columns(y=measured.otherwise("y"))
    # Exactly, and from the pool itself.
    committed = sum((Fraction(high[order.name]) for order in running.orders), Fraction(0))
    committed += sum(map(Fraction, running.fixed), Fraction(0))
    return committed, Fraction(running.budget), running.round


def main() -> None:
    """Run the campaigns and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--campaigns", type=int, default=10_000)
    arguments = parser.parse_args()
    made = provenance(command("benchmarks.planning.budget", arguments), ["numpy", "scipy"])
    next_batch.fit_surrogates = lambda *given: (Anything(given[-1]),)
    over, rounds, shares = 0, 0, []
    with ConsoleProgress().stage("campaigns", arguments.campaigns) as step:
        for seed in range(arguments.campaigns):
            spent, budget, number = campaign(seed)
            over += spent > budget + Fraction(1, 10**6)
            rounds += number
            shares.append(float(spent / budget))
            step("campaigns", done=seed + 1)
    rows = [
        ["campaigns", f"{arguments.campaigns:,}"],
        ["rounds", f"{rounds:,}"],
        ["campaigns above their budget", f"{over:,}"],
        ["most that one committed, of its budget", f"{max(shares):.6f}"],
        ["committed on the average, of the budget", f"{np.mean(shares):.3f}"],
    ]
    lines = [
        "Pools, costs, fixed costs, limits and what comes back are drawn at random; the surrogate "
        "is replaced by one that predicts at random. Money is added up exactly, as fractions.",
        "",
        *table(["", ""], rows),
    ]
    content = {"over": over, "rounds": rounds, "campaigns": arguments.campaigns}
    write_page(RESULTS / "planning_budget", "Planning: budgets that hold", lines, content, made)


if __name__ == "__main__":
    main()
