"""Scoring a crystal run on structures it was not trained on, beside the baselines."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.evaluation import score_generation
from variolite.crystals.latents import Latents
from variolite.crystals.matching import (
    fixed_template,
    held_out_table,
    nearest_template,
    random_coordinates,
    reconstruction_notes,
    reconstruction_rows,
    score_reconstruction,
)
from variolite.crystals.runs.model import CrystalModel
from variolite.crystals.runs.session import load_run
from variolite.crystals.structures import Crystals, reduced_formulas
from variolite.crystals.structures.splitting import groups_by
from variolite.crystals.structures.store import fingerprint, write_store
from variolite.errors import DataError
from variolite.records import write_table
from variolite.scoring import Scorecard
from variolite.training import RunFolder

__all__ = ["held_out_structures", "reconstruct_or_fail", "score_crystal_run"]

KEPT = 2_000
"""Structures that go into the run folder for its report."""

SPLIT = "held-out structures"

Tell = Callable[[str], None]


def held_out_structures(
    run: RunFolder, model: CrystalModel, crystals: Crystals
) -> tuple[Crystals, list[str]]:
    """Choose the structures that a run may be judged on.

    Of the very data it was trained from these are the groups that its split held
    out; of other data they are all, and a note says how many share a formula with
    the training structures.

    Raises
    ------
    DataError
        If none is left.
    """
    by = run.crystal_recipe().split.by
    if not run.split_file.is_file():
        return crystals, [
            "the run keeps no list of its training structures: some of these may be among them"
        ]
    split = run.split()
    trained_on = model.provenance.get("data", {}).get("fingerprint")
    if trained_on == fingerprint(crystals):
        test = np.isin(groups_by(crystals, by), np.array(split.test, dtype=np.str_))
        if not test.any():
            raise DataError(
                "the run was trained on all of these structures",
                where="--data",
                mend="give other structures, or train with split.test above 0",
            )
        return crystals.take(test), []
    if by != "formula":
        return crystals, []
    known = np.array([*split.train, *split.validation], dtype=np.str_)
    shared = int(np.isin(reduced_formulas(crystals), known).sum())
    return crystals, [
        f"{shared} of {len(crystals)} structures have a formula that a structure of training or "
        "validation has too"
    ]


def reconstruct_or_fail(model: CrystalModel, crystals: Crystals) -> tuple[Crystals, int]:
    """Reconstruct; a structure with an element that the model lacks comes back without a cell.

    Returns
    -------
    reconstructed
        In the order of the input; lattices of NaN count as failures.
    failures
        How many there are.
    """
    strange = ~np.isin(crystals.species, np.array(model.elements))
    fine = np.bincount(crystals.owner[strange], minlength=len(crystals)) == 0
    found = model.reconstruct(crystals.take(fine))
    coordinates = np.array(crystals.coordinates)
    species = np.array(crystals.species)
    lattices = np.full_like(crystals.lattices, np.nan)
    places = np.flatnonzero(fine)
    atoms = crystals.atoms_of(places)
    coordinates[atoms], species[atoms] = found.coordinates, found.species
    lattices[places] = found.lattices
    whole = replace(crystals, species=species, coordinates=coordinates, lattices=lattices)
    return whole, int((~fine).sum())


def score_crystal_run(
    run: RunFolder,
    crystals: Crystals,
    *,
    train: Crystals | None = None,
    baselines: bool = True,
    samples: int = 0,
    seed: int = 0,
    workers: int | None = None,
    tell: Tell = lambda _: None,
) -> Scorecard:
    """Score a run and write scorecard.json, held_out.parquet and the structures.

    Parameters
    ----------
    run
        A finished run.
    crystals
        See `held_out_structures`.
    train
        Structures trained on: for the template baselines, and the reference that
        samples must be new against.
    baselines
        Score random coordinates and templates too.
    samples
        Structures to generate and score; 0 for none.
    seed
        Of baselines and samples.
    workers
        Processes for matching; None for one a core.
    tell
        Told what is being done.
    """
    model = load_run(run)
    given = ("species",) if model.species_given else ()
    true, notes = held_out_structures(run, model, crystals)
    if train is None and fingerprint(crystals) == model.provenance.get("data", {}).get(
        "fingerprint"
    ):
        known = groups_by(crystals, run.crystal_recipe().split.by)
        train = crystals.take(np.isin(known, np.array(run.split().train, dtype=np.str_)))
    tell("reconstructing")
    found, failures = reconstruct_or_fail(model, true)
    if failures:
        notes.append(f"{failures} structures hold an element the model lacks: counted as failures")
    workers = (os.cpu_count() or 1) if workers is None else workers
    scores = score_reconstruction(true, found, given=given, workers=workers, tell=tell)
    rows = reconstruction_rows([scores], method="vae", split=SPLIT)
    notes += reconstruction_notes(scores)
    if baselines:
        references = {"random_coordinates": random_coordinates(true, seed=seed)}
        if train is not None:
            references["fixed_template"] = fixed_template(true, train, seed=seed)
            references["nearest_template"] = nearest_template(true, train, seed=seed)
        for name, reference in references.items():
            tell(f"matching the baseline {name}")
            # A template brings its own cell.
            told = ("species", "lattice") if name == "random_coordinates" else ("species",)
            scored = score_reconstruction(true, reference, given=told, workers=workers, tell=tell)
            rows += reconstruction_rows([scored], method=name, split=SPLIT)
    card = Scorecard(tuple(rows), tuple(notes))
    if samples:
        card = card.merge(_generation(run, model, samples, train, true, seed, workers, tell))
    card.write(run.scorecard_file)
    _keep(run.path, true, found, seed)
    table = held_out_table(true, scores, _latents(model, true))
    write_table(table, run.held_out_file)
    return card


def _generation(
    run: RunFolder,
    model: CrystalModel,
    samples: int,
    train: Crystals | None,
    true: Crystals,
    seed: int,
    workers: int,
    tell: Tell,
) -> Scorecard:
    if train is None:
        raise DataError(
            "samples can only be judged against the structures trained on",
            where="--samples",
            mend="give those with --train",
        )
    generated = model.sample(samples, seed=seed, tell=tell)
    write_store(run.path / "samples.crystals", generated.crystals)
    scored = score_generation(
        generated.crystals, train, test=true, workers=workers, seed=seed, tell=tell
    )
    turned_away = sum(generated.rejects.values())
    note = (
        f"{samples} samples out of {generated.attempts} attempts, of which {turned_away} turned "
        "away before scoring as not valid"
    )
    return Scorecard(tuple(scored.rows("vae", SPLIT)), (note, *scored.notes))


def _keep(folder: Path, true: Crystals, found: Crystals, seed: int) -> None:
    """Write a sample of originals and reconstructions, in the same order."""
    usable = np.flatnonzero(np.isfinite(found.lattices).all(axis=(1, 2)))
    chosen: NDArray[np.int64] = usable
    if len(usable) > KEPT:
        chosen = np.sort(np.random.default_rng(seed).choice(usable, KEPT, replace=False))
    write_store(folder / "originals.crystals", true.take(chosen))
    write_store(folder / "reconstructed.crystals", found.take(chosen))


def _latents(model: CrystalModel, crystals: Crystals) -> Latents:
    """Latents of all structures; of those with elements that the model lacks, zeros."""
    strange = ~np.isin(crystals.species, np.array(model.elements))
    fine = np.bincount(crystals.owner[strange], minlength=len(crystals)) == 0
    places = np.flatnonzero(fine)
    mean = np.zeros((len(crystals.species), model.latent), dtype=np.float32)
    mean[crystals.atoms_of(places)] = model.encode(crystals.take(places)).mean
    return Latents(mean, None, crystals.offsets, crystals.names)
