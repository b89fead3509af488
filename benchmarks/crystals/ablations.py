"""What each part of the crystal VAE is worth: the full model against itself with one change.

    python -m benchmarks.crystals.ablations --budget 60 --seeds 3
    python -m benchmarks.crystals.ablations --table

Every run is one process on one thread, at the .86M size, and leaves one JSON file in the folder
of runs; what is there already is skipped. Seconds are processor time of training alone. The
variants of one seed and set follow one another, so that a busy hour falls on all. ``--table``
writes ``benchmarks/results/crystal_ablations.md`` and ``.json``.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

# Before anything imports torch: OpenMP reads it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import torch
from benchmarks.crystals.ablations_entries import ABLATIONS, FULL, PADDED, Ablation, ablated
from benchmarks.crystals.ablations_page import SPEED, write_ablations
from benchmarks.crystals.one_run import (
    Run,
    carry_out_missing,
    heading,
    of_known_elements,
    options,
    outcome,
    store_result,
)
from benchmarks.crystals.opponents import OPPONENTS
from benchmarks.crystals.sets import SETS, ContestSet
from benchmarks.crystals.throughput import Engine, padded_share, ratio_of

SIZE = "0.86M"
TRIAL = OPPONENTS["ours"].trial
"""Learning rate and batch of all variants: those of the full model."""

STEPS = 40
"""Of every engine, where speed is measured."""


def main() -> None:
    """Parse, carry out what is missing, write the table."""
    parser = options(__doc__, "ablations", 60.0)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["mp_20", "carbon_htl"])
    arguments = parser.parse_args()
    if arguments.table:
        write_ablations(arguments.runs, arguments.results)
        return
    carry_out_missing(list(_runs(arguments)), carry_out, arguments)


def _runs(arguments: argparse.Namespace) -> Iterator[Run]:
    for name in arguments.sets:
        yield Run(name, SPEED, SIZE, 0, 0.0)
    for seed in range(arguments.seeds):
        for name in arguments.sets:
            for ablation in ABLATIONS:
                yield Run(name, ablation, SIZE, seed, arguments.budget, TRIAL)


def carry_out(run: Run, folder: Path, data: Path, say: Callable[[str], None]) -> None:
    """Train a variant and score it, or measure speed, and write the result in one step."""
    torch.set_num_threads(1)
    cut = SETS[run.set_name](data)
    result = heading(run, cut)
    if run.opponent == SPEED:
        result |= {"trial": asdict(TRIAL), **speeds(run, cut)}
    else:
        began = time.process_time()
        entry = ablated(ABLATIONS[run.opponent], run, cut.train, TRIAL.batch)
        result["prepared_seconds"] = time.process_time() - began
        result |= outcome(entry, run, cut, say)
        _, possible = entry.decoded(cut.test.take(of_known_elements(cut)))
        result["impossible_cells"] = int((~possible).sum())
    store_result(run.file(folder), result)


def speeds(run: Run, cut: ContestSet) -> dict[str, object]:
    """Steps per processor second; engines take turns on the same crystals, step by step."""
    padded = "padded"
    compared = {FULL: ABLATIONS[FULL], padded: PADDED, "float32": ABLATIONS["float32"]}
    engines = {name: _engine(ablation, run, cut) for name, ablation in compared.items()}
    for _ in range(STEPS + 1):
        for engine in engines.values():
            engine.step()
    full = engines[FULL]
    return {
        "padding": padded_share(cut.train, full.entry.batches.batch_size),
        "steps": STEPS,
        "engines": [
            {
                "name": name,
                "title": engine.title,
                "seconds": engine.seconds[1:],
                "ratio": ratio_of(full, engine),
            }
            for name, engine in engines.items()
        ],
    }


def _engine(ablation: Ablation, run: Run, cut: ContestSet) -> Engine:
    return Engine(ablation.title, ablated(ablation, run, cut.train, TRIAL.batch))


if __name__ == "__main__":
    main()
