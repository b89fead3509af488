"""The Gaussian process of planning beside that of scikit-learn, alone and averaged with the trees.

    python -m benchmarks.planning.surrogates --described TABLE        about 15 minutes

Rows drawn at random are learnt from, all others predicted; features are scaled by the rows that
are known. Differences are paired by the rows drawn.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from benchmarks.pages import RESULTS, command, provenance, table, write_page
from benchmarks.planning.tables import Floats, cofs, crafted
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from variolite.planning.gaussian_process import GaussianProcess
from variolite.planning.surrogate import Model, Surrogate, Trees, averaged
from variolite.scoring import bootstrap_interval

ROWS = (30, 100)


class OnlyTrees(Surrogate):
    """The trees without the Gaussian process."""

    def models(self, x: Floats, y: Floats, *_: Any) -> tuple[Model, ...]:
        return (Trees().fit(x, y, self.seed),)


class OnlyProcess(Surrogate):
    """The Gaussian process without the trees."""

    def models(
        self, x: Floats, y: Floats, noise: Floats, like: Sequence[Any] = ()
    ) -> tuple[Model, ...]:
        return (GaussianProcess().fit(x, y, noise, like[0].parameters if like else None),)


KINDS = {"default": Surrogate, "trees": OnlyTrees, "gp": OnlyProcess}


class Theirs:
    """scikit-learn's, Matern 5/2 with one length scale, or one per feature, and learnt noise."""

    def __init__(self, per_feature: bool) -> None:
        self.per_feature = per_feature

    def fit(self, x: Floats, y: Floats) -> Self:
        root = x.shape[1] ** 0.5
        scales = np.full(x.shape[1], root) if self.per_feature else root
        kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(scales, (5e-2, 1e4), nu=2.5)
        noise = WhiteKernel(0.1, (1e-4, 3.0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # Of irrelevant features' scales.
            self.model = GaussianProcessRegressor(kernel + noise, normalize_y=True).fit(x, y)
        return self

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        return self.model.predict(x, return_std=True)


PROCESSES = {
    "ours": GaussianProcess,
    "scikit-learn, one scale": lambda: Theirs(per_feature=False),
    "scikit-learn, a scale per feature": lambda: Theirs(per_feature=True),
}


def sparse(rows: int = 600, features: int = 40) -> tuple[Floats, Floats]:
    """Make up a table in which three features matter."""
    x = np.random.default_rng(0).normal(size=(rows, features))
    return x, x[:, 0] + np.sin(2 * x[:, 1]) + x[:, 2] ** 2 / 2


def compare(x: Floats, y: Floats, known: int, seeds: int) -> dict[str, dict[str, list[float]]]:
    """R2 on all other rows of each process, alone and averaged with the trees, and seconds."""
    found: dict[str, dict[str, list[float]]] = {
        name: {"alone": [], "averaged": [], "seconds": []} for name in PROCESSES
    }
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(y))
        seen, left = order[:known], order[known:]
        spread = x[seen].std(axis=0)
        scaled = (x - x[seen].mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)
        trees = Trees().fit(scaled[seen], y[seen], seed)
        for name, process in PROCESSES.items():
            begin = time.perf_counter()
            model = process().fit(scaled[seen], y[seen])
            found[name]["seconds"].append(time.perf_counter() - begin)
            for key, models in (("alone", [model]), ("averaged", [model, trees])):
                away = y[left] - averaged(models, scaled[left])[0]
                found[name][key].append(float(1.0 - np.mean(away**2) / np.var(y[left])))
    return found


def _text(values: Sequence[float], sign: str = "") -> str:
    array = np.array(values)
    found = bootstrap_interval(lambda drawn: (drawn @ array)[:, None] / len(array), len(array))
    return "{:{s}.3f} ({:{s}.3f} to {:{s}.3f})".format(found.mean, found.low, found.high, s=sign)


def main() -> None:
    """Compare on four tables, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--described", type=Path, default=None)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS / "planning_surrogates")
    options = parser.parse_args()
    made = provenance(
        command("benchmarks.planning.surrogates", options), ("numpy", "scipy", "scikit-learn")
    )
    frameworks, xenon = crafted(options.described), cofs()
    done = np.isfinite(frameworks.process)
    tables = {
        "CRAFTED, CO2 uptake": (frameworks.features, frameworks.target),
        "CRAFTED, process figure": (frameworks.features[done], frameworks.process[done]),
        "COFs, Xe/Kr selectivity": (xenon.features, xenon.target),
        "made up, 3 of 40 features matter": sparse(),
    }
    rows, content = [], {}
    for title, (x, y) in tables.items():
        for known in ROWS:
            found = compare(x, y, known, options.seeds)
            content[f"{title}, {known} rows"] = found
            ours = np.array(found["ours"]["averaged"])
            for name, each in found.items():
                more = "" if name == "ours" else _text(ours - each["averaged"], "+")
                seconds = f"{np.median(each['seconds']):.2f}"
                rows.append(
                    [f"{title} ({x.shape[1]}), {known} rows", name]
                    + [_text(each[key]) for key in ("alone", "averaged")]
                    + [more, seconds]
                )
            print(title, known, flush=True)
    head = ["table (features)", "process", "R2 alone", "with the trees", "ours more", "seconds"]
    lines = [
        f"{options.seeds} draws of the rows that are known; R2 is on all others. In brackets: 95 % "
        "intervals over draws. Seconds are those of a fit, the median.",
        "",
        *table(head, rows),
    ]
    write_page(options.out, "Gaussian processes for planning", lines, content, made)


if __name__ == "__main__":
    main()
