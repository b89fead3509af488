"""What training keeps on disk: checksummed model files, checkpoints and the history."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from variolite.errors import ModelFileError, RunFolderError
from variolite.records import write_bytes_atomic, write_text_atomic

# A description and weights that belong together, whole and unaltered or refused.
#
# ``model.json`` describes the model and carries a hash of the weights and of
# itself. It is written last: a folder with a ``model.json`` is complete. Formats
# are numbered; a reader upgrades old ones.


WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"

Migration = Callable[[dict[str, Any]], dict[str, Any]]

_AGAIN = "copy the whole model folder again"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _canonical(description: Mapping[str, Any]) -> bytes:
    signed = {key: value for key, value in description.items() if key != "sha256"}
    return json.dumps(signed, sort_keys=True, separators=(",", ":")).encode()


def write_signed(
    folder: Path, kind: str, number: int, content: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write weights and their description into a folder.

    Parameters
    ----------
    folder
        Made if it is not there.
    kind, number
        What the file is, and its format number.
    content
        JSON-able description.
    tensors
        Weights by name.
    """
    # In the order of their names, so that a model that is read and saved gives the same bytes.
    on_host = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    weights = safetensors.torch.save(on_host)
    description: dict[str, Any] = {
        "format": number,
        "kind": kind,
        **content,
        "tensors": {
            name: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
            for name, value in on_host.items()
        },
        "weights_sha256": _sha256(weights),
    }
    description = json.loads(json.dumps(description))
    description["sha256"] = _sha256(_canonical(description))
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(folder / WEIGHTS, weights)
    write_text_atomic(folder / DESCRIPTION, json.dumps(description, indent=1) + "\n")


def kind_of(folder: Path) -> str:
    """Return the kind of model in a folder.

    Raises
    ------
    ModelFileError
        If there is none, or it is no model of Variolite.
    """
    return str(_read_json(folder / DESCRIPTION)["kind"])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFileError(
            "there is no model here", where=str(path), hint="give a folder made by `variolite fit`"
        ) from None
    except (OSError, ValueError, RecursionError):
        raise ModelFileError(
            "this is not a Variolite model, or it is truncated",
            where=str(path),
            hint="copy the whole folder again",
        ) from None
    kind = content.get("kind") if isinstance(content, dict) else None
    if not isinstance(kind, str) or not kind.startswith("variolite."):
        raise ModelFileError(
            "this JSON is not the description of a Variolite model",
            where=str(path),
            hint="give a folder made by `variolite fit`",
        )
    known: dict[str, Any] = content
    return known


def read_description(
    folder: Path, kind: str, latest: int, migrations: Mapping[int, Migration], what: str
) -> dict[str, Any]:
    """Read a description of the given kind and bring it to the latest format.

    Parameters
    ----------
    folder
        Of the model.
    kind, latest
        What is expected, and the newest format number that can be read.
    migrations
        From format number n to n + 1.
    what
        The kind in words, for messages.

    Raises
    ------
    ModelFileError
        If the file is missing, foreign, of another kind, altered or too new.
    """
    path = folder / DESCRIPTION
    content = _read_json(path)
    if content["kind"] != kind:
        raise ModelFileError(
            f"this is a model of another kind ({content['kind']:.60}), not {what}",
            where=str(path),
            hint=f"give {what} made by `variolite fit`",
        )
    number = content.get("format")
    if type(number) is not int or not 1 <= number <= latest:
        raise ModelFileError(
            f"the model has format {number!r:.40}, this version reads 1 to {latest}",
            where=str(path),
            hint="upgrade variolite",
        )
    if content.get("sha256") != _sha256(_canonical(content)):
        raise ModelFileError(
            "the model description was changed after it was saved",
            where=str(path),
            hint="take the original file",
        )
    for old in range(number, latest):
        content = migrations[old](content)
    return content


def read_weights(folder: Path, description: Mapping[str, Any]) -> dict[str, Tensor]:
    """Read the weights that a description was signed with."""
    path = folder / WEIGHTS
    try:
        content = path.read_bytes()
    except OSError:
        raise ModelFileError("the weights are missing", where=str(path), hint=_AGAIN) from None
    if _sha256(content) != description["weights_sha256"]:
        raise ModelFileError(
            "the weights are truncated, altered or of another model", where=str(path), hint=_AGAIN
        )
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(content)
    except safetensors.SafetensorError:
        raise ModelFileError("the weights are damaged", where=str(path), hint=_AGAIN) from None
    return tensors


def fill(module: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Load weights into a module; every tensor has to be there, in its shape, and no other."""
    path = str(folder / WEIGHTS)
    expected = module.state_dict()
    for name, own in expected.items():
        stored = tensors.get(name)
        if stored is None or stored.shape != own.shape or stored.dtype != own.dtype:
            found = "nothing" if stored is None else f"{tuple(stored.shape)} {stored.dtype}"
            raise ModelFileError(
                f"tensor {name} should be {tuple(own.shape)} {own.dtype}, found {found}",
                where=path,
                hint=_AGAIN,
            )
    extra = sorted(set(tensors) - set(expected))
    if extra:
        raise ModelFileError(f"unexpected tensor {extra[0]}", where=path, hint=_AGAIN)
    module.load_state_dict(dict(tensors))


# What happened in every epoch, one JSON object a line.


@dataclass(frozen=True)
class EpochRecord:
    """One epoch; lists hold a number for every member, in nats per row.

    Attributes
    ----------
    epoch
        Counted from 0.
    beta
        The schedule's value in this epoch.
    seconds
        Wall time of the epoch.
    rate
        Learning rate of every member.
    train_total, train_reconstruction, train_kl
        Means over the epoch's batches, with the beta of the epoch.
    val_monitored
        reconstruction + final beta * KL on the validation rows: what the run
        is judged by. It never moves with the schedule.
    val_reconstruction, val_kl
        The parts of the monitored value.
    active_units
        Latent dimensions whose mean KL on the validation rows exceeds 0.01 nats.
    measures
        Further numbers on the validation rows, with their unit in the name.
    """

    epoch: int
    beta: float
    seconds: float
    rate: list[float]
    train_total: list[float]
    train_reconstruction: list[float]
    train_kl: list[float]
    val_monitored: list[float]
    val_reconstruction: list[float]
    val_kl: list[float]
    active_units: list[int]
    measures: dict[str, float] = field(default_factory=dict)


def write_history(path: Path, records: Sequence[EpochRecord]) -> None:
    """Write all epochs, replacing the file in one step."""
    lines = (json.dumps(asdict(record)) for record in records)
    write_text_atomic(path, "".join(f"{line}\n" for line in lines))


def read_history(path: Path) -> list[EpochRecord]:
    """Read the epochs of a run.

    Raises
    ------
    RunFolderError
        If the file is missing or damaged.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [EpochRecord(**json.loads(line)) for line in lines]
    except FileNotFoundError:
        raise RunFolderError("there is no training history", where=str(path)) from None
    except (TypeError, ValueError, OSError) as error:
        raise RunFolderError(f"the training history is damaged: {error}", where=str(path)) from None


# A killed run is resumed where it stopped: one file, replaced in one step.


@dataclass(frozen=True)
class Checkpoint:
    """All that training needs to be resumed.

    Attributes
    ----------
    fingerprint
        Of the recipe, the data and the machine-independent set-up: a
        checkpoint continues only the run that it came from.
    epoch
        Next epoch to train.
    steps
        Optimiser steps so far.
    tensors
        Weights, optimiser moments, rates and best weights.
    progress
        State of early stopping, JSON-able.
    history
        Epochs so far.
    """

    fingerprint: str
    epoch: int
    steps: int
    tensors: dict[str, Tensor]
    progress: dict[str, Any]
    history: list[EpochRecord]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a reader sees the old one or the new one, never half."""
    meta = {
        "fingerprint": checkpoint.fingerprint,
        "epoch": checkpoint.epoch,
        "steps": checkpoint.steps,
        "progress": checkpoint.progress,
        "history": [asdict(record) for record in checkpoint.history],
    }
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()
    }
    text = json.dumps(meta)
    signed = {"variolite": text, "sha256": _digest(text, tensors)}
    content = safetensors.torch.save(tensors, metadata=signed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(path, content)


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def load_checkpoint(path: Path, fingerprint: str) -> Checkpoint | None:
    """Read a checkpoint, or return None where there is none.

    Raises
    ------
    RunFolderError
        If it is damaged, or belongs to another recipe or other data.
    """
    if not path.is_file():
        return None
    restart = "choose another --out, or start this run afresh with --restart"
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            stored = file.metadata()
            tensors: dict[str, Tensor] = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        if stored["sha256"] != _digest(stored["variolite"], tensors):
            raise ValueError
        meta = json.loads(stored["variolite"])
        history = [EpochRecord(**record) for record in meta["history"]]
        checkpoint = Checkpoint(
            meta["fingerprint"],
            meta["epoch"],
            meta["steps"],
            tensors,
            meta["progress"],
            history,
        )
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OSError):
        raise RunFolderError("the checkpoint is damaged", where=str(path), hint=restart) from None
    if checkpoint.fingerprint != fingerprint:
        raise RunFolderError(
            "the unfinished run in this folder has another recipe, other data or other seeds",
            where=str(path.parent.parent),
            hint=restart,
        )
    return checkpoint
