"""A training run on crystals: structures and recipe in, run folder out."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
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
from variolite.crystals.generation.prior import fit_prior
from variolite.crystals.generation.properties import fit_property_head, require_properties
from variolite.crystals.generation.selection import fit_selection
from variolite.crystals.model.batch import (
    CrystalBatch,
    CrystalBatches,
    coordinates_of,
    evaluation_batches,
    log_metric_tensor,
    wrapped,
)
from variolite.crystals.model.latents import ACTIVE_NATS
from variolite.crystals.model.network import CrystalModule, bf16_is_fast
from variolite.crystals.potential.alignment import standardise
from variolite.crystals.potential.features import foundation_features, user_cache
from variolite.crystals.recipe import CrystalRecipe, load_crystal_recipe
from variolite.errors import DataError, RecipeError, TrainingError
from variolite.fields import Paths, name_of
from variolite.progress import Progress
from variolite.recipe import recipe_to_yaml
from variolite.records import Split, write_text_atomic
from variolite.training.device import choose_device
from variolite.training.loop import Validation, train
from variolite.training.run import TrainingRun
from variolite.training.run_folder import RunFolder

# From crystals in the canonical frame to a trained network.

VALIDATION_SEED = 20_240_901
BATCH_SIZE = 128
RATE = 3e-3  # At that batch; of 1e-3, 2e-3, 3e-3 and 5e-3 the best at width 128 or close to it.
LEAST_SCALE = 0.02  # Smallest scale of a log metric: angles of cubic cells do not vary at all.


@contextmanager
def all_threads() -> Iterator[None]:
    """Use every core for a network that is large enough, unless the user says otherwise."""
    before = torch.get_num_threads()
    if os.environ.get("VARIOLITE_DEFAULT_THREADS"):
        own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
        torch.set_num_threads(len(own) or os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def build(recipe: CrystalRecipe, crystals: Crystals, *, features: int = 0) -> CrystalModule:
    """The untrained network of a recipe for training crystals in the canonical frame.

    They give the elements and the spread of the cells; ``features`` is the width of the
    foundation features, 0 without alignment.
    """
    elements = np.unique(crystals.species).tolist()
    seed = recipe.training.seed
    module = CrystalModule(recipe.model, recipe.loss, elements, features=features, seed=seed)
    cells = log_metric_tensor(crystals.lattices, crystals.counts)
    scale = np.maximum(cells.std(axis=0), LEAST_SCALE)
    module.set_log_metric_statistics(cells.mean(axis=0).tolist(), scale.tolist())
    return module


def _signed_settings(recipe: CrystalRecipe, module: CrystalModule) -> list[dict[str, Any]]:
    """Settings that a checkpoint belongs to, with the names and in the order of the first version.

    So that a run that an earlier version began can be resumed.
    """
    former = {key: path.partition(".")[2] for path, key in CrystalRecipe.former_keys.items()}
    content = recipe.model_dump(mode="json")
    content["training"] = content.pop("training")
    for part in ("model", "loss"):
        content[part] = {former.get(key, key): value for key, value in content[part].items()}
    sizes = {key: value for key, value in content["model"].items() if key != "given"}
    content["model"] = {"kind": "transformer", **content["model"]}
    # At the end, with the sizes of a prior that was removed.
    content["prior"] = content.pop("prior") | {"crystals": 32, "atoms": 64}
    given = {"species_given": module.architecture.species_given, "features": module.features}
    return [{"elements": module.elements, **sizes, **given}, content]


def _validate(module: CrystalModule, crystals: CrystalBatch) -> Validation:
    """Average the objective over validation crystals, with fixed noise, and measure the mean."""
    latent = module.architecture.latent
    one = torch.ones(1, device=crystals.species.device)
    terms, nats, distances, volumes = [], [], [], []
    for batch in evaluation_batches(crystals, latent, noise_seed=VALIDATION_SEED):
        fraction = len(batch.species) / len(crystals.species)
        found = module.loss(batch, one)
        terms.append(torch.stack([found.reconstruction[0], found.kl[0]]) * fraction)
        posterior = module.infer(batch)
        nats.append(posterior.kl_per_dimension()[0].mean(0) * fraction)
        # Errors are those of the posterior mean. Fractional differences (N, 3) to the nearest
        # image, each times the cell (3, 3) of its crystal, are distances in Angstrom.
        decoded = module.generate(posterior.mean[0], batch.layout, batch.species)
        difference = wrapped(coordinates_of(decoded.pairs) - batch.coordinates)
        cell = batch.lattice.index_select(0, batch.layout.owner)
        distances.append((difference.unsqueeze(1) @ cell).norm(dim=-1).squeeze(1))
        # The trace of the log metric tensor is the logarithm of the volume per atom.
        volumes.append((decoded.log_metric - batch.log_metric)[:, :3].sum(1).abs())
    total = torch.stack(terms).sum(0)
    active = (torch.stack(nats).sum(0) > ACTIVE_NATS).sum().view(1)
    distance = torch.cat(distances)
    measures = {
        "position_error_median_angstrom": distance.median(),
        "position_error_mean_angstrom": distance.mean(),
        "volume_error_percent": 100.0 * torch.cat(volumes).mean(),
    }
    rounded = {name: round(float(value), 5) for name, value in measures.items()}
    return Validation(total[:1], total[1:], active, rounded)


# A whole run: split, network, prior and property head, run folder.

UNITS = {
    "formation_energy_per_atom": "eV/atom",
    "e_above_hull": "eV/atom",
    "energy_above_hull": "eV/atom",
    "band_gap": "eV",
}
"""Units of columns that public data sets name alike; other columns have unit 1."""


def prepare_crystals(
    crystals: Crystals, recipe: CrystalRecipe
) -> tuple[dict[str, Crystals], Split]:
    """Split structures by formula, prototype or one by one, as the recipe says.

    Returns the parts ``train``, ``validation`` and ``test``, and the groups in each. DataError if
    there are too few groups, or a property that the recipe names is missing, is not a number or has
    too few values.
    """
    spec, groups = recipe.split, groups_by(crystals, recipe.split.by)
    if spec.test > 0.0:
        split = draw_split(groups, test=spec.test, validation=spec.validation, seed=spec.seed)
    else:
        # Three parts of which two become one: validation and test are drawn first.
        half = spec.validation / 2.0
        drawn = draw_split(groups, test=half, validation=half, seed=spec.seed)
        split = Split(drawn.train, (*drawn.validation, *drawn.test), (), spec.seed)
    parts = {name: crystals.take(places) for name, places in split.rows(groups).items()}
    require_properties(parts["train"], recipe.properties)
    return parts, split


def train_on_files(
    recipe: CrystalRecipe,
    data: Paths,
    out: Path,
    progress: Progress,
    *,
    device: str = "auto",
    restart: bool = False,
    strict: bool = False,
    primitive: bool = False,
) -> RunFolder:
    """Read structures and train on them, as ``variolite fit`` does.

    What is rejected is listed beside the run.
    """
    from variolite.crystals.field import load

    choose_device(device, 0)
    crystals = load(data, progress, out, strict=strict, primitive=primitive)
    run, model = train_crystal_run(
        recipe,
        crystals,
        out,
        name=name_of(data),
        device=device,
        restart=restart,
        primitive=primitive,
        progress=progress,
    )
    if model.properties is None:
        return run
    about = model.properties.about
    for name, unit in zip(about.names, about.units, strict=True):
        score, in_units = about.scores[name], "" if unit == "1" else f" {unit}"
        progress.note(
            f"{name}: mean error {score.error:.3g}{in_units}, of the median "
            f"{score.baseline:.3g}{in_units}"
        )
    return run


def train_crystal_run(
    recipe: CrystalRecipe,
    crystals: Crystals,
    out: Path,
    *,
    name: str = "structures in memory",
    device: str = "auto",
    restart: bool = False,
    primitive: bool = False,
    progress: Progress | None = None,
) -> tuple[RunFolder, CrystalModel]:
    """Train a resolved recipe on structures, fit its prior and write the run folder.

    The recipe's split holds some structures out. An interrupted run of the same recipe and data
    is resumed, within the network or within the prior; ``restart`` replaces a run that is there.
    ``name`` is that of the data, for the report; ``primitive`` says that cells were reduced.
    """
    progress = progress or Progress()
    folder = RunFolder(out)
    parts, split = prepare_crystals(crystals, recipe)
    trained = None if restart else _without_its_prior(folder, recipe, crystals)
    if trained is None:
        run = TrainingRun(folder, recipe, restart=restart, simulated=False)
        counted = ", ".join(f"{len(part):,} {part_name}" for part_name, part in parts.items())
        progress.note(f"{counted} structures, split by {recipe.split.by}")
        about = {"name": name, "fingerprint": fingerprint(crystals), "rows": len(crystals)}
        about |= {"rows_kept": len(crystals), "left_out": [], "remarks": []}
        about |= {"largest": int(crystals.counts.max()), "primitive": primitive}
        trained = _train(recipe, parts, split, run, about, device, progress)
    else:
        progress.note("the network is trained already; what is missing is done now")
    model = trained
    if _lacks_its_prior(model, recipe):
        model = _with_prior(model, recipe, parts["train"], folder, device, progress)
        save_crystal_model(folder.model_folder, model)
    folder.seal_fit()
    return folder, model


def _train(
    recipe: CrystalRecipe,
    parts: Mapping[str, Crystals],
    split: Split,
    run: TrainingRun,
    data: Mapping[str, Any],
    device: str,
    progress: Progress,
) -> CrystalModel:
    """Train the network and write all that belongs to a run but the prior."""
    spec = recipe.training
    known = held_out = None
    if recipe.loss.alignment > 0.0:
        with progress.stage("features of CHGNet") as step:
            known, held_out = _features(parts["train"], parts["validation"], step)
    # Cells are standardised by those that the network sees, not by those of the files.
    training, validation = (canonicalize(parts[part]).crystals for part in ("train", "validation"))
    # A validation crystal may hold an element that no training crystal has.
    whole = validation.made_of(np.unique(training.species))
    if held_out is not None:
        held_out = held_out[validation.atoms_of(np.flatnonzero(whole))]
    validation = validation.take(whole)
    if len(training) < 2 or not len(validation):
        raise TrainingError(
            f"{len(training)} crystals to train on and {len(validation)} to validate with "
            "are too few",
            hint="give more structures, or a smaller split.test",
        )
    # The network has to know the width of the features and the spread of the cells.
    module = build(recipe, training, features=0 if known is None else known.shape[1])
    parameters = sum(p.numel() for p in module.parameters())
    atoms = len(training.species) / len(training)
    where, reason = choose_device(device, int(parameters * atoms))
    module.to(where)
    module.use_bf16(spec.precision == "auto" and bf16_is_fast(where))
    rate = RATE if spec.learning_rate == "auto" else spec.learning_rate
    batches = CrystalBatches(
        CrystalBatch.of(training, where, known),
        BATCH_SIZE if spec.batch_size == "auto" else spec.batch_size,
        recipe.model.latent,
        spec.seed,
    )
    validated = CrystalBatch.of(validation, where, held_out)
    progress.note(
        f"{reason}; {len(training):,} crystals of {atoms:.1f} atoms, {batches.steps} steps of "
        f"{batches.batch_size}, learning rate {rate:.2g}, {parameters:,} weights"
    )
    digest = hashlib.sha256(json.dumps(_signed_settings(recipe, module)).encode())
    digest.update((fingerprint(training) + fingerprint(validation)).encode())
    resume = run.begin(split, digest.hexdigest())
    with all_threads(), progress.training(spec.epochs) as on_epoch:
        trained = train(
            module,
            module.loss,
            batches.epoch,
            lambda: _validate(module, validated),
            spec,
            learning_rate=rate,
            betas=[recipe.loss.kl],
            resume=resume,
            on_epoch=on_epoch,
        )
    used = {"batch_size": batches.batch_size, "learning_rate": rate, "parameters": parameters}
    model = CrystalModel(module.to("cpu").eval())
    return run.finish(model, save_crystal_model, trained, device=reason, data=data, **used)


def _features(
    training: Crystals, validation: Crystals, log: Callable[[str], None]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Foundation features of both parts, standardised by those of the training atoms."""
    found = []
    for part in (training, validation):
        read = foundation_features(part, folder=user_cache(), workers=os.cpu_count() or 1, log=log)
        found.append(torch.from_numpy(read.features).float())
    first, second = (standardise(part, found[0]).numpy() for part in found)
    return first, second


def _without_its_prior(
    run: RunFolder, recipe: CrystalRecipe, crystals: Crystals
) -> CrystalModel | None:
    """Load a run of the same recipe and data that was interrupted after the network was trained."""
    if not run.finished or not run.recipe_file.is_file():
        return None
    try:
        if run.recipe() != recipe:
            return None
    except RecipeError:  # of a run on a table, or damaged
        return None
    model = load_crystal_model(run.model_folder)
    missing = _lacks_its_prior(model, recipe) or not run.sealed
    return model if missing and model.trained_on(crystals) else None


def _lacks_its_prior(model: CrystalModel, recipe: CrystalRecipe) -> bool:
    no_prior = recipe.prior.kind != "none" and model.prior is None
    return no_prior or (bool(recipe.properties) and model.properties is None)


def _with_prior(
    model: CrystalModel,
    recipe: CrystalRecipe,
    training: Crystals,
    run: RunFolder,
    device: str,
    progress: Progress,
) -> CrystalModel:
    frame = canonicalize(training).crystals
    latents = encode(model.module, frame)
    head = prior = selection = None
    if recipe.properties:
        with progress.stage("fitting properties from latents"):
            head = fit_property_head(latents, frame, recipe.properties, units=UNITS)
            selection = fit_selection(latents, frame, recipe.properties, units=UNITS)
    if recipe.prior.kind != "none":
        # An interrupted prior is in the way of no other: each has a file of its own.
        settings = (recipe.prior, recipe.properties, recipe.training.precision)
        kind = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
        on_gpu = torch.cuda.is_available() and device != "cpu"
        with all_threads(), progress.stage("fitting the prior") as step:
            prior = fit_prior(
                latents,
                frame,
                recipe.prior,
                recipe.properties,
                precision=recipe.training.precision,
                seed=recipe.training.seed,
                device=torch.device("cuda" if on_gpu else "cpu"),
                checkpoint=run.checkpoint_file.with_name(f"prior-{kind}.safetensors"),
                log=step,
            )
    return replace(model, prior=prior, properties=head, selection=selection)


def refit_prior(
    run: RunFolder,
    crystals: Crystals,
    overrides: Sequence[str] = (),
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> CrystalModel:
    """Fit the prior and the property head of a finished run again, and store them with it.

    ``crystals`` are the very structures that it was trained from (DataError for others);
    ``overrides`` such as ``prior.epochs=50`` may change prior and properties (RecipeError for
    other parts).
    """
    for override in overrides:
        part = override.partition("=")[0].partition(".")[0]
        if part not in ("prior", "properties"):
            raise RecipeError(
                f"the network is trained: {part!r} can no longer change",
                where=f"--set {override}",
                hint="only prior and properties can; train another run for the rest",
            )
    model: CrystalModel = run.model()
    recipe = load_crystal_recipe(run.recipe_file, overrides)
    if not model.trained_on(crystals):
        raise DataError(
            "these are not the structures that the run was trained from",
            where="--data",
            hint="give the same ones",
        )
    parts, _ = prepare_crystals(crystals, recipe)
    bare = replace(model, prior=None, properties=None, selection=None)
    fitted = _with_prior(bare, recipe, parts["train"], run, device, progress or Progress())
    run.unseal_fit()
    save_crystal_model(run.model_folder, fitted)
    write_text_atomic(run.recipe_file, recipe_to_yaml(recipe))
    run.seal_fit()
    return fitted
