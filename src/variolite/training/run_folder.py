"""The run folder: the only thing that passes from training to everything after it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import polars as pl
import safetensors
import yaml
from pydantic import ValidationError

from variolite.errors import RunFolderError, VarioliteError
from variolite.fields import Field, field_of_kind, field_of_model
from variolite.recipe import BaseRecipe, load_recipe
from variolite.records import Split, write_text_atomic
from variolite.training.storage import DESCRIPTION, EpochRecord, kind_of, read_history

Result = TypeVar("Result")

_FOREIGN = (yaml.YAMLError, pl.exceptions.PolarsError, safetensors.SafetensorError)
_BY_FIT = ["recipe.yaml", "split.json", "history.jsonl", "environment.json"]
_BY_SCORE = ["scorecard.json", "health.json", "held_out.parquet"]
_BY_SCORE += ["originals.crystals", "reconstructed.crystals", "samples.crystals"]


class _Part:
    """A path within a run."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: RunFolder, owner: object = None) -> Path:
        return run.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run and the reading of its parts."""

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
    page_file = _Part("report.html")

    @property
    def parts(self) -> list[Path]:
        """Every file that `fit` and `score` write, beside the page and the checkpoint."""
        model = self.model_folder / DESCRIPTION
        return [*(self.path / name for name in _BY_FIT + _BY_SCORE), model, self.clusters_file]

    @property
    def finished(self) -> bool:
        """Whether the folder holds a whole model."""
        return (self.model_folder / DESCRIPTION).is_file()

    def _refusal(self, what: str, hint: str) -> RunFolderError:
        return RunFolderError(what, where=str(self.path), hint=hint)

    def require_free(self, *, restart: bool) -> None:
        """Raise a RunFolderError where neither a new run nor the rest of an unfinished one fits."""
        if self.path.exists() and not self.path.is_dir():
            raise self._refusal("this is a file", "choose another --out")
        if self.finished and not restart:
            hint = "choose another --out, or --restart to replace it"
            raise self._refusal("a finished run is here already", hint)
        # A recipe.yaml proves nothing: people keep their own beside their data.
        ours = self.finished or self.checkpoint_file.is_file() or self.split_file.is_file()
        if self.path.is_dir() and any(self.path.iterdir()) and not ours:
            raise self._refusal("the folder is not empty and is not a run", "choose another --out")

    def prepare(self, *, restart: bool) -> None:
        """Make the folder; remove the parts of the run that ``restart`` replaces, no other file.

        Raises a RunFolderError as `require_free`, and if the folder cannot be written.
        """
        self.require_free(restart=restart)
        try:
            if restart:
                for folder in (self.model_folder, self.checkpoint_file.parent):
                    if folder.is_dir():
                        shutil.rmtree(folder)
                for path in (*self.parts, self.page_file):
                    path.unlink(missing_ok=True)
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = "choose another --out, or check permissions and free space"
            raise self._refusal(f"cannot write here: {error.strerror}", hint) from None

    def remove_checkpoints(self) -> None:
        """Remove what only an interrupted run needs."""
        # A process killed while it wrote leaves its temporary file here too.
        shutil.rmtree(self.checkpoint_file.parent, ignore_errors=True)

    def require_finished(self) -> None:
        """Raise a RunFolderError for a folder that holds no run, or an unfinished one."""
        if self.finished:
            return
        if self.checkpoint_file.is_file():
            hint = "run the same `variolite fit` command again to resume it"
            raise self._refusal("this run is not finished", hint)
        hint = "give the folder that `variolite fit --out` wrote"
        raise self._refusal("there is no run here", hint)

    @property
    def field(self) -> Field:
        """The field of the run, by the kind of its model, else of its recipe."""
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

    def split(self) -> Split:
        """Load the groups of every part; a RunFolderError where the file is missing or damaged."""
        split = read_part(self.split_file, _split)
        if split is None:
            what, hint = "a part of the run is missing", "run `variolite fit` again"
            raise RunFolderError(what, where=str(self.split_file), hint=hint)
        self.require_own(split, read_part(self.model_folder / DESCRIPTION, read_object))
        return split

    def require_own(self, split: Split | None, model: Mapping[str, Any] | None) -> None:
        """Raise a RunFolderError for a split with which the described model was not trained."""
        provenance = (model or {}).get("provenance")
        stated = provenance.get("split") if isinstance(provenance, dict) else None
        if split is not None and stated not in (None, split.fingerprint):
            what = "the split is not the one that the model was trained with: it was changed since"
            hint = "Restore the file from a copy, or train into a new folder with `variolite fit`"
            raise RunFolderError(what, where=str(self.split_file), hint=hint)

    def write_page(self, html: str) -> Path:
        """Write the run's report in one step and return where it lies."""
        write_text_atomic(self.page_file, html)
        return self.page_file

    def write_json(self, path: Path, content: Any) -> None:
        """Write one of the JSON files of the run in one step."""
        write_text_atomic(path, json.dumps(content, indent=1) + "\n")


# What a page is made of: every part is optional, none may be damaged.


class Clustering(NamedTuple):
    """Algorithm and number of clusters of the clustering that a run keeps."""

    algorithm: str
    k: int


@dataclass(frozen=True)
class RunFiles:
    """What every field's run folder holds for its page; a part that is not there is None."""

    run: RunFolder
    recipe_text: str | None
    model: Mapping[str, Any] | None
    clustering: Clustering | None
    history: list[EpochRecord] | None
    held_out: pl.DataFrame | None
    split: Split | None
    environment: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """Name of the folder; with its parent's where it is called "run"."""
        path = self.run.path
        return f"{path.parent.name}/{path.name}" if path.name == "run" else path.name

    @cached_property
    def recipe(self) -> Mapping[str, object]:
        """The resolved recipe; empty where there is none."""
        return yaml.safe_load(self.recipe_text) if self.recipe_text else {}

    @property
    def members(self) -> tuple[str, ...]:
        """What differs between the members of the model, such as "seed 1"; empty if unknown."""
        members = (self.model or {}).get("members")
        if not isinstance(members, list) or not all(isinstance(m, dict) for m in members):
            return ()
        keys = members[0] if members else {}
        varying = [key for key in keys if len({str(member.get(key)) for member in members}) > 1]
        return tuple(", ".join(f"{key} {member.get(key)}" for key in varying) for member in members)

    @property
    def columns(self) -> Mapping[str, Mapping[str, Any]]:
        """The columns of the schema in the model file, by name; empty where there is none."""
        found: Any = self.model
        for step in ("schema", "schema", "columns"):
            found = found.get(step) if isinstance(found, dict) else None
        columns = found.items() if isinstance(found, dict) else ()
        return {name: column for name, column in columns if isinstance(column, dict)}

    @property
    def provenance(self) -> Mapping[str, object]:
        """How the model was made, according to its file; empty where that is not stored."""
        stated = (self.model or {}).get("provenance")
        return stated if isinstance(stated, dict) else {}

    @property
    def data(self) -> Mapping[str, object]:
        """What is known of the data: name, rows, fingerprint; empty where nothing is."""
        stated = (self.environment or {}).get("data", self.provenance.get("data"))
        return stated if isinstance(stated, dict) else {}

    @property
    def simulated(self) -> bool:
        """Whether the data were simulated, according to the run."""
        return (self.environment or self.provenance).get("simulated") is True


def read_run(run: RunFolder) -> RunFiles:
    """Read the files of a run folder that the page of any field uses.

    Raises a RunFolderError if the folder is missing, holds none of the files, or one is damaged.
    """
    if not any(path.exists() for path in run.parts):
        there = run.path.is_dir()
        what = "the folder holds no files of a run" if there else "there is no such run folder"
        hint = "Give the folder that `variolite fit --out` wrote"
        raise RunFolderError(what, where=str(run.path), hint=hint)
    run = RunFolder(run.path.expanduser().resolve())
    files = RunFiles(
        run=run,
        recipe_text=read_part(run.recipe_file, _recipe_text),
        model=read_part(run.model_folder / DESCRIPTION, read_object),
        clustering=read_part(run.clusters_file, _clustering),
        history=read_part(run.history_file, read_history) or None,
        held_out=read_part(run.held_out_file, pl.read_parquet),
        split=read_part(run.split_file, _split),
        environment=read_part(run.environment_file, read_object),
    )
    run.require_own(files.split, files.model)
    return files


def read_part(path: Path, read: Callable[[Path], Result]) -> Result | None:
    """Read one part of a run folder; None where it is missing, `damaged` where it is that."""
    if not path.is_file():
        return None
    try:
        return read(path)
    except VarioliteError as error:
        raise damaged(path, error.what) from error
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in fault["loc"])
        raise damaged(path, f"{place}: {fault['msg']}" if place else fault["msg"]) from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError, *_FOREIGN) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise damaged(path, reason[0]) from error


def damaged(path: Path, reason: str) -> RunFolderError:
    """Return the error of a part that cannot be used."""
    hint = "Run `variolite score` again to write it again"
    if path.name in _BY_FIT or path.parent.name == "model":
        hint = "Restore the file from a copy, or train into a new folder with `variolite fit`"
    return RunFolderError(f"this file of the run is damaged ({reason})", where=str(path), hint=hint)


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; a ValueError where it is something else."""
    loaded = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(loaded, dict):
        raise ValueError("it is not a JSON object")
    return loaded


def _split(path: Path) -> Split:
    return Split.from_dict(read_object(path))


def _recipe_text(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if not isinstance(yaml.safe_load(text), dict):
        raise ValueError("it is not a mapping of settings")
    return text


def _clustering(path: Path) -> Clustering:
    """Read how the clusters were found; their parameters are not read."""
    with safetensors.safe_open(path, framework="numpy") as file:
        stated = json.loads((file.metadata() or {})["variolite"])
    return Clustering(str(stated["algorithm"]), int(stated["k"]))
