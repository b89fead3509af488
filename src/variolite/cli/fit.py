"""``variolite fit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variolite.cli.crystal_runs import fit_crystals
from variolite.cli.options import Data, Mapping, parse_mapping
from variolite.cli.progress import note, training_progress, waiting
from variolite.errors import DataError

if TYPE_CHECKING:
    from variolite.recipe import Recipe
    from variolite.training import RunFolder
    from variolite.training.session import Prepared

__all__ = ["fit"]


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
    from variolite.scoring.clusters import fit_clusters
    from variolite.training import RunFolder
    from variolite.training.device import choose_device
    from variolite.training.session import train_run

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
            mend="leave it out; several seeds are several runs with --seed",
        )


def _trained(
    run: RunFolder, recipe: Recipe, data: Path, mapping: dict[str, str]
) -> Prepared | None:
    """Take up a run of the same recipe and data that was broken off while it clustered."""
    from variolite.recipe import recipe_to_yaml
    from variolite.training.session import prepare

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
