"""The rebuilt source, its other encoder and ours at equal size and equal processor time.

    python -m benchmarks.crystals.contest --tune --budget 225 --sets mp_20
    python -m benchmarks.crystals.contest --budget 1800 --seeds 3
    python -m benchmarks.crystals.contest --table

Every run is one process on one thread and leaves one JSON file in the folder of runs; what
is there already is skipped, so a contest that was broken off goes on. Seconds are processor
time of training alone. ``--tune`` trains every opponent with the same trials on nine tenths
of the training crystals and scores the last tenth; the best trial is then used (that of the
same set, else of MP-20). ``--table`` writes ``benchmarks/results/crystal_contest.md``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.crystals.contest_page import write_contest
from benchmarks.crystals.one_run import Run, carry_out, carry_out_missing, options
from benchmarks.crystals.opponents import BASELINES, OPPONENTS, SIZES, TRIALS, Trial
from benchmarks.crystals.sets import SETS

TUNED_ON = "mp_20"
"""Set whose best trial is used for sets that were not tuned on."""


def main() -> None:
    """Parse, carry out what is missing, write the table."""
    parser = options(__doc__, "contest", 1800.0)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    everyone = [*OPPONENTS, *BASELINES]
    parser.add_argument("--opponents", nargs="+", choices=everyone, default=everyone)
    parser.add_argument("--size", choices=SIZES, default="0.86M")
    parser.add_argument("--tune", action="store_true", help="try learning rates instead")
    arguments = parser.parse_args()
    if arguments.table:
        write_contest(arguments.runs, arguments.results)
        return
    runs = list(_tuning(arguments) if arguments.tune else _runs(arguments))
    carry_out_missing(runs, carry_out, arguments)


def _tuning(arguments: argparse.Namespace) -> Iterator[Run]:
    for name in arguments.sets:
        for trial in TRIALS:
            for opponent, what in OPPONENTS.items():
                if opponent in arguments.opponents and what.like is None:
                    yield Run(
                        name, opponent, arguments.size, 0, arguments.budget, trial, tuning=True
                    )


def _runs(arguments: argparse.Namespace) -> Iterator[Run]:
    """Opponents of one seed and set lie side by side, so that a busy hour falls on all."""
    for seed in range(arguments.seeds):
        for name in arguments.sets:
            for opponent in arguments.opponents:
                if opponent in BASELINES:
                    yield Run(name, opponent, arguments.size, seed, 0.0)
                    continue
                what = OPPONENTS[opponent]
                if what.sets is not None and name not in what.sets:
                    continue
                trial = tuned(arguments.runs, name, what.like or opponent, arguments.size)
                yield Run(name, opponent, arguments.size, seed, arguments.budget, trial)


def tuned(folder: Path, set_name: str, opponent: str, size: str) -> Trial:
    """The best trial: most strict matches, then most types right, then least periodic error.

    After a short budget a slow learner has no strict match yet, and the periodic error of
    random coordinates: then types show which trial learns.
    """
    for name in (set_name, TUNED_ON):
        found = []
        for file in folder.glob(f"tuning-{name}-{opponent}-{size}-*.json"):
            result = json.loads(file.read_text())
            last = result["curve"][-1]
            periodic = float("inf") if last["periodic"] is None else last["periodic"]
            merits = (-last["strict"], -last["types"], periodic)
            found.append((merits, Trial(**result["trial"])))
        if found:
            return min(found, key=lambda entry: entry[0])[1]
    return OPPONENTS[opponent].trial


if __name__ == "__main__":
    main()
