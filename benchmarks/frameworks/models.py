"""Trained runs on frameworks beside generators without a neural network, on the same families.

    variolite fit frameworks/default --data TABLE --out runs/default_1 --set split.seed=1
    variolite score runs/default_1 --data TABLE
    python -m benchmarks.frameworks.models runs/default_1 runs/default_2 --data TABLE
    python -m benchmarks.frameworks.models runs/core2019 --data CORE2019 --page frameworks_core2019

Each run brings its own split; the other generators are fitted on its training families. Runs of
one recipe are one column. How requests are obeyed is taken from the scorecard of each run.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from benchmarks.frameworks.baselines import DRAWS, FIGURES, baselines, evaluate, summary
from benchmarks.frameworks.crafted import load
from benchmarks.pages import RESULTS, command, provenance, write_page

from variolite.frameworks.columns import split as split_set
from variolite.frameworks.diagnosis import Layout
from variolite.frameworks.generation.sampling import Request, draw
from variolite.scoring.scorecard import Scorecard
from variolite.training import RunFolder
from variolite.training.row_sampling import SamplingOptions

OPTIONS = {"": SamplingOptions(), ", balance 1": SamplingOptions(balance=1.0)}
FIFTY = 50
FEW = 500  # draws of a model that fifty are taken of
SUBSETS = 400


def measure(
    runs: Sequence[Path],
    rows: pl.DataFrame,
    options: Mapping[str, SamplingOptions],
    *,
    others: bool,
) -> list[dict[str, Any]]:
    """Evaluate runs of one recipe with some options, and generators fitted on the same rows."""
    records = []
    for turn, path in enumerate(runs):
        run = RunFolder(path)
        model, split = run.model(), run.split()
        of = {
            name: rows.filter(pl.col("family").is_in(list(groups)))
            for name, groups in (("train", split.train), ("test", split.test))
        }
        name = run.recipe().name
        made = {
            name + wording: draw(model, DRAWS, Request({}, {}), chosen, turn)
            for wording, chosen in options.items()
        }
        # As a user draws them: of very many, balance has to keep members that are less rare.
        few = {
            name + wording: draw(model, FEW, Request({}, {}), chosen, turn + len(runs))
            for wording, chosen in options.items()
        }
        if others:
            made |= {other: make(of["train"], turn, DRAWS) for other, make in baselines().items()}
        # Columns that all of them make, so that means over columns are of the same ones.
        layout = Layout(
            categories=tuple(c for c in Layout().categories if _all_have(c, made)),
            numbers=tuple(c for c in Layout().numbers if _all_have(c, made)),
        )
        for generator, table in made.items():
            found = evaluate(of["train"], of["test"], table, layout)
            found |= of_fifty(of["train"], few.get(generator, table), turn)
            if generator == name:
                found |= obeyed(run)
            records.append({"generator": generator, "run": path.name, **found})
            print(generator, path.name, flush=True)
    return records


def obeyed(run: RunFolder) -> dict[str, Any]:
    """Correlations of what was asked for with what is predicted, from the scorecard of a run."""
    if not run.scorecard_file.exists():
        return {}
    rows = Scorecard.read(run.scorecard_file).rows
    return {
        f"asked, {row.feature}": {
            "value": row.mean,
            "beside": float("nan"),
            "range": [row.low, row.high],
        }
        for row in rows
        if row.metric == "spearman_asked"
    }


def of_fifty(train: pl.DataFrame, made: pl.DataFrame, seed: int) -> dict[str, Any]:
    """Distinct combinations among 50 draws, and how much of the tail 50 draws show.

    The tail are metals, and linkers, that one or two training rows have. Generated rows are drawn
    already: of a few thousand, 50 with replacement would hold some twice. Beside stands the same of
    training rows, drawn with replacement.
    """
    random = np.random.default_rng(seed)
    counts = {
        name: Counter(m for cell in train[name].drop_nulls() for m in set(split_set(cell)))
        for name in ("metals", "linkers")
    }
    tail = {(name, m) for name, known in counts.items() for m, n in known.items() if n <= 2}
    found: dict[str, list[float]] = {"distinct": [], "tail": [], "real": [], "real tail": []}
    for prefix, table in (("", made), ("real ", train)):
        rows = list(zip(table["metals"].fill_null(""), table["linkers"].fill_null(""), strict=True))
        for _ in range(SUBSETS):
            chosen = random.choice(len(rows), FIFTY, replace=bool(prefix))
            some = [rows[i] for i in chosen]
            members = {
                (name, member)
                for row in some
                for name, cell in zip(("metals", "linkers"), row, strict=True)
                for member in split_set(cell)
            }
            found["real" if prefix else "distinct"].append(len(set(some)))
            found[f"{prefix}tail"].append(len(members & tail) / len(tail))
    mean = {name: float(np.mean(values)) for name, values in found.items()}
    pairs = {"distinct of 50": ("distinct", "real"), "tail members in 50": ("tail", "real tail")}
    nothing = [float("nan")] * 2
    return {
        head: {"value": mean[made], "beside": mean[real], "range": nothing}
        for head, (made, real) in pairs.items()
    }


def _all_have(column: str, tables: dict[str, pl.DataFrame]) -> bool:
    return all(column in table.columns for table in tables.values())


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--page", default="frameworks_models")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    runs = arguments.runs
    del arguments.runs
    made = provenance(
        command("benchmarks.frameworks.models RUN...", arguments), ("torch", "polars")
    )
    recipes: dict[str, list[Path]] = {}
    for path in runs:
        recipes.setdefault(RunFolder(path).recipe().name, []).append(path)
    lines = [
        f"{DRAWS:,} draws of every generator; mean and standard deviation over runs, each with a "
        "split of its own, of one run the value and its interval. All are fitted on the training "
        "families of the run. What the rows are is said in `frameworks_baselines.md`. Tail members "
        f"are metals and linkers of one or two training rows, counted in fifty of {FEW} draws of a "
        "model; asked is the Spearman correlation of "
        "what is asked for with what trees of other families predict.",
    ]
    everything, rows = {}, load(arguments.data)
    for place, (name, of) in enumerate(recipes.items()):
        options = OPTIONS if place == 0 else {"": SamplingOptions()}
        everything[name] = records = measure(of, rows, options, others=place == 0)
        heads = (*FIGURES, "distinct of 50", "tail members in 50")
        heads += tuple(dict.fromkeys(h for r in records for h in r if h.startswith("asked, ")))
        lines += ["", f"## {name}, {len(of)} runs", "", *summary(records, heads)]
    title = "Frameworks: models beside generators without a neural network"
    write_page(arguments.results / arguments.page, title, lines, everything, made)


if __name__ == "__main__":
    main()
