"""``variolite crystals``: what is done with structures only, and not with tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variolite.cli.crystal_runs import own_copy
from variolite.cli.interpolate import interpolate
from variolite.cli.options import Run, keep_inputs
from variolite.cli.progress import note, now_and_then, waiting

if TYPE_CHECKING:
    from variolite.crystals.structures import Reading

__all__ = ["app"]

app = typer.Typer(
    help="Crystals: one store of any structures, priors, paths between two.", no_args_is_help=True
)
app.command()(interpolate)


@app.command()
def pack(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATHS...",
            help="CIF, POSCAR, extXYZ, JSON of pymatgen, tables with a column 'cif', or folders.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Store to write, ending in .crystals.")
    ],
    reduce: Annotated[
        bool, typer.Option("--reduce", help="Write the Niggli cell of every structure.")
    ] = False,
    rejects: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Table of what was rejected, and why (OUT.rejects.csv)."),
    ] = None,
    max_atoms: Annotated[
        int, typer.Option(metavar="N", help="Largest number of atoms in a cell.", min=1)
    ] = 512,
    limit_rejected: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="It is an error when a larger share of the structures is rejected: 0.05.",
            min=0,
            max=1,
        ),
    ] = 1.0,
) -> None:
    """Read structures, check each one, and write those that pass into one file.

    What is rejected goes into a table with a reason for each; the file is written
    all the same unless nothing is left, or more than --limit-rejected.
    """
    from variolite.crystals.structures import (
        Limits,
        read_all,
        reduce_cells,
        require_place,
        write_store,
    )
    from variolite.records import require_writable, write_table

    store = _as_store(out)
    require_place(store)
    table = rejects or store.with_name(f"{store.stem}.rejects.csv")
    keep_inputs("--rejects", table, *paths)
    require_writable(table)
    with waiting("reading structures") as tell:
        reading = read_all(
            paths, limits=Limits(max_atoms=max_atoms), workers=os.cpu_count() or 1, tell=tell
        )
    for line in reading.remarks():
        note(line)
    if len(reading.rejects):
        write_table(reading.rejects, table)
        note(f"rejected structures: {table}")
    elif rejects is not None:
        write_table(reading.rejects, table)
    else:
        # A table of an earlier attempt would speak of structures that are in the store now.
        table.unlink(missing_ok=True)
    reading.require(limit_rejected, paths)
    crystals = reading.crystals
    if reduce:
        with waiting("reducing cells") as tell:
            crystals = reduce_cells(crystals, tell=tell)
    write_store(store, crystals)
    for line in _summary(reading):
        note(line)
    typer.echo(str(store))


def _as_store(out: Path) -> Path:
    from variolite.errors import DataError

    if out.suffix.casefold() != ".crystals":
        raise DataError(
            "a store ends in .crystals",
            where=f"--out {out}",
            mend=f"Write --out {out.with_suffix('.crystals')}",
        )
    return out


def _summary(reading: Reading) -> list[str]:
    import numpy as np

    from variolite.crystals.structures import SYMBOLS, reduced_formulas

    crystals = reading.crystals
    counts = crystals.counts
    elements = [SYMBOLS[z] for z in np.unique(crystals.species)]
    listed = ", ".join(elements[:12]) + (", ..." if len(elements) > 12 else "")
    per_atom = crystals.volumes / counts
    lines = [
        f"{len(crystals):,} structures of {len(np.unique(reduced_formulas(crystals))):,} formulas",
        f"atoms: {counts.min()} to {counts.max()} per cell, {np.mean(counts):.1f} on average",
        f"elements: {len(elements)} ({listed})",
        f"volume per atom: {per_atom.min():.1f} to {per_atom.max():.1f} A^3",
    ]
    if crystals.properties:
        lines.append(f"properties: {', '.join(crystals.properties)}")
    repeated = len(crystals) - len(np.unique(crystals.names))
    if repeated:
        lines.append(f"names that occur before: {repeated:,}")
    return lines


@app.command()
def prior(
    run: Run,
    data: Annotated[
        Path, typer.Option("--data", metavar="PATH", help="The structures it was trained from.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="prior.kind=mixture, prior.epochs=50, properties=[band_gap].",
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Fit the prior and the property predictions of a finished run anew.

    The network stays as it is; what `variolite generate` draws from is replaced.
    """
    from variolite.crystals.runs import refit_prior
    from variolite.crystals.structures import load_crystals
    from variolite.training import RunFolder

    crystals = load_crystals(data, tell=note)
    run = own_copy(run)
    refit_prior(RunFolder(run), crystals, overrides or (), device=device, tell=now_and_then())
    typer.echo(str(run))
