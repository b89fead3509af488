"""Minutes of simulation until the most selective of 605 COFs is found, by measured run times.

    python -m benchmarks.planning.cofs        about 15 minutes

Ten COFs drawn at random are simulated first, then one at a time. With two fidelities the first ten
are Henry coefficients, and what is simulated next, and how, is what `variolite.planning.Campaign`
proposes, as `variolite plan --cheap henry --cheap-cost henry_minutes` does.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from benchmarks.pages import RESULTS, command, provenance, table, write_page
from benchmarks.planning.crafted import interval
from benchmarks.planning.surrogates import KINDS
from benchmarks.planning.tables import Cofs, Floats, cofs

from variolite.planning import Campaign, Columns, Rules, Target, acquisition, read_pool
from variolite.report.style import figure_style

START, LONGEST = 10, 120
WORTHS = (100, 300, 1000)
"""Minutes that one unit of selectivity is worth, for the stopping rule."""

STYLES = (("0.6", ":"), ("#08306b", "-"), ("0.35", "-."), ("#c1592b", "--"), ("#1b6ca8", "-"))
"""Colours and lines: random, two fidelities, then `STRATEGIES`."""

STRATEGIES = {
    "EI, trees": ("trees", 0.0),
    "EI, default": ("default", 0.0),
    "EI / cost^0.5, default": ("default", 0.5),
}


def random_search(data: Cofs, seed: int) -> dict[str, Any]:
    """Simulate COFs in random order until the best is found."""
    order = np.random.default_rng(seed).permutation(len(data.target))
    runs = int(np.flatnonzero(order == np.argmax(data.target))[0]) + 1
    spent, best = data.minutes[order].cumsum(), np.maximum.accumulate(data.target[order])
    return {
        "minutes": float(spent[max(runs, START) - 1]),
        "runs": [0, runs],
        "curve": np.stack([spent, best])[:, START - 1 :],
    }


def one_fidelity(data: Cofs, seed: int, kind: str, alpha: float) -> dict[str, Any]:
    """Simulate one at a time by EI / cost^alpha; minutes until the best is found.

    ``path`` has minutes, best so far and largest EI / minute at each step, up to the find and to
    where EI falls below the price of a minute for the largest of ``WORTHS``.
    """
    best = int(np.argmax(data.target))
    seen = np.random.default_rng(seed).permutation(len(data.target))[:START]
    path, found = [], None
    while len(seen) < LONGEST:
        if found is None and best in seen:
            found = len(seen)
        left = np.setdiff1d(np.arange(len(data.target)), seen)
        model = KINDS[kind](seed=len(seen), folds=0).fit(data.features[seen], data.target[seen])
        predicted = model.predict(data.features[left])
        gain = np.exp(
            acquisition.log_expected_improvement(
                predicted.mean, predicted.sd, float(data.target[seen].max())
            )
        )
        most = float((gain / data.minutes[left]).max())
        path.append([float(data.minutes[seen].sum()), float(data.target[seen].max()), most])
        stops = not alpha or most * max(WORTHS) < 1.0
        if found is not None and stops:
            break
        seen = np.r_[seen, left[np.argmax(gain / data.minutes[left] ** alpha)]]
    found = found or len(seen)
    return {
        "minutes": float(data.minutes[seen[:found]].sum()),
        "runs": [0, found],
        "path": path,
        "curve": np.array(path).T[:2],
    }


def two_fidelities(data: Cofs, seed: int) -> dict[str, Any]:
    """Give a campaign the Henry coefficients and simulations that it orders, one at a time.

    Minutes until the best is simulated.
    """
    names = np.arange(len(data.target)).astype(str)
    best, first = names[np.argmax(data.target)], np.random.default_rng(seed).permutation(len(names))
    table = pl.DataFrame(data.features).with_columns(
        name=names,
        gcmc=pl.lit(None, dtype=pl.Float64),
        henry=np.where(np.isin(np.arange(len(names)), first[:START]), data.henry, np.nan),
        minutes=data.minutes,
        henry_minutes=data.henry_minutes,
    )
    columns = Columns(
        (Target("gcmc"),), ("minutes",), cheap="henry", cheap_costs=("henry_minutes",)
    )
    pool = read_pool(table.with_columns(pl.col("henry").fill_nan(None)), columns)
    campaign = Campaign(columns, 1e6, Rules(batch=1, strategy="ei", seed=seed))
    # Before the first simulation the best is that with the highest Henry selectivity.
    spent = float(data.henry_minutes[first[:START]].sum())
    curve = [(spent, float(data.target[first[np.argmax(data.henry[first[:START]])]]))]
    while best not in campaign.results:
        proposal = campaign.propose(pool)
        for name, measure in zip(proposal.names, proposal.measures, strict=True):
            values = data.henry if measure == "henry" else data.target
            campaign.observe(name, float(values[int(name)]), measure=measure)
            spent += float((data.henry_minutes if measure == "henry" else data.minutes)[int(name)])
        if campaign.results:
            curve.append((spent, float(data.target[[*map(int, campaign.results)]].max())))
    return {
        "minutes": spent,
        "runs": [START + len(campaign.cheap), len(campaign.results)],
        "curve": np.array(curve).T,
    }


def draw(runs: dict[str, list[dict[str, Any]]], best: float, path: Path) -> None:
    """Draw the regret, the best of all less the best so far, over the minutes spent."""
    import matplotlib.pyplot as plt

    minutes = np.geomspace(100, 30_000, 200)
    with figure_style():
        plt.rcParams["font.size"] = 9
        figure, axis = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
        for (name, each), (colour, line) in zip(runs.items(), STYLES, strict=True):
            regrets = []
            for run in each:
                spent, found = run["curve"]
                place = np.searchsorted(spent, minutes, side="right") - 1
                regrets.append(np.where(place < 0, np.nan, best - found[np.maximum(place, 0)]))
            # From where all campaigns have begun.
            begun = np.isfinite(regrets).all(axis=0)
            mean = np.mean(regrets, axis=0)[begun]
            half = 1.96 * np.std(regrets, axis=0, ddof=1)[begun] / len(each) ** 0.5
            axis.plot(minutes[begun], mean, line, color=colour, label=name)
            axis.fill_between(minutes[begun], mean - half, mean + half, color=colour, alpha=0.12,
                              linewidth=0)  # fmt: skip
        ticks = (100, 300, 1_000, 3_000, 10_000, 30_000)
        axis.set(xscale="log", xlabel="simulation time spent (min)", xlim=(100, 30_000),
                 ylabel="regret in Xe/Kr selectivity", ylim=(0, None))  # fmt: skip
        axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axis.minorticks_off()
        axis.tick_params(labelsize=9)
        axis.legend(frameon=False, fontsize=8, borderaxespad=1.0)
        figure.savefig(path, dpi=160)
        plt.close(figure)


def stopping(runs: list[dict[str, Any]], worth: float) -> dict[str, float]:
    """Compare stopping where EI / minute falls below 1 / worth with an oracle on the same path.

    The oracle stops where worth times the best found less the minutes spent is largest.
    """
    ratios, regrets = [], []
    for run in runs:
        minutes, best, most = np.array(run["path"]).T
        below = np.flatnonzero(most * worth < 1.0)
        stop = int(below[0]) if len(below) else len(minutes) - 1
        net = worth * best - minutes
        oracle = int(np.argmax(net))
        ratios.append(minutes[stop] / minutes[oracle])
        regrets.append(net[oracle] - net[stop])
    return {"spend": float(np.median(ratios)), "regret": float(np.median(regrets))}


def main() -> None:
    """Replay all strategies and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS / "planning_cofs")
    options = parser.parse_args()
    made = provenance(
        command("benchmarks.planning.cofs", options), ("numpy", "scipy", "scikit-learn")
    )
    data = cofs()
    seeds = range(options.seeds)
    runs: dict[str, list[dict[str, Any]]] = {"random": [random_search(data, s) for s in seeds]}
    begin = time.perf_counter()
    runs["two fidelities, default"] = [two_fidelities(data, s) for s in seeds]
    for name, (kind, alpha) in STRATEGIES.items():
        runs[name] = [one_fidelity(data, s, kind, alpha) for s in seeds]
        print(name, f"{time.perf_counter() - begin:.0f} s", flush=True)
    rows = []
    for name, each in runs.items():
        minutes: Floats = np.array([run["minutes"] for run in each])
        mean, low, high = interval(minutes)
        cheap, real = np.median([run["runs"] for run in each], axis=0)
        rows.append(
            [
                name,
                f"{np.median(minutes):,.0f}",
                f"{mean:,.0f} ({low:,.0f} to {high:,.0f})",
                f"{cheap:.0f}",
                f"{real:.0f}",
            ]
        )
    stops = {worth: stopping(runs["EI / cost^0.5, default"], worth) for worth in WORTHS}
    head = ["strategy", "minutes, median", "mean", "Henry, median", "GCMC, median"]
    lines = [
        f"{len(data.target)} COFs, {options.seeds} seeds; in brackets 95 % intervals over seeds.",
        "",
        *table(head, rows),
        "",
        "Stopping where the largest EI / minute falls below the worth of a minute, beside an "
        "oracle that knows all values on the same path and stops where worth less minutes is "
        "largest (medians over seeds):",
        "",
        *table(
            ["a unit of selectivity is worth", "minutes over those of the oracle", "loss, minutes"],
            [[f"{w:,} min", f"{s['spend']:.2f}", f"{s['regret']:,.0f}"] for w, s in stops.items()],
        ),
    ]
    content = {
        "strategies": {
            name: {k: [run[k] for run in each] for k in ("minutes", "runs")}
            for name, each in runs.items()
        },
        "stopping": stops,
    }
    picture = options.out.with_suffix(".png")
    draw(runs, float(data.target.max()), picture)
    lines[2:2] = [f"![Regret over minutes]({picture.name})", ""]
    write_page(options.out, "Time to the most Xe/Kr-selective COF", lines, content, made)


if __name__ == "__main__":
    main()
