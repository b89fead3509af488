"""``variolite frameworks``: what is done with frameworks only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from variolite.arguments import keep_inputs
from variolite.progress import ConsoleProgress

PROGRESS = ConsoleProgress()

app = typer.Typer(
    help="Frameworks: CIF files to a table, candidates to structures, simulated uptakes.",
    no_args_is_help=True,
)


@app.callback()
def _frameworks() -> None:
    # With a callback typer keeps a single command a subcommand.
    pass


@app.command()
def assemble(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="CANDIDATES",
            help="Table with columns net, nodes and linker_units; or net and units.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for CIF files and tables.")
    ],
    units: Annotated[
        list[Path] | None,
        typer.Option(
            "--units",
            metavar="XYZ",
            help="Building units beside those of AuToGraFS. May be repeated.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; as many as there are cores by default.")
    ] = None,
    limit: Annotated[
        float, typer.Option(min=1.0, metavar="SECONDS", help="Most time for one candidate.")
    ] = 60.0,
    attempts: Annotated[
        int, typer.Option(min=1, help="Tries for one candidate, with other choices among equals.")
    ] = 6,
) -> None:
    """Build candidates in three dimensions and check them.

    Writes a CIF file for every candidate that passes all checks, candidates.csv with what came of
    each row, and provenance.json. A run that was interrupted goes on where it was.
    """
    from variolite.frameworks.assemble import Settings, assemble_table

    keep_inputs("--out", out, table, units)
    settings = Settings(attempts=attempts, limit=limit)
    assemble_table(
        table, out, units=units or (), settings=settings, workers=workers, progress=PROGRESS
    )
    typer.echo(str(out))
