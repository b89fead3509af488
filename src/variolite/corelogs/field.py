"""Boreholes and plain tables as a field: what the commands do on their runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variolite.arguments import keep_out_of_folders, parse_mapping
from variolite.errors import DataError, counted
from variolite.fields import Deferred, Paths
from variolite.progress import Progress
from variolite.recipe import Recipe, recipe_to_yaml
from variolite.training.row_commands import (
    Columns,
    latents,
    reconstructions,
    records_of,
    row_command,
)

if TYPE_CHECKING:
    from variolite.records import Records, Schema, Table
    from variolite.scoring import Health, Scorecard
    from variolite.scoring.kept_clusters import Clusters
    from variolite.training import RunFolder, TabularModel
    from variolite.training.run import Prepared

DEMO_SETTINGS = (
    "training.epochs=40",
    "training.patience=8",
    "clustering.rule=silhouette",
    "clustering.k=[4, 6, 8, 10, 12]",
)
"""What keeps the demo within a minute."""


def clusters_of(
    model: TabularModel, records: Records, _: Schema, run: RunFolder, member: int
) -> Columns:
    """Cluster by the clustering that the run keeps, with its probability and the boundaries.

    A guided run names classes too.
    """
    import numpy as np
    import polars as pl

    from variolite.corelogs.guided.run import class_columns, load_classifier, probabilities_of
    from variolite.scoring.kept_clusters import along_depth, load_clusters

    clusters, along = load_clusters(run), along_depth(records)
    latents = model.encode(records)[0]
    found = clusters.predict(latents, along, member)
    columns = {"cluster": pl.Series(found)}
    probability = clusters.probability(latents, found, along, member)
    if not np.isnan(probability).any():
        columns["probability"] = pl.Series(probability)
    if records.group is not None:
        columns["boundary"] = pl.Series(along.boundaries(found))
    classifier = load_classifier(run)
    if classifier is None:
        return columns
    return class_columns(classifier, probabilities_of(classifier, model, records)) | columns


class Corelogs:
    """See `variolite.fields.Field`."""

    kind = "tabular"
    model_kind = "variolite.tabular_vae"
    subject = "tables"
    recipe = Recipe

    encode = row_command(latents)
    cluster = row_command(clusters_of)
    reconstruct = row_command(reconstructions, inputs=True)
    load_model = Deferred("variolite.training", "load_model")
    format_scores = Deferred("variolite.scoring.scorecard", "format_scorecard")
    compare = Deferred("variolite.scoring.tabular_run", "compare_runs")

    def train(
        self,
        recipe: Recipe,
        data: Paths,
        out: Path,
        progress: Progress,
        *,
        mapping: Sequence[str] = (),
        labels: Path | None = None,
        members: int = 1,
        device: str = "auto",
        restart: bool = False,
    ) -> RunFolder:
        """Train, then cluster the latents of the training groups; learn classes if guided."""
        keep_out_of_folders("--out", out, data)
        bound = parse_mapping(mapping, recipe.columns)
        load, bound = _loader(recipe, labels, bound, progress)
        # Late, so that a mistake above is reported without the seconds that torch takes.
        from variolite.corelogs.guided.held_out_wells import few_labelled
        from variolite.corelogs.guided.run import fit_guided, learnt_from
        from variolite.scoring.imputation import calibrate, few_groups_lines, save_calibration
        from variolite.scoring.kept_clusters import fit_clusters, load_clusters
        from variolite.scoring.missingness import absence_lines
        from variolite.training import RunFolder
        from variolite.training.device import choose_device
        from variolite.training.run import train_run

        def check(prepared: Prepared) -> None:
            recipe.clustering.ks_below(len(prepared.part("train")))
            if recipe.guided:
                learnt_from(prepared)

        choose_device(device, 0)
        run = RunFolder(out)
        prepared = None if restart else _trained(run, recipe, data, bound, load, progress)
        if prepared is None:
            run, prepared = train_run(
                recipe,
                data,
                out,
                mapping=bound,
                seeds=members,
                device=device,
                restart=restart,
                load=load,
                required=few_labelled if recipe.guided else None,
                check=check,
                progress=progress,
            )
        if run.clusters_file.is_file():
            clusters = load_clusters(run)
        else:
            with progress.stage("clustering the latents of the training groups") as step:
                clusters = fit_clusters(run, prepared.part("train"), step)
        if not run.cluster_table_file.is_file():
            _describe(run, clusters, prepared, progress)
        if recipe.guided and not run.classifier_file.is_file():
            with progress.stage("learning the classes of the labelled groups"):
                fit_guided(run, prepared, progress.note)
        if not run.calibration_file.is_file():
            parts = prepared.part("train"), prepared.part("validation")
            model = run.model()
            with progress.stage("hiding one input after the other from the validation groups"):
                calibration = calibrate(model, *parts)
                save_calibration(run, calibration)
            lines = absence_lines(parts[0], prepared.schema)
            if model.module.architecture.mask_input:  # others do not impute
                columns = prepared.schema.schema.columns
                headers = {n: str(columns[n].source) for n in prepared.schema.numeric_names}
                lines += few_groups_lines(calibration, headers)
            for line in lines:
                progress.note(line)
        run.seal_fit()
        how = "k fixed" if clusters.rule == "fixed" else f"k by {clusters.rule}"
        progress.note(f"{counted(clusters.k, 'cluster')} ({clusters.algorithm}, {how})")
        return run

    def impute(
        self,
        run: RunFolder,
        data: Paths,
        out: Path,
        progress: Progress,
        *,
        samples: int = 0,
        level: float = 0.9,
        seed: int = 0,
        **reading: Any,
    ) -> Path:
        """Write the inputs with their gaps filled, with intervals; see `row_command`."""
        from variolite.corelogs.imputed_logs import imputed_columns

        columns = partial(
            imputed_columns, progress=progress, samples=samples, level=level, seed=seed
        )
        write = row_command(columns, inputs=True, filling=True)
        return Path(write(self, run, data, out, progress, **reading))

    def score(
        self,
        run: RunFolder,
        data: Paths,
        progress: Progress,
        *,
        train: Paths | None = None,
        mapping: Sequence[str] = (),
        labels: Path | None = None,
        levels: Sequence[Path] = (),
        transductive: bool = False,
        baselines: bool = True,
        rows: str | None = None,
        null: Sequence[str] = (),
        accept_range: bool = False,
    ) -> Scorecard:
        from variolite.corelogs.guided.held_out_wells import class_scores
        from variolite.corelogs.lithology import LevelChooser
        from variolite.scoring.tabular_run import score_run

        bound = parse_mapping(mapping, run.recipe().columns)
        tables: list[Any] = [data, train]
        if labels is not None:
            tables, bound = _picked(run, labels, tables, bound, null, progress)
        table = run.model().schema.schema.columns.values()
        chooser = LevelChooser(levels, (str(column.source) for column in table))
        with progress.stage("scoring on held-out groups") as step:
            card = score_run(
                run,
                tables[0],
                train=tables[1],
                mapping=bound,
                levels=chooser,
                extra=class_scores(run),
                fit="transductive" if transductive else "inductive",
                baselines=baselines,
                rows=rows,
                null=null,
                accept_range=accept_range,
                log=step,
            )
        for line in chooser.lines():
            progress.note(line)
        return card

    def report(self, run: RunFolder) -> Path:
        from variolite.corelogs.report import table_page
        from variolite.training.run_folder import read_run

        return run.write_page(table_page(read_run(run)))

    def doctor(
        self,
        run: RunFolder,
        data: Paths | None,
        progress: Progress,
        *,
        mapping: Sequence[str] = (),
        accept_range: bool = False,
    ) -> Health:
        """Evaluate the latents of a table, or take the health of the last score."""
        from variolite.scoring import Health
        from variolite.scoring.tabular_run import latent_health_of

        model = run.model()  # read even where it is not needed, so that damage shows
        if data is not None:
            records = records_of(model, data, mapping, progress, accept_range=accept_range)
            return latent_health_of(model, records)
        return run.require_health(Health)

    def demo(self, out: Path, progress: Progress) -> Path:
        """Train and score on SIMULATED drill cores; return the report's path."""
        from variolite.corelogs import (
            LevelChooser,
            bin_tables,
            simulate_cores,
            write_instrument_tables,
        )
        from variolite.recipe import load_recipe
        from variolite.records import write_table
        from variolite.scoring.kept_clusters import fit_clusters
        from variolite.scoring.tabular_run import score_run
        from variolite.training.run import train_run

        with progress.stage("simulating 40 drill holes (SIMULATED data, not measurements)"):
            cores = simulate_cores(holes=40, metres=50, seed=1)
            paths = write_instrument_tables(cores, out / "instruments")
        table = out / "binned.parquet"
        with progress.stage("binning four instrument tables to 20 cm"):
            write_table(bin_tables(list(paths.values()), spacing=0.2, join="outer").table, table)
        run, prepared = train_run(
            load_recipe("corelogs/default", DEMO_SETTINGS),
            table,
            out / "run",
            seeds=3,
            restart=True,
            simulated=True,
            progress=progress,
        )
        with progress.stage("clustering") as step:
            clusters = fit_clusters(run, prepared.part("train"), step)
        _describe(run, clusters, prepared, progress)
        run.seal_fit()
        with progress.stage("scoring on held-out holes, beside the baselines") as step:
            score_run(run, table, levels=LevelChooser(), log=step)
        with progress.stage("writing the report"):
            page = self.report(run)
        progress.note("the data are simulated: the figures show the method, not a finding")
        return page


FIELD = Corelogs()


def _loader(
    recipe: Recipe, labels: Path | None, mapping: dict[str, str], progress: Progress
) -> tuple[Callable[..., Table], dict[str, str]]:
    """Return what reads the table, with labels of a file where given, and the mapping for it."""
    from variolite.corelogs.guided.picks import PICKED, labelled_loader, read_picks
    from variolite.records import load_table

    table = recipe.table
    if labels is not None and not (recipe.guided and table.labels):
        hint = "use corelogs/guided, or a recipe with `guided: true` and a label column"
        raise DataError("this recipe learns no labels", where=f"--labels {labels}", hint=hint)
    if not recipe.guided:
        return load_table, mapping
    picks = None if labels is None else read_picks(labels, table)
    if picks is not None:
        mapping = mapping | {table.labels[0].name: PICKED}
    return labelled_loader(table, mapping, picks, progress.note), mapping


def _picked(
    run: RunFolder,
    labels: Path,
    tables: Sequence[Any],
    mapping: dict[str, str],
    null: Sequence[str],
    progress: Progress,
) -> tuple[list[Any], dict[str, str]]:
    """Read the tables of a score with picks as a column, and return the mapping for it too."""
    from variolite.corelogs.guided.picks import PICKED, read_picks, with_picks

    schema, model = run.recipe().table, run.model().reading(null=null)
    label = next(iter(model.schema.schema.labels), None)
    if label is None:
        what, hint = "the run has learnt no labels", "fit corelogs/guided with --labels"
        raise DataError(what, where=f"--labels {labels}", hint=hint)
    picks = read_picks(labels, schema)
    picked = [
        paths and with_picks(model.table(paths, mapping), schema, mapping, picks, progress.note)
        for paths in tables
    ]
    return picked, mapping | {label.name: PICKED}


def _describe(run: RunFolder, clusters: Clusters, prepared: Prepared, progress: Progress) -> None:
    """Write clusters.csv, what the clusters of the training rows are like, and say it in lines."""
    from variolite.corelogs.cluster_table import cluster_table, lines_of
    from variolite.corelogs.lithology import LevelChooser
    from variolite.records import write_table
    from variolite.scoring.kept_clusters import along_depth

    model, rows = run.model(), prepared.part("train")
    along, latents = along_depth(rows), model.encode(rows)[0]
    found = clusters.predict(latents, along)
    probability = clusters.probability(latents, found, along)
    columns = model.schema.schema.columns.values()
    levels = LevelChooser((), (str(column.source) for column in columns))(rows.labels)
    labels = next(iter(levels.values()), None)
    table = cluster_table(rows, model.schema.numeric_names, found, probability, along, labels)
    write_table(table, run.cluster_table_file)
    order = model.schema.schema.order
    for line in lines_of(table, order.unit if order else None):
        progress.note(line)


def _trained(
    run: RunFolder,
    recipe: Recipe,
    data: Paths,
    mapping: dict[str, str],
    load: Callable[..., Table],
    progress: Progress,
) -> Prepared | None:
    """Resume a run of the same recipe and data that was interrupted after it was trained."""
    from variolite.training.run import prepare

    if not run.finished:
        return None
    made = (run.clusters_file, run.cluster_table_file, run.classifier_file, run.calibration_file)
    whole = run.clusters_file.is_file() and run.classifier_file.is_file() >= recipe.guided
    if whole and run.sealed and not any(map(run.lost, made)):
        return None
    if recipe_to_yaml(run.recipe()) != recipe_to_yaml(recipe):
        return None
    prepared = prepare(recipe, data, mapping=mapping, split=run.split(), load=load)
    known = run.model().provenance.get("data", {})
    if known.get("fingerprint") != prepared.fingerprint:
        return None
    progress.note("the model is trained already; what is missing is done now")
    return prepared
