"""What ``variolite corelogs striplog`` does: a run and a table to drawings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from variolite.corelogs.field import FIELD, clusters_of
from variolite.errors import DataError, counted
from variolite.fields import Paths
from variolite.progress import Progress
from variolite.records.files.tables import ending_of
from variolite.records.files.writing import require_parent
from variolite.training import RunFolder
from variolite.training.row_commands import rows_of


def draw_wells(
    run: RunFolder,
    data: Paths,
    out: Path,
    progress: Progress,
    *,
    wells: Sequence[str] = (),
    depths: tuple[float | None, float | None] = (None, None),
    scale: int | None = None,
    mapping: Sequence[str] = (),
    null: Sequence[str] = (),
    accept_range: bool = False,
) -> list[Path]:
    """Draw the wells of a table with the clusters of a run, and return the files.

    Only ``wells`` are drawn where some are named, between two ``depths`` in the unit of the
    table, 1:``scale`` where it is given. DataError where anything asked for is not there.
    """
    # Late: matplotlib takes half a second.
    from variolite.corelogs.striplog.pages import ENDINGS, write_logs
    from variolite.corelogs.striplog.tracks import tracks_of
    from variolite.corelogs.striplog.wells import Wells

    ending_of(out, ENDINGS, "drawn")
    require_parent(out)
    if run.field.kind != FIELD.kind:
        what = f"it is a run on {run.field.subject}"
        raise DataError(what, where=str(run.path), hint="Strip logs are of runs on wells or cores")
    low = -np.inf if depths[0] is None else depths[0]
    high = np.inf if depths[1] is None else depths[1]
    if not low < high:
        where = f"--from {low:g} --to {high:g}"
        raise DataError("no depth lies between", where=where, hint="Depth runs downwards")
    model, table, records, schema = rows_of(
        run, data, progress, mapping=mapping, null=null, accept_range=accept_range
    )
    found = clusters_of(model, records, schema, run, 0)
    first = data[0] if isinstance(data, list) else data
    every = Wells(table, schema, records, model.schema.numeric_names, found, Path(first).stem)
    if every.undrawn:
        progress.note(f"not drawn: {', '.join(every.undrawn)}")
    names = every.chosen(wells, low, high)
    what = "classes and clusters" if "class" in found else "clusters"
    source = f"{Path(first).name}, {what} of {run.path.name} ({run.recipe().name})"
    tracks = tracks_of(every.of(names, low, high))
    stated = {curve.meaning for curve in every.curves if curve.unit}
    traces = [trace for track in tracks for trace in track.traces]
    assumed = [f"{t.meaning} in {t.unit}" for t in traces if t.unit and t.meaning not in stated]
    if assumed:
        progress.note(f"no unit is stated, drawn as: {', '.join(assumed)}")
    with progress.stage(f"drawing {counted(len(names), 'well')}") as step:
        return write_logs(
            names,
            lambda name: every.log(name, low, high),
            tracks,
            out,
            source=source,
            scale=scale,
            progress=lambda name: step(f"done {names.index(name) / len(names):.0%}, {name}"),
        )
