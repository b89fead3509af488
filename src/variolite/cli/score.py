"""``variolite score`` and ``compare``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from variolite.cli.crystal_runs import score_crystals
from variolite.cli.options import Mapping, Run, find_run, parse_mapping
from variolite.cli.progress import waiting
from variolite.errors import DataError

__all__ = ["compare", "score"]

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
                mend="Give --reference FILE: known crystals, such as those a model was trained on",
            )
        from variolite.cli.crystal_scores import StructureScoring, score_structures

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
            mend="Give a RUN and --data, or --structures and --reference",
        )
    _refuse(of_crystals, "RUN")
    if data is None:
        raise DataError("there is nothing to score it on", where=str(run), mend="Give --data PATH")
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
            raise DataError(f"does not go with {beside}", where=name, mend="Leave one of them out")


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
    from variolite.corelogs import LevelChooser
    from variolite.report import write_report
    from variolite.scoring.session import score_run
    from variolite.scoring.table import format_scorecard
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
            tell=tell,
        )
    write_report(run)
    typer.echo(card.to_json() if as_json else format_scorecard(card))


def compare(
    first: Run,
    second: Run,
) -> None:
    """Compare two scored runs hole by hole, with an interval on the difference."""
    from variolite.scoring.stored import compare_runs
    from variolite.scoring.table import format_scorecard
    from variolite.training import RunFolder

    typer.echo(format_scorecard(compare_runs(RunFolder(first), RunFolder(second))))
