"""Boreholes and plain tables as a field: what the commands do on their runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variolite.arguments import keep_inputs, parse_mapping
from variolite.errors import DataError, RunFolderError
from variolite.fields import Deferred, Paths
from variolite.progress import Progress
from variolite.recipe import Recipe, recipe_to_yaml

if TYPE_CHECKING:
    import polars as pl

    from variolite.records import Records, Schema, Table
    from variolite.records.schema import Column
    from variolite.scoring import Health, Scorecard
    from variolite.training import RunFolder, TabularModel
    from variolite.training.run import Prepared

DEMO_SETTINGS = (
    "training.epochs=40",
    "training.patience=8",
    "clustering.rule=silhouette",
    "clustering.k=[4, 6, 8, 10, 12]",
)
"""What keeps the demo within a minute."""


Columns = dict[str, "pl.Series"]


def _rows(columns: Callable[[TabularModel, Records, Schema, RunFolder, int], Columns]) -> Any:
    """Make a command of ``columns``, which computes what is written about every row."""

    def write(
        _: Corelogs,
        run: RunFolder,
        data: Paths,
        out: Path,
        progress: Progress,
        *,
        mapping: Sequence[str] = (),
        member: int = 0,
        rows: str | None = None,
        null: Sequence[str] = (),
        accept_range: bool = False,
    ) -> Path:
        import polars as pl

        from variolite.records import require_writable, write_table
        from variolite.records.units import split_header

        keep_inputs("--out", out, data)
        require_writable(out, also=[".las"])
        model: TabularModel = run.model().reading(rows=rows, null=null)
        if member >= len(model.members):
            raise DataError(
                f"the run has {len(model.members)} members, counted from 0",
                where=f"--member {member}",
                hint=f"choose 0 to {len(model.members) - 1}",
            )
        model = model.only(member)
        bound = parse_mapping(mapping, model.schema.schema.columns)
        table = model.table(data, bound)
        records = _records(model, table, mapping, progress, accept_range=accept_range)
        with warnings.catch_warnings(action="ignore"):  # What is guessed was said above.
            schema = model.schema.schema.rebind(table.frame.columns, bound)
        found = {"row": pl.Series(records.row)} | columns(model, records, schema, run, member)
        if out.name.casefold().endswith(".las"):
            return _write_las(table, pl.DataFrame(found), out, schema, progress)
        if table.files is not None:
            found["file"] = table.files[records.row]
        given = _given(table, records, schema, model if columns is _reconstructions else None)
        for name in sorted(given.keys() & found.keys()):
            progress.note(f"column {name!r} of the table is left out: a result has its name")
        paired = (name for header in given for name in (header, f"recon:{header}"))
        order = dict.fromkeys(["row", "file", *paired, *found])
        frame = pl.DataFrame(given | found)
        write_table(frame.select(name for name in order if name in frame.columns), out)
        # The table states them beside its headers, where the output has no place for them.
        units = {n: u for n, u in table.units.items() if n in given and split_header(n)[1] is None}
        if units:
            progress.note(f"units in {out.name}: {', '.join(map(' in '.join, units.items()))}")
        return out

    return write


def _given(table: Table, records: Records, schema: Schema, model: TabularModel | None) -> Columns:
    """Take group, order and id as the table has them, and the inputs of a model if given."""
    import numpy as np
    import polars as pl

    from variolite.records.records import numeric_values

    used: list[tuple[Column | None, Any]] = [
        (schema.group, records.group),
        (schema.order, records.order),
        (schema.id, records.ids),
    ]
    names = model.schema.numeric_names if model else ()
    used += [(schema.columns.get(name), records.raw[:, i]) for i, name in enumerate(names)]
    given = {}
    for column, values in used:
        if column is not None and values is not None:
            header = str(column.source)
            if column.kind == "numeric":
                # As found: converted there and back they would differ in the last digits.
                own = numeric_values(table.frame[header])[records.row]
                values = np.where(np.isnan(values), np.nan, own)
            given[header] = pl.Series(values)
    return given


def _write_las(
    table: Table, found: pl.DataFrame, out: Path, schema: Schema, progress: Progress
) -> Path:
    from variolite.records.files.las_writing import write_las

    well, depth = (c.source if c else None for c in (schema.group, schema.order))
    paths = write_las(table, found, out, well=well, depth=depth)
    if len(paths) == 1:
        return paths[0]
    progress.note(f"{len(paths)} wells, a file each")
    return paths[0].parent


def _latents(model: TabularModel, records: Records, *_: object) -> Columns:
    """Posterior mean and standard deviation, as ``z0`` and ``sd0``."""
    import numpy as np
    import polars as pl

    mean, log_variance = (values[0].T for values in model.posterior(records))
    columns = {f"z{i}": pl.Series(z) for i, z in enumerate(mean)}
    return columns | {f"sd{i}": pl.Series(np.exp(0.5 * v)) for i, v in enumerate(log_variance)}


def _clusters(
    model: TabularModel, records: Records, _: Schema, run: RunFolder, member: int
) -> Columns:
    """Cluster by the clustering that the run keeps."""
    import polars as pl

    from variolite.scoring.kept_clusters import load_clusters

    clusters = load_clusters(run)
    return {"cluster": pl.Series(clusters.predict(model.encode(records)[0], member))}


def _reconstructions(model: TabularModel, records: Records, schema: Schema, *_: object) -> Columns:
    """The reconstruction of every input, in the unit of the table."""
    import polars as pl

    columns = {}
    for name, decoded in zip(
        model.schema.numeric_names, model.reconstruct(records)[0].T, strict=True
    ):
        column = schema.columns.get(name)
        header = column.source if column else name
        columns[f"recon:{header}"] = pl.Series(records.report.as_found(name, decoded))
    return columns | {"log_likelihood_bound": pl.Series(model.evidence(records)[0])}


class Corelogs:
    """See `variolite.fields.Field`."""

    kind = "tabular"
    model_kind = "variolite.tabular_vae"
    subject = "tables"
    recipe = Recipe

    encode = _rows(_latents)
    cluster = _rows(_clusters)
    reconstruct = _rows(_reconstructions)
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
        members: int = 1,
        device: str = "auto",
        restart: bool = False,
    ) -> RunFolder:
        """Train, then cluster the latents of the training groups."""
        bound = parse_mapping(mapping, recipe.columns)
        # Late, so that a mistake above is reported without the seconds that torch takes.
        from variolite.scoring.kept_clusters import fit_clusters, load_clusters
        from variolite.training import RunFolder
        from variolite.training.device import choose_device
        from variolite.training.run import train_run

        choose_device(device, 0)
        run = RunFolder(out)
        prepared = None if restart else _trained(run, recipe, data, bound, progress)
        if prepared is None:
            run, prepared = train_run(
                recipe,
                data,
                out,
                mapping=bound,
                seeds=members,
                device=device,
                restart=restart,
                progress=progress,
            )
        if run.clusters_file.is_file():
            clusters = load_clusters(run)
        else:
            with progress.stage("clustering the latents of the training groups") as step:
                clusters = fit_clusters(run, prepared.part("train"), step)
        run.seal_fit()
        progress.note(f"{clusters.k} clusters ({clusters.algorithm}, k by {clusters.rule})")
        return run

    def score(
        self,
        run: RunFolder,
        data: Paths,
        progress: Progress,
        *,
        train: Paths | None = None,
        mapping: Sequence[str] = (),
        levels: Sequence[Path] = (),
        transductive: bool = False,
        baselines: bool = True,
        rows: str | None = None,
        null: Sequence[str] = (),
        accept_range: bool = False,
    ) -> Scorecard:
        from variolite.corelogs.lithology import LevelChooser
        from variolite.scoring.tabular_run import score_run

        columns = run.recipe().columns
        table = run.model().schema.schema.columns.values()
        chooser = LevelChooser(levels, (str(column.source) for column in table))
        with progress.stage("scoring on held-out groups") as step:
            card = score_run(
                run,
                data,
                train=train,
                mapping=parse_mapping(mapping, columns),
                levels=chooser,
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
        from variolite.training.run_folder import read_object

        model = run.model()  # read even where it is not needed, so that damage shows
        if data is not None:
            records = _records(model, data, mapping, progress, accept_range=accept_range)
            return latent_health_of(model, records)
        stored = run.read(run.health_file, lambda path: Health.model_validate(read_object(path)))
        if stored is not None:
            return stored
        raise RunFolderError(
            "the run has not been scored yet",
            where=str(run.path),
            hint="give a table with --data, or run `variolite score` first",
        )

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
            fit_clusters(run, prepared.part("train"), step)
        run.seal_fit()
        with progress.stage("scoring on held-out holes, beside the baselines") as step:
            score_run(run, table, levels=LevelChooser(), log=step)
        with progress.stage("writing the report"):
            page = self.report(run)
        progress.note("the data are simulated: the figures show the method, not a finding")
        return page


FIELD = Corelogs()


def _trained(
    run: RunFolder, recipe: Recipe, data: Paths, mapping: dict[str, str], progress: Progress
) -> Prepared | None:
    """Resume a run of the same recipe and data that was interrupted after it was trained."""
    from variolite.training.run import prepare

    if not run.finished or (run.clusters_file.is_file() and run.sealed):
        return None
    if recipe_to_yaml(run.recipe()) != recipe_to_yaml(recipe):
        return None
    prepared = prepare(recipe, data, mapping=mapping, split=run.split())
    known = run.model().provenance.get("data", {})
    if known.get("fingerprint") != prepared.fingerprint:
        return None
    progress.note("the model is trained already; what is missing is done now")
    return prepared


def _records(
    model: TabularModel,
    data: Paths | Table,
    mapping: Sequence[str],
    progress: Progress,
    *,
    accept_range: bool,
) -> Records:
    bound = parse_mapping(mapping, model.schema.schema.columns)
    records = model.records(data, bound, accept_range=accept_range)
    for line in records.report.lines():
        progress.note(line)
    return records
