"""``variolite generate``: new crystals from the prior of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variolite.cli.options import Run
from variolite.cli.progress import note, waiting
from variolite.errors import DataError, RunFolderError

if TYPE_CHECKING:
    from variolite.crystals.crystal_model import CrystalModel
    from variolite.crystals.crystals import Crystals
    from variolite.crystals.generation.sampling import Generated

__all__ = ["decoder", "generate", "parse_conditions", "with_predictions"]

RELAXED_STEPS = 200


def generate(
    run: Run,
    number: Annotated[
        int, typer.Option("-n", "--number", metavar="N", min=1, help="Crystals wanted.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Structures to write: .crystals, .extxyz, a table with a column cif (.csv, "
            ".parquet), or a new folder of CIF files.",
        ),
    ],
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="NAME=VALUE",
            help="What is wanted: composition=SrTiO3 (a formula), Li-O (these elements) or "
            "Li-O-* (these and others); atoms=10; space_group=225; or a property the run was "
            "fitted with. May be repeated.",
        ),
    ] = None,
    guidance: Annotated[
        float,
        typer.Option(
            metavar="WEIGHT",
            min=0.0,
            help="How much conditions weigh: 1 as learned, 0 not at all, above 1 more.",
        ),
    ] = 1.0,
    temperature: Annotated[
        float,
        typer.Option(metavar="FACTOR", min=0.0, help="Below 1: likelier and less varied."),
    ] = 1.0,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Steps of the sampler.")] = 10,
    tries: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Attempts for every crystal wanted, and 200 more."),
    ] = 20,
    symmetrise: Annotated[
        float | None,
        typer.Option(
            metavar="ANGSTROM",
            help="Make symmetry exact that is missed by less; 0.3 where a space group is wanted.",
        ),
    ] = None,
    relax: Annotated[
        bool, typer.Option("--relax", help="Relax atoms and cells with CHGNet afterwards.")
    ] = False,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="The same seed gives the same structures.")
    ] = 0,
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="Processes that relax.")] = 1,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
) -> None:
    """Write exactly N valid crystals, or say why they cannot be had.

    Valid: a cell of positive volume, no two atoms closer than 0.5 Angstrom, a volume
    per atom like those of training crystals, and the number of atoms, composition and
    space group that were asked for.
    """
    conditions = parse_conditions(where)
    from variolite.crystals.files.writing import require_place, write_structures

    require_place(out)
    model = decoder(run, device, "generate")
    with waiting("generating") as tell:
        made = model.sample(
            number,
            where=conditions,
            guidance=guidance,
            temperature=temperature,
            steps=steps,
            tries=tries,
            symmetrise=symmetrise,
            seed=seed,
            tell=tell,
        )
    for line in _summary(made):
        note(line)
    crystals = made.crystals
    if relax:
        with waiting("relaxing with CHGNet") as tell:
            crystals = _relaxed(crystals, workers, tell)
    crystals = with_predictions(model, crystals)
    write_structures(crystals, out)
    typer.echo(str(out))


def parse_conditions(pairs: Iterable[str] | None) -> dict[str, str | float]:
    """Read ``NAME=VALUE`` pairs.

    Raises
    ------
    DataError
        If a pair is not of that form, or a name is given twice.
    """
    conditions: dict[str, str | float] = {}
    for pair in pairs or ():
        name, sign, value = (part.strip() for part in pair.partition("="))
        if not (name and sign and value):
            raise DataError(
                f"{pair!r} is no condition", where="--where", hint="write NAME=VALUE: atoms=10"
            )
        if name in conditions:
            raise DataError(f"{name} is given twice", where="--where", hint="give it once")
        conditions[name] = value
    return conditions


def decoder(run: Path, device: str, command: str) -> CrystalModel:
    """Load a model of crystals with its prior to the device where it makes crystals.

    Raises
    ------
    RunFolderError
        If the run is none on crystals; ``command`` is what the user called.
    """
    from variolite.training import RunFolder

    folder = RunFolder(run)
    if not folder.of_crystals:
        raise RunFolderError(
            f"{command} needs a run on crystals, and this is one on a table",
            where=str(run),
            hint="give a run of a recipe such as crystals/mp_20/vae_dng",
        )
    from variolite.crystals.crystal_model import load_crystal_model
    from variolite.training.device import SMALL_NETWORK, choose_device

    chosen, _ = choose_device(device, SMALL_NETWORK)
    model = load_crystal_model(folder.model_folder, chosen)
    if model.prior is not None:
        model.prior.to(chosen)
    return model


def _summary(made: Generated) -> list[str]:
    from variolite.crystals.generation.sampling import REASONS

    lines = [f"{made.valid_share:.1%} of {made.attempts:,} attempts were valid"]
    for code, count in sorted(made.rejects.items(), key=lambda item: -item[1]):
        lines.append(f"{count:,} turned away: {REASONS[code]}")
    return lines


def _relaxed(crystals: Crystals, workers: int, tell: Callable[[str], None]) -> Crystals:
    from dataclasses import replace

    from variolite.crystals.potential.relaxation import RelaxationLimits, relax

    found = relax(
        crystals, limits=RelaxationLimits(steps=RELAXED_STEPS), workers=workers, tell=tell
    )
    settled = int(found.converged.sum())
    note(f"{settled:,} of {len(crystals):,} relaxed to 0.05 eV per Angstrom")
    note("chgnet_energy_per_atom is in eV/atom, moved_by_relaxation in Angstrom")
    energies = {"chgnet_energy_per_atom": found.energies, "moved_by_relaxation": found.moved}
    return replace(found.crystals, properties={**crystals.properties, **energies})


def named_with_units(names: Iterable[str], units: Iterable[str]) -> str:
    """List properties, each with its unit unless that is 1."""
    return ", ".join(
        name if unit == "1" else f"{name} in {unit}"
        for name, unit in zip(names, units, strict=True)
    )


def with_predictions(model: CrystalModel, crystals: Crystals) -> Crystals:
    """Add what the property head says of the finished crystals, where the run has one."""
    from dataclasses import replace

    head = model.properties
    if head is None:
        return crystals
    predicted = head.predict(model.encode(crystals), crystals.species)
    columns = {f"{n}_predicted": v for n, v in zip(head.names, predicted.values.T, strict=True)}
    note(f"predicted: {named_with_units(head.names, head.units)}")
    return replace(crystals, properties={**crystals.properties, **columns})
