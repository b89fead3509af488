"""The property head's regressions beside those of scikit-learn, on compositions never seen.

    python -m benchmarks.crystals.property_head

Latents of the shipped MP-20 model describe crystals of its data; properties are predicted
from them for crystals of other formulas. Every method fits one model for each of five folds
of formulas, on one thread, and predicts their mean. Writes
``benchmarks/results/property_head.md`` and ``.json``.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from benchmarks.crystals.clock import Clock
from benchmarks.crystals.sets import FOLDER
from benchmarks.pages import RESULTS, command, provenance, table, write_page
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.neural_network import MLPRegressor

from variolite import CrystalVAE
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.files import load_crystals
from variolite.crystals.generation.properties import (
    FOLDS,
    PENALTIES,
    descriptors,
    fit_networks,
)
from variolite.scoring.conformal import folds_by_group

PROPERTIES = ("formation_energy_per_atom", "band_gap", "e_above_hull")
Floats = np.ndarray
Predict = Callable[[Floats, Floats, np.ndarray, Floats], Floats]
"""From training rows, targets and folds, and test rows, to predictions of each fold (K, m, P)."""


def main() -> None:
    """Fit, predict, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000, 4_500])
    parser.add_argument("--test", type=int, default=1_500)
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    made = provenance(command("benchmarks.crystals.property_head", arguments), ["scikit-learn"])
    warnings.simplefilter("ignore", ConvergenceWarning)
    crystals = load_crystals(arguments.data / "mp_20/biternary_val.csv.gz")
    vae = CrystalVAE.load("mp_20")
    strange = crystals.owner[~np.isin(crystals.species, vae.model.elements)]
    crystals = crystals.take(~np.isin(np.arange(len(crystals)), strange))
    elements = tuple(int(z) for z in np.unique(crystals.species))
    rows = descriptors(vae.encode(crystals), crystals.species, elements)
    targets = np.stack([crystals.properties[name] for name in PROPERTIES], axis=1)
    formulas = reduced_formulas(crystals)
    order = np.random.default_rng(0).permutation(len(rows))
    outcomes: dict[str, dict[str, Any]] = {}
    for number in arguments.rows:
        train, rest = order[:number], order[number:]
        test = rest[~np.isin(formulas[rest], formulas[train])][: arguments.test]
        location, scale = rows[train].mean(axis=0), rows[train].std(axis=0)
        scaled = (rows - location) / np.where(scale > 1e-9, scale, 1.0)
        mean, deviation = targets[train].mean(axis=0), targets[train].std(axis=0)
        answers = (targets[train] - mean) / deviation
        fold = folds_by_group(formulas[train], FOLDS, 0)
        for title, predict in METHODS.items():
            clock = Clock()
            found = predict(scaled[train], answers, fold, scaled[test]).mean(axis=0)
            errors = np.abs(found * deviation + mean - targets[test])
            outcomes.setdefault(title, {})[str(number)] = {
                "seconds": clock.processor,
                "error": errors.mean(axis=0).tolist(),
                "standard_error": (errors.std(axis=0) / len(test) ** 0.5).tolist(),
                "test": len(test),
            }
            print(title, number, outcomes[title][str(number)], flush=True)
    target = arguments.results / "property_head"
    title = "Regressions of the property head"
    write_page(target, title, _page(outcomes), {"outcomes": outcomes}, made)


def _networks(rows: Floats, answers: Floats, fold: np.ndarray, test: Floats) -> Floats:
    return fit_networks(rows, answers, fold, seed=0).outputs(test)


def _of(make: Callable[[int], list[Any]], *, joint: bool = True) -> Predict:
    """One model for each fold, the mean of several where ``make`` gives several."""

    def predict(rows: Floats, answers: Floats, fold: np.ndarray, test: Floats) -> Floats:
        found = np.zeros((FOLDS, len(test), answers.shape[1]))
        targets = [slice(None)] if joint else [slice(i, i + 1) for i in range(answers.shape[1])]
        for k in range(FOLDS):
            for columns in targets:
                y = answers[fold != k, columns]
                fitted = [m.fit(rows[fold != k], y if joint else y[:, 0]) for m in make(k)]
                mean = np.mean([model.predict(test) for model in fitted], axis=0)
                found[k][:, columns] = mean if joint else mean[:, None]
        return found

    return predict


def _mlp(seed: int) -> MLPRegressor:
    """The best of penalties 1e-3 to 10, sizes, batches and learning rates that were tried."""
    return MLPRegressor(
        hidden_layer_sizes=(128, 128),
        alpha=1.0,
        batch_size=128,
        learning_rate_init=2e-3,
        max_iter=60,
        random_state=seed,
    )


def _boosting(seed: int) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(loss="absolute_error", max_iter=200, random_state=seed)


METHODS: dict[str, Predict] = {
    "ridge (scikit-learn)": _of(lambda _: [RidgeCV(PENALTIES, alpha_per_target=True)]),
    "network of the head": _networks,
    "MLPRegressor (scikit-learn)": _of(lambda k: [_mlp(k)]),
    "MLPRegressor, three for each fold": _of(lambda k: [_mlp(10 * k + i) for i in range(3)]),
    "HistGradientBoostingRegressor": _of(lambda k: [_boosting(k)], joint=False),
}


def _page(outcomes: dict[str, dict[str, Any]]) -> list[str]:
    rows = [
        [
            title,
            number,
            *(
                f"{error:.4f} ± {spread:.4f}"
                for error, spread in zip(found["error"], found["standard_error"], strict=True)
            ),
            f"{found['seconds']:.1f}",
        ]
        for title, sizes in outcomes.items()
        for number, found in sizes.items()
    ]
    heads = ["formation energy, eV/atom", "band gap, eV", "above hull, eV/atom"]
    return [
        "Mean absolute error on crystals of MP-20 whose formulas are not among the training rows, "
        "with its standard error, from latents of the shipped model; processor seconds to fit "
        "three properties in five folds, one thread.",
        "",
        *table(["method", "rows", *heads, "s"], rows),
    ]


if __name__ == "__main__":
    main()
