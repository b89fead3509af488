"""``variolite frameworks``: what is done with frameworks only."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="Frameworks: CIF files to a table, candidates to structures, simulated uptakes.",
    no_args_is_help=True,
)
