"""Campaigns replayed on CRAFTED: which tenth of the pool holds the best twentieth.

    python -m benchmarks.planning.crafted --described TABLE        about 15 minutes

A fifth of the rows is held out; of the pool, 30 rows drawn at random are measured, then seven
batches of ten. Recall is the share found of the best twentieth of the pool; the area is its mean
over the start and the seven rounds. Differences are paired by seed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.pages import RESULTS, command, provenance, table, write_page
from benchmarks.planning.surrogates import KINDS
from benchmarks.planning.tables import Candidates, Floats, crafted
from numpy.typing import NDArray

from variolite.planning import acquisition

START, ROUNDS, BATCH, SHARE = 30, 7, 10, 0.05
DEFAULT = "look-ahead, default"

Places = NDArray[np.int64]
Score = Callable[[Floats, Floats, Floats, Floats, int, int], Floats]
"""From mean, sd, covariance, measured values, number sought and evaluations that follow."""


def _look_ahead(
    mean: Floats, sd: Floats, covariance: Floats, seen: Floats, sought: int, later: int
) -> Floats:
    level = acquisition.top_threshold(mean, sd, seen, sought)
    return acquisition.look_ahead(mean, covariance, level, BATCH, later)


SCORES: dict[str, Score] = {
    "greedy": lambda mean, *_: mean,
    "UCB": lambda mean, sd, *_: mean + sd,
    "log EI": lambda mean, sd, _, seen, *__: acquisition.log_expected_improvement(
        mean, sd, float(seen.max())
    ),
    "top probability": lambda mean, sd, _, seen, sought, __: acquisition.top_probability(
        mean, sd, seen, sought
    ),
    "look-ahead": _look_ahead,
}
STRATEGIES = {
    **{f"{score}, default": ("default", score) for score in SCORES},
    **{f"{score}, trees": ("trees", score) for score in ("greedy", "UCB")},
    **{f"{score}, gp": ("gp", score) for score in ("greedy", "UCB")},
}
AGAINST = ("greedy, default", "UCB, default", "greedy, trees", "UCB, trees")


def split(number: int, seed: int) -> tuple[np.random.Generator, Places, Places, Places]:
    """Return the draws of a seed, rows of the pool, rows held out, and places in the pool known."""
    random = np.random.default_rng(seed)
    pool, held_out = np.split(random.permutation(number), [number - number // 5])
    return random, pool, held_out, random.permutation(len(pool))[:START]


def replay(
    data: Candidates,
    target: Floats,
    noise: Floats | None,
    seed: int,
    kind: str,
    score: Score | None,
    budget: int = ROUNDS * BATCH,
    calibrate: bool = False,
) -> dict[str, Any]:
    """Replay one campaign; without a score the picks are random."""
    random, pool, held_out, seen = split(len(target), seed)
    x, y = data.features[pool], target[pool]
    sought = round(SHARE * len(pool))
    best = set(np.argsort(-y)[:sought].tolist())
    recall, coverage, claimed = [len(best & set(seen.tolist())) / sought], [], []
    while len(seen) < START + budget:
        left = np.setdiff1d(np.arange(len(pool)), seen)
        size = min(BATCH, START + budget - len(seen))
        if score is None:
            new = random.choice(left, size, replace=False)
        else:
            known = None if noise is None else noise[pool][seen]
            model = KINDS[kind](seed=len(recall), folds=8 if calibrate else 0).fit(
                x[seen], y[seen], known, data.family[pool][seen], x
            )
            found = model.predict(x[left])
            later = START + budget - len(seen) - size
            values = score(found.mean, found.sd, model.covariance(x[left]), y[seen], sought, later)
            new = left[np.argsort(-values, kind="stable")[:size]]
            if calibrate:
                of_held_out = model.predict(data.features[held_out])
                inside = (of_held_out.low <= target[held_out]) & (
                    target[held_out] <= of_held_out.high
                )
                coverage.append(float(inside.mean()))
                claimed.append(model.calibration[90] / 100)
        seen = np.r_[seen, new]
        recall.append(len(best & set(seen.tolist())) / sought)
    return {
        "recall": recall,
        "best": float(y[seen].max()),
        "within": bool(y[seen].max() >= 0.99 * y.max()),
        "coverage": coverage,
        "claimed": claimed,
    }


def process_figures(data: Candidates, seeds: int) -> dict[str, list[float]]:
    """Recall of the best twentieth by process figure, at the cost of 147.7 process runs.

    An uptake costs a tenth of a process run. Ranking by uptake buys all uptakes, then the process
    figure of the 100 largest; the same money buys us all uptakes as a feature and 100 process
    figures, or 147 process figures without uptakes.
    """
    rows = np.isfinite(data.process)
    target = data.process[rows]
    plain = Candidates(
        data.features[rows], target, data.noise[rows], data.family[rows], data.process[rows]
    )
    uptake = data.target[rows]
    informed = Candidates(
        np.column_stack([plain.features, uptake]), target, plain.noise, plain.family, plain.process
    )
    found: dict[str, list[float]] = {
        name: []
        for name in ("ranked by uptake", "random, 147", "ours with uptakes, 100", "ours, 147")
    }
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(target))
        pool = order[: len(order) - len(order) // 5]
        sought = round(SHARE * len(pool))
        best = set(np.argsort(-target[pool])[:sought].tolist())
        ranked = np.argsort(-uptake[pool])[:100].tolist()
        found["ranked by uptake"].append(len(best & set(ranked)) / sought)
        for name, which, score, runs in (
            ("random, 147", plain, None, 117),
            ("ours with uptakes, 100", informed, _look_ahead, 70),
            ("ours, 147", plain, _look_ahead, 117),
        ):
            done = replay(which, target, None, seed, "default", score, runs)
            found[name].append(done["recall"][-1])
    return found


def interval(values: Floats) -> tuple[float, float, float]:
    """Mean with its 95 % interval, by resampling seeds."""
    random = np.random.default_rng(0)
    means = values[random.integers(len(values), size=(10_000, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def _text(values: Floats, digits: int = 3, sign: str = "") -> str:
    mean, low, high = (f"{v:{sign}.{digits}f}" for v in interval(values))
    return f"{mean} ({low} to {high})"


def main() -> None:
    """Replay all strategies and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--described", type=Path, default=None)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS / "planning_crafted")
    options = parser.parse_args()
    made = provenance(
        command("benchmarks.planning.crafted", options), ("numpy", "scipy", "scikit-learn")
    )
    data = crafted(options.described)
    runs: dict[str, list[dict[str, Any]]] = {}
    for name, (kind, score) in {"random": ("default", ""), **STRATEGIES}.items():
        begin = time.perf_counter()
        runs[name] = [
            replay(
                data,
                data.target,
                data.noise,
                seed,
                kind,
                SCORES.get(score),
                calibrate=name == DEFAULT,
            )
            for seed in range(options.seeds)
        ]
        area = np.mean([np.mean(run["recall"]) for run in runs[name]])
        print(f"{name}: area {area:.3f}, {time.perf_counter() - begin:.0f} s", flush=True)
    process = process_figures(data, options.seeds)
    recalls = {name: np.array([run["recall"] for run in each]) for name, each in runs.items()}
    areas = {name: each.mean(axis=1) for name, each in recalls.items()}
    rows = [
        [
            name,
            _text(recalls[name][:, -1]),
            _text(areas[name]),
            f"{np.mean([run['within'] for run in each]):.0%}",
            " ".join(f"{v:.2f}" for v in recalls[name].mean(axis=0)),
        ]
        for name, each in runs.items()
    ]
    paired = [[name, _text(areas[DEFAULT] - areas[name], 3, "+")] for name in AGAINST]
    coverage = np.array([run["coverage"] for run in runs[DEFAULT]])
    claimed = np.array([run["claimed"] for run in runs[DEFAULT]])
    covered = [
        [str(place + 1), f"{inside:.1%}", f"{said:.1%}"]
        for place, (inside, said) in enumerate(
            zip(coverage.mean(axis=0), claimed.mean(axis=0), strict=True)
        )
    ]
    lines = [
        f"{len(data.target)} frameworks, {data.features.shape[1]} features"
        f"{' (9 by `frameworks describe`: --described)' if options.described else ''}, "
        f"{options.seeds} seeds. "
        "In brackets: 95 % intervals over seeds.",
        "",
        *table(["strategy", "recall", "area", "best within 1 %", "recall by round"], rows),
        "",
        f"Area of {DEFAULT} less that of others on the same seeds:",
        "",
        *table(["other", "difference"], paired),
        "",
        "Coverage of 90 % intervals on held-out rows, and as the surrogate measures it:",
        "",
        *table(["round", "held out", "by its calibration"], covered),
        "",
        "Recall of the best twentieth by process figure (min of purity and recovery), at equal "
        "money, an uptake at a tenth of a process run:",
        "",
        *table(["strategy", "recall"], [[name, _text(np.array(v))] for name, v in process.items()]),
    ]
    content = {
        "default": DEFAULT,
        "strategies": {
            name: {"recall": recalls[name], "within": [run["within"] for run in each]}
            for name, each in runs.items()
        },
        "coverage": coverage,
        "claimed": claimed,
        "process": process,
    }
    write_page(options.out, "Campaigns replayed on CRAFTED", lines, content, made)


if __name__ == "__main__":
    main()
