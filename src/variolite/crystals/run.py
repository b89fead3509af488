"""A training run on crystals: structures and recipe in, run folder out."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from variolite.crystals.crystal_model import (
    CrystalModel,
    canonicalize,
    encode,
    load_crystal_model,
    save_crystal_model,
)
from variolite.crystals.crystals import Crystals
from variolite.crystals.files.groups import draw_split, groups_by
from variolite.crystals.files.store import fingerprint
from variolite.crystals.fitting import all_threads, build, fit_crystals
from variolite.crystals.generation.flow import FlowSettings
from variolite.crystals.generation.prior import PriorSettings, fit_prior
from variolite.crystals.generation.properties import fit_property_head, require_properties
from variolite.crystals.potential.alignment import fit_scale
from variolite.crystals.potential.features import foundation_features
from variolite.errors import DataError, RecipeError, nearest
from variolite.progress import Progress
from variolite.recipe import CrystalRecipe, CrystalSplitSpec, load_crystal_recipe, recipe_to_yaml
from variolite.records import Split, write_text_atomic
from variolite.training.run import RunFolder, environment
from variolite.training.storage import write_history

# A whole training run on crystals: structures and recipe in, run folder out.


UNITS = {
    "formation_energy_per_atom": "eV/atom",
    "e_above_hull": "eV/atom",
    "energy_above_hull": "eV/atom",
    "band_gap": "eV",
}
"""Units of columns that public data sets name alike; other columns have unit 1."""


@dataclass(frozen=True)
class PreparedCrystals:
    """Structures split by group.

    Attributes
    ----------
    parts
        ``train``, ``validation`` and ``test``.
    split
        The groups in each.
    fingerprint
        Of all structures together.
    """

    parts: dict[str, Crystals]
    split: Split
    fingerprint: str


def prepare_crystals(crystals: Crystals, recipe: CrystalRecipe) -> PreparedCrystals:
    """Split structures by formula, prototype or one by one, as the recipe says.

    Raises
    ------
    DataError
        If there are too few groups, or a property that the recipe names is missing, is no
        number or has too few values.
    """
    for name in recipe.properties:
        if name not in crystals.properties:
            close = nearest(name, crystals.properties)
            known = ", ".join(crystals.properties) or "none"
            raise DataError(
                f"the structures have no property {name!r}",
                where="properties",
                hint=f"did you mean {close}?" if close else f"they have: {known}",
            )
    spec = recipe.split
    groups = groups_by(crystals, spec.by)
    split = _draw(groups, spec)
    rows = split.rows(groups)
    parts = {name: crystals.take(places) for name, places in rows.items()}
    require_properties(parts["train"], recipe.properties)
    return PreparedCrystals(parts, split, fingerprint(crystals))


def _draw(groups: NDArray[np.str_], spec: CrystalSplitSpec) -> Split:
    """Draw three parts, or two where no structure is to be held out."""
    if spec.test > 0.0:
        return draw_split(groups, test=spec.test, validation=spec.validation, seed=spec.seed)
    # Three parts of which two become one: what is drawn first is held back.
    half = spec.validation / 2.0
    drawn = draw_split(groups, test=half, validation=half, seed=spec.seed)
    return Split(drawn.train, (*drawn.validation, *drawn.test), (), spec.seed)


def train_crystal_run(
    recipe: CrystalRecipe,
    crystals: Crystals,
    out: Path,
    *,
    name: str = "structures in memory",
    device: str = "auto",
    restart: bool = False,
    simulated: bool = False,
    progress: Progress | None = None,
) -> tuple[RunFolder, CrystalModel]:
    """Train a recipe on structures, fit its prior and write the run folder.

    A broken-off run of the same recipe and data goes on, within the network or
    within the prior.

    Parameters
    ----------
    recipe
        Already resolved.
    crystals
        All structures; the recipe's split holds some of them out.
    out
        Run folder.
    name
        Of the data, for the report.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    restart
        Replace a run that is there.
    simulated
        The data are simulated; every page made of the run says so.
    progress
        Where progress is reported.
    """
    progress = progress or Progress()
    run = RunFolder(out)
    prepared = prepare_crystals(crystals, recipe)
    begun = None if restart else _without_its_prior(run, recipe, prepared)
    if begun is None:
        run.require_free(restart=restart)
        run.prepare(restart=restart)
        begun = _train(recipe, prepared, run, name, device, simulated, progress)
    else:
        progress.note("the network is trained already; only its prior is fitted now")
    model = _with_prior(begun, recipe, prepared.parts["train"], run, device, progress)
    save_crystal_model(run.model_folder, model)
    shutil.rmtree(run.checkpoint_file.parent, ignore_errors=True)
    return run, model


def _train(
    recipe: CrystalRecipe,
    prepared: PreparedCrystals,
    run: RunFolder,
    name: str,
    device: str,
    simulated: bool,
    progress: Progress,
) -> CrystalModel:
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    parts = prepared.parts
    counted = ", ".join(f"{len(part):,} {part_name}" for part_name, part in parts.items())
    progress.note(f"{counted} structures, split by {recipe.split.by}")
    run.write_json(run.split_file, prepared.split.to_dict())
    write_text_atomic(run.recipe_file, recipe_to_yaml(recipe))
    features = None
    if recipe.loss.alignment > 0.0:
        with progress.stage("features of CHGNet") as step:
            features = _features(parts["train"], parts["validation"], step)
    width = 0 if features is None else features[0].shape[1]
    train, validation = (canonicalize(parts[p]).crystals for p in ("train", "validation"))
    # Cells are standardised by those that the network sees, not by those of the files.
    module = build(recipe, train, features=width)
    # A validation crystal may hold an element that no training crystal has.
    known = np.isin(validation.species, np.unique(train.species))
    whole = np.bincount(validation.owner[~known], minlength=len(validation)) == 0
    if features is not None:
        atoms = validation.atoms_of(np.flatnonzero(whole))
        features = (features[0], features[1][atoms])
    with progress.training(recipe.training.epochs) as on_epoch:
        fitted = fit_crystals(
            module,
            train,
            validation.take(whole),
            recipe,
            features=features,
            device=device,
            checkpoint=run.checkpoint_file,
            on_start=progress.note,
            on_epoch=on_epoch,
        )
    facts = {
        **environment(fitted.device),
        "started": started,
        "seconds": round(time.monotonic() - began, 2),
        "simulated": simulated,
        "data": {
            "name": name,
            "fingerprint": prepared.fingerprint,
            "rows": sum(len(part) for part in parts.values()),
            "rows_kept": sum(len(part) for part in parts.values()),
            "left_out": [],
            "remarks": [],
        },
        "batch_size": fitted.batch_size,
        "learning_rate": fitted.rate,
        "parameters": fitted.parameters,
    }
    provenance: dict[str, Any] = {
        key: facts[key] for key in ("variolite", "torch", "started", "simulated", "data")
    }
    provenance |= {"recipe": recipe.name, "best_epochs": [fitted.best_epoch]}
    model = CrystalModel(fitted.module, provenance=provenance)
    write_history(run.history_file, fitted.history)
    run.write_json(run.environment_file, facts)
    save_crystal_model(run.model_folder, model)
    return model


def _features(
    training: Crystals, validation: Crystals, tell: Callable[[str], None]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Foundation features of both parts, standardised by those of the training atoms."""
    from variolite.crystals.potential.features import user_cache

    workers = os.cpu_count() or 1
    found = [
        torch.from_numpy(
            foundation_features(part, folder=user_cache(), workers=workers, log=tell).features
        ).float()
        for part in (training, validation)
    ]
    scale = fit_scale(found[0])
    first, second = (scale.apply(part).numpy() for part in found)
    return first, second


def _without_its_prior(
    run: RunFolder, recipe: CrystalRecipe, prepared: PreparedCrystals
) -> CrystalModel | None:
    """Take up a run of the same recipe and data that was broken off while its prior was fitted."""
    if not run.finished or not run.recipe_file.is_file():
        return None
    try:
        if run.recipe() != recipe:
            return None
    except RecipeError:  # of a run on a table, or damaged
        return None
    model = load_crystal_model(run.model_folder)
    same = model.provenance.get("data", {}).get("fingerprint") == prepared.fingerprint
    no_prior = recipe.prior.kind != "none" and model.prior is None
    no_properties = bool(recipe.properties) and model.properties is None
    return model if same and (no_prior or no_properties) else None


def _with_prior(
    model: CrystalModel,
    recipe: CrystalRecipe,
    training: Crystals,
    run: RunFolder,
    device: str,
    progress: Progress,
) -> CrystalModel:
    """Fit the prior and the property head of a trained network."""
    if recipe.prior.kind == "none" and not recipe.properties:
        return model
    frame = canonicalize(training).crystals
    latents = encode(model.module, frame)
    head = None
    if recipe.properties:
        with progress.stage("fitting properties from latents"):
            head = fit_property_head(latents, frame, recipe.properties, units=UNITS)
    prior = None
    if recipe.prior.kind != "none":
        settings = _settings(recipe)
        # An interrupted prior is in the way of no other: each has a file of its own.
        kind = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
        on_gpu = torch.cuda.is_available() and device != "cpu"
        with all_threads(), progress.stage("fitting the prior") as step:
            prior = fit_prior(
                latents,
                frame,
                settings,
                seed=recipe.training.seed,
                device=torch.device("cuda" if on_gpu else "cpu"),
                checkpoint=run.checkpoint_file.with_name(f"prior-{kind}.safetensors"),
                tell=step,
            )
    return replace(model, prior=prior, properties=head)


def _settings(recipe: CrystalRecipe) -> PriorSettings:
    spec = recipe.prior
    flow = FlowSettings(
        width=spec.width,
        layers=spec.layers,
        heads=spec.heads,
        epochs=spec.epochs,
        batch=spec.batch_size,
        rate=spec.learning_rate,
        precision=recipe.training.precision,
    )
    return PriorSettings(recipe.properties, flow)


def refit_prior(
    run: RunFolder,
    crystals: Crystals,
    overrides: Sequence[str] = (),
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> CrystalModel:
    """Fit the prior and the property head of a finished run again, and store them with it.

    Parameters
    ----------
    run
        A finished run.
    crystals
        The very structures that it was trained from.
    overrides
        ``prior.epochs=50`` and the like; other parts of the recipe cannot change.
    device
        ``auto``, ``cpu`` or ``cuda``.
    progress
        Where progress is reported.

    Raises
    ------
    DataError
        If the structures are others.
    RecipeError
        If an override concerns another part.
    """
    for override in overrides:
        part = override.partition("=")[0].partition(".")[0]
        if part not in ("prior", "properties"):
            raise RecipeError(
                f"the network is trained: {part!r} can no longer change",
                where=f"--set {override}",
                hint="only prior and properties can; train another run for the rest",
            )
    model = load_run(run)
    recipe = load_crystal_recipe(run.recipe_file, overrides)
    if model.provenance.get("data", {}).get("fingerprint") != fingerprint(crystals):
        raise DataError(
            "these are not the structures that the run was trained from",
            where="--data",
            hint="give the same ones",
        )
    prepared = prepare_crystals(crystals, recipe)
    fresh = replace(model, prior=None, properties=None)
    fitted = _with_prior(
        fresh, recipe, prepared.parts["train"], run, device, progress or Progress()
    )
    save_crystal_model(run.model_folder, fitted)
    write_text_atomic(run.recipe_file, recipe_to_yaml(recipe))
    shutil.rmtree(run.checkpoint_file.parent, ignore_errors=True)
    return fitted


def load_run(run: RunFolder) -> CrystalModel:
    """Load the model of a finished run on the CPU.

    Raises
    ------
    RunFolderError
        If the run is not there or not finished.
    """
    run.require_finished()
    return load_crystal_model(run.model_folder)
