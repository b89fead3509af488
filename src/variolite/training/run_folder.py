"""The run folder: the only thing that passes from training to everything after it."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import polars as pl
import safetensors
import yaml
from pydantic import BaseModel, ValidationError

from variolite.atomic import is_still, try_lock
from variolite.errors import RunFolderError, VarioliteError
from variolite.fields import Field, field_of_kind, field_of_model
from variolite.recipe import BaseRecipe, load_recipe
from variolite.records import Split, write_text_atomic
from variolite.training.storage import (
    DESCRIPTION,
    WEIGHTS,
    EpochRecord,
    checksum,
    kind_of,
    read_history,
    settle_weights,
    signed,
)

Result = TypeVar("Result")
Model = TypeVar("Model", bound=BaseModel)

_FOREIGN = (yaml.YAMLError, pl.exceptions.PolarsError, safetensors.SafetensorError)
_HELD: set[Path] = set()  # runs that this process writes

_BESIDE = ("clusters.safetensors", "classifier.safetensors", "errors.json")
_BY_FIT = ["recipe.yaml", "split.json", "history.jsonl", "environment.json"]
_BY_FIT += ["clusters.csv"]
_BY_FIT += [f"model/{name}" for name in (DESCRIPTION, WEIGHTS, *_BESIDE)]
_BY_SCORE = ["scorecard.json", "health.json", "held_out.parquet"]
_BY_SCORE += ["training.parquet", "generated.parquet"]
_BY_SCORE += ["originals.crystals", "reconstructed.crystals", "samples.crystals"]

_NO_MODEL = (
    f"model/{DESCRIPTION} of this run is missing",
    "restore the file from a copy, or use `variolite fit --restart` to replace the run",
)


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
    training_file = _Part("training.parquet")
    generated_file = _Part("generated.parquet")
    clusters_file = _Part("model/clusters.safetensors")
    cluster_table_file = _Part("clusters.csv")
    classifier_file = _Part("model/classifier.safetensors")
    calibration_file = _Part("model/errors.json")
    page_file = _Part("report.html")
    manifest_file = _Part("manifest.json")
    lock_file = _Part(".variolite.lock")

    @property
    def parts(self) -> list[Path]:
        """Every file that `fit` and `score` write, beside the page and the checkpoint."""
        return [self.path / name for name in (*_BY_FIT, *_BY_SCORE)]

    @property
    def finished(self) -> bool:
        """Whether the folder holds a whole model."""
        return (self.model_folder / DESCRIPTION).is_file()

    def _refusal(self, what: str, hint: str) -> RunFolderError:
        return RunFolderError(what, where=str(self.path), hint=hint)

    def require_free(self, *, restart: bool) -> None:
        """Raise a RunFolderError where neither a new run nor the rest of an unfinished one fits."""
        if self.finished and not restart:
            hint = "choose another --out, or --restart to replace it"
            raise self._refusal("a finished run is here already", hint)
        if self.sealed and not restart:
            raise self._refusal(*_NO_MODEL)
        self._require_own()

    def _require_own(self) -> None:
        """Raise a RunFolderError where there is something that no `fit` made."""
        if self.path.exists() and not self.path.is_dir():
            raise self._refusal("this is a file", "choose another --out")
        # A recipe.yaml proves nothing: people keep their own beside their data.
        marks = (self.checkpoint_file, self.split_file, self.lock_file)
        ours = self.finished or any(mark.is_file() for mark in marks)
        if self.path.is_dir() and any(self.path.iterdir()) and not ours:
            raise self._refusal("the folder is not empty and is not a run", "choose another --out")

    @contextmanager
    def locked(self, *, new: bool = False) -> Iterator[None]:
        """Hold a finished run, or one to be made, so that no other process writes it meanwhile.

        The lock of a process that was killed is taken over. Raises a RunFolderError if another
        process holds the run, or this folder is none; nothing is written then.
        """
        place = self.path.resolve()
        if place in _HELD:
            yield
            return
        self._require_own() if new else self.require_finished()
        made = [path for path in (place, *place.parents) if not path.exists()]
        descriptor = -1
        try:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                descriptor = self._lock()
            except OSError as error:
                raise self._no_place(error) from None
            _HELD.add(place)
            yield
        finally:
            _HELD.discard(place)
            if descriptor >= 0:
                with suppress(OSError):
                    self.lock_file.unlink()
                os.close(descriptor)
            for path in made:
                with suppress(OSError):  # it holds a run now
                    path.rmdir()

    def _lock(self) -> int:
        host = platform.node()
        while True:
            descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o666)
            free = try_lock(descriptor)
            os.lseek(descriptor, 0, os.SEEK_SET)
            holder = os.read(descriptor, 200).decode(errors="replace")
            # Where locks work, one that is free on this host was left by a process that ended.
            if free is False or (holder and not (free and holder.endswith(f" on {host}"))):
                os.close(descriptor)
                hint = "wait until it is done"
                if free is not False:
                    hint += f", or delete {self.lock_file.name} if it has ended"
                what = f"another process is writing this run ({holder or 'it has just begun'})"
                raise self._refusal(what, hint)
            if is_still(descriptor, self.lock_file):
                break
            os.close(descriptor)  # its owner removed it just now
        with suppress(OSError):  # a full disk is reported where it matters
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"process {os.getpid()} on {host}".encode())
        return descriptor

    def _no_place(self, error: OSError) -> RunFolderError:
        hint = "check permissions and free space, or choose another folder"
        return self._refusal(f"cannot write here: {error.strerror}", hint)

    # The manifest: a checksum of every file, against which it is read.

    def seal_fit(self) -> None:
        """Note the checksums of all that `fit` wrote: its last step."""
        settle_weights(self.model_folder)
        shutil.rmtree(self.checkpoint_file.parent, ignore_errors=True)
        self._seal(_BY_FIT)

    def unseal_fit(self) -> None:
        """Forget them again, before some of it is replaced; RunFolderError if a file differs."""
        for name in _BY_FIT:
            self.whole(self.path / name)
        if self.sealed:
            self._seal(_BY_FIT, written=False)

    def seal_score(self) -> None:
        """Note the checksums of all that `score` wrote."""
        self._seal(_BY_SCORE)

    def _seal(self, names: Sequence[str], *, written: bool = True) -> None:
        sums = {name: known for name, known in self._checksums.items() if name not in names}
        for name in names if written else ():
            if (self.path / name).is_file():
                sums[name] = checksum(self.path / name)
        content = {"format": 1, "files": dict(sorted(sums.items()))}
        self.write_json(self.manifest_file, signed(content))

    @property
    def sealed(self) -> bool:
        """Whether `fit` came to its end; runs of earlier versions have no manifest."""
        return self.manifest_file.is_file()

    @property
    def _checksums(self) -> dict[str, str]:
        if not self.sealed:
            return {}
        try:
            content = read_object(self.manifest_file)
            if content != signed(content) or content["format"] != 1:
                raise ValueError("it was changed after it was written")
            return dict(content["files"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise damaged(self.manifest_file, str(error)) from None

    def whole(self, path: Path) -> Path:
        """Return the path of a file of the run, if it is what `fit` or `score` wrote.

        Raises a RunFolderError if it was changed since.
        """
        expected = self._checksums.get(path.relative_to(self.path).as_posix())
        if expected is not None and path.is_file() and checksum(path) != expected:
            raise damaged(path, "it is not what the run wrote, or its writing was cut off")
        return path

    def lost(self, path: Path) -> bool:
        """Whether the run wrote a file that is not there any more."""
        name = path.relative_to(self.path).as_posix()
        return not path.is_file() and name in self._checksums

    def has(self, path: Path) -> bool:
        """Whether a file of `fit` is there, if the run needs one; RunFolderError if it was lost."""
        if self.lost(path):
            hint = "restore it from a copy, or run the same `variolite fit` again"
            raise RunFolderError("this file of the run is missing", where=str(path), hint=hint)
        return path.is_file()

    def prepare(self, *, restart: bool) -> None:
        """Make the folder; remove the parts of the run that ``restart`` replaces, no other file.

        Raises a RunFolderError as `require_free`, and if the folder cannot be written.
        """
        self.require_free(restart=restart)
        try:
            if restart:
                # From the model, without which it is not finished, to what marks it as a run.
                first, last = self.model_folder / DESCRIPTION, self.split_file
                others = [path for path in self.parts if path not in (first, last)]
                for path in (first, self.manifest_file, *others, self.page_file):
                    path.unlink(missing_ok=True)
                for folder in (self.model_folder, self.checkpoint_file.parent):
                    if folder.is_dir():
                        shutil.rmtree(folder)
                last.unlink(missing_ok=True)
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._no_place(error) from None

    def require_finished(self) -> None:
        """Raise a RunFolderError for a folder with no run, an unfinished or a damaged one."""
        if self.finished:
            self.whole(self.model_folder / DESCRIPTION)
            return
        if self.sealed:
            raise self._refusal(*_NO_MODEL)
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
        return load_recipe(self.whole(self.recipe_file), kind=self.field.recipe, stored=True)

    def split(self) -> Split:
        """Load the groups of every part.

        Raises a RunFolderError where the file is missing or damaged, or the model was trained with
        another split.
        """
        split = self.read(self.split_file, _split)
        if split is None:
            what, hint = "a part of the run is missing", "run `variolite fit` again"
            raise RunFolderError(what, where=str(self.split_file), hint=hint)
        model = self.read(self.model_folder / DESCRIPTION, read_object) or {}
        provenance = model.get("provenance")
        stated = provenance.get("split") if isinstance(provenance, dict) else None
        if stated not in (None, split.fingerprint):
            what = "the split is not the one that the model was trained with: it was changed since"
            hint = "Restore the file from a copy, or train into a new folder with `variolite fit`"
            raise RunFolderError(what, where=str(self.split_file), hint=hint)
        return split

    def read(self, path: Path, read: Callable[[Path], Result]) -> Result | None:
        """Read one of the files; None where it is missing, `damaged` where it is that."""
        if not path.is_file():
            return None
        self.whole(path)
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

    def health(self, kind: type[Model]) -> Model | None:
        """Read what the last score found of the latents; None where there was none."""
        return self.read(self.health_file, lambda path: kind.model_validate(read_object(path)))

    def require_health(self, kind: type[Model]) -> Model:
        """Read it; RunFolderError where the run has not been scored yet."""
        found = self.health(kind)
        if found is None:
            hint = "give the data with --data, or run `variolite score` first"
            raise self._refusal("the run has not been scored yet", hint)
        return found

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
    return RunFiles(
        run=run,
        recipe_text=run.read(run.recipe_file, _recipe_text),
        model=run.read(run.model_folder / DESCRIPTION, read_object),
        clustering=run.read(run.clusters_file, _clustering),
        history=run.read(run.history_file, read_history) or None,
        held_out=run.read(run.held_out_file, pl.read_parquet),
        split=run.split() if run.split_file.is_file() else None,
        environment=run.read(run.environment_file, read_object),
    )


def damaged(path: Path, reason: str) -> RunFolderError:
    """Return the error of a part that cannot be used."""
    hint = "Run `variolite score` again to write it again"
    if path.name == "manifest.json":
        hint = "Restore the file from a copy, or delete it: nothing is compared with it then"
    elif path.name in _BY_FIT or path.parent.name == "model":
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
