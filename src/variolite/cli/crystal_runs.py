"""The commands on runs, for runs on crystals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from variolite.cli.generate import named_with_units
from variolite.cli.options import keep_inputs
from variolite.cli.progress import note, now_and_then, training_progress, waiting
from variolite.errors import DataError

if TYPE_CHECKING:
    from variolite.crystals.crystal_model import CrystalModel
    from variolite.crystals.crystals import Crystals
    from variolite.recipe import CrystalRecipe

__all__ = [
    "doctor_crystals",
    "encode_crystals",
    "fit_crystals",
    "own_copy",
    "reconstruct_crystals",
    "score_crystals",
]


def fit_crystals(
    recipe: CrystalRecipe, data: Path, out: Path, *, device: str, restart: bool
) -> None:
    """Train a recipe for crystals; see `variolite fit`."""
    from variolite.crystals.run import train_crystal_run
    from variolite.training.device import choose_device

    choose_device(device, 0)
    crystals = _load(data)
    with training_progress(recipe.training.epochs) as listener:
        run, model = train_crystal_run(
            recipe,
            crystals,
            out,
            name=data.name,
            device=device,
            restart=restart,
            listener=listener,
            tell=now_and_then(),
        )
    if model.properties is not None:
        head = model.properties
        for name, unit in zip(head.names, head.units, strict=True):
            score, in_units = head.scores[name], "" if unit == "1" else f" {unit}"
            note(
                f"{name}: mean error {score.error:.3g}{in_units}, of the median "
                f"{score.baseline:.3g}{in_units}"
            )
    typer.echo(str(run.path))


def encode_crystals(run: Path, data: Path, out: Path, *, atoms: bool) -> None:
    """Write latents of structures; see `variolite encode`."""
    import numpy as np
    import polars as pl

    from variolite.crystals.elements import SYMBOLS, reduced_formulas
    from variolite.records import require_writable, write_table

    keep_inputs("--out", out, data)
    require_writable(out)
    model = _model(run)
    crystals = _load(data)
    latents = model.encode(crystals)
    assert latents.log_variance is not None
    deviation = np.exp(0.5 * latents.log_variance)
    if atoms:
        columns = {
            "name": pl.Series(crystals.names[crystals.owner]),
            "atom": pl.Series(np.arange(len(crystals.species)) - crystals.offsets[crystals.owner]),
            "element": pl.Series([SYMBOLS[int(z)] for z in crystals.species]),
        }
        columns |= {f"z{i}": pl.Series(z) for i, z in enumerate(latents.mean.T)}
        columns |= {f"sd{i}": pl.Series(sd) for i, sd in enumerate(deviation.T)}
    else:
        columns = {
            "name": pl.Series(crystals.names),
            "formula": pl.Series(reduced_formulas(crystals)),
            "atoms": pl.Series(crystals.counts),
        }
        columns |= {f"z{i}": pl.Series(z) for i, z in enumerate(latents.pooled.T)}
        if model.properties is not None:
            found = model.properties.predict(latents, crystals.species)
            named = named_with_units(found.names, found.units)
            note(f"predicted with {found.level:.0%} intervals: {named}")
            for i, name in enumerate(found.names):
                columns[f"{name}_predicted"] = pl.Series(found.values[:, i])
                columns[f"{name}_low"] = pl.Series(found.low[:, i])
                columns[f"{name}_high"] = pl.Series(found.high[:, i])
    write_table(pl.DataFrame(columns), out)
    typer.echo(str(out))


def reconstruct_crystals(run: Path, data: Path, out: Path) -> None:
    """Write reconstructions of structures; see `variolite reconstruct`."""
    from variolite.crystals.files.writing import require_place, write_structures

    keep_inputs("--out", out, data)
    require_place(out)
    model = _model(run)
    crystals = _load(data)
    with waiting(f"reconstructing {len(crystals)} structures"):
        found = model.reconstruct(crystals)
    write_structures(found, out)
    typer.echo(str(out))


def score_crystals(
    run: Path,
    data: Path,
    train: Path | None,
    *,
    baselines: bool,
    samples: int,
    workers: int | None,
    as_json: bool,
) -> None:
    """Score a run on crystals; see `variolite score`."""
    from variolite.cli.reports import write_report
    from variolite.crystals.score_run import format_crystal_scorecard, score_crystal_run
    from variolite.training import RunFolder

    known = None if train is None else _load(train)
    crystals = _load(data)
    run = own_copy(run)
    with waiting("scoring on held-out structures") as tell:
        card = score_crystal_run(
            RunFolder(run),
            crystals,
            train=known,
            baselines=baselines,
            samples=samples,
            workers=workers,
            tell=tell,
        )
    write_report(run)
    typer.echo(card.to_json() if as_json else format_crystal_scorecard(card))


def doctor_crystals(run: Path, data: Path | None, *, as_json: bool) -> None:
    """Say how healthy the latent space is; see `variolite doctor`."""
    import json
    from dataclasses import asdict

    from variolite.crystals.score_run import crystal_health

    if data is None:
        raise DataError(
            "structures are needed to judge the latents",
            where=str(run),
            hint="Give --data PATH, best structures that it was not trained on",
        )
    model = _model(run)
    crystals = _load(data)
    with waiting(f"judging the latents of {len(crystals)} structures"):
        health = crystal_health(model, crystals)
    typer.echo(json.dumps(asdict(health), indent=1) if as_json else "\n".join(health.lines()))


def own_copy(run: Path) -> Path:
    """Return a run that may be written to: of a model of the package, a copy in ``runs``."""
    # Most runs lie elsewhere, and what follows takes the seconds that torch takes.
    if run.resolve().parent.name != "models":
        return run
    from variolite.crystals.run import copy_shipped, is_shipped
    from variolite.training import RunFolder

    if not is_shipped(run):
        return run
    mine = Path("runs") / run.name
    if not RunFolder(mine).finished:
        copy_shipped(run.name, mine)
    note(f"{run.name} comes with the package and stays as it is; what is written goes to {mine}")
    return mine


def _load(data: Path) -> Crystals:
    from variolite.crystals.files.reading import load_crystals

    crystals = load_crystals(data, tell=note)
    if not len(crystals):
        raise DataError("there is no structure in it", where=str(data))
    return crystals


def _model(run: Path) -> CrystalModel:
    from variolite.crystals.run import load_run
    from variolite.training import RunFolder

    return load_run(RunFolder(run))
