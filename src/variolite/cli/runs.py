"""Commands on runs: ``fit``, ``encode``, ``cluster``, ``reconstruct``, ``schema``, ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variolite.cli.crystal_runs import (
    doctor_crystals,
    encode_crystals,
    fit_crystals,
    own_copy,
    reconstruct_crystals,
)
from variolite.cli.options import Data, Mapping, Out, Run, keep_inputs, parse_mapping
from variolite.cli.progress import note, training_progress, waiting
from variolite.errors import DataError

if TYPE_CHECKING:
    import polars as pl

    from variolite.recipe import Recipe
    from variolite.records import Records
    from variolite.training import RunFolder, TabularModel
    from variolite.training.run import Prepared


# ``variolite encode``, ``cluster`` and ``reconstruct``: a run applied to a table.


Member = Annotated[
    int, typer.Option(metavar="N", min=0, help="Which member of the run to use. Tables only.")
]


def _apply(
    run: Path, data: Path, mapping: list[str] | None, member: int, out: Path
) -> tuple[TabularModel, Records]:
    """Load one member and make records of a table with its schema."""
    from variolite.records import require_writable
    from variolite.training import RunFolder

    keep_inputs("--out", out, data)
    require_writable(out)
    model = RunFolder(run).model()
    if member >= len(model.members):
        raise DataError(
            f"the run has {len(model.members)} members, counted from 0",
            where=f"--member {member}",
            hint=f"choose 0 to {len(model.members) - 1}",
        )
    bound = parse_mapping(mapping, model.schema.schema.columns)
    records = model.records(data, bound)
    for line in records.report.lines():
        note(line)
    return model.only(member), records


def _of_crystals(run: Path, mapping: list[str] | None, member: int) -> bool:
    """Whether a run is one of crystals; options that do not go with those are refused."""
    from variolite.training import RunFolder

    if not RunFolder(run).of_crystals:
        return False
    asked = "--map" if mapping else "--member" if member else None
    if asked is not None:
        raise DataError("does not go with a run on crystals", where=asked, hint="leave it out")
    return True


def _identified(records: Records) -> dict[str, pl.Series]:
    """Columns that say which row of the input a row of the output is."""
    import polars as pl

    columns = {"row": pl.Series(records.row)}
    if records.group is not None:
        columns["group"] = pl.Series(records.group)
    if records.order is not None:
        columns["order"] = pl.Series(records.order)
    return columns


def _write(columns: dict[str, pl.Series], out: Path) -> None:
    import polars as pl

    from variolite.records import write_table

    write_table(pl.DataFrame(columns), out)
    typer.echo(str(out))


def encode(
    run: Run,
    data: Data,
    out: Out,
    mapping: Mapping = None,
    member: Member = 0,
    atoms: Annotated[
        bool, typer.Option("--atoms", help="Crystals: a row for every atom, not every structure.")
    ] = False,
) -> None:
    """Write the posterior mean and standard deviation of every row.

    Row numbers count the rows of the input table from 0; rows that the schema
    drops are left out and counted. Of crystals it writes the mean over the atoms
    of every structure, with predicted properties and their 90 % intervals where
    the run has them.
    """
    import numpy as np
    import polars as pl

    if _of_crystals(run, mapping, member):
        encode_crystals(run, data, out, atoms=atoms)
        return
    if atoms:
        raise DataError("only crystals have atoms", where="--atoms", hint="leave it out")
    model, records = _apply(run, data, mapping, member, out)
    mean, log_variance = model.posterior(records)
    columns = _identified(records)
    for i in range(mean.shape[2]):
        columns[f"z{i}"] = pl.Series(mean[0, :, i])
    for i in range(mean.shape[2]):
        columns[f"sd{i}"] = pl.Series(np.exp(0.5 * log_variance[0, :, i]))
    _write(columns, out)


def cluster(run: Run, data: Data, out: Out, mapping: Mapping = None, member: Member = 0) -> None:
    """Write the cluster of every row, from the clustering fitted on the training groups."""
    import polars as pl

    from variolite.scoring.kept_clusters import load_clusters
    from variolite.training import RunFolder

    model, records = _apply(run, data, mapping, member, out)
    clusters = load_clusters(RunFolder(run))
    columns = _identified(records)
    columns["cluster"] = pl.Series(clusters.predict(model.encode(records)[0], member))
    _write(columns, out)


def reconstruct(
    run: Run,
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="PATH",
            help="Table to write. For crystals: a new folder of CIFs with the names of the input, "
            "or one file (.extxyz, .csv, .crystals).",
        ),
    ],
    mapping: Mapping = None,
    member: Member = 0,
) -> None:
    """Write every input beside its reconstruction, in original units.

    Crystals come back in their own cell, origin, orientation and order of atoms.
    """
    import polars as pl

    if _of_crystals(run, mapping, member):
        reconstruct_crystals(run, data, out)
        return
    model, records = _apply(run, data, mapping, member, out)
    decoded = model.reconstruct(records)[0]
    columns = _identified(records)
    for i, name in enumerate(model.schema.numeric_names):
        columns[name] = pl.Series(records.raw[:, i])
        columns[f"recon:{name}"] = pl.Series(decoded[:, i])
    columns["log_likelihood_bound"] = pl.Series(model.evidence(records)[0])
    _write(columns, out)


# ``variolite fit``.


def fit(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Name of a recipe, or a YAML file.")
    ],
    data: Data,
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="Run folder to write.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a key: training.epochs=50. May be repeated.",
        ),
    ] = None,
    mapping: Mapping = None,
    members: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Seeds to train at once, for intervals over seeds. Not for crystals.",
        ),
    ] = 1,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="First seed; that of the recipe by default."),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    restart: Annotated[bool, typer.Option("--restart", help="Replace a run.")] = False,
) -> None:
    """Train a recipe on a table, or on structures, and write a run folder.

    A run that was broken off goes on when the same command is given again.
    """
    from variolite.recipe import CrystalRecipe, load_any_recipe

    changes = list(overrides or ())
    if seed is not None:
        changes.append(f"training.seed={seed}")
    loaded = load_any_recipe(recipe, changes)
    if isinstance(loaded, CrystalRecipe):
        _refuse_for_crystals(mapping, members)
        fit_crystals(loaded, data, out, device=device, restart=restart)
        return
    bound = parse_mapping(mapping, loaded.columns)
    # Late, so that a mistake above is told without the seconds that torch takes.
    from variolite.scoring.kept_clusters import fit_clusters
    from variolite.training import RunFolder
    from variolite.training.device import choose_device
    from variolite.training.run import train_run

    choose_device(device, 0)
    run = RunFolder(out)
    prepared = None if restart else _trained(run, loaded, data, bound)
    if prepared is None:
        with training_progress(loaded.training.epochs) as listener:
            run, prepared = train_run(
                loaded,
                data,
                out,
                mapping=bound,
                seeds=members,
                device=device,
                restart=restart,
                listener=listener,
            )
    with waiting("clustering the latents of the training groups") as tell:
        clusters = fit_clusters(run, prepared.part("train"), tell)
    note(f"{clusters.k} clusters ({clusters.algorithm}, k by {clusters.rule})")
    typer.echo(str(run.path))


def _refuse_for_crystals(mapping: list[str] | None, members: int) -> None:
    asked = "--map" if mapping else "--members" if members > 1 else None
    if asked is not None:
        raise DataError(
            "does not go with a recipe for crystals",
            where=asked,
            hint="leave it out; several seeds are several runs with --seed",
        )


def _trained(
    run: RunFolder, recipe: Recipe, data: Path, mapping: dict[str, str]
) -> Prepared | None:
    """Take up a run of the same recipe and data that was broken off while it clustered."""
    from variolite.recipe import recipe_to_yaml
    from variolite.training.run import prepare

    if not run.finished or run.clusters_file.is_file():
        return None
    if recipe_to_yaml(run.recipe()) != recipe_to_yaml(recipe):
        return None
    prepared = prepare(recipe, data, mapping=mapping, split=run.split())
    known = run.model().provenance.get("data", {})
    if known.get("fingerprint") != prepared.fingerprint:
        return None
    note("the model is trained already; its clustering is made now")
    return prepared


# ``variolite schema``, ``doctor`` and ``report``: looking, not changing.


Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def schema(
    file: Annotated[Path, typer.Argument(help="Table: CSV, Parquet, Feather or LAS 2.0.")],
    out: Annotated[Path | None, typer.Option("--out", help="YAML file to save it to.")] = None,
) -> None:
    """Propose a schema for a table: kinds, roles, units, transforms, and why.

    The proposal is a recipe's `columns`; save it, edit it and extend a recipe with it.
    """
    from variolite.records import propose_schema, read_table, units_of, write_text_atomic

    keep_inputs("--out", out, file)
    proposal = propose_schema(read_table(file), units=units_of(file))
    typer.echo(str(proposal))
    if out is not None:
        write_text_atomic(out, proposal.schema.to_yaml())
        typer.echo(str(out))


def doctor(
    run: Run,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="PATH",
            help="Table; none uses the health of the last score. Or structures, at least 20.",
        ),
    ] = None,
    mapping: Mapping = None,
    as_json: Json = False,
) -> None:
    """Say how healthy the latent space is, and what to change."""
    import json

    from variolite.errors import RunFolderError
    from variolite.scoring.tabular_run import latent_health_of
    from variolite.training import RunFolder

    folder = RunFolder(run)
    if folder.of_crystals:
        doctor_crystals(run, data, as_json=as_json)
        return
    model = folder.model()
    if data is not None:
        bound = parse_mapping(mapping, model.schema.schema.columns)
        records = model.records(data, bound)
        health = latent_health_of(model, records)
    elif folder.health_file.is_file():
        health = _stored_health(folder)
    else:
        raise RunFolderError(
            "the run has not been scored yet",
            where=str(run),
            hint="give a table with --data, or run `variolite score` first",
        )
    if as_json:
        typer.echo(json.dumps(health, indent=1))
        return
    typer.echo(
        f"{health['active_units']} of {health['latent']} latent dimensions active, "
        f"{health['total_kl']:.2f} nats in all"
    )
    for entry in health["dimensions"]:
        known = {name: r for name, r in entry["correlation"].items() if r is not None}
        state = "active" if entry["active"] else "idle"
        link = ""
        if entry["active"] and known:
            strongest = max(known, key=lambda name: abs(known[name]))
            link = f"r = {known[strongest]:+.2f} with {strongest}"
        typer.echo(f"  z{entry['index']:<3} {entry['kl']:6.3f} nats  {state:<6}  {link}".rstrip())
    for finding in health["findings"]:
        sentences = (finding["text"], finding.get("advice") or "")
        said = " ".join(f"{text.rstrip('.')}." for text in sentences if text)
        typer.echo(f"{finding['level']}: {said}")


def _stored_health(folder: RunFolder) -> dict[str, Any]:
    from pydantic import ValidationError

    from variolite.errors import RunFolderError
    from variolite.report.contents import Health

    content = folder.read_json(folder.health_file)
    try:
        Health.model_validate(content)
    except ValidationError:
        raise RunFolderError(
            "this file of the run is damaged",
            where=str(folder.health_file),
            hint="run `variolite score` again; it writes the file anew",
        ) from None
    return dict(content)


def report(run: Run) -> None:
    """Write the run's report: one HTML file that needs nothing else."""
    from variolite.cli.reports import write_report

    typer.echo(str(write_report(own_copy(run))))
