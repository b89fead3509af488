"""Fill logs that held-out holes lack, beside means, neighbours, chained regressions and boosting.

    python -m benchmarks.lithology_impute --force PATH --ocean PATH

One log after the other is hidden from all held-out holes and compared where it is known. FORCE:
NPHI, RHOB and DTC on the four splits of `benchmarks.lithology`; ocean drilling: vp on four splits
with a quarter of the holes held out.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from benchmarks.lithology import WELLS
from benchmarks.pages import RESULTS, command, provenance, table, write_page
from numpy.typing import NDArray

from variolite.recipe import load_recipe
from variolite.records import read_table, split_groups
from variolite.scoring.imputation import calibrate, hide, predict
from variolite.scoring.supervised import Logs, less_half_median, with_context
from variolite.training import fit_tabular, members_for
from variolite.training.run import Prepared, prepare

Array = NDArray[np.float64]

SETS = {
    "force": ("neutron_porosity", "bulk_density", "sonic_slowness"),
    "ocean": ("sonic_velocity",),
}
HEADERS = {
    "neutron_porosity": "NPHI",
    "bulk_density": "RHOB",
    "sonic_slowness": "DTC",
    "sonic_velocity": "vp",
}
SPLITS = 4
TRAIN_ROWS, TRIAL_ROWS, TEST_ROWS, FEW_ROWS = 60_000, 10_000, 20_000, 20_000
LEVEL = 0.9
MODEL = "corelogs/impute"


def cut(name: str, frame: pl.DataFrame, index: int, recipe: Any) -> Prepared:
    """Bind a table to the recipe, split as elsewhere."""
    if name == "force":
        split = WELLS["force"].splits(frame[WELLS["force"].well].to_numpy())[index]
    else:
        groups = prepare(recipe, frame).records.group
        assert groups is not None
        split = split_groups(groups, test=0.25, validation=0.1, seed=index)
    return prepare(recipe, frame, split=split)


def read(name: str, path: Path) -> pl.DataFrame:
    frame = read_table(path)
    return frame.drop(WELLS["force"].unused) if name == "force" else frame


# Baselines. Each has candidates, fitted on training holes, of which validation holes choose one;
# that is fitted again on training and validation holes.

Fit = Callable[[Array, Array], Callable[[Array], Array]]


def _mean(_: Array, y: Array) -> Callable[[Array], Array]:
    return lambda scored: np.full(len(scored), y.mean())


def _neighbours(k: int) -> Fit:
    def fit(x: Array, y: Array) -> Callable[[Array], Array]:
        from sklearn.neighbors import KNeighborsRegressor

        model = KNeighborsRegressor(k).fit(np.nan_to_num(x[:FEW_ROWS]), y[:FEW_ROWS])
        return lambda scored: np.asarray(model.predict(np.nan_to_num(scored)))

    return fit


def _chained(x: Array, y: Array) -> Callable[[Array], Array]:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    model = IterativeImputer(max_iter=10, keep_empty_features=True)
    with warnings.catch_warnings(action="ignore"):  # what still moves is far below noise
        model.fit(np.column_stack([x, y])[:FEW_ROWS])
    nothing = np.nan
    return lambda scored: model.transform(np.c_[scored, np.full(len(scored), nothing)])[:, -1]


def _boosting(**settings: float) -> Fit:
    def fit(x: Array, y: Array) -> Callable[[Array], Array]:
        from sklearn.ensemble import HistGradientBoostingRegressor

        model = HistGradientBoostingRegressor(early_stopping=False, random_state=0, **settings)
        return model.fit(x, y).predict

    return fit


_COMMON = {"l2_regularization": 20.0, "max_features": 0.4}
_BOOSTING = [
    {"max_iter": 150, "learning_rate": 0.1, "max_leaf_nodes": 8, "min_samples_leaf": 100},
    {"max_iter": 300, "learning_rate": 0.05, "max_leaf_nodes": 16, "min_samples_leaf": 200},
]

# By method: candidates, each a name of features and a fit.
METHODS: dict[str, list[tuple[str, Fit]]] = {
    "column mean": [("row", _mean)],
    "nearest neighbours": [("row", _neighbours(k)) for k in (30, 100, 300)],
    "iterative imputer": [("row", _chained), ("context", _chained)],
    "boosting, single rows": [("row", _boosting(**s, **_COMMON)) for s in _BOOSTING],
    "boosting, depth context": [
        (features, _boosting(**s, **_COMMON)) for s in _BOOSTING for features in ("context", "both")
    ],
}


def features_of(values: Array, group: NDArray[np.str_], order: Array) -> dict[str, Array]:
    """Features [n, f]; column j of each block of d belongs to input j.

    Running means and deviations over 5, 21 and 81 rows of the logs as they are, or less half the
    median of the hole.
    """
    logs = Logs(values, group, order)
    # with_context takes off half the median, which of logs plus their median is the median.
    plain = with_context(Logs(values + 2.0 * (values - less_half_median(logs)), group, order))
    half = with_context(logs)
    d = values.shape[1]
    return {
        "row": values,
        "context": plain,
        "both": np.column_stack([plain, half[:, :d]]),
    }


def r2(truth: Array, found: Array) -> float:
    return float(1.0 - np.mean((truth - found) ** 2) / truth.var())


def baselines(
    features: Mapping[str, Array], column: int, truth: Array, parts: Mapping[str, Array], d: int
) -> dict[str, tuple[Array, str]]:
    """Predictions of every method on the test rows, and which candidate was chosen."""
    found = {}
    for method, candidates in METHODS.items():
        tried = []
        for number, (name, fit) in enumerate(candidates):
            x = features[name]
            x = x[:, np.arange(x.shape[1]) % d != column]
            value = 0.0
            if len(candidates) > 1:
                train, trial = parts["train"], parts["validation"]
                value = r2(truth[trial], fit(x[train], truth[train])(x[trial]))
            tried.append((value, number, x))
        value, number, x = max(tried, key=lambda one: one[:2])
        known = parts["known"]
        predicted = candidates[number][1](x[known], truth[known])(x[parts["test"]])
        found[method] = (np.asarray(predicted), f"{candidates[number][0]} {number}, R2 {value:.3f}")
    return found


def score_split(
    job: tuple[str, int], paths: Mapping[str, Path], members: int, overrides: tuple[str, ...]
) -> tuple[pl.DataFrame, list[str]]:
    """Sums over the rows of every hole, for every target and method of one split."""
    name, index = job
    recipe = load_recipe(MODEL, overrides)
    prepared = cut(name, read(name, paths[name]), index, recipe)
    began = time.process_time()
    fitted = fit_tabular(
        prepared.schema,
        prepared.part("train"),
        prepared.part("validation"),
        recipe.model,
        recipe.training,
        members_for(recipe.training, recipe.model, seeds=members),
        device="cpu",
    )
    seconds = time.process_time() - began
    model = fitted.model
    calibration = calibrate(model, prepared.part("train"), prepared.part("validation"))
    log = [
        f"{name} {index}: {len(fitted.history)} epochs, {seconds:.0f} CPU-s for {members} members"
    ]
    records = prepared.records
    assert records.group is not None
    assert records.order is not None
    rows = prepared.split.rows(records.group)
    values = np.where(records.observed, records.numeric, np.nan).astype(np.float64)
    features = features_of(values, records.group, records.order)
    tables = []
    for target in SETS[name]:
        column = model.schema.numeric_names.index(target)
        source = np.random.default_rng(index)
        known = {
            part: source.permutation(own[records.observed[own, column]])
            for part, own in rows.items()
        }
        parts = {
            "train": known["train"][:TRAIN_ROWS],
            "validation": known["validation"][:TRIAL_ROWS],
            "known": source.permutation(np.r_[known["train"], known["validation"]])[:TRAIN_ROWS],
            "test": known["test"][:TEST_ROWS],
        }
        truth = values[:, column]
        test = parts["test"]
        found = baselines(features, column, truth, parts, values.shape[1])
        log += [f"{name} {index}, {target}, {m}: {choice}" for m, (_, choice) in found.items()]
        hidden = hide(records.take(rows["test"]), column)
        mean, deviation = predict(model, hidden, np.searchsorted(rows["test"], test))
        width = calibration.of(target).half_width(LEVEL) * deviation[:, column]
        fit, value = model.schema.numeric[target], mean[:, column]
        low, high = (fit.inverse(end) for end in (value - width, value + width))
        predictions = {method: predicted for method, (predicted, _) in found.items()}
        predictions[MODEL] = value
        raw = records.raw[test, column]
        inside = (low <= raw) & (raw <= high)
        clipped = raw if fit.clip is None else raw.clip(*fit.clip)
        for method, predicted in predictions.items():
            ours = method == MODEL
            frame = pl.DataFrame(
                {
                    "hole": records.group[test],
                    "squares": (truth[test] - predicted) ** 2,
                    "total": (truth[test] - truth[test].mean()) ** 2,
                    "units": (clipped - fit.inverse(predicted)) ** 2,
                    "inside": inside if ours else np.full(len(test), np.nan),
                    "width": high - low if ours else np.full(len(test), np.nan),
                }
            )
            sums = frame.group_by("hole").agg(pl.all().cast(pl.Float64).sum(), n=pl.len())
            keys = {"set": name, "split": index, "target": target, "method": method}
            tables.append(sums.sort("hole").with_columns(**{k: pl.lit(v) for k, v in keys.items()}))
        scores = {method: r2(truth[test], one) for method, one in predictions.items()}
        ours = scores.pop(MODEL)
        log.append(
            f"{name} {index}, {target}, model: R2 {ours:.3f}, best baseline "
            f"{max(scores.values()):.3f}, "
            f"inside {inside.mean():.3f}, R2 on validation {calibration.of(target).r2:.3f}"
        )
    print("\n".join(log), file=sys.stderr, flush=True)
    return pl.concat(tables), log


def bootstrap(sums: pl.DataFrame, draws: int = 2000) -> Array:
    """Weights of holes [draws, holes]: how often each is drawn."""
    holes = sums["hole"].n_unique()
    source = np.random.default_rng(0)
    return source.multinomial(holes, np.full(holes, 1.0 / holes), size=draws).astype(float)


def summarise(sums: pl.DataFrame) -> list[dict[str, Any]]:
    """R2, RMSE, coverage and width by target and method, with intervals over holes."""
    entries = []
    for (name, target), part in sums.group_by("set", "target", maintain_order=True):
        by_hole = part.group_by("method", "hole").agg(
            pl.col("squares", "total", "units", "inside", "width", "n").sum()
        )
        wide = {
            str(m): own.sort("hole")
            for (m,), own in by_hole.group_by("method", maintain_order=True)
        }
        weights = bootstrap(part)
        per_split = part.group_by("method", "split").agg(
            r2=1.0 - pl.col("squares").sum() / pl.col("total").sum()
        )
        spread = {
            str(m): own["r2"] for (m,), own in per_split.group_by("method", maintain_order=True)
        }
        best = min((m for m in wide if m != MODEL), key=lambda m: wide[m]["squares"].sum())
        for method, own in wide.items():
            squares, total, units, n = (
                own[c].to_numpy() for c in ("squares", "total", "units", "n")
            )
            entry: dict[str, Any] = {
                "set": name,
                "target": HEADERS[str(target)],
                "method": method,
                "best_baseline": method == best,
                "r2": 1.0 - squares.sum() / total.sum(),
                "r2_interval": np.quantile(
                    1.0 - weights @ squares / (weights @ total), [0.025, 0.975]
                ),
                "r2_splits": spread[method].sort().to_list(),
                "rmse": np.sqrt(units.sum() / n.sum()),
                "holes": len(n),
            }
            if method == MODEL:
                rival = wide[best]["squares"].to_numpy()
                gain = (weights @ (rival - squares)) / (weights @ total)
                inside = own["inside"].to_numpy()
                entry |= {
                    "gain": (rival - squares).sum() / total.sum(),
                    "gain_interval": np.quantile(gain, [0.025, 0.975]),
                    "coverage": inside.sum() / n.sum(),
                    "coverage_interval": np.quantile(
                        weights @ inside / (weights @ n), [0.025, 0.975]
                    ),
                    "coverage_of_holes": np.quantile(inside / n, [0.1, 0.25, 0.5, 0.75, 0.9]),
                    "width": own["width"].to_numpy().sum() / n.sum(),
                }
            entries.append(entry)
    return entries


def page(entries: list[dict[str, Any]], log: list[str], units: Mapping[str, str]) -> list[str]:
    """Lines of Markdown."""

    def interval(pair: Any) -> str:
        return f"{pair[0]:+.3f} to {pair[1]:+.3f}"

    lines = [
        "One log is hidden from all held-out holes, and compared where it is known, at up to "
        f"{TEST_ROWS:,} rows of a split. R2 is of values in transformed units, for these logs "
        "their own, standardised and clipped to the training 0.1 and 99.9 %; squares of all "
        "splits are summed up. Intervals are 95 % bootstraps over holes. Settings of the "
        "baselines are chosen on validation holes; they are then fitted on training and validation "
        f"holes, at {TRAIN_ROWS:,} rows (neighbours and iterative imputer {FEW_ROWS:,}). Boosting "
        "and iterative imputer get the logs around each row too, as the model does.",
        "",
    ]
    rows = [
        [
            f"{e['target']}, {e['method']}{' (best baseline)' if e['best_baseline'] else ''}",
            f"{e['r2']:.3f}",
            f"{e['r2_interval'][0]:.3f} to {e['r2_interval'][1]:.3f}",
            " ".join(f"{value:.3f}" for value in e["r2_splits"]),
            f"{e['rmse']:.3g} {units.get(e['target'], '')}",
        ]
        for e in sorted(entries, key=lambda e: (e["set"], e["target"], e["r2"]))
    ]
    lines += table(["log, method", "R2", "interval", "splits, ascending", "RMSE"], rows)
    ours = [e for e in entries if e["method"] == MODEL]
    lines += ["", f"`{MODEL}` less the best baseline, and its intervals of {LEVEL:.0%}:", ""]
    rows = [
        [
            e["target"],
            f"{e['gain']:+.3f} ({interval(e['gain_interval'])})",
            f"{e['coverage']:.3f} ({e['coverage_interval'][0]:.3f} to "
            f"{e['coverage_interval'][1]:.3f})",
            " ".join(f"{value:.2f}" for value in e["coverage_of_holes"]),
            f"{e['width']:.3g} {units.get(e['target'], '')}",
            str(e["holes"]),
        ]
        for e in ours
    ]
    head = ["log", "gain in R2", "coverage", "of holes: 10 25 50 75 90 %", "mean width", "holes"]
    lines += [*table(head, rows), "", "What was chosen, split by split:", ""]
    return lines + [f"- {line}" for line in log]


UNITS = {"NPHI": "m3/m3", "RHOB": "g/cm3", "DTC": "us/ft", "vp": "km/s"}


def main() -> None:
    """Parse, score all splits, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--force", type=Path, help="FORCE 2020 wells")
    parser.add_argument("--ocean", type=Path, help="ocean drilling holes")
    parser.add_argument("--splits", nargs="+", type=int, default=list(range(SPLITS)))
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--set", nargs="+", default=[], help="changes of the recipe")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    paths = {name: getattr(arguments, name) for name in SETS if getattr(arguments, name)}
    options = vars(arguments) | {name: path.name for name, path in paths.items()}
    made = provenance(
        command("benchmarks.lithology_impute", argparse.Namespace(**options)),
        ("scikit-learn", "numpy", "torch"),
    )
    jobs = [(name, index) for name in paths for index in arguments.splits]
    work = partial(
        score_split, paths=paths, members=arguments.members, overrides=tuple(arguments.set)
    )
    if arguments.processes > 1:
        context = get_context("spawn")
        with ProcessPoolExecutor(arguments.processes, mp_context=context) as pool:
            done = list(pool.map(work, jobs))
    else:
        done = list(map(work, jobs))
    entries = summarise(pl.concat([sums for sums, _ in done]))
    log = [line for _, lines in done for line in lines]
    write_page(
        arguments.results / "lithology_impute",
        "Logs that held-out holes lack",
        page(entries, log, UNITS),
        {"entries": entries, "log": log},
        made,
    )


if __name__ == "__main__":
    main()
