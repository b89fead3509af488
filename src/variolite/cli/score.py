"""``variolite score`` and ``compare``."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variolite.cli.crystal_runs import score_crystals
from variolite.cli.options import Mapping, Run, find_run, keep_inputs, parse_mapping
from variolite.cli.progress import note, waiting
from variolite.errors import DataError, nearest

if TYPE_CHECKING:
    from variolite.crystals.evaluation import Energies, Relax


# ``variolite score --structures``: metrics of anyone's generated crystals.


ENERGIES = ("chgnet", "none")
LARGEST = 5000
"""Atoms in a cell beyond which a structure counts as unreadable."""


@dataclass(frozen=True)
class StructureScoring:
    """What ``variolite score --structures`` was asked for.

    Attributes
    ----------
    structures
        Files and folders of the structures to score.
    reference
        Known structures that novelty is against.
    test
        Real structures whose distribution is wanted.
    hull
        Table of known phases with formation energies.
    energies
        Name of a potential, or "none"; by default chgnet where there is a hull.
    relax_steps
        Steps of relaxation; 0 for none.
    out
        Table of the verdicts on every structure; the scorecard where it ends in .json.
    workers
        Processes.
    """

    structures: tuple[Path, ...]
    reference: Path
    test: Path | None
    hull: Path | None
    energies: str | None
    relax_steps: int
    out: Path | None
    workers: int


def score_structures(asked: StructureScoring, *, as_json: bool) -> None:
    """Score structures against known ones; print a table, or the scorecard as JSON.

    Raises
    ------
    DataError
        If an option does not go with the others or a file cannot be used.
    """
    from variolite.crystals.evaluation import (
        Matcher,
        format_generation,
        read_hull,
        score_generation,
    )
    from variolite.crystals.files.checks import Limits
    from variolite.crystals.files.reading import load_crystals, read_structures
    from variolite.records import write_table

    potential = _potential(asked)
    keep_inputs("--out", asked.out, *asked.structures, asked.reference, asked.test, asked.hull)
    _require_place(asked.out)
    # What a generator got wrong is to be counted as invalid, not turned away unread.
    anything = Limits(
        max_atoms=LARGEST,
        min_distance=0.0,
        volume_per_atom=(0.0, math.inf),
        lengths=(0.0, math.inf),
    )
    with waiting("reading structures") as tell:
        hull = read_hull(asked.hull) if asked.hull is not None and potential else None
        reading = read_structures(asked.structures, properties=False, limits=anything, tell=tell)
        reference = load_crystals(asked.reference, tell=tell)
        test = None if asked.test is None else load_crystals(asked.test, tell=tell)
    for line in reading.remarks():
        note(line)
    with waiting("scoring structures") as tell:
        energies, relax = _functions(asked, potential, tell)
        scores = score_generation(
            reading.crystals,
            reference,
            test=test,
            energies=energies,
            hull=hull,
            relax=relax,
            same=Matcher(workers=asked.workers, tell=tell),
            unreadable=len(reading.rejects),
            workers=asked.workers,
            tell=tell,
        )
    card = scores.card(split="reference" if test is None else "test")
    if asked.out is not None and asked.out.suffix == ".json":
        card.write(asked.out)
    elif asked.out is not None:
        write_table(scores.structures, asked.out)
    typer.echo(card.to_json() if as_json else format_generation(card))


def _potential(asked: StructureScoring) -> str | None:
    """The potential to use; None for none."""
    name = asked.energies or ("none" if asked.hull is None else "chgnet")
    if name not in ENERGIES:
        close = nearest(name, ENERGIES)
        raise DataError(
            f"there are no energies {name!r}",
            where="--energies",
            hint=f"did you mean {close}?" if close else f"choose from {', '.join(ENERGIES)}",
        )
    if name == "none":
        if asked.relax_steps:
            raise DataError("needs a potential", where="--relax-steps", hint="Give --hull too")
        return None
    if asked.hull is None:
        raise DataError(
            "energies say nothing without known phases to compare with",
            where="--energies",
            hint="Give --hull too, a table of formulas with formation_energy_per_atom",
        )
    return name


def _functions(
    asked: StructureScoring, potential: str | None, tell: Callable[[str], None]
) -> tuple[Energies | None, Relax | None]:
    if potential is None:
        return None, None
    from variolite.crystals.potential.features import energy_function, relaxation_function
    from variolite.crystals.potential.relaxation import RelaxationLimits
    from variolite.crystals.potential.workers import Source

    source = Source(potential)
    energies = energy_function(source, workers=asked.workers, tell=tell)
    if not asked.relax_steps:
        return energies, None
    limits = RelaxationLimits(steps=asked.relax_steps)
    return energies, relaxation_function(source, limits=limits, workers=asked.workers, tell=tell)


def _require_place(out: Path | None) -> None:
    """Say before the work that the result cannot be written."""
    from variolite.records import require_writable

    if out is not None:
        # The scorecard is text; a table beside it would have the same place.
        require_writable(out.with_suffix(".csv") if out.suffix == ".json" else out)


Levels = Annotated[
    list[Path] | None,
    typer.Option(
        "--levels", metavar="FILE", help="Table or YAML that maps label names to coarser groups."
    ),
]


def score(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            parser=find_run,
            help="Run folder that `variolite fit` wrote, or a model of the package.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="PATH",
            help="What to score RUN on: a table (CSV, Parquet, Feather, LAS 2.0), or structures.",
        ),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(
            "--train",
            metavar="PATH",
            help="The data trained on, where --data holds new ones only: for the baselines, and "
            "for --samples.",
        ),
    ] = None,
    mapping: Mapping = None,
    levels: Levels = None,
    transductive: Annotated[
        bool,
        typer.Option("--transductive", help="Fit clusterings on the held-out rows themselves."),
    ] = False,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="Score the baselines beside it.")
    ] = True,
    structures: Annotated[
        list[Path] | None,
        typer.Option(
            "--structures",
            metavar="PATH",
            help="Generated crystals to score instead of a RUN: files of any format, or folders. "
            "May be repeated.",
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Known crystals: novelty of --structures is against them."
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Real crystals that --structures should resemble."),
    ] = None,
    hull: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table of known phases (formula, formation_energy_per_atom in eV): for stability.",
        ),
    ] = None,
    energies: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Energies of --structures: chgnet (with --hull) or none."
        ),
    ] = None,
    relax_steps: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Relax --structures in so many steps, and judge them again."
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the verdict on every one of --structures: CSV, Parquet or Feather; or the "
            "scorecard: .json.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Processes that match crystals; one per core, 0 for none."
        ),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Crystals to generate from RUN and score too; needs its prior."
        ),
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scorecard as JSON.")] = False,
) -> None:
    """Score a run on groups it was not trained on, or generated crystals.

    With RUN and --data: writes scorecard.json, health.json and held_out.parquet
    into the run folder and prints a table with the baselines.

    With --structures and --reference: validity, coverage, distributions,
    uniqueness and novelty of anyone's crystals; stability too with --hull.
    """
    of_crystals = {
        "--reference": reference,
        "--test": test,
        "--hull": hull,
        "--energies": energies,
        "--relax-steps": relax_steps or None,
        "--out": out,
    }
    if structures:
        of_runs = {
            "RUN": run,
            "--data": data,
            "--train": train,
            "--map": mapping,
            "--levels": levels,
            "--samples": samples or None,
        }
        _refuse(of_runs, "--structures")
        if reference is None:
            raise DataError(
                "there is nothing to compare them with",
                where="--structures",
                hint="Give --reference FILE: known crystals, such as those a model was trained on",
            )

        asked = StructureScoring(
            structures=tuple(structures),
            reference=reference,
            test=test,
            hull=hull,
            energies=energies,
            relax_steps=relax_steps,
            out=out,
            workers=(os.cpu_count() or 1) if workers is None else workers,
        )
        score_structures(asked, as_json=as_json)
        return
    if run is None:
        raise DataError(
            "there is nothing to score",
            hint="Give a RUN and --data, or --structures and --reference",
        )
    _refuse(of_crystals, "RUN")
    if data is None:
        raise DataError("there is nothing to score it on", where=str(run), hint="Give --data PATH")
    from variolite.training import RunFolder

    if RunFolder(run).of_crystals:
        _refuse({"--map": mapping, "--levels": levels}, "a run on crystals")
        if transductive:
            raise DataError("crystals are not clustered", where="--transductive")
        score_crystals(
            run,
            data,
            train,
            baselines=baselines,
            samples=samples,
            workers=workers,
            as_json=as_json,
        )
        return
    _refuse({"--samples": samples or None, "--workers": workers}, "a run on tables")
    _score_run(run, data, train, mapping, levels, transductive, baselines, as_json)


def _refuse(options: dict[str, Any], beside: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise DataError(f"does not go with {beside}", where=name, hint="Leave one of them out")


def _score_run(
    run: Path,
    data: Path,
    train: Path | None,
    mapping: list[str] | None,
    levels: list[Path] | None,
    transductive: bool,
    baselines: bool,
    as_json: bool,
) -> None:
    from variolite.cli.reports import write_report
    from variolite.corelogs import LevelChooser
    from variolite.scoring.scorecard import format_scorecard
    from variolite.scoring.tabular_run import score_run
    from variolite.training import RunFolder

    folder = RunFolder(run)
    columns = folder.recipe().columns
    with waiting("scoring on held-out groups") as tell:
        card = score_run(
            folder,
            data,
            train=train,
            mapping=parse_mapping(mapping, columns),
            levels=LevelChooser(levels or ()),
            fit="transductive" if transductive else "inductive",
            baselines=baselines,
            log=tell,
        )
    write_report(run)
    typer.echo(card.to_json() if as_json else format_scorecard(card))


def compare(
    first: Run,
    second: Run,
) -> None:
    """Compare two scored runs hole by hole, with an interval on the difference."""
    from variolite.scoring.scorecard import format_scorecard
    from variolite.scoring.tabular_run import compare_runs
    from variolite.training import RunFolder

    typer.echo(format_scorecard(compare_runs(RunFolder(first), RunFolder(second))))
