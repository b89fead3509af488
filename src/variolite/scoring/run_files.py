"""What a run folder holds for its page: every part is optional, none may be damaged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import polars as pl
import safetensors
import yaml
from pydantic import ValidationError

from variolite.errors import RunFolderError, VarioliteError
from variolite.records import Split
from variolite.scoring.health import Health
from variolite.scoring.scorecard import Scorecard
from variolite.training import EpochRecord, RunFolder, read_history

Result = TypeVar("Result")

_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    RecursionError,
    yaml.YAMLError,
    pl.exceptions.PolarsError,
    safetensors.SafetensorError,
)
_BY_FIT = frozenset(
    {"recipe.yaml", "model.json", "history.jsonl", "split.json", "environment.json"}
)


class Clustering(NamedTuple):
    """Algorithm and number of clusters of the clustering that a run keeps."""

    algorithm: str
    k: int


@dataclass(frozen=True)
class RunFiles:
    """What a run folder holds; a part that is not there is None."""

    run: RunFolder
    recipe_text: str | None
    model: Mapping[str, Any] | None
    clustering: Clustering | None
    history: list[EpochRecord] | None
    scorecard: Scorecard | None
    health: Health | None
    held_out: pl.DataFrame | None
    split: Split | None
    environment: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """Name of the run: that of its folder, with the one above where it says nothing."""
        name = self.run.path.name
        return f"{self.run.path.parent.name}/{name}" if name == "run" else name

    @cached_property
    def recipe(self) -> Mapping[str, object]:
        """The resolved recipe; empty where there is none."""
        loaded = yaml.safe_load(self.recipe_text) if self.recipe_text else None
        return loaded if isinstance(loaded, dict) else {}

    @property
    def recipe_name(self) -> str | None:
        """The recipe's own name, where it has one."""
        name = self.recipe.get("name")
        return name if isinstance(name, str) and name else None

    @property
    def members(self) -> tuple[str, ...]:
        """What tells the members of the model apart, such as "seed 1"; empty where unknown."""
        members = (self.model or {}).get("members")
        if not isinstance(members, list) or not all(isinstance(m, dict) for m in members):
            return ()
        varying = [
            key
            for key in (members[0] if members else {})
            if len({str(member.get(key)) for member in members}) > 1
        ]
        return tuple(", ".join(f"{key} {member.get(key)}" for key in varying) for member in members)

    @property
    def columns(self) -> Mapping[str, Mapping[str, Any]]:
        """The columns of the schema in the model file, by name; empty where there is none."""
        return {str(column.get("name", name)): column for name, column in _columns(self.model)}

    @property
    def provenance(self) -> Mapping[str, object]:
        """What the model file says about its making; empty where it says nothing."""
        stated = (self.model or {}).get("provenance")
        return stated if isinstance(stated, dict) else {}

    @property
    def data(self) -> Mapping[str, object]:
        """What is known of the data: name, rows, fingerprint; empty where nothing is."""
        stated = (self.environment or {}).get("data", self.provenance.get("data"))
        return stated if isinstance(stated, dict) else {}

    @property
    def simulated(self) -> bool:
        """Whether the run says that its data came out of a simulator."""
        return (self.environment or self.provenance).get("simulated") is True


def read_run(run: RunFolder) -> RunFiles:
    """Read every file of a run folder that a page uses.

    Raises
    ------
    RunFolderError
        If the folder is missing, holds none of the files, or one is damaged.
    """
    if not run.path.is_dir():
        what = "there is no such run folder"
    elif not any(path.exists() for path in run.parts):
        what = "the folder holds no files of a run"
    else:
        what = ""
    if what:
        hint = "Give the folder that `variolite fit --out` wrote"
        raise RunFolderError(what, where=str(run.path), hint=hint)
    run = RunFolder(run.path.expanduser().resolve())
    return RunFiles(
        run=run,
        recipe_text=read_part(run.recipe_file, _recipe_text),
        model=read_part(run.model_folder / "model.json", _mapping),
        clustering=read_part(run.clusters_file, _clustering),
        history=read_part(run.history_file, read_history) or None,
        scorecard=read_part(run.scorecard_file, Scorecard.read),
        health=read_part(run.health_file, lambda path: Health.model_validate(_mapping(path))),
        held_out=read_part(run.held_out_file, pl.read_parquet),
        split=read_part(run.split_file, lambda path: Split.from_dict(_mapping(path))),
        environment=read_part(run.environment_file, _mapping),
    )


def read_part(path: Path, read: Callable[[Path], Result]) -> Result | None:
    """Read one part of a run folder; None where it is not there.

    Raises
    ------
    RunFolderError
        If the file is damaged.
    """
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
    except _UNREADABLE as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise damaged(path, reason[0]) from error


def damaged(path: Path, reason: str) -> RunFolderError:
    """Return the error of a part that cannot be used."""
    hint = "Run `variolite score` again to write it again"
    if path.name in _BY_FIT or path.parent.name == "model":
        hint = "Restore the file from a copy, or train into a new folder with `variolite fit`"
    return RunFolderError(f"this file of the run is damaged ({reason})", where=str(path), hint=hint)


def _recipe_text(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if not isinstance(yaml.safe_load(text), dict):
        raise ValueError("it is not a mapping of settings")
    return text


def _clustering(path: Path) -> Clustering:
    """Read what the clustering says about itself; the clusters' parameters stay unread."""
    with safetensors.safe_open(path, framework="numpy") as file:
        stated = json.loads((file.metadata() or {})["variolite"])
    return Clustering(str(stated["algorithm"]), int(stated["k"]))


def _mapping(path: Path) -> dict[str, Any]:
    loaded = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(loaded, dict):
        raise ValueError("it is not a JSON object")
    return loaded


def _columns(model: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the columns of the schema, wherever in the model file it lies."""
    if not isinstance(model, dict):
        return
    columns = model.get("columns")
    if isinstance(columns, dict):
        yield from ((name, column) for name, column in columns.items() if isinstance(column, dict))
        return
    for value in model.values():
        yield from _columns(value)
