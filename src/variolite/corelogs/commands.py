"""``variolite corelogs``: instrument tables to one table, and the wells to label next."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from variolite.arguments import Data, Json, Mapping, Out, Run, keep_inputs, one_or_many
from variolite.progress import ConsoleProgress

PROGRESS = ConsoleProgress()

app = typer.Typer(
    help="Boreholes: instrument tables to one binned table, wells to label.", no_args_is_help=True
)


class Join(StrEnum):
    """How bins of different instruments meet."""

    inner = "inner"
    outer = "outer"
    nearest = "nearest"


@app.command("bin")
def bin_(
    tables: Annotated[
        list[Path], typer.Argument(metavar="TABLES...", help="Instrument tables, LIMS layout.")
    ],
    out: Out,
    spacing: Annotated[
        float | None, typer.Option(help="Bin width in m: 0.2, or 0.01 with --join nearest.")
    ] = None,
    join: Annotated[
        Join,
        typer.Option(
            help="Bins that every, or any, instrument has; or samples paired with the nearest."
        ),
    ] = Join.inner,
    tolerance: Annotated[
        float | None, typer.Option(help="How far apart paired samples may be, in m: 0.05.")
    ] = None,
    outliers: Annotated[
        str, typer.Option(help="Implausible readings: plausible, none, lily_v1 or lily_v2.")
    ] = "plausible",
    min_purity: Annotated[
        float, typer.Option(help="Share of readings that a bin's label needs, 0 to 1.")
    ] = 0.0,
    keep_unlabelled: Annotated[
        bool, typer.Option("--keep-unlabelled", help="Keep readings without a lithology.")
    ] = False,
    levels: Annotated[
        list[str] | None,
        typer.Option("--levels", help="Label levels to add: packaged names or files."),
    ] = None,
) -> None:
    """Bin instrument tables by depth and join them into one table.

    Keeps the number of readings and their spread per bin, the purity of the
    label and the gaps in the core.
    """
    from variolite.corelogs import bin_tables
    from variolite.records import require_writable, write_table

    keep_inputs("--out", out, *tables)
    require_writable(out)
    with PROGRESS.stage("binning") as step:
        binned = bin_tables(
            tables,
            spacing=spacing,
            join=join.value,
            tolerance=tolerance,
            outliers=outliers,
            min_purity=min_purity,
            unlabelled="keep" if keep_unlabelled else "drop",
            levels=levels or ("lithology_group",),
            progress=lambda done, total, name: step(f"done {done / max(total, 1):.0%}, {name}"),
        )
        write_table(binned.table, out)
    for line in binned.report.lines():
        PROGRESS.note(line)
    typer.echo(str(out))


@app.command("suggest-well")
def suggest_well(
    run: Run,
    data: Data,
    number: Annotated[
        int, typer.Option("-n", "--number", metavar="N", min=1, help="How many wells to suggest.")
    ] = 1,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Picks of the wells labelled so far, as `fit --labels` takes them."
        ),
    ] = None,
    mapping: Mapping = None,
    as_json: Json = False,
) -> None:
    """Suggest which wells to label next: those whose rocks stand for the most other wells.

    Wells with labels, in the table or in --labels, count as labelled. A guided run also says
    what accuracy to expect with more labelled wells.
    """
    from variolite.corelogs.guided.suggest_command import suggestions

    found = suggestions(run, one_or_many(data), number, labels, mapping or (), PROGRESS)
    typer.echo(found.to_json() if as_json else "\n".join(found.lines()))
