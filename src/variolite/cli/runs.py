"""Commands on runs: each loads what its arguments name and calls the field that serves it."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variolite.arguments import (
    AcceptRange,
    Data,
    Device,
    Json,
    Mapping,
    Null,
    Overrides,
    Primitive,
    Rows,
    Run,
    Seed,
    Strict,
    find_run,
    one_or_many,
    writable_copy,
)
from variolite.errors import DataError, ShortfallError
from variolite.fields import Field, all_fields, field_names, field_of_kind
from variolite.progress import ConsoleProgress

if TYPE_CHECKING:
    from variolite.training import RunFolder

PROGRESS = ConsoleProgress()

Member = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, help="Which member of the run to use, 0 by default."),
]
OutPath = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="PATH",
        help="Table to write; as .las the whole table with the new curves, for several wells in a "
        "new folder. Structures: a new folder of CIFs, or one file (.crystals, .extxyz, a table "
        "with a column cif).",
    ),
]


def _given(context: typer.Context, values: dict[str, Any], *used: str) -> dict[str, Any]:
    """Values of the parameters that are on the command line, but for those ``used`` otherwise."""
    return {
        name: value
        for name, value in values.items()
        if name not in used
        and (source := context.get_parameter_source(name))
        and source.name == "COMMANDLINE"
    }


def _call(
    context: typer.Context,
    field: Field,
    verb: str,
    *arguments: Any,
    beside: str = "",
    **given: Any,
) -> Any:
    """Call what a field offers with the options that were given; refuse those it does not take."""
    method: Callable[..., Any] | None = getattr(field, verb, None)
    beside = beside or f"a run on {field.subject}"
    if method is None:
        what = f"`variolite {verb}` does not go with {beside}"
        raise DataError(what, hint="`variolite --help` lists the commands")
    parameters = signature(method).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for parameter in context.command.params:
        if parameter.name in given.keys() - parameters.keys() and not takes_any:
            flag = parameter.opts[0]
            where = flag if flag.startswith("-") else flag.upper()
            raise DataError(f"does not go with {beside}", where=where, hint="Leave it out")
    return method(*arguments, **given)


def _open(run: Path) -> tuple[Field, RunFolder]:
    """Open a finished run and find its field."""
    from variolite.training import RunFolder

    folder = RunFolder(run)
    folder.require_finished()
    return folder.field, folder


def fit(
    context: typer.Context,
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Name of a recipe, or a YAML file.")
    ],
    data: Data,
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="Run folder to write.")],
    overrides: Overrides = None,
    mapping: Mapping = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table of what was read in a few wells: well, top, base (or else to the next "
            "top), lithology; or well, depth, lithology. For corelogs/guided, which learns the "
            "classes of all wells from it.",
        ),
    ] = None,
    members: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Seeds to train at once, for intervals over seeds. Tables only.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="First seed; that of the recipe by default."),
    ] = None,
    device: Device = "auto",
    restart: Annotated[bool, typer.Option("--restart", help="Replace a run.")] = False,
    primitive: Primitive = False,
    strict: Strict = False,
    rows: Rows = None,
    null: Null = None,
) -> None:
    """Train a recipe on a table, or on structures, and write a run folder.

    An interrupted run resumes when the same command is given again.
    """
    given = _given(context, locals(), "recipe", "data", "out", "overrides", "seed", "rows", "null")
    from variolite.recipe import BaseRecipe, load_recipe
    from variolite.training.run_folder import RunFolder

    changes = list(overrides or ())
    if seed is not None:
        changes.append(f"training.seed={seed}")
    if rows is not None:
        changes.append(f"rows={json.dumps(rows or None)}")
    if null:
        changes.append(f"nulls={json.dumps(null)}")
    loaded = load_recipe(recipe, changes, BaseRecipe)
    with RunFolder(out).locked(new=True):
        field, paths = field_of_kind(loaded.kind), one_or_many(data)
        run = _call(context, field, "train", loaded, paths, out, PROGRESS, **given)
    typer.echo(str(run.path))


def score(
    context: typer.Context,
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            parser=find_run,
            help="Run folder that `variolite fit` wrote, or a model of the package.",
        ),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="What to score RUN on: tables (CSV, Excel, Parquet, Feather, LAS, DLIS) or "
            "structures; a file, a folder or a pattern. May be repeated.",
        ),
    ] = None,
    train: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="The data trained on, where --data holds new ones only: for the baselines, and "
            "for --samples. May be repeated.",
        ),
    ] = None,
    mapping: Mapping = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table of what was read in wells, as `fit --labels` takes it: what is compared.",
        ),
    ] = None,
    levels: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Table or YAML that maps label names to coarser groups, or the name of a key that "
            "comes with the package, such as kgs_facies.",
        ),
    ] = None,
    transductive: Annotated[
        bool,
        typer.Option("--transductive", help="Fit clusterings on the held-out rows themselves."),
    ] = False,
    baselines: Annotated[
        bool | None,
        typer.Option("--baselines/--no-baselines", help="Score the baselines beside it (default)."),
    ] = None,
    structures: Annotated[
        list[Path] | None,
        typer.Option(
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
            help="Table of known phases (formula, formation_energy_per_atom in eV): for the "
            "stability of --structures or --samples, by CHGNet.",
        ),
    ] = None,
    energies: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Energies of --structures: chgnet (with --hull) or none."
        ),
    ] = None,
    relax_steps: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Relax them for N steps, and score them again."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the results for every one of --structures: CSV, Parquet or Feather; or "
            "the scorecard: .json.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Processes that match crystals; one per core, 0 for none."
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Crystals to generate from RUN and score too; needs its prior."
        ),
    ] = None,
    strict: Strict = False,
    as_json: Json = False,
    rows: Rows = None,
    null: Null = None,
    accept_range: AcceptRange = False,
) -> None:
    """Score a run on groups it was not trained on, or generated crystals.

    With RUN and --data: writes scorecard.json, the held-out rows and the report
    into the run folder and prints a table with the baselines.

    With --structures and --reference: validity, coverage, distributions,
    uniqueness and novelty of anyone's crystals; stability too with --hull.
    """
    given = _given(context, locals(), "structures", "as_json")
    if structures:
        field = next(field for field in all_fields() if hasattr(field, "score_structures"))
        arguments, beside = (tuple(structures), PROGRESS), "--structures"
        card = _call(context, field, "score_structures", *arguments, beside=beside, **given)
    elif run is None:
        hint = "Give a RUN and --data, or --structures and --reference"
        raise DataError("there is nothing to score", hint=hint)
    elif not data:
        what, hint = "there is nothing to score it on", "Give --data PATH"
        raise DataError(what, where=str(run), hint=hint)
    else:
        given = {**given, "train": one_or_many(train)} if train else given
        del given["run"], given["data"]
        field, folder = _open(writable_copy(run, PROGRESS.note))
        with folder.locked():
            card = _call(context, field, "score", folder, one_or_many(data), PROGRESS, **given)
            field.report(folder)
    typer.echo(card.to_json() if as_json else field.format_scores(card))


def compare(context: typer.Context, first: Run, second: Run) -> None:
    """Compare two scored runs group by group, with an interval on the difference."""
    from variolite.training import RunFolder

    field, folder = _open(first)
    card = _call(context, field, "compare", folder, RunFolder(second))
    typer.echo(field.format_scores(card))


def encode(
    context: typer.Context,
    run: Run,
    data: Data,
    out: OutPath,
    mapping: Mapping = None,
    member: Member = None,
    atoms: Annotated[
        bool, typer.Option("--atoms", help="Structures: a row for every atom.")
    ] = False,
    primitive: Primitive = False,
    strict: Strict = False,
    rows: Rows = None,
    null: Null = None,
    accept_range: AcceptRange = False,
) -> None:
    """Write the posterior mean and standard deviation of every row.

    Row numbers count the rows of the input table from 0; rows that the schema
    drops are left out and counted. Of structures it writes the mean over their
    atoms, with predicted properties and their 90 % intervals where the run has them.
    """
    _apply(context, locals())


def cluster(
    context: typer.Context,
    run: Run,
    data: Data,
    out: OutPath,
    mapping: Mapping = None,
    member: Member = None,
    rows: Rows = None,
    null: Null = None,
    accept_range: AcceptRange = False,
) -> None:
    """Write the cluster of every row, by the clustering fitted on the training groups.

    Beside it stand the probability of that cluster, and whether the row is the first of a layer.
    """
    _apply(context, locals())


def impute(
    context: typer.Context,
    run: Run,
    data: Data,
    out: OutPath,
    samples: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Write N tables without gaps too, drawn at random."),
    ] = None,
    level: Annotated[
        float | None, typer.Option(metavar="P", help="Probability of the intervals (0.9).")
    ] = None,
    seed: Seed = None,
    mapping: Mapping = None,
    rows: Rows = None,
    null: Null = None,
    accept_range: AcceptRange = False,
) -> None:
    """Write every input without gaps, with intervals for what was missing.

    Beside each HEADER stand imputed:HEADER, low:HEADER and high:HEADER, and sample_1:HEADER and
    so on: where it is missing, the median of what the other inputs say of it, by all members
    of the run, its interval, and random draws; elsewhere the observed value. Inputs that the table
    lacks are imputed throughout. Intervals are as wide as the errors on the validation
    groups of the run, from which each input was hidden in turn.
    """
    _apply(context, locals())


def reconstruct(
    context: typer.Context,
    run: Run,
    data: Data,
    out: OutPath,
    mapping: Mapping = None,
    member: Member = None,
    primitive: Primitive = False,
    strict: Strict = False,
    rows: Rows = None,
    null: Null = None,
    accept_range: AcceptRange = False,
) -> None:
    """Write every input beside its reconstruction, under your headers and in your units.

    Structures come back in their own cell, origin, orientation and order of atoms.
    """
    _apply(context, locals())


def _apply(context: typer.Context, values: dict[str, Any]) -> None:
    """Carry out the command that writes ``out`` from ``run`` and ``data``, by its own name."""
    run, data, out = (values[name] for name in ("run", "data", "out"))
    given = _given(context, values, "run", "data", "out")
    field, folder = _open(run)
    verb = str(context.command.name)
    made = _call(context, field, verb, folder, one_or_many(data), out, PROGRESS, **given)
    typer.echo(str(made or out))


def generate(
    context: typer.Context,
    run: Run,
    number: Annotated[
        int, typer.Option("-n", "--number", metavar="N", min=1, help="How many are wanted.")
    ],
    out: OutPath,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="What is wanted: composition=SrTiO3 (a formula), Li-O (these elements) or "
            "Li-O-* (these and others); atoms=10; space_group=225; of frameworks metals=Zn; or a "
            "property the run was fitted with. May be repeated.",
        ),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            metavar="WEIGHT",
            min=0.0,
            help="How much conditions weigh: 1 as learned (default), 0 not at all, above 1 more.",
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            metavar="FACTOR",
            min=0.0,
            help="Higher: less likely, more varied. Crystals up to 1 (0.5), frameworks any (1).",
        ),
    ] = None,
    balance: Annotated[
        float | None,
        typer.Option(
            metavar="B",
            min=0.0,
            max=1.0,
            help="Frameworks: 0 draws rare metals and linkers, and combinations of them, as often "
            "as they occur (default), 1 at least as often as the others.",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Steps of the sampler (6).")
    ] = None,
    max_attempts: Annotated[
        int | None,
        typer.Option(
            "--tries", metavar="N", min=1, help="Attempts for each one wanted (20), and 1,000 more."
        ),
    ] = None,
    symmetrise: Annotated[
        float | None,
        typer.Option(
            metavar="ANGSTROM",
            help="Make symmetry exact that is missed by less, and reject crystals without any; 0.3 "
            "where the space groups of the training crystals are known, 0 for neither.",
        ),
    ] = None,
    best_of: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Draw each one N times, make it symmetric within 0.3 Angstrom, and keep the "
            "lowest energy by CHGNet; 16 is good.",
        ),
    ] = None,
    relax: Annotated[
        bool, typer.Option("--relax", help="Relax atoms and cells with CHGNet afterwards.")
    ] = False,
    seed: Seed = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Processes that relax and take energies (1)."),
    ] = None,
    device: Device = "auto",
    all_or_nothing: Annotated[
        bool,
        typer.Option("--all-or-nothing", help="Write nothing where fewer than N are found."),
    ] = False,
) -> None:
    """Write N valid samples.

    Where fewer are found those are written, a line says why, and the exit code is 3.
    Where a property is asked for, compositions are chosen by it, and an independent
    regression, fitted on other compositions, says what came out.

    A valid crystal has a cell of positive volume, no two atoms closer than three quarters of the
    sum of their covalent radii, a volume per atom like those of training crystals, some symmetry,
    and the number of atoms, composition and space group that were asked for.
    """
    given = _given(context, locals(), "run", "number", "out")
    field, folder = _open(run)
    try:
        _call(context, field, "generate", folder, number, out, PROGRESS, **given)
    except ShortfallError as error:
        if error.written:
            typer.echo(str(out))
        raise
    typer.echo(str(out))


def doctor(
    context: typer.Context,
    run: Run,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            metavar="PATH",
            help="Table; none uses the health of the last score. Or structures, at least 20.",
        ),
    ] = None,
    mapping: Mapping = None,
    accept_range: AcceptRange = False,
    as_json: Json = False,
) -> None:
    """Report how healthy the latent space is, and what to change."""
    given = _given(context, locals(), "run", "data", "as_json")
    field, folder = _open(run)
    health = _call(context, field, "doctor", folder, one_or_many(data), PROGRESS, **given)
    typer.echo(json.dumps(health.to_dict(), indent=1) if as_json else "\n".join(health.lines()))


def report(run: Run) -> None:
    """Write the run's report: one HTML file that needs nothing else."""
    from variolite.training import RunFolder

    folder = RunFolder(writable_copy(run, PROGRESS.note))
    typer.echo(str(folder.field.report(folder)))


FieldName = StrEnum("FieldName", {name: name for name in field_names()})  # type: ignore[misc]


def demo(
    context: typer.Context,
    field: Annotated[FieldName, typer.Argument(help="Field of science.")] = next(iter(FieldName)),
    out: Annotated[Path, typer.Option("--out", help="Folder for tables and run.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Run one field from data to report and print the report's path.

    corelogs trains on a SIMULATED drill-core set; crystals takes textbook crystals through a
    model that comes with the package, without training; frameworks describes 60 structures that
    come with core-mof, trains on them, and builds new ones. They take up to two minutes, less
    than one, and up to three.
    """
    kind = field_names()[field.value]
    typer.echo(str(_call(context, field_of_kind(kind), "demo", out, PROGRESS)))
