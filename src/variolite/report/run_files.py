"""Reading a run folder for the report: every file is optional, none may be damaged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import polars as pl
import safetensors
import yaml
from pydantic import BaseModel, ValidationError

from variolite.errors import RunFolderError, VarioliteError
from variolite.records.splits import Split
from variolite.report.contents import Environment, History, KeptClustering
from variolite.scoring.health import Health
from variolite.scoring.scorecard import Scorecard

__all__ = ["RunFiles", "part_path", "read_part", "read_run"]

Content = TypeVar("Content", bound=BaseModel)
Result = TypeVar("Result")

_PARTS = {
    "recipe": "recipe.yaml",
    "model": "model/model.json",
    "clustering": "model/clusters.safetensors",
    "history": "history.jsonl",
    "scorecard": "scorecard.json",
    "health": "health.json",
    "held_out": "held_out.parquet",
    "split": "split.json",
    "environment": "environment.json",
    "originals": "originals.crystals",
    "reconstructed": "reconstructed.crystals",
    "samples": "samples.crystals",
}
_GROUP_NOUNS = frozenset({"borehole", "core", "hole", "sample", "section", "site", "well"})
_UNREADABLE = (
    OSError,
    ValueError,
    RecursionError,
    yaml.YAMLError,
    pl.exceptions.PolarsError,
    safetensors.SafetensorError,
)
_MADE_BY_SCORE = frozenset(
    {"scorecard", "health", "held_out", "originals", "reconstructed", "samples"}
)


@dataclass(frozen=True)
class RunFiles:
    """What a run folder holds; a part that is not there is None."""

    folder: Path
    recipe_text: str | None
    model: Mapping[str, object] | None
    clustering: KeptClustering | None
    history: History | None
    scorecard: Scorecard | None
    health: Health | None
    held_out: pl.DataFrame | None
    split: Split | None
    environment: Environment | None

    @property
    def name(self) -> str:
        """Name of the run: that of its folder, with the one above where it says nothing."""
        name = self.folder.name
        return f"{self.folder.parent.name}/{name}" if name == "run" else name

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

    @cached_property
    def units(self) -> dict[str, str]:
        """Unit of each column of the schema in the model file."""
        return {
            name: unit
            for name, column in _schema_columns(self.model)
            if isinstance(unit := column.get("unit"), str) and unit
        }

    @property
    def order_unit(self) -> str | None:
        """Unit of the column that orders the rows of a group, such as depth in m."""
        for name, column in _schema_columns(self.model):
            if column.get("role") == "order":
                return self.units.get(name)
        return None

    @property
    def group_noun(self) -> str:
        """What a group of rows is called: hole, well or the like if the schema says so."""
        for name, column in _schema_columns(self.model):
            if column.get("role") == "group" and name in _GROUP_NOUNS:
                return name
        return "group"

    @property
    def provenance(self) -> Mapping[str, object]:
        """What the model file says about its making; empty where it says nothing."""
        stated = (self.model or {}).get("provenance")
        return stated if isinstance(stated, dict) else {}

    @property
    def data(self) -> Mapping[str, object]:
        """What is known of the data: name, rows, fingerprint; empty where nothing is."""
        extra = (self.environment.model_extra or {}) if self.environment else {}
        stated = extra.get("data", self.provenance.get("data"))
        return stated if isinstance(stated, dict) else {}

    @property
    def simulated(self) -> bool:
        """Whether the run says that its data came out of a simulator."""
        declared = bool(self.environment and self.environment.simulated)
        return declared or self.provenance.get("simulated") is True


def read_run(run: Path) -> RunFiles:
    """Read every file of a run folder that the report uses.

    Raises
    ------
    RunFolderError
        If the folder is missing, holds none of the files, or one is damaged.
    """
    folder = run.expanduser().resolve()
    if not folder.is_dir():
        raise RunFolderError(
            "there is no such run folder",
            where=str(run),
            hint="Give the folder that `variolite fit --out` wrote",
        )
    paths = {part: folder / name for part, name in _PARTS.items()}
    if not any(path.exists() for path in paths.values()):
        raise RunFolderError(
            "the folder holds no files of a run",
            where=str(run),
            hint="Give the folder that `variolite fit --out` wrote",
        )
    return RunFiles(
        folder=folder,
        recipe_text=_optional("recipe", paths, _recipe_text),
        model=_optional("model", paths, _mapping),
        clustering=_optional("clustering", paths, _clustering),
        history=_optional("history", paths, _history),
        scorecard=_optional(
            "scorecard", paths, lambda path: Scorecard.from_json(path.read_text(encoding="utf-8"))
        ),
        health=_optional("health", paths, lambda path: _typed(path, Health)),
        held_out=_optional("held_out", paths, pl.read_parquet),
        split=_optional("split", paths, lambda path: Split.from_dict(_mapping(path))),
        environment=_optional("environment", paths, lambda path: _typed(path, Environment)),
    )


def part_path(folder: Path, part: str) -> Path:
    """Return where a part of a run folder, such as "originals", lies."""
    return folder / _PARTS[part]


def read_part(folder: Path, part: str, read: Callable[[Path], Result]) -> Result | None:
    """Read one part of a run folder, such as "originals"; None where it is not there.

    Raises
    ------
    RunFolderError
        If the file is damaged.
    """
    return _optional(part, {part: part_path(folder, part)}, read)


def _optional(
    part: str, paths: Mapping[str, Path], read: Callable[[Path], Result]
) -> Result | None:
    path = paths[part]
    if not path.is_file():
        return None
    try:
        return read(path)
    except VarioliteError as error:
        raise _damaged(part, path, error.what) from error
    except ValidationError as error:
        raise _damaged(part, path, _first_fault(error)) from error
    except _UNREADABLE as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise _damaged(part, path, reason[0]) from error


def _damaged(part: str, path: Path, reason: str) -> RunFolderError:
    hint = (
        "Run `variolite score` again; it writes the file anew"
        if part in _MADE_BY_SCORE
        else "Restore the file from a copy, or train into a new folder with `variolite fit`"
    )
    return RunFolderError(f"the file cannot be read ({reason})", where=str(path), hint=hint)


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    place = ".".join(str(step) for step in fault["loc"])
    return f"{place}: {fault['msg']}" if place else str(fault["msg"])


def _recipe_text(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if not isinstance(yaml.safe_load(text), dict):
        raise ValueError("it is not a mapping of settings")
    return text


def _mapping(path: Path) -> Mapping[str, object]:
    loaded = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(loaded, dict):
        raise ValueError("it is not a JSON object")
    return loaded


def _typed(path: Path, kind: type[Content]) -> Content:
    return kind.model_validate(_mapping(path))


def _clustering(path: Path) -> KeptClustering:
    """Read what the clustering file says about itself; the clusters' parameters stay unread."""
    with safetensors.safe_open(path, framework="numpy") as file:
        described = (file.metadata() or {}).get("variolite", "")
    return KeptClustering.model_validate_json(described)


def _history(path: Path) -> History | None:
    """Read one epoch per line; a last line without its end is what a killed run leaves behind."""
    text = path.read_text(encoding="utf-8")
    written = text.split("\n")
    rest = written.pop()
    lines: list[object] = []
    for number, content in enumerate(written, start=1):
        if content.strip():
            try:
                lines.append(json.loads(content))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
    cut_short = bool(rest.strip())
    if cut_short:
        try:
            lines.append(json.loads(rest))
            cut_short = False
        except ValueError:
            pass
    return History.model_validate({"lines": lines, "cut_short": cut_short}) if lines else None


def _schema_columns(model: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the columns of the schema, wherever in the model file it lies."""
    if isinstance(model, dict):
        columns = model.get("columns")
        if isinstance(columns, dict):
            for name, column in columns.items():
                if isinstance(column, dict):
                    yield str(column.get("name", name)), column
            return
        if isinstance(columns, list):
            for column in columns:
                if isinstance(column, dict) and isinstance(column.get("name"), str):
                    yield column["name"], column
            return
        for value in model.values():
            yield from _schema_columns(value)
