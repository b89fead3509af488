"""How well samples obey: properties that are asked for, and the lowest energy of several draws.

    python -m benchmarks.crystals.asked
    python -m benchmarks.crystals.asked --number 60 --energies 24    a trial

Asks the shipped model mp_20 for six values of the band gap and of the formation energy over their
usual ranges, with and without the choice of compositions. Three judges, none of which chooses:
the independent head of the model; boosted trees fitted to the test rows, which no part of the
model has seen; and, for formation energies, CHGNet. Then scores samples as they are drawn, the
lowest of 16 draws, and the baselines without learning beside each other on the offline hull.
Writes ``benchmarks/results/crystal_asked.md`` and ``.json``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from benchmarks.crystals.commands import Clock, plain, spelled
from benchmarks.crystals.sets import FOLDER, SETS
from benchmarks.speed.machine import describe, load
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
from variolite.records import write_text_atomic
from variolite.scoring import format_value
from variolite.shipped import shipped_run
from variolite.training import RunFolder

RESULTS = Path(__file__).resolve().parents[1] / "results"
PROPERTIES = ("band_gap", "formation_energy_per_atom")
VALUES = 6
DRAWS = 16
SHOWN = ("e_above_hull_median", "stable", "metastable", "sun", "msun", "novel", "valid")

Judge = Callable[[Crystals], np.ndarray]


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
    head = {"command": spelled("benchmarks.crystals.asked", arguments), "machine": describe()}
    references = references_from(parts.train, energies)

    def by_chgnet(crystals: Crystals) -> np.ndarray:
        return references.formation_energies(element_fractions(crystals), energies(crystals))

    asked = {}
    for name in PROPERTIES:
        judges = {"independent head": _by_head(model, name), "boosted trees": _trees(parts, name)}
        if name == "formation_energy_per_atom":
            judges[potential_title()] = by_chgnet
        asked[name] = _ask(model, name, judges, arguments)
    content = {**head, "load": load(), "number": arguments.number, "asked": asked}
    if arguments.energies:
        content["stability"] = _stability(model, parts, energies, arguments)
    arguments.results.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plain(content), indent=1)
    write_text_atomic(arguments.results / "crystal_asked.json", text + "\n")
    page = arguments.results / "crystal_asked.md"
    write_text_atomic(page, "\n".join(_page(content)) + "\n")
    print(page)


def _by_head(model: CrystalModel, name: str) -> Judge:
    assert model.selection is not None
    head = model.selection.independent
    place = head.about.names.index(name)
    return lambda some: head.predict(model.encode(some), some.species).values[:, place]


def _trees(parts: Any, name: str) -> Judge:
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
    model: CrystalModel, name: str, judges: Mapping[str, Judge], arguments: argparse.Namespace
) -> dict[str, Any]:
    assert model.selection is not None
    _, low, high, _ = model.selection.range_of(name)
    values, each = np.linspace(low, high, VALUES), arguments.number // VALUES
    found: dict[str, Any] = {"values": values.tolist(), "judges": {}}
    for title, one in (("chosen", model), ("drawn", replace(model, selection=None))):
        clock, made = Clock(), []
        for turn, value in enumerate(values.tolist()):
            sampling = Sampling({name: value}, seed=arguments.seed + turn)
            made.append(one.sample(each, sampling).crystals)
        crystals, asked = Crystals.concatenate(made), np.repeat(values, each)
        found[f"seconds_{title}"] = clock.processor
        formulas = reduced_formulas(crystals)
        for judge, predict in judges.items():
            predicted = predict(crystals)
            known = np.isfinite(predicted)
            statistic = weighted_spearman(asked[known], predicted[known])
            interval = formula_interval(formulas[known], statistic, bounds=(-1.0, 1.0))
            found["judges"].setdefault(judge, {})[title] = {
                "spearman": (interval.mean, interval.low, interval.high),
                "error": float(np.abs(asked - predicted)[known].mean()),
                "medians": [float(np.nanmedian(predicted[asked == value])) for value in values],
                "crystals": int(known.sum()),
            }
        print(name, title, {k: v[title] for k, v in found["judges"].items()}, flush=True)
    return found


def _stability(
    model: CrystalModel, parts: Any, energies: Judge, arguments: argparse.Namespace
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
        "rows": {name: [asdict(row) for row in own] for name, own in rows.items()},
        "notes": drawn.notes,
    }


def _page(content: Mapping[str, Any]) -> list[str]:
    lines = [
        "# Samples that obey",
        "",
        "By `benchmarks/crystals/asked.py`, with the shipped model `mp_20`:",
        "",
        f"    {content['command']}",
        "",
        f"Machine: {content['machine']}; load {content['load'] or 0.0:.1f}.",
        "",
        "Six values over the usual range of each property (2 to 98 % of the training crystals) are "
        f"asked for, {content['number'] // VALUES} samples each. Chosen: of 16 compositions for "
        "each sample that nearest to what was asked for, by a head fitted to compositions of one "
        "half of the training formulas. Drawn: the first composition, as the prior alone gives it. "
        "Judges choose nothing: the independent head is fitted to the other half, with latents; "
        "boosted trees to the test rows of formulas that no training row has. Intervals (95 %) are "
        "a bootstrap over formulas.",
        "",
    ]
    for name, found in content["asked"].items():
        values = ", ".join(f"{value:.2f}" for value in found["values"])
        lines += [
            f"## {name}: {values}",
            "",
            "| judge | way | Spearman | mean absolute difference, eV | medians by value |",
            "|---|---|---|---|---|",
        ]
        for judge, ways in found["judges"].items():
            for way, one in ways.items():
                medians = ", ".join(f"{value:.2f}" for value in one["medians"])
                cells = [judge, way, format_value(*one["spearman"]), f"{one['error']:.2f}", medians]
                lines.append("| " + " | ".join(cells) + " |")
        lines += [
            "",
            f"Processor time for {content['number']}: {found['seconds_chosen']:.0f} s chosen, "
            f"{found['seconds_drawn']:.0f} s drawn.",
            "",
        ]
    if "stability" in content:
        lines += _stability_lines(content["stability"])
    return lines


def _stability_lines(found: Mapping[str, Any]) -> list[str]:
    table = {
        method: {parted(row["metric"])[0]: row for row in rows}
        for method, rows in found["rows"].items()
    }
    lines = [
        f"## Lowest energy of {DRAWS} draws, beside baselines without learning",
        "",
        f"{found['number']} of each, as drawn (nothing is relaxed), energies by "
        f"{found['potential']}. Choosing took {found['seconds']:.0f} s of processor time and "
        f"lowered the energy by {found['gain']:.3f} eV/atom on average.",
        "",
        f"| quantity ({found['potential']} where energies are needed) | {' | '.join(table)} |",
        "|---|" + "---|" * len(table),
    ]
    for metric in SHOWN:
        cells = (
            format_value(row["mean"], row["low"], row["high"])
            for row in (rows[metric] for rows in table.values())
        )
        lines.append(f"| {metric} | " + " | ".join(cells) + " |")
    return [*lines, "", *(f"- {note}" for note in found["notes"]), ""]


if __name__ == "__main__":
    main()
