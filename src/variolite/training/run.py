"""A training run, data and recipe in, run folder out: of any field, and that on a table."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from variolite.errors import counted
from variolite.fields import name_of
from variolite.progress import Progress
from variolite.recipe import BaseRecipe, Recipe, recipe_to_yaml
from variolite.records import (
    FittedSchema,
    Records,
    Schema,
    Split,
    Table,
    group_spellings,
    groups_of,
    load_table,
    numeric_values,
    one_spelling,
    require_roles,
    split_groups,
    warn_of_look_alikes,
    write_text_atomic,
)
from variolite.records.rows import chosen_rows
from variolite.records.splits import repeated_rows
from variolite.training.loop import Resume, Trained
from variolite.training.run_folder import RunFolder
from variolite.training.storage import load_checkpoint, write_history
from variolite.training.tabular import TabularModel, save_model
from variolite.training.tabular_fit import Features, fit_tabular, members_for

M = TypeVar("M", bound=Any)

Required = Callable[[Schema, pl.DataFrame, NDArray[np.str_]], Collection[str]]
"""From a table, its schema and the group of every row, (n,), to groups to train on in any case."""


@dataclass
class TrainingRun:
    """What a run of any field writes into its folder, and when.

    Nothing is written before `begin`, so that a run that is refused changes nothing: the folder
    must be free, or hold an unfinished run of the same recipe and data, unless ``restart``
    replaces what is there.
    """

    folder: RunFolder
    recipe: BaseRecipe
    restart: bool
    simulated: bool

    def __post_init__(self) -> None:
        self.folder.require_free(restart=self.restart)
        self._began = time.monotonic()
        self._started = datetime.now(UTC).isoformat(timespec="seconds")

    def begin(self, split: Split, fingerprint: str) -> Resume:
        """Write recipe and split, once all that could refuse the run has been checked.

        ``fingerprint`` identifies settings and data. Raises a RunFolderError if an unfinished
        run of others is in the folder, or the folder cannot be written.
        """
        self._split = split
        checkpoint = self.folder.checkpoint_file
        if not self.restart:
            load_checkpoint(checkpoint, fingerprint)
        self.folder.prepare(restart=self.restart)
        self.folder.write_json(self.folder.split_file, split.to_dict())
        write_text_atomic(self.folder.recipe_file, recipe_to_yaml(self.recipe))
        return Resume(checkpoint, fingerprint)

    def finish(
        self,
        model: M,
        save: Callable[[Path, M], None],
        trained: Trained,
        *,
        device: str,
        data: Mapping[str, Any],
        **settings: Any,
    ) -> M:
        """Write history, environment and model, and return the model with its provenance.

        ``data`` holds name, fingerprint, rows read and kept, columns left out and remarks;
        ``settings`` are batch size, learning rate and the like, as used.
        """
        facts = {
            **environment(device),
            "started": self._started,
            "seconds": round(time.monotonic() - self._began, 2),
            "simulated": self.simulated,
            "data": dict(data),
            **settings,
        }
        known = ("variolite", "torch", "started", "simulated", "data")
        provenance = {key: facts[key] for key in known}
        provenance |= {"recipe": self.recipe.name, "best_epochs": trained.best_epochs}
        provenance["split"] = self._split.fingerprint
        model = replace(model, provenance=provenance)
        write_history(self.folder.history_file, trained.history)
        self.folder.write_json(self.folder.environment_file, facts)
        save(self.folder.model_folder, model)
        return model


def environment(device: str) -> dict[str, Any]:
    """Versions and machine of this process, as ``environment.json`` holds them."""
    from variolite import __version__

    return {
        "variolite": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(terse=True),
        "processors": os.cpu_count(),
        "device": device,
        # Reports are shared: an absolute path says more of a machine than of a run.
        "command": " ".join(Path(a).name if Path(a).is_absolute() else a for a in sys.argv),
    }


# A run on a table.


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
    load: Callable[..., Table] = load_table,
    required: Required | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Bind a path or table to a recipe, split its groups and fit the transforms.

    ``mapping`` gives the table's column by meaning; a ``split`` that is given is not drawn.
    ``load`` reads the table, as `load_table` does; groups that are ``required`` are trained on.
    """
    progress = progress or Progress()
    text = group_spellings(recipe.table, mapping)
    frame, units, _ = load(
        data, text=text, nulls=recipe.nulls, schema=recipe.table, mapping=mapping
    )
    bound = recipe.table.bind(frame.columns, mapping)
    if bound.left_out:
        progress.note(f"not in this table, left out: {', '.join(bound.left_out)}")
    require_roles(bound, frame)
    group = groups_of(bound, frame)
    assert bound.group is not None  # groups_of has checked
    order = None if bound.order is None else numeric_values(frame[str(bound.order.source)])
    group = one_spelling(group, order, where=f"column {bound.group.source!r}")
    warn_of_look_alikes(pl.Series(group).unique().sort())
    chosen, _ = chosen_rows(bound, frame, units)
    if split is None:
        spec, stratify = recipe.split, None
        if spec.stratify and bound.labels:
            label = frame[str(bound.labels[0].source)]
            stratify = label.cast(pl.String).fill_null("").to_numpy()[chosen]
        split = split_groups(
            group[chosen],
            test=spec.test,
            validation=spec.validation,
            seed=spec.seed,
            stratify=stratify,
            training=required(bound, frame, group) if required else (),
        )
    progress.note(
        f"{len(split.train)} training, {len(split.validation)} validation, "
        f"{counted(len(split.test), 'held-out group')}"
    )
    schema = FittedSchema.fit(bound, frame, split.rows(group)["train"], units=units)
    records = schema.apply(frame, units=units)
    group = group[records.row]
    cells = {str(c.source) for c in bound.columns.values() if c.role not in ("id", "group")}
    again = repeated_rows(frame[records.row].select(sorted(cells)), split.rows(group)["train"])
    records = replace(records, group=group, report=replace(records.report, repeated=again))
    for line in records.report.lines():
        progress.note(line)
    named = isinstance(data, Path | list)
    name = name_of(data) if named else Path(data).name if isinstance(data, str) else "in memory"
    sources = dict.fromkeys(str(column.source) for column in bound.columns.values())
    return Prepared(schema, records, split, name, _fingerprint(frame.select(list(sources))))


def _fingerprint(frame: pl.DataFrame) -> str:
    """Identify a table by content."""
    digest = hashlib.sha256()
    for values in frame:
        digest.update(f"{values.name}\x1f{frame.height}\x1f".encode())
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
    device: str = "auto",
    restart: bool = False,
    simulated: bool = False,
    load: Callable[..., Table] = load_table,
    required: Required | None = None,
    check: Callable[[Prepared], object] = lambda _: None,
    features: Callable[[FittedSchema], Features | None] = lambda _: None,
    complete: Callable[[TabularModel, Prepared], TabularModel] = lambda model, _: model,
    save: Callable[[Path, Any], None] = save_model,
    progress: Progress | None = None,
) -> tuple[RunFolder, Prepared]:
    """Train a resolved recipe on a path or table and write the run folder ``out``.

    The ``seeds`` train within one batched model. An unfinished run of the same recipe and data is
    resumed; ``restart`` replaces what is there. ``mapping`` gives the table's column by meaning.
    Pages made of a run say whether its data were ``simulated``. ``load`` and ``required`` are as in
    `prepare`; ``check`` refuses what could not be used after training. A field whose models hold
    more gives ``features`` of the members of sets, makes what it needs of a trained model with
    ``complete``, and writes that with ``save``.
    """
    progress = progress or Progress()
    run = TrainingRun(RunFolder(out), recipe, restart=restart, simulated=simulated)
    prepared = prepare(
        recipe, data, mapping=mapping, load=load, required=required, progress=progress
    )
    check(prepared)
    with progress.training(recipe.training.epochs) as on_epoch:
        fitted = fit_tabular(
            prepared.schema,
            prepared.part("train"),
            prepared.part("validation"),
            recipe.model,
            recipe.training,
            members_for(recipe.training, recipe.model, seeds=seeds),
            features=features(prepared.schema),
            device=device,
            resume=partial(run.begin, prepared.split),
            on_start=progress.note,
            on_epoch=on_epoch,
        )
    report = prepared.records.report
    about = {"name": prepared.name, "fingerprint": prepared.fingerprint, "rows": report.rows_read}
    about |= {"rows_kept": len(prepared.records), "left_out": [*prepared.schema.schema.left_out]}
    about |= {"remarks": report.lines()}
    used = {"batch_size": fitted.batch_size, "learning_rate": fitted.learning_rate}
    model = complete(fitted.model, prepared)
    run.finish(model, save, fitted, device=fitted.device, data=about, **used)
    return run.folder, prepared
