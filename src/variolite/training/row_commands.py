"""What commands write about every row of a table: latents, reconstructions, clusters."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variolite.arguments import keep_inputs, keep_out_of_folders, parse_mapping
from variolite.errors import DataError, counted
from variolite.fields import Paths
from variolite.progress import Progress

if TYPE_CHECKING:
    import polars as pl

    from variolite.records import Records, Schema, Table
    from variolite.records.schema import Column
    from variolite.training import RunFolder, TabularModel

Columns = dict[str, "pl.Series"]


def row_command(
    columns: Callable[[Any, Records, Schema, RunFolder, int], Columns],
    *,
    inputs: bool = False,
    filling: bool = False,
) -> Any:
    """Make a command of ``columns``, which computes what is written about every row.

    ``inputs`` stand beside what is written about them. What is ``filling`` gaps is done by all
    members, not by the one that is asked for, in all rows in which anything was observed.
    """

    def write(
        _: object,
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
        keep_out_of_folders("--out", out, data)
        require_writable(out, also=[".las"])
        model, table, records, schema = rows_of(
            run,
            data,
            progress,
            mapping=mapping,
            member=None if filling else member,
            rows=rows,
            null=null,
            accept_range=accept_range,
            gaps=filling,
        )
        found = {"row": pl.Series(records.row)} | columns(model, records, schema, run, member)
        given = _given(table, records, schema, model if inputs else None)
        about: dict[str, list[str]] = {}
        for name in found:  # such as recon:RHOB
            about.setdefault(name.partition(":")[2], []).append(name)
        if filling:  # what was observed, as the table has it
            for header in given.keys() & about.keys():
                own = (
                    given[header].fill_nan(None)
                    if given[header].dtype.is_float()
                    else given[header]
                )
                found |= {name: own.fill_null(found[name]) for name in about[header]}
        if out.name.casefold().endswith(".las"):
            curves = pl.DataFrame(found).with_columns(pl.col(pl.Boolean).cast(pl.Int8))
            return _write_las(table, curves, out, model, schema, progress, data)
        if table.files is not None:
            found["file"] = table.files[records.row]
        for name in sorted(given.keys() & found.keys()):
            progress.note(f"column {name!r} of the table is left out: a result has its name")
        beside = (name for header in given for name in (header, *about.get(header, ())))
        order = dict.fromkeys(["row", "file", *beside, *found])
        frame = pl.DataFrame(given | found)
        write_table(frame.select(name for name in order if name in frame.columns), out)
        # The table states them beside its headers, where the output has no place for them.
        units = {n: u for n, u in table.units.items() if n in given and split_header(n)[1] is None}
        if units:
            progress.note(f"units in {out.name}: {', '.join(map(' in '.join, units.items()))}")
        return out

    return write


def rows_of(
    run: RunFolder,
    data: Paths,
    progress: Progress,
    *,
    mapping: Sequence[str] = (),
    member: int | None = 0,
    rows: str | None = None,
    null: Sequence[str] = (),
    accept_range: bool = False,
    gaps: bool = False,
) -> tuple[TabularModel, Table, Records, Schema]:
    """Return one member of a run, or all, a table, the rows it can use, and where they came from.

    With ``gaps`` all rows can be used in which anything was observed.
    """
    model: TabularModel = run.model().reading(rows=rows, null=null, gaps=gaps)
    if member is not None and member >= len(model.members):
        raise DataError(
            f"the run has {counted(len(model.members), 'member')}, counted from 0",
            where=f"--member {member}",
            hint=f"choose 0 to {len(model.members) - 1}",
        )
    model = model if member is None else model.only(member)
    bound = parse_mapping(mapping, model.schema.schema.columns)
    table = model.table(data, bound)
    records = records_of(model, table, mapping, progress, accept_range=accept_range)
    with warnings.catch_warnings(action="ignore"):  # What is guessed was said above.
        schema = model.schema.schema.rebind(table.frame.columns, bound)
    return model, table, records, schema


def _given(table: Table, records: Records, schema: Schema, model: TabularModel | None) -> Columns:
    """Take group, order and id as the table has them, and the inputs of a model if given."""
    import numpy as np
    import polars as pl

    from variolite.records.records import numeric_values, text_values

    used: list[tuple[Column | None, Any]] = [
        (schema.group, records.group),
        (schema.order, records.order),
        (schema.id, records.ids),
    ]
    names = model.schema.numeric_names if model else ()
    used += [(schema.columns.get(name), records.raw[:, i]) for i, name in enumerate(names)]
    for name in (*model.schema.category_names, *model.schema.set_names) if model else ():
        if column := schema.columns.get(name):
            used.append((column, text_values(table.frame[str(column.source)])[records.row]))
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
    table: Table,
    found: pl.DataFrame,
    out: Path,
    model: TabularModel,
    schema: Schema,
    progress: Progress,
    data: Paths,
) -> Path:
    from variolite.records.files.las_writing import new_names, write_las

    # Inputs that the table lacks are written as they were in training.
    for name, column in model.schema.schema.columns.items():
        unit = model.schema.units.get(name)
        if unit and name not in schema.columns:
            table.units.setdefault(str(column.source), unit)
    for name, other in new_names(found.columns, table.frame.columns).items():
        if other != name:
            progress.note(f"the table has {name!r} already: what is new is called {other!r}")
    well, depth = (c.source if c else None for c in (schema.group, schema.order))
    source = None if isinstance(data, list) else data
    paths = write_las(table, found, out, well=well, depth=depth, source=source)
    if len(paths) == 1:
        return paths[0]
    progress.note(f"{len(paths)} wells, a file each")
    return paths[0].parent


def latents(model: TabularModel, records: Records, *_: object) -> Columns:
    """Posterior mean and standard deviation, as ``z0`` and ``sd0``."""
    import numpy as np
    import polars as pl

    mean, log_variance = (values[0].T for values in model.posterior(records))
    columns = {f"z{i}": pl.Series(z) for i, z in enumerate(mean)}
    return columns | {f"sd{i}": pl.Series(np.exp(0.5 * v)) for i, v in enumerate(log_variance)}


def reconstructions(model: TabularModel, records: Records, schema: Schema, *_: object) -> Columns:
    """The reconstruction of every input, in the unit of the table."""
    import polars as pl

    columns = {}
    for name, decoded in zip(
        model.schema.numeric_names, model.reconstruct(records)[0].T, strict=True
    ):
        column = schema.columns.get(name)
        header = column.source if column else name
        columns[f"recon:{header}"] = pl.Series(records.report.as_found(name, decoded))
    for name, values in model.most_likely(records).items():
        column = schema.columns.get(name)
        columns[f"recon:{column.source if column else name}"] = pl.Series(values)
    return columns | {"log_likelihood_bound": pl.Series(model.evidence(records)[0])}


def records_of(
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
    group = model.schema.schema.group
    if group and records.group is None and records.order is not None:
        import numpy as np

        upwards = int((np.diff(records.order) < 0).sum())
        if 0 < upwards < len(records) / 2:
            line = f"without {group.name} all rows are taken for one, though depths begin again "
            progress.note(f"{line}{upwards:,} times; bind it with --map {group.name}=COLUMN")
    return records
