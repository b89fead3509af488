"""``variolite corelogs``: one table of instruments, strip logs, and the wells to label next."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from variolite.arguments import (
    AcceptRange,
    Data,
    Json,
    Mapping,
    Null,
    Out,
    Run,
    keep_inputs,
    one_or_many,
)
from variolite.progress import ConsoleProgress

PROGRESS = ConsoleProgress()

app = typer.Typer(
    help="Boreholes: instrument tables to one binned table, strip logs, wells to label.",
    no_args_is_help=True,
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
    from variolite.corelogs.guided.suggest import suggestions

    found = suggestions(run, one_or_many(data), number, labels, mapping or (), PROGRESS)
    typer.echo(found.to_json() if as_json else "\n".join(found.lines()))


@app.command()
def striplog(
    run: Run,
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Drawing to write: .pdf, with a page for every well; or .svg or .png, for "
            "several wells a file each in a new folder.",
        ),
    ],
    well: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Draw this well only. May be repeated."),
    ] = None,
    low: Annotated[
        float | None,
        typer.Option("--from", metavar="DEPTH", help="Begin at this depth, in your unit."),
    ] = None,
    high: Annotated[
        float | None, typer.Option("--to", metavar="DEPTH", help="End at this depth.")
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Draw 1:N, such as 500, on as many pages as it takes; by default a well fills "
            "one page.",
        ),
    ] = None,
    mapping: Mapping = None,
    null: Null = None,
    accept_range: AcceptRange = False,
) -> None:
    """Draw wells against depth: logs, formations, lithology, clusters and their uncertainty.

    Logs stand in the usual tracks and scales: gamma ray with caliper and bit size, resistivity
    in logarithms, neutron reversed over density with the crossover filled, sonic reversed.
    Logs that the model does not use are drawn too, where their mnemonic is known.
    """
    from variolite.corelogs.striplog.command import draw_wells
    from variolite.training import RunFolder

    keep_inputs("--out", out, data)
    folder = RunFolder(run)
    folder.require_finished()
    paths = draw_wells(
        folder,
        one_or_many(data),
        out,
        PROGRESS,
        wells=well or (),
        depths=(low, high),
        scale=scale,
        mapping=mapping or (),
        null=null or (),
        accept_range=accept_range,
    )
    typer.echo(str(paths[0] if len(paths) == 1 else paths[0].parent))
