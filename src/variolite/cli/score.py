"""``variolite score`` and ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from variolite.cli.options import Data, Mapping, Run, parse_mapping
from variolite.cli.progress import waiting

__all__ = ["compare", "score"]

Levels = Annotated[
    list[Path] | None,
    typer.Option("--levels", help="Table or YAML that maps label names to coarser groups."),
]


def score(
    run: Run,
    data: Data,
    train: Annotated[
        Path | None,
        typer.Option(
            "--train",
            metavar="PATH",
            help="The table trained on, where --data holds new groups only: for the baselines.",
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the scorecard as JSON.")] = False,
) -> None:
    """Score a run on groups it was not trained on, beside the baselines.

    Writes scorecard.json, health.json and held_out.parquet into the run folder
    and prints a table.
    """
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
