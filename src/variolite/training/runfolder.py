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
from variolite.recipe import CrystalRecipe, Recipe, load_crystal_recipe, load_recipe
from variolite.records import Split, write_text_atomic
from variolite.training.model import TabularModel
from variolite.training.modelfile import load_model
from variolite.training.signedfile import kind_of

__all__ = ["RunFolder"]

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
                "this is a file", where=str(self.path), mend="choose another --out"
            )
        if self.finished and not restart:
            raise RunFolderError(
                "a finished run is here already",
                where=str(self.path),
                mend="choose another --out, or --restart to replace it",
            )
        # A recipe.yaml proves nothing: people keep their own beside their data.
        ours = self.finished or self.checkpoint_file.is_file() or self.split_file.is_file()
        if self.path.is_dir() and any(self.path.iterdir()) and not ours:
            raise RunFolderError(
                "the folder is not empty and is no run",
                where=str(self.path),
                mend="choose another --out",
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
                mend="choose another --out, or check permissions and free space",
            ) from None

    def require_finished(self) -> None:
        """Say clearly when there is no run here, or one that is not finished."""
        if self.finished:
            return
        if self.checkpoint_file.is_file():
            raise RunFolderError(
                "this run is not finished",
                where=str(self.path),
                mend="run the same `variolite fit` command again: it goes on",
            )
        raise RunFolderError(
            "there is no run here",
            where=str(self.path),
            mend="give the folder that `variolite fit --out` wrote",
        )

    @property
    def of_crystals(self) -> bool:
        """Whether the model of this finished run is one of crystals.

        Raises
        ------
        RunFolderError, ModelFileError
            If there is no finished run, or no model of ours in it.
        """
        self.require_finished()
        return kind_of(self.model_folder) == "variolite.crystal_vae"

    def model(self) -> TabularModel:
        """Load the model on the CPU."""
        self.require_finished()
        return load_model(self.model_folder)

    def recipe(self) -> Recipe:
        """Load the resolved recipe."""
        self.require_finished()
        return load_recipe(self.recipe_file)

    def crystal_recipe(self) -> CrystalRecipe:
        """Load the resolved recipe of a run on crystals."""
        self.require_finished()
        return load_crystal_recipe(self.recipe_file)

    def split(self) -> Split:
        """Load the groups of every part."""
        content = self.read_json(self.split_file)
        try:
            return Split.from_dict(content)
        except (TypeError, KeyError, ValueError):
            raise RunFolderError(
                "this file of the run holds no split",
                where=str(self.split_file),
                mend="copy the run folder again, or run `variolite fit` again",
            ) from None

    def read_json(self, path: Path) -> Any:
        """Read one of the JSON files of the run."""
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunFolderError(
                "a part of the run is missing", where=str(path), mend="run `variolite fit` again"
            ) from None
        except (OSError, ValueError):
            raise RunFolderError(
                "this file of the run is damaged",
                where=str(path),
                mend="copy the run folder again, or make the file anew with the command for it",
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
