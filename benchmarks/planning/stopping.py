"""When to stop: rules in money beside an oracle, on CRAFTED and on the COFs.

    python -m benchmarks.planning.stopping --described TABLE        about 20 minutes

Campaigns are replayed to their end; at every step each rule says what the best that could be
bought returns for a unit of money, at a worth of one. A rule stops where that, times the worth,
falls below its level, after so many steps in a row. The money paid before the first step (rows
known at the start) is not counted.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.pages import RESULTS, command, provenance, table, write_page
from benchmarks.planning.crafted import BATCH, ROUNDS, SCORES, SHARE, interval, split
from benchmarks.planning.tables import Candidates, Cofs, Floats, cofs, crafted
from scipy.special import ndtri
from scipy.stats import t as student

from variolite.planning import acquisition
from variolite.planning.surrogate import Surrogate

START, LONGEST, AFRESH = 10, 60, 5
TAILS = 4.0
WORTHS = {"CRAFTED": (10, 30, 100, 300, 1000), "COFs": (30, 100, 300, 1000, 3000)}
MONEY = {"CRAFTED": "measurements", "COFs": "minutes"}
DESIGNS = {
    "largest EI / cost below 1": ("EI", 1.0, 1),
    "the same, sd made wider by the conformal intervals": ("wider", 1.0, 1),
    "the same, Student's t with 4 degrees of freedom": ("heavy", 1.0, 1),
    "largest EI / cost below 0.5": ("EI", 0.5, 1),
    "largest EI / cost below 1, three steps in a row": ("EI", 1.0, 3),
    "gain of the next ten by joint draws / their cost below 1": ("ten", 1.0, 1),
}
FIXED = (0.25, 0.5, 1.0)


@dataclass
class Trace:
    """A campaign: money spent and best value at each step, returns by rule, and the best of all."""

    spent: Floats
    best: Floats
    returns: dict[str, Floats]
    top: float


class Recorder:
    """Collects the steps of a campaign."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float, dict[str, float]]] = []

    def add(
        self, spent: float, best: float, model: Surrogate, x: Floats, cost: Floats, order: Floats
    ) -> None:
        """Add a step; ``order`` are places of open candidates, the next to be bought first."""
        if 90 in model.calibration:
            self.wider = max(1.0, model.widths[90] / float(ndtri(0.95)))
        found = model.predict(x)
        mean, sd = found.mean, found.sd
        ten = order[:10]
        draws = model.samples(x[ten], 512, len(self.steps))
        gain = float(np.maximum(draws.max(axis=1) - best, 0.0).mean())
        returns = {
            "EI": (_improvement(mean, sd, best) / cost).max(),
            "wider": (_improvement(mean, self.wider * sd, best) / cost).max(),
            "heavy": (_heavy(mean, self.wider * sd, best) / cost).max(),
            "ten": gain / cost[ten].sum(),
        }
        self.steps.append((spent, best, returns))

    def path(self, top: float) -> Trace:
        spent, best, returns = zip(*self.steps, strict=True)
        names = returns[0]
        by_name = {name: np.array([one[name] for one in returns]) for name in names}
        return Trace(np.array(spent), np.array(best), by_name, top)


def _improvement(mean: Floats, sd: Floats, best: float) -> Floats:
    return np.exp(acquisition.log_expected_improvement(mean, sd, best))


def _heavy(mean: Floats, sd: Floats, best: float) -> Floats:
    """Expected improvement of Student's t with the same 90 % interval."""
    scale = sd * ndtri(0.95) / student.ppf(0.95, TAILS)
    z = (mean - best) / scale
    density = (TAILS + z**2) / (TAILS - 1.0) * student.pdf(z, TAILS)
    improvement: Floats = scale * (z * student.cdf(z, TAILS) + density)
    return improvement


def cof_path(data: Cofs, seed: int) -> Trace:
    """Simulate COFs one at a time by EI / cost^0.5."""
    seen = np.random.default_rng(seed).permutation(len(data.target))[:START]
    first, steps = float(data.minutes[seen].sum()), Recorder()
    while True:
        left = np.setdiff1d(np.arange(len(data.target)), seen)
        x, cost, best = data.features[left], data.minutes[left], float(data.target[seen].max())
        folds = 0 if len(seen) % AFRESH else 8
        model = Surrogate(seed=len(seen), folds=folds).fit(data.features[seen], data.target[seen])
        found = model.predict(x)
        order = np.argsort(-_improvement(found.mean, found.sd, best) / cost**0.5)
        steps.add(float(data.minutes[seen].sum()) - first, best, model, x, cost, order)
        if len(seen) >= LONGEST:
            return steps.path(float(data.target.max()))
        seen = np.r_[seen, left[order[0]]]


def crafted_path(data: Candidates, seed: int) -> Trace:
    """Measure frameworks by the protocol of `benchmarks.planning.crafted`, each at a cost of 1."""
    _, pool, _, seen = split(len(data.target), seed)
    x, y, steps = data.features[pool], data.target[pool], Recorder()
    for number in range(ROUNDS + 1):
        left = np.setdiff1d(np.arange(len(pool)), seen)
        model = Surrogate(seed=number + 1).fit(
            x[seen], y[seen], data.noise[pool][seen], data.family[pool][seen], x
        )
        found = model.predict(x[left])
        later = max(0, (ROUNDS - number - 1) * BATCH)
        covariance, sought = model.covariance(x[left]), round(SHARE * len(pool))
        values = SCORES["look-ahead"](found.mean, found.sd, covariance, y[seen], sought, later)
        order = np.argsort(-values, kind="stable")
        best = float(y[seen].max())
        steps.add(number * BATCH, best, model, x[left], np.ones(len(left)), order)
        seen = np.r_[seen, left[order[:BATCH]]]
    return steps.path(float(y.max()))


def stops(path: Trace, worth: float) -> dict[str, int]:
    """Return the step at which each rule stops."""
    last = len(path.spent) - 1
    net = worth * path.best - path.spent
    found = {
        "hindsight: the largest net value": int(np.argmax(net)),
        "oracle: once the best of all is found": int(
            np.argmax(path.best >= path.top) if path.best[-1] >= path.top else last
        ),
    }
    for name, (kind, level, patience) in DESIGNS.items():
        below = np.convolve(worth * path.returns[kind] < level, np.ones(patience))[: last + 1]
        full = np.flatnonzero(below >= patience)
        found[name] = int(full[0]) if len(full) else last
    for share in FIXED:
        name = "never" if share == 1.0 else f"after {share:.0%} of the money"
        found[name] = int(np.searchsorted(path.spent, share * path.spent[-1]))
    return found


def losses(paths: list[Trace], worth: float) -> dict[str, dict[str, Floats]]:
    """By rule and seed: money spent over that of both oracles, and net value lost to hindsight.

    The loss is a share of what the worth of the best of all exceeds that of the start by.
    """
    room = worth * float(np.mean([path.top - path.best[0] for path in paths]))
    found: dict[str, dict[str, list[float]]] = {}
    for path in paths:
        at = stops(path, worth)
        net = worth * path.best - path.spent
        hindsight, oracle = list(at.values())[:2]
        for name, step in at.items():
            entry = found.setdefault(name, {"hindsight": [], "oracle": [], "loss": []})
            for key, other in (("hindsight", hindsight), ("oracle", oracle)):
                money = path.spent[other]
                entry[key].append(path.spent[step] / money if money else np.nan)
            entry["loss"].append((net[hindsight] - net[step]) / room)
    return {
        name: {key: np.array(values) for key, values in entry.items()}
        for name, entry in found.items()
    }


def _median(ratios: Floats) -> str:
    """Median of those that are finite, where most are: an oracle may spend nothing."""
    finite = ratios[np.isfinite(ratios)]
    return f"{np.median(finite):.2f}" if len(finite) > len(ratios) / 2 else "none"


def section(title: str, paths: list[Trace]) -> tuple[list[str], dict[str, object]]:
    """Return the lines and the content of one set of candidates."""
    by_worth = {worth: losses(paths, worth) for worth in WORTHS[title]}
    names = list(next(iter(by_worth.values())))
    mean = {
        name: np.mean([each[name]["loss"] for each in by_worth.values()], axis=0) for name in names
    }
    rule = next(iter(DESIGNS))
    rows, spends = [], []
    for name in names:
        cells = [f"{each[name]['loss'].mean():.2f}" for each in by_worth.values()]
        less = mean[name] - mean[rule]
        paired = "{:+.3f} ({:+.3f} to {:+.3f})".format(*interval(less)) if less.any() else ""
        rows.append(
            [name, *cells, "{:.3f} ({:.3f} to {:.3f})".format(*interval(mean[name])), paired]
        )
        spends.append(
            [
                name,
                *(
                    " / ".join(_median(each[name][key]) for key in ("hindsight", "oracle"))
                    for each in by_worth.values()
                ),
            ]
        )
    worths = [f"{worth:,}" for worth in by_worth]
    lines = [
        f"## {title}",
        "",
        f"{len(paths)} seeds; a unit of the target is worth so many {MONEY[title]}. Net value lost "
        "to hindsight, as a share of what could be gained, mean over seeds:",
        "",
        *table(["stops", *worths, "all worths", "more than the rule"], rows),
        "",
        "Money spent over that of the stop with the largest net value in hindsight / over that of "
        "an oracle that stops once it holds the best of all, medians over seeds (none where most "
        "oracles spend nothing):",
        "",
        *table(["stops", *worths], spends),
        "",
    ]
    return lines, {str(worth): each for worth, each in by_worth.items()}


def main() -> None:
    """Replay, and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--described", type=Path, default=None)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "planning_stopping")
    options = parser.parse_args()
    made = provenance(
        command("benchmarks.planning.stopping", options), ("numpy", "scipy", "scikit-learn")
    )
    seeds = range(options.first, options.first + options.seeds)
    frameworks, others = crafted(options.described), cofs()
    paths = {
        "CRAFTED": [crafted_path(frameworks, seed) for seed in seeds],
        "COFs": [cof_path(others, seed) for seed in seeds],
    }
    lines, content = [], {}
    for title, each in paths.items():
        some, content[title] = section(title, each)
        lines += some
    write_page(options.out, "When to stop", [*__doc__.splitlines()[4:8], "", *lines], content, made)


if __name__ == "__main__":
    main()
