"""``variolite demo``: a whole run of one field, in under a minute."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from variolite.cli.progress import note, training_progress, waiting

# ``variolite demo crystals``: textbook crystals through the models of the package.


MODEL = "mp_20"
SAMPLES = 60


def demo_crystals(out: Path) -> None:
    """Encode, reconstruct and sample without training, and print the report's path."""
    import numpy as np

    from variolite.cli.reports import write_report
    from variolite.crystals.files.store import write_store
    from variolite.crystals.files.textbook import textbook_crystals
    from variolite.crystals.files.writing import write_structures
    from variolite.crystals.run import copy_shipped, load_run, shipped_run
    from variolite.crystals.score_run import score_crystal_run
    from variolite.errors import ModelFileError
    from variolite.training import RunFolder

    home = shipped_run(MODEL)
    if home is None:
        raise ModelFileError(
            f"the model {MODEL} did not come with this installation",
            hint="install variolite again, from its own wheel or repository",
        )
    folder = out / "crystals"
    run = RunFolder(folder)
    if not run.finished:
        run.path.parent.mkdir(parents=True, exist_ok=True)
        copy_shipped(MODEL, run.path)
    with waiting(f"loading the model {MODEL}, trained on Materials Project crystals"):
        model = load_run(run)
    crystals = textbook_crystals()
    known = np.isin(crystals.species, np.array(model.elements))
    fits = np.bincount(crystals.owner[~known], minlength=len(crystals)) == 0
    crystals = crystals.take(fits & (crystals.counts <= 20))
    with waiting(f"encoding and reconstructing {len(crystals)} textbook crystals"):
        latents = model.encode(crystals)
        found = model.reconstruct(crystals)
    width = latents.mean.shape[1]
    note(f"{crystals.names[0]}: {crystals.counts[0]} atoms, each with a latent of {width} numbers")
    with waiting(f"sampling {SAMPLES} new crystals") as tell:
        samples = model.sample(SAMPLES, tell=tell).crystals
    with waiting("scoring the reconstructions beside random coordinates") as tell:
        score_crystal_run(run, crystals, tell=tell)
    write_store(folder / "samples.crystals", samples)
    for name, made in (("originals", crystals), ("reconstructed", found), ("samples", samples)):
        place = folder / f"{name}.extxyz"
        place.unlink(missing_ok=True)
        write_structures(made, place)
    with waiting("writing the report"):
        page = write_report(folder)
    note("sampled structures are the model's own: none was relaxed, or made in a laboratory")
    typer.echo(str(page))


# ``variolite demo``: the whole way of one field, in under a minute.


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
    from variolite.cli.reports import write_report
    from variolite.corelogs import LevelChooser, bin_tables, simulate_cores, write_instrument_tables
    from variolite.recipe import load_recipe
    from variolite.records import write_table
    from variolite.scoring.kept_clusters import fit_clusters
    from variolite.scoring.tabular_run import score_run
    from variolite.training.run import train_run

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
        score_run(run, out / "binned.parquet", levels=LevelChooser(), log=tell)
    with waiting("writing the report"):
        page = write_report(run.path)
    note("the data are simulated: the figures show the method, not a finding")
    typer.echo(str(page))
