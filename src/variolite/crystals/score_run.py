"""Scoring a crystal run on structures it was not trained on, beside the baselines."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystal_model import CrystalModel, load_crystal_model
from variolite.crystals.crystals import Crystals, Latents
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.evaluation import Hull, format_generation, score_generation
from variolite.crystals.evaluation.metrics import (
    formula_interval,
    score_table,
    weighted_spearman,
)
from variolite.crystals.evaluation.score import energy_settings
from variolite.crystals.files.groups import groups_by
from variolite.crystals.files.store import write_store
from variolite.crystals.generation.sampling import Sampling
from variolite.crystals.matching import (
    fixed_template,
    held_out_table,
    nearest_template,
    random_coordinates,
    reconstruction_notes,
    reconstruction_rows,
    score_reconstruction,
)
from variolite.crystals.model.latents import (
    ACTIVE_NATS,
    LatentMismatch,
    latent_mismatch,
    latent_statistics,
)
from variolite.errors import DataError
from variolite.records import write_table
from variolite.scoring import Scorecard, ScoreKey
from variolite.training import RunFolder

KEPT = 2_000  # Structures that go into the run folder for its report.
MOST_ASKED = 300  # Structures at most that are generated for every property asked for.
ASKED_VALUES = 6

SPLIT = "held-out structures"


def structures_to_score(
    run: RunFolder, model: CrystalModel, crystals: Crystals
) -> tuple[Crystals, list[str]]:
    """Choose the structures that a run may be scored on, with notes; DataError if none is left.

    Of the very data it was trained from these are the groups of its test part; of other
    data they are all, and a note says how many share a formula with the training structures.
    """
    by = run.recipe().split.by
    if not run.split_file.is_file():
        return crystals, [
            "the run keeps no list of its training structures: some of these may be among them"
        ]
    split = run.split()
    if model.trained_on(crystals):
        test = np.isin(groups_by(crystals, by), np.array(split.test, dtype=np.str_))
        if not test.any():
            raise DataError(
                "the run was trained on all of these structures",
                where="--data",
                hint="give other structures, or train with split.test above 0",
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
    """Reconstruct in the order of the input; return how many failed, too.

    A structure with an element that the model lacks fails: its lattice is NaN.
    """
    places = np.flatnonzero(crystals.made_of(model.elements))
    atoms = crystals.atoms_of(places)
    found = model.reconstruct(crystals.take(places))
    coordinates, species = np.array(crystals.coordinates), np.array(crystals.species)
    lattices = np.full_like(crystals.lattices, np.nan)
    coordinates[atoms], species[atoms] = found.coordinates, found.species
    lattices[places] = found.lattices
    whole = replace(crystals, species=species, coordinates=coordinates, lattices=lattices)
    return whole, len(crystals) - len(places)


def score_crystal_run(
    run: RunFolder,
    crystals: Crystals,
    *,
    train: Crystals | None = None,
    baselines: bool = True,
    samples: int = 0,
    hull: Hull | None = None,
    relax_steps: int = 0,
    seed: int = 0,
    workers: int | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Scorecard:
    """Score a finished run and write scorecard.json, held_out.parquet and the structures.

    ``crystals`` are those of which `structures_to_score` chooses, ``train`` structures trained
    on: for the template baselines, and the reference that ``samples``, structures to generate
    and score, must be new against; with a ``hull`` CHGNet says how stable they are. ``workers`` are
    processes for matching, one a core by default.
    """
    run.require_finished()
    model = load_crystal_model(run.model_folder)
    true, notes = structures_to_score(run, model, crystals)
    if train is None and model.trained_on(crystals):
        known = groups_by(crystals, run.recipe().split.by)
        train = crystals.take(np.isin(known, np.array(run.split().train, dtype=np.str_)))
    log("reconstructing")
    found, failures = reconstruct_or_fail(model, true)
    if failures:
        notes.append(f"{failures} structures hold an element the model lacks: counted as failures")
    workers = (os.cpu_count() or 1) if workers is None else workers
    score = partial(score_reconstruction, true, workers=workers, log=log)
    scores = score(found, given=("species",) if model.species_given else ())
    rows = reconstruction_rows([scores], method="vae", split=SPLIT)
    notes += reconstruction_notes(scores)
    if baselines:
        references = {"random_coordinates": random_coordinates(true, seed=seed)}
        if train is not None:
            references["fixed_template"] = fixed_template(true, train, seed=seed)
            references["nearest_template"] = nearest_template(true, train, seed=seed)
        for name, reference in references.items():
            log(f"matching the baseline {name}")
            # A template brings its own cell.
            own = ("species", "lattice") if name == "random_coordinates" else ("species",)
            rows += reconstruction_rows([score(reference, given=own)], method=name, split=SPLIT)
    card = Scorecard(tuple(rows), tuple(notes))
    if samples:
        if train is None:
            raise DataError(
                "samples can only be scored against the structures trained on",
                where="--samples",
                hint="give those with --train",
            )
        made = model.sample(samples, Sampling(seed=seed), log=log)
        write_store(run.path / "samples.crystals", made.crystals)
        new = score_generation(
            made.crystals,
            train,
            test=true,
            hull=hull,
            **energy_settings("chgnet" if hull else None, relax_steps, workers, log),
            baselines=baselines,
            workers=workers,
            seed=seed,
            log=log,
        )
        note = (
            f"{samples} samples out of {made.attempts} attempts, of which "
            f"{sum(made.rejects.values())} were rejected before scoring as not valid"
        )
        card = card.merge(Scorecard(tuple(new.rows("vae", SPLIT)), (note, *new.notes)))
        card = card.merge(_obedience(model, min(samples, MOST_ASKED), seed, log))
    card.write(run.scorecard_file)
    _keep(run.path, true, found, seed)
    write_table(held_out_table(true, scores, _latents(model, true)), run.held_out_file)
    run.seal_score()
    return card


def _obedience(
    model: CrystalModel, number: int, seed: int, log: Callable[[str], None]
) -> Scorecard:
    """Ask for six values of each property over its usual range, and correlate what comes out."""
    rows, notes, each = [], [], max(1, number // ASKED_VALUES)
    for place, name in enumerate(
        model.selection.independent.about.names if model.selection else ()
    ):
        assert model.selection is not None
        _, low, high, _ = model.selection.range_of(name)
        values, made = np.linspace(low, high, ASKED_VALUES), []
        for turn, value in enumerate(values.tolist()):
            log(f"asking for {name}={value:.3g}")
            made.append(model.sample(each, Sampling({name: value}, seed=seed + turn)).crystals)
        crystals = Crystals.concatenate(made)
        found = model.selection.independent.predict(model.encode(crystals), crystals.species)
        statistic = weighted_spearman(np.repeat(values, each), found.values[:, place])
        formulas, metric = reduced_formulas(crystals), f"spearman_asked_{name}"
        interval = formula_interval(formulas, statistic, bounds=(-1.0, 1.0))
        key = ScoreKey("generation", "vae", SPLIT, unit="1")
        rows.append(key.row(metric, interval, len(np.unique(formulas)), seeds=1))
        notes.append(
            f"{metric}: Spearman's rank correlation of {ASKED_VALUES} values asked for, from "
            f"{low:.3g} to {high:.3g}, and those that an independent regression predicts of {each} "
            "samples each; it chose nothing and was fitted on other compositions than the one that "
            "chose"
        )
    return Scorecard(tuple(rows), tuple(notes))


def _keep(folder: Path, true: Crystals, found: Crystals, seed: int) -> None:
    """Write a sample of originals and reconstructions, in the same order."""
    chosen = np.flatnonzero(np.isfinite(found.lattices).all(axis=(1, 2)))
    if len(chosen) > KEPT:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, KEPT, replace=False))
    write_store(folder / "originals.crystals", true.take(chosen))
    write_store(folder / "reconstructed.crystals", found.take(chosen))


def _latents(model: CrystalModel, crystals: Crystals) -> Latents:
    """Latents of all structures; of those with elements that the model lacks, zeros."""
    places = np.flatnonzero(crystals.made_of(model.elements))
    mean = np.zeros((len(crystals.species), model.latent), dtype=np.float32)
    mean[crystals.atoms_of(places)] = model.encode(crystals.take(places)).mean
    return Latents(mean, None, crystals.offsets, crystals.names)


# The scorecard of a crystal run as plain text: one line for each quantity.


def format_crystal_scorecard(card: Scorecard) -> str:
    """Lay out a card: a line per quantity, a column per method, then the notes.

    What a method was given, besides the latents, stands under its name.
    """
    rows = card.select(task="reconstruction")
    blocks = []
    if rows:
        groups = max(row.n_groups for row in rows)
        title = f"reconstruction of held-out structures ({groups} formulas; 95 % intervals)"
        blocks.append(f"{title}\n{score_table(rows)}")
    of_samples = Scorecard(card.select(task="generation"), card.notes)
    if of_samples.rows:
        blocks.append(format_generation(of_samples))
    else:
        blocks.append("\n".join(["notes", *(f"  {note}" for note in card.notes)]))
    return "\n\n".join(blocks)


# How healthy the latent space of a crystal model is.

DRAWS = 500  # Crystals drawn from a prior to see how far it is from the latents.
FEWEST = 20  # Crystals below which latents are not examined.
MOST = 1_000  # Crystals that are encoded; of larger sets as many are drawn.


@dataclass(frozen=True)
class CrystalHealth:
    """Latents of some crystals, and how far the priors are from them.

    ``kl`` is the mean KL from the standard normal per dimension and atom in nats, (L,);
    ``normal`` and ``fitted`` the mismatch between the latents and N(0, 1), which samples would be
    drawn from without a fitted prior, and the fitted prior. ``encoded`` crystals have these
    latents, of ``given`` ones.
    """

    kl: tuple[float, ...]
    normal: LatentMismatch
    fitted: LatentMismatch | None
    encoded: int
    given: int

    @property
    def active(self) -> int:
        return sum(nats > ACTIVE_NATS for nats in self.kl)

    def to_dict(self) -> dict[str, Any]:
        """Return what was found in plain types, under the names that programs read."""
        former = {"kl": "divergence", "encoded": "judged"}
        return {former.get(name, name): value for name, value in asdict(self).items()}

    def lines(self) -> list[str]:
        """Return what was found, and advice, as sentences."""
        lines = [
            f"from {self.encoded:,} of {self.given:,} structures, drawn evenly over their "
            "numbers of atoms"
        ] * (self.encoded < self.given)
        lines += [
            f"{self.active} of {len(self.kl)} latent dimensions active, "
            f"{sum(self.kl):.1f} nats per atom in all",
            *(f"  z{i:<3} {nats:6.3f} nats" for i, nats in enumerate(self.kl)),
            _mismatch_line("a standard normal", self.normal),
        ]
        if self.fitted is None:
            lines.append("advice: fit a prior (`variolite crystals prior`) before generating")
        else:
            lines.append(_mismatch_line("the fitted prior", self.fitted))
        if self.active < len(self.kl):
            lines.append("advice: lower model.latent or loss.kl: some dimensions are idle")
        return lines


def _mismatch_line(what: str, found: LatentMismatch) -> str:
    return (
        f"draws from {what} lie {found.crystals:.2f} standard deviations from the latents of whole "
        f"crystals (sampling alone: {found.crystals_floor:.2f}); a classifier puts "
        f"{found.classified:.0%} on the right side, where 50% is chance"
    )


def crystal_health(model: CrystalModel, crystals: Crystals, *, seed: int = 0) -> CrystalHealth:
    """Examine the latents of some crystals, best ones that the model was not trained on.

    Of more than `MOST` crystals, `MOST` are drawn evenly over their numbers of atoms. DataError
    if there are fewer than 20, or one holds an element that the model was not trained on.
    """
    if len(crystals) < FEWEST:
        raise DataError(
            f"{len(crystals)} structures are too few to examine latents",
            where="data",
            hint=f"Give {FEWEST} or more",
        )
    some = crystals.take(_evenly(crystals.counts, seed))
    latents = model.encode(some)
    drawn = np.random.default_rng(seed).standard_normal(latents.mean.shape).astype(np.float32)
    normal = latent_mismatch(replace(latents, mean=drawn, log_variance=None), latents, seed=seed)
    fitted = None
    if model.prior is not None:
        known = model.prior.propose(DRAWS, seed=seed)
        fitted = latent_mismatch(model.prior.sample(known, seed=seed), latents, seed=seed)
    kl = tuple(latent_statistics(latents).kl.tolist())
    return CrystalHealth(kl, normal, fitted, len(some), len(crystals))


def _evenly(counts: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Draw one crystal from each of `MOST` equal stretches of all, sorted by size; in order."""
    if len(counts) <= MOST:
        return np.arange(len(counts))
    edges = np.linspace(0, len(counts), MOST + 1).astype(np.int64)
    drawn = np.random.default_rng(seed).integers(edges[:-1], edges[1:])
    return np.sort(np.argsort(counts, kind="stable")[drawn])
