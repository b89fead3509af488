"""Score every borehole recipe on the same rows, and what each switch between two of them changes.

    python -m benchmarks.lithology_variants force --data wells.parquet --work FOLDER
    python -m benchmarks.lithology_variants kgs --data panoma_wells.csv --work FOLDER
    python -m benchmarks.lithology_variants simulated --work FOLDER
    python -m benchmarks.lithology_variants samples --work FOLDER

Protocol of `benchmarks.lithology`: transforms, networks and clusterings see training wells
alone, labels are for the scores, three seeds train as one model. The SIMULATED cores have every
sensor and known factors: how much of their variance a linear map of the latents explains in
held-out holes is scored too. Each data set writes its part of
``benchmarks/results/lithology_variants.json`` and ``.md``. What was scored is kept in ``--work``,
so that a recipe that is added or changed is all that is run again.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.lithology import SEEDS
from benchmarks.lithology_variants_scores import (
    DATA,
    KS,
    frame_of,
    methods,
    recipe_of,
    score_method,
    simulated_table,
)
from benchmarks.lithology_variants_table import part_of, write_variants
from benchmarks.pages import RESULTS, command, provenance
from joblib import Memory

from variolite.errors import VarioliteError
from variolite.scoring import Evaluation


def main() -> None:
    """Score all methods on all splits of a data set, then write its part of the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=DATA)
    parser.add_argument("--data", type=Path, help="the wells; simulated cores are made")
    parser.add_argument("--work", type=Path, required=True, help="folder for what was scored")
    parser.add_argument("--methods", nargs="+", help="all that the data have sensors for")
    parser.add_argument("--splits", type=int, help="the first so many; all by default")
    parser.add_argument("--train-rows", type=int, default=12_000, help="for the networks")
    parser.add_argument("--test-rows", type=int, default=12_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    data = arguments.name
    chosen = arguments.methods or methods(data)
    path = arguments.data or simulated_table(data, arguments.work / f"{data}.parquet")
    options = {"name": None, "splits": arguments.splits, "train_rows": arguments.train_rows}
    options |= {"data": path.name, "test_rows": arguments.test_rows, "work": "FOLDER"}
    made = provenance(
        command(f"benchmarks.lithology_variants {data}", argparse.Namespace(**options)),
        ("scikit-learn", "numpy"),
    )
    wells, frame = DATA[data], frame_of(data, path)
    splits = range(len(wells.splits(frame[wells.well].to_numpy())))[: arguments.splits]
    scored: dict[str, list[tuple[Evaluation, dict[str, Any]]]] = {m: [] for m in chosen}
    score = Memory(arguments.work, verbose=0).cache(score_method)
    # A forked child of a process that has used polars would wait for ever.
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        jobs = {
            pool.submit(
                score, data, path, index, method, recipe_of(method).model_dump_json(),
                arguments.train_rows, arguments.test_rows,
            ): (index, method)
            for index in splits
            for method in chosen
        }  # fmt: skip
        for job, (index, method) in jobs.items():
            try:
                scored[method].append(job.result())
            except VarioliteError as error:
                print(f"{method}: {error}", file=sys.stderr, flush=True)
            print(f"split {index}, {method}", file=sys.stderr, flush=True)
    whole = {method: found for method, found in scored.items() if len(found) == len(splits)}
    part = part_of(whole, wells.title)
    facts = (
        f"{frame.height:,} rows, {len(splits)} splits, {SEEDS} seeds; networks on at most "
        f"{arguments.train_rows:,} rows, scored on at most {arguments.test_rows:,} a split. "
        "On fewer rows there are more epochs, so that the number of steps stays."
    )
    head = {"title": wells.title, "ks": KS[data], "facts": facts, "made": made}
    write_variants(arguments.results / "lithology_variants", data, head | part)


if __name__ == "__main__":
    main()
