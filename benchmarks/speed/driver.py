"""Runs the lines in turn, each in a process of its own, over several rounds.

One line after another and then all again: on a machine that others use too, a slow minute falls
on all engines alike instead of on one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from benchmarks.speed.lines import Line
from benchmarks.speed.peers import interpreter
from benchmarks.speed.request import Epoch, Request
from benchmarks.speed.task import make_table

_ROOT = Path(__file__).parents[2]


@dataclass
class Record:
    """What one line gave.

    Attributes
    ----------
    line : Line
    rounds : list of list of Epoch
        One list per round, the first epoch of each run left out.
    first_epochs : list of float
        Their CPU seconds, which include what an engine loads or compiles.
    versions : dict
    failure : str or None
        Why the line has no figures.
    """

    line: Line
    rounds: list[list[Epoch]] = field(default_factory=list)
    first_epochs: list[float] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    failure: str | None = None


@contextmanager
def stored_table() -> Iterator[Path]:
    """The task's table in a file that every worker can read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.npz"
        table = make_table()
        np.savez(path, train=table.train, held_out=table.held_out)
        yield path


def work(python: Path, table: Path, request: Request) -> tuple[list[Epoch], dict[str, str]]:
    """One training run in a process of its own.

    Parameters
    ----------
    python : Path
        Interpreter of the engine's environment.
    table : Path
    request : Request

    Returns
    -------
    epochs : list of Epoch
    versions : dict

    Raises
    ------
    RuntimeError
        With the worker's last line of complaint.
    """
    answer = table.with_name("answer.json")
    answer.unlink(missing_ok=True)
    done = subprocess.run(
        [str(python), "-m", "benchmarks.speed.worker", str(table), str(answer), request.to_json()],
        cwd=_ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 or not answer.exists():
        complaint = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(complaint)
    answered = json.loads(answer.read_text())
    return [Epoch(**epoch) for epoch in answered["epochs"]], answered["versions"]


def time_lines(
    lines: Sequence[Line], table: Path, peers: Path, *, rounds: int, epochs: int
) -> list[Record]:
    """Time every line once per round.

    Parameters
    ----------
    lines : sequence of Line
    table : Path
    peers : Path
        Folder of the peers' environments.
    rounds : int
    epochs : int
        Timed epochs per run; one more is trained first and left out, because it also pays for
        whatever an engine loads or compiles on its first step.

    Returns
    -------
    list of Record
        In the order of ``lines``.
    """
    records = [Record(line) for line in lines]
    for turn in range(rounds):
        for record in records:
            if record.failure is not None:
                continue
            python = interpreter(peers, record.line.peer)
            if python is None:
                record.failure = "not installed (python -m benchmarks.speed.peers)"
                continue
            try:
                run, record.versions = work(
                    python, table, record.line.request(epochs + 1, seed=turn)
                )
            except RuntimeError as error:
                record.failure = str(error)
                _say(f"{record.line.key}: {error}")
                continue
            record.first_epochs.append(run[0].cpu)
            record.rounds.append(run[1:])
            middle = float(np.median([epoch.cpu for epoch in run[1:]]))
            _say(f"round {turn + 1}/{rounds} {record.line.key}: {middle:.3f} s per epoch")
    return records


def watch_lines(
    lines: Sequence[tuple[Line, int]], table: Path, *, seeds: int
) -> dict[str, list[list[Epoch]]]:
    """Train lines of our own environment with the held-out ELBO after every epoch.

    Parameters
    ----------
    lines : sequence of (Line, int)
        Each with its number of epochs.
    table : Path
    seeds : int

    Returns
    -------
    dict
        Line key to one list of epochs per seed; a line that fails is absent.
    """
    watched: dict[str, list[list[Epoch]]] = {}
    failed: set[str] = set()
    for seed in range(seeds):
        for line, epochs in lines:
            if line.key in failed:
                continue
            try:
                run, _ = work(
                    Path(sys.executable), table, line.request(epochs, seed=seed, watch=True)
                )
            except RuntimeError as error:
                failed.add(line.key)
                watched.pop(line.key, None)
                _say(f"{line.key}: {error}")
                continue
            watched.setdefault(line.key, []).append(run)
            _say(f"seed {seed} {line.key}: ELBO {run[-1].elbo} after {len(run)} epochs")
    return watched


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
