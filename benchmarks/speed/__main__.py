"""``python -m benchmarks.speed``: time every engine and write ``benchmarks/results/speed.*``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from benchmarks.pages import RESULTS, provenance, write_page
from benchmarks.speed import driver, figures, peers, task
from benchmarks.speed.lines import LINES, OURS, SOURCES, WARM_UP, line
from benchmarks.speed.page import lines_of

_SOURCE_EPOCHS = 10
_OUR_EPOCHS = 40


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="times every engine has its turn")
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs per turn")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the time to an ELBO")
    parser.add_argument("--only", nargs="*", help="keys of the lines to time (default: all)")
    parser.add_argument("--peers", type=Path, default=peers.default_folder(), metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Measure and write ``speed.json`` and ``speed.md``.

    Parameters
    ----------
    arguments : list of str
        Command line without the program's name.
    """
    options = _options(arguments)
    # The folder of the peers belongs to one machine and stays out of the record.
    given = [f"--{name}={getattr(options, name)}" for name in ("rounds", "epochs", "seeds")]
    os.environ["OMP_NUM_THREADS"] = "1"
    made = provenance(shlex.join(["python", "-m", "benchmarks.speed", *given]))
    del made["versions"]  # every peer has its own
    chosen = [found for found in LINES if not options.only or found.key in options.only]
    with driver.stored_table() as table:
        records = driver.time_lines(
            chosen, table, options.peers, rounds=options.rounds, epochs=options.epochs
        )
        watched = driver.watch_lines(
            [
                (line(OURS), _OUR_EPOCHS),
                (WARM_UP, _OUR_EPOCHS),
                *((line(key), _SOURCE_EPOCHS) for key in SOURCES),
            ],
            table,
            seeds=options.seeds,
        )
    timed = [figures.line_figures(record) for record in records]
    elbo = figures.elbo_figures(watched)
    content = {
        "environments": {
            record.line.peer or "ours and plain": record.versions
            for record in records
            if record.versions
        },
        "task": {
            "train_rows": 170_000,
            "held_out_rows": 30_000,
            "features": task.FEATURES,
            "network": "VAE 6-32-16-(10, 10)-16-32-6, ReLU, Adam",
            "noise_variance": task.NOISE_VARIANCE,
        },
        "rounds": options.rounds,
        "source_epochs": _SOURCE_EPOCHS,
        "tolerance": figures.TOLERANCE,
        "claims": figures.verdicts(timed, elbo),
        "lines": timed,
        "elbo": elbo,
    }
    write_page(options.out / "speed", "Speed of training", lines_of(content), content, made)


if __name__ == "__main__":
    main(sys.argv[1:])
