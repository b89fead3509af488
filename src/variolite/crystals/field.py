"""Crystals as a field: what the commands do on their runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variolite.arguments import keep_inputs, parse_conditions
from variolite.crystals.recipe import CrystalRecipe
from variolite.errors import DataError, ModelFileError, ShortfallError, some_of
from variolite.fields import Deferred, Paths, name_of
from variolite.progress import Progress
from variolite.shipped import copy_shipped, shipped_run

if TYPE_CHECKING:
    from variolite.crystals.crystal_model import CrystalModel
    from variolite.crystals.crystals import Crystals
    from variolite.crystals.generation.sampling import Generated, Sampling
    from variolite.crystals.score_run import CrystalHealth
    from variolite.scoring import Scorecard
    from variolite.training import RunFolder

DEMO_MODEL = "mp_20"
DEMO_SAMPLES = 60

NAMED = 6  # structures that are left out and named on the terminal; a table has all of them
RELAXATION_STEPS = 200  # most steps of ``variolite generate --relax``


class CrystalField:
    """See `variolite.fields.Field`."""

    kind = "crystals"
    model_kind = "variolite.crystal_vae"
    subject = "crystals"
    recipe = CrystalRecipe
    train = Deferred("variolite.crystals.run", "train_on_files")
    load_model = Deferred("variolite.crystals.crystal_model", "load_crystal_model")
    format_scores = Deferred("variolite.crystals.score_run", "format_crystal_scorecard")
    score_structures = Deferred("variolite.crystals.evaluation.score", "score_structures")
    import_recipe = Deferred("variolite.crystals.recipe", "import_source")

    def score(
        self,
        run: RunFolder,
        data: Paths,
        progress: Progress,
        *,
        train: Paths | None = None,
        baselines: bool = True,
        samples: int = 0,
        hull: Path | None = None,
        relax_steps: int = 0,
        workers: int | None = None,
        strict: bool = False,
    ) -> Scorecard:
        from variolite.crystals.evaluation.hull import read_hull
        from variolite.crystals.evaluation.score import potential_of
        from variolite.crystals.score_run import score_crystal_run

        potential = potential_of(None, hull, relax_steps)
        if potential and not samples:
            raise DataError("is for samples", where="--hull", hint="Give --samples N too")
        phases = None if hull is None else read_hull(hull, log=progress.note)
        primitive = run.model().primitive
        known = None if train is None else load(train, progress, primitive=primitive)
        # An element that the model lacks is a failure of the model, and counted as one.
        beside = run.path.with_name(f"{run.path.name}-score")
        crystals = load(data, progress, beside, strict=strict, primitive=primitive)
        with progress.stage("scoring on held-out structures") as step:
            return score_crystal_run(
                run,
                crystals,
                train=known,
                baselines=baselines,
                samples=samples,
                hull=phases,
                relax_steps=relax_steps,
                workers=workers,
                log=step,
            )

    def report(self, run: RunFolder) -> Path:
        from variolite.crystals.report import crystal_page
        from variolite.training.run_folder import read_run

        return run.write_page(crystal_page(read_run(run)))

    def encode(
        self,
        run: RunFolder,
        data: Paths,
        out: Path,
        progress: Progress,
        *,
        atoms: bool = False,
        strict: bool = False,
        primitive: bool = False,
    ) -> None:
        """Write a row for every structure, or every atom; with predictions where there are any."""
        import numpy as np
        import polars as pl

        from variolite.crystals.elements import SYMBOLS, reduced_formulas
        from variolite.records import require_writable, write_table

        keep_inputs("--out", out, data)
        require_writable(out)
        model: CrystalModel = run.model()
        primitive |= model.primitive
        crystals = load(data, progress, out, model=model, strict=strict, primitive=primitive)
        latents = model.encode(crystals)
        assert latents.log_variance is not None
        deviation = np.exp(0.5 * latents.log_variance)
        if atoms:
            first = crystals.offsets[crystals.owner]
            columns = {
                "name": pl.Series(crystals.names[crystals.owner]),
                "atom": pl.Series(np.arange(len(crystals.species)) - first),
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
                named = _with_units(found.names, found.units)
                progress.note(f"predicted with {found.level:.0%} intervals: {named}")
                for i, name in enumerate(found.names):
                    columns[f"{name}_predicted"] = pl.Series(found.values[:, i])
                    columns[f"{name}_low"] = pl.Series(found.low[:, i])
                    columns[f"{name}_high"] = pl.Series(found.high[:, i])
        write_table(pl.DataFrame(columns), out)

    def reconstruct(
        self,
        run: RunFolder,
        data: Paths,
        out: Path,
        progress: Progress,
        *,
        strict: bool = False,
        primitive: bool = False,
    ) -> None:
        """Write structures in their own cell, origin, orientation and order of atoms."""
        from variolite.crystals.files import write_structures
        from variolite.crystals.files.writing import require_place

        keep_inputs("--out", out, data)
        require_place(out)
        model = run.model()
        crystals = load(data, progress, out, model=model, strict=strict, primitive=primitive)
        with progress.stage(f"reconstructing {len(crystals)} structures"):
            found = model.reconstruct(crystals)
        # Energies and space groups are those of the given structures, not of these.
        write_structures(replace(found, properties={}), out)

    def generate(
        self,
        run: RunFolder,
        number: int,
        out: Path,
        progress: Progress,
        *,
        where: Sequence[str] = (),
        best_of: int = 1,
        relax: bool = False,
        workers: int = 1,
        device: str = "auto",
        all_or_nothing: bool = False,
        **settings: Any,
    ) -> None:
        """Write ``number`` valid crystals; ``settings`` are of `Sampling`.

        Fewer, where no more are found, are written before the `ShortfallError` that says so.
        """
        from variolite.crystals.generation.sampling import Sampling

        asked = parse_conditions(where)
        sampling = Sampling(asked, all_or_nothing=all_or_nothing, **settings)
        from variolite.crystals.files.writing import require_place, write_structures
        from variolite.crystals.potential.potential import load_potential

        require_place(out)
        if best_of > 1 or relax:
            load_potential()  # one that is missing is an error before anything is drawn
        model = load_decoder(run, device)
        with progress.stage("generating") as step:
            made = model.sample(number, sampling, log=step)
        for line in _outcome(made):
            progress.note(line)
        crystals = made.crystals
        if best_of > 1:
            crystals = _lowest(model, crystals, best_of, sampling, workers, progress)
        if relax:
            crystals = _relaxed(crystals, workers, progress)
        crystals = with_predictions(model, crystals, progress)
        found = _compared(model, crystals, sampling, progress)
        write_structures(found, out, kind="symmetric_cif")
        if made.shortfall is not None:
            what = f"{made.shortfall.what}; these are written"
            raise ShortfallError(what, where=str(out), hint=made.shortfall.hint, written=True)

    def doctor(self, run: RunFolder, data: Paths | None, progress: Progress) -> CrystalHealth:
        from variolite.crystals.score_run import crystal_health

        if data is None:
            raise DataError(
                "structures are needed to evaluate the latents",
                where=str(run.path),
                hint="Give --data PATH, best structures that it was not trained on",
            )
        model = run.model()
        crystals = load(data, progress, model=model, primitive=model.primitive)
        with progress.stage(f"evaluating the latents of {len(crystals)} structures"):
            return crystal_health(model, crystals)

    def demo(self, out: Path, progress: Progress) -> Path:
        """Encode, reconstruct and sample without training; return the report's path."""
        from variolite.crystals.files.store import write_store
        from variolite.crystals.files.textbook import textbook_crystals
        from variolite.crystals.files.writing import write_structures
        from variolite.crystals.score_run import score_crystal_run
        from variolite.training import RunFolder

        if shipped_run(DEMO_MODEL) is None:
            raise ModelFileError(
                f"the model {DEMO_MODEL} did not come with this installation",
                hint="install variolite again, from its own wheel or repository",
            )
        folder = out / "crystals"
        run = RunFolder(folder)
        if not run.finished:
            out.mkdir(parents=True, exist_ok=True)
            copy_shipped(DEMO_MODEL, folder)
        title = f"loading the model {DEMO_MODEL}, trained on Materials Project crystals"
        with progress.stage(title):
            model: CrystalModel = run.model()
        crystals = textbook_crystals()
        crystals = crystals.take(crystals.made_of(model.elements) & (crystals.counts <= 20))
        with progress.stage(f"encoding and reconstructing {len(crystals)} textbook crystals"):
            latents = model.encode(crystals)
            found = model.reconstruct(crystals)
        progress.note(
            f"{crystals.names[0]}: {crystals.counts[0]} atoms, each with a latent of "
            f"{latents.mean.shape[1]} numbers"
        )
        with progress.stage(f"sampling {DEMO_SAMPLES} new crystals") as step:
            samples = model.sample(DEMO_SAMPLES, log=step).crystals
        with progress.stage("scoring the reconstructions beside random coordinates") as step:
            score_crystal_run(run, crystals, log=step)
        write_store(folder / "samples.crystals", samples)
        run.seal_score()
        for name, made in (("originals", crystals), ("reconstructed", found), ("samples", samples)):
            place = folder / f"{name}.extxyz"
            place.unlink(missing_ok=True)
            write_structures(made, place)
        with progress.stage("writing the report"):
            page = self.report(run)
        progress.note(
            "sampled structures are the model's own: none was relaxed, or made in a laboratory"
        )
        return page


FIELD = CrystalField()


def load(
    data: Paths,
    progress: Progress,
    out: Path | None = None,
    *,
    model: CrystalModel | None = None,
    strict: bool = False,
    primitive: bool = False,
) -> Crystals:
    """Read the structures that a command is given; there has to be one at least.

    Those without a sound cell, and with elements that the model was not trained on, are rejected.
    What is rejected and noted is listed beside ``out``; ``strict`` makes rejects, guesses and
    contradictions an error.
    """
    import numpy as np

    from variolite.crystals.elements import SYMBOLS
    from variolite.crystals.files.checks import RejectedError
    from variolite.crystals.files.reading import read_structures, tables_beside
    from variolite.crystals.geometry.periodic import has_cell
    from variolite.crystals.geometry.primitive import primitive_cells, repeats

    reading = read_structures(data, log=progress.note)
    crystals = reading.crystals
    wrong = {
        place: RejectedError("bad_cell", "it encloses no volume, or an atom is not an element")
        for place in np.flatnonzero(~has_cell(crystals)).tolist()
    }
    if model is not None:
        for place in np.flatnonzero(~crystals.made_of(model.elements)).tolist():
            unknown = sorted({*crystals[place].species.tolist()} - {*model.elements})
            listed = ", ".join(SYMBOLS[z] for z in unknown)
            wrong.setdefault(place, RejectedError("not_trained_on", listed))
    reading = reading.without(wrong, str(data) if isinstance(data, Path) else name_of(data))
    reading.require(1.0, data)
    if strict:
        reading.require_sound()
    reading.report(progress.note, tables_beside(out) if out else ())
    if wrong:
        names = [f"{crystals.names[place]} ({error.detail})" for place, error in wrong.items()]
        progress.note(f"left out: {some_of(names, NAMED)}")
    crystals = reading.crystals
    if primitive:
        with progress.stage("finding primitive cells") as step:
            crystals = primitive_cells(crystals, log=step)
    elif count := int(repeats(crystals).sum()):
        progress.note(
            f"not primitive: {count:,} of {len(crystals):,} cells. Latents depend on the choice of "
            "such a cell, and --primitive reduces them"
        )
    largest = None if model is None else model.largest
    if largest is not None and (over := int((crystals.counts > largest).sum())):
        progress.note(
            f"{over:,} of {len(crystals):,} have more atoms than any crystal that the model was "
            f"trained on ({largest}): expect little of their latents"
        )
    return crystals


def load_decoder(run: RunFolder, device: str) -> CrystalModel:
    """Load a model with its prior to the device where it makes crystals."""
    from variolite.crystals.crystal_model import load_crystal_model
    from variolite.training.device import SMALL_NETWORK, choose_device

    chosen, _ = choose_device(device, SMALL_NETWORK)
    run.require_finished()
    model = load_crystal_model(run.model_folder, chosen)
    if model.prior is not None:
        model.prior.flow.to(chosen)
    return model


def with_predictions(model: CrystalModel, crystals: Crystals, progress: Progress) -> Crystals:
    """Add the predicted properties of finished crystals, where the run has a property head."""
    head = model.properties
    if head is None:
        return crystals
    found = head.predict(model.encode(crystals), crystals.species)
    columns = {f"{n}_predicted": v for n, v in zip(found.names, found.values.T, strict=True)}
    progress.note(f"predicted: {_with_units(found.names, found.units)}")
    return replace(crystals, properties={**crystals.properties, **columns})


def _with_units(names: Iterable[str], units: Iterable[str]) -> str:
    """List properties, each with its unit unless that is 1."""
    return ", ".join(
        name if unit == "1" else f"{name} in {unit}"
        for name, unit in zip(names, units, strict=True)
    )


def _outcome(made: Generated) -> list[str]:
    from variolite.crystals.generation.sampling import REASONS

    lines = [f"{made.valid_share:.1%} of {made.attempts:,} attempts were valid"]
    for code, count in sorted(made.rejects.items(), key=lambda item: -item[1]):
        lines.append(f"{count:,} rejected: {REASONS[code]}")
    return lines


def _compared(
    model: CrystalModel, crystals: Crystals, sampling: Sampling, progress: Progress
) -> Crystals:
    """Note what an independent head predicts of properties asked for; add it as columns."""
    from variolite.crystals.generation.where import parse_where

    prior, selection = model.prior, model.selection
    if prior is None or not set(sampling.where) & set(prior.vocabulary.properties):
        return crystals
    if selection is None:
        progress.note(
            "nothing independent checks what was asked for: `variolite crystals prior` fits it "
            "where a property has 100 values or more"
        )
        return crystals
    where = parse_where(sampling.where, prior.vocabulary)
    if where.formula is not None:
        progress.note("no composition was chosen by a property: the formula is given")
    predicted, lines = selection.evaluate(prior, where, model.encode(crystals), crystals)
    for line in lines:
        progress.note(line)
    columns = {f"{name}_independent": values for name, values in predicted.items()}
    return replace(crystals, properties={**crystals.properties, **columns})


def _lowest(
    model: CrystalModel,
    crystals: Crystals,
    draws: int,
    sampling: Sampling,
    workers: int,
    progress: Progress,
) -> Crystals:
    import numpy as np

    from variolite.crystals.generation.best_of import lowest_of
    from variolite.crystals.potential.features import energy_function
    from variolite.crystals.potential.potential import potential_title

    title, energies = potential_title(), energy_function(workers=workers)
    with progress.stage(f"keeping the lowest energy of {draws} draws by {title}") as step:
        found = lowest_of(model, crystals, draws, energies, sampling, log=step)
    gain = np.nan_to_num(found.first - found.energies)
    progress.note(
        f"{(found.draw > 0).sum():,} of {len(crystals):,} gave way to a draw of lower energy; it "
        f"fell by {gain.mean():.3f} eV/atom on average"
    )
    progress.note(f"chgnet_energy_per_atom is in eV/atom by {title}")
    energy = {"chgnet_energy_per_atom": found.energies}
    return replace(found.crystals, properties={**crystals.properties, **energy})


def _relaxed(crystals: Crystals, workers: int, progress: Progress) -> Crystals:
    from variolite.crystals.potential.potential import potential_title
    from variolite.crystals.potential.relaxation import RelaxationLimits, relax

    limits = RelaxationLimits(steps=RELAXATION_STEPS)
    with progress.stage(f"relaxing with {potential_title()}") as step:
        found = relax(crystals, limits=limits, workers=workers, log=step)
    settled = int(found.converged.sum())
    progress.note(f"{settled:,} of {len(crystals):,} relaxed to 0.05 eV per Angstrom")
    progress.note("chgnet_energy_per_atom is in eV/atom, moved_by_relaxation in Angstrom")
    energies = {"chgnet_energy_per_atom": found.energies, "moved_by_relaxation": found.moved}
    return replace(found.crystals, properties={**crystals.properties, **energies})
