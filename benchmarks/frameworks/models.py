"""Trained runs on frameworks beside generators without a neural network, on the same families.

    variolite fit frameworks/default --data TABLE --out runs/default_1 --set split.seed=1
    python -m benchmarks.frameworks.models runs/default_1 runs/default_2 --data TABLE

Each run brings its own split; the other generators are fitted on its training families. Runs of
one recipe are one column.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from benchmarks.frameworks.baselines import DRAWS, baselines, evaluate, summary
from benchmarks.frameworks.crafted import load
from benchmarks.pages import RESULTS, command, provenance, write_page

from variolite.frameworks.diagnosis import Layout
from variolite.frameworks.generation.sampling import Request, draw
from variolite.training import RunFolder
from variolite.training.dials import Dials

BALANCES = (0.0, 1.0)


def measure(runs: Sequence[Path], rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Evaluate runs, at every balance, and generators fitted on the same rows."""
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
            f"{name}, balance {balance:g}": draw(
                model, DRAWS, Request({}, {}), Dials(balance=balance), turn
            )
            for balance in BALANCES
        }
        made |= {other: make(of["train"], turn, DRAWS) for other, make in baselines().items()}
        # Columns that all of them make, so that means over columns are of the same ones.
        layout = Layout(
            categories=tuple(c for c in Layout().categories if _all_have(c, made)),
            numbers=tuple(c for c in Layout().numbers if _all_have(c, made)),
        )
        for generator, table in made.items():
            found = evaluate(of["train"], of["test"], table, layout)
            records.append({"generator": generator, "run": path.name, **found})
            print(generator, path.name, flush=True)
    return records


def _all_have(column: str, tables: dict[str, pl.DataFrame]) -> bool:
    return all(column in table.columns for table in tables.values())


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    runs = arguments.runs
    del arguments.runs
    made = provenance(
        command("benchmarks.frameworks.models RUN...", arguments), ("torch", "polars")
    )
    records = measure(runs, load(arguments.data))
    lines = [
        f"{len(runs)} runs with splits of their own; {DRAWS:,} draws of every generator. What the "
        "rows are is said in `frameworks_baselines.md`. Mean and standard deviation over runs.",
        "",
        *summary(records),
    ]
    title = "Frameworks: models beside generators without a neural network"
    write_page(arguments.results / "frameworks_models", title, lines, {"records": records}, made)


if __name__ == "__main__":
    main()
