"""The run folder: the only thing that passes from training to everything after it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from variolite.errors import RunFolderError
from variolite.fields import Field, field_of_kind, field_of_model
from variolite.recipe import BaseRecipe, load_recipe
from variolite.records import Split, write_text_atomic
from variolite.training.storage import DESCRIPTION, kind_of

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


class _Part:
    """A path within a run."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: RunFolder, owner: object = None) -> Path:
        return run.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run and the reading of its parts.

    Attributes
    ----------
    path
        The folder.
    """

    path: Path

    model_folder = _Part("model")
    recipe_file = _Part("recipe.yaml")
    split_file = _Part("split.json")
    history_file = _Part("history.jsonl")
    checkpoint_file = _Part("checkpoint/state.safetensors")
    environment_file = _Part("environment.json")
    scorecard_file = _Part("scorecard.json")
    health_file = _Part("health.json")
    held_out_file = _Part("held_out.parquet")
    clusters_file = _Part("model/clusters.safetensors")

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
        """Refuse a folder where a new run, or the rest of an interrupted one, cannot go.

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

    def remove_checkpoints(self) -> None:
        """Remove what only an interrupted run needs."""
        # A process killed while it wrote leaves its temporary file here too.
        shutil.rmtree(self.checkpoint_file.parent, ignore_errors=True)

    def require_finished(self) -> None:
        """Refuse a folder that holds no run, or one that is not finished."""
        if self.finished:
            return
        if self.checkpoint_file.is_file():
            raise RunFolderError(
                "this run is not finished",
                where=str(self.path),
                hint="run the same `variolite fit` command again to resume it",
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
        self.require_finished()
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
                hint="copy the run folder again, or make the file again with the command for it",
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
