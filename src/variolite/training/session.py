"""A whole training run: table and recipe in, run folder out."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from variolite.recipe import Recipe, recipe_to_yaml
from variolite.records import (
    FittedSchema,
    Records,
    Schema,
    Split,
    group_spellings,
    groups_of,
    read_table,
    split_groups,
    units_of,
    write_text_atomic,
)
from variolite.training.fitting import fit_tabular, members_for
from variolite.training.history import EpochRecord, write_history
from variolite.training.modelfile import save_model
from variolite.training.runfolder import RunFolder, environment

__all__ = ["Listener", "Prepared", "prepare", "train_run"]


@dataclass(frozen=True)
class Listener:
    """Who is told how a run goes along.

    Attributes
    ----------
    note
        Called with a sentence worth reading.
    epoch
        Called after every epoch.
    """

    note: Callable[[str], None] = lambda _: None
    epoch: Callable[[EpochRecord], None] = lambda _: None


@dataclass(frozen=True)
class Prepared:
    """A table made ready for one recipe: split by group, fitted on training groups only."""

    schema: FittedSchema
    records: Records
    split: Split
    name: str
    fingerprint: str

    def part(self, name: str) -> Records:
        """Rows of ``train``, ``validation`` or ``test``."""
        assert self.records.group is not None
        return self.records.take(self.split.rows(self.records.group)[name])


def prepare(
    recipe: Recipe,
    data: Any,
    *,
    mapping: Mapping[str, str] | None = None,
    split: Split | None = None,
    listener: Listener | None = None,
) -> Prepared:
    """Bind a table to a recipe, split its groups and fit the transforms.

    Parameters
    ----------
    recipe
        Columns and split.
    data
        Path or table.
    mapping
        Table column by meaning.
    split
        Given groups instead of drawn ones.
    listener
        Told which columns were left out and which rows were dropped.
    """
    listener = listener or Listener()
    frame = read_table(data, text=group_spellings(recipe.table, mapping))
    units = units_of(data)
    bound: Schema = recipe.table.bind(frame.columns, mapping)
    if bound.left_out:
        listener.note(f"not in this table, left out: {', '.join(bound.left_out)}")
    group = groups_of(bound, frame)
    if split is None:
        split = _draw(recipe, bound, frame, group)
    listener.note(
        f"{len(split.train)} training, {len(split.validation)} validation, "
        f"{len(split.test)} held-out groups"
    )
    schema = FittedSchema.fit(bound, frame, split.rows(group)["train"], units=units)
    records = schema.apply(frame, units=units)
    for line in records.report.lines():
        listener.note(line)
    name = Path(data).name if isinstance(data, str | Path) else "table in memory"
    return Prepared(schema, records, split, name, _fingerprint(frame, bound))


def _draw(recipe: Recipe, bound: Schema, frame: pl.DataFrame, group: Any) -> Split:
    spec = recipe.split
    stratify = None
    if spec.stratify and bound.labels:
        stratify = frame[str(bound.labels[0].source)].cast(pl.String).fill_null("").to_numpy()
    return split_groups(
        group, test=spec.test, validation=spec.validation, seed=spec.seed, stratify=stratify
    )


def _fingerprint(frame: pl.DataFrame, schema: Schema) -> str:
    """Identify the bound columns of a table by content."""
    digest = hashlib.sha256()
    for source in dict.fromkeys(str(column.source) for column in schema.columns.values()):
        values = frame[source]
        digest.update(f"{source}\x1f{frame.height}\x1f".encode())
        if values.dtype.is_numeric():
            digest.update(values.cast(pl.Float64).fill_null(float("nan")).to_numpy().tobytes())
        else:
            digest.update("\x1f".join(values.cast(pl.String).fill_null("")).encode())
    return digest.hexdigest()[:16]


def train_run(
    recipe: Recipe,
    data: Any,
    out: Path,
    *,
    mapping: Mapping[str, str] | None = None,
    seeds: int = 1,
    betas: Sequence[float] = (1.0,),
    latents: Sequence[int] = (),
    device: str = "auto",
    restart: bool = False,
    simulated: bool = False,
    listener: Listener | None = None,
) -> tuple[RunFolder, Prepared]:
    """Train a recipe on a table and write the run folder.

    Parameters
    ----------
    recipe
        Already resolved.
    data
        Path or table.
    out
        Run folder. A broken-off run of the same recipe and data goes on.
    mapping
        Table column by meaning.
    seeds, betas, latents
        Members: every combination trains within one batched model.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    restart
        Replace a run that is there.
    simulated
        The data are simulated; every page made of the run says so.
    listener
        Told about progress.
    """
    listener = listener or Listener()
    run = RunFolder(out)
    run.require_free(restart=restart)
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    prepared = prepare(recipe, data, mapping=mapping, listener=listener)
    run.prepare(restart=restart)  # only now: data that cannot be read cost no earlier run
    run.write_json(run.split_file, prepared.split.to_dict())
    write_text_atomic(run.recipe_file, recipe_to_yaml(recipe))
    validation = prepared.part("validation")
    fitted = fit_tabular(
        prepared.schema,
        prepared.part("train"),
        validation if len(validation) else None,
        recipe.model,
        recipe.training,
        members_for(recipe.training, recipe.model, seeds=seeds, betas=betas, latents=latents),
        device=device,
        checkpoint=run.checkpoint_file,
        on_start=listener.note,
        on_epoch=listener.epoch,
    )
    facts = {
        **environment(fitted.device),
        "started": started,
        "seconds": round(time.monotonic() - began, 2),
        "simulated": simulated,
        "data": {
            "name": prepared.name,
            "fingerprint": prepared.fingerprint,
            "rows": prepared.records.report.rows_read,
            "rows_kept": len(prepared.records),
            "left_out": list(prepared.schema.schema.left_out),
            "remarks": prepared.records.report.lines(),
        },
        "batch_size": fitted.batch_size,
        "learning_rate": fitted.rate,
    }
    provenance = {key: facts[key] for key in ("variolite", "torch", "started", "simulated", "data")}
    provenance |= {"recipe": recipe.name, "best_epochs": fitted.best_epochs}
    model = replace(fitted.model, provenance=provenance)
    write_history(run.history_file, fitted.history)
    run.write_json(run.environment_file, facts)
    save_model(run.model_folder, model)
    # A process killed while it wrote leaves its temporary file here too.
    shutil.rmtree(run.checkpoint_file.parent, ignore_errors=True)
    return run, prepared
