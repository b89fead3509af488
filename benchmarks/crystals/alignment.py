"""What foundation alignment does at equal processor time: reconstruction and a property probe.

    python -m benchmarks.crystals.alignment --budget 1800 --seeds 3
    python -m benchmarks.crystals.alignment --table

Our network at the .86M size is trained on MP-20 (binary and ternary) with different weights of
the alignment with CHGNet features; weight 0 is without. Computing the features is charged: their
processor seconds are taken off the budget of the aligned runs. Afterwards a ridge regression from
the pooled latents to the formation energy, fitted on the training crystals, is scored on test
crystals of formulas that no training crystal has. Every run is one process on one thread and
leaves one JSON file; what is there already is skipped. ``--table`` writes
``benchmarks/results/crystal_alignment.md``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Before anything imports torch: OpenMP reads it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import numpy as np
import torch
from benchmarks.crystals.alignment_page import write_alignment
from benchmarks.crystals.equal_compute import Budget, train_within
from benchmarks.crystals.one_run import (
    carry_out_missing,
    of_known_elements,
    options,
    store_result,
)
from benchmarks.crystals.opponents import LATENT, OPPONENTS, SIZES, Contestant, contestant
from benchmarks.crystals.sets import SETS, ContestSet
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from variolite.crystals.crystal_model import CrystalModel
from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.matching import STRICT, match_pairs, periodic_errors
from variolite.crystals.model import CrystalBatch, CrystalBatches
from variolite.crystals.potential.alignment import align, standardise
from variolite.crystals.potential.features import foundation_features
from variolite.crystals.run import build

TARGET = "formation_energy_per_atom"
PENALTIES = np.logspace(-3, 4, 15)
"""Of the ridge regression; chosen by leaving one training crystal out."""


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes
    ----------
    weight
        Of the alignment; 0 is without.
    seed
        Of weights, order and noise.
    seconds
        Processor seconds, those for the features included.
    train, test
        Crystals of each part that are used, from its start; None for all.
    """

    weight: float
    seed: int
    seconds: float
    train: int | None = None
    test: int | None = None

    def file(self, folder: Path) -> Path:
        """Where its result lies."""
        cut = "" if self.train is None else f"-{self.train}-{self.test}"
        return folder / f"{self.seconds:g}s{cut}-w{self.weight:g}-s{self.seed}.json"


def explained_share(
    latents: Tensor, features: Tensor, test_latents: Tensor, test_features: Tensor
) -> float:
    """Share of the variance of features that a linear map of the latents explains.

    The map is fitted by least squares on one set of atoms and scored on another; rows without
    features are left out. Features are standardised, latents of shape (N, L).

    Returns
    -------
    float
        1 - residual / variance over all features together; below 0 when worse than the mean.
    """
    known = torch.isfinite(features).all(1)
    design = torch.cat([latents, torch.ones_like(latents[:, :1])], dim=1)[known].double()
    solution = torch.linalg.lstsq(design, features[known].double(), driver="gelsd").solution
    known = torch.isfinite(test_features).all(1)
    design = torch.cat([test_latents, torch.ones_like(test_latents[:, :1])], dim=1)[known].double()
    target = test_features[known].double()
    residual = (target - design @ solution).square().sum()
    return float(1 - residual / (target - target.mean(0)).square().sum())


def principal_share(features: Tensor, width: int) -> float:
    """Share of the variance that any linear code of ``width`` numbers can hold at best."""
    known = features[torch.isfinite(features).all(1)].double()
    variances = torch.linalg.eigvalsh(torch.cov(known.T))
    return float(variances[-width:].sum() / variances.sum())


def carry_out(run: Run, folder: Path, data: Path, say: Callable[[str], None]) -> None:
    """Train, score and write the result in one step."""
    torch.set_num_threads(1)
    cut = _reduced(SETS["mp_20"](data), run)
    with np.load(_features_file(run, folder)) as stored:
        given = {name: stored[name] for name in stored.files}
    charged = float(given["seconds"])
    train, test = (torch.from_numpy(given[part]) for part in ("train", "test"))
    features = [standardise(part, train).numpy() for part in (train, test)]
    entry = _contestant(cut, run, features[0])
    seconds = run.seconds - (charged if run.weight else 0.0)
    if seconds <= 0:
        raise SystemExit(f"the features alone take {charged:.0f} s: give a larger --budget")
    (last,) = train_within(
        entry.module,
        entry.module.loss,  # type: ignore[arg-type]
        entry.batches,
        Budget(seconds=seconds),
        rate=OPPONENTS["ours"].trial.at,
        beta=entry.recipe.loss.kl,
        gradient_clip=entry.recipe.training.gradient_clip,
        shares=(1.0,),
        log=lambda text: say(f"weight {run.weight:g} seed {run.seed}: {text}"),
    )
    result = {
        "weight": run.weight,
        "seed": run.seed,
        "seconds": run.seconds,
        "train": len(cut.train),
        "test": len(cut.test),
        "feature_seconds": charged,
        "parameters": entry.parameters,
        "steps": last.steps,
        "epochs": last.epochs,
        **_scored(entry, cut, features),
    }
    store_result(run.file(folder), result)


def _features_file(run: Run, folder: Path) -> Path:
    return folder / f"features-{run.train or 'all'}-{run.test or 'all'}.npz"


def compute_features(run: Run, folder: Path, data: Path) -> None:
    """Compute the features once for all runs, and what those of the training crystals cost."""
    torch.set_num_threads(1)
    file = _features_file(run, folder)
    if file.is_file():
        return
    cut = _reduced(SETS["mp_20"](data), run)
    began = time.process_time()
    train = foundation_features(cut.train).features
    seconds = time.process_time() - began
    folder.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial.npz")
    np.savez(partial, train=train, test=foundation_features(cut.test).features, seconds=seconds)
    partial.replace(file)


def _reduced(cut: ContestSet, run: Run) -> ContestSet:
    """Leave out test crystals with elements that training has not, and cut to size."""
    cut = replace(cut, train=cut.train.take(slice(0, run.train)))
    return replace(cut, test=cut.test.take(of_known_elements(cut)).take(slice(0, run.test)))


def _contestant(cut: ContestSet, run: Run, features: np.ndarray) -> Contestant:
    ours = OPPONENTS["ours"]
    entry = contestant("mp_20", ours, SIZES["0.86M"], cut.train, run.seed, ours.trial.batch)
    if not run.weight:
        return entry
    recipe = entry.recipe.model_copy(
        update={"loss": entry.recipe.loss.model_copy(update={"alignment": run.weight})}
    )
    crystals = entry.frame.crystals
    tensors = CrystalBatch.of(crystals, torch.device("cpu"), features)
    return replace(
        entry,
        module=build(recipe, crystals, features=features.shape[1]),
        recipe=recipe,
        batches=CrystalBatches(tensors, entry.batches.batch_size, LATENT, run.seed),
    )


def _scored(entry: Contestant, cut: ContestSet, features: list[np.ndarray]) -> dict[str, Any]:
    model = CrystalModel(entry.module.eval())
    found = entry.reconstruct(cut.test)
    errors = periodic_errors(cut.test, found).medians
    latents = [model.encode(part).mean for part in (cut.train, cut.test)]
    unseen = cut.unseen_formulas
    probes = {
        "latents": _probe(cut, _pooled(latents[0], cut.train), _pooled(latents[1], cut.test)),
        "features": _probe(
            cut,
            _pooled(np.nan_to_num(features[0]), cut.train),
            _pooled(np.nan_to_num(features[1]), cut.test),
        ),
        "composition": _probe(cut, _fractions(cut.train), _fractions(cut.test)),
        "mean": np.abs(
            cut.test.properties[TARGET].astype(float)
            - cut.train.properties[TARGET].astype(float).mean()
        ),
    }
    tensors = [torch.from_numpy(values) for values in (*latents, *features)]
    return {
        "explained_share": explained_share(tensors[0], tensors[2], tensors[1], tensors[3]),
        "principal_share": principal_share(tensors[2], LATENT),
        "alignment_test": _alignment(entry, cut.test, tensors[1], tensors[3]),
        "crystals": {
            "formula": reduced_formulas(cut.test).tolist(),
            "unseen_formula": unseen.astype(int).tolist(),
            "strict": match_pairs(found, cut.test, STRICT).matched.astype(int).tolist(),
            # A failure lies beyond every crystal that could be compared.
            "periodic": np.where(np.isnan(errors), 99.0, errors).round(5).tolist(),
            **{f"probe_{name}": error.round(5).tolist() for name, error in probes.items()},
        },
    }


def _pooled(values: np.ndarray, crystals: Crystals) -> np.ndarray:
    """Mean and standard deviation over the atoms of every crystal, shape (B, 2 * width)."""
    mean = np.add.reduceat(values, crystals.offsets[:-1]) / crystals.counts[:, None]
    square = np.add.reduceat(values**2, crystals.offsets[:-1]) / crystals.counts[:, None]
    return np.concatenate([mean, np.sqrt(np.maximum(square - mean**2, 0.0))], axis=1)


def _fractions(crystals: Crystals) -> np.ndarray:
    """Share of every element, shape (B, 95)."""
    table = np.zeros((len(crystals), 95))
    np.add.at(table, (crystals.owner, crystals.species), 1.0)
    return table / crystals.counts[:, None]


def _probe(cut: ContestSet, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Absolute errors in eV per atom of a ridge regression on every test crystal."""
    regression = make_pipeline(StandardScaler(), RidgeCV(alphas=PENALTIES))
    regression.fit(train, cut.train.properties[TARGET].astype(float))
    predicted = regression.predict(test)
    errors: np.ndarray = np.abs(predicted - cut.test.properties[TARGET].astype(float))
    return errors


def _alignment(
    entry: Contestant, crystals: Crystals, latents: torch.Tensor, features: torch.Tensor
) -> dict[str, float] | None:
    """Parts of the alignment loss of the mean latents of test crystals."""
    if entry.module.aligned is None:
        return None
    projection: Any = entry.module.aligned["map"]
    source = torch.Generator().manual_seed(0)
    chance = torch.rand((2, 200_000), generator=source, dtype=torch.float64)
    with torch.no_grad():
        owner = torch.from_numpy(crystals.owner)
        parts = align(projection(latents), features, owner, chance)
    return {name: float(getattr(parts, name)) for name in ("point", "within", "across")}


def main() -> None:
    """Parse, carry out what is missing, write the table."""
    parser = options(__doc__, "alignment", 1800.0)
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 0.1, 0.5])
    parser.add_argument("--train", type=int, help="use this many training crystals")
    parser.add_argument("--test", type=int, help="use this many test crystals")
    arguments = parser.parse_args()
    if arguments.table:
        write_alignment(arguments.runs, arguments.results)
        return
    runs = [
        Run(weight, seed, arguments.budget, arguments.train, arguments.test)
        for seed in range(arguments.seeds)
        for weight in arguments.weights
    ]
    if not all(run.file(arguments.runs).is_file() for run in runs):
        compute_features(runs[0], arguments.runs, arguments.data)
    carry_out_missing(runs, carry_out, arguments)


if __name__ == "__main__":
    main()
