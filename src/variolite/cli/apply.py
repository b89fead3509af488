"""``variolite encode``, ``cluster`` and ``reconstruct``: a run applied to a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variolite.cli.crystal_runs import encode_crystals, reconstruct_crystals
from variolite.cli.options import Data, Mapping, Out, Run, keep_inputs, parse_mapping
from variolite.cli.progress import note
from variolite.errors import DataError

if TYPE_CHECKING:
    import polars as pl

    from variolite.records import Records
    from variolite.training import TabularModel

__all__ = ["cluster", "encode", "reconstruct"]

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
            mend=f"choose 0 to {len(model.members) - 1}",
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
        raise DataError("does not go with a run on crystals", where=asked, mend="leave it out")
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
        raise DataError("only crystals have atoms", where="--atoms", mend="leave it out")
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

    from variolite.scoring.clusters import load_clusters
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
