"""``variolite demo``: the whole way of one field, in under a minute."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from variolite.cli.demo_crystals import demo_crystals
from variolite.cli.progress import note, training_progress, waiting

__all__ = ["demo"]


DEMO_SETTINGS = (
    "training.epochs=40",
    "training.patience=8",
    "clustering.rule=silhouette",
    "clustering.k=[4, 6, 8, 10, 12]",
)
"""What keeps the demo within a minute."""


class Field(StrEnum):
    """Fields that have a demo."""

    corelogs = "corelogs"
    crystals = "crystals"


def demo(
    field: Annotated[Field, typer.Argument(help="Field of science.")] = Field.corelogs,
    out: Annotated[Path, typer.Option("--out", help="Folder for tables and run.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Run the whole way in under a minute and print the report's path.

    corelogs trains on a SIMULATED drill-core set; crystals takes textbook crystals through a
    model that comes with the package, without training.
    """
    if field is Field.crystals:
        demo_crystals(out)
        return
    from variolite.corelogs import (
        LevelChooser,
        bin_tables,
        simulate_cores,
        write_instrument_tables,
    )
    from variolite.recipe import load_recipe
    from variolite.records import write_table
    from variolite.report import write_report
    from variolite.scoring.clusters import fit_clusters
    from variolite.scoring.session import score_run
    from variolite.training.session import train_run

    tables, run_folder = out / "instruments", out / "run"
    with waiting("simulating 40 drill holes (SIMULATED data, not measurements)"):
        paths = write_instrument_tables(simulate_cores(holes=40, metres=50, seed=1), tables)
    with waiting("binning four instrument tables to 20 cm"):
        binned = bin_tables(list(paths.values()), spacing=0.2, join="outer").table
        write_table(binned, out / "binned.parquet")
    recipe = load_recipe("corelogs/default", DEMO_SETTINGS)
    with training_progress(recipe.training.epochs) as listener:
        run, prepared = train_run(
            recipe,
            out / "binned.parquet",
            run_folder,
            seeds=3,
            restart=True,
            simulated=True,
            listener=listener,
        )
    with waiting("clustering") as tell:
        fit_clusters(run, prepared.part("train"), tell)
    with waiting("scoring on held-out holes, beside the baselines") as tell:
        score_run(run, out / "binned.parquet", levels=LevelChooser(), tell=tell)
    with waiting("writing the report"):
        page = write_report(run.path)
    note("the data are simulated: the figures show the method, not a finding")
    typer.echo(str(page))
