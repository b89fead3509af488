"""The whole circle: generated frameworks are planned, simulated, learnt from, and planned again.

    python -m benchmarks.frameworks.loop --table TABLE --units UNITS --work LOOP
    python -m benchmarks.planning.circle --table TABLE --loop LOOP --work DIR

Candidates are frameworks that were generated and assembled for the loop: those that were simulated
there, and others drawn at random, which are simulated here, in about 25 minutes of one core. All
strategies buy from the same values. In each campaign some real frameworks are known, by the labels
of their table, and a simulation costs 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from benchmarks.pages import RESULTS, command, provenance, table, write_page
from benchmarks.planning.crafted import _text
from benchmarks.planning.tables import Floats
from scipy.stats import spearmanr

from variolite.errors import DataWarning
from variolite.planning import Campaign, Columns, Rules, Target, read_pool, with_results
from variolite.planning.next_batch import fit_surrogates
from variolite.report.style import figure_style

PICTURE = RESULTS / "planning_circle.png"
COLUMNS = Columns((Target("co2_uptake"),), group="family")
VALUE = "co2_uptake_simulated"
KIND = ("net_built", "catenation", "nodes", "linker_units")
BEST = 6  # of 60 candidates
_VALUES = ("requested", "predicted", "90 % interval", "simulated")
DRAWS = 2000  # orders of random choice


def candidates(loop: Path) -> pl.DataFrame:
    """Read what was built, each framework once, those first that were simulated."""
    built = pl.read_csv(loop / "built" / "candidates.csv", infer_schema_length=None)
    if "formula" not in built.columns:  # Assembled before these were written.
        more = pl.read_parquet(loop / "described.parquet").select("name", "formula", "metals")
        built = built.join(more, on="name", how="left", maintain_order="left")
    known = pl.read_csv(loop / "simulated.csv")["name"].implode()
    built = built.filter("built").sort(~pl.col("name").is_in(known), maintain_order=True)
    return built.unique(KIND, keep="first", maintain_order=True)


def simulated(frame: pl.DataFrame, loop: Path, work: Path, more: int) -> pl.DataFrame:
    """Return uptakes of the loop, and of as many more, simulated if they are not yet."""
    known = pl.read_csv(loop / "simulated.csv", infer_schema_length=None)
    rest = frame.filter(~pl.col("name").is_in(known["name"].implode()))
    drawn = rest.sample(more, seed=0, shuffle=True)["name"]
    if not (work / "simulated.csv").exists():
        (work / "cif").mkdir(parents=True, exist_ok=True)
        for name in drawn:
            shutil.copy(loop / "built" / f"{name}.cif", work / "cif")
        words = [sys.executable, "-m", "variolite", "frameworks", "simulate", str(work / "cif")]
        words += ["--charges", "eqeq", "--limit", "1800", "--out", str(work / "simulated.csv")]
        subprocess.run(words, check=True)
    own = pl.read_csv(work / "simulated.csv", infer_schema_length=None)
    assert set(own["name"]) == set(drawn), "simulated.csv is of other candidates"
    return pl.concat([known, own], how="vertical_relaxed").select(
        "name", VALUE, f"{VALUE}_error", "problem"
    )


def campaign(
    pool: pl.DataFrame, values: pl.DataFrame, strategy: str, batch: int, rounds: int, seed: int
) -> pl.DataFrame:
    """Plan, look up what was simulated, and plan again; return what was bought, in order.

    Predictions are those of the time when it was bought.
    """
    made = Campaign(COLUMNS, batch * rounds, Rules(batch=batch, strategy=strategy, seed=seed))
    parts: list[pl.DataFrame] = []
    for _ in range(rounds):
        names = [name for part in parts for name in part["name"]]
        given: Any = pool
        if names:
            given = with_results(pool, values.filter(pl.col("name").is_in(names)), COLUMNS)
        parts.append(made.propose(given).table)
    return pl.concat(parts).join(values, on="name", maintain_order="left")


def ranked(frame: pl.DataFrame, seed: int) -> list[str]:
    """Names of candidates as they are predicted before anything is simulated, best first."""
    pool = read_pool(frame, COLUMNS)
    (surrogate,) = fit_surrogates(pool, np.flatnonzero(pool.measured), seed, folds=0)
    mean = surrogate.predict(pool.features[pool.affordable]).mean
    return pool.names[pool.affordable][np.argsort(-mean)].tolist()


def run_times(real: pl.DataFrame) -> tuple[int, float]:
    """R2 of the logarithm of CPU seconds on those of atoms and volume, of real frameworks."""
    content = json.loads((RESULTS / "frameworks_simulate.json").read_text())
    found = [s for s in content["structures"] if s["charges"] == "eqeq" and "cpu" in s]
    times = pl.DataFrame({key: [s[key] for s in found] for key in ("name", "cpu")})
    known = times.join(real, on="name").select("cpu", "atoms", "volume")
    log = np.log(known.to_numpy().astype(float))
    design = np.column_stack([np.ones(len(log)), log[:, 1:]])
    rest = log[:, 0] - design @ np.linalg.lstsq(design, log[:, 0])[0]
    return len(log), float(1 - rest.var() / log[:, 0].var())


def found_by(order: Sequence[float], batch: int, best: Floats) -> tuple[Floats, Floats]:
    """Best uptake and share of the best after each round, (rounds,)."""
    ends = range(batch, len(order) + 1, batch)
    top = np.array([max(order[:end]) for end in ends])
    share = np.array([np.isin(best, order[:end]).mean() for end in ends])
    return top, share


STYLES = {
    "search": ("#1b6ca8", "o", "-"),
    "greedy": ("#c1592b", "s", "--"),
    "ranked once": ("0.35", "^", "-."),
    "random": ("0.6", "", ":"),
}
ROUNDS = {"color": ("#9ecae1", "#4292c6", "#08306b"), "fmt": "os^"}


def draw(
    tops: dict[str, Floats], shares: dict[str, Floats], whole: pl.DataFrame, batch: int
) -> None:
    """What was found over the number of simulations, and predicted beside simulated uptakes."""
    import matplotlib.pyplot as plt

    with figure_style():
        plt.rcParams["font.size"] = 9
        figure, (first, second, last) = plt.subplots(
            1, 3, figsize=(10.5, 3.6), layout="constrained"
        )
        for axis, found in ((first, tops), (second, shares)):
            for place, (name, (colour, marker, line)) in enumerate(STYLES.items()):
                mean = found[name].mean(axis=0)
                ends = 1.96 * found[name].std(axis=0, ddof=1) / len(found[name]) ** 0.5
                bought = batch * np.arange(1, len(mean) + 1) + 0.25 * (place - 1)
                axis.errorbar(bought, mean, None if name == "random" else ends, fmt=line,
                              marker=marker, ms=5, color=colour, label=name, capsize=2)  # fmt: skip
            axis.set(xlabel="simulations bought", xticks=batch * np.arange(1, len(mean) + 1))
        first.set(ylabel="best uptake found (mol/kg)")
        second.set(ylabel=f"found of the best {BEST}", ylim=(0, 1.03))
        for number, part in whole.group_by("round", maintain_order=True):
            x, y = part["co2_uptake_predicted"].to_numpy(), part[VALUE].to_numpy()
            low, high = (part[f"co2_uptake_{end}"].to_numpy() for end in ("low", "high"))
            style = {key: each[(int(number[0]) - 1) % 3] for key, each in ROUNDS.items()}
            last.errorbar(x, y, xerr=np.abs([low - x, high - x]), ms=5, lw=0.7,
                          label=f"round {number[0]}", **style)  # fmt: skip
        top = float(max(whole["co2_uptake_high"].max(), whole[VALUE].max())) + 0.4
        last.plot([-0.3, top], [-0.3, top], color="0.8", lw=0.8, zorder=0)
        last.set(xlabel="predicted when bought, 90 % (mol/kg)", ylabel="simulated (mol/kg)",
                 xlim=(-0.3, top), ylim=(-0.3, top))  # fmt: skip
        for axis, place in ((first, "lower right"), (last, "lower right")):
            axis.legend(frameon=False, fontsize=8, loc=place, borderaxespad=1.0)
        for axis in (first, second, last):
            axis.tick_params(labelsize=9)
        figure.savefig(PICTURE, dpi=160)


def main() -> None:
    """Simulate what is missing, replay campaigns, and write page and figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--loop", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--more", type=int, default=40)
    parser.add_argument("--known", type=int, default=150)
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS / "planning_circle")
    options = parser.parse_args()
    made = provenance(
        command("benchmarks.planning.circle", options), ("numpy", "scikit-learn", "raspalib")
    )
    warnings.simplefilter("ignore", DataWarning)
    built = candidates(options.loop)
    values = simulated(built, options.loop, options.work, options.more)
    built = built.join(values.select("name"), on="name", how="semi", maintain_order="left")
    built = built.rename({"file": "cif"})
    real = pl.read_parquet(options.table)
    uptake = dict(values.select("name", VALUE).iter_rows())
    order = np.sort(np.array(list(uptake.values())))[::-1]
    best, highest = order[:BEST], float(order[0])
    size = (options.batch, options.rounds)

    tops: dict[str, list[Floats]] = {}
    shares: dict[str, list[Floats]] = {}
    inside: list[Floats] = []
    ranks: list[float] = []

    def keep(name: str, names: Sequence[str]) -> None:
        top, share = found_by([uptake[one] for one in names], options.batch, best)
        tops.setdefault(name, []).append(top)
        shares.setdefault(name, []).append(share)

    for seed in range(options.seeds):
        pool = pl.concat(
            [real.sample(options.known, seed=seed, shuffle=True), built], how="diagonal_relaxed"
        )
        for strategy in ("search", "greedy"):
            found = campaign(pool, values, strategy, *size, seed)
            keep(strategy, found["name"].to_list())
            if strategy == "search":
                ends = (found["co2_uptake_low"], found["co2_uptake_high"])
                within = found[VALUE].is_between(*ends).to_numpy()
                inside.append(within.reshape(options.rounds, -1).mean(axis=1))
                both = found.select("co2_uptake_predicted", VALUE)
                ranks.append(float(spearmanr(*both.to_numpy().T).statistic))
        keep("ranked once", ranked(pool, seed)[: options.batch * options.rounds])
        print(seed, {name: each[-1].round(2).tolist() for name, each in tops.items()}, flush=True)
    random = np.random.default_rng(0)
    for _ in range(DRAWS):
        keep("random", random.permutation(sorted(uptake))[: options.batch * options.rounds])

    whole = campaign(
        pl.concat([real, built], how="diagonal_relaxed"), values, "search", *size, 0
    ).join(built.select("name", "net", "co2_uptake_requested"), on="name", maintain_order="left")
    figures = {name: np.stack(each) for name, each in tops.items()}
    names = ("search", "greedy", "ranked once", "random")
    found_share = {name: np.stack(each) for name, each in shares.items()}
    draw(figures, found_share, whole, options.batch)
    covered = np.stack(inside)
    sizes, times = (len(built), len(real)), run_times(real)
    lines = _lines(options, *sizes, figures, found_share, covered, ranks, whole, highest, times)
    content = {
        "best": {name: figures[name][: options.seeds] for name in names},
        "share": {name: found_share[name][: options.seeds] for name in names},
        "random_means": [figures["random"].mean(axis=0), found_share["random"].mean(axis=0)],
        "coverage": covered,
        "rank_correlation": ranks,
        "simulated": uptake,
        "whole": whole.to_dicts(),
    }
    write_page(options.out, "Generated, planned, simulated, learnt from, planned again", lines,
               content, made)  # fmt: skip


def _lines(
    options: argparse.Namespace,
    count: int,
    real: int,
    figures: dict[str, Floats],
    shares: dict[str, Floats],
    covered: Floats,
    ranks: list[float],
    whole: pl.DataFrame,
    highest: float,
    times: tuple[int, float],
) -> list[str]:
    bought = options.batch * options.rounds
    head = [f"best after {options.batch * (r + 1)}" for r in range(options.rounds)]
    rows = []
    for name, each in figures.items():
        texts = [_text(column, 2) for column in each.T]
        last = _text(shares[name][:, -1], 2)
        if name == "random":
            texts = [f"{column.mean():.2f}" for column in each.T]
            last = f"{shares[name][:, -1].mean():.2f}"
        hit = f"{(each[:, -1] >= highest).mean():.0%}"
        rows.append([name, *texts, last, hit])
    differ = [
        [
            name,
            _text(figures["search"].mean(axis=1) - figures[name].mean(axis=1), 2, "+"),
            _text(shares["search"].mean(axis=1) - shares[name].mean(axis=1), 2, "+"),
        ]
        for name in ("greedy", "ranked once")
    ]
    each = [
        [
            str(row["round"]),
            row["name"],
            row["net"],
            f"{row['co2_uptake_requested']:.2f}",
            f"{row['co2_uptake_predicted']:.2f}",
            f"{row['co2_uptake_low']:.2f} to {row['co2_uptake_high']:.2f}",
            f"{row[VALUE]:.2f} ± {row[f'{VALUE}_error']:.2f}",
        ]
        for row in whole.iter_rows(named=True)
    ]
    within = whole[VALUE].is_between(whole["co2_uptake_low"], whole["co2_uptake_high"])
    timed, r2 = times
    return [
        f"{count} generated frameworks that were assembled (see `frameworks_loop.md`) are the "
        f"candidates. Of {real} real ones {options.known} drawn at random are known in each of "
        f"{options.seeds} campaigns, by the mean of eight force fields in the table. "
        f"{options.rounds} batches of {options.batch} are simulated (CO2, 1 bar, 298 K, charges by "
        "EQeq), entered with their error as noise, and learnt from. Uptakes are in mol/kg; in "
        "brackets are 95 % intervals over campaigns. A simulation costs 1: how long one takes is "
        f"not known before it (of {timed} real frameworks the logarithm of CPU seconds has an R2 "
        f"of {r2:.2f} on those of atoms and volume).",
        "",
        f"![Best found, and predicted beside simulated]({PICTURE.name})",
        "",
        *table(["strategy", *head, f"found of the best {BEST}", "best of all found"], rows),
        "",
        "`ranked once` buys by what was predicted before anything was simulated. Random is the "
        f"mean of {DRAWS:,} orders. The best of all is {highest:.2f}.",
        "",
        "Search less others, means over rounds of the same campaigns:",
        "",
        *table(["other", "best found", f"found of the best {BEST}"], differ),
        "",
        "Simulated values within the 90 % interval that was given when they were bought, by round: "
        f"{', '.join(f'{share:.0%}' for share in covered.mean(axis=0))}. Spearman rank correlation "
        f"of predicted and simulated uptake among the {bought} bought: "
        f"{_text(np.array(ranks), 2)}.",
        "",
        f"One campaign with all {real} real frameworks known, {int(within.sum())} of {len(whole)} "
        "within their interval; it is the right of the figure:",
        "",
        *table(["round", "framework", "net", *_VALUES], each),
    ]


if __name__ == "__main__":
    main()
