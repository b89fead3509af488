"""A training run: table and recipe in, run folder out."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from variolite.errors import RunFolderError
from variolite.fields import Field, field_of_kind, field_of_model
from variolite.progress import Progress
from variolite.recipe import BaseRecipe, Recipe, load_recipe, recipe_to_yaml
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
from variolite.training.storage import DESCRIPTION, kind_of, write_history
from variolite.training.tabular import fit_tabular, members_for
from variolite.training.tabular_model import save_model

# The run folder: the only thing that passes from training to everything after it.


_FILES = (
    "recipe.yaml",
    "split.json",
    "history.jsonl",
    "environment.json",
    "scorecard.json",
    "health.json",
    "held_out.parquet",
    "originals.crystals",
    "reconstructed.crystals",
    "samples.crystals",
    "report.html",
)
"""Parts of a run beside the folders of its model and its checkpoint."""


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run and the reading of its parts.

    Attributes
    ----------
    path
        The folder.
    """

    path: Path

    @property
    def model_folder(self) -> Path:
        return self.path / "model"

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def split_file(self) -> Path:
        return self.path / "split.json"

    @property
    def history_file(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def checkpoint_file(self) -> Path:
        return self.path / "checkpoint" / "state.safetensors"

    @property
    def environment_file(self) -> Path:
        return self.path / "environment.json"

    @property
    def scorecard_file(self) -> Path:
        return self.path / "scorecard.json"

    @property
    def health_file(self) -> Path:
        return self.path / "health.json"

    @property
    def held_out_file(self) -> Path:
        return self.path / "held_out.parquet"

    @property
    def clusters_file(self) -> Path:
        return self.path / "model" / "clusters.safetensors"

    @property
    def parts(self) -> list[Path]:
        """Every file that `fit` and `score` write, beside the page and the checkpoint."""
        names = [name for name in _FILES if name != "report.html"]
        model = self.model_folder / "model.json"
        return [*(self.path / name for name in names), model, self.clusters_file]

    @property
    def finished(self) -> bool:
        """Whether the folder holds a whole model."""
        return (self.model_folder / "model.json").is_file()

    def require_free(self, *, restart: bool) -> None:
        """Say clearly when a new run, or the rest of a broken-off one, cannot go here.

        Raises
        ------
        RunFolderError
            If a finished run, or something else, is in the way.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(
                "this is a file", where=str(self.path), hint="choose another --out"
            )
        if self.finished and not restart:
            raise RunFolderError(
                "a finished run is here already",
                where=str(self.path),
                hint="choose another --out, or --restart to replace it",
            )
        # A recipe.yaml proves nothing: people keep their own beside their data.
        ours = self.finished or self.checkpoint_file.is_file() or self.split_file.is_file()
        if self.path.is_dir() and any(self.path.iterdir()) and not ours:
            raise RunFolderError(
                "the folder is not empty and is no run",
                where=str(self.path),
                hint="choose another --out",
            )

    def prepare(self, *, restart: bool) -> None:
        """Make the folder, and take away the parts of the run that ``restart`` replaces.

        Anything else that lies in the folder stays.

        Raises
        ------
        RunFolderError
            As `require_free`, and if the folder cannot be written.
        """
        self.require_free(restart=restart)
        try:
            if restart:
                for folder in (self.model_folder, self.checkpoint_file.parent):
                    if folder.is_dir():
                        shutil.rmtree(folder)
                for name in _FILES:
                    (self.path / name).unlink(missing_ok=True)
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(
                f"cannot write here: {error.strerror}",
                where=str(self.path),
                hint="choose another --out, or check permissions and free space",
            ) from None

    def require_finished(self) -> None:
        """Say clearly when there is no run here, or one that is not finished."""
        if self.finished:
            return
        if self.checkpoint_file.is_file():
            raise RunFolderError(
                "this run is not finished",
                where=str(self.path),
                hint="run the same `variolite fit` command again: it goes on",
            )
        raise RunFolderError(
            "there is no run here",
            where=str(self.path),
            hint="give the folder that `variolite fit --out` wrote",
        )

    @property
    def field(self) -> Field:
        """The field that a run belongs to, by the kind of its model, else that of its recipe.

        Raises
        ------
        RunFolderError, RecipeError, ModelFileError
            If there is no run, or what is there is not Variolite's.
        """
        if not self.finished and self.recipe_file.is_file():
            recipe = load_recipe(self.recipe_file, kind=BaseRecipe, stored=True)
            return field_of_kind(recipe.kind)
        self.require_finished()
        return field_of_model(kind_of(self.model_folder), self.model_folder / DESCRIPTION)

    def model(self) -> Any:
        """Load the model of a finished run on the CPU, as its field does."""
        self.require_finished()
        return self.field.load_model(self.model_folder)

    def recipe(self) -> Any:
        """Load the resolved recipe of a finished run, of its field's class."""
        return load_recipe(self.recipe_file, kind=self.field.recipe, stored=True)

    def write_page(self, html: str) -> Path:
        """Write the run's report in one step and return where it lies."""
        page = self.path / "report.html"
        write_text_atomic(page, html)
        return page

    def split(self) -> Split:
        """Load the groups of every part."""
        content = self.read_json(self.split_file)
        try:
            return Split.from_dict(content)
        except (TypeError, KeyError, ValueError):
            raise RunFolderError(
                "this file of the run holds no split",
                where=str(self.split_file),
                hint="copy the run folder again, or run `variolite fit` again",
            ) from None

    def read_json(self, path: Path) -> Any:
        """Read one of the JSON files of the run."""
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunFolderError(
                "a part of the run is missing", where=str(path), hint="run `variolite fit` again"
            ) from None
        except (OSError, ValueError):
            raise RunFolderError(
                "this file of the run is damaged",
                where=str(path),
                hint="copy the run folder again, or make the file anew with the command for it",
            ) from None

    def write_json(self, path: Path, content: Any) -> None:
        """Write one of the JSON files of the run in one step."""
        write_text_atomic(path, json.dumps(content, indent=1) + "\n")


def environment(device: str) -> dict[str, Any]:
    """Versions and machine of this process, as ``environment.json`` holds them."""
    import numpy
    import torch

    from variolite import __version__

    return {
        "variolite": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(terse=True),
        "processors": os.cpu_count(),
        "device": device,
        # Reports are shared: an absolute path says more of a machine than of a run.
        "command": " ".join(Path(a).name if Path(a).is_absolute() else a for a in sys.argv),
    }


# A whole training run: table and recipe in, run folder out.


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
    progress: Progress | None = None,
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
    progress
        Notes which columns were left out and which rows were dropped.
    """
    progress = progress or Progress()
    frame = read_table(data, text=group_spellings(recipe.table, mapping))
    units = units_of(data)
    bound: Schema = recipe.table.bind(frame.columns, mapping)
    if bound.left_out:
        progress.note(f"not in this table, left out: {', '.join(bound.left_out)}")
    group = groups_of(bound, frame)
    if split is None:
        split = _draw(recipe, bound, frame, group)
    progress.note(
        f"{len(split.train)} training, {len(split.validation)} validation, "
        f"{len(split.test)} held-out groups"
    )
    schema = FittedSchema.fit(bound, frame, split.rows(group)["train"], units=units)
    records = schema.apply(frame, units=units)
    for line in records.report.lines():
        progress.note(line)
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
    progress: Progress | None = None,
) -> tuple[RunFolder, Prepared]:
    """Train a recipe on a table and write the run folder.

    Parameters
    ----------
    recipe
        Already resolved.
    data
        Path or table.
    out
        Run folder. An interrupted run of the same recipe and data resumes.
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
    progress
        Where progress is reported.
    """
    progress = progress or Progress()
    run = RunFolder(out)
    run.require_free(restart=restart)
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    prepared = prepare(recipe, data, mapping=mapping, progress=progress)
    run.prepare(restart=restart)  # only now: data that cannot be read cost no earlier run
    run.write_json(run.split_file, prepared.split.to_dict())
    write_text_atomic(run.recipe_file, recipe_to_yaml(recipe))
    validation = prepared.part("validation")
    with progress.training(recipe.training.epochs) as on_epoch:
        fitted = fit_tabular(
            prepared.schema,
            prepared.part("train"),
            validation if len(validation) else None,
            recipe.model,
            recipe.training,
            members_for(recipe.training, recipe.model, seeds=seeds, betas=betas, latents=latents),
            device=device,
            checkpoint=run.checkpoint_file,
            on_start=progress.note,
            on_epoch=on_epoch,
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
