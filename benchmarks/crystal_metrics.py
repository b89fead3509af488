"""What the scores of generated crystals say of crystals whose quality is known.

    python -m benchmarks.crystal_metrics --data FOLDER        about 5 minutes on one core

FOLDER holds mp_20 (train_head, biternary_val, biternary_test_a), mpts_52 and
hull/mp20_hull.parquet. MP-20 test rows are scored as if they had been generated, against
train_head and val as the reference; so are rows made worse in known ways. Single metrics
are compared with pymatgen and the values of the Materials Project. Writes
``benchmarks/results/crystal_metrics_on_real_rows.md`` and ``.json``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from benchmarks.crystal_metric_checks import (
    Rows,
    formation_beside_listed,
    hull_beside_others,
    matcher_beside_pymatgen,
)
from benchmarks.crystals.tables import values_of_rows
from benchmarks.pages import RESULTS, provenance, table, write_page

from variolite.crystals import Crystal, Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.evaluation import GenerationScores, read_hull, score_generation
from variolite.crystals.evaluation.metrics import definition
from variolite.crystals.files.reading import load_crystals
from variolite.crystals.potential.features import energy_function
from variolite.scoring import format_value

SAMPLES, WORSE, TEST = 1000, 300, 1000


def load(folder: Path) -> Rows:
    def read(name: str) -> Crystals:
        return load_crystals(folder / f"{name}.csv.gz")

    reference = Crystals.concatenate([read("mp_20/train_head"), read("mp_20/biternary_val")])
    return Rows(
        read("mp_20/biternary_test_a"),
        reference,
        read("mpts_52/val"),
        read_hull(folder / "hull" / "mp20_hull.parquet"),
    )


# --- crystals made worse


def noisy(crystals: Crystals, rng: np.random.Generator) -> Crystals:
    moves = rng.normal(size=crystals.coordinates.shape) * 0.2 / np.sqrt(3)
    back = np.linalg.inv(crystals.lattices)[crystals.owner]
    return moved(crystals, crystals.coordinates + np.einsum("ni,nij->nj", moves, back))


def scattered(crystals: Crystals, rng: np.random.Generator) -> Crystals:
    return moved(crystals, rng.random(crystals.coordinates.shape))


def moved(crystals: Crystals, coordinates: np.ndarray) -> Crystals:
    return made_up(
        Crystals(crystals.species, coordinates, crystals.lattices, crystals.offsets, crystals.names)
    )


def made_up(crystals: Crystals) -> Crystals:
    """Without the ids, by which the hull would take them for the crystals they were made of."""
    names = np.array([f"made up {place}" for place in range(len(crystals))])
    return Crystals(
        crystals.species, crystals.coordinates, crystals.lattices, crystals.offsets, names
    )


def exchanged(crystals: Crystals, rng: np.random.Generator) -> Crystals:
    """Every element of a crystal replaced by one drawn from those of the reference."""
    known = np.unique(crystals.species)
    found = []
    for crystal in crystals:
        elements, place = np.unique(crystal.species, return_inverse=True)
        drawn = rng.choice(known, size=len(elements), replace=False)
        found.append(Crystal(drawn[place], crystal.coordinates, crystal.lattice, ""))
    return made_up(Crystals.of(found))


# --- parts


def scored(rows: Rows, folder: Path) -> tuple[dict[str, GenerationScores], dict[str, float]]:
    """Score test rows, copies of the reference, and rows made worse."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(rows.test))
    real = rows.test.take(order[:SAMPLES])
    test = rows.test.take(order[SAMPLES : SAMPLES + TEST])
    few = real.take(slice(0, WORSE))
    copies = rows.reference.take(rng.permutation(len(rows.reference))[:WORSE])
    energies = energy_function(folder=folder)
    sets = {
        "test rows": real,
        "copies of the reference": copies,
        "noise of 0.2 Angstrom": noisy(few, rng),
        "random coordinates": scattered(few, rng),
        "other elements": exchanged(few, rng),
    }
    scores, seconds = {}, {}
    for name, samples in sets.items():
        began = time.process_time()
        scores[name] = score_generation(
            samples, rows.reference, test=test, energies=energies, hull=rows.hull
        )
        seconds[name] = time.process_time() - began
        print(f"  {name}: {seconds[name]:.0f} s", file=sys.stderr, flush=True)
    return scores, seconds


def without_energies(rows: Rows) -> float:
    """CPU seconds to score 1,000 test rows against the reference, energies left out."""
    order = np.random.default_rng(0).permutation(len(rows.test))
    began = time.process_time()
    score_generation(
        rows.test.take(order[:SAMPLES]), rows.reference, test=rows.test.take(order[SAMPLES:])
    )
    return time.process_time() - began


# --- the page


def scores_table(scores: dict[str, GenerationScores]) -> list[str]:
    first = next(iter(scores.values()))
    drawn = {row.metric: row for row in first.baseline}
    rows = []
    for metric in first.samples:
        found = [score[metric.metric] for score in scores.values()]
        if metric.metric in drawn:
            found.append(drawn[metric.metric])
        cells = [
            f"{row.mean:.0f}" if row.unit == "count" else format_value(row.mean, row.low, row.high)
            for row in found
        ]
        cells += [""] * (len(scores) + 1 - len(cells))
        rows.append([metric.metric, metric.unit or "", *cells])
    return table(["quantity", "unit", *scores, "draw from the reference"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    rows = load(data)
    packages = ("pymatgen", "smact", "spglib", "chgnet", "numpy")
    made = provenance("python -m benchmarks.crystal_metrics --data FOLDER", packages)
    overlap = np.isin(reduced_formulas(rows.test), reduced_formulas(rows.reference)).mean()
    with tempfile.TemporaryDirectory() as folder:
        scores, seconds = scored(rows, Path(folder))
        formation = formation_beside_listed(rows, Path(folder))
    quick = without_energies(rows)
    first = scores["test rows"]
    lines = [
        "## Sets of known quality, scored as if they had been generated",
        "",
        f"Reference: {len(rows.reference):,} rows of MP-20 (train_head, val). Test: {TEST:,} rows "
        f"of test_a. Samples: {SAMPLES:,} other rows of it; {WORSE} in the sets made of them. "
        f"{overlap:.1%} of the formulas of test_a occur in the reference. 95 % intervals by "
        "bootstrap over formulas. Real rows that are in the hull are taken out of it before they "
        "are evaluated, hence energies below 0; what was made from them is evaluated against the "
        "hull with the real rows in it.",
        "",
        *scores_table(scores),
        "",
        "Definitions:",
        "",
        *(f"- {row.metric}: {definition(row.metric)}" for row in first.samples),
        "",
        "Notes on the test rows:",
        "",
        *(f"- {note}" for note in first.notes),
        "",
        f"CPU time: {quick:.0f} s for {SAMPLES:,} samples without energies, "
        f"{seconds['test rows']:.0f} s with CHGNet energies of samples and references.",
        "",
        "## Matching beside pymatgen's StructureMatcher (fit, default tolerances)",
        "",
        *matcher_beside_pymatgen(rows),
        "",
        "Distances are the largest difference of the average minimum distances (k = 100) in units "
        "of the free length (V/n)^(1/3); beyond 0.5 the matcher is not asked.",
        "",
        "## Hull beside the Materials Project and pymatgen",
        "",
        *hull_beside_others(rows),
        "",
        "## Formation energies from CHGNet",
        "",
        *formation,
    ]
    title = "Scores of generated crystals, on crystals whose quality is known"
    content = {name: values_of_rows(score.rows(name, "test")) for name, score in scores.items()}
    write_page(RESULTS / "crystal_metrics_on_real_rows", title, lines, {"sets": content}, made)


if __name__ == "__main__":
    main()
