"""One run of the contest: one opponent, one data set, one seed, one budget, one JSON file."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

# Before anything imports torch: OpenMP reads it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import numpy as np
import torch
from benchmarks.crystals.equal_compute import SHARES, Budget, train_within
from benchmarks.crystals.opponents import (
    BASELINES,
    OPPONENTS,
    SIZES,
    Contestant,
    Trial,
    contestant,
    divergence_per_atom,
)
from benchmarks.crystals.sets import FOLDER, SETS, ContestSet
from benchmarks.pages import RESULTS

from variolite.crystals.crystals import Crystals
from variolite.crystals.matching import (
    CDVAE,
    DEFAULT,
    STRICT,
    Setting,
    match_pairs,
    periodic_errors,
    score_reconstruction,
)
from variolite.crystals.matching.reconstruction import ReconstructionScores
from variolite.records import write_text_atomic

RUNS = Path(__file__).resolve().parents[2] / "runs"
SCORED = (Setting(CDVAE), Setting(DEFAULT), Setting(STRICT), Setting(CDVAE, primitive=True))


@dataclass(frozen=True)
class Run:
    """What one run is.

    Attributes
    ----------
    set_name, opponent, size
        Keys of `SETS`, of `OPPONENTS` or `BASELINES`, and of `SIZES`.
    seed
        Of weights, order, noise and of what a baseline draws.
    seconds
        Processor seconds of training; 0 for baselines.
    trial
        Learning rate and its decay; None for baselines.
    tuning
        Whether a tenth of the training crystals stands in for the test crystals.
    """

    set_name: str
    opponent: str
    size: str
    seed: int
    seconds: float
    trial: Trial | None = None
    tuning: bool = False

    def file(self, folder: Path) -> Path:
        """Where its result lies."""
        if self.trial is None:
            return folder / f"{self.set_name}-{self.opponent}-s{self.seed}.json"
        budget = f"{self.size}-{self.seconds:g}s"
        if self.tuning:
            stem = f"tuning-{self.set_name}-{self.opponent}-{budget}-{self.trial.name}"
            return folder / f"{stem}-s{self.seed}.json"
        return folder / f"{self.set_name}-{self.opponent}-{budget}-s{self.seed}.json"


def carry_out(run: Run, folder: Path, data: Path, say: Callable[[str], None]) -> None:
    """Train where there is something to train, score, and write the result in one step."""
    torch.set_num_threads(1)
    cut = SETS[run.set_name](data)
    if run.tuning:
        cut = cut.for_tuning()
    result = heading(run, cut)
    if run.opponent in BASELINES:
        found = BASELINES[run.opponent][1](cut.test, cut.train, run.seed)
        result |= {"curve": [], **_full_scores(cut, found)}
    else:
        result |= _trained(run, cut, say)
    store_result(run.file(folder), result)


class Filed(Protocol):
    """A run that leaves a file."""

    def file(self, folder: Path) -> Path:
        """Where its result lies."""
        ...


AnyRun = TypeVar("AnyRun", bound=Filed)


def options(text: str, name: str, budget: float) -> argparse.ArgumentParser:
    """Options of a command that carries out runs, and writes a table of them."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--budget", type=float, default=budget, help="processor seconds a run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="write the table and end")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--runs", type=Path, default=RUNS / name)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser


def carry_out_missing(
    runs: Sequence[AnyRun],
    work: Callable[[AnyRun, Path, Path, Callable[[str], None]], None],
    arguments: argparse.Namespace,
) -> None:
    """Do what has left no file yet, every run in a process of its own, as if it were alone.

    ``work`` is such as `carry_out`, ``arguments`` come from `options`.
    """
    folder = arguments.runs
    missing = [run for run in runs if not run.file(folder).is_file()]
    _say(f"{len(runs)} runs, {len(runs) - len(missing)} are there already")
    with ProcessPoolExecutor(
        arguments.processes, mp_context=get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        waiting = {pool.submit(work, run, folder, arguments.data, _say): run for run in missing}
        for number, done in enumerate(as_completed(waiting), start=1):
            done.result()
            _say(f"{number} of {len(missing)}: {waiting[done].file(folder).name}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def store_result(file: Path, result: dict[str, Any]) -> None:
    """Write what a run left, in one step."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(file, json.dumps(result))


def heading(run: Run, cut: ContestSet) -> dict[str, Any]:
    """What every file of a run begins with."""
    return {**asdict(run), "title": cut.title, "train": len(cut.train), "test": len(cut.test)}


def _trained(run: Run, cut: ContestSet, say: Callable[[str], None]) -> dict[str, Any]:
    assert run.trial is not None
    began = time.process_time()
    entry = contestant(
        run.set_name, OPPONENTS[run.opponent], SIZES[run.size], cut.train, run.seed, run.trial.batch
    )
    prepared = time.process_time() - began
    return {"prepared_seconds": prepared, **outcome(entry, run, cut, say)}


def outcome(
    entry: Contestant, run: Run, cut: ContestSet, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train an entry, which is left with its last weights, and score it along the way."""
    assert run.trial is not None
    loss: Any = entry.module.loss
    snapshots = train_within(
        entry.module,
        loss,
        entry.batches,
        Budget(seconds=run.seconds),
        rate=run.trial.at,
        beta=entry.recipe.loss.kl,
        gradient_clip=entry.recipe.training.gradient_clip,
        shares=(1.0,) if run.tuning else SHARES,
        log=lambda text: say(f"{run.set_name} {run.opponent} seed {run.seed}: {text}"),
    )
    test = cut.test
    known = of_known_elements(cut)
    curve = []
    for at in snapshots:
        entry.module.load_state_dict(at.weights)
        found = _reconstructed(entry.reconstruct, test, known)
        point = {
            "share": at.share,
            "seconds": at.seconds,
            "steps": at.steps,
            "epochs": at.epochs,
            "reconstruction": at.reconstruction,
            "divergence": at.divergence,
            **_quick_scores(test, found),
        }
        curve.append(point)
    return {
        "parameters": entry.parameters,
        "batch": entry.batches.batch_size,
        "divergence_weight": entry.recipe.loss.kl,
        "divergence_test": divergence_per_atom(entry, test.take(known)),
        "curve": curve,
        **(_full_scores(cut, found) if not run.tuning else {}),
    }


def of_known_elements(cut: ContestSet) -> np.ndarray:
    """Test crystals whose elements all occur in training, shape (B,)."""
    strange = ~np.isin(cut.test.species, np.unique(cut.train.species))
    return np.bincount(cut.test.owner, strange, len(cut.test)) == 0


def _reconstructed(
    way: Callable[[Crystals], Crystals], test: Crystals, known: np.ndarray
) -> Crystals:
    """Reconstruct; a crystal with an element that was never seen counts as a failure."""
    found = way(test.take(known))
    coordinates = np.full_like(test.coordinates, np.nan)
    species = np.ones_like(test.species)
    lattices = np.full_like(test.lattices, np.nan)
    atoms = test.atoms_of(np.flatnonzero(known))
    coordinates[atoms], species[atoms] = found.coordinates, found.species
    lattices[known] = found.lattices
    return Crystals(species, coordinates, lattices, test.offsets, test.names)


def _quick_scores(test: Crystals, found: Crystals) -> dict[str, float | None]:
    errors = _finite(periodic_errors(test, found).medians)
    return {
        "strict": float(match_pairs(found, test, STRICT).matched.mean()),
        "periodic": _number(np.median(errors)),
        "types": float((test.species == found.species).mean()),
    }


def _finite(errors: np.ndarray) -> np.ndarray:
    """Failures lie beyond every crystal that could be compared."""
    return np.where(np.isnan(errors), np.inf, errors)


def _full_scores(cut: ContestSet, found: Crystals) -> dict[str, Any]:
    scores = score_reconstruction(cut.test, found, settings=SCORED, workers=0)
    return {
        "crystals": {
            "formula": scores.formulas.tolist(),
            "unseen_formula": cut.unseen_formulas.astype(int).tolist(),
            **{
                setting.name: scores.pairs.matches[setting].matched.astype(int).tolist()
                for setting in SCORED
            },
            "rms_cdvae": _list(scores.pairs.matches[SCORED[0]].rms),
            "periodic": _list(scores.errors.medians),
            "types": _list(scores.type_accuracy),
            "length_percent": _list(scores.length_error),
            "angle_degree": _list(scores.angle_error),
            "volume_percent": _list(scores.volume_error),
        },
        "atoms": _atoms(scores),
    }


def _atoms(scores: ReconstructionScores) -> dict[str, float | None]:
    distances = np.where(np.isnan(scores.errors.distances), np.inf, scores.errors.distances)
    levels = np.quantile(distances, [0.5, 0.95], method="higher")
    finite = distances[np.isfinite(distances)]
    return {
        "median": _number(levels[0]),
        "p95": _number(levels[1]),
        "mean": _number(finite.mean() if len(finite) else np.inf),
        "failed": int((~np.isfinite(distances)).sum()),
    }


def _list(values: np.ndarray) -> list[float | None]:
    """JSON has neither NaN nor infinity."""
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    return round(float(value), 5) if np.isfinite(value) else None
