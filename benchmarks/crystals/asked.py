"""How well samples obey: properties that are asked for, and the lowest energy of several draws.

    python -m benchmarks.crystals.asked
    python -m benchmarks.crystals.asked --number 60 --energies 24    a trial

Asks the shipped model mp_20 for six values of the band gap and of the formation energy over their
usual ranges, with and without the choice of compositions. Three evaluators, none of which chooses
a sample: the independent head of the model; boosted trees fitted to the test rows, which no part
of the model has seen; and, for formation energies, CHGNet. Then scores samples as they are drawn,
the lowest of 16 draws, and the baselines without learning beside each other on the offline hull.
Writes ``benchmarks/results/crystal_asked.md`` and ``.json``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from benchmarks.crystals.clock import Clock
from benchmarks.crystals.sets import FOLDER, SETS
from benchmarks.crystals.tables import values_of_rows
from benchmarks.pages import RESULTS, command, provenance, table, write_page
from sklearn.ensemble import HistGradientBoostingRegressor

from variolite.crystals.crystal_model import CrystalModel
from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.evaluation import read_hull, references_from, score_generation
from variolite.crystals.evaluation.fingerprints import (
    average_minimum_distances,
    element_fractions,
)
from variolite.crystals.evaluation.metrics import formula_interval, parted, weighted_spearman
from variolite.crystals.generation.best_of import lowest_of
from variolite.crystals.generation.properties import composition_descriptors
from variolite.crystals.generation.sampling import Sampling
from variolite.crystals.potential.features import energy_function
from variolite.crystals.potential.potential import potential_title
from variolite.scoring import format_value
from variolite.shipped import shipped_run
from variolite.training import RunFolder

PROPERTIES = ("band_gap", "formation_energy_per_atom")
VALUES = 6
DRAWS = 16
BOUNDS = ("mean", "low", "high")
SHOWN = ("e_above_hull_median", "stable", "metastable", "sun", "msun", "novel", "valid")

Evaluator = Callable[[Crystals], np.ndarray]


def main() -> None:
    """Parse, ask, score, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=300, help="samples for each property")
    parser.add_argument("--energies", type=int, default=300, help="samples scored by energy")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    home = shipped_run("mp_20")
    assert home is not None
    model: CrystalModel = RunFolder(home).model()
    parts = SETS["mp_20"](arguments.data)
    energies = energy_function()
    made = provenance(command("benchmarks.crystals.asked", arguments), ("chgnet", "scikit-learn"))
    references = references_from(parts.train, energies)

    def by_chgnet(crystals: Crystals) -> np.ndarray:
        return references.formation_energies(element_fractions(crystals), energies(crystals))

    asked = {}
    for name in PROPERTIES:
        evaluators = {
            "independent head": _by_head(model, name),
            "boosted trees": _trees(parts, name),
        }
        if name == "formation_energy_per_atom":
            evaluators[potential_title()] = by_chgnet
        asked[name] = _ask(model, name, evaluators, arguments)
    content: dict[str, Any] = {"number": arguments.number, "asked": asked}
    if arguments.energies:
        content["stability"] = _stability(model, parts, energies, arguments)
    title = "Properties and stability of samples of `mp_20`"
    write_page(arguments.results / "crystal_asked", title, _page(content), content, made)


def _by_head(model: CrystalModel, name: str) -> Evaluator:
    assert model.selection is not None
    head = model.selection.independent
    place = head.about.names.index(name)
    return lambda some: head.predict(model.encode(some), some.species).values[:, place]


def _trees(parts: Any, name: str) -> Evaluator:
    """Fit boosted trees to the test rows whose formulas no training row has."""
    rows = parts.test.take(parts.unseen_formulas)
    elements = tuple(np.unique(parts.train.species).tolist())

    def described(some: Crystals) -> np.ndarray:
        per_atom = (some.volumes / some.counts)[:, None]
        distances = average_minimum_distances(some, 16)
        composition = composition_descriptors(some.offsets, some.species, elements)
        return np.concatenate([composition, per_atom, distances], axis=1)

    trees = HistGradientBoostingRegressor(max_iter=300, learning_rate=0.07, max_leaf_nodes=24)
    trees.fit(described(rows), rows.properties[name])
    return lambda some: trees.predict(described(some))


def _ask(
    model: CrystalModel,
    name: str,
    evaluators: Mapping[str, Evaluator],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    assert model.selection is not None
    _, low, high, _ = model.selection.range_of(name)
    values, each = np.linspace(low, high, VALUES), arguments.number // VALUES
    found: dict[str, Any] = {"values": values.tolist(), "evaluators": {}}
    for title, one in (("chosen", model), ("drawn", replace(model, selection=None))):
        clock, made = Clock(), []
        for turn, value in enumerate(values.tolist()):
            sampling = Sampling({name: value}, seed=arguments.seed + turn)
            made.append(one.sample(each, sampling).crystals)
        crystals, asked = Crystals.concatenate(made), np.repeat(values, each)
        found[f"seconds_{title}"] = clock.processor
        formulas = reduced_formulas(crystals)
        for evaluator, predict in evaluators.items():
            predicted = predict(crystals)
            known = np.isfinite(predicted)
            statistic = weighted_spearman(asked[known], predicted[known])
            interval = formula_interval(formulas[known], statistic, bounds=(-1.0, 1.0))
            found["evaluators"].setdefault(evaluator, {})[title] = {
                "spearman": (interval.mean, interval.low, interval.high),
                "error": float(np.abs(asked - predicted)[known].mean()),
                "medians": [float(np.nanmedian(predicted[asked == value])) for value in values],
                "crystals": int(known.sum()),
            }
        print(name, title, {k: v[title] for k, v in found["evaluators"].items()}, flush=True)
    return found


def _stability(
    model: CrystalModel, parts: Any, energies: Evaluator, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Score samples as drawn with the baselines beside them, and the lowest of several draws."""
    sampling, title = Sampling(seed=arguments.seed), potential_title()
    made = model.sample(arguments.energies, sampling).crystals
    clock = Clock()
    lowest = lowest_of(model, made, DRAWS, energies, sampling)
    seconds = clock.processor
    settings = {
        "test": parts.test,
        "energies": energies,
        "hull": read_hull(arguments.data / "hull/mp20_hull.parquet"),
        "potential": title,
    }
    drawn = score_generation(made, parts.train, baselines=True, **settings)
    best = score_generation(lowest.crystals, parts.train, **settings)
    rows = {"as drawn": drawn.samples, f"lowest of {DRAWS}": best.samples, **drawn.beside}
    return {
        "potential": title,
        "number": arguments.energies,
        "seconds": seconds,
        "gain": float(np.nan_to_num(lowest.first - lowest.energies).mean()),
        "rows": {name: values_of_rows(own) for name, own in rows.items()},
        "notes": drawn.notes,
    }


def _page(content: Mapping[str, Any]) -> list[str]:
    lines = [
        "Six values over the usual range of each property (2 to 98 % of the training crystals) are "
        f"asked for, {content['number'] // VALUES} samples each. Chosen: of 16 compositions for "
        "each sample that nearest to what was asked for, by a head fitted to compositions of one "
        "half of the training formulas. Drawn: the first composition, as the prior alone gives it. "
        "Evaluators choose nothing: the independent head is fitted to the other half, with "
        "latents; boosted trees to the test rows of formulas that no training row has. Intervals "
        "(95 %) are a bootstrap over formulas.",
        "",
    ]
    for name, found in content["asked"].items():
        rows = [
            [
                evaluator,
                way,
                format_value(*one["spearman"]),
                f"{one['error']:.2f}",
                ", ".join(f"{value:.2f}" for value in one["medians"]),
            ]
            for evaluator, ways in found["evaluators"].items()
            for way, one in ways.items()
        ]
        heads = ["evaluator", "compositions", "Spearman", "mean absolute difference, eV"]
        lines += [
            f"## {name}: {', '.join(f'{value:.2f}' for value in found['values'])}",
            "",
            *table([*heads, "medians by value"], rows),
            "",
            f"Processor time for {content['number']}: {found['seconds_chosen']:.0f} s chosen, "
            f"{found['seconds_drawn']:.0f} s drawn.",
            "",
        ]
    if "stability" in content:
        lines += _stability_lines(content["stability"])
    return lines


def _stability_lines(found: Mapping[str, Any]) -> list[str]:
    values = {
        method: {parted(row["metric"])[0]: row for row in rows}
        for method, rows in found["rows"].items()
    }
    rows = [
        [metric, *(format_value(*(own[metric][k] for k in BOUNDS)) for own in values.values())]
        for metric in SHOWN
    ]
    return [
        f"## Lowest energy of {DRAWS} draws, beside baselines without learning",
        "",
        f"{found['number']} of each, as drawn (nothing is relaxed), energies by "
        f"{found['potential']}. Choosing took {found['seconds']:.0f} s of processor time and "
        f"lowered the energy by {found['gain']:.3f} eV/atom on average.",
        "",
        *table([f"quantity ({found['potential']} where energies are needed)", *values], rows),
        "",
        *(f"- {note}" for note in found["notes"]),
    ]


if __name__ == "__main__":
    main()
